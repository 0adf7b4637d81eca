"""What is wrong is refused by one sentence, and nothing of it is left on disk."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the page needs irae[ui]")

KINDS = ["text", "empty", "cut", "bomb", "wide", "animated", "long"]


def _picture(seed: int = 0, size: tuple[int, int] = (40, 32)) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def _chunk(name: bytes, content: bytes) -> bytes:
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def _bad(kind: str) -> bytes:
    if kind == "text":
        return b"this is a letter, not a picture\n" * 20
    if kind == "empty":
        return b""
    if kind == "cut":
        return _picture()[:1500]
    if kind == "bomb":
        header = struct.pack(">IIBBBBB", 50000, 50000, 8, 2, 0, 0, 0)
        rows = zlib.compress(bytes(10**6), 9)
        parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", rows), _chunk(b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
    if kind == "wide":
        stream = io.BytesIO()
        Image.new("RGB", (500, 300)).save(stream, "PNG")
        return stream.getvalue()
    if kind == "animated":
        stream = io.BytesIO()
        frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
        frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
        return stream.getvalue()
    return bytes(10**6 + 1)


def _error(answer: Any, *statuses: int) -> str:
    assert answer.status_code in statuses, answer.text
    assert list(answer.json()) == ["error"]
    sentence: str = answer.json()["error"]
    assert sentence
    assert "\n" not in sentence
    assert "/" not in sentence.replace("/api/openapi.json", "")
    return sentence


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_good_picture_is_refused(api: Any, kind: str) -> None:
    answer = api.client.post("/api/pictures?name=a/x.png", content=_bad(kind))
    said = _error(answer, 413, 422)
    assert kind in ("empty", "long") or said.startswith("x.png: ")
    assert api.files() == []


def test_the_limits_are_told_as_numbers_with_the_remedy(api: Any) -> None:
    about = api.client.get("/api/about").json()
    assert (about["most_bytes"], about["most_pixels"]) == (10**6, 10**5)
    long = api.client.post("/api/pictures", content=_bad("long"))
    assert "(1 MB); start irae ui with a larger --max-upload-mb" in _error(long, 413)
    wide = api.client.post("/api/pictures", content=_bad("wide"))
    said = _error(wide, 422)
    assert "500 × 300 pixels, more than this page takes (0.1 million)" in said
    assert "--max-pixels" in said


def test_a_body_without_an_end_is_cut_off(tmp_path: Path) -> None:
    from fastapi import Request

    from irae.ui.errors import RefusedError
    from irae.ui.routes.bodies import receive_file

    sent = 0

    async def endless() -> Any:
        nonlocal sent
        sent += 1
        return {"type": "http.request", "body": bytes(65536), "more_body": True}

    with pytest.raises(RefusedError, match="larger than this page takes") as refused:
        request = Request({"type": "http", "headers": []}, endless)
        asyncio.run(receive_file(request, tmp_path / "body", 10**6))
    assert refused.value.status == 413
    assert sent == 16
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    from fastapi import Request

    from irae.ui.errors import RefusedError
    from irae.ui.routes.bodies import receive_file

    async def silence() -> Any:
        await asyncio.sleep(60)

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    for receive, status in ((silence, 408), (gone, 400)):
        request = Request({"type": "http", "headers": []}, receive)
        with pytest.raises(RefusedError) as refused:
            asyncio.run(receive_file(request, tmp_path / "body", 10, patience=0.05))
        assert refused.value.status == status
        assert list(tmp_path.iterdir()) == []


def test_masks_that_do_not_fit_are_refused(api: Any) -> None:
    missing = api.client.put("/api/pictures/none/mask", content=_picture())
    assert "not here any more" in _error(missing, 404)
    key = api.client.post("/api/pictures", content=_picture()).json()["id"]
    before = api.files()
    mask = f"/api/pictures/{key}/mask"
    black = io.BytesIO()
    Image.new("L", (40, 32)).save(black, "PNG")
    gif = io.BytesIO()
    Image.new("L", (40, 32), 255).save(gif, "GIF")
    for body, words in (
        (_picture(size=(41, 32)), "the mask has 41 × 32 pixels and the picture has 40 × 32"),
        (black.getvalue(), "nothing is painted yet"),
        (gif.getvalue(), "not a PNG"),
        (_bad("cut"), "the mask: damaged or truncated"),
        (_bad("empty"), "is empty"),
        (_bad("text"), "not a PNG"),
    ):
        assert words in _error(api.client.put(mask, content=body), 422)
    _error(api.client.get(mask), 409)
    assert api.files() == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task": "magic"}, "task 'magic' is unknown"),
        ({"strength": 2}, "strength 2.0 is out of range; it goes from 0 to 1"),
        ({"strength": "much"}, "strength: input should be a valid number"),
        ({"grow_mask": -1}, "grow_mask: input should be greater than or equal to 0"),
        ({"overlap": 10**9}, "overlap: "),
        ({"tile": 1.5}, "tile: "),
        ({"model": "../secret.pt"}, "there is no packaged model of this name"),
        ({"device": "cuda"}, "device: extra inputs are not permitted"),
        ([], "the body: "),
    ],
)
def test_options_out_of_range_are_refused(api: Any, options: Any, words: str) -> None:
    key = api.client.post("/api/pictures", content=_picture()).json()["id"]
    answer = api.client.post(f"/api/pictures/{key}/restore", json=options)
    if options == {"model": "../secret.pt"}:
        assert words in answer.json()["error"]
        return
    assert words in _error(answer, 422)


def test_options_that_do_not_suit_the_model_fail_the_job(api: Any) -> None:
    key = api.client.post("/api/pictures", content=_picture()).json()["id"]
    told = api.restore(key, task="denoise", sigma=25)
    assert told["state"] == "failed"
    assert "takes no noise level" in told["error"]


@pytest.mark.parametrize("path", ["/api/none", "/static/none.js", "/static/../api.py", "/none"])
def test_other_addresses_have_nothing(api: Any, path: str) -> None:
    assert "nothing at this address" in _error(api.client.get(path), 404)
    assert "another method" in _error(api.client.post("/api/about"), 405)


def test_ids_that_do_not_exist_are_404(api: Any) -> None:
    for method, path in (
        ("GET", "/api/pictures/x/result"),
        ("GET", "/api/pictures/x/preview"),
        ("DELETE", "/api/pictures/x"),
        ("GET", "/api/pictures/x/damage"),
        ("POST", "/api/pictures/x/damage"),
        ("GET", "/api/pictures/x/uncertainty"),
        ("POST", "/api/pictures/x/uncertainty"),
        ("GET", "/api/jobs/x"),
        ("GET", "/api/jobs/x/events"),
        ("DELETE", "/api/jobs/x"),
        ("GET", "/api/archives/x"),
    ):
        _error(api.client.request(method, path), 404)
    assert _error(api.client.post("/api/pictures/x/restore", json={}), 404)
    assert _error(api.client.post("/api/archives", json={"pictures": ["x"]}), 404)
