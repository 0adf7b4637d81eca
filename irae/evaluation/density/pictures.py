"""Pictures for a density, and grids of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from irae.data.folder import PictureSet, Split, WorkingSize
from irae.data.idx import is_idx_folder
from irae.data.registry import crop_before_scaling, known_layout
from irae.data.small import open_small, to_channels
from irae.errors import PictureError
from irae.models.loaded_density import LoadedDensity
from irae.writing import write_atomically

BORDER = 2
"""White pixels around each picture of a grid."""


def open_test(model: LoadedDensity, name_or_dir: str, root: Path) -> Tensor:
    """Read the pictures of a set on which a density is measured: uint8 ``N C H W``.

    They are the test part of a registered set, or all pictures of a folder. Of a folder on which
    the model was trained, by its card, they are those that were held out.

    Args:
        model: the density, to whose size the pictures are scaled.
        name_or_dir: a set or a folder.
        root: root folder of the data.

    Raises:
        DataError: the set is missing or damaged, or does not have the size.
    """
    channels, size, _ = model.network.shape
    split: Split = "val" if _learnt_from(model, name_or_dir, root) else "test"
    return open_small(name_or_dir, size=size, channels=channels, root=root, split=split)


def _learnt_from(model: LoadedDensity, name_or_dir: str, root: Path) -> bool:
    """Whether a plain folder, which has no parts of its own, is one the model has learnt from."""
    places = (Path(name_or_dir).expanduser(), root / name_or_dir)
    folder = next((place.resolve() for place in places if place.is_dir()), None)
    if folder is None or is_idx_folder(folder) or known_layout(folder) is not None:
        return False
    return str(folder) in _sources(model)


def _sources(model: LoadedDensity) -> list[str]:
    """Return the sets and folders from which a model has learnt, by its card."""
    config = model.spec.card.get("config", {})
    sources = config.get("data", {}).get("train", []) if isinstance(config, dict) else []
    return [str(each.get("source", "")) for each in sources if isinstance(each, dict)]


def read_for(model: LoadedDensity, path: Path, *, fit: bool = False) -> Tensor:
    """Read a picture of the model's size and channels: uint8 ``C H W``.

    Args:
        model: the density.
        path: the file.
        fit: scale, crop and convert the picture as the pictures of the training were.

    Raises:
        PictureError: there is no such file; or without ``fit``, the picture is of another size, or
            coloured and the model gray.
        DataError: the file cannot be read.
    """
    if not path.exists():
        raise PictureError(f"{path}: no such file; check the name")
    channels, size, _ = model.network.shape
    if fit:
        crops = {crop_before_scaling(source) for source in _sources(model)}
        working_size = WorkingSize(size, crops.pop() if len(crops) == 1 else None)
        return to_channels(PictureSet(path.name, [path], working_size).load(0)[None], channels)[0]
    pixels = PictureSet(path.name, [path]).load(0)
    height, width = pixels.shape[1:]
    if (height, width) != (size, size):
        raise PictureError(
            f"{path}: is {width}×{height}, and {model.name} is a density of {size}×{size} "
            "pictures; use `fit` to scale and crop it as in training"
        )
    if channels == 3:
        return pixels
    if not (torch.equal(pixels[0], pixels[1]) and torch.equal(pixels[0], pixels[2])):
        raise PictureError(
            f"{path}: has colours, and {model.name} is a density of gray pictures; use `fit` to "
            "convert it"
        )
    return pixels[:1]


def grid(pictures: Tensor, columns: int) -> Tensor:
    """Lay out uint8 ``N C H W`` in rows of ``columns``, each in a white border: ``C H' W'``."""
    count, channels, height, width = pictures.shape
    rows = -(-count // columns)
    down, right = height + BORDER, width + BORDER
    size = (channels, rows * down + BORDER, columns * right + BORDER)
    sheet = torch.full(size, 255, dtype=torch.uint8)
    for number, picture in enumerate(pictures):
        top = number // columns * down + BORDER
        left = number % columns * right + BORDER
        sheet[:, top : top + height, left : left + width] = picture
    return sheet


def enlarged(picture: Tensor, factor: int) -> Tensor:
    """Repeat every pixel of ``... H W``, so that small pictures can be seen."""
    return picture.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


def to_image(picture: Tensor) -> Image.Image:
    """Return uint8 ``C H W`` (C 1 or 3) as a Pillow image."""
    pixels = picture[0] if len(picture) == 1 else picture.permute(1, 2, 0)
    return Image.fromarray(pixels.cpu().contiguous().numpy())


def write_png(picture: Tensor, path: Path, *, overwrite: bool = False) -> None:
    """Write uint8 ``C H W`` as a PNG.

    Raises:
        PictureError: the name does not end in .png, or the file exists.
        OSError: the disk reports an error.
    """
    check_target(path, overwrite)
    image = to_image(picture)
    write_atomically(path, lambda temporary: image.save(temporary, format="PNG"))


def check_target(path: Path, overwrite: bool, suffixes: Sequence[str] = (".png",)) -> None:
    """Check that a file may be written.

    Raises:
        PictureError: it has another suffix, or exists.
    """
    if path.suffix.lower() not in suffixes:
        raise PictureError(f"{path}: the output must end in {' or '.join(suffixes)}")
    if path.exists() and not overwrite:
        raise PictureError(f"{path}: exists; use `overwrite`, or another name")
