"""Peak memory is that of the run, not of what ran before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SIZE = 64 * 2**20

# In a process of its own: where other tests have left holes in the heap, glibc serves each of the
# three from another one, and really holds more than one at a time.
PROGRAM = f"""
import torch
from irae.evaluation.speed.peak_memory import peak_memory
before = [torch.ones({SIZE} // 16, dtype=torch.uint8) for _ in range(48)]
before.clear()
def run():
    for _ in range(3):
        torch.ones({SIZE}, dtype=torch.uint8)
for _ in range(3):
    print(peak_memory(run, torch.device("cpu")))
"""


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_peak_memory_is_what_a_run_holds_at_most() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    assert len(found) == 3
    if "None" in found:
        pytest.skip("not glibc")
    # On a busy machine the kernel is now and then late to take back what was freed.
    assert 0.9 * SIZE < min(map(int, found)) < 1.5 * SIZE
