"""Training by likelihood: the same loop, exact resumption, bits/dim, halts and reversibility."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from irae.config import load_config
from irae.data.small import open_small
from irae.errors import ConfigError, IraeError, TrainingError, UsageError
from irae.evaluation.density.scores import score_pictures
from irae.models.anomaly import QUANTILES, SCORES
from irae.models.checkpoints.model_file import load_density, load_model
from irae.models.density import Density, Latents
from irae.models.loaded_density import LoadedDensity
from irae.runtime import generator
from irae.training.checkpoint import load_state
from irae.training.loop import train
from irae.training.objectives.likelihood import SmallBatches
from irae.training.prepare import prepare
from irae.training.run import Run, begin, resume

CPU = torch.device("cpu")
SMALL = {
    "density": "{couplings: [2, 2], widths: [6, 6], blocks: 1",
    "glow": "{depth: 2, width: 6",
    "nice": "{width: 12, layers: 1",
    "realnvp": "{width: 4, blocks: 1",
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of scikit-learn's handwritten digits, 8×8 PNGs."""
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder, 200)
    return folder


def write_digits(folder: Path, count: int | None = None) -> None:
    sklearn = pytest.importorskip("sklearn.datasets", reason="pip install scikit-learn")
    for number, picture in enumerate(sklearn.load_digits().images[:count]):
        Image.fromarray((picture * 15).astype(np.uint8)).save(folder / f"{number:04d}.png")


def new_run(folder: Path, digits: Path, *more: str, network: str = "density") -> Run:
    overrides = [
        f"model.network={network}",
        f"model.options={SMALL[network]}, channels: 1, size: 8, bits: 8}}",
        "training.batch=8",
        "training.steps=12",
        "training.warmup=2",
        "training.threads=1",
        "training.validate_every=6",
        "training.checkpoint_every=3",
        "training.log_every=1",
        "training.precision=fp32",
        *more,
    ]
    config = prepare(load_config("density/base.yaml", overrides), [str(digits)])
    return begin(config, folder, CPU)


def tensors(state: dict[str, object]) -> dict[str, Tensor]:
    found = {}
    for part in ("network", "ema"):
        found.update({f"{part}.{k}": v for k, v in state[part].items()})  # type: ignore[attr-defined]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("network", SMALL)
def test_2n_steps_equal_n_resume_n_bit_for_bit(network: str, tmp_path: Path, digits: Path) -> None:
    whole = new_run(tmp_path / "whole", digits, network=network)
    train(whole)
    parts = new_run(tmp_path / "parts", digits, network=network)
    train(parts, max_steps=5)
    again = resume(tmp_path / "parts", CPU)
    assert again.step == 5
    train(again)
    ours, theirs = (tensors(load_state(tmp_path / name)) for name in ("whole", "parts"))
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key


