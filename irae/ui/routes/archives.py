"""Many results as one zip."""

from __future__ import annotations

import secrets

from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import FileResponse, Response

from irae.ui.archive import write_zip
from irae.ui.errors import RefusedError
from irae.ui.routes.parts import Parts
from irae.ui.routes.requests import PicturesBody


def add_archives(app: FastAPI, parts: Parts) -> None:
    """Add the routes of archives."""
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
