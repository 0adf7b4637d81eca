"""Pictures made by hand to be hostile: absurd sizes, bombs, loops, metadata beyond all measure."""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from typing import Any

import numpy as np
import tifffile
from corpus_whole import File, encoded, metadata, picture, png, png_of, raster
from PIL import Image

HUGE = 2**31 - 1
# Just below the limit on pixels that the corpus is read under.
BOMB_SIDE = 2200


def _png_headers() -> list[File]:
    lines = b"\0" * 100
    headers: dict[str, tuple[int, ...]] = {
        "huge": (HUGE, HUGE, 8, 2),
        "unsigned": (2**32 - 1, 2**32 - 1, 8, 2),
        "wide": (HUGE, 1, 8, 0),
        "tall": (1, HUGE, 8, 0),
        "60000": (60000, 60000, 8, 2),
        "over-limit": (20000, 20001, 8, 2),
        "under-limit": (BOMB_SIDE, BOMB_SIDE, 8, 6),
        "under-limit-16": (BOMB_SIDE, BOMB_SIDE, 16, 6),
        "wide-16": (HUGE, 1, 16, 6),
        "interlaced-16": (BOMB_SIDE, BOMB_SIDE, 16, 6, 0, 0, 1),
        "no-width": (0, 5, 8, 2),
        "no-height": (5, 0, 8, 2),
        "nothing": (0, 0, 16, 2),
        "depth-3": (8, 8, 3, 0),
        "depth-0": (8, 8, 0, 0),
        "palette-16": (4, 4, 16, 3),
        "colour-5": (4, 4, 8, 5),
        "colour-5-16": (4, 4, 16, 5),
        "interlace-2": (4, 4, 8, 2, 0, 0, 2),
        "interlace-16": (4, 4, 16, 2, 0, 0, 2),
        "compression-9": (4, 4, 8, 2, 9, 0, 0),
        "filter-9": (4, 4, 16, 2, 0, 9, 0),
    }
    return [(f"png-{label}", ".png", png(header, lines)) for label, header in headers.items()]


def _png_bombs() -> list[File]:
    side = BOMB_SIDE
    made = []
    for label, depth, colour, size in (("rgb", 8, 2, 3), ("gray", 8, 0, 1), ("16", 16, 2, 6)):
        raw = bytes(side * (1 + side * size))
        made.append((f"png-bomb-{label}", ".png", png((side, side, depth, colour), raw)))
    # More lines than the header says.
    made.append(("png-longer", ".png", png((10, 10, 8, 0), bytes(1 << 26))))
    made.append(("png-longer-16", ".png", png((10, 10, 16, 2), bytes(1 << 26))))
    raw = b"\7" * 110
    made.append(("png-filter-7", ".png", png((10, 10, 8, 0), raw)))
    made.append(("png-filter-7-16", ".png", png((10, 5, 16, 0), b"\7" * 105)))
    return made


