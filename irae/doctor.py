"""Checks of the installation: versions, devices, weights, self-tests, speed."""

from __future__ import annotations

import importlib.util
import platform
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, requires
from typing import Any

import torch
from torch import Tensor

from irae.errors import IraeError
from irae.imaging.degrade import add_noise, irregular_mask
from irae.models.checkpoints.checksums import check_packaged_weights
from irae.models.checkpoints.model_file import (
    load_density,
    load_model,
    packaged_densities,
    packaged_models,
)
from irae.models.loaded import BFLOAT16_COST, LoadedModel
from irae.runtime import bfloat16_is_faster, generator, resolve_precision, select_device, versions
from irae.tasks.matching import task_of

ROUND_TRIP = 0.5
"""Largest round-trip error of a packaged model, in 8-bit units."""

FOLDED = 0.05
"""Largest difference, in 8-bit units, between the restoring form and the network itself."""

TIMED_SIZE = (512, 768)
_SELF_TEST_SIDE = 96
# Packages whose module has another name.
_MODULES = {"scikit-image": "skimage", "opencv-contrib-python-headless": "cv2", "ray": "ray"}


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: name of the check.
        ok: whether the check passed.
        says: one line with the result or, if the check failed, the fault and its remedy.
        facts: the result as plain JSON.
    """

    name: str
    ok: bool
    says: str
    facts: dict[str, Any] = field(default_factory=dict)


def examine(device: str = "auto") -> Iterator[Check]:
    """Run all checks, one after the other.

    Args:
        device: device of the timed restoration, see `irae.runtime.select_device`.

    Raises:
        UsageError: there is no such device.
    """
    chosen = select_device(device)
    yield _versions()
    yield Check("system", True, f"{platform.platform()}, Python {platform.python_version()}")
    yield _processor()
    yield from _devices()
    damaged = set()
    for check in _weights():
        damaged |= set() if check.ok else {check.name.removeprefix("weights ")}
        yield check
    for name in packaged_models():
        if name not in damaged:
            yield _guarded(f"self-test {name}", partial(_self_test, name))
    for name in packaged_densities():
        if name not in damaged:
            yield _guarded(f"self-test {name}", partial(_density_self_test, name))
    if "denoise" in packaged_models() and "denoise" not in damaged:
        yield _guarded("speed", partial(_speed, chosen))
    yield _extras()


def _guarded(name: str, look: Any) -> Check:
    """Run a check; an error becomes a failed check."""
    try:
        check: Check = look()
        return check
    except (IraeError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return Check(name, False, f"failed ({reason}); install irae and torch again")


def _versions() -> Check:
    found = versions()
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        remedy = "pip install --force-reinstall torch torchvision"
        return Check("versions", False, f"torchvision does not fit torch; {remedy}", dict(found))
    names = ("irae", "torch", "torchvision", "pillow", "numpy")
    return Check("versions", True, ", ".join(f"{n} {found[n]}" for n in names), dict(found))


def _processor() -> Check:
    cpu = torch.device("cpu")
    capability = torch.backends.cpu.get_cpu_capability()
    faster = bfloat16_is_faster(cpu)
    precision = resolve_precision("auto", cpu)
    facts = {
        "capability": capability,
        "threads": torch.get_num_threads(),
        "bfloat16_is_faster": faster,
        "precision": precision,
    }
    measured = "faster" if faster else "not faster"
    return Check(
        "cpu",
        True,
        f"{capability}, {torch.get_num_threads()} threads; bfloat16 measured {measured}, so"
        f" --precision auto is {precision} (bf16 only for models that lose at most"
        f" {BFLOAT16_COST} dB by it)",
        facts,
    )


def _devices() -> Iterator[Check]:
    names = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    for name in names:
        yield _guarded(name, partial(_device, name))
    if not names:
        built = torch.version.cuda
        reason = f"no GPU found (torch is built for CUDA {built})" if built else "torch is CPU-only"
        yield Check("gpu", True, f"none: {reason}; the CPU is used")


def _device(name: str) -> Check:
    device = select_device(name)
    precision = resolve_precision("auto", device)
    torch.nn.functional.conv2d(
        torch.ones(1, 1, 8, 8, device=device), torch.ones(1, 1, 3, 3).to(device)
    )
    label = torch.cuda.get_device_name(device) if device.type == "cuda" else "Apple GPU"
    return Check(name, True, f"{label}; --precision auto is {precision}", {"precision": precision})


def _weights() -> Iterator[Check]:
    try:
        found = check_packaged_weights()
    except IraeError as error:
        yield Check("weights", False, str(error))
        return
    for name, fault in found.items():
        yield Check(f"weights {name}", fault is None, fault or "checksum as packaged")


def _self_test_input(model: LoadedModel) -> tuple[Tensor, Tensor | None]:
    """Make a fixed picture: smooth shapes, noise from a fixed seed, a mask if needed."""
    steps = torch.arange(_SELF_TEST_SIDE) / _SELF_TEST_SIDE
    waves = [
        (torch.sin(6 * a * steps)[:, None] * torch.cos(5 * b * steps)[None]) for a, b in
        ((1, 2), (2, 1), (3, 2))
    ]  # fmt: skip
    picture = (torch.stack(waves) * 0.35 + 0.5)[None]
    if task_of(model).needs_mask:
        return picture, irregular_mask(_SELF_TEST_SIDE, _SELF_TEST_SIDE, generator(0))[None]
    return add_noise(picture, 25, generator(0)), None


def _self_test(name: str) -> Check:
    model = load_model(name)
    picture, mask = _self_test_input(model)
    given, plain, recovered = model.round_trip(picture, mask)
    error = float((given - recovered).abs().max()) * 255
    restored = model.restore(picture, mask)
    apart = (restored - plain).abs() if mask is None else ((restored - plain).abs() * mask)
    folded = float(apart.max()) * 255
    facts = {"round_trip": error, "folded": folded}
    if not error <= ROUND_TRIP:
        fault = f"the round trip errs by {error:.3g}/255, more than {ROUND_TRIP}/255"
    elif not folded <= FOLDED:
        fault = f"restoring differs from the network by {folded:.3g}/255, more than {FOLDED}/255"
    else:
        says = f"round trip errs by {error:.1e}/255, restoring form by {folded:.1e}/255"
        return Check(f"self-test {name}", True, says, facts)
    return Check(f"self-test {name}", False, f"{fault}; install irae and torch again", facts)


def _density_self_test(name: str) -> Check:
    model = load_density(name)
    samples = model.sample(8, temperature=0.7)
    error = model.round_trip(samples)
    if not error <= ROUND_TRIP:
        fault = f"the round trip errs by {error:.3g}/255, more than {ROUND_TRIP}/255"
        remedy = "install irae and torch again"
        return Check(f"self-test {name}", False, f"{fault}; {remedy}", {"round_trip": error})
    says = f"round trip of samples errs by {error:.1e}/255"
    return Check(f"self-test {name}", True, says, {"round_trip": error})


def _speed(device: torch.device) -> Check:
    model = load_model("denoise").to(device, "auto")
    picture = torch.rand(1, 3, *TIMED_SIZE, generator=generator(0))
    model.restore(picture[..., :64, :64])  # Warm-up.
    begin = time.perf_counter()
    model.restore(picture).cpu()
    seconds = time.perf_counter() - begin
    threads = torch.get_num_threads()
    facts = {"seconds": seconds, "device": str(device), "threads": threads, "size": TIMED_SIZE}
    return Check(
        "speed",
        True,
        f"{TIMED_SIZE[0]}x{TIMED_SIZE[1]} denoised in {seconds:.2f} s on {device}"
        f" ({model.precision}, {threads} threads)",
        facts,
    )


def _extras() -> Check:
    """Check which optional packages are installed; none of them is required."""
    try:
        lines = requires("irae") or []
    except PackageNotFoundError:
        lines = []
    extras: dict[str, bool] = {}
    for line in lines:
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
        package = re.split(r"[^\w.-]", line, maxsplit=1)[0].lower()
        if extra is None or extra[1] == "dev":
            continue
        module = _MODULES.get(package, package.replace("-", "_"))
        there = module in sys.modules or importlib.util.find_spec(module) is not None
        extras[extra[1]] = extras.get(extra[1], True) and there
    missing = [name for name, there in extras.items() if not there]
    have = ", ".join(name for name, there in extras.items() if there) or "none"
    more = f"; missing: {', '.join(missing)} (pip install 'irae[NAME]')" if missing else ""
    return Check("extras", True, f"installed: {have}{more}", dict(extras))
