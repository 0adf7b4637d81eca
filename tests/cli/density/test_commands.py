"""The commands of densities, from the outside: output, files and refusals."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from PIL import Image

Program = Callable[..., CompletedProcess[str]]


def pixels(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(path))


def test_samples_are_a_grid_or_files_and_depend_on_the_seed(
    irae: Program, place: Any, tmp_path: Path
) -> None:
    grid = tmp_path / "grid.png"
    done = irae("sample", place.model, "-n", 6, "--columns", 3, "-o", grid)
    assert done.returncode == 0, done.stderr
    assert pixels(grid).shape == (2 * 10 + 2, 3 * 10 + 2)
    again, other = tmp_path / "again.png", tmp_path / "other.png"
    irae("sample", place.model, "-n", 6, "--columns", 3, "-o", again)
    irae("sample", place.model, "-n", 6, "--columns", 3, "--seed", 1, "-o", other)
    assert np.array_equal(pixels(grid), pixels(again))
    assert not np.array_equal(pixels(grid), pixels(other))
    folder = tmp_path / "single"
    assert irae("sample", place.model, "-n", 3, "-o", folder, "--enlarge", 2).returncode == 0
    assert [path.name for path in sorted(folder.iterdir())] == ["0.png", "1.png", "2.png"]
    first = pixels(folder / "0.png")
    assert first.shape == (16, 16)
    assert np.array_equal(first[::2, ::2], pixels(grid)[2:10, 2:10])


def test_at_temperature_zero_all_samples_are_one(irae: Program, place: Any, tmp_path: Path) -> None:
    assert irae("sample", place.model, "-n", 3, "--temperature", 0, "-o", tmp_path).returncode == 0
    first, second, third = (pixels(tmp_path / f"{i}.png") for i in range(3))
    assert np.array_equal(first, second) and np.array_equal(first, third)


def test_interpolation_has_both_pictures_at_its_ends(
    irae: Program, place: Any, tmp_path: Path
) -> None:
    strip = tmp_path / "strip.png"
    one, other = place.digits / "000.png", place.digits / "001.png"
    done = irae("interpolate", one, other, "--model", place.model, "--steps", 5, "-o", strip)
    assert done.returncode == 0, done.stderr
    sheet = pixels(strip)
    assert sheet.shape == (12, 52)
    assert np.array_equal(sheet[2:10, 2:10], pixels(one))
    assert np.array_equal(sheet[2:10, 42:50], pixels(other))
    middle = sheet[2:10, 22:30]
    assert not np.array_equal(middle, pixels(one)) and not np.array_equal(middle, pixels(other))


def test_scores_as_text_json_and_csv(irae: Program, place: Any, tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    done = irae(
        *("score", place.digits, "--model", place.model, "--background", place.background),
        *("--json", "--csv", table),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 120
    names = ["bits_per_dim", "typicality", "complexity_png", "complexity_webp", "ratio"]
    assert [key for key in found[0] if key not in ("file", "percentiles")] == names
    # Of the training pictures as a whole, the percentiles are spread over the range.
    for name in ("bits_per_dim", "ratio"):
        places = [each["percentiles"][name] for each in found]
        assert min(places) < 20 and max(places) > 80
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["ratio"]) for row in rows] == [each["ratio"] for each in found]
    text = irae("score", place.digits / "000.png", "--model", place.model)
    assert re.search(r"000\.png: bits_per_dim \d\.\d+ \(\d+ %\)", text.stdout)


def test_a_bad_picture_does_not_stop_the_others(irae: Program, place: Any, tmp_path: Path) -> None:
    Image.new("L", (9, 9)).save(tmp_path / "large.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.new("L", (8, 8)).save(tmp_path / "right.png")
    done = irae("score", tmp_path, "--model", place.model, "--json")
    assert done.returncode == 1
    assert [Path(each["file"]).name for each in json.loads(done.stdout)] == ["right.png"]
    assert len(re.findall("irae: error:", done.stderr)) == 2
    assert "is 9×9" in done.stderr and "broken.png" in done.stderr


def test_pictures_of_other_sizes_are_fitted_as_in_the_training(
    irae: Program, place: Any, tmp_path: Path
) -> None:
    from irae.data.small import open_small

    (tmp_path / "large").mkdir()
    random = np.random.default_rng(1)
    for number, shape in enumerate([(20, 31, 3), (8, 8, 3)]):
        picture = Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8))
        picture.save(tmp_path / "large" / f"{number}.png")
    as_trained = open_small(tmp_path / "large", size=8, channels=1, root=tmp_path, split="test")
    (tmp_path / "small").mkdir()
    for number, small in enumerate(as_trained):
        Image.fromarray(small[0].numpy()).save(tmp_path / "small" / f"{number}.png")

    def scores(folder: str, *more: str) -> list[dict[str, Any]]:
        done = irae("score", tmp_path / folder, "--model", place.model, "--json", *more)
        assert done.returncode == 0, done.stderr
        return [{**each, "file": ""} for each in json.loads(done.stdout)]

    assert scores("large", "--fit") == scores("small") == scores("small", "--fit")
    ends = [tmp_path / "large" / f"{number}.png" for number in range(2)]
    strip, page = tmp_path / "strip.png", tmp_path / "page.html"
    assert irae("interpolate", *ends, "--model", place.model, "-o", strip).returncode != 0
    done = irae("interpolate", *ends, "--model", place.model, "--fit", "-o", strip)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(pixels(strip)[2:10, 2:10], pixels(tmp_path / "small" / "0.png"))
    done = irae("latents", ends[0], "--other", ends[1], "--model", place.model, "--fit", "-o", page)
    assert done.returncode == 0, done.stderr


def test_eval_states_bits_and_dequantisation(irae: Program, place: Any) -> None:
    done = irae("eval", "--model", place.model, "--data", place.digits, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["dequantisation"] == "uniform" and found["bits"] == 8
    assert 1 < found["bits_per_dim"] < 9 and found["round_trip"] <= 0.5
    assert "bits/dim" in irae("eval", "--model", place.model, "--data", place.digits).stdout


def test_eval_counts_the_held_out_pictures_of_a_folder_that_was_learnt_from(
    irae: Program, place: Any, tmp_path: Path
) -> None:
    def counted(folder: Path) -> int:
        done = irae("eval", "--model", place.model, "--data", folder, "--json")
        assert done.returncode == 0, done.stderr
        return int(json.loads(done.stdout)["pictures"])

    whole = len(list(place.digits.iterdir()))
    assert counted(place.digits) == round(0.05 * whole)
    other = tmp_path / "other"
    shutil.copytree(place.digits, other)
    assert counted(other) == whole


def test_anomalies_are_measured_beside_trivial_baselines(
    irae: Program, place: Any, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "noise").mkdir()
    for number in range(30):
        noise = random.integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "noise" / f"{number}.png")
    # Of the folder itself only the held-out pictures would count, which are few.
    own = shutil.copytree(place.digits, tmp_path / "digits")
    done = irae(
        *("anomalies", "--model", place.model, "--data", own, "--other", tmp_path / "noise"),
        *("--background", place.background, "--json"),
    )
    assert done.returncode == 0, done.stderr
    scores = {each["name"]: each for each in json.loads(done.stdout)["scores"]}
    assert {"ratio", "png_size", "webp_size", "mean", "zeros"} < set(scores)
    # Noise is easily told from digits, by the model and by the size of a file.
    assert scores["bits_per_dim"]["auroc"] > 0.95 and scores["png_size"]["auroc"] > 0.95
    assert not scores["bits_per_dim"]["ahead"]
    for each in scores.values():
        low, high = each["interval"]
        assert low <= each["auroc"] <= high


@pytest.mark.parametrize("other", [False, True])
def test_a_page_of_a_density(irae: Program, place: Any, tmp_path: Path, other: bool) -> None:
    page = tmp_path / "page.html"
    more = ["--other", place.digits / "001.png"] if other else []
    picture = place.digits / "000.png"
    done = irae("latents", picture, "--model", place.model, "-o", page, *more)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.count("redrawn at temperature") == 2 * 5  # caption and text for the blind
    assert "share of energy" in text and text.count("data:image/png") == 2 + 7
    assert not re.search(r"(src|href)=\"(?!data:)", text)


def test_a_page_of_a_restoring_model(irae: Program, tmp_path: Path, pictures: Path) -> None:
    page = tmp_path / "page.html"
    picture, other = pictures / "val" / "0.png", pictures / "val" / "1.png"
    done = irae("latents", picture, "--model", "denoise", "--other", other, "-o", page)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "after 12 of 12" in text and "other picture&#x27;s remainder" in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["sample", "MODEL", "--temperature", "-1"], "--temperature is -1"),
        (["sample", "MODEL", "-n", "0"], "--count is 0"),
        (["sample", "denoise"], "restores pictures and is no density"),
        (["sample", "MODEL", "-o", "x.jpg"], "must end in .png"),
        (["sample", "MODEL", "-o", "OLD"], "use --overwrite"),
        (["interpolate", "A", "LARGE", "--model", "MODEL"], "is 9×9"),
        (["interpolate", "A", "COLOUR", "--model", "MODEL"], "has colours"),
        (["interpolate", "A", "A", "--model", "MODEL", "--steps", "1"], "--steps is 1"),
        (["interpolate", "A", "A", "--model", "MODEL", "--steps", "1001"], "--steps is 1001"),
        (["score", "A", "--model", "denoise"], "restores pictures and is no density"),
        (["score", "A", "--model", "MODEL", "--background", "OTHER"], "must be of the same"),
        (["score", "A", "--model", "MODEL", "--background", "MODEL"], "is no background model"),
        (["score", "A", "--model", "MODEL", "--background", "denoise"], "is no density"),
        (["score", "LARGE", "--model", "MODEL"], "is 9×9"),
        (["score", "COLOUR", "--model", "MODEL"], "has colours"),
        (["latents", "A", "--model", "denoise", "--fit"], "--fit is for densities"),
        (["restore", "A", "--model", "MODEL"], "is a density and restores nothing"),
        (["latents", "A", "--model", "inpaint"], "not a lifted network"),
        (["latents", "A", "--model", "MODEL", "-o", "page.png"], "must end in .html"),
        (["eval", "--model", "MODEL", "--data", "D", "--sigma", "25"], "--sigma is for models"),
        (["anomalies", "--model", "MODEL", "--data", "D", "--other", "nowhere"], "fashion, mnist"),
        (["anomalies", "--model", "MODEL", "--background", "MODEL"], "is no background model"),
        (["interpolate", "A", "nowhere.png", "--model", "MODEL"], "no such file"),
        (["latents", "nowhere.png", "--model", "MODEL"], "no such file"),
        (["sample", "patches"], "is a density of patches"),
        (["anomalies", "--model", "MODEL", "--max-images", "1"], "--max-images is 1"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str],
    named: str,
    irae: Program,
    place: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (9, 9)).save("large.png")
    Image.new("RGB", (8, 8), (200, 10, 10)).save("colour.png")
    Image.new("L", (8, 8)).save("old.png")
    before = sorted(tmp_path.iterdir())
    stands = {
        "MODEL": place.model,
        "OTHER": place.colour,
        "A": place.digits / "000.png",
        "D": place.digits,
        "LARGE": "large.png",
        "COLOUR": "colour.png",
        "OLD": "old.png",
    }
    done = irae(*(stands.get(word, word) for word in words))
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if "irae: error:" in line]
    assert len(lines) == 1 and named in lines[0], done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_background_of_other_pictures_is_refused_before_the_pictures_are_read(
    irae: Program, place: Any
) -> None:
    done = irae("score", "nowhere.png", "--model", place.model, "--background", place.colour)
    assert "must be of the same" in done.stderr