def _png_chunks() -> list[File]:
    bomb = zlib.compress(bytes(1 << 26), 9)
    million = zlib.compress(bytes(1 << 20))
    raw = bytes(4 * 13)
    extras: dict[str, list[tuple[bytes, bytes]]] = {
        "itxt-bomb": [(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb)],
        "ztxt-bomb": [(b"zTXt", b"Comment\0\0" + bomb)],
        "ztxt-many": [(b"zTXt", b"Comment\0\0" + million)] * 300,
        "iccp-bomb": [(b"iCCP", b"p\0\0" + bomb)],
        "iccp-rubbish": [(b"iCCP", b"p\0\0" + b"rubbish")],
        "iccp-long": [(b"iCCP", b"p\0\0" + zlib.compress(b"ab" * 400_000))],
        "text-many": [(b"tEXt", b"k%d\0value" % number) for number in range(20_000)],
        "xmp-long": [(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<a>" * 500_000)],
        "exif-empty": [(b"eXIf", b"")],
        "exif-rubbish": [(b"eXIf", b"II*\0\xff\xff\xff\xff")],
        "exif-long": [(b"eXIf", _exif_of(b"x" * 900_000))],
        "trns-long": [(b"tRNS", bytes(5000))],
        "trns-short": [(b"tRNS", b"\1")],
        "plte-twice": [(b"PLTE", bytes(768)), (b"PLTE", bytes(3))],
        "plte-odd": [(b"PLTE", bytes(5))],
        "plte-long": [(b"PLTE", bytes(3000))],
        "ihdr-twice": [(b"IHDR", struct.pack(">IIBBBBB", HUGE, HUGE, 8, 2, 0, 0, 0))],
        "ihdr-short": [(b"IHDR", b"\0\0")],
        "phys-short": [(b"pHYs", b"\0")],
        "phys-none": [(b"pHYs", bytes(9))],
        "phys-huge": [(b"pHYs", b"\xff" * 8 + b"\1")],
        "gama-none": [(b"gAMA", b"")],
        "chrm-short": [(b"cHRM", b"\0" * 5)],
        "srgb-empty": [(b"sRGB", b"")],
        "actl-many": [(b"acTL", struct.pack(">II", HUGE, 0))],
        "actl-none": [(b"acTL", bytes(8))],
        "actl-short": [(b"acTL", b"\0")],
        "fctl-short": [(b"acTL", struct.pack(">II", 3, 0)), (b"fcTL", b"\0")],
        "unknown": [(b"AbCd", b"critical, and not known")],
    }
    made = []
    for depth, colour in ((8, 2), (8, 3), (16, 0)):
        for label, chunks in extras.items():
            palette = [(b"PLTE", bytes(range(48)))] if colour == 3 else []
            data = png((4, 4, depth, colour), raw, *palette, *chunks)
            made.append((f"png-{label}-{depth}-{colour}", ".png", data))
    head = struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)
    made.append(("png-no-data", ".png", png((4, 4, 8, 2), None)))
    made.append(("png-no-data-16", ".png", png((4, 4, 16, 2), None)))
    made.append(("png-no-header", ".png", png_of([(b"IEND", b"")])))
    made.append(("png-length", ".png", b"\x89PNG\r\n\x1a\n\x7f\xff\xff\xffIHDR" + head))
    empty = [(b"IHDR", head), *[(b"IDAT", b"")] * 5000, (b"IEND", b"")]
    made.append(("png-empty-data", ".png", png_of(empty)))
    return made


def _exif_of(content: bytes) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = content.decode("latin-1")
    return exif.tobytes().removeprefix(b"Exif\0\0")


def _exif_blocks() -> dict[str, bytes]:
    """EXIF blocks, without their prefix: loops, absurd counts, wrong types."""

    def directory(*entries: tuple[int, int, int, int], after: int = 0) -> bytes:
        body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        return (
            b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + struct.pack("<I", after)
        )

    blocks = {
        "self": directory((34665, 4, 1, 8), (34853, 4, 1, 8), (274, 3, 1, 6)),
        "next-self": directory((274, 3, 1, 6), after=8),
        "interop-self": directory((34665, 4, 1, 8), (40965, 4, 1, 8)),
        "sub-self": directory((330, 4, 1, 8), (34665, 13, 1, 8)),
        "count": directory((270, 2, 2**32 - 1, 8), (274, 3, 1, 6)),
        "count-long": directory((271, 4, 2**30, 8), (274, 3, 1, 6)),
        "offset": directory((270, 2, 100, 2**32 - 1), (34665, 4, 1, 2**32 - 4)),
        "type": directory((270, 99, 1, 0), (274, 12, 1, 6), (282, 5, 1, 0)),
        "orientation-many": directory((274, 3, 500, 0)),
        "orientation-text": directory((274, 2, 4, 0x36363636)),
        "orientation-9": directory((274, 3, 1, 9)),
        "orientation-rational": directory((274, 5, 1, 8)),
        "pointer-text": directory((34665, 2, 4, 0x36363636), (34853, 7, 4, 8)),
        "rational-zero": directory((282, 5, 1, 60), (283, 5, 1, 60), (296, 3, 1, 2)) + bytes(40),
        "entries": b"II*\0\x08\0\0\0\xff\xff" + b"\x0e\x01\x02\0\1\0\0\0\0\0\0\0" * 5000,
        "big": b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63) + bytes(20),
        "motorola": b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0",
        "short": b"II*\0",
        "prefixes": b"Exif\0\0" * 500 + b"II*\0\x08\0\0\0\0\0",
        "rubbish": bytes(range(256)) * 8,
        "makernote": directory((37500, 7, 60000, 8)) + bytes(60000),
    }
    return blocks


