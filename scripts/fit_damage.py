"""Fit the network that measures noise and JPEG quality, and compare it with the measuring by rules.

    python scripts/fit_damage.py --data DIR [--samples 50000] [--cache FILE …] [--write]

The samples are patches of several sizes of the pictures that `photo` is trained on, damaged as its
training patches are, and real pairs; DIR holds the folders of ``configs/release/photo.yaml``. The
comparison is on real_val and on photos_val, which nothing is fitted to. ``--cache`` keeps the
features; those of several files are joined. With ``--write`` the numbers of
`irae.imaging.analysis.damage` are replaced.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from irae.config import load_config
from irae.imaging.analysis.damage import (
    CODES,
    FEATURES,
    UNDAMAGED,
    damage_features,
    decode_damage,
    encode_damage,
    members_codes,
    normalised,
    predict_codes,
    save_numbers,
)
from irae.imaging.analysis.jpeg_quality import estimate_jpeg_quality
from irae.imaging.analysis.noise import measure_noise
from irae.imaging.io.files import read_picture
from irae.tasks import mixture
from irae.tasks.pairs import find_pairs, read_pair, without_drift
from irae.tasks.photo import TASK
from irae.tasks.told_damage import true_codes
from irae.training.batches.batch import BatchMaker

SIDES = (96, 160, 256)
BATCH = 8
CHANGES = (
    "degradation.kinds={camera: 0.3, coloured: 0.24, white: 0.17, toned: 0.08,"
    " jpeg: 0.15, clean: 0.06}",
    "degradation.drawn=0.1",
    "degradation.impulses=0",
)
"""What differs from the training of `photo`.

Pages, JPEGs without noise and noise that is hard to see under JPEG are more frequent. Salt and
pepper is removed before anything is measured. The 50,000 samples of the packaged numbers were made
at four times, with shares about these; 21,000 of them have resized pictures among them."""

HIDDEN = (64, 32)
MEMBERS = 3
EPOCHS, RATE, DECAY = 60, 2e-3, 0.02
_JITTER, _DROPPED = 0.05, 0.1

LEVELS = ("8/95", "15/90", "25/80", "10", "0/90", "0/95")
PHOTOGRAPHS, SIDE = 16, 256
CAMERAS = 16
"""The number of pairs of real_val from cameras' JPEGs; the others are low light."""

NOISY = torch.tensor([True])


