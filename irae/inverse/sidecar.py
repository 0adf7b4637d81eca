"""The sidecar: a ``.irae`` file beside a restored picture, from which its original is recovered.

It consists of ``MAGIC``, the length of the header, the header (JSON), the sections that it lists in
order, and the SHA-256 of all of that. Nothing in it is run, and no name in it is opened as a path.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from irae.errors import PictureError
from irae.imaging.io.encode import PICTURE_SUFFIXES, SUFFIX_OF_FORMAT
from irae.imaging.io.kinds import HEIF_SUFFIXES

SUFFIX = ".irae"
"""Added to the whole name of the restored picture."""

FORMAT = 1
MAGIC = b"\x89irae-undo\r\n\x1a\n"
_LENGTH = struct.Struct("<I")
_CHECKSUM = hashlib.sha256().digest_size
_DROPPED = "inverse"  # A method of irae 0.1, whose sidecars were hardly ever the smallest.


def _bare(name: str) -> str:
    """Check that a name is a bare picture name, without folders, and return it.

    Raises:
        ValueError: the name is anything else.
    """
    plain = name == PurePosixPath(name).name == PureWindowsPath(name).name
    if not plain or not name.isprintable() or PurePosixPath(name).suffix.lower() not in _SUFFIXES:
        raise ValueError("not the name of a picture")
    return name


_SUFFIXES = PICTURE_SUFFIXES | HEIF_SUFFIXES
_LONGEST_NAME = 255
_Strict = ConfigDict(extra="forbid", strict=True, frozen=True)
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0, lt=1 << 40)]


class Original(BaseModel):
    """The original file: its name, its size in bytes, and the SHA-256 of file and pixels."""

    model_config = _Strict
    name: Annotated[str, Field(max_length=_LONGEST_NAME), AfterValidator(_bare)]
    size: _Count
    sha256: _Digest
    pixels_sha256: _Digest


class Header(BaseModel):
    """The header of a sidecar.

    Attributes:
        format: `FORMAT`.
        irae: version of irae that wrote it.
        method: ``file`` if the original itself is stored; ``restored`` if its difference from the
            restored picture is.
        original: the file that was restored.
        restored_sha256: SHA-256 of the restored file.
        restored_pixels: SHA-256 of its pixels, which does not change with its metadata.
        sections: lengths of the sections in bytes, in order.
    """

    model_config = _Strict
    format: Literal[1]
    irae: Annotated[str, Field(max_length=64)]
    method: Literal["file", "restored"]
    original: Original
    restored_sha256: _Digest
    restored_pixels: _Digest
    sections: dict[Literal["file", "pixels", "alpha", "container"], _Count]


def bare_name(name: str, kind: str) -> str:
    """Return the name to store for an original: its own, or a plain one if that is not allowed.

    Args:
        name: name of the file.
        kind: Pillow's name of the file format.
    """
    try:
        return _bare(name) if len(name) <= _LONGEST_NAME else f"original{SUFFIX_OF_FORMAT[kind]}"
    except ValueError:
        return f"original{SUFFIX_OF_FORMAT[kind]}"


def sidecar_path(restored: Path) -> Path:
    """Return the path of a restored picture's sidecar."""
    return restored.with_name(restored.name + SUFFIX)


def join(header: Header, sections: Mapping[str, bytes]) -> bytes:
    """Assemble the bytes of a sidecar; the header must state the lengths of the sections."""
    text = header.model_dump_json().encode()
    body = MAGIC + _LENGTH.pack(len(text)) + text + b"".join(sections.values())
    return body + hashlib.sha256(body).digest()


def split(data: bytes, name: str) -> tuple[Header, dict[str, bytes]]:
    """Split a sidecar into its header and its sections.

    Args:
        data: content of the file.
        name: name of the file for error messages.

    Raises:
        PictureError: the file is not a sidecar, was changed, or is of another version.
    """
    if not data.startswith(MAGIC):
        raise PictureError(f"{name}: is not a sidecar of irae; name the one written by `undoable`")
    body, checksum = data[:-_CHECKSUM], data[-_CHECKSUM:]
    start = len(MAGIC) + _LENGTH.size
    if len(body) < start or hashlib.sha256(body).digest() != checksum:
        raise PictureError(f"{name}: was changed or cut short; use an unchanged copy of it")
    (length,) = _LENGTH.unpack_from(body, len(MAGIC))
    try:
        header = Header.model_validate_json(body[start : start + length])
    except ValidationError as error:
        problems = {problem["loc"]: problem["input"] for problem in error.errors()}
        if ("format",) in problems:
            raise PictureError(f"{name}: was written by a newer irae; upgrade irae") from None
        if problems.get(("method",)) == _DROPPED:
            raise PictureError(
                f"{name}: was made by the method {_DROPPED!r}, which only irae 0.1 reads;"
                " undo it with that version"
            ) from None
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise PictureError(
            f"{name}: its header is not as irae writes it ({where}); use an unchanged copy of it"
        ) from None
    at, sections = start + length, {}
    if at + sum(header.sections.values()) != len(body):
        raise PictureError(f"{name}: its parts do not add up; use an unchanged copy of it")
    for section, size in header.sections.items():
        sections[str(section)] = body[at : at + size]
        at += size
    return header, sections
