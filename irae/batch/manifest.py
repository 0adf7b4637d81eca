"""The manifest of an output folder: what was made of what, so that a batch can be resumed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from types import TracebackType
from typing import Any

from irae.batch.jobs import Job, Plan
from irae.batch.outcome import Outcome
from irae.batch.output import OutputFolder, is_of_label, manifest_name
from irae.batch.progress import Console, describe
from irae.batch.remote import Files
from irae.errors import IraeError, PictureError
from irae.writing import file_sha256


@dataclass(frozen=True)
class Entry:
    """A line of the manifest: what became of one picture.

    Attributes:
        input: the source, seen from the output folder (``../scans/a.png``), or its URL.
        output: the result, below the output folder.
        sha256: the source's checksum.
        output_sha256: the result's.
        mask_sha256: the mask's, where there was one.
        task: what was undone; none: the picture was left as it was.
        model: the name of the model.
        weights: the checksum of its weights.
        options: what else the result depends on.
        damage: what was found wrong with the source.
        seconds: spent on it.
        width: of the result, pixels.
        height: of the result, pixels.
        error: why there is no result.
        stamp: size and time of the source, to spare reading it again.
        output_stamp: the same of the result.
        time: when it was entered, seconds since 1970.
    """

    input: str
    output: str
    sha256: str | None = None
    output_sha256: str | None = None
    mask_sha256: str | None = None
    task: str | None = None
    model: str | None = None
    weights: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    damage: dict[str, Any] | None = None
    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    error: str | None = None
    stamp: str | None = None
    output_stamp: str | None = None
    time: float | None = None

    def as_line(self) -> str:
        """JSON without a line break."""
        return json.dumps(asdict(self))


_FIELDS = frozenset(one.name for one in fields(Entry))


def parse_entry(line: str) -> Entry | None:
    """The entry of a line; none for a line cut short, or of anything else."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    named = all(isinstance(values.get(key), str) for key in ("input", "output"))
    plain = isinstance(values.get("options", {}), dict)
    return Entry(**{k: v for k, v in values.items() if k in _FIELDS}) if named and plain else None


