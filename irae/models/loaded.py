"""`LoadedModel`: a network ready to restore, with the spec from its file."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.errors import ModelError
from irae.flow.subnets import set_network_dtype
from irae.imaging.analysis.damage import measure_codes
from irae.imaging.hole_filling import fill_holes
from irae.models.call import (
    condition_for,
    from_network_channels,
    inputs_besides_picture,
    network_autocast,
    repeat_for_channels,
    takes_damage,
    takes_sigma,
    to_network_channels,
)
from irae.models.inference.restoring_form import Form, restoring_form
from irae.models.inference.self_ensemble import mean_over_orientations
from irae.models.networks.lifted import LiftedIRAE
from irae.models.networks.registry import NETWORKS
from irae.runtime import network_dtype, resolve_precision, upload, use_full_float32

BFLOAT16_COST = 0.02
"""Largest loss in dB due to subnets in bfloat16 that ``auto`` accepts."""


@dataclass(frozen=True)
class ModelSpec:
    """The content of a model file's header.

    Attributes:
        network: a name in `irae.models.networks.registry.NETWORKS`.
        options: keyword options with which the network is built.
        task: the task it was trained for, a name in `irae.tasks`; empty for untrained methods.
        card: free-form JSON about its training and its measured scores.
    """

    network: str
    options: dict[str, Any]
    task: str
    card: dict[str, Any] = field(default_factory=dict)


class LoadedModel:
    """A network ready to restore, with its spec.

    Attributes:
        ensemble: whether `restore` averages over the picture's eight orientations, each restored
            separately (`irae.models.inference.self_ensemble`), which takes eight times as long.
    """

    def __init__(self, network: nn.Module, spec: ModelSpec, name: str) -> None:
        self.network = network.eval().requires_grad_(False)
        # Channels-last convolutions with many channels are up to twice as fast, also on CPUs.
        self.network.to(memory_format=torch.channels_last)
        self.spec = spec
        self.name = name
        self.device = torch.device("cpu")
        self.precision = "fp32"
        self.ensemble = False
        self._form: Form | None = None
        # The state of the weights from which the form was made.
        self._form_of: list[tuple[int, torch.dtype, int]] = []

    def copy(self) -> Self:
        """Return an independent copy of the model on the CPU in float32."""
        return type(self)(deepcopy(self.network).cpu(), self.spec, self.name)

    @property
    def task(self) -> str:
        """The task for which the model was trained; empty if it was not."""
        return self.spec.task

    @property
    def takes_mask(self) -> bool:
        """Whether the network takes the mask as an input."""
        return "mask" in inputs_besides_picture(self.network)

    @property
    def takes_sigma(self) -> bool:
        """Whether `restore` needs the noise level."""
        return takes_sigma(self.network)

    @property
    def channels(self) -> int | None:
        """Number of channels of the network's pictures: 3, 1 (gray), or None for either."""
        channels: int | None = getattr(self.network, "channels", 3)
        return channels

    @property
    def size_multiple(self) -> int:
        """Divisor of the network's heights and widths; `restore` pads pictures of other sizes."""
        return int(getattr(self.network, "size_multiple", 1))

    @property
    def context(self) -> int:
        """Number of pixels around a hole that the network should see, see `Baseline`."""
        return int(getattr(self.network, "context", 0))

    @property
    def invertible(self) -> bool:
        """Whether `round_trip` is possible."""
        kind = NETWORKS.get(self.spec.network)
        return kind is not None and kind.invertible

    @property
    def exact(self) -> bool:
        """Whether `round_trip` recovers every bit."""
        return isinstance(self.network, LiftedIRAE)

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(p.numel() for p in self.network.parameters())

    def to(self, device: torch.device | str, precision: str = "fp32") -> LoadedModel:
        """Move the model to a device and set the subnets' precision, in place.

        Args:
            device: the new device.
            precision: ``fp32``, ``bf16``, or ``auto``: bf16 if the device was measured to be faster
                with it and its cost in the model's card is at most `BFLOAT16_COST`.

        Raises:
            UsageError: the precision is unknown, or the device does not support it.
        """
        use_full_float32()
        self.device = torch.device(device)
        if precision == "auto":
            cost = self.spec.card.get("bfloat16_cost", math.inf)
            precision = "fp32" if cost > BFLOAT16_COST else precision
        self.precision = resolve_precision(precision, self.device)
        self.network.to(self.device)
        set_network_dtype(self.network, network_dtype(self.precision))
        self._form = None
        return self

    @torch.inference_mode()
    def run_network(
        self,
        degraded: Tensor,
        mask: Tensor | None = None,
        *,
        sigma: float | Tensor | None = None,
        filled: bool = False,
    ) -> Tensor:
        """Run the network itself, not its restoring form; the arguments are those of `restore`.

        Returns:
            The output with the network's channels and padded size, not clipped; known pixels are
            not put back.
        """
        x, condition = self.network_inputs(degraded, mask, filled, sigma)
        with network_autocast(self.network, self.device, self.precision):
            output: Tensor = self.network(x, condition)
        return output

    def _run(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Run the network's restoring form on a prepared batch; it is made at first use."""
        weights = [_state_of(p) for p in self.network.parameters()]
        if self._form is None or weights != self._form_of:  # Training may have changed them.
            if not all(bool(torch.isfinite(p).all()) for p in self.network.parameters()):
                # A fused ReLU would turn NaN into zero and hide it.
                raise ModelError(
                    f"model {self.name!r} has weights that are not finite; use another"
                )
            dtype = network_dtype(self.precision)
            self._form = restoring_form(self.network, self.device, dtype)
            self._form_of = weights
        return self._form(x, condition)

    def _uploaded(self, x: Tensor) -> Tensor:
        return upload(x, self.device) if x.is_cpu else x.to(self.device)

    def fill(self, degraded: Tensor, mask: Tensor) -> Tensor:
        """Fill the masked region (mask ``B 1 H W``) of ``B C H W`` as the network expects it."""
        return fill_holes(degraded, mask, getattr(self.network, "hole_fill", None))

    def network_inputs(
        self,
        degraded: Tensor,
        mask: Tensor | None,
        filled: bool = False,
        sigma: float | Tensor | None = None,
        damage: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return picture and condition as the network takes them: its channels, padded sizes.

        Args:
            degraded: ``B C H W`` in [0, 1].
            mask: ``B 1 H W``, True in the masked region.
            filled: whether `fill` has been applied already.
            sigma: noise level, as for `restore`.
            damage: codes of the damage, as for `restore`.

        Raises:
            ModelError: the mask or the sigma is missing.
        """
        x = self._uploaded(degraded.to(dtype=torch.float32))
        hole = None
        if mask is not None:
            hole = self._uploaded(mask).expand(x.shape[0], 1, *x.shape[2:])
            x = x if filled else self.fill(x, hole)
        try:
            condition = condition_for(self.network, mask=hole, sigma=sigma, filled=x, damage=damage)
        except ModelError as error:
            raise ModelError(f"model {self.name!r} {error}") from None
        if condition is not None:
            condition = condition.to(self.device).expand(x.shape[0], *condition.shape[1:])
            condition = repeat_for_channels(self.network, condition, x.shape[1])
        x = to_network_channels(self.network, x)
        height, width = x.shape[2:]
        multiple = self.size_multiple
        padding = (0, -width % multiple, 0, -height % multiple)
        # Reflection does not repeat the border pixel's noise, but needs more than one pixel.
        fits = padding[1] < width and padding[3] < height
        mode = "reflect" if fits else "replicate"
        # One number for a whole picture needs no padding.
        if condition is not None and condition.shape[2:] == x.shape[2:]:
            condition = F.pad(condition, padding, mode=mode)
        return F.pad(x, padding, mode=mode), condition

    @torch.inference_mode()
    def restore(
        self,
        degraded: Tensor,
        mask: Tensor | None = None,
        *,
        sigma: float | Tensor | None = None,
        damage: Tensor | None = None,
        filled: bool = False,
    ) -> Tensor:
        """Restore a batch.

        A gray network restores each channel of an RGB picture separately. A colour network gets
        a gray picture as three equal channels, and the results are averaged.

        Args:
            degraded: float32 ``B C H W`` in [0, 1] (noise may leave it), C 3 or 1, any H and W
                from 1.
            mask: bool ``B 1 H W``, True in the masked region, which is filled smoothly before the
                network runs; known pixels are put back afterwards. Required if ``takes_mask``.
            sigma: noise level in 8-bit units, one number, one per picture (``B``) or a map
                ``B 1 H W``; required if ``takes_sigma``, otherwise ignored.
            damage: codes of the damage ``B CODES`` for a network that is told it, see
                `irae.imaging.analysis.damage`; measured in ``degraded`` if None. Tiles are given
                those of the whole picture.
            filled: whether `fill` has been applied already. Tiles are filled beforehand, because
                the surroundings of a hole may lie outside a tile.

        Returns:
            ``B C H W`` on the model's device, not clipped. Known pixels of an inpainted picture
            are bit-equal to the input's.

        Raises:
            ModelError: the mask or the sigma is missing, or the output is not finite.
        """
        if not self.ensemble:
            return self._restore(degraded, mask, sigma, damage=damage, filled=filled)
        given = degraded
        if damage is None and takes_damage(self.network):
            damage = measure_codes(degraded)
        if mask is not None and not filled:
            mask = mask.to(self.device).expand(len(given), -1, -1, -1)
            given = self.fill(given.to(self.device, torch.float32), mask)
        once = partial(self._restore, damage=damage, filled=mask is not None)
        return _with_known(mean_over_orientations(once, given, mask, sigma), degraded, mask)

    def _restore(
        self,
        degraded: Tensor,
        mask: Tensor | None,
        sigma: float | Tensor | None,
        *,
        damage: Tensor | None,
        filled: bool,
    ) -> Tensor:
        x, condition = self.network_inputs(degraded, mask, filled, sigma, damage)
        height, width = degraded.shape[2:]
        with network_autocast(self.network, self.device, self.precision):
            restored = self._run(x, condition)[..., :height, :width]
        restored = from_network_channels(self.network, restored.float(), degraded.shape[1])
        if not torch.isfinite(restored).all():
            raise ModelError(f"model {self.name!r} returned numbers that are not finite; use fp32")
        return _with_known(restored, degraded, mask)

    @torch.inference_mode()
    def round_trip(
        self,
        degraded: Tensor,
        mask: Tensor | None = None,
        *,
        exact: bool = True,
        filled: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Restore a batch, and recover the input by running the network backward.

        A lifted network recovers it from the restored picture and the remainder, a strict one
        from the restored picture alone.

        Args:
            degraded: float32 ``B C H W`` in [0, 1].
            mask: bool ``B 1 H W``, for an inpainting model.
            exact: for a lifted network, see `irae.models.networks.lifted.LiftedIRAE.split`.
            filled: whether `fill` has been applied already.

        Returns:
            The network's input (masked region filled), its output before known pixels are put
            back, and the recovered input; each ``B 3 H W``.

        Raises:
            ModelError: the network is not invertible.
        """
        if not self.invertible:
            raise ModelError(f"model {self.name!r} ({self.spec.network}) is not invertible")
        given, condition = self.network_inputs(degraded, mask, filled)
        if isinstance(self.network, LiftedIRAE):
            restored, remainder = self.network.split(given, condition, exact=exact)
            recovered = self.network.join(restored, remainder, condition)
        else:
            restored = self.network(given, condition)
            inverse = getattr(self.network, "inverse")  # noqa: B009
            recovered = inverse(restored, condition)
        height, width = degraded.shape[2:]
        return (
            given[..., :height, :width],
            restored[..., :height, :width],
            recovered[..., :height, :width],
        )


def _state_of(weight: Tensor) -> tuple[int, torch.dtype, int]:
    """Return a key that changes when a tensor is changed in place or replaced."""
    version = 0 if weight.is_inference() else weight._version
    return weight.data_ptr(), weight.dtype, version


def _with_known(restored: Tensor, degraded: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return restored
    return torch.where(mask.to(restored.device), restored, degraded.to(restored))