def samples(data: Path, count: int) -> tuple[Tensor, Tensor]:
    """Features ``N FEATURES`` and true codes ``N CODES`` of damaged patches."""
    makers = []
    mixture.with_errors = lambda codes, _random: codes  # The truth itself.
    path = Path(__file__).resolve().parents[1] / "configs" / "release" / "photo.yaml"
    for side in SIDES:
        changes = [f"data.root={data}", f"data.patch={side}", f"training.batch={BATCH}", *CHANGES]
        makers.append(BatchMaker(load_config(path, [*changes, f"seed={side}"])))
    features, codes = [], []
    for step in range(-(-count // BATCH)):
        batch = makers[step % len(makers)].batch(step)
        assert batch.codes is not None
        for degraded, code in zip(batch.degraded, batch.codes, strict=True):
            found = damage_features(degraded.contiguous())
            assert found is not None
            features.append(found)
            codes.append(code)
        if step % 50 == 0:
            print(f"{len(features)} samples", flush=True)
    return torch.stack(features), torch.stack(codes)


def fit(features: Tensor, codes: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """Fit all members side by side, each on its own order of the samples."""
    random = torch.Generator().manual_seed(seed)
    mean, scale = features.mean(0), features.std(0) + 1e-3
    x = normalised(features, mean, scale)
    sizes = (FEATURES, *HIDDEN, CODES)
    layers: dict[str, Tensor] = {}
    for layer, (inputs, outputs) in enumerate(zip(sizes, sizes[1:], strict=False)):
        shape = (MEMBERS, inputs, outputs)
        layers[f"weight{layer}"] = torch.randn(shape, generator=random) / inputs**0.5
        layers[f"bias{layer}"] = torch.zeros(MEMBERS, 1, outputs)
    weights = [each.requires_grad_() for each in layers.values()]
    optimiser = torch.optim.AdamW(weights, RATE, weight_decay=DECAY)
    batch = 64
    steps = EPOCHS * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (MEMBERS, batch), generator=random)
        given = x[rows] + _JITTER * torch.randn(MEMBERS, batch, FEATURES, generator=random)
        kept = torch.rand(given.shape, generator=random) >= _DROPPED
        optimiser.zero_grad()
        (members_codes(given * kept, layers) - codes[rows]).abs().mean().backward()
        optimiser.step()
        schedule.step()
    fitted = {name: value.detach() for name, value in layers.items()}
    return {"mean": mean, "scale": scale, **fitted}


def cases(data: Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name of the level, true codes and degraded picture of each case."""
    for index, pair in enumerate(find_pairs(data / "real_val")):
        noisy, clean = read_pair(pair)
        quality = quality_by_rules(noisy)
        codes = true_codes(noisy[None], without_drift(noisy, clean)[None], NOISY, quality)
        yield "camera JPEG" if index < CAMERAS else "low light", codes[0], noisy
    for index, path in enumerate(sorted((data / "photos_val").glob("*.jpg"))[:PHOTOGRAPHS]):
        clean = read_picture(path).pixels[:, 32 : 32 + SIDE, 80 : 80 + SIDE]
        for level in LEVELS:
            degraded = TASK.level(level).degrade(clean, (index,)).pixels
            noise, _, given = level.partition("/")
            quality = torch.tensor([float(given or UNDAMAGED)])
            codes = true_codes(degraded[None], clean[None], torch.tensor([noise != "0"]), quality)
            yield level, codes[0], degraded


def quality_by_rules(pixels: Tensor) -> Tensor:
    """The JPEG quality that the toolkit finds in a picture ``3 H W``: ``1``."""
    found = estimate_jpeg_quality(pixels)
    return torch.tensor([float(UNDAMAGED if found is None else found.quality)])


def by_rules(pixels: Tensor) -> Tensor:
    """Codes of what `irae.imaging.analysis.noise` measures in a picture ``3 H W``."""
    noise = measure_noise(pixels)
    sigma, correlation = (0.0, 0.0) if noise is None else (noise.sigma, noise.correlation)
    numbers = (torch.tensor([sigma]), torch.tensor([correlation]), quality_by_rules(pixels))
    return encode_damage(*numbers)[0]


def compare(numbers: dict[str, Tensor], data: Path) -> None:
    """Print the mean errors of the codes by level, of this network and of the rules."""
    errors: dict[str, list[Tensor]] = {}
    for level, true, degraded in cases(data):
        features = damage_features(degraded)
        assert features is not None
        found = predict_codes(features[None], numbers)[0]
        ruled = by_rules(degraded)
        errors.setdefault(level, []).append(torch.stack([found - true, ruled - true]).abs())
        if level == "camera JPEG":
            three = (decode_damage(each[None])[0].item() for each in (true, found, ruled))
            print("sigma: true {:.1f}, measured {:.1f}, by rules {:.1f}".format(*three))
    for level, each in errors.items():
        mean = torch.stack(each).mean(0)
        print(level, *(f"{value:.3f}" for value in mean.flatten()), sep="  ", flush=True)


def main() -> None:
    """Make or read samples, fit, and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=50000)
    parser.add_argument("--cache", type=Path, nargs="*", default=[])
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kept = [torch.load(file) for file in arguments.cache if file.exists()]
    if not kept:
        kept = [samples(arguments.data.resolve(), arguments.samples)]
        if arguments.cache:
            torch.save(kept[0], arguments.cache[0])
    features, codes = (torch.cat(each) for each in zip(*kept, strict=True))
    held = torch.arange(len(features)) % 10 == 0
    numbers = fit(features[~held], codes[~held])
    off = (predict_codes(features[held], numbers) - codes[held]).abs().mean(0)
    print("held out:", *(f"{value:.4f}" for value in off))
    compare(numbers, arguments.data)
    if arguments.write:
        save_numbers(numbers)


if __name__ == "__main__":
    main()
