"""The task ``inpaint``: holes at known places."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from irae.errors import DataError, UsageError
from irae.tasks.base import Batch, DamageBatch, Damaged, Degradation, Task
from irae.tasks.schema import DegradationSection, Level, Share, ValidationSection

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from irae.tasks.batch_random import BatchRandom
    from irae.tasks.masks import MaskMaker

IRREGULAR = "irregular"
"""The level that stands for a folder of mask files."""

THIN = "thin"
"""The level that stands for thin damage of one to three kinds."""

_THIN_KINDS = (THIN, "scratches", "hairs", "specks", "text", "stamp")

# The value with which the code published with the paper fills its one kind of box.
_PUBLISHED_FILL = 1.0


@dataclass(frozen=True)
class Hole(Degradation):
    """A square hole of ``side`` pixels, in the centre or anywhere (``box``)."""

    place: Literal["center", "box"]
    side: int
    task: ClassVar[str] = "inpaint"

    def describe(self) -> str:
        """See `Degradation.describe`."""
        return f"{self.place} {self.side}"

    def degrade(self, clean: Tensor, seeds: tuple[int, ...]) -> Damaged:
        """See `Degradation.degrade`."""
        from irae.imaging.degrade import apply_mask, box_mask, center_mask
        from irae.runtime import generator

        height, width = clean.shape[-2:]
        if self.place == "center":
            mask = center_mask(height, width, self.side)
        else:
            mask = box_mask(height, width, self.side, generator(*seeds))
        return Damaged(apply_mask(clean, mask), mask)

    def check_published(self) -> None:
        """See `Degradation.check_published`."""
        if self.place == "box":
            raise UsageError(
                "protocol authors has no hole 'box', its 'center' is a random box; use center"
            )

    def degrade_as_published(self, clean: Tensor, seeds: tuple[int, ...]) -> Damaged:
        """Cut a random box, shrunk by up to 1/8 and filled with 1; see `protocols.Authors`."""
        from irae.imaging.degrade import apply_mask
        from irae.runtime import generator

        mask = _shrunk_box(clean.shape[-2], clean.shape[-1], self.side, generator(*seeds))
        return Damaged(apply_mask(clean, mask, fill=_PUBLISHED_FILL), mask)

    def training(self, patch: int, protocol: str) -> dict[str, Any]:
        """See `Degradation.training`."""
        share = self.side / patch
        # The authors' "center" hole is a box anywhere, with each side moved inwards by up to 1/8.
        if protocol == "authors":
            return {"holes": {"box": 1}, "box_side": [0.75 * share, share]}
        return {"holes": {self.place: 1}, "box_side": [share, share]}


@dataclass(frozen=True)
class Strokes(Degradation):
    """Randomly drawn brush strokes; see `irae.imaging.degrade.irregular_mask`."""

    task: ClassVar[str] = "inpaint"

    def describe(self) -> str:
        """See `Degradation.describe`."""
        return "strokes"

    def degrade(self, clean: Tensor, seeds: tuple[int, ...]) -> Damaged:
        """See `Degradation.degrade`."""
        from irae.imaging.degrade import apply_mask, irregular_mask
        from irae.runtime import generator

        mask = irregular_mask(clean.shape[-2], clean.shape[-1], generator(*seeds))
        return Damaged(apply_mask(clean, mask), mask)


@dataclass(frozen=True)
class MaskFolder(Degradation):
    """Sorted mask files (white = hole), scaled to the size of the picture by nearest neighbour."""

    folder: Path
    paths: tuple[Path, ...]
    task: ClassVar[str] = "inpaint"

    @classmethod
    def open(cls, folder: Path) -> MaskFolder:
        """Find all mask files in a folder and its subfolders.

        Raises:
            DataError: the path is not a folder, or the folder has no pictures.
        """
        from irae.data.folder import find_in_folder

        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder; give a folder of mask files")
        paths = find_in_folder(folder)
        if not paths:
            raise DataError(f"{folder} has no mask files")
        return cls(folder, tuple(paths))

    def describe(self) -> str:
        """See `Degradation.describe`."""
        return f"masks {self.folder.name or self.folder}"

    def degrade(self, clean: Tensor, seeds: tuple[int, ...]) -> Damaged:
        """See `Degradation.degrade`; the masks are shuffled by the seed and used in turn.

        In place of a mask that marks nothing (at the size of the picture), of which the PSNR would
        be infinite, the next one is used.

        Raises:
            DataError: no mask marks anything.
        """
        import torch

        from irae.imaging.degrade import apply_mask
        from irae.imaging.io.masks import read_mask
        from irae.runtime import generator

        *seed, index = seeds
        order = torch.randperm(len(self.paths), generator=generator(*seed))
        height, width = clean.shape[-2:]
        empty: list[Path] = []
        for turn in range(index, index + len(self.paths)):
            path = self.paths[int(order[turn % len(self.paths)])]
            mask = read_mask(path, height=height, width=width, resize=True)
            if mask.any():
                return Damaged(apply_mask(clean, mask), mask, path, empty_masks=tuple(empty))
            empty.append(path)
        raise DataError(f"{self.folder}: no mask in it has holes (white); give other masks")

    def degrade_as_published(self, clean: Tensor, seeds: tuple[int, ...]) -> Damaged:
        """Draw masks until one covers at least 10 and less than 50 % of the picture."""
        import torch

        from irae.imaging.degrade import apply_mask
        from irae.imaging.io.masks import read_mask
        from irae.runtime import generator

        height, width = clean.shape[-2:]
        for number in torch.randperm(len(self.paths), generator=generator(*seeds)).tolist():
            path = self.paths[number]
            mask = read_mask(path, height=height, width=width, resize=True)
            if 0.1 <= mask.double().mean() < 0.5:
                return Damaged(apply_mask(clean, mask), mask, path)
        raise DataError(f"{self.folder} has no mask with 10 to 50 % holes, which authors needs")

    def training(self, patch: int, protocol: str) -> dict[str, Any]:
        """See `Degradation.training`."""
        return {"holes": {"irregular": 1}}


@dataclass(frozen=True)
class Thin(Degradation):
    """Thin damage; see `irae.imaging.thin_masks`.

    Attributes:
        kind: one of its ``KINDS``, or ``thin`` for one to three of them.
    """

    kind: str
    task: ClassVar[str] = "inpaint"

    def describe(self) -> str:
        """See `Degradation.describe`."""
        return self.kind

    def degrade(self, clean: Tensor, seeds: tuple[int, ...]) -> Damaged:
        """See `Degradation.degrade`."""
        from irae.imaging.degrade import apply_mask
        from irae.imaging.thin_masks import thin_mask
        from irae.runtime import generator

        kind = None if self.kind == THIN else self.kind
        mask = thin_mask(clean.shape[-2], clean.shape[-1], generator(*seeds), kind)
        return Damaged(apply_mask(clean, mask), mask)

    def training(self, patch: int, protocol: str) -> dict[str, Any]:
        """See `Degradation.training`."""
        return {"holes": {THIN: 1}}


class InpaintSection(DegradationSection):
    """Masked regions of training pictures."""

    folders = ("masks", "overlays")
    former_defaults: ClassVar = {"holes": {"irregular": 0.7, "center": 0.1, "box": 0.2}}

    holes: dict[Literal["irregular", "thin", "center", "box"], float] = {  # share of each kind
        "thin": 0.6,
        "irregular": 0.25,
        "center": 0.03,
        "box": 0.12,
    }
    box_side: tuple[Share, Share] = (0.125, 0.5)  # side of center and box, as a share of the patch
    masks: str | None = None  # a folder of mask files in place of drawn irregular masks
    # Mask files of thin damage (NAME_0001.png …) that join the drawn ones; every fifth of each NAME
    # is kept apart for measuring.
    overlays: str | None = None

    @model_validator(mode="after")
    def _some_kind(self) -> InpaintSection:
        if not self.holes or min(self.holes.values()) < 0 or sum(self.holes.values()) <= 0:
            raise ValueError("holes needs at least one kind with a positive share")
        return self


class Inpaint(Task):
    """Holes given by a mask; known pixels are never changed."""

    name = "inpaint"
    label = "Fill holes"
    done = "Holes filled"
    axis = "holes"
    level_option = "hole"
    levels_help = (
        "holes: center:N or box:N (N pixels), thin, scratches, hairs, specks, text or stamp;"
        " or a folder of masks"
    )
    variants: ClassVar = {"mask": None}
    section = InpaintSection
    validation_section = ValidationSection
    gives = frozenset({"mask"})
    needs_mask = True
    published_batch = 1

    def read_level(self, value: Level, variant: Mapping[str, Any]) -> Degradation:
        """See `Task.level`; ``irregular`` stands for the files of the folder ``mask``."""
        place, _, side = str(value).partition(":")
        if value in _THIN_KINDS:
            return Thin(str(value))
        if value == IRREGULAR:
            if variant["mask"] is None:
                raise UsageError("irregular holes need a folder of masks")
            return MaskFolder.open(variant["mask"])
        # At most nine digits: Python refuses to parse numbers of thousands of digits.
        if side.isascii() and side.isdigit() and len(side) <= 9 and int(side) >= 1:
            if place == "center":
                return Hole("center", int(side))
            if place == "box":
                return Hole("box", int(side))
        raise UsageError(
            f"{value!r} is malformed; write center:N or box:N, N pixels from 1, or one of "
            f"{', '.join(_THIN_KINDS)}"
        )

    def levels(self, text: str | None = None, **variant: Any) -> list[Degradation]:
        """See `Task.levels`."""
        masks = variant.get("mask") is not None
        if masks and text is not None:
            raise UsageError("a hole and a folder of masks exclude each other; give one")
        return super().levels(IRREGULAR if masks else text, **variant)

    def batch_damage(
        self, section: InpaintSection, *, seed: int, patch: int, workers: Executor, root: Path
    ) -> DamageBatch:
        """See `Task.batch_damage`."""
        from irae.tasks.masks import MaskMaker

        return partial(_cut_holes, MaskMaker(section, seed, patch))

    def validation_levels(
        self, section: ValidationSection, training: InpaintSection, height: int, width: int
    ) -> dict[str, Degradation]:
        """See `Task.validation_levels`: the kinds that are trained, boxes in the centre.

        A box has the middle side of those that are trained, by the geometric mean.
        """
        trained = {kind for kind, share in training.holes.items() if share > 0}
        levels: dict[str, Degradation] = {}
        if IRREGULAR in trained:
            levels[IRREGULAR] = Strokes()
        if trained & {"center", "box"}:
            share = math.prod(training.box_side) ** 0.5
            levels["center"] = Hole("center", max(1, int(share * min(height, width))))
        if THIN in trained:
            levels |= {kind: Thin(kind) for kind in _THIN_KINDS if kind != THIN}
        return levels


def _cut_holes(masks: MaskMaker, clean: Tensor, gray: Tensor, random: BatchRandom) -> Batch:
    from irae.imaging.degrade import apply_mask

    mask = random.on_device(masks.draw(random))
    return Batch(clean, apply_mask(clean, mask), mask)


def _shrunk_box(height: int, width: int, side: int, random: torch.Generator) -> Tensor:
    import torch

    from irae.imaging.degrade import integer

    # The published code never puts the box against the lower or right border, and so needs a
    # picture larger than the box.
    if not 1 <= side < min(height, width):
        raise UsageError(
            f"a random box of {side} pixels does not fit a picture of {width}x{height}"
            " in the authors' protocol; use a smaller hole"
        )
    top = integer(random, 0, height - side - 1)
    left = integer(random, 0, width - side - 1)
    rows, columns = integer(random, 0, side // 8), integer(random, 0, side // 8)
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, top + rows : top + side - rows, left + columns : left + side - columns] = True
    return mask


TASK = Inpaint()
