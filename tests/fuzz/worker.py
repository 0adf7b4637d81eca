"""Reads pictures named on stdin and writes them back; says on stdout how each went.

One process for many files, under a limit on its address space. Not collected as a test.
"""

from __future__ import annotations

import gc
import json
import logging
import resource
import sys
import time
import warnings
from pathlib import Path

import torch

from irae.errors import IraeError
from irae.imaging.io.encode import PICTURE_SUFFIXES, encode
from irae.imaging.io.files import Document, open_document, read_picture, write_picture
from irae.imaging.io.tiff_pages import join_pages

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
ADDRESS_SPACE = 4 << 30


def status(key: str) -> int:
    """A line of the kernel's account of this process, in bytes."""
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))


def process(path: Path, out: Path) -> tuple[str, str]:
    """Read, write back, read that: the outcome and the error's message."""
    try:
        document = open_document(path)
        if document is not None:
            return process_pages(document, out)
        picture = read_picture(path)
    except IraeError as error:
        return "refused", str(error)
    # As if it had been restored; its metadata is written with all that is hostile in it.
    picture.layout.without_previews()
    suffix = path.suffix.lower() if path.suffix.lower() in PICTURE_SUFFIXES else ".png"
    target = out / f"written{suffix}"
    outcome, message = "written", ""
    try:
        write_picture(target, picture, overwrite=True)
    except IraeError as error:
        # What the format cannot hold, one of these can: that is what the message says.
        outcome, message = "other format", str(error)
        target = out / ("written.tif" if picture.pixels.shape[0] == 4 else "written.png")
        if picture.layout.depth == 32:
            target = out / "written.tif"
        write_picture(target, picture, overwrite=True)
    again = read_picture(target)
    shapes = {tuple(again.pixels.shape[1:]), tuple(again.pixels.shape[:0:-1])}
    if tuple(picture.pixels.shape[1:]) not in shapes:
        raise AssertionError(f"{again.pixels.shape} read back, not {picture.pixels.shape}")
    return outcome, message


def process_pages(document: Document, out: Path) -> tuple[str, str]:
    """Read each page, write all back as one file, and read that."""
    target = out / "written.tif"
    target.write_bytes(join_pages([encode(page, ".tif", "page") for page in document.read()]))
    again = open_document(target)
    if again is None or len(list(again.read())) != len(document.pages):
        raise AssertionError(f"{len(document.pages)} pages were written, and others read")
    return "written", ""


class _Keeper(logging.Handler):
    """Puts what is logged on a list."""

    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(f"{record.name}: {record.getMessage()}")


def main() -> None:
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    limit = status("VmSize") + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    said: list[str] = []
    # Where no handler is set, Python prints what is logged; here it is kept.
    logging.lastResort = _Keeper(said)
    warnings.showwarning = lambda message, *_, **__: said.append(str(message))
    warnings.simplefilter("always")
    # What was imported is never looked at again: a collection is quick.
    gc.freeze()
    rest = status("VmRSS")
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        RESET.write_text("5", encoding="ascii")
        worked = time.process_time()
        said.clear()
        try:
            outcome, message = process(path, out)
        except Exception as error:
            outcome, message = "crash", f"{type(error).__name__}: {error}"
        report = {
            "outcome": outcome,
            "message": message,
            "seconds": time.process_time() - worked,
            "peak": max(0, status("VmHWM") - rest),
            "said": "; ".join(said),
        }
        print(json.dumps(report), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
