"""Inpainting models beside each other, on the same pictures and holes.

    python scripts/compare_inpainting.py --data DIR [--model ...] [--max-images N] [--json FILE]
    python scripts/compare_inpainting.py --data DIR --kinds [--model ...] [--json FILE]
        [--max-images N]

Without ``--kinds``, by how much is missing: DIR holds ``testsets/CBSD68`` and ``masks/irregular``.
Masks are sorted by their share of holes as Liu et al. 2018 (arXiv 1804.07723) sort them; each share
is dealt out to the pictures as ``irae eval --task inpaint --mask`` deals all masks. PSNR is over
the whole picture.

With ``--kinds``, by what the damage is: DIR holds ``photos_val`` and ``film``. The centres of its
first pictures get holes of each kind; film damage is of the overlays that are kept apart from
training. PSNR is inside the holes, and the time is the processor's, with one thread. FSR needs many
seconds for a crop. Therefore FILE keeps the figures of each crop: the same command goes on where it
was stopped, and measures a method again only if its weights, the seed or the holes have changed.
FILE in docs/results is read by ``scripts/fill_tables.py``, as the table ``hole-kinds``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from irae.data.registry import open_data
from irae.evaluation.results import markdown_table
from irae.imaging.degrade import apply_mask, center_mask
from irae.imaging.film_damage import find_overlays
from irae.imaging.metrics import psnr
from irae.imaging.thin_masks import thin_mask
from irae.models.checkpoints.checksums import weights_checksum
from irae.models.checkpoints.model_file import load_model
from irae.models.loaded import LoadedModel
from irae.runtime import generator
from irae.tasks.inpaint import MaskFolder
from irae.tasks.protocols import get_protocol
from irae.writing import write_atomically

SHARES = ((1, 10), (10, 20), (20, 30), (30, 40), (40, 50), (50, 60))
"""Per cent of the mask that is hole, from and below."""

HEIGHT, WIDTH, CROPS = 256, 384, 10
"""Size and default number of the crops of ``--kinds``."""

MODELS = ["inpaint", "telea", "navier-stokes"]
FILLING = "filling"
"""The toolkit's filling alone, of which the model `FILLED_BY` starts."""
FILLED_BY = "inpaint"
ENSEMBLE = "ensemble"
"""That model's average over eight orientations, as by ``--ensemble``."""
METHODS = {
    "telea": "Telea",
    "navier-stokes": "Navier-Stokes",
    "fsr": "FSR fast",
    FILLING: "irae's filling alone",
    FILLED_BY: "irae",
    ENSEMBLE: "irae `--ensemble`",
}
"""The methods of ``--kinds``, and their names in the table."""
DAMAGED, FILLED = "holes as they are", "irae's filling alone"
SHARE_METHODS = {
    DAMAGED: "the holes as they are",
    FILLED: FILLED,
    "inpaint": "irae",
    "telea": "Telea's method",
    "navier-stokes": "the Navier-Stokes method",
}
"""The methods without ``--kinds``, and their names in the table."""
THIN_DAMAGE = ("scratches", "hair", "lint")
"""How the names of the overlays of film damage that are used here start."""


def masks_by_share(folder: MaskFolder) -> dict[tuple[int, int], MaskFolder]:
    """The masks of each of `SHARES`; those with fewer or more holes are left out."""
    found: dict[tuple[int, int], list[Path]] = {share: [] for share in SHARES}
    for path in folder.paths:
        with Image.open(path) as image:
            share = 100 * float((np.asarray(image.convert("L")) > 127).mean())
        for least, most in SHARES:
            if least <= share < most:
                found[least, most].append(path)
    return {share: MaskFolder(folder.folder, tuple(p)) for share, p in found.items() if p}


def overlay_mask(paths: list[Path], random: torch.Generator) -> Tensor:
    """Three overlays, turned and laid over each other: bool ``1 HEIGHT WIDTH``."""
    mask = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    for _ in range(3):
        number, turn = torch.randint(1000, (2,), generator=random).tolist()
        with Image.open(paths[number % len(paths)]) as image:
            alpha = image.convert("RGBA").getchannel("A").resize((WIDTH, WIDTH))
        turned = np.rot90(np.asarray(alpha), turn % 4)[:HEIGHT]
        mask |= torch.from_numpy(turned.copy() > 64)[None]
    return mask


def many_boxes(random: torch.Generator) -> Tensor:
    """Twenty holes of 16 by 16 pixels."""
    mask = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    for _ in range(20):
        top = int(torch.randint(HEIGHT - 16, (), generator=random))
        left = int(torch.randint(WIDTH - 16, (), generator=random))
        mask[:, top : top + 16, left : left + 16] = True
    return mask


