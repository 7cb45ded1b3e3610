"""What is Informer's own: which queries attend, and what that costs."""

import math
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from study.data.data_config import DataConfig
from study.data.dataset import build_dataset
from study.model.encoder import EncoderLayer
from study.model.families.informer import (
    Informer,
    ProbSparseLayer,
    n_kept,
    prob_sparse_attention,
)
from study.model.model_config import ModelConfig
from study.results.scores import BestEpoch
from study.training.train_config import TrainConfig
from study.training.trainer import Trainer
from study.training.windows import TrainingData
from tests.training.planted import run_to_end

B, H, N, E = 3, 2, 60, 8
ALL = 10**6


class FullLayer(ProbSparseLayer):
    factor: ClassVar[int] = ALL


def heads(n_tokens: int = N) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(
        (3, B, H, n_tokens, E), generator=source, dtype=torch.float64
    ).unbind()
    return query, key, value


@pytest.mark.parametrize(
    ("n_tokens", "factor", "expected"),
    [(60, 5, 25), (60, ALL, 60), (1, 5, 1), (2, 5, 2), (7, 1, 2)],
)
def test_the_queries_that_attend_grow_with_the_logarithm(
    n_tokens: int, factor: int, expected: int
) -> None:
    assert n_kept(n_tokens, factor) == expected


@pytest.mark.parametrize("n_tokens", [1, 2, 60])
def test_with_every_query_it_is_full_attention(n_tokens: int) -> None:
    query, key, value = heads(n_tokens)
    torch.testing.assert_close(
        prob_sparse_attention(query, key, value, ALL),
        F.scaled_dot_product_attention(query, key, value),
    )


def test_the_most_uneven_queries_attend_and_the_rest_take_the_mean() -> None:
    query, key, value = heads()
    found = prob_sparse_attention(query, key, value, 3)
    full = F.scaled_dot_product_attention(query, key, value)
    # Fifteen keys of sixty, evenly spaced and the last day's among them.
    sampled = list(range(3, 60, 4))
    for window in range(B):
        for head in range(H):
            scores = query[window, head] @ key[window, head, sampled].T
            unevenness = scores.max(dim=1).values - scores.mean(dim=1)
            kept = set(unevenness.argsort(descending=True)[:15].tolist())
            for token in range(N):
                expected = (
                    full if token in kept else value.mean(dim=2, keepdim=True).expand_as(full)
                )
                torch.testing.assert_close(
                    found[window, head, token], expected[window, head, token]
                )


@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_layer_that_keeps_every_query_is_the_plain_layer(last_only: bool, dropout: float) -> None:
    plain, sparse = EncoderLayer(16, 4, 32, dropout), FullLayer(16, 4, 32, dropout)
    sparse.load_state_dict(plain.state_dict())
    x = torch.randn(B, N, 16, generator=torch.Generator().manual_seed(1))
    results = []
    for layer in (plain, sparse):
        source, given = torch.Generator().manual_seed(2), x.clone().requires_grad_()
        out = layer.compose(given, generator=source, dtype=x.dtype, last_only=last_only)
        torch.autograd.backward(out.square().sum())
        results.append((out, given.grad, *(p.grad for p in layer.parameters())))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_layer_of_sixty_days_is_not_the_plain_one() -> None:
    plain, sparse = EncoderLayer(16, 4, 32, 0.0), ProbSparseLayer(16, 4, 32, 0.0)
    sparse.load_state_dict(plain.state_dict())
    x = torch.randn(B, N, 16, generator=torch.Generator().manual_seed(1))
    a, b = (layer(x, generator=torch.Generator()) for layer in (plain, sparse))
    assert not torch.allclose(a, b, atol=1e-2)


def saved_bytes(layer: ProbSparseLayer, x: Tensor, *, bf16: bool, last_only: bool) -> int:
    """Return the bytes that the autograd graph of a layer keeps, its parameters left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    held: dict[int, int] = {}
    alive: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and tensor.numel() > 1:
            held[storage.data_ptr()] = storage.nbytes()
        # An address is used again once its tensor is gone.
        alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x, generator=torch.Generator(), bf16=bf16, last_only=last_only)
    return sum(held.values())


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("n_tokens", [60, 12])
def test_the_memory_of_a_layer_is_what_its_graph_holds(
    bf16: bool, last_only: bool, dropout: float, n_tokens: int
) -> None:
    config = ModelConfig(
        family="informer", n_features=5, d_model=64, n_layers=1, n_heads=4, dropout=dropout,
        context_length=n_tokens,
    )  # fmt: skip
    layer = ProbSparseLayer(64, 4, 256, dropout)
    x = torch.randn(16, n_tokens, 64).requires_grad_()
    rows = 16 * n_tokens
    modelled = Informer.layer_bytes(config, rows, 16 if last_only else rows, 2 if bf16 else 4)
    assert saved_bytes(layer, x, bf16=bf16, last_only=last_only) == pytest.approx(
        modelled, rel=0.03
    )


@pytest.mark.slow
def test_a_short_training_on_the_synthetic_market_beats_the_base_rate() -> None:
    data = TrainingData.of(build_dataset(DataConfig(source="synthetic", horizon=1)))
    trainer = Trainer(
        model=ModelConfig(
            family="informer", n_features=data.n_features, d_model=32, n_layers=2, n_heads=4,
            auxiliary_head=True,
        ),
        train=TrainConfig(
            learning_rate=3e-3, epochs=4, effective_batch=128, auxiliary_weight=1.0,
            patience=None, collapse_grace_share=1.0,
        ),
        data=data,
        device=torch.device("cpu"),
        micro_batch=128,
        seed=1,
        bf16=False,
    )  # fmt: skip
    last = run_to_end(trainer)[-1]
    assert last.stop_reason == "completed"
    rate = data.base_rate
    entropy = -rate * math.log(rate) - (1 - rate) * math.log1p(-rate)
    assert last.train_loss is not None
    assert last.train_loss < 0.98 * entropy
    assert isinstance(last.best, BestEpoch)
    assert last.best.skill > 0.005
    assert last.best.auc is not None
    assert last.best.auc > 0.55
