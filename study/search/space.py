"""The define-by-run search space of a cell.

Drawn are the budget if there are several, the width, the depths and ratios that fit, the heads, and
then everything else.

A parameter whose choices depend on earlier ones carries that condition in its Optuna name
(``n_layers[d_model=64]``), because Optuna requires one fixed set of choices per name. The
configuration that is trained and recorded holds plain field names and values only.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import optuna

from study.errors import require
from study.model.architecture import DEFAULT_FAMILY
from study.model.families import FAMILIES
from study.model.model_config import ModelConfig
from study.model.sizing import feasible_grid
from study.results.plans.grid_record import LeftOutArchitecture, LeftOutRecord
from study.spec.dimension import Dimension, Fixed, Scalar, holding, numbers
from study.spec.forced18 import D_FF_RATIO, listed
from study.spec.specification import SHAPE_FIELDS, Budget, Cell
from study.text.byte_text import gib, in_gib
from study.training.train_config import Memory, TrainConfig

LATER_FIELDS = (
    "fall_weight", "base_loss", "ic_weight", "rank_weight", "rank_temperature", "sharpe_weight",
    "regime_strength", "n_assets", "n_sectors", "asset_attention", "phases", "pretrain_epochs",
    "pretrain_mask_share", "memory", "steps_per_epoch", "n_horizons",
)  # fmt: skip
"""Settings that records of earlier versions lack; their trials had the defaults."""


class Shape(NamedTuple):
    """An architecture with its budget; the fields stand in the order in which they are drawn."""

    budget: str
    d_model: int
    n_layers: int
    d_ff_ratio: int
    n_heads: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleShape:
    """The shape of a sample, which every network of a search has to take."""

    n_features: int
    n_assets: int = 1
    """Windows of a sample: the assets of a panel's day."""
    n_sectors: int = 0
    """Sectors of the assets; 0 of a market."""
    n_horizons: int = 1
    """Horizons for which the assets have labels."""

    def asdict(self) -> dict[str, Any]:
        """Return the fields by name, which are those of ModelConfig."""
        return dataclasses.asdict(self)


