"""The summary of a batch: counts and speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from irae.batch.outcome import Outcome


@dataclass(frozen=True)
class Summary:
    """The number of pictures by outcome, and the time taken.

    Attributes:
        done: number of pictures restored now.
        skipped: number of pictures done by an earlier run.
        failed: number of inputs without a result.
        pixels: number of pixels restored now.
        seconds: time from beginning to end.
        failures: names of the inputs that failed.
    """

    done: int
    skipped: int
    failed: int
    pixels: int
    seconds: float
    failures: tuple[str, ...]

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], seconds: float) -> Summary:
        """Count the outcomes."""
        done = [outcome for outcome in outcomes if outcome.status == "done"]
        failures = tuple(one.input for one in outcomes if one.status == "failed")
        return cls(
            done=len(done),
            skipped=sum(one.status == "skipped" for one in outcomes),
            failed=len(failures),
            pixels=sum((one.width or 0) * (one.height or 0) for one in done),
            seconds=seconds,
            failures=failures,
        )

    @property
    def pixels_per_second(self) -> float:
        """Speed of the whole batch, including reading and writing."""
        return self.pixels / self.seconds if self.seconds > 0 else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return a plain dict."""
        rounded = {
            "seconds": round(self.seconds, 3),
            "pixels_per_second": round(self.pixels_per_second),
        }
        return {**asdict(self), "failures": list(self.failures), **rounded}

    def as_table(self) -> list[str]:
        """Return lines for the user; the inputs that failed come last."""
        counts = {"done": self.done, "done earlier": self.skipped, "failed": self.failed}
        width = max(len(f"{count:,}") for count in counts.values())
        speed = f"{self.pixels_per_second / 1e6:.3g} megapixels per second"
        return [
            *(f"  {name:<12}  {count:>{width},}" for name, count in counts.items()),
            f"  {'time':<12}  {_duration(self.seconds)}, {speed}",
            *(f"  failed: {name}" for name in self.failures),
        ]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
