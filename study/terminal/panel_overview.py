"""What a panel's cell prints where a market's prints base rates, log-losses and AUCs."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from study.names import BOOSTING, RIDGE
from study.results.plans.input_record import PanelSplitRecord
from study.results.plans.plan_record import PanelPowerRecord, PlanRow
from study.results.records import PanelBaselineRecord
from study.results.scores import BestEpoch, EpochScores, PanelBest, PanelValidation
from study.statistics.rank_comparison import DailyDifference
from study.terminal.market_overview import with_error


def signed(value: float | None, error: float | None = None) -> str:
    """Return a score with its sign and error, or a dash where it is undefined."""
    if value is None:
        return "-"
    return f"{value:+.4f}" if error is None else f"{value:+.4f} +- {error:.4f}"


def best_score(best: BestEpoch | PanelBest, metric: str | None) -> str:
    """Return the score of a best epoch by which trials are compared, with its error.

    Args:
        best: its scores.
        metric: what trials are scored by; None if that is not known.
    """
    if not isinstance(best, PanelBest):
        return with_error(best.loss, best.loss_se)
    match metric:
        case "ic":
            return f"IC {signed(best.ic, best.ic_se)}"
        case "sharpe":
            return f"Sharpe {signed(best.sharpe, best.sharpe_se)}"
        case "loss":
            return f"loss {with_error(best.base_loss, best.loss_se)}"
    return f"RankIC {signed(best.rank_ic, best.rank_ic_se)}"


def further_scores(scores: PanelBest, *, with_errors: bool = True) -> str | None:
    """Return the RankICs of further heads, one phrase; None of a network of one horizon."""
    if scores.further_rank_ic is None:
        return None
    errors = (scores.further_rank_ic_se or {}) if with_errors else {}
    found = (f"{h} d {signed(v, errors.get(h))}" for h, v in scores.further_rank_ic.items())
    return f"other heads: RankIC {', '.join(found)}"


def shown_score(scores: EpochScores | PanelValidation, metric: str | None) -> str:
    """Return the score of an epoch by which trials are compared, without its error.

    Args:
        scores: those of the epoch.
        metric: what trials are scored by; None if that is not known.
    """
    if not isinstance(scores, PanelValidation):
        return f"{scores.loss:.4f}"
    match metric:
        case "ic":
            return f"IC {signed(scores.ic)}"
        case "sharpe":
            return f"Sharpe {signed(scores.sharpe)}"
        case "loss":
            return f"loss {scores.base_loss:.4f}"
    return f"RankIC {signed(scores.rank_ic)}"


def shown_baseline(baseline: PanelBaselineRecord, metric: str) -> str:
    """Return a baseline with its score in the metric; with its RankIC where it has no such score.

    Args:
        baseline: its scores.
        metric: what trials are scored by.
    """
    match metric:
        case "ic":
            return f"{baseline.name} {signed(baseline.ic)}"
        case "sharpe":
            return f"{baseline.name} {signed(baseline.sharpe)}"
        case "loss":
            return f"{baseline.name} RankIC {signed(baseline.rank_ic)}"
    return f"{baseline.name} {signed(baseline.rank_ic)}"


def ratio(value: float | None) -> str:
    """Return a Sharpe ratio, or a dash where it is undefined."""
    return "-" if value is None else f"{value:+.2f}"


def panel_splits(splits: Mapping[str, PanelSplitRecord]) -> Table:
    """Return a line for each part of a panel's days."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("part", no_wrap=True)
    table.add_column("dates", no_wrap=True)
    for heading in ("days", "labels", "assets a day", "effective days"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, part in splits.items():
        table.add_row(name, *panel_split_cells(part))
    return table


def panel_split_cells(part: PanelSplitRecord) -> tuple[str, ...]:
    """Return the cells of a table's row: dates, days, labels, assets a day, effective days."""
    return (
        f"{part.first_day} to {part.last_day}",
        f"{part.rows:,}",
        f"{part.labels:,}",
        f"{part.assets_mean:.1f}",
        f"{part.effective_size:,.0f}",
    )


def panel_baselines(baselines: Sequence[PanelBaselineRecord], days: str) -> Table:
    """Return a line for each baseline of a panel."""
    table = Table(box=None, padding=(0, 1))
    table.add_column(f"baseline on {days}", no_wrap=True)
    for heading in ("RankIC", "standard error", "IC", "Sharpe", "after costs"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in baselines:
        table.add_row(
            each.name,
            signed(each.rank_ic),
            "-" if each.rank_ic_se is None else f"{each.rank_ic_se:.4f}",
            signed(each.ic),
            ratio(each.sharpe),
            ratio(each.sharpe_net),
        )
    return table


def panel_power_line(power: PanelPowerRecord) -> str:
    """Return what the days of a panel can show, one line."""
    return (
        f"a mean RankIC can be told apart from zero from about {power.rank_ic_validation:.4f} on "
        f"(validation), {power.rank_ic_test:.4f} (test)"
    )


def panel_best_lines(
    scores: PanelBest, *, metric: str, number: int, n_trials: int, n_blocks: float
) -> list[str]:
    """Return the scores of the best trial of a panel, and whether it is better than its rivals.

    Args:
        scores: those of its best epoch.
        metric: what trials were scored by.
        number: its number.
        n_trials: number of trials of which it is the best.
        n_blocks: days on which it was judged over those of a block.
    """
    scored = []
    if metric != "rank_ic":
        costs = " a year before costs" if metric == "sharpe" else ""
        place = "lowest" if metric == "loss" else "highest"
        scored = [f"scored by   {best_score(scores, metric)}{costs}: the {place} of all"]
    further = further_scores(scores)
    return [
        *scored,
        f"best        RankIC {signed(scores.rank_ic, scores.rank_ic_se)} on the validation days "
        f"(trial {number}, epoch {scores.epoch}), IC {signed(scores.ic, scores.ic_se)}",
        f"            long-short: Sharpe {ratio(scores.sharpe)} a year before costs, "
        f"{ratio(scores.sharpe_net)} after; {scores.turnover:.0%} of it is traded a day; hit rate "
        f"{scores.hit_rate:.1%}",
        *([] if further is None else [f"            {further}"]),
        *_verdict(scores, n_trials, n_blocks),
    ]


def _verdict(scores: PanelBest, n_trials: int, n_blocks: float) -> list[str]:
    """Return what the same days say of the best trial and each of the two models to beat."""
    rivals = (
        (RIDGE, scores.difference, scores.difference_se),
        (BOOSTING, scores.boosting_difference, scores.boosting_difference_se),
    )
    lines = []
    for name, difference, error in rivals:
        if difference is not None:
            claim = DailyDifference.of(-difference, error, n_blocks).claim
            lines.append(f"RankIC {signed(-difference, error)} against {name}: {claim}")
    if not lines:
        return []
    caution = f"by 95 % intervals; the best of {n_trials}, chosen on these days, is optimistic"
    return [
        f"verdict     {lines[0]}",
        *(f"            {line}" for line in lines[1:]),
        f"            ({caution})",
    ]


def panel_power_table(rows: Sequence[PlanRow]) -> Table:
    """Return the parts of each horizon of a panel, and the smallest RankIC that they can show."""
    table = Table(box=None, padding=(0, 1))
    for heading in ("horizon", "part", "dates"):
        table.add_column(heading, no_wrap=True)
    for heading in ("days", "labels", "assets a day", "effective days", "RankIC"):
        table.add_column(heading, justify="right", no_wrap=True)
    seen: set[int] = set()
    for row in rows:
        contents, required = row.summary.contents, row.summary.requirements
        horizon = row.summary.question.horizon
        if contents is None or required is None or horizon in seen:
            continue
        seen.add(horizon)
        power = required.power
        assert isinstance(power, PanelPowerRecord)
        least = {"validation": power.rank_ic_validation, "test": power.rank_ic_test}
        for name, part in contents.inputs.splits.items():
            assert isinstance(part, PanelSplitRecord)
            shown = f"{least[name]:.4f}" if name in least else ""
            table.add_row(f"h{horizon}", name, *panel_split_cells(part), shown)
    return table
