"""Pictures in memory: pixels for a model, alpha, and the layout of the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from irae.imaging.metadata.photoshop import without_thumbnails
from irae.imaging.metadata.previews import exif_without_previews, xmp_without_previews

# How a stored raster is turned upright, by EXIF orientation (TIFF 6.0, tag 274): whether rows and
# columns are swapped first, and the axes to flip afterwards.
TURNS: dict[int, tuple[bool, tuple[int, ...]]] = {
    1: (False, ()),
    2: (False, (-1,)),
    3: (False, (-2, -1)),
    4: (False, (-2,)),
    5: (True, ()),
    6: (True, (-1,)),
    7: (True, (-2, -1)),
    8: (True, (-2,)),
}


@dataclass(frozen=True, eq=False)
class Palette:
    """The colour table of a picture and the index of each pixel.

    Attributes:
        colours: at most 256 RGB triples of 8 bits.
        indices: uint8 ``H W``, the entry of each pixel.
        transparency: transparency in Pillow's form: the number of the transparent entry, the alpha
            values of the first entries, or None.
    """

    colours: bytes
    indices: Tensor
    transparency: int | bytes | None = None

    def colour_table(self) -> Tensor:
        """Return the colours as uint8 ``256 3``, black for missing entries."""
        padded = self.colours[:768].ljust(768, b"\0")
        return torch.frombuffer(bytearray(padded), dtype=torch.uint8).reshape(256, 3)

    def alpha_table(self) -> Tensor:
        """Return the alpha of each entry as uint8 ``256``."""
        table = torch.full((256,), 255, dtype=torch.uint8)
        if isinstance(self.transparency, int):
            table[self.transparency] = 0
        elif self.transparency:
            alphas = bytearray(self.transparency[:256])
            table[: len(alphas)] = torch.frombuffer(alphas, dtype=torch.uint8)
        return table


@dataclass(frozen=True)
class Layout:
    """The format and the metadata of a picture's file: everything but pixels and alpha.

    Attributes:
        mode: Pillow's name (``1 L LA P PA RGB RGBA CMYK I;16 F``), or one of our own if Pillow
            has none: ``LA;16 RGB;16 RGBA;16 CMYK;16 RGB;F``.
        depth: bits per channel: 1, 8, 16, or 32 for float samples in [0, 1].
        format: Pillow's name of the file format; empty for a picture made in memory.
        icc: the bytes of the colour profile, valid or not.
        exif: the EXIF block with its ``Exif`` prefix.
        xmp: the XMP packet.
        dpi: horizontal and vertical pixels per inch.
        orientation: the EXIF orientation, 1 to 8; pixels stay as stored.
        palette: the colour table of modes ``P`` and ``PA``.
        compression: the compression of a TIFF.
        chunks: names and contents of a PNG's chunks for colours (gAMA, cHRM, sRGB, cICP) and
            texts.
        photoshop: Photoshop's image resources, the IPTC record among them.
        comments: the comments of the file, each as stored.
        dropped: what the file holds besides that cannot be written again, such as the gain map of
            a phone; in words that follow "its".
    """

    mode: str
    depth: int = 8
    format: str = ""
    icc: bytes | None = field(default=None, repr=False)
    exif: bytes | None = field(default=None, repr=False)
    xmp: bytes | None = field(default=None, repr=False)
    dpi: tuple[float, float] | None = None
    orientation: int = 1
    palette: Palette | None = field(default=None, repr=False, compare=False)
    compression: str | None = None
    chunks: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    photoshop: bytes | None = field(default=None, repr=False)
    comments: tuple[bytes, ...] = field(default=(), repr=False)
    dropped: tuple[str, ...] = ()

    def without_previews(self) -> Layout:
        """Drop all thumbnails and previews in the metadata, which show the pixels as they were."""
        return replace(
            self,
            exif=None if self.exif is None else exif_without_previews(self.exif),
            xmp=None if self.xmp is None else xmp_without_previews(self.xmp),
            photoshop=None if self.photoshop is None else without_thumbnails(self.photoshop),
        )


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture for a model, with everything needed to write it in its original form.

    Attributes:
        pixels: float32 ``C H W`` in [0, 1]. C is 3 (RGB), 1 (gray), or 4 (CMYK as 1 - ink, so
            that white is 1 in every channel).
        alpha: float32 ``1 H W`` in [0, 1], or None. Restoring does not change it.
        layout: format and metadata of the file.
    """

    pixels: Tensor
    alpha: Tensor | None
    layout: Layout

    @property
    def height(self) -> int:
        """Number of rows, as stored."""
        return self.pixels.shape[-2]

    @property
    def width(self) -> int:
        """Number of columns, as stored."""
        return self.pixels.shape[-1]

    @property
    def orientation(self) -> int:
        """The EXIF orientation, 1 to 8."""
        return self.layout.orientation

    def with_pixels(self, pixels: Tensor) -> Picture:
        """Replace the pixels by others of the same shape, on any device and of any float type.

        If they differ, the previews in the metadata are dropped; see `Layout.without_previews`.

        Raises:
            ValueError: the shape differs.
        """
        if pixels.shape != self.pixels.shape:
            raise ValueError(
                f"pixels are {tuple(pixels.shape)}, the picture's are {tuple(self.pixels.shape)}"
            )
        pixels = pixels.detach().to("cpu", torch.float32)
        if torch.equal(pixels, self.pixels):
            return replace(self, pixels=pixels)
        return replace(self, pixels=pixels, layout=self.layout.without_previews())


