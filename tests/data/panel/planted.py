"""Small panels of a fixed seed whose returns hold a linear signal of known size."""

import numpy as np
import numpy.typing as npt

from study.data.panel.panel_dataset import PanelDataset, PanelSplit
from study.data.panel.shared_inputs import SharedInputs

N_FEATURES = 6


def planted_panel(
    *,
    n_days: int = 1200,
    n_assets: int = 20,
    horizon: int = 1,
    ic: float = 0.1,
    seed: int = 0,
    order: npt.NDArray[np.intp] | None = None,
) -> PanelDataset:
    """Return a data set whose returns have the correlation ``ic`` with a sum of two inputs.

    The last two fifths of the days validate. One asset in ten is not ranked on a day, where its
    values are wild.

    Args:
        n_days: days of the data set.
        n_assets: number of assets.
        horizon: days that a return covers; they overlap.
        ic: correlation of best scores and returns of one day.
        seed: of the numbers.
        order: permutation of the assets.
    """
    draw = np.random.default_rng(seed)
    inputs = draw.normal(size=(n_days, n_assets, N_FEATURES)).astype(np.float32)
    # Slow signals, as those of prices are, so that the next days have nearly the same.
    for day in range(1, n_days):
        inputs[day] = 0.95 * inputs[day - 1] + np.sqrt(1 - 0.95**2) * inputs[day]
    signal = (inputs[..., 0] - inputs[..., 1]) / np.sqrt(2)
    daily = ic * signal + np.sqrt(1 - ic**2) * draw.normal(size=(n_days, n_assets))
    daily += draw.normal(size=(n_days, 1))
    sums = np.cumsum(np.concatenate((np.zeros((1, n_assets)), 0.01 * daily)), axis=0)
    returns = np.full((n_days, n_assets), np.nan)
    returns[: n_days - horizon + 1] = sums[horizon:] - sums[:-horizon]
    closes = np.exp(np.concatenate((np.zeros((1, n_assets)), sums[1:-1])))
    present = draw.random((n_days, n_assets)) > 0.1
    returns[~present] = np.nan
    n_train = n_days * 3 // 5
    train = np.arange(n_train - horizon)
    validation = np.arange(n_train, n_days - horizon)
    unused = np.setdiff1d(np.arange(n_days), np.concatenate((train, validation)))
    returns[unused] = np.nan
    inputs[~present] = 1e6
    centred = (
        returns - np.nanmean(np.where(np.isnan(returns).all(1)[:, None], 0, returns), 1)[:, None]
    )
    targets = centred / np.nanstd(returns[train])
    columns = np.arange(n_assets) if order is None else order
    part = PanelSplit(
        rows=len(validation),
        labels=int(np.isfinite(returns[validation]).sum()),
        assets_mean=0.9 * n_assets,
        effective_size=len(validation) / horizon,
        first_day="2000-01-01",
        last_day="2001-01-01",
    )
    return PanelDataset(
        dates=np.datetime64("2000-01-01") + np.arange(n_days),
        feature_names=tuple(f"input_{n}" for n in range(N_FEATURES)),
        train_days=train,
        validation_days=validation,
        n_rows=2 * n_days,
        fold_train_rows=(len(train),),
        context_length=1,
        horizon=horizon,
        shift={},
        warnings=(),
        fingerprint="",
        feature_hash="",
        source="planted",
        inputs=SharedInputs(np.ascontiguousarray(inputs[:, columns])),
        present=present[:, columns],
        returns=returns[:, columns].astype(np.float32),
        targets=targets[:, columns].astype(np.float32),
        volatility=np.ones(n_days, dtype=np.float32),
        assets=tuple(f"asset_{n:03}" for n in columns),
        sectors=np.zeros(n_assets, dtype=np.int64),
        sector_names=("all",),
        closes=closes[:, columns],
        oracle=signal[:, columns].astype(np.float32),
        splits={"train": part, "validation": part, "test": part},
    )
