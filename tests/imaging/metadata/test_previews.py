"""No preview in a file shows what was painted out: EXIF, XMP, Photoshop's and the makers'."""

from __future__ import annotations

import base64
import io
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from irae.imaging.io.files import read_picture, write_picture
from irae.imaging.metadata.photoshop import iptc_of, with_iptc, without_thumbnails
from irae.imaging.metadata.previews import exif_without_previews, xmp_without_previews

PHOTO = Image.fromarray(data.coffee()[:96, :128])


def _jpeg(image: Image.Image, side: int = 48, **options: object) -> bytes:
    stream = io.BytesIO()
    image.resize((side, side)).save(stream, "JPEG", **options)
    return stream.getvalue()


THUMBNAIL = _jpeg(PHOTO)
PIXELS = bytes(PHOTO.resize((16, 12)).tobytes())


def _directory(order: str, entries: list[tuple[int, int, int, int]], following: int) -> bytes:
    body = struct.pack(order + "H", len(entries))
    for tag, kind, count, value in entries:
        form = "HHIHxx" if kind == 3 and count == 1 else "HHII"
        body += struct.pack(order + form, tag, kind, count, value)
    return body + struct.pack(order + "I", following)


def _exif(order: str = "<", kind: str = "jpeg", notes: bytes = b"") -> bytes:
    """An EXIF block: a maker's name, notes of the maker, and a thumbnail in a second directory."""
    thumbnail = PIXELS if kind == "pixels" else THUMBNAIL
    mark = b"II*\0" if order == "<" else b"MM\0*"
    first, sub = 8, 8 + 2 + 3 * 12 + 4
    notes_at = sub + 2 + 12 + 4
    second = notes_at + len(notes) + 8
    entries = [(0x100, 3, 1, 16), (0x101, 3, 1, 12), (0x103, 3, 1, 6)]
    count = len(entries) + 2
    at = second + 2 + 12 * count + 4
    places = (513, 514) if kind == "jpeg" else (273, 279)
    entries += [(places[0], 4, 1, at), (places[1], 4, 1, len(thumbnail))]
    block = mark + struct.pack(order + "I", first)
    # "Cam" and a zero, in the bytes of the value itself.
    name = struct.unpack(order + "I", b"Cam\0")[0]
    block += _directory(order, [(0x10F, 2, 4, name), (0x112, 3, 1, 6), (0x8769, 4, 1, sub)], second)
    block += _directory(order, [(0x927C, 7, len(notes) or 4, notes_at if notes else 0)], 0)
    block = block.ljust(notes_at, b"\0") + notes
    return b"Exif\0\0" + block.ljust(second, b"\0") + _directory(order, entries, 0) + thumbnail


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
    b' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
    b' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:g="http://ns.adobe.com/xap/1.0/g/img/"'
    b' xmlns:dc="http://purl.org/dc/elements/1.1/"'
    b' xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"'
    b' xmlns:Container="http://ns.google.com/photos/1.0/container/"'
    b' xmlns:Item="http://ns.google.com/photos/1.0/container/item/"'
    b' xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MotionPhoto="1"'
    b' GCamera:BurstID="7" dc:title="grass">'
    b"<xmp:Thumbnails><rdf:Alt><rdf:li><g:image>%s</g:image></rdf:li></rdf:Alt></xmp:Thumbnails>"
    b'<Container:Directory><rdf:Seq><rdf:li><Container:Item Item:Semantic="GainMap"/></rdf:li>'
    b"</rdf:Seq></Container:Directory></rdf:Description></rdf:RDF></x:xmpmeta>"
)


def _decodes(block: bytes | None) -> list[int]:
    """Where in a block Pillow finds a JPEG that it can decode."""
    found, at = [], (block or b"").find(b"\xff\xd8\xff")
    while at >= 0:
        try:
            Image.open(io.BytesIO((block or b"")[at:]), formats=["JPEG"]).load()
            found.append(at)
        except (OSError, SyntaxError):
            pass
        at = (block or b"").find(b"\xff\xd8\xff", at + 1)
    return found


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["jpeg", "pixels"])
@pytest.mark.parametrize("notes", [b"", b"notes" * 9, b"Nikon\0\2" + _jpeg(PHOTO, 64) + b"tail"])
def test_the_thumbnail_of_exif_goes_and_the_rest_stays(order: str, kind: str, notes: bytes) -> None:
    block = _exif(order, kind, notes)
    before = Image.Exif()
    before.load(block)
    assert _decodes(block) or kind == "pixels"
    kept = exif_without_previews(block)
    assert kept is not None
    assert not _decodes(kept)
    assert PIXELS not in kept
    after = Image.Exif()
    after.load(kept)
    assert dict(after) == dict(before)
    assert len(after.get_ifd(0x8769)[0x927C]) == len(before.get_ifd(0x8769)[0x927C])
    if not notes.startswith(b"Nikon"):
        assert after.get_ifd(0x8769) == before.get_ifd(0x8769)
    assert not after.get_ifd(1)
    assert exif_without_previews(kept) == kept


