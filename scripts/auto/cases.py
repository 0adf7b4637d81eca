"""Pictures with known originals, and the damage that they are given, to measure what auto does.

Photographs are those of ``photos_val`` and the real pairs of ``real_val``, which serve for choosing
alone. Pages, drawings, screenshots and gradients are drawn here.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from irae.imaging.blur import blurred_noise
from irae.imaging.degrade import add_noise, jpeg_compress
from irae.imaging.drawing import draw_page
from irae.imaging.io.files import read_picture
from irae.runtime import generator
from irae.tasks.mixture import damage_picture
from irae.tasks.pairs import find_pairs, read_pair, without_drift

SIDE = 256
"""Side of the pictures in pixels, at most."""

SIGMA_KIND = 18.0
"""Standard deviation of the noise of ``scripts/compare_noise.py``."""

DRAWN = ("cartoon", "text", "screenshot", "gradient")
"""Kinds of pictures besides photographs."""


@dataclass(frozen=True)
class Original:
    """A clean picture.

    Attributes:
        name: its name, unique.
        kind: ``photograph``, ``halved`` (a photograph at half size) or one of `DRAWN`.
        pixels: float32 ``3 H W`` in [0, 1], of 8 bits.
    """

    name: str
    kind: str
    pixels: Tensor


@dataclass(frozen=True)
class Case:
    """A damaged picture and its original.

    Attributes:
        original: its clean picture.
        damage: the name of its damage.
        pixels: float32 ``3 H W`` in [0, 1], of 8 bits.
    """

    original: Original
    damage: str
    pixels: Tensor


def eight_bits(pixels: Tensor) -> Tensor:
    """Round to the levels of an 8-bit file."""
    return (pixels.clamp(0, 1) * 255).round() / 255


def photographs(data: Path, every: int = 1) -> Iterator[Original]:
    """Photographs of ``photos_val``, by turns a part at full size and the whole at half size."""
    for index, path in enumerate(sorted((data / "photos_val").glob("*.jpg"))[::every]):
        pixels = read_picture(path).pixels
        if index % 2:
            half = F.interpolate(pixels[None], scale_factor=0.5, mode="area")[0]
            yield Original(path.stem, "halved", eight_bits(half))
        else:
            yield Original(path.stem, "photograph", pixels[:, 35 : 35 + SIDE, 83 : 83 + SIDE])


def drawings(kind: str, count: int, side: int = SIDE, *, first: int = 0) -> Iterator[Original]:
    """Drawn pictures of one of `DRAWN`, with the seeds from ``first``."""
    for seed in range(first, first + count):
        chance = random.Random(f"{kind} {seed}")
        if kind == "screenshot":
            pixels = _screenshot(side, chance)
        elif kind == "gradient":
            pixels = _gradient(side, chance)
        else:
            pixels = _page(side, chance, text=kind == "text")
        yield Original(f"{kind} {seed}", kind, pixels)


def _page(side: int, chance: random.Random, *, text: bool) -> Tensor:
    """A page of text has few pixels between paper and ink; a drawing has several colours."""
    while True:
        page = draw_page(side, chance.randrange(2**31))
        colours = len(torch.unique((page * 255).flatten(1).T.long(), dim=0))
        edges = float(((page[:, :, 1:] - page[:, :, :-1]).abs().amax(0) > 0.1).float().mean())
        if text == (edges > 0.1) and colours > 1:
            return page


def _gradient(side: int, chance: random.Random) -> Tensor:
    across = torch.linspace(0, 1, side)
    along = across[:, None] * chance.uniform(-1, 1) + across[None] * chance.uniform(-1, 1)
    along = (along - along.min()) / (along.max() - along.min())
    ends = torch.tensor([[chance.uniform(0, 1) for _ in range(3)] for _ in range(2)])[
        :, :, None, None
    ]
    return eight_bits(ends[0] + (ends[1] - ends[0]) * along)


def _screenshot(side: int, chance: random.Random) -> Tensor:
    dark = chance.random() < 0.4
    back, paper, ink = (30, 45, 225) if dark else (225, 250, 30)
    image = Image.new("RGB", (side, side), (back,) * 3)
    draw = ImageDraw.Draw(image)
    accent = tuple(chance.randint(30, 220) for _ in range(3))
    draw.rectangle((0, 0, side, 22), fill=accent)
    for x in range(6, side, 40):
        draw.text((x, 5), chance.choice(("File", "Edit", "View", "Help", "Tools")), fill=(255,) * 3)
    draw.rectangle((60, 30, side - 8, side - 20), fill=(paper,) * 3, outline=(128,) * 3)
    for row in range(38, side - 34, 16):
        words = " ".join(
            chance.choice(("noise", "picture", "one", "the", "of", "is 42", "file"))
            for _ in range(6)
        )
        draw.text((66, row), words, fill=(ink,) * 3, font=ImageFont.load_default(11))
    for row in range(36, side - 30, 28):
        fill = tuple(chance.randint(0, 255) for _ in range(3))
        draw.rounded_rectangle((12, row, 46, row + 20), 4, fill=fill)
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


def _file(pixels: Tensor, kind: str, **options: object) -> Tensor:
    """Save with Pillow and read again."""
    levels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, kind, **options)
    with Image.open(io.BytesIO(stream.getvalue())) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255


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


def _resized(clean: Tensor, seed: int) -> Tensor:
    """Compressed, then made smaller, as web sites do; the original is made smaller likewise."""
    return jpeg_compress(clean, 40)


def _impulses(share: float) -> Damage:
    def damage(clean: Tensor, seed: int) -> Tensor:
        random_ = generator(seed)
        hit = torch.rand(clean.shape, generator=random_) < share
        return torch.where(hit, (torch.rand(clean.shape, generator=random_) < 0.5).float(), clean)

    return damage


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
    "camera": lambda clean, seed: damage_picture(clean, "camera", (seed,)),
    "camera again": lambda clean, seed: damage_picture(clean, "camera", (seed, 1)),
    "white 4, jpeg 92": _noise(4, 0, quality=92),
    "white 8, jpeg 95": _noise(8, 0, quality=95),
    "white 15, jpeg 90": _noise(15, 0, quality=90),
    "white 25, jpeg 80": _noise(25, 0, quality=80),
    "blurred 0.7, jpeg 92": _noise(8, 0.7, quality=92),
    "grain, jpeg 90": _noise(10, 0.6, "equal", 90),
    "enlarged": lambda clean, seed: eight_bits(_enlarged(clean, seed)),
    "resized": _resized,
    "webp 20": lambda clean, seed: _file(clean, "WEBP", quality=20),
    "avif 30": lambda clean, seed: _file(clean, "AVIF", quality=30),
}
"""What auto meets, by name. Some change the original too, see `damaged`."""


def damaged(original: Original, name: str, seed: int) -> Case:
    """One case; where the damage changes size or tone, the original is changed likewise."""
    pixels = DAMAGES[name](original.pixels, seed)
    clean = original.pixels
    if name == "toned, grain":
        clean = eight_bits(toned(clean))
    elif name == "enlarged":
        clean = eight_bits(F.interpolate(clean[None], size=pixels.shape[1:], mode="bicubic")[0])
    elif name == "resized":
        size = [round(0.7 * side) for side in clean.shape[1:]]
        clean, pixels = (
            eight_bits(F.interpolate(each[None], size=size, mode="bicubic", antialias=True)[0])
            for each in (clean, pixels)
        )
    return Case(Original(original.name, original.kind, clean), name, eight_bits(pixels))


def real_cases(data: Path) -> Iterator[Case]:
    """The real pairs of ``real_val``."""
    for index, pair in enumerate(find_pairs(data / "real_val")):
        noisy, clean = read_pair(pair)
        name = "camera JPEG" if index < 16 else "low light"
        kind = "photograph"
        yield Case(Original(pair.name, kind, without_drift(noisy, clean)), f"real, {name}", noisy)


def all_cases(data: Path, *, share: float = 1.0, drawn: int = 8) -> Iterator[Case]:
    """Every picture with every damage, or with a share of them drawn at random.

    Args:
        data: folder that holds ``photos_val`` and ``real_val``.
        share: probability that a picture gets a damage; it is always measured undamaged.
        drawn: number of pictures of each of `DRAWN`.
    """
    chance = random.Random(0)
    originals = [*photographs(data), *(one for kind in DRAWN for one in drawings(kind, drawn))]
    for number, original in enumerate(originals):
        for name in DAMAGES:
            if name == "none" or chance.random() < share:
                yield damaged(original, name, number)
    yield from real_cases(data)