def _metadata() -> list[File]:
    made = []
    for label, block in _exif_blocks().items():
        for kind, suffix in (("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp")):
            data = encoded(picture("RGB"), kind, exif=b"Exif\0\0" + block)
            if data is not None:
                made.append((f"exif-{label}-{kind}", suffix, data))
        made.append((f"exif-{label}-as-file", ".tif", block))
    for kind, suffix in (("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp"), ("TIFF", ".tif")):
        for label, profile in {
            "giant": bytes(1 << 20) + raster(500, 700, 3).tobytes(),
            "short": b"x",
            "gray": bytes(16) + b"GRAY" + bytes(108),
        }.items():
            data = encoded(picture("RGB"), kind, icc_profile=profile)
            if data is not None:
                made.append((f"icc-{label}-{kind}", suffix, data))
    return made


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _jpegs() -> list[File]:
    plain = encoded(picture("RGB"), "JPEG") or b""
    start, rest = plain[:2], plain[2:]
    sof, sos = plain.index(b"\xff\xc0"), plain.index(b"\xff\xda")

    def with_sof(height: int, width: int, precision: int = 8, parts: int = 3) -> bytes:
        head = struct.pack(">BHHB", precision, height, width, parts)
        return plain[: sof + 4] + head + plain[sof + 10 :]

    icc = b"ICC_PROFILE\0"
    photo = encoded(picture("RGB", 64, 64), "JPEG", progressive=True) or b""
    scan = photo.rindex(b"\xff\xda")
    wide = (
        encoded(Image.new("RGB", (BOMB_SIDE, BOMB_SIDE), (90, 120, 20)), "JPEG", progressive=True)
        or b""
    )
    wide_scan = wide.rindex(b"\xff\xda")
    made = {
        "65535": with_sof(65535, 65535),
        "under-limit": with_sof(BOMB_SIDE, BOMB_SIDE),
        "one-line": with_sof(1, 65535),
        "no-height": with_sof(0, 42),
        "no-width": with_sof(30, 0),
        "precision-12": with_sof(30, 42, 12),
        "precision-16": with_sof(30, 42, 16),
        "parts-255": with_sof(30, 42, 8, 255),
        "parts-2": with_sof(30, 42, 8, 2),
        "parts-0": with_sof(30, 42, 8, 0),
        "sampling-0": plain[: sof + 11] + b"\0" + plain[sof + 12 :],
        "sampling-15": plain[: sof + 11] + b"\xff" + plain[sof + 12 :],
        "arithmetic": plain.replace(b"\xff\xc0", b"\xff\xc9", 1),
        "lossless": plain.replace(b"\xff\xc0", b"\xff\xc3", 1),
        "only-start": b"\xff\xd8",
        "only-head": plain[:sof],
        "no-scan": plain[:sos],
        "scan-rubbish": plain[: sos + 14] + raster(40, 40, 1).tobytes(),
        "no-end": plain[:-2],
        "bomb": encoded(Image.new("RGB", (BOMB_SIDE, BOMB_SIDE)), "JPEG") or b"",
        "exif-many": start + _segment(0xE1, b"Exif\0\0" + bytes(65000)) * 100 + rest,
        "xmp-long": start + _segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<" * 65000) + rest,
        "icc-255": start
        + b"".join(_segment(0xE2, icc + bytes([n, 255]) + bytes(65000)) for n in range(1, 256))
        + rest,
        "icc-none": start + _segment(0xE2, icc + b"\0\0") + rest,
        "icc-order": start + _segment(0xE2, icc + b"\7\2" + bytes(90)) * 3 + rest,
        "comments": start + _segment(0xFE, b"c" * 60000) * 100 + rest,
        "mpo-many": start + _segment(0xE2, b"MPF\0II*\0\x08\0\0\0" + _mpf(2**31)) + rest,
        "mpo-beyond": start + _segment(0xE2, b"MPF\0II*\0\x08\0\0\0" + _mpf(3)) + rest,
        "photoshop": start
        + _segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\xff\xff\xff\xff")
        + rest,
        "adobe-short": start + _segment(0xEE, b"Adobe") + rest,
        "restart-0": start + _segment(0xDD, b"\0\1") + rest,
        "markers": b"\xff\xd8" + b"\xff" * 100_000,
        "scans": photo[:-2] + photo[scan:-2] * 3000 + photo[-2:],
        "scans-wide": wide[:-2] + wide[wide_scan:-2] * 1500 + wide[-2:],
    }
    return [(f"jpeg-{label}", ".jpg", data) for label, data in made.items()]


