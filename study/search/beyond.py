"""A search whose best trial is at an edge of its file goes on beyond the edge with a few trials.

An edge is that of the file if an architecture beyond it fits the budget, or if the rule of a
training setting allows a value beyond it. The edge of what a budget allows is none.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from study.errors import SpecError
from study.model.architecture import MODEL_RULES
from study.results.journal import Event
from study.results.records import Metric, TrialRecord, best_trial, ranked
from study.search.edges import Edge, find_edges, searched_ranges
from study.search.space import SearchSpace, Shape, TrialConfig, build_space
from study.spec.dimension import Choice, Dimension, Range, Scalar, parse_dimension
from study.spec.search_config import SearchConfig
from study.spec.specification import SHAPE_FIELDS, Cell
from study.text.short_forms import counted
from study.training.train_config import TRAIN_RULES

MOST_WIDENINGS = 2
"""Number of edges that a search passes at most, so that it ends; an own choice."""

_TRIALS_SHARE = 4
"""One more trial is run beyond an edge for so many trials of the search; an own choice."""

_FEWEST_TRIALS = 2
"""Least number of trials beyond an edge: one alone would be judged by its luck."""

_NEAR_SHARE = 0.25
"""Share of a range's width, to either side of the best trial's value, from which the other settings
are drawn; an own choice."""

_DRAWS = 20
"""Number of draws after which a further configuration beyond an edge is given up."""

_KEPT = ("epochs", "warmup_share", "patience")
"""Fields that never become wider: how long is trained is a question of time, which
``--max-epochs`` answers."""

_HEADS = "n_heads"


def trials_beyond(n_begun: int) -> int:
    """Return how many trials a search, begun with a number of trials, runs beyond each edge."""
    return max(_FEWEST_TRIALS, n_begun // _TRIALS_SHARE)


def most_beyond(cell: Cell, *, passed: int = 0) -> int:
    """Return the greatest number of trials that a search adds beyond edges after it passed some."""
    if not cell.search.beyond_edges:
        return 0
    n_begun = cell.search.trials if cell.n_begun is None else cell.n_begun
    return (MOST_WIDENINGS - passed) * trials_beyond(n_begun)


@dataclass(frozen=True, kw_only=True, slots=True)
class Widening:
    """A dimension that becomes wider, and the trials in the part that it gains."""

    name: str
    """Field whose dimension becomes wider."""
    dimension: Dimension
    """The wider dimension."""
    shapes: tuple[Shape, ...]
    """Architectures that the space gains; none if a training setting becomes wider."""
    configs: tuple[TrialConfig, ...]
    message: str
    """The edge that is passed, and the trials beyond it, in words."""

    def to_event(self) -> dict[str, Any]:
        """Return the plain values that the journal holds."""
        return {
            "dimension": self.name,
            "range": self.dimension.plain,
            "shapes": [list(shape) for shape in self.shapes],
            "configs": [config.flat() for config in self.configs],
            "message": self.message,
        }

    @classmethod
    def from_event(cls, event: Event) -> Self:
        """Rebuild the widening of which ``to_event`` made plain values."""
        return cls(
            name=event["dimension"],
            dimension=parse_dimension(event["range"], event["dimension"]),
            shapes=tuple(Shape(*row) for row in event["shapes"]),
            configs=tuple(TrialConfig.from_flat(flat) for flat in event["configs"]),
            message=event["message"],
        )


def widened_part(widenings: Sequence[Widening], trials: int) -> dict[str, Any]:
    """Return the part of ``cell.yaml`` that changes when edges are passed; empty without any.

    Args:
        widenings: the edges that were passed, in order.
        trials: number of trials that the search was asked for.
    """
    if not widenings:
        return {}
    return {
        "trials": trials + sum(len(each.configs) for each in widenings),
        "widened": {each.name: each.dimension.plain for each in widenings},
    }


def searched_cell(cell: Cell, described: Mapping[str, Any]) -> Cell:
    """Return a cell with the ranges of its search, which may be wider than those of its file.

    Args:
        cell: the cell as its file has it.
        described: the content of the search's ``cell.yaml``.
    """
    return dataclasses.replace(
        cell,
        model=searched_ranges(cell.model, described),
        train=searched_ranges(cell.train, described),
    )


class Beyond:
    """Decides whether and how a search goes beyond an edge of its file.

    The decision follows from the trials that have ended, and is written to the journal with every
    configuration: a search that is resumed on another machine does not decide again.

    Args:
        cell: the cell as its file has it.
        fits: can a trial of this configuration run with the resources that trials have?
    """

    def __init__(self, cell: Cell, fits: Callable[[TrialConfig], bool]) -> None:
        self._cell = cell
        self._fits = fits

    def widening(
        self,
        space: SearchSpace,
        widened: Mapping[str, Dimension],
        records: Sequence[TrialRecord],
        search: SearchConfig,
        number: int,
    ) -> Widening | None:
        """Return the first edge that can be passed, architectures before settings; None if none.

        Args:
            space: the space of the search as it is now.
            widened: dimensions that have become wider before.
            records: the trials, all of which have ended.
            search: the settings with which the search was begun.
            number: number of its next trial.
        """
        best = best_trial(records)
        if best is None:
            return None
        plain = {name: dimension.plain for name, dimension in widened.items()}
        cell = searched_cell(self._cell, {"widened": plain})
        found = find_edges(best.params, {**cell.model, **cell.train})
        for edge in sorted(found, key=lambda each: each.name not in SHAPE_FIELDS):
            if edge.name in _KEPT or not _matters(edge, best, records, search.metric):
                continue
            passed = self._passed(edge, cell, space)
            if passed is None:
                continue
            dimension, shapes = passed
            wide = space.wider(edge.name, dimension, shapes)
            before = {**cell.model, **cell.train}[edge.name]
            drawn = _Draw(wide, edge, best, shapes, before, self._fits)
            configs = drawn.configs(trials_beyond(search.trials), seed=search.seed, number=number)
            if configs:
                return Widening(
                    name=edge.name,
                    dimension=dimension,
                    shapes=shapes,
                    configs=configs,
                    message=drawn.message(len(configs), is_first=edge.name not in widened),
                )
        return None

    def _passed(
        self, edge: Edge, cell: Cell, space: SearchSpace
    ) -> tuple[Dimension, tuple[Shape, ...]] | None:
        """Return the wider dimension and the architectures that it adds; None if it cannot be."""
        before = {**cell.model, **cell.train}[edge.name]
        rule = {**MODEL_RULES, **TRAIN_RULES}.get(edge.name)
        wider = before.wider(edge.end, lambda value: rule is None or rule.holds(value))
        if wider is None:
            return None
        plain = {"widened": {edge.name: wider.plain}}
        try:
            wide = build_space(searched_cell(cell, plain), **space.sample_shape.asdict())
        except SpecError:
            # The rules of a cell bind its fields together: this value breaks one of them.
            return None
        if not set(space.shapes) <= set(wide.shapes):
            return None
        if edge.name not in SHAPE_FIELDS:
            return wider, ()
        # An architecture that is added has the memory mode of its budget's.
        wide = dataclasses.replace(wide, lean=space.wider(edge.name, wider, wide.shapes).lean)
        new = _added(before, wider)
        shapes = tuple(
            shape
            for shape in wide.shapes
            if getattr(shape, edge.name) == new and self._fits(wide.forced(shape))
        )
        return (wider, shapes) if shapes else None


class _Draw:
    """Configurations in the part that a space has gained, all else near the best trial.

    Args:
        space: the space, widened.
        edge: the edge that is passed.
        best: the best trial, which is at the edge.
        shapes: the architectures that the space has gained.
        before: the dimension before it became wider.
        fits: can a trial of this configuration run?
    """

    def __init__(
        self,
        space: SearchSpace,
        edge: Edge,
        best: TrialRecord,
        shapes: Sequence[Shape],
        before: Dimension,
        fits: Callable[[TrialConfig], bool],
    ) -> None:
        self._space = space
        self._fits = fits
        self._edge = edge
        self._before = before
        self._best = TrialConfig.from_flat(best.params)
        if space.epochs is not None:
            self._best = self._best.with_epochs(space.epochs)
        self._shapes = sorted(shapes, key=self._distance) or [self._best.shape]
        self._dimensions = {**space.model, **space.train}

    def configs(self, n_trials: int, *, seed: int, number: int) -> tuple[TrialConfig, ...]:
        """Return different configurations, fewer if there are no more.

        The first has every other setting of the best trial, where the budget allows it. The others
        have the same architecture and draw the settings near those of the best trial.

        Args:
            n_trials: how many are wanted.
            seed: of the search; with the number of a trial it decides what is drawn.
            number: number of the first of these trials.
        """
        found: list[TrialConfig] = []
        for index in range(n_trials):
            for attempt in range(_DRAWS):
                entropy = np.random.SeedSequence([seed, number + index, attempt])
                rng = np.random.default_rng(entropy) if found else None
                # Where settings are all fixed, the next nearest architecture is the next trial.
                shape = self._shapes[attempt % len(self._shapes)]
                values = {name: self._value(name, rng) for name in self._dimensions}
                config = self._space.forced(shape, **values)
                is_new = config not in found and self._space.contains(config)
                if is_new and self._fits(config):
                    found.append(config)
                    break
        return tuple(found)

    def message(self, n_trials: int, *, is_first: bool) -> str:
        """Return in words which edge is passed, and what is tried beyond it."""
        edge, before = self._edge, self._before
        which = f"the {edge.end} {'of the file' if is_first else 'so far'}"
        if isinstance(before, Range):
            old, after = before.bound(edge.end), self._dimensions[edge.name]
            assert isinstance(after, Range)
            low, high = sorted((old, after.bound(edge.end)))
            at, tried = f"{edge.value:.3g}, near {old:g}, {which}", f"from {low:g} to {high:g}"
        else:
            at, tried = f"{edge.value:g}, {which}", f"{self._added:g}"
        more = counted(n_trials, "more trial")
        return f"{edge.name} ended at {at}: {more} with {edge.name} {tried}"

    @property
    def _added(self) -> float:
        if self._edge.name in SHAPE_FIELDS:
            return float(getattr(self._shapes[0], self._edge.name))
        return _added(self._before, self._dimensions[self._edge.name])

    def _distance(self, shape: Shape) -> tuple[float, Shape]:
        """Return how far an architecture is from the best trial's, in factors, then itself."""
        names = [name for name in SHAPE_FIELDS if name != self._edge.name]
        ratios = [getattr(shape, name) / getattr(self._best.shape, name) for name in names]
        return sum(abs(math.log(ratio)) for ratio in ratios), shape

    def _value(self, name: str, rng: np.random.Generator | None) -> Scalar:
        """Return the value of a setting: that of the best trial without a generator, or near it."""
        dimension = self._dimensions[name]
        if name == self._edge.name:
            if isinstance(dimension, Range):
                assert isinstance(self._before, Range)
                old, new = (each.bound(self._edge.end) for each in (self._before, dimension))
                return _between(dimension, dimension.scaled(old), dimension.scaled(new), rng)
            return _added(self._before, dimension)
        best: Scalar = dimension.nearest(self._best.flat()[name])
        if not isinstance(dimension, Range) or rng is None:
            return best
        low, high = dimension.scaled(dimension.low), dimension.scaled(dimension.high)
        place, near = dimension.scaled(float(str(best))), _NEAR_SHARE * (high - low)
        return _between(dimension, max(low, place - near), min(high, place + near), rng)


def _between(
    dimension: Range, first: float, second: float, rng: np.random.Generator | None
) -> float:
    """Return a number between two places of a scale, drawn, or the middle without a generator."""
    share = 0.5 if rng is None else rng.random()
    return dimension.nearest(dimension.unscaled(first + share * (second - first)))


def _added(before: Dimension, after: Dimension) -> float:
    """Return the choice that a dimension has gained."""
    assert isinstance(after, Choice)
    (added,) = (value for value in after.values if value not in before.values)
    assert isinstance(added, int | float)
    return added


def _matters(edge: Edge, best: TrialRecord, records: Sequence[TrialRecord], metric: Metric) -> bool:
    """Does it matter that a value is at an edge?

    The number of heads is an edge only where others were tried and none of them comes within the
    standard error of the best trial: of its difference to the baseline or, of an AUC, its own.
    """
    if edge.name != _HEADS:
        return True
    noise = best.comparison_se(metric)
    others = [record.objective for record in ranked(records) if record.params[_HEADS] != edge.value]
    assert best.objective is not None
    if noise is None or not others or others[0] is None:
        return False
    return others[0] - best.objective > noise
