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
from study.data.dataset import DROPPED_DAYS
from study.data.features import build_features, feature_hash
from study.data.inputs import Scaler, make_inputs, scale_inputs
from study.data.sources import Prices
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
    exported: ExportedModel, prices: Prices, n_days: int, *, device: torch.device
) -> tuple[DayArray, PriceArray]:
    """Return the latest days and what the model says of each; the last may have no label yet.

    Raises:
        DataError: the history is too short for one window.
    """
    inputs = make_inputs(build_features(prices), exported.data.normalization)
    features = scale_inputs(inputs, exported.scaler, exported.data.normalization)
    first = exported.model.context_length - 1
    require(
        len(features) > first,
        prices.name,
        f"must hold at least {DROPPED_DAYS + first + 1} bars",
        got=f"{len(prices.frame)}",
        remedy="Give a longer history.",
        error=DataError,
    )
    days = np.arange(max(first, len(features) - n_days), len(features))
    logits = predict_logits(exported.model, exported.weights, features, days, device=device)
    dates: DayArray = prices.frame.index.to_numpy().astype("datetime64[D]")[DROPPED_DAYS:][days]
    probability: PriceArray = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return dates, probability
