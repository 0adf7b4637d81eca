"""What happens when something is dropped, chosen or pressed in the page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from irae.batch.outcome import Outcome
from irae.errors import IraeError, UsageError
from irae.imaging.io.files import read_picture
from irae.imaging.io.picture import Layout, Picture
from irae.restoring.options import RestoreOptions
from irae.tasks import filling_task, get_task, task_names
from irae.ui.previews import PREVIEW_SIDE, painted_mask, save_preview, upright_size
from irae.ui.scratch import Scratch, Session
from irae.ui.work import RestoreService, StoppedError, distinct_names, write_zip

NOTHING_DONE = "Nothing to do; left as it is"

ZIP_NAME = "irae-restored.zip"

_PROGRESS = gr.Progress()
_HIDDEN = gr.update(visible=False)


@contextmanager
def shown_errors() -> Iterator[None]:
    """Errors of the user's are shown in the page until they are closed."""
    try:
        yield
    except IraeError as error:
        raise gr.Error(escape(str(error)), duration=None, print_exception=False) from error


class Handlers:
    """One method for each thing a user can do; what they return goes to the page's components."""

    def __init__(self, service: RestoreService, scratch: Scratch) -> None:
        self._service, self._scratch = service, scratch

    def take_picture(self, upload: str | None, task: str, request: gr.Request) -> tuple[Any, ...]:
        """A picture was dropped, or taken away.

        Returns:
            For what is said of it, the slider, the brush, the two buttons, what was done, and
            the two downloads.
        """
        with self._scratch.using(request.session_hash) as session, shown_errors():
            session.picture = session.preview = None
            if upload is None:
                return "", None, None, *_enabled(False), "", _HIDDEN, _HIDDEN
            folder = session.fresh("picture")
            source = session.take(Path(upload), folder)
            picture, choice = self._service.look(source)
            preview = folder / "preview.png"
            save_preview(picture, preview)
            session.picture, session.preview = source, preview
            about = _describe(source.name, picture)
            lines = [about, f"Automatic: {_reason(choice.why, str(source)) or choice.task}"]
            if max(picture.width, picture.height) > PREVIEW_SIDE:
                lines.append("Shown and painted on reduced; the file you download is whole.")
            shown = str(preview)
            brush = self._canvas(shown) if _holes(task) else gr.skip()
            return _lines(lines), (shown, shown), brush, *_enabled(True), "", _HIDDEN, _HIDDEN

    def choose_task(self, task: str, request: gr.Request) -> tuple[Any, ...]:
        """Another task was chosen.

        Returns:
            For the strength, the ensemble, the two buttons, the slider, the brush and the way back
            to it.
        """
        holes = _holes(task)
        with self._scratch.using(request.session_hash) as session:
            shown = session.preview
        brush = self._canvas(str(shown)) if holes and shown else None
        return (
            gr.update(visible=not holes),
            gr.update(visible=not holes),
            gr.update(visible=not holes),
            gr.update(visible=holes),
            gr.update(visible=not holes),
            gr.update(visible=holes, value=brush),
            _HIDDEN,
        )

    def restore(
        self,
        task: str,
        strength: float,
        ensemble: bool,
        request: gr.Request,
        _progress: gr.Progress = _PROGRESS,
    ) -> tuple[Any, ...]:
        """Restore was pressed.

        Returns:
            For the slider, what was done, the download, and that of a mask, of which there is none.
        """
        options = _options(task, strength, ensemble)
        with self._scratch.using(request.session_hash) as session, shown_errors():
            outcome, after = self._restore(session, options, None)
            shown = str(session.preview), str(after)
            return shown, _tell(outcome), _download(outcome), _HIDDEN

    def fill(
        self,
        painted: dict[str, Any] | None,
        request: gr.Request,
        _progress: gr.Progress = _PROGRESS,
    ) -> tuple[Any, ...]:
        """Fill was pressed.

        Args:
            painted: what the brush sent, as it was sent: the names of uploaded files.
            request: of which page.

        Returns:
            For the slider, the brush, the way back to it, what was done, the download of the
            result and that of the mask.
        """
        with self._scratch.using(request.session_hash) as session, shown_errors():
            source = _held(session)
            size = upright_size(read_picture(source))
            mask = session.fresh("mask") / f"{source.stem}.mask.png"
            painted_mask(self._layers(session, painted or {}), size).save(mask)
            outcome, after = self._restore(session, RestoreOptions(filling_task().name), mask)
            return (
                gr.update(visible=True, value=(str(session.preview), str(after))),
                gr.update(visible="hidden"),
                gr.update(visible=True),
                _tell(outcome),
                _download(outcome),
                gr.update(visible=True, value=str(mask)),
            )

    def paint_again(self) -> tuple[Any, ...]:
        """Back to the brush: for the slider, the brush and the button itself."""
        return _HIDDEN, gr.update(visible=True), _HIDDEN

    def restore_all(
        self,
        uploads: list[str] | None,
        task: str,
        strength: float,
        ensemble: bool,
        request: gr.Request,
        progress: gr.Progress = _PROGRESS,
    ) -> tuple[Any, ...]:
        """Restore all was pressed.

        Returns:
            For what became of each, and the download.
        """
        options = _options(task, strength, ensemble)
        with self._scratch.using(request.session_hash) as session, shown_errors():
            if not uploads:
                raise UsageError("no pictures yet; drop some first")
            session.stop.clear()
            folder, out = session.fresh("in"), session.fresh("out")
            told = self._admit(session, [Path(upload) for upload in uploads], folder)
            total = len(uploads)

            def tell(outcome: Outcome) -> None:
                told.append(outcome)
                progress((len(told), total), desc=outcome.input, unit="pictures")
                if session.stop.is_set():
                    raise StoppedError

            stopped = False
            progress((len(told), total), unit="pictures")
            if len(told) < total:
                try:
                    self._service.restore_folder(folder, out, options, tell)
                except StoppedError:
                    stopped = True
            if not any(outcome.error is None for outcome in told):
                return _table(told, total, stopped), _HIDDEN
            packed = session.fresh("zip") / ZIP_NAME
            write_zip(out, packed)
            return _table(told, total, stopped), gr.update(visible=True, value=str(packed))

    def stop(self, request: gr.Request) -> None:
        """Stop was pressed: what is done by then can be downloaded."""
        self._scratch.stop(request.session_hash)

    def leave(self, request: gr.Request) -> None:
        """The page was closed or reloaded."""
        self._scratch.end(request.session_hash)

    def _layers(self, session: Session, painted: dict[str, Any]) -> list[Path]:
        """The files of what was painted; none of them is left behind when the page is closed."""
        layers = [layer for layer in painted.get("layers") or [] if layer]
        others = [painted.get(name) for name in ("background", "composite")]
        paths = [Path(file["path"]).resolve() for file in [*layers, *filter(None, others)]]
        if not all(path.is_relative_to(self._scratch.root) for path in paths):
            raise UsageError("what was painted is not in a file of this page; paint it again")
        session.adopt(paths)
        return paths[: len(layers)]

    def _canvas(self, preview: str) -> dict[str, Any]:
        return {"background": preview, "layers": [], "composite": preview}

    def _restore(
        self, session: Session, options: RestoreOptions, mask: Path | None
    ) -> tuple[Outcome, Path]:
        source = _held(session)
        folder = session.fresh("result")
        # Of its own for each result, which lies beside it under a name that follows from it.
        copied = Path(shutil.copyfile(source, folder / source.name))
        outcome = self._service.restore(copied, options, mask)
        assert outcome.output is not None
        result = folder / outcome.output
        after = folder / "preview.png"
        save_preview(read_picture(result), after)
        return replace(outcome, output=str(result)), after

    def _admit(self, session: Session, uploads: list[Path], folder: Path) -> list[Outcome]:
        """Copy what is not too large into a folder; returns what became of the rest."""
        refused = []
        for upload, name in zip(uploads, distinct_names([u.name for u in uploads]), strict=True):
            copied = session.take(upload, folder, name)
            try:
                self._service.admit(copied)
            except IraeError as error:
                copied.unlink()
                refused.append(Outcome(name, error=str(error)))
        return refused


