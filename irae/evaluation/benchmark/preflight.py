"""Opening of all that a benchmark needs, before the first training."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from irae.config import DataSection
from irae.data.registry import data_root, open_data
from irae.data.small import find_small
from irae.errors import ConfigError, DataError, IraeError, UsageError
from irae.evaluation.benchmark.cells import Cell
from irae.evaluation.benchmark.density_cells import DensityCell
from irae.evaluation.benchmark.measure import check_channels, load_given
from irae.models.loaded import LoadedModel, ModelSpec
from irae.training.batches.collection import OTHER_PICTURES, open_collection
from irae.training.prepare import build


def find_missing(cells: list[Cell]) -> dict[str, list[str]]:
    """Open the data sets, test sets, masks, networks and checkpoints of cells.

    Each is opened once, whatever number of cells needs it. Of pictures, at most the headers are
    read.

    Args:
        cells: cells with valid configs (`Cell.hash` does not raise).

    Returns:
        For each cell that lacks something, by name, a line for each thing.
    """
    opened: dict[str, str | None] = {}
    missing: dict[str, list[str]] = {}
    for cell in cells:
        for key, action in _needs(cell).items():
            if key not in opened:
                opened[key] = _reason(action)
            reason = opened[key]
            if reason is not None and reason not in missing.get(cell.name, []):
                missing.setdefault(cell.name, []).append(reason)
    return missing


def summarise(reasons: dict[str, list[str]]) -> list[str]:
    """Return one line for each reason, with the cells that it concerns."""
    cells: dict[str, list[str]] = {}
    for name, lines in reasons.items():
        for line in lines:
            cells.setdefault(line, []).append(name)
    return [
        f"{names[0]}: {line}" if len(names) == 1 else f"{len(names)} cells ({names[0]}, …): {line}"
        for line, names in cells.items()
    ]


def _reason(action: Callable[[], object]) -> str | None:
    try:
        action()
    except IraeError as error:
        return str(error)
    return None


def _needs(cell: Cell) -> dict[str, Callable[[], object]]:
    """Return what opens each thing that a cell needs, by a key that is equal for equal things."""
    if isinstance(cell, DensityCell):
        return _density_needs(cell)
    test = ["test", cell.test, cell.config.root, cell.config.protocol]
    needs: dict[str, Callable[[], object]] = {
        json.dumps(test): lambda: _open_test(cell),
        json.dumps(["damage", cell.task_name, str(cell.level)]): cell.degradation,
    }
    luma = cell.task_section.luma
    if cell.checkpoint is not None:
        given = ["given", cell.model, cell.checkpoint, cell.task, cell.task_name, luma]
        needs[json.dumps(given)] = lambda: check_channels(cell, load_given(cell))
        return needs
    config = cell.run_config
    network = ["network", cell.model, cell.task_name, config.data.patch]
    needs[json.dumps(network)] = lambda: _build(cell)
    # The levels of the validation pictures differ between cells, but not the pictures.
    data = config.data.model_dump(mode="json", exclude={"validation"})
    pictures = ["pictures", data, config.data.validation.source, config.data.validation.images]
    needs[json.dumps(pictures)] = partial(_open_training, config.data)
    for key in config.degradation.folders:
        folder = getattr(config.degradation, key)
        if folder is not None:
            needs[json.dumps(["folder", key, folder])] = partial(_find, cell, key, folder)
    return needs


def _density_needs(cell: DensityCell) -> dict[str, Callable[[], object]]:
    root = data_root(cell.root)
    needs: dict[str, Callable[[], object]] = {
        json.dumps(["test", cell.test, str(root)]): lambda: find_small(cell.test, root, "test")
    }
    if cell.checkpoint is not None:
        needs[json.dumps(["given", cell.name])] = cell.load_given
        return needs
    config = cell.run_config
    needs[json.dumps(["network", cell.model, cell.network_options()])] = lambda: build(config)
    for source in (each.source for each in config.data.train):
        needs[json.dumps(["train", source, str(root)])] = partial(find_small, source, root, "train")
    return needs


def _open_test(cell: Cell) -> None:
    open_data(cell.test, root=cell.root, split="test", protocol=cell.config.protocol)


def _open_training(data: DataSection) -> None:
    try:
        open_collection(data)
    except UsageError as error:
        # Of the commands, only `irae train` has that option.
        raise DataError(str(error).removesuffix(OTHER_PICTURES)) from None


def _build(cell: Cell) -> None:
    config = cell.run_config
    spec = ModelSpec(config.model.network, cell.network_options(), cell.task)
    check_channels(cell, LoadedModel(build(config), spec, cell.model))


def _find(cell: Cell, key: str, folder: str) -> None:
    path = Path(folder).expanduser()
    if not path.exists() and not (data_root(cell.root) / path).exists():
        raise ConfigError(
            f"tasks.{cell.task_name}.degradation.{key}: {folder}: no such folder, here or below "
            f"{data_root(cell.root)}"
        )
