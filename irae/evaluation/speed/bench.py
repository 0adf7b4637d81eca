"""Benchmarks of speed and memory, with all models measured in one run."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from irae.config import TrainingSection
from irae.errors import UsageError
from irae.evaluation.speed.peak_memory import peak_memory
from irae.flow.reversible import can_recompute, set_reversible
from irae.flow.subnets import set_network_dtype
from irae.models.call import condition_for, network_autocast
from irae.models.create import named_model
from irae.models.inference.restoring_form import has_restoring_form
from irae.models.loaded import LoadedModel
from irae.models.loaded_density import LoadedDensity
from irae.models.module import RestoringModule
from irae.runtime import compiler_faults, generator, network_dtype, synchronize
from irae.tasks.base import Batch
from irae.training.distributed import ALONE
from irae.training.objectives.restoration import Restoration
from irae.training.step import TrainStep

RESTORE_MODELS = ("denoise", "irae:paper", "ffdnet", "dncnn")
"""The models measured by default: the packaged denoiser, the paper's, and two peers."""

TRAIN_MODELS = ("irae:default", "irae:paper", "ffdnet", "dncnn")

PEAK = "convolution of 96 to 96 channels"
"""The machine's own peak: one 3×3 convolution at half of the picture's height and width."""

PLAIN, RECOMPUTING, COMPILED = "plain autograd", "recomputing", "compiled"

REFERENCE = "ffdnet"
"""The network whose speed is the unit of all speeds."""


@dataclass(frozen=True)
class Row:
    """The measurements of one model in one form.

    Attributes:
        model: name of the model, as given.
        form: form in which it was run: ``restoring``, ``layers`` or ``compiled`` (restore), or how
            gradients were computed (train).
        precision: ``fp32`` or ``bf16``.
        parameters: number of trained parameters.
        macs: multiply-adds per pixel of its convolutions.
        seconds: median time over the rounds.
        fastest: shortest time over the rounds.
        slowest: longest time over the rounds.
        rate: megapixels (restore) or patches (train) per second, at the median.
        memory: peak memory in bytes beyond that held before; None if it cannot be measured.
        speed: ``rate`` as a multiple of the reference's at this precision; None without it.
        peak_share: multiply-adds per second as a share of those of a convolution that suits the
            machine, see `PEAK`.
    """

    model: str
    form: str
    precision: str
    parameters: int
    macs: float
    seconds: float
    fastest: float
    slowest: float
    rate: float
    memory: int | None
    speed: float | None = None
    peak_share: float | None = None


@dataclass
class _Subject:
    model: str
    form: str
    precision: str
    parameters: int
    macs: float
    run: Callable[[], object]


