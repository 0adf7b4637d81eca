"""Many pictures: their list, restoring all of them, and the zip."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from irae.batch.model_pool import ModelPool
from irae.batch.outcome import Outcome
from irae.batch.restore_files import Request, restore_files
from irae.restoring.options import RestoreOptions


@pytest.fixture
def album(photograph: Image.Image, tmp_path: Path) -> Path:
    """A folder of three pictures, one of them in a subfolder."""
    folder = tmp_path / "album"
    (folder / "old").mkdir(parents=True)
    photograph.save(folder / "a.png")
    photograph.crop((0, 0, 64, 64)).save(folder / "b.jpg", quality=95)
    photograph.crop((20, 10, 100, 80)).save(folder / "old" / "a.png")
    return folder


def _bring(driver: Any, folder: Path, count: int) -> None:
    driver.drop(folder)
    driver.page.wait_for_selector(f"#strip li:nth-child({count})")
    driver.page.wait_for_selector("#work", state="hidden")


def _states(driver: Any) -> list[str]:
    states: list[str] = driver.page.locator("#strip li").evaluate_all(
        "all => all.map(row => row.dataset.state)"
    )
    return states


def test_all_are_restored_and_saved_as_a_zip(driver: Any, album: Path, tmp_path: Path) -> None:
    page = driver.page
    _bring(driver, album, 3)
    driver.task("denoise")
    assert page.is_disabled("#save-all")
    page.click("#restore-all")
    page.wait_for_selector("#work", state="hidden")
    assert _states(driver) == ["done"] * 3
    # They are in order of their names, folder by folder.
    got = driver.download("#save-all", tmp_path / "page")
    told: list[Outcome] = []
    pool = ModelPool(RestoreOptions("denoise", device="cpu", precision="fp32"))
    request = Request((str(album),), str(tmp_path / "out"), recursive=True)
    restore_files(request, pool, told.append)
    with zipfile.ZipFile(got) as archive:
        assert sorted(archive.namelist()) == ["album/a.png", "album/b.jpg", "album/old/a.png"]
        for name in archive.namelist():
            expected = tmp_path / "out" / Path(name).relative_to("album")
            assert archive.read(name) == expected.read_bytes()


def test_each_opens_in_the_view_and_some_are_selected(
    driver: Any, album: Path, tmp_path: Path
) -> None:
    page = driver.page
    _bring(driver, album, 3)
    names = page.locator("#strip .name").all_inner_texts()
    page.click("#strip li:nth-child(3) .thumb")
    assert page.inner_text("#name") == names[2]
    page.click("#strip li:nth-child(1) .thumb")
    page.click("#strip li:nth-child(3) .thumb", modifiers=["Control"])
    page.click("#strip li:nth-child(2) .thumb", modifiers=["Control"])
    page.click("#strip li:nth-child(2) .thumb", modifiers=["Control"])
    page.click("#strip li:nth-child(1) .thumb", modifiers=["Control"])
    assert page.inner_text("#list-text") == "2 of 3 selected"
    page.click("#restore-all")
    page.wait_for_selector("#work", state="hidden")
    assert _states(driver) == ["done", "ready", "done"]
    page.click("#strip li:nth-child(1) .thumb")
    page.click("#strip li:nth-child(3) .thumb", modifiers=["Shift"])
    assert page.inner_text("#list-text") == "3 of 3 selected"
    with zipfile.ZipFile(driver.download("#save-all", tmp_path)) as archive:
        assert len(archive.namelist()) == 2


def test_one_or_all_are_taken_off_the_list(driver: Any, album: Path) -> None:
    page = driver.page
    root = next(driver.server.folder.glob("irae-ui-*"))
    before = set(root.iterdir())
    _bring(driver, album, 3)
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.accept()))
    page.click("#strip li:nth-child(2) .close")
    page.wait_for_selector("#strip li:nth-child(3)", state="detached")
    assert asked == []
    page.click("#restore")
    page.wait_for_selector("#work", state="hidden")
    page.click("#remove-all")
    page.wait_for_selector("#welcome:visible")
    assert asked == ["The result of album/a.png is not saved. Remove it all the same?"]
    end = time.monotonic() + 60
    while not set(root.iterdir()) <= before:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_stop_keeps_what_is_done_and_a_failed_one_is_tried_again(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    page = driver.page
    photograph.save(tmp_path / "a.png")
    large = np.tile(np.asarray(photograph), (20, 20, 1))
    Image.fromarray(large).save(tmp_path / "b.jpg", quality=95)
    photograph.save(tmp_path / "c.png")
    driver.choose(tmp_path / "a.png", tmp_path / "b.jpg", tmp_path / "c.png")
    page.wait_for_selector("#strip li:nth-child(3)")
    driver.task("denoise")
    page.click("#restore-all")
    page.wait_for_selector("#work-text:has-text('2 of 3')")
    page.wait_for_selector("#work-text:has-text('left')")
    page.click("#stop")
    page.wait_for_selector("#work", state="hidden")
    assert _states(driver) == ["done", "stopped", "ready"]
    with zipfile.ZipFile(driver.download("#save-all", tmp_path / "page")) as archive:
        assert archive.namelist() == ["a.png"]
    # The file of the first is damaged on the server: it fails, and the rest goes on.
    root = next(driver.server.folder.glob("irae-ui-*"))
    (first,) = root.glob("*/source/a.png")
    whole = first.read_bytes()
    first.write_bytes(whole[:2000])
    page.click("#strip li:nth-child(2) .close")
    page.wait_for_selector("#strip li:nth-child(3)", state="detached")
    page.click("#restore-all")
    page.wait_for_selector("#work", state="hidden")
    assert _states(driver) == ["failed", "done"]
    page.click("#strip li:nth-child(1) .thumb")
    assert "a.png: damaged or truncated" in page.inner_text("#done")
    assert str(root) not in page.inner_text("#done")
    first.write_bytes(whole)
    page.click("#strip li:nth-child(1) .again")
    page.wait_for_selector("#strip li:nth-child(1)[data-state=done]")


@pytest.mark.slow
def test_thirty_restores_leave_memory_and_disk_as_they_were(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    page = driver.page
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    root = next(driver.server.folder.glob("irae-ui-*"))
    status = Path(f"/proc/{driver.server.process.pid}/status")
    if not status.is_file():
        pytest.skip("no /proc on this system")

    def used() -> tuple[int, int]:
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) >> 10, len(list(root.rglob("*")))

    levels = []
    for index in range(30):
        driver.task(("denoise", "jpeg", "photo")[index % 3])
        driver.restore()
        levels.append(used())
    assert page.is_visible("#save")
    assert levels[-1][1] == levels[0][1]
    # In MiB, after all models are loaded.
    assert levels[-1][0] - levels[5][0] < 60
