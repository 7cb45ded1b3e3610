"""What a scaling law is fitted to: runs of known size and loss, and how they are resampled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from analysis.statistics.floats import Floats
from analysis.statistics.winner_noise import Winners, group_means, repeats_of, winners_of
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
        return _groups(np.stack([self.budgets, self._searches], axis=1))

    @property
    def repeats(self) -> list[np.ndarray]:
        """Row numbers of the runs that differ in their seed alone.

        They are those of ``members``, apart for each amount of data on which a winner was trained.
        """
        if self.budget is None or self.sizes.shape[1] == 1:
            return self.members
        own = np.stack([self.budgets, self._searches], axis=1).astype(np.float64)
        return _groups(np.concatenate([own, self.sizes[:, 1:]], axis=1))

    @property
    def _searches(self) -> np.ndarray:
        return np.zeros(len(self), dtype=np.intp) if self.search is None else self.search

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


def _groups(keys: np.ndarray) -> list[np.ndarray]:
    """Return the row numbers of each different row of keys, in the order of the keys."""
    found, unit = np.unique(keys, axis=0, return_inverse=True)
    order = np.argsort(unit.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(unit.ravel(), minlength=len(found)))
    return np.split(order, ends[:-1])


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
    about a curve, less what days and seeds explain of it. Where winners were trained on several
    amounts of data, what the amounts of a winner scatter is a variance of its own: the exponent of
    the data is known from within winners, that of the size from their means. How far each is known
    is drawn too, from its degrees of freedom (a generalised interval, Weerahandi 1993). Where few
    runs are repeats and days are not resampled, runs of all sizes are resampled instead, if there
    are sizes enough.

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
    units = _Units.of(runs)
    if misfit is not None:
        misfit = replace(misfit, residuals=group_means(misfit.residuals, runs.repeats))
    noise = _variances(units, misfit, n_resamples, draw)
    sources += ["seeds"] * bool(noise.seeds.any()) + ["winners"] * bool(noise.winners.any())
    sources += ["shares of the days"] * bool(noise.amounts.any())
    if not sources:
        return None
    how = " x ".join(sources)
    if misfit is not None and len(members) <= units.n_parameters(misfit):
        how += f" (winners not: {len(members)} tell nothing beside a curve with as many parameters)"
    _move_runs(logs, runs, units, noise, draw)
    return Resamples(
        how=how,
        losses=np.exp(np.clip(logs, -_LARGEST_LOG, _LARGEST_LOG)),
        weights=None,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Units:
    """Sets of runs that differ in their seed alone, and the winners that they belong to."""

    winners: Winners
    own: Sequence[np.ndarray]
    """Numbers of the sets of each winner: one, or one for each amount of data."""
    n_runs: Floats
    """Number of runs in each set."""
    days: Floats | None
    """Mean log losses of each set on resampled days, shape (n_resamples, n_sets); None without."""
    n_further_axes: int
    """Number of axes along which the sets of a winner differ: 0 or 1."""

    @classmethod
    def of(cls, runs: Runs) -> Self:
        """Return the sets of runs, and the winners that they belong to."""
        on_days = None if runs.resampled is None else np.log(runs.resampled)
        members, repeats = runs.members, runs.repeats
        return cls(
            winners=winners_of(np.log(runs.losses), on_days, members, runs.budgets, repeats),
            own=repeats_of(members, repeats),
            n_runs=np.array([len(rows) for rows in repeats], dtype=np.float64),
            days=None if on_days is None else group_means(on_days, repeats),
            n_further_axes=runs.sizes.shape[1] - 1 if len(repeats) > len(members) else 0,
        )

    def n_parameters(self, misfit: Misfit) -> int:
        """Return the number of a curve's parameters that winners decide between them.

        A further axis has a coefficient and an exponent, which the sets of a winner decide.
        """
        return misfit.n_parameters - 2 * self.n_further_axes

    def within(self, values: Floats) -> Floats:
        """Return values of sets, shape (..., n_sets), less the mean over those of their winner."""
        found = np.empty_like(values)
        for sets in self.own:
            found[..., sets] = values[..., sets] - values[..., sets].mean(axis=-1, keepdims=True)
        return found

    @property
    def day_variance_within(self) -> float:
        """Variance by which days move a set against the others of its winner."""
        if self.days is None:
            return 0.0
        moves = self.within(self.days - self.days.mean(axis=0))
        return float((moves**2).sum()) / (len(moves) - 1) / (len(self.n_runs) - len(self.own))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Variances:
    """Variances as they may be, each of shape (n_resamples, 1)."""

    seeds: Floats
    """Variance of a run by its seed."""
    winners: Floats
    """Variance of a winner by its search, whatever it was trained on."""
    amounts: Floats
    """Variance of a winner's loss with one amount of data against its others; 0 with one amount."""


