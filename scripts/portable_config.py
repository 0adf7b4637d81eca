"""Configs in the cards of packaged models: without the folders of the machine that trained them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def without_folders(config: dict[str, Any]) -> dict[str, Any]:
    """A run's config without its data root; what lies below that is named relative to it.

    Of other absolute paths the last part stays.
    """
    root = Path(config["data"].get("root") or ".")

    def portable(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: portable(each) for key, each in value.items()}
        if isinstance(value, list):
            return [portable(each) for each in value]
        if isinstance(value, str) and Path(value).is_absolute():
            path = Path(value)
            return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        return value

    found: dict[str, Any] = portable(config)
    found["data"].pop("root", None)
    return found


def without_places(command: list[str]) -> str:
    """How a run was started, but for where the pictures lay: that is nobody's business."""
    hidden = [
        "DIR" if before == "--data" else re.sub(r"^(data\.(?:root|train))=.*", r"\1=DIR", argument)
        for before, argument in zip(["", *command], command, strict=False)
    ]
    named = [Path(word).name if word.startswith("/") else word for word in hidden]
    return " ".join([Path(named[0]).name, *named[1:]])
