"""The section on whether the horizon changes which configuration is best.

Of several searches of a budget each is compared with the search of its number at other horizons,
which draws from the same seed, and never with another search of its own horizon.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from analysis.answers.report_parts import Cell, Section, Table
from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate, estimate
from analysis.study_records import CellRecords, StudyRecords
from analysis.trial_statistics import comparable, not_counted
from study.results.records import TrialRecord

_SETTINGS = ("learning_rate", "weight_decay", "dropout")

_DIFFERENT_SHARE = 0.2
"""Relative spread of a setting over horizons above which the study that this one replaces called it
different."""

_FEWEST_COMMON = 5
"""Configurations that two horizons must share before their ranks are compared."""

_N_RESAMPLES = 500

Pair = tuple[TrialRecord, TrialRecord]
"""One configuration, trained for two horizons."""


def horizons_section(study: StudyRecords) -> Section:
    """Return the section on whether the horizon changes the answer."""
    labels = list(dict.fromkeys(cell.label for cell in study.cells))
    ranks: list[list[Cell]] = []
    transfer: list[list[Cell]] = []
    numbers: dict[str, object] = {}
    below = []
    for label in labels:
        cells = [cell for cell in study.cells if cell.label == label]
        for first, second in itertools.combinations(cells, 2):
            pairs = _common(first, second)
            found = rank_agreement(pairs)
            name = f"{first.horizon} and {second.horizon}"
            ranks.append([label, name, len(pairs), *(found or (None, None, None))])
            if found is not None:
                across, ceiling, difference = found
                numbers[f"{label} h{first.horizon} h{second.horizon}"] = {
                    "across": across, "ceiling": ceiling, "difference": difference,
                    "n": len(pairs),
                }  # fmt: skip
                below.append(difference.high is not None and difference.high < 0)
            if pairs:
                transfer += _transfer_rows(label, (first, second), pairs)
    spreads = [_spread_row(study, label) for label in labels]
    return Section(
        name="horizons",
        title="Does the horizon change the answer?",
        sentences=[f"{_sentence(below)}{not_counted(study.trials)}"],
        tables=[
            Table(
                columns=(
                    "budget", "horizons", "configurations in common", "across horizons",
                    "within a horizon", "across less within",
                ),
                rows=ranks,
                caption="Kendall's tau of the ranks by loss on one half of the validation days "
                "with those by the other half (every other block of days): of one horizon with the "
                "other, and of each with itself, which is the most that can be expected. Over the "
                "configurations that both searches tried: forced ones, and the random ones that "
                "begin every search.",
                digits=2,
            ),
            Table(
                columns=("budget", "best of", "asked at", "configurations", "regret, nats"),
                rows=transfer,
                caption="What is lost on validation by taking the best common configuration of "
                "another horizon.",
            ),
            Table(
                columns=("budget", *_SETTINGS),
                rows=[row for row in spreads if row is not None],
                caption=f"Relative spread of the best settings over horizons; the origin study "
                f"called more than {_DIFFERENT_SHARE:.0%} different. In brackets the spread among "
                "the best five trials of one horizon: where that is as large, the rule says "
                "nothing.",
                digits=2,
            ),
        ],
        numbers=numbers,
    )  # fmt: skip


def _sentence(below: Sequence[bool]) -> str:
    if not below:
        return "No two horizons share enough configurations to compare their ranks."
    by_chance = 0.025 * len(below)
    return (
        f"Of {len(below)} pairs of horizons with enough configurations in common, {sum(below)} "
        "rank them less alike than one horizon ranks them on other days; "
        f"about {by_chance:.1f} would do so by chance. "
        + (
            "There the best configuration may depend on the horizon."
            if sum(below)
            else "Nothing shows that the best configuration depends on the horizon."
        )
    )


def rank_agreement(pairs: Sequence[Pair]) -> tuple[Estimate, Estimate, Estimate] | None:
    """Return how alike two horizons rank configurations, the most that it could be, and the gap.

    Ranks by one half of the validation days are compared with ranks by the other half, across
    horizons and within each: only so do both sides hold the same noise. Intervals over
    configurations.

    Returns: None with too few configurations whose losses by halves are known.
    """
    halves = [
        [one.best.half_losses, two.best.half_losses]
        for one, two in pairs
        if one.best is not None
        and two.best is not None
        and one.best.half_losses is not None
        and two.best.half_losses is not None
    ]
    if len(halves) < _FEWEST_COMMON:
        return None
    losses = np.array(halves)
    draw = np.random.default_rng(0)
    rows = draw.integers(len(losses), size=(_N_RESAMPLES, len(losses)))
    times = np.array([np.bincount(sample, minlength=len(losses)) for sample in rows])
    value, spread = _agreement(losses, np.ones((1, len(losses))))[0], _agreement(losses, times)
    across, within = (estimate(float(value[i]), spread[:, i]) for i in range(2))
    return across, within, estimate(float(value[0] - value[1]), spread[:, 0] - spread[:, 1])


def _agreement(losses: Floats, times_RN: Floats) -> Floats:
    """Return Kendall's tau-b across horizons and within, (R, 2).

    Args:
        losses: of shape (N, horizon, half).
        times_RN: how often each resample has each of the N configurations. All pairs of two
            configurations are counted at once, as often as the resample has them.
    """
    order = np.sign(losses[:, None] - losses[None])

    def tau(first: tuple[int, int], second: tuple[int, int]) -> Floats:
        x_NN, y_NN = order[:, :, *first], order[:, :, *second]

        def total(pairs_NN: Floats) -> Floats:
            return np.asarray(((times_RN @ pairs_NN) * times_RN).sum(axis=1))

        with np.errstate(invalid="ignore"):
            return total(x_NN * y_NN) / np.sqrt(total(x_NN**2) * total(y_NN**2))

    across = (tau((0, 0), (1, 1)) + tau((0, 1), (1, 0))) / 2
    within = (tau((0, 0), (0, 1)) + tau((1, 0), (1, 1))) / 2
    return np.stack([across, within], axis=1)


def _common(first: CellRecords, second: CellRecords) -> list[Pair]:
    """Return the configurations that both tried to their end."""

    def by_params(cell: CellRecords) -> dict[tuple[tuple[str, object], ...], TrialRecord]:
        return {
            tuple(sorted(trial.params.items())): trial
            for trial in comparable(cell.rankable)
            if trial.reason != "asha"
        }

    one, two = by_params(first), by_params(second)
    return [(one[params], two[params]) for params in one if params in two]


def _transfer_rows(
    label: str, cells: tuple[CellRecords, CellRecords], pairs: Sequence[Pair]
) -> list[list[Cell]]:
    losses = np.array([[trial.value for trial in pair] for pair in pairs], dtype=np.float64).T
    rows: list[list[Cell]] = []
    for own, other in ((0, 1), (1, 0)):
        best = int(np.argmin(losses[own]))
        regret = float(losses[other, best] - losses[other].min())
        rows.append([label, cells[own].horizon, cells[other].horizon, len(pairs), regret])
    return rows


def _spread_row(study: StudyRecords, label: str) -> list[Cell] | None:
    searches = [comparable(cell.rankable) for cell in study.cells if cell.label == label]
    searches = [trials for trials in searches if trials]
    if len(searches) < 2:
        return None
    row: list[Cell] = [label]
    for name in _SETTINGS:
        best = np.array([float(trials[0].params[name]) for trials in searches])
        within = [
            np.array([float(trial.params[name]) for trial in trials[:5]]) for trials in searches
        ]
        inner = float(np.mean([_relative_spread(values) for values in within]))
        row.append(f"{_relative_spread(best):.0%} ({inner:.0%})")
    return row


def _relative_spread(values: Floats) -> float:
    mean = abs(float(values.mean()))
    return float(np.ptp(values)) / mean if mean else 0.0
