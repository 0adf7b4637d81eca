"""The cells of a benchmark: one model on one data set at one level of damage."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from irae.config import (
    ModelSection,
    RunConfig,
    SourceSection,
    TrainingSection,
    check_schema,
)
from irae.data.registry import data_root
from irae.errors import ConfigError
from irae.evaluation.benchmark.config import (
    BenchmarkConfig,
    BenchmarkModelSection,
    DatasetSection,
    TaskSection,
)
from irae.models.networks.registry import resolve_options
from irae.tasks import get_task
from irae.tasks.base import Degradation
from irae.tasks.inpaint import IRREGULAR, MaskFolder
from irae.tasks.schema import DegradationSection, Level
from irae.writing import file_sha256

# Steps of a schedule for a time budget, until the speed is known.
ENDLESS = 10**8


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        config: config of the whole benchmark.
        dataset: name of the data set's section in the config.
        task_name: name of the task's section in the config.
        task: name of the task.
        level: level of damage, as the task parses it.
        model: name of the model's section in the config.
    """

    config: BenchmarkConfig
    dataset: str
    task_name: str
    task: str
    level: Level
    model: str

    @property
    def damage(self) -> str:
        """Task and level in one word that suits paths, such as ``denoise-25``."""
        return f"{self.task_name}-{self.level}".replace(":", "-")

    @property
    def name(self) -> str:
        """The name of the cell, such as ``celeba/denoise-25/irae``."""
        return f"{self.dataset}/{self.damage}/{self.model}"

    @property
    def dataset_section(self) -> DatasetSection:
        """The config section of the data set."""
        return self.config.datasets[self.dataset]

    @property
    def task_section(self) -> TaskSection:
        """The config section of the task."""
        return self.config.tasks[self.task_name]

    @property
    def model_section(self) -> BenchmarkModelSection:
        """The config section of the model."""
        return self.config.models[self.model]

    @property
    def root(self) -> Path | None:
        """The root folder of the data; None for the default."""
        return None if self.config.root is None else Path(self.config.root)

    @property
    def test(self) -> str:
        """The data set or folder of the test pictures."""
        return self.dataset_section.test or self.dataset

    @property
    def pictures(self) -> int | None:
        """The number of test pictures to use; None for all."""
        return self.dataset_section.pictures or self.config.pictures

    @property
    def checkpoint(self) -> str | None:
        """The given checkpoint as the config names it; None for a model that is trained here.

        Raises:
            ConfigError: the model has checkpoints, but none for this cell.
        """
        given = self.model_section.checkpoint
        if not isinstance(given, dict):
            return given
        for key in (self.damage, self.task_name, self.task):
            if key in given:
                return given[key]
        raise ConfigError(
            f"models.{self.model}.checkpoint: has none for {self.damage}; add one, or limit the "
            "model's tasks"
        )

    def checkpoint_path(self) -> Path | None:
        """Return the file or folder of the given checkpoint, if it is one."""
        given = self.checkpoint
        if given is None:
            return None
        for folder in ("", self.config.checkpoints or ""):
            path = Path(folder).expanduser() / given
            # A bare word is a packaged or classical model, whatever the current folder holds.
            if path.exists() and (path.suffix or folder or len(path.parts) > 1):
                return path
        return None

    @property
    def _planned(self) -> Degradation:
        """The degradation, without opening the mask files that it may need."""
        masks = self.task_section.masks
        return (
            MaskFolder(Path(masks), ()) if masks and self.level == IRREGULAR else self.degradation()
        )

    def degradation(self) -> Degradation:
        """Return the degradation of the test pictures.

        Raises:
            DataError: a folder of masks is missing or empty.
        """
        section, task = self.task_section, get_task(self.task)
        said: dict[str, Any] = {"clipped": section.clipped, "subsampling": section.subsampling}
        if section.masks is not None:
            masks = Path(section.masks).expanduser()
            below = data_root(self.root) / masks
            said["mask"] = below if below.is_dir() and not masks.is_dir() else masks
        return task.level(self.level, **{k: v for k, v in said.items() if k in task.variants})

    @cached_property
    def run_config(self) -> RunConfig:
        """The config of the model's training; a budget in minutes leaves ``training.steps`` open.

        Raises:
            ConfigError: the config has a key or a value that a run does not accept.
        """
        config, model, data = self.config, self.model_section, self.dataset_section
        assert model.network is not None
        validation = {
            "source": data.validation or self.dataset,
            "images": 4,
            "crop": data.patch,
            "max_round_trip": 1e30,
            **self._planned.validation(),
        }
        content = {
            "task": self.task,
            "seed": config.seed,
            "model": ModelSection(
                network=model.network, preset=model.preset, options=model.options
            ),
            "degradation": self._training_degradation(),
            "data": {
                "root": config.root,
                "train": data.train or [SourceSection(source=self.dataset)],
                "protocol": config.protocol,
                "validation": validation,
                "patch": data.patch,
                "augment": config.augment,
            },
            "training": self._training_section(),
        }
        return RunConfig.model_validate(content)

    def _training_section(self) -> TrainingSection:
        """Return the section ``training`` of the model's run.

        Raises:
            ConfigError: as for `run_config`.
        """
        said = {
            **self.config.training.model_dump(exclude_unset=True),
            **self.model_section.training,
        }
        training = check_schema(TrainingSection, said, f"models.{self.model}.training")
        # A result does not depend on the device, so neither does a batch that is left open.
        changed = {"steps": self.steps or ENDLESS, "batch": training.batch_size}
        if "validate_every" not in said:
            # No weights are chosen by validation here; there is one validation, at the end.
            changed["validate_every"] = ENDLESS
        return training.model_copy(update=changed)

    @property
    def steps(self) -> int | None:
        """The number of steps of a budget in steps or patches; None for one in minutes."""
        budget = self.config.budget
        assert budget is not None
        if budget.patches is not None:
            return math.ceil(budget.patches / self.config.training.batch_size)
        return budget.steps

    def _training_degradation(self) -> DegradationSection:
        """Return the training's damage, which is the test's, so that models are trained for it."""
        said = self._planned.training(self.dataset_section.patch, self.config.protocol)
        said = {**said, **self.task_section.degradation}
        schema = get_task(self.task).section
        return check_schema(schema, said, f"tasks.{self.task_name}.degradation")

    def network_options(self) -> dict[str, Any]:
        """Return all options of the network to train, since a preset may change with a version.

        Raises:
            ModelError: there is no such network, preset or option.
        """
        model = self.model_section
        assert model.network is not None
        return resolve_options(model.network, model.preset, model.options)

    def resolved(self) -> dict[str, Any]:
        """Return everything on which the result depends as JSON, the input of the cell's hash.

        Paths of data and checkpoints are excluded, and so are settings that only affect speed.

        Raises:
            ConfigError: as for `run_config` and `checkpoint`.
        """
        found: dict[str, Any] = {
            "protocol": self.config.protocol,
            "seed": self.config.seed,
            "test": self.test,
            "pictures": self.pictures,
            "task": self.task,
            "level": self.level,
            "subsampling": self.task_section.subsampling,
            "masks": self.task_section.masks,
            "luma": self.task_section.luma,
            "checkpoint": self.checkpoint,
        }
        if self.task_section.clipped:  # Left out if False, so that older results stay valid.
            found["clipped"] = True
        return self._with_weights(found)

    def _with_weights(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return a resolved config with all on which the cell's weights depend."""
        path = self.checkpoint_path()
        if path is not None and path.is_file():
            found["content"] = file_sha256(path)
        if self.checkpoint is None:
            assert self.config.budget is not None
            run = self.run_config.model_dump(mode="json")
            del run["data"]["root"], run["data"]["cache_gb"], run["data"]["workers"]
            del run["task"], run["seed"]
            for key in ("threads", "checkpoint_every", "log_every", "samples"):
                del run["training"][key]
            found |= {"budget": self.config.budget.model_dump(exclude_none=True), **run}
            found["model"]["options"] = self.network_options()
        as_read: dict[str, Any] = json.loads(json.dumps(found))  # Tuples become lists, as in files.
        return as_read

    def hash(self) -> str:
        """Return a hash of `resolved`: sixteen hexadecimal digits."""
        text = json.dumps(self.resolved(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
