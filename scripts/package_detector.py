"""Turn the weights of a detector's run into a packaged one: threshold, figures, and a card.

    python scripts/package_detector.py runs/damage/last.safetensors scratches --threshold 0.98 \
        --chosen "no mask on 97 % of 600 undamaged photographs" --result docs/results/damage.json

Choose the threshold with ``scripts/measure_damage.py --choose``, measure with the same script and
this threshold, and package. The card holds the table of the result.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from package_weights import started
from portable_config import without_folders

from irae.models.checkpoints.checksums import write_checksums
from irae.models.checkpoints.model_file import load_detector, save_model

WEIGHTS = Path(__file__).resolve().parent.parent / "irae" / "weights" / "detectors"


def measured(result: Path) -> list[str]:
    """A line for each row of the tables of a result, and their note."""
    tables = json.loads(result.read_text(encoding="utf-8"))["tables"]
    lines = []
    for table in tables.values():
        for name, *figures in table["rows"]:
            pairs = zip(table["columns"][1:], figures, strict=True)
            lines.append(f"{name}: " + ", ".join(f"{column} {figure}" for column, figure in pairs))
    notes = dict.fromkeys(table["note"].replace("`", "") for table in tables.values())
    return lines + list(notes)[:1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("name")
    parser.add_argument("--threshold", type=float, required=True)
    parser.add_argument("--chosen", required=True, help="what the threshold was chosen by")
    parser.add_argument("--note", default="", help="said after the patches in the card")
    parser.add_argument("--result", type=Path, help="a file of scripts/measure_damage.py")
    chosen = parser.parse_args()
    model = load_detector(chosen.run)
    card: dict[str, Any] = dict(model.spec.card)
    card["config"] = without_folders(card["config"])
    card["threshold"] = chosen.threshold
    card["threshold_chosen"] = chosen.chosen
    card["data"] = ", ".join(each["source"] for each in card["config"]["data"]["train"])
    card |= started(Path(chosen.run))
    card["measured"] = [] if chosen.result is None else measured(chosen.result)
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    path = WEIGHTS / f"{chosen.name}.safetensors"
    save_model(path, model.network, replace(model.spec, card=card))
    about = (
        f"Finds scratches, dust, hairs and stamps; {model.parameters:,} parameters. Trained on "
        f"{card['patches']:,} patches of {card['data']} with pasted damage"
        f"{', ' + chosen.note if chosen.note else ''}. The threshold, "
        f"{chosen.threshold:g}, was chosen by: {chosen.chosen}."
    )
    lines = [f"# {chosen.name}", "", about, "", *(f"- {line}" for line in card["measured"])]
    path.with_suffix(".md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    write_checksums(WEIGHTS)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
