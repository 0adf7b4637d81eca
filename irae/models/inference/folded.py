"""The inference form of an IRAE: the same function, folded once and run in little memory.

`irae.models.inference.folding` merges the linear maps between two couplings into one. `FoldedIRAE`
runs the result in strips of rows: the wide activations inside a subnet are computed and consumed
while they are in the cache, and never exist for the whole picture. Only the state does, which is
as large as the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.models.inference.folding import FoldedCoupling, Linear, fold
from irae.models.networks.irae import IRAE

STRIP_BYTES = 4 * 2**20
"""Size in bytes of one hidden activation on a CPU: a few fit the last-level cache of one core."""


@cache
def _workers(count: int) -> ThreadPoolExecutor:
    """Return threads that each work on a strip independently.

    PyTorch's own threads would split every operation and synchronise after each, thousands of
    times per picture, and each time wait for the slowest core.
    """
    return ThreadPoolExecutor(count, "strip", initializer=partial(torch.set_num_threads, 1))


class FoldedIRAE:
    """A trained IRAE prepared for restoring; it has a copy of the weights.

    Args:
        network: the network to fold.
        device: the device on which it will run.
        dtype: type in which the subnets compute; the state is float32.
        strip_bytes: size in bytes of one hidden activation above which a picture is processed in
            strips; None is `STRIP_BYTES` on a CPU, and no strips on other devices.
    """

    def __init__(
        self,
        network: IRAE,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        strip_bytes: int | None = None,
    ) -> None:
        place = torch.device(device)
        self.levels = [level.to(place, dtype) for level in fold(network)]
        self.dtype = dtype
        if strip_bytes is None:
            strip_bytes = STRIP_BYTES if place.type == "cpu" else 2**62
        self.strip_bytes = strip_bytes

    @torch.inference_mode()
    def __call__(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map ``B 3 H W`` in [0, 1] and its condition ``B C' H W`` to restored, as the network."""
        return self._level(0, x, condition)

    def _level(self, index: int, x: Tensor, condition: Tensor | None) -> Tensor:
        """Run ``B C H W`` through a level and all below it, forward and backward."""
        level = self.levels[index]
        condition = None if condition is None else F.avg_pool2d(condition, 2)
        batch, channels, height, width = x.shape
        # From here the state is B H W C: a row of pixels is contiguous, and the linear maps are
        # plain matrix products.
        blocks = x.reshape(batch, channels, height // 2, 2, width // 2, 2)
        squeezed = blocks.permute(0, 2, 4, 1, 3, 5).reshape(
            batch, height // 2, width // 2, 4 * channels
        )
        state = _apply(level.enter, squeezed, torch.empty_like(squeezed))
        spare = squeezed
        for coupling, following in level.encoder:
            state, spare = self._couple(coupling, following, state, spare, condition, sign=1)
        if index + 1 < len(self.levels):
            half = state[..., : 2 * channels]
            below = self._level(index + 1, half.permute(0, 3, 1, 2), condition)
            half.copy_(below.permute(0, 2, 3, 1))
        for coupling, following in level.decoder:
            state, spare = self._couple(coupling, following, state, spare, condition, sign=-1)
        blocks = state.view(batch, height // 2, width // 2, channels, 2, 2)
        return blocks.permute(0, 3, 1, 4, 2, 5).reshape(x.shape)

    def _couple(
        self,
        coupling: FoldedCoupling,
        following: Linear | None,
        state: Tensor,
        spare: Tensor,
        condition: Tensor | None,
        *,
        sign: Literal[1, -1],
    ) -> tuple[Tensor, Tensor]:
        """Run a coupling (1 forward, -1 backward) and the linear map after it.

        Both buffers are overwritten, and returned with the result first.
        """
        half = state.shape[3] // 2

        @torch.inference_mode()
        def work(strip: tuple[slice, slice]) -> None:
            changed = state[*strip, :, :half]
            _transform(coupling, changed, self._network(coupling, state, *strip, condition), sign)
            if following is not None:
                _apply(following, state[strip], spare[strip])

        strips = list(self._strips(coupling, state))
        if len(strips) > 1 and state.device.type == "cpu" and torch.get_num_threads() > 1:
            list(_workers(torch.get_num_threads()).map(work, strips))
        else:
            for strip in strips:
                work(strip)
        return (state, spare) if following is None else (spare, state)

    def _strips(self, coupling: FoldedCoupling, state: Tensor) -> Iterator[tuple[slice, slice]]:
        """Yield strips: whole samples if they fit the cache, else some rows of one sample."""
        batch, height, width, _ = state.shape
        row = width * len(coupling.biases[0]) * coupling.weights[0].element_size()
        if row * height <= self.strip_bytes:
            count = max(1, min(batch, self.strip_bytes // (row * height)))
            for start in range(0, batch, count):
                yield slice(start, min(start + count, batch)), slice(0, height)
            return
        strips = -(-height // max(4, self.strip_bytes // row))
        # Every worker gets equally many, or some would wait for the last one.
        strips = -(-strips // torch.get_num_threads()) * torch.get_num_threads()
        rows = -(-height // strips)
        for sample in range(batch):
            for start in range(0, height, rows):
                yield slice(sample, sample + 1), slice(start, min(start + rows, height))

    def _network(
        self,
        coupling: FoldedCoupling,
        state: Tensor,
        samples: slice,
        rows: slice,
        condition: Tensor | None,
    ) -> Tensor:
        """Run the subnet for some rows, with the rows around them as context: ``b h W C'``."""
        height, width, channels = state.shape[1:]
        half = channels // 2
        reach = coupling.reach
        first, last = rows.start - 2 - reach, rows.stop + 2 + reach
        above, below = max(0, -first), max(0, last - height)
        inside = slice(first + above, last - below)
        extra = 0 if condition is None else condition.shape[1]
        given = state.new_empty(
            samples.stop - samples.start, last - first, width, half + extra, dtype=self.dtype
        )
        middle = slice(above, last - first - below)
        given[:, middle, :, :half] = state[samples, inside, :, half:]
        if condition is not None:
            given[:, middle, :, half:] = condition[samples, :, inside].permute(0, 2, 3, 1)
        _zero_rows(given, above, below)
        (w1, w2, w3), (b1, b2, b3) = coupling.weights, coupling.biases
        h = _convolve_relu(given.permute(0, 3, 1, 2), w1, b1, (0, 1))
        # Hidden rows beyond the picture hold the subnet's padding: zeros before its middle
        # convolution, or after it. Each convolution consumes as many of them as its kernel
        # reaches.
        above, below = max(0, above - 1), max(0, below - 1)
        if coupling.ring or reach:
            _zero_rows(h.permute(0, 2, 3, 1), above, below)
        h = _convolve_relu(h, w2, b2, (0, 1 if coupling.ring else reach))
        if not coupling.ring:
            above, below = max(0, above - reach), max(0, below - reach)
            _zero_rows(h.permute(0, 2, 3, 1), above, below)
        return F.conv2d(h, w3, b3, padding=(0, int(not coupling.ring))).permute(0, 2, 3, 1)


def _convolve_relu(x: Tensor, weight: Tensor, bias: Tensor, padding: tuple[int, int]) -> Tensor:
    fusable = x.device.type == "cpu" and x.dtype == torch.float32
    if fusable and hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        # The fused operator that PyTorch's compiler uses saves one pass over memory.
        fused: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, padding, (1, 1), (1, 1), 1, "relu", [], ""
        )
        return fused
    return F.conv2d(x, weight, bias, padding=padding).relu_()


def _zero_rows(x: Tensor, above: int, below: int) -> None:
    if above:
        x[:, :above] = 0
    if below:
        x[:, -below:] = 0


def _apply(linear: Linear, x: Tensor, out: Tensor) -> Tensor:
    """Apply the map to ``b h W C`` and write the result to ``out``; both must be contiguous."""
    channels = x.shape[3]
    torch.addmm(linear.bias, x.view(-1, channels), linear.matrix.T, out=out.view(-1, channels))
    return out


def _transform(
    coupling: FoldedCoupling, changed: Tensor, network: Tensor, sign: Literal[1, -1]
) -> None:
    """Apply the coupling to its first half, in place."""
    half = changed.shape[3]
    shift = network[..., :half]
    if not coupling.affine:
        changed.add_(shift, alpha=sign)
        return
    # The shifts are transformed too, since contiguous memory is several times faster.
    raw = network.float()
    scale = torch.sigmoid(raw) if coupling.bound is None else _bounded(raw, coupling.bound)
    scale = scale[..., half:]
    if sign == 1:
        changed.mul_(scale).add_(shift)
    else:
        changed.sub_(shift).div_(scale)


def _bounded(raw: Tensor, bound: float) -> Tensor:
    return torch.tanh(raw).mul_(bound).exp_()
