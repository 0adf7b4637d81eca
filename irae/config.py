"""The schema of a run: YAML with ``extends:`` and overrides ``--set a.b=value``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails

from irae.errors import ConfigError, UsageError
from irae.layered_yaml import extended, find_config, read_config, with_overrides
from irae.tasks import all_tasks, get_task
from irae.tasks.schema import (
    DegradationSection,
    PastedDamageSection,
    Section,
    Share,
    ValidationSection,
)

Schema = TypeVar("Schema", bound=BaseModel)

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Threads = Annotated[int, Field(ge=1, le=1024)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class ModelSection(Section):
    """The network and its initial weights."""

    network: str = "irae"
    preset: str | None = "default"
    options: dict[str, Any] = {}
    init: str | None = None  # packaged model, model file or run for a warm start


class SourceSection(Section):
    """One source of clean pictures."""

    source: str  # celeba, flowers, birds, or a folder (relative to data.root)
    # Relative share of the patches; pixels: in proportion to the source's number of pixels.
    weight: Annotated[float, Field(gt=0, le=1e12)] | Literal["pixels"] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        return {"source": value} if isinstance(value, str) else value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str | dict) else value


Sources = Annotated[list[SourceSection], BeforeValidator(_as_list)]
"""Sources; one alone needs no list, and a name or folder stands for a source of weight 1."""


class AugmentSection(Section):
    """Augmentation of patches; each number is the share of patches that are changed."""

    flip: bool = True  # the eight symmetries of the square
    colour: Share = 0.3  # channels permuted, saturation scaled by 0.3 to 2.5
    gray: Share = 0.1  # gray pictures with gray noise, as in scans
    shrink: Share = 0.2  # patches of twice the side, scaled to half
    mutate: Share = 0.0  # likelihood: numbers replaced by random ones, for a background model


class DataSection(Section):
    """The clean pictures."""

    root: str | None = None  # default: $IRAE_DATA, else ./data
    train: Sources = []  # default: the pictures below the root
    protocol: Literal["standard", "authors"] = "standard"  # how a clean patch is prepared
    validation: SerializeAsAny[ValidationSection] = ValidationSection()  # depends on the task
    patch: int = Field(default=64, ge=16)  # a multiple of the network's size_multiple
    augment: AugmentSection = AugmentSection()
    # Decoded pictures kept in memory, in GiB: on the training device if there is room, else on the
    # host. auto: half of the host's free memory. The rest is decoded again for every patch.
    cache_gb: Annotated[float, Field(ge=0, le=1e6)] | Literal["auto"] = "auto"
    # Processes that make the batches, besides the one that trains; 0: a thread of it makes them.
    # auto: for a GPU, all spare cores, unless the GPU itself makes such batches faster.
    workers: Annotated[int, Field(ge=0, le=1024)] | Literal["auto"] = "auto"


CPU_BATCH = 8
"""What ``training.batch: auto`` is on a CPU."""


class TrainingSection(Section):
    """The optimisation."""

    steps: int = Field(default=30000, ge=1, le=10**12)
    # Patches of a step, of all processes together. auto: for each GPU 64, or fewer if these would
    # fill more than half of its memory; 8 on a CPU. A run stores the choice, and says it.
    batch: Annotated[int, Field(ge=1, le=2**20)] | Literal["auto"] = "auto"
    learning_rate: float = Field(default=1e-3, gt=0)
    schedule: Literal["cosine", "step"] = "cosine"
    final_learning_rate: float = Field(default=1e-5, ge=0)  # cosine: the final rate
    step_every: int = Field(default=50000, ge=1)  # step: steps between factors of gamma
    gamma: float = Field(default=0.5, gt=0, le=1)
    warmup: int = Field(default=200, ge=0)
    # muon: Jordan et al. 2024 for the weights of convolutions, adamw for the rest.
    optimizer: Literal["adamw", "muon"] = "adamw"
    bias_pace: float = Field(default=1.0, ge=0)  # muon: factor on the rate of convolutions' biases
    restart_dead: bool = False  # restart hidden units that never fire, at each validation
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    ema: float = Field(default=0.999, ge=0, lt=1)
    loss: Literal["l1", "l2", "charbonnier", "psnr"] = "l1"
    middle_weight: Share = 0.0  # weight of the loss on the picture after half of a lifted flow
    known_weight: Share = 0.1  # inpainting: weight of known pixels; that of holes is 1
    # Precision of the subnets; auto: bf16 if the device was measured to be faster with it. A run
    # stores the choice of auto, also for reversible, so that a resumed run computes the same.
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    # Recompute activations in the backward pass instead of storing them; auto: if they would fill
    # more than half of the device's memory.
    reversible: bool | Literal["auto"] = "auto"
    compile: bool = False  # torch.compile the training step's network
    # Run forward and backward pass as a CUDA graph; auto: where it was measured to be faster. The
    # numbers are the same. Of several processes, and of networks that solve systems or draw noise,
    # no step can be captured.
    graph: bool | Literal["auto"] = "auto"
    threads: Threads | None = None  # CPU threads; default: PyTorch's choice
    validate_every: int = Field(default=1000, ge=1)
    checkpoint_every: int = Field(default=500, ge=1)
    log_every: int = Field(default=50, ge=1)
    samples: int = Field(default=4, ge=0)  # pictures written at each validation

    @property
    def batch_size(self) -> int:
        """Number of patches of a step; that of a CPU while `batch` is ``auto``."""
        return CPU_BATCH if self.batch == "auto" else self.batch


class RunConfig(Section):
    """A whole run. The task defines the keys of ``degradation`` and ``data.validation``."""

    # restoration undoes the damage of a task. Of no task: likelihood trains a density, find_damage
    # a network that finds scratches, dust, hairs and stamps.
    objective: Literal["restoration", "likelihood", "find_damage"] = "restoration"
    task: str = Field(default="", validate_default=True)
    seed: Seed = 0
    model: ModelSection = ModelSection()
    degradation: SerializeAsAny[DegradationSection] = DegradationSection()
    data: DataSection = DataSection()
    training: TrainingSection = TrainingSection()

    @field_validator("task")
    @classmethod
    def _registered(cls, name: str, info: ValidationInfo) -> str:
        objective = info.data.get("objective")
        if objective in ("likelihood", "find_damage"):
            if name:
                raise ValueError(f"objective {objective} has no task; leave it out")
            return name
        if not name:
            raise ValueError("missing; name what is to be restored, or set objective: likelihood")
        try:
            get_task(name)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return name

    @field_validator("degradation", mode="before")
    @classmethod
    def _of_task(cls, value: object, info: ValidationInfo) -> object:
        if info.data.get("objective") == "find_damage":
            return PastedDamageSection.model_validate(_plain(value))
        if not info.data.get("task"):  # A missing task is reported; a density has no damage.
            return DegradationSection.model_validate(_plain(value))
        schema = get_task(info.data["task"]).section
        return schema.model_validate(_own_keys(_plain(value), schema, "section"))

    @field_validator("data", mode="before")
    @classmethod
    def _validation_of_task(cls, value: object, info: ValidationInfo) -> object:
        content = _plain(value)
        if not info.data.get("task") or not isinstance(content, dict):
            return value
        schema = get_task(info.data["task"]).validation_section
        kept = _own_keys(content.get("validation", {}), schema, "validation_section")
        return DataSection.model_validate({**content, "validation": _checked(kept, schema)})


def _plain(value: object) -> object:
    return value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value


def _checked(content: object, schema: type[ValidationSection]) -> ValidationSection:
    """Validate ``data.validation``; errors have their place in ``data``."""
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        found = [
            InitErrorDetails(
                type=each["type"],
                loc=("validation", *each["loc"]),
                input=each["input"],
                ctx=each.get("ctx", {}),
            )
            for each in error.errors()
        ]
        raise ValidationError.from_exception_data("data", found) from None


def _own_keys(content: object, schema: type[Section], kind: str) -> object:
    """Drop the defaults of other tasks' keys, all of which irae 0.1 wrote to a run's config."""
    if not isinstance(content, dict):
        return content
    defaults: dict[str, list[Any]] = {}
    for task in all_tasks():
        section = getattr(task, kind)
        for values in (section().model_dump(mode="json"), section.former_defaults):
            for key, value in values.items():
                defaults.setdefault(key, []).append(value)
    return {
        key: value
        for key, value in content.items()
        if key in schema.model_fields or value not in defaults.get(key, [])
    }


def load_config(name: str | Path | dict[str, Any], overrides: list[str] | None = None) -> RunConfig:
    """Read a config with all that it extends, apply ``key=value`` overrides, and check it.

    Args:
        name: a path, the name of a shipped config, or the content of a config with ``extends``.
        overrides: overrides such as ``training.steps=100``; values are parsed as YAML.

    Raises:
        ConfigError: a file is missing or malformed, or a key is unknown or out of range.
    """
    if isinstance(name, dict):
        content = with_overrides(extended(name), overrides or [])
        return check_schema(RunConfig, content, "the config", overrides)
    path = find_config(name)
    return check_schema(RunConfig, read_config(path, overrides), str(path), overrides)


def check_config(content: dict[str, Any], origin: str) -> RunConfig:
    """Validate the content of a run's config; errors name ``origin``.

    Raises:
        ConfigError: a key is invalid; the message names the first.
    """
    return check_schema(RunConfig, content, origin)


def check_schema(
    schema: type[Schema],
    content: dict[str, Any],
    origin: str,
    overrides: list[str] | None = None,
) -> Schema:
    """Validate content against any schema; see `check_config`.

    An error at a key that one of the ``overrides`` has set names this override, not ``origin``.
    """
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = list(first["loc"])
        # The error of a section that its task checked is nested.
        while isinstance(inner := first.get("ctx", {}).get("error"), ValidationError):
            first = inner.errors()[0]
            where += first["loc"]
        key = ".".join(str(part) for part in where) or "(top level)"
        origin = _overridden(key, overrides or []) or origin
        unknown = first["type"] == "extra_forbidden"
        reason = _of_another_task(where) if unknown else first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{origin}: {key}: {reason}") from None


def _overridden(key: str, overrides: list[str]) -> str | None:
    """Return the last override that set a key, or a part of a section that is at fault."""
    for override in reversed(overrides):
        name = override.partition("=")[0]
        if f"{key}.".startswith(f"{name}.") or f"{name}.".startswith(f"{key}."):
            return f"--set {override}"
    return None


def _of_another_task(where: list[int | str]) -> str:
    """Explain why a key is unknown."""
    *section, key = where
    kind = {("degradation",): "section", ("data", "validation"): "validation_section"}
    name = kind.get(tuple(str(part) for part in section))
    fields = {} if name is None else {t.name: getattr(t, name).model_fields for t in all_tasks()}
    owners = [task for task, known in fields.items() if key in known]
    return f"is of task {' and '.join(owners)}" if owners else "unknown key"


def dump_config(config: RunConfig) -> str:
    """Return the config as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