@settings(max_examples=60, deadline=None)
@given(
    cut=st.integers(6, len(_exif())),
    place=st.integers(6, len(_exif()) - 5),
    value=st.binary(min_size=1, max_size=4),
)
def test_damaged_exif_shows_nothing_either(cut: int, place: int, value: bytes) -> None:
    block = bytearray(_exif())
    block[place : place + len(value)] = value
    kept = exif_without_previews(bytes(block[:cut]))
    assert not _decodes(kept)
    assert kept is None or len(kept) <= cut


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_what_is_no_exif_is_passed_on(block: bytes) -> None:
    # No picture in it, and no second directory: nothing to remove.
    block = block.replace(b"\xff\xd8", b"").replace(b"II*", b"").replace(b"MM\0", b"")
    given = b"Exif\0\0" + block
    assert exif_without_previews(given) == (given if block else None)


def test_hostile_metadata_takes_no_time() -> None:
    assert exif_without_previews(b"Exif\0\0" + b"\xff\xd8\xff" * 300_000) is None
    xmp_without_previews(b">/9j/" * 300_000)
    spaces = b'xmlns:%b="http://ns.adobe.com/hdr-gain-map/1.0/" '
    many = b"".join(spaces % f"p{number}".encode() for number in range(3000))
    xmp_without_previews(many + b"<p1:a>" * 100_000)


@pytest.mark.parametrize("magic", [THUMBNAIL, b"\x89PNG\r\n\x1a\n" + bytes(90)])
@pytest.mark.parametrize("newline", [b"", b"&#xA;", b"\n"])
def test_pictures_in_xmp_and_what_announces_others_go(magic: bytes, newline: bytes) -> None:
    coded = base64.b64encode(magic)
    lines = newline.join(coded[at : at + 64] for at in range(0, len(coded), 64))
    kept = xmp_without_previews(XMP % lines)
    assert coded[:40] not in kept
    for gone in (b"xmp:Thumbnails", b"Directory", b"hdrgm:Version", b"MotionPhoto", b"GainMap"):
        assert gone not in kept
    for stays in (b'dc:title="grass"', b'GCamera:BurstID="7"'):
        assert stays in kept
    ElementTree.fromstring(kept)
    # Where no element is known to hold pictures, the picture goes and the element stays.
    other = b"<a xmlns='x' b='%s'><c>%s</c></a>" % (lines, lines)
    assert xmp_without_previews(other) == b"<a xmlns='x' b=''><c></c></a>"
    plain = b'<a xmlns:dc="x" dc:title="/9j/ no picture"/>'
    assert xmp_without_previews(plain) == plain


@given(record=st.binary(min_size=1, max_size=50), thumbnail=st.binary(max_size=50))
def test_photoshops_thumbnails_go_and_the_record_stays(record: bytes, thumbnail: bytes) -> None:
    padded = thumbnail + b"\0" * (len(thumbnail) % 2)
    resource = struct.pack(">4sHHI", b"8BIM", 0x040C, 0, len(thumbnail)) + padded
    block = with_iptc(resource, record)
    kept = without_thumbnails(block)
    assert iptc_of(kept) == record
    assert kept == with_iptc(None, record)
    assert without_thumbnails(resource) is None


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif", ".tif"])
def test_a_changed_picture_has_no_preview_in_any_format(suffix: str, tmp_path: Path) -> None:
    xmp = XMP % base64.b64encode(THUMBNAIL)
    options = {} if suffix == ".tif" else {"exif": _exif("<")}
    if suffix in (".jpg", ".webp", ".avif"):
        options["xmp"] = xmp
    PHOTO.save(tmp_path / f"a{suffix}", **options)
    picture = read_picture(tmp_path / f"a{suffix}")
    painted = picture.with_pixels(torch.ones_like(picture.pixels))
    for target in (suffix, ".png", ".jpg", ".tif"):
        write_picture(tmp_path / f"b{target}", painted, overwrite=True)
        content = (tmp_path / f"b{target}").read_bytes()
        assert THUMBNAIL not in content
        assert base64.b64encode(THUMBNAIL)[:60] not in content
    # Without a change, all stays.
    same = picture.with_pixels(picture.pixels.clone())
    assert same.layout == picture.layout