_DERIVED = (
    *SHAPE_FIELDS, *(field.name for field in dataclasses.fields(SampleShape)), "context_length",
    "auxiliary_head",
)  # fmt: skip
"""Fields of ModelConfig that follow from the architecture, the samples and the training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """The architectures of a space that no node could train when the search began."""

    needed: Mapping[Shape, int]
    """Bytes of a training step of one sample, headroom included, by architecture; never empty."""
    limit_bytes: int
    """Most bytes that a trial could be granted."""
    node: str
    """Name of the node with the most memory, which could grant ``limit_bytes``."""
    memory: Memory = "full"
    """Memory mode in which they need the least of what they may be trained in."""

    def numbers(self, shape: Shape | None = None) -> str:
        """Return a phrase: the GiB that they need, or that one needs, and the GiB there are."""
        values = sorted(self.needed.values()) if shape is None else [self.needed[shape]]
        ends = [in_gib(value) for value in (values[0], values[-1])]
        needs = ends[0] if ends[0] == ends[1] else " to ".join(ends)
        return f"{needs} GiB against {gib(self.limit_bytes)} on {self.node}, the roomiest node"

    def record(self) -> LeftOutRecord:
        """Return the typed values that a plan and ``cell.yaml`` hold."""
        even = "even in memory mode lean, " if self.memory == "lean" else ""
        return LeftOutRecord(
            reason=f"{even}a training step of one sample needs {self.numbers()}",
            limit_bytes=self.limit_bytes,
            node=self.node,
            memory=self.memory,
            architectures=tuple(
                LeftOutArchitecture(**shape._asdict(), needed_bytes=needed)
                for shape, needed in self.needed.items()
            ),
        )

    @classmethod
    def from_record(cls, record: LeftOutRecord) -> "LeftOut":
        """Return the object from which ``record`` made the values."""
        return cls(
            needed={
                Shape(**{field: getattr(row, field) for field in Shape._fields}): row.needed_bytes
                for row in record.architectures
            },
            limit_bytes=record.limit_bytes,
            node=record.node,
            memory=record.memory,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialConfig:
    """Every setting that one trial trains with; exactly these are recorded."""

    budget: str
    """Label of its budget; ASHA compares it with trials of the same budget only."""
    model: ModelConfig
    train: TrainConfig

    @property
    def shape(self) -> Shape:
        """Its architecture and budget."""
        flat = self.flat()
        return Shape(*(flat[field] for field in Shape._fields))

    def with_epochs(self, epochs: int) -> "TrialConfig":
        """Return the configuration with a schedule of this length."""
        return dataclasses.replace(self, train=dataclasses.replace(self.train, epochs=epochs))

    def flat(self) -> dict[str, Any]:
        """Return all parts as one mapping of plain values; their field names never collide."""
        parts = {**dataclasses.asdict(self.model), **dataclasses.asdict(self.train)}
        return {"budget": self.budget, **parts}

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any]) -> "TrialConfig":
        """Rebuild the configuration from ``flat``; keys of neither part are ignored."""
        return cls(
            budget=flat["budget"],
            model=ModelConfig(**_given(flat, ModelConfig)),
            train=TrainConfig(**_given(flat, TrainConfig)),
        )


def _given(flat: Mapping[str, Any], config: type) -> dict[str, Any]:
    """Return the values of a config's fields, without those that an earlier version lacks."""
    names = [field.name for field in dataclasses.fields(config)]
    return {name: flat[name] for name in names if name in flat or name not in LATER_FIELDS}


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSpace:
    """The feasible architectures of a cell and the ranges of everything else."""

    shapes: tuple[Shape, ...]
    """Every architecture that fits its budget, and the forced ones."""
    model: Mapping[str, Dimension]
    """Dimensions of the other fields of ModelConfig, by name."""
    train: Mapping[str, Dimension]
    """Dimensions of the fields of TrainConfig, by name."""
    sample_shape: SampleShape
    context_length: int
    left_out: LeftOut | None = None
    """Architectures that fit a budget and that no node could train; None if there are none."""
    lean: frozenset[Shape] | None = None
    """Architectures that are trained in the memory mode ``lean``, because no node could hold a full
    step of theirs when the search began; None if that is not decided yet, or ``train`` says it."""

    @property
    def budgets(self) -> frozenset[str]:
        """The labels of all budgets of which an architecture can be drawn."""
        return frozenset(shape.budget for shape in self.shapes)

    def without(self, left_out: LeftOut) -> "SearchSpace":
        """Return the space without these architectures; at least one other must be left."""
        shapes = tuple(shape for shape in self.shapes if shape not in left_out.needed)
        return dataclasses.replace(self, shapes=shapes, left_out=left_out)

    @property
    def epochs(self) -> int | None:
        """The length of every schedule; None if the length is searched."""
        dimension = self.train.get("epochs")
        return int(str(dimension.value)) if isinstance(dimension, Fixed) else None

    def with_epochs(self, epochs: int) -> "SearchSpace":
        """Return the space with schedules of this length."""
        return dataclasses.replace(self, train={**self.train, "epochs": Fixed(epochs)})

    def with_lean(self, shapes: Iterable[Shape]) -> "SearchSpace":
        """Return the space in which these architectures are trained lean, and no others."""
        return dataclasses.replace(self, lean=frozenset(shapes))

    def wider(self, name: str, dimension: Dimension, shapes: Iterable[Shape]) -> "SearchSpace":
        """Return the space with a wider dimension, and with the architectures that it adds.

        Those of a budget that is lean throughout are lean: this is no new decision.
        """
        model = {**self.model, name: dimension} if name in self.model else self.model
        train = {**self.train, name: dimension} if name in self.train else self.train
        both = tuple(sorted({*self.shapes, *shapes}))
        lean = self.lean
        if lean is not None:
            mixed = {shape.budget for shape in self.shapes if shape not in lean}
            lean |= {shape for shape in both if shape.budget in self.budgets - mixed}
        return dataclasses.replace(self, shapes=both, model=model, train=train, lean=lean)

    def of(self, shapes: Iterable[Shape]) -> "SearchSpace":
        """Return the space with these architectures alone."""
        kept = frozenset(shapes)
        return dataclasses.replace(self, shapes=tuple(s for s in self.shapes if s in kept))

    def of_configs(self, configs: Iterable["TrialConfig"]) -> "SearchSpace":
        """Return the space of these configurations: their architectures, and all their values.

        They need not lie in this space. The schedules of a search may have become longer, and the
        settings may have changed since. Ranges that hold them stay as they are, and each
        architecture keeps the memory mode that it has there.
        """
        configs = list(configs)
        # Which architectures are lean is no range of values, unless the file has it.
        no_mode = () if "memory" in self.train else ("memory",)
        own = dataclasses.replace(
            self,
            shapes=tuple(sorted({config.shape for config in configs})),
            model=holding(self.model, [config.model for config in configs], _DERIVED),
            train=holding(self.train, [config.train for config in configs], no_mode),
        )
        if not no_mode:
            return own
        return own.with_lean(c.shape for c in configs if c.train.memory == "lean")

    @property
    def n_dimensions(self) -> int:
        """The number of values that the sampler chooses for a trial."""
        shape = sum(len(_choices(self.shapes, i)) > 1 for i in range(len(Shape._fields)))
        others = (*self.model.values(), *self.train.values())
        return shape + sum(dimension.is_searched for dimension in others)

    def sample(self, trial: optuna.Trial) -> TrialConfig:
        """Draw one configuration, architecture first."""
        rows = self.shapes
        for position in range(len(Shape._fields)):
            choices = _choices(rows, position)
            value = choices[0]
            if len(choices) > 1:
                name = self._shape_name(rows, position)
                value = trial.suggest_categorical(name, choices)
            rows = tuple(row for row in rows if row[position] == value)
        return self._config(rows[0], lambda name, dimension: dimension.suggest(trial, name))

    def forced(self, shape: Shape, **values: Scalar) -> TrialConfig:
        """Return ``shape`` with the given values, and the middle of every other range.

        Forced trials thus differ only in what is named.
        """
        return self._config(shape, lambda name, range_: values.get(name, range_.middle))

    def configs(self) -> Iterable[TrialConfig]:
        """Yield every feasible architecture, with the middle of every other range."""
        return (self.forced(shape) for shape in self.shapes)

    def optuna_params(self, config: TrialConfig) -> dict[str, Any]:
        """Return the Optuna parameters whose sample is ``config``; the inverse of ``sample``."""
        flat = config.flat()
        params: dict[str, Any] = {}
        rows = self.shapes
        for position, field in enumerate(Shape._fields):
            if len(_choices(rows, position)) > 1:
                params[self._shape_name(rows, position)] = flat[field]
            rows = tuple(row for row in rows if row[position] == flat[field])
        for name, dimension in (*self.model.items(), *self.train.items()):
            if dimension.is_searched:
                params[name] = flat[name]
        return params

    def contains(self, config: TrialConfig) -> bool:
        """Could ``sample`` draw this configuration? Where no mode is decided, in either one."""
        flat = config.flat()
        shape, others = config.shape, (*self.model.items(), *self.train.items())
        is_decided = self.lean is not None or "memory" in self.train
        space = self if is_decided else self.with_lean({shape} if flat["memory"] == "lean" else ())
        return (
            shape in self.shapes
            and all(dimension.contains(flat[name]) for name, dimension in others)
            and space._config(shape, lambda name, _: flat[name]) == config
        )

    def _shape_name(self, rows: tuple[Shape, ...], position: int) -> str:
        """Return the Optuna name of a shape parameter, with its condition if it has one."""
        field = Shape._fields[position]
        if _choices(rows, position) == _choices(self.shapes, position) and all(
            _choices(group, position) == _choices(rows, position)
            for group in _groups(self.shapes, position)
        ):
            return field
        condition = ",".join(
            f"{Shape._fields[earlier]}={rows[0][earlier]}"
            for earlier in range(position)
            if len(_choices(self.shapes, earlier)) > 1
        )
        return f"{field}[{condition}]"

    def _config(self, shape: Shape, value: Callable[[str, Dimension], Scalar]) -> TrialConfig:
        train = TrainConfig(
            **cast(Any, {name: value(name, dimension) for name, dimension in self.train.items()})
        )
        if self.lean is not None and shape in self.lean:
            train = dataclasses.replace(train, memory="lean")
        others = {name: value(name, dimension) for name, dimension in self.model.items()}
        own = shape._asdict()
        return TrialConfig(
            budget=own.pop("budget"),
            model=ModelConfig(
                **own,
                **cast(Any, others),
                **self.sample_shape.asdict(),
                context_length=self.context_length,
                auxiliary_head=train.auxiliary_weight > 0,
            ),
            train=train,
        )


