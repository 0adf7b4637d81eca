"""Seeing pictures and results, and fetching results."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import FastAPI, Query
from fastapi.responses import Response

from irae.imaging.io.encode import JPEG_QUALITY
from irae.ui.errors import RefusedError
from irae.ui.pictures import Doubt, Result, StoredPicture
from irae.ui.previews import Preview, Region
from irae.ui.routes.parts import Parts

_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}

Format = Literal["original", "png", "jpeg", "webp"]


def add_views(app: FastAPI, parts: Parts) -> None:
    """Add the routes that show and fetch."""
    store, service, jobs = parts.store, parts.service, parts.jobs

    @app.get("/api/pictures/{key}/preview", response_class=Response)
    def see_a_region(
        key: str,
        x: int = 0,
        y: int = 0,
        width: Annotated[int | None, Query(ge=1)] = None,
        height: Annotated[int | None, Query(ge=1)] = None,
        scale: float = 1.0,
        of: Literal["before", "after", "uncertainty"] = "before",
    ) -> Response:
        """See a region of the upright picture, in its pixels, reduced by ``scale``: a PNG.

        The uncertainty is one colour, more opaque where the model was less sure.
        """
        with store.using(key) as picture:
            preview = _preview(picture, of)
            region = Region(
                x, y,
                preview.width - x if width is None else width,
                preview.height - y if height is None else height,
                scale,
            )  # fmt: skip
            return Response(preview.png(region), media_type="image/png")

    @app.get("/api/pictures/{key}/uncertainty", response_class=Response)
    def get_the_uncertainty(key: str) -> Response:
        """Get the map of the uncertainty: a gray PNG, black where the model was sure."""
        with store.using(key) as picture:
            return Response(_doubt(picture).file.read_bytes(), media_type="image/png")

    @app.get("/api/pictures/{key}/result", response_class=Response)
    def get_the_result(
        key: str,
        format: Format = "original",
        quality: Annotated[int, Query(ge=1, le=100)] = JPEG_QUALITY,
    ) -> Response:
        """Get the restored file, in the original's format or another."""
        jobs.touch(key)
        with store.using(key) as picture:
            result = _result(picture)
            if format == "original":
                path = result.file
            else:
                path = service.encoded(picture, _SUFFIXES[format], quality)
            # Opened here, so that a later result may take the place of this one meanwhile.
            return _download(path.read_bytes(), path.name)


def _result(picture: StoredPicture) -> Result:
    if picture.result is None:
        raise RefusedError(409, "this picture has no result yet; restore it first")
    return picture.result


def _doubt(picture: StoredPicture) -> Doubt:
    if picture.doubt is None:
        raise RefusedError(409, "nobody has asked yet how sure the result is; POST to this address")
    return picture.doubt


def _preview(picture: StoredPicture, of: str) -> Preview:
    if of == "before":
        return picture.preview
    return _doubt(picture).preview if of == "uncertainty" else _result(picture).preview


def _download(data: bytes, name: str) -> Response:
    disposition = f"attachment; filename*=UTF-8''{quote(name)}"
    kind = "application/octet-stream"
    return Response(data, media_type=kind, headers={"content-disposition": disposition})
