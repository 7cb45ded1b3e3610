"""The exact number of parameters and of operations of a model, and the models of a given size."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

from study.errors import require
from study.model.config import ModelConfig


def count_parameters(config: ModelConfig) -> int:
    """Parameters of the built model, by formula; the heads of attention do not change it."""
    return _count(config, config.d_model, config.n_layers, config.d_ff)


def _count(template: ModelConfig, d_model: int, n_layers: int, d_ff: int) -> int:
    c = template
    embedding = c.patch_length * c.n_features * d_model + d_model + c.n_patches * d_model
    attention = 4 * (d_model * d_model + d_model)
    feed_forward = 2 * d_model * d_ff + d_ff + d_model
    norms = 4 * d_model
    final_norm = 2 * d_model
    read_out = d_model * (c.n_patches if c.head == "flatten" else 1) + 1
    heads = read_out * (2 if c.auxiliary_head else 1)
    extras = c.n_features * (2 * c.revin + c.last_day_skip)
    return embedding + n_layers * (attention + feed_forward + norms) + final_norm + heads + extras


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
    """Every combination of the choices whose size is within ``tolerance`` of ``target``.

    Args:
        target: parameters wanted.
        tolerance: largest relative distance, 0.25 for 25 %.
        d_model: choices of width.
        n_layers: choices of depth.
        n_heads: choices of heads; those that do not divide the width are left out.
        d_ff_ratio: choices of the feed-forward width as a multiple of ``d_model``.
        template: every other field.

    Returns: configurations sorted by count, then width, depth, ratio, heads; may be empty.
    Raises: SpecError if ``target`` is not positive or ``tolerance`` not in [0, 1).
    """
    require(
        target >= 1 and 0 <= tolerance < 1,
        "feasible_grid",
        "target must be >= 1 and tolerance lie in [0, 1)",
        got=f"target={target}, tolerance={tolerance}",
        remedy="Mend the budget.",
    )
    rows: list[tuple[int, int, int, int, int]] = []
    for width, depth, ratio in itertools.product(d_model, n_layers, d_ff_ratio):
        count = _count(template, width, depth, ratio * width)
        if abs(count - target) <= tolerance * target:
            rows += [(count, width, depth, ratio, h) for h in n_heads if width % h == 0]
    return [
        replace(template, d_model=width, n_layers=depth, d_ff_ratio=ratio, n_heads=heads)
        for _, width, depth, ratio, heads in sorted(set(rows))
    ]


def step_flops(config: ModelConfig, batch: int) -> int:
    """Operations of the matrix products of one training step on ``batch`` windows.

    Two per multiply-add; forward plus twice that for the backward pass, as every product has two
    gradients. Counted as really done: the embedding has no gradient with respect to its input
    unless RevIN needs it, and with the ``last`` head the last layer asks, mixes and feeds forward
    for one token. Recomputation inside attention, norms, GELU, dropout and the optimizer are not
    counted.
    """
    c = config
    tokens, d = c.n_patches, c.d_model
    embedding = 2 * tokens * c.patch_length * c.n_features * d

    def layer(queries: int) -> int:
        projections = 2 * d * d * (2 * queries + 2 * tokens)
        attention = 2 * 2 * queries * tokens * d
        feed_forward = 2 * 2 * queries * d * c.d_ff
        return projections + attention + feed_forward

    last_queries = 1 if c.head == "last" else tokens
    layers = (c.n_layers - 1) * layer(tokens) + layer(last_queries)
    heads = 2 * d * (tokens if c.head == "flatten" else 1) * (1 + c.auxiliary_head)
    per_window = (3 if c.revin else 2) * embedding + 3 * (layers + heads)
    return batch * per_window
