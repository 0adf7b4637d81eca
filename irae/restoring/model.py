"""`Model`: a loaded or new model as the library hands it out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from irae.errors import UsageError
from irae.models.checkpoints.model_file import load_model as _load
from irae.models.loaded import LoadedModel
from irae.models.module import RestoringModule
from irae.restoring.restorer import Restorer
from irae.tasks.matching import task_of, tasks_for


@dataclass(frozen=True)
class InputRequirements:
    """What a model wants to be given.

    Attributes:
        channels: of the pictures it was made for: 3, 1 (gray), or None for either.
        size_multiple: its network's heights and widths are multiples of this; pictures of other
            sizes are padded.
        sigma: it must be told the noise level.
        mask: it must be told where the holes are.
    """

    channels: int | None
    size_multiple: int
    sigma: bool
    mask: bool


class Model(LoadedModel):
    """A model ready to restore; see `irae.models.loaded.LoadedModel` for all it can do.

    Example:
        >>> import irae
        >>> model = irae.load_model("denoise")
        >>> better = model.module(noisy)  # a tensor B 3 H W, with gradients
    """

    @classmethod
    def of(cls, loaded: LoadedModel) -> Model:
        """The same network and spec."""
        return cls(loaded.network, loaded.spec, loaded.name)

    @property
    def task(self) -> str:
        """What it is for, a name of `irae.tasks`."""
        return self.spec.task or tasks_for(self.network)[0].name

    @property
    def module(self) -> RestoringModule:
        """The model as an ``nn.Module`` on ``B C H W``; it shares the model's weights."""
        return RestoringModule(self.network)

    @property
    def input_requirements(self) -> InputRequirements:
        """What it wants to be given."""
        return InputRequirements(
            self.channels, self.size_multiple, self.takes_sigma, task_of(self).needs_mask
        )

    def restore(  # type: ignore[override]
        self, image: Any, mask: Any = None, *, sigma: float | Tensor | None = None, **options: Any
    ) -> Any:
        """Restore an image of any kind, or a batch.

        Args:
            image: a batch of tensors ``B C H W`` goes through the network as one, is not clipped
                and stays on the model's device, see `LoadedModel.restore`. All else is restored
                as `irae.Restorer` does, with tiles where it is large.
            mask: the holes, of the same kind.
            sigma: the noise level in 8-bit units, for models that must be told.
            options: ``filled``, as `LoadedModel.restore` takes it.

        Raises:
            IraeError: as either says.
        """
        if isinstance(image, Tensor) and image.ndim == 4:
            return super().restore(image, mask, sigma=sigma, **options)
        restorer = Restorer(
            self,
            device=str(self.device),
            precision=self.precision,
            sigma=None if sigma is None else _one_number(sigma),
            ensemble=self.ensemble,
        )
        return restorer.restore(image, mask)


def _one_number(sigma: float | Tensor) -> float:
    if isinstance(sigma, Tensor) and sigma.numel() != 1:
        raise UsageError(f"sigma of shape {tuple(sigma.shape)}: one image has one noise level")
    return float(sigma)


def load_model(name: str | Path) -> Model:
    """Load a packaged or classical model by name, a model file, or the best model of a run folder.

    Raises:
        ModelError: no such model, a damaged file, one whose tensors fit no network here, or a
            classical model whose package is not installed.
    """
    return Model.of(_load(name))
