"""Decoding the bytes of a file, opened by Pillow, to a picture with its layout."""

from __future__ import annotations

import contextlib
import math
import struct
import zlib
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from irae.errors import PictureError
from irae.imaging.io import sixteen_bit as deep
from irae.imaging.io import tiff as deep_tiff
from irae.imaging.io.limits import check_scans, check_size
from irae.imaging.io.picture import Layout, Picture, as_stored
from irae.imaging.io.pillow import exif_orientation, normal_exif, picture_from_pil
from irae.imaging.metadata.jpeg import read_segments
from irae.imaging.metadata.photoshop import PNG_KEYWORD, from_profile, raw_profile

_PNG_COLOUR_CHUNKS = (b"gAMA", b"cHRM", b"sRGB", b"cICP")
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_PNG_XMP, _PNG_COMMENT, _PNG_PROFILE = b"XML:com.adobe.xmp", b"Comment", b"Raw profile type "

# Errors that Pillow's parsers raise on damaged files.
DECODER_FAULTS = (
    OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, AttributeError,
    OverflowError, ZeroDivisionError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip


def decode(image: Image.Image, data: bytes, name: str) -> Picture:
    """Decode a picture that Pillow has opened but not loaded.

    Args:
        image: the opened image, whose size has been checked.
        data: content of the file.
        name: name of the file for error messages.

    Raises:
        PictureError: the samples cannot be represented, or the file is damaged.
        OSError: the file is damaged; decoders can also raise others of `DECODER_FAULTS`.
    """
    kind = image.format or ""
    if kind == "PNG":
        return _decode_png(image, data, name)
    if kind == "TIFF":
        return _decode_tiff(image, data, name)
    samples = deep.decode_pnm(data, name) if kind == "PPM" else None
    if samples is not None:
        layout = replace(picture_from_pil(_stub(image)).layout, comments=deep.pnm_comments(data))
        return _from_samples(samples, samples.shape[2], layout)
    bits = _declared_bits(data, kind)
    if bits > 8 and not image.mode.startswith("I;16"):
        raise PictureError(
            f"{name}: {bits}-bit {kind} would lose depth; convert it to a 16-bit PNG or TIFF first"
        )
    if kind in ("JPEG", "MPO"):
        check_scans(data, name)
    exif = _exif_block(image)
    image.load()
    picture = picture_from_pil(image, name=name)
    layout = _with_exif(picture.layout, exif)
    if kind in ("JPEG", "MPO"):
        rest = read_segments(data)
        layout = replace(
            layout,
            format="JPEG",
            photoshop=rest.photoshop,
            comments=rest.comments,
            dropped=rest.dropped,
        )
    elif kind == "PPM":
        layout = replace(layout, comments=deep.pnm_comments(data))
    else:
        comment = image.info.get("comment")
        comment = comment.encode() if isinstance(comment, str) else comment
        layout = replace(layout, comments=(comment,) if comment else ())
    return replace(picture, layout=layout)


def _decode_png(image: Image.Image, data: bytes, name: str) -> Picture:
    chunks = list(deep.png_chunks(data))
    first = dict(reversed(chunks))
    depth = first[b"IHDR"][8]
    key = first.get(b"tRNS", b"")
    if depth == 16:
        samples = deep.decode_png(data, name)
        channels = samples.shape[2]
        if key and channels in (1, 3) and len(key) >= 2 * channels:
            transparent = np.frombuffer(key, ">u2", channels).astype(np.uint16)
            alpha = np.where((samples == transparent).all(axis=2, keepdims=True), 0, 65535)
            samples = np.concatenate([samples, alpha.astype(np.uint16)], axis=2)
        layout = picture_from_pil(_stub(image)).layout
        exif = normal_exif(first.get(b"eXIf"))
        picture = _from_samples(samples, 3 if channels >= 3 else 1, layout)
    else:
        image.load()
        if image.mode == "L" and "transparency" in image.info and len(key) >= 2:
            # Pillow widens 2- and 4-bit gray to 8 bits, but not the transparent level.
            level = struct.unpack_from(">H", key)[0] & ((1 << depth) - 1)
            image.info["transparency"] = level * 255 // ((1 << depth) - 1)
        exif = _exif_block(image)
        picture = picture_from_pil(image, name=name)
    return replace(picture, layout=_with_chunks(_with_exif(picture.layout, exif), chunks))


def _with_chunks(layout: Layout, chunks: list[tuple[bytes, bytes]]) -> Layout:
    """Add the colour chunks and the texts of a PNG to its layout."""
    kept = [(name, content) for name, content in chunks if name in _PNG_COLOUR_CHUNKS]
    photoshop, comments = None, []
    for name, content in chunks:
        if name not in _PNG_TEXTS:
            continue
        keyword = content.partition(b"\0")[0]
        if keyword == PNG_KEYWORD or keyword == _PNG_PROFILE + b"8bim":
            profile = raw_profile(name, content)
            photoshop = photoshop if profile is None else from_profile(profile)
        elif keyword == _PNG_COMMENT and name == b"tEXt":
            comments.append(content.partition(b"\0")[2])
        # The packet is in the layout already, and other raw profiles are EXIF, XMP and ICC again.
        elif keyword != _PNG_XMP and not keyword.startswith(_PNG_PROFILE):
            kept.append((name, content))
    return replace(layout, chunks=tuple(kept), photoshop=photoshop, comments=tuple(comments))


def _decode_tiff(image: Image.Image, data: bytes, name: str) -> Picture:
    tags = getattr(image, "tag_v2", {})
    deep_tiff.check_samples(tags, name)
    bits = tags.get(258, (1,))
    bits = bits if isinstance(bits, tuple) else (bits,)
    exif, photoshop = _tiff_metadata(image, data)
    if 8 < max(bits) <= 32:
        if max(bits) not in (16, 32):
            raise PictureError(f"{name}: {max(bits)}-bit samples; convert it to 8 or 16 bits first")
        samples, colours = deep_tiff.decode_tiff(data, name)
        layout = replace(picture_from_pil(_stub(image)).layout, photoshop=photoshop)
        return _from_samples(samples, colours, _with_exif(layout, exif), name)
    image.load()
    picture = picture_from_pil(image, name=name)
    layout = replace(_with_exif(picture.layout, exif), photoshop=photoshop)
    picture = replace(picture, layout=layout)
    # Pillow turns a TIFF upright as it decodes; the tag is kept, so the pixels go back.
    return as_stored(picture) if picture.orientation != 1 else picture


def decode_unknown_tiff(data: bytes, name: str) -> Picture | None:
    """Decode a TIFF of a kind that Pillow cannot open (16-bit gray with alpha, float colour, ...).

    Returns:
        The picture, or None if the file is not such a TIFF.
    """
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return None
    tags, described = Image.Exif(), Image.Exif()
    # An EXIF block has the form of a TIFF, so the whole file can be parsed as one.
    tags.load(b"Exif\0\0" + data)
    deep_tiff.check_samples(tags, name)
    bits = tags.get(258, 1)
    channels = tags.get(277, 1)
    if isinstance(channels, int) and channels > 4:
        raise PictureError(
            f"{name}: has {channels} channels, which cannot be handled; "
            "save it as RGB, gray or CMYK"
        )
    if max(bits if isinstance(bits, tuple) else (bits,)) not in (16, 32):
        return None
    check_size(int(tags.get(256, 0)), int(tags.get(257, 0)), name)
    deep_tiff.copy_tags(tags, described)
    samples, colours = deep_tiff.decode_tiff(data, name)
    dots = (tags.get(282), tags.get(283))
    scale = 2.54 if tags.get(296) == 3 else 1.0
    layout = Layout(
        mode="",
        format="TIFF",
        icc=tags.get(34675),
        xmp=tags.get(700),
        dpi=(float(dots[0]) * scale, float(dots[1]) * scale) if dots[0] and dots[1] else None,
    )
    photoshop = deep_tiff.take_photoshop(described, data)
    exif = normal_exif(described.tobytes()) if len(described) else None
    layout = replace(layout, photoshop=photoshop)
    return _from_samples(samples, colours, _with_exif(layout, exif), name)


def _from_samples(
    samples: deep.Samples, colours: int, layout: Layout, name: str = "picture"
) -> Picture:
    """Make a picture from ``H W C`` samples of 16-bit integers or floats, alpha after colours."""
    height, width, channels = samples.shape
    planes = torch.empty(channels, height, width)
    for channel in range(channels):
        plane = np.ascontiguousarray(samples[..., channel])
        planes[channel] = torch.from_numpy(plane).to(torch.float32)
    if samples.dtype == np.float32:
        low, high = float(planes.min()), float(planes.max())
        if not math.isfinite(float(planes.sum())):
            raise PictureError(
                f"{name}: has float samples that are no numbers (NaN or infinity); replace them"
            )
        if not (low >= 0.0 and high <= 1.0):
            raise PictureError(
                f"{name}: float samples from {low:g} to {high:g} lie outside 0 to 1; "
                "scale them or convert it to 16 bits first"
            )
        mode = "F" if channels == 1 else ("RGB;F" if channels == 3 else "RGBA;F")
        depth = 32
    else:
        if colours == 4:
            planes.neg_().add_(65535.0)
        planes.div_(65535.0)
        modes = {(1, 1): "I;16", (1, 2): "LA;16", (3, 3): "RGB;16", (3, 4): "RGBA;16"}
        mode, depth = modes.get((colours, channels), "CMYK;16"), 16
    alpha = planes[colours:] if channels > colours else None
    return Picture(planes[:colours], alpha, replace(layout, mode=mode, depth=depth))


def _stub(image: Image.Image) -> Image.Image:
    """Make a one-pixel image with the metadata of an image whose pixels are decoded elsewhere."""
    stub = Image.new("L", (1, 1))
    stub.format = image.format
    stub.info = {key: value for key, value in image.info.items() if key != "transparency"}
    return stub


def _with_exif(layout: Layout, exif: bytes | None) -> Layout:
    return replace(layout, exif=exif, orientation=exif_orientation(exif))


def _exif_block(image: Image.Image) -> bytes | None:
    """Return the EXIF block as stored, or one made of tags that Pillow finds in the file."""
    block = normal_exif(image.info.get("exif"))
    if block is None:
        with contextlib.suppress(*DECODER_FAULTS):
            tags = image.getexif()
            block = normal_exif(tags.tobytes()) if len(tags) else None
    return block


def _tiff_metadata(image: Image.Image, data: bytes) -> tuple[bytes | None, bytes | None]:
    """Return the descriptive tags of a TIFF as an EXIF block, and its Photoshop resources."""
    described, photoshop = Image.Exif(), None
    with contextlib.suppress(*DECODER_FAULTS):
        deep_tiff.copy_tags(image.getexif(), described)
        photoshop = deep_tiff.take_photoshop(described, data)
        return normal_exif(described.tobytes()) if len(described) else None, photoshop
    return None, photoshop


def _declared_bits(data: bytes, kind: str) -> int:
    """Read the bits per channel from a JPEG 2000 or AVIF header; 8 if it does not state them."""
    head = data[:65536]
    if kind == "JPEG2000":
        at = head.find(b"ihdr")
        if at >= 0 and len(head) > at + 14 and head[at + 14] != 255:
            return (head[at + 14] & 127) + 1
        at = head.find(b"\xff\x4f\xff\x51")
        if at >= 0 and len(head) > at + 42:
            return (head[at + 42] & 127) + 1
    if kind == "AVIF":
        at = head.find(b"pixi")
        if at >= 0 and len(head) > at + 9:
            return head[at + 9]
    return 8
