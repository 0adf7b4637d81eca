"""The Muon optimiser: orthogonalised updates for convolutions, AdamW for all else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

_MOMENTUM = 0.95
# Coefficients of the quintic whose iteration maps singular values in (0, 1] to about 1 (Jordan et
# al. 2024).
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5
# Entries of a matrix of norm 1 below this count as 0. The momentum of weights without a gradient
# falls until its numbers are subnormal, with which a CPU multiplies a hundred times more slowly.
_NEGLIGIBLE = 1e-12
# Root mean square of an update at a learning rate of 1, about that of AdamW (Liu et al. 2025,
# arXiv 2502.16982, section 2.2), so that a rate tuned for one suits the other.
_RMS = 0.2


class Muon(Optimizer):
    """Muon (Jordan et al. 2024) for the weights of convolutions, AdamW for all else.

    A convolution's weight, ``out in kh kw``, is treated as a matrix ``out (kh kw in)``. Its update
    is the orthogonal matrix nearest to a running mean of its gradient, so all directions are
    learned at one pace, also those that are weak in the gradient. AdamW updates biases, invertible
    1×1 convolutions, and depthwise convolutions, whose filters are independent of each other.

    Args:
        network: the network to train.
        lr: learning rate of both.
        betas: decay rates of AdamW's moments.
        weight_decay: decoupled weight decay of both.
        bias_pace: factor on the learning rate of convolutions' biases. AdamW moves a bias by the
            whole rate at every step, however small its gradient, which can kill hidden units.

    Attributes:
        found_inf: a scalar on the device; at 1.0 a `step` changes no weight.
    """

    found_inf: Tensor

    def __init__(
        self,
        network: nn.Module,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        bias_pace: float = 1.0,
    ) -> None:
        matrices = {
            id(layer.weight)
            for layer in network.modules()
            if isinstance(layer, nn.Conv2d) and layer.groups == 1
        }
        slow = {
            id(layer.bias)
            for layer in network.modules()
            if isinstance(layer, nn.Conv2d) and bias_pace != 1
        }
        parameters = [p for p in network.parameters() if p.requires_grad]
        vectors = [p for p in parameters if id(p) not in matrices]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if id(p) in matrices], "orthogonal": True},
            {"params": [p for p in vectors if id(p) not in slow], "orthogonal": False},
            {"params": [p for p in vectors if id(p) in slow], "orthogonal": False},
        ]
        groups[2]["pace"] = bias_pace
        super().__init__(
            [group for group in groups if group["params"]],
            {"lr": lr, "betas": betas, "weight_decay": weight_decay, "eps": 1e-8},
        )
        self.found_inf = torch.zeros((), device=parameters[0].device)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient.

        Raises:
            ValueError: a closure is given.
        """
        if closure is not None:
            raise ValueError("Muon does not support a closure")
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["orthogonal"]:
                self._orthogonal_step(parameters, group)
            else:
                self._adamw_step(parameters, group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of a run; it may have been trained on another device."""
        super().load_state_dict(state_dict)
        # PyTorch leaves a step where it was read, but the fused AdamW needs it on the device.
        for parameter, state in self.state.items():
            if "step" in state:
                state["step"] = state["step"].to(parameter.device, torch.float32)

    def _orthogonal_step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        shapes: dict[torch.Size, list[Tensor]] = {}
        for parameter in parameters:
            shapes.setdefault(parameter.shape, []).append(parameter)
        # Weights of one shape are updated together: a GPU would otherwise spend more time on
        # starting thousands of small operations than on computing them.
        for shape, same in shapes.items():
            self._orthogonal_updates(shape, same, group)

    def _orthogonal_updates(
        self, shape: torch.Size, same: list[Tensor], group: dict[str, Any]
    ) -> None:
        keep = 1.0 - self.found_inf
        for parameter in same:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum"] for parameter in same]
        stacked = torch.stack([_inwards(p.grad) for p in same if p.grad is not None])
        gradients = _outwards(stacked.nan_to_num_(0.0, 0.0, 0.0))
        changes = torch._foreach_sub(gradients, momenta)
        torch._foreach_mul_(changes, (1 - _MOMENTUM) * keep)
        torch._foreach_add_(momenta, changes)
        # Nesterov momentum.
        means = torch._foreach_lerp(gradients, momenta, _MOMENTUM)
        matrices = torch.stack([_inwards(mean) for mean in means]).flatten(2)
        updates = orthogonalised(matrices)
        updates *= -group["lr"] * _RMS * math.sqrt(max(matrices.shape[1:])) * keep
        if group["weight_decay"]:
            torch._foreach_mul_(same, 1 - group["lr"] * group["weight_decay"] * keep)
        torch._foreach_add_(same, _outwards(updates.view(stacked.shape)))

    def _adamw_step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter].update(
                    step=torch.zeros((), device=parameter.device),
                    exp_avg=torch.zeros_like(parameter),
                    exp_avg_sq=torch.zeros_like(parameter),
                )
        states = [self.state[parameter] for parameter in parameters]
        adamw(
            parameters,
            [p.grad for p in parameters if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            found_inf=self.found_inf,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def _inwards(weight: Tensor) -> Tensor:
    """View a convolution's weight, ``out in kh kw``, in the order of channels-last memory.

    The order of a matrix's columns does not matter to `orthogonalised`.
    """
    return weight.movedim(1, -1)


def _outwards(stacked: Tensor) -> list[Tensor]:
    """View stacked weights, ``N out kh kw in``, as N weights ``out in kh kw``."""
    return [weight.movedim(-1, 1) for weight in stacked.unbind()]


def orthogonalised(matrices: Tensor) -> Tensor:
    """Orthogonalise matrices ``N R C``: singular vectors stay, singular values become 0.7 to 1.2.

    Uses five Newton–Schulz iterations (Jordan et al. 2024), which need matrix products only. A
    matrix of zeros stays zero, and numbers below 1e-12 of the matrix's norm become zero.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if tall else matrices
    x = F.hardshrink(x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-12), _NEGLIGIBLE)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * (gram @ gram)) @ x
    return x.mT if tall else x
