"""A trained model as a self-contained folder, and its predictions for the latest days.

model.safetensors   float32 weights by name
model.json          architecture, data definition, scaler, feature names, origin; hashes of the
                    weights and of these values
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from study.data.arrays import DayArray, PriceArray
from study.data.data_config import DataConfig
from study.data.features import feature_hash
from study.data.inputs import Scaler, build_inputs, dropped_days, scale_inputs, usable_bars
from study.data.panel.panel_dataset import PanelDataset
from study.data.panel.panel_inputs import panel_feature_hash
from study.data.prices import Prices
from study.data.vix_series import VixSeries
from study.errors import DataError, StudyError, cause, require
from study.fields import day, require_type
from study.model.families import family_of
from study.model.model_config import ModelConfig
from study.model.sizing import count_parameters
from study.planning.cell_series import AnyDataset
from study.storage.files import make_way, read_json, sync_folder, temporary_path, write_json
from study.storage.layout import CARD_FILE, RECORD_FILE, WEIGHTS_FILE
from study.training.metrics import probability
from study.training.prediction import predict_logits

_UNFIT = (
    OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError,
    RuntimeError, SafetensorError,
)  # fmt: skip
"""Exceptions that reading a model raises if another program has written it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedModel:
    """A trained model with all that predictions from prices need."""

    cell: str
    data: DataConfig
    model: ModelConfig
    scaler: Scaler
    feature_hash: str
    origin: Mapping[str, Any]
    """Trial, seed, validation loss and commit, and the data that it was trained on."""
    weights: Mapping[str, Tensor]


