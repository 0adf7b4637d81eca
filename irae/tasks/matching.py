"""Which networks suit which tasks: a task must provide every input that the network needs."""

from __future__ import annotations

from torch import nn

from irae.errors import UsageError
from irae.models.call import inputs_besides_picture
from irae.models.loaded import LoadedModel
from irae.tasks import all_tasks, get_task
from irae.tasks.base import Task


def missing_input(task: Task, network: nn.Module) -> str | None:
    """Name an input that the network needs and the task does not provide; None if there is none."""
    missing = sorted(inputs_besides_picture(network) - task.gives)
    return _WORDS.get(missing[0], missing[0]) if missing else None


_WORDS = {"sigma": "the noise level", "mask": "the mask of the holes"}


def task_of(model: LoadedModel) -> Task:
    """Return the task a model was trained for, or the first that provides the inputs it needs.

    Raises:
        UsageError: the model's task is not registered, or no task suits the model.
    """
    if model.task:
        try:
            return get_task(model.task)
        except UsageError as error:
            raise UsageError(f"model {model.name!r}: {error}") from None
    for task in all_tasks():
        if missing_input(task, model.network) is None:
            return task
    raise UsageError(f"model {model.name!r} needs an input that no task provides")


def suits(model: LoadedModel, task: Task) -> bool:
    """Whether a model was trained for a task, or has no task and gets all its inputs from this."""
    return model.task == task.name if model.task else missing_input(task, model.network) is None


def tasks_for(network: nn.Module) -> list[Task]:
    """Return the tasks that provide every input of a network."""
    return [task for task in all_tasks() if missing_input(task, network) is None]
