"""Packing what is kept of an original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from irae.models.files import load_model
from irae.models.irae import IRAE
from irae.models.lossless import LosslessIRAE
from irae.restoring import residual
from irae.restoring.residual import DamagedError


@pytest.mark.parametrize(
    "data", [b"", b"a", b"ab" * 5000, np.random.default_rng(0).bytes(5000)], ids=len
)
def test_packed_data_comes_back(data: bytes) -> None:
    packed = residual.pack(data)
    assert residual.unpack(packed, len(data)) == data
    assert len(packed) <= len(data) + 1


def test_repeats_are_packed_well() -> None:
    assert len(residual.pack(bytes(range(200)) * 500)) < 1000


@pytest.mark.parametrize("size", [0, 9999, 10001, 1 << 40])
def test_another_size_than_promised_is_refused(size: int) -> None:
    with pytest.raises(DamagedError):
        residual.unpack(residual.pack(b"ab" * 5000), size)


@pytest.mark.parametrize("packed", [b"", b"z", b"x", b"q123", b"zjunk", b"xjunk"])
def test_what_was_never_packed_is_refused(packed: bytes) -> None:
    with pytest.raises(DamagedError):
        residual.unpack(packed, 3)


@pytest.mark.parametrize("depth", [8, 16])
def test_differences_of_any_size_come_back(depth: int) -> None:
    rng = np.random.default_rng(0)
    original, restored = rng.integers(0, 1 << depth, (2, 3, 20, 30))
    packed = residual.encode_difference(original, restored, depth)
    assert np.array_equal(residual.decode_difference(packed, restored, depth), original)


@pytest.fixture(scope="module")
def tiny(model_files: dict[str, Path]) -> dict[int, LosslessIRAE]:
    network = load_model(model_files["denoise"]).network
    assert isinstance(network, IRAE)
    return {depth: LosslessIRAE(network, residual.unit(depth)) for depth in (8, 16)}


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("size", [(64, 64), (67, 75), (33, 130)])
def test_what_the_network_took_away_comes_back(
    tiny: dict[int, LosslessIRAE], depth: int, size: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    original = rng.integers(0, 1 << depth, (3, *size))
    restored = np.clip(original + rng.integers(-9, 10, original.shape), 0, (1 << depth) - 1)
    kept = residual.encode_by_inverse(tiny[depth], original, restored, depth)
    came_back = residual.decode_by_inverse(tiny[depth], kept, restored, depth)
    assert np.array_equal(came_back, original)


def test_damage_is_told_and_nothing_else_happens(tiny: dict[int, LosslessIRAE]) -> None:
    rng = np.random.default_rng(0)
    original = rng.integers(0, 256, (3, 64, 64))
    kept = residual.encode_by_inverse(tiny[8], original, original, 8)
    for trial in range(16):
        broken = bytearray(kept)
        if trial % 2:
            broken[int(rng.integers(len(kept)))] ^= 1 << int(rng.integers(8))
        else:
            del broken[int(rng.integers(len(kept))) :]
        try:
            came_back = residual.decode_by_inverse(tiny[8], bytes(broken), original, 8)
        except DamagedError:
            continue
        # Noise that is kept as it is has no form to be wrong in, and some bits of a packed stream
        # say nothing: what came back is a picture, and the sidecar's checksum tells which.
        assert came_back.shape == original.shape
        assert came_back.min() >= 0 and came_back.max() <= 255


def test_strong_noise_takes_less_than_itself() -> None:
    """The packaged denoiser keeps fewer bits than the noise that it removed has."""
    from irae.imaging.degrade import add_noise
    from irae.runtime import generator

    model = load_model("denoise")
    assert isinstance(model.network, IRAE)
    flow = LosslessIRAE(model.network, residual.unit(16))
    ramp = np.linspace(0.3, 0.7, 96)
    clean = np.broadcast_to(ramp, (3, 96, 96)).astype(np.float32)
    import torch

    noisy = add_noise(torch.from_numpy(clean.copy()), 50, generator(0)).clamp(0, 1)
    given = (noisy * 65535).round() / 65535
    restored = model.restore(given[None])[0].clamp(0, 1)
    codes = [(p.double() * 65535).round().to(torch.int64).numpy() for p in (given, restored)]
    plain = len(residual.encode_difference(codes[0], codes[1], 16))
    by_inverse = residual.encode_by_inverse(flow, codes[0], codes[1], 16)
    assert len(by_inverse) < 0.95 * plain
    assert np.array_equal(residual.decode_by_inverse(flow, by_inverse, codes[1], 16), codes[0])
