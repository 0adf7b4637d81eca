"""Two processes compute what one does, agree on when to stop, and never hang."""

from __future__ import annotations

import json
import multiprocessing
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch

from irae.config import load_config
from irae.errors import UsageError
from irae.training import distributed
from irae.training.checkpoint import load_state
from irae.training.distributed import ALONE, Ranks, local_device, processes
from irae.training.loop import train
from irae.training.run import begin, resume

CPU = torch.device("cpu")
SMALL = "model.options={width: 16, couplings: 4, hidden: 8}"
STRICT = "model.options={width: 8, depth: 2, levels: 2}"
HOLES = "model.options={width: 16, couplings: 2, scales: [8, 8]}"


def overrides(root: Path, *more: str) -> list[str]:
    return [
        f"data.root={root}",
        "data.train=[{source: train}]",
        "data.validation={source: val, images: 2, crop: 32}",
        "data.patch=16",
        "training={steps: 8, batch: 4, warmup: 2, threads: 1, validate_every: 4, log_every: 1}",
        "training.precision=fp32",
        *more,
    ]


@dataclass
class Ended:
    codes: list[int | None]
    said: str

    @property
    def errors(self) -> list[str]:
        return [line for line in self.said.splitlines() if "irae: error:" in line]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Importing torch takes seconds; this server has done so, and each process is a fork of it.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["irae.training.loop", "irae.cli.app"])
PROGRAM = """
import os, sys
os.environ.update(environment)
for stream in (1, 2):
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
sys.argv = arguments
from irae.cli.app import main
main()
"""


