"""The one encoder layer in float32 that computes all layers of a network in turn."""

import math

import torch
from torch import Tensor, nn

from study.model.encoder import EncoderLayer
from study.model.lean_memory import BLOCK


class LayerLayout:
    """Where each parameter of a layer lies in two vectors: that of its matrices, and the others.

    Args:
        layer: a layer, whose parameters need no memory.
    """

    def __init__(self, layer: EncoderLayer) -> None:
        shapes = {name: p.shape for name, p in layer.named_parameters()}
        self.matrices = {name: shape for name, shape in shapes.items() if len(shape) >= 2}
        self.others = {name: shape for name, shape in shapes.items() if len(shape) < 2}
        self.n_weights = sum(map(math.prod, self.matrices.values()))
        """Number of weights in matrices."""
        self.n_padded = -(-self.n_weights // BLOCK) * BLOCK
        """The same, up to whole blocks."""
        self.n_others = sum(map(math.prod, self.others.values()))
        """Number of gains, shifts and biases."""

    def views(self, weights: Tensor, others: Tensor) -> dict[str, Tensor]:
        """Return the parameters by name as views of the two vectors."""
        found: dict[str, Tensor] = {}
        for shapes, vector in ((self.matrices, weights), (self.others, others)):
            start = 0
            for name, shape in shapes.items():
                found[name] = vector[start : start + math.prod(shape)].view(shape)
                start += math.prod(shape)
        return found


class Stage:
    """An encoder layer in float32 that takes the place of every layer in turn.

    Args:
        layer: a layer of the network, built on ``meta``; it is given memory here.
        device: its device.
    """

    def __init__(self, layer: EncoderLayer, device: torch.device) -> None:
        self.layout = LayerLayout(layer)
        self.layer = layer
        self.weights = torch.zeros(self.layout.n_padded, device=device)
        self.weight_gradient = torch.zeros_like(self.weights)
        self.others = torch.zeros(self.layout.n_others, device=device)
        self.other_gradient = torch.zeros_like(self.others)
        gradients = self.layout.views(self.weight_gradient, self.other_gradient)
        for name, view in self.layout.views(self.weights, self.others).items():
            module, _, own = name.rpartition(".")
            parameter = nn.Parameter(view)
            # A backward pass adds to a gradient that is there, in place.
            parameter.grad = gradients[name]
            setattr(layer.get_submodule(module), own, parameter)

    def zero_gradients(self) -> None:
        """Set the gradients to zero, where they are."""
        self.weight_gradient.zero_()
        self.other_gradient.zero_()

    def gradient_norm(self) -> Tensor:
        """Return the norm of all gradients, float32 ()."""
        parts = (self.weight_gradient, self.other_gradient)
        norms = [torch.linalg.vector_norm(part) for part in parts]
        norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
        return norm
