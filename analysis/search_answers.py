"""What the trials of the searches say: shapes, horizons, coverage, settings and time."""

import itertools
from collections.abc import Callable

import numpy as np
from scipy.stats import kendalltau

from analysis.law import Floats
from analysis.section import (
    Cell,
    Figure,
    Section,
    Series,
    Table,
    days_ahead,
)
from analysis.study import CellRecords, StudyRecords
from analysis.trials import best_of_curve, correlations, difference_of_best
from analysis.verdict import Estimate
from study.results.records import TrialRecord

_SETTINGS = ("learning_rate", "weight_decay", "dropout", "auxiliary_weight", "ema_decay")
_SHAPE = ("d_model", "n_layers", "n_heads", "d_ff_ratio", "patch_length", "patch_stride")

_BUDGET_LOW, _BUDGET_HIGH = 0.75, 1.25
"""Share of its budget that a model may use."""

_DIFFERENT_SHARE = 0.2
"""Relative spread over horizons above which the origin study called a setting different."""

_FEWEST_COMMON = 5
"""Configurations that two horizons must share before their ranks are compared."""


def depth_section(study: StudyRecords) -> Section:
    """Whether depth wins over width."""

    def ratio(trial: TrialRecord) -> float:
        return float(trial.params["n_layers"]) / float(trial.params["d_model"])

    def split(cell: CellRecords) -> Callable[[TrialRecord], bool]:
        middle = float(np.median([ratio(trial) for trial in cell.rankable]))
        return lambda trial: ratio(trial) > middle

    return _grouped(
        study,
        name="depth",
        title="Does depth win over width?",
        first="deep",
        second="wide",
        split=split,
        caption="Deep: layers / width above the cell's median. The expected best of equally many "
        "trials of either group; negative means that deep is better.",
    )


def heads_section(study: StudyRecords) -> Section:
    """Whether more heads help."""

    def split(cell: CellRecords) -> Callable[[TrialRecord], bool]:
        middle = float(np.median([float(t.params["n_heads"]) for t in cell.rankable]))
        return lambda trial: float(trial.params["n_heads"]) > middle

    return _grouped(
        study,
        name="heads",
        title="Do more heads help?",
        first="more",
        second="fewer",
        split=split,
        caption="More: above the cell's median. The expected best of equally many trials of either "
        "group; negative means that more heads are better.",
    )


def _grouped(
    study: StudyRecords,
    *,
    name: str,
    title: str,
    first: str,
    second: str,
    split: Callable[[CellRecords], Callable[[TrialRecord], bool]],
    caption: str,
) -> Section:
    rows: list[list[Cell]] = []
    told = {first: 0, second: 0}
    numbers = {}
    for cell in study.cells:
        found = difference_of_best(cell.rankable, split(cell)) if cell.rankable else None
        if found is None:
            rows.append([cell.budget, days_ahead(cell.horizon), None, None, "too few trials"])
            continue
        difference, k = found
        assert difference.low is not None
        assert difference.high is not None
        claim = "not told apart"
        if difference.high < 0 or difference.low > 0:
            claim = first if difference.value < 0 else second
            told[claim] += 1
        rows.append([cell.budget, days_ahead(cell.horizon), k, difference, claim])
        numbers[cell.name] = {"difference": difference, "k": k, "claim": claim}
    n = sum(told.values())
    return Section(
        name=name,
        title=title,
        sentences=[
            f"In {len(rows) - n} of {len(rows)} cells nothing can be said; {first} is better in "
            f"{told[first]}, {second} in {told[second]}. "
            f"About {0.05 * len(rows):.1f} such claims are expected by chance."
        ],
        tables=[
            Table(
                columns=("budget", "horizon", "trials of each", f"{first} less {second}", "claim"),
                rows=rows,
                caption=caption,
            )
        ],
        numbers=numbers,
    )


