"""`Model`: a loaded or new model, as the library returns it."""

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
    """The inputs that a model requires.

    Attributes:
        channels: number of channels of its pictures: 3, 1 (gray), or None for either.
        size_multiple: divisor of the height and width of the network's input; pictures of other
            sizes are padded.
        sigma: whether it requires the noise level.
        mask: whether it requires a mask.
    """

    channels: int | None
    size_multiple: int
    sigma: bool
    mask: bool


class Model(LoadedModel):
    """A model ready to restore; `irae.models.loaded.LoadedModel` has its other methods.

    Example:
        >>> import irae
        >>> model = irae.load_model("denoise")
        >>> better = model.module(noisy)  # a tensor B 3 H W, with gradients
    """

    @classmethod
    def of(cls, loaded: LoadedModel) -> Model:
        """Wrap a loaded model; the network and the spec are shared."""
        return cls(loaded.network, loaded.spec, loaded.name)

    @property
    def task(self) -> str:
        """The name of the model's task, one of `irae.tasks`."""
        return self.spec.task or tasks_for(self.network)[0].name

    @property
    def module(self) -> RestoringModule:
        """The model as an ``nn.Module`` on ``B C H W``; it shares the model's weights."""
        return RestoringModule(self.network)

    @property
    def input_requirements(self) -> InputRequirements:
        """The inputs that the model requires."""
        return InputRequirements(
            self.channels, self.size_multiple, self.takes_sigma, task_of(self).needs_mask
        )

    def restore(  # type: ignore[override]
        self, image: Any, mask: Any = None, *, sigma: float | Tensor | None = None, **options: Any
    ) -> Any:
        """Restore an image of any kind, or a batch.

        Args:
            image: a batch ``B C H W`` of tensors passes through the network at once, is not
                clipped and stays on the model's device; see `LoadedModel.restore`. Any other
                image is restored as by `irae.Restorer`, in tiles if it is large.
            mask: the masked region, of the same kind as the image.
            sigma: noise level in 8-bit units, for models that require it.
            options: ``filled``, as in `LoadedModel.restore`.

        Raises:
            IraeError: as for `LoadedModel.restore` and `irae.Restorer.restore`.
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
        ModelError: there is no such model, the file is damaged, its tensors fit no network, or
            the package of a classical model is not installed.
    """
    return Model.of(_load(name))
