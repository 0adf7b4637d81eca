"""What became of a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class StagedResult:
    """A result that is not in its place yet, and what the manifest is to say of it.

    Attributes:
        stamp: of the source.
        sha256: of the source.
        mask_sha256: of the mask, if any.
        staged: what the output folder called it (`OutputFolder.deliver`).
        output_stamp: of the result.
        output_sha256: of the result.
    """

    stamp: str | None
    sha256: str
    mask_sha256: str | None = None
    staged: str = ""
    output_stamp: str | None = None
    output_sha256: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of one input; ``output`` is none and ``error`` set when it failed.

    ``skipped``: an earlier run had done it. ``why``: one line on why this task was chosen.
    """

    input: str
    output: str | None = None
    task: str | None = None
    model: str | None = None
    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    damage: dict[str, Any] | None = None
    why: str | None = None
    error: str | None = None
    skipped: bool = False
    made: StagedResult | None = None

    @property
    def status(self) -> str:
        """``done``, ``skipped`` or ``failed``."""
        return "failed" if self.error is not None else "skipped" if self.skipped else "done"

    def with_names(self, display_name: Callable[[str], str]) -> Outcome:
        """With every name and message passed through ``display_name``."""
        return replace(
            self,
            input=display_name(self.input),
            output=None if self.output is None else display_name(self.output),
            why=None if self.why is None else display_name(self.why),
            error=None if self.error is None else display_name(self.error),
        )

    def as_json(self) -> dict[str, Any]:
        """A plain dict; ``error``, ``why`` and checksums only when there are such."""
        row = {"status": self.status, **asdict(self)}
        del row["skipped"], row["made"]
        if self.made is not None:
            row |= {"sha256": self.made.sha256, "output_sha256": self.made.output_sha256}
        return {k: v for k, v in row.items() if v is not None or k not in ("error", "why")}
