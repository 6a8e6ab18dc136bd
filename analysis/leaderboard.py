"""Per dataset, every cell by mean test error, never without its cost; cells that lack seeds are rows too."""

from __future__ import annotations

import argparse
import json
import math
import statistics as stdlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from analysis import formats, statistics
from analysis.select import CellResults, Records, groups, load
from analysis.verdicts import LEAST, Verdict, judge

Row = dict[str, Any]
_COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("#", lambda row: str(row["rank"] or formats.NONE)),
    ("backbone", lambda row: row["backbone"]),
    ("variant", lambda row: row["label"]),
    ("error %", lambda row: error_text(row)),
    ("vs baseline, pp", lambda row: difference_text(row)),
    ("verdict", lambda row: row["verdict"]),
    ("seeds", lambda row: seeds_text(row)),
    ("params", lambda row: formats.count(row["parameters"])),
    ("MACs", lambda row: formats.count(row["macs"])),
    ("inference MACs", lambda row: formats.count(row["inference_macs"])),
    ("train s", lambda row: formats.seconds(row["train_seconds"])),
)
_NUMBERS = frozenset({"#", "seeds", "params", "MACs", "inference MACs", "train s"})


def leaderboard(records: Records, verdicts: Sequence[Verdict] | None = None) -> list[Row]:
    """Rows of plain JSON values, best first within each dataset; errors and differences are fractions.

    `rank` is None, and the row stands last, for a cell whose mean would be over another set of seeds, or whose budget
    differs from its baseline's. `bold`: not distinguishable from the best of its dataset (see `_mark_best`).
    """
    ruled = {_name(one): one for one in (judge(records) if verdicts is None else verdicts)}
    rows: list[Row] = []
    by_dataset: dict[str, list[tuple[Row, CellResults]]] = {}
    for group in groups(records):
        for cell in group.cells:
            by_dataset.setdefault(group.dataset, []).append((_row(cell, ruled.get(_name(cell)), records), cell))
    for board in by_dataset.values():
        board.sort(key=lambda item: (not item[0]["comparable"], item[0]["mean_error"] is None, item[0]["mean_error"]))
        for rank, (row, _) in enumerate((item for item in board if item[0]["comparable"]), 1):
            row["rank"] = rank
        _mark_best([item for item in board if item[0]["comparable"]], records)
        rows += [row for row, _ in board]
    return rows


def _name(cell: CellResults | Verdict) -> tuple[str, str, str, str]:
    return cell.dataset, cell.backbone, cell.variant, cell.settings


def _row(cell: CellResults, verdict: Verdict | None, records: Records) -> Row:
    errors, gap = list(cell.errors(records.metric).values()), cell.gap(records.metric)
    full = bool(errors) and not gap
    refused_pair = verdict is not None and verdict.verdict == "NOT COMPARABLE"
    half = None
    if full and len(errors) >= LEAST:
        deviation = stdlib.stdev(errors)
        half = float(stats.t.ppf(1 - records.alpha / 2, len(errors) - 1)) * deviation / math.sqrt(len(errors))
    return {
        "study": records.study.get("study", ""),
        "profile": records.study.get("profile"),
        "metric": records.metric,
        "dataset": cell.dataset,
        "backbone": cell.backbone,
        "variant": cell.variant,
        "settings": cell.settings,
        "label": cell.label,
        "rank": None,
        "comparable": full and not refused_pair,
        "bold": False,
        "mean_error": stdlib.fmean(errors) if full else None,
        "interval": half,
        "difference": verdict.mean_difference if verdict else None,
        "ci_low": verdict.ci_low if verdict else None,
        "ci_high": verdict.ci_high if verdict else None,
        "verdict": verdict.verdict if verdict else ("baseline" if full else "baseline, incomplete"),
        "reason": verdict.reason if verdict else gap,
        "seeds": len(errors),
        "seeds_expected": len(cell.expected),
        "parameters": _count(cell, "parameters"),
        "macs": _count(cell, "macs"),
        "inference_macs": _count(cell, "inference_macs"),
        "train_seconds": _train_seconds(cell),
    }


