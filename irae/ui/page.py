"""The page's layout, of Gradio's own components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from irae.imaging.io.encode import PICTURE_SUFFIXES
from irae.tasks import all_tasks
from irae.ui.handlers import Handlers
from irae.ui.scratch import Scratch
from irae.ui.work import RestoreService

AUTOMATIC = ("Automatic", "auto")

VIEW_HEIGHT = 600
"""Of the picture on the page, pixels: it fits a laptop's screen."""

STYLE = """
.gradio-container { max-width: 1500px !important; }
.gradio-container main { padding-top: 0.75rem !important; }
#head h1 { display: inline; margin: 0 0.75rem 0 0; font-size: 1.4rem; }
#head p { display: inline; }
#about p, #done p, #report p { margin: 0 0 0.2rem; overflow-wrap: anywhere; }
#task .wrap, #task-all .wrap { gap: 0.4rem; }
#task label, #task-all label { padding: 0.25rem 0.6rem; }
#report table { width: 100%; }
#report th, #report td {
  border: 0 !important;
  border-bottom: 1px solid var(--border-color-primary) !important;
  padding: 0.3rem 0.75rem 0.3rem 0 !important;
  text-align: left;
  overflow-wrap: anywhere;
}
#report td:last-child { white-space: nowrap; }
#report .failed td { color: #dc2626; }
"""

_HEAD = """<h1>irae</h1>
<p>Restores pictures on this machine; nothing is sent elsewhere. They are deleted when you close
this page, or an hour after you last used it.</p>"""


def system_theme() -> gr.Theme:
    """A theme with the fonts this machine has: Gradio's own fetches some from the network."""
    return gr.themes.Default(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )


def build_page(service: RestoreService, scratch: Scratch, most_bytes: int) -> gr.Blocks:
    """The page.

    Args:
        service: what restores.
        scratch: where files are meanwhile.
        most_bytes: in one file, for the labels.
    """
    handlers = Handlers(service, scratch)
    most = f"up to {most_bytes / 1e6:.6g} MB"
    with gr.Blocks(title="irae", analytics_enabled=False) as page:
        gr.HTML(_HEAD, elem_id="head")
        with gr.Tab("One picture"):
            _wire_one(_lay_out_one(most), handlers)
        with gr.Tab("Many pictures"):
            _make_many(handlers, most)
        page.unload(handlers.leave)
    page.queue(default_concurrency_limit=1)
    return page


def _choices(*, masked: bool = True) -> list[tuple[str, str]]:
    """Label and name of every task; without those that need a mask where there is no brush."""
    return [(task.label, task.name) for task in all_tasks() if masked or not task.needs_mask]


@dataclass(frozen=True)
class _One:
    """The components of the tab for one picture."""

    picture: Any
    about: Any
    task: Any
    strength: Any
    ensemble: Any
    restore: Any
    fill: Any
    again: Any
    done: Any
    download: Any
    mask: Any
    slider: Any
    brush: Any


def _lay_out_one(most: str) -> _One:
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            picture = gr.File(
                label=f"Picture ({most})", file_types=_suffixes(), height=130, elem_id="picture"
            )
            about = gr.HTML(elem_id="about")
            task = gr.Radio(
                [AUTOMATIC, *_choices()],
                value="auto",
                label="What to do",
                elem_id="task",
            )
            strength = _strength("strength")
            ensemble = _ensemble("ensemble")
            restore = gr.Button("Restore", variant="primary", interactive=False, elem_id="restore")
            fill = gr.Button(
                "Fill what is painted",
                variant="primary",
                interactive=False,
                visible=False,
                elem_id="fill",
            )
            again = gr.Button("Back to painting", visible=False, elem_id="again")
            done = gr.HTML(elem_id="done", min_height=48)
            download = gr.DownloadButton("Download", visible=False, elem_id="download")
            mask = gr.DownloadButton("Download the mask", visible=False, elem_id="mask")
        with gr.Column(scale=5, min_width=480):
            slider = gr.ImageSlider(
                label="Before | after: the wheel zooms, dragging moves",
                type="filepath",
                interactive=False,
                height=VIEW_HEIGHT,
                # Without the frame's border, or the two sides are a pixel apart.
                max_height=VIEW_HEIGHT - 2,
                buttons=["fullscreen"],
                elem_id="slider",
            )
            brush = gr.ImageEditor(
                label="Paint over what is to be filled",
                visible=False,
                sources=(),
                transforms=(),
                layers=False,
                brush=gr.Brush(colors=["#e0218a"], color_mode="fixed"),
                eraser=gr.Eraser(),
                buttons=["fullscreen"],
                # Of the preview it takes the size; a large one at first costs time without a GPU.
                canvas_size=(640, 480),
                height=VIEW_HEIGHT,
                elem_id="brush",
            )
    return _One(
        *(picture, about, task, strength, ensemble, restore, fill, again, done, download, mask),
        *(slider, brush),
    )


