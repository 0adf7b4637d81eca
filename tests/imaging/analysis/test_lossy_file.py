"""How strongly WebP, AVIF and HEIC files were compressed, by their parts."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from irae.imaging.analysis.lossy_file import read_lossy_file
from irae.imaging.io.files import read_picture

SIDE = 64


def photograph() -> Image.Image:
    random = np.random.default_rng(0)
    x = np.linspace(0, 6, SIDE)
    waves = 120 + 60 * np.sin(x[:, None, None] * [1, 2, 3] + x[None, :, None])
    return Image.fromarray((waves + random.normal(0, 8, waves.shape)).clip(0, 255).astype("uint8"))


def written(kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    photograph().save(stream, kind, **options)
    return stream.getvalue()


def bits_of(data: bytes, kind: str) -> float | None:
    found = read_lossy_file(io.BytesIO(data), kind, SIDE * SIDE)
    return None if found is None else found.bits


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_more_quality_takes_more_bits(kind: str) -> None:
    low, high = (bits_of(written(kind, quality=quality), kind) for quality in (20, 90))
    assert low is not None and high is not None
    assert 0.05 < low < high / 2 < 24


def test_heic_files_of_phones_count() -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pip install 'irae[heif]'")
    stream = io.BytesIO()
    pillow_heif.from_pillow(photograph()).save(stream, quality=50)
    found = read_lossy_file(io.BytesIO(stream.getvalue()), "HEIF", SIDE * SIDE)
    assert found is not None and 0.05 < found.bits < 24
    assert found.describe().startswith("HEIC with loss, ")


def test_metadata_does_not_count() -> None:
    plain, with_more = (
        written("WEBP", quality=50),
        written("WEBP", quality=50, exif=b"Exif\0\0" * 999),
    )
    assert len(with_more) > len(plain) + 5000
    assert bits_of(plain, "WEBP") == bits_of(with_more, "WEBP")


def test_what_was_written_without_loss_has_none() -> None:
    assert bits_of(written("WEBP", lossless=True), "WEBP") is None
    for kind in ("PNG", "JPEG", "TIFF"):
        assert bits_of(written(kind), kind) is None


def test_a_file_is_read_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    path.write_bytes(written("WEBP", quality=30))
    found = read_lossy_file(path, read_picture(path).layout.format, SIDE * SIDE)
    assert found is not None and found.bits == bits_of(path.read_bytes(), "WEBP")
    assert found.describe() == f"WebP with loss, {found.bits:.2g} bits a pixel"


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["WEBP", "AVIF", "HEIF"]), st.binary(max_size=200), st.booleans())
def test_damaged_parts_end_without_an_error(kind: str, data: bytes, cut: bool) -> None:
    whole = written("WEBP" if kind == "WEBP" else "AVIF", quality=20)
    mixed = whole[: len(whole) // 3] + data if cut else data
    found = read_lossy_file(io.BytesIO(mixed), kind, 4096)
    assert found is None or found.bits >= 0