def _count(cell: CellResults, field: str) -> int | None:
    """A count, from any trial of the cell that has it, completed confirm trials first; None when none has it."""
    trials = [*sorted(cell.confirm, key=lambda trial: trial.status != "completed"), *cell.search]
    return next((value for value in (getattr(trial, field) for trial in trials) if value is not None), None)


def _train_seconds(cell: CellResults) -> float | None:
    """Mean over the cell's confirm trials that measured it, diverged ones too."""
    found = [trial.train_seconds for trial in cell.confirm if trial.train_seconds is not None]
    return stdlib.fmean(found) if found else None


def _mark_best(board: list[tuple[Row, CellResults]], records: Records) -> None:
    """Bold the best of a dataset, and every cell that paired tests can't tell from it.

    Paired t per cell on the seeds, Holm-adjusted over the dataset; sign-flip where all differences are one value. Below
    3 seeds nothing can be told apart, so nothing is bold. The best was picked on these numbers: bold is a reading aid,
    the verdicts are the tests.
    """
    if not board or len(board[0][1].errors(records.metric)) < LEAST:
        return
    best = board[0][1].errors(records.metric)
    paired, p_values = [], []
    for row, cell in board[1:]:
        errors = cell.errors(records.metric)
        if errors.keys() != best.keys():
            continue
        differences = np.round([errors[seed] - best[seed] for seed in best], 12)
        alike, flat = statistics.all_zero(differences), statistics.constant(differences)
        flip = statistics.sign_flip(differences) if flat and not alike else 1.0
        paired.append(row)
        p_values.append(flip if flat else statistics.paired_t(differences).p_value)
    board[0][0]["bold"] = True
    for row, p in zip(paired, statistics.holm(p_values, records.alpha), strict=True):
        row["bold"] = p >= records.alpha


def error_text(row: Row) -> str:
    """`8.31 ± 0.42`."""
    half = f" ± {formats.percent(row['interval'])}" if row["interval"] is not None else ""
    return formats.percent(row["mean_error"]) + half


def difference_text(row: Row) -> str:
    """`+0.84 [+0.31 .. +1.37]`, positive when better than the baseline."""
    if row["difference"] is None:
        return formats.NONE
    low, high = row["ci_low"], row["ci_high"]
    return formats.points(row["difference"]) + (f" [{formats.interval(low, high)}]" if low is not None else "")


def seeds_text(row: Row) -> str:
    """`5`, or `3/5` when some are missing."""
    full = row["seeds"] == row["seeds_expected"]
    return str(row["seeds"]) if full else f"{row['seeds']}/{row['seeds_expected']}"


def caption(records: Records) -> str:
    """What the numbers are, in one line."""
    name = {"top1": "top-1", "top5": "top-5"}[records.study.get("metric", "top1")]
    return (
        f"Test {name} error, mean ± half the {formats.level(records.alpha)} interval over seeds. Against the baseline: "
        "paired difference in percentage points, positive is better. Bold: not distinguishable from the best."
    )


def title(records: Records) -> str:
    """`Leaderboard of STUDY`, with the profile when the study has one."""
    profile = records.study.get("profile")
    return f"Leaderboard of {records.study.get('study', '')}" + (f" [profile: {profile}]" if profile else "")


def _boards(records: Records) -> dict[str, list[Row]]:
    boards: dict[str, list[Row]] = {}
    for row in leaderboard(records):
        boards.setdefault(row["dataset"], []).append(row)
    return boards


def _notes(board: Sequence[Row]) -> list[str]:
    """Why rows have no rank."""
    return [f"{row['backbone']} / {row['label']}: {row['reason']}" for row in board if not row["comparable"]]


