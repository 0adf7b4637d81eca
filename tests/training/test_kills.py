"""SIGKILL at random moments of training: every run goes on, to the same bits in the end.

``IRAE_KILLS`` sets how often (5 with the other tests; 100 takes some minutes).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from irae.models.checkpoints.model_file import load_model
from irae.training.checkpoint import BEST_MODEL, LAST_MODEL, METRICS_FILE, STATE_FILE, load_state
from irae.writing import PREFIX

KILLS = int(os.environ.get("IRAE_KILLS", "5"))
STEPS = 24

pytestmark = [
    pytest.mark.kill,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="forks, and reads Linux's account of time"
    ),
]


class Runner:
    """Starts training processes, at once: see ``kill_runner.py``."""

    def __init__(self, said: Path) -> None:
        script = Path(__file__).with_name("kill_runner.py")
        self._said = said.open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            bufsize=0,
        )

    def start(self, arguments: list[str]) -> int:
        """Start ``irae`` with these arguments; its process number."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(arguments).encode() + b"\n")
        return int(self._process.stdout.readline())

    def wait(self) -> int:
        """Exit code of the process started last; negative is the signal it died of."""
        assert self._process.stdout is not None
        return os.waitstatus_to_exitcode(int(self._process.stdout.readline()))

    def close(self) -> None:
        """End the runner."""
        with self._process:
            self._process.kill()
        self._said.close()


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    made = Runner(tmp_path_factory.mktemp("runner") / "stderr.txt")
    yield made
    made.close()


def arguments(folder: Path, root: Path) -> list[str]:
    """Of ``irae``: go on with the run in the folder, or start it if it never began."""
    if (folder / STATE_FILE).exists():
        return ["train", "--resume", str(folder), "--device", "cpu"]
    sets = [
        f"data.root={root}",
        "data.train=[{source: train}]",
        "data.validation={source: val, images: 1, crop: 16, sigma: [25]}",
        "data.patch=16",
        "model.options={width: 16, couplings: 4, hidden: 8}",
        f"training={{steps: {STEPS}, batch: 1, warmup: 2, threads: 1, validate_every: 4}}",
        "training.log_every=1",
        "training.checkpoint_every=1",
        "training.samples=1",
        "training.precision=fp32",
        "training.reversible=false",
    ]
    words = [word for item in sets for word in ("--set", item)]
    return ["train", "--config", "denoise.yaml", *words, "-o", str(folder), "--device", "cpu"]


def numbers(state: object, at: str = "") -> dict[str, object]:
    """The leaves of nested dictionaries, but for the clock."""
    if isinstance(state, dict):
        return {k: v for key, x in state.items() for k, v in numbers(x, f"{at}.{key}").items()}
    return {} if at == ".seconds" else {at: state}


def assert_same_run(folder: Path, other: Path) -> None:
    """Both ended with the same bits: state, best model, and the lines of the log."""
    first, second = numbers(load_state(folder)), numbers(load_state(other))
    assert first.keys() == second.keys()
    for key, value in first.items():
        wanted = second[key]
        same = torch.equal(value, wanted) if isinstance(value, Tensor) else value == wanted
        assert same, key
    for name in (BEST_MODEL, LAST_MODEL):
        ours, theirs = (load_model(f / name).network.state_dict() for f in (folder, other))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name
    assert lines(folder) == lines(other)


def lines(folder: Path) -> list[dict[str, object]]:
    clocks = ("patches_per_second", "waiting_share")
    text = (folder / METRICS_FILE).read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(x).items() if k not in clocks} for x in text]


def check_remains(folder: Path) -> str:
    """Whatever a killed process left is whole; how far it came."""
    if not (folder / STATE_FILE).exists():
        assert not (folder / LAST_MODEL).exists()
        return "before the first checkpoint"
    step = load_state(folder)["step"]
    # The best model is written as it is found, and its step then repeated.
    for name, ahead in ((LAST_MODEL, 0), (BEST_MODEL, 1)):
        if (folder / name).exists():
            assert load_model(folder / name).spec.card["steps"] <= step + ahead
    leftovers = list(folder.rglob(f"{PREFIX}*"))
    assert len(leftovers) <= 1
    return "while writing a file" if leftovers else "between two files"


def processor_seconds(process: int) -> float:
    """Processor time of a running process; infinite once it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2]
    except (FileNotFoundError, ProcessLookupError):
        return math.inf
    state, *numbers = fields.split()
    return math.inf if state == "Z" else sum(map(int, numbers[10:12])) / os.sysconf("SC_CLK_TCK")


def test_training_survives_any_number_of_kills(
    runner: Runner, pictures: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    process, work, spent = runner.start(arguments(whole, pictures)), 0.0, 0.0
    while spent < math.inf:
        work = spent
        time.sleep(0.005)
        spent = processor_seconds(process)
    assert runner.wait() == 0
    rng = random.Random(0)
    moments: Counter[str] = Counter()
    done, number = 0, 0
    while done < KILLS:
        folder = tmp_path / f"run{number}"
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            process = runner.start(arguments(folder, pictures))
            if done < KILLS:
                # In processor time, so that a busy machine does not make all moments early ones.
                moment = 0.6 * work * rng.random()
                while processor_seconds(process) < moment:
                    time.sleep(0.001 * rng.random())
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            code = runner.wait()
            if code == -signal.SIGKILL:
                done += 1
                moments[check_remains(folder)] += 1
        assert code == 0, f"run {number} cannot go on after {done} kills"
        assert_same_run(folder, whole)
        assert not list(folder.rglob(f"{PREFIX}*"))
        number += 1
    where = ", ".join(f"{count} {moment}" for moment, count in moments.most_common())
    sys.stderr.write(f"\n{done} kills in {number} runs: {where}\n")
