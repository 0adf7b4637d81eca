"""The manifest of an output folder: a record of every result, so that a batch can be resumed."""

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
    """A line of the manifest: the outcome for one picture.

    Attributes:
        input: path of the source relative to the output folder (``../scans/a.png``), or its URL.
        output: path of the result relative to the output folder.
        sha256: checksum of the source.
        output_sha256: checksum of the result.
        mask_sha256: checksum of the mask, if there was one.
        task: the task that was done; None if the picture was left as it was.
        model: name of the model.
        weights: checksum of the model's weights.
        options: the other options on which the result depends.
        damage: the damage found in the source.
        seconds: time spent on the picture.
        width: width of the result in pixels.
        height: height of the result in pixels.
        error: why there is no result.
        stamp: size and time of the source; while they are equal it is not read again.
        output_stamp: size and time of the result.
        time: time of the entry, in seconds since 1970.
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
        """Return the entry as JSON without a line break."""
        return json.dumps(asdict(self))


_FIELDS = frozenset(one.name for one in fields(Entry))


def parse_entry(line: str) -> Entry | None:
    """Parse the entry of a line; None if the line is truncated or not an entry."""
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
    """Finds the work left to do in an output folder, and records each outcome.

    A result is entered first and moved to its place afterwards, so every result in place has an
    entry. An entry is valid only for a file with the entry's checksum: a result that a killed
    process entered but did not move, or that was replaced later, is made again.

    Use it as a context manager. It reads all manifests of the folder and writes the one of its
    own label.

    Args:
        folder: the output folder.
        files: access to the sources.
        options: plain JSON of the options on which results depend.
        weights_of: returns the checksum of the weights for a task.
        label: label of a part of the work, such as ``2-of-3``; empty for all of it.
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
                said = "line is" if cut == 1 else "lines are"
                Console.note(
                    f"{self._folder.name(name)}: {cut} {said} cut short or invalid; dropped"
                )
            self._torn = self._torn or cut > 0 or not text.endswith("\n")
        if self._torn:
            self._rewrite()

    def _rewrite(self) -> None:
        kept = (one for one in self._own if id(one) not in self._superseded)
        self._folder.rewrite("".join(f"{entry.as_line()}\n" for entry in kept))

    def remaining(self, plan: Plan, *, overwrite: bool = False) -> Plan:
        """Split off the jobs that an earlier run has done; they are in the plan's ``done``.

        Args:
            plan: a plan whose jobs have ``relative`` set; existing targets are checked here.
            overwrite: replace results of other options and files that are not in the manifest.
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
            output=self._folder.name(entry.output),
            task=entry.task,
            model=entry.model,
            seconds=entry.seconds,
            width=entry.width,
            height=entry.height,
            damage=entry.damage,
            skipped=True,
        )

    def _examine(self, job: Job, overwrite: bool) -> Job | Entry:
        """Return the job if it has to be done, else the entry of its result.

        Raises:
            PictureError: the source is missing, or the result may not be replaced.
        """
        stamp = self._files.stamp(job.source)
        if stamp is None:
            raise PictureError(f"{job.source}: no such file; check the name")
        job = replace(job, stamp=stamp, replaces=overwrite)
        # A picture that stays as it is may have another name.
        for relative in dict.fromkeys((job.as_copy().relative, job.relative)):
            found = self._examine_output(job, relative, overwrite)
            if isinstance(found, Entry):
                return found
            job = found
        return job

    def _examine_output(self, job: Job, relative: str, overwrite: bool) -> Job | Entry:
        """Return the job if this output has to be made, else its entry; see `_examine`."""
        if not self._folder.exists(relative):
            return job
        name = self._folder.name(relative)
        entry = self._standing_entry(relative)
        if entry is None:
            if overwrite:
                return job
            what = "was changed since irae wrote it" if relative in self._entries else "exists"
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
        """Return the entry that describes the file which is there now."""
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
        """Whether an entry was made from the job's present picture and mask."""
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
        if changed:  # The model of the entry's task may not suit the options of now.
            return changed
        weights = None if entry.task is None else self._weights_of(entry.task)
        return [] if entry.weights == weights else [f"model {entry.model}"]

    def commit(self, job: Job, outcome: Outcome) -> Outcome:
        """Enter a result and move it to its place.

        Raises:
            PictureError: the target exists by now, or the folder cannot be written to.
            OSError: the disk reports an error.
        """
        made = outcome.made
        if made is None:
            raise ValueError(f"{job.source}: nothing was made of it")
        entry = Entry(
            input=self._folder.refer(job.source),
            output=made.relative,
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
            self._folder.commit(made.staged, made.relative, replace=job.replaces)
        except BaseException:
            self._folder.discard(made.staged)
            raise
        self._supersede(entry)
        if made.relative != job.relative:
            self._supersede_failures(job.relative)
        return replace(outcome, output=self._folder.name(made.relative))

    def enter_failure(self, job: Job, outcome: Outcome) -> None:
        """Enter that a picture failed; if that fails too, one note is printed for the batch."""
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
                Console.note(f"{name}: failures cannot be recorded there ({error})")
            self._told = True
            return
        self._supersede_failures(entry.output, entry)

    def _enter(self, entry: Entry) -> None:
        self._folder.append(entry.as_line())
        self._own.append(entry)
        self._entries.setdefault(entry.output, []).append(entry)

    def _supersede(self, entry: Entry) -> None:
        """Mark all other entries of the same output as superseded."""
        for other in self._entries[entry.output]:
            if other is not entry:
                self._superseded.add(id(other))

    def _supersede_failures(self, output: str, newest: Entry | None = None) -> None:
        """Mark the failures of an output as superseded, but for the newest."""
        for other in self._entries.get(output, []):
            if other.error is not None and other is not newest:
                self._superseded.add(id(other))


def _say(value: object) -> str:
    return "unset" if value is None else str(value)
