"""The cost of restoring or scoring: all models of a benchmark, in turn, in one run on the CPU."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from irae.errors import IraeError
from irae.evaluation.benchmark.cells import Cell
from irae.evaluation.benchmark.config import CostSection
from irae.evaluation.benchmark.density_cells import DensityCell, example_pictures
from irae.evaluation.benchmark.measure import AnyModel, load_given
from irae.evaluation.speed.bench import density_macs_per_pixel, macs_per_pixel
from irae.evaluation.speed.peak_memory import peak_memory
from irae.models.create import untrained, untrained_density
from irae.models.loaded_density import LoadedDensity
from irae.models.networks.registry import CLASSICAL
from irae.runtime import generator
from irae.writing import write_atomically

Cost = dict[str, Any]

COST_FILE = "cost.json"

SAMPLES = 64
"""Pictures that a density draws at a time to measure what drawing costs."""


def measure_costs(cells: list[Cell], folder: Path) -> dict[str, Cost]:
    """Measure the costs of the models of all cells, by `cost_key`, and cache them in ``folder``.

    A cost depends on the network's form, not on its weights, so it is known before any training.
    If a model has not been measured yet, all are measured again, so that the costs of one benchmark
    are from one run. Models that cannot be built have no cost; their cells report the reason.

    Args:
        cells: cells with valid configs (`Cell.hash` does not raise).
        folder: folder of the benchmark.
    """
    if not cells:
        return {}
    kept = _read(folder / COST_FILE)
    section = cells[0].config.cost
    if any(cost_key(cell) not in kept for cell in cells):
        models: dict[str, AnyModel] = {}
        for cell in cells:
            try:
                key = cost_key(cell)
                if key not in models:
                    models[key] = _model(cell)
            except IraeError:
                continue
        measured = _take_turns(models, section)
        # Models that cannot be built are recorded too, or each start would measure all again.
        kept |= {cost_key(cell): measured.get(cost_key(cell), {}) for cell in cells}
        text = json.dumps(kept, indent=1, sort_keys=True) + "\n"
        write_atomically(folder / COST_FILE, lambda t: t.write_text(text, encoding="utf-8"))
    return kept


def cost_key(cell: Cell) -> str:
    """Return a key that is equal for cells with the same cost: one network and size of picture.

    Raises:
        ModelError: there is no such network, preset or option.
    """
    section, model = cell.config.cost, cell.model_section
    named = cell.checkpoint or [model.network, cell.network_options()]
    return json.dumps([named, cell.task, section.height, section.width], sort_keys=True)


def _read(path: Path) -> dict[str, Cost]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: cost for key, cost in found.items() if cost} if isinstance(found, dict) else {}


def _model(cell: Cell) -> AnyModel:
    if cell.checkpoint is not None:
        return load_given(cell)
    section = cell.run_config.model
    if isinstance(cell, DensityCell):
        return untrained_density(section.network, cell.network_options(), cell.model)
    return untrained(section.network, section.preset, section.options, cell.task, cell.model)


def _take_turns(models: dict[str, AnyModel], section: CostSection) -> dict[str, Cost]:
    height, width = section.height, section.width
    x = torch.rand(1, 3, height, width, generator=generator(0))
    mask = torch.zeros(1, 1, height, width, dtype=torch.bool)
    mask[..., : height // 4, : width // 4] = True
    jobs: dict[str, Callable[[], object]] = {}
    costs: dict[str, Cost] = {}
    cpu = torch.device("cpu")
    for key, model in models.items():
        run = _job(model.to(cpu), x, mask)
        try:
            memory = peak_memory(run, cpu)
        except (IraeError, ValueError, RuntimeError):
            continue  # The cell reports the error again, with a better message.
        jobs[key] = run
        costs[key] = {
            "parameters": model.parameters,
            "macs_per_pixel": _macs(model),
            "peak_memory": memory,
            "height": height,
            "width": width,
            "device": "cpu",
            "threads": torch.get_num_threads(),
        }
    times: dict[str, list[float]] = {key: [] for key in jobs}
    for _ in range(section.rounds):
        for key, run in jobs.items():
            start = time.perf_counter()
            run()
            times[key].append(time.perf_counter() - start)
    for key, model in models.items():
        if isinstance(model, LoadedDensity) and key in jobs:
            costs[key]["seconds_to_sample"] = _seconds_to_sample(model)
    for key, taken in times.items():
        costs[key]["seconds_per_megapixel"] = statistics.median(taken) / (height * width / 1e6)
    return costs


def _macs(model: AnyModel) -> float | None:
    if isinstance(model, LoadedDensity):
        return density_macs_per_pixel(model)
    return None if model.spec.network in CLASSICAL else macs_per_pixel(model)


def _seconds_to_sample(model: LoadedDensity) -> float:
    """Measure the time of `SAMPLES` pictures; of untrained weights, which take as long."""
    start = time.perf_counter()
    model.sample(SAMPLES)
    return time.perf_counter() - start


def _job(model: AnyModel, x: torch.Tensor, mask: torch.Tensor) -> Callable[[], object]:
    if isinstance(model, LoadedDensity):
        pictures, density = example_pictures(model, x.shape[2] * x.shape[3]), model
        return lambda: density.bits_per_dim(pictures)
    given = mask if model.takes_mask else None
    sigma = 25.0 if model.takes_sigma else None
    return lambda: model.restore(x, given, sigma=sigma)
