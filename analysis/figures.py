"""Figures as SVG text, in one style. Colours: Okabe and Ito 2008, told apart by colour-blind readers."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.formats import points, shortened, size
from analysis.select import CellResults, Group, Records
from analysis.verdicts import Verdict
from suite.records import TEST_CURVE

BLACK, GREY, LIGHT = "#222222", "#6b6b6b", "#ececec"
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
RULING_COLOURS = {"HELPS": GREEN, "HURTS": VERMILION, "EQUIVALENT": BLUE}
CURVES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)  # the baseline is black

TEST_CURVE_METRIC = f"{TEST_CURVE}top1_error"
_MEASURED = (
    ("validation_top1_error", "validation top-1 error (%)"),
    ("train_top1_error", "training top-1 error (%)"),
    (TEST_CURVE_METRIC, "test top-1 error (%), selects nothing"),
)

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": BLACK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "text.parse_math": False,  # names may hold a dollar sign
    "svg.fonttype": "none",  # text stays text: small, selectable, searchable
}


def forest(records: Records, verdicts: Sequence[Verdict]) -> str:
    """Each cell's mean paired difference with its interval, and each seed as a dot, over the shaded ROPE (in pp)."""
    lines: list[Verdict | str] = []
    for one in verdicts:
        header = f"{one.dataset} / {one.backbone}"
        if header not in lines:
            lines.append(header)
        lines.append(one)
    with mpl.rc_context({**STYLE, "svg.hashsalt": "forest"}):
        figure = Figure(figsize=(8.2, 0.85 + 0.27 * max(len(lines), 1)))
        figure.subplots_adjust(
            left=0.27, right=0.68, top=1 - 0.1 / figure.get_figheight(), bottom=0.62 / figure.get_figheight()
        )
        axes = figure.add_subplot()
        rope = 100 * records.rope
        axes.axvspan(-rope, rope, color=LIGHT, lw=0, zorder=0)
        axes.axvline(0, color=GREY, lw=0.8, zorder=1)
        for place, line in enumerate(lines):
            if isinstance(line, str):
                axes.text(-0.63, place, line, transform=axes.get_yaxis_transform(), va="center", weight="bold")
            else:
                _forest_row(axes, place, line)
        reach = max([rope * 1.5, *(1.08 * abs(100 * d) for one in verdicts for d in _extent(one))])
        axes.set(xlim=(-reach, reach), ylim=(len(lines) - 0.4, -0.7), yticks=[])
        axes.spines["left"].set_visible(False)
        metric = {"test_top1_error": "top-1", "test_top5_error": "top-5"}[records.metric]
        axes.set_xlabel(
            f"worse  ←  test {metric} error, baseline − variant (pp)  →  better\n"
            f"shaded: within ±{size(records.rope)} pp, too small to matter"
        )
        return svg(figure)


def _extent(one: Verdict) -> list[float]:
    ends = [end for end in (one.ci_low, one.ci_high) if end is not None]
    return ends + [d for _, d in one.differences]


def _forest_row(axes: Any, place: int, one: Verdict) -> None:
    colour = RULING_COLOURS.get(one.verdict, GREY)
    axes.text(-0.60, place, shortened(one.label, 30), transform=axes.get_yaxis_transform(), va="center", color=BLACK)
    text: str = one.verdict
    if one.mean_difference is not None:
        mean = 100 * one.mean_difference
        seeds = [100 * d for _, d in one.differences]
        axes.scatter(seeds, [place] * len(seeds), s=11, color=colour, alpha=0.35, lw=0, zorder=2)
        if one.ci_low is not None and one.ci_high is not None:
            axes.plot([100 * one.ci_low, 100 * one.ci_high], [place, place], color=colour, lw=1.8, zorder=3)
        axes.plot([mean], [place], marker="D", ms=4.5, color=colour, mec="white", mew=0.6, zorder=4)
        text = f"{points(one.mean_difference)}  {one.verdict}"
    axes.text(1.03, place, text, transform=axes.get_yaxis_transform(), va="center", color=colour, weight="bold")


