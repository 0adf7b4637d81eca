"""Write docs/reference/openapi.json, the description of the HTTP API of `irae ui`.

Usage: python scripts/page_openapi.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from irae.ui.api import make_app
from irae.ui.intake import Intake
from irae.ui.jobs import Jobs
from irae.ui.pictures import PictureStore
from irae.ui.routes.parts import Parts
from irae.ui.scratch import Scratch
from irae.ui.service import RestoreService

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference" / "openapi.json"


def description() -> dict[str, Any]:
    """Return the description, as a server without pictures gives it."""
    scratch = Scratch.create()
    try:
        store = PictureStore(scratch)
        parts = Parts(store, Intake(store, 1, 1), RestoreService(store, "cpu", "fp32"), Jobs())
        found: dict[str, Any] = make_app(parts).openapi()
        return found
    finally:
        scratch.remove()


if __name__ == "__main__":
    TARGET.write_text(json.dumps(description(), indent=1) + "\n", encoding="utf-8")
