"""The epochs of a winner's runs: what each term of the loss was, and how scores moved."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from study.statistics.rank_scores import conflict
from study.storage.files import read_text
from study.storage.layout import EPOCHS_FILE, REFIT_FOLDER, RUNS_FOLDER


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """What one epoch of a run says of the loss and of the ranking."""

    number: int
    """Number of the epoch, from 1."""
    terms: Mapping[str, float]
    """Mean of each term of the training loss over days, before its weight in the loss; with a
    regime strength above 0 the days are weighted in it. Empty where none is kept."""
    rank_ic: float | None
    """Mean RankIC on the validation days; None where the epoch has none."""
    sharpe: float | None
    """Sharpe ratio there, before costs."""
    further: Mapping[str, float]
    """Mean RankIC there of each further head by its horizon in trading days; may be empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEpochs:
    """The epochs of one run."""

    name: str
    epochs: Sequence[Epoch]

    @property
    def conflict(self) -> str | None:
        """Warning where Sharpe has risen over the last epochs and RankIC has fallen."""
        ranks = [(each.rank_ic, each.sharpe) for each in self.epochs if each.rank_ic is not None]
        return conflict([rank for rank, _ in ranks if rank is not None], [s for _, s in ranks])


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanEpoch:
    """One epoch, means over the runs that reached it."""

    number: int
    n_runs: int
    terms: Mapping[str, float]
    rank_ic: float | None
    sharpe: float | None
    further: Mapping[str, float]


def loss_shares(
    terms: Mapping[str, float], params: Mapping[str, Any], epoch: int
) -> dict[str, float]:
    """Return the share of each term in the training loss of an epoch: its size by its weight.

    Shares are of the sum of the absolute values, as the term of a Sharpe ratio may be negative.

    Args:
        terms: the terms of the epoch before their weights; the first is the base loss.
        params: the configuration that trained, which has the weights.
        epoch: number of the epoch, from 1, by which a phase of the schedule has other weights.

    Returns: nothing where the weight of a term is not known.
    """
    own = {**params, **_phase(params, epoch)}
    weights = {
        name: 1.0 if number == 0 else _number(own.get(f"{name}_weight"))
        for number, name in enumerate(terms)
    }
    sizes = {
        name: abs(weight * terms[name]) for name, weight in weights.items() if weight is not None
    }
    total = sum(sizes.values())
    if len(sizes) < len(terms) or total == 0:
        return {}
    return {name: size / total for name, size in sizes.items()}


def has_day_weights(params: Mapping[str, Any]) -> bool:
    """Do the terms weigh days by the market's past volatility, in some phase at least?"""
    settings = [params, *_phases(params)]
    return any((_number(each.get("regime_strength")) or 0) > 0 for each in settings)


def read_run_epochs(folder: Path, *, with_validation: bool = False) -> list[RunEpochs]:
    """Return the epochs of a cell's final runs, of those whose reports are there.

    Args:
        folder: the folder of the cell's final runs.
        with_validation: were the runs trained on the validation days too?
    """
    found = []
    runs = REFIT_FOLDER if with_validation else RUNS_FOLDER
    for path in sorted((folder / runs).glob(f"*/{EPOCHS_FILE}")):
        lines = [_line(text) for text in (read_text(path) or "").splitlines()]
        # A report that was repeated after an interruption is the later of two of one epoch.
        by_number = {epoch.number: epoch for line in lines if (epoch := _epoch(line)) is not None}
        if by_number:
            found.append(
                RunEpochs(
                    name=path.parent.name, epochs=[by_number[each] for each in sorted(by_number)]
                )
            )
    return found


def mean_epochs(runs: Sequence[RunEpochs]) -> list[MeanEpoch]:
    """Return the means over runs of every epoch that some of them reached."""
    by_number: dict[int, list[Epoch]] = {}
    for run in runs:
        for epoch in run.epochs:
            by_number.setdefault(epoch.number, []).append(epoch)
    return [
        MeanEpoch(
            number=number,
            n_runs=len(own),
            terms=_means([epoch.terms for epoch in own]),
            rank_ic=_mean([epoch.rank_ic for epoch in own]),
            sharpe=_mean([epoch.sharpe for epoch in own]),
            further=_means([epoch.further for epoch in own]),
        )
        for number, own in sorted(by_number.items())
    ]


def _phases(params: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the phases of a schedule, as the text in its configuration lists them."""
    found = _line(str(params.get("phases") or "[]"))
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _phase(params: Mapping[str, Any], epoch: int) -> Mapping[str, Any]:
    """Return the settings of the phase that an epoch is in; nothing of a schedule without any."""
    last = 0.0
    for phase in _phases(params):
        last += _number(phase.get("epochs")) or 0
        if epoch <= last:
            return phase
    return {}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _means(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each name over those that have it."""
    names = dict.fromkeys(name for own in values for name in own)
    return {name: float(np.mean([own[name] for own in values if name in own])) for name in names}


def _numbers(values: Any) -> dict[str, float]:
    """Return those of a mapping that are numbers."""
    found = values if isinstance(values, dict) else {}
    return {str(name): float(value) for name, value in found.items() if _is_number(value)}


def _line(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        # The last line of an interrupted run may be torn.
        return None


def _epoch(line: Any) -> Epoch | None:
    """Return what a line says of its epoch; None if it is not the report of one."""
    if not isinstance(line, dict) or not isinstance(line.get("epoch"), int):
        return None
    return Epoch(
        number=line["epoch"],
        terms=_numbers(line.get("train_terms")),
        rank_ic=_number(line.get("rank_ic")),
        sharpe=_number(line.get("sharpe")),
        further=_numbers(line.get("further_rank_ic")),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)


def _number(value: Any) -> float | None:
    return float(value) if _is_number(value) else None
