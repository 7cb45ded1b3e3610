"""A search begins with what finished cells of the same study found: ``--neighbours``.

The best trial of each of the nearest ones is translated into this cell and trained here, among its
first trials. Nothing else of them is known: their losses never enter the sampler's history, for
losses of another horizon or size are no losses of this cell, and Optuna has no lasting way to give
a trial less weight. A neighbour that misleads thus costs its one trial.

What is known is written down when the search begins, in the first event of its journal and in
``cell.yaml``. Cells that end later change nothing.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from study.data.cell_data import CellData
from study.errors import cause
from study.results.records import NEIGHBOUR, TrialRecord, best_trial
from study.results.store import read_cell, read_trials
from study.search.space import SearchSpace, Shape, TrialConfig
from study.spec.dimension import Scalar
from study.spec.selection import searches_made
from study.spec.specification import Cell
from study.storage.driver_status import is_search_complete
from study.storage.layout import CELL_FILE
from study.text.short_forms import counted

MOST_NEIGHBOURS = 3
"""Number of cells whose best trials are tried, at most: with six forced trials, one of the ten
trials before TPE draws stays random; an own choice."""

_NEEDED = ("study", "trials", "horizon", "spec")
"""Keys of cell.yaml that tell what a search was about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbour:
    """The best trial of a finished cell, as a search of another one begins with it."""

    cell: str
    """Name of the finished cell."""
    trial: int
    """Number of its best trial."""
    n_trials: int
    """Number of trials of which it was the best."""
    is_same_size: bool
    """Has it this cell's architecture too? Else an architecture of the same style stands for it."""
    params: Mapping[str, Any]
    """The configuration in this cell, flat."""

    @property
    def source(self) -> str:
        """Source of the trial that it becomes."""
        return f"{NEIGHBOUR}{self.cell}/{self.trial}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbours:
    """What a search knows of other cells when it begins."""

    found: tuple[Neighbour, ...] = ()
    """The nearest first."""
    remarks: tuple[str, ...] = ()
    """Why cells that might be known are not."""

    def describe(self) -> str:
        """Return a line that says what is known."""
        told = [
            f"trial {one.trial} of {one.cell} (best of {one.n_trials}"
            f"{'' if one.is_same_size else ', in the style of its architecture'})"
            for one in self.found
        ]
        n_told = f"begins with {counted(len(told), 'trial')} of finished cells: "
        known = n_told + ", ".join(told) if told else "knows no finished cell"
        return "; ".join([known, *self.remarks])

    def to_json(self) -> dict[str, Any]:
        """Return the plain values that ``cell.yaml`` and the journal hold."""
        return {
            "found": [dataclasses.asdict(one) for one in self.found],
            "remarks": list(self.remarks),
        }

    @classmethod
    def of_cell(cls, described: Mapping[str, Any]) -> Self | None:
        """Return what a search was begun with; None if it looked at no other cell.

        Args:
            described: the content of its ``cell.yaml``.
        """
        raw = described.get("neighbours")
        if raw is None:
            return None
        found = tuple(Neighbour(**one) for one in raw["found"])
        return cls(found=found, remarks=tuple(raw["remarks"]))


NOT_ASKED = Neighbours(remarks=("the search was begun without --neighbours, and stays so",))
"""What a search knows that is asked for neighbours when it is resumed only."""


def find_neighbours(
    results: Path, cell: Cell, data: CellData, space: SearchSpace, *, most: int = MOST_NEIGHBOURS
) -> Neighbours | None:
    """Return what a new search of a cell knows of others; None if it shall know nothing.

    A neighbour is a finished first search of the same study and phase, with the same ranges, days,
    prices, inputs and metric: only horizon and budget may differ. Cells of the same budget are
    nearest, those of the nearest horizon first. Cells that cannot be read are named and left out,
    as this search can do without them. A cell of several searches knows nothing: they are
    independent.

    Args:
        results: the results folder.
        cell: the cell that is to be searched.
        data: its data set.
        space: its search space as planned.
        most: number of trials that the search can spend on them.
    """
    if not cell.search.neighbours:
        return None
    if max(cell.search_number, *searches_made(cell, results), 1) > 1:
        return Neighbours(remarks=("independent searches of a cell know nothing of others",))
    if most < 1:
        return Neighbours(remarks=("its trials are all forced or imported ones",))
    near: list[tuple[tuple[float, float, float], Neighbour]] = []
    remarks = []
    for file in sorted(results.glob(f"{cell.study}[_-]*/{CELL_FILE}")):
        folder = file.parent
        try:
            described = read_cell(folder, *_NEEDED)
            if folder.name == cell.name or not _is_alike(described, cell, data):
                continue
            records = read_trials(folder)
            best = best_trial(records)
            if best is None or not is_search_complete(folder, len(records), described["trials"]):
                continue
            found = _distance(described, cell), _neighbour(folder.name, records, best, space)
        # Whatever a file holds that was damaged or edited, it costs no other search.
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            remarks.append(
                f"{folder.name} cannot be read ({type(error).__name__}: {cause(error)}) and is "
                "left out: move it away, or search it anew with --fresh"
            )
            continue
        near.append(found)
    nearest = [one for _, one in sorted(near, key=lambda pair: pair[0])]
    return Neighbours(found=tuple(nearest[: min(most, MOST_NEIGHBOURS)]), remarks=tuple(remarks))


