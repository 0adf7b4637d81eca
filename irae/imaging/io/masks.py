"""Reading masks: the one rule by which a picture of any kind marks holes."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from irae.errors import PictureError
from irae.imaging.io.files import read_picture
from irae.imaging.io.picture import to_stored, to_upright

MOST_MARKED = 0.7
"""Share of a picture above which a mask is probably the wrong way round."""

NOTHING_KNOWN = (
    "marks the whole picture, and nothing is left to fill it from; mark the damage alone, or use"
    " `invert_mask`"
)
"""What is wrong with a mask without known pixels, after "its mask" or the like."""

# A layer counts as painted in one colour if so many of its fully visible pixels are within this
# distance of their median colour. Even a scan of blank paper varies more.
_PAINTED, _ONE_COLOUR = 0.99, 0.02


def mask_levels(pixels: Tensor, alpha: Tensor | None) -> Tensor:
    """Return how strongly each pixel is marked, in [0, 1]; a hole is what lies above 0.5.

    If some pixels are less than half as opaque as the most opaque one, alpha alone decides: in a
    layer that was painted in one colour, what was painted is marked; in any other picture, what
    was erased. Otherwise the brightest channel decides, relative to the brightest pixel of the
    mask, so that the values 0 and 1 mark as well as 0 and 255, and red as well as white.

    Args:
        pixels: ``C H W`` in [0, 1], as in `irae.imaging.io.picture.Picture`.
        alpha: ``1 H W`` in [0, 1], or None.

    Returns:
        float32 ``1 H W``.
    """
    if alpha is not None:
        cover = _relative(alpha)
        if bool((cover < 0.5).any()) and bool((cover > 0.5).any()):
            return cover if _in_one_colour(pixels[:, cover[0] > 0.99]) else 1.0 - cover
    level = pixels[:3].amax(dim=0, keepdim=True)
    return _relative(level * pixels[3:] if pixels.shape[0] == 4 else level)


def _relative(level: Tensor) -> Tensor:
    top = level.max()
    return level.float() / top if top > 0 else level.float()


def _in_one_colour(visible: Tensor) -> bool:
    """Whether nearly all of the colours ``C N`` are the same."""
    distance = (visible - visible.median(dim=1, keepdim=True).values).abs().amax(dim=0)
    return float((distance <= _ONE_COLOUR).float().mean()) >= _PAINTED


def orient_mask(mask: Tensor, orientation: int) -> Tensor:
    """Rotate a mask that was painted on the upright picture to the picture's stored orientation.

    Args:
        mask: upright mask ``... H W``, as seen in a viewer.
        orientation: the picture's EXIF orientation, ``picture.orientation``.
    """
    return to_stored(mask, orientation)


def read_mask(
    path: str | Path,
    *,
    height: int | None = None,
    width: int | None = None,
    resize: bool = False,
    orientation: int = 1,
    grow: int = 0,
    invert: bool = False,
) -> Tensor:
    """Read a mask from a picture file, by the rule of `mask_levels`.

    The mask's own EXIF orientation is applied. A mask of the stored picture's size that would not
    fit once rotated is assumed to be made for the stored pixels.

    Args:
        path: path of any picture file.
        height: number of rows of the picture, as stored.
        width: number of columns of the picture, as stored.
        resize: scale a mask of another size (nearest) instead of refusing it.
        orientation: EXIF orientation of the picture.
        grow: number of pixels by which the masked region grows in every direction, for masks
            with soft edges.
        invert: mask what the file does not mark, and nothing else.

    Returns:
        bool ``1 H W``, True in the masked region, in the picture's stored orientation.

    Raises:
        PictureError: the file is not a picture, or has another size and ``resize`` is not set.
    """
    seen = _marked(path).seen
    mask = orient_mask(seen, orientation)
    mask = _fitted(mask, seen, (height or mask.shape[1], width or mask.shape[2]), resize, path)
    mask = ~mask if invert else mask.clone()
    if not grow:
        return mask
    pool, side = torch.nn.functional.max_pool2d, 2 * grow + 1
    rows = pool(mask.float(), (1, side), 1, (0, grow))
    return pool(rows, (side, 1), 1, (grow, 0)) > 0.5


def has_soft_edges(path: str | Path) -> bool:
    """Whether over a twentieth of a mask's marked pixels are marked neither fully nor not at all.

    Raises:
        PictureError: the file is not a picture.
    """
    return _marked(path).soft


def mask_warning(mask: Tensor) -> str | None:
    """Return what looks wrong with a mask, the whole or nearly nothing marked, in a few words.

    Args:
        mask: bool ``1 H W`` as returned by `read_mask`.
    """
    count, total = int(mask.sum()), mask.numel()
    if count == 0:
        return "its mask marks nothing, so nothing is filled"
    if count <= MOST_MARKED * total:
        return None
    return (
        f"its mask marks {marked_share(mask)} of the picture; `invert_mask` fills the other part"
        " instead"
    )


def marked_share(mask: Tensor) -> str:
    """Return the share of a mask that is marked, such as ``71 %``; less than all is never 100 %."""
    count, total = int(mask.sum()), mask.numel()
    over = 99 * total < 100 * count < 100 * total
    return f"{'over ' if over else ''}{100 * count // total} %"


class _Marked(NamedTuple):
    """The marked region of a mask, bool ``1 H W`` upright, and whether its edges are soft."""

    seen: Tensor
    soft: bool


def _marked(path: str | Path) -> _Marked:
    try:
        about = Path(path).stat()
        stamp = (about.st_size, about.st_mtime_ns, about.st_ino)
    except (OSError, ValueError):
        stamp = (0, 0, 0)
    return _read_marked(str(path), stamp)


@lru_cache(maxsize=1)
def _read_marked(path: str, stamp: tuple[int, int, int]) -> _Marked:
    """Read a mask; the last one is kept, because one mask may serve thousands of pictures."""
    picture = read_picture(path)
    level = mask_levels(picture.pixels, picture.alpha)
    between = (level > 0.1) & (level < 0.9)
    soft = 20 * int(between.sum()) > int((level >= 0.1).sum())
    return _Marked(to_upright(level > 0.5, picture.orientation), soft)


def _fitted(
    mask: Tensor, seen: Tensor, wanted: tuple[int, int], resize: bool, path: str | Path
) -> Tensor:
    if mask.shape[1:] == wanted:
        return mask
    if seen.shape[1:] == wanted:
        return seen
    if not resize:
        raise PictureError(
            f"{path}: the mask is {mask.shape[2]}x{mask.shape[1]}, the picture "
            f"{wanted[1]}x{wanted[0]}; use a mask of the picture's size or `resize_mask`"
        )
    scaled = torch.nn.functional.interpolate(mask[None].float(), size=wanted, mode="nearest-exact")
    return scaled[0] > 0.5
