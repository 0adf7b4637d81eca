"""Small copies of the official layouts, made of noise, and a file server on loopback."""

from __future__ import annotations

import http.server
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat


def write_noise(path: Path, width: int, height: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def make_celeba(root: Path) -> None:
    """Seven faces of the original size: 4 train, 1 val, 2 test."""
    splits = (0, 0, 1, 0, 2, 2, 0)
    names = [f"{number:06d}.jpg" for number in range(1, len(splits) + 1)]
    for seed, name in enumerate(names):
        write_noise(root / "celeba/img_align_celeba" / name, 178, 218, seed)
    lines = [f"{name} {split}\n" for name, split in zip(names, splits, strict=True)]
    (root / "celeba/list_eval_partition.txt").write_text("".join(lines))


def make_flowers(root: Path) -> None:
    """Eight flowers: trnid 7 2, valid 5, tstid 1 3 4 6 8."""
    for number in range(1, 9):
        write_noise(root / f"flowers-102/jpg/image_{number:05d}.jpg", 90, 70, number)
    ids = {"trnid": [[7, 2]], "valid": [[5]], "tstid": [[1, 3, 4, 6, 8]]}
    savemat(root / "flowers-102/setid.mat", ids)


def make_birds(root: Path) -> None:
    """Twenty-four birds of three classes: 20 train (every sixth is not), 4 test."""
    base = root / "CUB_200_2011"
    names, division = [], []
    for number in range(1, 25):
        name = f"{(number - 1) // 8 + 1:03d}.Class/Bird_{number:04d}.jpg"
        write_noise(base / "images" / name, 70, 100, number)
        names.append(f"{number} {name}\n")
        division.append(f"{number} {int(number % 6 != 0)}\n")
    (base / "images.txt").write_text("".join(names))
    (base / "train_test_split.txt").write_text("".join(division))


@pytest.fixture(scope="session")
def _layouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("layouts")
    make_celeba(root)
    make_flowers(root)
    make_birds(root)
    return root


@pytest.fixture
def layouts(_layouts: Path, tmp_path: Path) -> Path:
    """A data root with all three sets, free to be damaged."""
    import shutil

    return Path(shutil.copytree(_layouts, tmp_path / "data root"))


@pytest.fixture
def shared_data() -> Path:
    """The folder of real pictures beside the project; the test is skipped where there is none."""
    beside = Path(__file__).resolve().parents[2].parent / "shared"
    found = Path(os.environ.get("IRAE_SHARED") or beside) / "data"
    if not found.is_dir():
        pytest.skip(f"no data beside the project at {found} (set IRAE_SHARED)")
    return found


@dataclass
class FileServer:
    """What the server does and has seen; tests set the fields.

    ``cuts`` holds, for each request to come, after how many bytes the connection is dropped.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    ranges: bool = True
    lengths: bool = True
    asked: list[str | None] = field(default_factory=list)

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"


def _handler(server: FileServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 (the name http.server looks for)
            server.asked.append(self.headers.get("Range"))
            name = self.path.lstrip("/")
            if server.failures:
                return self.send_error(server.failures.pop(0))
            if name not in server.files:
                return self.send_error(404)
            content = server.files[name]
            span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            first = int(span[1]) if span and server.ranges else 0
            if first and first >= len(content):
                return self.send_error(416)
            self.send_response(206 if first else 200)
            if first:
                reach = f"bytes {first}-{len(content) - 1}/{len(content)}"
                self.send_header("Content-Range", reach)
            if server.lengths:
                self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            cut = server.cuts.pop(0) if server.cuts else len(content)
            self.wfile.write(content[first : first + cut])
            return None

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    server = FileServer()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(server)) as listener:
        server.address = f"http://127.0.0.1:{listener.server_port}"
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        yield server
        listener.shutdown()
        thread.join()


@pytest.fixture
def make_layout() -> Callable[[str, Path], None]:
    """Make one of the three layouts, by name, below a root."""
    makers = {"celeba": make_celeba, "flowers": make_flowers, "birds": make_birds}
    return lambda name, root: makers[name](root)
