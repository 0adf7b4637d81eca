"""The guarded step, and the switches that must not change what is computed."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from irae import runtime
from irae.cli.app import one_line
from irae.config import RunConfig, TrainingSection, load_config
from irae.errors import CompilerError, TrainingError
from irae.models.networks.registry import build_network, resolve_options
from irae.tasks.base import Batch
from irae.training import prepare as preparation
from irae.training import run as runs
from irae.training.distributed import ALONE, Ranks, StepMemoryError
from irae.training.efficiency import activation_memory as memory
from irae.training.efficiency.activation_memory import activation_bytes
from irae.training.find_nonfinite import diagnose
from irae.training.objectives.restoration import Restoration
from irae.training.step import TrainStep

CPU = torch.device("cpu")


def config(root: Path, *more: str, task: str = "denoise") -> RunConfig:
    overrides = [
        f"data.root={root}",
        "data.train=[{source: train}]",
        "data.validation={source: val, images: 1, crop: 32}",
        "data.patch=16",
        "model.options={width: 16, couplings: 4, hidden: 8}",
        "training={steps: 20, batch: 2, warmup: 2}",
        "training.precision=fp32",
    ]
    return load_config(f"{task}.yaml", [*overrides, *more])


def optimisation(settings: RunConfig) -> TrainStep:
    torch.manual_seed(0)
    model = settings.model
    network = build_network("irae", resolve_options("irae", model.preset, model.options))
    return TrainStep(network, settings.training, ALONE, Restoration())


def noisy_batch(seed: int = 0) -> Batch:
    clean = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return Batch(clean, clean + 0.1)


def losses(settings: RunConfig) -> list[float]:
    trained = optimisation(settings)
    return [float(trained.step(noisy_batch(n), n)[0]) for n in range(1, 7)]


def weights(trained: TrainStep) -> list[Tensor]:
    return [p.detach().clone() for p in trained.network.parameters()]


class Full(nn.Module):
    """A network whose activations do not fit: as many bytes as no machine has."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return (self.weight * x).sum() * torch.empty(1 << 50)


def test_a_step_that_does_not_fit_is_one_line(pictures: Path) -> None:
    settings = config(pictures)
    with pytest.raises(StepMemoryError, match=r"step 3 does not fit the memory of cpu; lower") as e:
        TrainStep(Full(), settings.training, ALONE, Restoration()).step(noisy_batch(), 3)
    line = one_line(e.value)
    assert line is not None and "\n" not in line and "training.batch (2)" in line
    # Nothing holds what the step had allocated.
    assert e.value.__context__ is None and e.value.__cause__ is None
    plain = one_line(RuntimeError("DefaultCPUAllocator: can't allocate memory\nand a trace"))
    assert plain is not None and plain.startswith("out of memory") and "\n" not in plain


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_bad_step_and_all_after_it_change_no_weight(pictures: Path, optimizer: str) -> None:
    trained = optimisation(config(pictures, f"training.optimizer={optimizer}"))
    trained.step(noisy_batch(), 1)
    assert trained.first_bad_step() is None
    before = weights(trained)
    bad = noisy_batch()
    bad.degraded[0, 0, 3, 3] = math.nan
    for number, batch in ((2, bad), (3, noisy_batch()), (4, bad)):
        trained.step(batch, number)
    assert trained.first_bad_step() == 2
    for a, b in zip(before, weights(trained), strict=True):
        assert torch.equal(a, b)
    for state in trained.optimizer.state.values():
        assert state.get("step", 1) == 1
        assert all(torch.isfinite(kept).all() for kept in state.values())
    assert "the loss is nan, first in flow" in str(diagnose(trained, bad))
    assert diagnose(trained, noisy_batch()) is None


def test_a_run_finds_the_bad_step_later_and_saves_nothing(tmp_path: Path, pictures: Path) -> None:
    run = runs.begin(config(pictures), tmp_path / "run", CPU)
    kept = (run.folder / "last.ckpt").read_bytes()
    weight = run.network.get_parameter("flow.couplings.1.conv1.weight")
    for step in range(5):
        if step == 2:
            with torch.no_grad():
                weight[0] = math.inf
        run.train_step.step(run.batches.batch(step), step + 1)
        run.advance()
    for leave in (run.save, run.validate):
        with pytest.raises(TrainingError, match=r"step 3: .*flow\.couplings\.1"):
            leave()
    assert (run.folder / "last.ckpt").read_bytes() == kept
    assert not (run.folder / "best.safetensors").exists()


