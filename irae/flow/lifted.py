"""Additive couplings of two streams: the flow of a *lifted* picture, which keeps volume.

A picture whose channels are padded with zeros leaves room beside its content: a coupling may carry
what it takes for noise over there instead of shrinking it, so the way back multiplies no error.
The couplings are those of RevNet (Gomez et al. 2017, arXiv 1707.04585, section 3.1); i-RevNet
(Jacobsen et al. 2018, arXiv 1802.07088) pads channels with zeros likewise.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.errors import ModelError
from irae.flow.reversible import TwoStreams, run_streams
from irae.flow.subnets import CouplingNetwork

GRID = 2.0**-20
"""Step of the grid that an exact run keeps its state on."""


def to_grid(x: Tensor) -> Tensor:
    """Round to the nearest multiple of `GRID`; of the shape and type of ``x``."""
    return (x / GRID).round_() * GRID


def exact_range(dtype: torch.dtype) -> float:
    """Below this, sums of multiples of `GRID` are exact in ``dtype``: 16 in float32."""
    return 2 * GRID / torch.finfo(dtype).eps


@torch.no_grad()
def check_range(x: Tensor, limit: float, what: str) -> None:
    """Make sure that all of ``x`` lies within ±``limit``.

    Raises:
        ModelError: it does not, or is not a number; says ``what`` it is.
    """
    if not float(x.abs().amax()) < limit:
        raise ModelError(
            f"{what} has left ±{limit:g}, where additions are exact; use exact=False, or float64"
        )


class LiftedNetwork(CouplingNetwork):
    """Conv 3×3, ReLU, conv 3×3 (zero-initialised), with biases.

    Args:
        width: channels of a stream.
        hidden: channels between the two convolutions.
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
        """The shift of the other stream.

        Args:
            x: ``B C H W``, the first channels of a stream; the others are taken as zero.
            outputs: how many of the shift's channels are wanted; all if None.

        Returns:
            ``B outputs H W`` in the type of ``x``.
        """
        first, second = self.conv1, self.conv2
        assert first.bias is not None and second.bias is not None
        given = self._enter(x)
        dtype = given.dtype
        # Channels known to be zero, or not asked for, cost no multiplications.
        weight = first.weight[:, : x.shape[1]].to(dtype)
        hidden = self.activate(F.conv2d(given, weight, first.bias.to(dtype), padding=1))
        weight, bias = second.weight[:outputs].to(dtype), second.bias[:outputs].to(dtype)
        return F.conv2d(hidden, weight, bias, padding=1).to(x.dtype)

    def activate(self, hidden: Tensor) -> Tensor:
        """ReLU, in place."""
        return F.relu(hidden, inplace=True)

    @torch.no_grad()
    def restart(self, dead: Tensor, draw: torch.Generator) -> None:
        """Draw hidden units' incoming weights anew, without changing what the network computes.

        Args:
            dead: bool per hidden unit, which ones; they must not fire.
            draw: a generator on the CPU.
        """
        weight, bias, out = self.conv1.weight, self.conv1.bias, self.conv2.weight
        assert bias is not None
        drawn = torch.randn(weight.shape, generator=draw) * math.sqrt(2 / weight[0].numel())
        dead = dead.to(weight.device)
        weight[dead], bias[dead], out[:, dead] = drawn.to(weight)[dead], 0.0, 0.0


class LiftedFlow(TwoStreams):
    """Couplings of two streams ``B width H W``: even ones shift the first, odd ones the second.

    Every coupling keeps volume, so the log-determinant is zero.

    Args:
        width: channels of each stream.
        couplings: their number.
        hidden: channels inside each coupling's `LiftedNetwork`.
    """

    def __init__(self, width: int, couplings: int, hidden: int) -> None:
        super().__init__()
        self.width = width
        self.couplings = nn.ModuleList(LiftedNetwork(width, hidden) for _ in range(couplings))

    def networks(self) -> list[LiftedNetwork]:
        """The networks of the couplings, in order."""
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
            b: the second.
            start: number of the first coupling run, from 0.
            stop: number of the first that is not; all are run if None.
            exact: keep the state on the grid, so that `inverse` gives back every bit. The streams
                must lie on it; no gradients.
            filled: channels of the streams that may differ from zero; all if None.
            wanted: channels of the streams that are used afterwards; all if None.

        Returns:
            Both streams; of the stream that the last coupling shifts only the ``wanted`` channels.

        Raises:
            ModelError: with ``exact``, a number has left the range in which float32 is exact.
        """
        numbers = range(start, len(self.couplings) if stop is None else stop)
        recomputed = None if exact else run_streams(self, numbers, a, b)
        if recomputed is not None:
            return recomputed
        for number in numbers:
            # All but the first coupling find every channel filled.
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
        """One coupling, forward or (with ``sign`` -1) backward."""
        changed, source = (a, b) if number % 2 == 0 else (b, a)
        changed = changed[:, :wanted]
        shift = self.couplings[number](source[:, :filled], wanted)
        if exact:
            changed = changed + sign * to_grid(shift)
            check_range(changed, exact_range(changed.dtype), f"the state after coupling {number}")
        else:
            changed = changed + sign * shift
        return (changed, b) if number % 2 == 0 else (a, changed)
