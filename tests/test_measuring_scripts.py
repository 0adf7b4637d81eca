"""Small versions of the tables that say what auto does, by the scripts that make them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from irae.imaging.film_damage import find_overlays
from irae.restoring.automatic import gain
from irae.restoring.automatic.trial import FEATURES, TRIED

Script = Callable[[str], Any]


@pytest.mark.slow
def test_good_jpegs_do_not_become_worse(shared: Path, script: Script) -> None:
    never_worse = script("never_worse")
    if not (shared / "data" / "testsets" / "CBSD68").is_dir():
        pytest.skip("data/testsets/CBSD68 is not there")
    cells = never_worse.measure(shared / "data", 1, (75, 90))
    assert len(cells) == 5 * 2 * 2
    assert never_worse.worse(cells) == []
    columns, rows = never_worse.table(cells)
    assert len(columns) == 2 + 2 + 2
    assert len(rows) == 5 * 2


def test_a_loss_is_reported(script: Script) -> None:
    never_worse = script("never_worse")
    result = never_worse.Result
    small, large = result(-0.04, None, 1.0), result(-0.31, "photo", 1.5)
    good = result(2.0, "photo", 1.5)
    cells = {("a", "4:2:0", 75): [small, small], ("b", "4:2:0", 75): [good, large]}
    assert [line[:5] for line in never_worse.worse(cells)] == ["('b',"]
    cells["a", "4:2:0", 75] = [result(-0.06, "photo", 1.0)]
    assert len(never_worse.worse(cells)) == 2


def test_measured_results_are_kept(script: Script, tmp_path: Path, monkeypatch: Any) -> None:
    never_worse = script("never_worse")
    case, result = ("text", "text 1000", "4:2:0", 75), never_worse.Result(0.5, "jpeg", 2.0)
    path = tmp_path / "cache"
    never_worse.Cache(path).put(case, result)
    with path.open("a") as file:
        file.write('{"state": "of other weights", "case": ["a", "b", "4:4:4", 80], "result": {}}\n')
    known = never_worse.Cache(path)
    assert known.get(case) == result
    assert known.get(("a", "b", "4:4:4", 80)) is None
    monkeypatch.setattr(never_worse, "state_of_decision", lambda: "of another decision")
    assert never_worse.Cache(path).get(case) is None


@pytest.mark.slow
def test_what_is_clean_is_left_and_noise_is_not(shared: Path, script: Script) -> None:
    cases, measure = script("auto.cases"), script("measure_auto")
    clean = script("auto.originals")
    if not (shared / "data" / "photos_val").is_dir():
        pytest.skip("data/photos_val is not there")
    originals = [next(iter(clean.photographs(shared / "data", every=7)))]
    originals += [one for kind in clean.DRAWN for one in clean.drawings(kind, 1)]
    for original in originals:
        for damage, wanted in (("none", False), ("blurred 0.8", True), ("white 25", True)):
            if wanted and original.kind == "gradient":
                continue
            record = measure.measure(cases.damaged(original, damage, 3))
            gains = gain.predict_gains(record.features).least
            chosen = record.white is not None or max(gains.values()) > 0.3
            assert chosen == wanted or (wanted and float(record.gains.max()) < 3), (
                original.name,
                damage,
                gains,
            )


@pytest.mark.slow
def test_the_fit_finds_the_quantile(script: Script, tmp_path: Path) -> None:
    measure = script("measure_auto")
    random = torch.Generator().manual_seed(0)
    records = []
    for index in range(900):
        features = torch.randn(FEATURES, generator=random)
        noise = torch.randn(len(TRIED), generator=random)
        gains = 2 * torch.tanh(features[:2]) + 0.5 * noise
        records.append(measure.Record(f"p{index}", "photograph", "white 5", features, gains))
    network, mean, scale = measure.fit(records[:600])
    given = torch.stack([record.features for record in records])
    gains = torch.stack([record.gains for record in records])
    with torch.inference_mode():
        predicted = network(gain.normalised(given, mean, scale))
    # Nearly all of these features say nothing, so many more than a tenth of the pictures that it
    # was not fitted to gain less than predicted, but fewer than half, which is what is typical.
    least, typical = predicted.unflatten(1, (2, len(TRIED))).unbind(1)
    below = (gains < least)[600:].float().mean(0)
    assert ((below > 0.05) & (below < 0.4)).all()
    below = (gains < typical)[600:].float().mean(0)
    assert ((below > 0.35) & (below < 0.65)).all()
    assert float((gains - typical)[600:].std()) < 0.8 * float(gains.std())
    # Written and read again, it predicts the same.
    path = tmp_path / "gain.json"
    gain.save_numbers(network, mean, scale, path)
    loaded = gain.read_numbers(path)
    with torch.inference_mode():
        again = loaded[0](gain.normalised(given, loaded[1], loaded[2]))
    torch.testing.assert_close(again, predicted, atol=5e-3, rtol=0)
    _, rows = measure.confusion(records, predicted)
    assert rows[0][:2] == ["white 5", "900"]
    assert sum(map(int, rows[0][2:6])) == 900
    # White noise is the denoiser's, whatever is predicted.
    white = [replace(record, white=1.0) for record in records]
    assert measure.confusion(white, predicted)[1][0][2:] == [
        "0", "900", "0", "0", "+1.00", *measure.confusion(white, predicted)[1][0][7:8], "+1.00"
    ]  # fmt: skip


def test_cases_have_their_size_and_their_damage(script: Script) -> None:
    cases, originals = script("auto.cases"), script("auto.originals")
    for kind in originals.DRAWN:
        original = next(originals.drawings(kind, 1, 96))
        assert original.pixels.shape == (3, 96, 96)
    for name in cases.DAMAGES:
        case = cases.damaged(original, name, 1)
        assert case.pixels.shape == case.original.pixels.shape
        assert torch.equal(case.pixels, originals.eight_bits(case.pixels))
        assert torch.equal(case.pixels, case.original.pixels) == (name == "none")


def test_dotted_pictures_are_dots(shared: Path, script: Script) -> None:
    originals = script("auto.originals")
    if not (shared / "data" / "photos_val").is_dir():
        pytest.skip("data/photos_val is not there")
    found = {one.kind: one.pixels for one in originals.dotted(shared / "data", 1)}
    assert tuple(found) == originals.DOTTED
    assert all(pixels.shape == (3, 256, 256) for pixels in found.values())
    assert len(torch.unique(found["sprites"].flatten(1), dim=1).T) <= 6
    assert found["dithered"].unique().tolist() == [0, 1]
    steps = (found["halftone"][:, :, 1:] - found["halftone"][:, :, :-1]).abs()
    assert float(steps.mean()) > 0.1


def test_kinds_of_noise_are_of_one_size(script: Script) -> None:
    compare, cases = script("compare_noise"), script("auto.cases")
    clean = torch.full((3, 96, 96), 0.5)
    for name, (noisy, target) in compare.kinds(clean).items():
        if "JPEG" in name or "enlarged" in name:
            continue
        deviation = 255 * float((noisy - target).std())
        assert deviation == pytest.approx(cases.SIGMA_KIND, rel=0.12), name


def test_non_local_means_gets_its_best_strength(script: Script) -> None:
    compare, cases = script("compare_noise"), script("auto.cases")
    original = next(script("auto.originals").drawings("gradient", 1, 64))
    clean, noisy = original.pixels, cases.damaged(original, "white 15", 1).pixels
    before = 10 * torch.log10(1 / (noisy - clean).square().mean())
    score, strength = compare.best_non_local_means(noisy, clean)
    assert score > float(before) + 3
    assert strength in compare.STRENGTHS


@pytest.mark.slow
def test_holes_by_kind_are_measured_once_and_kept(
    shared: Path, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = script("compare_inpainting")
    if not (shared / "data" / "photos_val").is_dir() or not (shared / "data" / "film").is_dir():
        pytest.skip("data/photos_val and data/film are not there")
    pytest.importorskip("cv2", reason="the extra peers is not installed")
    monkeypatch.setattr(compare, "kinds", lambda film: {"stamp": lambda r: _stamp(compare, r)})
    names, saved = ["telea", "filling"], []
    found: list[Any] = []

    def measure(count: int) -> int:
        saved.clear()
        with torch.inference_mode():
            compare.measure_kinds(
                shared / "data", names, count, 0, found, lambda: saved.append(len(found))
            )
        return len(saved)

    assert measure(1) == 2
    first = [(cell.method, list(cell.psnr)) for cell in found]
    # Further crops are added, and nothing is measured twice.
    assert (measure(2), measure(2)) == (2, 0)
    assert [(cell.method, cell.psnr[:1]) for cell in found] == first
    telea, filling = found
    assert all(a > b for a, b in zip(filling.psnr, telea.psnr, strict=True))
    # Other weights or holes than those of the figures: measured again, and only those.
    filling.weights = "0" * 16
    assert measure(2) == 2
    telea, filling = sorted(found, key=lambda cell: names.index(cell.method))
    telea.holes = "0" * 16
    assert measure(2) == 2
    assert [(cell.method, cell.psnr[:1]) for cell in reversed(found)] == first
    table = compare.kinds_table(found, names, 2)
    assert table["columns"] == ["holes", "share", "Telea", "irae's filling alone"]
    ((kind, share, *cells),) = table["rows"]
    assert (kind, share.endswith("%"), len(cells)) == ("stamp", True, 2)
    assert cells[0].startswith(f"{sum(telea.psnr) / 2:.2f} (") and cells[0].endswith(" s)")


def test_the_self_ensemble_is_a_method_of_its_own(script: Script) -> None:
    compare = script("compare_inpainting")
    random = torch.Generator().manual_seed(0)
    picture, mask = torch.rand(1, 3, 24, 32, generator=random), torch.zeros(1, 1, 24, 32)
    mask[..., 8:12, 10:20] = 1
    with torch.inference_mode():
        (once, one), (eight, other) = (
            compare.method_of(name) for name in (compare.FILLED_BY, compare.ENSEMBLE)
        )
        results = [method(picture, mask.bool()) for method in (once, eight)]
        turned = eight(picture.flip(3), mask.bool().flip(3)).flip(3)
    assert one == other
    assert not torch.equal(*results)
    torch.testing.assert_close(turned, results[1], atol=1e-5, rtol=0)


def test_film_damage_is_measured_with_overlays_that_training_never_sees(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = script("compare_inpainting")
    counts = {"hair": 7, "hair-short": 6, "lint": 5, "scratches": 11, "dirt": 6}
    for name, count in counts.items():
        for number in range(count):
            (tmp_path / f"{name}_{number:04}.png").touch()
    monkeypatch.setattr(compare, "overlay_mask", lambda paths, random: paths)
    measured = compare.kinds(tmp_path)["film scratches, hairs, lint"](torch.Generator())
    assert not set(measured) & set(find_overlays(tmp_path, apart=False))
    kinds = [path.name.partition("_")[0] for path in measured]
    assert sorted(kinds) == ["hair"] * 2 + ["hair-short"] * 2 + ["lint"] + ["scratches"] * 3


def _stamp(compare: Any, random: torch.Generator) -> torch.Tensor:
    return compare.thin_mask(compare.HEIGHT, compare.WIDTH, random, "stamp")