def build_space(
    cell: Cell, n_features: int, *, n_assets: int = 1, n_sectors: int = 0, n_horizons: int = 1
) -> SearchSpace:
    """Return the search space of ``cell`` for samples of this shape, as ``SampleShape`` has it.

    An architecture belongs to it if its exact parameter count stays within its budget's tolerance
    for every combination of the other searched fields (output heads, patch sizes, ...), so that no
    draw can leave the budget. The architectures of the cell's forced set belong to it too, because
    the sampler learns from their results.

    Raises:
        SpecError: no architecture fits, or a value or bound breaks its field's rule.
    """
    _check_read(cell)
    sample = SampleShape(
        n_features=n_features, n_assets=n_assets, n_sectors=n_sectors, n_horizons=n_horizons
    )
    shapes = {shape for budget in cell.budgets for shape in _feasible(cell, budget, sample)}
    if cell.search.forced == "forced18":
        labels = frozenset(budget.label for budget in cell.budgets)
        shapes |= {
            Shape(one.budget, one.d_model, one.n_layers, D_FF_RATIO, one.n_heads)
            for one in listed(labels)
        }
    space = SearchSpace(
        shapes=tuple(sorted(shapes)),
        model={name: d for name, d in cell.model.items() if name not in SHAPE_FIELDS},
        train=dict(cell.train),
        sample_shape=sample,
        context_length=cell.data.context_length,
    )
    _check_every_value(space)
    return space


