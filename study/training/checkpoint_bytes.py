"""The bytes that the checkpoints of a trial take on a disk."""

from study.model.lean_memory import coded_bytes, layer_numbers
from study.model.model_config import ModelConfig
from study.model.sizing import count_parameters
from study.training.train_config import Memory

_FLOAT32, _BFLOAT16 = 4, 2
"""Bytes of a number."""

MOST_SPARED_BYTES = 8 * 2**30
"""Size of the largest states of which an older one is kept beside the newest; an own choice. With
averaged weights it is that of 0.5 billion parameters. An older state only serves where the newest
was damaged after it was written, and of 2.42 billion parameters it takes 36 GiB."""


def checkpoint_bytes(model: ModelConfig, *, memory: Memory, ema: bool) -> tuple[int, int]:
    """Return the bytes of a network's state, and those of its best weights, which it refers to.

    Args:
        model: its architecture.
        memory: the memory mode. A full state has weights, two moments and their average in float32;
            a lean one has the matrices of the layers in bfloat16, the rest of theirs in 8 bits.
        ema: is an average of the weights kept?
    """
    n_kinds = 3 + ema
    if memory == "full":
        weights = count_parameters(model) * _FLOAT32
        return n_kinds * weights, weights
    matrices, vectors, rest = layer_numbers(model)
    n_matrices, others = model.n_layers * matrices, (model.n_layers * vectors + rest) * _FLOAT32
    weights = n_matrices * _BFLOAT16
    coded = (n_kinds - 1) * coded_bytes(n_matrices)
    return weights + coded + n_kinds * others, weights + others


def states_kept(state_bytes: int, keep: int = 2, most_spared_bytes: int = MOST_SPARED_BYTES) -> int:
    """Return the number of complete states that a trial keeps.

    Args:
        state_bytes: size of a state without the best weights.
        keep: number of states that are kept if they are small enough.
        most_spared_bytes: size of the largest states of which more than one is kept.
    """
    return keep if state_bytes <= most_spared_bytes else 1


def running_bytes(state_bytes: int, best_bytes: int) -> int:
    """Return the most bytes that a running trial takes on the disk, while it writes a state.

    Every state, the one that is written included, may refer to best weights of its own. They cannot
    be fewer: until the newer state is complete the older one must have those that it refers to.

    Args:
        state_bytes: size of a state without the best weights.
        best_bytes: size of the best weights.
    """
    return (states_kept(state_bytes) + 1) * (state_bytes + best_bytes)
