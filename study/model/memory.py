"""The bytes of one training step, and the largest micro-batch that fits."""

from dataclasses import dataclass, fields

from study.errors import require
from study.model.config import ModelConfig
from study.model.sizing import count_parameters

_FLOAT32 = 4
_BFLOAT16 = 2
_MIB = 2**20

_FRAMEWORK_BYTES = 480 * _MIB
"""Interpreter, torch, first use of its kernels (345 MiB measured), and a trial's other imports."""

_FRAGMENTATION = 0.5
"""Share of the activations lost in the holes of the C allocator: 0.5 at worst (d_model 64, 48
layers, float32), near 0 for few large tensors; with every tensor mapped on its own it vanishes."""


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
    fragmentation: int
    """Holes between the activations."""
    temporaries: int
    """Live only inside the backward pass of one layer; the fused optimizer needs none."""
    framework: int
    """The process before any model exists."""

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return sum(getattr(self, field.name) for field in fields(self))


def step_memory(config: ModelConfig, micro_batch: int, *, bf16: bool, ema: bool) -> StepMemory:
    """Model the memory of a training step of ``micro_batch`` windows.

    Counted from what ``fused_layer`` saves; the composition that runs on an accelerator saves the
    same tensors but for the attention weights, of which it keeps less.

    Args:
        config: the architecture.
        micro_batch: windows per forward pass, >= 1.
        bf16: matrix products in bfloat16.
        ema: an average of the weights is kept.
    """
    c = config
    n_parameters = count_parameters(c)
    operand = _BFLOAT16 if bf16 else _FLOAT32
    rows = micro_batch * c.n_patches
    last_rows = micro_batch if c.head == "last" else rows
    n_layer_weights = 4 * c.d_model**2 + 2 * c.d_model * c.d_ff
    layers = (c.n_layers - 1) * _layer_activations(c, rows, rows, operand)
    layers += _layer_activations(c, rows, last_rows, operand)
    # Without bfloat16 only the two matrices that carry the dropout scale are copied.
    n_cast = n_layer_weights if bf16 else c.d_model**2 + c.d_model * c.d_ff
    windows = micro_batch * c.context_length * c.n_features * _FLOAT32 * (4 if c.revin else 1)
    patches = rows * c.patch_length * c.n_features * (_FLOAT32 + (operand if bf16 else 0))
    embedded = rows * c.d_model * (2 * _FLOAT32 + operand + 1)
    read_out = last_rows * c.d_model * 3 * _FLOAT32
    temporaries = (
        rows * (2 * c.d_ff + 8 * c.d_model) * operand
        + rows * 4 * c.d_model * _FLOAT32
        + n_layer_weights * (_FLOAT32 + operand)
    )
    activations = layers + c.n_layers * n_cast * operand + windows + patches + embedded + read_out
    return StepMemory(
        weights=n_parameters * _FLOAT32,
        gradients=n_parameters * _FLOAT32,
        moments=2 * n_parameters * _FLOAT32,
        best_copy=n_parameters * _FLOAT32,
        ema_copy=n_parameters * _FLOAT32 if ema else 0,
        activations=activations,
        fragmentation=int(_FRAGMENTATION * activations),
        temporaries=temporaries,
        framework=_FRAMEWORK_BYTES,
    )


def largest_micro_batch(
    config: ModelConfig, *, effective_batch: int, limit_bytes: int, bf16: bool, ema: bool
) -> int:
    """The largest power of two up to ``effective_batch`` whose modelled step fits the limit.

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


def _layer_activations(c: ModelConfig, rows: int, query_rows: int, operand: int) -> int:
    stream = (rows + query_rows) * c.d_model * _FLOAT32
    statistics = 2 * (rows + query_rows) * _FLOAT32
    normed = (rows + query_rows) * c.d_model * operand
    query_key_value = (query_rows + 2 * rows) * c.d_model * operand
    # Kept in two layouts: for the softmax and for the products.
    attention = 2 * query_rows * c.n_patches * c.n_heads * operand
    mixed = query_rows * c.d_model * operand
    hidden = 2 * query_rows * c.d_ff * operand
    mask = query_rows * (2 * c.d_model + c.d_ff) if c.dropout > 0 else 0
    return stream + statistics + normed + query_key_value + attention + mixed + hidden + mask
