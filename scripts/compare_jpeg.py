"""JPEG damage: the packaged model beside DnCNN-3, on luma.

    python scripts/compare_jpeg.py --data DIR [--peer dncnn3.safetensors] [--write]

DIR holds ``testsets/LIVE1`` and ``testsets/Classic5``; the peer is what ``irae import`` makes of
the published weights. With ``--write`` the rows that were measured replace those of
``docs/results/jpeg.json``, which ``scripts/fill_tables.py`` puts into the pages: without ``--peer``
the rows of DnCNN-3, whose weights do not change, stay.
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path

from fill_tables import RESULTS

from irae.data.registry import open_data
from irae.evaluation.evaluate import evaluate
from irae.evaluation.results import markdown_table
from irae.models.checkpoints.checksums import weights_checksum
from irae.models.checkpoints.model_file import load_model
from irae.tasks.jpeg import Jpeg
from irae.writing import write_atomically

QUALITIES = (10, 20, 30, 40)
SETS = ("LIVE1", "Classic5")
FILE = RESULTS / "jpeg.json"


def measure(data: Path, peer: Path | None, count: int | None) -> list[list[str]]:
    """The rows of the table: pictures, network, and PSNR at each quality."""
    models = {"irae": load_model("jpeg")}
    if peer is not None:
        models["DnCNN-3"] = load_model(peer)
    rows = []
    for name in SETS:
        pictures = open_data(f"testsets/{name}", root=data, split="test")
        for number, (network, model) in enumerate(models.items()):
            levels = evaluate(
                model,
                pictures,
                [Jpeg(quality) for quality in QUALITIES],
                luma=True,
                max_images=count,
                progress=True,
            ).levels
            if number == 0:
                given = [f"{level.input['psnr']:.2f}" for level in levels]
                rows.append([f"{name}, Y", "the JPEG itself", *given])
            rows.append([f"{name}, Y", network, *(f"{x.output['psnr']:.2f}" for x in levels)])
    return rows


def write(rows: list[list[str]]) -> None:
    """Put the rows in the place of those of the same pictures and network."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    new = {(row[0], row[1]): row for row in rows}
    table = found["tables"]["jpeg"]
    table["rows"] = [new.get((row[0], row[1]), row) for row in table["rows"]]
    found["command"] = "python scripts/compare_jpeg.py --data DIR --write"
    found["date"] = date.today().isoformat()
    found["weights"] = {"jpeg": weights_checksum(load_model("jpeg"))[:16]}
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    write_atomically(FILE, lambda new_file: new_file.write_text(text, encoding="utf-8"))


def main() -> None:
    """Measure, print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--max-images", type=int)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    if arguments.write and arguments.max_images is not None:
        parser.error("--write is for whole test sets")
    rows = measure(arguments.data, arguments.peer, arguments.max_images)
    print(markdown_table(["pictures", "network", *(f"q = {q}" for q in QUALITIES)], rows))
    if arguments.write:
        write(rows)


if __name__ == "__main__":
    main()