def learning_curves(records: Records, group: Group) -> list[str]:
    """Top-1 error (%) by epoch: each cell's mean over confirm seeds, shaded from lowest to highest seed.

    Of validation; where the recipe asked for a test curve, of training and test too. One figure per six variants, the
    baseline in each; none when no confirm trial left epochs.
    """
    keys = {trial.trial_key for cell in group.cells for trial in cell.confirm}
    epochs = records.epochs
    told = set(epochs.loc[epochs["trial_key"].isin(keys), "metric"].unique())
    wanted = _MEASURED if TEST_CURVE_METRIC in told else _MEASURED[:1]
    return [svg for metric, label in wanted for svg in _metric_curves(records, group, metric, label)]


def _metric_curves(records: Records, group: Group, metric: str, label: str) -> list[str]:
    curves = [(cell, curve) for cell in group.cells if len(curve := _curve(records, cell, metric))]
    own = [item for item in curves if item[0].is_baseline]
    others = [item for item in curves if not item[0].is_baseline]
    if not curves:
        return []
    chunks = [others[at : at + len(CURVES)] for at in range(0, len(others), len(CURVES))] or [[]]
    salt = f"{group.dataset}{group.backbone}{metric}"
    return [_curves_figure(group, own, chunk, f"{salt}{n}", label) for n, chunk in enumerate(chunks)]


def _curve(records: Records, cell: CellResults, metric: str) -> Any:
    """Table of epoch by seed, in percent; an epoch that some seeds did not reach is left out of the mean."""
    keys = {trial.trial_key for trial in cell.confirm if trial.status == "completed"}
    epochs = records.epochs
    rows = epochs[epochs["trial_key"].isin(keys) & (epochs["metric"] == metric)]
    return 100 * rows.pivot_table(index="epoch", columns="trial_key", values="value").dropna()


def _curves_figure(group: Group, own: list[Any], others: list[Any], salt: str, label: str) -> str:
    with mpl.rc_context({**STYLE, "svg.hashsalt": salt}):
        figure = Figure(figsize=(6.6, 3.1))
        figure.subplots_adjust(left=0.09, right=0.66, top=0.90, bottom=0.16)
        axes = figure.add_subplot()
        axes.set_title(f"{group.dataset} / {group.backbone}")
        ends = []
        for colour, (cell, curve) in zip([BLACK] * len(own) + list(CURVES), own + others, strict=False):
            epochs, mean = curve.index.to_numpy(dtype=float), curve.mean(axis=1).to_numpy()
            low, high = curve.min(axis=1).to_numpy(), curve.max(axis=1).to_numpy()
            axes.fill_between(epochs, low, high, color=colour, alpha=0.12, lw=0)
            axes.plot(epochs, mean, color=colour, lw=1.6, marker="o" if len(epochs) == 1 else None, ms=4)
            ends.append((float(mean[-1]), cell.label, colour, float(epochs[-1])))
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
        axes.margins(x=0.01)
        _label_ends(axes, ends)
        return svg(figure)


def _label_ends(axes: Any, ends: list[tuple[float, str, str, float]]) -> None:
    """Names at the right, in the curves' order and colour, pushed apart where the curves meet."""
    low, high = axes.get_ylim()
    gap = 0.075 * (high - low)
    ordered = sorted(ends)
    places = [end[0] for end in ordered]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + gap)
    shift = max(0.0, (places[-1] if places else low) - high)
    for (_, name, colour, _), place in zip(ordered, places, strict=True):
        where = (1.02, place - shift)
        axes.text(*where, shortened(name, 28), transform=axes.get_yaxis_transform(), va="center", color=colour)


def svg(figure: Figure) -> str:
    """The figure as an `<svg>` element: the same text every time, without ids that clash inside one page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    return re.sub(r'<g id="[^"]*"', "<g", text)
