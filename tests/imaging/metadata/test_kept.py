"""IPTC, comments and texts are kept in every format that can hold them; the rest is named."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from skimage import data

from irae.imaging.io.changes import describe_missing, missing_parts
from irae.imaging.io.encode import PICTURE_SUFFIXES
from irae.imaging.io.files import encode_picture, read_picture, write_picture
from irae.imaging.io.picture import Layout, Picture
from irae.imaging.metadata.jpeg import insert_segments, picture_end, read_segments
from irae.imaging.metadata.photoshop import (
    PNG_KEYWORD,
    from_profile,
    iptc_of,
    raw_profile,
    to_png_text,
    with_iptc,
)

PHOTO = Image.fromarray(data.coffee()[:24, :32])
# Two data sets of IPTC: a keyword, and a caption.
RECORD = b"\x1c\x02\x19\x00\x05grain" + b"\x1c\x02\x78\x00\x07caption"
HOLD_IPTC = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
HOLD_COMMENTS = {".png", ".jpg", ".jpeg", ".gif", ".ppm", ".pgm", ".jp2"}


def _jpeg(image: Image.Image = PHOTO, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


def _picture(mode: str = "RGB", depth: int = 8) -> Picture:
    channels = 1 if mode in ("L", "I;16") else 3
    pixels = torch.rand(channels, 12, 16, generator=torch.Generator().manual_seed(0))
    return Picture(pixels, None, Layout(mode=mode, depth=depth))


@pytest.mark.parametrize("suffix", sorted(PICTURE_SUFFIXES))
@pytest.mark.parametrize("depth", [8, 16])
def test_iptc_and_comment_in_every_format(suffix: str, depth: int, tmp_path: Path) -> None:
    mode = {8: "L", 16: "I;16"} if suffix == ".pgm" else {8: "RGB", 16: "RGB;16"}
    picture = _picture(mode[depth], depth)
    resources = with_iptc(None, RECORD)
    layout = replace(picture.layout, photoshop=resources, comments=(b"a comment",), xmp=b"<x/>")
    if depth == 16 and suffix not in {".png", ".tif", ".tiff", ".ppm", ".pgm"}:
        pytest.skip("this format has 8 bits")
    write_picture(tmp_path / f"a{suffix}", replace(picture, layout=layout))
    back = read_picture(tmp_path / f"a{suffix}").layout
    missing = missing_parts(layout, suffix)
    assert back.photoshop == (resources if suffix in HOLD_IPTC else None)
    assert back.comments == ((b"a comment",) if suffix in HOLD_COMMENTS else ())
    # What is not in the file is named, and nothing else is.
    assert ("IPTC record" in missing) == (back.photoshop is None)
    assert ("comment" in missing) == (back.comments == ())
    assert ("XMP" in missing) == (back.xmp is None)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_what_a_jpeg_holds_goes_from_format_to_format(suffix: str, tmp_path: Path) -> None:
    resources = with_iptc(None, RECORD)
    jpeg = insert_segments(_jpeg(), resources, (b"one", b"two"))
    (tmp_path / "a.jpg").write_bytes(jpeg)
    picture = read_picture(tmp_path / "a.jpg")
    assert (picture.layout.photoshop, picture.layout.comments) == (resources, (b"one", b"two"))
    write_picture(tmp_path / f"b{suffix}", picture)
    back = read_picture(tmp_path / f"b{suffix}")
    write_picture(tmp_path / "c.jpg", back)
    again = read_segments((tmp_path / "c.jpg").read_bytes())
    assert iptc_of(again.photoshop) == RECORD
    assert again.comments == (() if suffix == ".tif" else (b"one", b"two"))


@settings(max_examples=25, deadline=None)
@given(
    size=st.sampled_from([0, 1, 65000, 65519, 65520, 200_001]),
    comments=st.lists(st.binary(max_size=40), max_size=3),
)
def test_segments_of_any_length_come_back(size: int, comments: list[bytes]) -> None:
    resources = with_iptc(None, bytes(size)) if size else None
    jpeg = insert_segments(_jpeg(), resources, tuple(comments))
    found = read_segments(jpeg + b"after the end, as no camera writes it")
    assert found.photoshop == resources
    assert found.comments == tuple(comments)
    assert picture_end(jpeg) == len(jpeg)
    Image.open(io.BytesIO(jpeg)).load()


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 900), place=st.integers(0, 900), value=st.binary(max_size=3))
def test_damaged_jpegs_stop_nothing(cut: int, place: int, value: bytes) -> None:
    jpeg = bytearray(insert_segments(_jpeg(), with_iptc(None, RECORD), (b"x",)))
    jpeg[place : place + len(value)] = value
    read_segments(bytes(jpeg[: len(jpeg) - cut]))
    picture_end(bytes(jpeg[: len(jpeg) - cut]))


def test_a_run_of_fill_bytes_takes_no_time() -> None:
    assert picture_end(b"\xff\xd8" + b"\xff" * 3_000_000 + b"\0") is None


@settings(max_examples=40, deadline=None)
@given(record=st.binary(min_size=1, max_size=300), wrapped=st.booleans())
def test_raw_profiles_of_png_come_back(record: bytes, wrapped: bool) -> None:
    block = with_iptc(None, record)
    content = to_png_text(block)
    assert content.startswith(PNG_KEYWORD + b"\0")
    assert raw_profile(b"zTXt", content) == block
    profile = block if wrapped else b"\x1c" + record
    assert iptc_of(from_profile(profile)) == (record if wrapped else b"\x1c" + record)
    assert raw_profile(b"zTXt", content[:-9]) in (None, block)
    assert raw_profile(b"tEXt", PNG_KEYWORD + b"\0\niptc\n 3\nzz") is None


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_of_resources_are_survived(block: bytes) -> None:
    for each in (block, b"8BIM" + block, b"8BIM\x04\x04" + block):
        iptc_of(each)
        assert iptc_of(with_iptc(each, b"\x1c\x02")) == b"\x1c\x02"


@pytest.mark.parametrize("depth", [8, 16])
def test_texts_of_a_png_are_kept_in_a_png_and_named_elsewhere(depth: int, tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("Author", "somebody")
    info.add_text("Description", "zipped " * 40, zip=True)
    info.add_itxt("Title", "Größe", "de")
    info.add_text("Comment", "of old")
    image = PHOTO if depth == 8 else Image.fromarray(np.full((5, 6), 40000, np.uint16))
    image.save(tmp_path / "a.png", pnginfo=info)
    picture = read_picture(tmp_path / "a.png")
    write_picture(tmp_path / "b.png", picture.with_pixels(1 - picture.pixels))
    with Image.open(tmp_path / "b.png") as back, Image.open(tmp_path / "a.png") as first:
        back.load()
        first.load()
        assert back.text == first.text
        assert set(back.text) == {"Author", "Description", "Title", "Comment"}
    assert missing_parts(picture.layout, ".png") == []
    assert missing_parts(picture.layout, ".tif") == ["comment", "text"]


@pytest.mark.filterwarnings("ignore:Metadata Warning")
def test_iptc_of_a_tiff_in_numbers_is_kept(tmp_path: Path) -> None:
    # Photoshop stores the record as numbers of 32 bits.
    padded = RECORD.ljust(-(-len(RECORD) // 4) * 4, b"\0")
    numbers = struct.unpack(f"<{len(padded) // 4}I", padded)
    extra = [(33723, "I", len(numbers), numbers, True), (315, "s", 0, "somebody", True)]
    tifffile.imwrite(tmp_path / "a.tif", np.asarray(PHOTO), extratags=extra)
    picture = read_picture(tmp_path / "a.tif")
    assert (iptc_of(picture.layout.photoshop) or b"").rstrip(b"\0") == RECORD
    for suffix in (".tif", ".jpg"):
        write_picture(tmp_path / f"b{suffix}", picture)
        back = read_picture(tmp_path / f"b{suffix}").layout
        assert (iptc_of(back.photoshop) or b"").rstrip(b"\0") == RECORD
        assert Image.open(tmp_path / f"b{suffix}").getexif()[315] == "somebody"


def test_metadata_too_long_for_a_jpeg_is_named_and_stops_nothing(tmp_path: Path) -> None:
    picture = _picture()
    exif = Image.Exif()
    exif[0x927C] = b"x" * 70_000
    layout = replace(
        picture.layout,
        exif=b"Exif\0\0" + exif.tobytes(),
        xmp=b"<x/>" * 20_000,
        comments=(b"c" * 70_000,),
    )
    assert missing_parts(layout, ".jpg") == ["EXIF", "XMP", "comment"]
    assert missing_parts(layout, ".png") == []
    assert encode_picture(replace(picture, layout=layout), ".jpg")


def test_the_line_reads_well() -> None:
    source, target = Path("in/a.jpg"), Path("out/a.png")
    assert describe_missing(source, target, ["gain map"], False) == (
        "in/a.jpg: its gain map is not in a.png; `undoable` keeps it"
    )
    assert describe_missing(source, target, ["EXIF", "XMP", "comment"], True) == (
        "in/a.jpg: its EXIF, XMP and comment are not in a.png; its sidecar keeps them"
    )


# --- phones ------------------------------------------------------------------------------------

GAIN_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="r"><rdf:Description'
    b' xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"/></rdf:RDF>'
    b"</x:xmpmeta>"
)


def _mpo(types: tuple[int, ...]) -> bytes:
    """An MPO with an index of pictures of these types after the first."""
    small = PHOTO.resize((8, 8))
    stream = io.BytesIO()
    PHOTO.save(stream, "MPO", save_all=True, append_images=[small] * len(types))
    content = bytearray(stream.getvalue())
    at = content.find(b"MPF\0") + 4
    entries = content.find(struct.pack("<HHI", 0xB002, 7, 16 * (len(types) + 1)), at)
    (offset,) = struct.unpack_from("<I", content, entries + 8)
    for number, kind in enumerate(types, 1):
        struct.pack_into("<I", content, at + offset + 16 * number, kind)
    return bytes(content)


PHONES = {
    "plain": (_jpeg(), ()),
    "padded": (_jpeg() + bytes(400), ()),
    "second picture": (_mpo((0x020002,)), ("second picture",)),
    "third picture": (_mpo((0x020002, 0x020003)), ("2 further pictures",)),
    "previews": (_mpo((0x010001, 0x010002)), ()),
    "without an index": (_jpeg() + _jpeg(), ("second picture",)),
    "Ultra HDR": (_jpeg(xmp=GAIN_XMP) + _jpeg(xmp=GAIN_XMP), ("gain map",)),
    "gain map and view": (_mpo((0, 0x020002)) + GAIN_XMP, ("gain map", "second picture")),
    "motion photo": (_jpeg() + b"\0\0\0\x18ftypmp42" + bytes(80), ("video",)),
    "trailer": (_jpeg() + b"SEFH" * 40, ("data after the picture",)),
    "credentials": (
        insert_segments(_jpeg(), None, ()).replace(
            b"\xff\xdb", b"\xff\xeb\x00\x12JP\0\1\0\0\0\1\0\0\0\x10jumb" + b"\xff\xdb", 1
        ),
        ("content credentials",),
    ),
    "extended XMP": (
        _jpeg().replace(
            b"\xff\xdb",
            b"\xff\xe1\x00\x29http://ns.adobe.com/xmp/extension/\0abcd" + b"\xff\xdb",
            1,
        ),
        ("extended XMP",),
    ),
}


@pytest.mark.parametrize("kind", PHONES)
def test_what_phones_put_beside_the_picture_is_named(kind: str, tmp_path: Path) -> None:
    content, dropped = PHONES[kind]
    (tmp_path / "a.jpg").write_bytes(content)
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.layout.dropped == dropped
    assert (picture.width, picture.height, picture.layout.format) == (32, 24, "JPEG")
    encoded = encode_picture(picture.with_pixels(1 - picture.pixels), ".jpg")
    assert read_segments(encoded).dropped == ()
    assert b'hdr-gain-map/1.0/" hdrgm' not in encoded