def test_recomputed_activations_give_the_same_training(pictures: Path) -> None:
    plain = losses(config(pictures, "training.reversible=false"))
    assert plain[0] != plain[-1]
    settings = config(pictures, "training.reversible=true")
    trained = optimisation(settings)
    runs.set_reversible(trained.network, True)
    again = [float(trained.step(noisy_batch(n), n)[0]) for n in range(1, 7)]
    assert again == pytest.approx(plain, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("reversible", [False, True])
def test_a_compiled_network_trains_alike_and_keeps_its_names(
    reversible: bool, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Traced and differentiated as ever, but not handed to a C++ compiler for a minute.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    switch = f"training.reversible={str(reversible).lower()}"
    plain = losses(config(pictures, switch))
    trained = optimisation(config(pictures, switch, "training.compile=true"))
    runs.set_reversible(trained.network, reversible)
    names = list(trained.network.state_dict())
    compiled = [float(trained.step(noisy_batch(n), n)[0]) for n in range(1, 7)]
    assert compiled == pytest.approx(plain, rel=1e-4)
    assert list(trained.network.state_dict()) == names
    assert not any("_orig_mod" in name for name in names)
    with torch.no_grad():
        trained.network.get_parameter("flow.couplings.1.conv1.weight").fill_(math.nan)
    found = str(diagnose(trained, noisy_batch()))
    assert "first in flow.couplings.1" in found


def test_a_compiler_that_fails_is_one_line(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(graph: object, inputs: object) -> None:
        raise ValueError("no compiler")

    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network: whole(network, backend=backend))
    trained = optimisation(config(pictures, "training.compile=true"))
    with pytest.raises(CompilerError, match=r"set training\.compile=false"):
        trained.step(noisy_batch(), 1)


def test_activations_are_counted_as_autograd_keeps_them() -> None:
    x = torch.rand(1, 4, 8, 8)
    network = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 1), torch.nn.ReLU())

    class Called(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
            y: Tensor = self.inner(x)
            return y

    # The convolution keeps its input, the ReLU its output.
    assert activation_bytes(Called(), x, None) == 2 * x.nbytes


@pytest.mark.parametrize(("size", "reversible"), [(2**40, False), (2**16, True)])
def test_auto_recomputes_when_the_device_is_small(
    size: int,
    reversible: bool,
    tmp_path: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "device_memory", lambda device: size)
    run = runs.begin(config(pictures), tmp_path / "run", CPU)
    written = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert written["training"]["reversible"] is reversible
    # What auto came to is kept, wherever the run goes on.
    monkeypatch.setattr(memory, "device_memory", lambda device: 2**40)
    assert runs.resume(run.folder, CPU).config.training.reversible is reversible


@pytest.mark.parametrize(("faster", "precision"), [(False, "fp32"), (True, "bf16")])
def test_auto_precision_is_the_faster_and_is_kept(
    faster: bool,
    precision: str,
    tmp_path: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "bfloat16_is_faster", lambda device: faster)
    settings = config(pictures, "training.precision=auto")
    run = runs.begin(settings, tmp_path / "run", CPU)
    assert run.config.training.precision == precision
    written = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert written["training"]["precision"] == precision
    monkeypatch.setattr(runtime, "bfloat16_is_faster", lambda device: not faster)
    assert runs.resume(run.folder, CPU).config.training.precision == precision
    assert runs.resume(run.folder, CPU, settings).config.training.precision != precision


def test_a_networks_own_loss_is_added() -> None:
    torch.manual_seed(0)
    network = build_network("invdn", resolve_options("invdn", None, {}))
    clean = torch.rand(2, 3, 16, 16)
    batch = Batch(clean, (clean + 0.1 * torch.randn_like(clean)), None, None)
    optimisation = TrainStep(
        network, TrainingSection(precision="fp32", loss="l2"), ALONE, Restoration()
    )
    network.eval()
    with torch.no_grad():
        loss, _ = optimisation.loss(batch)
        own = network.forward_with_loss(batch.degraded, None, clean)[1]  # type: ignore[operator]
        pixels = (network(batch.degraded) - clean).square().mean()
    torch.testing.assert_close(loss, pixels + own)


@pytest.mark.parametrize(
    ("memory_there", "ranks", "expected"),
    [(2**40, ALONE, 64), (2**40, Ranks(0, 2), 128), (2**18, ALONE, 4), (0, ALONE, 1)],
)
def test_auto_batch_of_a_gpu_fits_its_memory(
    memory_there: int, ranks: Ranks, expected: int, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(preparation._BATCHES, "cpu", 64)
    monkeypatch.setattr(memory, "device_memory", lambda device: memory_there)
    monkeypatch.setattr(Ranks, "on_main", lambda self, work: work())
    settings = config(pictures, "training.batch=auto", "training.reversible=false")
    section = preparation.resolve(settings, CPU, ranks).training
    assert section.batch == section.batch_size == expected


@pytest.mark.parametrize("ranks", [ALONE, Ranks(0, 3)])
def test_auto_batch_of_a_cpu_is_eight_or_more(
    ranks: Ranks, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ranks, "on_main", lambda self, work: work())
    settings = config(pictures, "training.batch=auto")
    assert settings.training.batch_size == 8
    assert preparation.resolve(settings, CPU, ranks).training.batch == (8 if ranks is ALONE else 9)


@pytest.mark.parametrize("name", ["density/fashion.yaml", "density/patches.yaml", "inpaint.yaml"])
def test_auto_batch_is_chosen_for_every_objective(
    name: str, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(preparation._BATCHES, "cpu", 64)
    monkeypatch.setattr(memory, "device_memory", lambda device: 2**40)
    settings = load_config(name, [f"data.root={pictures}", "training.batch=auto"])
    assert preparation.resolve(settings, CPU, ALONE).training.batch == 64


def test_auto_batch_is_said_and_kept(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.begin(config(pictures, "training.batch=auto"), tmp_path / "run", CPU)
    assert "8 patches a step (training.batch: auto)" in run.notices
    assert yaml.safe_load((run.folder / "config.yaml").read_text())["training"]["batch"] == 8
    monkeypatch.setitem(preparation._BATCHES, "cpu", 64)
    again = runs.resume(run.folder, CPU)
    assert again.config.training.batch == 8
    assert not any("training.batch" in line for line in again.notices)
    given = runs.begin(config(pictures), tmp_path / "given", CPU)
    assert given.config.training.batch == 2
    assert not any("training.batch" in line for line in given.notices)
