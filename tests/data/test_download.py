from __future__ import annotations

import hashlib
import io
import os
import random
import socket
import tarfile
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from irae.data import download as module
from irae.data.download import download, fetch, unpack
from irae.data.registry import REGISTRY, Archive
from irae.errors import DataError

CONTENT = random.Random(0).randbytes(300_000)
SIZE = len(CONTENT)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "set.tgz"


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def refused_address() -> str:
    """An address on loopback that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/set.tgz"


def get(server: Any, target: Path, **words: Any) -> None:
    server.files.setdefault("set.tgz", CONTENT)
    fetch(server.url("set.tgz"), target, **{"pause": 0.0, **words})


@pytest.mark.parametrize("known", [{}, {"size": SIZE}, {"size": SIZE, "md5": md5(CONTENT)}])
@pytest.mark.parametrize("lengths", [True, False])
def test_fetch(file_server: Any, target: Path, known: dict[str, Any], lengths: bool) -> None:
    file_server.lengths = lengths
    get(file_server, target, **known)
    assert target.read_bytes() == CONTENT
    assert os.listdir(target.parent) == ["set.tgz"]
    assert file_server.asked == [None]


@pytest.mark.parametrize("size", [None, SIZE])
def test_a_cut_connection_is_taken_up_again(
    file_server: Any, target: Path, size: int | None
) -> None:
    file_server.cuts = [100_000, 0, 50_000]
    said: list[str] = []
    get(file_server, target, size=size, md5=md5(CONTENT), say=said.append)
    assert target.read_bytes() == CONTENT
    assert file_server.asked == [None, "bytes=100000-", "bytes=100000-", "bytes=150000-"]
    assert len(said) == 3
    assert "going on at byte 100,000" in said[0]


def test_a_killed_download_goes_on_in_the_next_call(file_server: Any, target: Path) -> None:
    part_of(target).write_bytes(CONTENT[:123])
    get(file_server, target, size=SIZE, md5=md5(CONTENT))
    assert target.read_bytes() == CONTENT
    assert file_server.asked == ["bytes=123-"]


def test_a_complete_part_is_not_fetched_again(file_server: Any, target: Path) -> None:
    part_of(target).write_bytes(CONTENT)
    get(file_server, target, size=SIZE, md5=md5(CONTENT))
    assert target.read_bytes() == CONTENT
    assert file_server.asked == []


@pytest.mark.parametrize("size", [None, SIZE])
def test_a_part_that_is_too_long_is_dropped(
    file_server: Any, target: Path, size: int | None
) -> None:
    part_of(target).write_bytes(CONTENT + b"more")
    get(file_server, target, size=size, md5=md5(CONTENT))
    assert target.read_bytes() == CONTENT


def test_a_server_that_ignores_range_is_read_from_the_start(file_server: Any, target: Path) -> None:
    file_server.ranges = False
    file_server.cuts = [100_000]
    get(file_server, target, size=SIZE, md5=md5(CONTENT))
    assert target.read_bytes() == CONTENT
    assert file_server.asked == [None, "bytes=100000-"]


@pytest.mark.parametrize("ranges", [True, False])
def test_giving_up_keeps_what_there_is(file_server: Any, target: Path, ranges: bool) -> None:
    file_server.ranges = ranges
    file_server.cuts = [1_000] + [0] * 5 if ranges else [1_000] * 6
    with pytest.raises(DataError, match=r"connection was cut.*1,000 bytes are kept"):
        get(file_server, target, size=SIZE)
    assert part_of(target).read_bytes() == CONTENT[:1_000]
    assert not target.exists()
    assert len(file_server.asked) == 6


def test_a_server_error_is_tried_again(file_server: Any, target: Path) -> None:
    file_server.failures = [503, 429]
    get(file_server, target, md5=md5(CONTENT))
    assert target.read_bytes() == CONTENT


def test_not_found_is_final(file_server: Any, target: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.tgz cannot be fetched: .*404 Not Found"):
        fetch(file_server.url("gone.tgz"), target)
    assert file_server.asked == [None]
    assert os.listdir(target.parent) == []


def test_a_wrong_checksum_deletes_the_part(file_server: Any, target: Path) -> None:
    with pytest.raises(DataError, match=f"checksum {md5(CONTENT)}, expected 0000"):
        get(file_server, target, md5="0000")
    assert os.listdir(target.parent) == []


def test_a_part_of_another_file_is_found_out(file_server: Any, target: Path) -> None:
    part_of(target).write_bytes(b"x" * 1_000)
    with pytest.raises(DataError, match="checksum"):
        get(file_server, target, size=SIZE, md5=md5(CONTENT))
    get(file_server, target, size=SIZE, md5=md5(CONTENT))
    assert target.read_bytes() == CONTENT


def test_another_size_is_said_before_fetching(file_server: Any, target: Path) -> None:
    with pytest.raises(DataError, match=r"has 300,000 bytes, expected 300,001"):
        get(file_server, target, size=SIZE + 1)
    assert os.listdir(target.parent) == []


def test_no_network_is_one_line_and_at_once(target: Path) -> None:
    with pytest.raises(DataError, match="Connection refused") as caught:
        fetch(refused_address(), target, pause=100.0)
    assert "\n" not in str(caught.value)
    assert str(target) in str(caught.value)


def test_a_file_brought_along_is_checked_and_kept(file_server: Any, target: Path) -> None:
    target.write_bytes(CONTENT)
    get(file_server, target, md5=md5(CONTENT))
    assert file_server.asked == []
    target.write_bytes(b"something else")
    with pytest.raises(DataError, match="has not the checksum"):
        get(file_server, target, md5=md5(CONTENT))
    assert target.read_bytes() == b"something else"


def test_too_small_a_disk(file_server: Any, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage(9, 9, SIZE - 1))
    with pytest.raises(DataError, match="299,999 bytes free"):
        get(file_server, target, size=SIZE)
    assert file_server.asked == []


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def test_unpack(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tgz", {"SET/a.txt": b"a", "notes.txt": b"n"})
    (tmp_path / ".SET.unpacking/SET").mkdir(parents=True)
    (tmp_path / ".SET.unpacking/SET/half").write_text("left by a killed run")
    unpack(archive, tmp_path, "SET")
    assert sorted(os.listdir(tmp_path)) == ["SET", "a.tgz"]
    assert os.listdir(tmp_path / "SET") == ["a.txt"]


@pytest.mark.parametrize("name", ["../evil.txt", "SET/../../evil.txt"])
def test_unpack_refuses_to_write_outside(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    archive = make_tar(inside / "a.tgz", {"SET/a.txt": b"a", name: b"evil"})
    with pytest.raises(DataError, match=r"a\.tgz cannot be unpacked"):
        unpack(archive, inside, "SET")
    assert os.listdir(inside) == ["a.tgz"]
    assert os.listdir(tmp_path) == ["inside"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_unpack_of_a_damaged_archive_leaves_nothing(tmp_path: Path, share: float) -> None:
    archive = make_tar(tmp_path / "a.tgz", {"SET/a.txt": CONTENT, "SET/b.txt": CONTENT})
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"a\.tgz cannot be unpacked"):
        unpack(archive, tmp_path, "SET")
    assert os.listdir(tmp_path) == ["a.tgz"]


def test_unpack_of_something_else(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tgz", {"OTHER/a.txt": b"a"})
    with pytest.raises(DataError, match="has no folder SET/"):
        unpack(archive, tmp_path, "SET")
    assert os.listdir(tmp_path) == ["a.tgz"]


def tar_of(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    return buffer.getvalue()


@pytest.fixture
def birds_online(file_server: Any, layouts: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The loopback server in the place of the birds' owner."""
    content = tar_of(layouts / "CUB_200_2011")
    file_server.files["CUB_200_2011.tgz"] = content
    archive = Archive(file_server.url("CUB_200_2011.tgz"), md5(content), len(content))
    monkeypatch.setitem(REGISTRY, "birds", replace(REGISTRY["birds"], archive=archive))
    return file_server


