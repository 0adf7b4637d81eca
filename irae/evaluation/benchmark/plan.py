"""The plan of a benchmark: its cells, data set by data set."""

from __future__ import annotations

from fnmatch import fnmatchcase

from irae.errors import ConfigError, UsageError
from irae.evaluation.benchmark.cells import Cell
from irae.evaluation.benchmark.config import BenchmarkConfig, TaskSection
from irae.evaluation.benchmark.density_cells import LIKELIHOOD, DensityCell
from irae.tasks import get_task, task_names
from irae.tasks.inpaint import IRREGULAR
from irae.tasks.schema import Level


def plan(config: BenchmarkConfig, pattern: str | None = None) -> list[Cell]:
    """List the cells of a benchmark, data set by data set.

    Args:
        config: config of the benchmark.
        pattern: pattern of cell names, ``*`` for any letters, or a part of a name; None for all.

    Raises:
        ConfigError: a level is malformed or given twice, or no cell is left.
    """
    cells = [
        _cell(config, dataset, task_name, task, level, model)
        for dataset, data in config.datasets.items()
        for task_name, task in config.tasks.items()
        if data.tasks is None or task_name in data.tasks
        for level in _levels(task_name, task)
        for model, section in config.models.items()
        if section.tasks is None or task_name in section.tasks
    ]
    seen: set[str] = set()
    for cell in cells:
        if cell.name in seen:
            raise ConfigError(f"there are two cells {cell.name}; rename a task or drop a level")
        seen.add(cell.name)
    if pattern is not None:
        cells = [c for c in cells if fnmatchcase(c.name, pattern) or pattern in c.name]
        if not cells:
            raise ConfigError(f"--cells {pattern}: matches none, of {', '.join(sorted(seen)[:3])}…")
    if not cells:
        raise ConfigError("the matrix has no cell; see the tasks of its data sets and models")
    return cells


def _cell(
    config: BenchmarkConfig, dataset: str, name: str, task: TaskSection, level: Level, model: str
) -> Cell:
    if task.objective == "likelihood":
        return DensityCell(config, dataset, name, LIKELIHOOD, level, model)
    return Cell(config, dataset, name, _task(name, task), level, model)


def _task(name: str, section: TaskSection) -> str:
    """Return the task of a section: its key ``task``, or else its name."""
    if section.task is not None:
        return section.task
    if name not in task_names():
        raise ConfigError(f"tasks.{name}.task: is missing; give {', '.join(task_names())}")
    return name


def _levels(name: str, section: TaskSection) -> list[Level]:
    if section.objective == "likelihood":
        return section.levels
    task = get_task(_task(name, section))
    for level in section.levels:
        if level == IRREGULAR and section.masks is not None:
            continue  # The folder is opened when the cell is run.
        try:
            task.level(level)
        except UsageError as error:
            raise ConfigError(f"tasks.{name}.levels: {level!r}: {error}") from None
    return section.levels
