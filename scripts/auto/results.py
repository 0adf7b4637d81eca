"""Files of results that scripts write for ``scripts/fill_tables.py``."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from irae import load_model
from irae.models.checkpoints.checksums import weights_checksum

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"


def write_tables(
    name: str, tables: dict[str, Any], models: list[str], command: str, note: str
) -> None:
    """Write ``docs/results/NAME.json``.

    Args:
        name: name of the file.
        tables: tables of ``columns`` and ``rows``, by their names.
        models: packaged models on which the figures depend.
        command: the command that makes them.
        note: a sentence for the page.
    """
    content = {
        "command": command,
        "machine": "a CPU",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "note": note,
        "weights": {model: weights_checksum(load_model(model))[:16] for model in models},
        "tables": tables,
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {path}; python scripts/fill_tables.py puts it into the pages")
