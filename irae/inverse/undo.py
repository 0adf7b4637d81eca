"""Undoing restorations: writing sidecars, and recovering the original from picture and sidecar."""

from __future__ import annotations

import hashlib
import struct
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from irae._version import __version__
from irae.errors import IraeError, PictureError
from irae.imaging.io.encode import LOSSY_SUFFIXES
from irae.imaging.io.files import Document, open_document, read_picture
from irae.imaging.io.limits import MAX_PIXELS
from irae.imaging.io.picture import Picture
from irae.inverse import residual
from irae.inverse.file_metadata import fill_pixels, other_tags, strip_pixels
from irae.inverse.residual import Codes, DamagedError
from irae.inverse.sidecar import Header, Original, bare_name, join, sidecar_path, split
from irae.writing import file_sha256, write_atomically

_FILE_BYTES = 1 << 26
"""Largest size in bytes of an original file, apart from 16 bytes for each of its pixels."""

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Undone:
    """A recovered original.

    Attributes:
        data: content of the file.
        name: name of the original file.
        same_file: whether it equals the original file byte for byte, not only in its pixels.
        method: method of the sidecar (see `irae.inverse.sidecar.Header`).
    """

    data: bytes
    name: str
    same_file: bool
    method: str


def make_sidecar(source: Path, restored: Path) -> bytes:
    """Make a sidecar that recovers the picture at ``source`` from the one at ``restored``.

    The original is stored in the smaller of two ways: as the file itself, or as its difference
    from the restored picture. The sidecar is verified by undoing before it is returned.

    Args:
        source: path of the original file.
        restored: path of the restored file.

    Raises:
        PictureError: either file cannot be read, or the original was changed meanwhile.
    """
    data = source.read_bytes()
    document = open_document(source)
    if document is not None:
        return _make_document_sidecar(document, data, restored)
    original, result = read_picture(source), read_picture(restored)
    checksum = hashlib.sha256(data).hexdigest()
    if file_sha256(source) != checksum:
        raise PictureError(f"{source}: was changed while it was read; run it again")
    name = bare_name(source.name, original.layout.format)
    about = Original(
        name=name, size=len(data), sha256=checksum, pixels_sha256=pixels_checksum(original)
    )
    bare = _header(about, restored, pixels_checksum(result))
    ways = [(bare, {"file": residual.pack(data)})]
    if _comparable(original, result) and restored.suffix.lower() not in LOSSY_SUFFIXES:
        ways += _ways_by_pixels(bare, data, original, result)
    for header, sections in sorted(ways, key=lambda way: sum(map(len, way[1].values()))):
        whole = header.model_copy(
            update={"sections": {name: len(part) for name, part in sections.items()}}
        )
        sidecar = join(whole, sections)
        if _gives_back(sidecar, data, original, result):
            return sidecar
    raise PictureError(f"{source}: its original cannot be recovered; restore it without `undoable`")


def _header(about: Original, restored: Path, restored_pixels: str) -> Header:
    return Header(
        format=1,
        irae=__version__,
        method="file",
        original=about,
        restored_sha256=file_sha256(restored),
        restored_pixels=restored_pixels,
        sections={},
    )


def _make_document_sidecar(document: Document, data: bytes, restored: Path) -> bytes:
    """Make a sidecar that holds a file of several pages itself."""
    about = Original(
        name=bare_name(document.path.name, "TIFF"),
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        pixels_sha256=_pages_checksum(document.read()),
    )
    sections = {"file": residual.pack(data)}
    lengths = {name: len(part) for name, part in sections.items()}
    header = _header(about, restored, _checksum_of_file(restored))
    return join(header.model_copy(update={"sections": lengths}), sections)


def _checksum_of_file(path: Path) -> str:
    """Return the checksum of a file's pixels, whether it has one page or several."""
    document = open_document(path)
    return pixels_checksum(read_picture(path)) if document is None else (
        _pages_checksum(document.read())
    )  # fmt: skip


