"""The report of a study: read, judge, answer, write."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.answers.first_screen import first_screen
from analysis.answers.questions import answer, headline
from analysis.answers.report_parts import closing_facts, plain
from analysis.answers.searched_answer import found_sentences
from analysis.cell_judgement import JudgedHorizon, judge_study
from analysis.draw import draw
from analysis.page import Report, to_html, to_markdown
from analysis.panel.panel_judgement import judge_panel
from analysis.panel.panel_records import read_panel
from analysis.panel.panel_report import build_panel
from analysis.study_records import StudyRecords, read_study
from analysis.trial_statistics import both_modes
from study.command import Exit
from study.output import open_console
from study.results.plans.input_record import SearchFoldsRecord
from study.storage.files import write_text

REPORT_FOLDER = "report"

_WINDOWS = (
    "means of differences between models on disjoint windows of 712 days vary 1.1 to 2.2 times as "
    "much as the error of one window's own days says (six pairs of baselines, three horizons, S&P "
    "500 of 1991 to 2016)"
)
"""What another period may add to every interval, as ``tests/bench/test_windows.py`` prints it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenReport:
    """A report, and where it was written."""

    report: Report
    folder: Path
    numbers: str
    """The content of ``report.json``."""

    @property
    def page(self) -> Path:
        """The report as one HTML file that needs nothing else."""
        return self.folder / "report.html"


def run(arguments: argparse.Namespace) -> int:
    """Write the report of a study and print where it is."""
    written = report_study(arguments.storage, arguments.study)
    if arguments.json:
        print(written.numbers)
        return Exit.OK
    console = open_console()
    for sentence in written.report.summary:
        console.print(sentence, soft_wrap=True)
    for line in written.report.missing:
        console.print(f"missing: {line}", soft_wrap=True)
    console.print(f"\n{written.page}", soft_wrap=True)
    return Exit.OK


def report_study(results: Path, name: str | None = None) -> WrittenReport:
    """Write the report of a study beside its results.

    Args:
        results: the results folder.
        name: the study; None takes the only one there.

    Raises:
        StudyError: there is no such study, or its records cannot be read.
    """
    study = read_study(results, name)
    if study.is_panel:
        report = build_panel(judge_panel(read_panel(results, study)))
    else:
        report = build(study, judge_study(study))
    folder = results / REPORT_FOLDER
    return WrittenReport(report=report, folder=folder, numbers=write(report, study, folder))


def build(study: StudyRecords, horizons: list[JudgedHorizon]) -> Report:
    """Return the whole content of a study's report."""
    first = study.cells[0]
    finals = [cell.final for cell in study.cells if cell.final is not None]
    facts = [
        f"Study {study.name}, {study.variant}: {_counted(study)}, "
        f"{sum(cell.n_ended for cell in study.searches)} trials, "
        f"{sum(len(final.runs) for final in finals)} final runs.",
        f"Data {first.source}, sha256 {str(first.searched['data_sha256'])[:16]}; "
        + "; ".join(
            f"{part} {s['first_day']} to {s['last_day']}, {s['rows']} days, base rate "
            f"{s['base_rate']:.3f}"
            for part, s in first.searched["splits"].items()
        )
        + f" (horizon {first.horizon}).",
    ]
    folds = SearchFoldsRecord.of(first.searched)
    if folds is not None:
        facts.append(f"Searched on {folds.scope}: their losses are no forecasts.")
    tested = first.searched["splits"]["test"]
    facts.append(
        f"Every claim is of one market, {first.source}, and one period, {tested['first_day']} to "
        f"{tested['last_day']} for test days. Its interval is that of other days like these: "
        f"{_WINDOWS}."
    )
    facts += both_modes([trial for cell in study.cells for trial in cell.trials])
    facts += closing_facts(finals, study.other_phases)
    missing = list(study.problems)
    missing += [cell.final_problem for cell in study.cells if cell.final_problem is not None]
    missing += [problem for cell in study.cells for problem in cell.share_problems]
    without = [c.name for c in study.cells if c.final is None and c.final_problem is None]
    if without:
        phase = first.searched["phase"]
        flag = "" if phase is None else f" --phase {phase}"
        missing.append(f"no final runs of {', '.join(without)}: run study.train{flag}.")
    partial = [cell.search for cell in study.searches if not cell.is_complete]
    if partial:
        missing.append(f"incomplete searches: {', '.join(partial)}: run study.sweep again.")
    summary = headline(horizons) or [
        "No final runs yet: nothing is said of test days.",
        *found_sentences(study),
    ]
    return Report(
        title=f"What the study {study.name} found",
        first=first_screen(study, horizons),
        facts=facts,
        summary=summary,
        missing=missing,
        sections=answer(study, horizons),
    )


def _counted(study: StudyRecords) -> str:
    """Return how many cells there are, and of how many searches if that is another number.

    One search may have the cells of several budgets, and several may be of the same cell.
    """
    cells = len({(cell.budget, cell.horizon) for cell in study.cells})
    searches = len(study.searches)
    if cells == searches:
        return f"{cells} cells"
    return f"{cells} cells of {searches} search{'' if searches == 1 else 'es'}"


def write(report: Report, study: StudyRecords, folder: Path) -> str:
    """Write the report in all its forms; return the text of report.json."""
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    drawings = {}
    for figure in report.figures:
        svg, png = draw(figure)
        drawings[figure.name] = svg
        write_text(figures / f"{figure.name}.svg", svg)
        (figures / f"{figure.name}.png").write_bytes(png)
    numbers: dict[str, Any] = {
        "study": study.name,
        "headline": report.first.headline,
        "findings": {each.label: list(each.clauses) for each in report.first.findings},
        "facts": list(report.facts),
        "summary": list(report.summary),
        "missing": list(report.missing),
        "sections": {
            section.name: {
                "title": section.title,
                "sentences": list(section.sentences),
                "numbers": section.numbers,
                "tables": [
                    {"columns": list(table.columns), "rows": [list(row) for row in table.rows]}
                    for table in section.tables
                ],
            }
            for section in report.sections
        },
    }
    text = json.dumps(plain(numbers), indent=1, allow_nan=False)
    write_text(folder / "report.json", text + "\n")
    write_text(folder / "report.md", to_markdown(report))
    write_text(folder / "report.html", to_html(report, drawings))
    return text
