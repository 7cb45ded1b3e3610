from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from study.data.config import DataConfig
from study.data.dataset import build_dataset, vix_of
from study.data.holdout import known_inputs
from study.data.sources import Prices, load_prices
from study.errors import DataError
from study.final.export import ExportedModel, export_model, load_model, predict_days
from study.model.config import ModelConfig
from study.model.family import family_of

CPU = torch.device("cpu")


def exported(config: DataConfig, prices: Prices) -> ExportedModel:
    dataset = build_dataset(config, prices)
    model = ModelConfig(n_features=len(dataset.feature_names), d_model=8, n_layers=1, n_heads=2)
    network = family_of(model).build(model, bf16=False)
    network.initialise(torch.Generator().manual_seed(1), dataset.base_rate)
    return ExportedModel(
        cell="c",
        data=config,
        model=model,
        scaler=dataset.scaler,
        feature_hash=dataset.feature_hash,
        origin={},
        weights=network.state_dict(),
    )


@pytest.mark.parametrize(
    "config",
    [
        DataConfig(horizon=1),
        DataConfig(horizon=1, tier="a200"),
        DataConfig(horizon=1, tier="c", vix="embedded", task="direction"),
    ],
)
def test_a_model_of_any_tier_predicts_the_latest_days(config: DataConfig, tmp_path: Path) -> None:
    prices = load_prices("sp500")
    export_model(tmp_path, exported(config, prices))
    model, vix = load_model(tmp_path), vix_of(config)
    dates, probability = predict_days(model, prices, 3, device=CPU, vix=vix)
    last = prices.frame.index.to_numpy()[-3:].astype("datetime64[D]")
    np.testing.assert_array_equal(dates, last)
    assert ((probability > 0) & (probability < 1)).all()
    inputs = known_inputs(config, build_dataset(config, prices), prices, vix)
    assert inputs.shape[1] == model.model.n_features


@pytest.mark.parametrize(
    ("config", "n_bars", "words"),
    [
        (DataConfig(horizon=1), 278, r"must hold at least 279 bars, but got 278"),
        (DataConfig(horizon=1, tier="a200"), 331, r"must hold at least 332 bars, but got 331"),
        (
            DataConfig(horizon=1, tier="c", vix="embedded", task="direction"),
            3000,
            r"279 bars, 60 of them with inputs made of the VIX, but got 3000, 0 \(vix embedded",
        ),
    ],
)
def test_a_history_too_short_for_a_window_is_refused(
    config: DataConfig, n_bars: int, words: str
) -> None:
    prices = load_prices("sp500")
    short = replace(prices, frame=prices.frame.iloc[:n_bars])
    with pytest.raises(DataError, match=words):
        predict_days(exported(config, prices), short, 3, device=CPU, vix=vix_of(config))
