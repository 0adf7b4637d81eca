"""Conversion between Pillow's images and `irae.imaging.io.picture.Picture`, strip by strip."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from irae.errors import PictureError
from irae.imaging.io.palettes import reduce_colours
from irae.imaging.io.picture import Layout, Palette, Picture, codes
from irae.imaging.io.sixteen_bit import unlimited_pixels

# Number of pixels converted at once: a strip takes some 50 MB, whatever the picture's size.
_STRIP = 1 << 22

# Pillow modes that another mode can replace without loss.
_PLAIN = {"La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}
_KNOWN = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "F")


def picture_from_pil(image: Image.Image, *, name: str = "picture") -> Picture:
    """Convert a Pillow image of any mode with its alpha, palette and metadata.

    Args:
        image: the image, whose ``info`` has ICC profile, EXIF, resolution and transparency.
        name: name of the file for error messages.

    Raises:
        PictureError: the mode does not map to [0, 1] (LAB, 32-bit integers, floats beyond it).
    """
    if image.mode in _PLAIN:
        plain = image.convert(_PLAIN[image.mode])
        plain.info = image.info
        plain.format = image.format
        image = plain
    if image.mode == "P" or (image.mode == "L" and "transparency" in image.info and _is_gif(image)):
        return _from_palette(image)
    if image.mode.startswith("I;16"):
        raster = torch.empty(1, image.height, image.width)
        for top, strip in _strips(image):
            raster[0, top : top + len(strip)] = torch.from_numpy(strip[..., 0].astype(np.int32))
        return Picture(raster.div_(65535.0), None, _layout(image, "I;16", 16))
    if image.mode not in _KNOWN:
        if image.mode == "I":
            kind, remedy = "integers of 32 bits", "convert it to 8 or 16 bits first"
        else:
            kind, remedy = f"{image.mode} colours", "convert it to RGB first"
        raise PictureError(f"{name}: has {kind}, which cannot be handled; {remedy}")
    if image.mode == "PA":
        return _from_palette_with_alpha(image)
    return _from_bands(image, name)


def picture_to_pil(picture: Picture) -> Image.Image:
    """Convert a picture to a Pillow image of its own mode, with metadata in ``info``.

    A picture with a palette becomes ``RGB`` or ``RGBA`` if its colours are too many for one.
    Pillow has no 16-bit or float colour, so such pictures become 8-bit ``LA``, ``RGB``, ``RGBA``
    or ``CMYK``. Write them with ``write_picture`` to keep their depth.
    """
    mode = picture.layout.mode
    if mode in ("LA;16", "RGB;16", "RGBA;16", "CMYK;16", "RGB;F"):
        mode = mode.split(";")[0]
    if mode in ("P", "PA") and not palette_holds(picture, mode):
        mode = "RGB" if picture.alpha is None else "RGBA"
    image = image_of(picture, mode)
    layout = picture.layout
    for key, value in (("icc_profile", layout.icc), ("exif", layout.exif), ("dpi", layout.dpi)):
        if value is not None:
            image.info[key] = value
    return image


def image_of(picture: Picture, mode: str) -> Image.Image:
    """Render the picture in a Pillow mode that can hold its channels.

    Args:
        picture: the picture.
        mode: one of ``1 L LA RGB RGBA CMYK I;16 F P PA``. Alpha is dropped if the mode has none,
            and 1 if the picture has none; gray is repeated into colour.
    """
    if mode in ("P", "PA"):
        return _palette_image(picture, mode)
    size = (picture.width, picture.height)
    image = Image.new(mode, size)
    for top, bottom in _ranges(picture.width, picture.height):
        strip = _bands_of(picture, mode, top, bottom)
        if mode == "1":
            # Pillow makes mode "1" from an array with bytes of 0 and 255.
            part = Image.fromarray(strip[..., 0] * np.uint8(255))
            part = part.convert("1", dither=Image.Dither.NONE)
        else:
            part = Image.fromarray(strip[..., 0] if strip.shape[-1] == 1 else strip)
            if mode == "CMYK":
                part = Image.frombytes("CMYK", part.size, strip.tobytes())
        image.paste(part, (0, top))
    return image


def _bands_of(picture: Picture, mode: str, top: int, bottom: int) -> npt.NDArray[Any]:
    part = picture.pixels[:, top:bottom]
    if mode == "F":
        return part.clamp(0.0, 1.0).permute(1, 2, 0).contiguous().numpy()
    depth = {"1": 1, "I;16": 16}.get(mode, 8)
    bands = codes(part, depth)
    if mode == "CMYK":
        bands = 255 - bands
    if mode in ("RGB", "RGBA") and len(bands) == 1:
        bands = bands.expand(3, -1, -1)
    if mode in ("LA", "RGBA"):
        alpha = picture.alpha
        cover = torch.ones(1, *part.shape[1:]) if alpha is None else alpha[:, top:bottom]
        bands = torch.cat([bands, codes(cover, 8)])
    return bands.permute(1, 2, 0).contiguous().numpy()


def palette_holds(picture: Picture, mode: str) -> bool:
    """Whether a palette has room for all colours of a picture.

    Args:
        picture: a picture of 8 bits.
        mode: ``P``, with the alpha of each colour in the palette, or ``PA``, with alpha beside it.
    """
    if picture.layout.mode == mode and _palette_unchanged(picture):
        return True
    alpha = picture.alpha if mode == "P" else None
    seen: set[int] = set()
    rows = max(1, (1 << 16) // picture.width)
    for top in range(0, picture.height, rows):
        bands = codes(picture.pixels[:, top : top + rows], 8)
        if alpha is not None:
            bands = torch.cat([bands, codes(alpha[:, top : top + rows], 8)])
        packed = torch.zeros(bands.shape[1:], dtype=torch.int64)
        for band in bands:
            packed = packed * 256 + band
        seen.update(np.unique(packed.numpy()).tolist())
        if len(seen) > 256:
            return False
    return True


def _palette_unchanged(picture: Picture) -> bool:
    """Whether each pixel still has the colour of its palette entry."""
    palette = picture.layout.palette
    if palette is None or picture.pixels.shape[0] != 3:
        return False
    table = palette.colour_table()
    return all(
        torch.equal(
            codes(picture.pixels[:, top:bottom], 8),
            table[palette.indices[top:bottom].long()].permute(2, 0, 1),
        )
        for top, bottom in _ranges(picture.width, picture.height)
    )


def _palette_image(picture: Picture, mode: str) -> Image.Image:
    size = (picture.width, picture.height)
    palette = picture.layout.palette
    own_alpha = None if mode == "PA" else picture.alpha
    transparency: int | bytes | None = None
    # A "PA" stores its alpha beside the palette, so the palette alone does not suffice.
    beside = mode == "P" and picture.layout.mode == "PA" and picture.alpha is not None
    if palette is not None and not beside and _palette_unchanged(picture):
        indices, colours = palette.indices.numpy(), palette.colours
        transparency = palette.transparency if mode == "P" else None
    else:
        rgb = codes(picture.pixels, 8).expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
        cover = None if own_alpha is None else codes(own_alpha[0], 8).numpy()
        indices, colours, alphas = reduce_colours(rgb, cover)
        if alphas.strip(b"\xff"):
            transparency = alphas
    if mode == "PA":
        full = torch.ones(1, *size[::-1]) if picture.alpha is None else picture.alpha
        both = np.stack([indices, codes(full[0], 8).numpy()], axis=-1)
        image = Image.frombytes("PA", size, both.tobytes())
    else:
        image = Image.frombytes("P", size, np.ascontiguousarray(indices).tobytes())
    image.putpalette(colours or b"\0\0\0")
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


def _from_bands(image: Image.Image, name: str) -> Picture:
    mode = image.mode
    key: Any = image.info.get("transparency")
    has_alpha = mode in ("LA", "RGBA")
    channels = len(image.getbands()) - has_alpha
    pixels = torch.empty(channels, image.height, image.width)
    with_alpha = has_alpha or (key is not None and mode in ("1", "L", "RGB"))
    alpha = torch.empty(1, image.height, image.width) if with_alpha else None
    for top, strip in _strips(image):
        raster = torch.from_numpy(strip)
        rows = slice(top, top + len(strip))
        for channel in range(channels):
            pixels[channel, rows] = raster[..., channel]
        if alpha is not None:
            alpha[0, rows] = raster[..., -1] if has_alpha else _not_key(raster, mode, key)
    if mode == "F":
        if not (bool((pixels >= 0).all()) and bool((pixels <= 1).all())):
            raise PictureError(
                f"{name}: float samples outside 0 to 1 cannot be handled; "
                "scale them or convert it to 16 bits first"
            )
        return Picture(pixels, None, _layout(image, "F", 32))
    if mode == "CMYK":
        pixels.neg_().add_(255.0)
    if mode != "1":
        pixels.div_(255.0)
    elif alpha is None:
        return Picture(pixels, None, _layout(image, "1", 1))
    if alpha is not None:
        alpha.div_(255.0)
        mode = "RGBA" if channels == 3 else "LA"
    return Picture(pixels, alpha, _layout(image, mode, 8))


def _not_key(raster: Tensor, mode: str, key: int | tuple[int, ...]) -> Tensor:
    """Return alpha: 0 for pixels of the one transparent colour (tRNS of a PNG), else 255."""
    colour = torch.tensor(key if isinstance(key, tuple) else (key,))
    if mode == "1":
        colour = (colour > 0).to(torch.int64)
    return (raster.to(torch.int64) != colour).any(dim=-1).float() * 255.0


def _from_palette(image: Image.Image) -> Picture:
    transparency = image.info.get("transparency")
    if image.mode == "L":
        # Pillow opens a GIF whose palette is a gray ramp as "L".
        colours = bytes(level for entry in range(256) for level in (entry,) * 3)
    else:
        colours = bytes(image.getpalette("RGB") or [])
        own = image.palette
        if own is not None and own.mode == "RGBA" and transparency is None:
            transparency = bytes((image.getpalette("RGBA") or [])[3::4])
    indices = torch.empty(image.height, image.width, dtype=torch.uint8)
    for top, strip in _strips(image):
        indices[top : top + len(strip)] = torch.from_numpy(strip[..., 0])
    palette = Palette(colours, indices, transparency)
    alpha = None
    if transparency is not None:
        alpha = (palette.alpha_table().float() / 255.0)[indices.long()][None]
    return Picture(_lookup(palette), alpha, _layout(image, "P", 8, palette))


def _from_palette_with_alpha(image: Image.Image) -> Picture:
    indices = torch.empty(image.height, image.width, dtype=torch.uint8)
    alpha = torch.empty(1, image.height, image.width)
    for top, strip in _strips(image):
        indices[top : top + len(strip)] = torch.from_numpy(strip[..., 0])
        alpha[0, top : top + len(strip)] = torch.from_numpy(strip[..., 1])
    palette = Palette(bytes(image.getpalette("RGB") or []), indices)
    return Picture(_lookup(palette), alpha.div_(255.0), _layout(image, "PA", 8, palette))


def _lookup(palette: Palette) -> Tensor:
    table = palette.colour_table().float() / 255.0
    height, width = palette.indices.shape
    pixels = torch.empty(3, height, width)
    for top, bottom in _ranges(width, height):
        pixels[:, top:bottom] = table[palette.indices[top:bottom].long()].permute(2, 0, 1)
    return pixels


def _layout(image: Image.Image, mode: str, depth: int, palette: Palette | None = None) -> Layout:
    info = image.info
    exif = normal_exif(info.get("exif"))
    dpi = info.get("dpi")
    xmp = info.get("xmp")
    compression = info.get("compression")
    return Layout(
        mode=mode,
        depth=depth,
        format=image.format or "",
        icc=info.get("icc_profile") or None,
        exif=exif,
        xmp=xmp.encode() if isinstance(xmp, str) else xmp or None,
        dpi=None if not dpi else (float(dpi[0]), float(dpi[1])),
        orientation=exif_orientation(exif),
        palette=palette,
        compression=compression if isinstance(compression, str) else None,
    )


def normal_exif(block: bytes | None) -> bytes | None:
    """Normalise an EXIF block to exactly one ``Exif`` prefix; None if it is empty."""
    if not block:
        return None
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    return b"Exif\0\0" + block if block else None


def exif_tags(block: bytes | None) -> Image.Exif | None:
    """Parse the tags of an EXIF block with sub-directories; None if it is missing or damaged."""
    exif = Image.Exif()
    try:
        # Pillow also warns about damage, but the result here suffices.
        with warnings.catch_warnings(action="ignore"):
            exif.load(block or b"")
            for group in (0x8769, 0x8825):
                exif.get_ifd(group)
            # The formats that parse a block need one that can also be written.
            exif.tobytes()
    except (SyntaxError, ValueError, OSError, LookupError, TypeError, AttributeError, struct.error):
        return None
    return exif if len(exif) else None


def exif_orientation(block: bytes | None) -> int:
    """Read the orientation in an EXIF block; 1 if it has none or is damaged."""
    exif = exif_tags(block)
    value = 1 if exif is None else exif.get(0x0112, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _is_gif(image: Image.Image) -> bool:
    return image.format == "GIF"


def _ranges(width: int, height: int) -> Iterator[tuple[int, int]]:
    rows = max(1, _STRIP // max(1, width))
    for top in range(0, height, rows):
        yield top, min(height, top + rows)


def _strips(image: Image.Image) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield copies of the image's samples as arrays ``rows W bands``, from top to bottom."""
    image.load()
    for top, bottom in _ranges(image.width, image.height):
        # Some releases of Pillow apply their limit on files to crops as well.
        with unlimited_pixels():
            part = image.crop((0, top, image.width, bottom))
        strip = np.array(part)
        yield top, strip.reshape(bottom - top, image.width, -1)
