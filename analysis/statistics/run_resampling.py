"""What a scaling law is fitted to: runs of known size and loss, and how they are resampled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.statistics.floats import Floats
from analysis.statistics.winner_noise import Winners, winners_of
from study.errors import StudyError, require

LEAST_LEVELS = 3
"""Number of sizes below which no form of a law can be distinguished from another."""

_LEVELS_PER_PARAMETER = 2
"""Sizes without repeats, per parameter, that make resampling them worth something: a choice of this
project."""

_LEAST_MISFIT = 1e-6
"""Mean log residual below which a curve meets the losses as closely as it was fitted."""

_LARGEST_LOG = 690.0
"""Greatest log of a loss that is drawn from little knowledge of the noise: a float ends at e to the
709."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """Runs of models, one row each: seeds of the winners of searches.

    Args:
        names: of the axes of ``sizes``, as the user knows them.
        sizes: positive, shape (n, n_axes): parameters, or parameters and training samples.
        losses: positive, shape (n,).
        resampled: losses of the same runs on resampled test days, shape (n_resamples, n).
        budget: number of the budget of each run, shape (n,); None where each size is one.
        search: number of the search within its budget whose winner each run is, shape (n,); None
            where each budget was searched once.
    """

    names: tuple[str, ...]
    sizes: Floats
    losses: Floats
    resampled: Floats | None = None
    budget: np.ndarray | None = None
    search: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name, column in zip((*self.names, "loss"), (*self.sizes.T, self.losses), strict=True):
            bad = np.flatnonzero(~(np.isfinite(column) & (column > 0)))
            require(
                bad.size == 0,
                name,
                "must be a positive number in every row",
                got=f"{column[bad[0]]} in row {bad[0] + 1}" if bad.size else "",
                remedy="Leave such rows out, and say which.",
                error=StudyError,
            )

    def __len__(self) -> int:
        return len(self.losses)

    @property
    def levels(self) -> Floats:
        """The different sizes, ascending, shape (n_levels, n_axes)."""
        return np.unique(self.sizes, axis=0)

    @property
    def budgets(self) -> np.ndarray:
        """Number of the budget of each run, shape (n,)."""
        if self.budget is not None:
            return self.budget
        _, level = np.unique(self.sizes, axis=0, return_inverse=True)
        return np.asarray(level.ravel())

    @property
    def members(self) -> list[np.ndarray]:
        """Row numbers of the runs of each search of each budget."""
        search = np.zeros(len(self), dtype=np.intp) if self.search is None else self.search
        both = np.stack([self.budgets, search], axis=1)
        found, unit = np.unique(both, axis=0, return_inverse=True)
        order = np.argsort(unit.ravel(), kind="stable")
        ends = np.cumsum(np.bincount(unit.ravel(), minlength=len(found)))
        return np.split(order, ends[:-1])

    def without(self, rows: np.ndarray) -> "Runs":
        """Return the runs that are not in these rows."""
        kept = np.setdiff1d(np.arange(len(self)), rows)
        return Runs(
            names=self.names,
            sizes=self.sizes[kept],
            losses=self.losses[kept],
            resampled=None if self.resampled is None else self.resampled[:, kept],
            budget=None if self.budget is None else self.budget[kept],
            search=None if self.search is None else self.search[kept],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Misfit:
    """What a curve leaves of the losses: a measure of all that varies from search to search."""

    residuals: Floats
    """Log of each loss less that of the curve."""
    n_parameters: int
    """Number of parameters of the curve."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resamples:
    """Resampled runs: other losses of all runs, or other numbers of each run."""

    how: str
    """Description of how runs were resampled, in words."""
    losses: Floats
    """Losses of the runs, shape (n_resamples, n), or (n,)."""
    weights: Floats | None
    """Number of times that each run is in each resample, shape (n_resamples, n)."""


