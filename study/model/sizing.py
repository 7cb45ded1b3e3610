"""The exact numbers of parameters and of operations of a model, and the models of a given size."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

from study.errors import quoted, require
from study.fields import check_value, is_number, is_whole
from study.model.architecture import MODEL_RULES
from study.model.families import family_of
from study.model.model_config import ModelConfig


def count_parameters(config: ModelConfig) -> int:
    """Count the parameters of a model by formula; the number of attention heads does not matter."""
    return family_of(config).count(config, config.d_model, config.n_layers, config.d_ff)


def feasible_grid(
    target: int,
    tolerance: float,
    *,
    d_model: Sequence[int],
    n_layers: Sequence[int],
    n_heads: Sequence[int],
    d_ff_ratio: Sequence[int],
    template: ModelConfig,
) -> list[ModelConfig]:
    """Return every combination of the choices whose size is within ``tolerance`` of ``target``.

    Args:
        target: wanted number of parameters.
        tolerance: largest relative distance, 0.25 for 25 %.
        d_model: choices of width.
        n_layers: choices of depth.
        n_heads: choices of heads; those that do not divide the width are left out.
        d_ff_ratio: choices of the feed-forward width as a multiple of ``d_model``.
        template: configuration with the values of all other fields.

    Returns: configurations sorted by count, then width, depth, ratio, heads; may be empty.
    Raises: SpecError if ``target`` is not positive, ``tolerance`` not in [0, 1), or a choice breaks
        the rule of its field.
    """
    require(
        is_whole(target) and target >= 1 and is_number(tolerance) and 0 <= tolerance < 1,
        "feasible_grid",
        "target must be >= 1 and tolerance lie in [0, 1)",
        got=f"target={quoted(target)}, tolerance={quoted(tolerance)}",
        remedy="Mend the budget.",
    )
    for name, choices in (
        ("d_model", d_model), ("n_layers", n_layers), ("n_heads", n_heads),
        ("d_ff_ratio", d_ff_ratio),
    ):  # fmt: skip
        for value in choices:
            check_value(MODEL_RULES, name, value, "feasible_grid", "Mend the search space.")
    family = family_of(template)
    rows: list[tuple[int, int, int, int, int]] = []
    for width, depth, ratio in itertools.product(d_model, n_layers, d_ff_ratio):
        count = family.count(template, width, depth, ratio * width)
        if abs(count - target) <= tolerance * target:
            rows += [(count, width, depth, ratio, h) for h in n_heads if width % h == 0]
    return [
        replace(template, d_model=width, n_layers=depth, d_ff_ratio=ratio, n_heads=heads)
        for _, width, depth, ratio, heads in sorted(set(rows))
    ]


def step_flops(config: ModelConfig, batch: int) -> int:
    """Return the operations of the matrix products of one training step on ``batch`` samples.

    Recomputation inside attention, norms, GELU, dropout and the optimizer are not counted.
    """
    return batch * family_of(config).sample_flops(config)
