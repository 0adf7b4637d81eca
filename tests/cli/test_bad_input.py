"""Bad input: one line that names it, an exit code, nothing half-written, the rest done."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

Run = Callable[..., CompletedProcess[str]]


def _draw(path: Path, size: tuple[int, int] = (20, 14)) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def _chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def _bomb() -> bytes:
    """A PNG of a few bytes that claims 3.6 thousand million pixels."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)
    return start + _chunk(b"IDAT", zlib.compress(b"\0" * 100)) + _chunk(b"IEND", b"")


def _only_error(said: CompletedProcess[str], *words: object) -> None:
    """One line on stderr that holds the words, no traceback, an exit code that is not zero."""
    assert said.returncode in (1, 2, 3)
    # Two spaces: the table at the end of a batch.
    lines = [line for line in said.stderr.splitlines() if not line.startswith("  ")]
    assert len(lines) == 1, said.stderr
    assert lines[0].startswith("irae: error: ")
    for word in words:
        assert str(word) in lines[0]


def _files(folder: Path) -> list[str]:
    """What a command left in a folder, besides the manifest that a batch has."""
    names = (path.name for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if not name.startswith("irae-manifest"))


@pytest.fixture
def denoise(model_files: dict[str, Path]) -> list[object]:
    return ["restore", "--device", "cpu", "--model", model_files["denoise"]]


