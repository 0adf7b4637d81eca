"""Where results go, and which mask belongs to which picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from irae.batch.collect import Found, collect_pictures
from irae.batch.jobs import find_mask, is_picture_name, plan_outputs
from irae.errors import PictureError, UsageError


def _draw(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(path)


def test_default_outputs_lie_beside_the_sources(tmp_path: Path) -> None:
    plan = plan_outputs([Found(tmp_path / "x.png"), Found(tmp_path / "y.jpg")], None)
    assert [job.target.name for job in plan.jobs] == ["x.restored.png", "y.restored.jpg"]


def test_subfolders_are_kept_in_an_output_folder(tmp_path: Path) -> None:
    _draw(tmp_path / "in/a/x.png", tmp_path / "in/b/x.png")
    found, _ = collect_pictures([str(tmp_path / "in")], recursive=True)
    plan = plan_outputs(found, tmp_path / "out")
    assert [job.target for job in plan.jobs] == [
        tmp_path / "out/a/x.png",
        tmp_path / "out/b/x.png",
    ]


def test_two_inputs_of_one_name_cannot_share_an_output(tmp_path: Path) -> None:
    _draw(tmp_path / "a/x.png", tmp_path / "b/x.png")
    plan = plan_outputs([Found(tmp_path / "a/x.png"), Found(tmp_path / "b/x.png")], tmp_path / "o")
    assert len(plan.jobs) == 1
    assert str(tmp_path / "b/x.png") in plan.failures[0].error


def test_a_picture_that_fails_is_in_one_part_and_a_missing_input_in_all(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(8)]
    _draw(*(tmp_path / "in" / name for name in names), *(tmp_path / "out" / n for n in names[:4]))
    found, missing = collect_pictures([str(tmp_path / "in"), "gone.png"])
    plan = plan_outputs(found, tmp_path / "out")
    plan.failures += missing
    parts = [plan.part(number, 2) for number in (1, 2)]
    failed = sorted(failure.input for part in parts for failure in part.failures)
    assert failed == sorted([*(str(tmp_path / "in" / n) for n in names[:4]), *2 * ["gone.png"]])
    assert sorted(job.source.name for part in parts for job in part.jobs) == names[4:]


def test_one_picture_name_for_several_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder"):
        plan_outputs([Found(Path("a.png")), Found(Path("b.png"))], tmp_path / "out.png")


def test_existing_outputs_stay_without_overwrite(tmp_path: Path) -> None:
    _draw(tmp_path / "x.png", tmp_path / "x.restored.png")
    found = [Found(tmp_path / "x.png")]
    assert "--overwrite" in plan_outputs(found, None).failures[0].error
    assert len(plan_outputs(found, None, overwrite=True).jobs) == 1


def test_an_input_is_overwritten_only_when_named(tmp_path: Path) -> None:
    _draw(tmp_path / "x.png", tmp_path / "y.png")
    found = [Found(tmp_path / "x.png")]
    assert plan_outputs(found, tmp_path / "x.png").failures
    assert plan_outputs(found, tmp_path / "x.png", overwrite=True).jobs
    assert plan_outputs(found, tmp_path, overwrite=True).failures
    assert "--overwrite" in plan_outputs(found, tmp_path / "y.png").failures[0].error


def test_exact_results_of_lossy_inputs_become_png(tmp_path: Path) -> None:
    found = [Found(tmp_path / "x.jpg"), Found(tmp_path / "y.tif")]
    plan = plan_outputs(found, None, exact=True)
    assert [job.target.name for job in plan.jobs] == ["x.restored.png", "y.restored.tif"]
    assert [len(job.notes) for job in plan.jobs] == [1, 0]
    named = plan_outputs(found[:1], tmp_path / "out.jpg", exact=True)
    assert named.jobs[0].target.name == "out.jpg"
    assert "lossy" in named.jobs[0].notes[0]
    assert named.jobs[0].as_copy().target.name == "out.jpg"


def test_what_stays_as_it_is_keeps_its_suffix(tmp_path: Path) -> None:
    found = [Found(tmp_path / "in/sub/x.jpg", Path("sub")), Found(tmp_path / "in/y.tif")]
    jobs = plan_outputs(found, tmp_path / "out", exact=True).jobs
    copies = [job.as_copy() for job in jobs]
    assert [job.relative for job in copies] == ["sub/x.jpg", "y.tif"]
    assert [job.target for job in copies] == [tmp_path / "out/sub/x.jpg", tmp_path / "out/y.tif"]
    assert not any(job.notes or job.copy for job in copies)
    # A name that the user gave is kept, and an input is never replaced.
    named = plan_outputs(found[:1], tmp_path / "out", exact=True, suffix=".png").jobs[0]
    assert named.as_copy().target.name == "x.png"
    beside = plan_outputs(found[:1], tmp_path / "in", exact=True).jobs[0]
    assert beside.as_copy().target == tmp_path / "in/sub/x.png"


def test_two_copies_of_one_name_are_refused(tmp_path: Path) -> None:
    _draw(tmp_path / "a/x.jpg")
    (tmp_path / "b").mkdir()
    Image.new("CMYK", (2, 2)).save(tmp_path / "b/x.jpg")
    found = [Found(tmp_path / "a/x.jpg"), Found(tmp_path / "b/x.jpg")]
    plan = plan_outputs(found, tmp_path / "out", exact=True)
    assert [job.target.name for job in plan.jobs] == ["x.png"]
    assert "already that of" in plan.failures[0].error


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", True),
        ("a.JPG", True),
        ("out", False),
        ("v1.2", False),
        ("2024.05", False),
        (".hidden", False),
        ("a.png/", False),
        ("a.xyz/", False),
        ("in.old/a.png", True),
        ("in.old/out", False),
    ],
)
def test_a_suffix_tells_a_picture_from_a_folder(name: str, expected: bool) -> None:
    assert is_picture_name(name) is expected


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("out.mpg", "cannot write .mpg"),
        ("out.heic", "cannot write .heic"),
        ("out.xyz", "is no suffix of a picture; .* or add a slash"),
        ("a.pngg", "is no suffix of a picture"),
        ("-", "only irae restore writes to standard output"),
    ],
)
def test_a_name_of_no_picture_is_refused(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        is_picture_name(name)


def test_a_folder_may_be_called_like_anything(tmp_path: Path) -> None:
    for name in ("a.png", "a.xyz"):
        (tmp_path / name).mkdir()
        assert not is_picture_name(tmp_path / name)


def test_a_note_says_which_format_was_chosen_only_where_nobody_asked_for_it(tmp_path: Path) -> None:
    found = [Found(tmp_path / "x.jpg")]
    (job,) = plan_outputs(found, tmp_path / "out", exact=True).jobs
    assert "since .jpg would change all pixels" in job.notes[0]
    for out, suffix in (("y.png", None), ("out", ".png")):
        (job,) = plan_outputs(found, tmp_path / out, exact=True, suffix=suffix).jobs
        assert job.target.suffix == ".png"
        assert job.notes == ()
    (job,) = plan_outputs(found, tmp_path / "y.jpg", exact=True).jobs
    assert "a lossy format" in job.notes[0]


def test_masks_are_found_by_name(tmp_path: Path) -> None:
    picture = Found(tmp_path / "in/sub/x.png", Path("sub"))
    _draw(picture.path)
    masks = tmp_path / "masks"
    _draw(masks / "x.bmp")
    assert find_mask(picture, masks) == masks / "x.bmp"
    _draw(masks / "x.mask.png")
    assert find_mask(picture, masks) == masks / "x.mask.png"
    _draw(masks / "sub/x.png")
    assert find_mask(picture, masks) == masks / "sub/x.png"
    assert find_mask(picture, masks / "x.bmp") == masks / "x.bmp"
    _draw(masks / "sub/x.tif")
    with pytest.raises(PictureError, match="two masks"):
        find_mask(picture, masks)


def test_a_picture_is_not_its_own_mask(tmp_path: Path) -> None:
    _draw(tmp_path / "x.png")
    with pytest.raises(PictureError, match=r"named x\.png or x\.mask\.png"):
        find_mask(Found(tmp_path / "x.png"), tmp_path)
    _draw(tmp_path / "x.mask.png")
    assert find_mask(Found(tmp_path / "x.png"), tmp_path).name == "x.mask.png"


def test_a_suffix_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    found = [Found(tmp_path / "x.jfif"), Found(tmp_path / "noisy")]
    plan = plan_outputs(found, None)
    assert plan.jobs == []
    assert all("name a .png with -o" in failure.error for failure in plan.failures)
    assert plan_outputs(found[:1], tmp_path / "x.png").jobs
