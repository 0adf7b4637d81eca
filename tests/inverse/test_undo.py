"""Restorations that can be undone: every layout, and everything that may be wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from irae.errors import PictureError
from irae.imaging.io.files import read_picture, write_picture
from irae.imaging.io.picture import Layout, Picture
from irae.inverse import undo as undo_module
from irae.inverse.sidecar import MAGIC, bare_name, sidecar_path
from irae.inverse.undo import undo, write_sidecar, write_undone
from irae.restoring.restorer import Restorer

SIDE = (40, 56)


@pytest.fixture(scope="module")
def restorer(model_files: dict[str, Path]) -> Restorer:
    return Restorer(model_files["denoise"], device="cpu", precision="fp32")


def noise(bands: int, seed: int = 0, side: tuple[int, int] = SIDE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ramp = np.linspace(60, 190, side[1])[None, :, None]
    return np.clip(ramp + rng.normal(0, 20, (*side, bands)), 0, 255).astype(np.uint8)


def exif_block(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "a description"
    return exif.tobytes()


def draw(path: Path, kind: str) -> None:
    """Write a noisy picture of a kind, with metadata where its format holds them."""
    gray, rgb, rgba = noise(1)[..., 0], noise(3), noise(4)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    text = PngInfo()
    text.add_text("Comment", "kept too")
    match kind:
        case "rgb" | "bmp" | "ppm":
            Image.fromarray(rgb).save(path)
        case "metadata":
            exif = exif_block(6)
            Image.fromarray(rgb).save(path, icc_profile=icc, exif=exif, pnginfo=text, dpi=(72, 72))
        case "gray":
            Image.fromarray(gray).save(path)
        case "gray alpha":
            Image.fromarray(np.stack([gray, rgba[..., 3]], -1)).save(path)
        case "alpha":
            Image.fromarray(rgba).save(path)
        case "palette":
            Image.fromarray(rgb).quantize(64).save(path)
        case "bilevel":
            Image.fromarray(gray).convert("1").save(path)
        case "key":
            Image.fromarray(rgb).save(path, transparency=tuple(int(v) for v in rgb[0, 0]))
        case "cmyk":
            Image.fromarray(rgba, "CMYK").save(path, compression="tiff_lzw", dpi=(300, 300))
        case "tiff":
            tags = Image.Exif()
            tags[0x0112], tags[0x010F] = 3, "A maker"
            Image.fromarray(rgb).save(path, compression="raw", exif=tags, icc_profile=icc)
        case "jpeg":
            Image.fromarray(rgb).save(path, quality=60, exif=exif_block(8), icc_profile=icc)
        case "webp":
            Image.fromarray(rgb).save(path, lossless=True, exif=exif_block(1))
        case "gray 16" | "rgb 16" | "rgba 16":
            modes = {"gray 16": "I;16", "rgb 16": "RGB;16", "rgba 16": "RGBA;16"}
            bands = {"gray 16": 1, "rgb 16": 3, "rgba 16": 3}[kind]
            rng = torch.Generator().manual_seed(0)
            pixels = torch.randint(0, 65536, (bands, *SIDE), generator=rng) / 65535
            alpha = torch.randint(0, 65536, (1, *SIDE), generator=rng) / 65535
            layout = Layout(mode=modes[kind], depth=16, icc=icc, dpi=(300.0, 300.0))
            cover = alpha if kind == "rgba 16" else None
            write_picture(path, Picture(pixels, cover, layout))


KINDS = {
    "rgb": ".png", "metadata": ".png", "gray": ".png", "gray alpha": ".png", "alpha": ".png",
    "palette": ".png", "bilevel": ".png", "key": ".png", "bmp": ".bmp", "ppm": ".ppm",
    "cmyk": ".tif", "tiff": ".tiff", "jpeg": ".jpg", "webp": ".webp", "gray 16": ".png",
    "rgb 16": ".tif", "rgba 16": ".png",
}  # fmt: skip


def restored(restorer: Restorer, source: Path, target: Path | None = None) -> Path:
    """Restore a file undoably, as the pipeline does."""
    target = target or source.with_name(f"{source.stem}.restored{source.suffix}")
    write_picture(target, restorer.restore_picture(read_picture(source)), overwrite=True)
    write_sidecar(source, target)
    return target


@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_comes_back_with_its_metadata(
    restorer: Restorer, tmp_path: Path, kind: str
) -> None:
    source = tmp_path / f"a{KINDS[kind]}"
    draw(source, kind)
    target = restored(restorer, source)
    undone = undo(target)
    assert undone.name == source.name
    came_back = tmp_path / f"back{KINDS[kind]}"
    write_undone(undone, came_back)
    with Image.open(source) as before, Image.open(came_back) as after:
        assert (before.mode, before.size, before.format) == (after.mode, after.size, after.format)
        assert before.tobytes() == after.tobytes()
        assert before.getexif() == after.getexif()
        for key in ("icc_profile", "dpi", "transparency", "Comment", "compression"):
            assert before.info.get(key) == after.info.get(key)
    one, other = read_picture(source), read_picture(came_back)
    assert torch.equal(one.pixels, other.pixels)
    assert one.layout == other.layout
    assert (one.alpha is None) == (other.alpha is None)
    assert one.alpha is None or other.alpha is None or torch.equal(one.alpha, other.alpha)
    assert undone.same_file == (source.read_bytes() == undone.data)


def test_a_file_that_is_smaller_than_any_difference_is_kept_itself(
    restorer: Restorer, tmp_path: Path
) -> None:
    draw(tmp_path / "a.jpg", "jpeg")
    target = restored(restorer, tmp_path / "a.jpg")
    undone = undo(target)
    assert undone.method == "file"
    assert undone.data == (tmp_path / "a.jpg").read_bytes()
    assert sidecar_path(target).stat().st_size < (tmp_path / "a.jpg").stat().st_size + 1000


def test_a_picture_that_was_not_changed_costs_next_to_nothing(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", "rgb")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    write_sidecar(tmp_path / "a.png", tmp_path / "b.png")
    assert sidecar_path(tmp_path / "b.png").stat().st_size < 1500
    assert undo(tmp_path / "b.png").data == (tmp_path / "a.png").read_bytes()


# As irae 0.1.0 wrote it, of a picture that differs from the restored one in the last bits.
OF_0_1 = (
    "iWlyYWUtdW5kbw0KGgrGAQAAeyJmb3JtYXQiOjEsImlyYWUiOiIwLjEuMCIsIm1ldGhvZCI6InJlc3RvcmVkIiwib3Jp"
    "Z2luYWwiOnsibmFtZSI6ImEucG5nIiwic2l6ZSI6NzksInNoYTI1NiI6IjgxYWRlYTU0MWE4ODIxZjNiNmM4MzYxZjI0"
    "N2VhMjQyODQ1ZmQ3ZDcyZTk1Y2MyN2M0ZjhiZDJiNDVlYjBjZGEiLCJwaXhlbHNfc2hhMjU2IjoiNGFhNzc2ZTMyZDg3"
    "OWRjNGY1YTY3YjQ2N2I5OTIxOWQ0ZjBiNGEyNDY2ODI5OGM2YmVhODRhMDNhMjgxNjFkZiJ9LCJyZXN0b3JlZF9zaGEy"
    "NTYiOiI5ZDYwOGIxMWZmNWVhYWM0MDJiM2MzYzQ0N2ZlZmFjMmY0YzRhM2ZlM2Y5ZTRhYzM3ZWVhNjdiZDI5NTI4Mzhh"
    "IiwicmVzdG9yZWRfcGl4ZWxzIjoiMGMxZjc1MTBhYjZkYjJhNDU4YWNmYWIwNDFiN2JhMTYyZDQ2N2M5MzdhOWE3ZmQx"
    "ZWMwYzVjYmRlM2Y5MzYxNyIsInNlY3Rpb25zIjp7ImNvbnRhaW5lciI6NTUsInBpeGVscyI6MjB9fTYAAAB6eJwLYIAA"
    "xc4AP3deLikuIJvX08MlCEizATELBxOQVEq7KQJS5enq57LOKaEJAKd+B8p6eJxjYmTCCnEIM+EQZgQAD7QAbcXd2tJ4"
    "gbgXVeXhtus3iRVr9eS6Vyz1rsON279QckeJ"
)


def test_a_sidecar_of_an_older_irae_is_read(tmp_path: Path) -> None:
    ramp = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3
    Image.fromarray(ramp).save(tmp_path / "r.png")
    sidecar_path(tmp_path / "r.png").write_bytes(base64.b64decode(OF_0_1))
    undone = undo(tmp_path / "r.png")
    assert (undone.name, undone.method) == ("a.png", "restored")
    write_undone(undone, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.array(image), ramp ^ 1)


@pytest.fixture(scope="module")
def pair(restorer: Restorer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A restored picture, and the bytes of its sidecar."""
    folder = tmp_path_factory.mktemp("pair")
    draw(folder / "a.png", "metadata")
    target = restored(restorer, folder / "a.png")
    return target, sidecar_path(target).read_bytes()