@pytest.fixture
def bad_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file called ``bad.png`` that is no usable picture, in the way the parameter says."""
    path = tmp_path / "in" / "bad.png"
    whole = _draw(path, (200, 150)).read_bytes()
    content = {
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"this is not a picture\n" * 20,
        "bomb": _bomb(),
        "header only": whole[:40],
        "damaged": whole[:300] + bytes(200) + whole[500:],
    }
    kind = request.param
    if kind in content:
        path.write_bytes(content[kind])
    elif kind == "truncated jpeg":
        with Image.open(path) as image:
            image.save(path, "JPEG")
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "dangling link":
        path.unlink()
        path.symlink_to(tmp_path / "nowhere.png")
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    return path


BAD_FILES = [
    "truncated",
    "truncated jpeg",
    "empty",
    "text",
    "bomb",
    "header only",
    "damaged",
    "dangling link",
    "folder",
]


@pytest.mark.parametrize("bad_file", BAD_FILES, indirect=True)
@pytest.mark.parametrize("command", ["restore", "degrade"])
def test_a_bad_picture_spares_the_rest(
    irae: Run, tmp_path: Path, denoise: list[object], bad_file: Path, command: str
) -> None:
    first, last = (_draw(tmp_path / "in" / name) for name in ("a.png", "z.png"))
    start = denoise if command == "restore" else ["degrade", "--sigma", 5]
    said = irae(*start, first, bad_file, last, "-o", tmp_path / "out")
    _only_error(said, bad_file)
    assert _files(tmp_path / "out") == ["a.png", "z.png"]


@pytest.mark.parametrize("bad_file", ["truncated", "empty", "text", "bomb"], indirect=True)
def test_a_bad_picture_in_a_folder_spares_the_rest(
    irae: Run, tmp_path: Path, denoise: list[object], bad_file: Path
) -> None:
    _draw(tmp_path / "in" / "a.png")
    said = irae(*denoise, tmp_path / "in", "-o", tmp_path / "out", "--json")
    _only_error(said, bad_file)
    assert _files(tmp_path / "out") == ["a.png"]
    rows = [json.loads(line) for line in said.stdout.splitlines()]
    assert [row["output"] is None for row in rows[:-1]] == [False, True]


def test_a_mask_of_another_size_spares_the_rest(
    irae: Run, tmp_path: Path, model_files: dict[str, Path]
) -> None:
    _draw(tmp_path / "in/a.png")
    _draw(tmp_path / "in/b.png", (21, 14))
    mask = Image.new("L", (20, 14))
    mask.paste(255, (4, 4, 9, 9))
    mask.save(tmp_path / "mask.png")
    start = ["restore", "--device", "cpu", "--model", model_files["inpaint"], tmp_path / "in"]
    said = irae(*start, "--mask", tmp_path / "mask.png", "-o", tmp_path / "out")
    _only_error(said, tmp_path / "mask.png", "20x14", "21x14", "--resize-mask")
    assert _files(tmp_path / "out") == ["a.png"]
    resized = [*start, "--mask", tmp_path / "mask.png", "-o", tmp_path / "out", "--resize-mask"]
    assert irae(*resized, "--overwrite").returncode == 0


@pytest.mark.parametrize("bad_file", ["text"], indirect=True)
def test_a_bad_mask_is_named(
    irae: Run, tmp_path: Path, model_files: dict[str, Path], bad_file: Path
) -> None:
    source = _draw(tmp_path / "a.png")
    said = irae("restore", "--model", model_files["inpaint"], source, "--mask", bad_file)
    _only_error(said, bad_file)
    assert not (tmp_path / "a.restored.png").exists()


@pytest.mark.parametrize("name", ["empty", "none", "none.png", "*.png"])
def test_an_input_without_pictures_spares_the_rest(
    irae: Run, tmp_path: Path, denoise: list[object], name: str
) -> None:
    (tmp_path / "empty").mkdir()
    good = _draw(tmp_path / "good" / "a.png")
    said = irae(*denoise, tmp_path / name, good)
    _only_error(said, tmp_path / name)
    assert (tmp_path / "good" / "a.restored.png").is_file()


def _refused_model(irae: Run, tmp_path: Path, model: object, *words: object) -> None:
    source = _draw(tmp_path / "a.png")
    _only_error(irae("restore", "--device", "cpu", source, "--model", model), *words)
    assert not (tmp_path / "a.restored.png").exists()


def test_an_unknown_model_is_named(irae: Run, tmp_path: Path) -> None:
    _refused_model(irae, tmp_path, "sharpen", "sharpen", "packaged")
    _refused_model(irae, tmp_path, tmp_path / "none.safetensors", "none.safetensors")
    (tmp_path / "run").mkdir()
    _refused_model(irae, tmp_path, tmp_path / "run", tmp_path / "run", "irae train")


def test_a_damaged_model_is_named(irae: Run, tmp_path: Path, model_files: dict[str, Path]) -> None:
    model = tmp_path / "model.safetensors"
    whole = model_files["denoise"].read_bytes()
    for content in (b"", b"text", whole[:1000], whole[:-1000]):
        model.write_bytes(content)
        _refused_model(irae, tmp_path, model, model)


def test_a_checkpoint_of_another_architecture_is_named(
    irae: Run, tmp_path: Path, model_files: dict[str, Path]
) -> None:
    model = tmp_path / "model.safetensors"
    save_file({"conv.weight": torch.zeros(3, 3, 3, 3)}, model)
    _refused_model(irae, tmp_path, model, model)
    tensors = load_file(model_files["denoise"])
    first = next(iter(tensors))
    tensors[first] = torch.zeros(7)
    from safetensors import safe_open

    with safe_open(model_files["denoise"], framework="pt") as file:
        header = file.metadata()
    save_file(tensors, model, header)
    _refused_model(irae, tmp_path, model, model, first, "architecture")


class _Bomb:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.safetensors", "model.pkl"])
def test_a_pickle_is_never_executed(irae: Run, tmp_path: Path, name: str) -> None:
    trace = tmp_path / "executed"
    model = tmp_path / name
    for save in (torch.save, lambda bomb, path: path.write_bytes(pickle.dumps(bomb))):
        save(_Bomb(trace), model)
        _refused_model(irae, tmp_path, model, model)
        assert not trace.exists()


def test_a_model_that_gives_no_numbers_is_an_error_that_names_the_picture(
    irae: Run, tmp_path: Path, model_files: dict[str, Path]
) -> None:
    from irae.models.checkpoints.model_file import load_model, save_model

    model = load_model(model_files["denoise"])
    next(model.network.parameters()).fill_(float("nan"))
    save_model(tmp_path / "nan.safetensors", model.network, model.spec)
    _refused_model(irae, tmp_path, tmp_path / "nan.safetensors", tmp_path / "a.png", "finite")


def test_a_full_disk_leaves_nothing_behind(
    irae: Run, tmp_path: Path, denoise: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = _draw(tmp_path / "a.png"), _draw(tmp_path / "b.png")
    replace, failed = os.replace, []

    def full_once(source: Path, target: Path) -> None:
        if not failed:
            failed.append(target)
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        replace(source, target)

    monkeypatch.setattr("os.replace", full_once)
    said = irae(*denoise, first, second, "-o", tmp_path / "out")
    _only_error(said, tmp_path / "out" / "a.png", "disk is full")
    assert _files(tmp_path / "out") == ["b.png"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a file system needs root")
    options = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(["mount", *options], capture_output=True).returncode != 0:
        pytest.skip("mounting a file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("command", ["restore", "degrade"])
def test_a_disk_that_really_is_full(
    irae: Run, tmp_path: Path, denoise: list[object], tiny_disk: Path, command: str
) -> None:
    large, small = _draw(tmp_path / "large.png", (300, 200)), _draw(tmp_path / "small.png")
    start = denoise if command == "restore" else ["degrade", "--hole", "center:5"]
    said = irae(*start, large, small, "-o", tiny_disk)
    _only_error(said, tiny_disk / "large.png", "disk is full")
    assert [n for n in _files(tiny_disk) if "mask" not in n] == ["small.png"]
    assert not (tiny_disk / "large.mask.png").exists()


@pytest.mark.parametrize("command", ["restore", "degrade"])
def test_an_output_folder_that_cannot_be(
    irae: Run, tmp_path: Path, denoise: list[object], command: str
) -> None:
    """Works as root too, whom permission bits do not stop."""
    source = _draw(tmp_path / "a.png")
    (tmp_path / "file").write_text("in the way")
    start = denoise if command == "restore" else ["degrade", "--sigma", 5]
    for out in (tmp_path / "file", tmp_path / "file" / "below", "/proc/none"):
        _only_error(irae(*start, source, "-o", out), out)
    assert (tmp_path / "file").read_text() == "in the way"


def test_an_output_folder_without_permission(
    irae: Run, tmp_path: Path, denoise: list[object]
) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    source = _draw(tmp_path / "a.png")
    folder.chmod(0o555)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("permission bits do not stop this user (root)")
        _only_error(irae(*denoise, source, "-o", folder), folder)
    finally:
        folder.chmod(0o755)


def _shell(*arguments: object) -> CompletedProcess[str]:
    words = [str(argument) for argument in arguments]
    return subprocess.run([sys.executable, "-m", "irae", *words], capture_output=True, text=True)


@pytest.mark.process
@pytest.mark.parametrize("bad_file", ["truncated"], indirect=True)
def test_the_real_program_spares_the_rest(
    tmp_path: Path, denoise: list[object], bad_file: Path
) -> None:
    good = _draw(tmp_path / "in" / "good.png")
    said = _shell(*denoise, bad_file, good, "-o", tmp_path / "out")
    _only_error(said, bad_file)
    assert said.returncode == 3
    assert said.stdout == f"{tmp_path / 'out' / 'good.png'}\n"


@pytest.mark.process
def test_the_real_program_refuses_a_pickle(tmp_path: Path) -> None:
    model, trace = tmp_path / "model.pt", tmp_path / "executed"
    torch.save(_Bomb(trace), model)
    _only_error(_shell("restore", _draw(tmp_path / "a.png"), "--model", model), model)
    assert not trace.exists()


@pytest.mark.process
def test_the_real_program_refuses_wrong_options(tmp_path: Path) -> None:
    source = _draw(tmp_path / "a.png")
    said = _shell("degrade", source, "-o", tmp_path / "b.png")
    _only_error(said, "exactly one")
    assert said.returncode == 2
