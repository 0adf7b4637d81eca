"""The outcome of one picture of a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class StagedResult:
    """A result that is staged but not yet in its place, with its data for the manifest.

    Attributes:
        stamp: stamp of the source.
        sha256: checksum of the source.
        mask_sha256: checksum of the mask, if any.
        relative: path of the result relative to the output folder.
        staged: where the result is staged, as returned by `OutputFolder.deliver`.
        output_stamp: stamp of the result.
        output_sha256: checksum of the result.
    """

    stamp: str | None
    sha256: str
    mask_sha256: str | None = None
    relative: str = ""
    staged: str = ""
    output_stamp: str | None = None
    output_sha256: str = ""


@dataclass(frozen=True)
class Outcome:
    """The outcome for one input; if it failed, ``output`` is None and ``error`` is set.

    ``skipped`` marks a result of an earlier run. ``why`` explains in one line the chosen task, or
    that the picture was left as it is. ``notes`` are further lines: what the result lacks of the
    source, and what looks wrong with a mask.
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
    notes: tuple[str, ...] = ()
    error: str | None = None
    skipped: bool = False
    made: StagedResult | None = None

    @property
    def status(self) -> str:
        """``done``, ``skipped`` or ``failed``."""
        return "failed" if self.error is not None else "skipped" if self.skipped else "done"

    def with_names(self, display_name: Callable[[str], str]) -> Outcome:
        """Return a copy with every name and message passed through ``display_name``."""
        return replace(
            self,
            input=display_name(self.input),
            output=None if self.output is None else display_name(self.output),
            why=None if self.why is None else display_name(self.why),
            notes=tuple(display_name(note) for note in self.notes),
            error=None if self.error is None else display_name(self.error),
        )

    def as_json(self) -> dict[str, Any]:
        """Return a plain dict; ``error``, ``why``, notes and checksums only if there are any."""
        row = {"status": self.status, **asdict(self)}
        del row["skipped"], row["made"]
        if self.made is not None:
            row |= {"sha256": self.made.sha256, "output_sha256": self.made.output_sha256}
        row["notes"] = list(self.notes) or None
        return {k: v for k, v in row.items() if v is not None or k not in ("error", "why", "notes")}
