"""The batch script for Slurm: in step with the program, and at work under commands like Slurm's."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer.main

from irae.cli.app import app
from irae.cli.options import STOPPED
from irae.training.checkpoint import METRICS_FILE, STATE_FILE, load_state
from irae.training.console import signals

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPT = REPOSITORY / "scripts" / "slurm-train"
PAGE = REPOSITORY / "docs" / "several-machines.md"

Job = tuple[int, str]  # Its exit code and what it printed.

# Starts two tasks here, and passes on SIGUSR1 and their exit codes, as srun does.
SRUN = """#!/usr/bin/env bash
tasks=()
trap 'kill -USR1 "${tasks[@]}"' USR1
for number in 0 1; do
    SLURM_PROCID=$number SLURM_LOCALID=$number SLURM_NTASKS=2 "$@" &
    tasks+=($!)
done
highest=0
for task in "${tasks[@]}"; do
    wait "$task"; code=$?
    while kill -0 "$task" 2>/dev/null; do wait "$task"; code=$?; done
    if [ "$code" -gt "$highest" ]; then highest=$code; fi
done
exit "$highest"
"""
SCONTROL = """#!/usr/bin/env bash
if [ "$1" = show ]; then echo 127.0.0.1; echo second-machine; else echo "$@" >> "$CALLS"; fi
"""


def options() -> set[str]:
    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    return {name for parameter in command.params for name in parameter.opts}


def test_the_script_and_the_page_are_in_step_with_the_program() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    assert os.access(SCRIPT, os.X_OK)
    assert subprocess.run(["bash", "-n", str(SCRIPT)]).returncode == 0
    lines = [line for line in text.splitlines() if not line.startswith("#SBATCH")]
    given = {word for line in lines for word in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", line)}
    # -c, -f, -n, ...: of bash, its tests and head.
    ours = {word for word in given if len(word) > 2 or word == "-o"} - {"-uo", "-eq", "-lt"}
    assert "--resume" in ours and "-o" in ours
    assert ours <= options()
    assert f'"$run/{STATE_FILE}"' in text
    assert f'"$code" -eq {STOPPED} ' in text
    (asked,) = re.findall(r"^#SBATCH --signal=B:(\w+)@(\d+)$", text, re.MULTILINE)
    assert f"SIG{asked[0]}" in signals._NAMES
    assert f"SIG{asked[0]}" in page and asked[1] == "300" and "Five minutes before" in page
    assert f"code {STOPPED}" in page and f"| {signals.INTERRUPTED} |" in page
    for name in ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "MASTER_ADDR", "MASTER_PORT"):
        assert name in text


def free_job() -> int:
    """A number of a job whose port is free."""
    for job in range(os.getpid() % 10000, 30000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", 20000 + job % 20000))
            except OSError:
                continue
            return job
    raise AssertionError("no port is free")


@pytest.mark.distributed
@pytest.mark.skipif(sys.platform == "win32", reason="of bash")
def test_a_job_is_warned_queued_again_and_goes_on(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = f'#!/usr/bin/env bash\nexec "{sys.executable}" -m irae "$@"\n'
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, "irae": program}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(stat.S_IRWXU)
    job = free_job()
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "SLURM_JOB_ID": str(job),
        "SLURM_JOB_NODELIST": "first-machine,second-machine",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_NTASKS_PER_NODE": "2",
    }
    values = [
        f"data.root={pictures}",
        "data.train=train",
        "data.validation={source: val, images: 1, crop: 32}",
        "data.patch=16",
        "model.options={width: 16, couplings: 4, hidden: 8}",
        "training={steps: 100000, batch: 4, validate_every: 100000, log_every: 1}",
        "training.precision=fp32",
    ]
    run = tmp_path / "run"
    words = ["bash", str(SCRIPT), str(run), "--config", "denoise.yaml", "--device", "cpu"]
    words += [word for value in values for word in ("--set", value)]
    reached = 0
    for turn in (1, 2):  # The second is the same command, as Slurm gives it again.
        code, said = one_job(words, environment, run, reached)
        assert code == STOPPED, said
        assert (tmp_path / "calls").read_text() == f"requeue {job}\n" * turn
        before, reached = reached, load_state(run)["step"]
        assert f"stopped at {reached} of 100000" in said
        assert reached > before
        assert said.count("pictures of 0.0 megapixels") == (turn == 1)  # Only a new run says so.


def one_job(words: list[str], environment: dict[str, str], run: Path, reached: int) -> Job:
    """Run a job, and warn it when it has taken some steps."""
    log = run.with_suffix(".log")
    with log.open("w") as file:
        process = subprocess.Popen(words, env=environment, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 120
        while last_step(run / METRICS_FILE) < reached + 3:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        process.send_signal(signal.SIGUSR1)
        return process.wait(120), log.read_text()
    finally:
        process.kill()


def last_step(metrics: Path) -> int:
    lines = metrics.read_text().splitlines() if metrics.is_file() else []
    return int(json.loads(lines[-1])["step"]) if lines else 0
