"""What the page's buttons do, without a browser."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from irae.ui.scratch import Scratch
from irae.ui.work import RestoreService

gradio = pytest.importorskip("gradio", reason="the page needs irae[ui]")

PAGE = SimpleNamespace(session_hash="a page")


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scratch]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = Scratch.create()
    yield made
    made.remove()


@pytest.fixture
def handlers(scratch: Scratch) -> Any:
    from irae.ui.handlers import Handlers

    return Handlers(RestoreService("cpu", "fp32", most_bytes=10**6, most_pixels=10**5), scratch)


def _uploads(scratch: Scratch, *names: str) -> list[str]:
    """Pictures where Gradio puts uploads, each of another content."""
    paths = []
    for index, name in enumerate(names):
        folder = scratch.root / f"upload{index}"
        folder.mkdir()
        values = np.random.default_rng(index).integers(0, 256, (24, 32, 3), np.uint8)
        Image.fromarray(values).save(folder / name)
        paths.append(str(folder / name))
    return paths


def test_a_batch_that_is_stopped_gives_what_is_done(handlers: Any, scratch: Scratch) -> None:
    uploads = _uploads(scratch, "a.png", "b.png", "a.png")

    def progress(done: tuple[int, int], **_about: object) -> None:
        if done[0] == 2:
            handlers.stop(PAGE)

    report, packed = handlers.restore_all(uploads, "denoise", 1.0, False, PAGE, progress)
    assert report.startswith("<p>2 of 3 restored, 0 failed; stopped, 1 not done.</p>")
    with zipfile.ZipFile(packed["value"]) as archive:
        assert len(archive.namelist()) == 2
    # The next one is not stopped.
    report, packed = handlers.restore_all(
        uploads, "denoise", 1.0, False, PAGE, lambda *_, **__: None
    )
    assert report.startswith("<p>3 of 3 restored, 0 failed.</p>")
    with zipfile.ZipFile(packed["value"]) as archive:
        assert archive.namelist() == ["a (2).png", "a.png", "b.png"]


def test_names_are_shown_as_text(handlers: Any, scratch: Scratch) -> None:
    uploads = _uploads(scratch, "<img src=x>.png")
    about = handlers.take_picture(uploads[0], "auto", PAGE)[0]
    report, _ = handlers.restore_all(uploads, "denoise", 0.0, False, PAGE, lambda *_, **__: None)
    for shown in (about, report):
        assert "&lt;img src=x&gt;.png" in shown
        assert "<img" not in shown


def test_only_files_of_the_page_are_taken_for_paint(
    handlers: Any, scratch: Scratch, tmp_path: Path
) -> None:
    handlers.take_picture(_uploads(scratch, "a.png")[0], "inpaint", PAGE)
    Image.new("RGBA", (32, 24), "white").save(tmp_path / "other.png")
    for path in (tmp_path / "other.png", scratch.root / "../other.png"):
        painted = {"background": None, "layers": [{"path": str(path)}], "composite": None}
        with pytest.raises(gradio.Error, match="not in a file of this page"):
            handlers.fill(painted, PAGE)


def test_a_page_whose_picture_is_gone_says_so(handlers: Any, scratch: Scratch) -> None:
    handlers.take_picture(_uploads(scratch, "a.png")[0], "auto", PAGE)
    scratch.sweep(0)
    with pytest.raises(gradio.Error, match="deleted after an hour"):
        handlers.restore("denoise", 1.0, False, PAGE)
