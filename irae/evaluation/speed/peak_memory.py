"""How much memory a piece of work takes."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch

_RESET = Path("/proc/self/clear_refs")


def peak_memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Most memory held during a run beyond what was held before, bytes.

    Runs it twice: what it keeps from then on, such as a folded network, is no part.

    Returns:
        The peak; None where it cannot be told (on a CPU: elsewhere than on Linux with glibc).
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
    # Else the run would take its memory from what earlier ones freed, and hold no more than that.
    trim(0)
    before = _resident("VmRSS")
    _RESET.write_text("5", encoding="ascii")  # The peak begins anew at what is resident now.
    run()
    return max(0, _resident("VmHWM") - before)


def _resident(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))
