"""The figures of a report, each drawn once: into the page as far as it can hold them, and into files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    notes: Sequence[str] = ()

    @property
    def shown(self) -> list[tuple[str, list[Exhibit]]]:
        """What the page shows: the heading to fold figures under, empty for those that stand open, and the figures."""
        kinds: dict[str, list[Exhibit]] = {}
        for exhibit in self.every:
            if exhibit.svg:
                kinds.setdefault(exhibit.kind, []).append(exhibit)
        parts: list[tuple[str, list[Exhibit]]] = []
        for kind, members in kinds.items():
            if len(members) > _OPEN:
                parts.append((kind, members))
            elif parts and not parts[-1][0]:
                parts[-1][1].extend(members)
            else:
                parts.append(("", members))
        return parts


def exhibits(findings: StudyResults, svgs: Path, pdfs: Path | None = None, *, whole: bool = False) -> Exhibits:
    """Draws the figures of a study one at a time, and writes those that the page shows as files.

    Args:
        svgs: folder for them as SVG.
        pdfs: folder for them as PDF too; None: none.
        whole: write every figure, and into `svgs` as PNG and PDF too.
    """
    every: list[Exhibit] = []
    count: Counter[str] = Counter()  # by kind
    room = PAGE
    svgs.mkdir(parents=True, exist_ok=True)
    for drawing in draw_all(findings):
        exhibit = Exhibit(drawing.id, drawing.title, drawing.caption)
        count[exhibit.kind] += 1
        text = render_svg(drawing.figure) if count[exhibit.kind] <= KIND else ""
        if len(text) <= room:
            room -= len(text)
            exhibit = replace(exhibit, svg=Markup(text))
        if whole:
            save_drawing(drawing, svgs, FORMATS)
        elif exhibit.svg:
            (svgs / f"{exhibit.id}.svg").write_text(exhibit.svg, encoding="utf-8")
        if pdfs is not None and (whole or exhibit.svg):
            save_drawing(drawing, pdfs, ("pdf",))
        every.append(exhibit)
    left_out = sum(not exhibit.svg for exhibit in every)
    if not left_out:
        return Exhibits(every)
    where = "they are in figures/ beside it" if whole else "--every-figure writes them into figures/"
    return Exhibits(every, [f"{format_plural(left_out, 'more figure')} would make this page too large: {where}."])
