"""kill -9 at random moments of a batch: nothing is corrupt, lost or done twice.

``IRAE_KILLS`` is how often; by default a few times.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tqdm import tqdm

from irae.batch.model_pool import ModelPool
from irae.batch.outcome import Outcome
from irae.batch.output import STAGING
from irae.batch.restore_files import Request, restore_files
from irae.restoring.options import RestoreOptions

KILLS = int(os.environ.get("IRAE_KILLS", "6"))
PICTURES = 10

pytestmark = [
    pytest.mark.kill,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
]


class Program:
    """Batches in child processes, which can be killed."""

    def __init__(self, root: Path, model: Path) -> None:
        self.root = root
        self.pool = ModelPool(RestoreOptions(model=str(model), device="cpu"))
        self.pool.weights_of("")  # Loaded once, here; a child finds it in memory.
        self.die_at: tuple[int, bool] | None = None

    def work(self, out: Path, part: tuple[int, int] | None = None) -> None:
        request = Request((str(self.root / "in"),), str(out), recursive=True, part=part)
        log = os.open(f"{out}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

        def tell(outcome: Outcome) -> None:
            os.write(log, f"{outcome.status} {outcome.output}\n".encode())

        restore_files(request, self.pool, tell)

    def start(self, out: Path, part: tuple[int, int] | None = None) -> int:
        child = os.fork()
        if child == 0:
            # Nothing of the test's own may run in the child, whatever happens.
            code = 70
            with contextlib.suppress(BaseException):
                # The progress bar's own is shared with forked processes: one that is killed
                # while it holds it would stop all others.
                tqdm.set_lock(threading.RLock())
                if self.die_at is not None:
                    die_at_rename(*self.die_at)
                self.work(out, part)
                code = 0
            os._exit(code)
        return child

    def done(self, out: Path) -> list[str]:
        """Every result that was reported, as often as it was."""
        log = Path(f"{out}.log")
        lines = log.read_text().splitlines() if log.exists() else []
        return [line.split()[1] for line in lines if line.startswith("done ")]


def die_at_rename(number: int, before: bool) -> None:
    """Have this process killed just before or after its so many-th rename."""
    rename, calls = os.replace, itertools.count()

    def deadly(source: str | Path, target: str | Path) -> None:
        fatal = next(calls) == number
        if not (fatal and before):
            rename(source, target)
        if fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = deadly  # type: ignore[assignment]


@pytest.fixture
def program(tmp_path: Path, model_files: dict[str, Path]) -> Program:
    for seed in range(PICTURES):
        values = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), np.uint8)
        path = tmp_path / "in" / ("sub" if seed % 2 else ".") / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)
    return Program(tmp_path, model_files["denoise"])


def outputs(out: Path) -> dict[str, bytes]:
    """What is there for the user, by name."""
    paths = [path for path in out.rglob("*.png") if STAGING not in str(path)]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


def test_a_batch_that_is_killed_again_and_again(program: Program, tmp_path: Path) -> None:
    begin = time.perf_counter()
    child = program.start(tmp_path / "whole")
    assert os.waitpid(child, 0)[1] == 0
    duration = time.perf_counter() - begin
    wanted = outputs(tmp_path / "whole")
    assert len(wanted) == PICTURES
    rng = random.Random(0)
    kills = round = 0
    while kills < KILLS:
        out = tmp_path / f"out{round}"
        round += 1
        while True:
            child = program.start(out)
            if kills < KILLS:
                time.sleep(rng.uniform(0, duration))
                os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
            there = outputs(out)
            # Half-written, or of another picture: not one of the bytes wanted.
            assert there == {name: wanted[name] for name in there}
            if status == 0:
                break
            assert os.WTERMSIG(status) == signal.SIGKILL
            kills += 1
        assert there == wanted
        lines = (out / "irae-manifest.jsonl").read_text().splitlines()
        assert sorted(json.loads(line)["output"] for line in lines) == sorted(wanted)
        assert sorted(path.name for path in out.iterdir() if path.is_file()) == sorted(
            ["irae-manifest.jsonl", *(name for name in wanted if "/" not in name)]
        )
        assert not list(out.glob(f"{STAGING}*"))
        reported = program.done(out)
        assert len(reported) == len(set(reported)), "a picture was done twice"
    sys.stderr.write(f"{kills} kills in {round} batches of {PICTURES} pictures\n")


@pytest.mark.parametrize("again", [False, True], ids=["new", "replaced"])
@pytest.mark.parametrize("point", range(8))
def test_killed_at_every_rename(program: Program, tmp_path: Path, point: int, again: bool) -> None:
    """Each result is renamed twice: into its staging place, and from there into its own."""
    out = tmp_path / "out"
    assert os.waitpid(program.start(tmp_path / "whole"), 0)[1] == 0
    wanted, old = outputs(tmp_path / "whole"), {}
    if again:
        for path in (tmp_path / "in").rglob("*.png"):
            kept = path.read_bytes()
            Image.new("RGB", (48, 40), "green").save(path)
            path.with_suffix(".kept").write_bytes(kept)
        assert os.waitpid(program.start(out), 0)[1] == 0
        old = outputs(out)
        for path in (tmp_path / "in").rglob("*.kept"):
            path.replace(path.with_suffix(".png"))
    number, before = divmod(point, 2)
    program.die_at = (number, not before)
    assert os.WTERMSIG(os.waitpid(program.start(out), 0)[1]) == signal.SIGKILL
    program.die_at = None
    there = outputs(out)
    assert all(data in (wanted[name], old.get(name)) for name, data in there.items())
    finished = sum(wanted[name] == data for name, data in there.items())
    assert os.waitpid(program.start(out), 0)[1] == 0
    assert outputs(out) == wanted
    assert len((out / "irae-manifest.jsonl").read_text().splitlines()) == PICTURES
    # The batch that was killed may have died before it could report its last one.
    reported = program.done(out)[PICTURES if again else 0 :]
    assert finished - 1 <= len(reported) - (PICTURES - finished) <= finished
    assert len(reported) == len(set(reported))


def test_processes_that_share_a_folder(program: Program, tmp_path: Path) -> None:
    out = tmp_path / "out"
    parts = [(number, 3) for number in (1, 2, 3)]
    killed = [program.start(out, part) for part in parts]
    time.sleep(0.05)
    for child in killed:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    children = [program.start(out, part) for part in parts]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    reported = program.done(out)
    assert len(reported) == len(set(reported)), "a picture was done twice"
    entered = [
        json.loads(line)["output"]
        for manifest in out.glob("irae-manifest.*-of-3.jsonl")
        for line in manifest.read_text().splitlines()
    ]
    assert sorted(entered) == sorted(outputs(out)) and len(entered) == PICTURES
