"""Measure how well what is improbable shows pasted damage, beside a network that learnt to find it.

    python scripts/measure_improbable.py --data photos_val --overlays film \
        [--model MODEL] [--detector MODEL] [--pictures 30] [--only WORD] [-o FILE]

The damaged pictures are those of ``scripts/measure_damage.py``. Scores of all pixels are ranked
together. With ``--only``, the ways whose names have the word are measured, such as ``detector``
after it has been trained again, and the other rows of the file are kept.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch
from measure_damage import SIDE, damaged, median_difference, top_hat
from torch import Tensor

from irae.imaging.metrics import auroc, average_precision
from irae.models.checkpoints.model_file import load_patch_density
from irae.restoring.find_damage import DETECTOR, DamageFinder
from irae.restoring.improbable import improbability

Case = tuple[Tensor, Tensor]
Way = Callable[[Tensor], Tensor]


def rows_of(cases: list[Case], ways: dict[str, tuple[str, Way]]) -> list[list[str]]:
    """AUROC and average precision of every way; a way maps a picture to scores ``1 H W``."""
    truth = torch.cat([mask.flatten() for _, mask in cases])
    rows = []
    for name, (learnt, way) in ways.items():
        scores = torch.cat([way(picture).flatten() for picture, _ in cases])
        area = auroc(scores[~truth], scores[truth])
        rows.append([name, learnt, f"{area:.4f}", f"{average_precision(scores, truth):.4f}"])
        print("  ".join(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--overlays", type=Path, required=True)
    parser.add_argument("--model", default="patches")
    parser.add_argument("--detector", default=DETECTOR)
    parser.add_argument("--pictures", type=int, default=30)
    parser.add_argument("--only", default="")
    parser.add_argument("-o", "--output", type=Path)
    chosen = parser.parse_args()
    density = load_patch_density(chosen.model)
    finder = DamageFinder(chosen.detector, device="cpu")
    pasted = damaged(chosen.data, chosen.overlays, chosen.pictures)
    cases = [(picture, mask) for _, picture, mask in pasted]
    detector = f"the detector, {finder.model.parameters / 1e6:.2f} M parameters"
    patches = f"density of patches, {density.parameters / 1e6:.2f} M parameters"
    ways: dict[str, tuple[str, Way]] = {
        detector: ("pasted damage", finder.probabilities),
        patches: ("clean photographs", lambda picture: improbability(density, picture)),
        "its bits, at the finest scale alone": (
            "clean photographs",
            lambda picture: density.surprise(picture, density.network.block)[0],
        ),
        "difference from the median of 5×5": ("nothing", median_difference),
        "top-hat of 7×7": ("nothing", top_hat),
    }
    rows = rows_of(cases, {name: way for name, way in ways.items() if chosen.only in name})
    share = torch.cat([mask.flatten() for _, mask in cases]).float().mean()
    if chosen.output is None:
        return
    if chosen.only:
        new = {row[0]: row for row in rows}
        before = json.loads(chosen.output.read_text(encoding="utf-8"))["tables"]["improbable"]
        rows = [new.get(row[0], row) for row in before["rows"]]
    table: dict[str, Any] = {
        "columns": ["found by", "learnt from", "AUROC", "average precision"],
        "rows": rows,
        "note": f"The middles of {len(cases)} pictures of `photos_val`, {SIDE}×{SIDE} pixels each, "
        f"{float(share):.1%} of which "
        "are damaged by at least 10/255; overlays that the detector has not learnt from.",
    }
    content = {
        "command": "python scripts/measure_improbable.py --data photos_val --overlays film",
        "machine": f"{platform.machine()}, float32",
        "date": date.today().isoformat(),
        "tables": {"improbable": table},
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    chosen.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
