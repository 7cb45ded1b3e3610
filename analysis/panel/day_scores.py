"""The scores of every model of a panel day by day, from the table of its predictions.

Shapes: S seed, D day, A asset.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.statistics.floats import Floats
from study.errors import StudyError, quoted, require
from study.statistics.rank_scores import daily_hit_rate, daily_ic, daily_rank_ic, long_short

_REMEDY = "Remove its folder below final/ and run study.train again."


@dataclass(frozen=True, kw_only=True, slots=True)
class Portfolio:
    """The portfolio that is made of a ranking."""

    horizon: int
    """Days of holding, which are those of the labels."""
    share: float
    """Share of a day's assets that is bought, and that is sold."""
    cost_basis_points: float
    """Costs of a trade, basis points of what is traded."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DailyScores:
    """What the runs of one model are worth on each day; every array has the shape (S, D)."""

    seeds: tuple[int | None, ...]
    """Seeds of the runs, ascending; None of what has no seed."""
    rank_ic: Floats
    """Spearman correlation of scores and returns across the day's assets."""
    ic: Floats
    """Pearson correlation of the same."""
    hit_rate: Floats
    """Share of assets whose score and return lie on one side of the day's medians."""
    earned: Floats
    """Return of the long-short portfolio, per day of holding, before costs."""
    net: Floats
    """The same after costs."""
    turnover: Floats
    """Weight that is traded, in multiples of the capital on either side."""

    @property
    def losses(self) -> Floats:
        """The daily 1 - RankIC, of which less is better."""
        return np.asarray(1 - self.rank_ic)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DayScores:
    """The scores of several models on the same days of one part."""

    dates: npt.NDArray[np.datetime64]
    """Days, datetime64[D] of shape (D,), ascending; those on which all returns are equal, and those
    with fewer than three assets, are left out."""
    assets_mean: float
    """Mean number of ranked assets a day."""
    n_assets: int
    """Number of different assets."""
    models: Mapping[str, DailyScores]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Run:
    """The scores of one run, or of one baseline."""

    model: str
    seed: int | None
    scores: npt.NDArray[np.float32]
    returns: npt.NDArray[np.float32]
    ranked: npt.NDArray[np.bool_]


def day_scores(
    table: pd.DataFrame,
    part: str,
    where: str,
    portfolio: Portfolio,
    *,
    models: Collection[str] | None = None,
) -> DayScores | None:
    """Return the daily scores of models for the days of a part; None if it has none of them.

    Args:
        table: as ``read_panel_predictions`` returns it.
        part: validation or test.
        where: what the table is of, as messages name it.
        portfolio: that is made of the ranks.
        models: names of those that are judged; None judges all.

    Raises:
        StudyError: the models speak of different asset-days, or of one twice, or no day can be
            judged.
    """
    is_own = (table["part"] == part).to_numpy()
    if models is not None:
        is_own = is_own & table["model"].isin(models).to_numpy()
    rows = table[is_own]
    if rows.empty:
        return None
    day, dates = pd.factorize(rows["date"].to_numpy(), sort=True)
    found: dict[str, list[tuple[int | None, dict[str, Floats]]]] = {}
    first: _Run | None = None
    for run in _runs(rows, day, len(dates), where):
        first = first or run
        require(
            np.array_equal(run.ranked, first.ranked) and np.array_equal(run.returns, first.returns),
            where,
            "every model must have been asked about the same asset-days",
            got=f"other {part} days, assets or returns of {quoted(run.model)}",
            remedy=_REMEDY,
            error=StudyError,
        )
        found.setdefault(run.model, []).append((run.seed, _judged(run, portfolio)))
    assert first is not None
    return _together(found, first, dates.astype("datetime64[D]"), f"{where}, {part} days")


def _together(
    found: Mapping[str, list[tuple[int | None, dict[str, Floats]]]],
    first: _Run,
    dates: npt.NDArray[np.datetime64],
    where: str,
) -> DayScores:
    """Return the scores of all models on the days that can be judged, the same for all.

    Raises:
        StudyError: there is none.
    """
    # Which day has no correlation depends on its returns alone: scores are finite.
    rows = np.flatnonzero(np.isfinite(next(iter(found.values()))[0][1]["rank_ic"]))
    require(
        len(rows) > 0,
        where,
        "some day must have three ranked assets whose returns differ",
        got=f"none of {len(dates)} days",
        remedy="Give a panel of more assets.",
        error=StudyError,
    )
    models = {}
    for name, runs in found.items():
        runs.sort(key=lambda each: -1 if each[0] is None else each[0])
        arrays = {score: np.stack([own[score][rows] for _, own in runs]) for score in runs[0][1]}
        models[name] = DailyScores(seeds=tuple(seed for seed, _ in runs), **arrays)
    return DayScores(
        dates=dates[rows],
        assets_mean=float(first.ranked[rows].sum(axis=1).mean()),
        n_assets=int(first.ranked[rows].any(axis=0).sum()),
        models=models,
    )


def _runs(rows: pd.DataFrame, day: npt.NDArray[np.intp], n_days: int, where: str) -> Iterator[_Run]:
    """Yield every run of a table, one after the other: all at once would not fit into memory.

    Raises:
        StudyError: a run has an asset-day twice.
    """
    assets = rows["asset"].cat
    n_assets = len(assets.categories)
    place = day * n_assets + assets.codes.to_numpy()
    seed, seeds = pd.factorize(rows["seed"], sort=True)
    names = rows["model"].cat.categories
    key = rows["model"].cat.codes.to_numpy().astype(np.int64) * (len(seeds) + 1) + seed
    scores, returns = (rows[name].to_numpy(np.float32) for name in ("score", "y"))
    for own in pd.unique(key):
        here = np.flatnonzero(key == own)
        # A missing seed has the code -1, and thereby the first place among those of its model.
        model, number = divmod(int(own) + 1, len(seeds) + 1)
        dense: dict[str, npt.NDArray[Any]] = {
            "scores": np.zeros(n_days * n_assets, np.float32),
            "returns": np.zeros(n_days * n_assets, np.float32),
            "ranked": np.zeros(n_days * n_assets, bool),
        }
        dense["scores"][place[here]] = scores[here]
        dense["returns"][place[here]] = returns[here]
        dense["ranked"][place[here]] = True
        name = str(names[model])
        require(
            int(dense["ranked"].sum()) == len(here),
            where,
            "every model and seed must have one score of an asset and day",
            got=f"{len(here) - int(dense['ranked'].sum())} twice of {quoted(name)}",
            remedy=_REMEDY,
            error=StudyError,
        )
        yield _Run(
            model=name,
            seed=int(seeds[number - 1]) if number else None,
            **{what: values.reshape(n_days, n_assets) for what, values in dense.items()},
        )


def _judged(run: _Run, portfolio: Portfolio) -> dict[str, Floats]:
    """Return the daily scores of a run by name, each of shape (D,)."""
    arrays = (run.scores, run.returns, run.ranked)
    held = long_short(*arrays, horizon=portfolio.horizon, share=portfolio.share)
    return {
        "rank_ic": daily_rank_ic(*arrays),
        "ic": daily_ic(*arrays),
        "hit_rate": daily_hit_rate(*arrays),
        "earned": held.returns_D,
        "net": held.net_D(portfolio.cost_basis_points),
        "turnover": held.turnover_D,
    }
