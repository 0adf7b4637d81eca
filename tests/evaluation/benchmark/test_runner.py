"""A benchmark can be stopped anywhere, and computes what is missing and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from irae.data.registry import open_data
from irae.errors import BusyError, UsageError
from irae.evaluation.benchmark import runner
from irae.evaluation.benchmark.cells import Cell
from irae.evaluation.benchmark.config import load_benchmark
from irae.evaluation.benchmark.cost import COST_FILE
from irae.evaluation.benchmark.plan import plan
from irae.evaluation.benchmark.results_file import LOCKS, read_results
from irae.evaluation.benchmark.runner import Outcome, done_cells, run_benchmark
from irae.evaluation.evaluate import evaluate
from irae.locks import LOCK_NAME, lock_file
from irae.models.checkpoints.model_file import load_model
from irae.training.checkpoint import load_state

CPU = torch.device("cpu")
SMALL = {"width": 12, "couplings": 2, "hidden": 4}
FFDNET = {"network": "ffdnet", "options": {"width": 8, "layers": 3}, "tasks": ["denoise"]}


def write_config(path: Path, root: Path, **changes: Any) -> Path:
    """A matrix of one data set, two models and one task, of two steps each."""
    content: dict[str, Any] = {
        "root": str(root),
        "datasets": {"small": {"train": [{"source": "train"}], "validation": "val",
                               "test": "val", "patch": 16}},
        "tasks": {"denoise": {"levels": [25]}},
        "models": {"irae": {"network": "irae", "options": SMALL}, "ffdnet": FFDNET},
        "budget": {"steps": 2},
        "training": {"batch": 2, "threads": 1, "precision": "fp32"},
        "samples": 1,
        "cost": {"height": 16, "width": 16, "rounds": 1},
        **changes,
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def go(config: Path, folder: Path, *overrides: str, **more: Any) -> tuple[Outcome, list[str]]:
    said: list[str] = []
    cells = plan(load_benchmark(config, list(overrides)))
    return run_benchmark(cells, folder, CPU, say=said.append, **more), said


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["cell"]: row for row in read_results(folder / "results.jsonl")}


def test_a_matrix_is_trained_measured_and_kept(tmp_path: Path, pictures: Path) -> None:
    config = write_config(tmp_path / "b.yaml", pictures, budget={"patches": 5})
    outcome, _ = go(config, tmp_path / "out")
    assert outcome.finished == ["small/denoise-25/irae", "small/denoise-25/ffdnet"]
    assert not outcome.failures
    found = rows(tmp_path / "out")
    row = found["small/denoise-25/irae"]
    assert row["trained"]["steps"] == 3
    assert row["trained"]["patches"] == 6
    assert row["level_name"] == "sigma 25"
    assert row["pictures"] == ["0", "1"]
    model = load_model(tmp_path / "out/cells/small/denoise-25/irae/last.safetensors")
    cell = plan(load_benchmark(config))[0]
    again = evaluate(model, open_data("val", root=pictures), [cell.degradation()])
    expected = [each.output["psnr"] for each in again.levels[0].pictures]
    assert row["metrics"]["psnr"] == pytest.approx(expected)
    for each in found.values():
        cost = each["cost"]
        assert (
            min(
                cost[k]
                for k in ("parameters", "macs_per_pixel", "seconds_per_megapixel", "peak_memory")
            )
            > 0
        )
        (sample,) = each["samples"]
        assert all((tmp_path / "out" / sample[k]).is_file() for k in ("clean", "degraded"))
        assert Path(sample["restored"]).name == f"{each['model']}.png"
        assert (tmp_path / "out" / sample["restored"]).is_file()
    # The same damage and the same data for both.
    assert found["small/denoise-25/ffdnet"]["input"] == row["input"]
    before = (tmp_path / "out/results.jsonl").read_bytes()
    outcome, _ = go(config, tmp_path / "out")
    assert outcome.kept
    assert not outcome.finished
    assert (tmp_path / "out/results.jsonl").read_bytes() == before


def test_a_cut_line_costs_its_own_cell_only(tmp_path: Path, pictures: Path) -> None:
    config = write_config(tmp_path / "b.yaml", pictures)
    go(config, tmp_path / "out")
    path = tmp_path / "out/results.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    outcome, _ = go(config, tmp_path / "out")
    assert outcome.finished == ["small/denoise-25/ffdnet"]
    assert len(path.read_text().splitlines()) == 2
    # Its training was not lost: the line says the same but for what was measured again.
    lost, redone = (json.loads(x.splitlines()[1]) for x in (whole, path.read_bytes()))
    assert lost["metrics"] == redone["metrics"]
    assert lost["trained"] == redone["trained"]


def test_a_changed_config_is_noticed(tmp_path: Path, pictures: Path) -> None:
    config = write_config(tmp_path / "b.yaml", pictures)
    out = tmp_path / "out"
    go(config, out)
    with pytest.raises(UsageError) as caught:
        go(config, out, "training.learning_rate=0.01")
    told = str(caught.value)
    assert "(training.learning_rate was 0.001, is 0.01)" in told
    assert "--overwrite" in told
    assert "small/denoise-25/irae" in told
    assert len(rows(out)) == 2
    # Only what has changed is computed anew.
    before = rows(out)
    outcome, _ = go(config, out, "models.ffdnet.training={loss: l2}", overwrite=True)
    assert outcome.finished == ["small/denoise-25/ffdnet"]
    assert rows(out)["small/denoise-25/irae"] == before["small/denoise-25/irae"]
    changed = rows(out)["small/denoise-25/ffdnet"]
    assert changed["hash"] != before["small/denoise-25/ffdnet"]["hash"]
    assert changed["metrics"] != before["small/denoise-25/ffdnet"]["metrics"]


def test_trained_weights_are_kept_when_only_the_test_has_changed(
    tmp_path: Path, pictures: Path
) -> None:
    config = write_config(tmp_path / "b.yaml", pictures)
    out = tmp_path / "out"
    go(config, out)
    before = rows(out)["small/denoise-25/irae"]
    weights = (out / "cells/small/denoise-25/irae/last.safetensors").read_bytes()
    fewer = "datasets.small.pictures=1"
    with pytest.raises(UsageError, match="to measure it anew with the weights that it has"):
        go(config, out, fewer)
    outcome, _ = go(config, out, fewer, overwrite=True)
    assert len(outcome.finished) == 2
    row = rows(out)["small/denoise-25/irae"]
    assert (len(before["pictures"]), len(row["pictures"])) == (2, 1)
    assert row["trained"] == before["trained"]
    assert row["metrics"]["psnr"] == before["metrics"]["psnr"][:1]
    assert (out / "cells/small/denoise-25/irae/last.safetensors").read_bytes() == weights
    # What the training depends on is computed anew.
    with pytest.raises(UsageError, match="to compute it anew"):
        go(config, out, fewer, "seed=1")
    go(config, out, fewer, "seed=1", overwrite=True)
    assert (out / "cells/small/denoise-25/irae/last.safetensors").read_bytes() != weights


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"datasets": {"small": {"train": ["train"], "validation": "val", "test": "vall",
                                 "patch": 16}}}, "'vall' is neither"),
        ({"datasets": {"small": {"train": ["trian"], "validation": "val", "test": "val",
                                 "patch": 16}}}, "'trian' is neither"),
        ({"tasks": {"inpaint": {"levels": ["irregular"], "masks": "no/masks"}},
          "models": {"irae": {"network": "irae", "options": SMALL}}}, "no/masks is not a folder"),
        ({"tasks": {"inpaint": {"levels": ["center:8"], "degradation": {"masks": "lost"}}},
          "models": {"irae": {"network": "irae", "options": SMALL}}},
         "tasks.inpaint.degradation.masks: lost: no such folder"),
        ({"models": {"irae": {"network": "irae", "options": {"width": 12, "depht": 2}}}},
         "option 'depht'"),
        ({"models": {"given": {"checkpoint": "some.pth"}}}, "some.pth: no such checkpoint"),
    ],
)  # fmt: skip
def test_what_is_misspelt_is_found_before_the_first_training(
    changes: dict[str, Any], words: str, tmp_path: Path, pictures: Path
) -> None:
    config = write_config(tmp_path / "b.yaml", pictures, **changes)
    outcome, said = go(config, tmp_path / "out")
    assert not outcome.finished
    assert sum(words in line for line in said) == 1
    assert said[-1].startswith("0 of ")
    assert not (tmp_path / "out/cells").exists()


def test_two_processes_share_a_folder_by_parts_only(tmp_path: Path, pictures: Path) -> None:
    config = write_config(tmp_path / "b.yaml", pictures)
    out = tmp_path / "out"
    out.mkdir()
    with lock_file(out / LOCK_NAME), pytest.raises(BusyError, match="is at work there"):
        go(config, out)
    with lock_file(out / LOCK_NAME, shared=True):
        with pytest.raises(BusyError):
            go(config, out)
        first, _ = go(config, out, shard=(1, 2))
    assert first.finished == ["small/denoise-25/irae"]
    # A cell that another process computes is left to it.
    locked = out / LOCKS / "small--denoise-25--ffdnet.lock"
    with lock_file(locked):
        busy, said = go(config, out, shard=(2, 2))
    assert (busy.finished, busy.busy) == ([], ["small/denoise-25/ffdnet"])
    assert any("another process computes it" in line for line in said)
    second, _ = go(config, out, shard=(2, 2))
    assert second.finished == ["small/denoise-25/ffdnet"]
    assert not second.kept
    whole, _ = go(config, out)
    assert len(whole.kept) == 2
    # The parts are the whole: the same numbers as from one process.
    go(config, tmp_path / "alone")
    for name, row in rows(tmp_path / "alone").items():
        assert row["metrics"] == rows(out)[name]["metrics"]


@pytest.mark.kill
def test_parts_that_run_at_once_lose_no_result(tmp_path: Path, pictures: Path) -> None:
    levels = {"denoise": {"levels": [5, 10, 15, 20, 25, 30]}}
    config = write_config(tmp_path / "b.yaml", pictures, tasks=levels)
    parts = [start(config, tmp_path / "out", "--shard", f"{n}/2") for n in (1, 2)]
    try:
        assert [process.wait(300) for process in parts] == [0, 0]
    finally:
        for process in parts:
            process.kill()
    assert len(rows(tmp_path / "out")) == 12
    costs = {str(row["cost"]) for row in rows(tmp_path / "out").values()}
    assert len(costs) == 2  # One for each network, measured once for all.


def test_finished_cells_take_the_costs_of_the_last_run(tmp_path: Path, pictures: Path) -> None:
    config = write_config(tmp_path / "b.yaml", pictures)
    out = tmp_path / "out"
    go(config, out)
    before = rows(out)
    (out / COST_FILE).unlink()
    outcome, _ = go(config, out)
    assert not outcome.finished
    costs = json.loads((out / COST_FILE).read_text())
    for name, row in rows(out).items():
        assert row["cost"] in costs.values()
        assert {**row, "cost": None} == {**before[name], "cost": None}


@pytest.mark.slow
def test_cells_that_fail_spare_the_others(
    tmp_path: Path, pictures: Path, model_files: dict[str, Path]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "0.png").write_bytes(b"no picture")
    section = {"train": [{"source": "train"}], "validation": "val", "test": "val"}
    config = write_config(
        tmp_path / "b.yaml",
        pictures,
        datasets={
            "nowhere": {},
            "large": {**section, "patch": 128},
            "corrupt": {**section, "test": str(broken), "patch": 16},
            "small": {**section, "patch": 16},
        },
        models={
            "pconv": {"network": "pconv"},
            "huge": {"network": "irae", "preset": "huge"},
            "gray": {"network": "dncnn", "options": {"channels": 1, "layers": 3}},
            "absent": {"checkpoint": "absent.safetensors"},
            "wrong": {"checkpoint": str(model_files["jpeg"])},
            "irae": {"network": "irae", "options": SMALL},
        },
    )
    outcome, said = go(config, tmp_path / "out")
    assert outcome.finished == ["small/denoise-25/irae"]
    reasons = outcome.failures
    assert len(reasons) == 4 * 6 - 1
    for name, words in {
        "nowhere/denoise-25/irae": "nowhere",
        "large/denoise-25/irae": "too small for patches of 128",
        "corrupt/denoise-25/irae": "0.png cannot be read",
        "small/denoise-25/pconv": "needs the mask of the holes, which task 'denoise'",
        "small/denoise-25/huge": "preset 'huge'",
        "small/denoise-25/gray": "luma: true",
        "small/denoise-25/absent": "absent.safetensors: no such checkpoint",
        "small/denoise-25/wrong": "is for jpeg, not for denoise",
    }.items():
        assert any(words in reason for reason in reasons[name]), name
        assert not any("\n" in reason for reason in reasons[name])
    # One line for each thing, and for all but damaged pixels before the first training.
    first = next(number for number, line in enumerate(said) if line.startswith("[1/"))
    early = [line for line in said[:first] if "failed" in line]
    assert len(early) == len({line.split("): ")[-1] for line in early}) == 7
    assert sum("'nowhere' is neither" in line for line in early) == 1
    assert sum("absent.safetensors" in line for line in early) == 1
    late = [line for line in said[first:] if "failed" in line]
    assert all("0.png cannot be read" in line for line in late)
    assert {"corrupt/denoise-25/irae"} == {line.split(":")[0] for line in late}


def test_given_models_are_only_measured(
    tmp_path: Path, pictures: Path, model_files: dict[str, Path]
) -> None:
    pytest.importorskip("cv2")
    config = write_config(
        tmp_path / "b.yaml",
        pictures,
        budget=None,
        tasks={
            "denoise": {"levels": [10.5]},
            "grey": {"task": "jpeg", "levels": [20], "luma": True},
            "inpaint": {"levels": ["center:8"]},
        },
        models={
            "mine": {"checkpoint": {task: str(file) for task, file in model_files.items()}},
            "telea": {"checkpoint": "telea", "tasks": ["inpaint"]},
        },
    )
    outcome, _ = go(config, tmp_path / "out")
    assert not outcome.failures
    found = rows(tmp_path / "out")
    assert set(found) == {
        "small/denoise-10.5/mine",
        "small/grey-20/mine",
        "small/inpaint-center-8/mine",
        "small/inpaint-center-8/telea",
    }
    assert all(row["trained"] is None for row in found.values())
    grey = found["small/grey-20/mine"]
    assert grey["measured_on"] == "Y"
    assert "psnr_b" in grey["metrics"]
    assert found["small/inpaint-center-8/telea"]["cost"]["macs_per_pixel"] is None
    assert not (tmp_path / "out/cells").exists()


def test_another_projects_weights_are_found_in_the_folder_of_checkpoints(
    tmp_path: Path, pictures: Path, shared: Path
) -> None:
    given = {"checkpoint": "dncnn_gray_blind.pth"}
    tasks = {"denoise": {"levels": [25], "luma": True}}
    config = write_config(
        tmp_path / "b.yaml", pictures, tasks=tasks, budget=None, models={"dncnn": given}
    )
    go(config, tmp_path / "out", f"checkpoints={shared / 'peers'}")
    row = rows(tmp_path / "out")["small/denoise-25/dncnn"]
    assert row["network"] == "dncnn"
    assert sum(row["metrics"]["psnr"]) > sum(row["input"]["psnr"]) + 4


@pytest.mark.slow
def test_minutes_are_of_training_and_end_on_a_fallen_rate(tmp_path: Path, pictures: Path) -> None:
    config = write_config(
        tmp_path / "b.yaml", pictures, budget={"minutes": 0.03}, models={"ffdnet": FFDNET}
    )
    go(config, tmp_path / "out", "training.log_every=1", "training.warmup=0")
    trained = rows(tmp_path / "out")["small/denoise-25/ffdnet"]["trained"]
    assert trained["budget"] == {"minutes": 0.03}
    assert trained["steps"] > 5
    assert trained["seconds"] == pytest.approx(1.8, abs=0.9)
    lines = (tmp_path / "out/cells/small/denoise-25/ffdnet/metrics.jsonl").read_text().splitlines()
    rates = [r["learning_rate"] for r in map(json.loads, lines) if "learning_rate" in r]
    assert rates[0] == pytest.approx(1e-3)
    assert min(rates[-3:]) < 3e-4


def test_a_limit_of_time_stops_and_the_next_start_goes_on(tmp_path: Path, pictures: Path) -> None:
    config = write_config(tmp_path / "b.yaml", pictures)
    outcome, _ = go(config, tmp_path / "out", minutes=0)
    assert outcome.stopped
    assert not outcome.finished
    outcome, _ = go(config, tmp_path / "out")
    assert len(outcome.finished) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="of POSIX signals")
@pytest.mark.parametrize("part", ["measure", "measure_costs"])
def test_a_signal_stops_what_has_nothing_to_save(
    part: str, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = write_config(tmp_path / "b.yaml", pictures), tmp_path / "out"
    before = signal.getsignal(signal.SIGTERM)

    def interrupted(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
        raise AssertionError("the signal did not arrive")

    with monkeypatch.context() as patch:
        patch.setattr(runner, part, interrupted)
        outcome, _ = go(config, folder)
    assert (outcome.stopped, outcome.by_signal, outcome.finished) == (True, True, [])
    assert signal.getsignal(signal.SIGTERM) == before
    outcome, _ = go(config, folder)
    assert not outcome.stopped and len(outcome.finished) == len(rows(folder))


def start(config: Path, folder: Path, *more: str) -> subprocess.Popen[bytes]:
    command = ["benchmark", "--config", config, "-o", folder, "--device", "cpu", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "irae", *map(str, command)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
    )


def trained_steps(cell: Cell, folder: Path) -> int:
    run = folder / "cells" / cell.dataset / cell.damage / cell.model
    return int(load_state(run)["step"]) if (run / "last.ckpt").is_file() else 0


@pytest.mark.kill
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle_of_a_cell_it_goes_on_from_there(
    number: signal.Signals, tmp_path: Path, pictures: Path
) -> None:
    training = {"batch": 2, "threads": 1, "precision": "fp32", "checkpoint_every": 1}
    config = write_config(
        tmp_path / "b.yaml", pictures, training=training, models={"ffdnet": FFDNET}
    )
    text = config.read_text()
    config.write_text(text.replace("steps: 2", "steps: 1000000"))
    folder = tmp_path / "out"
    cell = plan(load_benchmark(config))[0]
    process = start(config, folder)
    try:
        deadline = time.monotonic() + 300
        while trained_steps(cell, folder) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(300) == (4 if number == signal.SIGINT else -number)
    finally:
        process.kill()
    assert not done_cells(folder)
    steps = trained_steps(cell, folder)
    assert steps >= 3
    # A budget is part of what a cell is; here the rest of it, so the cell's note is taken away.
    (folder / "cells/small/denoise-25/ffdnet/cell.json").unlink()
    config.write_text(text.replace("steps: 2", f"steps: {steps + 2}"))
    go(config, folder)
    row = rows(folder)["small/denoise-25/ffdnet"]
    assert row["trained"]["steps"] == steps + 2
    metrics = folder / "cells/small/denoise-25/ffdnet/metrics.jsonl"
    validated = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert validated == [steps + 2] or steps + 2 >= 50