def _pages_checksum(pages: Iterable[Picture]) -> str:
    whole = " ".join(pixels_checksum(page) for page in pages)
    return hashlib.sha256(whole.encode()).hexdigest()


def check_sidecar_target(restored: Path, *, overwrite: bool) -> None:
    """Check that no existing sidecar would be replaced, unless ``overwrite``.

    Raises:
        PictureError: the sidecar exists, and ``overwrite`` is not set.
    """
    place = sidecar_path(restored)
    if place.exists() and not overwrite:
        raise PictureError(f"{place}: exists already; use `overwrite` to replace it")


def write_sidecar(source: Path, restored: Path) -> None:
    """Make a sidecar and write it beside the restored picture.

    Raises:
        PictureError: as for `make_sidecar`.
        OSError: the disk reports an error.
    """
    data = make_sidecar(source, restored)
    write_atomically(sidecar_path(restored), lambda temporary: temporary.write_bytes(data))


def undo(restored: Path, *, sidecar: Path | None = None) -> Undone:
    """Recover the original of a restored picture.

    Args:
        restored: path of the restored picture.
        sidecar: path of the sidecar; None for the one beside the picture.

    Raises:
        PictureError: the picture or the sidecar is missing or was changed, or they do not belong
            together.
    """
    place = sidecar or sidecar_path(restored)
    try:
        data = place.read_bytes()
    except FileNotFoundError:
        raise PictureError(
            f"{place}: no such sidecar; only what was restored with `undoable` can be undone"
        ) from None
    header, sections = split(data, str(place))
    # Equal bytes or equal pixels suffice: JPEG decoders differ, and metadata may be added.
    same_file = file_sha256(restored) == header.restored_sha256
    if not same_file and _checksum_of_file(restored) != header.restored_pixels:
        raise PictureError(
            f"{restored}: its pixels are not those that {place} was written for;"
            " use the restored picture as it was"
        )
    document = open_document(restored)
    try:
        if document is not None and header.method == "file":
            pixels = sum(page.width * page.height for page in document.pages)
            return _undo_file(header, sections, pixels)
        return _undo(header, sections, read_picture(restored))
    except DamagedError as error:
        raise PictureError(f"{place}: cannot be undone ({error}); use another copy") from None


def write_undone(undone: Undone, target: Path, *, overwrite: bool = False) -> None:
    """Write a recovered original.

    Raises:
        PictureError: the target exists and ``overwrite`` is not set.
        OSError: the disk reports an error.
    """
    if target.exists() and not overwrite:
        raise PictureError(
            f"{target}: exists already; use `overwrite` to replace it, or another name"
        )
    write_atomically(target, lambda temporary: temporary.write_bytes(undone.data))


def pixels_checksum(picture: Picture) -> str:
    """Return the SHA-256 of the decoded samples of pixels and alpha."""
    digest = hashlib.sha256(f"{picture.layout.depth} {tuple(picture.pixels.shape)}".encode())
    for raster in (picture.pixels, picture.alpha):
        digest.update(b"|")
        if raster is None:
            continue
        if picture.layout.depth > 16:
            digest.update(raster.contiguous().numpy().astype("<f4").tobytes())
        else:
            digest.update(_codes(raster, picture.layout.depth).astype("<u2").tobytes())
    return digest.hexdigest()


def _codes(raster: torch.Tensor, depth: int) -> Codes:
    top = (1 << depth) - 1
    codes: Codes = (raster.double() * top).round().to(torch.int64).numpy()
    return codes


def _raster(codes: Codes, depth: int) -> torch.Tensor:
    # In the same way as a file is read: converted to float32, then divided.
    return torch.from_numpy(codes).to(torch.float32).div_(float((1 << depth) - 1))


def _comparable(original: Picture, restored: Picture) -> bool:
    """Whether the original can be stored as a difference from the restored picture."""
    return (
        original.layout.depth == restored.layout.depth
        and original.layout.depth in (8, 16)
        and original.layout.palette is None
        and original.pixels.shape == restored.pixels.shape
        and (original.alpha is None) == (restored.alpha is None)
    )