def _done(outcome: Outcome) -> str:
    return NOTHING_DONE if outcome.task is None else get_task(outcome.task).done


def _holes(choice: str) -> bool:
    """Whether what was chosen is a task that needs a mask."""
    return choice in task_names() and get_task(choice).needs_mask


def _held(session: Session) -> Path:
    if session.picture is None or not session.picture.is_file():
        raise UsageError("no picture here (they are deleted after an hour); drop it again")
    return session.picture


def _options(task: str, strength: float, ensemble: bool) -> RestoreOptions:
    # The browser counts its steps in binary fractions.
    return RestoreOptions(
        None if task == "auto" else task,
        strength=round(float(strength), 4),
        ensemble=ensemble,
    )


def _reason(why: str | None, name: str) -> str:
    """Why a task was chosen, without the picture's name, which stands beside it."""
    return (why or "").removeprefix(f"{name}: ")


def _enabled(ready: bool) -> tuple[Any, Any]:
    return gr.update(interactive=ready), gr.update(interactive=ready)


def _download(outcome: Outcome) -> Any:
    name = os.path.basename(outcome.output or "")
    return gr.update(visible=True, value=outcome.output, label=f"Download {name}")


def _describe(name: str, picture: Picture) -> str:
    width, height = upright_size(picture)
    layout = picture.layout
    kept = [word for word, there in _kept(layout) if there]
    tail = f", with {' and '.join(kept)}" if kept else ""
    kind = f"{layout.format} " if layout.format else ""
    return f"{name}: {width} × {height}, {kind}{layout.mode}, {layout.depth} bits{tail}"


def _kept(layout: Layout) -> list[tuple[str, bool]]:
    return [("EXIF", layout.exif is not None), ("colour profile", layout.icc is not None)]


def _tell(outcome: Outcome) -> str:
    model = f" by the model {outcome.model}" if outcome.model else ""
    lines = [f"{_done(outcome)}{model}, in {outcome.seconds:.1f} s."]
    if outcome.why:
        lines.append(f"Automatic: {_reason(outcome.why, outcome.input)}")
    return _lines(lines)


def _lines(lines: list[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _table(told: list[Outcome], total: int, stopped: bool) -> str:
    failed = sum(outcome.error is not None for outcome in told)
    head = f"{len(told) - failed} of {total} restored, {failed} failed"
    if stopped:
        head += f"; stopped, {total - len(told)} not done"
    rows = []
    for outcome in told:
        bad = outcome.error is not None
        what = outcome.error if bad else _done(outcome)
        remark = _reason(outcome.why, outcome.input)
        seconds = "" if outcome.seconds is None else f"{outcome.seconds:.1f} s"
        cells = (outcome.input, what or "", remark, seconds)
        row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        rows.append(f"<tr{' class=failed' if bad else ''}>{row}</tr>")
    titles = "".join(f"<th>{title}</th>" for title in ("Picture", "What was done", "Why", "Time"))
    return f"<p>{head}.</p><table><tr>{titles}</tr>{''.join(rows)}</table>"
