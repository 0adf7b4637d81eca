"""The brush: strokes, their undoing, masks, and filling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from irae.batch.model_pool import ModelPool
from irae.batch.outcome import Outcome
from irae.batch.restore_files import Request, restore_files
from irae.restoring.options import RestoreOptions


@pytest.fixture
def ready(driver: Any, photograph: Image.Image, tmp_path: Path) -> Any:
    """A page with a picture, ready to paint."""
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    driver.task("inpaint")
    return driver


def _painted(driver: Any) -> Any:
    return driver.pixels("strokes")[..., 3] > 127


def _menu_is_closed(driver: Any) -> bool:
    return bool(driver.page.locator("#mask-menu[open]").count() == 0)


def _mask(driver: Any, folder: Path) -> Any:
    """The mask as it is saved, by its menu."""
    page = driver.page
    if _menu_is_closed(driver):
        page.click("#mask-menu summary")
    path = driver.download("#mask-save", folder)
    assert _menu_is_closed(driver)
    with Image.open(path) as image:
        return np.asarray(image.convert("L")) > 127


def test_strokes_lie_half_transparent_over_the_picture(ready: Any) -> None:
    page = ready.page
    picture = ready.pixels()
    assert page.is_disabled("#restore")
    ready.stroke((0.4, 0.5), (0.6, 0.5))
    painted = _painted(ready)
    height, width = painted.shape
    assert painted[height // 2, width // 2]
    assert 0.005 < painted.mean() < 0.1
    assert page.evaluate("() => getComputedStyle(document.getElementById('strokes')).opacity") == (
        "0.5"
    )
    assert np.array_equal(ready.pixels(), picture)
    assert page.is_visible("#cursor")
    assert page.is_enabled("#restore")
    # A larger brush, by its key and on its slider.
    page.keyboard.press("]")
    page.keyboard.press("]")
    assert int(page.input_value("#brush-size")) > 45
    page.keyboard.press("[")
    page.fill("#brush-size", "120")
    ready.stroke((0.4, 0.3), (0.6, 0.3))
    larger = _painted(ready)
    assert larger.sum() > 3 * painted.sum()
    assert page.locator("#cursor").bounding_box()["width"] == pytest.approx(120, abs=2)


def test_undo_redo_erase_and_clear_leave_the_picture_alone(ready: Any) -> None:
    page = ready.page
    picture = ready.pixels()
    ready.stroke((0.4, 0.5), (0.6, 0.5))
    one = _painted(ready)
    ready.stroke((0.4, 0.6), (0.6, 0.6))
    two = _painted(ready)
    page.keyboard.press("Control+z")
    assert np.array_equal(_painted(ready), one)
    page.keyboard.press("Control+Shift+z")
    assert np.array_equal(_painted(ready), two)
    page.click(".tool[data-tool=erase]")
    ready.stroke((0.3, 0.6), (0.7, 0.6))
    assert np.abs(_painted(ready).astype(int) - one).mean() < 0.001
    page.click(".tool[data-tool=paint]")
    page.click("#clear")
    assert not _painted(ready).any()
    assert page.is_disabled("#restore")
    for _ in range(9):
        page.keyboard.press("Control+z")
    assert not _painted(ready).any()
    assert page.is_disabled("#undo")
    assert np.array_equal(ready.pixels(), picture)
    assert page.is_visible("#view")


def test_strokes_begin_outside_wheel_zooms_and_space_drags(ready: Any, tmp_path: Path) -> None:
    page = ready.page
    ready.stroke((0.01, 0.5), (0.5, 0.5))
    mask = _mask(ready, tmp_path / "one")
    assert mask.shape == (90, 120)
    assert mask[:, 0].any()
    left, top, width, height = ready.view()
    page.mouse.move(left + width / 2, top + height / 2)
    page.mouse.wheel(0, -400)
    seen = ready.pixels()
    page.keyboard.down(" ")
    page.mouse.down()
    page.mouse.move(left + width / 2 + 90, top + height / 2, steps=3)
    page.mouse.up()
    page.keyboard.up(" ")
    assert np.array_equal(ready.pixels()[:, 150:], seen[:, 60:-90])
    # Strokes go with the picture, and none was added.
    assert np.array_equal(_mask(ready, tmp_path / "two"), mask)


def test_masks_are_saved_loaded_grown_inverted_and_made_of_rectangles(
    ready: Any, tmp_path: Path
) -> None:
    page = ready.page
    page.click("#mask-menu summary")
    for name, value in (("x", 10), ("y", 20), ("width", 30), ("height", 40)):
        page.fill(f"#rectangle-form [name={name}]", str(value))
    page.click("#rectangle-form button")
    wanted = np.zeros((90, 120), bool)
    wanted[20:60, 10:40] = True
    assert np.array_equal(_mask(ready, tmp_path / "rectangle"), wanted)
    page.click("#mask-menu summary")
    page.click("#mask-grow")
    page.click("#mask-menu summary")
    grown = _mask(ready, tmp_path / "grown")
    assert grown[17:63, 10:40].all()
    assert grown[20:60, 7:43].all()
    assert grown.sum() <= 48 * 38
    page.click("#mask-menu summary")
    page.click("#mask-invert")
    page.click("#mask-menu summary")
    assert np.array_equal(_mask(ready, tmp_path / "inverted"), ~grown)
    page.click("#clear")
    page.set_input_files("#mask-file", str(tmp_path / "rectangle" / "x.mask.png"))
    page.wait_for_selector("#clear:enabled")
    assert np.array_equal(_mask(ready, tmp_path / "loaded"), wanted)
    # One that does not fit changes nothing.
    Image.new("L", (50, 50), 255).save(tmp_path / "small.png")
    page.set_input_files("#mask-file", str(tmp_path / "small.png"))
    page.wait_for_selector(".message")
    assert "The mask has 50 × 50 pixels and the picture has 120 × 90" in ready.messages()[0]
    assert np.array_equal(_mask(ready, tmp_path / "same"), wanted)


def test_the_menu_of_masks_closes_when_something_else_is_used(ready: Any) -> None:
    page = ready.page
    ready.stroke((0.4, 0.5), (0.6, 0.5))
    page.click("#mask-menu summary")
    # What may be done several times leaves it open.
    page.click("#mask-grow")
    page.click("#mask-grow")
    assert not _menu_is_closed(ready)
    page.keyboard.press("Escape")
    assert _menu_is_closed(ready)
    for other in ("#undo", ".tool[data-tool=erase]", ".tool[data-tool=paint]"):
        page.click("#mask-menu summary")
        page.click(other)
        assert _menu_is_closed(ready)
    # The press that closes it begins a stroke.
    page.click("#mask-menu summary")
    before = _painted(ready)
    ready.stroke((0.3, 0.8), (0.4, 0.8))
    assert _menu_is_closed(ready)
    assert _painted(ready).sum() > before.sum()
    page.click("#mask-menu summary")
    ready.restore()
    page.click("#paint-more")
    assert _menu_is_closed(ready)
    # By a key, without the pointer.
    page.click("#mask-menu summary")
    page.focus("#undo")
    page.keyboard.press("Enter")
    assert _menu_is_closed(ready)


def test_a_rectangle_is_drawn_with_the_pointer(ready: Any, tmp_path: Path) -> None:
    ready.page.click(".tool[data-tool=rectangle]")
    ready.stroke((0.6, 0.6), (0.4, 0.4))
    mask = _mask(ready, tmp_path)
    rows, columns = np.nonzero(mask)
    box = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert box.all()
    assert 0 < mask.mean() < 0.3


def test_holes_are_filled_as_the_command_fills_them(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    page = driver.page
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[274] = 6  # To be turned to the right.
    source = tmp_path / "scratched.jpg"
    photograph.save(source, quality=92, exif=exif, icc_profile=profile)
    driver.bring(source)
    assert page.inner_text("#facts").startswith("90 × 120")
    driver.task("inpaint")
    driver.stroke((0.45, 0.5), (0.55, 0.55))
    mask = _mask(driver, tmp_path / "page")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    driver.restore()
    assert page.inner_text("#done").startswith("Holes filled.")
    got = driver.download("#save", tmp_path / "page")
    told: list[Outcome] = []
    pool = ModelPool(RestoreOptions("inpaint", device="cpu", precision="fp32"))
    restore_files(Request((str(source),), mask=tmp_path / "mask.png"), pool, told.append)
    assert told[0].output is not None
    assert got.name == Path(told[0].output).name == "scratched.restored.png"
    assert got.read_bytes() == Path(told[0].output).read_bytes()
    hole = np.rot90(mask)
    with Image.open(source) as known, Image.open(got) as filled:
        same = (np.asarray(known) == np.asarray(filled)).all(axis=2)
    assert same[~hole].all()
    assert not same[hole].all()
    # Back at the brush, what was painted is still there.
    page.click("#paint-more")
    assert np.array_equal(_mask(driver, tmp_path / "again"), mask)


def test_one_goes_on_with_what_was_filled(ready: Any, tmp_path: Path) -> None:
    page = ready.page
    ready.stroke((0.4, 0.5), (0.6, 0.5))
    ready.restore()
    first = ready.download("#save", tmp_path / "first")
    page.click("#go-on")
    page.wait_for_selector("#go-on", state="hidden")
    ready.wait_for_pixels()
    assert page.is_visible("#brushbar")
    assert page.is_disabled("#undo")
    ready.stroke((0.4, 0.3), (0.6, 0.3))
    hole = _mask(ready, tmp_path / "mask")
    ready.restore()
    second = ready.download("#save", tmp_path / "second")
    assert second.name == first.name == "x.restored.png"
    with Image.open(first) as before, Image.open(second) as after:
        same = (np.asarray(before) == np.asarray(after)).all(axis=2)
    assert same[~hole].all()
    assert not same[hole].all()


def test_strokes_live_until_their_picture_goes(
    ready: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    page = ready.page
    ready.stroke((0.4, 0.5), (0.6, 0.5))
    painted = _painted(ready)
    ready.task("denoise")
    ready.restore()
    ready.task("inpaint")
    assert np.array_equal(_painted(ready), painted)
    photograph.save(tmp_path / "y.png")
    ready.bring(tmp_path / "y.png")
    assert not _painted(ready).any()
    page.click("#strip li:first-child .thumb")
    assert _painted(ready).any()


def test_a_touch_paints(
    drivers: Callable[..., Any], photograph: Image.Image, tmp_path: Path
) -> None:
    driver = drivers(width=390, height=844, has_touch=True)
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    driver.task("inpaint")
    driver.page.evaluate("() => window.scrollTo(0, 0)")
    left, top, width, height = driver.view()
    session = driver.page.context.new_cdp_session(driver.page)
    points = [{"x": left + width * x, "y": top + height / 2} for x in (0.4, 0.5, 0.6)]
    for kind, point in zip(("touchStart", "touchMove", "touchMove"), points, strict=True):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    painted = _painted(driver)
    assert painted[painted.shape[0] // 2, painted.shape[1] // 2]
