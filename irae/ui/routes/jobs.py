"""Starting jobs, following them and stopping them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from irae.ui.jobs import Job, Jobs
from irae.ui.routes.parts import Parts
from irae.ui.routes.requests import RestoreBody
from irae.ui.service import doubtful_result

LOOK_SECONDS = 0.1
"""How often a stream of events looks for news."""


def add_jobs(app: FastAPI, parts: Parts) -> None:
    """Add the routes of jobs."""
    store, service, jobs = parts.store, parts.service, parts.jobs

    @app.post("/api/pictures/{key}/restore", status_code=202)
    def restore_a_picture(key: str, body: RestoreBody) -> dict[str, str]:
        """Restore a picture; the answer has the id of the job."""
        options = body.options()
        with store.using(key):
            return {"job": jobs.add(key, partial(service.restore, key, options)).id}

    @app.post("/api/pictures/{key}/uncertainty", status_code=202)
    def draw_the_uncertainty(key: str) -> dict[str, str]:
        """Draw a map of what the model was unsure of in the result, as a job of its own."""
        with store.using(key) as picture:
            doubtful_result(picture)
            return {"job": jobs.add(key, partial(service.draw_doubt, key)).id}

    @app.post("/api/pictures/{key}/damage", status_code=202)
    def find_the_damage(key: str) -> dict[str, str]:
        """Find scratches, dust, hairs and stamps in the picture, as a job of its own."""
        with store.using(key):
            return {"job": jobs.add(key, partial(service.find_damage, key)).id}

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
