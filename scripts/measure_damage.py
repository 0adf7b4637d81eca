"""Measure how well scratches, dust, hairs and stamps are found, and what filling them gains.

    python scripts/measure_damage.py --data photos_val --overlays film \
        [--pictures 30] [--detector MODEL] [--choose FOLDER ...] [-o FILE]

Overlays that are kept apart from training are pasted onto the first pictures of a folder, of which
the central 320×320 pixels are taken. The baselines are the difference from the median of 5×5 pixels
and the morphological top-hat of 7×7 pixels. Undamaged pictures are looked at as a whole. With
``--choose``, undamaged photographs of other folders are looked at instead, and the thresholds are
printed at which given shares of them have no mask at all.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.data.folder import open_folder
from irae.imaging.film_damage import paste_damage, read_overlays
from irae.imaging.io.picture import quantise
from irae.imaging.metrics import auroc, average_precision, psnr, rgb_to_y
from irae.models.checkpoints.checksums import weights_checksum
from irae.models.checkpoints.model_file import load_model
from irae.restoring.find_damage import DETECTOR, WEAK, DamageFinder
from irae.restoring.restorer import Restorer
from irae.runtime import generator
from irae.training.validation import centre

KEY, SIDE = 0x5C8A, 320
SHARES = (0.9, 0.95, 0.97, 0.99)


def median_difference(picture: Tensor) -> Tensor:
    """|x − the median of 5×5 pixels|, the largest over the channels: ``1 H W``."""
    padded = F.pad(picture[None], (2, 2, 2, 2), mode="reflect")
    around = F.unfold(padded, 5).view(picture.shape[0], 25, *picture.shape[1:])
    return (picture - around.median(1).values).abs().amax(0, keepdim=True)


def top_hat(picture: Tensor) -> Tensor:
    """The larger of the white and the black top-hat of the luma, by 7×7 pixels: ``1 H W``."""
    luma = rgb_to_y(picture[None])

    def dilated(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 7, 1, 3)

    opened, closed = dilated(-dilated(-luma)), -dilated(-dilated(luma))
    return torch.maximum(luma - opened, closed - luma)[0]


def photographs(folder: Path, count: int) -> Iterator[Tensor]:
    """Pictures of a folder, evenly chosen: ``3 H W`` in [0, 1]."""
    pictures = open_folder(folder)
    step = max(1, len(pictures) // count)
    for index in range(0, len(pictures), step)[:count]:
        yield pictures.load(index).float() / 255


def damaged(folder: Path, overlays: Path, count: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Clean pictures, the damaged ones at 8 bits, and the true masks."""
    shapes = read_overlays(overlays, apart=True)
    cases = []
    pictures = open_folder(folder)
    for index in range(min(count, len(pictures))):
        clean = centre(pictures.load(index), SIDE).float() / 255
        picture, mask = paste_damage(clean, generator(KEY, index), shapes)
        cases.append((clean, quantise(picture), mask))
    return cases


def choose(folders: list[Path], finder: DamageFinder, count: int) -> list[str]:
    """Lines that say for each share the least threshold that leaves it without a mask."""
    # The mask of a lower threshold holds that of a higher one, so one number is enough.
    steps = [round(WEAK + 0.01 * step, 3) for step in range(35)] + [0.995, 0.998, 0.999]
    least: list[float] = []
    threshold, pixels, alarms = finder.threshold, 0, 0
    for folder in folders:
        for clean in photographs(folder, count):
            found = finder.probabilities(clean)
            pixels += found.numel()
            alarms += int((found >= threshold).sum())
            least.append(_least_without_mask(finder, found, steps))
    ordered = sorted(least)
    lines = [f"{len(least)} photographs; {alarms / pixels:.2e} of the pixels from {threshold:g} on"]
    for share in SHARES:
        at = ordered[min(len(ordered) - 1, int(share * len(ordered)))]
        lines.append(f"no mask on {share:.0%} of them from threshold {at:g}")
    return lines


