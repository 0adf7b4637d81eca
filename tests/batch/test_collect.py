"""Which pictures a command takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from irae.batch.collect import Found, collect_pictures
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