def machine(device: torch.device) -> dict[str, Any]:
    """Describe the machine and the device of a measurement."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8").splitlines()
        name = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), name)
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return {
        "device": str(device),
        "processor": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


def macs_per_pixel(model: LoadedModel) -> float:
    """Count the multiply-adds of a model's convolutions per pixel of a picture."""
    side = 16 * model.size_multiple
    x = torch.rand(1, model.channels or 3, side, side, device=model.device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.network(x, _condition(model, x))
    # Only convolutions count: work done once per picture (inverting matrices) does not scale.
    flops = counter.get_flop_counts()["Global"][torch.ops.aten.convolution]
    return float(flops) / 2 / side**2


def density_macs_per_pixel(model: LoadedDensity) -> float:
    """Count the multiply-adds of scoring per pixel of a picture: convolutions and matrices."""
    channels, size, _ = model.network.shape
    x = torch.full((1, channels, size, size), 0.5, device=model.device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.network(x)
    return float(counter.get_total_flops()) / 2 / size**2


def _condition(model: LoadedModel, x: Tensor) -> Tensor | None:
    mask = torch.zeros_like(x[:, :1])
    condition = condition_for(model.network, mask=mask, sigma=25.0, filled=x)
    return None if condition is None else condition.to(x.device).expand(len(x), -1, -1, -1)


def _restorer(name: str, x: Tensor, precision: str, device: torch.device) -> _Subject:
    model = named_model(name).to(device)
    macs = macs_per_pixel(model)
    model.to(device, precision)
    mask = None
    if model.takes_mask:
        mask = torch.zeros(1, 1, *x.shape[2:], dtype=torch.bool)
        mask[..., : x.shape[2] // 4, :] = True
    sigma = 25.0 if model.takes_sigma else None

    def run() -> object:
        return model.restore(x, mask, sigma=sigma, filled=mask is not None)

    form = "restoring" if has_restoring_form(model.network) else "layers"
    return _Subject(name, form, precision, model.parameters, macs, run)


def _compiled(name: str, x: Tensor, precision: str, device: torch.device) -> _Subject:
    """A model as a module that was compiled, as another program would run it."""
    plain, model = _restorer(name, x, precision, device), named_model(name).to(device, precision)
    mask = None
    if model.takes_mask:
        mask = torch.zeros(1, 1, *x.shape[2:], dtype=torch.bool, device=device)
        mask[..., : x.shape[2] // 4, :] = True
    given, sigma = x.to(device), 25.0 if model.takes_sigma else None
    module = torch.compile(RestoringModule(model.network).run)

    @torch.inference_mode()
    def run() -> object:
        with network_autocast(model.network, device, precision):
            return module(given, sigma, mask)

    return replace(plain, form=COMPILED, run=_after_compilation(run))


def _after_compilation(run: Callable[[], object]) -> Callable[[], object]:
    """Run once, so that neither the compiler's time nor its memory is measured."""
    with compiler_faults("give no --compile"):
        run()
    return run


def _trainers(
    name: str, batch: int, patch: int, precision: str, device: torch.device, compiled: bool
) -> list[_Subject]:
    subjects = []
    forms = [PLAIN, *([RECOMPUTING] if can_recompute(named_model(name).network) else [])]
    for form in [*forms, *([COMPILED] if compiled else [])]:
        model = named_model(name).to(device)
        macs = macs_per_pixel(model)
        network = model.network.train().requires_grad_(True)
        network.to(memory_format=torch.channels_last)
        set_network_dtype(network, network_dtype(precision))
        set_reversible(network, form == RECOMPUTING)
        section = TrainingSection(
            precision=precision,  # type: ignore[arg-type]
            batch=batch,
            compile=form == COMPILED,
        )
        work = _training_step(
            TrainStep(network, section, ALONE, Restoration()), model, batch, patch
        )
        work = _after_compilation(work) if form == COMPILED else work
        subjects.append(_Subject(name, form, precision, model.parameters, macs, work))
    return subjects


def _training_step(
    train_step: TrainStep, model: LoadedModel, batch: int, patch: int
) -> Callable[[], object]:
    rng = generator(0)
    clean = torch.rand(batch, model.channels or 3, patch, patch, generator=rng)
    noise = torch.randn(clean.shape, generator=rng) * 25 / 255
    clean, degraded = (
        x.to(model.device).contiguous(memory_format=torch.channels_last)
        for x in (clean, clean + noise)
    )
    mask = None
    if model.takes_mask:
        mask = torch.zeros(batch, 1, patch, patch, dtype=torch.bool, device=model.device)
        mask[..., : patch // 4, :] = True
    sigma = torch.full((batch,), 25.0, device=model.device)
    given = Batch(clean, degraded, mask, sigma)
    return lambda: train_step.step(given, 1)


def bench_restore(
    models: Sequence[str],
    *,
    height: int,
    width: int,
    rounds: int,
    precisions: Sequence[str],
    device: torch.device,
    compiled: bool = False,
) -> list[Row]:
    """Time the restoring of one picture by each model.

    Args:
        models: names of models, see `named_model`.
        height: height of the picture in pixels.
        width: width of the picture in pixels.
        rounds: number of measured runs of each model, after a warm-up; models take turns.
        precisions: ``fp32``, ``bf16`` or both.
        device: the device to measure on.
        compiled: measure every model as a module compiled by `torch.compile`, too.
    """
    _check(rounds, height, width)
    x = torch.rand(1, 3, height, width, generator=generator(0))
    made = [_restorer, _compiled] if compiled else [_restorer]
    subjects = [make(name, x, p, device) for p in precisions for name in models for make in made]
    subjects += [_peak(max(1, height // 2), max(1, width // 2), p, device) for p in precisions]
    return _measure(subjects, rounds, height * width / 1e6, device)


def _peak(height: int, width: int, precision: str, device: torch.device) -> _Subject:
    """A convolution as large as the widest of `REFERENCE`; its MACs are per picture pixel."""
    dtype, channels = network_dtype(precision), 96
    x = torch.rand(1, channels, height, width, generator=generator(0)).to(device, dtype)
    layer = nn.Conv2d(channels, channels, 3, padding=1).to(device, dtype)
    layer.to(memory_format=torch.channels_last)
    given = x.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run() -> Tensor:
        result: Tensor = layer(given)
        return result

    parameters = sum(p.numel() for p in layer.parameters())
    return _Subject(PEAK, "one layer", precision, parameters, 9 * channels**2 / 4, run)


def bench_train(
    models: Sequence[str],
    *,
    batch: int,
    patch: int,
    rounds: int,
    precisions: Sequence[str],
    device: torch.device,
    compiled: bool = False,
) -> list[Row]:
    """Time optimisation steps (forward, backward, clipping, update) on one batch.

    Flows are measured with plain autograd and with the recomputing backward pass, and all networks
    also compiled if ``compiled``. The other arguments are those of `bench_restore`, with the batch
    in samples and the patch's side in pixels.
    """
    _check(rounds, batch, patch)
    subjects = [
        subject
        for p in precisions
        for name in models
        for subject in _trainers(name, batch, patch, p, device, compiled)
    ]
    return _measure(subjects, rounds, batch, device)


def _check(*numbers: int) -> None:
    if min(numbers) < 1:
        raise UsageError("sizes and rounds must be at least 1")


def _measure(
    subjects: list[_Subject], rounds: int, amount: float, device: torch.device
) -> list[Row]:
    memory = [peak_memory(subject.run, device) for subject in subjects]  # Also warms up.
    times: list[list[float]] = [[] for _ in subjects]
    for _ in range(rounds):
        for subject, taken in zip(subjects, times, strict=True):
            start = time.perf_counter()
            subject.run()
            synchronize(device)
            taken.append(time.perf_counter() - start)
    medians = [torch.tensor(taken).quantile(0.5).item() for taken in times]
    rates = [amount / median for median in medians]
    reference = {
        s.precision: rate
        for s, rate in zip(subjects, rates, strict=True)
        if s.model == REFERENCE and s.form != COMPILED
    }
    peaks = {
        s.precision: rate * s.macs
        for s, rate in zip(subjects, rates, strict=True)
        if s.model == PEAK
    }
    return [
        Row(
            model=s.model,
            form=s.form,
            precision=s.precision,
            parameters=s.parameters,
            macs=s.macs,
            seconds=median,
            fastest=min(taken),
            slowest=max(taken),
            rate=rate,
            memory=peak,
            speed=rate / reference[s.precision] if s.precision in reference else None,
            peak_share=rate * s.macs / peaks[s.precision] if s.precision in peaks else None,
        )
        for s, median, taken, rate, peak in zip(
            subjects, medians, times, rates, memory, strict=True
        )
    ]


def table(rows: Sequence[Row], unit: str) -> str:
    """Format rows as a Markdown table; ``unit`` is the unit of the rate."""
    head = ["model", "form", "precision", "parameters", "MACs/pixel", "median s", "fastest to "
            "slowest s", unit, "peak MB", f"x {REFERENCE}", "of peak"]  # fmt: skip
    lines = [head, ["---"] * len(head)]
    for r in rows:
        lines.append(
            [
                r.model,
                r.form,
                r.precision,
                f"{r.parameters:,}",
                f"{r.macs / 1e3:.0f} k",
                f"{r.seconds:.3f}",
                f"{r.fastest:.3f} to {r.slowest:.3f}",
                f"{r.rate:.3g}",
                "" if r.memory is None else f"{r.memory / 1e6:.0f}",
                "" if r.speed is None else f"{r.speed:.2f}",
                "" if r.peak_share is None else f"{r.peak_share:.0%}",
            ]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def as_json(rows: Sequence[Row], device: torch.device) -> dict[str, Any]:
    """Return the machine and the rows as plain JSON."""
    return {"machine": machine(device), "rows": [asdict(row) for row in rows]}
