"""Which models are timed: small, middle and large kinds of layer, each in two depths.

``study.planning.step_times`` has the fit to their times.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from study.model.sizing import count_parameters
from study.planning.probing.probe_worker import FEWEST_IN_EPOCH
from study.planning.step_times import SHALLOW, layer_flops
from study.search.space import SearchSpace, TrialConfig
from study.training.checkpoint_bytes import checkpoint_bytes
from study.training.train_config import Memory

_DEEPEST = 8
"""Most layers of a deep model. With eight the activations no longer fit the caches, as those of any
deeper model do not."""

_DEEP_FLOPS = 1e11
"""Floating-point operations of the steps of a deep model's epoch at most, unless one of two layers
has more: a second or two on a slow core; an own choice."""

_CLOSE_RATIO = 8
"""Operations of a space's largest kind of layer by those of its smallest up to which the two are
enough, for the line through them has no room to bend; an own choice."""

_MOST_CHECKPOINT_BYTES = 128 * 2**20
"""Bytes of the largest checkpoint that is written. Writing a larger one would take longer than all
other measurements, so its time is extrapolated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbedModel:
    """A model that is timed: a kind of layer in some depth."""

    config: TrialConfig
    saves: bool
    """Is its checkpoint timed?"""


def probed_models(space: SearchSpace) -> list[ProbedModel]:
    """Return the models that are timed, in pairs: a shallow and a deep one of each kind of layer.

    The kinds are the smallest, the middle and the largest of each memory mode that the space has.
    """
    configs = [_with_depth(c, n) for c, deep in _kinds(space) for n in (SHALLOW, deep)]
    saved = _saved(configs)
    return [
        ProbedModel(config=c, saves=(c.train.memory, count_parameters(c.model)) in saved)
        for c in configs
    ]


def _with_depth(config: TrialConfig, n_layers: int) -> TrialConfig:
    return dataclasses.replace(config, model=dataclasses.replace(config.model, n_layers=n_layers))


def _saved(configs: Sequence[TrialConfig]) -> set[tuple[Memory, int]]:
    """Return the memory modes and sizes of the models whose checkpoints are written.

    Those are the ends of a straight line in each mode. The smallest one is always written, so that
    there is one to extrapolate from.
    """
    saved: set[tuple[Memory, int]] = set()
    for memory in {config.train.memory for config in configs}:
        own = sorted(
            (count_parameters(config.model), sum(_checkpoint_bytes(config)))
            for config in configs
            if config.train.memory == memory
        )
        written = [count for count, size in own if size <= _MOST_CHECKPOINT_BYTES]
        saved |= {(memory, count) for count in (own[0][0], *written[-1:])}
    return saved


def _checkpoint_bytes(config: TrialConfig) -> tuple[int, int]:
    return checkpoint_bytes(config.model, memory=config.train.memory, ema=True)


def _kinds(space: SearchSpace) -> list[tuple[TrialConfig, int]]:
    """Return the kinds of layer, each with its deep model's depth."""
    kinds: dict[Memory, dict[float, list[TrialConfig]]] = {}
    for config in space.configs():
        own = kinds.setdefault(config.train.memory, {})
        own.setdefault(layer_flops(config.model), []).append(config)
    return [found for _, own in sorted(kinds.items()) for found in _kinds_of_mode(own)]


def _kinds_of_mode(kinds: Mapping[float, list[TrialConfig]]) -> Iterator[tuple[TrialConfig, int]]:
    """Yield the chosen kinds of layer of a memory mode, by the operations of a layer."""
    work = sorted(kinds)
    ends = {work[0], work[-1]}
    is_wide = work[-1] > _CLOSE_RATIO * work[0]
    for flops in sorted(ends | {work[len(work) // 2]} if is_wide else ends):
        rows = kinds[flops]
        deepest = max(config.model.n_layers for config in rows)
        affordable = int(_DEEP_FLOPS / (FEWEST_IN_EPOCH * flops))
        deep = max(SHALLOW + 1, min(_DEEPEST, deepest, affordable))
        # Neither the fewest nor the most heads, and the same ones in every budget of a study.
        heads = sorted({config.model.n_heads for config in rows})
        middle = heads[len(heads) // 2]
        yield next(config for config in rows if config.model.n_heads == middle), deep
