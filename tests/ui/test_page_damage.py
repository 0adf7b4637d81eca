"""On the page: damage that is found, what a result lacks, and how sure it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from irae.imaging.io.files import read_picture
from irae.restoring.find_damage import DamageFinder
from irae.runtime import generator


@pytest.fixture
def scratched(tmp_path: Path) -> Path:
    """Smooth colours with a bright scratch of two pixels."""
    coarse = torch.rand(1, 3, 4, 5, generator=generator(2)) * 0.6 + 0.2
    picture = torch.nn.functional.interpolate(coarse, size=(160, 200), mode="bicubic")[0]
    picture[:, 10:-10, 66:68] = 0.97
    values = (picture.clamp(0, 1) * 255).byte().movedim(0, 2).numpy()
    Image.fromarray(values).save(tmp_path / "scratched.png")
    return tmp_path / "scratched.png"


def _found(path: Path) -> Any:
    mask = DamageFinder(device="cpu").find(read_picture(path).pixels).mask[0].numpy()
    assert mask.any()
    return mask


def _wait(page: Any) -> None:
    page.wait_for_selector("#work:visible")
    page.wait_for_selector("#work", state="hidden")


def _saved_mask(driver: Any, folder: Path) -> Any:
    """Save the mask by the page's menu: bool ``H W``."""
    driver.page.click("#mask-menu summary")
    with Image.open(driver.download("#mask-save", folder / "page")) as image:
        return np.asarray(image.convert("L")) > 127


def test_found_damage_is_put_into_the_brush_for_correcting_by_hand(
    driver: Any, scratched: Path, tmp_path: Path
) -> None:
    page, found = driver.page, _found(scratched)
    driver.bring(scratched)
    driver.task("inpaint")
    assert page.is_disabled("#restore")
    page.click("#find-damage")
    _wait(page)
    assert page.inner_text("#hint").startswith("Scratches and hairs were found in ")
    assert page.inner_text("#hint") in page.text_content("#status")
    assert np.array_equal(_saved_mask(driver, tmp_path), found)
    # It is a step like any other: the eraser and Undo take it away, and strokes are added to it.
    page.click("#undo")
    assert page.is_disabled("#restore")
    page.click("#redo")
    driver.stroke((0.7, 0.8), (0.72, 0.8))
    both = _saved_mask(driver, tmp_path)
    assert both[found].all()
    assert both.sum() > found.sum() + 10
    driver.restore()
    assert page.inner_text("#done").startswith("Holes filled.")


def test_scratches_are_found_and_filled_by_one_choice(
    driver: Any, scratched: Path, photograph: Image.Image, tmp_path: Path
) -> None:
    page, found = driver.page, _found(scratched)
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    driver.bring(scratched)
    driver.task("scratches")
    assert "All else stays as it is" in page.inner_text("#hint")
    page.click("#more summary")
    assert page.is_hidden("#strength")
    page.click("#strip li:nth-child(1) .thumb")
    page.click("#restore-all")
    _wait(page)
    # Nothing is found in the photograph.
    assert page.inner_text("#done") == "Nothing was changed; the picture is left as it is."
    assert page.locator("#notes li").all_inner_texts() == [
        "No scratches, dust, hairs or stamps were found."
    ]
    page.click("#strip li:nth-child(2) .thumb")
    assert page.inner_text("#done").startswith("Damage filled.")
    got = driver.download("#save", tmp_path / "page")
    with Image.open(got) as image, Image.open(scratched) as given:
        changed = (np.asarray(image) != np.asarray(given)).any(2)
    assert not changed[~found].any()
    # Around the scratch, what is filled may be what was there.
    assert changed[found].mean() > 0.5
    assert page.inner_text("#go-on") == "Go on with this"
    driver.task("photo")
    assert page.is_hidden("#go-on")
    assert page.inner_text("#stale") == "This result was made with: Scratches."