def horizons_section(study: StudyRecords) -> Section:
    """Whether the horizon changes the answer."""
    rows: list[list[Cell]] = []
    transfer: list[list[Cell]] = []
    numbers: dict[str, object] = {}
    for budget in dict.fromkeys(cell.budget for cell in study.cells):
        cells = [cell for cell in study.cells if cell.budget == budget]
        for first, second in itertools.combinations(cells, 2):
            losses = _common(first, second)
            n = losses.shape[1]
            tau = None
            if n >= _FEWEST_COMMON:
                tau = _tau(losses)
                numbers[f"{budget} h{first.horizon} h{second.horizon}"] = {"tau": tau, "n": n}
            rows.append([budget, f"{first.horizon} and {second.horizon}", n, tau])
            for taken, asked, own in ((first, second, 0), (second, first, 1)):
                if n:
                    best = int(np.argmin(losses[own]))
                    regret = float(losses[1 - own, best] - losses[1 - own].min())
                    transfer.append([budget, taken.horizon, asked.horizon, n, regret])
    spreads = [_spread_row(study, budget) for budget in
               dict.fromkeys(cell.budget for cell in study.cells)]  # fmt: skip
    taus = [row[3] for row in rows if isinstance(row[3], Estimate)]
    positive = sum(tau.low is not None and tau.low > 0 for tau in taus)
    sentence = (
        f"Of {len(taus)} pairs of horizons with enough configurations in common, {positive} rank "
        "them alike beyond chance. How alike two searches of the same horizon would rank them is "
        "not measured here, so a low correlation is no evidence of a difference."
        if taus
        else "No two horizons share enough configurations to compare their ranks."
    )
    return Section(
        name="horizons",
        title="Does the horizon change the answer?",
        sentences=[sentence],
        tables=[
            Table(
                columns=("budget", "horizons", "configurations in common", "Kendall's tau"),
                rows=rows,
                caption="Ranks by validation loss of the configurations that both searches tried: "
                "forced ones, and the random ones that begin every search.",
                digits=2,
            ),
            Table(
                columns=("budget", "best of", "asked at", "configurations", "regret, nats"),
                rows=transfer,
                caption="What is lost on validation by taking the best common configuration of "
                "another horizon.",
            ),
            Table(
                columns=("budget", *_SETTINGS[:3]),
                rows=[row for row in spreads if row is not None],
                caption=f"Relative spread of the best settings over horizons; the origin study "
                f"called more than {_DIFFERENT_SHARE:.0%} different. In brackets the spread among "
                "the best five trials of one horizon: where that is as large, the rule says "
                "nothing.",
                digits=2,
            ),
        ],
        numbers=numbers,
    )


def _common(first: CellRecords, second: CellRecords) -> Floats:
    """Return the losses of the configurations that both tried, shape (2, n)."""

    def by_params(cell: CellRecords) -> dict[tuple[tuple[str, object], ...], float]:
        return {
            tuple(sorted(trial.params.items())): trial.value
            for trial in cell.rankable
            if trial.value is not None and trial.reason != "asha"
        }

    one, two = by_params(first), by_params(second)
    shared = [params for params in one if params in two]
    return np.array([[one[p] for p in shared], [two[p] for p in shared]]).reshape(2, -1)


def _tau(losses: Floats) -> Estimate:
    draw = np.random.default_rng(0)
    n = losses.shape[1]
    spread = []
    for _ in range(500):
        rows = draw.integers(n, size=n)
        value = float(kendalltau(losses[0, rows], losses[1, rows]).statistic)
        if np.isfinite(value):
            spread.append(value)
    low, high = np.quantile(spread, [0.025, 0.975])
    value = float(kendalltau(losses[0], losses[1]).statistic)
    return Estimate(value=value, low=float(low), high=float(high), se=float(np.std(spread)))


def _spread_row(study: StudyRecords, budget: str) -> list[Cell] | None:
    cells = [cell for cell in study.cells if cell.budget == budget and cell.rankable]
    if len(cells) < 2:
        return None
    row: list[Cell] = [budget]
    for name in _SETTINGS[:3]:
        best = np.array([float(cell.rankable[0].params[name]) for cell in cells])
        within = [
            np.array([float(trial.params[name]) for trial in cell.rankable[:5]]) for cell in cells
        ]
        inner = float(np.mean([_relative_spread(values) for values in within]))
        row.append(f"{_relative_spread(best):.0%} ({inner:.0%})")
    return row


def _relative_spread(values: Floats) -> float:
    mean = abs(float(values.mean()))
    return float(np.ptp(values)) / mean if mean else 0.0


def budget_section(study: StudyRecords) -> Section:
    """Whether models use their budget."""
    rows: list[list[Cell]] = []
    outside = 0
    for cell in study.cells:
        shares = np.array([t.param_count / cell.budget_parameters for t in cell.trials])
        if not len(shares):
            continue
        outside += int(((shares < _BUDGET_LOW) | (shares > _BUDGET_HIGH)).sum())
        best = cell.rankable[0].param_count / cell.budget_parameters if cell.rankable else None
        rows.append(
            [cell.budget, days_ahead(cell.horizon), f"{shares.min():.0%}",
             f"{np.median(shares):.0%}", f"{shares.max():.0%}",
             None if best is None else f"{best:.0%}"]
        )  # fmt: skip
    return Section(
        name="budget",
        title="Do models use their budget?",
        sentences=[
            f"{outside} trials of all cells lie outside of 75 to 125 % of their budget, by exact "
            "count."
        ],
        tables=[
            Table(columns=("budget", "horizon", "least", "median", "most", "best trial"), rows=rows)
        ],
        numbers={"outside": outside},
    )


