"""The bytes of one training step, and the largest micro-batch that fits."""

from dataclasses import dataclass, fields

from study.errors import require
from study.model.family import family_of
from study.model.fused_layer import MOST_COLUMN_TOKENS
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
    """Live only inside the backward pass of one layer; the fused optimizer needs none."""
    fragmentation: int
    """Holes between these two."""
    framework: int
    """The process before any model exists."""

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return sum(getattr(self, field.name) for field in fields(self))


def step_memory(config: ModelConfig, micro_batch: int, *, bf16: bool, ema: bool) -> StepMemory:
    """Model the memory of a training step of ``micro_batch`` windows.

    What a step is expected to hold, within 15 % (``tests/bench/test_step_memory.py``): whoever
    grants memory adds the headroom. The worst moment is in the first backward pass of a
    whole layer, at its end or, of many tokens, inside attention, counted from what ``fused_layer``
    saves and names; the composition that runs on an
    accelerator saves the same tensors but for the attention weights, of which it keeps less.

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
    tokens = family.n_tokens(c)
    rows = micro_batch * tokens
    n_layer_weights = 4 * c.d_model**2 + 2 * c.d_model * c.d_ff
    # Without bfloat16 only the two matrices that carry the dropout scale are copied.
    n_cast = n_layer_weights if bf16 else c.d_model**2 + c.d_model * c.d_ff
    # A last layer that asks for one token has let go of what it saved before the layer below it
    # begins, and needs less than that one's temporaries.
    n_layers = max(1, c.n_layers - (c.head == "last"))
    asked = micro_batch if c.head == "last" and c.n_layers == 1 else rows
    layers = n_layers * (_layer_activations(c, tokens, rows, asked, operand) + n_cast * operand)
    activations = family.embedding_bytes(c, micro_batch, operand) + layers
    temporaries = _layer_temporaries(c, tokens, rows, asked, operand) + n_layer_weights * _FLOAT32
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


def _layer_activations(c: ModelConfig, tokens: int, rows: int, asked: int, operand: int) -> int:
    """Return the bytes that a layer saves, in the order of ``fused_layer``'s ``save_for_backward``.

    Args:
        c: the architecture.
        tokens: of a window.
        rows: tokens of all windows.
        asked: those of them that ask, mix and feed forward.
        operand: bytes of an operand of the matrix products.
    """
    both = rows + asked
    stream = both * c.d_model * _FLOAT32
    statistics = 2 * both * _FLOAT32
    normed = both * c.d_model * operand
    query_key_value = (asked + 2 * rows) * c.d_model * operand
    # Of few tokens kept in two layouts: for the softmax and for the products.
    n_layouts = 2 if tokens <= MOST_COLUMN_TOKENS else 1
    attention = n_layouts * asked * tokens * c.n_heads * operand
    mixed = asked * c.d_model * operand
    hidden = 2 * asked * c.d_ff * operand
    mask = asked * (2 * c.d_model + c.d_ff) if c.dropout > 0 else 0
    return stream + statistics + normed + query_key_value + attention + mixed + hidden + mask


def _layer_temporaries(c: ModelConfig, tokens: int, rows: int, asked: int, operand: int) -> int:
    """Return the bytes that the names in a layer's backward pass hold at its fullest."""
    stream = c.d_model * _FLOAT32
    product = c.d_model * operand
    attention = asked * tokens * c.n_heads * operand
    # The gradient that came in, that between the blocks, one of the update and two of the mix.
    common = asked * (2 * stream + 2 * c.d_ff * operand + 3 * product)
    # Inside attention: two layouts of the weights' beside the value's, or one beside all three.
    inside = max(2 * attention + rows * product, attention + (2 * rows + asked) * product)
    # At the end: what goes out; the norm's; one each of query, key and value, by head and joined.
    end = rows * (stream + product) + 2 * (2 * rows + asked) * product
    if operand != _FLOAT32:
        # The norm's is widened, and the gradient of the query, key and value weights not yet.
        end += rows * stream + 3 * c.d_model**2 * operand
    return common + max(inside, end)
