"""The page in a browser: Chromium, without a window, through Playwright."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image, ImageCms

from irae.cli.app import main

Command = Callable[..., object]


@pytest.fixture(scope="module")
def browser(chromium: Any) -> Iterator[Any]:
    with chromium(300_000) as started:
        yield started


@pytest.fixture
def page(server: Any, browser: Any) -> Iterator[Any]:
    """The page; at the end, it has asked nobody but its server and complained of nothing."""
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    page.set_default_timeout(300_000)
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(server.address)
    page.wait_for_selector("#picture input[type=file]", state="attached")
    yield page
    page.close()
    assert complaints == []
    asked = {urlsplit(url.removeprefix("blob:")).netloc for url in requests if url[:5] != "data:"}
    assert asked == {urlsplit(server.address).netloc}


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


@pytest.fixture(scope="module")
def photograph(shared: Path) -> Image.Image:
    """A part of a real photograph, with noise."""
    path = shared / "data/testsets/CBSD68/101085.png"
    if not path.is_file():
        pytest.skip(f"{path} is not there (see data/README.md)")
    with Image.open(path) as image:
        clean = np.asarray(image.convert("RGB").crop((150, 80, 270, 170)))
    noise = np.random.default_rng(0).normal(0, 25, clean.shape)
    return Image.fromarray((clean + noise).clip(0, 255).astype(np.uint8))


def drop(page: Any, *paths: Path, into: str = "#picture") -> None:
    page.set_input_files(f"{into} input[type=file]", [str(path) for path in paths])


def download(page: Any, button: str, folder: Path) -> Path:
    with page.expect_download() as started:
        page.click(button)
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path


def shown_pictures(page: Any) -> list[Image.Image]:
    """What lies under the slider: before, after."""
    page.wait_for_function(
        "[...document.querySelectorAll('#slider img')].length == 2 &&"
        " [...document.querySelectorAll('#slider img')].every(i => i.complete && i.naturalWidth)"
    )
    sources = page.locator("#slider img").evaluate_all("all => all.map(i => i.src)")
    return [Image.open(io.BytesIO(page.request.get(source).body())) for source in sources]


def test_a_picture_is_restored_compared_and_downloaded(
    page: Any, command: Command, photograph: Image.Image, tmp_path: Path
) -> None:
    source = tmp_path / "Großmutter 1920.png"
    gray = np.asarray(photograph.convert("L"))
    deep = np.minimum(gray.astype(np.int32) * 257 + 3, 65535).astype(np.uint16)
    exif = Image.Exif()
    exif[271] = "camera"
    Image.fromarray(deep).save(source, exif=exif, icc_profile=b"a profile, whole")
    drop(page, source)
    page.wait_for_selector("#about p")
    about = page.inner_text("#about")
    assert "Großmutter 1920.png: 120 × 90, PNG I;16, 16 bits" in about
    assert "EXIF" in about
    assert "Automatic: noise sigma about" in about

    page.click("#restore")
    page.wait_for_selector("#download")
    assert "Noise removed by the model denoise" in page.inner_text("#done")
    assert "Automatic: noise sigma about" in page.inner_text("#done")
    before, after = shown_pictures(page)
    assert before.size == after.size == (120, 90)
    assert np.array_equal(np.asarray(before)[..., 0], gray)
    assert np.abs(np.asarray(after).astype(int) - np.asarray(before)).mean() > 5

    got = download(page, "#download", tmp_path / "page")
    assert got.name == "Großmutter 1920.restored.png"
    assert command(source) == 0
    assert got.read_bytes() == (tmp_path / got.name).read_bytes()
    with Image.open(got) as restored:
        assert restored.mode == "I;16"
        assert restored.getexif()[271] == "camera"
        assert restored.info["icc_profile"] == b"a profile, whole"

    # Less of it, as another task: what was chosen counts.
    page.click("#task >> text=Undo JPEG damage")
    page.check("#ensemble input")
    page.fill("#strength input[type=number]", "0.35")
    page.click("#restore")
    page.wait_for_function("document.querySelector('#done').innerText.includes('JPEG')")
    got = download(page, "#download", tmp_path / "page")
    options = ["--task", "jpeg", "--strength", "0.35", "--ensemble", "--overwrite"]
    assert command(source, *options) == 0
    assert got.read_bytes() == (tmp_path / got.name).read_bytes()


def test_the_slider_compares_and_zooms(page: Any, photograph: Image.Image, tmp_path: Path) -> None:
    photograph.save(tmp_path / "x.png")
    drop(page, tmp_path / "x.png")
    shown_pictures(page)
    sides = "all => all.map(e => (r => [r.x, r.y, r.width, r.height])(e.getBoundingClientRect()))"
    images = page.locator("#slider img")
    before, after = images.evaluate_all(sides)
    assert before == after
    # Away from the divider, which is moved instead.
    page.mouse.move(before[0] + 0.3 * before[2], before[1] + 0.3 * before[3])
    for _ in range(4):
        page.mouse.wheel(0, -400)
    page.wait_for_function(
        "width => document.querySelector('#slider img').getBoundingClientRect().width > width",
        arg=1.15 * before[2],
    )
    middle = before[0] + before[2] / 2, before[1] + before[3] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] - 0.25 * before[2], middle[1], steps=4)
    page.mouse.up()
    hidden = "getComputedStyle(document.querySelectorAll('#slider img')[1]).clipPath"
    # inset(0px 0px 0px 37%): what is hidden of the right side.
    page.wait_for_function(f"parseFloat({hidden}.split(' ').at(-1)) < 40")


def test_holes_are_painted_and_filled(
    page: Any, command: Command, photograph: Image.Image, tmp_path: Path
) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[274] = 6  # To be turned to the right.
    source = tmp_path / "scratched.jpg"
    photograph.save(source, quality=92, exif=exif, icc_profile=profile)
    drop(page, source)
    page.wait_for_selector("#about p")
    page.click("#task >> text=Fill holes")
    page.wait_for_selector("#brush canvas")
    page.click("#fill")
    page.wait_for_selector("text=nothing is painted yet")
    page.locator(".toast-close").first.click()
    page.wait_for_selector(".toast-close", state="detached")

    box = page.locator("#brush canvas").first.bounding_box()
    across, down = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(across - 40, down)
    page.mouse.down()
    page.mouse.move(across + 40, down + 30, steps=8)
    page.mouse.up()
    page.click("#fill")
    page.wait_for_selector("#mask")
    assert "Holes filled by the model inpaint" in page.inner_text("#done")
    got = download(page, "#download", tmp_path / "page")
    mask = download(page, "#mask", tmp_path / "page")
    with Image.open(mask) as painted:
        assert painted.size == (90, 120)  # As it is looked at.
        hole = np.rot90(np.asarray(painted) == 255)
        assert set(np.unique(np.asarray(painted))) == {0, 255}
    assert 0.01 < hole.mean() < 0.6
    assert hole[45, 60]

    assert command(source, "--task", "inpaint", "--mask", mask) == 0
    assert got.name == "scratched.restored.png"
    assert got.read_bytes() == (tmp_path / got.name).read_bytes()
    with Image.open(source) as known, Image.open(got) as filled:
        same = (np.asarray(known) == np.asarray(filled)).all(axis=2)
        assert filled.info["icc_profile"] == profile
        assert filled.getexif()[274] == 6
    assert same[~hole].all()
    assert not same[hole].all()

    # Back at the brush, what was painted is still there.
    page.click("#again")
    page.wait_for_selector("#brush canvas", state="visible")
    page.click("#fill")
    page.wait_for_selector("#again")
    again = download(page, "#mask", tmp_path / "again")
    assert again.read_bytes() == mask.read_bytes()


def test_many_at_once(page: Any, command: Command, photograph: Image.Image, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    photograph.save(folder / "a.png")
    photograph.crop((0, 0, 64, 64)).save(folder / "b.jpg", quality=95)
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:3000])
    Image.new("RGB", (500, 300)).save(tmp_path / "large.png")
    page.get_by_role("tab", name="Many pictures").click()
    page.wait_for_selector("#pictures input[type=file]", state="attached")
    drop(page, *sorted(folder.iterdir()), tmp_path / "large.png", into="#pictures")
    page.wait_for_selector("#pictures >> text=large")
    page.click("#task-all >> text=Remove noise")
    page.click("#restore-all")
    page.wait_for_selector("#report table")
    report = page.inner_text("#report")
    assert "2 of 4 restored, 2 failed" in report
    assert "large.png: 500 × 300 pixels, more than this page takes" in report
    assert "broken.png: damaged or truncated" in report
    with zipfile.ZipFile(download(page, "#zip", tmp_path)) as archive:
        got = {name: archive.read(name) for name in archive.namelist()}
    assert command(folder, "-o", tmp_path / "out", "--task", "denoise") == 3
    assert set(got) == {"a.png", "b.jpg"}
    for name, content in got.items():
        assert content == (tmp_path / "out" / name).read_bytes()


def test_what_is_refused_is_said(page: Any, tmp_path: Path) -> None:
    Image.new("RGB", (500, 300)).save(tmp_path / "large.png")
    drop(page, tmp_path / "large.png")
    page.wait_for_selector("text=500 × 300 pixels, more than this page takes (0.1 million)")
    assert page.locator("#restore").is_disabled()


def test_a_closed_page_leaves_nothing(
    server: Any, browser: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    photograph.save(tmp_path / "x.png")
    page = browser.new_page()
    page.set_default_timeout(300_000)
    page.goto(server.address)
    page.wait_for_selector("#picture input[type=file]", state="attached")
    drop(page, tmp_path / "x.png")
    page.wait_for_selector("#about p")
    (root,) = server.folder.iterdir()
    assert list(root.rglob("x.png"))
    page.close()
    deadline = time.monotonic() + 120
    while list(root.rglob("*.png")) and time.monotonic() < deadline:
        time.sleep(0.2)
    # Of this page and those of the tests before.
    assert list(root.rglob("*.png")) == []