def _is_alike(described: Mapping[str, Any], cell: Cell, data: CellData) -> bool:
    """Does a search differ from a cell in nothing but horizon, budget and how it was searched?"""
    own = json.loads(json.dumps(cell.resolved()))
    other = json.loads(json.dumps(described["spec"]))
    return (
        described.get("search_number", 1) == 1
        and all(other.get(name) == own[name] for name in ("study", "phase", "model", "train"))
        and {**other["data"], "horizon": None} == {**own["data"], "horizon": None}
        and described.get("metric") == cell.search.metric
        and described.get("data_sha256") == data.fingerprint
        and described.get("feature_hash") == data.feature_hash
    )


def _distance(described: Mapping[str, Any], cell: Cell) -> tuple[float, float, float]:
    """Return how far a search is away, in size before horizon, as ratios on a logarithmic scale.

    Of two horizons that are as far, the shorter comes first.
    """
    size = max(budget["target"] for budget in described["spec"]["budgets"])
    own_size = max(budget.target for budget in cell.budgets)
    return (
        abs(math.log(size / own_size)),
        abs(math.log(described["horizon"] / cell.data.horizon)),
        described["horizon"],
    )


def _neighbour(
    name: str,
    records: Sequence[TrialRecord],
    best: TrialRecord,
    space: SearchSpace,
) -> Neighbour:
    config = TrialConfig.from_flat(best.params)
    shape = config.shape
    own = shape if shape in space.shapes else _in_style_of(shape, _styles(records), space)
    return Neighbour(
        cell=name,
        trial=best.number,
        n_trials=len(records),
        is_same_size=own == shape,
        params=translated(config, own, space).flat(),
    )


def translated(config: TrialConfig, shape: Shape, space: SearchSpace) -> TrialConfig:
    """Return an architecture of a space with the settings of a configuration of another one.

    Everything that is searched here is taken from there, within the ranges of the space; the rest
    is as it is in the space.
    """
    flat = config.flat()
    values: dict[str, Scalar] = {
        name: dimension.nearest(flat[name])
        for name, dimension in (*space.model.items(), *space.train.items())
        if dimension.is_searched
    }
    return space.forced(shape, **values)


def _styles(records: Sequence[TrialRecord]) -> tuple[float, float]:
    """Return the least and the greatest style of the trials of a search."""
    found = [_style(record.params["d_model"], record.params["n_layers"]) for record in records]
    return min(found), max(found)


def _style(d_model: int, n_layers: int) -> float:
    """Return how deep an architecture is for its width, on a logarithmic scale."""
    return math.log(n_layers / d_model)


def _in_style_of(shape: Shape, ends: tuple[float, float], space: SearchSpace) -> Shape:
    """Return the architecture of a space with the most alike place between wide and deep.

    Places are shares of the way from the widest to the deepest, because the whole range moves with
    the budget. Among equal ones the most alike heads and ratio decide.

    Args:
        shape: the architecture of another space.
        ends: the least and the greatest style that were tried there.
        space: the space of the result.
    """
    own = [_style(row.d_model, row.n_layers) for row in space.shapes]
    wanted = _place(_style(shape.d_model, shape.n_layers), ends)

    def unlike(row: Shape) -> tuple[float, float, float]:
        place = _place(_style(row.d_model, row.n_layers), (min(own), max(own)))
        return (
            abs(place - wanted),
            abs(math.log(row.n_heads / shape.n_heads)),
            abs(math.log(row.d_ff_ratio / shape.d_ff_ratio)),
        )

    return min(space.shapes, key=unlike)


def _place(style: float, ends: tuple[float, float]) -> float:
    """Return where a style lies between two ends; the middle if there is but one."""
    least, greatest = ends
    return 0.5 if least == greatest else (style - least) / (greatest - least)
