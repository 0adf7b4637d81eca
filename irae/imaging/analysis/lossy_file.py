"""How strongly a file that is no JPEG was compressed with loss: WebP, AVIF and HEIC."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

_NAMES = {"WEBP": "WebP", "AVIF": "AVIF", "HEIF": "HEIC"}

# A file has a handful of parts; a damaged one may seem to have millions.
_MOST_PARTS = 1000


@dataclass(frozen=True)
class LossyFile:
    """A file that was compressed with loss, and how strongly.

    Attributes:
        kind: Pillow's name of the format.
        bits: bits for each pixel, without metadata and transparency.
    """

    kind: Literal["WEBP", "AVIF", "HEIF"]
    bits: float

    def describe(self) -> str:
        """Describe it, such as ``WebP with loss, 0.6 bits a pixel``."""
        return f"{_NAMES[self.kind]} with loss, {self.bits:.2g} bits a pixel"


def read_lossy_file(source: Path | BinaryIO, kind: str, pixels: int) -> LossyFile | None:
    """Read how strongly a file was compressed.

    AVIF and HEIC files count as compressed with loss, though they need not be.

    Args:
        source: the file, or a stream at its beginning.
        kind: Pillow's name of its format.
        pixels: number of pixels.

    Returns:
        None if the format is another one or without loss, or the parts of the file end early.

    Raises:
        OSError: the file cannot be read.
    """
    if kind not in _NAMES or pixels == 0:
        return None
    if isinstance(source, Path):
        with source.open("rb") as stream:
            return read_lossy_file(stream, kind, pixels)
    parts = _webp_chunks(source) if kind == "WEBP" else _boxes(source)
    wanted = b"VP8 " if kind == "WEBP" else b"mdat"
    size = sum(length for name, length in parts if name == wanted)
    return LossyFile(kind, 8 * size / pixels) if size else None  # type: ignore[arg-type]


def _webp_chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield name and length of the chunks of a RIFF file; animations are not looked into."""
    stream.seek(12, 1)
    for _ in range(_MOST_PARTS):
        head = stream.read(8)
        if len(head) < 8:
            return
        name, length = struct.unpack("<4sI", head)
        yield name, length
        stream.seek(length + length % 2, 1)


def _boxes(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield name and length of the outermost boxes of an ISO media file."""
    for _ in range(_MOST_PARTS):
        head = stream.read(8)
        if len(head) < 8:
            return
        length, name = struct.unpack(">I4s", head)
        used = 8
        if length == 1:
            wide = stream.read(8)
            if len(wide) < 8:
                return
            length, used = int.from_bytes(wide, "big"), 16
        if length == 0:  # It goes to the end of the file.
            here = stream.tell()
            yield name, stream.seek(0, 2) - here
            return
        if length < used:
            return
        yield name, length - used
        stream.seek(length - used, 1)
