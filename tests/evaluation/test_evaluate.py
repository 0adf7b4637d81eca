"""Evaluation of small real models whose output is known: an identity start returns its input."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from irae.data.folder import PictureSet, open_folder
from irae.errors import DataError, ModelError, UsageError
from irae.evaluation.evaluate import evaluate
from irae.evaluation.results import markdown_table
from irae.imaging.hole_filling import fill_holes
from irae.imaging.metrics import psnr, rgb_to_y
from irae.models.checkpoints.model_file import load_model
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.networks.registry import build_network, resolve_options
from irae.tasks.base import Degradation
from irae.tasks.denoise import Noise
from irae.tasks.inpaint import Hole, MaskFolder
from irae.tasks.jpeg import Jpeg
from irae.tasks.protocols import Standard


def identity(task: str) -> LoadedModel:
    """An untrained model, which by its identity start returns what it is given."""
    torch.manual_seed(0)
    options = resolve_options("irae", "default", {"width": 12, "couplings": 2, "hidden": 4})
    return LoadedModel(build_network("irae", options), ModelSpec("irae", options, task), "identity")


def write_picture(path: Path, height: int, width: int, seed: int) -> None:
    """A smooth picture, so that JPEG has blocks to show and holes have something to lose."""
    small = np.random.default_rng(seed).integers(20, 236, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def pictures(tmp_path: Path) -> PictureSet:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, (height, width) in enumerate([(40, 56), (33, 47), (64, 64)]):
        write_picture(folder / f"{number}.png", height, width, number)
    return open_folder(folder)


def test_the_input_of_a_denoiser_has_the_psnr_of_its_sigma(pictures: PictureSet) -> None:
    result = evaluate(identity("denoise"), pictures, [Noise(15), Noise(50)])
    for level, sigma in zip(result.levels, (15, 50), strict=True):
        expected = 20 * math.log10(255 / sigma)
        assert level.input["psnr"] == pytest.approx(expected, abs=0.15)
    assert (result.count, result.dropped, result.protocol, result.seed) == (3, 0, "standard", 0)
    assert (result.data, result.model, result.task) == ("photos", "identity", "denoise")


def test_the_scores_are_those_of_the_clipped_input_where_the_model_is_the_identity(
    pictures: PictureSet,
) -> None:
    result = evaluate(identity("denoise"), pictures, [Noise(50)], seed=4)
    rules = Standard()
    scores = []
    for index, each in enumerate(result.levels[0].pictures):
        clean = rules.clean(pictures.load(index), 4, index)
        noisy = rules.damage(clean, Noise(50), 4, index).pixels
        clipped = noisy.clamp(0, 1)
        assert each.path == pictures.paths[index]
        assert (each.height, each.width) == tuple(clean.shape[1:])
        assert each.input["psnr"] == psnr(noisy[None], clean[None]).item()
        assert each.output["psnr"] == pytest.approx(
            psnr(clipped[None], clean[None]).item(), abs=1e-4
        )
        for picture, measured in ((noisy, each.input), (clipped, each.output)):
            expected = structural_similarity(
                picture.numpy(),
                clean.numpy(),
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                channel_axis=0,
                data_range=1,
            )
            assert measured["ssim"] == pytest.approx(float(expected), abs=1e-4)
        scores.append(each.output["psnr"])
    assert all(score is not None for score in scores)
    mean = sum(score for score in scores if score is not None) / 3
    assert result.levels[0].output["psnr"] == pytest.approx(mean, abs=1e-9)


def test_the_same_seed_gives_the_same_numbers_and_a_smaller_set_does_not_change_them(
    pictures: PictureSet,
) -> None:
    model = identity("denoise")
    first = evaluate(model, pictures, [Noise(25)], seed=1)
    assert evaluate(model, pictures, [Noise(25)], seed=1) == first
    assert evaluate(model, pictures, [Noise(25)], seed=2) != first
    two = evaluate(model, pictures, [Noise(50), Noise(25)], seed=1, max_images=2)
    assert two.count == 2
    assert two.levels[1].pictures == first.levels[0].pictures[:2]
    assert evaluate(model, pictures, [Noise(25)], seed=1, max_images=99) == first


def test_jpeg_has_luma_and_block_scores(pictures: PictureSet) -> None:
    result = evaluate(identity("jpeg"), pictures, [Jpeg(10), Jpeg(90, "4:4:4")])
    coarse, fine = (level.input for level in result.levels)
    assert list(coarse) == ["psnr", "ssim", "psnr_y", "psnr_b"]
    for measure, value in coarse.items():
        better = fine[measure]
        assert value is not None
        assert better is not None
        assert value < better
        assert result.levels[0].output[measure] == pytest.approx(value, abs=1e-3)
    assert coarse["psnr_b"] is not None
    assert coarse["psnr_y"] is not None
    assert coarse["psnr_b"] < coarse["psnr_y"]


@pytest.mark.parametrize("place", ["center", "box"])
def test_an_inpainting_identity_fills_smoothly_and_keeps_what_is_known(
    pictures: PictureSet, place: str
) -> None:
    hole = Hole("center", 16) if place == "center" else Hole("box", 16)
    result = evaluate(identity("inpaint"), pictures, [hole])
    rules = Standard()
    for index, each in enumerate(result.levels[0].pictures):
        clean = rules.clean(pictures.load(index), 0, index)
        damaged = rules.damage(clean, hole, 0, index)
        assert damaged.mask is not None
        filled = fill_holes(damaged.pixels[None], damaged.mask[None]).clamp(0, 1)
        expected = psnr(filled, clean[None]).item()
        assert each.output["psnr"] == pytest.approx(expected, abs=1e-3)
        assert each.input["psnr"] == psnr(damaged.pixels[None], clean[None]).item()
        assert each.hole_fraction == pytest.approx(256 / (each.height * each.width))


def test_mask_files_are_named_in_the_result(pictures: PictureSet, tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    for number in range(3):
        level = np.zeros((30, 30), dtype=np.uint8)
        level[: 5 * (number + 1)] = 255
        Image.fromarray(level).save(folder / f"{number}.png")
    result = evaluate(identity("inpaint"), pictures, [MaskFolder.open(folder)])
    each = result.levels[0].pictures
    assert {picture.mask for picture in each} == set(folder.iterdir())
    assert all(picture.hole_fraction for picture in each)


def test_small_pictures_have_no_ssim_and_the_table_says_so(tmp_path: Path) -> None:
    write_picture(tmp_path / "large.png", 16, 16, 0)
    write_picture(tmp_path / "small.png", 10, 16, 1)
    write_picture(tmp_path / "tiny.png", 1, 1, 2)
    result = evaluate(identity("denoise"), open_folder(tmp_path), [Noise(25)])
    large, small, tiny = result.levels[0].pictures
    assert large.output["ssim"] is not None
    assert small.output["ssim"] is None
    assert tiny.output["psnr"] is not None
    assert result.levels[0].output["ssim"] is None
    assert "no SSIM: 2 of 3 pictures are smaller than 11 pixels" in result.describe()
    assert result.describe().split("|")[-2].strip() == "-"
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert data["levels"][0]["output"]["ssim"] is None


def test_gray_and_transparent_pictures_are_measured_as_rgb(tmp_path: Path) -> None:
    Image.new("L", (20, 20), 90).save(tmp_path / "gray.png")
    Image.new("RGBA", (20, 20), (9, 99, 200, 0)).save(tmp_path / "transparent.png")
    result = evaluate(identity("denoise"), open_folder(tmp_path), [Noise(25)])
    assert result.levels[0].input["psnr"] == pytest.approx(20.17, abs=0.5)


def test_equal_pictures_are_infinity_which_json_can_hold(pictures: PictureSet) -> None:
    result = evaluate(identity("denoise"), pictures, [Noise(0)])
    assert result.levels[0].input["psnr"] == math.inf
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert data["levels"][0]["input"]["psnr"] == "inf"
    assert " inf " in result.describe()


def test_the_authors_drop_the_last_batch_of_100(tmp_path: Path) -> None:
    for number in range(103):
        write_picture(tmp_path / f"{number:03d}.png", 16, 16, number)
    model = identity("denoise")
    result = evaluate(model, open_folder(tmp_path), [Noise(25)], protocol="authors")
    assert (result.count, result.dropped) == (100, 3)
    assert len(result.levels[0].pictures) == 100
    assert "3 pictures of the last, incomplete batch left out" in result.describe()
    assert "protocol authors" in result.describe()
    assert "not comparable with standard" in result.describe()
    with pytest.raises(UsageError, match="99 pictures leave no full batch of 100"):
        evaluate(model, open_folder(tmp_path), [Noise(25)], protocol="authors", max_images=99)
    write_picture(tmp_path / "050.png", 16, 20, 0)
    with pytest.raises(UsageError, match=r"050.png is 20x16 and .*000.png is 16x16"):
        evaluate(model, open_folder(tmp_path), [Noise(25)], protocol="authors")


def test_the_authors_inpaint_one_at_a_time(pictures: PictureSet) -> None:
    result = evaluate(identity("inpaint"), pictures, [Hole("center", 24)], protocol="authors")
    assert (result.count, result.dropped) == (3, 0)


def test_the_flowers_of_each_protocol(tmp_path: Path) -> None:
    from irae.data.registry import open_data

    shared = Path(__file__).resolve().parents[2].parent / "shared/data"
    if not (shared / "flowers-102").is_dir():
        pytest.skip("no Flowers-102 beside the project")
    flowers = open_data("flowers", root=shared, split="test", protocol="authors")
    assert len(flowers) == 2040
    result = evaluate(identity("denoise"), flowers, [Noise(25)], protocol="authors", max_images=100)
    assert result.levels[0].input["psnr"] == pytest.approx(20.17, abs=0.05)


def test_a_damaged_picture_stops_the_evaluation_and_is_named(pictures: PictureSet) -> None:
    path = pictures.paths[1]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="1.png cannot be read"):
        evaluate(identity("denoise"), pictures, [Noise(25)])


def test_a_number_that_is_not_finite_names_the_picture(pictures: PictureSet) -> None:
    model = identity("denoise")
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.fill_(math.nan)
    with pytest.raises(ModelError, match=r"0.png: .*not finite"):
        evaluate(model, pictures, [Noise(25)])


@pytest.mark.parametrize(
    ("degradations", "maximum", "protocol", "message"),
    [
        ([], None, "standard", "nothing to evaluate"),
        ([Jpeg(10)], None, "standard", "is for denoise, not for jpeg"),
        ([Noise(25)], 0, "standard", "max_images is 0"),
        ([Noise(25)], None, "paper", "use standard or authors"),
        ([Noise(25, clipped=True)], None, "authors", "no clipped noise"),
        ([Noise(300)], None, "standard", "0.png: sigma 300"),
    ],
)
def test_bad_requests_are_refused(
    pictures: PictureSet,
    degradations: list[Degradation],
    maximum: int | None,
    protocol: str,
    message: str,
) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate(identity("denoise"), pictures, degradations, protocol=protocol, max_images=maximum)


def test_a_hole_larger_than_a_picture_names_it(pictures: PictureSet) -> None:
    with pytest.raises(UsageError, match=r"1.png: a hole of 40 pixels does not fit"):
        evaluate(identity("inpaint"), pictures, [Hole("center", 40)])


def test_the_table_is_markdown_and_aligned(pictures: PictureSet) -> None:
    text = evaluate(identity("denoise"), pictures, [Noise(15), Noise(25, clipped=True)]).describe()
    head, table = text.split("\n\n")
    assert "model identity (irae, " in head
    assert "data photos, 3 pictures, seed 0" in head
    assert "fp32 on cpu" in head
    assert "protocol standard: 8-bit targets" in head
    lines = table.splitlines()
    assert lines[0] == "| level             | PSNR in | PSNR out | SSIM in | SSIM out |"
    assert lines[1] == "| ----------------- | ------: | -------: | ------: | -------: |"
    assert lines[2].startswith("| sigma 15          |   24.")
    assert lines[3].startswith("| sigma 25, clipped |   20.")
    assert len({len(line) for line in lines}) == 1
    assert markdown_table(["a", "b"], []).splitlines() == ["| a   |   b |", "| --- | --: |"]


def network(name: str, task: str, **options: object) -> LoadedModel:
    torch.manual_seed(0)
    resolved = resolve_options(name, "default", options)
    return LoadedModel(build_network(name, resolved), ModelSpec(name, resolved, task), name)


def test_a_network_told_the_noise_level_is_told_that_of_each_level(pictures: PictureSet) -> None:
    model = network("ffdnet", "denoise", width=8, layers=3)
    result = evaluate(model, pictures, [Noise(15), Noise(50, clipped=True)])
    rules = Standard()
    for level in result.levels:
        assert isinstance(level.degradation, Noise)
        clean = rules.clean(pictures.load(0), 0, 0)
        noisy = rules.damage(clean, level.degradation, 0, 0).pixels[None]
        expected = model.restore(noisy, sigma=level.degradation.sigma).clamp(0, 1)
        assert level.pictures[0].output["psnr"] == psnr(expected, clean[None]).item()


@pytest.mark.parametrize("quality", [10, 60])
def test_gray_networks_are_measured_on_luma(pictures: PictureSet, quality: int) -> None:
    """The protocol of DnCNN-3, written out with Pillow: JPEG of the 8-bit Y as a gray picture."""
    model = network("dncnn", "jpeg", channels=1, width=8, layers=3)
    with torch.no_grad():  # The identity: the noise it predicts is none.
        for parameter in model.network.parameters():
            parameter.zero_()
    result = evaluate(model, pictures, [Jpeg(quality)])
    assert result.measured_on == "Y"
    assert result.to_dict()["measured_on"] == "Y"
    assert "on luma" in result.to_dict()["protocol_summary"]
    assert "on luma" in result.describe()
    for path, each in zip(pictures.paths, result.levels[0].pictures, strict=True):
        with Image.open(path) as image:
            luma = image.convert("L")
        luma.save(path.with_suffix(".jpeg"), quality=quality)
        with Image.open(path.with_suffix(".jpeg")) as image:
            coded = np.asarray(image).astype(float)
        error = np.square(coded - np.asarray(luma).astype(float)).mean()
        expected = 20 * math.log10(255) - 10 * math.log10(error)
        # Pillow rounds luma by a table of its own: a level apart at a pixel in some hundred.
        assert each.input["psnr"] == pytest.approx(expected, abs=0.05)
        assert each.output["psnr"] == pytest.approx(each.input["psnr"], abs=1e-4)
        assert each.output["psnr_y"] == each.output["psnr"]


def test_luma_on_request_puts_colour_networks_beside_gray_ones(pictures: PictureSet) -> None:
    colour = evaluate(identity("denoise"), pictures, [Noise(25)], luma=True)
    gray_model = network("dncnn", "denoise", channels=1, width=8, layers=3)
    gray = evaluate(gray_model, pictures, [Noise(25)])
    assert (colour.measured_on, gray.measured_on) == ("Y", "Y")
    assert colour.levels[0].input == gray.levels[0].input
    rules = Standard()
    clean = (rgb_to_y(rules.clean(pictures.load(0), 0, 0)) * 255).round() / 255
    noisy = rules.damage(clean, Noise(25), 0, 0).pixels.clamp(0, 1)
    expected = psnr(noisy[None], clean[None]).item()
    assert colour.levels[0].pictures[0].output["psnr"] == pytest.approx(expected, abs=1e-4)
    assert evaluate(identity("denoise"), pictures, [Noise(25)]).measured_on == "RGB"
    with pytest.raises(UsageError, match="authors has no luma"):
        evaluate(gray_model, pictures, [Noise(25)], protocol="authors")


@pytest.mark.parametrize("name", ["nlm", "telea"])
def test_classical_models_are_evaluated_like_any(pictures: PictureSet, name: str) -> None:
    pytest.importorskip("skimage" if name == "nlm" else "cv2")
    level: Degradation = Noise(25) if name == "nlm" else Hole("center", 8)
    result = evaluate(load_model(name), pictures, [level])
    assert (result.model, result.network, result.parameters) == (name, name, 0)
    before, after = result.levels[0].input["psnr"], result.levels[0].output["psnr"]
    assert before is not None
    assert after is not None
    assert after > before + 3
