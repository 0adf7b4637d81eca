"""Mutations: blind ones, and ones that know a format well enough to get past its check sums."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

from corpus_whole import png_of

MAGICS = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0"),
    *(b"GIF89a", b"BM", b"P6 ", b"P5\n", b"Pf\n", b"RIFF\xff\xff\0\0WEBPVP8X", b"RIFF0\0\0\0WEBP"),
    *(
        b"\0\0\0\x0cjP  \r\n\x87\n",
        b"\xff\x4f\xff\x51",
        b"\0\0\0\x20ftypavif",
        b"\0\0\0\x20ftypavis",
    ),
    *(b"%PDF-1.4", b"PK\x03\x04", b"\x1f\x8b", b"<svg", b"\0\0\1\0", b"8BPS", b"qoif"),
)
INTERESTING = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 65535, 65536)
INTERESTING += (2**31 - 1, 2**31, 2**32 - 1, 2**32 - 16)


def _number(rng: random.Random) -> bytes:
    size = rng.choice((1, 2, 2, 4, 4, 4, 8))
    value = rng.choice(INTERESTING) & ((1 << 8 * size) - 1)
    if size == 8 and rng.random() < 0.5:
        value = 2**64 - 1
    return value.to_bytes(size, rng.choice(("little", "big")))


def _span(data: bytes, rng: random.Random, longest: int = 64) -> tuple[int, int]:
    start = rng.randrange(max(1, len(data)))
    return start, min(len(data), start + rng.randint(1, longest))


def _flip(data: bytes, rng: random.Random, end: int | None = None) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 32))):
        if changed:
            changed[rng.randrange(min(len(changed), end or len(changed)))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, rng: random.Random) -> bytes:
    number = _number(rng)
    reach = len(data) if rng.random() < 0.5 else min(len(data), 256)
    at = rng.randrange(max(1, reach))
    return data[:at] + number + data[at + len(number) :]


def _fill(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng, 512)
    filler = rng.choice((bytes(end - start), b"\xff" * (end - start), rng.randbytes(end - start)))
    return data[:start] + filler + data[end:]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng, 200)
    return data[:end] + data[start:end] * rng.choice((1, 2, 50)) + data[end:]


def _cut_out(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng, 200)
    return data[:start] + data[end:]


def _png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    at, found = 8, []
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        found.append((name, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _png(data: bytes, rng: random.Random) -> bytes:
    """Change a chunk and put its check sum right, or change the pixels under the compression."""
    chunks = _png_chunks(data)
    if not chunks:
        return _flip(data, rng)
    at = rng.randrange(len(chunks))
    name, content = chunks[at]
    what = rng.randrange(6)
    if name == b"IDAT" and what < 4:
        body = b"".join(c for n, c in chunks if n == b"IDAT")
        try:
            raw = zlib.decompress(body)
        except zlib.error:
            raw = body
        chunks = [chunk for chunk in chunks if chunk[0] != b"IDAT"]
        raw = rng.choice((_flip, _cut_out, _repeat, _fill))(raw, rng)
        chunks.insert(at, (b"IDAT", zlib.compress(raw)))
    elif what < 3:
        change = rng.choice((_flip, _overwrite, _cut_out, _repeat))
        chunks[at] = (name, change(content, rng))
    elif what == 3:
        chunks.insert(rng.randrange(len(chunks)), chunks[at])
    elif what == 4:
        del chunks[at]
    else:
        known = (b"tRNS", b"PLTE", b"gAMA", b"cHRM", b"iCCP", b"eXIf", b"pHYs", b"acTL", b"fcTL")
        chunks.insert(1, (rng.choice((*known, b"iTXt", b"zTXt")), rng.randbytes(rng.randrange(80))))
    return png_of(chunks)


def _jpeg(data: bytes, rng: random.Random) -> bytes:
    """Change the content or the length of one segment, or put one twice."""
    at, segments = 2, []
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        length = struct.unpack_from(">H", data, at + 2)[0]
        segments.append((at, at + 2 + length))
        at += 2 + length
    if not segments:
        return _flip(data, rng)
    start, end = rng.choice(segments)
    segment = data[start:end]
    what = rng.randrange(4)
    if what == 0:
        segment = segment[:4] + _flip(segment[4:], rng)
    elif what == 1:
        segment = segment[:4] + _overwrite(segment[4:], rng)
    elif what == 2:
        segment = segment[:2] + rng.randbytes(2) + segment[4:]
    else:
        segment = segment * rng.choice((0, 2, 3, 40))
    return data[:start] + segment + data[end:]


def _tiff(data: bytes, rng: random.Random) -> bytes:
    """Change the tag, the type, the count or the value of one entry of the first directory."""
    order = "<" if data[:2] == b"II" else ">"
    at = struct.unpack_from(order + "I", data, 4)[0] if len(data) >= 8 else 0
    if not 8 <= at <= len(data) - 2:
        return _flip(data, rng)
    count = struct.unpack_from(order + "H", data, at)[0]
    entry = at + 2 + 12 * rng.randrange(max(1, min(count, 40)))
    changed = bytearray(data.ljust(entry + 12, b"\0"))
    field = rng.randrange(4)
    value = rng.choice(INTERESTING)
    if field == 0:
        struct.pack_into(order + "H", changed, entry, rng.choice((*range(254, 345), 34665, 34675)))
    elif field == 1:
        struct.pack_into(order + "H", changed, entry + 2, rng.randrange(20))
    elif field == 2:
        struct.pack_into(order + "I", changed, entry + 4, value)
    else:
        struct.pack_into(order + "I", changed, entry + 8, rng.choice((value, rng.randrange(2000))))
    return bytes(changed)


def _boxes(data: bytes, rng: random.Random) -> bytes:
    """Change a size or a number right behind one of the names in the file (WebP, AVIF, JP2)."""
    names = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"meta")
    names += (b"iloc", b"ispe", b"pixi", b"av1C", b"colr", b"mdat", b"ihdr", b"jp2c", b"\xff\x51")
    places = [at for name in names if (at := data.find(name)) >= 0]
    if not places:
        return _flip(data, rng)
    at = max(0, rng.choice(places) + rng.randrange(-4, 40))
    number = _number(rng)
    return data[:at] + number + data[at + len(number) :]


def _knowing(data: bytes) -> Callable[[bytes, random.Random], bytes]:
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _png
    if data[:2] == b"\xff\xd8":
        return _jpeg
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _tiff
    if data[:4] == b"RIFF" or data[4:8] in (b"ftyp", b"jP  ") or data[:2] == b"\xff\x4f":
        return _boxes
    return _overwrite


def mutate(data: bytes, rng: random.Random, other: bytes) -> tuple[str, bytes]:
    """One to three mutations.

    Args:
        data: a file.
        rng: what is left to chance.
        other: a file to splice it with.

    Returns:
        The name of the last mutation, and the file.
    """
    kinds: dict[str, Callable[[], bytes]] = {
        "flip": lambda: _flip(data, rng),
        "header": lambda: _flip(data, rng, end=64),
        "cut": lambda: data[: rng.randrange(max(1, len(data)))],
        "garbage": lambda: data + rng.randbytes(rng.choice((1, 100, 5000))),
        "number": lambda: _overwrite(data, rng),
        "fill": lambda: _fill(data, rng),
        "repeat": lambda: _repeat(data, rng),
        "gap": lambda: _cut_out(data, rng),
        "splice": lambda: data[: _span(data, rng)[0]] + other[_span(other, rng)[0] :],
        "magic": lambda: (lambda magic: magic + data[len(magic) :])(rng.choice(MAGICS)),
        "inside": lambda: _knowing(data)(data, rng),
    }
    # What spoils the start of a file leaves little for the rest of a decoder to trip over.
    common = {"inside": 12, "number": 3, "flip": 3, "header": 0.5, "magic": 0.5}
    weights = [common.get(name, 1) for name in kinds]
    name = ""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        (name,) = rng.choices(list(kinds), weights)
        data = kinds[name]()
    return name, data
