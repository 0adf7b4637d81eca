"""What every network for comparison declares, and the blocks that several of them share."""

from __future__ import annotations

from torch import Tensor, nn


class Baseline(nn.Module):
    """Base of the networks that IRAE is compared with.

    A subclass maps degraded ``B C H W`` to restored ``B C H W`` (not clipped) and declares here
    what it accepts; `irae.models.call` reads it.

    Attributes:
        channels: of the pictures it was made for, 1 or 3; None for either.
        size_multiple: heights and widths must be multiples of this.
        takes_sigma: ``condition`` is the noise level, see `irae.models.call.condition_for`.
        condition_channels: 1 where ``condition`` is the mask of the holes, else 0.
        hole_fill: what an inpainting network finds in its holes; None for a smooth interpolation.
    """

    channels: int | None = 3
    size_multiple: int = 1
    takes_sigma: bool = False
    condition_channels: int = 0
    hole_fill: float | None = None

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Degraded to restored."""
        raise NotImplementedError


class ConvStack(nn.Module):
    """``layers`` 3×3 convolutions of one width with ReLUs between, the body of DnCNN and FFDNet.

    With batch normalisation, the first and the last convolution have biases and no normalisation;
    those between have a normalisation in place of the bias. Published weights often have the
    normalisation merged into the convolutions, which then all have biases.

    Args:
        inputs: channels that enter.
        outputs: channels that leave.
        width: channels between.
        layers: number of convolutions, at least 2.
        batch_norm: normalise after all but the first and the last.

    Raises:
        ValueError: fewer than two layers.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, layers: int, batch_norm: bool
    ) -> None:
        super().__init__()
        if layers < 2:
            raise ValueError(f"layers is {layers}; use at least 2")
        widths = [inputs, *[width] * (layers - 1), outputs]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(
                widths[i],
                widths[i + 1],
                3,
                padding=1,
                bias=not batch_norm or i in (0, layers - 1),
            )
            for i in range(layers)
        )
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(width) if batch_norm and 0 < i < layers - 1 else nn.Identity()
            for i in range(layers)
        )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """``B inputs H W`` to ``B outputs H W``."""
        last = len(self.convolutions) - 1
        for index, (convolution, norm) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            x = norm(convolution(x))
            if index < last:
                x = self.activation(x)
        return x


def initialise_he(network: nn.Module, slope: float = 0.0) -> None:
    """Draw convolution weights from He et al. 2015's normal distribution; biases become 0.

    Args:
        network: every convolution in it is set, transposed ones too.
        slope: negative slope of the (leaky) ReLU that follows.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, a=slope, nonlinearity="leaky_relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
