"""The Invertible Restoring Autoencoder (Liu et al., ICONIP 2020, arXiv 2009.03173)."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from irae.flow.actnorm import initialise_actnorm
from irae.flow.bijection import Bijection
from irae.flow.glow import Glow

PRESETS: dict[str, dict[str, Any]] = {
    # The published denoiser, layer by layer (arXiv 2009.03173, section 4; the authors' code).
    "paper": {
        "width": 64,
        "depth": 16,
        "levels": 2,
        "squeeze": "pixel",
        "actnorm": True,
        "mixing": "dense",
        "coupling": "affine",
        "network": "actnorm",
        "start": "random",
        "hole_fill": 1.0,
    },
    # The toolkit's own: `irae.models.networks.lifted.LiftedIRAE` (docs/ablation.md).
    "default": {"form": "lifted", "width": 48, "couplings": 12, "hidden": 64},
    # For holes, of which the mask tells it: `irae.models.networks.multiscale.MultiscaleIRAE`.
    "inpaint": {
        "form": "multiscale",
        "width": 32,
        "couplings": 2,
        "scales": [32, 64, 96, 128, 160],
        "blocks": 1,
        "condition_channels": 1,
    },
    # The default for photographs: the measured noise and JPEG quality are told to it.
    "photo": {
        "form": "lifted",
        "width": 48,
        "couplings": 12,
        "hidden": 64,
        "takes_damage": True,
    },
}


class IRAE(Bijection):
    """``restored = decoder⁻¹(encoder(degraded))`` with two flows; the latents pass unchanged.

    As a composition of bijections it is one itself: ``inverse`` returns the degraded picture. With
    ``start="identity"`` the decoder starts with the encoder's weights, so that the untrained model
    returns its input.

    ``condition`` is ``B condition_channels H W`` from `irae.models.call.condition_for`: None, the
    mask (1 in the masked region), or the mask and the filled picture. ``flow_options`` are the
    options of both `Glow`.
    """

    __signature__: ClassVar[inspect.Signature]

    def __init__(
        self,
        *,
        condition_channels: int = 0,
        start: Literal["identity", "random"] = "identity",
        hole_fill: float | None = None,
        **flow_options: Any,
    ) -> None:
        super().__init__()
        flow_options["condition_channels"] = condition_channels
        self.encoder = Glow(channels=3, **flow_options)
        self.decoder = Glow(channels=3, **flow_options)
        self.start = start
        # Value in the masked region of the input; None for a smooth interpolation.
        self.hole_fill = hole_fill
        self.condition_channels = condition_channels
        if start == "identity":
            self.tie_decoder_to_encoder()

    @torch.no_grad()
    def tie_decoder_to_encoder(self) -> None:
        """Copy the encoder's weights to the decoder, which then inverts the encoder."""
        weights = self.encoder.state_dict()
        self.decoder.load_state_dict({name: weights[name] for name in self.decoder.state_dict()})

    @property
    def size_multiple(self) -> int:
        """Divisor of the heights and widths that the network accepts."""
        return self.encoder.size_multiple

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map degraded ``B 3 H W`` in [0, 1] to restored, of the same shape, not clipped."""
        return self.decoder.inverse(self.encoder(x - 0.5, condition), condition) + 0.5

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map restored back to degraded: ``encoder⁻¹(decoder(restored))``."""
        return self.encoder.inverse(self.decoder(z - 0.5, condition), condition) + 0.5

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        latents, encoded = self.encoder.forward_and_log_det(x - 0.5, condition)
        restored = self.decoder.inverse(latents, condition)
        _, decoded = self.decoder.forward_and_log_det(restored, condition)
        return restored + 0.5, encoded - decoded

    @torch.no_grad()
    def initialise(self, degraded: Tensor, condition: Tensor | None = None) -> None:
        """Initialise the ActNorms from a batch; the decoder's only with an identity start."""
        initialise_actnorm(self.encoder, degraded - 0.5, condition)
        if self.start == "identity":
            self.tie_decoder_to_encoder()


def _signature() -> inspect.Signature:
    """Return a signature with every option of `IRAE` in place of ``flow_options``."""
    of_flow = inspect.signature(Glow, eval_str=True).parameters
    own = inspect.signature(IRAE, eval_str=True).parameters
    options = {**of_flow, **own}
    del options["channels"], options["flow_options"]
    return inspect.Signature(list(options.values()))


# The signature that `help` and `irae.models.networks.registry.option_parameters` read.
IRAE.__signature__ = _signature()
