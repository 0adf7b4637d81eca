"""What every invertible layer promises, and the chain of several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Bijection(nn.Module, ABC):
    """An invertible map between picture-shaped tensors, with its log-determinant.

    ``condition`` is a tensor ``B C' H W`` of the input's height and width that the map may depend
    on (a mask, say). It is not transformed, so the map stays invertible for every condition.
    """

    @abstractmethod
    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map ``x`` (``B C H W``) to ``z``."""

    @abstractmethod
    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map ``z`` back to the ``x`` that ``forward`` was given."""

    @abstractmethod
    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return ``z`` and log abs det dz/dx, one number per sample (``B``)."""

    def squeeze_condition(self, condition: Tensor | None) -> Tensor | None:
        """The condition at the height and width of the output."""
        return condition


class Chain(Bijection):
    """Bijections one after another; the log-determinants add up."""

    def __init__(self, steps: Iterable[Bijection]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def _steps(self) -> list[Bijection]:
        return [step for step in self.steps if isinstance(step, Bijection)]

    def _conditions(self, condition: Tensor | None) -> list[Tensor | None]:
        conditions = []
        for step in self._steps():
            conditions.append(condition)
            condition = step.squeeze_condition(condition)
        return conditions

    def squeeze_condition(self, condition: Tensor | None) -> Tensor | None:
        for step in self._steps():
            condition = step.squeeze_condition(condition)
        return condition

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        for step, given in zip(self._steps(), self._conditions(condition), strict=True):
            x = step(x, given)
        return x

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        pairs = list(zip(self._steps(), self._conditions(condition), strict=True))
        for step, given in reversed(pairs):
            z = step.inverse(z, given)
        return z

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        total = torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
        for step, given in zip(self._steps(), self._conditions(condition), strict=True):
            x, log_det = step.forward_and_log_det(x, given)
            total = total + log_det
        return x, total