def to_markdown(records: Records) -> str:
    """The leaderboard as GitHub Markdown, in percent and percentage points."""
    lines = [f"# {_escaped(title(records))}", "", caption(records), ""]
    for dataset, board in _boards(records).items():
        lines += [f"## {_escaped(dataset)}", "", "| " + " | ".join(name for name, _ in _COLUMNS) + " |"]
        lines.append("|" + "|".join("--:" if name in _NUMBERS else ":--" for name, _ in _COLUMNS) + "|")
        for row in board:
            cells = [_escaped(value(row)) for _, value in _COLUMNS]
            if row["bold"]:
                cells[3] = f"**{cells[3]}**"
            lines.append("| " + " | ".join(cells) + " |")
        notes = [f"- {_escaped(note)}" for note in _notes(board)]
        lines += ["", *notes, ""] if notes else [""]
    return "\n".join(lines).rstrip() + "\n"


def _escaped(text: str) -> str:
    """Names are data: no HTML, no table bars, no emphasis."""
    for character in "\\`*_|[]":
        text = text.replace(character, "\\" + character)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


_TERMINAL: tuple[tuple[str, Callable[[Row], str]], ...] = (
    *_COLUMNS[:3],
    ("error %", lambda row: error_text(row) + (" *" if row["bold"] else "  ")),
    ("gain, pp", lambda row: _gain_text(row)),
    *_COLUMNS[5:8],
    ("MACs", lambda row: formats.count(row["inference_macs"])),  # training MACs: in the Markdown and the JSON
    _COLUMNS[10],
)


def _gain_text(row: Row) -> str:
    """`+0.84 ± 0.53` over the baseline: the t interval is symmetric."""
    if row["difference"] is None or row["ci_high"] is None:
        return formats.points(row["difference"])
    return f"{formats.points(row['difference'])} ± {formats.percent(row['ci_high'] - row['difference'])}"


def to_text(records: Records, width: int = 118) -> str:
    """The leaderboard for a terminal of `width` columns; `*` marks what is bold elsewhere. Long names are shortened."""
    metric = caption(records).split(",")[0]
    lines = [
        title(records),
        f"{metric}, mean ± half the {formats.level(records.alpha)} interval; gain: paired, positive",
    ]
    lines += ["is better than the baseline; MACs: at inference; *: not distinguishable from the best. Intervals are"]
    lines += ["of one comparison; verdicts count how many there are (Holm).", ""]
    for dataset, board in _boards(records).items():
        table = [[name for name, _ in _TERMINAL], *([value(row) for _, value in _TERMINAL] for row in board)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        excess = sum(widths) + 2 * (len(widths) - 1) - width
        for index, least in ((2, 24), (1, 12), (2, 10)):  # variants, then backbones, then both give way
            cut = max(0, min(excess, widths[index] - least))
            widths[index], excess = widths[index] - cut, excess - cut
        rows = ["  ".join(map(_fitted, line, widths, table[0])).rstrip() for line in table]
        lines += [dataset, rows[0], "-" * max(map(len, rows)), *rows[1:]]
        lines += [f"  {note}" for note in _notes(board)] + [""]
    return "\n".join(lines).rstrip() + "\n"


def _fitted(text: str, width: int, column: str) -> str:
    text = formats.shortened(text, width)
    return text.rjust(width) if column in _NUMBERS else text.ljust(width)


def main(arguments: list[str] | None = None) -> int:
    """`python -m analysis.leaderboard`."""
    parser = argparse.ArgumentParser(prog="python -m analysis.leaderboard", description="The leaderboard of a study.")
    parser.add_argument("records", type=Path, help="folder that analysis.collect wrote")
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    options = parser.parse_args(arguments)
    records = load(options.records)
    if options.format == "json":
        sys.stdout.write(json.dumps(leaderboard(records), indent=1) + "\n")
    else:
        sys.stdout.write((to_text if options.format == "text" else to_markdown)(records))
    return 0


if __name__ == "__main__":
    sys.exit(main())
