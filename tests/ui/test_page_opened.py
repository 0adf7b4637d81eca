"""``irae ui FILE…``: the page opens with these pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the page needs irae[ui]")


@pytest.mark.server
def test_the_page_opens_with_the_pictures_that_were_named(
    start: Any, start_driver: Any, browser: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    temporary, folder = tmp_path / "temporary", tmp_path / "album"
    temporary.mkdir()
    folder.mkdir()
    photograph.save(tmp_path / "x.png")
    photograph.save(folder / "y.jpg")
    (tmp_path / "cut.png").write_bytes((tmp_path / "x.png").read_bytes()[:2000])
    named = [str(tmp_path / "x.png"), str(tmp_path / "cut.png"), str(folder)]
    with start(temporary, *named) as server:
        context = browser.new_context()
        for _ in range(2):  # A page that is reloaded opens with them again.
            driver = start_driver(context, server)
            driver.page.wait_for_selector("#strip li:nth-child(2)")
            driver.page.wait_for_selector(".message")
            assert driver.page.locator("#strip .name").all_inner_texts() == ["x.png", "y.jpg"]
            assert driver.messages()[0].startswith("cut.png: damaged or truncated")
            driver.page.close()
        context.close()
        server.end()
    assert (tmp_path / "x.png").is_file()