def coverage_section(study: StudyRecords) -> Section:
    """Whether the search was a good one."""
    rows: list[list[Cell]] = []
    series = []
    for cell in study.cells:
        values = np.array([t.value for t in cell.rankable], dtype=np.float64)
        reasons = [t.reason for t in cell.trials]
        distinct = len({tuple(sorted(t.params.items())) for t in cell.trials})
        shapes = len({(t.params["d_model"], t.params["n_layers"]) for t in cell.trials})
        spread = float(np.ptp(values) / values.min()) if len(values) else None
        rows.append(
            [
                cell.budget, days_ahead(cell.horizon), len(cell.trials), distinct, shapes,
                sum(t.source == "sampled" for t in cell.trials), reasons.count("asha"),
                sum(not t.is_rankable for t in cell.trials),
                None if spread is None else f"{spread:.1%}",
            ]
        )  # fmt: skip
        if len(values) >= 2:
            curve = best_of_curve(values)
            series.append(
                Series(
                    name=f"{cell.budget} h{cell.horizon}",
                    x=list(range(1, len(curve) + 1)),
                    y=[e.value - float(values.min()) for e in curve],
                    is_line=True,
                )
            )
    return Section(
        name="coverage",
        title="Was the search a good one?",
        sentences=[
            f"{sum(cell.is_complete for cell in study.cells)} of {len(study.cells)} searches are "
            "complete. The curve shows what fewer trials would have found; it takes trials for "
            "independent draws, which TPE's and ASHA's are not, so it flatters small numbers."
        ],
        tables=[
            Table(
                columns=(
                    "budget",
                    "horizon",
                    "trials",
                    "distinct",
                    "shapes",
                    "sampled",
                    "cut by ASHA",
                    "failed or collapsed",
                    "spread of losses",
                ),
                rows=rows,
            )
        ],
        figures=[
            Figure(
                name="best_of_k",
                title="Expected best of k trials, above the best of all",
                x_label="trials",
                y_label="nats per day",
                series=series,
                alt="How the best validation loss falls with the number of trials.",
            )
        ]
        if series
        else [],
    )


def importance_section(study: StudyRecords) -> Section:
    """Which settings hang together with the loss."""
    rows: list[list[Cell]] = []
    numbers: dict[str, object] = {}
    names = (*_SHAPE, *_SETTINGS)
    for cell in study.cells:
        trials = [t for t in cell.rankable if t.reason != "asha"]
        if len(trials) < 2 * _FEWEST_COMMON:
            continue
        found = correlations(trials, [n for n in names if n in trials[0].params])
        ordered = sorted(found, key=lambda name: -abs(found[name].value))
        rows += [[cell.budget, days_ahead(cell.horizon), name, found[name]] for name in ordered]
        numbers[cell.name] = found
    return Section(
        name="importance",
        title="Which settings matter?",
        sentences=[
            "Rank correlations with the validation loss over the trials that ran to their end; "
            "negative: larger values have lower losses. They are no causes: the sampler looks "
            "where losses are low, and width, depth and heads hang together in a budget."
            if rows
            else f"No search has the {2 * _FEWEST_COMMON} whole trials that this needs."
        ],
        tables=[
            Table(columns=("budget", "horizon", "setting", "Spearman's rho"), rows=rows, digits=2)
        ]
        if rows
        else [],
        numbers=numbers,
    )


def time_section(study: StudyRecords) -> Section:
    """How long searches took, and how long was expected."""
    rows: list[list[Cell]] = []
    ratios = []
    for cell in study.cells:
        estimate = cell.searched.get("estimate", {}).get("search_seconds_expected")
        if not cell.trials:
            continue
        taken = max(t.ended for t in cell.trials) - min(t.started for t in cell.trials)
        busy = sum(t.duration_seconds or 0.0 for t in cell.trials)
        if estimate and cell.is_complete:
            ratios.append(taken / estimate)
        rows.append([cell.budget, days_ahead(cell.horizon), _minutes(estimate), _minutes(taken),
                     _minutes(busy)])  # fmt: skip
    sentence = (
        f"From its first trial to its last a search took {np.median(ratios):.2f} times its "
        "estimate (median); beside other cells it takes longer than the estimate, which is for "
        "the cell alone."
        if ratios
        else "No complete search has an estimate."
    )
    return Section(
        name="time",
        title="How long did it take, and how long was expected?",
        sentences=[sentence],
        tables=[
            Table(
                columns=(
                    "budget", "horizon", "estimate, minutes", "taken, minutes",
                    "all trials, minutes",
                ),
                rows=rows,
                digits=1,
            )
        ],
        numbers={"median_ratio": float(np.median(ratios)) if ratios else None},
    )  # fmt: skip


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 60
