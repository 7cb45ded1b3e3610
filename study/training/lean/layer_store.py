"""The encoder layers of a network in few bytes: bfloat16 weights, and moments in 8 bits."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from study.model.encoder import EncoderLayer
from study.model.lean_memory import BLOCK, CHUNK
from study.training.lean.block_code import CodedBlocks
from study.training.lean.lean_adamw import LeanMoments
from study.training.lean.scratch import drop_pages, scratch_vector
from study.training.lean.stage import LayerLayout, Stage


class LayerStore:
    """The parameters of all encoder layers: matrices in bfloat16 with moments in 8 bits.

    Gains, shifts and biases are float32, one parameter for all layers, which an ordinary optimizer
    changes: they are few, and gains near one would move in steps of 1/128 in bfloat16.

    Args:
        layout: that of a layer.
        n_layers: number of layers.
        device: their device.
        is_averaged: is a moving average of the weights kept? It is held as its difference from
            them, one byte each.
        scratch: folder for what a CPU reads once in a step; None keeps it in memory.
    """

    def __init__(
        self,
        layout: LayerLayout,
        n_layers: int,
        *,
        device: torch.device,
        is_averaged: bool,
        scratch: Path | None,
    ) -> None:
        self.layout = layout
        self.weights = [
            torch.zeros(layout.n_padded, dtype=torch.bfloat16, device=device)
            for _ in range(n_layers)
        ]
        self.moments = [LeanMoments(layout.n_padded, device) for _ in range(n_layers)]
        self.others = nn.Parameter(torch.zeros(n_layers, layout.n_others, device=device))
        """Gains, shifts and biases, a row for each layer."""
        self.averages = (
            [_average(layout.n_padded, device, scratch) for _ in range(n_layers)]
            if is_averaged
            else None
        )
        """How far the average of each layer's weights lies from them; None without one."""

    @torch.no_grad()
    def fill(self, index: int, name: str, value: Tensor) -> None:
        """Set a parameter of a layer, rounded to the nearest."""
        self.layout.views(self.weights[index], self.others[index])[name].copy_(value)

    @torch.no_grad()
    def load(self, index: int, stage: Stage) -> None:
        """Let ``stage`` have the weights of a layer."""
        stage.weights.copy_(self.weights[index])
        stage.others.copy_(self.others[index])

    @torch.no_grad()
    def load_average(self, index: int, others: Tensor, stage: Stage) -> None:
        """Let ``stage`` have the average of a layer's weights, to the nearest bfloat16.

        So it is kept as the best, and so a product of bfloat16 has it in any case.

        Args:
            index: number of the layer.
            others: average of ``self.others``.
            stage: what takes them.
        """
        assert self.averages is not None
        average, weights = self.averages[index], stage.weights
        weights.copy_(self.weights[index])
        for start in range(0, len(weights), CHUNK):
            stop = min(start + CHUNK, len(weights))
            exact = weights[start:stop] + average.decode(start, stop)
            weights[start:stop] = exact.to(torch.bfloat16)
        drop_pages(average.codes)
        stage.others.copy_(others[index])

    def state_dict(self) -> dict[str, Any]:
        """Return the tensors, not copied."""
        return {
            "weights": self.weights,
            "others": self.others.detach(),
            "moments": [each.state_dict() for each in self.moments],
            "averages": self.averages and [each.state_dict() for each in self.averages],
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy what ``state_dict`` returned, and let go of each tensor that a file is mapped to.

        So no more than a layer of a saved state is in memory beside this one.
        """
        self.others.copy_(state["others"])
        for own, saved in zip(self.weights, state["weights"], strict=True):
            own.copy_(saved)
            drop_pages(saved)
        for moments, coded in zip(self.moments, state["moments"], strict=True):
            moments.load_state_dict(coded)
            for part in coded.values():
                drop_pages(part["codes"])
        for average, coded in zip(self.averages or (), state["averages"] or (), strict=True):
            average.load_state_dict(coded)
            drop_pages(coded["codes"])
            drop_pages(average.codes)


class StoredLayers(nn.ModuleList):
    """Stands for the layers of a network, each of which maps many windows a few at a time.

    Behind each is the stage with its weights: in training the newest, in evaluation their average
    if there is one.
    """

    def __init__(self, store: LayerStore, stage: Stage) -> None:
        super().__init__()
        self._store = store
        self._stage = stage
        self.average_of_others: Tensor | None = None
        """Average of ``LayerStore.others``; None if the newest weights are evaluated."""
        self.most_windows = 1
        """Most windows that a layer maps at once."""

    def __len__(self) -> int:
        return len(self._store.weights)

    def __iter__(self) -> Iterator[Any]:
        for index in range(len(self)):
            yield partial(self._in_parts, self.load(index))

    def load(self, index: int) -> EncoderLayer:
        """Return the stage with the weights of a layer."""
        if self.training or self.average_of_others is None:
            self._store.load(index, self._stage)
        else:
            self._store.load_average(index, self.average_of_others, self._stage)
        return self._stage.layer.train(self.training)

    def _in_parts(self, layer: EncoderLayer, x_BND: Tensor, **options: Any) -> Tensor:
        parts = torch.split(x_BND, self.most_windows)
        return torch.cat([layer(part, **options) for part in parts])


def _average(n_numbers: int, device: torch.device, scratch: Path | None) -> CodedBlocks:
    if device.type != "cpu":
        return CodedBlocks.zeros(n_numbers, is_signed=True, device=device)
    codes = scratch_vector(n_numbers, torch.uint8, scratch)
    return CodedBlocks(codes, torch.zeros(n_numbers // BLOCK), is_signed=True)
