"""Packing what is kept of an original."""

from __future__ import annotations

import numpy as np
import pytest

from irae.inverse import residual
from irae.inverse.residual import DamagedError


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