def test_samples_that_are_not_finite_do_not_end_a_training(
    tmp_path: Path, digits: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inverse = Density.from_latents

    def far_from_the_data(self: Density, latents: Latents) -> Tensor:
        largest = max(float(level.abs().max()) for level in latents.levels)
        return inverse(self, latents if largest < 2.6 else latents * math.inf)

    monkeypatch.setattr(Density, "from_latents", far_from_the_data)
    run = new_run(tmp_path / "run", digits, "training.steps=2")
    train(run)
    assert "warning: samples at temperature 1 are not finite" in capfd.readouterr().err
    with Image.open(tmp_path / "run" / "samples" / "samples.png") as image:
        rows = torch.from_numpy(np.asarray(image.convert("L")).copy()).split(image.height // 3)
    assert [bool(row.any()) for row in rows] == [True, True, False]
    assert load_density(tmp_path / "run").spec.card["steps"] == 2


@pytest.mark.slow
def test_a_run_learns_and_its_card_has_the_scores_of_held_out_pictures(
    tmp_path: Path, digits: Path
) -> None:
    run = new_run(tmp_path / "run", digits, "training.steps=60", "training.learning_rate=0.005")
    before = run.validate().mean
    train(run)
    assert -run.best < -before - 0.5
    assert "bits/dim" in run.describe() and "irae sample" in run.describe()
    lines = [json.loads(s) for s in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "bits_per_dim" in line]
    scores = [line for line in lines if "validation_bits_per_dim" in line]
    assert len(steps) == 60 and scores
    assert scores[-1]["round_trip"] <= 0.5
    assert (tmp_path / "run" / "samples" / "samples.png").is_file()

    model = load_density(tmp_path / "run")
    card = model.spec.card
    assert card["validation_bits_per_dim"] == pytest.approx(-run.best, abs=1e-3)
    held_out = card["held_out"]
    assert held_out["pictures"] == len(run.collection.validation)  # type: ignore[attr-defined]
    assert set(held_out["quantiles"]) == set(SCORES) - {"ratio"}
    for values in held_out["quantiles"].values():
        assert len(values) == QUANTILES and values == sorted(values)
    # The file's own weights are those that were scored.
    found = model.bits_per_dim(run.collection.validation)  # type: ignore[attr-defined]
    assert float(found.mean()) == pytest.approx(held_out["mean_bits_per_dim"], abs=1e-4)


def test_reversible_runs_take_the_same_steps(tmp_path: Path, digits: Path) -> None:
    losses = []
    for reversible in ("false", "true"):
        folder = tmp_path / reversible
        train(new_run(folder, digits, f"training.reversible={reversible}"), max_steps=5)
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
    assert len(losses[0]) == 5
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_a_loss_that_is_not_finite_stops_and_names_the_layer(tmp_path: Path, digits: Path) -> None:
    run = new_run(tmp_path / "run", digits)
    with torch.no_grad():
        weight = run.network.get_parameter("flow.levels.0.steps.3.network.entry.weight")
        weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(TrainingError, match=r"loss is nan, first in levels\.0\.steps\.3"):
        train(run)


def test_batches_depend_on_seed_step_and_index_alone(tmp_path: Path, digits: Path) -> None:
    run = new_run(tmp_path / "run", digits, "data.augment={flip: true, mutate: 0.2}")
    pictures = run.collection.train  # type: ignore[attr-defined]

    def maker(rows: slice) -> SmallBatches:
        return SmallBatches(run.config, run.network, CPU, rows, pictures)  # type: ignore[arg-type]

    whole = maker(slice(0, 8)).batch(4).clean
    assert torch.equal(maker(slice(2, 5)).batch(4).clean, whole[2:5])
    assert torch.equal(maker(slice(2, 5)).batch(4, whole=True).clean, whole)
    assert not torch.equal(maker(slice(0, 8)).batch(5).clean, whole)
    assert float(whole.min()) >= 0 and float(whole.max()) < 1
    assert whole.shape == (8, 1, 8, 8)


def test_mutation_replaces_the_stated_share(tmp_path: Path, digits: Path) -> None:
    run = new_run(tmp_path / "run", digits, "training.batch=256")
    changed = new_run(
        tmp_path / "b", digits, "training.batch=256", "data.augment={flip: false, mutate: 0.25}"
    )
    plain, mutated = (each.batches.batch(0).clean for each in (run, changed))
    share = float(((plain * 256).floor() != (mutated * 256).floor()).float().mean())
    assert share == pytest.approx(0.25, abs=0.02)


@pytest.mark.slow
def test_a_background_model_knows_mutated_pictures_and_the_model_clean_ones(
    tmp_path: Path,
) -> None:
    digits = tmp_path / "digits"
    digits.mkdir()
    write_digits(digits)

    def trained(name: str) -> LoadedDensity:
        overrides = [
            "model.options={couplings: [4], widths: [16], blocks: 1, size: 8}",
            "training={steps: 250, batch: 32, warmup: 20, threads: 1, validate_every: 250}",
            "training.learning_rate=0.004",
            "training.precision=fp32",
        ]
        config = prepare(load_config(f"density/{name}.yaml", overrides), [str(digits)])
        assert config.training.weight_decay == (0.1 if name == "background" else 0)
        train(begin(config, tmp_path / name, CPU))
        return load_density(tmp_path / name)

    model, background = trained("base"), trained("background")
    clean = open_small(digits, size=8, channels=1, root=tmp_path, split="val")
    random = generator(3)
    replaced = torch.rand(clean.shape, generator=random) < 0.3
    other = torch.randint(0, 256, clean.shape, generator=random, dtype=torch.uint8)
    mutated = torch.where(replaced, other, clean)

    def gain(pictures: Tensor) -> float:
        """The bits by which the model is better than the background model."""
        bits = background.bits_per_dim(pictures) - model.bits_per_dim(pictures)
        return float(bits.mean())

    assert gain(clean) > 0.1 and gain(mutated) < -0.1
    # Both were validated on the same clean pictures, so the ratio has its percentiles.
    cards = [each.spec.card["held_out"] for each in (model, background)]
    assert len(cards[0]["bits_per_dim"]) == len(clean)
    found = score_pictures(model, [Path("a")] * len(clean), clean, background)
    places = [each.percentiles["ratio"] for each in found]
    assert min(places) < 20 and max(places) > 80
    with pytest.raises(UsageError, match="is no background model"):
        score_pictures(background, [Path("a")], clean[:1], model)


def test_train_and_validation_pictures_are_disjoint(tmp_path: Path, digits: Path) -> None:
    run = new_run(tmp_path / "run", digits)
    collection = run.collection
    ours = {bytes(p.numpy()) for p in collection.train}  # type: ignore[attr-defined]
    theirs = {bytes(p.numpy()) for p in collection.validation}  # type: ignore[attr-defined]
    assert not ours & theirs
    assert len(ours) + len(theirs) == 200


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["model.network=dncnn"], "has no likelihood"),
        (["data.train=[]"], "no pictures to learn from"),
        (["model.options.size=16"], None),
        (["model.options.size=10"], "multiple of 4"),
    ],
)
def test_mistakes_are_named(
    overrides: list[str], named: str | None, tmp_path: Path, digits: Path
) -> None:
    if named is None:  # Pictures of a folder are scaled to any size.
        assert new_run(tmp_path / "run", digits, *overrides).collection.train.shape[2] == 16  # type: ignore[attr-defined]
        return
    with pytest.raises(IraeError, match=named):
        if "model.options" not in overrides[0]:
            begin(load_config("density/base.yaml", overrides), tmp_path / "run", CPU)
        else:
            new_run(tmp_path / "run", digits, *overrides)


