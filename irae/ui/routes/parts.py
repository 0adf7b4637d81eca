"""What all routes work with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irae.ui.intake import Intake
from irae.ui.jobs import Jobs
from irae.ui.pictures import PictureStore
from irae.ui.service import RestoreService


@dataclass(frozen=True)
class Parts:
    """What the API works with.

    Attributes:
        store: the pictures.
        intake: what looks at files that are brought.
        service: what restores them.
        jobs: the jobs.
        opened: pictures that were named when the server was started.
    """

    store: PictureStore
    intake: Intake
    service: RestoreService
    jobs: Jobs
    opened: tuple[Path, ...] = ()


def binary_body(description: str) -> dict[str, Any]:
    """Describe a request whose body is a file."""
    schema = {"type": "string", "format": "binary", "description": description}
    content = {"application/octet-stream": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}