def _least_without_mask(finder: DamageFinder, found: Tensor, steps: list[float]) -> float:
    """The least of the rising thresholds at which nothing is found; 1 if there is none."""
    low, high = 0, len(steps)
    while low < high:
        middle = (low + high) // 2
        finder.threshold = steps[middle]
        if finder.mask_of(found).any():
            low = middle + 1
        else:
            high = middle
    return steps[low] if low < len(steps) else 1.0


def measure(
    folder: Path, cases: list[tuple[Tensor, Tensor, Tensor]], finder: DamageFinder, filler: Restorer
) -> dict[str, Any]:
    """The tables of a file of results; ``folder`` has the undamaged pictures."""
    found = [finder.probabilities(picture) for _, picture, _ in cases]
    ways = {
        f"irae, {finder.model.parameters / 1e6:.2f} M parameters": found,
        "difference from the median of 5×5": [median_difference(each) for _, each, _ in cases],
        "top-hat of 7×7": [top_hat(each) for _, each, _ in cases],
    }
    truth = torch.cat([mask.flatten() for _, _, mask in cases])
    rows = []
    for name, way in ways.items():
        scores = torch.cat([each.flatten() for each in way])
        rows.append(
            [
                name,
                f"{auroc(scores[~truth], scores[truth]):.4f}",
                f"{average_precision(scores, truth):.4f}",
            ]
        )
        print("  ".join(rows[-1]), flush=True)
    filled: dict[str, list[float]] = {"damaged": [], "found": [], "true": []}
    for (clean, picture, mask), each in zip(cases, found, strict=True):
        masks = {"damaged": torch.zeros_like(mask), "true": mask}
        masks["found"] = finder.found_in(each, picture).mask
        for name, hole in masks.items():
            result = filler.restore_pixels(picture, hole) if hole.any() else picture
            filled[name].append(float(psnr(quantise(result)[None], clean[None])))
    means = {name: sum(values) / len(values) for name, values in filled.items()}
    filling = [
        ["damaged", f"{means['damaged']:.2f}"],
        ["filled where damage was found", f"{means['found']:.2f}"],
        ["filled where damage was pasted", f"{means['true']:.2f}"],
    ]
    told = (
        f"{len(cases)} pictures of `photos_val`, {float(truth.float().mean()):.1%} of whose pixels "
        "are damaged by at least 10/255."
    )
    whole = [finder.find(clean).share for clean in photographs(folder, len(cases))]
    without = (
        f"Of {len(whole)} whole pictures without damage, {whole.count(0)} have no mask at all at "
        f"the threshold {finder.threshold:g}"
    ) + (f"; of the others at most {max(whole):.2%} is marked." if any(whole) else ".")
    print(filling, without)
    return {
        "finding damage": {
            "columns": ["found by", "AUROC", "average precision"],
            "rows": rows,
            "note": f"{told} {without}",
        },
        "filling found damage": {"columns": ["picture", "PSNR"], "rows": filling, "note": told},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--overlays", type=Path)
    parser.add_argument("--pictures", type=int, default=30)
    parser.add_argument("--detector", default=DETECTOR)
    parser.add_argument("--threshold", type=float)
    parser.add_argument("--choose", type=Path, nargs="*", default=[])
    parser.add_argument("-o", "--output", type=Path)
    chosen = parser.parse_args()
    finder = DamageFinder(chosen.detector, device="cpu", threshold=chosen.threshold)
    if chosen.choose:
        print("\n".join(choose(chosen.choose, finder, chosen.pictures)))
        return
    if chosen.overlays is None:
        parser.error("--overlays is missing")
    cases = damaged(chosen.data, chosen.overlays, chosen.pictures)
    filler = Restorer("inpaint", device="cpu", precision="fp32")
    tables = measure(chosen.data, cases, finder, filler)
    if chosen.output is None:
        return
    content = {
        "command": "python scripts/measure_damage.py --data photos_val --overlays film",
        "machine": f"{platform.machine()}, float32",
        "date": date.today().isoformat(),
        "weights": {"inpaint": weights_checksum(load_model("inpaint"))[:16]},
        "tables": tables,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    chosen.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
