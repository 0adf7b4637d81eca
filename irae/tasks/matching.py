"""Which network can do which task: what a network takes must be among what the task gives."""

from __future__ import annotations

from torch import nn

from irae.errors import UsageError
from irae.models.call import inputs_besides_picture
from irae.models.loaded import LoadedModel
from irae.tasks import all_tasks, get_task
from irae.tasks.base import Task


def missing_input(task: Task, network: nn.Module) -> str | None:
    """What a network takes and a task does not give, in words; None if the two fit."""
    missing = sorted(inputs_besides_picture(network) - task.gives)
    return _WORDS.get(missing[0], missing[0]) if missing else None


_WORDS = {"sigma": "the noise level", "mask": "the mask of the holes"}


def task_of(model: LoadedModel) -> Task:
    """What a model is for: what it was trained for, or the first task that gives what it takes.

    Raises:
        UsageError: the model is of a task that is not registered, or of none.
    """
    if model.task:
        try:
            return get_task(model.task)
        except UsageError as error:
            raise UsageError(f"model {model.name!r}: {error}") from None
    for task in all_tasks():
        if missing_input(task, model.network) is None:
            return task
    raise UsageError(f"model {model.name!r} takes what no task gives")


def suits(model: LoadedModel, task: Task) -> bool:
    """Whether a model was trained for a task, or is not trained and is given all that it takes."""
    return model.task == task.name if model.task else missing_input(task, model.network) is None


def tasks_for(network: nn.Module) -> list[Task]:
    """The tasks that give all that a network takes."""
    return [task for task in all_tasks() if missing_input(task, network) is None]