def test_a_density_has_no_task_and_a_restorer_needs_one(tmp_path: Path, digits: Path) -> None:
    with pytest.raises(ConfigError, match="task: objective likelihood has no task"):
        load_config("density/base.yaml", ["task=denoise"])
    with pytest.raises(ConfigError, match="task: missing"):
        load_config({"seed": 1})
    with pytest.raises(ConfigError, match="degradation.sigma"):
        load_config("density/base.yaml", ["degradation.sigma=3"])
    run = new_run(tmp_path / "run", digits)
    with pytest.raises(TrainingError, match="is a run of objective likelihood, not task denoise"):
        resume(tmp_path / "run", CPU, load_config("denoise.yaml"))
    train(run, max_steps=1)
    with pytest.raises(IraeError, match="is a density and restores nothing"):
        load_model(tmp_path / "run")


def test_a_warm_start_continues_from_the_weights(tmp_path: Path, digits: Path) -> None:
    run = new_run(tmp_path / "a", digits)
    train(run)
    warm = new_run(tmp_path / "b", digits, f"model.init={tmp_path / 'a'}")
    source = load_density(tmp_path / "a").network.state_dict()
    for key, value in warm.network.state_dict().items():
        assert torch.equal(value, source[key]), key
    with pytest.raises(IraeError, match="restores pictures and is no density"):
        new_run(tmp_path / "c", digits, "model.init=denoise")


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion", "FashionMNIST")])
def test_the_shipped_configs_learn_from_files_in_torchvisions_layout(
    name: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "data" / folder / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 7)):
        pixels = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        header = (0x0803).to_bytes(4) + b"".join(n.to_bytes(4) for n in pixels.shape)
        path = raw / f"{part}-images-idx3-ubyte.gz"
        path.write_bytes(gzip.compress(header + pixels.tobytes()))
    monkeypatch.setenv("IRAE_DATA", str(tmp_path / "data"))
    overrides = [
        "model.options.couplings=[2]",
        "model.options.widths=[4]",
        "model.options.blocks=1",
        "training={steps: 1, batch: 4, threads: 1, precision: fp32}",
    ]
    config = prepare(load_config(f"density/{name}.yaml", overrides))
    run = begin(config, tmp_path / "run", CPU)
    assert run.collection.train.shape == (55, 1, 28, 28)
    train(run)
    assert load_density(tmp_path / "run").network.shape == (1, 28, 28)


def test_a_training_from_python_gives_its_density(digits: Path, tmp_path: Path) -> None:
    import irae

    options = {"couplings": [2], "widths": [4], "blocks": 1, "channels": 1, "size": 8}
    config = {
        "extends": "density/base.yaml",
        "model": {"options": options},
        "training": {"steps": 2, "batch": 4, "threads": 1, "validate_every": 2, "samples": 0},
    }
    run = irae.train(config, tmp_path / "run", data=digits, device="cpu")
    density = run.best
    assert density.sample(3).shape == (3, 1, 8, 8)
    assert run.metrics[-1]["validation_bits_per_dim"] > 0
    # Before the first validation, the last weights are the best there are.
    (tmp_path / "run" / "best.safetensors").unlink()
    assert run.best.network.shape == (1, 8, 8)