def _move_runs(
    logs: Floats, runs: Runs, units: _Units, noise: _Variances, draw: np.random.Generator
) -> None:
    """Add the noise of seeds, winners and their amounts of data to log losses, in place."""
    if units.n_further_axes:
        _move(logs, runs.repeats, noise.seeds / units.n_runs + noise.amounts, draw)
        _move(logs, runs.members, np.tile(noise.winners, len(runs.members)), draw)
    else:
        _move(logs, runs.members, noise.seeds / units.winners.n_runs + noise.winners, draw)


def _move(
    logs: Floats, groups: Sequence[np.ndarray], variances: Floats, draw: np.random.Generator
) -> None:
    """Add normal noise to log losses, the same to all runs of a group.

    Args:
        logs: shape (n_resamples, n_runs); changed in place.
        groups: rows of the runs of each group.
        variances: shape (n_resamples, n_groups).
        draw: of the noise.
    """
    moved = np.sqrt(variances) * draw.standard_normal((len(logs), len(groups)))
    for index, rows in enumerate(groups):
        logs[:, rows] += moved[:, [index]]


def _variances(
    units: _Units, misfit: Misfit | None, n_resamples: int, draw: np.random.Generator
) -> _Variances:
    """Return the variances of seeds, of winners, and of their sets of runs, as they may be.

    Args:
        units: the sets.
        misfit: of the curve, a residual per set; None leaves out what varies from search to search.
        n_resamples: number of draws.
        draw: of them.
    """
    shape, known = (n_resamples, 1), units.winners
    seeds, winners, amounts = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    if known.squares > 0:
        drawn = known.squares / draw.chisquare(known.freedom, size=shape)
        seeds = np.maximum(drawn - known.own_days, 0)
    if misfit is None or np.sqrt(np.mean(misfit.residuals**2)) <= _LEAST_MISFIT:
        return _Variances(seeds=seeds, winners=winners, amounts=amounts)
    freedom = len(units.n_runs) - len(units.own) - 2 * units.n_further_axes
    if units.n_further_axes and freedom > 0:
        explained = units.day_variance_within + seeds * np.mean(1 / units.n_runs)
        amounts = _beyond(units.within(misfit.residuals), freedom, explained, draw)
    freedom = len(known.values) - units.n_parameters(misfit)
    if freedom > 0:
        means = group_means(misfit.residuals, units.own)
        explained = known.day_variance + seeds * np.mean(1 / known.n_runs)
        if units.n_further_axes:
            explained = explained + amounts * np.mean([1 / len(sets) for sets in units.own])
        winners = _beyond(means, freedom, explained, draw)
    return _Variances(seeds=seeds, winners=winners, amounts=amounts)


def _beyond(
    residuals: Floats, freedom: int, explained: Floats, draw: np.random.Generator
) -> Floats:
    """Return the variance of residuals as it may be, less what is explained of it."""
    squares = float((residuals**2).sum())
    return np.asarray(
        np.maximum(squares / draw.chisquare(freedom, size=explained.shape) - explained, 0)
    )


def _some_single(members: Sequence[np.ndarray]) -> bool:
    """Was some winner trained once only?"""
    return any(len(rows) == 1 for rows in members)