def _mpf(count: int) -> bytes:
    entries = ((0xB000, 7, 4, 0x30303130), (0xB001, 4, 1, count), (0xB002, 7, 48, 50))
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", 3) + body + bytes(4) + b"\xff" * 48


def tiff(entries: dict[int, tuple[int, list[int]]], body: bytes = b"", after: int = 0) -> bytes:
    """A TIFF by hand: the body from byte 8 on, then the directory of type and values by tag."""
    at = 8 + len(body) + len(body) % 2
    out = io.BytesIO()
    out.write(b"II*\0" + struct.pack("<I", at) + body.ljust(at - 8, b"\0"))
    out.write(struct.pack("<H", len(entries)))
    beyond, tail = at + 2 + 12 * len(entries) + 4, b""
    for tag, (kind, values) in sorted(entries.items()):
        code = {1: "B", 3: "H", 4: "I", 7: "B"}[kind]
        packed = struct.pack(f"<{len(values)}{code}", *values)
        if len(packed) > 4:
            place = beyond + len(tail)
            tail += packed
            packed = struct.pack("<I", place)
        out.write(struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0"))
    out.write(struct.pack("<I", after) + tail)
    return out.getvalue()


def _tags(**changes: tuple[int, list[int]]) -> dict[int, tuple[int, list[int]]]:
    """A gray 8-bit raster of 8x8, its tags changed: ``t256=(type, values)``."""
    tags: dict[int, tuple[int, list[int]]] = {
        256: (4, [8]), 257: (4, [8]), 258: (3, [8]), 259: (3, [1]), 262: (3, [1]), 273: (4, [8]),
        277: (3, [1]), 278: (4, [8]), 279: (4, [64]),
    }  # fmt: skip
    return tags | {int(key[1:]): value for key, value in changes.items()}


def _tiffs() -> list[File]:
    long, short, top = 4, 3, 2**32 - 1
    side = BOMB_SIDE
    lines = [8] * side
    zipped = zlib.compress(bytes(side * side * 2), 9)
    cases: dict[str, dict[str, Any]] = {
        "huge": {"t256": (long, [top]), "t257": (long, [top])},
        "65535": {"t256": (long, [65535]), "t257": (long, [65535])},
        "wide": {"t256": (long, [top]), "t257": (long, [1])},
        "empty": {"t256": (long, [0]), "t257": (long, [0])},
        "under-limit": {"t256": (long, [side]), "t257": (long, [side])},
        "strip-shared": {
            "t256": (long, [side]), "t257": (long, [side]), "t278": (long, [1]),
            "t273": (long, lines), "t279": (long, [side] * side),
        },
        "strips-many": {"t273": (long, [8] * 500_000), "t279": (long, [64] * 500_000)},
        "strip-beyond": {"t273": (long, [top]), "t279": (long, [top])},
        "rows-0": {"t278": (long, [0])},
        "samples": {"t277": (short, [65535])},
        "samples-16": {"t277": (short, [65535]), "t258": (short, [16])},
        "samples-5": {"t277": (short, [5]), "t258": (short, [8] * 5)},
        "bits-0": {"t258": (short, [0])},
        "bits-64": {"t258": (short, [64])},
        "bits-24": {"t258": (short, [24])},
        "bits-mixed": {"t258": (short, [8, 16, 32]), "t277": (short, [3])},
        "compression": {"t259": (short, [65000])},
        "jpeg": {"t259": (short, [7])},
        "old-jpeg": {"t259": (short, [6])},
        "lzw": {"t259": (short, [5])},
        "photometric": {"t262": (short, [65535])},
        "palette-none": {"t262": (short, [3])},
        "palette-short": {"t262": (short, [3]), "t320": (short, [1, 2, 3])},
        "planar-3": {"t284": (short, [3])},
        "orientation": {"t274": (short, [99])},
        "predictor": {"t317": (short, [3]), "t259": (short, [8])},
        "format-9": {"t339": (short, [9])},
        "depth": {"t32997": (long, [10**9]), "t258": (short, [16])},
        "tile-huge": {"t322": (long, [2**31]), "t323": (long, [2**31]), "t324": (long, [8]),
                      "t325": (long, [64])},
        "tile-huge-16": {"t322": (long, [2**30]), "t323": (long, [2**30]), "t324": (long, [8]),
                         "t325": (long, [64]), "t258": (short, [16])},
        "tile-0": {"t322": (long, [0]), "t323": (long, [0]), "t324": (long, [8])},
        "huge-16": {"t256": (long, [top]), "t257": (long, [top]), "t258": (short, [16])},
        "under-16": {"t256": (long, [side]), "t257": (long, [side]), "t258": (short, [16])},
        "strips-16": {"t258": (short, [16]), "t273": (long, [8] * 500_000),
                      "t279": (long, [64] * 500_000)},
        "samples-bits": {"t258": (short, [16] * 4000), "t277": (short, [4000])},
        "no-width": {"t256": (7, [0, 0, 0, 0])},
        "width-many": {"t256": (long, [8] * 9)},
        "sub-loop": {"t330": (long, [74])},
        "exif-loop": {"t34665": (long, [72])},
        "text": {"t270": (7, list(range(256)) * 3000)},
    }  # fmt: skip
    body = raster(8, 8, 1).tobytes()
    made = [(label, tiff(_tags(**changes), body)) for label, changes in cases.items()]
    made.append(("next-self", tiff(_tags(), body, after=72)))
    made.append(("no-tags", tiff({}, body)))
    bomb = {
        "t256": (long, [side]), "t257": (long, [side]), "t259": (short, [8]),
        "t278": (long, [side]), "t279": (long, [len(zipped)]),
    }  # fmt: skip
    made.append(("bomb", tiff(_tags(**bomb), zipped)))
    made.append(("bomb-16", tiff(_tags(**bomb, t258=(short, [16])), zipped)))
    for label, kind, packed in (
        ("longer-deflate", 8, zlib.compress(bytes(1 << 28), 9)),
        ("longer-lzma", 34925, lzma.compress(bytes(1 << 28), preset=0)),
    ):
        longer = {"t259": (short, [kind]), "t279": (long, [len(packed)]), "t258": (short, [16])}
        made.append((label, tiff(_tags(**longer), packed)))
    for label, values in (("nan", np.nan), ("infinite", np.inf), ("negative", -1.0)):
        stream = io.BytesIO()
        tifffile.imwrite(stream, np.full((8, 8), values, np.float32))
        made.append((label, stream.getvalue()))
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((8, 8), np.complex64))
    made.append(("complex", stream.getvalue()))
    for label, data in {
        "offset": b"II*\0\xff\xff\xff\xff", "self": b"II*\0\0\0\0\0", "short": b"MM\0*",
        "big-short": b"II+\0\x08\0\0\0", "big-far": b"II+\0\x08\0\0\0" + b"\xff" * 8,
    }.items():  # fmt: skip
        made.append((label, data))
    return [(f"tiff-{label}", ".tif", data) for label, data in made]


