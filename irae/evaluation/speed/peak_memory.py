"""The peak memory of a function."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch

_RESET = Path("/proc/self/clear_refs")


def peak_memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Measure the peak memory of a run in bytes, beyond the memory held before.

    It is run twice, and memory that it keeps after the first run, such as a folded network, does
    not count.

    Returns:
        The peak; None if it cannot be measured (for a CPU, it needs Linux with glibc).
    """
    run()
    gc.collect()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu" or not _RESET.exists():
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return None
    # Without this, the run would reuse memory that earlier ones freed, and seem to take none.
    trim(0)
    before = _resident("VmRSS")
    _RESET.write_text("5", encoding="ascii")  # Resets the peak to the resident memory.
    run()
    return max(0, _resident("VmHWM") - before)


def _resident(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))
