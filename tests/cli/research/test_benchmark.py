"""`irae benchmark`: the plan, the report, what it says, alone and under torchrun."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch

from irae.cli.research.benchmark import benchmark
from irae.evaluation.benchmark.runner import Outcome

Program = Callable[..., CompletedProcess[str]]

CONFIG = """
root: {root}
datasets:
  small: {{train: [{{source: train}}], validation: val, test: val, patch: 16}}
  {more}
tasks: {{denoise: {{levels: [25]}}}}
models:
  irae: {{network: irae, options: {{width: 12, couplings: 2, hidden: 4}}}}
  given: {{checkpoint: {given}}}
budget: {{steps: 2}}
training: {{batch: 2, threads: 1, precision: fp32}}
samples: 1
cost: {{height: 16, width: 16, rounds: 1}}
"""


def write(path: Path, root: Path, model_files: dict[str, Path], more: str = "") -> Path:
    path.write_text(CONFIG.format(root=root, given=model_files["denoise"], more=more))
    return path


def test_plan_run_and_report(
    irae: Program, tmp_path: Path, pictures: Path, model_files: dict[str, Path]
) -> None:
    config = write(tmp_path / "b.yaml", pictures, model_files)
    arguments = ["benchmark", "--config", config, "-o", tmp_path / "out"]
    done = irae(*arguments, "--list")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "missing  small/denoise-25/irae",
        "missing  small/denoise-25/given",
    ]
    assert not (tmp_path / "out").exists()
    done = irae(*arguments, "--cells", "*/given", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "1 of 1 cells done" in done.stderr
    assert irae(*arguments, "--list").stdout.splitlines()[1].startswith("done ")
    done = irae(*arguments, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    report = Path(done.stdout.strip())
    assert report.is_file()
    assert report.parent == tmp_path / "out"
    assert "2 of 2 cells done, 1 now" in done.stderr
    report.unlink()
    done = irae("benchmark", "--report-only", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(report)
    assert report.is_file()


def test_no_time_leaves_the_plan_begun(
    irae: Program, tmp_path: Path, pictures: Path, model_files: dict[str, Path]
) -> None:
    config = write(tmp_path / "b.yaml", pictures, model_files)
    arguments = ["benchmark", "--config", config, "-o", tmp_path / "out"]
    done = irae(*arguments, "--minutes", 0, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "0 of 2 cells done" in done.stderr
    assert "goes on" in done.stderr


def test_failures_are_listed_last_and_told_by_the_exit_code(
    irae: Program, tmp_path: Path, pictures: Path, model_files: dict[str, Path]
) -> None:
    config = write(tmp_path / "b.yaml", pictures, model_files, "nowhere: {}")
    done = irae("benchmark", "--config", config, "-o", tmp_path / "out", "--device", "cpu")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    said = "irae: failed: 2 cells (nowhere/denoise-25/irae, …): 'nowhere' is neither a data set"
    assert last.startswith(said)
    assert "Traceback" not in done.stderr
    assert len((tmp_path / "out/results.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--config"),
        (["--report-only"], "-o FOLDER"),
        (["--config", "nothing"], "nothing: no such benchmark"),
        (["--config", "first", "--cells", "nobody"], "matches none"),
        (["--config", "first", "--set", "budget.minutes=-1"], "budget.minutes"),
        (["--config", "first", "--set", "models.irae.presets=x"], "presets: unknown key"),
        (["--config", "first", "--device", "cuda:9"], "cuda:9"),
        (["--config", "first", "--address", "auto"], "add --engine ray"),
        (["--config", "first", "--engine", "ray", "--shard", "1/2"], "--shard is for machines"),
        (["--config", "first", "--shard", "3/2"], "--shard 3/2: write I/N"),
        (["--config", "first", "--shard", "0/2"], "--shard 0/2: write I/N"),
        (["--config", "first", "--shard", "half"], "--shard half: write I/N"),
        (["--config", "first", "--shard", "40/40"], "there are only 34 cells"),
    ],
)
def test_mistakes_are_one_line(
    irae: Program, tmp_path: Path, arguments: list[str], named: str
) -> None:
    extra = ["-o", tmp_path / "out"] if "--config" in arguments else []
    done = irae("benchmark", *arguments, *extra)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert named in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_none_has_no_report(irae: Program, tmp_path: Path) -> None:
    done = irae("benchmark", "--report-only", "-o", tmp_path)
    assert done.returncode == 2
    assert "holds no results.jsonl" in done.stderr


@pytest.mark.distributed
def test_two_processes_train_each_cell_together(
    tmp_path: Path, pictures: Path, model_files: dict[str, Path]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "0.png").write_bytes(b"no picture")
    more = f"corrupt: {{train: [{{source: {broken}}}], validation: val, test: val, patch: 16}}"
    text = write(tmp_path / "b.yaml", pictures, model_files, more).read_text()
    # The cell that fails comes first, in both processes, and both go on.
    small = next(line for line in text.splitlines() if "small:" in line)
    (tmp_path / "b.yaml").write_text(
        text.replace(small + "\n", "").replace(more, f"{more}\n{small}")
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    arguments = ["2", "-m", "irae", "benchmark", "--config", str(tmp_path / "b.yaml")]
    done = subprocess.run(
        [*command, *arguments, "-o", str(tmp_path / "out"), "--device", "cpu"],
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 1
    lines = (tmp_path / "out/results.jsonl").read_text().splitlines()
    rows = {row["cell"]: row for row in map(json.loads, lines)}
    assert set(rows) == {
        "corrupt/denoise-25/given",
        "small/denoise-25/irae",
        "small/denoise-25/given",
    }
    assert rows["small/denoise-25/irae"]["trained"]["processes"] == 2
    assert rows["small/denoise-25/irae"]["trained"]["steps"] == 2
    assert done.stderr.count("irae: failed: corrupt/denoise-25/irae: ") == 1
    assert "0.png: cannot be read" in done.stderr


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_gpu_is_made_the_current_one_if_it_has_a_number(
    name: str, tmp_path: Path, pictures: Path, model_files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """`torch.cuda.set_device` refuses a device without a number."""
    chosen: list[object] = []
    ran: list[object] = []
    monkeypatch.setattr("irae.runtime.select_device", torch.device)
    monkeypatch.setattr("irae.training.distributed.local_device", lambda device: device)
    monkeypatch.setattr("torch._C._cuda_setDevice", chosen.append, raising=False)

    def run(planned: object, folder: Path, device: object, **options: object) -> Outcome:
        ran.append(device)
        return Outcome(stopped=True)

    monkeypatch.setattr("irae.evaluation.benchmark.runner.run_benchmark", run)
    config = write(tmp_path / "b.yaml", pictures, model_files)
    benchmark(str(config), output=tmp_path / "out", device=name)
    assert ran == [torch.device(name)]
    assert chosen == ([1] if name == "cuda:1" else [])


def test_a_benchmark_runs_on_a_gpu(
    cuda: torch.device, tmp_path: Path, pictures: Path, model_files: dict[str, Path]
) -> None:
    config = write(tmp_path / "b.yaml", pictures, model_files)
    benchmark(str(config), output=tmp_path / "out", device="cuda")
    rows = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert [json.loads(row)["machine"]["device"] for row in rows] == ["cuda", "cuda"]