class Manifest:
    """Tells what is left to be done in an output folder, and enters what was done.

    A result is entered first and then moved to its place, so that one which is in its place has
    always been entered. An entry describes a file only if the file has the entry's checksum: what
    a killed process had entered and not yet moved, or replaced, is simply done again.

    Use it as a context. All manifests of the folder are read, the one of its own label is
    written.

    Args:
        folder: the output folder.
        files: where the sources are.
        options: what results depend on besides the source and the weights, as plain JSON.
        weights_of: the checksum of the weights for a task.
        label: of a part of the work, ``2-of-3``; empty for all of it.
    """

    def __init__(
        self,
        folder: OutputFolder,
        files: Files,
        *,
        options: dict[str, Any],
        weights_of: Callable[[str], str],
        label: str = "",
    ) -> None:
        self._folder, self._files = folder, files
        self._options, self._weights_of = options, weights_of
        self._label = label
        self._entries: dict[str, list[Entry]] = {}
        self._own: list[Entry] = []
        self._superseded: set[int] = set()
        self._torn = False
        self._told = False

    def __enter__(self) -> Manifest:
        self._folder.open(self._label)
        try:
            self._read()
        except BaseException:
            self._folder.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            superseded = any(id(one) in self._superseded for one in self._own)
            if superseded or self._folder.scattered():
                self._rewrite()
        finally:
            self._folder.close()

    def _read(self) -> None:
        for name, text in self._folder.manifests().items():
            lines = [line for line in text.split("\n") if line]
            entries = [entry for entry in map(parse_entry, lines) if entry is not None]
            for entry in entries:
                self._entries.setdefault(entry.output, []).append(entry)
            if not is_of_label(name, self._label):
                continue
            self._own.extend(entries)
            cut = len(lines) - len(entries)
            if cut:
                said = "line that is" if cut == 1 else "lines that are"
                Console.note(
                    f"{self._folder.name(name)}: {cut} {said} no entry, or cut short; dropped"
                )
            self._torn = self._torn or cut > 0 or not text.endswith("\n")
        if self._torn:
            self._rewrite()

    def _rewrite(self) -> None:
        kept = (one for one in self._own if id(one) not in self._superseded)
        self._folder.rewrite("".join(f"{entry.as_line()}\n" for entry in kept))

    def remaining(self, plan: Plan, *, overwrite: bool = False) -> Plan:
        """The plan without what is done already, which is in its ``done`` instead.

        Args:
            plan: its jobs have ``relative`` set. Whether targets exist has not been looked at.
            overwrite: do again what was made with other options, or what is not in the manifest.
        """
        left = Plan(failures=list(plan.failures), notes=list(plan.notes))
        for job in plan.jobs:
            try:
                found = self._examine(job, overwrite)
            except (IraeError, OSError) as error:
                left.failures.append(Outcome(str(job.source), error=describe(error, job)))
                continue
            if isinstance(found, Job):
                left.jobs.append(found)
            else:
                left.done.append(self._done_earlier(job, found))
        return left

    def _done_earlier(self, job: Job, entry: Entry) -> Outcome:
        return Outcome(
            input=str(job.source),
            output=self._folder.name(job.relative),
            task=entry.task,
            model=entry.model,
            seconds=entry.seconds,
            width=entry.width,
            height=entry.height,
            damage=entry.damage,
            skipped=True,
        )

    def _examine(self, job: Job, overwrite: bool) -> Job | Entry:
        """The job if it is to be done, or the entry that says that it was.

        Raises:
            PictureError: the source is gone, or the result may not be replaced unasked.
        """
        stamp = self._files.stamp(job.source)
        if stamp is None:
            raise PictureError(f"{job.source}: no such file; check the name")
        job = replace(job, stamp=stamp, replaces=overwrite)
        if not self._folder.exists(job.relative):
            return job
        name = self._folder.name(job.relative)
        entry = self._standing_entry(job.relative)
        if entry is None:
            if overwrite:
                return job
            what = "was changed since irae wrote it" if job.relative in self._entries else "exists"
            already = " already" if what == "exists" else ""
            raise PictureError(
                f"{name}: {what}{already}; use --overwrite to replace it, or another -o"
            )
        if not self._is_source(entry, job):
            if overwrite or entry.input == self._folder.refer(job.source):
                return replace(job, replaces=True)
            raise PictureError(
                f"{name}: was made of another picture, {entry.input}; use --overwrite to replace"
                " it, or another -o"
            )
        changed = self._changed_options(entry)
        if not changed:
            self._supersede(entry)
            return entry
        if overwrite:
            return job
        raise PictureError(
            f"{name}: was made with other options ({', '.join(changed)}); use --overwrite to make"
            " it again, or another -o"
        )

    def _standing_entry(self, relative: str) -> Entry | None:
        """The entry that describes the file that is there now."""
        entries = [one for one in self._entries.get(relative, []) if one.error is None]
        if not entries:
            return None
        stamp = self._folder.stamp(relative)
        for entry in reversed(entries):
            if entry.output_stamp == stamp:
                return entry
        checksum = self._folder.sha256(relative)
        for entry in reversed(entries):
            if checksum is not None and entry.output_sha256 == checksum:
                return entry
        return None

    def _is_source(self, entry: Entry, job: Job) -> bool:
        """Whether an entry is of the job's picture and mask as they are now."""
        mask = None if job.mask is None else file_sha256(job.mask)
        if entry.mask_sha256 != mask:
            return False
        if entry.stamp == job.stamp and entry.input == self._folder.refer(job.source):
            return True
        with self._files.fetched(job.source) as path:
            return entry.sha256 == file_sha256(path)

    def _changed_options(self, entry: Entry) -> list[str]:
        changed = [
            f"{key} {_say(entry.options.get(key))}, now {_say(self._options.get(key))}"
            for key in sorted({*entry.options, *self._options})
            if entry.options.get(key) != self._options.get(key)
        ]
        weights = None if entry.task is None else self._weights_of(entry.task)
        return changed or ([] if entry.weights == weights else [f"model {entry.model}"])

    def commit(self, job: Job, outcome: Outcome) -> Outcome:
        """Enter a result and move it to its place.

        Raises:
            PictureError: there is such a file meanwhile, or the folder cannot be written to.
            OSError: as the disk reports it.
        """
        made = outcome.made
        if made is None:
            raise ValueError(f"{job.source}: nothing was made of it")
        entry = Entry(
            input=self._folder.refer(job.source),
            output=job.relative,
            sha256=made.sha256,
            output_sha256=made.output_sha256,
            mask_sha256=made.mask_sha256,
            task=outcome.task,
            model=outcome.model,
            weights=None if outcome.task is None else self._weights_of(outcome.task),
            options=self._options,
            damage=outcome.damage,
            seconds=outcome.seconds,
            width=outcome.width,
            height=outcome.height,
            stamp=made.stamp,
            output_stamp=made.output_stamp,
            time=round(time.time(), 3),
        )
        try:
            self._enter(entry)
            self._folder.commit(made.staged, job.relative, replace=job.replaces)
        except BaseException:
            self._folder.discard(made.staged)
            raise
        self._supersede(entry)
        return replace(outcome, output=self._folder.name(job.relative))

    def enter_failure(self, job: Job, outcome: Outcome) -> None:
        """Enter that a picture failed; where even that fails, the user is told once."""
        entry = Entry(
            input=self._folder.refer(job.source),
            output=job.relative,
            options=self._options,
            error=outcome.error,
            stamp=job.stamp,
            time=round(time.time(), 3),
        )
        try:
            self._enter(entry)
        except (PictureError, OSError) as error:
            if not self._told:
                name = self._folder.name(manifest_name(self._label))
                Console.note(f"{name}: failures cannot be entered there ({error})")
            self._told = True
            return
        for other in self._entries[entry.output]:
            if other.error is not None and other is not entry:
                self._superseded.add(id(other))

    def _enter(self, entry: Entry) -> None:
        self._folder.append(entry.as_line())
        self._own.append(entry)
        self._entries.setdefault(entry.output, []).append(entry)

    def _supersede(self, entry: Entry) -> None:
        """From now on this entry alone describes its output."""
        for other in self._entries[entry.output]:
            if other is not entry:
                self._superseded.add(id(other))


def _say(value: object) -> str:
    return "unset" if value is None else str(value)
