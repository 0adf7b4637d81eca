"""The HTTP API of ``irae ui``, and the page on top of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles

from irae._version import __version__
from irae.errors import IraeError
from irae.imaging.io.encode import PICTURE_SUFFIXES
from irae.imaging.io.kinds import HEIF_SUFFIXES, can_read_heif
from irae.ui.errors import RefusedError
from irae.ui.pictures import KEPT_SECONDS
from irae.ui.routes.archives import add_archives
from irae.ui.routes.jobs import add_jobs
from irae.ui.routes.parts import Parts
from irae.ui.routes.pictures import add_masks, add_pictures
from irae.ui.routes.views import add_views

STATIC = Path(__file__).parent / "static"


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
    add_pictures(app, parts)
    add_masks(app, parts)
    add_views(app, parts)
    add_archives(app, parts)
    add_jobs(app, parts)
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


def _add_page(app: FastAPI, parts: Parts) -> None:
    @app.get("/api/about")
    def about() -> dict[str, Any]:
        """Get the limits, and the pictures that were named when irae ui was started."""
        return {
            "version": __version__,
            "most_bytes": parts.intake.most_bytes,
            "most_pixels": parts.intake.most_pixels,
            "kept_seconds": KEPT_SECONDS,
            "suffixes": sorted({*PICTURE_SUFFIXES, *(HEIF_SUFFIXES if can_read_heif() else ())}),
            "opened": [path.name for path in parts.opened],
        }

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC))
