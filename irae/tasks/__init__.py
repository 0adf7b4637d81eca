"""The registry of tasks: one object for each kind of damage that a picture can have.

A task is one file and one line in this registry; `irae.tasks.base` describes what it implements.
Nothing here imports PyTorch: the command line needs names, levels and schemas, and must be fast.
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
DENOISE, JPEG, PHOTO = "denoise", "jpeg", "photo"
"""Tasks that are meant by name elsewhere: by `irae.restoring.automatic` and ``--photo``."""

_TASKS: dict[str, Task] = {}


def task_names() -> tuple[str, ...]:
    """Return the names of all tasks, in the order in which they are listed everywhere."""
    return tuple(dict.fromkeys((*_MODULES, *_TASKS)))


def get_task(name: str) -> Task:
    """Return the task called ``name``.

    Raises:
        UsageError: no such task exists; the message lists those that do.
    """
    if name not in _TASKS:
        if name not in _MODULES:
            raise UsageError(f"task {name[:40]!r} is unknown; use {', '.join(task_names())}")
        _TASKS[name] = import_module(_MODULES[name]).TASK
    return _TASKS[name]


def all_tasks() -> list[Task]:
    """Return every task, in the order of `task_names`."""
    return [get_task(name) for name in task_names()]


def register(task: Task) -> None:
    """Register a task of your own, which every command then accepts.

    Raises:
        UsageError: a task of that name exists already.
    """
    if task.name in task_names():
        raise UsageError(f"task {task.name!r} is registered already; choose another name")
    _TASKS[task.name] = task


def unregister(name: str) -> None:
    """Remove a task that `register` added.

    Raises:
        KeyError: `register` did not add it.
    """
    if name in _MODULES:
        raise KeyError(name)
    del _TASKS[name]


def filling_task() -> Task:
    """Return the first task whose pictures come with a mask."""
    return next(task for task in all_tasks() if task.needs_mask)
