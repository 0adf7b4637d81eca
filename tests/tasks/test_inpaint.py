"""The task ``inpaint``: the holes by which a run is validated."""

from __future__ import annotations

import pytest

from irae.tasks.inpaint import TASK, InpaintSection
from irae.tasks.schema import ValidationSection

THIN_KINDS = ["scratches", "hairs", "specks", "text", "stamp"]


def levels(section: InpaintSection) -> dict[str, str]:
    found = TASK.validation_levels(ValidationSection(), section, 96, 128)
    return {name: level.describe() for name, level in found.items()}


@pytest.mark.parametrize(
    ("holes", "names"),
    [
        ({"center": 0.5, "irregular": 0.5}, ["irregular", "center"]),
        ({"box": 1.0}, ["center"]),
        ({"thin": 1.0}, THIN_KINDS),
        ({"thin": 1.0, "center": 0.0, "irregular": 0.0}, THIN_KINDS),
        ({"thin": 0.5, "box": 0.1, "irregular": 0.1}, ["irregular", "center", *THIN_KINDS]),
    ],
)
def test_a_run_is_validated_by_the_kinds_that_it_learns(
    holes: dict[str, float], names: list[str]
) -> None:
    assert list(levels(InpaintSection.model_validate({"holes": holes}))) == names


@pytest.mark.parametrize(
    ("sides", "side"), [((0.125, 0.5), 24), ((0.5, 0.5), 48), ((0.0, 0.5), 1), ((1.0, 1.0), 96)]
)
def test_the_box_has_the_middle_side_of_those_that_are_learned(
    sides: tuple[float, float], side: int
) -> None:
    section = InpaintSection(holes={"center": 1.0}, box_side=sides)
    assert levels(section) == {"center": f"center {side}"}
