"""The bytes of one training step, and the largest micro-batch that fits into a limit."""

from collections.abc import Callable
from dataclasses import dataclass, fields

from study.model.asset_attention import asset_bytes
from study.model.families import family_of
from study.model.family import layer_matrices
from study.model.model_config import ModelConfig
from study.model.sizing import count_parameters

_FLOAT32, _BFLOAT16 = 4, 2
"""Bytes of a number."""

_MIB = 2**20

FRAMEWORK_BYTES = 415 * _MIB
"""Bytes of the interpreter, torch and Ray after the first use of their kernels. Measured with a
trial of 84,000 parameters at four windows: 423 MiB in bfloat16 and 401 MiB in float32."""

_FURTHER_NETWORK_BYTES = 12 * _MIB
"""Bytes of each further network of a trial besides its states: its samples, and what is lost
between networks. Measured with five and with fifteen networks of 40,000 to 750,000 parameters on
the S&P 500: 5 to 13 MiB each."""

HOLES = {_BFLOAT16: 0.3, _FLOAT32: 0.45}
"""Memory that is lost between activations and temporaries, as a share of these, by the bytes of an
operand. Measured with glibc 2.36 over the trials of ``tests/bench/test_step_memory.py``: 0.16 to
0.45 in bfloat16, 0.40 to 0.49 in float32. It is lost because an aligned block needs a freed one
larger than itself. With a mapping for each tensor (M_MMAP_THRESHOLD of 128 KiB) nothing is lost,
but a step takes 1.2 to 2.1 times as long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepMemory:
    """Bytes that a trial holds at the moment of a training step that needs most, by their use."""

    weights: int
    """Bytes of the parameters: float32 or, of the layers of a lean step, bfloat16 with one layer in
    float32."""
    gradients: int
    """Bytes of the gradients, float32: of every parameter or, in a lean step, of one layer."""
    moments: int
    """Bytes of the moments of AdamW or AdaBelief, two per parameter: float32 or, in a lean step,
    8 bits with the scales of their blocks."""
    best_copy: int
    """Bytes of the best weights so far, without those of the layers of a lean step, which lie in a
    file."""
    ema_copy: int
    """Bytes of the averaged weights; 0 without an average."""
    activations: int
    """Bytes that the forward pass saves for the backward pass, with the casts of the weights."""
    temporaries: int
    """Bytes of tensors inside the backward pass of one layer, or of its update in a lean step; the
    fused optimizer needs none."""
    fragmentation: int
    """Bytes that are lost between activations and temporaries."""
    framework: int
    """Bytes of the process before any model exists, and those of further networks of a trial."""

    @property
    def total(self) -> int:
        """Sum of all parts."""
        return sum(getattr(self, field.name) for field in fields(self))


def step_memory(
    config: ModelConfig,
    micro_batch: int,
    *,
    bf16: bool,
    ema: bool,
    networks: int = 1,
    pretrains: bool = False,
) -> StepMemory:
    """Model the memory of a training step of ``micro_batch`` samples.

    The sum is within 15 % of the memory that a step holds (``tests/bench/test_step_memory.py``);
    headroom is added where memory is granted. Most is held in the first backward pass of a whole
    layer, at its end or, with many tokens, inside attention. The tensors that the fused layer of
    the CPU saves are counted; the layer that runs on an accelerator saves the same ones, except
    that it keeps fewer attention weights. The inputs of a panel are not counted: they are mapped
    from a file that all processes share, or lie on the device once.

    Args:
        config: the architecture.
        micro_batch: number of samples per forward pass, >= 1: windows, or days of a panel with a
            window for each asset.
        bf16: are matrix products computed in bfloat16?
        ema: is an average of the weights kept?
        networks: number of networks that a trial trains by turns, one for each fold: all hold their
            states, and one at a time takes a step.
        pretrains: is the encoder pretrained first? Its steps compute all tokens of the last layer,
            whatever the head, and need most.
    """
    c = config
    asks_one_token = c.head == "last" and not pretrains
    n_parameters = networks * count_parameters(c)
    operand = _BFLOAT16 if bf16 else _FLOAT32
    family = family_of(c)
    n_windows = micro_batch * c.n_assets
    rows = n_windows * family.n_tokens(c)
    # A last layer that computes one token frees its tensors before the layer below it begins its
    # backward pass, and needs less than the temporaries of that layer.
    n_layers = max(1, c.n_layers - asks_one_token)
    asked = n_windows if asks_one_token and c.n_layers == 1 else rows
    layers = n_layers * family.layer_bytes(c, rows, asked, operand)
    activations = family.embedding_bytes(c, n_windows, operand) + layers
    temporaries = family.layer_temporary_bytes(c, rows, asked, operand)
    # Attention across assets is the first to go back, and its tensors are freed before the layers.
    temporaries = max(temporaries, asset_bytes(c, micro_batch, operand))
    temporaries += layer_matrices(c) * _FLOAT32
    return StepMemory(
        weights=n_parameters * _FLOAT32,
        gradients=n_parameters * _FLOAT32,
        moments=2 * n_parameters * _FLOAT32,
        best_copy=n_parameters * _FLOAT32,
        ema_copy=n_parameters * _FLOAT32 if ema else 0,
        activations=activations,
        temporaries=temporaries,
        fragmentation=int(HOLES[operand] * (activations + temporaries)),
        framework=FRAMEWORK_BYTES + (networks - 1) * _FURTHER_NETWORK_BYTES,
    )


def largest_micro_batch(
    needed: Callable[[int], int], *, effective_batch: int, limit_bytes: int
) -> int | None:
    """Return the largest power of two up to ``effective_batch`` whose modelled step fits.

    Args:
        needed: bytes of a step by its micro-batch.
        effective_batch: number of samples of an optimizer step.
        limit_bytes: bytes that a step may take.

    Returns: the micro-batch; None if not even one sample fits.
    """
    powers = (1 << n for n in reversed(range(effective_batch.bit_length())))
    return next((n for n in powers if needed(n) <= limit_bytes), None)
