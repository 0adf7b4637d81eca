"""A batch compressed in tensor operations is, bit for bit, what Pillow makes of each picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from irae.data.folder import PictureSet
from irae.data.registry import open_data
from irae.imaging.degrade import jpeg_compress
from irae.imaging.jpeg import Framing, compress_together, frame_cropped, frame_pictures
from irae.imaging.jpeg_tables import CHROMA, LUMA, scaled_tables
from irae.runtime import upload


def by_pillow(picture: Tensor, quality: Tensor, halved: Tensor) -> Tensor:
    kind = "4:2:0" if halved else "4:4:4"
    return jpeg_compress(picture, int(quality), subsampling=kind)  # type: ignore[arg-type]


def one_by_one(
    pictures: Tensor, quality: Tensor, halved: Tensor, top: Tensor, left: Tensor
) -> Tensor:
    found = []
    for number, picture in enumerate(pictures):
        above, before = int(top[number]), int(left[number])
        padded = F.pad(picture[None], (before, 0, above, 0), mode="reflect")[0]
        compressed = by_pillow(padded, quality[number], halved[number])
        found.append(compressed[:, above:, before:])
    return torch.stack(found)


def draw_pictures(kind: str, count: int, height: int, width: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    if kind == "smooth":
        coarse = torch.rand(count, 3, 4, 5, generator=draw)
        return F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    noise = torch.rand(count, 3, height, width, generator=draw)
    if kind == "gray":
        return noise[:, :1].expand(-1, 3, -1, -1)
    return (noise > 0.5).float() if kind == "extreme" else noise


def check(pictures: Tensor, halved: Tensor, seed: int, quality: Tensor) -> None:
    draw = torch.Generator().manual_seed(seed)
    count, (height, width) = len(pictures), pictures.shape[2:]
    top = torch.randint(0, min(16, height), (count,), generator=draw)
    left = torch.randint(0, min(16, width), (count,), generator=draw)
    top[::3] = left[1::3] = 0
    expected = one_by_one(pictures, quality, halved, top, left)
    framing = frame_pictures(height, width, top, left)
    found = compress_together(pictures, quality, halved, framing)
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", ["noise", "smooth", "gray", "extreme"])
@pytest.mark.parametrize("halved", [False, True])
def test_every_quality_is_pillows(kind: str, halved: bool) -> None:
    pictures = draw_pictures(kind, 100, 24, 19, seed=1)
    check(pictures, torch.full((100,), halved), 2, torch.arange(1, 101))


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(["noise", "smooth", "extreme"]),
    st.integers(5, 40),
    st.integers(5, 40),
    st.integers(0, 2**30),
)
def test_every_size_and_offset_is_pillows(kind: str, height: int, width: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    halved = torch.rand(6, generator=draw) < 0.5
    quality = torch.randint(1, 101, (6,), generator=draw)
    check(draw_pictures(kind, 6, height, width, seed), halved, seed, quality)


@pytest.mark.parametrize("size", [(5, 7), (8, 8), (16, 33)])
@pytest.mark.parametrize("halved", [False, True])
def test_a_picture_alone_is_pillows(size: tuple[int, int], halved: bool) -> None:
    pictures = draw_pictures("noise", 1, *size, seed=8)
    check(pictures, torch.tensor([halved]), 8, torch.tensor([35]))


@pytest.mark.parametrize("halved", [False, True])
def test_patches_of_photographs_are_pillows(halved: bool, shared: Path) -> None:
    photographs: PictureSet = open_data(shared / "data" / "photos_val")
    patches = []
    for number in range(8):
        picture = photographs.load(number).float() / 255
        for place in range(4):
            patches.append(picture[:, 70 * place : 70 * place + 64, 40 * place : 40 * place + 64])
    pictures = torch.stack([patch for patch in patches if patch.shape[1:] == (64, 64)])
    assert len(pictures) > 20
    quality = torch.linspace(1, 100, len(pictures)).round().long()
    check(pictures, torch.full((len(pictures),), halved), 3, quality)


def test_a_second_compression_starts_from_the_first_one_cropped() -> None:
    pictures = draw_pictures("smooth", 12, 20, 26, seed=4)
    draw = torch.Generator().manual_seed(5)
    before = tuple(torch.randint(0, 16, (12,), generator=draw) for _ in range(2))
    now = tuple(each - each // 2 for each in before)
    first, second = torch.arange(40, 52), torch.arange(60, 84, 2)
    halved = torch.rand(12, generator=draw) < 0.5
    whole = frame_pictures(20, 26, before[0], before[1], whole=True)
    once = compress_together(pictures, first, halved, whole)
    framing = frame_cropped(20, 26, (before[0], before[1]), (now[0], now[1]))
    found = compress_together(once, second, halved, framing)
    for number, picture in enumerate(pictures):
        top, left = (int(each[number]) for each in before)
        padded = F.pad(picture[None], (left, 0, top, 0), mode="reflect")[0]
        expected = by_pillow(padded, first[number], halved[number])
        top, left = (int(each[number]) for each in now)
        expected = expected[:, expected.shape[1] - 20 - top :, expected.shape[2] - 26 - left :]
        expected = by_pillow(expected, second[number], halved[number])[:, top:, left:]
        assert torch.equal(found[number], expected)


def test_the_tables_are_those_of_files() -> None:
    for base in (LUMA, CHROMA):
        tables = scaled_tables(base)
        assert tables[49].tolist() == list(base)
        assert tables[99].unique().tolist() == [1]
        assert tables.min() == 1 and tables.max() == 255


def framed(count: int) -> tuple[Tensor, Tensor, Framing]:
    top = torch.arange(count) % 16
    halved = torch.arange(count) % 2 == 0
    return torch.arange(count) * 5 + 5, halved, frame_pictures(32, 32, top, top.flip(0))


def test_nothing_in_it_waits_for_the_device(
    no_waits: Callable[[str], AbstractContextManager[object]],
) -> None:
    quality, halved, framing = framed(16)
    pictures = torch.empty(16, 3, 32, 32, device="meta")
    compress_together(pictures, quality, halved, framing)  # Constants are made.
    with no_waits("meta"):
        found = compress_together(pictures, quality, halved, framing)
    assert found.device.type == "meta"
    assert found.shape == (16, 3, 32, 32)


def test_all_indices_and_tables_are_copied_to_the_device_in_two_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copied: list[torch.dtype] = []

    def counted(x: Tensor, device: torch.device) -> Tensor:
        copied.append(x.dtype)
        return upload(x, device)

    monkeypatch.setattr("irae.imaging.jpeg.upload", counted)
    quality, halved, framing = framed(16)
    compress_together(torch.empty(16, 3, 32, 32, device="meta"), quality, halved, framing)
    assert sorted(map(str, copied)) == ["torch.float32", "torch.int64"]


class Divisions(TorchDispatchMode):
    """Collects the numbers of Python by which tensors are divided."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[float] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func.overloadpacket.__name__ in ("div", "div_") and not isinstance(args[1], Tensor):
            self.found.add(args[1])
        return func(*args, **(kwargs or {}))


def test_only_powers_of_two_divide_as_numbers() -> None:
    """A GPU multiplies by the reciprocal of a number, which is exact for these alone."""
    quality, halved, framing = framed(16)
    with Divisions() as divisions:
        compress_together(draw_pictures("noise", 16, 32, 32, seed=1), quality, halved, framing)
    assert {math.frexp(number)[0] for number in divisions.found} <= {0.5}


def test_a_gpu_compresses_alike_without_waiting(cuda: torch.device) -> None:
    quality, halved, framing = framed(16)
    pictures = draw_pictures("noise", 16, 32, 32, seed=1)
    expected = compress_together(pictures, quality, halved, framing)
    there = pictures.to(cuda)
    assert torch.equal(compress_together(there, quality, halved, framing).cpu(), expected)
    torch.cuda.set_sync_debug_mode("error")
    try:
        compress_together(there, quality, halved, framing)
    finally:
        torch.cuda.set_sync_debug_mode("default")
