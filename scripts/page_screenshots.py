"""Take the screenshots of docs/page.md in Debian's Chromium, without a window.

Usage: python scripts/page_screenshots.py [FOLDER]

The photographs come with scikit-image: a cup of coffee (CC0, Rachel Michetti), Chelsea (CC0, Stefan
van der Walt) and Eileen Collins (public domain, NASA).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright
from skimage import data

FIGURES = Path(__file__).resolve().parent.parent / "docs" / "figures"


@contextmanager
def served() -> Iterator[str]:
    """Start `irae ui`; yields its address."""
    command = [sys.executable, "-m", "irae", "ui", "--no-browser", "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def write_pictures(folder: Path) -> list[Path]:
    """Write photographs with noise of different strength."""
    paths = []
    for name, clean, sigma in (
        ("coffee", data.coffee(), 22),
        ("Chelsea", data.chelsea(), 15),
        ("Eileen Collins", data.astronaut(), 30),
    ):
        noise = np.random.default_rng(0).normal(0, sigma, clean.shape)
        paths.append(folder / f"{name}.png")
        noisy = (clean + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(paths[-1])
    return paths


def opened(browser: Any, address: str, width: int, height: int, scheme: str) -> Any:
    """Open the page in a new window."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#limits:not(:empty)")
    return page


def shoot(page: Any, target: Path) -> None:
    """Write what is in sight, once all of it is drawn."""
    page.wait_for_selector("#view[aria-busy=false]")
    page.wait_for_timeout(300)
    page.screenshot(path=target, type="jpeg", quality=88)


def bring(page: Any, *paths: Path) -> None:
    """Bring pictures, and wait until they are read."""
    page.set_input_files("#files", [str(path) for path in paths])
    page.wait_for_selector("#view:visible")
    page.wait_for_selector("#work", state="hidden")


def paint(page: Any, *points: tuple[float, float]) -> None:
    """Paint through points, given as shares of the view."""
    box = page.locator("#view").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=10)
    page.mouse.up()


def main() -> None:
    """Take the four screenshots."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FIGURES
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as folder, served() as address, sync_playwright() as driver:
        coffee, chelsea, collins = write_pictures(Path(folder))
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = opened(browser, address, 1280, 720, "light")
        bring(page, coffee)
        page.click("#restore")
        page.wait_for_selector("#save:visible")
        shoot(page, target / "page-restored.jpg")

        page = opened(browser, address, 1280, 720, "dark")
        bring(page, collins)
        page.check("input[name=task][value=inpaint]")
        paint(page, (0.38, 0.3), (0.44, 0.5), (0.42, 0.62))
        paint(page, (0.58, 0.25), (0.6, 0.4))
        shoot(page, target / "page-brush.jpg")

        page = opened(browser, address, 1280, 720, "light")
        bring(page, coffee, chelsea, collins)
        page.click("#restore-all")
        page.wait_for_selector("#work", state="hidden")
        page.click("#strip li:nth-child(2) .thumb")
        shoot(page, target / "page-many.jpg")

        page = opened(browser, address, 390, 780, "dark")
        bring(page, chelsea)
        page.click("#restore")
        page.wait_for_selector("#save:visible")
        shoot(page, target / "page-narrow.jpg")
        browser.close()


if __name__ == "__main__":
    main()
