"""``-`` reads standard input and writes standard output; -o refuses names of no picture."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image
from skimage import data

from irae.cli.app import main

Run = Callable[..., CompletedProcess[str]]
PHOTO = Image.fromarray(data.coffee()[:24, :40])


@dataclass
class Piped:
    """What a command that was given bytes wrote, and its exit code."""

    code: int
    out: bytes
    err: str


class _Stream(io.BytesIO):
    """Standard input or output of a program: text, over bytes in ``buffer``."""

    terminal = False

    @property
    def buffer(self) -> _Stream:
        return self

    def write(self, content: bytes | str) -> int:
        return super().write(content.encode() if isinstance(content, str) else content)

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Piped]:
    def run(*arguments: object, given: bytes = b"", terminal: bool = False) -> Piped:
        out = _Stream()
        out.terminal = terminal
        monkeypatch.setattr("sys.argv", ["irae", *map(str, arguments)])
        monkeypatch.setattr("sys.stdin", _Stream(given))
        monkeypatch.setattr("sys.stdout", out)
        code: object = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        return Piped(code if isinstance(code, int) else 1, out.getvalue(), capsys.readouterr().err)

    return run


@pytest.fixture
def start(model_files: dict[str, Path]) -> list[object]:
    return ["restore", "--device", "cpu", "--model", model_files["denoise"]]


def _encoded(kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    PHOTO.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "PPM"])
@pytest.mark.parametrize("out", [(), ("-o", "-")])
def test_a_picture_comes_out_as_it_went_in(
    pipe: Callable[..., Piped], start: list[object], kind: str, out: tuple[str, ...], tmp_path: Path
) -> None:
    given = _encoded(kind)
    said = pipe(*start, "-", *out, given=given)
    assert (said.code, said.err) == (0, "")
    with Image.open(io.BytesIO(said.out)) as image:
        assert (image.format, image.size) == (kind, PHOTO.size)
        assert not np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(given))))
    # The same as of a file.
    (tmp_path / "a.x").write_bytes(given)
    (tmp_path / f"a.{kind.lower()}").write_bytes(given)
    named = pipe(*start, tmp_path / "a.x", "-o", "-", "--format", "png")
    assert Image.open(io.BytesIO(named.out)).format == "PNG"


@pytest.mark.parametrize("name", ["png", "TIF", ".webp", "jpg"])
def test_the_format_of_a_result(
    pipe: Callable[..., Piped], start: list[object], name: str, tmp_path: Path
) -> None:
    said = pipe(*start, "-", "--format", name, given=_encoded("PNG"))
    assert said.code == 0
    kind = {"png": "PNG", "tif": "TIFF", "webp": "WEBP", "jpg": "JPEG"}[name.lower().strip(".")]
    assert Image.open(io.BytesIO(said.out)).format == kind
    lossy = "irae: note: standard output: JPEG changes all pixels of this PNG a little; .png keeps"
    assert said.err.startswith(lossy if kind == "JPEG" else "")
    assert bool(said.err) == (kind == "JPEG")
    # Of files, too.
    PHOTO.save(tmp_path / "a.png")
    assert pipe(*start, tmp_path, "-o", tmp_path / "out", "--format", name).code == 0
    (made,) = [each for each in (tmp_path / "out").iterdir() if each.suffix != ".jsonl"]
    assert made.suffix == f".{name.lower().strip('.')}"
    assert Image.open(made).format == kind


def test_from_standard_input_to_a_file_and_back(
    pipe: Callable[..., Piped], start: list[object], tmp_path: Path
) -> None:
    said = pipe(*start, "-", "-o", tmp_path / "a.png", "--undoable", given=_encoded("PNG"))
    assert (said.code, said.out) == (0, f"{tmp_path / 'a.png'}\n".encode())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.png.irae"]
    assert pipe(*start, tmp_path / "a.png", "-o", "-").out[:4] == b"\x89PNG"


def test_a_mask_goes_with_standard_input(
    pipe: Callable[..., Piped], model_files: dict[str, Path], tmp_path: Path
) -> None:
    mask = Image.new("L", PHOTO.size)
    mask.paste(255, (5, 5, 12, 12))
    mask.save(tmp_path / "m.png")
    start = ["restore", "--device", "cpu", "--model", model_files["inpaint"]]
    said = pipe(*start, "-", "--mask", tmp_path / "m.png", given=_encoded("JPEG"))
    assert said.code == 0
    with Image.open(io.BytesIO(said.out)) as image:
        assert image.format == "PNG", "known pixels are kept"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-", "b.png"], "- stands for one picture"),
        (["-", "-o", "folder"], "has no name"),
        (["-", "--undoable"], "--undoable writes a second file"),
        (["-", "--json"], "--json prints on standard output"),
        (["-", "--shard", "1/2"], "drop --shard"),
        (["-", "--format", "xyz"], "--format 'xyz' is unknown"),
        (["-", "-o", "x.jpg", "--format", "png"], "drop one of the two"),
        (["-", "-o", "x.xyz"], "is no suffix of a picture"),
        (["gone.png", "-o", "-"], "gone.png: no such picture file"),
    ],
)
def test_what_a_stream_cannot_do_is_one_line(
    pipe: Callable[..., Piped],
    start: list[object],
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    said = pipe(*start, *words, given=_encoded("PNG"))
    assert said.code in (1, 2)
    assert said.out == b""
    assert expected in said.err
    assert len(said.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_faults_of_standard_input_name_it(
    pipe: Callable[..., Piped], start: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for given, words in ((b"", "is empty"), (b"no picture", "not a picture")):
        said = pipe(*start, "-", given=given)
        assert said.out == b"" and said.code in (1, 3)
        assert said.err.startswith("irae: error: standard input: ") and words in said.err
    said = pipe(*start, "-", given=_encoded("PNG"), terminal=True)
    assert said.code == 2 and "is a terminal" in said.err
    monkeypatch.setenv("IRAE_MAX_PIXELS", "500")
    said = pipe(*start, "-", given=_encoded("PNG"))
    assert said.code == 3 and "standard input: claims 40x24" in said.err


def test_degrade_makes_no_folder_of_a_dash(
    irae: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    PHOTO.save("a.png")
    said = irae("degrade", "a.png", "--sigma", "5", "-o", "-")
    assert said.returncode == 2 and "only irae restore writes to standard output" in said.stderr
    said = irae("degrade", "a.png", "--sigma", "5", "-o", "noisy.xyz")
    assert said.returncode == 2 and "noisy.xyz: .xyz is no suffix of a picture" in said.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert irae("degrade", "a.png", "--sigma", "5", "-o", "noisy.xyz/").returncode == 0
    assert (tmp_path / "noisy.xyz" / "a.png").is_file()
    # Now it is a folder, with or without a slash.
    again = irae("degrade", "a.png", "--sigma", "5", "-o", "noisy.xyz", "--overwrite")
    assert again.returncode == 0
