"""The choice of a task for what is known of a picture, and its words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from irae.imaging.analysis.damage import Damage
from irae.imaging.analysis.jpeg_quality import JpegQuality
from irae.imaging.analysis.noise import Noise
from irae.restoring.automatic.gain import Gains
from irae.restoring.automatic.inspection import Inspection, choose_task, explain
from irae.restoring.automatic.rules import is_white, trained_for
from irae.restoring.automatic.trial import FEATURES, FLATNESS

CLEAN, WEAK = Damage(0.3, 0.1, 95.0), Damage(6.0, 0.4, 96.0)


def _noise(
    sigma: float, correlation: float = 0.0, *, colour: float | None = None, sure: bool = True
) -> Noise:
    own = sigma if colour is None else colour
    return Noise(sigma, 2 * sigma + 2, correlation, own, sure=sure)


def _found(
    noise: Noise | None = None,
    quality: int | None = None,
    *,
    gains: dict[str, float] | None = None,
    form: str = "PNG",
    depth: int = 8,
    transparent: int = 0,
    impulses: float = 0.0,
    typical: dict[str, float] | None = None,
    harmed: bool = False,
    measured: Damage | None = None,
) -> Inspection:
    jpeg = None if quality is None else JpegQuality(quality, True, "tables")
    white = noise is not None and is_white(noise) and jpeg is None
    return Inspection(
        Path("x.png"), form, "RGB", depth, 9, 9,
        noise=noise, jpeg=jpeg, gains=gains or {}, transparent=transparent, impulses=impulses,
        denoisable=not harmed if white else None, typical=typical or {},
        measured=measured,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "task"),
    [
        (_found(_noise(0.0)), None),
        # White noise in a lossless file is the denoiser's own; weaker noise is left to the trial.
        (_found(_noise(3.1)), "denoise"),
        (_found(_noise(2.9)), None),
        (_found(_noise(9.0), gains={"jpeg": -1.0, "photo": 1.0}, harmed=True), "photo"),
        (_found(_noise(9.0), gains={"jpeg": -1.0, "photo": 0.2}, harmed=True), None),
        # Of two models that can be relied on, the one that typically gains more.
        (
            _found(
                _noise(5.0, 0.5),
                90,
                gains={"jpeg": 1.7, "photo": 1.2},
                typical={"jpeg": 2.0, "photo": 4.0},
            ),
            "photo",
        ),
        (
            _found(
                _noise(5.0, 0.5),
                90,
                gains={"jpeg": 1.7, "photo": 0.2},
                typical={"jpeg": 2.0, "photo": 4.0},
            ),
            "jpeg",
        ),
        # A gray picture has no other noise than what its channels share; a colour picture does.
        (_found(_noise(12.0, colour=0.0)), "denoise"),
        (_found(_noise(12.0, colour=1.0), gains={"jpeg": 0.5, "photo": 2.0}), "photo"),
        (_found(_noise(2.9), gains={"jpeg": -1.0, "photo": 1.0}), "photo"),
        (_found(_noise(12.0, 0.5), gains={"jpeg": 0.5, "photo": 2.0}), "photo"),
        (_found(_noise(12.0, sure=False), gains={"jpeg": 0.1, "photo": 0.2}), None),
        # In a JPEG, and where the rules are unsure, the fitted measure says if there is noise.
        (_found(_noise(0.0, sure=False), 96, gains={"photo": 3.0}, measured=WEAK), "photo"),
        (_found(_noise(0.0, sure=False), 96, gains={"photo": 3.0}, measured=CLEAN), None),
        (_found(_noise(0.0), 96, gains={"photo": 3.0}, measured=WEAK), "photo"),
        (_found(_noise(26.0), 90, gains={"jpeg": 3.0}, measured=CLEAN), None),
        # In a JPEG it is not white, whatever it looks like.
        (_found(_noise(12.0), 90, gains={"jpeg": 0.5, "photo": 2.0}, form="JPEG"), "photo"),
        (_found(None, 40, gains={"jpeg": 0.9, "photo": 0.2}, form="JPEG"), "jpeg"),
        # Writing with loss takes a part of the gain.
        (_found(_noise(0.0), 85, gains={"jpeg": 0.5, "photo": -1.0}), "jpeg"),
        (_found(_noise(0.0), 85, gains={"jpeg": 0.5, "photo": -1.0}, form="JPEG"), None),
        (_found(_noise(0.0), 92, gains={"jpeg": 0.5, "photo": 4.0}), None),
        (_found(_noise(8.0, 0.5), 92, gains={"jpeg": 0.5, "photo": 4.0}), "photo"),
        (_found(_noise(0.0), 95, gains={"jpeg": -0.5, "photo": -1.0}, form="JPEG"), None),
        (_found(_noise(0.0), impulses=0.05), "photo"),
        (_found(None), None),
        (_found(None, depth=1), None),
        (_found(_noise(0.0), transparent=50), None),
    ],
)
def test_the_task_for_what_was_found(found: Inspection, task: str | None) -> None:
    chosen, reason = choose_task(found)
    assert chosen == task
    assert "\n" not in reason
    assert (f"-> {task}" in reason) == (task is not None)


def test_drawings_are_not_given_to_a_model_of_photographs() -> None:
    gains, found = (
        Gains({"jpeg": 2.0, "photo": 0.5}, {"jpeg": 3.0, "photo": 1.0}),
        torch.zeros(FEATURES),
    )
    assert trained_for(gains, found, 80) == gains
    found[FLATNESS] = 0.7
    assert trained_for(gains, found, 80) == Gains({"photo": 0.5}, {"photo": 1.0})
    assert trained_for(gains, found, 40) == gains
    assert trained_for(gains, found, None) == gains


def test_the_reason_says_what_was_found() -> None:
    gains = {"jpeg": 0.2, "photo": 2.31}
    assert explain(_found(_noise(16.0, 0.4), 75, gains=gains)) == (
        "x.png: noise sigma about 16 and JPEG quality 75 by its tables, about 2.3 dB to gain"
        " -> photo"
    )
    assert explain(_found(_noise(24.2))) == "x.png: noise sigma about 24 -> denoise"
    assert explain(_found(_noise(0.4))) == "x.png: looks clean; nothing to do"
    assert "left as it is" in explain(_found(_noise(5.0, 0.5), gains={"jpeg": 0.0, "photo": -1.0}))
    texture = _noise(0.0, sure=False)
    assert "no noise to be seen" in explain(_found(texture, 95, gains=gains, measured=CLEAN))
    # Where noise is left, the way to restore it all the same is named.
    reason = explain(_found(texture, 95, gains={"photo": 0.1}, measured=WEAK))
    assert "noise or fine texture, sigma about 6" in reason
    assert "--task photo restores it" in reason
    assert "salt and pepper in 5.0%" in explain(_found(_noise(0.0), impulses=0.05))


def test_what_writing_would_undo_is_left() -> None:
    gains = {"jpeg": 0.2, "photo": 3.0}
    for change, task in ((2.0, None), (9.0, "photo")):
        found = _found(_noise(0.0), 85, gains=gains, form="JPEG")
        chosen = choose_task(replace(found, changes={"jpeg": 1.0, "photo": change}))[0]
        assert chosen == task
        # Nothing is lost in a PNG.
        lossless = replace(found, format="PNG", changes={"jpeg": 1.0, "photo": change})
        assert choose_task(lossless)[0] == "photo"
