"""The study's questions in the order of a reader: each section's answer is in a file of its own."""

from collections.abc import Mapping, Sequence

from analysis.answers.final_answers import (
    baselines_section,
    calibration_section,
    winners_section,
)
from analysis.answers.horizon_answer import horizons_section
from analysis.answers.law_answer import law_section, law_sentence, oracle_section
from analysis.answers.period_answer import periods_section
from analysis.answers.report_parts import Cell, Section, Table, days_ahead
from analysis.answers.search_answers import (
    budget_section,
    coverage_section,
    depth_section,
    heads_section,
    importance_section,
    listed_section,
    time_section,
)
from analysis.answers.searched_answer import found_section, more_trials_section
from analysis.answers.selection_answer import selection_section
from analysis.cell_judgement import JudgedHorizon, all_cells
from analysis.study_records import StudyRecords, cells_or_cases


def answer(study: StudyRecords, horizons: Sequence[JudgedHorizon]) -> list[Section]:
    """Return the sections of a report that the records allow, in the order of a reader."""
    sections: list[Section] = []
    if horizons:
        sections += [
            law_section(horizons),
            baselines_section(horizons),
            selection_section(horizons),
            calibration_section(horizons),
            winners_section(horizons),
        ]
        periods = periods_section(horizons)
        sections[2:2] = [] if periods is None else [periods]
        if any(cell.over_oracle for cell in all_cells(horizons)):
            sections.insert(0, oracle_section(horizons))
    listed = listed_section(study)
    sections.append(found_section(study))
    sections += [] if listed is None else [listed]
    sections += [
        depth_section(study),
        heads_section(study),
        horizons_section(study),
        budget_section(study),
        coverage_section(study),
        more_trials_section(study),
        importance_section(study),
        time_section(study),
        _criteria(study, horizons),
    ]
    return sections


def headline(horizons: Sequence[JudgedHorizon]) -> list[str]:
    """Return what a reader must know: a sentence per horizon, and one on baselines."""
    found = []
    for each in horizons:
        days = days_ahead(each.horizon)
        if each.law is None:
            found.append(f"{days}: not identified. {law_sentence(each)}")
        else:
            found.append(f"{days}: {each.law.verdict}. {each.law.sentence}")
    cells = all_cells(horizons)
    leaks = [cell.name for cell in cells if cell.is_leak]
    if leaks:
        found.insert(
            0, f"LEAK: better than the best possible answer by three errors: {', '.join(leaks)}."
        )
    better = [c for c in cells if c.standing.is_better]
    worse = [c for c in cells if c.standing.is_worse]
    if cells:
        what = cells_or_cases([cell.records for cell in cells])
        found.append(
            f"Against all baselines, on test days: {len(better)} of {len(cells)} {what} are better "
            f"than each of them after all comparisons, {len(worse)} are worse than some, the rest "
            "are not told apart from at least one."
        )
    return found


def _criteria(study: StudyRecords, horizons: Sequence[JudgedHorizon]) -> Section:
    cells = all_cells(horizons)
    own = [cell.own for cell in cells]
    checks: Mapping[str, tuple[int, int]] = {
        "searches complete": (
            sum(c.is_complete for c in study.searches), len(study.searches),
        ),
        "cells with final runs": (len(cells), len(study.cells)),
        "winners that did not collapse": (sum(not s.is_next_to_constant for s in own), len(own)),
        "winners inside what was searched": (sum(not c.final.edges for c in cells), len(cells)),
        "cells with five seeds or more": (sum(s.n_seeds >= 5 for s in own), len(own)),
        "cells with skill against the test prior, interval above 0": (
            sum(s.skill_own_prior.low is not None and s.skill_own_prior.low > 0 for s in own),
            len(own),
        ),
        "cells better than every baseline after all comparisons": (
            sum(c.standing.is_better for c in cells), len(cells),
        ),
        "horizons with an identified law": (
            sum(h.law is not None and h.law.verdict in ("scaling", "inverse scaling")
                for h in horizons),
            len(horizons),
        ),
    }  # fmt: skip
    rows: list[list[Cell]] = [
        [name, f"{holds} of {n}", "pass" if n and holds == n else "fail"]
        for name, (holds, n) in checks.items()
    ]
    passed = sum(row[2] == "pass" for row in rows)
    return Section(
        name="criteria",
        title="Does the study meet its criteria?",
        sentences=[f"{passed} of {len(rows)} criteria hold."],
        tables=[Table(columns=("criterion", "holds in", "verdict"), rows=rows)],
        numbers={name: {"holds": holds, "of": n} for name, (holds, n) in checks.items()},
    )
