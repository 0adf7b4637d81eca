"""The damage that pictures are given, to measure what auto does; see `auto.originals`.

Real pairs are those of ``real_val``, which serve for choosing alone.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pillow_heif
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from auto.originals import DRAWN, Original, dotted, drawings, eight_bits, photographs
from irae.imaging.analysis.lossy_file import LossyFile, read_lossy_file
from irae.imaging.blur import blurred_noise
from irae.imaging.degrade import add_noise, jpeg_compress
from irae.runtime import generator
from irae.tasks.mixture import damage_picture
from irae.tasks.pairs import find_pairs, read_pair, without_drift

SIGMA_KIND = 18.0
"""Standard deviation of the noise of ``scripts/compare_noise.py``."""


@dataclass(frozen=True)
class Case:
    """A damaged picture and its original.

    Attributes:
        original: its clean picture.
        damage: the name of its damage.
        pixels: float32 ``3 H W`` in [0, 1], of 8 bits.
        lossy: how strongly its file was compressed, if it is a WebP, AVIF or HEIC with loss.
    """

    original: Original
    damage: str
    pixels: Tensor
    lossy: LossyFile | None = None


def _written(pixels: Tensor, kind: str, quality: int) -> tuple[Tensor, LossyFile | None]:
    """Write a file with loss and read it again."""
    pillow_heif.register_heif_opener()
    levels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, kind, quality=quality)
    stream.seek(0)
    lossy = read_lossy_file(stream, kind, levels.shape[0] * levels.shape[1])
    with Image.open(stream) as image:
        read = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255
    return read, lossy


def coloured(clean: Tensor, sigma: float, blur: float, kind: str, seed: int) -> Tensor:
    """Noise of standard deviation ``sigma`` in each channel, before it is clipped.

    ``kind`` is ``free`` (each channel its own), ``equal`` (in all channels) or ``chroma`` (its
    luma is nothing).
    """
    height, width = clean.shape[1:]
    noise = torch.randn(1, 3, height + 16, width + 16, generator=generator(seed))
    noise = blurred_noise(noise, torch.tensor([blur]), largest=max(blur, 0.5))[0, :, 8:-8, 8:-8]
    if kind == "equal":
        noise = noise[:1].expand(3, -1, -1)
    elif kind == "chroma":
        noise = noise - noise.mean(0, keepdim=True)
        noise = noise / noise.std()
    return clean + noise * (sigma / 255)


def sepia(clean: Tensor) -> Tensor:
    """The picture as a sepia print, by the matrix that image editors use."""
    matrix = torch.tensor([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])
    return eight_bits(torch.einsum("oc,chw->ohw", matrix, clean))


def _enlarged(clean: Tensor, seed: int) -> Tensor:
    noisy = add_noise(clean, 12, generator(seed), clip=True)
    return F.interpolate(noisy[None], scale_factor=1.6, mode="bicubic", antialias=False)[0]


def toned(clean: Tensor, tint: float = 0.1) -> Tensor:
    """The picture in black and white with a tint, strongest in the middle tones."""
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    gray = (clean * weights).sum(0, keepdim=True)
    colour = torch.tensor([1.0, 0.2, -0.8])[:, None, None] * tint
    return eight_bits(gray + colour * 4 * gray * (1 - gray))


Damage = Callable[[Tensor, int], Tensor]
"""Damages ``3 H W``; the number is a seed."""


def _white(sigma: float) -> Damage:
    return lambda clean, seed: add_noise(clean, sigma, generator(seed), clip=True)


def _jpeg(quality: int, chroma: str = "4:2:0") -> Damage:
    return lambda clean, seed: jpeg_compress(clean, quality, subsampling=chroma)  # type: ignore[arg-type]


def _noise(sigma: float, blur: float, kind: str = "free", quality: int | None = None) -> Damage:
    def damage(clean: Tensor, seed: int) -> Tensor:
        noisy = eight_bits(coloured(clean, sigma, blur, kind, seed))
        return noisy if quality is None else jpeg_compress(noisy, quality)

    return damage


def _camera(clean: Tensor, seed: int) -> Tensor:
    return damage_picture(clean, "camera", (seed,))


def _web_jpeg(clean: Tensor, seed: int) -> Tensor:
    return jpeg_compress(clean, random.Random(seed).randint(20, 75))


def _impulses(share: float) -> Damage:
    def damage(clean: Tensor, seed: int) -> Tensor:
        random_ = generator(seed)
        hit = torch.rand(clean.shape, generator=random_) < share
        return torch.where(hit, (torch.rand(clean.shape, generator=random_) < 0.5).float(), clean)

    return damage


FILES = {
    **{f"webp {quality}": ("WEBP", quality) for quality in (20, 50, 80, 95)},
    **{f"avif {quality}": ("AVIF", quality) for quality in (30, 60)},
    "heic 50": ("HEIF", 50),
}
"""Format and quality of files that are written with loss, by the name of the damage."""

CAMERA_FILES = ("webp 80", "heic 50")
"""Those of `FILES` of which there are noisy photographs too."""

DAMAGES: dict[str, Damage] = {
    "none": lambda clean, seed: clean,
    **{f"white {sigma}": _white(sigma) for sigma in (3, 5, 10, 15, 25, 50)},
    **{
        f"jpeg {quality}": _jpeg(quality)
        for quality in (10, 20, 30, 40, 60, 75, 80, 85, 88, 90, 92, 95)
    },
    **{f"jpeg {quality} 4:4:4": _jpeg(quality, "4:4:4") for quality in (40, 75, 85, 90, 95)},
    **{f"blurred {blur}": _noise(12, blur) for blur in (0.4, 0.6, 0.8, 1.2, 1.8)},
    "weak blurred 0.8": _noise(5, 0.8),
    "equal": _noise(12, 0, "equal"),
    "grain": _noise(12, 0.7, "equal"),
    "weak grain": _noise(6, 0.7, "equal"),
    "toned, grain": lambda clean, seed: _noise(8, 0.7, "equal")(toned(clean), seed),
    "chroma": _noise(12, 1.5, "chroma"),
    "camera": _camera,
    "camera again": lambda clean, seed: damage_picture(clean, "camera", (seed, 1)),
    "white 4, jpeg 92": _noise(4, 0, quality=92),
    "white 8, jpeg 95": _noise(8, 0, quality=95),
    "white 15, jpeg 90": _noise(15, 0, quality=90),
    "white 25, jpeg 80": _noise(25, 0, quality=80),
    "blurred 0.7, jpeg 92": _noise(8, 0.7, quality=92),
    "grain, jpeg 90": _noise(10, 0.6, "equal", 90),
    "enlarged": lambda clean, seed: eight_bits(_enlarged(clean, seed)),
    "resized": _web_jpeg,
    "camera, resized": _camera,
    **dict.fromkeys(FILES, lambda clean, seed: clean),
    **{f"camera, {name}": _camera for name in CAMERA_FILES},
}
"""What auto meets, by name. Some change the original or write a file too, see `damaged`."""


def damaged(original: Original, name: str, seed: int) -> Case:
    """One case; where the damage changes size or tone, the original is changed likewise."""
    pixels = DAMAGES[name](original.pixels, seed)
    clean, lossy = original.pixels, None
    if name == "toned, grain":
        clean = eight_bits(toned(clean))
    elif name == "enlarged":
        clean = eight_bits(F.interpolate(clean[None], size=pixels.shape[1:], mode="bicubic")[0])
    elif name.endswith("resized"):
        # As web sites do, mostly to a smaller size.
        factor = random.Random(seed).choice((0.5, 0.6, 0.7, 0.8, 1.3))
        size = [round(factor * side) for side in clean.shape[1:]]
        clean, pixels = (
            eight_bits(F.interpolate(each[None], size=size, mode="bicubic", antialias=True)[0])
            for each in (clean, pixels)
        )
    elif (file := name.removeprefix("camera, ")) in FILES:
        pixels, lossy = _written(pixels, *FILES[file])
    return Case(Original(original.name, original.kind, clean), name, eight_bits(pixels), lossy)


def real_cases(data: Path) -> Iterator[Case]:
    """The real pairs of ``real_val``."""
    for index, pair in enumerate(find_pairs(data / "real_val")):
        noisy, clean = read_pair(pair)
        name = "camera JPEG" if index < 16 else "low light"
        kind = "photograph"
        yield Case(Original(pair.name, kind, without_drift(noisy, clean)), f"real, {name}", noisy)


def all_cases(data: Path, *, share: float = 1.0, drawn: int = 8, dots: int = 4) -> Iterator[Case]:
    """Every picture with every damage, or with a share of them drawn at random.

    Args:
        data: folder that holds ``photos_val`` and ``real_val``.
        share: probability that a picture gets a damage, for drawings twice that, since they are
            few and differ more; each picture is measured undamaged too.
        drawn: number of pictures of each of `DRAWN`.
        dots: the same of each of `DOTTED`, see `dotted`; only sprites are damaged, by JPEG.
    """
    chance = random.Random(0)
    originals = [*photographs(data), *(one for kind in DRAWN for one in drawings(kind, drawn))]
    for number, original in enumerate(originals):
        wanted = 2 * share if original.kind in DRAWN else share
        for name in DAMAGES:
            if name == "none" or chance.random() < wanted:
                yield damaged(original, name, number)
    for number, original in enumerate(dotted(data, dots)):
        for name in DAMAGES:
            chosen = name.startswith("jpeg") and chance.random() < share
            if name == "none" or (chosen and original.kind == "sprites"):
                yield damaged(original, name, number)
    yield from real_cases(data)
