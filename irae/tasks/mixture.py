"""Random damage of photographs, as a camera, a phone, a scanner or the web may cause it.

`irae.tasks.photo.PhotoSection` lists the kinds of damage and their probabilities.
"""

from __future__ import annotations

import math
from concurrent.futures import Executor
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.imaging.analysis.damage import UNDAMAGED
from irae.imaging.blur import blurred_noise, gaussian_blur
from irae.imaging.camera import Sensor, photograph
from irae.imaging.degrade import Subsampling, jpeg_compress
from irae.imaging.drawing import draw_page
from irae.imaging.jpeg import compress_together, frame_cropped, frame_pictures
from irae.imaging.metrics import LUMA
from irae.runtime import constant, generator, upload
from irae.tasks.base import Batch
from irae.tasks.batch_random import BatchRandom, RandomColumns
from irae.tasks.pairs import PairPool
from irae.tasks.photo import KINDS, PhotoSection
from irae.tasks.resizing import Resizing
from irae.tasks.told_damage import true_codes, with_errors

# Keys of random streams of a step.
_NOISE, _PAIRS, _IMPULSES, _ERRORS, _RESIZED = 3, 4, 5, 6, 7

# Noise is drawn with a margin in pixels, so that blurring it leaves no different border.
_MARGIN = 8

# Widest blurs in pixels.
_SOFTEST, _COARSEST = 1.4, 2.0

# Largest share of the values of a picture that are salt and pepper.
_MOST_IMPULSES = 0.1

# Probability that a clean picture is softened before the damage, 1/7 for the other kinds. These
# gave the best results on real pairs.
_SOFT = {"camera": 3 / 4, "coloured": 1 / 3, "white": 1 / 3, "toned": 1 / 3}