@dataclass
class Pair:
    """Two processes with the environment that torchrun would give them, but nobody over them."""

    said: Path
    processes: list[ForkServerProcess]

    def wait(self, seconds: float = 120) -> Ended:
        try:
            for process in self.processes:
                process.join(seconds)
            codes = [process.exitcode for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
        return Ended(codes, self.said.read_text())


def start_pair(folder: Path, *arguments: object, program: str = PROGRAM) -> Pair:
    said = folder / "said.txt"
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    processes = []
    for rank in ("0", "1"):
        values = {
            "environment": {**shared, "RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"},
            "said": str(said),
            "arguments": ["irae", "train", *map(str, arguments)],
        }
        processes.append(SERVER.Process(target=exec, args=(program, values)))
        processes[-1].start()
    return Pair(said, processes)


def sets(values: list[str]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same_curves(a: Path, b: Path) -> None:
    first, second = metrics(a), metrics(b)
    assert [line["step"] for line in first] == [line["step"] for line in second]
    for x, y in zip(first, second, strict=True):
        for key in ("loss", "validation_psnr"):
            assert (key in x) == (key in y)
            if key in x:
                assert x[key] == pytest.approx(y[key], abs=1e-5, rel=1e-5), (x["step"], key)


# The paper's network needs the start of its ActNorms to come from the whole batch, and holes need
# the sum of the loss's weights over it.
@pytest.mark.distributed
@pytest.mark.parametrize(
    ("task", "more"),
    [
        ("denoise", [SMALL]),
        ("denoise", ["model.preset=paper", STRICT]),
        # Muon takes the directions without a gradient, rounding errors, for as large as the rest.
        (
            "inpaint",
            [HOLES, "training.optimizer=adamw", "degradation.holes={irregular: 0.5, box: 0.5}"],
        ),
    ],
)
def test_two_processes_train_as_one_and_either_goes_on_for_the_other(
    task: str, more: list[str], tmp_path: Path, pictures: Path
) -> None:
    values = overrides(pictures, *more)
    alone = begin(load_config(f"{task}.yaml", values), tmp_path / "alone", CPU)
    train(alone, max_steps=4)
    shutil.copytree(tmp_path / "alone", tmp_path / "one-then-two")
    train(alone)

    new = ["--config", f"{task}.yaml", *sets(values), "-o", tmp_path / "two", "--max-steps", "4"]
    old = ["--resume", tmp_path / "one-then-two"]
    for arguments in (new, old):
        ended = start_pair(tmp_path, "--device", "cpu", *arguments).wait()
        assert ended.codes == [0, 0], ended.said
    assert_same_curves(tmp_path / "alone", tmp_path / "one-then-two")
    train(resume(tmp_path / "two", CPU))
    assert_same_curves(tmp_path / "alone", tmp_path / "two")
    expected = load_state(tmp_path / "alone")["network"]
    for key, value in load_state(tmp_path / "two")["network"].items():
        assert torch.allclose(value, expected[key], atol=1e-4), key


# One process works alone for longer than a collective of a step may take.
WORKS_ALONE = """
import os, sys, time
from datetime import timedelta
os.environ.update(environment)
for stream in (1, 2):
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
import torch
from irae.training import distributed
distributed.COLLECTIVE_TIMEOUT = timedelta(seconds=2)
distributed.CONTROL_TIMEOUT = timedelta(seconds=int(arguments[2]))
with distributed.processes() as ranks:
    ranks.together(lambda: None)
    found = ranks.on_main(lambda: time.sleep(4) or "worked")
    total = torch.ones(1)
    ranks.sum([total])
    os.write(1, f"{found} {int(total)}\\n".encode())  # At once: both processes write here.
"""


@pytest.mark.distributed
def test_one_process_may_work_alone_for_as_long_as_the_control_group_waits(
    tmp_path: Path,
) -> None:
    ended = start_pair(tmp_path, 60, program=WORKS_ALONE).wait(60)
    assert ended.codes == [0, 0], ended.said
    assert ended.said.count("worked 2") == 2
    # The same work under a short timeout: the other process takes the first for lost.
    (tmp_path / "said.txt").unlink()
    ended = start_pair(tmp_path, 2, program=WORKS_ALONE).wait(60)
    assert 0 not in ended.codes, ended.said
    assert "another process of this run is gone" in ended.said


BEGIN = """
import os, signal, sys, time
os.environ.update(environment)
os.environ["IRAE_LOST_SECONDS"] = arguments[2]
for stream in (1, 2):
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
from irae.training import distributed
with distributed.processes() as ranks:
    ranks.together(lambda: None)
"""
# A stopped process keeps its connections, as a machine without power does.
STOPS = f"""{BEGIN}
    if ranks.rank == int(arguments[3]):
        os.kill(os.getpid(), int(arguments[4]))
    ranks.any(False)
"""
OUTLASTS = f"""{BEGIN}
    print(ranks.on_main(lambda: time.sleep(15) or "worked"), flush=True)
    # One may also leave long before the other.
    time.sleep(0 if ranks.rank else 10)
"""


@pytest.mark.distributed
@pytest.mark.parametrize("gone", [0, 1])
def test_a_silent_process_does_not_leave_the_other_waiting(gone: int, tmp_path: Path) -> None:
    pair = start_pair(tmp_path, 3, gone, int(signal.SIGSTOP), program=STOPS)
    left = pair.processes[1 - gone]
    left.join(60)
    code = left.exitcode
    pair.processes[gone].kill()
    ended = pair.wait(10)
    assert code == 1, ended.said
    assert len(ended.errors) == 1 and len(ended.said.splitlines()) == 1, ended.said
    assert f"no sign of life of rank {gone} of 2 for 3 seconds" in ended.errors[0]
    assert "--resume" in ended.errors[0]


@pytest.mark.distributed
@pytest.mark.parametrize("gone", [0, 1])
def test_a_killed_process_is_noticed_at_once(gone: int, tmp_path: Path) -> None:
    began = time.monotonic()
    pair = start_pair(tmp_path, 600, gone, int(signal.SIGKILL), program=STOPS)
    ended = pair.wait(120)
    assert ended.codes[1 - gone] == 1 and time.monotonic() - began < 120, ended.said
    assert len(ended.errors) == gone and "no sign of life" not in ended.said


@pytest.mark.distributed
def test_a_process_may_work_alone_for_longer_than_the_others_may_be_silent(tmp_path: Path) -> None:
    ended = start_pair(tmp_path, 6, program=OUTLASTS).wait(90)
    assert ended.codes == [0, 0], ended.said
    assert ended.said.count("worked") == 2


def test_the_control_group_waits_for_days() -> None:
    assert distributed.CONTROL_TIMEOUT >= timedelta(days=2) > distributed.COLLECTIVE_TIMEOUT


@pytest.mark.distributed
def test_two_processes_train_a_density_as_one(tmp_path: Path, pictures: Path) -> None:
    values = [
        "model.options={couplings: [2], widths: [6], blocks: 1, size: 8, channels: 3}",
        f"data.train=[{{source: {pictures}}}]",
        "training={steps: 4, batch: 4, warmup: 2, threads: 1, validate_every: 4, log_every: 1}",
        "training.optimizer=adamw",
        "training.precision=fp32",
    ]
    train(begin(load_config("density/base.yaml", values), tmp_path / "alone", CPU))
    new = ["--config", "density/base.yaml", *sets(values), "-o", tmp_path / "two"]
    ended = start_pair(tmp_path, "--device", "cpu", *new).wait()
    assert ended.codes == [0, 0], ended.said
    losses = [
        [line["loss"] for line in metrics(tmp_path / name) if "loss" in line]
        for name in ("alone", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    scores = [metrics(tmp_path / name)[-1] for name in ("alone", "two")]
    assert scores[0]["validation_bits_per_dim"] == pytest.approx(
        scores[1]["validation_bits_per_dim"], abs=1e-4
    )


@pytest.mark.distributed
def test_torchrun_starts_it_and_one_process_talks(tmp_path: Path, pictures: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    train_ = ["--nproc-per-node", "2", "-m", "irae", "train", "--config", "denoise.yaml"]
    where = ["--device", "cpu", "-o", str(tmp_path / "run"), "--max-steps", "1"]
    done = subprocess.run(
        [*torchrun, *train_, *sets(overrides(pictures, SMALL)), *where],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no validation yet") == 1
    assert load_state(tmp_path / "run")["step"] == 1


@pytest.mark.distributed
def test_a_signal_to_one_stops_all_at_the_same_step(tmp_path: Path, pictures: Path) -> None:
    run = tmp_path / "run"
    values = overrides(pictures, SMALL, "training.steps=100000", "training.validate_every=100000")
    pair = start_pair(tmp_path, "--config", "denoise.yaml", *sets(values), "-o", run)
    deadline = time.monotonic() + 90
    while not (run / "metrics.jsonl").is_file() or len(metrics(run)) < 4:
        assert time.monotonic() < deadline
        assert all(process.is_alive() for process in pair.processes)
        time.sleep(0.1)
    pair.processes[1].terminate()
    ended = pair.wait()
    assert ended.codes == [4, 4], ended.said
    assert not ended.errors
    assert ended.said.count(": stopped at ") == 1
    steps = [line["step"] for line in metrics(run)]
    assert steps == list(range(1, load_state(run)["step"] + 1))


@pytest.mark.distributed
def test_an_unreadable_picture_is_named_and_counted_once(tmp_path: Path, pictures: Path) -> None:
    values = overrides(pictures, SMALL, "training.batch=2")
    root = tmp_path / "data"
    shutil.copytree(pictures, root)
    damaged = root / "train" / "0.png"
    damaged.write_bytes(damaged.read_bytes()[:200])  # Its header is whole.
    values[0] = f"data.root={root}"
    pair = start_pair(tmp_path, "--config", "denoise.yaml", *sets(values), "-o", tmp_path / "run")
    ended = pair.wait()
    assert ended.codes == [0, 0], ended.said
    # Each process reads pictures of its own, so each may find the same one.
    assert 1 <= ended.said.count("left out: ") <= 2
    assert ended.said.count("1 unreadable pictures left out") == 1
    alone = begin(load_config("denoise.yaml", values), tmp_path / "alone", CPU)
    train(alone)
    assert_same_curves(tmp_path / "run", tmp_path / "alone")


@pytest.mark.distributed
def test_an_error_in_one_ends_all_with_one_line(tmp_path: Path, pictures: Path) -> None:
    values = overrides(pictures, SMALL, "training.batch=2")
    # All pictures are damaged, and one process or the other is the first to draw one.
    root = tmp_path / "data"
    shutil.copytree(pictures, root)
    for damaged in (root / "train").iterdir():
        damaged.write_bytes(damaged.read_bytes()[:200])  # Its header is whole.
    values[0] = f"data.root={root}"
    pair = start_pair(tmp_path, "--config", "denoise.yaml", *sets(values), "-o", tmp_path / "run")
    ended = pair.wait()
    assert ended.codes == [1, 1], ended.said
    assert len(ended.errors) == 1, ended.said
    assert "neither this picture nor the next 2 can be read" in ended.errors[0]
    assert "Traceback" not in ended.said


@pytest.mark.kill
def test_a_process_that_is_killed_does_not_leave_the_other_waiting(
    tmp_path: Path, pictures: Path
) -> None:
    run = tmp_path / "run"
    values = overrides(pictures, SMALL, "training.steps=100000", "training.validate_every=100000")
    pair = start_pair(tmp_path, "--config", "denoise.yaml", *sets(values), "-o", run)
    deadline = time.monotonic() + 90
    while not (run / "metrics.jsonl").is_file() or len(metrics(run)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    pair.processes[1].kill()
    ended = pair.wait(60)
    assert ended.codes == [1, -signal.SIGKILL]
    assert len(ended.errors) == 1
    assert "another process of this run is gone" in ended.errors[0]
    assert load_state(run)["step"] >= 0


@pytest.mark.distributed
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--set", "training.batch=3"], "training.batch is 3"),
        (["--device", "cuda:0"], "one device for 2 processes"),
        (["--set", "training.stepz=3"], "training.stepz"),
    ],
)
def test_mistakes_are_told_once(
    arguments: list[str], named: str, tmp_path: Path, pictures: Path
) -> None:
    sets_ = sets(overrides(pictures))
    run = tmp_path / "run"
    pair = start_pair(tmp_path, "--config", "denoise.yaml", *sets_, *arguments, "-o", run)
    ended = pair.wait()
    assert all(ended.codes)
    assert len(ended.errors) == 1, ended.said
    assert named in ended.errors[0]
    assert not run.exists()


def test_rows_cover_the_batch_once() -> None:
    for count in (1, 2, 3, 6):
        rows = [list(range(6))[Ranks(rank, count).rows(6)] for rank in range(count)]
        assert sum(rows, []) == list(range(6))
    with pytest.raises(UsageError, match="multiple of 4"):
        Ranks(0, 4).rows(6)


def test_alone_nothing_is_exchanged() -> None:
    x = torch.ones(3)
    ALONE.sum([x])
    assert torch.equal(x, torch.ones(3))
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.on_main(lambda: 5) == 5
    with pytest.raises(ValueError, match="mine"):
        ALONE.together(lambda: int("mine"))


def test_each_process_of_a_machine_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert local_device("cuda:1") == "cuda:1"
    for key, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(key, value)
    assert local_device("cuda") == "cuda:1"
    assert local_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="has 1 GPUs, and process 2 on it has none"):
        local_device("cuda")
    with pytest.raises(UsageError, match="use cuda"):
        local_device("cuda:1")


@pytest.mark.distributed
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_process_that_cannot_reach_the_others_says_so(rank: str, tmp_path: Path) -> None:
    said = tmp_path / "said.txt"
    values = {
        "environment": {
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"},
            **{"RANK": rank, "LOCAL_RANK": rank, "IRAE_JOIN_SECONDS": "1"},
        },
        "said": str(said),
        "arguments": ["irae", "train", "--config", "denoise.yaml", "-o", str(tmp_path / "run")],
    }
    process = SERVER.Process(target=exec, args=(PROGRAM, values))
    process.start()
    ended = Pair(said, [process]).wait()
    assert ended.codes == [1]
    (line,) = [line for line in ended.said.splitlines() if "[W" not in line]
    assert line.startswith(f"irae: error: rank {rank} of 2 cannot reach the others at 127.0.0.1:")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"),
        ({"RANK": "2"}, "RANK is 2, of 2 processes; ranks are 0 to 1"),
        ({"RANK": "-1"}, "RANK is '-1'"),
        ({"MASTER_PORT": ""}, "MASTER_PORT is ''; start the processes with torchrun"),
        ({"IRAE_JOIN_SECONDS": "soon"}, "IRAE_JOIN_SECONDS is no number of seconds"),
    ],
)
def test_an_environment_that_is_not_torchruns(
    changes: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for key, value in {**right, **changes}.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(UsageError, match=re.escape(named)), processes():
        pass


@pytest.mark.distributed
def test_a_checkpoint_of_a_number_of_ranks_that_does_not_divide_the_batch(
    tmp_path: Path, pictures: Path
) -> None:
    values = overrides(pictures, SMALL, "training.batch=3")
    train(begin(load_config("denoise.yaml", values), tmp_path / "run", CPU), max_steps=1)
    ended = start_pair(tmp_path, "--resume", tmp_path / "run").wait()
    assert all(ended.codes)
    (line,) = ended.errors
    assert "training.batch is 3, for all processes together; 2 processes need a multiple" in line
    assert load_state(tmp_path / "run")["step"] == 1
