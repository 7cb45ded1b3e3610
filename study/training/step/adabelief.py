"""AdaBelief, whose steps are long where gradients are as expected and short where they are not."""

import math

import torch
from torch import Tensor

from study.training.step.moments import MomentOptimizer, ParameterGroup


class AdaBelief(MomentOptimizer):
    """AdaBelief with decoupled weight decay (Zhuang et al. 2020, https://arxiv.org/abs/2010.07468).

    The second moment is that of the gradient's difference from the first: ``s = beta2 * s + (1 -
    beta2) * (g - m)^2 + eps``, with ``eps`` added in every step and again to its root, as in the
    paper's second algorithm and its authors' code. In float32 an ``eps`` of 1e-16 is as exact as
    any other number; it adds up to 1e-13 in ``s``, and so keeps divisors above 3e-7.

    Steps are not rectified: rectification shortens the first steps as a warm-up does, which
    schedules have anyway (Ma and Yarats 2021, https://arxiv.org/abs/1910.04209).

    ``pytorch-optimizer`` 4.1 takes the same steps. It counts them and divides by its corrections on
    the host, which a captured step would repeat with the numbers of its recording, and it has no
    flag by which the device leaves a broken step out.
    """

    is_fused = False

    def step(self, is_broken: Tensor | None = None, rate: Tensor | None = None) -> None:
        """Change the parameters by their gradients; see ``MomentOptimizer``."""
        with torch.no_grad():
            is_taken = None if is_broken is None else is_broken == 0
            counts = self.moving()
            for n_steps in counts.values():
                n_steps.add_(1 if is_taken is None else is_taken)
            for group in self.groups:
                if group.clock in counts:
                    self._change(group, counts[group.clock], is_taken, rate)

    def _change(
        self, group: ParameterGroup, count: Tensor, is_taken: Tensor | None, rate: Tensor | None
    ) -> None:
        gradients = {i: p.grad for i, p in enumerate(group.parameters) if p.grad is not None}
        if not gradients:
            return
        parameters: list[Tensor] = [group.parameters[i] for i in gradients]
        first = [group.first_moments[i] for i in gradients]
        second = [group.second_moments[i] for i in gradients]
        differences = list(torch._foreach_sub(list(gradients.values()), first))
        # The numbers of a step stay on the device, in the type of the parameters, which batched
        # operations ask for. A step that is not taken multiplies by 1 and adds 0.
        n_steps = count.to(parameters[0].dtype)
        taken = torch.ones_like(n_steps)
        if is_taken is not None:
            # A factor of 0 would leave what is not a number as it is.
            differences = [torch.where(is_taken, each, 0.0) for each in differences]
            taken, n_steps = is_taken.to(n_steps.dtype), n_steps.clamp_min(1)
        own_rate = taken * (self.learning_rate if rate is None else rate.to(n_steps.dtype))
        beta1, beta2 = self.betas

        torch._foreach_add_(first, differences, alpha=1 - beta1)
        torch._foreach_mul_(second, 1 - taken * (1 - beta2))
        # The gradient differs from the new first moment beta1 times as much as from the old one.
        torch._foreach_addcmul_(second, differences, differences, value=(1 - beta2) * beta1**2)
        torch._foreach_add_(second, taken * self.eps)
        del differences
        # 1 - beta ** n without the rounding of a float32 difference, which is 6e-5 of 1 - .999.
        first_correction = -torch.expm1(n_steps * math.log(beta1))
        second_root = (-torch.expm1(n_steps * math.log(beta2))).sqrt()
        divisors = torch._foreach_sqrt(second)
        torch._foreach_add_(divisors, second_root * self.eps)
        # Infinite if the step is not taken, and the change then zero.
        torch._foreach_mul_(divisors, -first_correction / (second_root * own_rate))
        if group.weight_decay > 0:
            torch._foreach_mul_(parameters, 1 - own_rate * group.weight_decay)
        torch._foreach_addcdiv_(parameters, first, divisors)
