"""What a process runs on: device, precision, random generators, versions."""

from __future__ import annotations

import platform
from typing import Literal, get_args

import torch

from irae.errors import UsageError

Precision = Literal["fp32", "bf16"]

_MASK64 = (1 << 64) - 1


def select_device(name: str = "auto") -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` into a device that is there.

    Raises:
        UsageError: the name is malformed or the device is absent.
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
                f"device {name!r} is not there ({count} CUDA devices); use --device cpu"
            )
        # fp32 must mean float32: TF32 convolutions keep ten bits and break the exact inverse.
        torch.backends.cudnn.allow_tf32 = False
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise UsageError("device 'mps' is not there; use --device cpu")
    elif device.type != "cpu":
        raise UsageError(f"device {name!r} is not supported; use auto, cpu, cuda, cuda:N or mps")
    return device


def network_dtype(precision: str) -> torch.dtype:
    """The dtype of the coupling networks; the state of a flow is float32 at either precision.

    Raises:
        UsageError: the precision is neither ``fp32`` nor ``bf16``.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"precision {precision!r} is unknown; use fp32 or bf16")
    return torch.bfloat16 if precision == "bf16" else torch.float32


def generator(*keys: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on ``device`` whose stream is a function of the integers in ``keys`` alone.

    Counter-based seeding: a sample's randomness depends on (seed, step, index) and not on what
    was drawn before it, which is what makes a resumed run equal to an uninterrupted one.
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
    """Versions of everything whose release can change a number."""
    from importlib.metadata import version

    packages = ("irae", "torch", "torchvision", "pillow", "numpy", "safetensors")
    found = {name: version(name) for name in packages}
    return {**found, "python": platform.python_version(), "machine": platform.platform()}
