"""A figure with its name and caption, and its files."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from analysis.figures.style import use_style

FORMATS = ("png", "svg", "pdf")
_FONTS = "'DejaVu Sans', Verdana, sans-serif"
_LONG_PATH = 400  # characters, from which tenths of a point are enough
_METADATA: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


@dataclass(frozen=True, eq=False)
class Drawing:
    """A figure of a report.

    Attributes:
        id: its file name: lower case letters, digits, hyphens.
        title: `kind: what of`, or the kind alone; plain text.
        caption: tells a layman how to read it; plain text.
    """

    id: str
    title: str
    caption: str
    figure: Figure

    def __post_init__(self) -> None:
        self.figure.set_label(self.id)  # what `svg` makes the ids inside the page from


def render_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element: the same text every time, without ids that clash inside one page."""
    text = _render_bytes(figure, "svg").decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", lambda match: _slim_tag(match[0]), text)
    text = text.replace("<svg", f'<svg style="font-family: {_FONTS}"', 1)
    return re.sub(r"\n\s*", "\n", text)


def _slim_tag(tag: str) -> str:
    """A tag without what a page doesn't need: ids of groups, the font of every text, thousandths of a point."""
    if tag.startswith("<g id="):
        return re.sub(r' id="[^"]*"', "", tag)
    tag = re.sub(r' transform="rotate\(-?0 [^"]*"| ?font-family: [^;"]*;', "", tag).replace("'DejaVu Sans'", _FONTS)
    tag = re.sub(r"(\.\d\d)\d+", r"\1", tag)
    if len(tag) > _LONG_PATH:
        tag = re.sub(r"(\.\d)\d+", r"\1", tag)
    return re.sub(r"\s*\nL ", " ", tag)


def save_drawing(drawing: Drawing, folder: Path, formats: Sequence[str] = FORMATS) -> None:
    """Writes `<folder>/<id>.<format>`; the same records give the same bytes.

    Raises:
        ValueError: an unknown format.
    """
    unknown = [kind for kind in formats if kind not in FORMATS]
    if unknown:
        raise ValueError(f"Figures are written as {', '.join(FORMATS)}, not as {', '.join(unknown)}.")
    folder.mkdir(parents=True, exist_ok=True)
    for kind in formats:
        content = render_svg(drawing.figure).encode() if kind == "svg" else _render_bytes(drawing.figure, kind)
        (folder / f"{drawing.id}.{kind}").write_bytes(content)


def _render_bytes(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    with use_style(**{"svg.hashsalt": str(figure.get_label())}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks
        figure.savefig(buffer, format=kind, metadata=_METADATA[kind], facecolor="white", dpi=200)
    return buffer.getvalue()
