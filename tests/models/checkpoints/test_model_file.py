"""Model files: round trip, half precision, padding, masks, and files that are not models."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from irae.errors import ModelError
from irae.models.checkpoints.model_file import (
    load_density,
    load_detector,
    load_model,
    load_patch_density,
    packaged_densities,
    packaged_detectors,
    packaged_models,
    packaged_patch_densities,
    save_model,
)
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.networks.irae import IRAE
from irae.models.networks.registry import build_network, resolve_options

SMALL = {"width": 16, "couplings": 4, "hidden": 8}


def small(task: str = "denoise", **options: object) -> LoadedModel:
    resolved = resolve_options("irae", "default", {**SMALL, **options})
    torch.manual_seed(0)
    network = build_network("irae", resolved)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return LoadedModel(network, ModelSpec("irae", resolved, task), "small")


def strict() -> LoadedModel:
    """A network of the other form, with the options of a file from before there were two."""
    options = {"width": 8, "depth": 2, "levels": 2}
    torch.manual_seed(0)
    network = build_network("irae", resolve_options("irae", None, options))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return LoadedModel(network, ModelSpec("irae", options, "denoise"), "small")


def test_a_file_without_a_form_is_strict(tmp_path: Path) -> None:
    model = strict()
    assert "form" not in model.spec.options
    save_model(tmp_path / "m.safetensors", model.network, model.spec)
    loaded, x = load_model(tmp_path / "m.safetensors"), torch.rand(1, 3, 16, 16)
    assert isinstance(loaded.network, IRAE)
    assert torch.equal(loaded.restore(x), model.restore(x))
    with pytest.raises(ModelError, match=r"form 'loose' is unknown; there are: strict, lifted"):
        resolve_options("irae", "default", {"form": "loose"})


@pytest.mark.parametrize("option", ["shrinking", "hole_width"])
def test_options_of_an_older_version_are_read_where_they_build_nothing(
    option: str, tmp_path: Path
) -> None:
    model, path = strict(), tmp_path / "m.safetensors"
    model.spec.options[option] = None
    save_model(path, model.network, model.spec)
    assert torch.equal(
        load_model(path).restore(torch.ones(1, 3, 8, 8)), model.restore(torch.ones(1, 3, 8, 8))
    )
    model.spec.options[option] = 8
    save_model(path, model.network, model.spec)
    with pytest.raises(ModelError, match=f"m.safetensors: its network has '{option}', .*irae 0.1"):
        load_model(path)


def test_a_model_file_gives_the_same_numbers(tmp_path: Path) -> None:
    model = small()
    path = tmp_path / "m.safetensors"
    save_model(path, model.network, ModelSpec("irae", model.spec.options, "denoise", {"steps": 3}))
    loaded = load_model(path)
    x = torch.rand(2, 3, 16, 24)
    assert torch.equal(loaded.restore(x), model.restore(x))
    assert loaded.spec.card == {"steps": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
    assert path.stat().st_mode & 0o044


@pytest.mark.parametrize("form", ["lifted", "strict"])
def test_half_precision_halves_networks_and_leaves_mixing_exact(form: str, tmp_path: Path) -> None:
    model = small() if form == "lifted" else strict()
    path = tmp_path / "m.safetensors"
    save_model(path, model.network, model.spec, half=True)
    stored = load_file(path)
    for key, value in stored.items():
        assert value.dtype == (torch.float16 if ".conv" in key else torch.float32), key
    x = torch.rand(1, 3, 16, 16)
    loaded = load_model(path)
    assert (loaded.restore(x) - model.restore(x)).abs().max() < 5e-3
    given_, _, recovered = loaded.round_trip(x)
    assert (given_ - recovered).abs().max() < 1e-4


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 19), width=st.integers(1, 19), batch=st.integers(1, 3))
def test_any_size_down_to_one_pixel(height: int, width: int, batch: int) -> None:
    x = torch.rand(batch, 3, height, width)
    assert small().restore(x).shape == x.shape
    mask = torch.rand(batch, 1, height, width) > 0.5
    model = small("inpaint", condition_channels=1)
    restored = model.restore(x, mask)
    known = (~mask).expand_as(x)
    assert torch.equal(restored[known], x[known])


def test_padding_does_not_change_a_multiple_of_the_size() -> None:
    model = small()
    x = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(model.restore(x), model.network(x), atol=1e-4, rtol=0)


def test_holes_are_not_looked_at() -> None:
    model = small("inpaint", condition_channels=1)
    x = torch.rand(1, 3, 16, 16)
    mask = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    mask[..., 4:9, 5:12] = True
    other = torch.where(mask, torch.rand_like(x), x)
    assert torch.equal(model.restore(x, mask), model.restore(other, mask))


def test_a_mask_is_needed_by_networks_that_see_it_and_may_be_given_to_others() -> None:
    x, mask = torch.rand(1, 3, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    mask[..., 2:5, 3:6] = True
    with pytest.raises(ModelError, match="needs a mask"):
        small("inpaint", condition_channels=1).restore(x)
    restored = small().restore(x, mask)
    assert torch.equal(restored[~mask.expand_as(x)], x[~mask.expand_as(x)])


def test_numbers_that_are_not_finite_are_an_error() -> None:
    model = small()
    with pytest.raises(ModelError, match="not finite"):
        model.restore(torch.full((1, 3, 8, 8), float("nan")))


def test_files_that_are_no_models(tmp_path: Path) -> None:
    plain = tmp_path / "plain.safetensors"
    save_file({"a": torch.ones(1)}, plain)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not safetensors at all")
    good = tmp_path / "good.safetensors"
    model = small()
    save_model(good, model.network, model.spec)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[:-100])
    other = tmp_path / "other.safetensors"
    save_model(other, small(width=20).network, model.spec)
    for path, reason in [
        (plain, "holds no irae model"),
        (broken, "cannot be read"),
        (cut, "cannot be read"),
        (other, "another architecture"),
        (tmp_path / "absent.safetensors", "no such model"),
        (tmp_path, "without best.safetensors"),
    ]:
        with pytest.raises(ModelError, match=reason) as caught:
            load_model(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="neither packaged"):
        load_model("nothing")


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch exploded",)


def test_a_pickle_with_code_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from irae.models.checkpoints.irae_authors import read_authors_checkpoint

    monkeypatch.chdir(tmp_path)
    Path("plain.pt").write_bytes(pickle.dumps(_Bomb()))
    torch.save({"state_dict": _Bomb()}, "zipped.pt")
    for name in ("plain.pt", "zipped.pt"):
        with pytest.raises(ModelError, match=name):
            read_authors_checkpoint(Path(name))
        with pytest.raises(ModelError, match="irae import"):
            load_model(name)
    assert not Path("exploded").exists()


def test_unknown_names_list_what_there_is() -> None:
    for call, named in [
        (("convnet", None, {}), "irae"),
        (("irae", "huge", {}), "paper"),
        (("irae", "default", {"widht": 3}), "width"),
    ]:
        with pytest.raises(ModelError, match=named):
            resolve_options(*call)
    with pytest.raises(ModelError, match="cannot be built"):
        build_network("irae", {"coupling": "quadratic"})


@pytest.mark.parametrize("task", ["denoise", "jpeg", "inpaint"])
def test_packaged_models_are_there_and_fit_their_task(task: str) -> None:
    model = load_model(packaged_models()[task])
    assert model.task == task
    assert model.spec.card["measured"]


def test_packaged_models_of_another_kind_are_named_for_what_they_are() -> None:
    kinds: dict[str, tuple[Callable[[str], object], dict[str, Path]]] = {
        "restores pictures": (load_model, packaged_models()),
        "is a density": (load_density, packaged_densities()),
        "finds damage": (load_detector, packaged_detectors()),
        "is a density of patches": (load_patch_density, packaged_patch_densities()),
    }
    for wanted, (load, _) in kinds.items():
        for kind, (_, packaged) in kinds.items():
            for name in packaged:
                if kind == wanted:
                    load(name)
                    continue
                with pytest.raises(ModelError, match=f"model '{name}'") as refused:
                    load(name)
                assert "neither packaged" not in str(refused.value)
