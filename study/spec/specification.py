"""The validated values of a study: the study, its cells, their budgets and search settings."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from study.data.data_config import OF_SHARES, OF_WALKS, PANEL_HORIZONS, DataConfig
from study.errors import quoted, require
from study.model.architecture import DEFAULT_FAMILY, check_family
from study.names import RANKING
from study.results.records import PANEL_METRICS, Metric
from study.spec.dimension import Choice, Dimension, Fixed, Scalar, numbers
from study.spec.overrides import NO_OVERRIDES, Overrides
from study.spec.phase_section import check_phases
from study.spec.search_config import SearchConfig
from study.spec.search_number import require_search_number, seed_of_search
from study.storage.layout import SEARCH_SUFFIX

SHAPE_FIELDS = ("d_model", "n_layers", "n_heads", "d_ff_ratio")
"""Fields of ModelConfig that decide the number of parameters."""

PLANNED_FIELDS = ("memory",)
"""Fields of TrainConfig that a plan decides, by what fits, where a file leaves them out."""

DERIVED_MODEL_FIELDS = (
    "n_features", "context_length", "auxiliary_head", "n_assets", "n_sectors", "n_horizons",
)  # fmt: skip
"""Fields of ModelConfig that follow from the data and the training settings."""

_WALK = "walk-forward"
"""Part of the name of a cell whose winner is trained again before every fold of test days."""

_SEARCH_FOLDS = {"purged_k_fold": "purged-k-fold", "combinatorial_purged": "combinatorial-purged"}
"""Part of the name of a cell whose search trains on folds, by ``search_splits``."""

_SEARCH_NAME = re.compile(rf"{SEARCH_SUFFIX.removeprefix('_')}\d+")
"""Part of the name of a further search of a cell."""

LONGEST_NAME = 100
"""Most characters of a study's name or a budget's label."""

_LONGEST_FOLDER = 200
"""Most bytes of a cell's name: a file system allows 255, and other names are made from it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """A target parameter count, against which the exact count of every model is checked."""

    label: str
    target: int
    tolerance: float
    """Greatest relative distance of a model's exact count from the target."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One budget and one horizon: one Tune experiment, one folder.

    A cell of several budgets is one experiment in which the budget is searched too.
    """

    study: str
    budgets: tuple[Budget, ...]
    """Budgets, at least one; ASHA never compares trials of different ones."""
    data: DataConfig
    model: Mapping[str, Dimension]
    """Dimensions of ModelConfig, without its derived fields."""
    train: Mapping[str, Dimension]
    """Dimensions of TrainConfig."""
    search: SearchConfig
    phase: int | None = None
    """1 or 2 in a search of two phases."""
    start: Mapping[str, Scalar] | None = None
    """Searched values of the trial of phase 1 from which a phase 2 starts."""
    search_number: int = 1
    """Number of the search among the independent ones of the same budget and horizon, from 1."""
    is_beyond_asked: bool = False
    """Was ``search.beyond_edges`` given as a flag? A search that is resumed follows a flag, and not
    what its file says by now."""
    n_begun: int | None = None
    """Number of trials with which a search that goes beyond edges was begun; None of a new one."""
    n_passed: int = 0
    """Number of edges that its search has passed."""

    @property
    def budget_label(self) -> str:
        """Label of the budget, or the labels of all, joined by dashes."""
        return "-".join(budget.label for budget in self.budgets)

    @property
    def budget(self) -> Budget:
        """The budget of a cell that has only one."""
        (budget,) = self.budgets
        return budget

    @property
    def name(self) -> str:
        """Name of the cell's folder: ``<study>_<budget>_h<H>_<task>``.

        Label price, market, tier, splits, folds of the search and family follow where they are not
        the default, and the number of a further search.
        """
        study = self.study if self.phase is None else f"{self.study}-{self.phase}"
        parts = [study, self.budget_label, f"h{self.data.horizon}", self.data.task]
        if self.data.task != "direction" and self.data.label_price != "high":
            parts.append(self.data.label_price)
        if self.data.source != "sp500":
            parts.append(re.sub(r"[^A-Za-z0-9.\-]+", "-", Path(self.data.source).stem))
        if self.data.tier != "a25":
            parts.append(self.data.tier)
        if self.data.walks_forward:
            parts.append(_WALK)
        if self.data.has_search_folds:
            parts.append(_SEARCH_FOLDS[self.data.search_splits])
        family = self.model.get("family", Fixed(DEFAULT_FAMILY))
        if family != Fixed(DEFAULT_FAMILY):
            parts += map(str, family.values)
        suffix = f"{SEARCH_SUFFIX}{self.search_number}" if self.search_number > 1 else ""
        return "_".join(parts) + suffix

    def of_search(self, number: int) -> "Cell":
        """Return the cell as another of its independent searches, with the seed of that search.

        Args:
            number: number of the search, from 1; this cell must be the first search.

        Raises:
            SpecError: the number is refused, or the name of the cell becomes too long.
        """
        assert self.search_number == 1
        require_search_number(number, "search_number")
        seed = seed_of_search(self.search.seed, number)
        cell = dataclasses.replace(
            self, search_number=number, search=dataclasses.replace(self.search, seed=seed)
        )
        _check_name(cell, "search_number")
        return cell

    def resolved(self) -> dict[str, Any]:
        """Return the whole cell as plain values, for ``cell.yaml`` and for comparison.

        The number of the search is part of the cell's name, and decides the seed.
        """
        return {
            "study": self.study,
            "budgets": [dataclasses.asdict(budget) for budget in self.budgets],
            "phase": self.phase,
            "start": None if self.start is None else dict(self.start),
            # A list, as a file gives it back: the two are compared.
            "data": {**self.data.resolved(), "accept": list(self.data.accept)},
            "model": {name: dimension.plain for name, dimension in self.model.items()},
            "train": {name: dimension.plain for name, dimension in self.train.items()},
            "search": self.search.plain(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Supplementary:
    """Phase 2: the dimensions that are searched around the best trial, which fixes all others."""

    model: Mapping[str, Dimension]
    train: Mapping[str, Dimension]
    trials: int
    """Number of trials of each budget."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A named set of cells from one YAML file."""

    name: str
    budgets: Mapping[str, int]
    tolerance: float
    horizons: tuple[int, ...]
    data: Mapping[str, Any]
    model: Mapping[str, Dimension]
    train: Mapping[str, Dimension]
    search: Mapping[str, Any]
    path: str
    supplementary: "Supplementary | None" = None
    """Phase 2 of a search of two phases."""

    def __post_init__(self) -> None:
        """Check that the sections are consistent.

        Raises:
            SpecError: there is a second phase, but the first does not search across budgets.
        """
        require(
            self.supplementary is None or self.across_budgets,
            f"{self.path}: supplementary",
            "is the second phase of a search across budgets",
            got=f"search.across_budgets={self.across_budgets}",
            remedy="Set search.across_budgets to true, or leave the section out.",
        )

    @property
    def across_budgets(self) -> bool:
        """Is the budget a dimension of the search, in one cell of all budgets?"""
        return bool(self.search.get("across_budgets", False))

    @property
    def phases(self) -> tuple[int | None, ...]:
        """The phases of its search, in order; None stands for the only one."""
        return (None,) if self.supplementary is None else (1, 2)

    def cell(self, budget: str, horizon: int, overrides: Overrides = NO_OVERRIDES) -> Cell:
        """Return the cell of one budget, with the values of flags in place of the file's.

        Args:
            budget: label of a budget in the file.
            horizon: trading days, >= 1.
            overrides: values of flags.

        Raises:
            SpecError: the budget is unknown or a value breaks its rule.
        """
        return self._cell((budget,), horizon, overrides)

    def cell_of_all(
        self,
        budgets: Sequence[str] | None,
        horizon: int | None,
        overrides: Overrides = NO_OVERRIDES,
    ) -> Cell:
        """Return the cell in which the budget is searched: phase 1 of a search of two phases.

        Args:
            budgets: labels, in any order; None takes the file's.
            horizon: trading days, >= 1; None takes the file's first.
            overrides: values of flags.

        Raises:
            SpecError: a budget is unknown or given twice, or a value breaks its rule.
        """
        labels = list(self.budgets if budgets is None else budgets)
        require(
            len(set(labels)) == len(labels) >= 1,
            "--budgets",
            "must name each budget once",
            got=quoted(" ".join(labels)),
            remedy="Leave it out for all.",
        )
        # An unknown label comes last, where it is refused.
        ordered = sorted(labels, key=lambda label: self.budgets.get(label, math.inf))
        days = self.horizons[0] if horizon is None else horizon
        cell = self._cell(tuple(ordered), days, overrides)
        return dataclasses.replace(cell, phase=None if self.supplementary is None else 1)

    def _cell(self, budgets: tuple[str, ...], horizon: int, overrides: Overrides) -> Cell:
        for budget in budgets:
            require(
                budget in self.budgets,
                "--budget",
                f"must be one of {', '.join(self.budgets)} ({self.path})",
                got=f"--budget {quoted(budget)}",
                remedy="Choose one, or add it to the file.",
            )
        require(
            isinstance(horizon, int) and horizon >= 1,
            "--horizon",
            "must be at least 1 trading day",
            got=f"--horizon {horizon!r}",
            remedy=f"The study's horizons are {', '.join(map(str, self.horizons))}.",
        )
        train = dict(self.train)
        if overrides.max_epochs is not None:
            train["epochs"] = with_most_epochs(
                train["epochs"], overrides.max_epochs, may_lengthen=overrides.may_lengthen
            )
        learned = PANEL_HORIZONS if self.data.get("horizons") == "all" else ()
        data = {
            "purge_days": max((horizon, *self.horizons, *learned)),
            **self.data,
            **overrides.data,
            "horizon": horizon,
        }
        cell = Cell(
            study=self.name,
            budgets=tuple(
                Budget(label=budget, target=self.budgets[budget], tolerance=self.tolerance)
                for budget in budgets
            ),
            data=DataConfig(**data),
            model={**self.model, **overrides.model},
            train=train,
            search=SearchConfig(**{**_usual_metric(data), **self.search, **overrides.search}),
            is_beyond_asked="beyond_edges" in overrides.search,
        )
        _check_splits(cell, self.data, self.path)
        _check_normalization(cell, self.path)
        # The family comes first: the name of the cell holds it, and may be impossible to encode.
        _check_family(cell, self.path)
        _check_name(cell, self.path)
        _check_grace(cell, self.path)
        _check_fall_weight(cell, self.path)
        _check_metric(cell, self.path)
        check_phases(cell.train, cell.model, self.path)
        return cell


def _usual_metric(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metric of a search that names none: a panel's assets are ranked."""
    return {"metric": "rank_ic"} if data.get("task") == RANKING else {}


def with_most_epochs(dimension: Dimension, most: int, *, may_lengthen: bool) -> Dimension:
    """Return the numbers of epochs cut to ``most``; equal ones are merged.

    Args:
        dimension: the numbers of epochs of a study.
        most: the greatest number that is asked for.
        may_lengthen: does a single number become ``most`` even if it is less?

    Raises:
        SpecError: the numbers are a range.
    """
    if may_lengthen and isinstance(dimension, Fixed):
        return Fixed(most)
    require(
        not dimension.is_continuous,
        "train.epochs",
        "must be a number or a choice",
        got="a range",
        remedy="List it.",
    )
    cut = tuple(dict.fromkeys(min(int(str(value)), most) for value in dimension.values))
    return Choice(cut) if len(cut) > 1 else Fixed(cut[0])


def _check_normalization(cell: Cell, path: str) -> None:
    """Refuse a network that does not suit the raw levels which some normalizations leave."""
    normalization = cell.data.normalization
    if normalization == "revin":
        revin = cell.model.get("revin", Fixed(False))
        require(
            revin == Fixed(True),
            path,
            "normalization revin leaves raw levels, so model.revin must be true",
            got=f"model.revin={quoted(revin.plain)}",
            remedy="Set model.revin to true.",
        )
    if normalization in ("revin", "none"):
        skip = cell.model.get("last_day_skip", Fixed(False))
        require(
            True not in skip.values,
            path,
            f"normalization {normalization} leaves raw levels, which the linear path "
            "of model.last_day_skip cannot take",
            got=f"model.last_day_skip={quoted(skip.plain)}",
            remedy="Set model.last_day_skip to false.",
        )


def _check_splits(cell: Cell, given: Mapping[str, Any], path: str) -> None:
    """Refuse settings of the other way to cut days, which nothing would read."""
    unread = OF_SHARES if cell.data.walks_forward else OF_WALKS
    found = [name for name in unread if name in given]
    require(
        not found,
        f"{path}: data",
        f"{', '.join(unread)} are not read where splits is {cell.data.splits}",
        got=", ".join(found),
        remedy="Leave them out, or give the other --splits.",
    )


def _check_name(cell: Cell, path: str) -> None:
    stem = Path(cell.data.source).stem
    require(
        stem not in (_WALK, *_SEARCH_FOLDS.values()) and _SEARCH_NAME.fullmatch(stem) is None,
        path,
        f"no market may be named {_WALK}, {', '.join(_SEARCH_FOLDS.values())} or "
        f"{SEARCH_SUFFIX.strip('_')}N: a folder's name would have two meanings",
        got=f"source={quoted(stem)}",
        remedy="Import it under another name.",
    )
    require(
        len(cell.name.encode()) <= _LONGEST_FOLDER,
        path,
        f"study, budgets, task and source must name a folder of at most {_LONGEST_FOLDER} bytes",
        got=quoted(cell.name),
        remedy="Shorten the longest of them.",
    )


def _check_family(cell: Cell, path: str) -> None:
    family = cell.model.get("family", Fixed(DEFAULT_FAMILY))
    require(
        not family.is_searched,
        f"{path}: model.family",
        "must be one family, because a cell compares architectures of one",
        got=quoted(family.plain),
        remedy="Search each with --model, in a cell of its own.",
    )
    for name in family.values:
        check_family(name, f"{path}: model")


def _check_fall_weight(cell: Cell, path: str) -> None:
    weight = cell.train.get("fall_weight", Fixed(0.0))
    require(
        cell.data.label_kind != "direction" or max(numbers(weight)) == 0,
        path,
        "train.fall_weight must be 0 for the task direction, where a fall is the complement",
        got=f"train.fall_weight={quoted(weight.plain)}",
        remedy="Leave it out.",
    )


def _check_metric(cell: Cell, path: str) -> None:
    of_panels = cell.data.is_panel
    allowed = [m for m in get_args(Metric) if (m in PANEL_METRICS) == of_panels]
    require(
        cell.search.metric in allowed,
        f"{path}: search.metric",
        f"the task {cell.data.task} is scored by {', '.join(allowed)}",
        got=f"metric={cell.search.metric}",
        remedy="Choose one of them, or leave it out.",
    )


def _check_grace(cell: Cell, path: str) -> None:
    warmup = max(numbers(cell.train.get("warmup_share", Fixed(0.1))))
    require(
        cell.search.scheduler == "fifo" or cell.search.grace_share > warmup,
        f"{path}: search.grace_share",
        "must exceed train.warmup_share, or ASHA judges trials that have not begun to learn",
        got=f"grace_share={cell.search.grace_share}, warmup_share={warmup}",
        remedy="Lengthen the grace or shorten the warm-up.",
    )
