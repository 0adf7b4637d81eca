"""The view: comparing, zooming, and what one sees while the page works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def large(photograph: Image.Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 megapixels of a camera: the photograph again and again, each time a little darker."""
    tile = np.asarray(photograph.resize((600, 400))).astype(np.float32)
    rows = [np.concatenate([tile * (1 - 0.004 * (10 * r + c)) for c in range(10)], axis=1)
            for r in range(10)]  # fmt: skip
    path = tmp_path_factory.mktemp("large") / "large.jpg"
    Image.fromarray(np.concatenate(rows).astype(np.uint8)).save(path, quality=85)
    return path


def _split(driver: Any) -> int:
    return int(driver.page.get_attribute("#divider", "aria-valuenow"))


def _zoom(driver: Any) -> int:
    driver.wait_for_pixels()
    return int(driver.page.inner_text("#zoom").split()[0])


def test_before_and_after_lie_on_the_two_sides_of_the_divider(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    page = driver.page
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    assert page.is_hidden("#divider")
    untouched = driver.pixels()
    driver.restore()
    assert page.inner_text("#label-before") == "Before"
    assert page.inner_text("#label-after") == "After"
    assert _split(driver) == 50
    both = driver.pixels()
    half = both.shape[1] // 2
    assert np.array_equal(both[:, : half - 2], untouched[:, : half - 2])
    assert not np.array_equal(both[:, half + 2 :], untouched[:, half + 2 :])
    # Smoother on the right: the noise is gone.
    assert np.diff(both[200:400, half + 50 : half + 200, 0].astype(int)).std() < (
        np.diff(both[200:400, half - 200 : half - 50, 0].astype(int)).std()
    )
    # The divider is dragged, and moved by keys wherever one is on the page.
    left, top, width, height = driver.view()
    page.mouse.move(left + width / 2, top + height / 2)
    page.mouse.down()
    page.mouse.move(left + width / 4, top + height / 2, steps=5)
    page.mouse.up()
    driver.wait_for_pixels()
    assert _split(driver) == 25
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    driver.wait_for_pixels()
    assert _split(driver) == 27
    # Space shows the original as long as it is held.
    page.keyboard.down(" ")
    assert np.array_equal(driver.pixels(), untouched)
    assert page.is_hidden("#label-after")
    page.keyboard.up(" ")
    assert not np.array_equal(driver.pixels(), untouched)


def test_zoom_by_wheel_keys_and_buttons(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    page = driver.page
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    fit = _zoom(driver)
    left, top, width, height = driver.view()
    page.mouse.move(left + 0.3 * width, top + 0.4 * height)
    page.mouse.wheel(0, -300)
    wheel = _zoom(driver)
    assert wheel > fit
    page.keyboard.press("+")
    assert _zoom(driver) == pytest.approx(1.5 * wheel, rel=0.01)
    page.keyboard.press("-")
    assert _zoom(driver) == pytest.approx(wheel, rel=0.01)
    page.click("#zoom-in")
    assert _zoom(driver) > wheel
    page.click("#zoom-true")
    assert _zoom(driver) == 100
    page.click("#zoom-fit")
    assert _zoom(driver) == fit
    # What is under the pointer stays there.
    dot = Image.new("L", (400, 300))
    dot.paste(255, (300, 60, 304, 64))
    dot.save(tmp_path / "dot.png")
    driver.bring(tmp_path / "dot.png")
    rows, columns = np.nonzero(driver.pixels()[..., 0] > 127)
    place = int(rows.mean()), int(columns.mean())
    page.mouse.move(left + place[1], top + place[0])
    for _ in range(5):
        page.mouse.wheel(0, -200)
    assert (driver.pixels()[..., 0] > 127).sum() > 9 * len(rows)
    assert driver.pixels()[place][0] > 127


def test_a_picture_that_is_zoomed_is_moved_by_pointer_and_keys(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    page = driver.page
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    left, top, width, height = driver.view()
    page.mouse.move(left + 0.5 * width, top + 0.5 * height)
    for _ in range(4):
        page.mouse.wheel(0, -300)
    before = driver.pixels()
    page.mouse.down()
    page.mouse.move(left + 0.5 * width - 60, top + 0.5 * height - 40, steps=4)
    page.mouse.up()
    moved = driver.pixels()
    assert np.array_equal(moved[:-40, :-60], before[40:, 60:])
    for key in ("ArrowRight", "ArrowDown"):
        page.keyboard.press(f"Shift+{key}")
    driver.wait_for_pixels()
    x, y = round(0.1 * width), round(0.1 * height)
    assert np.array_equal(driver.pixels()[:-y, :-x], moved[y:, x:])


def test_two_fingers_zoom(
    drivers: Callable[..., Any], photograph: Image.Image, tmp_path: Path
) -> None:
    driver = drivers(width=390, height=844, has_touch=True)
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    fit = _zoom(driver)
    left, top, width, height = driver.view()
    session = driver.page.context.new_cdp_session(driver.page)

    def touch(kind: str, *distances: float) -> None:
        points = [
            {"x": left + width / 2 + d, "y": top + height / 2, "id": i}
            for i, d in enumerate(distances)
        ]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", -30)
    touch("touchStart", -30, 30)
    for distance in (40, 50, 60):
        touch("touchMove", -distance, distance)
    touch("touchEnd")
    # The first move of a pinch sets its measure.
    assert _zoom(driver) == pytest.approx(1.5 * fit, rel=0.25)


@pytest.mark.slow
def test_100_percent_are_the_true_pixels_of_24_megapixels(driver: Any, large: Path) -> None:
    page = driver.page
    driver.bring(large)
    driver.wait_for_pixels()
    assert _zoom(driver) < 20
    page.click("#zoom-true")
    left, top, width, height = driver.view()
    # To the right lower corner.
    page.mouse.move(left + width / 2, top + height / 2)
    for _ in range(2):
        page.mouse.wheel(0, 4000)
    page.click("#zoom-true")
    for _ in range(9):
        page.mouse.move(left + 0.9 * width, top + 0.9 * height)
        page.mouse.down()
        page.mouse.move(left + 0.1 * width, top + 0.1 * height, steps=2)
        page.mouse.up()
    shown = driver.pixels()
    assert _zoom(driver) == 100
    with Image.open(large) as image:
        whole = np.asarray(image)
    rows, columns = np.nonzero(shown[..., 3] == 255)
    bottom, right = rows.max() + 1, columns.max() + 1
    assert bottom > 100
    assert right > 100
    assert np.array_equal(shown[:bottom, :right, :3], whole[-bottom:, -right:])


@pytest.mark.slow
def test_while_it_works_the_picture_stays_and_can_be_stopped(
    drivers: Callable[..., Any], large: Path, photograph: Image.Image, tmp_path: Path
) -> None:
    driver, other = drivers(), drivers()
    page = driver.page
    driver.bring(large)
    shown = driver.pixels()
    driver.task("denoise")
    page.click("#restore")
    page.wait_for_selector("#work-text:has-text('left')")
    assert 0 < float(page.get_attribute("#work-bar", "value")) < 1
    assert np.array_equal(driver.pixels(), shown)
    # Another tab's picture waits, and says so.
    photograph.save(tmp_path / "x.png")
    other.bring(tmp_path / "x.png")
    other.page.click("#restore")
    other.page.wait_for_selector("#work-text:has-text('waiting for another picture')")
    page.click("#stop")
    page.wait_for_selector("#work", state="hidden")
    assert page.is_hidden("#save")
    assert page.is_enabled("#restore")
    other.page.wait_for_selector("#save:visible")


def test_a_later_result_takes_the_place_of_the_earlier_one(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    """At no moment is the picture gone."""
    page = driver.page
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    driver.restore()
    page.evaluate(
        """() => {
            window.gone = 0;
            const canvas = document.getElementById('canvas');
            const look = () => {
                const { width, height } = canvas;
                const at = canvas.getContext('2d').getImageData(width * 0.6, height / 2, 1, 1);
                if (at.data[3] !== 255) window.gone += 1;
                requestAnimationFrame(look);
            };
            look();
        }"""
    )
    first = driver.pixels()
    driver.task("jpeg")
    driver.restore()
    assert not np.array_equal(driver.pixels(), first)
    assert page.evaluate("() => window.gone") == 0
