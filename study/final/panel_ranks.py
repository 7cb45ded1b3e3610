"""The ranks that an exported model gives to the assets of a panel, up to its last day."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from study.data.arrays import DayArray, IndexArray, SampleArray
from study.data.panel.build_panel import panel_inputs_of
from study.data.panel.panel import MaskArray, Panel
from study.data.panel.panel_dataset import NO_SECTORS
from study.data.panel.panel_history import panel_history
from study.errors import DataError, require
from study.final.export import ExportedModel
from study.statistics.tied_ranks import FEWEST_ASSETS
from study.training.panel.panel_prediction import predict_scores

_FEW_NAMES = 10
"""Number of assets that a note names, before it counts the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelRanks:
    """Scores of a panel's assets on its latest days."""

    dates: DayArray
    """Days, shape (n_days,)."""
    assets: tuple[str, ...]
    sectors: tuple[str, ...] | None
    """Sector of each asset; None where none are known."""
    scores: SampleArray
    """Scores, shape (n_days, n_assets); a higher one is expected to rise more."""
    present: MaskArray
    """Assets that are ranked on a day, likewise."""
    notes: tuple[str, ...]
    """Differences to the panel that the model was trained on, a line each."""
    further: Mapping[int, SampleArray] = field(default_factory=dict)
    """Scores for further horizons in trading days, each as ``scores``."""

    def rows(self) -> list[dict[str, Any]]:
        """Return date, asset, sector, score and rank of every ranked asset, the best one first.

        The rank is one more than the number of assets with a higher score: equals share one. The
        score for a further horizon is named after it, as ``score_h20``.
        """
        return [row for day in range(len(self.dates)) for row in self.rows_of(day)]

    def rows_of(self, day: int) -> list[dict[str, Any]]:
        """Return the rows of one of the days, by its number; -1 is the last one's."""
        assets = np.flatnonzero(self.present[day])
        score = self.scores[day, assets]
        n_higher = len(score) - np.searchsorted(np.sort(score), score, side="right")
        return [
            {
                "date": str(self.dates[day]),
                "asset": self.assets[assets[each]],
                "sector": None if self.sectors is None else self.sectors[assets[each]],
                "score": _shortest(score[each]),
                "rank": int(n_higher[each]) + 1,
                **{
                    f"score_h{horizon}": _shortest(scores[day, assets[each]])
                    for horizon, scores in self.further.items()
                },
            }
            for each in np.argsort(n_higher, kind="stable")
        ]


def rank_days(
    exported: ExportedModel, panel: Panel, n_days: int, *, device: torch.device
) -> PanelRanks:
    """Return the scores of the assets on the latest days; the last ones may have no label yet.

    Weights are shared by the assets and none belong to a sector, so that the panel may have other
    assets and sectors than the model was trained on.

    Args:
        exported: the model, of a panel's cell.
        panel: prices up to the day to be ranked.
        n_days: number of latest days.
        device: the device that the model runs on.

    Raises:
        DataError: no day has three assets with a window of inputs, the panel lacks the days that
            inputs are standardised by or sectors that the network asks for, or a score is not
            finite.
    """
    config = exported.data
    _require_sectors(exported, panel)
    rows = _standardising_rows(exported, panel)
    # Inputs are relative to sectors where training knew any.
    seen = panel if _knows_sectors(exported) else dataclasses.replace(panel, sectors=None)
    found = panel_inputs_of(config, seen, config.normalization, rows, None)
    history = panel_history(config, seen, found.known)
    days = np.flatnonzero(history.present.sum(axis=1) >= FEWEST_ASSETS)[-n_days:]
    require(
        len(days) > 0,
        panel.name,
        f"must have a day on which {FEWEST_ASSETS} assets have inputs of {config.context_length} "
        "days",
        got=f"{len(panel.dates)} days of {len(panel.assets)} assets",
        remedy="Give a longer history.",
        error=DataError,
    )
    inputs = found.inputs.values[history.first :]
    scores = _scores(exported, seen.sectors, inputs, history.present, days, device)
    present = history.present[days]
    unfit = history.dates[days][(present & ~np.isfinite(scores).all(axis=2)).any(axis=1)]
    require(
        len(unfit) == 0,
        panel.name,
        "the model must give every asset a score",
        got=f"NaN or infinity on {len(unfit)} of {len(days)} days, such as {unfit[:1]}",
        remedy="Look at the prices of the days before, or train the cell again.",
        error=DataError,
    )
    return PanelRanks(
        dates=history.dates[days],
        assets=panel.assets,
        sectors=panel.sectors,
        scores=scores[..., 0],
        present=present,
        notes=tuple(_notes(exported, panel, history.dates, days)),
        further={
            horizon: scores[..., number]
            for number, horizon in enumerate(config.further_horizons, start=1)
        },
    )


