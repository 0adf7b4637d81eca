"""Bringing pictures and their masks, keeping them and deleting them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from irae.imaging.io.limits import check_bytes
from irae.ui.errors import RefusedError
from irae.ui.pictures import StoredPicture
from irae.ui.routes.bodies import receive_file
from irae.ui.routes.parts import Parts, binary_body
from irae.ui.routes.requests import PicturesBody


def add_pictures(app: FastAPI, parts: Parts) -> None:
    """Add the routes that bring pictures and delete them."""
    store, intake, jobs = parts.store, parts.intake, parts.jobs

    @app.post("/api/pictures", status_code=201, openapi_extra=binary_body("a picture file"))
    async def bring_a_picture(
        request: Request, name: Annotated[str, Query(max_length=4096)] = "picture"
    ) -> dict[str, Any]:
        """Bring a picture; the answer has its id, what was found, its size and what is kept."""
        upload = store.scratch.fresh_file()
        await receive_file(request, upload, intake.most_bytes)
        return _described(await run_in_threadpool(intake.take, upload, name))

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
        return _described(intake.take(upload, path.name))

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


def add_masks(app: FastAPI, parts: Parts) -> None:
    """Add the routes of masks."""
    store, intake = parts.store, parts.intake

    @app.put("/api/pictures/{key}/mask", openapi_extra=binary_body("a PNG, white in holes"))
    async def set_the_mask(key: str, request: Request) -> dict[str, Any]:
        """Set the mask of a picture: a PNG of its upright size, white where it has holes."""
        with store.using(key) as picture:
            upload = store.scratch.fresh_file()
            await receive_file(request, upload, intake.most_bytes)
            return await run_in_threadpool(intake.take_mask, picture, upload)

    @app.get("/api/pictures/{key}/mask", response_class=Response)
    def get_the_mask(key: str) -> Response:
        """Get the mask: a PNG, white where the picture has holes."""
        with store.using(key) as picture:
            if picture.mask is None:
                raise RefusedError(409, "this picture has no mask yet")
            return Response(picture.mask.read_bytes(), media_type="image/png")

    @app.get("/api/pictures/{key}/damage", response_class=Response)
    def get_the_damage(key: str) -> Response:
        """Get the mask of the damage that was found: a PNG, white where the picture is damaged."""
        with store.using(key) as picture:
            if picture.damage is None:
                raise RefusedError(409, "nobody has looked for damage yet; POST to this address")
            return Response(picture.damage.read_bytes(), media_type="image/png")


def _described(picture: StoredPicture) -> dict[str, Any]:
    return {"id": picture.id, **picture.about}