def _bitmaps() -> list[File]:
    def bmp(width: int, height: int, bits: int = 24, kind: int = 0, colours: int = 0) -> bytes:
        head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, kind, 0, 0, 0, colours, 0)
        return b"BM" + struct.pack("<IHHI", 200, 0, 0, 54) + head + bytes(200)

    top = -(2**31)
    made = {
        "negative": bmp(8, -8), "most-negative": bmp(8, top), "width-negative": bmp(-8, 8),
        "both": bmp(top, top), "huge": bmp(HUGE, HUGE), "empty": bmp(0, 0), "bits-0": bmp(8, 8, 0),
        "bits-64": bmp(8, 8, 64), "bits-2": bmp(8, 8, 2), "jpeg": bmp(8, 8, 24, 4),
        "rle-wrong": bmp(8, 8, 24, 1), "rle": bmp(BOMB_SIDE, BOMB_SIDE, 8, 1),
        "colours": bmp(8, 8, 8, 0, 2**32 - 1), "fields": bmp(8, 8, 32, 3),
        "header-0": b"BM" + bytes(60), "header-huge": b"BM" + b"\xff" * 60,
        "under-limit": bmp(BOMB_SIDE, BOMB_SIDE),
    }  # fmt: skip
    return [(f"bmp-{label}", ".bmp", data) for label, data in made.items()]


