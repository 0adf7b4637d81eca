"""The interface of invertible layers, and chains of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Bijection(nn.Module, ABC):
    """An invertible map between picture-shaped tensors, with its log-determinant.

    ``condition`` is a tensor ``B C' H W`` of the input's height and width on which the map may
    depend, such as a mask. It is not transformed, so the map is invertible for every condition.
    """

    @abstractmethod
    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map ``x`` (``B C H W``) to ``z``."""

    @abstractmethod
    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map ``z`` back to the ``x`` from which ``forward`` computed it."""

    @abstractmethod
    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return ``z`` and log abs det dz/dx, one number per sample (``B``)."""

    def squeeze_condition(self, condition: Tensor | None) -> Tensor | None:
        """Return the condition at the height and width of the output."""
        return condition

    def rebuild(
        self, output: Tensor, condition: Tensor | None = None, *, inverse: bool = False
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Recover the input from the output, and build the autograd graph between them.

        Override this if both can share work: a coupling runs its subnet once for the two.

        Args:
            output: result of `forward` (of `inverse`, if ``inverse``), without a graph.
            condition: the condition of that call.
            inverse: whether `inverse` was run.

        Returns:
            The input as leaves that require a gradient, and the output computed from them; both
            in parts of equal size, to be concatenated along the channels.
        """
        with torch.no_grad():
            given = self(output, condition) if inverse else self.inverse(output, condition)
        given = given.detach().requires_grad_()
        with torch.enable_grad():
            again = self.inverse(given, condition) if inverse else self(given, condition)
        return (given,), (again,)

    def rebuild_with_log_det(
        self, output: Tensor, condition: Tensor | None = None
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
        """Recover the input of `forward_and_log_det`, and build the graph of both its results.

        Returns:
            Input and output in parts, as from `rebuild`, and the log-determinant ``B``.
        """
        with torch.no_grad():
            given = self.inverse(output, condition)
        given = given.detach().requires_grad_()
        with torch.enable_grad():
            again, log_det = self.forward_and_log_det(given, condition)
        return (given,), (again,), log_det


class Chain(Bijection):
    """A composition of bijections; their log-determinants add up."""

    # Whether gradients are computed by inversion; see `irae.flow.reversible`.
    reversible: bool = False

    def __init__(self, steps: Iterable[Bijection]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def pairs(self, condition: Tensor | None) -> list[tuple[Bijection, Tensor | None]]:
        """Return every step with the condition at the size of its input."""
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
        """Run with gradients by inversion; None if the chain must run plainly."""
        if not self.reversible:
            return None
        from irae.flow.reversible import run_chain

        return run_chain(self, x, condition, inverse=inverse)

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if self.reversible:
            from irae.flow.reversible import run_chain_with_log_det

            recomputed = run_chain_with_log_det(self, x, condition)
            if recomputed is not None:
                return recomputed
        total = zeros_per_sample(x)
        for step, given in self.pairs(condition):
            x, log_det = step.forward_and_log_det(x, given)
            total = total + log_det
        return x, total


def zeros_per_sample(x: Tensor) -> Tensor:
    """Return the log-determinants of a volume-preserving map: zeros, ``B``."""
    return torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