def test_download_birds(birds_online: Any, tmp_path: Path) -> None:
    root = tmp_path / "new/root"
    contents = download("birds", root=root)
    assert contents.summary() == "train 18, val 2, test 4"
    assert os.listdir(root) == ["CUB_200_2011"]
    said: list[str] = []
    download("birds", root=root, say=said.append)
    assert said == [f"{root / 'CUB_200_2011'} is already there"]
    assert len(birds_online.asked) == 1


def test_download_keeps_an_archive_brought_along(birds_online: Any, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "CUB_200_2011.tgz").write_bytes(birds_online.files["CUB_200_2011.tgz"])
    download("birds", root=root)
    assert sorted(os.listdir(root)) == ["CUB_200_2011", "CUB_200_2011.tgz"]
    assert birds_online.asked == []


def test_download_leaves_an_incomplete_set_alone(birds_online: Any, layouts: Path) -> None:
    (layouts / "CUB_200_2011/images.txt").unlink()
    with pytest.raises(DataError, match=r"is in the way and not whole .*images\.txt is missing"):
        download("birds", root=layouts)
    assert birds_online.asked == []


def test_download_of_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'oil' is unknown; use one of celeba, flowers, birds"):
        download("oil", root=tmp_path)


@pytest.fixture
def flowers_online(file_server: Any, layouts: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The loopback server in the place torchvision gets the flowers from."""
    from scipy.io import savemat
    from torchvision.datasets import Flowers102

    base = layouts / "flowers-102"
    savemat(base / "imagelabels.mat", {"labels": [[1] * 8]})
    contents = {
        "image": ("102flowers.tgz", tar_of(base / "jpg")),
        "label": ("imagelabels.mat", (base / "imagelabels.mat").read_bytes()),
        "setid": ("setid.mat", (base / "setid.mat").read_bytes()),
    }
    file_server.files = dict(contents.values())
    sums = {key: (name, md5(content)) for key, (name, content) in contents.items()}
    monkeypatch.setattr(Flowers102, "_download_url_prefix", file_server.url(""))
    monkeypatch.setattr(Flowers102, "_file_dict", sums)
    return file_server


def test_download_flowers_through_torchvision(
    flowers_online: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    contents = download("flowers", root=root)
    assert contents.summary() == "train 2, val 1, test 5"
    assert os.listdir(root) == ["flowers-102"]
    assert sorted(os.listdir(root / "flowers-102")) == ["imagelabels.mat", "jpg", "setid.mat"]
    assert capsys.readouterr().out == ""


def test_torchvision_failing_half_way_is_taken_up_again(
    flowers_online: Any, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    set_id = flowers_online.files.pop("setid.mat")
    with pytest.raises(DataError, match=r"could not fetch Oxford Flowers-102: .*404") as caught:
        download("flowers", root=root)
    assert REGISTRY["flowers"].address in str(caught.value)
    assert "\n" not in str(caught.value)
    assert os.listdir(root) == [".flowers-102.download"]
    # As a kill while unpacking leaves it: the folder is there, its pictures are not.
    for picture in (root / ".flowers-102.download/flowers-102/jpg").iterdir():
        picture.unlink()
    flowers_online.files["setid.mat"] = set_id
    del flowers_online.files["102flowers.tgz"]
    assert download("flowers", root=root).pictures == 8
    assert os.listdir(root) == ["flowers-102"]


def test_torchvision_wrong_checksum(flowers_online: Any, tmp_path: Path) -> None:
    flowers_online.files["102flowers.tgz"] += b"x"
    with pytest.raises(DataError, match="could not fetch .*corrupted; run the command again"):
        download("flowers", root=tmp_path / "root")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("To download files from GDrive, 'gdown' is required."),
        ConnectionResetError("reset by peer\nsecond line"),
        EOFError(),
    ],
)
def test_torchvision_errors_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    from torchvision import datasets

    def fail(root: Path, download: bool) -> None:
        raise error

    monkeypatch.setattr(datasets, "CelebA", fail)
    with pytest.raises(DataError, match="could not fetch CelebA") as caught:
        download("celeba", root=tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert REGISTRY["celeba"].address in message
    assert (str(error).splitlines() or ["EOFError"])[0].rstrip(".") in message
    assert os.listdir(tmp_path) == []


def test_gdowns_own_errors_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_gdown: Callable[[], type[Exception]]
) -> None:
    from torchvision import datasets

    kind = make_gdown()

    def fail(root: Path, download: bool) -> None:
        raise kind("Too many users have viewed or downloaded this file recently.\nTry later.")

    monkeypatch.setattr(datasets, "CelebA", fail)
    with pytest.raises(DataError, match="Too many users"):
        download("celeba", root=tmp_path)


@pytest.fixture
def make_gdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], type[Exception]]:
    """Put a package of gdown's shape on the path, so that the test needs no gdown."""

    def make() -> type[Exception]:
        import importlib
        import sys

        package = tmp_path / "site/gdown"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "exceptions.py").write_text("class FileURLRetrievalError(Exception): pass\n")
        monkeypatch.syspath_prepend(str(package.parent))
        for name in ("gdown", "gdown.exceptions"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        kind = importlib.import_module("gdown.exceptions").FileURLRetrievalError
        assert issubclass(kind, Exception)
        return kind  # type: ignore[no-any-return]

    return make