def _feasible(cell: Cell, budget: Budget, sample: SampleShape) -> set[Shape]:
    """Return the architectures that fit a budget, whatever else is drawn."""
    others = {name: d for name, d in cell.model.items() if name not in SHAPE_FIELDS}
    auxiliary_weight = cell.train.get("auxiliary_weight", Fixed(0.0))
    auxiliary = sorted({weight > 0 for weight in numbers(auxiliary_weight)})
    options = {
        name: dimension.values for name, dimension in others.items() if not dimension.is_continuous
    }
    shapes: set[Shape] | None = None
    for has_auxiliary, *values in itertools.product(auxiliary, *options.values()):
        template = ModelConfig(
            **sample.asdict(),
            d_model=1,
            n_layers=1,
            n_heads=1,
            context_length=cell.data.context_length,
            **cast(
                Any, {"auxiliary_head": has_auxiliary, **dict(zip(options, values, strict=True))}
            ),
        )
        rows = feasible_grid(
            budget.target,
            budget.tolerance,
            template=template,
            **{name: _shape_values(cell.model[name]) for name in SHAPE_FIELDS},
        )
        found = {
            Shape(budget.label, row.d_model, row.n_layers, row.d_ff_ratio, row.n_heads)
            for row in rows
        }
        shapes = found if shapes is None else shapes & found
    require(
        bool(shapes),
        f"{cell.study}, budget {budget.label}",
        f"some architecture must count {budget.target:,} parameters +-{budget.tolerance:.0%}",
        got="none of the combinations of d_model, n_layers, n_heads and d_ff_ratio",
        remedy="Widen the choices in the search space, or choose another budget.",
    )
    assert shapes is not None
    return shapes


def _check_read(cell: Cell) -> None:
    """Refuse to search a field that the model family does not use."""
    for name in cell.model.get("family", Fixed(DEFAULT_FAMILY)).values:
        unread = FAMILIES[str(name)].unread
        searched = [n for n in unread if cell.model.get(n, Fixed(None)).is_searched]
        require(
            not searched,
            f"{cell.study}: model",
            f"{', '.join(unread)} must not be searched, for {name} does not read them",
            got=f"a list for {', '.join(searched)}",
            remedy="Give each one value, which is then ignored.",
        )


def _check_every_value(space: SearchSpace) -> None:
    """Build a configuration with each value and bound, so that no later draw can break a rule."""
    config = space.forced(space.shapes[0])
    for name, dimension in space.model.items():
        for value in dimension.values:
            dataclasses.replace(config.model, **cast(Any, {name: value}))
    for name, dimension in space.train.items():
        for value in dimension.values:
            dataclasses.replace(config.train, **cast(Any, {name: value}))


def _choices(rows: Iterable[Shape], position: int) -> list[Any]:
    return sorted({row[position] for row in rows})


def _groups(rows: tuple[Shape, ...], position: int) -> list[tuple[Shape, ...]]:
    """Return the rows grouped by everything that is drawn before ``position``."""
    return [tuple(g) for _, g in itertools.groupby(sorted(rows), key=lambda row: row[:position])]


def _shape_values(dimension: Dimension) -> list[int]:
    return [cast(int, value) for value in dimension.values]
