"""Leaving the page, the hour, and the end of the server."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


def _left(driver: Any) -> list[str]:
    """What is on disk."""
    root = next(driver.server.folder.glob("irae-ui-*"))
    return sorted(path.name for path in root.iterdir() if path.name != "lock")


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def _asks(driver: Any) -> bool:
    """Whether the browser asks before the page is reloaded; it stays."""
    asked: list[str] = []

    def listen(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    driver.page.once("dialog", listen)
    driver.page.evaluate("() => { setTimeout(() => location.reload(), 0); }")
    driver.page.wait_for_timeout(600)
    driver.page.remove_listener("dialog", listen) if not asked else None
    return asked == ["beforeunload"]


def test_the_browser_asks_before_an_unsaved_result_is_lost(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    driver.restore()
    assert _asks(driver)
    assert driver.page.is_visible("#save")
    driver.download("#save", tmp_path / "page")
    assert not _asks(driver)
    driver.page.wait_for_selector("#welcome:visible")
    _wait(lambda: _left(driver) == [])


def test_the_browser_asks_before_strokes_are_lost(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    driver.task("inpaint")
    driver.stroke((0.4, 0.5), (0.6, 0.5))
    assert _asks(driver)
    driver.page.click("#clear")
    assert not _asks(driver)


def test_the_page_says_when_pictures_are_deleted(driver: Any) -> None:
    assert "an hour after you last used them" in " ".join(
        driver.page.inner_text("header p").split()
    )


def test_a_picture_that_was_deleted_after_an_hour_is_brought_again(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    """The browser still has the file and the strokes; the server has nothing any more."""
    page = driver.page
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    driver.restore()
    driver.task("inpaint")
    driver.stroke((0.4, 0.5), (0.6, 0.5))
    strokes = driver.pixels("strokes")

    def expire() -> None:
        key = page.evaluate(
            "() => performance.getEntriesByType('resource').map(e => e.name)"
            ".filter(n => n.includes('/preview')).at(-1).split('/')[5]"
        )
        answer = page.evaluate(
            "async key => (await fetch(`/api/pictures/${key}`, { method: 'DELETE' })).status", key
        )
        assert answer == 204

    expire()
    driver.restore()
    assert page.inner_text("#done").startswith("Holes filled.")
    page.click("#paint-more")
    assert np.array_equal(driver.pixels("strokes"), strokes)
    # A result that is gone is told, and made again.
    driver.task("denoise")
    driver.restore()
    expire()
    page.click("#save")
    page.wait_for_selector(".message")
    (line,) = driver.messages()
    assert line.startswith("This picture is not here any more (after an hour it is deleted)")
    driver.restore()
    assert driver.download("#save", tmp_path / "page").name == "x.restored.png"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["reload", "close"])
def test_a_job_ends_with_its_page(
    drivers: Callable[..., Any], photograph: Image.Image, tmp_path: Path, how: str
) -> None:
    """A second tab's picture is not kept waiting by it."""
    driver, other = drivers(), drivers()
    large = np.tile(np.asarray(photograph), (40, 40, 1))
    Image.fromarray(large).save(tmp_path / "large.jpg", quality=90)
    driver.bring(tmp_path / "large.jpg")
    driver.task("denoise")
    driver.page.click("#restore")
    driver.page.wait_for_selector("#work-text:has-text('left')")
    if how == "reload":
        driver.page.reload()
        driver.page.wait_for_selector("#welcome:visible")
    else:
        driver.page.close()
    _wait(lambda: _left(driver) == [])
    photograph.save(tmp_path / "x.png")
    other.bring(tmp_path / "x.png")
    other.restore()
    assert other.page.is_visible("#save")


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory, start: Any, browser: Any) -> Iterator[Any]:
    with start(tmp_path_factory.mktemp("own")) as server:
        context = browser.new_context()
        yield server, context
        context.close()


@pytest.mark.server
def test_the_end_of_the_server_is_told_and_the_page_keeps_what_it_has(
    own_server: Any, start_driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    server, context = own_server
    driver = start_driver(context, server)
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    driver.task("inpaint")
    driver.stroke((0.4, 0.5), (0.6, 0.5))
    shown = driver.pixels()
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(60)
    driver.page.click("#restore")
    driver.page.wait_for_selector(".message[data-key=server]")
    assert driver.messages()[0].startswith("irae has ended or cannot be reached.")
    driver.page.wait_for_selector("#work", state="hidden")
    # The picture is a little smaller, because the message takes a line.
    assert driver.pixels()[..., 3].mean() > 0.8 * shown[..., 3].mean() > 0
    assert driver.pixels()[..., :3].std() > 0.8 * shown[..., :3].std()
    assert driver.pixels("strokes").any()
    # What was painted can still be saved.
    driver.page.click("#mask-menu summary")
    assert driver.download("#mask-save", tmp_path / "page").name == "x.mask.png"


@pytest.mark.server
def test_a_server_that_was_started_anew_is_told(
    own_server: Any, start: Any, start_driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    server, context = own_server
    driver = start_driver(context, server)
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(60)
    folder = tmp_path / "temporary"
    folder.mkdir()
    with start(folder, "--port", server.origin.rpartition(":")[2]):
        driver.page.click("#restore")
        driver.page.wait_for_selector(".message[data-key=server]")
    assert driver.messages()[0].startswith("irae was started anew. Open the address")
    assert driver.pixels()[..., 3].any()
