"""The API's maps and notes: what a model was unsure of, damage, and what a result lacks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asking import error_of, mask_of_box, noisy, pixels_of, restored_by_command
from PIL import Image

from irae.imaging.io.files import read_picture
from irae.imaging.io.picture import to_upright
from irae.restoring.find_damage import DamageFinder
from irae.restoring.restorer import Restorer
from irae.restoring.uncertainty import orientation_spread, to_map
from irae.runtime import generator
from irae.ui.words import LEFT_AS_IT_IS

pytest.importorskip("fastapi", reason="the page needs irae[ui]")


def test_what_the_model_is_unsure_of_is_drawn_as_the_command_draws_it(
    api: Any, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[274] = 6
    source = noisy(tmp_path / "x.png", exif=exif)
    key = api.bring(source)["id"]
    asked = api.client.post(f"/api/pictures/{key}/uncertainty")
    assert "no result yet" in error_of(asked, 409)
    api.restore(key, task="denoise", strength=0)
    asked = api.client.post(f"/api/pictures/{key}/uncertainty")
    assert "nothing was changed" in error_of(asked, 409)
    # An ensemble has no spread over the orientations: the map is that of its members.
    api.restore(key, task="denoise", ensemble=True)
    assert "POST" in error_of(api.client.get(f"/api/pictures/{key}/uncertainty"), 409)
    started = api.client.post(f"/api/pictures/{key}/uncertainty")
    assert started.status_code == 202
    told = api.wait(started.json()["job"])["result"]
    picture = read_picture(source)
    restorer = Restorer("denoise", device="cpu", precision="fp32")
    spread = orientation_spread(restorer, picture.pixels)
    drawn = pixels_of(api.client.get(f"/api/pictures/{key}/uncertainty"))
    assert np.array_equal(drawn, to_upright(to_map(spread), 6)[0].numpy())
    assert told["largest"] == pytest.approx(float(spread.max()), abs=0.01)
    assert 2 <= told["full"] <= max(2, told["largest"])
    shown = pixels_of(api.client.get(f"/api/pictures/{key}/preview?of=uncertainty"))
    assert shown.shape == (40, 32, 4)
    assert len(np.unique(shown[..., :3].reshape(-1, 3), axis=0)) == 1
    order = np.argsort(to_upright(spread, 6)[0].numpy().ravel())
    assert (np.diff(shown[..., 3].ravel()[order].astype(int)) >= 0).all()
    # It goes with its result.
    api.restore(key, task="jpeg")
    assert error_of(api.client.get(f"/api/pictures/{key}/uncertainty"), 409)


def test_a_map_of_a_filled_hole_is_of_the_mask_it_was_filled_with(api: Any, tmp_path: Path) -> None:
    key = api.bring(noisy(tmp_path / "x.png"))["id"]
    api.client.put(f"/api/pictures/{key}/mask", content=mask_of_box((40, 32), (8, 8, 20, 20)))
    api.restore(key, task="inpaint")
    api.client.put(f"/api/pictures/{key}/mask", content=mask_of_box((40, 32), (0, 0, 40, 32)))
    job = api.client.post(f"/api/pictures/{key}/uncertainty").json()["job"]
    assert api.wait(job)["state"] == "done"
    drawn = pixels_of(api.client.get(f"/api/pictures/{key}/uncertainty")).copy()
    assert drawn[8:20, 8:20].any()
    drawn[8:20, 8:20] = 0
    assert not drawn.any()


def test_what_a_result_lacks_of_its_picture_is_said(api: Any, tmp_path: Path) -> None:
    with Image.open(noisy(tmp_path / "x.png")) as image:
        image.save(tmp_path / "x.mpo", quality=90, save_all=True, append_images=[image])
        image.save(tmp_path / "x.jpg", quality=95)
    ramp = np.mgrid[0:64, 0:64].transpose(1, 2, 0) * 4
    colours = np.dstack((ramp, ramp[..., :1] // 2)).astype(np.uint8)
    Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "x.gif")

    most = mask_of_box((40, 32), (0, 0, 40, 30))

    def notes(name: str, **options: Any) -> list[str]:
        key = api.bring(tmp_path / name)["id"]
        if options.get("task") == "inpaint":
            api.client.put(f"/api/pictures/{key}/mask", content=most)
        found: list[str] = api.restore(key, **options)["result"]["notes"]
        return found

    assert notes("x.png", task="denoise") == []
    assert notes("x.mpo", task="denoise") == ["Its second picture is not in the result."]
    # What was left as it is lacks nothing.
    assert notes("x.mpo", strength=0) == []
    (line,) = notes("x.gif", task="denoise")
    assert line.startswith("A GIF holds 256 colours")
    painted, saved = notes("x.jpg", task="inpaint")
    assert painted.startswith("93 % of the picture was painted over; Invert")
    assert saved.startswith("It is saved as a PNG, because a JPEG would change all pixels")
    for line in (painted, saved):
        assert "--" not in line
        assert "`" not in line


def test_a_model_that_changes_no_pixel_leaves_the_file_as_it_is(api: Any, tmp_path: Path) -> None:
    source = noisy(tmp_path / "x.jpg", quality=95)
    key = api.bring(source)["id"]
    told = api.restore(key, task="denoise", strength=1e-6)["result"]
    assert not told["changed"]
    assert told["done"] == LEFT_AS_IT_IS
    assert api.client.get(f"/api/pictures/{key}/result").content == source.read_bytes()


@pytest.fixture
def scratched(tmp_path: Path) -> Path:
    """Smooth colours with a bright scratch, stored lying on the side."""
    coarse = torch.rand(1, 3, 4, 5, generator=generator(2)) * 0.6 + 0.2
    picture = torch.nn.functional.interpolate(coarse, size=(160, 200), mode="bicubic")[0]
    picture[:, 10:-10, 66:68] = 0.97
    exif = Image.Exif()
    exif[274] = 6
    values = (picture.clamp(0, 1) * 255).byte().movedim(0, 2).numpy()
    Image.fromarray(values).save(tmp_path / "scratched.png", exif=exif)
    return tmp_path / "scratched.png"


def test_damage_is_found_as_the_command_finds_it(api: Any, scratched: Path) -> None:
    key = api.bring(scratched)["id"]
    asked = api.client.get(f"/api/pictures/{key}/damage")
    assert "POST" in error_of(asked, 409)
    started = api.client.post(f"/api/pictures/{key}/damage")
    assert started.status_code == 202
    told = api.wait(started.json()["job"])["result"]
    found = DamageFinder(device="cpu").find(read_picture(scratched).pixels)
    assert found.mask.any()
    assert told["fills"]
    assert told["damaged"] == pytest.approx(found.share, abs=1e-6)
    assert told["found"].startswith("Scratches and hairs were found in ")
    mask = api.client.get(f"/api/pictures/{key}/damage").content
    with Image.open(io.BytesIO(mask)) as image:
        assert np.array_equal(np.asarray(image) > 0, to_upright(found.mask, 6)[0].numpy())
    # It can be sent back as the picture's mask.
    assert api.client.put(f"/api/pictures/{key}/mask", content=mask).status_code == 200
    by_mask = api.restore(key, task="inpaint")
    filled = api.client.get(f"/api/pictures/{key}/result").content
    assert by_mask["state"] == "done"
    api.restore(key, find_damage=True)
    assert api.client.get(f"/api/pictures/{key}/result").content == filled
    # Filling it at once keeps its mask too.
    key = api.bring(scratched)["id"]
    api.restore(key, find_damage=True)
    assert api.client.get(f"/api/pictures/{key}/damage").content == mask


def test_damage_is_filled_as_the_command_fills_it(
    api: Any, scratched: Path, tmp_path: Path
) -> None:
    key = api.bring(scratched)["id"]
    for options in ({"find_damage": True}, {"find_damage": True, "task": "denoise"}):
        told = api.restore(key, **options)["result"]
        assert told["notes"][-1].startswith("Scratches and hairs were found in ")
        answer = api.client.get(f"/api/pictures/{key}/result")
        assert answer.content == restored_by_command(scratched, **options).read_bytes()
    assert told["done"] == "Noise removed."
    # As for the command, there is no map of what was filled before another task.
    asked = api.client.post(f"/api/pictures/{key}/uncertainty")
    assert "no map is drawn" in error_of(asked, 409)
    api.restore(key, find_damage=True)
    job = api.client.post(f"/api/pictures/{key}/uncertainty").json()["job"]
    assert api.wait(job)["state"] == "done"
    # A JPEG in which nothing is found stays the file that it is.
    clean = noisy(tmp_path / "clean.jpg", quality=95)
    key = api.bring(clean)["id"]
    told = api.restore(key, find_damage=True)["result"]
    assert told["name"] == "clean.restored.jpg"
    assert not told["changed"]
    assert told["notes"] == ["No scratches, dust, hairs or stamps were found."]
    assert api.client.get(f"/api/pictures/{key}/result").content == clean.read_bytes()
