"""Training a detector: the same loop, exact resumption, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from PIL import Image

from irae.config import RunConfig, load_config
from irae.errors import ConfigError, IraeError, TrainingError
from irae.imaging.film_damage import APART, read_overlays
from irae.models.checkpoints.model_file import load_detector, load_model
from irae.restoring.find_damage import DamageFinder
from irae.training import loop, run
from irae.training.batches.batch import BatchMaker
from irae.training.objectives.choose import objective_of
from irae.training.prepare import build

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth pictures with edges, on which thin damage can be seen."""
    folder = tmp_path_factory.mktemp("photographs")
    random = torch.Generator().manual_seed(4)
    for number in range(6):
        coarse = torch.rand(1, 3, 5, 6, generator=random)
        pixels = torch.nn.functional.interpolate(coarse, size=(80, 96), mode="bicubic")[0]
        pixels = (255 * pixels.clamp(0, 1)).byte()
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def overlays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two kinds of damage, with two overlays of each kept apart."""
    folder = tmp_path_factory.mktemp("overlays")
    for kind in ("hair", "dust"):
        for number in range(APART + 1):
            alpha = torch.zeros(60, 60, dtype=torch.uint8)
            row = 5 + 8 * number
            alpha[row : row + 3, 5 : 55 if kind == "hair" else 9] = 255
            layers = [torch.full_like(alpha, 255)] * 3 + [alpha]
            image = Image.fromarray(torch.stack(layers, 2).numpy())
            image.save(folder / f"{kind}_{number:04d}.png")
    return folder


def config(data: Path, *overrides: str) -> RunConfig:
    small = [
        f"data.train={data}",
        "data.patch=48",
        "data.validation.crop=64",
        "model.options.width=8",
        "training.batch=3",
        "training.steps=6",
        "training.warmup=2",
        "training.validate_every=3",
        "training.checkpoint_every=3",
        "training.precision=fp32",
        "training.samples=1",
    ]
    return load_config("find-damage.yaml", [*small, *overrides])


def test_making_a_batch_never_waits_for_the_device(
    photographs: Path, overlays: Path, no_waits: Callable[[str], AbstractContextManager[object]]
) -> None:
    settings = config(photographs, f"degradation.overlays={overlays}")
    objective, network = objective_of(settings), build(settings)
    _, batches, _ = objective.open(settings, network, torch.device("meta"), slice(0, 3))
    batches.batch(0)
    with no_waits("meta"):
        batch = batches.batch(1)
    assert batch.damaged is not None
    for each in (batch.clean, batch.degraded, batch.damaged):
        assert each.device.type == "meta"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_detector(folder / "last.safetensors").network.state_dict()


def test_a_run_gives_a_detector_and_resumes_bit_for_bit(
    tmp_path: Path, photographs: Path, overlays: Path
) -> None:
    named = f"degradation.overlays={overlays}"
    loop.train(run.begin(config(photographs, named), tmp_path / "whole", CPU))
    loop.train(run.begin(config(photographs, named), tmp_path / "halves", CPU), max_steps=3)
    loop.train(run.resume(tmp_path / "halves", CPU))
    ours, theirs = weights(tmp_path / "whole"), weights(tmp_path / "halves")
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)

    best = load_detector(tmp_path / "whole")
    assert 0 < best.spec.card["validation_average_precision"] <= 1
    assert (tmp_path / "whole" / "samples" / "00.png").is_file()
    found = DamageFinder(best, device="cpu").find(torch.rand(3, 50, 70))
    assert found.mask.shape == (1, 50, 70)
    with pytest.raises(IraeError, match="finds damage and restores nothing"):
        load_model(tmp_path / "whole")


def test_training_finds_thin_damage_on_smooth_pictures(tmp_path: Path, photographs: Path) -> None:
    begun = run.begin(
        config(
            photographs,
            "training.steps=60",
            "training.validate_every=60",
            "training.learning_rate=0.01",
            "training.ema=0.9",
            "degradation.noise=0",
            "degradation.jpeg=0",
        ),
        tmp_path / "run",
        CPU,
    )
    before = begun.validation.score(begun.objective.load(begun.ema.network, begun.spec))
    begun.ema.network.train()
    loop.train(begun)
    assert begun.score is not None
    assert begun.score.mean > before.mean + 0.2


def test_batches_say_where_the_damage_is(photographs: Path, overlays: Path) -> None:
    settings = config(photographs, f"degradation.overlays={overlays}", "training.batch=16")
    settings.degradation = settings.degradation.model_copy(
        update={"noise": 0.0, "jpeg": 0.0, "toned": 0.0, "undamaged": 0.5}
    )
    objective, network = objective_of(settings), build(settings)
    _, batches, _ = objective.open(settings, network, CPU, slice(0, 16))
    batch = batches.batch(3)
    assert batch.damaged is not None and batch.mask is None
    changed = (batch.degraded - batch.clean).abs().amax(1, keepdim=True)
    assert float(changed[~batch.damaged].max()) < 3 * 10 / 255  # At most the layers' sum.
    assert float(changed[batch.damaged].min()) > 0
    untouched = ~batch.damaged.flatten(1).any(1)
    assert 0 < int(untouched.sum()) < 16

    _, parts, _ = objective.open(settings, network, CPU, slice(8, 16))
    assert torch.equal(parts.batch(3).degraded, batch.degraded[8:])
    assert torch.equal(parts.batch(3, whole=True).degraded, batch.degraded)
    assert isinstance(parts, BatchMaker)


def test_overlays_kept_apart_are_never_trained_on(overlays: Path) -> None:
    kept, rest = read_overlays(overlays, apart=True), read_overlays(overlays, apart=False)
    assert (len(kept), len(rest)) == (4, 2 * (APART - 1))
    assert not any(torch.equal(one, other) for one in kept for other in rest)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.network=dncnn", "model.options={}"], "finds no damage; choose damage-detector"),
        (["data.patch=50"], "needs a multiple of 16"),
    ],
)
def test_networks_and_patches_that_do_not_fit(
    photographs: Path, overrides: list[str], message: str
) -> None:
    settings = config(photographs)
    if "dncnn" in overrides[0]:
        settings.model.network, settings.model.options = "dncnn", {}
    else:
        settings = config(photographs, *overrides)
    with pytest.raises(TrainingError, match=message):
        build(settings)


def test_a_detector_has_no_task_and_no_other_damage(photographs: Path) -> None:
    with pytest.raises(ConfigError, match="objective find_damage has no task"):
        config(photographs, "task=denoise")
    with pytest.raises(ConfigError, match="degradation.sigma"):
        config(photographs, "degradation.sigma=25")


def test_a_folder_without_overlays_is_one_line(tmp_path: Path, photographs: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(IraeError, match="empty"):
        run.begin(
            config(photographs, f"degradation.overlays={tmp_path / 'empty'}"),
            tmp_path / "run",
            CPU,
        )
    with pytest.raises(IraeError, match="has no alpha channel"):
        read_overlays(photographs, apart=True)
