"""The figures of a report, each drawn once: into the page as far as it can hold them, and into files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup

from analysis.figures import FORMATS, draw_all, render_svg, save_drawing
from analysis.formatting import format_plural
from analysis.verdicts.results import StudyResults

PAGE = 2_500_000  # characters of SVG on a page, which stays below 5 MB with its tables
KIND = 12  # figures of one kind on a page
_OPEN = 2  # a kind with more figures is folded


@dataclass(frozen=True)
class Exhibit:
    """A figure by name; `svg` is empty where the page has no room for it."""

    id: str
    title: str
    caption: str
    svg: str = ""

    @property
    def kind(self) -> str:
        """`Learning curves` of `Learning curves: digits / cnn`."""
        return self.title.partition(":")[0]


@dataclass(frozen=True)
class Exhibits:
    """All figures, in the report's order."""

    every: Sequence[Exhibit] = ()
    notes: Sequence[str] = field(default=())

    @property
    def shown(self) -> list[tuple[str, list[Exhibit]]]:
        """What the page shows: the heading to fold figures under, empty for those that stand open, and the figures."""
        kinds: dict[str, list[Exhibit]] = {}
        for one in self.every:
            if one.svg:
                kinds.setdefault(one.kind, []).append(one)
        parts: list[tuple[str, list[Exhibit]]] = []
        for kind, own in kinds.items():
            if len(own) > _OPEN:
                parts.append((kind, own))
            elif parts and not parts[-1][0]:
                parts[-1][1].extend(own)
            else:
                parts.append(("", own))
        return parts


def exhibits(findings: StudyResults, svgs: Path, pdfs: Path | None = None, *, whole: bool = False) -> Exhibits:
    """Draws the figures of a study one at a time, and writes those that the page shows as files.

    Args:
        svgs: folder for them as SVG.
        pdfs: folder for them as PDF too; None: none.
        whole: write every figure, and into `svgs` as PNG and PDF too.
    """
    every: list[Exhibit] = []
    count: dict[str, int] = {}
    room = PAGE
    svgs.mkdir(parents=True, exist_ok=True)
    for drawing in draw_all(findings):
        one = Exhibit(drawing.id, drawing.title, drawing.caption)
        count[one.kind] = count.get(one.kind, 0) + 1
        text = render_svg(drawing.figure) if count[one.kind] <= KIND else ""
        if len(text) <= room:
            room -= len(text)
            one = Exhibit(one.id, one.title, one.caption, Markup(text))
        if whole:
            save_drawing(drawing, svgs, FORMATS)
        elif one.svg:
            (svgs / f"{one.id}.svg").write_text(one.svg, encoding="utf-8")
        if pdfs is not None and (whole or one.svg):
            save_drawing(drawing, pdfs, ("pdf",))
        every.append(one)
    left = sum(not one.svg for one in every)
    where = "they are in figures/ beside it" if whole else "--every-figure writes them into figures/"
    note = f"{format_plural(left, 'more figure')} would make this page too large: {where}."
    return Exhibits(every, [note] if left else [])
