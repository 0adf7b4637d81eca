"""What ``irae restore`` without ``--task`` does to good JPEGs: nothing may become worse.

    python scripts/never_worse.py --data DIR [--pictures 3] [--cache FILE] [--write]

Pictures with known originals are saved as JPEG at seven qualities, with and without subsampled
chroma, restored as the command line does it, and read from the files that were written. Photographs
are the first of ``testsets/CBSD68``; pages, drawings, screenshots and gradients are drawn, others
than those that the decision was fitted to. ``--cache`` keeps each result as soon as it is there, so
that the same command goes on where it was stopped; results of other weights, or of another
decision, are measured again. With ``--write`` the table goes to
``docs/results/never-worse.json``. The exit code is 1 if a cell loses more than 0.05 dB on average,
or a picture more than 0.3 dB.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from auto.originals import DRAWN, SIDE, Original, drawings
from auto.results import write_tables

import irae
from irae import load_model
from irae.batch.model_pool import ModelPool
from irae.batch.restore_files import Request, restore_files
from irae.evaluation.results import markdown_table
from irae.imaging.degrade import Subsampling, jpeg_bytes
from irae.imaging.io.files import read_picture
from irae.imaging.metrics import psnr
from irae.models.checkpoints.checksums import weights_checksum
from irae.restoring.options import RestoreOptions

QUALITIES = (75, 80, 85, 88, 90, 92, 95)
CHROMA: tuple[Subsampling, ...] = ("4:2:0", "4:4:4")
MEAN_LOSS, LOSS = 0.05, 0.3
"""Largest loss in dB, of a cell on average and of any picture."""

FIRST_SEED = 1000
COMMAND = "python scripts/never_worse.py --data DIR --write"


@dataclass(frozen=True)
class Result:
    """What auto did to one file.

    Attributes:
        gain: change of the PSNR in dB, of the written file.
        task: the task chosen, or None if the file was left as it is.
        growth: size of the written file over that of the given one.
    """

    gain: float
    task: str | None
    growth: float


def originals(data: Path, count: int) -> Iterator[Original]:
    """The pictures, ``count`` of each kind."""
    for path in sorted((data / "testsets" / "CBSD68").glob("*.png"))[:count]:
        yield Original(path.stem, "photograph", read_picture(path).pixels[:, 32 : 32 + SIDE, :SIDE])
    for kind in DRAWN:
        yield from drawings(kind, count, first=FIRST_SEED)


def restore_jpeg(
    original: Original, quality: int, chroma: Subsampling, pool: ModelPool, folder: Path
) -> Result:
    """Save one picture, restore the file, and compare."""
    given, made = folder / "given.jpg", folder / "made.jpg"
    given.write_bytes(jpeg_bytes(original.pixels, quality, subsampling=chroma))
    outcomes = []
    request = Request((str(given),), str(made), overwrite=True)
    restore_files(request, pool, outcomes.append)
    outcome = outcomes[0]
    if outcome.error is not None:
        raise SystemExit(outcome.error)
    scores = [
        psnr(read_picture(path).pixels[None], original.pixels[None]).item()
        for path in (given, made)
    ]
    growth = made.stat().st_size / given.stat().st_size
    return Result(scores[1] - scores[0], outcome.task, growth)


class Cache:
    """Results by their case, kept in a file of JSON lines; without a path, in memory alone."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._state = path, state_of_decision()
        self._known: dict[tuple[Any, ...], Result] = {}
        lines = path.read_text(encoding="utf-8") if path is not None and path.exists() else ""
        for row in map(json.loads, lines.splitlines()):
            if row["state"] == self._state:
                self._known[tuple(row["case"])] = Result(**row["result"])

    def get(self, case: tuple[Any, ...]) -> Result | None:
        """Return what was measured, if it was."""
        return self._known.get(case)

    def put(self, case: tuple[Any, ...], result: Result) -> None:
        """Keep a result."""
        self._known[case] = result
        if self._path is not None:
            row = {"state": self._state, "case": case, "result": asdict(result)}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def state_of_decision() -> str:
    """Hash the weights, and the code and the numbers by which auto decides."""
    found = hashlib.sha256()
    for name in ("denoise", "jpeg", "photo"):
        found.update(weights_checksum(load_model(name)).encode())
    package = Path(irae.__file__).parent
    for folder in ("restoring", "imaging/analysis"):
        for path in sorted((package / folder).glob("*.[pj]*")):
            found.update(path.read_bytes())
    return found.hexdigest()[:16]


def measure(
    data: Path, count: int, qualities: tuple[int, ...] = QUALITIES, cache: Path | None = None
) -> dict[tuple[str, str, int], list[Result]]:
    """Measure all cells, by kind of picture, chroma and quality."""
    pool, known = ModelPool(RestoreOptions(device="cpu")), Cache(cache)
    cells: dict[tuple[str, str, int], list[Result]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for original in originals(data, count):
            for chroma in CHROMA:
                for quality in qualities:
                    case = (original.kind, original.name, chroma, quality)
                    result = known.get(case)
                    if result is None:
                        result = restore_jpeg(original, quality, chroma, pool, Path(folder))
                        known.put(case, result)
                    cells.setdefault((original.kind, chroma, quality), []).append(result)
    return cells


def worse(cells: dict[tuple[str, str, int], list[Result]]) -> list[str]:
    """The cells that lose more than they may."""
    found = []
    for cell, results in cells.items():
        gains = [result.gain for result in results]
        if sum(gains) / len(gains) < -MEAN_LOSS or min(gains) < -LOSS:
            found.append(f"{cell}: {min(gains):+.2f} dB")
    return found


def table(cells: dict[tuple[str, str, int], list[Result]]) -> tuple[list[str], list[list[str]]]:
    """One row for each kind and chroma: mean and least gain at each quality."""
    qualities = sorted({quality for _, _, quality in cells})
    columns = [
        "pictures",
        "chroma",
        *(f"q = {quality}" for quality in qualities),
        "changed",
        "growth",
    ]
    rows = []
    for kind, chroma in dict.fromkeys((kind, chroma) for kind, chroma, _ in cells):
        texts, every = [], []
        for quality in qualities:
            results = cells[kind, chroma, quality]
            gains = [result.gain for result in results]
            texts.append(f"{sum(gains) / len(gains):+.2f} ({min(gains):+.2f})")
            every += results
        changed = [result for result in every if result.task is not None]
        growth = sum(result.growth for result in changed) / max(1, len(changed))
        share = f"{len(changed)} of {len(every)}"
        rows.append([kind, chroma, *texts, share, f"{growth:.1f}" if changed else "-"])
    return columns, rows


def main() -> None:
    """Measure, print, and say whether anything became worse."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=3, help="pictures of each kind")
    parser.add_argument("--cache", type=Path, help="file that keeps what was measured")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    cells = measure(arguments.data, arguments.pictures, cache=arguments.cache)
    columns, rows = table(cells)
    print(markdown_table(columns, rows))
    if arguments.write:
        note = (
            f"Change of the PSNR by auto in dB, written file included: mean of"
            f" {arguments.pictures} pictures (and the least). Changed: files that were not left as"
            " they are; growth: how many times as large those became."
        )
        content = {"columns": columns, "rows": rows}
        write_tables("never-worse", {"never-worse": content}, ["jpeg", "photo"], COMMAND, note)
    found = worse(cells)
    print("\n".join(found) or "no cell became worse")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
