"""The environment of a process: device, precision, random generators, versions."""

from __future__ import annotations

import os
import platform
import time
from functools import cache
from typing import Literal, get_args

import torch
import torch.nn.functional as F

from irae.errors import UsageError

Precision = Literal["fp32", "bf16"]

_MASK64 = (1 << 64) - 1


def select_device(name: str = "auto") -> torch.device:
    """Return the device called ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises:
        UsageError: the name is malformed or the device does not exist.
    """
    if name == "auto":
        name = "mps" if torch.backends.mps.is_available() else "cpu"
        name = "cuda" if torch.cuda.is_available() else name
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(
            f"device {name!r} is unknown; use auto, cpu, cuda, cuda:N or mps"
        ) from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UsageError(
                f"device {name!r} is not there ({count} CUDA devices); use `device` cpu"
            )
        # TF32 convolutions keep only ten bits, which would break the exact inverse in fp32.
        torch.backends.cudnn.allow_tf32 = False
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise UsageError("device 'mps' is not there; use `device` cpu")
    elif device.type != "cpu":
        raise UsageError(f"device {name!r} is not supported; use auto, cpu, cuda, cuda:N or mps")
    return device


def use_device(device: torch.device) -> None:
    """Make ``device`` the current one of this thread, if there are several of its kind."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def network_dtype(precision: str) -> torch.dtype:
    """Return the dtype of the subnets; the state of a flow is float32 at either precision.

    Raises:
        UsageError: the precision is neither ``fp32`` nor ``bf16``.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"precision {precision!r} is unknown; use fp32 or bf16")
    return torch.bfloat16 if precision == "bf16" else torch.float32


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work, so that measured times are correct."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@cache
def bfloat16_is_faster(device: torch.device) -> bool:
    """Whether convolutions of a subnet's size are faster in bfloat16, by a measurement.

    It is measured once per process (some 50 ms): processors without bfloat16 arithmetic emulate it
    and are ten times slower with it, and there is no list of them.
    """

    def seconds(dtype: torch.dtype) -> float:
        x = torch.randn(1, 64, 64, 64, device=device, dtype=dtype)
        weight = torch.randn(64, 64, 3, 3, device=device, dtype=dtype)
        x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
        times = []
        for _ in range(4):
            start = time.perf_counter()
            F.conv2d(x, weight, padding=1)
            synchronize(device)
            times.append(time.perf_counter() - start)
        return min(times[1:])

    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        try:
            return seconds(torch.bfloat16) < 0.8 * seconds(torch.float32)
        except (RuntimeError, TypeError):
            return False  # The device has no bfloat16 at all.


def resolve_precision(precision: str, device: torch.device) -> str:
    """Resolve ``auto`` to ``fp32`` or ``bf16`` on ``device``; these two are checked and returned.

    Raises:
        UsageError: the precision is unknown, or the device does not support it.
    """
    if precision == "auto":
        return "bf16" if bfloat16_is_faster(device) else "fp32"
    if network_dtype(precision) == torch.bfloat16:
        try:
            torch.zeros(1, 1, 1, 1, device=device, dtype=torch.bfloat16).relu_()
            absent = device.type == "cuda" and not torch.cuda.is_bf16_supported(False)
        except (RuntimeError, TypeError):
            absent = True
        if absent:
            raise UsageError(f"device '{device}' has no bfloat16; use `precision` fp32")
    return precision


def device_memory(device: torch.device) -> int:
    """Return the total memory of ``device`` in bytes; for a CPU, that of the machine."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def generator(*keys: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a generator on ``device`` whose stream depends on the integers ``keys`` alone.

    This is counter-based seeding: a sample's randomness depends on (seed, step, index) and not on
    earlier draws, which makes a resumed run equal to an uninterrupted one.
    """
    state = 0x9E3779B97F4A7C15
    for key in keys:
        # The finaliser of SplitMix64 (Steele, Lea and Flood 2014), chained over the keys.
        state = (state + (key & _MASK64) + 0x9E3779B97F4A7C15) & _MASK64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK64
        state ^= state >> 31
    return torch.Generator(device).manual_seed(state & (_MASK64 >> 1))


def versions() -> dict[str, str]:
    """Return the versions of everything that can affect results."""
    from importlib.metadata import version

    packages = ("irae", "torch", "torchvision", "pillow", "numpy", "safetensors")
    found = {name: version(name) for name in packages}
    return {**found, "python": platform.python_version(), "machine": platform.platform()}


def upload(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor from the host to ``device`` without blocking the host."""
    if device.type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)