def _scores(
    exported: ExportedModel,
    sectors: Sequence[str] | None,
    inputs: SampleArray,
    present: MaskArray,
    days: IndexArray,
    device: torch.device,
) -> SampleArray:
    """Return the scores of a network of as many assets and sectors as the panel has.

    Their shape is (n_days, n_assets, n_horizons).
    """
    n_assets = present.shape[1]
    names, sector_of = np.unique(np.array(sectors or (NO_SECTORS,) * n_assets), return_inverse=True)
    return predict_scores(
        dataclasses.replace(exported.model, n_assets=n_assets, n_sectors=len(names)),
        exported.weights,
        inputs,
        present,
        sector_of.astype(np.int64),
        days,
        device=device,
    )


def _knows_sectors(exported: ExportedModel) -> bool:
    """Had the panel of training sectors?"""
    return list(exported.origin["sectors"]) != [NO_SECTORS]


def _require_sectors(exported: ExportedModel, panel: Panel) -> None:
    """Refuse a panel without sectors for a network that has learned to compare within them.

    Raises:
        DataError: it is refused.
    """
    compares = exported.model.asset_attention == "sector" and _knows_sectors(exported)
    require(
        not compares or panel.sectors is not None,
        panel.name,
        "must have the sector of each asset: the network compares assets within their sectors",
        got="no sectors",
        remedy="Add a column of sectors, or import it with --sectors and give its name.",
        error=DataError,
    )


def _standardising_rows(exported: ExportedModel, panel: Panel) -> IndexArray:
    """Return the rows by which inputs along time are standardised, as in training.

    Raises:
        DataError: the panel lacks them.
    """
    if exported.data.normalization != "zscore":
        return np.empty(0, dtype=np.int64)
    spans, n_days = exported.origin["input_spans"], exported.origin["input_days"]
    inside = np.zeros(len(panel.dates), dtype=bool)
    for first, last in spans:
        inside |= (panel.dates >= np.datetime64(first)) & (panel.dates <= np.datetime64(last))
    require(
        int(inside.sum()) == n_days,
        panel.name,
        f"must hold the {n_days:,} days from {spans[0][0]} to {spans[-1][1]}, by which the inputs "
        "of this model are standardised",
        got=f"{int(inside.sum()):,} of them, in {panel.dates[0]} to {panel.dates[-1]}",
        remedy="Give the whole history, or train with --normalization cross_z or cross_rank.",
        error=DataError,
    )
    return np.flatnonzero(inside)


def _notes(exported: ExportedModel, panel: Panel, dates: DayArray, days: IndexArray) -> list[str]:
    """Return in which ways the panel differs from the one of training, and what is left out."""
    origin = exported.origin
    lines: list[str] = []
    new = sorted(set(panel.assets) - set(origin["assets"]))
    gone = sorted(set(origin["assets"]) - set(panel.assets))
    for assets, words in ((new, "not among the assets of training"), (gone, "missing here")):
        if assets:
            lines.append(f"{words}: {_named(assets)}")
    if (new or gone) and exported.data.normalization == "zscore":
        lines.append("inputs are standardised by the training days of these assets, not of those")
    if _knows_sectors(exported):
        unknown = sorted(set(panel.sectors or ()) - set(origin["sectors"]))
        if panel.sectors is None:
            lines.append("no sectors here: what was relative to a sector is relative to all assets")
        elif unknown:
            lines.append(f"not among the sectors of training: {_named(unknown)}")
    elif panel.sectors is not None:
        lines.append("training knew no sectors, so those of this panel change nothing")
    if days[-1] < len(dates) - 1:
        lines.append(
            f"{dates[days[-1]]} is the last day that is ranked: on later ones, up to {dates[-1]}, "
            f"fewer than {FEWEST_ASSETS} assets have inputs"
        )
    return lines


def _shortest(value: np.float32) -> float:
    """Return the shortest number that is the same in 32 bits."""
    return float(str(value))


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_FEW_NAMES])
    return shown if len(names) <= _FEW_NAMES else f"{shown} and {len(names) - _FEW_NAMES} others"
