"""The base class of the networks for comparison, and blocks that several of them share."""

from __future__ import annotations

from torch import Tensor, nn


class Baseline(nn.Module):
    """Base of the networks that IRAE is compared with.

    A subclass maps degraded ``B C H W`` to restored ``B C H W`` (not clipped) and declares its
    inputs by these attributes, which `irae.models.call` reads.

    Attributes:
        channels: number of channels of its pictures, 1 or 3; None for either.
        size_multiple: divisor of the heights and widths that it accepts.
        takes_sigma: whether ``condition`` is the noise level, see
            `irae.models.call.condition_for`.
        condition_channels: 1 if ``condition`` is the mask, else 0.
        hole_fill: value in the masked region of the input; None for a smooth interpolation.
        context: number of pixels around a hole that it should see in a large picture, where crops
            around the holes pass through the network; 0 for the tiles' overlap.
    """

    channels: int | None = 3
    size_multiple: int = 1
    takes_sigma: bool = False
    condition_channels: int = 0
    hole_fill: float | None = None
    context: int = 0

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map degraded to restored."""
        raise NotImplementedError

    # A network whose paper adds terms to the pixel loss also has a method of this form, which the
    # training loop calls in place of `forward`:
    #
    #   forward_with_loss(x, condition, clean) -> (restored, the mean of the added terms)


class ConvStack(nn.Module):
    """``layers`` 3×3 convolutions of one width with ReLUs between, the body of DnCNN and FFDNet.

    With batch normalisation, the first and the last convolution have biases and no normalisation;
    the others have a normalisation in place of the bias. Published weights often have the
    normalisation merged into the convolutions, which then all have biases.

    Args:
        inputs: number of input channels.
        outputs: number of output channels.
        width: number of hidden channels.
        layers: number of convolutions, at least 2.
        batch_norm: normalise after all convolutions except the first and the last.

    Raises:
        ValueError: there are fewer than two layers.
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
        """Map ``B inputs H W`` to ``B outputs H W``."""
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
        network: module whose convolutions are initialised, including transposed ones.
        slope: negative slope of the (leaky) ReLU that follows.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, a=slope, nonlinearity="leaky_relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def initialise_normal(network: nn.Module) -> None:
    """Draw convolution weights from a normal distribution of std 0.02; biases become 0.

    This is the initialisation of pix2pix (Isola et al. 2017, arXiv 1611.07004, section 6.2), which
    networks of its kind share.

    Args:
        network: module whose convolutions are initialised, including transposed ones.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
