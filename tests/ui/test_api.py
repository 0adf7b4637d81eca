"""The API: what it takes, what it answers, and that it leaves nothing behind."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from irae.batch.model_pool import ModelPool
from irae.batch.outcome import Outcome
from irae.batch.restore_files import Request, restore_files
from irae.imaging.io.files import read_picture
from irae.imaging.io.picture import to_upright
from irae.restoring.find_damage import DamageFinder
from irae.restoring.options import RestoreOptions
from irae.restoring.restorer import Restorer
from irae.restoring.uncertainty import orientation_spread, to_map
from irae.runtime import generator
from irae.ui.words import LEFT_AS_IT_IS

pytest.importorskip("fastapi", reason="the page needs irae[ui]")


def _noisy(path: Path, seed: int = 0, size: tuple[int, int] = (40, 32), **options: Any) -> Path:
    values = np.random.default_rng(seed).normal(128, 25, (size[1], size[0], 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(path, **options)
    return path


def _restored(source: Path, mask: Path | None = None, **options: Any) -> Path:
    """What the command makes of a picture."""
    told: list[Outcome] = []
    pool = ModelPool(RestoreOptions(device="cpu", precision="fp32", **options))
    restore_files(Request((str(source),), mask=mask, overwrite=True), pool, told.append)
    assert told[0].output is not None, told[0].error
    return Path(told[0].output)


def _pixels(answer: Any) -> np.ndarray[Any, Any]:
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(answer.content)) as image:
        return np.asarray(image)


def _mask(size: tuple[int, int], box: tuple[int, int, int, int]) -> bytes:
    image = Image.new("L", size)
    image.paste(255, box)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _error(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    sentence: str = answer.json()["error"]
    assert "\n" not in sentence
    assert "/tmp" not in sentence
    return sentence


def test_a_picture_is_brought_restored_and_fetched(api: Any, tmp_path: Path) -> None:
    source = _noisy(tmp_path / "Großmutter 1920.png")
    about = api.bring(source)
    assert about["name"] == "Großmutter 1920.png"
    assert (about["width"], about["height"], about["depth"]) == (40, 32, 8)
    assert about["found"] == "Looks noisy; its noise will be removed."
    key = about["id"]
    missing = api.client.get(f"/api/pictures/{key}/result")
    assert _error(missing, 409) == "this picture has no result yet; restore it first"
    told = api.restore(key, task="denoise", strength=0.5, ensemble=True)
    assert told["state"] == "done"
    assert told["result"]["name"] == "Großmutter 1920.restored.png"
    assert told["result"]["changed"]
    answer = api.client.get(f"/api/pictures/{key}/result")
    expected = _restored(source, task="denoise", strength=0.5, ensemble=True)
    assert answer.content == expected.read_bytes()
    assert "Gro%C3%9Fmutter%201920.restored.png" in answer.headers["content-disposition"]
    assert api.client.delete(f"/api/pictures/{key}").status_code == 204
    assert api.files() == []
    assert "bring it again" in _error(api.client.get(f"/api/pictures/{key}/preview"), 404)


def test_what_belongs_to_a_file_is_kept(api: Any, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[271] = "camera"
    deep = np.random.default_rng(0).normal(32000, 6000, (32, 40)).clip(0, 65535).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png", exif=exif, icc_profile=b"a profile, whole")
    _noisy(tmp_path / "x.jpg", quality=92, exif=exif, icc_profile=profile)
    rgb = Image.open(_noisy(tmp_path / "rgb.png"))
    rgb.convert("CMYK").save(tmp_path / "ink.tif")
    rgb.putalpha(Image.linear_gradient("L").resize(rgb.size))
    rgb.save(tmp_path / "glass.png")
    for name, words in (
        ("deep.png", ["16 bits", "gray", "EXIF", "colour profile"]),
        ("x.jpg", ["EXIF", "colour profile"]),
        ("ink.tif", ["CMYK"]),
        ("glass.png", ["transparency"]),
    ):
        about = api.bring(tmp_path / name)
        assert about["kept"] == words, name
        assert api.restore(about["id"], task="denoise")["state"] == "done"
        got = api.client.get(f"/api/pictures/{about['id']}/result").content
        assert got == _restored(tmp_path / name, task="denoise").read_bytes(), name


def test_a_hole_is_filled_as_the_command_fills_it(api: Any, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # To be turned to the right: it is looked at as 32 by 40.
    source = _noisy(tmp_path / "x.jpg", quality=92, exif=exif)
    key = api.bring(source)["id"]
    told = api.restore(key, task="inpaint")
    assert told["state"] == "failed"
    assert told["error"] == "nothing is painted yet; paint over what is to be filled"
    mask = _mask((32, 40), (8, 10, 14, 30))
    answer = api.client.put(f"/api/pictures/{key}/mask", content=mask)
    assert answer.json()["share"] == pytest.approx(120 / 1280)
    assert api.restore(key, task="inpaint", grow_mask=1)["result"]["name"] == "x.restored.png"
    (tmp_path / "mask.png").write_bytes(api.client.get(f"/api/pictures/{key}/mask").content)
    expected = _restored(source, tmp_path / "mask.png", task="inpaint", grow_mask=1)
    assert api.client.get(f"/api/pictures/{key}/result").content == expected.read_bytes()
    assert api.client.delete(f"/api/pictures/{key}").status_code == 204
    assert api.files() == []


def test_regions_show_the_true_pixels(api: Any, tmp_path: Path) -> None:
    source = _noisy(tmp_path / "x.png", size=(300, 290))
    key = api.bring(source)["id"]
    view = f"/api/pictures/{key}/preview"
    with Image.open(source) as image:
        whole = np.asarray(image)
    assert np.array_equal(_pixels(api.client.get(view)), whole)
    part = {"x": 17, "y": 200, "width": 100, "height": 90}
    assert np.array_equal(_pixels(api.client.get(view, params=part)), whole[200:290, 17:117])
    small = _pixels(api.client.get(view, params={"scale": 0.4}))
    assert small.shape == (116, 120, 3)
    assert abs(float(small.mean()) - float(whole.mean())) < 0.5
    assert small.std() < whole.std()
    assert _error(api.client.get(view, params={"of": "after"}), 409)
    assert "scale" in _error(api.client.get(view, params={"scale": 2}), 422)
    assert "300 × 290" in _error(api.client.get(view, params={"x": 290, "width": 20}), 422)
    api.restore(key, task="denoise")
    after = _pixels(api.client.get(view, params={"of": "after"}))
    assert np.array_equal(after, _pixels(api.client.get(f"/api/pictures/{key}/result")))


def test_the_result_in_other_formats(api: Any, tmp_path: Path) -> None:
    source = _noisy(tmp_path / "x.jpg", quality=95)
    key = api.bring(source)["id"]
    api.restore(key, task="denoise")
    result = f"/api/pictures/{key}/result"
    (tmp_path / "png").mkdir()
    told: list[Outcome] = []
    pool = ModelPool(RestoreOptions(device="cpu", precision="fp32", task="denoise"))
    restore_files(Request((str(source),), str(tmp_path / "y.png")), pool, told.append)
    answer = api.client.get(result, params={"format": "png"})
    assert answer.content == (tmp_path / "y.png").read_bytes()
    lossless = _pixels(answer)
    assert np.array_equal(_pixels(api.client.get(result, params={"format": "webp"})), lossless)
    sizes = [
        len(api.client.get(result, params={"format": "jpeg", "quality": q}).content)
        for q in (30, 90)
    ]
    assert sizes[0] < sizes[1]
    assert _error(api.client.get(result, params={"format": "jpeg", "quality": 101}), 422)
    assert _error(api.client.get(result, params={"format": "exe"}), 422)


def test_a_format_that_cannot_hold_the_picture_says_so(api: Any, tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (32, 40)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "x.png")
    key = api.bring(tmp_path / "x.png")["id"]
    api.restore(key, task="denoise")
    answer = api.client.get(f"/api/pictures/{key}/result", params={"format": "jpeg"})
    assert "x.restored.jpg: JPEG cannot hold 16 bits" in _error(answer, 422)


def test_nothing_to_do_gives_the_file_back(api: Any, tmp_path: Path) -> None:
    source = _noisy(tmp_path / "x.jpg", quality=92)
    key = api.bring(source)["id"]
    told = api.restore(key, task="denoise", strength=0)
    assert told["result"]["changed"] is False
    assert "left as it is" in told["result"]["done"]
    assert api.client.get(f"/api/pictures/{key}/result").content == source.read_bytes()
    Image.new("RGB", (40, 32), "white").save(tmp_path / "clean.png")
    about = api.bring(tmp_path / "clean.png")
    assert about["found"] == "Looks clean; it will be left as it is."
    assert api.restore(about["id"])["result"]["changed"] is False


def test_a_later_result_takes_the_place_of_the_earlier_one(api: Any, tmp_path: Path) -> None:
    key = api.bring(_noisy(tmp_path / "x.png"))["id"]
    api.restore(key, task="denoise")
    first = api.client.get(f"/api/pictures/{key}/result").content
    count = len(api.files())
    assert api.restore(key, task="jpeg")["result"]["options"]["task"] == "jpeg"
    assert api.client.get(f"/api/pictures/{key}/result").content != first
    assert len(api.files()) == count


def test_many_results_keep_names_and_subfolders(api: Any, tmp_path: Path) -> None:
    names = ["a/x.png", "b/x.png", "a/x.png", "../../etc/y.png", "C:\\z.png", "not done.png"]
    keys = []
    for seed, name in enumerate(names):
        keys.append(api.bring(_noisy(tmp_path / "x.png", seed), name)["id"])
    empty = api.client.post("/api/archives", json={"pictures": keys})
    assert "no result yet" in _error(empty, 409)
    for key in keys[:-1]:
        assert api.restore(key, task="denoise")["state"] == "done"
    archive = api.client.post("/api/archives", json={"pictures": keys}).json()["id"]
    answer = api.client.get(f"/api/archives/{archive}")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert packed.namelist() == [
            "a/x.png", "b/x.png", "a/x (2).png", "etc/y.png", "C/z.png"
        ]  # fmt: skip
        first = packed.read("a/x.png")
    assert first == api.client.get(f"/api/pictures/{keys[0]}/result").content
    assert _error(api.client.get(f"/api/archives/{archive}"), 404)
    assert api.client.post("/api/leave", json={"pictures": keys}).status_code == 204
    assert api.files() == []


def test_events_tell_a_job_from_its_beginning_to_its_end(
    make_api: Callable[..., Any], tmp_path: Path
) -> None:
    api = make_api(most_pixels=10**6)
    key = api.bring(_noisy(tmp_path / "x.png", size=(300, 200)))["id"]
    job = api.client.post(f"/api/pictures/{key}/restore", json={"tile": 64}).json()["job"]
    told = []
    with api.client.stream("GET", f"/api/jobs/{job}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                told.append(json.loads(line[6:]))
    assert told[-1]["state"] == "done"
    running = [event["share"] for event in told if event["state"] == "running"]
    assert running == sorted(running)
    assert any(0 < share < 1 for share in running)


def test_pictures_named_at_the_start_are_there(
    make_api: Callable[..., Any], tmp_path: Path
) -> None:
    source, gone = _noisy(tmp_path / "x.png"), tmp_path / "gone.png"
    api = make_api(opened=(source, gone))
    assert api.client.get("/api/about").json()["opened"] == ["x.png", "gone.png"]
    answer = api.client.post("/api/opened/0")
    assert answer.status_code == 201
    assert answer.json()["name"] == "x.png"
    assert source.is_file()
    assert "gone.png" in _error(api.client.post("/api/opened/1"), 422)
    assert _error(api.client.post("/api/opened/2"), 404)


def test_heic_is_read_with_what_belongs_to_it(api: Any, tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="HEIC needs irae[ui]")
    exif = Image.Exif()
    exif[271], exif[274] = "telephone", 6
    with Image.open(_noisy(tmp_path / "x.png")) as image:
        heif.from_pillow(image).save(tmp_path / "IMG_1.HEIC", exif=exif.tobytes(), quality=95)
    about = api.bring(tmp_path / "IMG_1.HEIC")
    assert about["format"] == "HEIC"
    assert about["saved_as"] == "IMG_1.restored.png"
    assert (about["width"], about["height"]) == (32, 40)
    api.restore(about["id"], task="denoise")
    answer = api.client.get(f"/api/pictures/{about['id']}/result")
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.getexif()[271] == "telephone"
        assert image.getexif()[274] == 1
        assert image.size == (32, 40)
    # Ten bits per channel, as newer telephones write them.
    raster = np.random.default_rng(0).integers(0, 1024, (32, 40, 3)).astype(np.uint16) << 6
    file = heif.from_bytes("RGB;16", (40, 32), raster.tobytes())
    file.save(tmp_path / "deep.heic", quality=-1, chroma=444, matrix_coefficients=0)
    about = api.bring(tmp_path / "deep.heic")
    assert "16 bits" in about["kept"]
    shown = _pixels(api.client.get(f"/api/pictures/{about['id']}/preview"))
    assert np.abs(shown.astype(int) - (raster >> 8)).max() <= 3


def test_the_description_in_the_docs_is_that_of_the_api(api: Any) -> None:
    path = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    served = api.client.get("/api/openapi.json").json()

    def shape(description: dict[str, Any]) -> dict[str, Any]:
        """Paths with their methods, parameters and summaries: what no version of FastAPI adds."""
        return {
            f"{method} {path}": (
                told.get("description"),
                sorted(each["name"] for each in told.get("parameters", [])),
                "requestBody" in told,
            )
            for path, methods in description["paths"].items()
            for method, told in methods.items()
        }

    assert shape(written) == shape(served)


def test_what_the_model_is_unsure_of_is_drawn_as_the_command_draws_it(
    api: Any, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[274] = 6
    source = _noisy(tmp_path / "x.png", exif=exif)
    key = api.bring(source)["id"]
    asked = api.client.post(f"/api/pictures/{key}/uncertainty")
    assert "no result yet" in _error(asked, 409)
    api.restore(key, task="denoise", strength=0)
    asked = api.client.post(f"/api/pictures/{key}/uncertainty")
    assert "nothing was changed" in _error(asked, 409)
    # An ensemble has no spread over the orientations: the map is that of its members.
    api.restore(key, task="denoise", ensemble=True)
    assert "POST" in _error(api.client.get(f"/api/pictures/{key}/uncertainty"), 409)
    started = api.client.post(f"/api/pictures/{key}/uncertainty")
    assert started.status_code == 202
    told = api.wait(started.json()["job"])["result"]
    picture = read_picture(source)
    restorer = Restorer("denoise", device="cpu", precision="fp32")
    spread = orientation_spread(restorer, picture.pixels)
    drawn = _pixels(api.client.get(f"/api/pictures/{key}/uncertainty"))
    assert np.array_equal(drawn, to_upright(to_map(spread), 6)[0].numpy())
    assert told["largest"] == pytest.approx(float(spread.max()), abs=0.01)
    assert 2 <= told["full"] <= max(2, told["largest"])
    shown = _pixels(api.client.get(f"/api/pictures/{key}/preview?of=uncertainty"))
    assert shown.shape == (40, 32, 4)
    assert len(np.unique(shown[..., :3].reshape(-1, 3), axis=0)) == 1
    order = np.argsort(to_upright(spread, 6)[0].numpy().ravel())
    assert (np.diff(shown[..., 3].ravel()[order].astype(int)) >= 0).all()
    # It goes with its result.
    api.restore(key, task="jpeg")
    assert _error(api.client.get(f"/api/pictures/{key}/uncertainty"), 409)


def test_a_map_of_a_filled_hole_is_of_the_mask_it_was_filled_with(api: Any, tmp_path: Path) -> None:
    key = api.bring(_noisy(tmp_path / "x.png"))["id"]
    api.client.put(f"/api/pictures/{key}/mask", content=_mask((40, 32), (8, 8, 20, 20)))
    api.restore(key, task="inpaint")
    api.client.put(f"/api/pictures/{key}/mask", content=_mask((40, 32), (0, 0, 40, 32)))
    job = api.client.post(f"/api/pictures/{key}/uncertainty").json()["job"]
    assert api.wait(job)["state"] == "done"
    drawn = _pixels(api.client.get(f"/api/pictures/{key}/uncertainty")).copy()
    assert drawn[8:20, 8:20].any()
    drawn[8:20, 8:20] = 0
    assert not drawn.any()


def test_what_a_result_lacks_of_its_picture_is_said(api: Any, tmp_path: Path) -> None:
    with Image.open(_noisy(tmp_path / "x.png")) as image:
        image.save(tmp_path / "x.mpo", quality=90, save_all=True, append_images=[image])
        image.save(tmp_path / "x.jpg", quality=95)
    ramp = np.mgrid[0:64, 0:64].transpose(1, 2, 0) * 4
    colours = np.dstack((ramp, ramp[..., :1] // 2)).astype(np.uint8)
    Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "x.gif")

    def notes(name: str, **options: Any) -> list[str]:
        key = api.bring(tmp_path / name)["id"]
        if options.get("task") == "inpaint":
            api.client.put(f"/api/pictures/{key}/mask", content=_mask((40, 32), (0, 0, 40, 30)))
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
    source = _noisy(tmp_path / "x.jpg", quality=95)
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
    assert "POST" in _error(asked, 409)
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


def test_damage_is_filled_as_the_command_fills_it(
    api: Any, scratched: Path, tmp_path: Path
) -> None:
    key = api.bring(scratched)["id"]
    for options in ({"find_damage": True}, {"find_damage": True, "task": "denoise"}):
        told = api.restore(key, **options)["result"]
        assert told["notes"][-1].startswith("Scratches and hairs were found in ")
        answer = api.client.get(f"/api/pictures/{key}/result")
        assert answer.content == _restored(scratched, **options).read_bytes()
    assert told["done"] == "Noise removed."
    # As for the command, there is no map of what was filled before another task.
    asked = api.client.post(f"/api/pictures/{key}/uncertainty")
    assert "no map is drawn" in _error(asked, 409)
    api.restore(key, find_damage=True)
    job = api.client.post(f"/api/pictures/{key}/uncertainty").json()["job"]
    assert api.wait(job)["state"] == "done"
    # A JPEG in which nothing is found stays the file that it is.
    clean = _noisy(tmp_path / "clean.jpg", quality=95)
    key = api.bring(clean)["id"]
    told = api.restore(key, find_damage=True)["result"]
    assert told["name"] == "clean.restored.jpg"
    assert not told["changed"]
    assert told["notes"] == ["No scratches, dust, hairs or stamps were found."]
    assert api.client.get(f"/api/pictures/{key}/result").content == clean.read_bytes()
