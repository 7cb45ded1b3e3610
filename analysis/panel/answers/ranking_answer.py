"""Sections on the ranking: its scores, and how it stands to every baseline."""

from analysis.answers.report_parts import Cell, Section, Table, days_ahead
from analysis.panel.panel_judgement import JudgedPanel, JudgedPanelCell, risen
from analysis.panel.panel_words import signed
from study.results.finals.final_records import ORACLE
from study.results.plans.input_record import SearchFoldsRecord


def baselines_section(panel: JudgedPanel) -> Section:
    """Return the section on winners beside every baseline, in one family of comparisons."""
    rows: list[list[Cell]] = [
        [cell.label, days_ahead(cell.cell.horizon), each.other,
         cell.scores[each.other].rank_ic, risen(each.difference), each.claim]
        for cell in panel.cells
        for each in cell.standing.differences
    ]  # fmt: skip
    return Section(
        name="baselines",
        title="Does it rank better than the baselines?",
        sentences=[_standing_sentence(cell) for cell in panel.cells],
        tables=[
            Table(
                columns=("budget", "horizon", "baseline", "its RankIC", "difference", "claim"),
                rows=rows,
                caption="Daily RankIC of the winner less that of the baseline on the same test "
                "days: above zero the winner ranks better. 95 % intervals over blocks of days and "
                f"seeds; claims hold after all {panel.n_comparisons} comparisons.",
            )
        ],
        numbers={
            cell.name: {
                each.other: {
                    "rank_ic_less_baseline": risen(each.difference),
                    "claim": each.claim,
                    "excludes_zero": each.excludes_zero,
                }
                for each in cell.standing.differences
            }
            for cell in panel.cells
        },
    )


def scores_section(panel: JudgedPanel) -> Section:
    """Return the section with every score of every model on the test days."""
    sentences = []
    for cell in panel.cells:
        own = cell.own
        seeds = ", ".join(f"{seed}: {signed(each)}" for seed, each in own.by_seed.items())
        sentences.append(f"{_where(cell)}, RankIC by seed (intervals of days alone): {seeds}.")
        if cell.validation is not None:
            sentences.append(
                f"On {_chosen_on(cell)}, its RankIC is {signed(cell.validation)}: no forecast."
            )
        sentences += [f"{_where(cell)}: {note}." for note in cell.notes]
    costs = sorted({cell.cell.portfolio.cost_basis_points for cell in panel.cells})
    shares = sorted({cell.cell.portfolio.share for cell in panel.cells})
    return Section(
        name="scores",
        title="How good is the ranking, and what would it have earned?",
        sentences=sentences,
        tables=[
            table_of(cell)
            for cell in panel.cells
            for table_of in (_ranking_table, _portfolio_table)
        ],
        numbers={
            "cost_basis_points": costs,
            "portfolio_share": shares,
            "cells": {
                cell.name: {
                    name: {
                        "rank_ic": each.rank_ic, "rank_ic_by_seed": dict(each.by_seed),
                        "ic": each.ic, "icir": each.icir, "hit_rate": each.hit_rate,
                        "sharpe": each.sharpe, "sharpe_net": each.sharpe_net,
                        "turnover": each.turnover,
                    }
                    for name, each in cell.scores.items()
                }
                for cell in panel.cells
            },
            "validation_rank_ic": {cell.name: cell.validation for cell in panel.cells},
        },
    )  # fmt: skip


def oracle_section(panel: JudgedPanel) -> Section | None:
    """Return the section on how far winners are from the best scores of a simulated panel."""
    cells = [cell for cell in panel.cells if cell.under_oracle is not None]
    if not cells:
        return None
    leaks = [cell.name for cell in cells if cell.is_leak]
    rows: list[list[Cell]] = [
        [cell.label, days_ahead(cell.cell.horizon), cell.scores[ORACLE].rank_ic, cell.own.rank_ic,
         cell.under_oracle, cell.oracle_errors, "LEAK" if cell.is_leak else "no"]
        for cell in cells
    ]  # fmt: skip
    return Section(
        name="oracle",
        title="How far from the best possible ranking?",
        sentences=[
            "This panel is simulated, so the best possible scores of every day are known. "
            + (
                f"LEAK: {', '.join(leaks)} rank better than them by more than three standard "
                "errors: the inputs must know the future."
                if leaks
                else "No winner ranks better than them by more than three standard errors, which "
                "would be a leak."
            )
        ],
        tables=[
            Table(
                columns=(
                    "budget", "horizon", "best possible", "winner", "difference",
                    "in standard errors", "leak",
                ),
                rows=rows,
                caption="RankIC on test days; the difference is paired by day.",
            )
        ],
        numbers={
            cell.name: {
                "difference": cell.under_oracle,
                "standard_errors": cell.oracle_errors,
                "is_leak": cell.is_leak,
            }
            for cell in cells
        },
    )  # fmt: skip


def _chosen_on(cell: JudgedPanelCell) -> str:
    """Return the days before the test days for which the final runs answer, in words."""
    folds = SearchFoldsRecord.of(cell.cell.records.searched)
    if folds is None:
        return "the validation days, on which it was chosen"
    return "the validation days, the latest of those on whose folds it was chosen"


def _standing_sentence(cell: JudgedPanelCell) -> str:
    """Return from which baselines a winner is told apart, in words."""
    names = {
        claim: [each.other for each in cell.standing.differences if each.claim == claim]
        for claim in ("better", "worse", "not told apart")
    }
    said = [
        f"{claim} {'from' if claim == 'not told apart' else 'than'} {', '.join(own)}"
        for claim, own in names.items()
        if own
    ]
    return f"{_where(cell)}: {'; '.join(said)}."


def _ranking_table(cell: JudgedPanelCell) -> Table:
    rows: list[list[Cell]] = [
        [name, each.rank_ic, each.ic, each.icir, each.hit_rate]
        for name, each in cell.scores.items()
    ]
    test = cell.cell.test
    return Table(
        columns=("model", "RankIC", "IC", "ICIR", "hit rate"),
        rows=rows,
        caption=f"{_where(cell)}, {len(test.dates):,} test days, {test.assets_mean:.1f} assets a "
        "day: means over days and seeds with 95 % intervals.",
    )


def _portfolio_table(cell: JudgedPanelCell) -> Table:
    rows: list[list[Cell]] = [
        [name, each.sharpe, each.sharpe_net, each.turnover] for name, each in cell.scores.items()
    ]
    portfolio = cell.cell.portfolio
    return Table(
        columns=("model", "Sharpe a year", "after costs", "turnover a day"),
        rows=rows,
        digits=2,
        caption=f"{_where(cell)}: long the best {portfolio.share:.0%} of the day's assets, short "
        f"the worst, each held {_days(portfolio.horizon)}; costs of "
        f"{portfolio.cost_basis_points:g} basis points of what is traded. The ratio is that of one "
        "day's tranche, too low for scores that change fast.",
    )


def _days(n: int) -> str:
    return "1 day" if n == 1 else f"{n} days"


def _where(cell: JudgedPanelCell) -> str:
    return f"{cell.label}, {days_ahead(cell.cell.horizon)}"
