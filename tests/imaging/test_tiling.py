"""Tiles: how they cover a picture, what the seams cost, what happens when memory runs out."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from irae.errors import IraeError, UsageError
from irae.imaging.tiling import restore_tiled, restore_within_memory, tile_spans
from irae.runtime import is_out_of_memory


@settings(deadline=None)
@given(
    length=st.integers(1, 400),
    tile=st.integers(1, 150),
    overlap=st.integers(0, 80),
    multiple=st.sampled_from([1, 2, 4, 8]),
)
def test_spans_cover_the_axis_on_the_grid(
    length: int, tile: int, overlap: int, multiple: int
) -> None:
    tile = max(tile, multiple)
    spans = tile_spans(length, tile, overlap, multiple)
    total = torch.zeros(length)
    for span in spans:
        assert 0 <= span.start < span.stop <= length
        assert span.start % multiple == 0
        assert span.stop - span.start <= tile
        assert bool((span.weight >= 0).all())
        total[span.start : span.stop] += span.weight
    torch.testing.assert_close(total, torch.ones(length), atol=1e-6, rtol=0)


def test_spans_keep_the_overlap_and_are_even() -> None:
    spans = tile_spans(1100, 512, 48, 4)
    assert len(spans) == 3
    for left, right in zip(spans, spans[1:], strict=False):
        assert left.stop - right.start >= 48
    sides = [span.stop - span.start for span in spans]
    assert max(sides) - min(sides) < 16


@pytest.mark.parametrize(
    ("length", "tile", "overlap", "multiple"), [(0, 8, 0, 1), (9, 4, 0, 8), (9, 4, -1, 1)]
)
def test_spans_refuse_sizes_that_do_not_fit(
    length: int, tile: int, overlap: int, multiple: int
) -> None:
    with pytest.raises(UsageError, match="tiles of"):
        tile_spans(length, tile, overlap, multiple)


def _convolution(radius: int, seed: int = 0) -> nn.Conv2d:
    torch.manual_seed(seed)
    side = 2 * radius + 1
    return nn.Conv2d(3, 3, side, padding=radius, bias=False).requires_grad_(False)


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (64, 64), (97, 130), (131, 33)])
def test_tiled_equals_untiled_when_the_overlap_covers_the_field(size: tuple[int, int]) -> None:
    convolution = _convolution(2)
    picture = torch.rand(3, *size, generator=torch.Generator().manual_seed(1))

    def restore(part: Tensor, mask: Tensor | None) -> Tensor:
        assert max(part.shape[-2:]) <= 64
        return convolution(part)

    tiled = restore_tiled(restore, picture, tile=64, overlap=16, multiple=4)
    torch.testing.assert_close(tiled, convolution(picture[None])[0], atol=2e-6, rtol=0)


def test_a_longer_overlap_makes_a_smaller_seam() -> None:
    blur = nn.Conv2d(3, 3, 33, padding=16, groups=3, bias=False).requires_grad_(False)
    distance = (torch.arange(33) - 16.0).abs()
    blur.weight.copy_(torch.exp(-(distance[:, None] + distance) / 3).expand(3, 1, 33, 33))
    blur.weight /= blur.weight.sum((2, 3), keepdim=True)
    picture = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(2))
    whole = blur(picture[None])[0]
    errors = []
    for overlap in (0, 8, 16, 32):
        tiled = restore_tiled(lambda part, mask: blur(part), picture, tile=96, overlap=overlap)
        errors.append(float((tiled - whole).abs().max()))
    assert errors[0] > 0.05
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.01


def test_known_pixels_are_bit_equal_and_tiles_without_holes_are_skipped() -> None:
    picture = torch.rand(3, 100, 200, generator=torch.Generator().manual_seed(3))
    mask = torch.zeros(1, 100, 200, dtype=torch.bool)
    mask[:, 10:20, 10:30] = True
    calls = []

    def restore(part: Tensor, hole: Tensor | None) -> Tensor:
        assert hole is not None
        assert hole.shape[-2:] == part.shape[-2:]
        calls.append(part.shape)
        return torch.full_like(part, 0.5)

    restored = restore_tiled(restore, picture, tile=64, overlap=8, mask=mask)
    assert len(calls) == 1
    assert torch.equal(restored[~mask.expand(3, -1, -1)], picture[~mask.expand(3, -1, -1)])
    torch.testing.assert_close(
        restored[mask.expand(3, -1, -1)], torch.full((3 * 10 * 20,), 0.5), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("kind", ["scratch", "large hole", "dust", "everything"])
@pytest.mark.parametrize("multiple", [1, 8])
def test_holes_are_restored_in_crops_as_in_the_whole_picture(kind: str, multiple: int) -> None:
    """Also where a hole is larger than a crop, and where the mask covers all of a crop."""
    convolution = _convolution(4)
    picture = torch.rand(3, 150, 190, generator=torch.Generator().manual_seed(6))
    mask = torch.zeros(1, 150, 190, dtype=torch.bool)
    if kind == "scratch":
        mask[:, torch.arange(150), torch.arange(150) + 20] = True
    elif kind == "dust":
        mask = torch.rand(1, 150, 190, generator=torch.Generator().manual_seed(7)) < 0.01
    else:
        mask[:, 10:140, 10:160] = True
        mask |= torch.tensor(kind == "everything")

    def restore(part: Tensor, hole: Tensor | None) -> Tensor:
        assert hole is not None and hole.any()
        assert max(part.shape[-2:]) <= 64
        return convolution(part)

    tiled = restore_tiled(restore, picture, tile=64, overlap=16, multiple=multiple, mask=mask)
    expected = torch.where(mask, convolution(picture[None])[0], picture)
    torch.testing.assert_close(tiled, expected, atol=2e-6, rtol=0)
    assert torch.equal(tiled[~mask.expand(3, -1, -1)], picture[~mask.expand(3, -1, -1)])


def test_seams_in_a_large_hole_are_feathered() -> None:
    """Crops that disagree make a slope and not a step."""
    picture = torch.zeros(3, 64, 300)
    mask = torch.zeros(1, 64, 300, dtype=torch.bool)
    mask[:, 8:56, 10:290] = True
    calls = 0

    def restore(part: Tensor, hole: Tensor | None) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.full_like(part, float(calls % 2))

    tiled = restore_tiled(restore, picture, tile=100, overlap=24, mask=mask)
    steps = tiled[0, 30, 10:290].diff().abs()
    assert calls > 3
    assert 0.02 < steps.max() < 0.25


class _Memory:
    """A restore function that fails above a given number of pixels."""

    def __init__(self, pixels: int, error: Exception) -> None:
        self.pixels = pixels
        self.error = error

    def __call__(self, part: Tensor, mask: Tensor | None) -> Tensor:
        if part.shape[-2] * part.shape[-1] > self.pixels:
            raise self.error
        return part + 0.25


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("MPS backend out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    MemoryError(),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[-30:])
def test_out_of_memory_halves_the_tile_and_goes_on(error: Exception) -> None:
    picture = torch.rand(3, 300, 400, generator=torch.Generator().manual_seed(4))
    notes: list[str] = []
    restored, tile = restore_within_memory(
        _Memory(110 * 110, error), picture, tile=0, overlap=16, multiple=4, notify=notes.append
    )
    assert tile == 100
    assert notes == [
        "out of memory; going on in tiles of 200 pixels",
        "out of memory; going on in tiles of 100 pixels",
    ]
    torch.testing.assert_close(restored, picture + 0.25, atol=1e-6, rtol=0)


def test_nothing_of_a_failed_tile_is_held_while_the_next_is_tried() -> None:
    held: list[weakref.ref[Tensor]] = []

    def restore(part: Tensor, mask: Tensor | None) -> Tensor:
        alive = [one for one in held if one() is not None]
        assert not alive, "a tensor of the attempt before is still there"
        activations = part * 2
        held.append(weakref.ref(activations))
        if part.shape[-1] > 100:
            raise RuntimeError("CUDA out of memory")
        del activations
        return part + 0.25

    gc.disable()  # A GPU's memory is wanted at once, not after the next collection.
    try:
        restore_within_memory(restore, torch.rand(3, 90, 190), tile=0, notify=lambda line: None)
    finally:
        gc.enable()
    assert len(held) > 1


def test_a_network_that_does_not_fit_a_gpu_is_tiled(cuda: torch.device) -> None:
    """The allocator's own error, under a limit of memory, and the same picture as without."""
    layer = nn.Conv2d(3, 64, 3, padding=1).to(cuda).requires_grad_(False)

    def restore(part: Tensor, mask: Tensor | None) -> Tensor:
        return layer(part.to(cuda)).relu().mean(1, keepdim=True).expand(-1, 3, -1, -1)

    picture = torch.rand(3, 1500, 2000)
    whole, tile = restore_within_memory(restore, picture, tile=0, notify=lambda line: None)
    assert tile == 0
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(cuda).total_memory
    torch.cuda.set_per_process_memory_fraction(
        (torch.cuda.memory_reserved(cuda) + 4e8) / total, cuda
    )
    notes: list[str] = []
    try:
        tiled, tile = restore_within_memory(restore, picture, tile=0, notify=notes.append)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, cuda)
    assert tile > 0 and notes
    torch.testing.assert_close(tiled, whole, atol=1e-4, rtol=0)


