"""Reads the search that winners are taken from: its settings, trials, data and space."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.data.data_config import SPLIT_FIELDS
from study.errors import StudyError, require
from study.final.finalists import Finalist
from study.planning.cell_series import AnyDataset, build_data, sample_shape
from study.results.finals.final_records import SearchEnd
from study.results.records import TrialRecord
from study.results.store import read_cell, read_trials
from study.search.beyond import searched_cell
from study.search.cell_folder import differences_by_part
from study.search.space import SearchSpace, TrialConfig, build_space
from study.storage.driver_status import is_search_complete

_OF_SPLITS = tuple(f"spec.data.{name} " for name in SPLIT_FIELDS)
"""Beginnings of the lines on differences that change which days train, validate and test."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchedCell:
    """A budget of a search, read back with all that its winner's final runs need."""

    finalist: Finalist
    folder: Path
    """The folder of the search."""
    described: Mapping[str, Any]
    """The content of its ``cell.yaml``."""
    records: Sequence[TrialRecord]
    """The trials of the finalist's budget."""
    end: SearchEnd
    """State of the search, over all its budgets."""
    data: AnyDataset
    space: SearchSpace
    """The space of the finalist's budget alone, which decides the resources of a run."""
    differences: Sequence[str]
    """Lines on what has changed since the search, which the user allows."""


def read_searched_cell(finalist: Finalist, results: Path, *, may_differ: bool) -> SearchedCell:
    """Read a search and build its data and its space again.

    Args:
        finalist: the budget whose winner is trained.
        results: the results folder.
        may_differ: may code, data or settings have changed since the search?

    Raises:
        StudyError: there is no search, or something has changed since.
    """
    cell = finalist.cell
    folder = results / cell.name
    require(
        folder.is_dir(),
        str(folder),
        "a cell must have been searched before its winners can be trained",
        got="no such folder",
        remedy="Run study.tune or study.sweep first.",
        error=StudyError,
    )
    described = read_cell(folder, "trials", "splits", "estimate")
    records = read_trials(folder)
    end = _search_end(described, records, folder)
    data = build_data(cell.data, results)
    parts = differences_by_part(described, cell, data, folder)
    # A search that was moved, or copied from a store, has the same winner. It is its journal that
    # must not go on in two places.
    differences = [line for part, found in parts.items() if part != "folder" for line in found]
    other_days = [line for line in differences if line.startswith(_OF_SPLITS)]
    require(
        not other_days,
        str(folder),
        "a winner is judged on days that its search has not seen",
        got="; ".join(other_days),
        remedy="Use the settings of the search, or search again.",
        error=StudyError,
    )
    require(
        may_differ or not differences,
        str(folder),
        "winners are trained as they were searched",
        got="; ".join(differences),
        remedy="Use the same file, flags, data and versions, or give --allow-differences.",
        error=StudyError,
    )
    own = dataclasses.replace(searched_cell(cell, described), budgets=(finalist.budget,))
    space = build_space(own, **sample_shape(data))
    own_records = [record for record in records if record.budget == finalist.budget.label]
    _require_same_samples(own_records, space, folder)
    return SearchedCell(
        finalist=finalist,
        folder=folder,
        described=described,
        records=own_records,
        end=end,
        data=data,
        space=space,
        differences=[*differences, *finalist.differences],
    )


def _require_same_samples(records: Sequence[TrialRecord], space: SearchSpace, folder: Path) -> None:
    """Refuse networks that take samples of another shape than the data set has now.

    Args:
        records: the trials, whose networks take samples of the same shape.
        space: of the data set.
        folder: of the search.

    Raises:
        StudyError: they are refused.
    """
    now = {**space.sample_shape.asdict(), "context_length": space.context_length}
    for record in records[:1]:
        model = TrialConfig.from_flat(record.params).model
        changed = [
            f"{name}={value}, was {before}"
            for name, value in now.items()
            if (before := getattr(model, name)) != value
        ]
        require(
            not changed,
            str(folder),
            "winners can only be trained on samples of the shape that they were searched with",
            got="; ".join(changed),
            remedy="Use the data and settings of the search, or search again.",
            error=StudyError,
        )


def _search_end(
    described: Mapping[str, Any], records: Sequence[TrialRecord], folder: Path
) -> SearchEnd:
    """Return the state of the whole search when its winner is chosen."""
    reasons = Counter(record.reason for record in records)
    asked = int(described["trials"])
    return {
        "asked": asked,
        "ended": len(records),
        "reasons": dict(sorted(reasons.items())),
        "is_complete": is_search_complete(folder, len(records), asked),
    }