def _ways_by_pixels(
    bare: Header, data: bytes, original: Picture, restored: Picture
) -> list[tuple[Header, dict[str, bytes]]]:
    try:
        plain = strip_pixels(data, original)
    except ValueError:
        return []
    container = _LENGTH.pack(len(plain)) + residual.pack(plain)
    depth = original.layout.depth
    given, known = (_codes(picture.pixels, depth) for picture in (original, restored))
    common = {"container": container}
    if original.alpha is not None and restored.alpha is not None:
        covers = (_codes(original.alpha, depth), _codes(restored.alpha, depth))
        common["alpha"] = residual.encode_difference(*covers, depth)
    pixels = residual.encode_difference(given, known, depth)
    return [(bare.model_copy(update={"method": "restored"}), {**common, "pixels": pixels})]


def _gives_back(sidecar: bytes, data: bytes, original: Picture, restored: Picture) -> bool:
    """Whether undoing by the sidecar's bytes recovers the original, including its layout."""
    try:
        undone = _undo(*split(sidecar, "sidecar"), restored)
        if undone.same_file:
            return True
        again = _read(undone)
    except (DamagedError, IraeError):
        return False
    return again.layout == original.layout and other_tags(undone.data) == other_tags(data)


def _undo(header: Header, sections: dict[str, bytes], restored: Picture) -> Undone:
    """Recover the original and verify it by its checksums.

    Raises:
        DamagedError: the original cannot be recovered exactly.
    """
    about, pixels = header.original, restored.height * restored.width
    if header.method == "file":
        return _undo_file(header, sections, pixels)
    _check_size(about, pixels)
    depth = restored.layout.depth
    if depth not in (8, 16) or not {"pixels", "container"} <= set(sections):
        raise DamagedError("a part is missing")
    known = _codes(restored.pixels, depth)
    codes = residual.decode_difference(sections["pixels"], known, depth)
    alpha = None
    if restored.alpha is not None and "alpha" in sections:
        cover = _codes(restored.alpha, depth)
        alpha = _raster(residual.decode_difference(sections["alpha"], cover, depth), depth)
    picture = replace(restored, pixels=_raster(codes, depth), alpha=alpha)
    try:
        (size,) = _LENGTH.unpack_from(sections["container"])
        if size > 2 * about.size + (1 << 16):
            raise DamagedError("the stated size of its metadata is larger than the original")
        container = residual.unpack(sections["container"][_LENGTH.size :], size)
        data = fill_pixels(container, picture, Path(about.name).suffix)
    except (ValueError, TypeError, KeyError, struct.error, IraeError) as error:
        raise DamagedError(str(error)) from None
    same = hashlib.sha256(data).hexdigest() == about.sha256
    undone = Undone(data, about.name, same, header.method)
    try:
        came_back = pixels_checksum(_read(undone))
    except IraeError as error:
        raise DamagedError(str(error)) from None
    if came_back != about.pixels_sha256:
        raise DamagedError("the original does not come out as it was")
    return undone


def _undo_file(header: Header, sections: dict[str, bytes], pixels: int) -> Undone:
    """Recover an original that is stored itself; ``pixels`` is the number of the restored ones."""
    about = header.original
    _check_size(about, pixels)
    data = residual.unpack(sections.get("file", b""), about.size)
    if hashlib.sha256(data).hexdigest() != about.sha256:
        raise DamagedError("the original does not come out as it was")
    return Undone(data, about.name, True, "file")


def _check_size(about: Original, pixels: int) -> None:
    if about.size > _FILE_BYTES + 16 * min(pixels, MAX_PIXELS):
        raise DamagedError("the stated size of the original is too large for its pixels")


def _read(undone: Undone) -> Picture:
    with tempfile.TemporaryDirectory(prefix="irae-") as folder:
        path = Path(folder) / undone.name
        path.write_bytes(undone.data)
        return read_picture(path)
