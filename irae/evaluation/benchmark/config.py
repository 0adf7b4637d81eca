"""The schema of a benchmark: data sets x tasks x models, one budget, one protocol.

Data sets, tasks and models are tables by name, so that ``extends:`` and ``--set`` change one entry.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from irae.config import (
    AugmentSection,
    Seed,
    Sources,
    TrainingSection,
    check_schema,
)
from irae.layered_yaml import find_config, read_config
from irae.tasks import task_names
from irae.tasks.schema import Level, Section

FOLDER = "benchmark/"
"""The folder of benchmarks among the shipped configs."""

# Names are parts of paths.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]

# Keys that the budget and the benchmark set for all models alike.
_SAID_ELSEWHERE = ("steps", "batch")


class DatasetSection(Section):
    """One data set. Each part defaults to the set (or folder) with the section's name."""

    train: Annotated[Sources, Field(min_length=1)] | None = None
    validation: str | None = None  # measured at the end of a training; it decides nothing
    test: str | None = None
    patch: int = Field(default=64, ge=16)  # side of the training crops
    # For objective likelihood: height and width to which pictures are scaled.
    size: int | None = Field(default=None, ge=4, le=1024)
    channels: Literal[1, 3] = 3  # for objective likelihood: 1 (gray) or 3
    pictures: int | None = Field(default=None, ge=1)  # test pictures; default: the benchmark's
    tasks: list[Name] | None = None  # default: all of the benchmark's


class TaskSection(Section):
    """One kind of damage at several levels; or likelihood, whose levels are bits per number."""

    # likelihood: densities are trained and measured in bits per dimension, with no other key.
    objective: Literal["restoration", "likelihood"] = "restoration"
    task: str | None = None  # default: the section's name
    # Values of sigma or quality, or holes: center:N, box:N (pixels) and irregular (the files of
    # masks); for objective likelihood bits per number, 1 to 8.
    levels: list[Level] = Field(min_length=1)
    clipped: bool = False  # noisy pictures are clipped and rounded to 8 bits, as in a file
    subsampling: Literal["4:2:0", "4:4:4"] = "4:2:0"
    masks: str | None = None  # for irregular: a folder of test masks, here or below the data root
    luma: bool = False  # measured on Y, from gray pictures
    degradation: dict[str, Any] = {}  # overrides the training's degradation at the level

    @model_validator(mode="after")
    def _of_objective(self) -> TaskSection:
        if self.objective == "restoration":
            return self
        given = self.model_fields_set - {"objective", "levels"}
        if given:
            raise ValueError(f"objective likelihood has no {sorted(given)[0]}; leave it out")
        for level in self.levels:
            if not isinstance(level, int) or not 1 <= level <= 8:
                raise ValueError(f"levels: {level!r} is no number of bits; use 1 to 8")
        return self

    @field_validator("task")
    @classmethod
    def _registered(cls, name: str | None) -> str | None:
        if name is not None and name not in task_names():
            raise ValueError(f"{name!r} is unknown; there are: {', '.join(task_names())}")
        return name


class BenchmarkModelSection(Section):
    """One model: a network to train, or a given checkpoint."""

    network: str | None = None
    preset: str | None = "default"
    options: dict[str, Any] = {}
    training: dict[str, Any] = {}  # overrides the benchmark's, except keys that all share
    # A packaged or classical model, a model file, a run, or another project's weights; or one for
    # each task or cell, such as {denoise-25: a.safetensors, denoise: b.safetensors}.
    checkpoint: str | dict[Name, str] | None = None
    tasks: list[Name] | None = None  # default: all of the benchmark's

    @model_validator(mode="after")
    def _one_origin(self) -> BenchmarkModelSection:
        if (self.network is None) == (self.checkpoint is None):
            raise ValueError("a model needs either network (to train) or checkpoint (given)")
        if self.checkpoint is not None and (self.options or self.training):
            raise ValueError("a given checkpoint has neither options nor training")
        return self


class BudgetSection(Section):
    """The length of each cell's training, by exactly one of the three keys."""

    steps: int | None = Field(default=None, ge=1)
    patches: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one(self) -> BudgetSection:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("give exactly one of steps, patches and minutes")
        return self


class CostSection(Section):
    """The picture on which the cost of restoring is measured, on the CPU in float32."""

    height: int = Field(default=128, ge=16)
    width: int = Field(default=128, ge=16)
    rounds: int = Field(default=3, ge=1)  # number of runs; the median counts


class BenchmarkConfig(Section):
    """A whole benchmark."""

    protocol: Literal["standard", "authors"] = "standard"
    seed: Seed = 0  # seed of the trainings and of the test damage
    root: str | None = None  # root folder of the data; default: $IRAE_DATA, else ./data
    checkpoints: str | None = None  # another folder in which given checkpoints are searched
    datasets: dict[Name, DatasetSection] = Field(min_length=1)
    tasks: dict[Name, TaskSection] = Field(min_length=1)
    models: dict[Name, BenchmarkModelSection] = Field(min_length=1)
    budget: BudgetSection | None = None  # required if any model is trained
    training: TrainingSection = TrainingSection()
    augment: AugmentSection = AugmentSection(colour=0, gray=0, shrink=0)
    pictures: int | None = Field(default=None, ge=1)  # test pictures of each set; default: all
    samples: int = Field(default=3, ge=0)  # number of sample pictures kept for each cell
    cost: CostSection = CostSection()

    @model_validator(mode="after")
    def _agreement(self) -> BenchmarkConfig:
        trained = [name for name, model in self.models.items() if model.network is not None]
        if trained and self.budget is None:
            raise ValueError(f"model {trained[0]!r} is trained; give a budget")
        if "steps" in self.training.model_fields_set:
            raise ValueError("training.steps: the budget says how long")
        for name, model in self.models.items():
            for key in _SAID_ELSEWHERE:
                if key in model.training:
                    raise ValueError(f"models.{name}.training.{key}: is the same for all models")
        for name, task in self.tasks.items():
            for set_name, data in self.datasets.items():
                used = data.tasks is None or name in data.tasks
                if task.objective == "likelihood" and used and data.size is None:
                    raise ValueError(f"datasets.{set_name}.size: task {name!r} needs it")
        for kind in ("datasets", "models"):
            for name, section in getattr(self, kind).items():
                for each in section.tasks or []:
                    if each not in self.tasks:
                        raise ValueError(f"{kind}.{name}.tasks: there is no task {each!r}")
        return self


def find_benchmark(name: str | Path) -> Path:
    """Find the file of a benchmark: a path, else a config shipped in ``benchmark/``.

    Raises:
        ConfigError: there is no such benchmark; the message lists the shipped ones.
    """
    return find_config(name, kind="benchmark", folder=FOLDER)


def load_benchmark(name: str | Path, overrides: list[str] | None = None) -> BenchmarkConfig:
    """Read a benchmark's config; the arguments are those of `irae.config.load_config`.

    Raises:
        ConfigError: a file is missing or malformed, or a key is unknown, out of range or repeated.
    """
    path = find_benchmark(name)
    content = read_config(find_config(path), overrides)
    config = check_schema(BenchmarkConfig, content, str(path), overrides)
    for model_name, model in config.models.items():
        merged = {**config.training.model_dump(exclude_unset=True), **model.training}
        check_schema(TrainingSection, merged, f"{path}: models.{model_name}.training")
    return config
