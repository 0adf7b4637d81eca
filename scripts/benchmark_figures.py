"""Tables and a strip of pictures for docs/results.md, from the folder of a finished benchmark.

    python scripts/benchmark_figures.py FOLDER NAME --command "irae benchmark --config ..."

FOLDER is what ``irae benchmark -o FOLDER`` wrote. ``docs/results/NAME-benchmark.json`` gets a table
``NAME DATASET`` for each data set, its models sorted by PSNR, and ``NAME verdicts``;
``docs/figures/NAME-DATASET.png`` the first test pictures as every model leaves them.
``fill_tables.py`` then writes the tables into the page.
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path
from typing import Any

from fill_tables import DOCS, RESULTS
from PIL import Image, ImageDraw

from irae.evaluation.benchmark.results_file import RESULTS_NAME, read_results
from irae.evaluation.report.summary import Level, Section, sections, standings
from irae.evaluation.report.tables import cost_table, verdict_table
from irae.evaluation.report.text_files import markdown_scores

COLUMNS = ["network", "parameters", "MACs per pixel", "s per MP", "steps", "PSNR", "SSIM"]
WINDOW, ROWS, GAP, CAPTION = 128, 3, 4, 16


def only_level(section: Section) -> Level:
    """The one level of a data set."""
    if len(section.levels) != 1:
        raise SystemExit(f"{section.title}: has {len(section.levels)} levels; this needs one")
    return section.levels[0]


def best_first(level: Level) -> list[int]:
    """The numbers of a level's cells, sorted by PSNR."""
    ranked = standings(level, "psnr")
    means = [ranked[cell["model"]].score.mean for cell in level.cells]
    return sorted(range(len(means)), key=lambda number: -means[number])


def table_of(section: Section) -> dict[str, Any]:
    """All models of a data set, the best first."""
    level = only_level(section)
    (_, damaged), *psnr = markdown_scores(section, "psnr")
    _, *ssim = markdown_scores(section, "ssim")
    costs = cost_table(section).rows
    rows = [["the damaged picture", "", "", "", "", damaged, ""]]
    for number in best_first(level):
        trained = level.cells[number].get("trained")
        model, _, *cost = costs[number][:5]
        steps = f"{trained['steps']:,}" if trained else ""
        rows.append([model, *cost, steps, psnr[number][1], ssim[number][1]])
    return {"columns": COLUMNS, "rows": rows, "note": f"{section.dataset}: {level.title}."}


def strip(folder: Path, section: Section, path: Path) -> None:
    """Paste the first pictures below each other: clean, damaged, and by every model in order."""
    level = only_level(section)
    cells = [level.cells[number] for number in best_first(level)]
    samples = [cell["samples"][:ROWS] for cell in cells]
    columns = [("clean", [s["clean"] for s in samples[0]])]
    columns.append(("damaged", [s["degraded"] for s in samples[0]]))
    for cell, each in zip(cells, samples, strict=True):
        columns.append((str(cell["model"]), [s["restored"] for s in each]))
    half = -(-len(columns) // 2)
    # Two bands, so that a page shows the pictures at their size.
    step, height = WINDOW + GAP, ROWS * (WINDOW + GAP) + CAPTION
    sheet = Image.new("RGB", (half * step - GAP, 2 * height - GAP), "white")
    for number, (caption, names) in enumerate(columns):
        left, top = number % half * step, number // half * height
        ImageDraw.Draw(sheet).text((left + 1, top + 1), caption, fill="black")
        for row, name in enumerate(names):
            with Image.open(folder / name) as image:
                shown = window(image.convert("RGB"))
            sheet.paste(shown, (left, top + CAPTION + row * (WINDOW + GAP)))
    sheet.save(path, optimize=True)


def window(image: Image.Image) -> Image.Image:
    """The middle of a picture, enlarged by a whole number if the picture is small."""
    times = max(1, WINDOW // min(image.size))
    image = image.resize((times * image.width, times * image.height), Image.Resampling.NEAREST)
    left, top = ((side - WINDOW) // 2 for side in image.size)
    return image.crop((left, top, left + WINDOW, top + WINDOW))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--command", required=True, help="the command that made the folder")
    chosen = parser.parse_args()
    cells = read_results(chosen.folder / RESULTS_NAME)
    found = sections(cells)
    tables = {f"{chosen.name} {section.dataset}": table_of(section) for section in found}
    for section in found:
        strip(chosen.folder, section, DOCS / "figures" / f"{chosen.name}-{section.dataset}.png")
    verdicts = verdict_table(found, "psnr")
    tables[f"{chosen.name} verdicts"] = {
        "columns": list(verdicts.header),
        "rows": [list(map(str, row)) for row in verdicts.rows],
    }
    machine = ", ".join(f"{key} {value}" for key, value in cells[0]["machine"].items())
    content = {
        "command": chosen.command,
        "machine": f"{machine}, float32",
        "date": date.today().isoformat(),
        "tables": tables,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (RESULTS / f"{chosen.name}-benchmark.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
