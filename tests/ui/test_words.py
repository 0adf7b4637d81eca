"""What the page says of a picture: plain words, and what to choose where Automatic does nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from irae.imaging.analysis.jpeg_quality import JpegQuality
from irae.imaging.analysis.noise import Noise
from irae.restoring.automatic.inspection import Inspection
from irae.ui.words import describe_damage

SIZE: dict[str, Any] = {"depth": 8, "width": 400, "height": 300}


def _found(sigma: float, quality: int | None, **options: Any) -> Inspection:
    jpeg = None if quality is None else JpegQuality(quality, standard=True, source="tables")
    format_name = "PNG" if quality is None else "JPEG"
    noise = Noise(sigma, sigma, correlation=0.05, colour=sigma, sure=True)
    return Inspection(Path("x"), format_name, "RGB", **SIZE, noise=noise, jpeg=jpeg, **options)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (_found(0.5, None), "Looks clean; it will be left as it is."),
        (
            _found(0.5, 85, gains={"jpeg": -1.0}),
            "Was saved as a JPEG of medium quality, but restoring is not sure to help: it will be"
            " left as it is, unless you choose JPEG.",
        ),
        (
            _found(0.5, 40, gains={"jpeg": -1.0}),
            "Was saved as a JPEG of low quality, but restoring is not sure to help: it will be"
            " left as it is, unless you choose JPEG.",
        ),
        (
            _found(6.0, 85, gains={"photo": -1.0}),
            "Looks noisy and was saved as a JPEG, but restoring is not sure to help: it will be"
            " left as it is, unless you choose Photo.",
        ),
        (
            _found(6.0, 85, gains={"photo": 2.0}),
            "Looks noisy and was saved as a JPEG; it will be restored as a photo.",
        ),
        (
            _found(25.0, None, gains={"denoise": 2.0}, transparent=9),
            "Looks noisy; its noise will be removed. Transparent parts are kept; to fill them,"
            " choose Holes.",
        ),
    ],
)
def test_what_is_found_is_said_plainly(found: Inspection, sentence: str) -> None:
    assert describe_damage(found) == sentence