def same_levels(picture: Picture, other: Picture) -> bool:
    """Whether the pixels of two pictures of one shape are equal once they are written in files."""
    depth = picture.layout.depth
    if depth > 16:
        return torch.equal(picture.pixels, other.pixels)
    rows = max(1, (1 << 18) // picture.width)
    return all(
        torch.equal(
            codes(picture.pixels[:, top : top + rows], depth),
            codes(other.pixels[:, top : top + rows], depth),
        )
        for top in range(0, picture.height, rows)
    )


def quantise(pixels: Tensor, depth: int = 8) -> Tensor:
    """Clip to [0, 1] and round half up to the grid of ``depth`` bits; float32, any shape.

    It is exact for depths up to 16: a value k / (2^depth - 1) is unchanged.
    """
    top = float((1 << depth) - 1)
    return pixels.to(torch.float32).clamp(0.0, 1.0).mul_(top).add_(0.5).floor_().div_(top)


def codes(pixels: Tensor, depth: int) -> Tensor:
    """Convert pixels in [0, 1] to a file's integers: uint8 up to 8 bits, uint16 above.

    Rounding is that of :func:`quantise`; values outside [0, 1] are clipped.
    """
    scaled = pixels.clamp(0.0, 1.0).mul_(float((1 << depth) - 1)).add_(0.5)
    if depth <= 8:
        return scaled.to(torch.uint8)
    # Converted by way of int32, because not every build converts float to uint16.
    return scaled.to(torch.int32).to(torch.uint16)


def to_upright(raster: Tensor, orientation: int) -> Tensor:
    """Turn a stored raster ``... H W`` upright, according to its EXIF orientation."""
    swap, flips = TURNS.get(orientation, TURNS[1])
    if swap:
        raster = raster.transpose(-2, -1)
    return raster.flip(flips) if flips else raster.contiguous()


def to_stored(raster: Tensor, orientation: int) -> Tensor:
    """Undo :func:`to_upright`: turn an upright raster to the stored orientation."""
    swap, flips = TURNS.get(orientation, TURNS[1])
    if flips:
        raster = raster.flip(flips)
    return raster.transpose(-2, -1).contiguous() if swap else raster.contiguous()


def upright(picture: Picture) -> Picture:
    """Turn a picture upright and drop its EXIF, for formats without EXIF."""
    turned = _turn(picture, to_upright)
    layout = replace(turned.layout, orientation=1, exif=None, xmp=None)
    return replace(turned, layout=layout)


def as_stored(picture: Picture) -> Picture:
    """Turn pixels that a decoder has turned upright back to the stored orientation."""
    return _turn(picture, to_stored)


def _turn(picture: Picture, rotate: Callable[[Tensor, int], Tensor]) -> Picture:
    layout = picture.layout
    palette = layout.palette
    if palette is not None:
        palette = replace(palette, indices=rotate(palette.indices, layout.orientation))
    dpi = layout.dpi
    if dpi is not None and rotate is to_upright and layout.orientation >= 5:
        dpi = (dpi[1], dpi[0])
    return Picture(
        pixels=rotate(picture.pixels, layout.orientation),
        alpha=None if picture.alpha is None else rotate(picture.alpha, layout.orientation),
        layout=replace(layout, palette=palette, dpi=dpi),
    )
