"""Pictures that people have: what phones, scanners and other programs put in a file."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from irae.models.checkpoints.model_file import save_model
from irae.models.loaded import ModelSpec
from irae.models.networks.registry import build_network, resolve_options
from irae.restoring.restorer import Restorer

Run = Callable[..., CompletedProcess[str]]
PHOTO = Image.fromarray(data.coffee()[:48, :64])
GAIN_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
    b' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
    b' xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"/></rdf:RDF>'
    b"</x:xmpmeta>"
)


@pytest.fixture
def denoise(model_files: dict[str, Path]) -> list[object]:
    return ["restore", "--device", "cpu", "--model", model_files["denoise"]]


@pytest.fixture
def inpaint(model_files: dict[str, Path]) -> list[object]:
    return ["restore", "--device", "cpu", "--model", model_files["inpaint"]]


def _mask(path: Path, size: tuple[int, int] = PHOTO.size) -> Path:
    mask = Image.new("L", size)
    mask.paste(255, (5, 5, size[0] // 2, size[1] // 2))
    mask.save(path)
    return path


def _pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.array(image)


def _jpeg(image: Image.Image = PHOTO, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


# --- as exiftool sees it -----------------------------------------------------------------------


def _exiftool(*arguments: object) -> str:
    command = ["exiftool", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("source", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("target", [".jpg", ".png", ".tif", ".webp"])
def test_exiftool_finds_the_words_and_no_preview(
    irae: Run, tmp_path: Path, inpaint: list[object], source: str, target: str
) -> None:
    given, thumbnail = tmp_path / f"a{source}", tmp_path / "t.jpg"
    PHOTO.save(given, compression="tiff_lzw") if source == ".tif" else PHOTO.save(given)
    thumbnail.write_bytes(_jpeg(PHOTO.resize((32, 24))))
    words = ["-IPTC:Keywords=grass", "-IPTC:By-line=Müller", "-XMP:Title=meadow", "-Artist=A. N."]
    words += ["-ExposureTime=1/125", "-GPSLatitude=52", "-GPSLatitudeRef=N"]
    pictures = [f"-PhotoshopThumbnail<={thumbnail}", f"-XMP-xmp:ThumbnailImage<={thumbnail}"]
    if source != ".tif":
        pictures.append(f"-ThumbnailImage<={thumbnail}")
    comment = ["-Comment=seen from the hill"] if source != ".tif" else []
    _exiftool("-overwrite_original", *words, *comment, *pictures, given)
    before = json.loads(_exiftool("-j", "-PhotoshopThumbnail", "-XMP:ThumbnailImage", given))[0]
    assert {"PhotoshopThumbnail", "ThumbnailImage"} <= set(before), "the test has previews"
    mask, made = _mask(tmp_path / "m.png"), tmp_path / f"b{target}"
    result = irae(*inpaint, given, "--mask", mask, "-o", made)
    assert result.returncode == 0, result.stderr
    seen = json.loads(_exiftool("-j", "-G1", "-a", "-ee", made))[0]
    previews = [key for key, value in seen.items() if "Binary data" in str(value)]
    assert not [key for key in previews if "Thumbnail" in key or "Preview" in key]
    assert thumbnail.read_bytes() not in made.read_bytes()
    values = {key.split(":")[-1]: value for key, value in seen.items()}
    assert values["Title"] == "meadow" and values["Artist"] == "A. N."
    assert values["ExposureTime"] == "1/125"
    assert values["GPSLatitude"].startswith("52")
    said = " ".join(result.stderr.split())
    if target == ".webp":
        assert "Keywords" not in values and "its IPTC record" in said
    else:
        assert values["Keywords"] == "grass" and values["By-line"] == "Müller"
        assert "IPTC" not in said
    if comment:
        assert (values.get("Comment") == "seen from the hill") == (target in (".jpg", ".png"))
        assert ("comment" in said) == (target not in (".jpg", ".png"))
    assert "Warning" not in values, values["Warning"]


# --- phones ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["second picture", "gain map", "video"])
def test_what_a_phone_adds_is_said_and_comes_back(
    irae: Run, tmp_path: Path, denoise: list[object], kind: str
) -> None:
    source = tmp_path / "IMG.jpg"
    if kind == "second picture":
        small = PHOTO.resize((8, 8))
        PHOTO.save(source, format="MPO", save_all=True, append_images=[small])
    elif kind == "gain map":
        source.write_bytes(_jpeg(xmp=GAIN_XMP) + _jpeg(PHOTO.resize((16, 12)), xmp=GAIN_XMP))
    else:
        source.write_bytes(_jpeg() + b"\0\0\0\x18ftypmp42" + bytes(99))
    given = source.read_bytes()
    result = irae(*denoise, source, "-o", tmp_path / "plain.jpg")
    line = f"irae: note: {source}: its {kind} is not in plain.jpg; --undoable keeps it\n"
    assert (result.returncode, result.stderr) == (0, line)
    assert _pixels(tmp_path / "plain.jpg").shape == (48, 64, 3)
    kept = irae(*denoise, source, "-o", tmp_path / "kept.jpg", "--undoable")
    assert kept.returncode == 0
    assert f"its {kind} is not in kept.jpg; its sidecar keeps it" in kept.stderr
    assert irae("undo", tmp_path / "kept.jpg", "-o", tmp_path / "back.jpg").returncode == 0
    assert (tmp_path / "back.jpg").read_bytes() == given


def test_notes_are_in_the_json(irae: Run, tmp_path: Path, denoise: list[object]) -> None:
    (tmp_path / "a.jpg").write_bytes(_jpeg(xmp=GAIN_XMP) + _jpeg(xmp=GAIN_XMP))
    PHOTO.save(tmp_path / "b.png")
    result = irae(*denoise, tmp_path, "-o", tmp_path / "out", "--json")
    first, second, _ = map(json.loads, result.stdout.splitlines())
    assert first["notes"] == [
        f"{tmp_path / 'a.jpg'}: its gain map is not in a.jpg; --undoable keeps it"
    ]
    assert "notes" not in second


def test_a_clean_phone_picture_keeps_everything(irae: Run, tmp_path: Path) -> None:
    given = _jpeg(xmp=GAIN_XMP) + _jpeg(xmp=GAIN_XMP)
    (tmp_path / "a.jpg").write_bytes(given)
    result = irae("restore", "--device", "cpu", tmp_path / "a.jpg", "--strength", "0")
    assert result.returncode == 0
    assert result.stderr == f"irae: note: {tmp_path / 'a.jpg'}: strength 0, left as it is\n"
    assert (tmp_path / "a.restored.jpg").read_bytes() == given


# --- pages -------------------------------------------------------------------------------------


def _scan(path: Path, modes: tuple[str, ...] = ("RGB", "L", "RGB"), **options: object) -> None:
    pages = [
        PHOTO.rotate(90 * number, expand=True).convert(mode) for number, mode in enumerate(modes)
    ]
    pages[0].save(path, save_all=True, append_images=pages[1:], **options)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("folder", [False, True])
def test_each_page_of_a_scan_is_restored(
    irae: Run,
    tmp_path: Path,
    denoise: list[object],
    model_files: dict[str, Path],
    compression: str,
    folder: bool,
) -> None:
    _scan(tmp_path / "scan.tif", compression=compression, dpi=(300, 300))
    out = tmp_path / "out" if folder else tmp_path / "done.tif"
    result = irae(*denoise, tmp_path / "scan.tif", "-o", out)
    assert (result.returncode, result.stderr) == (0, "")
    made = out / "scan.tif" if folder else out
    restorer = Restorer(str(model_files["denoise"]), device="cpu")
    with Image.open(tmp_path / "scan.tif") as source, Image.open(made) as image:
        assert image.n_frames == 3
        for number in range(3):
            source.seek(number)
            image.seek(number)
            expected = np.asarray(restorer.restore(source.copy()))
            assert np.array_equal(np.asarray(image), expected)
            assert (image.mode, image.info["dpi"]) == (source.mode, (300.0, 300.0))
            assert image.info["compression"] == compression
    if folder:
        again = irae(*denoise, tmp_path / "scan.tif", "-o", out, "--json")
        assert json.loads(again.stdout.splitlines()[0])["status"] == "skipped"


def test_a_scan_comes_back_by_its_sidecar(irae: Run, tmp_path: Path, denoise: list[object]) -> None:
    _scan(tmp_path / "scan.tif")
    assert irae(*denoise, tmp_path / "scan.tif", "--undoable").returncode == 0
    result = irae("undo", tmp_path / "scan.restored.tif", "-o", tmp_path / "back.tif")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "back.tif").read_bytes() == (tmp_path / "scan.tif").read_bytes()
    _scan(tmp_path / "scan.restored.tif", ("RGB", "RGB"))
    result = irae("undo", tmp_path / "scan.restored.tif", "-o", tmp_path / "no.tif")
    assert result.returncode == 1 and "its pixels are not those" in result.stderr


def test_pages_are_decided_one_by_one(irae: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clean = np.full((96, 128, 3), 128, np.uint8)
    noisy = (clean + rng.normal(0, 25, clean.shape)).clip(0, 255).astype(np.uint8)
    pages = [Image.fromarray(page) for page in (clean, noisy, noisy, clean)]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    result = irae("restore", "--device", "cpu", tmp_path / "scan.tif")
    assert result.returncode == 0, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"irae: note: {tmp_path / 'scan.tif'}: page 1: ")
    assert "; pages 2 to 3: " in line and "; page 4: " in line
    with Image.open(tmp_path / "scan.restored.tif") as image:
        for number, page in enumerate((clean, noisy, noisy, clean)):
            image.seek(number)
            assert np.array_equal(np.asarray(image), page) == (page is clean)


def test_a_mask_serves_every_page(irae: Run, tmp_path: Path, inpaint: list[object]) -> None:
    pages = [PHOTO, PHOTO.rotate(180)]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    mask = _mask(tmp_path / "m.png")
    assert irae(*inpaint, tmp_path / "scan.tif", "--mask", mask).returncode == 0
    known = _pixels(mask) == 0
    with Image.open(tmp_path / "scan.restored.tif") as image:
        for number, page in enumerate(pages):
            image.seek(number)
            assert np.array_equal(np.asarray(image)[known], np.asarray(page)[known])
            assert not np.array_equal(np.asarray(image), np.asarray(page))


def test_pages_go_to_no_other_format_and_animations_nowhere(
    irae: Run, tmp_path: Path, denoise: list[object]
) -> None:
    _scan(tmp_path / "scan.tif")
    result = irae(*denoise, tmp_path / "scan.tif", "-o", tmp_path / "a.png")
    assert result.returncode == 3
    assert "PNG cannot hold 3 pages; write it as .tif" in result.stderr
    for suffix in (".gif", ".png", ".webp"):
        frames = [PHOTO.rotate(30 * number) for number in range(3)]
        frames[0].save(tmp_path / f"moving{suffix}", save_all=True, append_images=frames[1:])
        result = irae(*denoise, tmp_path / f"moving{suffix}")
        assert result.returncode == 3
        (line,) = result.stderr.splitlines()
        assert "is an animation of 3 frames; split it" in line
    assert not list(tmp_path.glob("*restored*")) and not (tmp_path / "a.png").exists()


def test_a_damaged_page_leaves_nothing_half_written(
    irae: Run, tmp_path: Path, denoise: list[object]
) -> None:
    _scan(tmp_path / "a" / "scan.tif") if (tmp_path / "a").mkdir() else _scan(
        tmp_path / "a/scan.tif"
    )
    content = bytearray((tmp_path / "a/scan.tif").read_bytes())
    PHOTO.save(tmp_path / "a" / "z.png")
    with Image.open(tmp_path / "a" / "scan.tif") as image:
        image.seek(2)
        offset = image.tag_v2[273][0]
    (tmp_path / "a" / "scan.tif").write_bytes(content[: offset + 100])
    result = irae(*denoise, tmp_path / "a", "-o", tmp_path / "out")
    assert result.returncode == 3
    assert not (tmp_path / "out" / "scan.tif").exists()
    assert (tmp_path / "out" / "z.png").is_file()


# --- what changes and what does not ------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_result_that_equals_its_input_is_left_as_it_is(
    irae: Run, tmp_path: Path, suffix: str
) -> None:
    # A lifted network is the identity until it is trained.
    options = resolve_options("irae", "default", {"width": 16, "couplings": 2, "hidden": 8})
    model = tmp_path / "nothing.safetensors"
    save_model(model, build_network("irae", options), ModelSpec("irae", options, "denoise"))
    PHOTO.save(tmp_path / f"a{suffix}")
    result = irae("restore", "--device", "cpu", "--model", model, tmp_path / f"a{suffix}")
    line = f"{tmp_path / f'a{suffix}'}: denoise changes nothing here, left as it is"
    assert (result.returncode, result.stderr) == (0, f"irae: note: {line}\n")
    made = tmp_path / f"a.restored{suffix}"
    assert made.read_bytes() == (tmp_path / f"a{suffix}").read_bytes()


def test_at_strength_0_nothing_is_said_to_be_removed(irae: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noisy = rng.normal(128, 25, (96, 128, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "a.png")
    result = irae("restore", "--device", "cpu", tmp_path / "a.png", "--strength", "0", "--json")
    row = json.loads(result.stdout.splitlines()[0])
    assert row["task"] is None and row["model"] is None
    assert row["why"].endswith("strength 0, left as it is")
    assert (tmp_path / "a.restored.png").read_bytes() == (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "PPM"])
def test_a_lossless_picture_under_the_name_of_a_jpeg(
    irae: Run, tmp_path: Path, denoise: list[object], kind: str
) -> None:
    PHOTO.save(tmp_path / "a.jpg", format=kind)
    result = irae(*denoise, tmp_path / "a.jpg")
    target = tmp_path / "a.restored.jpg"
    line = f"{target}: JPEG changes all pixels of this {kind} a little; .png keeps them"
    assert (result.returncode, result.stderr) == (0, f"irae: note: {line}\n")
    assert irae(*denoise, tmp_path / "a.jpg", "-o", tmp_path / "b.png").stderr == ""
    # A JPEG stays one without a word.
    PHOTO.save(tmp_path / "c.jpg")
    assert irae(*denoise, tmp_path / "c.jpg").stderr == ""


def test_a_gif_that_cannot_hold_its_result_says_so(
    irae: Run, tmp_path: Path, denoise: list[object]
) -> None:
    PHOTO.quantize(256).save(tmp_path / "a.gif")
    result = irae(*denoise, tmp_path / "a.gif")
    assert result.returncode == 0
    assert "a GIF holds 256 colours, fewer than the result" in result.stderr


def test_what_the_target_cannot_hold_is_found_before_the_work(
    irae: Run, tmp_path: Path, denoise: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*arguments: object) -> None:
        pytest.fail("a picture was restored that cannot be written")

    monkeypatch.setattr(Restorer, "restore_pictures", work)
    Image.new("RGB", (16384, 2)).save(tmp_path / "wide.png")
    Image.new("RGBA", (20, 20), (1, 2, 3, 4)).save(tmp_path / "clear.png")
    for source, target, words in (
        ("wide.png", "a.webp", "WEBP cannot hold 16384x2 pixels, but 16383 a side at most"),
        ("clear.png", "a.jpg", "JPEG cannot hold transparency; write it as .png"),
    ):
        result = irae(*denoise, tmp_path / source, "-o", tmp_path / target)
        assert result.returncode == 3
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"irae: error: {tmp_path / target}: {words}")
        assert not (tmp_path / target).exists()


def test_a_heic_becomes_a_png(irae: Run, tmp_path: Path, denoise: list[object]) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    pillow_heif.from_pillow(PHOTO).save(tmp_path / "a.heic")
    result = irae(*denoise, tmp_path, "-o", tmp_path / "out", "--undoable")
    assert result.returncode == 0, result.stderr
    assert "a.png, since irae does not write .heic" in result.stderr
    assert irae("undo", tmp_path / "out/a.png", "-o", tmp_path / "back.heic").returncode == 0
    assert (tmp_path / "back.heic").read_bytes() == (tmp_path / "a.heic").read_bytes()


def test_a_heic_in_which_nothing_changes_is_copied(irae: Run, tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    pillow_heif.from_pillow(PHOTO).save(tmp_path / "a.heic")
    result = irae("restore", tmp_path, "-o", tmp_path / "out", "--strength", "0")
    assert result.returncode == 0, result.stderr
    assert "strength 0, left as it is" in result.stderr and "written as" not in result.stderr
    assert (tmp_path / "out/a.heic").read_bytes() == (tmp_path / "a.heic").read_bytes()


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("a.png", "b.PNG", "left as it is"),
        ("a.jpg", "b.jpeg", "left as it is"),
        ("a.tif", "b.tiff", "left as it is"),
        ("a.jpg", "b.png", "only written as PNG"),
        ("a.png", "b.jpg", "only written as JPEG"),
        ("a.png", "b.tif", "only written as TIFF"),
    ],
)
@pytest.mark.parametrize("to_folder", [False, True])
def test_a_line_says_left_only_of_a_file_that_is_left(
    irae: Run, tmp_path: Path, source: str, target: str, words: str, to_folder: bool
) -> None:
    given, made = tmp_path / source, tmp_path / target
    pages = {"save_all": True, "append_images": [PHOTO.rotate(180)]} if "tif" in source else {}
    PHOTO.save(given, **pages)
    where: list[object] = ["-o", made]
    if to_folder:
        suffix = made.suffix.lower()
        made, where = tmp_path / f"out/a{suffix}", ["-o", tmp_path / "out", "--format", suffix]
    result = irae("restore", given, *where, "--strength", "0", "--json")
    assert result.returncode == 0, result.stderr
    row = json.loads(result.stdout.splitlines()[0])
    assert row["why"].removeprefix(f"{given}: ").split(": ")[-1] == f"strength 0, {words}"
    assert (made.read_bytes() == given.read_bytes()) == words.startswith("left")
