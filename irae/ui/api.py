"""The HTTP API of ``irae ui``, and the page on top of it."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import BackgroundTasks, FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles

from irae._version import __version__
from irae.errors import IraeError
from irae.imaging.io.encode import JPEG_QUALITY, PICTURE_SUFFIXES
from irae.imaging.io.limits import check_bytes
from irae.ui.archive import write_zip
from irae.ui.bodies import receive_file
from irae.ui.errors import RefusedError
from irae.ui.jobs import Job, Jobs
from irae.ui.pictures import KEPT_SECONDS, PictureStore, Result, StoredPicture
from irae.ui.previews import Region
from irae.ui.requests import PicturesBody, RestoreBody
from irae.ui.service import RestoreService

STATIC = Path(__file__).parent / "static"

LOOK_SECONDS = 0.1
"""How often a stream of events looks for news."""

_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}

Format = Literal["original", "png", "jpeg", "webp"]


@dataclass(frozen=True)
class Parts:
    """What the API works with.

    Attributes:
        store: the pictures.
        service: what restores them.
        jobs: the jobs.
        opened: pictures that were named when the server was started.
    """

    store: PictureStore
    service: RestoreService
    jobs: Jobs
    opened: tuple[Path, ...] = ()


def make_app(parts: Parts) -> FastAPI:
    """Make the application; `irae.ui.guard.Guard` stands before it."""
    app = FastAPI(
        title="irae ui",
        version=__version__,
        summary="Restore pictures on this machine.",
        docs_url=None,  # It would load scripts from elsewhere.
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    _handle_errors(app)
    _add_pictures(app, parts)
    _add_masks(app, parts)
    _add_views(app, parts)
    _add_archives(app, parts)
    _add_jobs(app, parts)
    _add_page(app, parts)
    return app


def _handle_errors(app: FastAPI) -> None:
    """Answer every error with one sentence."""

    def answer(status: int, sentence: str) -> JSONResponse:
        return JSONResponse({"error": sentence}, status)

    @app.exception_handler(RefusedError)
    def refused(_request: Request, error: RefusedError) -> Response:
        return answer(error.status, str(error))

    @app.exception_handler(IraeError)
    def of_the_user(_request: Request, error: IraeError) -> Response:
        return answer(422, str(error).replace("`", ""))

    @app.exception_handler(404)
    def no_such_path(_request: Request, _error: Exception) -> Response:
        return answer(404, "there is nothing at this address; see /api/openapi.json")

    @app.exception_handler(405)
    def no_such_method(_request: Request, _error: Exception) -> Response:
        return answer(405, "this address takes another method; see /api/openapi.json")

    @app.exception_handler(RequestValidationError)
    def malformed(_request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the body"
        return answer(422, f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}")


def _add_pictures(app: FastAPI, parts: Parts) -> None:
    store, service, jobs = parts.store, parts.service, parts.jobs

    @app.post("/api/pictures", status_code=201, openapi_extra=_binary_body("a picture file"))
    async def bring_a_picture(
        request: Request, name: Annotated[str, Query(max_length=4096)] = "picture"
    ) -> dict[str, Any]:
        """Bring a picture; the answer has its id, what was found, its size and what is kept."""
        upload = store.scratch.fresh_file()
        await receive_file(request, upload, service.most_bytes)
        return _described(await run_in_threadpool(service.take, upload, name))

    @app.post("/api/opened/{number}", status_code=201)
    def bring_an_opened_picture(number: int) -> dict[str, Any]:
        """Bring a picture that was named when irae ui was started."""
        if not 0 <= number < len(parts.opened):
            raise RefusedError(404, "no picture of this number was named at the start")
        path = parts.opened[number]
        upload = store.scratch.fresh_file()
        try:
            check_bytes(path.stat().st_size, path.name)
            upload.write_bytes(path.read_bytes())
        except OSError as error:
            upload.unlink(missing_ok=True)
            reason = f"{path.name}: cannot be read ({error.strerror}); check the file"
            raise RefusedError(422, reason) from None
        return _described(service.take(upload, path.name))

    @app.delete("/api/pictures/{key}", status_code=204)
    def delete_a_picture(key: str) -> None:
        """Delete a picture and its result, and end its job."""
        jobs.drop(key)
        if not store.delete(key):
            raise RefusedError(404, "there is no such picture; it may be deleted already")

    @app.post("/api/leave", status_code=204)
    def leave(body: PicturesBody) -> None:
        """Delete several pictures at once, when their page is closed."""
        for key in body.pictures:
            jobs.drop(key)
            store.delete(key)

    @app.post("/api/keep", status_code=204)
    def keep(body: PicturesBody) -> None:
        """Count several pictures as used, so that they stay for another hour."""
        store.touch(body.pictures)


def _add_masks(app: FastAPI, parts: Parts) -> None:
    store, service = parts.store, parts.service

    @app.put("/api/pictures/{key}/mask", openapi_extra=_binary_body("a PNG, white in holes"))
    async def set_the_mask(key: str, request: Request) -> dict[str, Any]:
        """Set the mask of a picture: a PNG of its upright size, white where it has holes."""
        with store.using(key) as picture:
            upload = store.scratch.fresh_file()
            await receive_file(request, upload, service.most_bytes)
            return await run_in_threadpool(service.take_mask, picture, upload)

    @app.get("/api/pictures/{key}/mask", response_class=Response)
    def get_the_mask(key: str) -> Response:
        """Get the mask: a PNG, white where the picture has holes."""
        with store.using(key) as picture:
            if picture.mask is None:
                raise RefusedError(409, "this picture has no mask yet")
            return Response(picture.mask.read_bytes(), media_type="image/png")


def _add_views(app: FastAPI, parts: Parts) -> None:
    store, service, jobs = parts.store, parts.service, parts.jobs

    @app.get("/api/pictures/{key}/preview", response_class=Response)
    def see_a_region(
        key: str,
        x: int = 0,
        y: int = 0,
        width: Annotated[int | None, Query(ge=1)] = None,
        height: Annotated[int | None, Query(ge=1)] = None,
        scale: float = 1.0,
        of: Literal["before", "after"] = "before",
    ) -> Response:
        """See a region of the upright picture, in its pixels, reduced by ``scale``: a PNG."""
        with store.using(key) as picture:
            preview = picture.preview if of == "before" else _result(picture).preview
            region = Region(
                x, y,
                preview.width - x if width is None else width,
                preview.height - y if height is None else height,
                scale,
            )  # fmt: skip
            return Response(preview.png(region), media_type="image/png")

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


def _add_archives(app: FastAPI, parts: Parts) -> None:
    store = parts.store

    @app.post("/api/archives", status_code=201)
    def pack_results(body: PicturesBody) -> dict[str, str]:
        """Pack the results of several pictures into a zip; pictures without one are left out."""
        results = []
        for key in body.pictures:
            with store.using(key) as picture:
                if picture.result is not None:
                    results.append((picture.name, picture.result.file))
        if not results:
            raise RefusedError(409, "there is no result yet; restore a picture first")
        key = secrets.token_urlsafe(16)
        write_zip(store.scratch.root / f"{key}.zip", results)
        return {"id": key}

    @app.get("/api/archives/{key}", response_class=Response)
    def get_the_archive(key: str, afterwards: BackgroundTasks) -> Response:
        """Get a zip, once."""
        path = store.scratch.root / f"{key}.zip"
        if path.parent != store.scratch.root or not path.is_file():
            raise RefusedError(404, "there is no such archive; pack the results again")
        afterwards.add_task(path.unlink, missing_ok=True)
        return FileResponse(path, filename="irae-restored.zip", media_type="application/zip")


def _add_jobs(app: FastAPI, parts: Parts) -> None:
    store, jobs = parts.store, parts.jobs

    @app.post("/api/pictures/{key}/restore", status_code=202)
    def restore_a_picture(key: str, body: RestoreBody) -> dict[str, str]:
        """Restore a picture; the answer has the id of the job."""
        options = body.options()
        with store.using(key):
            return {"job": jobs.add(key, options).id}

    @app.get("/api/jobs/{key}")
    def ask_for_a_job(key: str) -> dict[str, Any]:
        """Ask how far a job is."""
        job = jobs.get(key)
        job.touch()
        return jobs.describe(job)

    @app.get("/api/jobs/{key}/events", response_class=StreamingResponse)
    def follow_a_job(key: str, request: Request) -> StreamingResponse:
        """Follow a job by server-sent events: waiting, running, done, failed, stopped."""
        job = jobs.get(key)
        return StreamingResponse(_events(request, jobs, job), media_type="text/event-stream")

    @app.delete("/api/jobs/{key}", status_code=204)
    def stop_a_job(key: str) -> None:
        """Stop a job: at once if it waits, after its present tile if it runs."""
        jobs.stop(jobs.get(key))


async def _events(request: Request, jobs: Jobs, job: Job) -> AsyncIterator[str]:
    with job.watched():
        told: dict[str, Any] = {}
        while not await request.is_disconnected():
            state = jobs.describe(job)
            if state != told:
                told = state
                yield f"event: {state['state']}\ndata: {json.dumps(state)}\n\n"
            if job.ended and told["state"] == job.state:
                return
            await asyncio.sleep(LOOK_SECONDS)


def _add_page(app: FastAPI, parts: Parts) -> None:
    @app.get("/api/about")
    def about() -> dict[str, Any]:
        """Get the limits, and the pictures that were named when irae ui was started."""
        return {
            "version": __version__,
            "most_bytes": parts.service.most_bytes,
            "most_pixels": parts.service.most_pixels,
            "kept_seconds": KEPT_SECONDS,
            "suffixes": sorted({*PICTURE_SUFFIXES, ".heic", ".heif"}),
            "opened": [path.name for path in parts.opened],
        }

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC))


def _described(picture: StoredPicture) -> dict[str, Any]:
    return {"id": picture.id, **picture.about}


def _result(picture: StoredPicture) -> Result:
    if picture.result is None:
        raise RefusedError(409, "this picture has no result yet; restore it first")
    return picture.result


def _download(data: bytes, name: str) -> Response:
    disposition = f"attachment; filename*=UTF-8''{quote(name)}"
    kind = "application/octet-stream"
    return Response(data, media_type=kind, headers={"content-disposition": disposition})


def _binary_body(description: str) -> dict[str, Any]:
    schema = {"type": "string", "format": "binary", "description": description}
    content = {"application/octet-stream": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}
