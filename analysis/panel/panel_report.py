"""The report of a study of panels."""

from collections.abc import Mapping
from typing import Any

from analysis.answers.report_parts import Section, closing_facts, days_ahead
from analysis.page import Report
from analysis.panel.answers.earnings_answer import earnings_section
from analysis.panel.answers.ranking_answer import baselines_section, oracle_section, scores_section
from analysis.panel.answers.refit_answer import refit_section
from analysis.panel.answers.shares_answer import shares_section
from analysis.panel.answers.size_answer import size_section, size_sentence
from analysis.panel.answers.terms_answer import terms_section
from analysis.panel.answers.variants_answer import variant_sentence, variants_section
from analysis.panel.answers.walk_answer import walk_section
from analysis.panel.answers.years_answer import years_section
from analysis.panel.panel_first_screen import panel_first_screen
from analysis.panel.panel_judgement import JudgedPanel
from analysis.panel.panel_records import PanelRecords
from analysis.panel.panel_words import verdict
from analysis.trial_statistics import both_modes
from study.results.plans.input_record import SearchFoldsRecord
from study.text.short_forms import counted


def build_panel(panel: JudgedPanel) -> Report:
    """Return the whole content of the report of a study of panels."""
    return Report(
        title=f"What the study {panel.records.study.name} found",
        first=panel_first_screen(panel),
        facts=_facts(panel.records),
        summary=_summary(panel),
        missing=_missing(panel.records),
        sections=_sections(panel),
    )


def _sections(panel: JudgedPanel) -> list[Section]:
    if not panel.cells:
        return []
    possible = [
        oracle_section(panel),
        baselines_section(panel),
        scores_section(panel),
        refit_section(panel),
        size_section(panel),
        shares_section(panel),
        walk_section(panel),
        years_section(panel),
        earnings_section(panel),
        variants_section(panel),
        terms_section(panel),
    ]
    return [section for section in possible if section is not None]


def _summary(panel: JudgedPanel) -> list[str]:
    """Return the verdict on every winner first, then what follows of size and of settings."""
    cells = panel.cells
    if not cells:
        return ["No final runs yet: nothing is said of test days."]
    leaks = [cell.name for cell in cells if cell.is_leak]
    found = [
        f"LEAK: better than the best possible scores by three errors: {', '.join(leaks)}."
    ] * bool(leaks)
    found += [f"{cell.label}, {days_ahead(cell.cell.horizon)}: {verdict(cell)}." for cell in cells]
    better = sum(cell.standing.is_better for cell in cells)
    worse = sum(cell.standing.is_worse for cell in cells)
    found.append(
        f"Against all baselines, on test days: {better} of {len(cells)} winners are better than "
        f"each of them after all {panel.n_comparisons} comparisons, {worse} are worse than some, "
        "the rest are not told apart from at least one."
    )
    found += [size_sentence(each) for each in panel.horizons]
    return found + [variant_sentence(each) for each in panel.variants]


def _facts(records: PanelRecords) -> list[str]:
    study, finals = records.study, [cell.final for cell in records.cells]
    first = study.cells[0]
    facts = [
        f"Study {study.name}, {study.variant}: {counted(len(study.cells), 'cell')}, "
        f"{counted(sum(cell.n_ended for cell in study.searches), 'trial')}, "
        f"{counted(sum(len(final.runs) for final in finals), 'final run')}.",
        f"Data {first.source}, sha256 {str(first.searched['data_sha256'])[:16]}; "
        + "; ".join(_part(name, each) for name, each in first.searched["splits"].items())
        + f" (horizon {first.horizon}).",
    ]
    folds = SearchFoldsRecord.of(first.searched)
    if folds is not None:
        facts.append(f"Searched on {folds.scope}: their RankICs are no forecasts.")
    warnings = [str(line) for cell in study.cells for line in cell.searched.get("warnings") or ()]
    facts += [f"Of the panel: {line}" for line in dict.fromkeys(warnings)]
    if records.cells:
        test = records.cells[0].test
        facts.append(
            f"Every claim is of one set of assets, {first.source}, and one period, "
            f"{test.dates[0]} to {test.dates[-1]} for test days. Its interval is that of other "
            "days like these, not of other assets or of another period."
        )
    facts += both_modes([trial for cell in study.cells for trial in cell.trials])
    facts += closing_facts(finals, study.other_phases)
    return facts


def _part(name: str, split: Mapping[str, Any]) -> str:
    assets = f", {split['assets_mean']:.1f} assets a day" if "assets_mean" in split else ""
    return f"{name} {split['first_day']} to {split['last_day']}, {split['rows']:,} days{assets}"


def _missing(records: PanelRecords) -> list[str]:
    study = records.study
    missing = [*study.problems, *records.problems]
    judged = {cell.records.name for cell in records.cells}
    without = [
        cell.name
        for cell in study.cells
        if cell.name not in judged and not any(cell.name in line for line in records.problems)
    ]
    if without:
        phase = study.cells[0].searched["phase"]
        flag = "" if phase is None else f" --phase {phase}"
        missing.append(f"no final runs of {', '.join(without)}: run study.train{flag}.")
    partial = [cell.search for cell in study.searches if not cell.is_complete]
    if partial:
        missing.append(f"incomplete searches: {', '.join(partial)}: run study.sweep again.")
    return missing
