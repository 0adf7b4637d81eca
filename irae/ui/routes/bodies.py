"""Receiving the bodies of requests, which may be too long or have no end."""

from __future__ import annotations

import asyncio
from io import BufferedWriter
from pathlib import Path

from fastapi import Request

from irae.ui.errors import RefusedError

PATIENCE_SECONDS = 30.0
"""How long a client may send nothing in the middle of a body."""


def too_large(most_bytes: int) -> RefusedError:
    """Return the refusal of a body of more than ``most_bytes``."""
    return RefusedError(
        413, f"the file is larger than this page takes ({most_bytes / 1e6:,.6g} MB);"
        " start irae ui with a larger --max-upload-mb"
    )  # fmt: skip


async def receive_file(
    request: Request, path: Path, most_bytes: int, patience: float = PATIENCE_SECONDS
) -> None:
    """Write a request's body to a new file; nothing is left of a body that is refused.

    Raises:
        RefusedError: it is empty, too large, or does not come.
    """
    # Refused before a byte is read where the length is told.
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most_bytes:
        raise too_large(most_bytes)
    try:
        with path.open("xb") as stream:
            await _copy(request, stream, most_bytes, patience)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, TimeoutError):
            raise RefusedError(408, "the file did not come to its end; send it again") from None
        raise


async def _copy(request: Request, stream: BufferedWriter, most_bytes: int, patience: float) -> None:
    count, more = 0, True
    while more:
        async with asyncio.timeout(patience):
            message = await request.receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "the connection ended before the file did")
        chunk, more = message.get("body", b""), message.get("more_body", False)
        count += len(chunk)
        if count > most_bytes:
            raise too_large(most_bytes)
        stream.write(chunk)
    if not count:
        raise RefusedError(422, "the file is empty (0 bytes); fetch it again")