class Damage:
    """Random damage to pictures of one size, of one kind per picture.

    All parameters are drawn for all samples, whatever their kinds, so that one sample's numbers
    do not depend on the others' kinds.

    Args:
        section: probabilities and ranges from the config.
        random: random columns of ``B`` samples, in host memory.
        kinds: the kinds to choose from.
    """

    def __init__(
        self, section: PhotoSection, random: RandomColumns, kinds: tuple[str, ...] = KINDS
    ) -> None:
        shares = [section.kinds.get(kind, 0.0) if kind in kinds else 0.0 for kind in KINDS]
        self.kind = random.choice(shares if sum(shares) else [float(k in kinds) for k in KINDS])
        soft = torch.tensor([_SOFT.get(kind, 1 / 7) for kind in KINDS])[self.kind]
        self.soft = random.uniform() < soft * section.soft
        self.enlarged = random.bernoulli(0.5)
        self.scale = random.uniform(1.2, 2.5).float()
        self.softness = random.uniform(0.4, _SOFTEST).float()
        self._draw_camera(random)
        # Parameters of all noise except the camera's.
        low, high = section.sigma
        self.sigma = random.uniform(math.sqrt(low), math.sqrt(high)).square().float() / 255
        self.grain = (random.uniform(-0.7, _COARSEST).clamp(min=0)).float()
        self.shared = random.uniform(-0.3, 1.2).clamp(0, 1).float()
        self.chroma_only = random.bernoulli(0.15)
        self.shadows = (random.uniform(-1, 1).clamp(min=0)).float()
        self.tint = torch.stack([random.uniform(-1, 1) for _ in range(3)], 1).float()
        self.tinted = (random.uniform(-0.4, 1).clamp(min=0) * 0.25).float()
        self._draw_files(section, random)

    def _draw_camera(self, random: RandomColumns) -> None:
        log_shot = random.uniform(math.log(2e-4), math.log(2e-2))
        # The sum of uniform numbers is nearly normal, and each number is one column.
        normal = sum((random.uniform(-1, 1) for _ in range(3)), torch.zeros(()).double())
        log_read = 2.18 * log_shot + 1.20 + 0.26 * normal
        self.sensor = Sensor(
            shot=log_shot.exp().float(),
            read=log_read.exp().float(),
            red=random.uniform(1.4, 2.4).float(),
            blue=random.uniform(1.3, 2.0).float(),
            exposure=random.uniform(0.5, 1).float(),
            row=random.integer(0, 1),
            column=random.integer(0, 1),
            edge_aware=random.bernoulli(0.35),
        )
        # The camera's own noise reduction and sharpening.
        self.chroma_blur = (random.uniform(0.2, 2.0) * random.bernoulli(0.5)).float()
        self.sharpened = (random.uniform(0.3, 1.2) * random.bernoulli(0.25)).float()

    def _draw_files(self, section: PhotoSection, random: RandomColumns) -> None:
        share = torch.where(self._is("camera"), 0.8, 0.5)
        share = torch.where(self._is("jpeg"), 1.0, torch.where(self._is("clean"), 0.0, share))
        self.compressed = random.uniform() < share
        usual = random.bernoulli(0.75)
        low, high = section.quality
        good = random.uniform(min(75, high), high)
        any_ = random.uniform(math.log(low), math.log(high)).exp()
        self.quality = torch.where(usual, good, any_).round().long()
        self.earlier = random.uniform(math.log(max(low, 40)), math.log(high)).exp().round().long()
        self.twice = random.bernoulli(0.12)
        self.subsampled = random.bernoulli(0.8)
        self.down, self.right = random.integer(0, 15), random.integer(0, 15)
        self.rounded = random.bernoulli(0.85)
        # Drawn last: whatever their probability, all other numbers stay the same.
        impulses = random.bernoulli(section.impulses)
        self.impulses = (random.uniform(0, _MOST_IMPULSES) * impulses).float()
        self.alike = random.bernoulli(0.5)

    def _is(self, *kinds: str) -> Tensor:
        numbers = torch.tensor([KINDS.index(kind) for kind in kinds])
        return torch.isin(self.kind, numbers)

    def is_noisy(self) -> Tensor:
        """Return which samples have noise: bool ``B``."""
        return ~self._is("jpeg", "clean")

    def soften(self, clean: Tensor) -> Tensor:
        """Remove the finest texture from some clean pictures, as in photographs at full size.

        Photographs that were scaled down are sharper than a lens and a mosaic allow.
        """
        out = clean.clone()
        for rows, change in (
            (self.soft & self.enlarged, self._enlarge),
            (self.soft & ~self.enlarged, self._blur),
        ):
            index = rows.nonzero()[:, 0]
            if len(index):
                there = upload(index, clean.device)
                out[there] = change(clean[there], index)
        return out

    def _enlarge(self, pictures: Tensor, index: Tensor) -> Tensor:
        zoom = 1 / _there(self.scale[index], pictures)
        theta = torch.zeros(len(index), 2, 3, device=pictures.device)
        theta[:, 0, 0] = theta[:, 1, 1] = zoom
        grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
        return F.grid_sample(
            pictures, grid, mode="bicubic", padding_mode="reflection", align_corners=False
        ).clamp(0, 1)

    def _blur(self, pictures: Tensor, index: Tensor) -> Tensor:
        sigma = _there(self.softness[index], pictures)
        return gaussian_blur(pictures, sigma, largest=_SOFTEST)

    def tone(self, clean: Tensor) -> Tensor:
        """Turn samples of the kind ``toned`` into black and white, some with a tint."""
        index = self._is("toned").nonzero()[:, 0]
        if not len(index):
            return clean
        there = upload(index, clean.device)
        weights = constant(LUMA, clean)[:, None, None]
        gray = (clean[there] * weights).sum(1, keepdim=True)
        tint = _there(self.tint[index] * self.tinted[index, None], clean)[:, :, None, None]
        # Paper and ink keep their tone: the tint is strongest in the middle.
        toned = gray + tint * 4 * gray * (1 - gray)
        out = clean.clone()
        out[there] = toned.clamp(0, 1)
        return out

    def spoil(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Add the noise of each sample's kind.

        Args:
            clean: ``B 3 H W`` in [0, 1].
            noise: standard normal numbers ``B 4 H+16 W+16``.
        """
        out = clean.clone()
        for kind, change in (
            ("camera", self._photograph),
            ("coloured", self._colour),
            ("white", self._whiten),
            ("toned", self._grain),
        ):
            index = self._is(kind).nonzero()[:, 0]
            if len(index):
                there = upload(index, clean.device)
                out[there] = change(clean[there], noise[there], index)
        return out

    def _photograph(self, clean: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        sensor = Sensor(*(upload(v, clean.device) for v in vars(self.sensor.rows(index)).values()))
        taken = photograph(clean, sensor, _inner(noise[:, :1]))
        added = taken - clean
        luma = added.mean(1, keepdim=True)
        chroma = gaussian_blur(
            added - luma, _there(self.chroma_blur[index], clean), largest=_COARSEST
        )
        one = torch.ones(len(index), device=clean.device)
        # Sharpening amplifies the noise; the clean picture counts as sharpened already.
        fine = luma - gaussian_blur(luma, one, largest=1.0)
        amount = _there(self.sharpened[index], clean)[:, None, None, None]
        return (clean + luma + amount * fine + chroma).clamp(0, 1)

    def _colour(self, clean: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        noise = blurred_noise(noise, _there(self.grain[index], clean), largest=_COARSEST)
        share = _there(self.shared[index], clean)[:, None, None, None]
        noise = share.sqrt() * noise[:, 3:] + (1 - share).sqrt() * noise[:, :3]
        chroma = noise - noise.mean(1, keepdim=True)
        only = upload(self.chroma_only[index], clean.device)[:, None, None, None]
        return self._add(clean, torch.where(only, chroma, noise), index)

    def _whiten(self, clean: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        sigma = _there(self.sigma[index], clean)[:, None, None, None]
        return clean + sigma * _inner(noise[:, :3])

    def _grain(self, clean: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        sigma = _there(self.grain[index], clean)
        noise = blurred_noise(noise[:, 3:], sigma, largest=_COARSEST)
        return self._add(clean, noise.expand(-1, 3, -1, -1), index)

    def _add(self, clean: Tensor, noise: Tensor, index: Tensor) -> Tensor:
        """Add noise of the sample's sigma; in some samples it is stronger in the shadows."""
        sigma = _there(self.sigma[index], clean)[:, None, None, None]
        shadows = _there(self.shadows[index], clean)[:, None, None, None]
        weight = 1 + shadows * (0.5 - clean.mean(1, keepdim=True)) * 1.6
        return clean + sigma * weight * _inner(noise)

    def hit(self, pictures: Tensor, chance: Tensor) -> Tensor:
        """Turn some values into black or white, in all channels of a pixel or in each by itself.

        Args:
            pictures: ``B 3 H W``.
            chance: uniform numbers in [0, 1), ``B 3 H W``.
        """
        alike = upload(self.alike, pictures.device)[:, None, None, None]
        chance = torch.where(alike, chance[:, :1], chance)
        share = _there(self.impulses, pictures)[:, None, None, None]
        pictures = torch.where(chance < share, torch.ones_like(pictures), pictures)
        return torch.where(chance < share / 2, torch.zeros_like(pictures), pictures)

    def save(self, pictures: Tensor) -> Tensor:
        """Simulate saving: JPEG compression, rounding to 8 bits, or no loss at all."""
        rounded = ((pictures.clamp(0, 1) * 255).round() / 255).to(pictures)
        keep = upload(self.rounded, pictures.device)[:, None, None, None]
        out = torch.where(keep, rounded, pictures)
        # Some were saved and cropped earlier, when their blocks lay elsewhere.
        twice = self.twice & self.compressed
        for rows, earlier in ((self.compressed & ~twice, False), (twice, True)):
            index = rows.nonzero()[:, 0]
            if len(index):
                there = upload(index, pictures.device)
                done = self._compress(pictures.index_select(0, there), index, earlier=earlier)
                out.index_copy_(0, there, done)
        return out

    def _compress(self, pictures: Tensor, index: Tensor, *, earlier: bool) -> Tensor:
        height, width = pictures.shape[2:]
        if len(self.kind) == 1:
            return self._compress_whole(pictures, earlier=earlier)
        top, left = self.down[index].clamp(max=height - 1), self.right[index].clamp(max=width - 1)
        halved, quality = self.subsampled[index], self.quality[index]
        if earlier:
            whole = frame_pictures(height, width, top, left, whole=True)
            pictures = compress_together(pictures, self.earlier[index], halved, whole)
            again = frame_cropped(height, width, (top, left), (top - top // 2, left - left // 2))
            return compress_together(pictures, quality, halved, again)
        framing = frame_pictures(height, width, top, left)
        return compress_together(pictures, quality, halved, framing)

    def _compress_whole(self, picture: Tensor, *, earlier: bool) -> Tensor:
        """Compress one picture ``1 3 H W`` of any size by Pillow, which takes little memory."""
        height, width = picture.shape[2:]
        top, left = min(int(self.down), height - 1), min(int(self.right), width - 1)
        kind: Subsampling = "4:2:0" if self.subsampled else "4:4:4"
        padded = F.pad(picture, (left, 0, top, 0), mode="reflect")[0]
        if earlier:
            padded = jpeg_compress(padded, int(self.earlier), subsampling=kind)
            top, left = top - top // 2, left - left // 2
            padded = padded[:, padded.shape[1] - height - top :, padded.shape[2] - width - left :]
        return jpeg_compress(padded, int(self.quality), subsampling=kind)[None, :, top:, left:]


def _there(x: Tensor, like: Tensor) -> Tensor:
    """Copy a tensor from the host to the device of ``like``, floats in its type."""
    return upload(x.to(like.dtype) if x.is_floating_point() else x, like.device)


def _inner(noise: Tensor) -> Tensor:
    return noise[:, :, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


class Mixture:
    """Damages the batches of a run.

    Args:
        section: the section ``degradation`` of the run's config.
        patch: side of the patches in pixels.
        workers: executor for the work done in host memory.
        root: root folder of the data; see `pairs_folder`.

    Raises:
        DataError: the pairs are missing or unsuitable.
    """

    def __init__(self, section: PhotoSection, patch: int, workers: Executor, root: Path) -> None:
        self._section, self._patch, self._workers = section, patch, workers
        self._pairs: PairPool | None = None
        if section.pairs is not None:
            folder = pairs_folder(section.pairs, root)
            self._pairs = PairPool(folder, patch, correct_drift=section.correct_drift)

    def __call__(self, clean: Tensor, gray: Tensor, random: BatchRandom) -> Batch:
        """See `irae.tasks.base.DamageBatch`."""
        section, side = self._section, self._patch
        drawn = (random.bernoulli(section.drawn)).nonzero()[:, 0].tolist()
        seeds = random.integer(0, 2**31 - 1).tolist()
        damage = Damage(section, random)
        clean = damage.tone(damage.soften(clean))
        if drawn:
            pages = list(self._workers.map(lambda i: draw_page(side, seeds[i]), drawn))
            clean.index_copy_(
                0, _there(torch.tensor(drawn), clean), _there(torch.stack(pages), clean)
            )
        noise = random.pixels(torch.randn, side + 2 * _MARGIN, _NOISE, clean.device, channels=4)
        spoilt = damage.spoil(clean, noise)
        if section.impulses:
            spoilt = damage.hit(spoilt, random.pixels(torch.rand, side, _IMPULSES, clean.device))
        degraded = damage.save(spoilt)
        noisy = damage.is_noisy()
        quality = torch.where(damage.compressed, damage.quality, UNDAMAGED)
        if self._pairs is not None:
            for row, found in self.put_pairs(clean, degraded, random.columns(_PAIRS)).items():
                noisy[row], quality[row] = True, self._pairs.quality(found)
        if section.resized:
            resizing = Resizing(section.resized, random.columns(_RESIZED))
            quality = resizing.apply(clean, degraded, damage.compressed, quality)
        codes = true_codes(degraded, clean, noisy, quality)
        return Batch(clean, degraded, codes=with_errors(codes, random.columns(_ERRORS)))

    def put_pairs(self, clean: Tensor, degraded: Tensor, random: RandomColumns) -> dict[int, int]:
        """Replace some of the patches by real pairs, in place; return their pairs by row."""
        assert self._pairs is not None
        wanted = random.bernoulli(self._section.pair_share)
        number = random.choice(self._pairs.weights)
        down, right, symmetry = random.uniform(), random.uniform(), random.integer(0, 7)
        index = wanted.nonzero()[:, 0]
        if not len(index):
            return {}
        cut = [
            self._pairs.cut(
                int(number[i]), float(down[i]), float(right[i]), int(symmetry[i]), self._patch
            )
            for i in index.tolist()
        ]
        there = upload(index, clean.device)
        for patches, found in zip((degraded, clean), zip(*cut, strict=True), strict=True):
            patches.index_copy_(0, there, _there(torch.stack(found), patches))
        return dict(zip(index.tolist(), number[index].tolist(), strict=True))


def pairs_folder(name: str, root: Path) -> Path:
    """Resolve a config's folder of pairs: below the data root if it exists there, else as is."""
    return root / name if (root / name).is_dir() else Path(name).expanduser()


def damage_picture(clean: Tensor, kind: str | None, seeds: tuple[int, ...]) -> Tensor:
    """Damage a whole picture as training patches are damaged, ``C H W`` in and out.

    Args:
        clean: the picture in [0, 1]; C is 1 or 3.
        kind: one of `KINDS`, or None for a random kind.
        seeds: seeds of all randomness.

    Raises:
        UsageError: the picture has another number of channels.
    """
    from irae.errors import UsageError

    channels, height, width = clean.shape
    if channels not in (1, 3):
        raise UsageError(f"photo damage does not suit {channels} channels; use RGB or gray")
    random = generator(*seeds)
    section = PhotoSection()
    damage = Damage(section, RandomColumns(random, 1, slice(0, 1)), (kind,) if kind else KINDS)
    picture = clean.expand(3, -1, -1)[None]
    noise = torch.randn(1, 4, height + 2 * _MARGIN, width + 2 * _MARGIN, generator=random)
    spoilt = damage.save(damage.spoil(picture, noise))[0]
    return spoilt if channels == 3 else spoilt.mean(0, keepdim=True)
