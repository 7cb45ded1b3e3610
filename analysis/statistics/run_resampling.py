"""What a scaling law is fitted to: runs of known size and loss, and how they are resampled."""

from dataclasses import dataclass

import numpy as np

from analysis.statistics.floats import Floats
from analysis.statistics.seed_noise import draw_seeds, draw_single_seeds
from study.errors import StudyError, require

LEAST_LEVELS = 3
"""Number of sizes below which no form of a law can be distinguished from another."""

_LEVELS_PER_PARAMETER = 2
"""Sizes without repeats, per parameter, that make resampling them worth something: a choice of this
project."""

_LARGEST_LOG = 690.0
"""Greatest log of a loss that is drawn from little knowledge of the noise: a float ends at e to the
709."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """Runs of models, one row each; equal sizes are repeats with other seeds.

    Args:
        names: of the axes of ``sizes``, as the user knows them.
        sizes: positive, shape (n, n_axes): parameters, or parameters and training samples.
        losses: positive, shape (n,).
        resampled: losses of the same runs on resampled test days, shape (n_resamples, n).
    """

    names: tuple[str, ...]
    sizes: Floats
    losses: Floats
    resampled: Floats | None = None

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
    def members(self) -> list[np.ndarray]:
        """Row numbers of the runs of each level."""
        levels, level = np.unique(self.sizes, axis=0, return_inverse=True)
        order = np.argsort(level.ravel(), kind="stable")
        ends = np.cumsum(np.bincount(level.ravel(), minlength=len(levels)))
        return np.split(order, ends[:-1])

    def without(self, rows: np.ndarray) -> "Runs":
        """Return the runs that are not in these rows."""
        kept = np.setdiff1d(np.arange(len(self)), rows)
        resampled = None if self.resampled is None else self.resampled[:, kept]
        return Runs(
            names=self.names,
            sizes=self.sizes[kept],
            losses=self.losses[kept],
            resampled=resampled,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Resamples:
    """Resampled runs: other losses of all runs, or other numbers of each run."""

    how: str
    """Description of how runs were resampled, in words."""
    losses: Floats
    """Losses of the runs, shape (n_resamples, n), or (n,)."""
    weights: Floats | None
    """Number of times that each run is in each resample, shape (n_resamples, n)."""


def resample(runs: Runs, n_resamples: int, *, seed: int) -> Resamples | None:
    """Resample runs as their noise comes: test days for all together, then seeds within a size.

    The noise of sizes that were trained once is that of the others. Where few runs are repeats and
    days are not resampled, runs of all sizes are resampled instead, if there are sizes enough.

    Returns: None where nothing can be said: no repeats that differ, no resampled days, few sizes.
    """
    draw = np.random.default_rng(seed)
    members = runs.members
    single = [rows[0] for rows in members if len(rows) == 1]
    repeated = [rows for rows in members if len(rows) > 1]
    n_repeats = len(runs) - len(members)
    if runs.resampled is None and single and n_repeats < len(members):
        n_parameters = 2 * runs.sizes.shape[1] + 1
        if len(members) >= _LEVELS_PER_PARAMETER * n_parameters:
            n = len(runs)
            weights = draw.multinomial(n, np.full(n, 1 / n), n_resamples).astype(np.float64)
            return Resamples(how="runs of all sizes", losses=runs.losses, weights=weights)
    if runs.resampled is None and not any(np.ptp(runs.losses[rows]) for rows in repeated):
        return None
    if runs.resampled is None:
        logs = np.tile(np.log(runs.losses), (n_resamples, 1))
        how = "seeds within a size"
    else:
        rows = np.arange(n_resamples) % len(runs.resampled)
        logs = np.log(runs.resampled[rows])
        how = "blocks of test days, the same for all" + ", x seeds" * bool(repeated)
    if repeated and single:
        once = ", ".join(f"{size:.6g}" for size in runs.sizes[single, 0])
        how += f" (trained once, so with the noise of the other sizes: {once})"
        logs[:, single] = draw_single_seeds(
            logs[:, single], [logs[:, rows] for rows in repeated], draw
        )
    elif single:
        how += " (no size is repeated: the noise of seeds is not in the intervals)"
    for rows in repeated:
        logs[:, rows] = draw_seeds(logs[:, rows], draw)
    return Resamples(
        how=how, losses=np.exp(np.clip(logs, -_LARGEST_LOG, _LARGEST_LOG)), weights=None
    )


def trend(sizes: Floats, losses: Floats) -> Floats:
    """Return the slope of log loss on log size, by least squares, of losses of shape (..., n).

    Of equal sizes it is NaN.
    """
    if len(np.unique(sizes)) < 2:
        return np.full(losses.shape[:-1], np.nan)
    x = np.log(sizes) - np.log(sizes).mean()
    return np.asarray(np.log(losses) @ x / (x @ x))


def permutation_p(runs: Runs, n_permutations: int, *, seed: int) -> float:
    """Return how often sizes dealt out at random give a trend as steep, of either sign.

    The observed deal counts as one of them, so that the least value is 1 / (n + 1). NaN of equal
    sizes.
    """
    if len(np.unique(runs.sizes[:, 0])) < 2:
        return float("nan")
    draw = np.random.default_rng(seed)
    sizes = runs.sizes[:, 0]
    observed = abs(float(trend(sizes, runs.losses)))
    dealt = draw.permuted(np.tile(runs.losses, (n_permutations, 1)), axis=1)
    as_steep = np.abs(trend(sizes, dealt)) >= observed * (1 - 1e-12)
    return float((1 + as_steep.sum()) / (1 + n_permutations))