def _wire_one(one: _One, handlers: Handlers) -> None:
    private: dict[str, Any] = {"api_visibility": "private"}
    one.picture.change(
        handlers.take_picture,
        [one.picture, one.task],
        [
            *(one.about, one.slider, one.brush, one.restore, one.fill),
            *(one.done, one.download, one.mask),
        ],
        concurrency_id="look",
        show_progress_on=[one.slider],
        **private,
    )
    one.task.change(
        handlers.choose_task,
        one.task,
        [
            *(one.strength, one.ensemble, one.restore, one.fill),
            *(one.slider, one.brush, one.again),
        ],
        show_progress="hidden",
        **private,
    )
    one.restore.click(
        handlers.restore,
        [one.task, one.strength, one.ensemble],
        [one.slider, one.done, one.download, one.mask],
        concurrency_id="restore",
        show_progress_on=[one.slider],
        **private,
    )
    one.fill.click(
        handlers.fill,
        one.brush,
        [one.slider, one.brush, one.again, one.done, one.download, one.mask],
        concurrency_id="restore",
        show_progress_on=[one.done],
        preprocess=False,  # Which would decode what is painted on too, for nothing.
        **private,
    )
    one.again.click(
        handlers.paint_again,
        None,
        [one.slider, one.brush, one.again],
        show_progress="hidden",
        **private,
    )


def _make_many(handlers: Handlers, most: str) -> None:
    private: dict[str, Any] = {"api_visibility": "private"}
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            pictures = gr.File(
                label=f"Pictures (each {most})",
                file_count="multiple",
                file_types=_suffixes(),
                height=260,
                elem_id="pictures",
            )
            task = gr.Radio(
                [AUTOMATIC, *_choices(masked=False)],
                value="auto",
                label="What to do",
                elem_id="task-all",
            )
            strength = _strength("strength-all")
            ensemble = _ensemble("ensemble-all")
            start = gr.Button("Restore all", variant="primary", elem_id="restore-all")
            stop = gr.Button("Stop after this picture", elem_id="stop")
            packed = gr.DownloadButton("Download all (zip)", visible=False, elem_id="zip")
        with gr.Column(scale=5, min_width=480):
            report = gr.HTML(
                "<p>Drop pictures, then press Restore all.</p>", elem_id="report", min_height=160
            )
    start.click(
        handlers.restore_all,
        [pictures, task, strength, ensemble],
        [report, packed],
        concurrency_id="restore",
        show_progress_on=[report],
        **private,
    )
    # Not behind the batch in the queue.
    stop.click(handlers.stop, None, None, queue=False, **private)


def _strength(name: str) -> Any:
    return gr.Slider(0, 1, value=1, step=0.05, label="Strength (0: left as it is)", elem_id=name)


def _ensemble(name: str) -> Any:
    return gr.Checkbox(label="A little better, 8 times slower", elem_id=name)


def _suffixes() -> list[str]:
    return sorted(PICTURE_SUFFIXES)