def test_out_of_memory_below_the_smallest_tile_is_one_line() -> None:
    notes: list[str] = []
    with pytest.raises(IraeError, match="even in tiles of 64 pixels") as caught:
        restore_within_memory(
            _Memory(0, MemoryError()), torch.rand(3, 300, 200), tile=256, notify=notes.append
        )
    assert "\n" not in str(caught.value)
    assert len(notes) == 2


def test_a_real_allocation_failure_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert is_out_of_memory(caught.value)


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"):
        restore_within_memory(
            _Memory(0, RuntimeError("shapes differ")),
            torch.rand(3, 8, 8),
            tile=0,
            notify=lambda line: None,
        )


def test_progress_is_told_after_each_tile_and_can_end_the_work() -> None:
    picture = torch.rand(3, 100, 140)
    told: list[float] = []
    restored, _ = restore_within_memory(
        lambda x, _mask: x, picture, tile=64, overlap=8, notify=print, progress=told.append
    )
    torch.testing.assert_close(restored, picture)
    assert told == [pytest.approx(step / len(told)) for step in range(1, len(told) + 1)]
    assert len(told) == 6
    restore_tiled(lambda x, _mask: x, picture, tile=200, progress=told.append)
    assert told[6:] == [1.0]

    # Also around holes, and where there is none and so nothing to do.
    mask = torch.zeros(1, 100, 140, dtype=torch.bool)
    for wanted in ([1.0], [0.5, 1.0]):
        told.clear()
        restore_tiled(
            lambda x, _mask: x, picture, tile=64, overlap=8, mask=mask, progress=told.append
        )
        assert told == wanted
        mask[:, 3, 3] = mask[:, 90, 130] = True

    class StopError(Exception):
        pass

    def stop(share: float) -> None:
        if share > 0.3:
            raise StopError

    done = 0

    def count(x: Tensor, _mask: Tensor | None) -> Tensor:
        nonlocal done
        done += 1
        return x

    with pytest.raises(StopError):
        restore_within_memory(count, picture, tile=64, overlap=8, notify=print, progress=stop)
    assert done == 2


