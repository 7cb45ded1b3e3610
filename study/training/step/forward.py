"""The forward pass of validation, over tensors that stay where they are."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import functional_call

from study.model.network import Network
from study.training.device import is_out_of_memory
from study.training.step.graphs import Replayer
from study.training.step.samples import SampleWindows


class Forward:
    """Computes logits without gradients; with a replayer the device replays the pass.

    Args:
        model: the network.
        windows: the samples, on the model's device.
        device: the device.
        most: most samples in one pass.
        replayer: what captures the pass; None runs it eagerly.
    """

    def __init__(
        self,
        model: Network,
        windows: SampleWindows,
        *,
        device: torch.device,
        most: int,
        replayer: Replayer | None,
    ) -> None:
        self._model = model
        self._windows = windows
        self._replayer = replayer
        self._days = torch.zeros(most, dtype=torch.int64, device=device)
        self._logit = torch.zeros((most, *windows.answer_shape), device=device)

    @torch.no_grad()
    def logits(self, days: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Return the logits of ``days``, float32 (n,) or, of a panel, (n, A).

        Every call must give the same ``weights`` tensors.
        """
        if self._replayer is None:
            return self._pass(days, weights)
        n = len(days)
        self._days[:n].copy_(days)

        def work() -> None:
            self._logit[:n].copy_(self._pass(self._days[:n], weights))

        try:
            self._replayer.run(("forward", n), work)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or not self._replayer.gives_way(error):
                raise
            work()
        return self._logit[:n].clone()

    def _pass(self, days: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        batch = self._windows.gather(days)
        logit: Tensor = functional_call(self._model, dict(weights), batch.inputs).logit_B
        return logit
