"""How the page looks and whom it serves: widths, schemes, keys alone, axe-core."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SIZES = [(1440, 900), (1280, 720), (390, 844)]


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, which ``.ci/run`` installs outside the repository."""
    path = Path(os.environ.get("IRAE_AXE", ""))
    if not path.is_file():
        pytest.skip("axe-core is not there (npm install axe-core, and IRAE_AXE names axe.min.js)")
    return path.read_text(encoding="utf-8")


def _states(driver: Any, folder: Path, photograph: Image.Image) -> Iterator[str]:
    """Bring the page into each of its states."""
    page = driver.page
    yield "empty"
    photograph.save(folder / "x.png")
    driver.bring(folder / "x.png")
    yield "one picture"
    page.click("#more summary")
    page.select_option("#format", "jpeg")
    yield "more"
    driver.restore()
    yield "restored"
    page.click("#doubt")
    page.wait_for_selector("#doubt[aria-pressed=true]")
    page.wait_for_selector("#work", state="hidden")
    yield "how sure"
    driver.task("photo")
    yield "other settings"
    driver.task("inpaint")
    page.evaluate("() => window.scrollTo(0, 0)")
    page.click("#find-damage")
    page.wait_for_selector("#work", state="hidden")
    driver.stroke((0.4, 0.6), (0.6, 0.6))
    yield "brush"
    page.click("#mask-menu summary")
    yield "mask"
    page.click("#mask-menu summary")
    driver.restore()
    yield "filled"
    driver.task("scratches")
    page.click("#restore")
    yield "working"
    page.wait_for_selector("#work", state="hidden")
    yield "with a note"
    (folder / "letter.png").write_text("a letter")
    photograph.save(folder / "y.png")
    driver.choose(folder / "letter.png", folder / "y.png")
    page.wait_for_selector("#strip li:nth-child(2)")
    yield "many, with a message"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_in_any_state(
    drivers: Callable[..., Any], axe: str, photograph: Image.Image, tmp_path: Path,
    size: tuple[int, int], scheme: str,
) -> None:  # fmt: skip
    driver = drivers(*size, color_scheme=scheme)
    driver.page.evaluate(axe)
    for state in _states(driver, tmp_path, photograph):
        found = driver.page.evaluate("() => axe.run()")
        problems = [
            (rule["id"], [node["target"] for node in rule["nodes"]]) for rule in found["violations"]
        ]
        assert problems == [], state


@pytest.mark.parametrize("size", SIZES)
def test_the_picture_comes_first_and_save_is_in_sight(
    drivers: Callable[..., Any], photograph: Image.Image, tmp_path: Path, size: tuple[int, int]
) -> None:
    driver = drivers(*size)
    page = driver.page
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    driver.restore()
    page.evaluate("() => window.scrollTo(0, 0)")
    save = page.locator("#save").bounding_box()
    assert save["x"] >= 0
    assert save["x"] + save["width"] <= size[0]
    assert save["y"] + save["height"] <= size[1]
    left, top, width, height = driver.view()
    assert top < 60
    assert width * height > 0.45 * size[0] * size[1]
    # Nothing sticks out at the side.
    assert page.evaluate("() => document.documentElement.scrollWidth") <= size[0]


@pytest.mark.parametrize("size", SIZES)
def test_the_tools_of_the_brush_are_in_sight(
    drivers: Callable[..., Any], photograph: Image.Image, tmp_path: Path, size: tuple[int, int]
) -> None:
    driver = drivers(*size)
    page = driver.page
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    driver.task("inpaint")
    page.evaluate("() => window.scrollTo(0, 0)")
    page.click("#mask-menu summary")
    left, top, width, height = driver.view()
    for selector in ("#brushbar button:visible", "#mask-menu summary", ".sheet"):
        for box in [one.bounding_box() for one in page.locator(selector).all()]:
            assert left <= box["x"] <= box["x"] + box["width"] <= left + width
            assert top <= box["y"] <= box["y"] + box["height"] <= top + height


def test_save_has_the_accent_colour_beside_the_picture(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    colour = "id => getComputedStyle(document.getElementById(id)).backgroundColor"
    accent = driver.page.evaluate(colour, "restore")
    driver.restore()
    assert driver.page.evaluate(colour, "save") == accent
    assert driver.page.evaluate(colour, "restore") != accent


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_accent_has_a_contrast_of_4_5(drivers: Callable[..., Any], scheme: str) -> None:
    driver = drivers(color_scheme=scheme)
    style = "() => { const s = getComputedStyle(document.getElementById('choose'));"
    texts = driver.page.evaluate(f"{style} return [s.color, s.backgroundColor]; }}")

    def luminance(text: str) -> float:
        values = np.array([float(v) for v in text[4:-1].split(",")]) / 255
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted(map(luminance, texts))
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_all_but_the_brush_works_by_keys_with_the_focus_in_sight(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    page = driver.page
    photograph.save(tmp_path / "x.png")

    def reach(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                outline = page.evaluate(
                    """() => {
                        const e = document.activeElement;
                        const seen = e.matches('[type=radio]') ? e.nextElementSibling : e;
                        const knob = getComputedStyle(seen, '::after');
                        return [getComputedStyle(seen).outlineStyle, knob.outlineStyle];
                    }"""
                )
                assert "solid" in outline, selector
                return
        raise AssertionError(f"{selector} cannot be reached")

    with page.expect_file_chooser() as chooser:
        reach("#choose")
        page.keyboard.press("Enter")
    chooser.value.set_files(str(tmp_path / "x.png"))
    page.wait_for_selector("#name:text-is('x.png')")
    reach("input[name=task]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.is_checked("input[name=task][value=denoise]")
    reach("#restore")
    page.keyboard.press("Enter")
    page.wait_for_selector("#save:visible")
    page.wait_for_selector("#status:text('Noise removed.')", state="attached")
    # The divider has the focus now.
    page.keyboard.press("ArrowLeft")
    driver.wait_for_pixels()
    assert page.get_attribute("#divider", "aria-valuenow") == "48"
    reach("#zoom-true")
    page.keyboard.press("Enter")
    driver.wait_for_pixels()
    assert page.inner_text("#zoom") == "100 %"
    reach("#save")
    with page.expect_download():
        page.keyboard.press("Enter")
    # In place of the brush: a rectangle.
    reach("input[name=task]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    reach("#mask-menu summary")
    page.keyboard.press("Enter")
    reach("#rectangle-form [name=width]")
    page.keyboard.press("Enter")
    reach("#restore")
    page.keyboard.press("Enter")
    page.wait_for_selector("#done:text('Holes filled.')")