def test_tiles_are_cut_and_joined_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tiles there are, one picture goes to the device, and one comes back."""
    monkeypatch.setattr("irae.imaging.tiling.upload", lambda x, device: x.to(device))
    copies: list[tuple[int, str]] = []

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            if func.overloadpacket.__name__ == "_to_copy" and result.device != args[0].device:
                copies.append((args[0].numel(), result.device.type))
            return result

    gpu = torch.device("cuda:0")
    with FakeTensorMode(allow_non_fake_inputs=True):
        picture = torch.rand(3, 200, 260)
        with Copies():
            result = restore_tiled(
                lambda x, mask: x.to(gpu), picture, tile=64, overlap=16, device=gpu
            )
    assert result.shape == picture.shape and result.device.type == "cpu"
    assert [copy for copy in copies if copy[0] > 64] == [
        (picture.numel(), "cuda"),
        (picture.numel(), "cpu"),
    ]


def test_tiles_joined_elsewhere_are_those_joined_here() -> None:
    picture = torch.rand(3, 100, 130, generator=torch.Generator().manual_seed(0))

    def restore(x: Tensor, mask: Tensor | None) -> Tensor:
        return x.square()

    options: dict[str, Any] = {"tile": 48, "overlap": 16}
    there = restore_tiled(restore, picture, device=torch.device("cpu"), **options)
    assert torch.equal(there, restore_tiled(restore, picture, **options))


def test_tiles_joined_on_a_gpu_are_those_joined_here(cuda: torch.device) -> None:
    picture = torch.rand(3, 100, 130, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"tile": 48, "overlap": 16}
    there = restore_tiled(lambda x, mask: x.cuda().square(), picture, device=cuda, **options)
    here = restore_tiled(lambda x, mask: x.square(), picture, **options)
    assert there.device.type == "cpu"
    torch.testing.assert_close(there, here, atol=1e-6, rtol=0)
