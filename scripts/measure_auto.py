"""Fit and measure the decision of ``irae restore`` without ``--task``.

    python scripts/measure_auto.py --data DIR [--share 0.25] [--cache FILE] [--write]

Every picture of ``auto/cases.py`` is damaged in many ways, restored by the packaged models ``jpeg``
and ``photo``, and compared with its original. The network of ``irae.restoring.automatic.gain`` is
then fitted to predict, from what can be measured without the original, the gains that nine of ten
such pictures exceed, and half of them. Its table is cross-validated: each picture is judged by a
network that was fitted to others.

Run it after the packaged weights have changed. With ``--write`` the numbers go to
``irae/restoring/automatic/gain.json`` and the table to ``docs/results/auto.json``. DIR holds
``photos_val`` and ``real_val``; no test set is used. ``--cache`` keeps what was measured, to fit
again in seconds.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from auto.cases import DAMAGES, Case, all_cases
from auto.originals import DRAWN
from auto.results import write_tables
from torch import Tensor, nn

from irae.evaluation.results import markdown_table
from irae.imaging.analysis.jpeg_quality import estimate_jpeg_quality
from irae.restoring.automatic.gain import (
    HIDDEN,
    LARGEST,
    MEMBERS,
    QUANTILES,
    Gains,
    gain_network,
    mean_of,
    normalised,
    save_numbers,
)
from irae.restoring.automatic.measurements import take_measurements
from irae.restoring.automatic.rules import better_task, least_gain, suffices, trained_for
from irae.restoring.automatic.trial import (
    AVIF_OR_HEIC,
    HEAVINESS,
    TRACE,
    TRIED,
    denoiser_suits,
    features,
    parts_of,
    restore_parts,
)
from irae.restoring.restorer import Restorer
from irae.tasks import DENOISE

FOLDS = 5
STEPS = 2500
COMMAND = "python scripts/measure_auto.py --data DIR --write"
NOTE = (
    "Left, denoise, jpeg, photo: how many of the pictures auto leaves, and gives to which model."
    " Gain: mean change of the PSNR by what was chosen, in dB, at most 6; best: the mean that was"
    " possible; worst: the least of all pictures. White noise in a lossless file goes to `denoise`"
    " where that removes nothing but noise."
    " Cross-validated on `photos_val`, at full and at half size, on drawn pictures and `real_val`."
)

# A clean picture that is changed is the worst mistake, so clean ones count more.
_CLEAN_COUNTS, _GOOD_JPEG_COUNTS = 6.0, 2.0

# Drawings are damaged in twice as many ways.
_PHOTOGRAPH_COUNTS = 2.0

# Added to the normalised features while fitting: the deviation of normal numbers.
_JITTER = 0.15


@dataclass(frozen=True)
class Record:
    """What was measured of one case.

    Attributes:
        picture: name of the original.
        kind: kind of the original.
        damage: name of the damage.
        features: as from `irae.restoring.automatic.trial.features`.
        gains: change of the PSNR in dB by each task of `TRIED`.
        white: change of the PSNR in dB by ``denoise`` if the noise is white, there is no trace of
            JPEG and this model was seen to remove nothing else, so that it is chosen; None
            otherwise.
        tried: whether auto tries models at all: not on small pictures and those of few colours.
    """

    picture: str
    kind: str
    damage: str
    features: Tensor
    gains: Tensor
    white: float | None = None
    tried: bool = True


@cache
def restorer(task: str) -> Restorer:
    """Return the restorer of a packaged model, which also does what precedes its network."""
    return Restorer(task, device="cpu")


def measure(case: Case) -> Record:
    """Measure one case on the parts that auto looks at."""
    quality = estimate_jpeg_quality(case.pixels)
    measured = take_measurements(case.pixels, jpeg=quality is not None)
    noise, told = measured.noise, measured.told
    parts = parts_of(case.pixels)
    restored = restore_parts(parts, told)
    jpeg = None if quality is None else quality.quality
    found = features(parts, restored, noise, jpeg, told, case.lossy)
    gains = torch.tensor([gain_of(task, case) for task in TRIED])
    suits = noise is not None and measured.white and denoiser_suits(parts, noise.sigma)
    alone = gain_of(DENOISE, case) if suits else None
    name, kind = case.original.name, case.original.kind
    tried = noise is not None or quality is not None
    return Record(name, kind, case.damage, found, gains, alone, tried)


def gain_of(task: str, case: Case) -> float:
    """Return the change of the PSNR in dB by a task, on the parts that auto looks at."""
    result = restorer(task).restore_pixels(case.pixels)
    clean, given, made = (
        torch.cat([part.flatten(1) for part in parts_of(pixels)], 1)
        for pixels in (case.original.pixels, case.pixels, result)
    )
    before, after = (float((x - clean).square().mean()) + 1e-7 for x in (given, made))
    return 10 * math.log10(before / after)


def read_records(data: Path, share: float, cache: Path | None) -> list[Record]:
    """Measure all cases, or read them from the cache."""
    if cache is not None and cache.exists():
        rows = torch.load(cache, weights_only=True)
        return [Record(**row) for row in rows]
    records = []
    for case in all_cases(data, share=share):
        records.append(measure(case))
        if len(records) % 50 == 0:
            print(f"{len(records)} measured", file=sys.stderr, flush=True)
    if cache is not None:
        torch.save([vars(record) for record in records], cache)
    return records


def fit(records: list[Record]) -> tuple[nn.Sequential, Tensor, Tensor]:
    """Fit the network by the loss of the quantiles, from several starts."""
    given = torch.stack([record.features for record in records])
    gains = torch.stack([record.gains for record in records]).clamp(-LARGEST, LARGEST)[:, None]
    quantiles = torch.tensor(QUANTILES)[:, None]
    weights = torch.tensor([_weight(record) for record in records])[:, None, None]
    mean, scale = given.mean(0), given.std(0).clamp(min=0.05)
    x = normalised(given, mean, scale)
    networks = []
    for member in range(MEMBERS):
        torch.manual_seed(member)
        random = torch.Generator().manual_seed(member)
        network = gain_network(HIDDEN)
        optimizer = torch.optim.AdamW(network.parameters(), 1e-2, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            # Without it the pictures are learnt by heart, and the tenth that gains less is a fifth.
            jittered = x + _JITTER * torch.randn(x.shape, generator=random)
            off = gains - network(jittered).unflatten(1, (len(QUANTILES), len(TRIED)))
            loss = (weights * torch.maximum(quantiles * off, (quantiles - 1) * off)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        networks.append(network)
    return mean_of(networks), mean, scale


def _weight(record: Record) -> float:
    if record.damage == "none":
        return _CLEAN_COUNTS
    good = [*(f"jpeg {quality}" for quality in (85, 88, 90, 92, 95)), "webp 95"]
    weight = _GOOD_JPEG_COUNTS if record.damage.removesuffix(" 4:4:4") in good else 1.0
    return weight if record.kind in DRAWN else weight * _PHOTOGRAPH_COUNTS


def predicted_for_others(records: list[Record]) -> Tensor:
    """Predict the gains of each picture by a network fitted to other pictures."""
    names = sorted({record.picture for record in records})
    fold = torch.tensor([names.index(record.picture) % FOLDS for record in records])
    predicted = torch.zeros(len(records), len(QUANTILES) * len(TRIED))
    for number in range(FOLDS):
        network, mean, scale = fit([r for r, f in zip(records, fold, strict=True) if f != number])
        given = torch.stack([record.features for record in records])[fold == number]
        with torch.inference_mode():
            predicted[fold == number] = network(normalised(given, mean, scale))
    return predicted


def confusion(records: list[Record], predicted: Tensor) -> tuple[list[str], list[list[str]]]:
    """One row for each damage: what is chosen, and what that gains."""
    columns = ["damage", "pictures", "left", DENOISE, *TRIED, "gain", "best", "worst"]
    rows = []
    order = [*DAMAGES, *dict.fromkeys(r.damage for r in records if r.damage not in DAMAGES)]
    for damage in order:
        chosen: list[str | None] = []
        got, best = [], []
        for record, guess in zip(records, predicted, strict=True):
            if record.damage != damage:
                continue
            gains = dict(zip(TRIED, record.gains.tolist(), strict=True))
            gains |= {} if record.white is None else {DENOISE: record.white}
            gains = {task: min(max(gain, -LARGEST), LARGEST) for task, gain in gains.items()}
            task = chosen_task(record, guess)
            chosen.append(task)
            got.append(0.0 if task is None else gains[task])
            best.append(max(0.0, *gains.values()))
        if not chosen:
            continue
        counts = [f"{chosen.count(task)}" for task in (None, DENOISE, *TRIED)]
        means = [f"{sum(values) / len(values):+.2f}" for values in (got, best)]
        rows.append([damage, f"{len(chosen)}", *counts, *means, f"{min(got):+.2f}"])
    return columns, rows


def chosen_task(record: Record, predicted: Tensor) -> str | None:
    """Return the task that auto chooses for an AVIF or HEIC, or a lossless file."""
    if record.white is not None:
        return DENOISE
    if not record.tried:
        return None
    # Above 75 the exact quality does not matter here.
    quality = round(75 * math.exp(float(record.features[HEAVINESS])))
    least = least_gain(quality, cautious=bool(record.features[AVIF_OR_HEIC]))
    both = predicted.unflatten(0, (len(QUANTILES), len(TRIED))).tolist()
    gains = Gains(*(dict(zip(TRIED, each, strict=True)) for each in both))
    gains = trained_for(gains, record.features, quality if record.features[TRACE] else None)
    task = better_task(gains.least, gains.typical, least)
    enough = suffices(gains.least[task], gains.typical[task], least)
    return task if enough else None


def main() -> None:
    """Measure, fit, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--share", type=float, default=0.25, help="share of the damages of a photograph"
    )
    parser.add_argument("--cache", type=Path, help="file that keeps what was measured")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    records = read_records(arguments.data, arguments.share, arguments.cache)
    columns, rows = confusion(records, predicted_for_others(records))
    print(markdown_table(columns, rows))
    if arguments.write:
        save_numbers(*fit(records))
        table: dict[str, Any] = {"columns": columns, "rows": rows}
        write_tables("auto", {"auto": table}, [DENOISE, *TRIED], COMMAND, NOTE)


if __name__ == "__main__":
    main()
