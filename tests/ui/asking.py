"""Pictures that are brought to the API, and what it answers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from irae.batch.model_pool import ModelPool
from irae.batch.outcome import Outcome
from irae.batch.restore_files import Request, restore_files
from irae.restoring.options import RestoreOptions


def noisy(path: Path, seed: int = 0, size: tuple[int, int] = (40, 32), **options: Any) -> Path:
    """Write a gray picture with much noise."""
    values = np.random.default_rng(seed).normal(128, 25, (size[1], size[0], 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(path, **options)
    return path


def restored_by_command(source: Path, mask: Path | None = None, **options: Any) -> Path:
    """What the command makes of a picture."""
    told: list[Outcome] = []
    pool = ModelPool(RestoreOptions(device="cpu", precision="fp32", **options))
    restore_files(Request((str(source),), mask=mask, overwrite=True), pool, told.append)
    assert told[0].output is not None, told[0].error
    return Path(told[0].output)


def pixels_of(answer: Any) -> np.ndarray[Any, Any]:
    """Decode the picture of an answer."""
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(answer.content)) as image:
        return np.asarray(image)


def mask_of_box(size: tuple[int, int], box: tuple[int, int, int, int]) -> bytes:
    """A PNG that is white in a box."""
    image = Image.new("L", size)
    image.paste(255, box)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def error_of(answer: Any, status: int) -> str:
    """The one sentence of an answer that refuses something."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    sentence: str = answer.json()["error"]
    assert "\n" not in sentence
    assert "/tmp" not in sentence
    return sentence