def test_a_restored_picture_that_was_changed_is_refused(
    pair: tuple[Path, bytes], tmp_path: Path
) -> None:
    target, sidecar = pair
    with Image.open(target) as image:
        changed = np.array(image)
    changed[3, 4, 0] ^= 1
    Image.fromarray(changed).save(tmp_path / "b.png")
    sidecar_path(tmp_path / "b.png").write_bytes(sidecar)
    with pytest.raises(PictureError, match="pixels are not those"):
        undo(tmp_path / "b.png")


def test_new_metadata_of_the_restored_picture_do_no_harm(
    pair: tuple[Path, bytes], tmp_path: Path
) -> None:
    target, sidecar = pair
    with Image.open(target) as image:
        image.save(tmp_path / "b.png", dpi=(11, 11), compress_level=1)
    sidecar_path(tmp_path / "b.png").write_bytes(sidecar)
    assert undo(tmp_path / "b.png").name == "a.png"


def test_no_changed_byte_of_a_sidecar_goes_unseen(pair: tuple[Path, bytes], tmp_path: Path) -> None:
    target, sidecar = pair
    place = tmp_path / "s.irae"
    rng = np.random.default_rng(0)
    spots = [*range(60), *rng.integers(0, len(sidecar), 60), len(sidecar) - 1]
    for spot in spots:
        broken = bytearray(sidecar)
        broken[spot] ^= 1 << int(rng.integers(8))
        place.write_bytes(broken)
        with pytest.raises(PictureError, match=r"s\.irae: (was changed|is not a sidecar)"):
            undo(target, sidecar=place)
    for length in (0, 5, len(MAGIC), len(MAGIC) + 3, 200, len(sidecar) - 1):
        place.write_bytes(sidecar[:length])
        with pytest.raises(PictureError, match=r"s\.irae: (was changed|is not a sidecar)"):
            undo(target, sidecar=place)


