"""Resuming is exact, a kill loses nothing, and the untrained model is the identity."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from irae.config import load_config
from irae.errors import TrainingError
from irae.models.checkpoints.model_file import load_model
from irae.training import time_budget as budget
from irae.training.checkpoint import load_state
from irae.training.console import log
from irae.training.loop import train
from irae.training.run import Run, begin, resume
from irae.training.step import learning_rate
from irae.training.time_budget import train_minutes

CPU = torch.device("cpu")


SMALL = "{width: 16, couplings: 4, hidden: 8}"
SMALL_HOLES = "{width: 16, couplings: 2, scales: [8, 8]}"


def overrides(root: Path, *more: str, options: str = SMALL) -> list[str]:
    return [
        f"data.root={root}",
        "data.train=[{source: train}]",
        "data.validation={source: val, images: 2, crop: 32}",
        "data.patch=16",
        f"model.options={options}",
        "training={steps: 12, batch: 2, warmup: 2, threads: 1, validate_every: 4}",
        "training.log_every=1",
        "training.checkpoint_every=3",
        *more,
    ]


def new_run(folder: Path, root: Path, task: str = "denoise", *more: str) -> Run:
    options = SMALL_HOLES if task == "inpaint" else SMALL
    return begin(load_config(f"{task}.yaml", overrides(root, *more, options=options)), folder, CPU)


def flatten(state: object, at: str = "") -> dict[str, object]:
    if isinstance(state, dict):
        return {k: v for key, x in state.items() for k, v in flatten(x, f"{at}.{key}").items()}
    return {at: state}


def assert_same_state(a: dict[str, object], b: dict[str, object]) -> None:
    first, second = flatten(a), flatten(b)
    assert first.keys() == second.keys()
    for key, value in first.items():
        if key == ".seconds":
            continue
        other = second[key]
        same = torch.equal(value, other) if isinstance(value, Tensor) else value == other
        assert same, key


@pytest.mark.usefixtures("few_masks")
@pytest.mark.parametrize(
    "task", ["denoise", "jpeg", pytest.param("inpaint", marks=pytest.mark.slow)]
)
def test_2n_steps_equal_n_resume_n_bit_for_bit(task: str, tmp_path: Path, pictures: Path) -> None:
    whole = new_run(tmp_path / "whole", pictures, task)
    train(whole)
    half = new_run(tmp_path / "half", pictures, task)
    train(half, max_steps=5)
    assert half.step == 5
    train(resume(tmp_path / "half", CPU))
    assert_same_state(load_state(tmp_path / "whole"), load_state(tmp_path / "half"))

    def lines(folder: str) -> list[dict[str, object]]:
        text = (tmp_path / folder / "metrics.jsonl").read_text().splitlines()
        clocks = ("patches_per_second", "waiting_share")
        return [{k: v for k, v in json.loads(x).items() if k not in clocks} for x in text]

    assert lines("whole") == lines("half")


def test_a_run_folder_holds_what_it_promises(tmp_path: Path, pictures: Path) -> None:
    run = new_run(tmp_path / "run", pictures)
    train(run)
    names = {path.name.split(".")[0] for path in run.folder.iterdir()}
    assert names >= {"config", "run", "metrics", "events", "last", "best", "samples"}
    described = json.loads((run.folder / "run.json").read_text())
    assert described["seed"] == 0
    assert "torch" in described["versions"]
    model = load_model(run.folder)
    assert model.spec.card["steps"] in (4, 8, 12)
    last = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 12
    assert last["round_trip"] < 0.5


def test_the_untrained_model_scores_as_its_input(tmp_path: Path, pictures: Path) -> None:
    score = new_run(tmp_path / "run", pictures).validate()
    for before, after in score.levels.values():
        # Clipping to [0, 1] helps a little; nothing else may have changed.
        assert before - 1e-3 <= after <= before + 1.0


@pytest.mark.slow
def test_training_improves_on_the_input(tmp_path: Path, pictures: Path) -> None:
    run = new_run(
        tmp_path / "run",
        pictures,
        "denoise",
        "degradation.sigma=50",
        "data.validation.sigma=[50]",
        "training.steps=150",
        "training.batch=8",
        "training.validate_every=150",
        "training.ema=0.9",
        "training.precision=fp32",
        "training.learning_rate=0.01",
        "model.options={width: 24, couplings: 4, hidden: 24}",
    )
    train(run)
    ((before, after),) = run.validate().levels.values()
    assert after > before + 3


def test_a_loss_that_is_not_finite_stops_and_names_the_layer(
    tmp_path: Path, pictures: Path
) -> None:
    run = new_run(tmp_path / "run", pictures)
    train(run, max_steps=3)
    good = load_state(run.folder)
    name = "flow.couplings.1.conv1"
    with torch.no_grad():
        run.network.get_submodule(name).weight.fill_(math.nan)
    with pytest.raises(TrainingError, match=r"flow\.couplings\.1"):
        train(run)
    assert_same_state(load_state(run.folder), good)


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(
    tmp_path: Path, pictures: Path
) -> None:
    run = new_run(tmp_path / "run", pictures)
    train(run, max_steps=3)
    good = load_state(run.folder)
    name = "flow.couplings.2.conv2.weight"
    run.network.get_parameter(name).register_hook(lambda gradient: gradient / 0)
    with pytest.raises(TrainingError, match=r"flow\.couplings\.2\.conv2"):
        train(run)
    assert all(torch.isfinite(p).all() for p in run.network.parameters())
    assert_same_state(load_state(run.folder), good)


@pytest.mark.slow
def test_the_last_step_of_a_budget_is_validated(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The schedule is reckoned too long, as if the machine had become slower since.
    monkeypatch.setattr(budget, "_RECKONINGS", (0.05, 1.0))
    monkeypatch.setattr(budget, "round", lambda steps: 1000, raising=False)
    config = load_config(
        "denoise.yaml", overrides(pictures, "training={validate_every: 100000, steps: 100000}")
    )
    run = train_minutes(config, tmp_path / "run", CPU, 0.02)
    assert 0 < run.step < run.config.training.steps
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    validated = [line for line in map(json.loads, lines) if "validation" in line]
    assert [line["step"] for line in validated] == [run.step]
    assert (tmp_path / "run" / "best.safetensors").exists()
    assert load_state(tmp_path / "run")["best"] == validated[0]["validation_psnr"]


@pytest.mark.slow
def test_a_budget_saves_in_time_and_begins_a_tensorboard_file_for_a_schedule_only(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    save = Run.save
    monkeypatch.setattr(Run, "save", lambda run: (saved.append(run.step), save(run)))
    monkeypatch.setattr(budget, "SAVE_EVERY", 0.0)
    config = load_config("denoise.yaml", overrides(pictures, "training.checkpoint_every=100000"))
    run = train_minutes(config, tmp_path / "run", CPU, 0.03)
    assert set(saved) >= set(range(1, run.step + 1))
    files = list((tmp_path / "run").glob("events.out.tfevents.*"))
    assert len(files) <= 2 * len(budget._RECKONINGS) + 1 < run.step


@pytest.mark.slow
@pytest.mark.parametrize("warmup", [1, 5000])
def test_the_warm_up_takes_at_most_a_tenth_of_a_budget(
    warmup: int, tmp_path: Path, pictures: Path
) -> None:
    config = load_config("denoise.yaml", overrides(pictures, f"training.warmup={warmup}"))
    section = train_minutes(config, tmp_path / "run", CPU, 0.02).config.training
    assert section.warmup == min(warmup, round(section.steps / 10))
    assert learning_rate(section.steps // 2, section) > 0.3 * section.learning_rate


def test_a_new_run_never_overwrites_one(tmp_path: Path, pictures: Path) -> None:
    new_run(tmp_path / "run", pictures)
    with pytest.raises(TrainingError, match="already holds a run"):
        new_run(tmp_path / "run", pictures)


def test_resuming_what_is_no_run_or_another_network(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(TrainingError, match="not a run"):
        resume(tmp_path, CPU)
    new_run(tmp_path / "run", pictures)
    wider = load_config("denoise.yaml", overrides(pictures, "model.options.width=17"))
    with pytest.raises(TrainingError, match="do not fit"):
        resume(tmp_path / "run", CPU, wider)


def test_training_starts_from_a_given_model(tmp_path: Path, pictures: Path) -> None:
    first = new_run(tmp_path / "a", pictures)
    train(first, max_steps=4)
    given = first.folder / "last.safetensors"
    second = new_run(tmp_path / "b", pictures, "jpeg", f"model.init={given}")
    start = load_model(given).network.state_dict()
    for key, value in second.network.state_dict().items():
        assert torch.equal(value, start[key]), key


def test_the_first_minute_tells_how_long_it_will_take(
    tmp_path: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(log, "ESTIMATE_AFTER", 1e-3)
    run = new_run(tmp_path / "run", pictures)
    train(run, max_steps=3)
    assert capsys.readouterr().err.count(" to go, at this speed") == 1
    train(resume(tmp_path / "run", CPU), max_steps=6)
    assert " to go" not in capsys.readouterr().err


def test_a_slow_first_step_does_not_count_for_the_others(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = new_run(tmp_path / "run", pictures, "denoise", "training.steps=30")
    with ExitStack() as stack:
        told = log.Log(run, stack, estimate=True)
        for spent in (100.0, 100.0, 1.0):  # As when a compiler works in the first ones.
            assert " to go" not in capsys.readouterr().err
            run.step, run.seconds = run.step + 1, run.seconds + spent
            told.step(0.0, spent)
        assert "about 27 s to go" in capsys.readouterr().err


@pytest.mark.parametrize("anew", [True, False])
def test_dead_units_are_counted_told_and_started_anew(
    anew: bool, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    restart = f"training.restart_dead={str(anew).lower()}"
    run = new_run(tmp_path / "run", pictures, "denoise", restart)
    layers = [n.flow.networks()[1] for n in (run.network, run.ema.network)]
    with torch.no_grad():
        for layer in layers:
            layer.conv1.bias[:4] = -50.0
    train(run, max_steps=4)
    said = capsys.readouterr().err
    assert "warning: 50% of the hidden units of flow.couplings.1 never fire" in said
    assert f"{4 / 32:.1%} of hidden units never fire" in said
    assert f"{4 / 32:.1%} of hidden units never fire; irae restore FILE" in run.describe()
    line = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["dead_units"] == pytest.approx(4 / 32)
    assert load_model(run.folder).spec.card["dead_units"] == pytest.approx(4 / 32)
    for layer in layers:
        assert (float(layer.conv1.bias[:4].detach().abs().max()) < 1) == anew


@pytest.mark.parametrize(
    ("seconds", "said"), [(12.4, "12 s"), (89, "89 s"), (90, "2 min"), (3660, "1 h 1 min")]
)
def test_durations(seconds: float, said: str) -> None:
    assert log.duration(seconds) == said


def test_learning_rate_warms_up_and_falls_to_its_end() -> None:
    section = load_config("denoise.yaml", ["training={steps: 100, warmup: 10}"]).training
    rates = [learning_rate(step, section) for step in range(101)]
    assert rates[0] == pytest.approx(section.learning_rate / 10)
    assert max(rates) == rates[10] == section.learning_rate
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(section.final_learning_rate)


def test_step_schedule_halves_as_the_paper_does() -> None:
    section = load_config("paper/denoise.yaml").training
    assert learning_rate(0, section) == 1e-3
    assert learning_rate(81349, section) == 1e-3
    assert learning_rate(81350, section) == 5e-4
    assert learning_rate(244049, section) == 2.5e-4


@contextmanager
def start_process(folder: Path, root: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    sets = [word for item in overrides(root, "training.steps=100000") for word in ("--set", item)]
    command = [sys.executable, "-m", "irae", "train", "--config", "denoise.yaml", *sets]
    command += ["-o", str(folder), *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_steps(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    metrics = folder / "metrics.jsonl"
    while time.monotonic() < deadline:
        if metrics.is_file() and metrics.read_text().count("\n") >= count:
            return
        time.sleep(0.1)
    raise AssertionError("the training process made no progress in two minutes")


@pytest.mark.kill
def test_kill_at_any_moment_leaves_a_run_that_resumes(tmp_path: Path, pictures: Path) -> None:
    with start_process(tmp_path / "run", pictures):
        wait_for_steps(tmp_path / "run", 8)
    reached = load_state(tmp_path / "run")["step"]
    assert reached >= 6
    whole = new_run(tmp_path / "whole", pictures, "denoise", "training.steps=100000")
    train(whole, max_steps=reached + 2)
    train(resume(tmp_path / "run", CPU), max_steps=reached + 2)
    assert_same_state(load_state(tmp_path / "whole"), load_state(tmp_path / "run"))


@pytest.mark.kill
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_saves_and_says_so_by_the_exit_code(
    number: signal.Signals, tmp_path: Path, pictures: Path
) -> None:
    with start_process(tmp_path / "run", pictures) as process:
        wait_for_steps(tmp_path / "run", 4)
        os.kill(process.pid, number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 4, said
    assert "Traceback" not in said
    assert f": stopped at {load_state(tmp_path / 'run')['step']} of 100000, " in said
    steps = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert load_state(tmp_path / "run")["step"] == steps