def export_model(folder: Path, exported: ExportedModel) -> None:
    """Write the model; the file that describes it, with the hashes, is written last.

    Raises:
        StudyError: a weight is not finite.
    """
    _require_finite_weights(exported.weights, str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / WEIGHTS_FILE
    temporary = temporary_path(path)
    # An earlier file of this name may be a link, through which safetensors would write.
    temporary.unlink(missing_ok=True)
    save_file({name: weight.contiguous() for name, weight in exported.weights.items()}, temporary)
    weights_hash = _file_hash(temporary)
    make_way(path)
    temporary.replace(path)
    sync_folder(folder)
    card = {
        "cell": exported.cell,
        "data": exported.data.resolved(),
        "model": dataclasses.asdict(exported.model),
        "scaler": dataclasses.asdict(exported.scaler),
        "feature_hash": exported.feature_hash,
        "origin": dict(exported.origin),
        "weights_sha256": weights_hash,
    }
    plain = json.loads(json.dumps(card, allow_nan=False))
    write_json(folder / CARD_FILE, {**plain, "sha256": _card_hash(plain)})


def load_model(folder: Path) -> ExportedModel:
    """Read a model back, if it is bit for bit the one that was exported.

    Raises:
        StudyError: it is missing or changed, or this version computes its features differently.
    """
    card = read_json(folder / CARD_FILE)
    _require_unchanged(card, folder)
    try:
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
        _require_fitting(exported)
    except _UNFIT as error:
        raise StudyError(
            f"{folder}: must hold a model as study.train exports it, but got "
            f"{type(error).__name__}: {cause(error)}. {_again(folder)}"
        ) from error
    require(
        exported.feature_hash == _feature_hash(exported.data),
        str(folder),
        "must have been trained on features as this version computes them",
        got="another definition of them",
        remedy="Use the version that trained it, or train again.",
        error=StudyError,
    )
    _require_finite_weights(exported.weights, str(folder / WEIGHTS_FILE))
    return exported


def _feature_hash(config: DataConfig) -> str:
    return panel_feature_hash(config.tier) if config.is_panel else feature_hash(config.tier)


def origin_of(data: AnyDataset) -> dict[str, Any]:
    """Return what a model's card says of the data that it was trained on.

    That of a panel has the fields of ``PanelOrigin``.
    """
    days = data.dates[data.train_days]
    origin = {"data_sha256": data.fingerprint, "last_training_day": str(days[-1])}
    if isinstance(data, PanelDataset):
        rows = data.standardising_rows
        spans = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
        return {
            **origin,
            "assets": list(data.assets),
            "sectors": list(data.sector_names),
            "input_spans": [[str(data.dates[rows[end]]) for end in (0, -1)] for rows in spans],
            "input_days": len(rows),
        }
    return {"base_rate": data.base_rate, **origin}


def scaler_of(data: AnyDataset) -> Scaler:
    """Return the scaler of a data set; inputs of a panel are built standardised."""
    if isinstance(data, PanelDataset):
        n = len(data.feature_names)
        return Scaler(names=data.feature_names, mean=(0.0,) * n, sd=(1.0,) * n)
    return data.scaler


def _again(folder: Path) -> str:
    """Return the words on how to export a model again."""
    return (
        f"Move {folder.parent / RECORD_FILE} away and run study.train for its cell: what was "
        "trained is exported again."
    )


def _require_unchanged(card: Any, folder: Path) -> None:
    """Refuse a model that differs from the exported one, before any part of it is used."""

    def check(condition: bool, file: str, rule: str, got: str) -> None:
        remedy = _again(folder)
        require(condition, str(folder / file), rule, got=got, remedy=remedy, error=StudyError)

    is_card = isinstance(card, dict) and "cell" in card
    check(is_card, CARD_FILE, "must describe a model as study.train exports it", "something else")
    check(
        {"sha256", "weights_sha256"} <= card.keys(),
        CARD_FILE,
        "must hold the hashes of the model",
        "an export of an earlier version, without them",
    )
    try:
        found = _card_hash({name: value for name, value in card.items() if name != "sha256"})
    except (ValueError, RecursionError):
        found = "none"
    check(
        found == card["sha256"],
        CARD_FILE,
        "must be as it was exported, with its hash",
        "one that was changed",
    )
    try:
        weights_hash = _file_hash(folder / WEIGHTS_FILE)
    except OSError as error:
        weights_hash = error.strerror or "an error"
    check(
        weights_hash == card["weights_sha256"],
        WEIGHTS_FILE,
        f"must be the weights of {CARD_FILE}, with their hash",
        f"others ({weights_hash})",
    )


def _require_fitting(exported: ExportedModel) -> None:
    """Refuse parts that are inconsistent, or from which no prediction can be made.

    Raises:
        ValueError: they are refused.
    """
    model, scaler, origin = exported.model, exported.scaler, exported.origin
    # The formula comes first, because building a network of a wrong size may take long.
    n_weights = sum(weight.numel() for weight in exported.weights.values())
    if count_parameters(model) != n_weights:
        raise ValueError("weights of another number than the architecture has")
    built = family_of(model).build(model, bf16=False, device="meta").state_dict()
    if {n: w.shape for n, w in built.items()} != {n: w.shape for n, w in exported.weights.items()}:
        raise ValueError("weights of other names or shapes than the architecture has")
    if not len(scaler.names) == len(scaler.mean) == len(scaler.sd) == model.n_features:
        raise ValueError("a scaler of another number of inputs than the architecture has")
    if not all(map(math.isfinite, scaler.mean)) or not all(0 < sd < math.inf for sd in scaler.sd):
        raise ValueError("a scaler without finite means and positive standard deviations")
    if not isinstance(exported.cell, str) or not isinstance(origin["seed"], int):
        raise ValueError("no name of a cell, or no seed")
    if model.n_horizons != 1 + len(exported.data.further_horizons):
        raise ValueError("heads for another number of horizons than it has learned")
    if exported.data.is_panel:
        _require_panel_origin(origin)
    elif not 0 < origin["base_rate"] < 1:
        raise ValueError("a base rate outside of (0, 1)")


class PanelOrigin(TypedDict):
    """The part of a card's origin that ranks of a panel are computed with."""

    assets: Sequence[str]
    sectors: Sequence[str]
    input_spans: Sequence[Sequence[str]]
    """First and last day of each stretch of days that standardises inputs along time."""
    input_days: int
    """Number of days of all stretches."""


def _require_panel_origin(origin: Mapping[str, Any]) -> None:
    """Refuse an origin that does not name the assets, sectors and days of a panel.

    Raises:
        ValueError: it is refused.
    """
    require_type(origin, PanelOrigin, "origin", "Export it again.")
    ends = [end for span in origin["input_spans"] for end in span]
    if len(ends) != 2 * len(origin["input_spans"]) or not all(map(day().holds, ends)):
        raise ValueError("stretches of days without a first and a last day")


def _require_finite_weights(weights: Mapping[str, Tensor], where: str) -> None:
    unfit = [name for name, weight in weights.items() if not bool(torch.isfinite(weight).all())]
    require(
        not unfit,
        where,
        "every weight must be a finite number",
        got=f"NaN or infinity in {len(unfit)} of {len(weights)} tensors, such as {unfit[:1]}",
        remedy="Train the cell again: such a model says nothing.",
        error=StudyError,
    )


def _card_hash(card: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def predict_days(
    exported: ExportedModel,
    prices: Prices,
    n_days: int,
    *,
    device: torch.device,
    vix: VixSeries | None = None,
) -> tuple[DayArray, PriceArray]:
    """Return the latest days and the probability of each; the last may have no label yet.

    Args:
        exported: the model.
        prices: bars up to the day to be predicted.
        n_days: number of latest days.
        device: the device that the model runs on.
        vix: the volatility index, if the model has inputs made of it.

    Raises:
        DataError: the history is too short for one window, or a probability is not finite.
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
    unfit = dates[~np.isfinite(logits)]
    require(
        len(unfit) == 0,
        prices.name,
        "the model must say a probability of every day",
        got=f"NaN or infinity on {len(unfit)} of {len(dates)} days, such as {unfit[:1]}",
        remedy="Look at the prices of the days before, or train the cell again.",
        error=DataError,
    )
    return dates, probability(logits.astype(np.float64))
