"""One picture on the page: brought, restored, saved."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from irae.cli.app import main

Command = Callable[..., object]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """``irae restore`` with the page's device and precision, in this process."""

    def run(*arguments: object) -> object:
        fixed = ["irae", "restore", "--device", "cpu", "--precision", "fp32"]
        monkeypatch.setattr("sys.argv", [*fixed, *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code

    return run


def _names(driver: Any) -> list[str]:
    found: list[str] = driver.page.locator("#strip .name").all_inner_texts()
    return found


def test_pictures_are_dropped_anywhere_chosen_and_pasted(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    page = driver.page
    photograph.save(tmp_path / "first.png")
    driver.drop(tmp_path / "first.png", at="header")
    page.wait_for_selector("#name:text-is('first.png')")
    # A folder with a subfolder, on the picture itself; what is no picture in it is left out.
    folder = tmp_path / "album"
    (folder / "1920").mkdir(parents=True)
    photograph.save(folder / "1920" / "a.jpg")
    photograph.save(folder / "b.webp")
    (folder / "notes.txt").write_text("notes")
    (folder / ".hidden.png").write_text("nothing")
    driver.drop(folder, at="#view")
    page.wait_for_selector("#strip li:nth-child(3)")
    assert _names(driver) == ["first.png", "album/1920/a.jpg", "album/b.webp"]
    assert driver.messages() == ["1 file of the folder is no picture."]
    driver.choose(tmp_path / "first.png")
    page.wait_for_selector("#strip li:nth-child(4)")
    page.evaluate(
        """async () => {
            const canvas = document.createElement('canvas');
            canvas.width = canvas.height = 50;
            canvas.getContext('2d').fillRect(0, 0, 50, 50);
            const blob = await new Promise(r => canvas.toBlob(r));
            const data = new DataTransfer();
            data.items.add(new File([blob], 'image.png', { type: 'image/png' }));
            document.body.dispatchEvent(new ClipboardEvent('paste',
                { clipboardData: data, bubbles: true }));
        }"""
    )
    page.wait_for_selector("#strip li:nth-child(5)")
    assert _names(driver)[3:] == ["first.png", "pasted.png"]
    assert len(page.context.pages) == 1


def test_the_example_and_heic(driver: Any, photograph: Image.Image, tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="HEIC needs irae[ui]")
    driver.page.click("#example")
    driver.page.wait_for_selector("#name:text-is('example.jpg')")
    found = driver.page.inner_text("#found")
    assert re.fullmatch(
        "Looks noisy; (its noise will be removed|it will be restored as a photo).", found
    )
    heif.from_pillow(photograph).save(tmp_path / "IMG_1.heic")
    driver.bring(tmp_path / "IMG_1.heic")
    assert "120 × 90 · HEIC" in driver.page.inner_text("#facts")


def test_a_wrong_file_among_good_ones_is_one_line(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    photograph.save(tmp_path / "a.png")
    (tmp_path / "letter.png").write_text("a letter")
    photograph.save(tmp_path / "c.png")
    driver.choose(tmp_path / "a.png", tmp_path / "letter.png", tmp_path / "c.png")
    driver.page.wait_for_selector("#strip li:nth-child(2)")
    assert _names(driver) == ["a.png", "c.png"]
    (line,) = driver.messages()
    assert line.startswith("letter.png: not a picture")
    driver.page.click(".message .close")
    assert driver.messages() == []


def test_what_is_found_is_one_plain_sentence(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[271] = "camera"
    photograph.save(tmp_path / "x.jpg", quality=60, exif=exif)
    driver.bring(tmp_path / "x.jpg")
    found = driver.page.inner_text("#found")
    assert found.startswith("Looks noisy and was saved as a JPEG; ")
    assert driver.page.inner_text("#facts") == "120 × 90 · JPEG · EXIF kept"
    for word in ("sigma", "--", "task", "denoise", "tables"):
        assert word not in found


def test_a_picture_is_restored_and_saved_as_the_command_does_it(
    driver: Any, command: Command, photograph: Image.Image, tmp_path: Path
) -> None:
    page = driver.page
    source = tmp_path / "Großmutter 1920.png"
    gray = np.asarray(photograph.convert("L"))
    deep = np.minimum(gray.astype(np.int32) * 257 + 3, 65535).astype(np.uint16)
    exif = Image.Exif()
    exif[271] = "camera"
    Image.fromarray(deep).save(source, exif=exif, icc_profile=b"a profile, whole")
    driver.bring(source)
    assert page.is_hidden("#save")
    driver.restore()
    assert page.inner_text("#done").startswith("Noise removed.")
    got = driver.download("#save", tmp_path / "page")
    assert got.name == "Großmutter 1920.restored.png"
    assert command(source) == 0
    assert got.read_bytes() == (tmp_path / got.name).read_bytes()
    # Other settings: the result is marked until it is made with them.
    driver.task("jpeg")
    page.click("#more summary")
    page.fill("#strength", "0.35")
    page.check("#ensemble")
    assert page.inner_text("#stale") == "This result was made with: Automatic."
    driver.restore()
    assert page.is_hidden("#stale")
    assert page.inner_text("#done").startswith("JPEG damage undone.")
    got = driver.download("#save", tmp_path / "page")
    options = ["--task", "jpeg", "--strength", "0.35", "--ensemble", "--overwrite"]
    assert command(source, *options) == 0
    assert got.read_bytes() == (tmp_path / got.name).read_bytes()


def test_other_formats(driver: Any, photograph: Image.Image, tmp_path: Path) -> None:
    page = driver.page
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    driver.restore()
    page.click("#more summary")
    sizes = []
    for quality in ("40", "90"):
        page.select_option("#format", "jpeg")
        page.fill("#quality", quality)
        got = driver.download("#save", tmp_path / quality)
        assert got.name == "x.restored.jpg"
        with Image.open(got) as image:
            assert image.format == "JPEG"
        sizes.append(got.stat().st_size)
    assert sizes[0] < sizes[1]
    page.select_option("#format", "webp")
    with Image.open(driver.download("#save", tmp_path / "webp")) as image:
        assert image.format == "WEBP"


def test_the_result_is_copied_to_the_clipboard(
    drivers: Callable[..., Any], photograph: Image.Image, tmp_path: Path
) -> None:
    driver = drivers(permissions=["clipboard-read", "clipboard-write"])
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    driver.restore()
    driver.page.click("#copy")
    driver.page.wait_for_selector("#copy:text-is('Copied')")
    size = driver.page.evaluate(
        """async () => {
            const [item] = await navigator.clipboard.read();
            const bitmap = await createImageBitmap(await item.getType('image/png'));
            return [bitmap.width, bitmap.height];
        }"""
    )
    assert size == [120, 90]


def test_nothing_to_do_and_a_strength_of_0_or_of_nothing(
    driver: Any, command: Command, photograph: Image.Image, tmp_path: Path
) -> None:
    page = driver.page
    Image.new("RGB", (120, 90), "white").save(tmp_path / "clean.png")
    driver.bring(tmp_path / "clean.png")
    assert page.inner_text("#found") == "Looks clean; it will be left as it is."
    # That is what Automatic does; the other choices do something else.
    for other in ("photo", "denoise", "jpeg", "inpaint", "scratches"):
        driver.task(other)
        assert page.is_hidden("#found")
    driver.task("")
    assert page.is_visible("#found")
    driver.restore()
    assert page.inner_text("#done").startswith("Nothing was changed; the picture is left as it is.")
    assert page.is_hidden("#save")
    source = tmp_path / "x.png"
    photograph.save(source)
    driver.bring(source)
    driver.task("denoise")
    page.click("#more summary")
    page.fill("#strength", "0")
    assert "left as it is" in page.inner_text("#strength-note")
    driver.restore()
    assert "left as it is" in page.inner_text("#done")
    page.fill("#strength", "")
    driver.restore()
    got = driver.download("#save", tmp_path / "page")
    assert command(source, "--task", "denoise") == 0
    assert got.read_bytes() == (tmp_path / got.name).read_bytes()


def test_the_limits_are_the_same_number_in_label_and_message(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    label = driver.page.inner_text("#limits")
    assert "up to 80 MB and 30 million pixels each" in label
    Image.new("L", (6000, 6000)).save(tmp_path / "wide.png")
    (tmp_path / "long.tif").write_bytes(b"II*\0" + bytes(80_000_000))
    photograph.save(tmp_path / "good.png")
    driver.choose(tmp_path / "wide.png", tmp_path / "long.tif", tmp_path / "good.png")
    driver.page.wait_for_selector("#name:text-is('good.png')")
    wide, long = driver.messages()
    assert "more than this page takes (30 million)" in wide
    assert "--max-pixels" in wide
    assert "more than this page takes (80 MB)" in long
    assert "--max-upload-mb" in long


def test_two_tabs_do_not_mix(
    drivers: Callable[..., Any], photograph: Image.Image, tmp_path: Path
) -> None:
    first, second = drivers(), drivers()
    photograph.save(tmp_path / "a.png")
    photograph.crop((0, 0, 80, 60)).save(tmp_path / "b.png")
    first.bring(tmp_path / "a.png")
    second.bring(tmp_path / "b.png")
    first.restore()
    second.restore()
    for driver, name, size in ((first, "a", (120, 90)), (second, "b", (80, 60))):
        got = driver.download("#save", tmp_path / "page")
        assert got.name == f"{name}.restored.png"
        with Image.open(got) as image:
            assert image.size == size