def _gifs() -> list[File]:
    def gif(width: int, height: int, inner: bytes) -> bytes:
        return b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0) + bytes(768) + inner

    def frame(x: int, y: int, width: int, height: int, code: int = 8) -> bytes:
        return b"," + struct.pack("<HHHHBB", x, y, width, height, 0, code) + b"\x02\x4c\x01\0"

    made = {
        "huge": gif(65535, 65535, frame(0, 0, 65535, 65535) + b";"),
        "under-limit": gif(BOMB_SIDE, BOMB_SIDE, frame(0, 0, BOMB_SIDE, BOMB_SIDE) + b";"),
        "empty": gif(0, 0, frame(0, 0, 0, 0) + b";"),
        "outside": gif(8, 8, frame(60000, 60000, 8, 8) + b";"),
        "larger": gif(8, 8, frame(0, 0, 60000, 60000) + b";"),
        "code-20": gif(8, 8, frame(0, 0, 8, 8, 20) + b";"),
        "code-0": gif(8, 8, frame(0, 0, 8, 8, 0) + b";"),
        "no-frame": gif(8, 8, b";"),
        "cut": gif(8, 8, b","),
        "frames": gif(8, 8, frame(0, 0, 1, 1) * 5000 + b";"),
        "frames-wide": gif(BOMB_SIDE, BOMB_SIDE, frame(0, 0, BOMB_SIDE, BOMB_SIDE) * 500 + b";"),
        "extensions": gif(8, 8, b"!\xfe\xff" + b"c" * 255 + b"\0" + b"!\xff\0" * 9000 + b";"),
        "endless": gif(8, 8, b"!\xfe" + (b"\xff" + b"c" * 255) * 9000),
    }
    return [(f"gif-{label}", ".gif", data) for label, data in made.items()]


def _netpbm() -> list[File]:
    made = {
        "huge": b"P6\n2147483647 2147483647\n255\n", "wide": b"P5 999999999 1 255 ",
        "digits": b"P5 " + b"9" * 3000 + b" 1 255 ", "under-limit": b"P6 2200 2200 255\n123",
        "under-16": b"P6 2200 2200 65535\n123", "empty": b"P6 0 0 255\n",
        "top-0": b"P5 4 4 0\n" + bytes(16),
        "top-70000": b"P5 4 4 70000\n" + bytes(64), "negative": b"P5 -4 -4 255\n" + bytes(64),
        "plain": b"P3 4 4 255\n" + b"1 2 3 " * 16, "plain-short": b"P3 4 4 255\n1",
        "plain-long": b"P2 4 4 255\n" + b"7" * 100_000, "plain-bits": b"P1 4 4\n" + b"01" * 8,
        "plain-wide": b"P1 2200 2200\n" + b"0" * 100_000, "plain-text": b"P2 4 4 255\nabc def",
        "comment": b"P5\n#" + b"c" * 3_000_000 + b"\n4 4 255\n" + bytes(16),
        "comments": b"P5\n" + b"#\n" * 200_000 + b"4 4 255\n" + bytes(16),
        "float": b"Pf\n4 4\n-1.0\n" + struct.pack("<16f", *[0.5] * 16),
        "float-nan": b"Pf\n4 4\n-1.0\n" + b"\xff" * 64, "float-scale": b"Pf\n4 4\n0\n" + bytes(64),
        "float-scale-nan": b"Pf\n4 4\nnan\n" + bytes(64), "p7": b"P7\nWIDTH 4\nHEIGHT 4\nENDHDR\n",
        "none": b"P6", "newline": b"P5\n4\n", "odd-top": b"P5 4 4 1000\n" + b"\xff" * 32,
    }  # fmt: skip
    return [(f"pnm-{label}", ".ppm", data) for label, data in made.items()]


