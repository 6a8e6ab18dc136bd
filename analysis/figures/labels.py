"""Texts beside points of a scatter, where they hide least."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analysis.figures.style import BLACK

Box = tuple[float, float, float, float]  # left, bottom, right, top in points
_LETTER, _HEIGHT, _MARKER = 5.6, 10.0, 4.0  # points: width of a letter, height of a line, half a marker
_GAP = 6.0


def label_points(
    axes: Any, labels: Sequence[tuple[tuple[float, float], str]], points: Sequence[tuple[float, float]]
) -> None:
    """Each label at the one of twelve places about its point that covers the fewest points and earlier labels.

    Args:
        labels: a point in data coordinates and its text.
        points: every point of the panel, in data coordinates. The limits of the axes have to be final.
    """
    axes.get_xlim(), axes.get_ylim()  # matplotlib settles its limits only when asked
    scale = 72 / axes.figure.dpi
    frame = axes.get_window_extent().extents * scale
    taken: list[Box] = []
    for place in points:
        x, y = axes.transData.transform(place) * scale
        taken.append((x - _MARKER, y - _MARKER, x + _MARKER, y + _MARKER))
    for place, text in labels:
        x, y = axes.transData.transform(place) * scale
        boxes = _list_candidates(x, y, _LETTER * len(text))
        best = min(
            boxes, key=lambda box: (not _is_inside(box, frame), sum(_is_overlapping(box, other) for other in taken))
        )
        taken.append(best)
        shift = (best[0] - x, best[1] - y + 2)
        axes.annotate(text, place, xytext=shift, textcoords="offset points", color=BLACK, zorder=5)


def _list_candidates(x: float, y: float, width: float) -> list[Box]:
    corners = [
        (left, bottom)
        for bottom in (y + _GAP, y - _GAP - _HEIGHT, y + 2.2 * _GAP + _HEIGHT, y - 2.2 * _GAP - 2 * _HEIGHT)
        for left in (x + _GAP, x - width / 2, x - _GAP - width)
    ]
    return [(left, bottom, left + width, bottom + _HEIGHT) for left, bottom in corners]


def _is_inside(box: Box, frame: Any) -> bool:
    return bool(box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3])


def _is_overlapping(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
