"""Measure how the brush of `irae ui` follows the pointer on a picture of 24 megapixels.

Usage: python scripts/page_strokes.py [--megapixels 24]

Prints, in milliseconds, what one move of the pointer takes in the page's scripts and until the next
frame is drawn, while a stroke is painted over many others; and what it takes to send the mask at
full size.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
from page_screenshots import bring, opened, paint, served
from PIL import Image
from playwright.sync_api import sync_playwright
from skimage import data

MEASURE = """async () => {
    const view = document.getElementById('view');
    const box = view.getBoundingClientRect();
    const times = { script: [], frame: [] };
    const send = (type, x, y) => view.dispatchEvent(new PointerEvent(type, { bubbles: true,
        cancelable: true, pointerId: 1, pointerType: 'mouse', button: 0, buttons: 1,
        clientX: box.left + x * box.width, clientY: box.top + y * box.height }));
    view.setPointerCapture = () => {};
    send('pointerdown', 0.2, 0.5);
    for (let i = 0; i < 200; i += 1) {
        const begin = performance.now();
        send('pointermove', 0.2 + 0.6 * i / 200, 0.5 + 0.1 * Math.sin(i / 8));
        times.script.push(performance.now() - begin);
        await new Promise((resolve) => requestAnimationFrame(resolve));
        times.frame.push(performance.now() - begin);
    }
    send('pointerup', 0.8, 0.5);
    return times;
}"""


def main() -> None:
    """Paint and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megapixels", type=float, default=24)
    megapixels = parser.parse_args().megapixels
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    size = round(1.5 * height), height
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as folder, served() as address, sync_playwright() as driver:
        path = Path(folder) / "large.jpg"
        Image.fromarray(data.coffee()).resize(size).save(path, quality=90)
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = opened(browser, address, 1440, 900, "light")
        page.set_default_timeout(180_000)
        bring(page, path)
        page.check("input[name=task][value=inpaint]")
        for row in range(20):
            paint(page, (0.3, 0.2 + 0.03 * row), (0.7, 0.2 + 0.03 * row))
        page.wait_for_selector("#view[aria-busy=false]")
        times = page.evaluate(MEASURE)
        for name, values in times.items():
            low, high = np.percentile(values, [50, 95])
            print(f"{name:6}  median {low:6.2f} ms, 95 % {high:6.2f} ms")
        page.click("#mask-menu summary")
        with page.expect_download() as started:
            begin = page.evaluate("() => performance.now()")
            page.click("#mask-save")
        started.value.path()
        print(f"mask    {page.evaluate('() => performance.now()') - begin:6.0f} ms at full size")
        browser.close()


if __name__ == "__main__":
    main()
