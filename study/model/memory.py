"""The bytes of one training step, and the largest micro-batch that fits into a limit."""

from dataclasses import dataclass, fields

from study.errors import require
from study.model.families import family_of
from study.model.family import layer_matrices
from study.model.model_config import ModelConfig
from study.model.sizing import count_parameters

_FLOAT32 = 4
_BFLOAT16 = 2
_MIB = 2**20

_FRAMEWORK_BYTES = 490 * _MIB
"""Interpreter, torch and Ray with their kernels' first use: a trial of 84,000 parameters at four
windows holds 500 MiB in a Ray worker in bfloat16, 488 and (float32) 466 in a plain process."""

_HOLES = {_BFLOAT16: 0.3, _FLOAT32: 0.45}
"""Share of activations and temporaries that the holes between them add, by the bytes of an operand:
0.16 to 0.45 in bfloat16 and 0.40 to 0.49 in float32, measured with glibc 2.36 over the trials of
``tests/bench/test_step_memory.py``. An aligned block needs a freed one larger than itself. With
every tensor mapped on its own (M_MMAP_THRESHOLD of 128 KiB) there are none, but a step takes 1.2 to
2.1 times as long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepMemory:
    """Bytes that a trial holds at the worst moment of a training step, by what holds them."""

    weights: int
    """Parameters, float32."""
    gradients: int
    """One float32 per parameter."""
    moments: int
    """Two float32 per parameter for AdamW."""
    best_copy: int
    """The best weights so far, restored before anything is evaluated."""
    ema_copy: int
    """The averaged weights, 0 without them."""
    activations: int
    """What the forward pass saves for the backward pass, the weights' casts included."""
    temporaries: int
    """Tensors inside the backward pass of one layer; the fused optimizer needs none."""
    fragmentation: int
    """Holes between activations and temporaries."""
    framework: int
    """The process before any model exists."""

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return sum(getattr(self, field.name) for field in fields(self))


def step_memory(config: ModelConfig, micro_batch: int, *, bf16: bool, ema: bool) -> StepMemory:
    """Model the memory of a training step of ``micro_batch`` windows.

    The sum is within 15 % of what a step holds (``tests/bench/test_step_memory.py``): whoever
    grants memory adds the headroom. The worst moment is in the first backward pass of a whole
    layer, at its end or, with many tokens, inside attention. It is counted from what the layer of
    a CPU saves and names; the composition that runs on an accelerator saves the same tensors but
    for the attention weights, of which it keeps less.

    Args:
        config: the architecture.
        micro_batch: windows per forward pass, >= 1.
        bf16: matrix products in bfloat16.
        ema: an average of the weights is kept.
    """
    c = config
    n_parameters = count_parameters(c)
    operand = _BFLOAT16 if bf16 else _FLOAT32
    family = family_of(c)
    rows = micro_batch * family.n_tokens(c)
    # A last layer that computes one token has freed what it saved before the layer below it
    # begins, and needs less than that one's temporaries.
    n_layers = max(1, c.n_layers - (c.head == "last"))
    asked = micro_batch if c.head == "last" and c.n_layers == 1 else rows
    layers = n_layers * family.layer_bytes(c, rows, asked, operand)
    activations = family.embedding_bytes(c, micro_batch, operand) + layers
    temporaries = family.layer_temporary_bytes(c, rows, asked, operand)
    temporaries += layer_matrices(c) * _FLOAT32
    return StepMemory(
        weights=n_parameters * _FLOAT32,
        gradients=n_parameters * _FLOAT32,
        moments=2 * n_parameters * _FLOAT32,
        best_copy=n_parameters * _FLOAT32,
        ema_copy=n_parameters * _FLOAT32 if ema else 0,
        activations=activations,
        temporaries=temporaries,
        fragmentation=int(_HOLES[operand] * (activations + temporaries)),
        framework=_FRAMEWORK_BYTES,
    )


def largest_micro_batch(
    config: ModelConfig, *, effective_batch: int, limit_bytes: int, bf16: bool, ema: bool
) -> int:
    """Return the largest power of two up to ``effective_batch`` whose modelled step fits.

    Raises: SpecError if not even one window fits.
    """
    micro_batch = 1 << (effective_batch.bit_length() - 1)
    while micro_batch > 1:
        if step_memory(config, micro_batch, bf16=bf16, ema=ema).total <= limit_bytes:
            return micro_batch
        micro_batch //= 2
    needed = step_memory(config, 1, bf16=bf16, ema=ema).total
    require(
        needed <= limit_bytes,
        "largest_micro_batch",
        "a step of one window must fit the memory of the trial",
        got=f"needed={needed:,} bytes, limit={limit_bytes:,} bytes for "
        f"{count_parameters(config):,} parameters",
        remedy="Give the trial more memory, run fewer at once, or choose a smaller budget.",
    )
    return 1
