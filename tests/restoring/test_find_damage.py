"""Finding damage: masks and kinds of known probabilities, tiles, and the packaged detector."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from irae.errors import IraeError, ModelError
from irae.imaging.film_damage import paste_damage, read_overlays
from irae.imaging.io.files import read_picture
from irae.imaging.metrics import average_precision
from irae.models.checkpoints.checksums import recorded_checksums
from irae.models.checkpoints.model_file import (
    load_density,
    load_detector,
    packaged_detectors,
    packaged_models,
)
from irae.restoring import find_damage
from irae.restoring.damage_kinds import LINES, SPECKS, STAINS, STAMP, shares_by_kind
from irae.restoring.find_damage import DETECTOR, GROWN, DamageFinder, grown
from irae.runtime import generator
from irae.writing import file_sha256


def test_less_certain_regions_count_in_a_damaged_picture_only(finder: DamageFinder) -> None:
    probabilities = torch.zeros(1, 40, 60)
    probabilities[0, 5:8, 5:30] = find_damage.WEAK + 0.01
    assert not finder.mask_of(probabilities).any()
    probabilities[0, 20:23, 5:30] = 0.999
    assert int(finder.mask_of(probabilities).sum()) == 2 * 3 * 25


@pytest.fixture(scope="module")
def finder() -> DamageFinder:
    return DamageFinder(device="cpu")


def smooth(height: int = 160, width: int = 200) -> Tensor:
    """Smooth colours with an edge, without damage."""
    coarse = torch.rand(1, 3, 4, 5, generator=generator(2)) * 0.6 + 0.2
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")[0]


def scratched(height: int = 160, width: int = 200) -> tuple[Tensor, Tensor]:
    """The same with a bright scratch of two pixels."""
    picture, mask = smooth(height, width), torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, 10:-10, width // 3 : width // 3 + 2] = True
    return torch.where(mask, 0.97, picture), mask


def test_regions_need_a_certain_pixel_and_an_area(finder: DamageFinder) -> None:
    probabilities = torch.zeros(1, 40, 60)
    probabilities[0, 5:8, 5:30] = 0.8  # A line of which one pixel is certain.
    probabilities[0, 6, 20] = 0.999
    probabilities[0, 20:23, 5:30] = 0.6  # Less certain than what is believed there.
    probabilities[0, 30, 50] = 0.999  # Certain, but too small.
    mask = finder.mask_of(probabilities)
    assert int(mask.sum()) == 3 * 25
    assert mask[0, 5:8, 5:30].all()
    found = finder.found_in(probabilities, torch.rand(3, 40, 60))
    assert int(found.mask.sum()) == (3 + 2 * GROWN) * (25 + 2 * GROWN)
    assert found.share == pytest.approx(float(found.mask.float().mean()))


@pytest.mark.parametrize(
    ("height", "length", "probability", "marked"),
    [(2, 20, 0.95, False), (2, 100, 0.77, True), (2, 100, 0.73, False)]
    + [(8, 100, 0.82, False), (8, 100, 0.9, True)],
)
def test_a_region_that_is_certain_all_over_is_damage(
    finder: DamageFinder, height: int, length: int, probability: float, marked: bool
) -> None:
    probabilities = torch.zeros(1, 40, 120)
    # Below the threshold; less is asked of a thin line.
    probabilities[0, 5 : 5 + height, 5 : 5 + length] = probability
    assert finder.mask_of(probabilities).any() == marked


def test_thin_regions_go_on_where_they_are_faint_and_thick_ones_do_not(
    finder: DamageFinder,
) -> None:
    probabilities = torch.zeros(1, 60, 120)
    probabilities[0, 5:8, 5:105] = 0.999
    probabilities[0, 5:8, 40:50] = 0.5  # A faint place of a scratch.
    probabilities[0, 20:32, 5:105] = 0.999
    probabilities[0, 32:44, 5:105] = 0.5
    mask = finder.mask_of(probabilities)[0]
    assert mask[5:8, 5:105].all() and mask[20:32, 5:105].all()
    assert int(mask.sum()) == (3 + 12) * 100


def test_masks_grow_by_whole_pixels() -> None:
    mask = torch.zeros(1, 9, 9, dtype=torch.bool)
    mask[0, 0, 4] = True
    assert torch.equal(grown(mask, 0), mask)
    assert int(grown(mask, 1).sum()) == 2 * 3 and int(grown(mask, 2).sum()) == 3 * 5


def test_kinds_are_told_by_shape_and_colour() -> None:
    mask, picture = torch.zeros(200, 300, dtype=torch.bool), torch.full((3, 200, 300), 0.5)
    mask[20:180, 30:32] = True
    for row in range(10, 190, 30):
        mask[row : row + 3, 60:63] = True
    mask[50:90, 120:160] = True
    mask[150:160, 200:230] = True
    picture[:, 150:160, 200:230] = torch.tensor([1.0, 0.5, 0.1]).view(3, 1, 1)
    shares = shares_by_kind(mask.numpy(), picture)
    total = mask.numel()
    expected = {STAINS: 1600, LINES: 320, STAMP: 300, SPECKS: 54}
    assert shares == {kind: pytest.approx(count / total) for kind, count in expected.items()}
    assert list(shares) == list(expected)
    # Gray pictures have no stamps of a colour.
    assert STAMP not in shares_by_kind(mask.numpy(), picture[:1])


def test_a_scratch_on_a_smooth_picture_is_found(finder: DamageFinder) -> None:
    picture, truth = scratched()
    found = finder.find(picture)
    assert float(found.mask[truth].float().mean()) > 0.9
    assert not found.mask[~grown(truth, 3)].any()
    assert found.describe().startswith(f"{found.share:.2%}".replace("%", " % of the picture is"))
    assert LINES in found.describe()
    assert found.as_json()["kinds"].keys() == found.shares.keys()
    nothing = finder.find(smooth())
    assert nothing.describe() == "no damage found" and not nothing.mask.any()
    assert nothing.as_json() == {"damaged": 0.0, "kinds": {}}


def test_mirrored_pictures_have_mirrored_probabilities(finder: DamageFinder) -> None:
    picture, _ = scratched(96, 160)
    found = finder.probabilities(picture)
    for axes in ([1], [2], [1, 2]):
        mirrored = finder.probabilities(picture.flip(axes)).flip(axes)
        torch.testing.assert_close(mirrored, found, atol=1e-5, rtol=0)


def test_tiles_change_nothing_that_matters(
    finder: DamageFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, _ = scratched(300, 420)
    whole = finder.probabilities(picture)
    monkeypatch.setattr(find_damage, "TILE", 256)
    shares: list[float] = []
    tiled = finder.probabilities(picture, shares.append)
    assert shares == sorted(shares) and shares[-1] == 1 and len(shares) >= 4
    assert float((whole - tiled).abs().max()) < 0.25
    assert float((whole - tiled).abs().mean()) < 1e-3
    assert float((finder.mask_of(whole) ^ finder.mask_of(tiled)).float().mean()) < 1e-3


def test_large_pictures_are_looked_at_reduced(
    finder: DamageFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, _ = scratched()
    large = picture.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, 1:]
    monkeypatch.setattr(find_damage, "LONGEST", 200)
    small, found = finder.find(picture), finder.find(large)
    assert found.mask.shape == (1, 319, 400)
    assert found.share == pytest.approx(small.share, rel=0.3)
    assert float(found.mask[:, 40:280, 134:136].float().mean()) > 0.9


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 3), (16, 16), (17, 33)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_small_and_odd_pictures(finder: DamageFinder, size: tuple[int, int], channels: int) -> None:
    found = finder.find(torch.rand(channels, *size, generator=generator(1)))
    assert found.mask.shape == (1, *size)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_picture_of_one_colour_has_no_damage(finder: DamageFinder, level: float) -> None:
    assert not finder.find(torch.full((3, 150, 170), level)).mask.any()


def test_a_picture_that_is_all_damage_is_said_to_be(finder: DamageFinder) -> None:
    found = finder.found_in(torch.ones(1, 30, 40), torch.rand(3, 30, 40))
    assert found.too_much and found.share == 1


def test_other_models_find_no_damage() -> None:
    with pytest.raises(ModelError, match="finds no damage; give a detector \\(scratches\\)"):
        DamageFinder("denoise")
    with pytest.raises(ModelError, match="finds no damage"):
        load_detector("fashion")
    with pytest.raises(IraeError, match="finds damage and is no density"):
        load_density(DETECTOR)


@pytest.mark.parametrize("name", sorted(packaged_detectors()))
def test_packaged_detectors_are_small_and_whole(name: str) -> None:
    path = packaged_detectors()[name]
    assert name not in packaged_models()
    assert recorded_checksums(path.parent)[path.name] == file_sha256(path)
    assert path.with_suffix(".md").is_file()
    model = load_detector(name)
    assert model.parameters <= 500_000
    assert 0.5 <= model.threshold < 1


@pytest.mark.slow
def test_pasted_damage_is_found_better_than_by_a_median(shared: Path, finder: DamageFinder) -> None:
    folder, film = shared / "data" / "photos_val", shared / "data" / "film"
    if not folder.is_dir() or not film.is_dir():
        pytest.skip("data/photos_val or data/film is not there")
    overlays = read_overlays(film, apart=True)
    scores, differences, truth = [], [], []
    for index, path in enumerate(sorted(folder.iterdir())[:6]):
        clean = read_picture(path).pixels[:, :256, :256]
        picture, mask = paste_damage(clean, generator(index), overlays)
        scores.append(finder.probabilities(picture).flatten())
        padded = torch.nn.functional.pad(picture[None], (2, 2, 2, 2), mode="reflect")
        around = torch.nn.functional.unfold(padded, 5).view(3, 25, *picture.shape[1:])
        difference = (picture - around.median(1).values).abs().amax(0)
        differences.append(difference.flatten())
        truth.append(mask.flatten())
    damaged = torch.cat(truth)
    ours, theirs = (average_precision(torch.cat(each), damaged) for each in (scores, differences))
    assert ours > 2 * theirs
