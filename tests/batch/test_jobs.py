"""Which pictures are taken, where results go, which mask belongs to which."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from irae.batch.jobs import (
    Found,
    collect_pictures,
    find_mask,
    is_picture_name,
    plan_outputs,
)
from irae.errors import PictureError, UsageError
from irae.imaging.io import kinds


def _draw(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(path)


def _names(found: list[Found]) -> list[str]:
    return [str(picture.subfolder / picture.path.name) for picture in found]


def test_results_and_masks_of_a_folder_are_not_taken(tmp_path: Path) -> None:
    _draw(*(tmp_path / n for n in ("a.png", "a.restored.png", "a.mask.png", "b/c.JPG.png")))
    found, failures = collect_pictures(
        [str(tmp_path)], recursive=True, skip_marks=[".restored", ".mask"]
    )
    assert _names(found) == ["a.png", "b/c.JPG.png"]
    assert failures == []
    outright = [str(tmp_path / "a.restored.png")]
    assert len(collect_pictures(outright, skip_marks=[".restored"])[0]) == 1


def test_a_picture_named_twice_is_taken_once(tmp_path: Path) -> None:
    _draw(tmp_path / "a.png")
    found, _ = collect_pictures([str(tmp_path), str(tmp_path / "a.png"), str(tmp_path / "*.png")])
    assert _names(found) == ["a.png"]


def test_earlier_results_inside_an_input_folder_are_not_taken(tmp_path: Path) -> None:
    _draw(tmp_path / "a.png", tmp_path / "out" / "a.png")
    found, _ = collect_pictures([str(tmp_path)], recursive=True, skip_folder=tmp_path / "out")
    assert _names(found) == ["a.png"]


def test_a_missing_input_does_not_stop_the_others(tmp_path: Path) -> None:
    _draw(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    inputs = [str(tmp_path / name) for name in ("none.png", "empty", "a.png", "*.bmp")]
    found, failures = collect_pictures(inputs)
    assert _names(found) == ["a.png"]
    assert [failure.input for failure in failures] == [inputs[0], inputs[1], inputs[3]]
    for failure in failures:
        assert failure.input in failure.error


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
    assert len(plan.notes) == 1
    named = plan_outputs(found[:1], tmp_path / "out.jpg", exact=True)
    assert named.jobs[0].target.name == "out.jpg"
    assert "lossy" in named.notes[0]


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


def test_links_are_followed_once_and_said(tmp_path: Path) -> None:
    scans, elsewhere = tmp_path / "scans", tmp_path / "elsewhere"
    for path in (scans / "b.png", scans / "sub/d.png", elsewhere / "e.png", elsewhere / "f.png"):
        _draw(path)
    (scans / "a.png").symlink_to(scans / "b.png")
    (scans / "c.png").symlink_to(elsewhere / "e.png")
    (scans / "linked").symlink_to(elsewhere)
    (scans / "sub/up").symlink_to(scans)
    (scans / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (scans / "._b.png").write_bytes(b"\0\5\x16\7")
    said: list[str] = []

    def names(recursive: bool) -> list[str]:
        said.clear()
        found, failures = collect_pictures([str(scans)], recursive=recursive, note=said.append)
        assert failures == []
        return sorted(picture.relative for picture in found)

    assert names(False) == ["b.png", "c.png"]
    assert sorted(said) == [
        f"{scans / 'a.png'}: is the same file as {scans / 'b.png'}, which is taken once",
        f"{scans / 'gone.png'}: is a link to nothing; passed over",
    ]
    # Of a link and its file, the file is taken; a loop of folders ends.
    assert names(True) == ["b.png", "linked/e.png", "linked/f.png", "sub/d.png"]
    assert any(line.startswith(f"{scans / 'c.png'}: is the same file as") for line in said)
    # The same name twice is no link.
    said.clear()
    collect_pictures([str(scans / "b.png"), str(scans / "b.png")], note=said.append)
    assert said == []


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
    with pytest.raises(PictureError, match="no mask"):
        find_mask(Found(tmp_path / "x.png"), tmp_path)
    _draw(tmp_path / "x.mask.png")
    assert find_mask(Found(tmp_path / "x.png"), tmp_path).name == "x.mask.png"


def test_a_suffix_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    found = [Found(tmp_path / "x.jfif"), Found(tmp_path / "noisy")]
    plan = plan_outputs(found, None)
    assert plan.jobs == []
    assert all("name a .png with -o" in failure.error for failure in plan.failures)
    assert plan_outputs(found[:1], tmp_path / "x.png").jobs


def test_pictures_that_cannot_be_read_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "find_spec", lambda name: None)
    _draw(tmp_path / "a.png")
    for name in ("b.HEIC", "c.psd", "sub/d.cr2", "._e.psd", "f.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    said: list[str] = []
    found, failures = collect_pictures([str(tmp_path)], recursive=True, note=said.append)
    assert (len(found), failures) == (1, [])
    assert said == [
        f"{tmp_path}: 3 files passed over that cannot be read (.cr2 .heic .psd);"
        " pip install 'irae[heif]' reads HEIC"
    ]
    collect_pictures([str(tmp_path / "a.png"), str(tmp_path / "*.png")], note=said.append)
    assert len(said) == 1
