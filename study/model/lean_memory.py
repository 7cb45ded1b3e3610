"""The bytes of one training step in the memory mode ``lean``.

The layers of the encoder hold their matrices in bfloat16 and two moments in 8-bit blocks. One layer
at a time is computed in float32, changed as soon as its gradient is known, and computed again from
its saved input. All else, embedding, heads and the layer across assets, is as in a full step.
"""

from study.model.asset_attention import asset_bytes
from study.model.families import family_of
from study.model.family import layer_matrices
from study.model.memory import FRAMEWORK_BYTES, HOLES, StepMemory
from study.model.model_config import ModelConfig

BLOCK = 256
"""Numbers of a block, which share one float32 scale, as in bitsandbytes 0.50."""

CHUNK = 1 << 18
"""Weights of a layer that are changed at once on the CPU, whose buffers of 9 MiB stay in its last
cache. Random bits are drawn per chunk, so another size is another stream."""

ACCELERATOR_CHUNK = 1 << 20
"""Weights changed at once elsewhere, in buffers of 36 MiB: there each launch has its price."""

N_UPDATE_BUFFERS = 9
"""Numbers in float32 that are held for each weight of a chunk while it is changed."""

_KERNEL_BYTES = 34 * 2**20
"""Bytes of a process of lean trials beyond those of full ones. Measured with a trial of 32,000
parameters at four windows: 455 MiB in place of 421."""

_FLOAT32, _BFLOAT16, _CODE = 4, 2, 1
"""Bytes of a number."""

_N_STREAMS = 3
"""Residual streams of the whole batch that a step holds at once on the way down, float32: what the
embedding has given, and the gradients by a layer's output and by its input."""


def layer_numbers(config: ModelConfig) -> tuple[int, int, int]:
    """Return how many numbers the matrices and the vectors of a layer have, and all else.

    Matrices are counted with what fills their last block.
    """
    c, family = config, family_of(config)
    rest, one = (family.count(c, c.d_model, n, c.d_ff) for n in (0, 1))
    matrices = layer_matrices(c)
    return -(-matrices // BLOCK) * BLOCK, one - rest - matrices, rest


def coded_bytes(n_numbers: int) -> int:
    """Return the bytes of numbers in 8 bits, with the scales of their blocks."""
    return n_numbers * _CODE + n_numbers // BLOCK * _FLOAT32


def lean_step_memory(
    config: ModelConfig,
    micro_batch: int,
    *,
    effective_batch: int,
    bf16: bool,
    ema: bool,
    maps_files: bool,
) -> StepMemory:
    """Model the memory of a lean training step, ``micro_batch`` samples of a layer at a time.

    The sum is within 10 % of the memory that a step holds (``tests/bench/test_step_memory.py``).
    The inputs of all layers are those of the whole batch, because a layer is changed once it has
    gone back over all of it.

    Args:
        config: the architecture.
        micro_batch: number of samples that a layer computes at once, >= 1.
        effective_batch: number of samples of an optimizer step.
        bf16: are matrix products computed in bfloat16?
        ema: is an average of the weights kept?
        maps_files: does the average of the layers lie in a mapped file, as on the CPU, where its
            pages are given back after their use? On an accelerator it is in its memory. The best
            weights of the layers are in such a file everywhere.
    """
    c, family = config, family_of(config)
    matrices, vectors, rest = layer_numbers(c)
    layer, n_vectors = matrices + vectors, c.n_layers * vectors
    coded, scales = (coded_bytes(c.n_layers * matrices), c.n_layers * matrices // BLOCK * _FLOAT32)
    tokens = effective_batch * c.n_assets * family.n_tokens(c)
    rows = micro_batch * c.n_assets * family.n_tokens(c)
    operand = _BFLOAT16 if bf16 else _FLOAT32
    inputs = c.n_layers * tokens * c.d_model * _BFLOAT16
    # The output of the last layer is kept too, which may be that of one token alone.
    n_streams = _N_STREAMS + (c.head != "last")
    streams = n_streams * tokens * c.d_model * _FLOAT32
    embedded = family.embedding_bytes(c, effective_batch * c.n_assets, operand)
    # The last layer may compute one token alone; the one below it computes all, if there is one.
    asks_one_token = c.head == "last" and c.n_layers == 1
    asked = micro_batch * c.n_assets if asks_one_token else rows
    saved = family.layer_bytes(c, rows, asked, operand)
    backward = family.layer_temporary_bytes(c, rows, asked, operand)
    backward = max(backward, asset_bytes(c, effective_batch, operand))
    backward += layer_matrices(c) * _FLOAT32
    others = (n_vectors + rest) * _FLOAT32
    chunk = CHUNK if maps_files else ACCELERATOR_CHUNK
    return StepMemory(
        weights=c.n_layers * matrices * _BFLOAT16 + layer * _FLOAT32 + others,
        gradients=layer * _FLOAT32 + others,
        moments=2 * (coded + others),
        best_copy=others,
        ema_copy=(others + (scales if maps_files else coded)) if ema else 0,
        activations=inputs + streams + embedded + saved,
        temporaries=max(backward, N_UPDATE_BUFFERS * chunk * _FLOAT32),
        fragmentation=int(HOLES[operand] * (saved + backward)),
        framework=FRAMEWORK_BYTES + _KERNEL_BYTES,
    )
