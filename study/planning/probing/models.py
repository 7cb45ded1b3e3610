"""Which models are timed: small, middle and large kinds of layer, each in two depths.

``study.planning.step_times`` has the fit to their times.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from study.model.sizing import count_parameters
from study.planning.probing.probe_worker import FEWEST_IN_EPOCH, WHOLE_FLOPS
from study.planning.step_times import SHALLOW, layer_flops
from study.search.space import SearchSpace, TrialConfig
from study.training.checkpoint_bytes import checkpoint_bytes
from study.training.train_config import Memory

_DEEPEST = 8
"""Most layers of a deep model. With eight the activations no longer fit the caches, as those of any
deeper model do not."""

_ACCELERATOR_GAIN = 10
"""Operations that a deep model's epoch may have on an accelerator by those on a CPU, where they are
``WHOLE_FLOPS`` unless two layers have more; an own choice: eight layers of d1024 are then timed."""

_MOST_LAYER_FLOPS = 1e9
"""Most floating-point operations of a layer on a sample with which it is timed on a CPU, if a
smaller one is there: d1024 r4 has 8e8. The products of such layers run at one rate, and the update
of their weights grows as they do, so that a larger one takes as much longer as it has more
operations; an own choice, for timing one with 50 million weights takes half a minute."""

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


def probed_models(space: SearchSpace, *, on_cpu: bool) -> list[ProbedModel]:
    """Return the models that are timed, in pairs: a shallow and a deep one of each kind of layer.

    The kinds are the smallest, the middle and the largest of each memory mode that the space has.
    On a CPU the largest is one that takes seconds.
    """
    configs = [_with_depth(c, n) for c, deep in _kinds(space, on_cpu) for n in (SHALLOW, deep)]
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


def _kinds(space: SearchSpace, on_cpu: bool) -> list[tuple[TrialConfig, int]]:
    """Return the kinds of layer, each with its deep model's depth."""
    kinds: dict[Memory, dict[float, list[TrialConfig]]] = {}
    for config in space.configs():
        own = kinds.setdefault(config.train.memory, {})
        own.setdefault(layer_flops(config.model), []).append(config)
    # Full before lean, which leaves its process with another way to map memory
    # (``study.training.device.map_large_allocations``).
    return [found for _, own in sorted(kinds.items()) for found in _kinds_of_mode(own, on_cpu)]


def _kinds_of_mode(
    kinds: Mapping[float, list[TrialConfig]], on_cpu: bool
) -> Iterator[tuple[TrialConfig, int]]:
    """Yield the chosen kinds of layer of a memory mode, by the operations of a layer."""
    smallest = min(kinds)
    most = max(smallest, _MOST_LAYER_FLOPS) if on_cpu else max(kinds)
    work = sorted(flops for flops in kinds if flops <= most)
    ends = {smallest, work[-1]}
    is_wide = work[-1] > _CLOSE_RATIO * smallest
    afforded = WHOLE_FLOPS if on_cpu else _ACCELERATOR_GAIN * WHOLE_FLOPS
    for flops in sorted(ends | {work[len(work) // 2]} if is_wide else ends):
        rows = kinds[flops]
        deepest = max(config.model.n_layers for config in rows)
        affordable = int(afforded / (FEWEST_IN_EPOCH * flops))
        deep = max(SHALLOW + 1, min(_DEEPEST, deepest, affordable))
        # Neither the fewest nor the most heads, and the same ones in every budget of a study.
        heads = sorted({config.model.n_heads for config in rows})
        middle = heads[len(heads) // 2]
        yield next(config for config in rows if config.model.n_heads == middle), deep