def kinds(film: Path) -> dict[str, Callable[[torch.Generator], Tensor]]:
    """What each kind of damage is, by name."""
    overlays = [p for p in find_overlays(film, apart=True) if p.name.startswith(THIN_DAMAGE)]
    return {
        "film scratches, hairs, lint": lambda random: overlay_mask(overlays, random),
        "date stamp": lambda random: thin_mask(HEIGHT, WIDTH, random, "stamp"),
        "text": lambda random: thin_mask(HEIGHT, WIDTH, random, "text"),
        "20 holes of 16x16": many_boxes,
        "one hole of 64x64": lambda random: center_mask(HEIGHT, WIDTH, 64),
    }


def outputs_of(models: dict[str, LoadedModel], given: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """The filled pictures of all methods; the toolkit's filling alone where its model is."""
    outputs = {DAMAGED: given}
    for name, model in models.items():
        if name == "inpaint":
            outputs[FILLED] = model.fill(given, mask)
        outputs[name] = model.restore(given, mask).clamp(0, 1)
    return outputs


def compare_shares(arguments: argparse.Namespace) -> None:
    """Print the table by share of holes."""
    models = {name: load_model(name) for name in arguments.model or MODELS}
    rules = get_protocol("standard")
    pictures = open_data("testsets/CBSD68", root=arguments.data, split="test")
    count = min(len(pictures), arguments.max_images or len(pictures))
    columns: dict[str, dict[str, float]] = {}
    everything: dict[str, list[float]] = {}
    for (least, most), masks in masks_by_share(
        MaskFolder.open(arguments.data / "masks" / "irregular")
    ).items():
        scores: dict[str, list[float]] = {}
        for index in range(count):
            clean = rules.clean(pictures.load(index), arguments.seed, index)
            damaged = rules.damage(clean, masks, arguments.seed, index)
            assert damaged.mask is not None
            given, mask = damaged.pixels[None], damaged.mask[None]
            for name, output in outputs_of(models, given, mask).items():
                scores.setdefault(name, []).append(psnr(output, clean[None]).item())
        for name, values in scores.items():
            columns.setdefault(name, {})[f"{least}-{most} %"] = statistics.mean(values)
            everything.setdefault(name, []).extend(values)
    print(f"{count} pictures a share, seed {arguments.seed}, PSNR over the whole picture\n")
    rows = [
        [name, *(f"{v:.2f}" for v in shares.values()), f"{statistics.mean(everything[name]):.2f}"]
        for name, shares in columns.items()
    ]
    header = ["method", *next(iter(columns.values())), "all"]
    print(markdown_table(header, rows))
    if arguments.json is not None:
        weights = {n: weights_checksum(m)[:16] for n, m in models.items() if m.parameters}
        _keep_shares(arguments.json, rows, count, weights)


def _keep_shares(path: Path, rows: list[list[str]], count: int, weights: dict[str, str]) -> None:
    """Put the rows into the table ``holes`` of a file of results; its other rows stay."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    new = {SHARE_METHODS[name]: row for name, *row in rows if name in SHARE_METHODS}
    table = kept["tables"]["holes"]
    table["rows"] = [[name, *new.get(name, row)] for name, *row in table["rows"]]
    kept["command"] = f"python scripts/compare_inpainting.py --data DIR --max-images {count}"
    kept |= {"date": date.today().isoformat(), "weights": weights}
    text = json.dumps(kept, indent=1, ensure_ascii=False) + "\n"
    write_atomically(path, lambda made: made.write_text(text, encoding="utf-8"))


@dataclass
class Cell:
    """One method on the holes of one kind.

    Attributes:
        kind: one of `kinds`.
        method: one of `METHODS`, or another model's name.
        seed: seed of the holes.
        weights: first digits of the checksum of the method's weights; empty without weights.
        holes: first digits of the checksum of the first crop's holes.
        shares: share of each crop that is hole.
        psnr: PSNR inside the holes of each crop.
        seconds: time of the processor for each crop, with one thread.
    """

    kind: str
    method: str
    seed: int
    weights: str
    holes: str = ""
    shares: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def method_of(name: str) -> tuple[Callable[[Tensor, Tensor], Tensor], str]:
    """Return a method, and the checksum of its weights if it has some."""
    model = load_model(FILLED_BY if name in (FILLING, ENSEMBLE) else name)
    if name == FILLING:
        return model.fill, ""
    model.ensemble = name == ENSEMBLE
    weights = weights_checksum(model)[:16] if model.parameters else ""
    return lambda given, mask: model.restore(given, mask).clamp(0, 1), weights


def measure_kinds(
    data: Path, names: list[str], count: int, seed: int, found: list[Cell], save: Callable[[], None]
) -> None:
    """Measure what ``found`` lacks of ``count`` crops, and save after each crop."""
    pictures = open_data("photos_val", root=data, split="test")
    methods = {name: method_of(name) for name in names}
    for kind, draw in kinds(data / "film").items():
        holes = hashlib.sha256(draw(generator(seed, 0)).numpy().tobytes()).hexdigest()[:16]
        for name, (method, weights) in methods.items():
            cell = Cell(kind, name, seed, weights, holes)
            found[:] = [c for c in found if (c.kind, c.method) != (kind, name) or _same(c, cell)]
            cell = next((c for c in found if (c.kind, c.method) == (kind, name)), cell)
            if cell not in found:
                found.append(cell)
            for index in range(len(cell.psnr), count):
                whole = pictures.load(index).float() / 255
                if whole.shape[1] > whole.shape[2]:  # The crops are wider than high.
                    whole = whole.rot90(1, (1, 2))
                top, left = (whole.shape[1] - HEIGHT) // 2, (whole.shape[2] - WIDTH) // 2
                clean = whole[None, :, top : top + HEIGHT, left : left + WIDTH]
                mask = draw(generator(seed, index))[None]
                given = apply_mask(clean, mask)
                began = time.process_time()
                filled = method(given, mask)
                cell.seconds.append(round(time.process_time() - began, 3))
                error = (filled - clean).square()[mask.expand_as(clean)].mean()
                cell.psnr.append(round(float(-10 * error.log10()), 4))
                cell.shares.append(round(float(mask.float().mean()), 5))
                save()


def _same(one: Cell, other: Cell) -> bool:
    """Return whether the figures of two cells can stand beside each other."""
    return (one.seed, one.weights, one.holes) == (other.seed, other.weights, other.holes)


def kinds_table(found: list[Cell], names: list[str], count: int) -> dict[str, list[Any]]:
    """Return columns and rows, as `scripts/fill_tables.py` reads them."""
    rows = []
    for kind in dict.fromkeys(cell.kind for cell in found):
        cells = {cell.method: cell for cell in found if cell.kind == kind}
        share = statistics.mean(cells[names[0]].shares[:count])
        rows.append([kind, f"{share:.1%}"])
        for name in names:
            psnr, seconds = cells[name].psnr[:count], cells[name].seconds[:count]
            time_of = f"{statistics.median(seconds):.2g} s"
            rows[-1].append(f"{statistics.mean(psnr):.2f} ({time_of})")
    return {
        "columns": ["holes", "share", *(METHODS.get(name, name) for name in names)],
        "rows": rows,
    }


def compare_kinds(arguments: argparse.Namespace) -> None:
    """Print the table by kind of damage, and keep it in a file of results if asked to."""
    torch.set_num_threads(1)
    names = arguments.model or list(METHODS)
    count, seed, path = arguments.max_images or CROPS, arguments.seed, arguments.json
    kept = json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else {}
    found = [Cell(**cell) for cell in kept.get("cells", [])]

    def save() -> None:
        if path is not None:
            content = {**kept, "cells": [asdict(cell) for cell in found]}
            text = json.dumps(content, indent=1) + "\n"
            write_atomically(path, lambda new: new.write_text(text, encoding="utf-8"))

    measure_kinds(arguments.data, names, count, seed, found, save)
    table = kinds_table(found, names, count)
    print(f"{count} crops of {WIDTH}x{HEIGHT}, seed {seed}, PSNR inside the holes\n")
    print(markdown_table(table["columns"], table["rows"]))
    command = f"python scripts/compare_inpainting.py --data DIR --kinds --max-images {count}"
    kept |= {
        "command": command,
        "machine": "one thread of a CPU, float32",
        "date": date.today().isoformat(),
        "weights": {
            FILLED_BY if c.method == ENSEMBLE else c.method: c.weights
            for c in found
            if c.weights and c.method in names
        },
        "tables": {"hole-kinds": table},
    }
    kept.pop("note", None)  # It was about the figures before these.
    save()


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kinds", action="store_true", help="by kind of damage")
    parser.add_argument("--json", type=Path, help="keep the figures here")
    parser.add_argument(
        "--model",
        action="append",
        help=f"default: {', '.join(MODELS)}; with --kinds {', '.join(METHODS)}",
    )
    parser.add_argument("--max-images", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with torch.inference_mode():
        (compare_kinds if arguments.kinds else compare_shares)(arguments)


if __name__ == "__main__":
    main()
