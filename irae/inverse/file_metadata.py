"""Splitting an original file into its pixels and everything else, and joining them again."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import fields
from typing import Any

from PIL import Image

from irae.imaging.io.decode import DECODER_FAULTS
from irae.imaging.io.files import encode_picture
from irae.imaging.io.picture import Layout, Picture
from irae.imaging.io.sixteen_bit import PNG_SIGNATURE

# Tags for the storage of a TIFF's pixels, which differs in the rebuilt file.
_PLACES = {273, 278, 279, 317, 320, 322, 323, 324, 325, 330, 338, 284, 266, 254, 255}


def strip_pixels(data: bytes, picture: Picture) -> bytes:
    """Return everything in a file except its pixels.

    Args:
        data: content of the file.
        picture: the picture read from the file.

    Returns:
        A container: for a PNG, the bytes before and after its pixel data; for other formats, the
        picture's `Layout`.
    """
    if data.startswith(PNG_SIGNATURE):
        start, stop = _pixel_data(data)
        return b"P" + start.to_bytes(8, "big") + data[:start] + data[stop:]
    layout = {field.name: getattr(picture.layout, field.name) for field in fields(Layout)}
    return b"L" + json.dumps({key: _to_json(value) for key, value in layout.items()}).encode()


def fill_pixels(container: bytes, picture: Picture, suffix: str) -> bytes:
    """Rebuild a file from the container of `strip_pixels` and the pixels and alpha of ``picture``.

    Raises:
        ValueError: the container is damaged.
        PictureError: the format cannot hold the picture.
    """
    kind, body = container[:1], container[1:]
    if kind == b"P":
        start = int.from_bytes(body[:8], "big")
        before, after = body[8 : 8 + start], body[8 + start :]
        plain = Layout(mode=picture.layout.mode, depth=picture.layout.depth)
        made = encode_picture(Picture(picture.pixels, picture.alpha, plain), ".png")
        first, last = _pixel_data(made)
        return before + made[first:last] + after
    if kind != b"L":
        raise ValueError("the container is of an unknown kind")
    values = json.loads(body)
    layout = Layout(**{key: _from_json(value) for key, value in values.items()})
    return encode_picture(Picture(picture.pixels, picture.alpha, layout), suffix)


def other_tags(data: bytes) -> dict[int, Any]:
    """Return a TIFF's tags except those for the storage of its pixels; empty for other files."""
    try:
        with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
            tags = dict(getattr(image, "tag_v2", {}))
    except DECODER_FAULTS:
        return {}
    return {tag: value for tag, value in tags.items() if tag not in _PLACES}


def _pixel_data(data: bytes) -> tuple[int, int]:
    """Find the begin and the end of a PNG's IDAT chunks.

    Raises:
        ValueError: there are no IDAT chunks, or others between them.
    """
    at, start, stop = len(PNG_SIGNATURE), None, 0
    while at + 12 <= len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name == b"IDAT":
            if start is not None and at != stop:
                raise ValueError("the pixel data of the PNG is not in one piece")
            start = at if start is None else start
            stop = at + 12 + length
        at += 12 + length
    if start is None or stop > len(data):
        raise ValueError("the PNG has no pixel data")
    return start, stop


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, tuple):
        return {"tuple": [_to_json(part) for part in value]}
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"{type(value).__name__} cannot be stored")


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if "tuple" in value:
            return tuple(_from_json(part) for part in value["tuple"])
        return base64.b64decode(value["bytes"], validate=True)
    return value
