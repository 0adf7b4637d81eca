"""The environment of a process: device, precision, random generators, versions."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F

from irae.errors import CompilerError, UsageError

Precision = Literal["fp32", "bf16"]

_MASK64 = (1 << 64) - 1

MOST_THREADS = 16
"""Largest number of threads that decode pictures for one process."""

# What errors say when memory ran out: PyTorch's allocators, then cuBLAS, cuDNN and cuSOLVER,
# which allocate workspaces of their own. A cuDNN that finds no room for any of its algorithms says
# that there is no engine.
_NO_MEMORY = (
    "out of memory",
    "DefaultCPUAllocator",
    "bad_alloc",
    "_STATUS_ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "nable to find an engine",
    "nable to find a valid cuDNN algorithm",
)


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


def use_full_float32() -> None:
    """Let CUDA compute float32 in float32, in this whole process.

    By default cuDNN computes convolutions in TF32, which keeps ten bits of the mantissa: restored
    pictures differ from a CPU's, and the inverse of a flow is no inverse any more. It is called
    wherever a network is put on a device; networks that may compute in less do so in bfloat16.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


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
    """Whether convolutions of a subnet's size are faster in bfloat16.

    CUDA devices of compute capability 8.0 and later have units for it. For all others it is
    measured, once per process: processors without bfloat16 arithmetic emulate it and are ten times
    slower with it, and there is no list of them.
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return True
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        try:
            return _convolution(device, torch.bfloat16) < 0.8 * _convolution(device, torch.float32)
        except (RuntimeError, TypeError):
            return False  # The device has no bfloat16 at all.


def _convolution(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the seconds of a convolution of 64 channels."""
    # On an accelerator a small one would take as long as its launch.
    size = (1, 64, 64, 64) if device.type == "cpu" else (8, 64, 256, 256)
    order = torch.channels_last
    x = torch.randn(size, device=device, dtype=dtype).contiguous(memory_format=order)
    weight = torch.randn(64, 64, 3, 3, device=device, dtype=dtype).contiguous(memory_format=order)
    times = [_seconds(lambda: F.conv2d(x, weight, padding=1), device) for _ in range(4)]
    return min(times[1:])


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Measure the seconds of some work: on CUDA between two events on the device itself."""
    if device.type == "cuda":
        make: Any = torch.cuda.Event
        before, after = make(enable_timing=True), make(enable_timing=True)
        with torch.cuda.device(device):
            before.record()
            work()
            after.record()
        after.synchronize()
        return float(before.elapsed_time(after)) / 1000
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


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


def host_threads() -> int:
    """Return how many threads this process may keep busy: its share of the cores, at most 16.

    Processes that ``torchrun`` started on one machine share its cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    sharing = os.environ.get("LOCAL_WORLD_SIZE", "1")
    share = (cores or 1) // max(1, int(sharing) if sharing.isdecimal() else 1)
    return min(MOST_THREADS, max(1, share))


def free_host_memory() -> int:
    """Return the bytes of host memory that are free, or can be freed at once.

    A container's limit counts, and processes that ``torchrun`` started share what is free.
    """
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable:"))
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            used = int((group / "memory.current").read_text(encoding="ascii"))
            free = min(free, max(0, int(limit) - used))
    except (OSError, ValueError, IndexError, StopIteration):
        pass  # There is no such file here; what was found until then holds.
    return free // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that an allocation failed, on an accelerator or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The host allocator, MPS and the libraries of CUDA raise a plain RuntimeError, recognisable
    # only by its text.
    text = str(error)
    return isinstance(error, RuntimeError) and any(sign in text for sign in _NO_MEMORY)


@contextmanager
def compiler_faults(remedy: str) -> Iterator[None]:
    """Turn a failure of `torch.compile` into one line.

    Args:
        remedy: what to do about it, such as ``set training.compile=false``.

    Raises:
        CompilerError: the compiler has failed.
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        raise CompilerError(
            f"the network cannot be compiled here ({type(error).__name__}); a C++ compiler or "
            f"Triton may be missing; {remedy}"
        ) from error


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
    if device.type in ("cpu", "mps"):
        return x.to(device)
    # From pinned memory; only then does a copy to a GPU not wait for it.
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)


Numbers = tuple["float | Numbers", ...]
_CONSTANTS: dict[tuple[Numbers, torch.device, torch.dtype], torch.Tensor] = {}


def constant(values: Numbers, like: torch.Tensor) -> torch.Tensor:
    """Return a tensor of these numbers, of the device and the dtype of ``like``; not to be changed.

    It is made once for each device, because making one there waits for the device. A single number
    serves where results have to be the same to the last bit on every device: a GPU divides by a
    number of Python by multiplying with its reciprocal, which errs, but by a tensor as a CPU does.
    """
    if torch.compiler.is_compiling():  # It becomes part of what is compiled.
        return torch.tensor(values, device=like.device, dtype=like.dtype)
    key = values, like.device, like.dtype
    if key not in _CONSTANTS:
        with torch.inference_mode(False):  # It may be needed for gradients later.
            made = torch.tensor(values, device=like.device, dtype=like.dtype)
        if type(made) is not torch.Tensor:  # A tracer's tensor means nothing outside its trace.
            return made
        _CONSTANTS[key] = made
    return _CONSTANTS[key]
