"""Additive couplings of two streams: the volume-preserving flow of a *lifted* picture.

A picture padded with zero channels has room beside its content: a coupling can move noise there
instead of contracting it, so the inverse does not amplify errors. The couplings are those of RevNet
(Gomez et al. 2017, arXiv 1707.04585, section 3.1); i-RevNet (Jacobsen et al. 2018, arXiv
1802.07088) also pads channels with zeros.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.errors import ModelError
from irae.flow.reversible import TwoStreams, run_streams
from irae.flow.squeeze import first_channels
from irae.flow.subnets import CouplingNetwork, convolve_part

GRID = 2.0**-20
"""Step of the grid on which an exact run keeps its state."""


def to_grid(x: Tensor) -> Tensor:
    """Round to the nearest multiple of `GRID`; shape and type are those of ``x``."""
    return (x / GRID).round_() * GRID


def exact_range(dtype: torch.dtype) -> float:
    """Return the limit below which sums of multiples of `GRID` are exact: 16 in float32."""
    return 2 * GRID / torch.finfo(dtype).eps


@torch.no_grad()
def check_range(x: Tensor, limit: float, what: str) -> None:
    """Check that all values of ``x`` lie within ±``limit``.

    Raises:
        ModelError: a value exceeds the limit or is NaN; the message names ``what``.
    """
    if not float(x.abs().amax()) < limit:
        raise ModelError(
            f"{what} has left ±{limit:g}, where additions are exact; use exact=False, or float64"
        )


class LiftedNetwork(CouplingNetwork):
    """Conv 3×3, ReLU, conv 3×3 (zero-initialised), with biases.

    Args:
        width: number of channels of a stream.
        hidden: number of channels between the two convolutions.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, hidden, 3, padding=1)
        self.conv2 = nn.Conv2d(hidden, width, 3, padding=1)
        nn.init.kaiming_normal_(self.conv1.weight, nonlinearity="relu")
        for zeroed in (self.conv1.bias, self.conv2.weight, self.conv2.bias):
            assert zeroed is not None
            nn.init.zeros_(zeroed)

    def forward(self, x: Tensor, outputs: int | None = None) -> Tensor:
        """Compute the shift of the other stream.

        Args:
            x: ``B C H W``, the first channels of a stream; the others count as zero.
            outputs: number of channels of the shift to compute; all if None.

        Returns:
            ``B outputs H W`` in the type of ``x``.
        """
        hidden = self.activate(convolve_part(self.conv1, self._enter(x)))
        return convolve_part(self.conv2, hidden, outputs).to(x.dtype)

    def activate(self, hidden: Tensor) -> Tensor:
        """Apply the ReLU, in place."""
        return F.relu(hidden, inplace=True)

    @torch.no_grad()
    def restart(self, dead: Tensor, draw: torch.Generator) -> None:
        """Redraw the incoming weights of dead hidden units, without changing the network's output.

        Args:
            dead: bool per hidden unit that marks the dead ones.
            draw: a generator on the CPU.
        """
        weight, bias, out = self.conv1.weight, self.conv1.bias, self.conv2.weight
        assert bias is not None
        drawn = torch.randn(weight.shape, generator=draw) * math.sqrt(2 / weight[0].numel())
        dead = dead.to(weight.device)
        weight[dead], bias[dead], out[:, dead] = drawn.to(weight)[dead], 0.0, 0.0


class LiftedFlow(TwoStreams):
    """Couplings of two streams ``B width H W``: even ones shift the first, odd ones the second.

    Every coupling preserves volume, so the log-determinant is zero.

    The subnets may be exchanged for others that are called as a `LiftedNetwork`.

    Args:
        width: number of channels of each stream.
        couplings: number of couplings.
        hidden: number of channels inside each coupling's `LiftedNetwork`.
    """

    def __init__(self, width: int, couplings: int, hidden: int) -> None:
        super().__init__()
        self.width = width
        self.couplings = nn.ModuleList(LiftedNetwork(width, hidden) for _ in range(couplings))

    def networks(self) -> list[LiftedNetwork]:
        """Return the subnets that are a `LiftedNetwork`, in order."""
        return [part for part in self.couplings if isinstance(part, LiftedNetwork)]

    def forward(
        self,
        a: Tensor,
        b: Tensor,
        *,
        start: int = 0,
        stop: int | None = None,
        exact: bool = False,
        filled: int | None = None,
        wanted: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run couplings ``start`` to ``stop``.

        Args:
            a: the first stream, ``B width H W``.
            b: the second stream, ``B width H W``.
            start: index of the first coupling to run.
            stop: index after the last coupling to run; None runs all.
            exact: keep the state on the grid, so that `inverse` recovers every bit. The streams
                must lie on the grid; there are no gradients.
            filled: number of leading channels that may differ from zero; all if None.
            wanted: number of leading channels used afterwards; all if None.

        Returns:
            Both streams; the one that the last coupling shifts has only the ``wanted`` channels.

        Raises:
            ModelError: with ``exact``, a number has left the range in which float32 is exact.
        """
        numbers = range(start, len(self.couplings) if stop is None else stop)
        recomputed = None if exact else run_streams(self, numbers, a, b)
        if recomputed is not None:
            return recomputed
        for number in numbers:
            # After the first coupling every channel may differ from zero.
            given = filled if number == start else None
            last = wanted if number == numbers[-1] else None
            a, b = self._shift(number, a, b, 1, exact, given, last)
        return a, b

    def inverse(
        self,
        a: Tensor,
        b: Tensor,
        *,
        start: int = 0,
        stop: int | None = None,
        exact: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Undo ``forward`` with the same ``start``, ``stop`` and ``exact``."""
        for number in reversed(range(start, len(self.couplings) if stop is None else stop)):
            a, b = self._shift(number, a, b, -1, exact)
        return a, b

    def _shift(
        self,
        number: int,
        a: Tensor,
        b: Tensor,
        sign: int,
        exact: bool,
        filled: int | None = None,
        wanted: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run one coupling, forward or (with ``sign`` -1) backward."""
        changed, source = (a, b) if number % 2 == 0 else (b, a)
        changed = first_channels(changed, wanted)
        shift = self.couplings[number](first_channels(source, filled), wanted)
        if exact:
            changed = changed + sign * to_grid(shift)
            check_range(changed, exact_range(changed.dtype), f"the state after coupling {number}")
        else:
            changed = changed + sign * shift
        return (changed, b) if number % 2 == 0 else (a, changed)