def forged(sidecar: bytes, **changes: object) -> bytes:
    """A sidecar whose header says something else, and whose checksum is right."""
    (length,) = struct.unpack_from("<I", sidecar, len(MAGIC))
    start = len(MAGIC) + 4
    header = json.loads(sidecar[start : start + length])
    for key, value in changes.items():
        part = header
        *path, last = key.split("__")
        for step in path:
            part = part[step]
        part[last] = value
    text = json.dumps(header).encode()
    body = MAGIC + struct.pack("<I", len(text)) + text + sidecar[start + length : -32]
    return body + hashlib.sha256(body).digest()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": 2}, "newer irae"),
        ({"method": "pickle"}, "header is not as"),
        ({"extra": 1}, "header is not as"),
        ({"original__name": "../../etc/a.png"}, "header is not as"),
        ({"original__name": "/a.png"}, "header is not as"),
        ({"original__name": "c:\\a.png"}, "header is not as"),
        ({"original__name": "a.sh"}, "header is not as"),
        ({"sections__pixels": 1 << 39}, "do not add up"),
        ({"sections__pixels": -1}, "header is not as"),
        ({"original__size": 1 << 39}, "too large"),
        ({"method": "file"}, "cannot be undone"),
        ({"method": "inverse"}, "which only irae 0.1 reads"),
        (
            {"method": "inverse", "model": {"name": "denoise", "checksum": "0" * 64}},
            "which only irae 0.1 reads",
        ),
        ({"model": {"name": "denoise", "checksum": "0" * 64}}, "header is not as"),
        ({"original__pixels_sha256": "0" * 64}, "does not come out"),
    ],
)
def test_what_a_stranger_may_write_is_one_clear_line(
    pair: tuple[Path, bytes], tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    target, sidecar = pair
    place = tmp_path / "s.irae"
    place.write_bytes(forged(sidecar, **changes))
    with pytest.raises(PictureError, match=says) as raised:
        undo(target, sidecar=place)
    assert "\n" not in str(raised.value)
    assert "s.irae" in str(raised.value)


def test_a_name_that_cannot_be_kept_becomes_a_plain_one() -> None:
    assert bare_name("photo.png", "PNG") == "photo.png"
    assert bare_name("no-suffix", "JPEG") == "original.jpg"
    assert bare_name("a\nb.png", "PNG") == "original.png"
    assert bare_name("x" * 300 + ".png", "PNG") == "original.png"


def test_an_original_that_changes_meanwhile_is_refused(
    restorer: Restorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "a.png"
    draw(source, "rgb")
    target = restored(restorer, source)

    def read_and_change(path: Path) -> Picture:
        picture = read_picture(path)
        draw(source, "gray")
        return picture

    monkeypatch.setattr(undo_module, "read_picture", read_and_change)
    with pytest.raises(PictureError, match="was changed while it was read"):
        write_sidecar(source, target)
