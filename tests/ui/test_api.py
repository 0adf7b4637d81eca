"""The API: what it takes, what it answers, and that it leaves nothing behind."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import error_of, mask_of_box, noisy, pixels_of, restored_by_command
from PIL import Image, ImageCms

from irae.batch.model_pool import ModelPool
from irae.batch.outcome import Outcome
from irae.batch.restore_files import Request, restore_files
from irae.restoring.automatic.inspect_picture import inspect_picture
from irae.restoring.automatic.inspection import Inspection
from irae.restoring.options import RestoreOptions
from irae.ui.words import describe_damage

pytest.importorskip("fastapi", reason="the page needs irae[ui]")


def test_a_picture_is_brought_restored_and_fetched(api: Any, tmp_path: Path) -> None:
    source = noisy(tmp_path / "Großmutter 1920.png")
    about = api.bring(source)
    assert about["name"] == "Großmutter 1920.png"
    assert (about["width"], about["height"], about["depth"]) == (40, 32, 8)
    assert about["found"] == "Looks noisy; its noise will be removed."
    key = about["id"]
    missing = api.client.get(f"/api/pictures/{key}/result")
    assert error_of(missing, 409) == "this picture has no result yet; restore it first"
    told = api.restore(key, task="denoise", strength=0.5, ensemble=True)
    assert told["state"] == "done"
    assert told["result"]["name"] == "Großmutter 1920.restored.png"
    assert told["result"]["changed"]
    answer = api.client.get(f"/api/pictures/{key}/result")
    expected = restored_by_command(source, task="denoise", strength=0.5, ensemble=True)
    assert answer.content == expected.read_bytes()
    assert "Gro%C3%9Fmutter%201920.restored.png" in answer.headers["content-disposition"]
    assert api.client.delete(f"/api/pictures/{key}").status_code == 204
    assert api.files() == []
    assert "bring it again" in error_of(api.client.get(f"/api/pictures/{key}/preview"), 404)


def test_what_belongs_to_a_file_is_kept(api: Any, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[271] = "camera"
    deep = np.random.default_rng(0).normal(32000, 6000, (32, 40)).clip(0, 65535).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png", exif=exif, icc_profile=b"a profile, whole")
    noisy(tmp_path / "x.jpg", quality=92, exif=exif, icc_profile=profile)
    rgb = Image.open(noisy(tmp_path / "rgb.png"))
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
        assert got == restored_by_command(tmp_path / name, task="denoise").read_bytes(), name


def test_a_hole_is_filled_as_the_command_fills_it(api: Any, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # To be turned to the right: it is looked at as 32 by 40.
    source = noisy(tmp_path / "x.jpg", quality=92, exif=exif)
    key = api.bring(source)["id"]
    told = api.restore(key, task="inpaint")
    assert told["state"] == "failed"
    assert told["error"] == "nothing is painted yet; paint over what is to be filled"
    mask = mask_of_box((32, 40), (8, 10, 14, 30))
    answer = api.client.put(f"/api/pictures/{key}/mask", content=mask)
    assert answer.json()["share"] == pytest.approx(120 / 1280)
    assert api.restore(key, task="inpaint", grow_mask=1)["result"]["name"] == "x.restored.png"
    (tmp_path / "mask.png").write_bytes(api.client.get(f"/api/pictures/{key}/mask").content)
    expected = restored_by_command(source, tmp_path / "mask.png", task="inpaint", grow_mask=1)
    assert api.client.get(f"/api/pictures/{key}/result").content == expected.read_bytes()
    assert api.client.delete(f"/api/pictures/{key}").status_code == 204
    assert api.files() == []


def test_regions_show_the_true_pixels(api: Any, tmp_path: Path) -> None:
    source = noisy(tmp_path / "x.png", size=(300, 290))
    key = api.bring(source)["id"]
    view = f"/api/pictures/{key}/preview"
    with Image.open(source) as image:
        whole = np.asarray(image)
    assert np.array_equal(pixels_of(api.client.get(view)), whole)
    part = {"x": 17, "y": 200, "width": 100, "height": 90}
    assert np.array_equal(pixels_of(api.client.get(view, params=part)), whole[200:290, 17:117])
    small = pixels_of(api.client.get(view, params={"scale": 0.4}))
    assert small.shape == (116, 120, 3)
    assert abs(float(small.mean()) - float(whole.mean())) < 0.5
    assert small.std() < whole.std()
    assert error_of(api.client.get(view, params={"of": "after"}), 409)
    assert "scale" in error_of(api.client.get(view, params={"scale": 2}), 422)
    assert "300 × 290" in error_of(api.client.get(view, params={"x": 290, "width": 20}), 422)
    api.restore(key, task="denoise")
    after = pixels_of(api.client.get(view, params={"of": "after"}))
    assert np.array_equal(after, pixels_of(api.client.get(f"/api/pictures/{key}/result")))


def test_the_result_in_other_formats(api: Any, tmp_path: Path) -> None:
    source = noisy(tmp_path / "x.jpg", quality=95)
    key = api.bring(source)["id"]
    api.restore(key, task="denoise")
    result = f"/api/pictures/{key}/result"
    (tmp_path / "png").mkdir()
    told: list[Outcome] = []
    pool = ModelPool(RestoreOptions(device="cpu", precision="fp32", task="denoise"))
    restore_files(Request((str(source),), str(tmp_path / "y.png")), pool, told.append)
    answer = api.client.get(result, params={"format": "png"})
    assert answer.content == (tmp_path / "y.png").read_bytes()
    lossless = pixels_of(answer)
    assert np.array_equal(pixels_of(api.client.get(result, params={"format": "webp"})), lossless)
    sizes = [
        len(api.client.get(result, params={"format": "jpeg", "quality": q}).content)
        for q in (30, 90)
    ]
    assert sizes[0] < sizes[1]
    assert error_of(api.client.get(result, params={"format": "jpeg", "quality": 101}), 422)
    assert error_of(api.client.get(result, params={"format": "exe"}), 422)


def test_a_format_that_cannot_hold_the_picture_says_so(api: Any, tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (32, 40)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "x.png")
    key = api.bring(tmp_path / "x.png")["id"]
    api.restore(key, task="denoise")
    answer = api.client.get(f"/api/pictures/{key}/result", params={"format": "jpeg"})
    assert "x.restored.jpg: JPEG cannot hold 16 bits" in error_of(answer, 422)


def test_nothing_to_do_gives_the_file_back(api: Any, tmp_path: Path) -> None:
    source = noisy(tmp_path / "x.jpg", quality=92)
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
    key = api.bring(noisy(tmp_path / "x.png"))["id"]
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
        keys.append(api.bring(noisy(tmp_path / "x.png", seed), name)["id"])
    empty = api.client.post("/api/archives", json={"pictures": keys})
    assert "no result yet" in error_of(empty, 409)
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
    assert error_of(api.client.get(f"/api/archives/{archive}"), 404)
    assert api.client.post("/api/leave", json={"pictures": keys}).status_code == 204
    assert api.files() == []


def test_events_tell_a_job_from_its_beginning_to_its_end(
    make_api: Callable[..., Any], tmp_path: Path
) -> None:
    api = make_api(most_pixels=10**6)
    key = api.bring(noisy(tmp_path / "x.png", size=(300, 200)))["id"]
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
    source, gone = noisy(tmp_path / "x.png"), tmp_path / "gone.png"
    api = make_api(opened=(source, gone))
    assert api.client.get("/api/about").json()["opened"] == ["x.png", "gone.png"]
    answer = api.client.post("/api/opened/0")
    assert answer.status_code == 201
    assert answer.json()["name"] == "x.png"
    assert source.is_file()
    assert "gone.png" in error_of(api.client.post("/api/opened/1"), 422)
    assert error_of(api.client.post("/api/opened/2"), 404)


def test_heic_is_read_with_what_belongs_to_it(api: Any, tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="HEIC needs irae[ui]")
    exif = Image.Exif()
    exif[271], exif[274] = "telephone", 6
    with Image.open(noisy(tmp_path / "x.png")) as image:
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
    shown = pixels_of(api.client.get(f"/api/pictures/{about['id']}/preview"))
    assert np.abs(shown.astype(int) - (raster >> 8)).max() <= 3


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif", ".HEIC"])
def test_a_picture_is_inspected_as_the_command_inspects_it(
    suffix: str, api: Any, photograph: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / f"x{suffix}"
    if suffix == ".HEIC":
        heif = pytest.importorskip("pillow_heif", reason="HEIC needs irae[ui]")
        heif.from_pillow(photograph).save(source, quality=40)
    else:
        photograph.save(source, quality=40)
    seen: list[Inspection] = []

    def keep(found: Inspection) -> str:
        seen.append(found)
        return describe_damage(found)

    monkeypatch.setattr("irae.ui.intake.describe_damage", keep)
    api.bring(source)
    assert replace(seen[0], path=source) == inspect_picture(source)


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
