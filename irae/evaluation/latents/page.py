"""A page of captioned pictures, in one file that opens offline."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from html import escape

from torch import Tensor

from irae.evaluation.density.pictures import enlarged, to_image

SHOWN = 192
"""Small pictures are enlarged by whole factors up to about this many pixels."""

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem;
  padding: 0 1rem; color: #222; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.row { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { margin: 0; } figcaption { font-size: .85rem; color: #555; max-width: 16rem; }
img { image-rendering: pixelated; max-width: 100%; border: 1px solid #ccc; }
table { border-collapse: collapse; margin-bottom: .8rem; }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; }
"""


@dataclass(frozen=True)
class Figure:
    """A picture with its caption.

    Attributes:
        picture: uint8 ``C H W``, C 1 or 3.
        caption: one phrase.
    """

    picture: Tensor
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        heading: its heading.
        text: one paragraph.
        figures: pictures in a row.
        table: rows of cells, of which the first is the header.
    """

    heading: str
    text: str
    figures: list[Figure] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)


def render(title: str, introduction: str, sections: list[Section]) -> str:
    """Return the page as HTML; it loads nothing from elsewhere."""
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1><p>{escape(introduction)}</p>",
    ]
    for section in sections:
        parts.append(f"<h2>{escape(section.heading)}</h2><p>{escape(section.text)}</p>")
        if section.table:
            parts.append(_table(section.table))
        if section.figures:
            shown = "".join(_figure(each) for each in section.figures)
            parts.append(f'<div class="row">{shown}</div>')
    parts.append("</body></html>")
    return "\n".join(parts) + "\n"


def _table(rows: list[list[str]]) -> str:
    head, *body = rows

    def row(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(c)}</{tag}>" for c in cells) + "</tr>"

    return "<table>" + row(head, "th") + "".join(row(each, "td") for each in body) + "</table>"


def _figure(figure: Figure) -> str:
    picture = figure.picture
    factor = max(1, SHOWN // max(picture.shape[1:]))
    buffer = io.BytesIO()
    to_image(enlarged(picture, factor)).save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    caption = escape(figure.caption)
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