def _riffs_and_boxes() -> list[File]:
    webp = encoded(picture("RGBA"), "WEBP", **metadata()) or b""
    at = webp.index(b"VP8X") + 12
    wide = webp[:at] + b"\xff\xff\xff\xff\xff\xff" + webp[at + 6 :]
    square = webp[:at] + struct.pack("<I", BOMB_SIDE - 1)[:3] * 2 + webp[at + 6 :]
    lossless = encoded(picture("RGB"), "WEBP", lossless=True) or b""
    bits = lossless.index(b"VP8L") + 9
    jp2 = encoded(picture("RGB"), "JPEG2000") or b""
    size = jp2.index(b"\xff\x51") + 6
    avif = encoded(picture("RGB"), "AVIF") or b""
    large = struct.pack(">II", BOMB_SIDE, BOMB_SIDE)
    ispe = avif.index(b"ispe") + 8
    box = jp2.index(b"ihdr") + 4
    made = {
        "webp-canvas": (".webp", wide),
        "webp-under": (".webp", square),
        "webp-14-bits": (".webp", lossless[:bits] + b"\xff\xff\xff\x0f" + lossless[bits + 4 :]),
        "webp-riff-0": (".webp", webp[:4] + bytes(4) + webp[8:]),
        "webp-riff-huge": (".webp", webp[:4] + b"\xff" * 4 + webp[8:]),
        "webp-head": (".webp", b"RIFF\x04\0\0\0WEBP"),
        "webp-chunk": (".webp", b"RIFF\xff\xff\xff\x7fWEBPVP8 \xff\xff\xff\xff"),
        "webp-bomb": (
            ".webp",
            encoded(Image.new("RGB", (BOMB_SIDE, BOMB_SIDE)), "WEBP", lossless=True) or b"",
        ),
        "jp2-huge": (".jp2", jp2[:size] + b"\xff" * 8 + jp2[size + 8 :]),
        "jp2-under": (
            ".jp2",
            jp2[:size] + large + jp2[size + 8 :],
        ),
        "jp2-tiles": (
            ".jp2",
            jp2[:size] + struct.pack(">6I", BOMB_SIDE, BOMB_SIDE, 0, 0, 1, 1) + jp2[size + 24 :],
        ),
        "jp2-parts": (".jp2", jp2[: size + 32] + b"\x40\0" + jp2[size + 34 :]),
        "jp2-header": (".jp2", jp2[:box] + b"\xff" * 8 + jp2[box + 8 :]),
        "jp2-boxes": (".jp2", jp2[:12] + b"\0\0\0\0" + jp2[16:]),
        "jp2-box-1": (".jp2", jp2[:12] + b"\0\0\0\1" + jp2[16:]),
        "j2k-head": (".jp2", b"\xff\x4f\xff\x51"),
        "avif-huge": (".avif", avif[:ispe] + b"\x7f\xff\xff\xff" * 2 + avif[ispe + 8 :]),
        "avif-under": (
            ".avif",
            avif[:ispe] + large + avif[ispe + 8 :],
        ),
        "avif-none": (".avif", avif[:ispe] + bytes(8) + avif[ispe + 8 :]),
        "avif-head": (".avif", avif[:24]),
        "avif-boxes": (".avif", avif[:28] + b"\xff\xff\xff\xff" + avif[32:]),
    }
    return [(label, suffix, data) for label, (suffix, data) in made.items()]


def _no_pictures() -> list[File]:
    drawing = b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/tmp/x) (w) file\nshowpage\n"
    made = {
        "empty": b"", "byte": b"\0", "text": b"not a picture\n" * 50, "html": b"<html></html>",
        "zeros": bytes(1 << 20), "ones": b"\xff" * (1 << 20), "zip": b"PK\3\4" + bytes(100),
        "elf": b"\x7fELF" + bytes(200), "svg": drawing, "postscript": script,
        "random": raster(300, 300, 1).tobytes(), "gzip": b"\x1f\x8b\x08" + bytes(100),
        "icns": b"icns\0\0\0\x10" + bytes(100), "psd": b"8BPS\0\1" + b"\xff" * 100,
    }  # fmt: skip
    suffixes = (".png", ".jpg", ".tif", ".webp", ".gif", ".ppm")
    return [
        (f"no-{label}", suffixes[number % len(suffixes)], data)
        for number, (label, data) in enumerate(made.items())
    ]


def files() -> list[File]:
    """Label, suffix and bytes of each."""
    return [
        *(*_png_headers(), *_png_bombs(), *_png_chunks(), *_metadata(), *_jpegs(), *_tiffs()),
        *(*_bitmaps(), *_gifs(), *_netpbm(), *_riffs_and_boxes(), *_no_pictures()),
    ]
