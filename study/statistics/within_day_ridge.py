"""Ridge regression on what sets the assets of a day apart, from sums of products alone.

Shapes: D day, A asset, F input.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Inputs = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Days = npt.NDArray[np.int64]

_GROUPS = 5
"""Groups of consecutive training days, of which all but the first judge penalties."""

PENALTIES = tuple(10.0**tenth for tenth in np.arange(1, 8.5, 0.5))
"""Penalties to choose from, asset-days: a coefficient is shrunk as if so many more had been seen,
none of which had shown anything. Inputs that together explain an information coefficient of IC are
shrunk best by F / IC**2 (10,000 for 25 inputs and .05) if asset-days are independent, and by
some hundred times as much where returns overlap and assets move together."""

_ROWS_AT_ONCE = 2**17
"""Asset-days whose products are summed at once, 32 MiB of 30 inputs in float64."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WithinDayRidge:
    """A fitted linear score."""

    weights: Floats
    """Weight of each input, shape (n_inputs,)."""
    penalty: float
    """The penalty that was chosen, asset-days."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Sums of products over asset-days of inputs and, in the last column, the target."""

    products: Floats
    n: int

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(self.products + other.products, self.n + other.n)


def fit_within_day_ridge(
    inputs_DAF: Inputs, target_DA: Inputs, mask_DA: Mask, days: Days, *, horizon: int
) -> WithinDayRidge:
    """Fit a linear score to the assets of days, and choose its penalty on those days alone.

    Inputs and targets are taken as differences from their means over the assets of the day: what
    is common to them all ranks nothing. A penalty is judged by the squared error on each group of
    days but the first, of fits to the groups before it; the days on which labels of both sides
    overlap are left out. The groups' sums of products say all of it, so that the inputs are read
    once, in parts, and never copied as a whole.

    Args:
        inputs_DAF: inputs of about unit variance; read where the mask is True alone.
        target_DA: what the score aims at, likewise.
        mask_DA: assets that have inputs and a target.
        days: rows of the days to fit, ascending.
        horizon: rows ahead that a target looks.
    """
    fitted: _Sums | None = None
    errors = np.zeros(len(PENALTIES))
    for group in np.array_split(days, _GROUPS):
        if fitted is None:
            fitted = _sums(inputs_DAF, target_DA, mask_DA, group)
            last = group[-1] if len(group) else -horizon
            continue
        is_clear = group >= last + horizon
        clear = _sums(inputs_DAF, target_DA, mask_DA, group[is_clear])
        errors += [_squared_error(_solve(fitted, penalty), clear) for penalty in PENALTIES]
        fitted += clear + _sums(inputs_DAF, target_DA, mask_DA, group[~is_clear])
        last = group[-1] if len(group) else last
    assert fitted is not None
    penalty = PENALTIES[int(np.argmin(errors))]
    return WithinDayRidge(weights=_solve(fitted, penalty), penalty=penalty)


def ridge_scores(model: WithinDayRidge, inputs_DAF: Inputs, days: Days) -> Floats:
    """Return the linear score of every asset of the days, shape (n, n_assets)."""
    scores = np.empty((len(days), inputs_DAF.shape[1]))
    for rows in _parts(np.arange(len(days)), inputs_DAF.shape[1]):
        scores[rows] = inputs_DAF[days[rows]].astype(np.float64) @ model.weights
    return scores


def _sums(inputs_DAF: Inputs, target_DA: Inputs, mask_DA: Mask, days: Days) -> _Sums:
    """Return the sums of products of the days' assets, each less its mean over the day."""
    n_columns = inputs_DAF.shape[2] + 1
    products, n = np.zeros((n_columns, n_columns)), 0
    for part in _parts(days, inputs_DAF.shape[1]):
        mask_DA_part = mask_DA[part]
        rows = np.empty((*mask_DA_part.shape, n_columns))
        rows[..., :-1] = inputs_DAF[part]
        rows[..., -1] = target_DA[part]
        rows[~mask_DA_part] = 0
        counts = mask_DA_part.sum(axis=1)
        rows -= (rows.sum(axis=1) / np.maximum(counts, 1)[:, None])[:, None, :]
        rows[~mask_DA_part] = 0
        flat = rows.reshape(-1, n_columns)
        products += flat.T @ flat
        n += int(counts.sum())
    return _Sums(products, n)


def _parts(days: Days, n_assets: int) -> list[Days]:
    at_once = max(1, _ROWS_AT_ONCE // n_assets)
    return np.split(days, range(at_once, len(days), at_once))


def _solve(sums: _Sums, penalty: float) -> Floats:
    """Return the weights of a penalty, which weighs on inputs as if their variance were one."""
    squares, cross = sums.products[:-1, :-1], sums.products[:-1, -1]
    variance = np.diag(squares) / max(sums.n, 1)
    # An input that is the same for all assets of a day has no weight; rounding gives it variance.
    known = variance > 1e-9
    scale = np.where(known, np.sqrt(np.where(known, variance, 1)), np.inf)
    scaled = squares / scale[:, None] / scale
    weights: Floats = np.linalg.solve(scaled + penalty * np.eye(len(scale)), cross / scale) / scale
    return weights


def _squared_error(weights: Floats, sums: _Sums) -> float:
    """Return the sum of squared errors of a linear score on the asset-days of the sums."""
    residual = np.append(weights, -1.0)
    return float(residual @ sums.products @ residual)