def test_what_scratches_filled_is_corrected_with_the_brush(
    driver: Any, scratched: Path, tmp_path: Path
) -> None:
    page, found = driver.page, _found(scratched)
    driver.bring(scratched)
    driver.task("scratches")
    driver.restore()
    page.click("#paint-more")
    page.wait_for_selector("#brushbar:visible")
    assert page.is_checked("input[value=inpaint]")
    # Coming by this way again does not put what was found there twice.
    driver.task("scratches")
    page.click("#paint-more")
    page.wait_for_selector("#brushbar:visible")
    assert np.array_equal(_saved_mask(driver, tmp_path), found)
    page.click("#undo")
    assert page.is_disabled("#undo")
    page.click("#redo")
    driver.stroke((0.7, 0.8), (0.72, 0.8))
    driver.restore()
    assert page.inner_text("#done").startswith("Holes filled.")
    # One goes on with a result of Scratches, and what it has filled is not filled again.
    driver.task("scratches")
    driver.restore()
    page.click("#go-on")
    page.wait_for_selector("#go-on", state="hidden")
    driver.task("inpaint")
    left = _saved_mask(driver, tmp_path)
    assert left.any()
    assert not (left & found).any()


def test_what_a_result_lacks_is_said_below_the_picture_and_in_the_list(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    page = driver.page
    photograph.save(tmp_path / "y.png")
    photograph.save(tmp_path / "x.mpo", quality=90, save_all=True, append_images=[photograph])
    driver.bring(tmp_path / "y.png")
    driver.bring(tmp_path / "x.mpo")
    driver.task("denoise")
    driver.restore()
    note = "Its second picture is not in the result."
    assert page.locator("#notes li").all_inner_texts() == [note]
    assert note in page.text_content("#status")
    states = page.locator("#strip .state").all_inner_texts()
    assert states == ["", "done, see note"]
    page.click("#strip li:nth-child(1) .thumb")
    assert page.is_hidden("#notes")


def test_how_sure_the_result_is_lies_over_it(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    page = driver.page
    photograph.save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    page.click("#more summary")
    assert page.is_disabled("#doubt")
    driver.task("denoise")
    driver.restore()
    plain = driver.pixels()
    page.click("#doubt")
    page.wait_for_selector("#work-text:has-text('Checking how sure it is')")
    page.wait_for_selector("#work", state="hidden")
    driver.wait_for_pixels()
    assert page.get_attribute("#doubt", "aria-pressed") == "true"
    explained = page.inner_text("#doubt-note")
    assert explained.startswith("The bluer, the less sure.")
    assert page.text_content("#status") == explained
    # It lies over the right half alone, and makes that bluer.
    shown, middle = driver.pixels(), plain.shape[1] // 2
    assert np.array_equal(shown[:, : middle - 2], plain[:, : middle - 2])
    change = shown[:, middle + 2 :].astype(int) - plain[:, middle + 2 :]
    assert change[..., 2].mean() > change[..., 0].mean() + 3
    page.click("#doubt")
    assert np.array_equal(driver.pixels(), plain)
    # It does not outlive its result.
    page.click("#doubt")
    assert np.array_equal(driver.pixels(), shown)
    driver.task("jpeg")
    driver.restore()
    assert page.get_attribute("#doubt", "aria-pressed") == "false"


def test_looking_how_sure_it_is_can_be_stopped(
    driver: Any, photograph: Image.Image, tmp_path: Path
) -> None:
    page = driver.page
    Image.fromarray(np.tile(np.asarray(photograph), (4, 4, 1))).save(tmp_path / "x.png")
    driver.bring(tmp_path / "x.png")
    driver.task("denoise")
    driver.restore()
    page.click("#more summary")
    page.click("#doubt")
    page.wait_for_selector("#work-text:has-text('left')")
    page.click("#stop")
    page.wait_for_selector("#work", state="hidden")
    assert page.get_attribute("#doubt", "aria-pressed") == "false"
    # The result is there as before.
    assert page.inner_text("#done").startswith("Noise removed.")
    assert page.is_visible("#save")
