"""A trained model as a folder that needs nothing else, and what it says of the latest days.

model.safetensors   float32 weights by name
model.json          architecture, data definition, scaler, feature names, where it comes from
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from study.data.arrays import DayArray, PriceArray
from study.data.config import DataConfig
from study.data.features import feature_hash
from study.data.inputs import Scaler, build_inputs, dropped_days, scale_inputs, usable_bars
from study.data.sources import Prices
from study.data.vix_series import VixSeries
from study.errors import DataError, StudyError, require
from study.model.config import ModelConfig
from study.results.files import read_json, sync_folder, write_json
from study.training.predict import predict_logits

WEIGHTS_FILE, CARD_FILE = "model.safetensors", "model.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedModel:
    """What is needed to predict from prices alone."""

    cell: str
    data: DataConfig
    model: ModelConfig
    scaler: Scaler
    feature_hash: str
    origin: Mapping[str, Any]
    """Trial, seed, validation loss, commit, and the data it learnt from."""
    weights: Mapping[str, Tensor]


def export_model(folder: Path, exported: ExportedModel) -> None:
    """Write the model; the file that describes it is written last."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{WEIGHTS_FILE}.tmp"
    save_file({name: weight.contiguous() for name, weight in exported.weights.items()}, temporary)
    temporary.replace(folder / WEIGHTS_FILE)
    sync_folder(folder)
    card = {
        "cell": exported.cell,
        "data": dataclasses.asdict(exported.data),
        "model": dataclasses.asdict(exported.model),
        "scaler": dataclasses.asdict(exported.scaler),
        "feature_hash": exported.feature_hash,
        "origin": dict(exported.origin),
    }
    write_json(folder / CARD_FILE, json.loads(json.dumps(card, allow_nan=False)))


def load_model(folder: Path) -> ExportedModel:
    """Read a model back.

    Raises:
        StudyError: it is not there, broken, or its features are computed differently by now.
    """
    try:
        card = read_json(folder / CARD_FILE)
        weights = load_file(folder / WEIGHTS_FILE)
        exported = ExportedModel(
            cell=card["cell"],
            data=DataConfig(**card["data"]),
            model=ModelConfig(**card["model"]),
            scaler=Scaler(**{name: tuple(values) for name, values in card["scaler"].items()}),
            feature_hash=card["feature_hash"],
            origin=card["origin"],
            weights=weights,
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise StudyError(
            f"{folder}: must hold a model as study.train exports it, but got {error!r}. Run "
            "study.train for its cell."
        ) from error
    require(
        exported.feature_hash == feature_hash(exported.data.tier),
        str(folder),
        "must have been trained on features as this version computes them",
        got="another definition of them",
        remedy="Use the version that trained it, or train again.",
        error=StudyError,
    )
    return exported


def predict_days(
    exported: ExportedModel,
    prices: Prices,
    n_days: int,
    *,
    device: torch.device,
    vix: VixSeries | None = None,
) -> tuple[DayArray, PriceArray]:
    """Return the latest days and what the model says of each; the last may have no label yet.

    Args:
        exported: the model.
        prices: bars up to the day to be predicted.
        n_days: how many of the latest days.
        device: where the model runs.
        vix: the volatility index, if the model has learnt from one.

    Raises:
        DataError: the history is too short for one window.
    """
    tier = exported.data.tier
    inputs = build_inputs(prices, tier, exported.data.normalization, vix)
    first = exported.model.context_length - 1
    require(
        len(inputs) > first,
        prices.name,
        f"must hold at least {dropped_days(tier) + first + 1} bars"
        + ("" if vix is None else f", {first + 1} of them with inputs made of the VIX"),
        got=f"{len(prices.frame)}"
        + ("" if vix is None else f", {len(inputs)} (vix {vix.name}: {vix.span})"),
        remedy="Give a longer history.",
        error=DataError,
    )
    features = scale_inputs(inputs, exported.scaler, exported.data.normalization)
    days = np.arange(max(first, len(features) - n_days), len(features))
    logits = predict_logits(exported.model, exported.weights, features, days, device=device)
    bars = usable_bars(prices, tier, vix)[days]
    dates: DayArray = prices.frame.index.to_numpy().astype("datetime64[D]")[bars]
    probability: PriceArray = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return dates, probability