def resample(
    runs: Runs, n_resamples: int, *, seed: int, misfit: Misfit | None = None
) -> Resamples | None:
    """Resample runs as their noise comes: test days for all together, then seeds, then winners.

    The runs of a search share its winner, so they move together. The variance of seeds is pooled
    over all searches that have several runs. That of winners is what the means of searches scatter
    about a curve, less what days and seeds explain of it. How far each is known is drawn too, from
    its degrees of freedom (a generalised interval, Weerahandi 1993). Where few runs are repeats
    and days are not resampled, runs of all sizes are resampled instead, if there are sizes enough.

    Args:
        runs: any.
        n_resamples: of the runs.
        seed: of what is drawn.
        misfit: of the curve; None leaves out what varies from search to search.

    Returns: None where nothing can be said: no repeats that differ, no resampled days, few sizes.
    """
    draw = np.random.default_rng(seed)
    members = runs.members
    n_repeats = len(runs) - len(members)
    if runs.resampled is None and n_repeats < len(members) and _some_single(members):
        n_parameters = 2 * runs.sizes.shape[1] + 1
        if len(members) >= _LEVELS_PER_PARAMETER * n_parameters:
            n = len(runs)
            weights = draw.multinomial(n, np.full(n, 1 / n), n_resamples).astype(np.float64)
            return Resamples(how="runs of all sizes", losses=runs.losses, weights=weights)
    sources: list[str] = []
    if runs.resampled is None:
        logs = np.tile(np.log(runs.losses), (n_resamples, 1))
    else:
        logs = np.log(runs.resampled[np.arange(n_resamples) % len(runs.resampled)])
        sources = ["blocks of test days, the same for all"]
    on_days = None if runs.resampled is None else np.log(runs.resampled)
    known = winners_of(np.log(runs.losses), on_days, members, runs.budgets)
    if misfit is not None:
        means = np.array([misfit.residuals[rows].mean() for rows in members])
        misfit = replace(misfit, residuals=means)
    seeds, winners = _variances(known, misfit, n_resamples, draw)
    sources += ["seeds"] * bool(seeds.any()) + ["winners"] * bool(winners.any())
    if not sources:
        return None
    how = " x ".join(sources)
    if misfit is not None and len(members) <= misfit.n_parameters:
        how += f" (winners not: {len(members)} tell nothing beside a curve with as many parameters)"
    moved = np.sqrt(seeds / known.n_runs + winners)
    moved = moved * draw.standard_normal((n_resamples, len(members)))
    for index, rows in enumerate(members):
        logs[:, rows] += moved[:, [index]]
    return Resamples(
        how=how,
        losses=np.exp(np.clip(logs, -_LARGEST_LOG, _LARGEST_LOG)),
        weights=None,
    )


def _variances(
    known: Winners, misfit: Misfit | None, n_resamples: int, draw: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the variances of seeds and of winners as they may be, each of shape (n_resamples, 1).

    Args:
        known: the winners.
        misfit: of the curve, a residual per winner; None leaves out what varies from search to
            search.
        n_resamples: number of draws.
        draw: of them.
    """
    shape = (n_resamples, 1)
    seeds, winners = np.zeros(shape), np.zeros(shape)
    if known.squares > 0:
        drawn = known.squares / draw.chisquare(known.freedom, size=shape)
        seeds = np.maximum(drawn - known.own_days, 0)
    freedom = 0 if misfit is None else len(known.values) - misfit.n_parameters
    if misfit is not None and freedom > 0:
        squares = float((misfit.residuals**2).sum())
        if np.sqrt(squares / len(known.values)) > _LEAST_MISFIT:
            explained = known.day_variance + seeds * np.mean(1 / known.n_runs)
            winners = np.maximum(squares / draw.chisquare(freedom, size=shape) - explained, 0)
    return seeds, winners


def _some_single(members: Sequence[np.ndarray]) -> bool:
    """Was some winner trained once only?"""
    return any(len(rows) == 1 for rows in members)
