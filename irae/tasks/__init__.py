"""The tasks: what can be wrong with a picture, one object for each.

A task is registered here by one line and described by one file, `irae.tasks.base` says how.
Nothing here imports PyTorch: the command line asks for names, levels and schemas, and must be fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from irae.errors import UsageError

if TYPE_CHECKING:
    from irae.tasks.base import Task

_MODULES = {
    "denoise": "irae.tasks.denoise",
    "jpeg": "irae.tasks.jpeg",
    "inpaint": "irae.tasks.inpaint",
    "photo": "irae.tasks.photo",
}
DENOISE, JPEG = "denoise", "jpeg"
"""What `irae.restoring.inspection` chooses between."""

_TASKS: dict[str, Task] = {}


def task_names() -> tuple[str, ...]:
    """The names of all tasks, in the order in which they are listed everywhere."""
    return tuple(dict.fromkeys((*_MODULES, *_TASKS)))


def get_task(name: str) -> Task:
    """The task called ``name``.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    if name not in _TASKS:
        if name not in _MODULES:
            raise UsageError(f"task {name[:40]!r} is unknown; use {', '.join(task_names())}")
        _TASKS[name] = import_module(_MODULES[name]).TASK
    return _TASKS[name]


def all_tasks() -> list[Task]:
    """Every task, in the order of `task_names`."""
    return [get_task(name) for name in task_names()]


def register(task: Task) -> None:
    """Add a task of your own; from then on every command knows it.

    Raises:
        UsageError: there is one of that name.
    """
    if task.name in task_names():
        raise UsageError(f"task {task.name!r} is registered already; choose another name")
    _TASKS[task.name] = task


def unregister(name: str) -> None:
    """Take back what `register` added.

    Raises:
        KeyError: it did not.
    """
    if name in _MODULES:
        raise KeyError(name)
    del _TASKS[name]


def filling_task() -> Task:
    """The first task whose pictures come with a mask of their holes."""
    return next(task for task in all_tasks() if task.needs_mask)
