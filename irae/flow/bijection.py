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

    def rebuild(
        self, output: Tensor, condition: Tensor | None = None, *, inverse: bool = False
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Recover the input from the output, and the autograd graph that leads from it.

        Override where both can share work: a coupling runs its network once for the two.

        Args:
            output: what `forward` returned (`inverse`, if ``inverse``), without a graph.
            condition: what that was given.
            inverse: which of the two was run.

        Returns:
            The input as leaves that require a gradient, and the output computed from these; both
            in parts of equal size that lie side by side along the channels.
        """
        with torch.no_grad():
            given = self(output, condition) if inverse else self.inverse(output, condition)
        given = given.detach().requires_grad_()
        with torch.enable_grad():
            again = self.inverse(given, condition) if inverse else self(given, condition)
        return (given,), (again,)


class Chain(Bijection):
    """Bijections one after another; the log-determinants add up."""

    # Whether this chain is differentiated by inversion; see `irae.flow.reversible`.
    reversible: bool = False

    def __init__(self, steps: Iterable[Bijection]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def pairs(self, condition: Tensor | None) -> list[tuple[Bijection, Tensor | None]]:
        """Every step, and the condition at the size of its input."""
        pairs = []
        for step in self.steps:
            if isinstance(step, Bijection):
                pairs.append((step, condition))
                condition = step.squeeze_condition(condition)
        return pairs

    def squeeze_condition(self, condition: Tensor | None) -> Tensor | None:
        for step in self.steps:
            if isinstance(step, Bijection):
                condition = step.squeeze_condition(condition)
        return condition

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        recomputed = self._recomputed(x, condition, inverse=False)
        if recomputed is not None:
            return recomputed
        for step, given in self.pairs(condition):
            x = step(x, given)
        return x

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        recomputed = self._recomputed(z, condition, inverse=True)
        if recomputed is not None:
            return recomputed
        for step, given in reversed(self.pairs(condition)):
            z = step.inverse(z, given)
        return z

    def _recomputed(self, x: Tensor, condition: Tensor | None, *, inverse: bool) -> Tensor | None:
        """The result where it is to be differentiated by inversion, and can be."""
        if not self.reversible:
            return None
        from irae.flow.reversible import run_chain

        return run_chain(self, x, condition, inverse=inverse)

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        total = torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
        for step, given in self.pairs(condition):
            x, log_det = step.forward_and_log_det(x, given)
            total = total + log_det
        return x, total


def zeros_per_sample(x: Tensor) -> Tensor:
    """The log-determinants of a map that keeps volumes: zero for each sample, ``B``."""
    return torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
