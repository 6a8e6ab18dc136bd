"""Per dataset, every cell by mean test error, never without its cost; cells that lack seeds are rows too."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from analysis import formatting
from analysis.records.model import Records
from analysis.tables import EMPTY, Column, Table, Value, fill_table, latex, make_estimate, rendering
from analysis.verdicts.cell_rows import Row, build_cell_rows
from analysis.verdicts.results import StudyResults


def group_rows(findings: StudyResults) -> dict[str, list[Row]]:
    """The rows by dataset, each with the `digits` of its dataset (see `set_digits`)."""
    boards: dict[str, list[Row]] = {}
    for row in build_cell_rows(findings):
        boards.setdefault(row["dataset"], []).append(row)
    return {dataset: set_digits(board) for dataset, board in boards.items()}


def set_digits(board: Iterable[Row]) -> list[Row]:
    """The rows with `digits`: decimals of a percent that they are worth together.

    They go by the narrower of the intervals: mostly the difference's.
    """
    rows = list(board)
    halves = [(row["ci_high"] - row["ci_low"]) / 2 for row in rows if row["ci_low"] is not None]
    known = [half for half in halves if half]
    digits = formatting.choose_decimals(known or [row["interval"] for row in rows])
    return [row | {"digits": digits} for row in rows]


# -- values


def make_mean(mean: float | None, half: float | None, digits: int, runs: Iterable[str], bold: bool = False) -> Value:
    """`8.31 ± 0.42`."""
    if mean is None:
        return EMPTY
    text = formatting.format_percent(mean, digits)
    if half is None:
        return Value(text, mean, bold, runs=tuple(runs))
    text += f" ± {formatting.format_percent(half, digits)}"
    return Value(text, mean, bold, runs=tuple(runs), low=mean - half, high=mean + half)


def make_error(row: Row) -> Value:
    """The mean error; bold as the row is."""
    return make_mean(row["mean_error"], row["interval"], row["digits"], row["runs"], row["bold"])


def make_plain_error(row: Row) -> Value:
    return dataclasses.replace(make_error(row), bold=False)


def make_difference(row: Row) -> Value:
    """`+0.84`, its interval as detail; positive when better than the baseline."""
    write = partial(formatting.format_points, decimals=row["digits"])
    runs = (*row["runs"], *row["baseline_runs"])
    return make_estimate(row["difference"], row["ci_low"], row["ci_high"], write, runs)


def _make_seeds(row: Row) -> Value:
    """`5`, or `3/5` when some are missing."""
    missing = "" if row["seeds"] == row["seeds_expected"] else f"/{row['seeds_expected']}"
    return Value(f"{row['seeds']}{missing}", row["seeds"])


def _make_marked_error(row: Row) -> Value:
    """For a terminal, which has no bold."""
    value = make_error(row)
    return dataclasses.replace(value, text=value.text + (" *" if value.bold else "  "))


def _make_gain(row: Row) -> Value:
    """For a terminal, `+0.84 ± 0.53`: the t interval is symmetric."""
    value = make_difference(row)
    if value.number is None or value.high is None:
        return value
    half = formatting.format_percent(value.high - value.number, row["digits"])
    return dataclasses.replace(value, text=f"{value.text} ± {half}")


DATASET: Column[Row] = Column("dataset", "dataset", itemgetter("dataset"))
CELL: tuple[Column[Row], ...] = (  # what names a cell of a dataset
    Column("backbone", "backbone", itemgetter("backbone")),
    Column("variant", "variant", itemgetter("label")),
)
DECODERS: Column[Row] = Column("decoders", "decoders", itemgetter("decoders"), numeric=True, optional=True)
_COLUMNS: tuple[Column[Row], ...] = (
    Column("rank", "#", itemgetter("rank"), numeric=True),
    *CELL,
    Column("error", "error %", make_error, numeric=True),
    Column("difference", "vs baseline, pp", make_difference, numeric=True),
    Column("verdict", "verdict", itemgetter("verdict")),
    Column("seeds", "seeds", _make_seeds, numeric=True),
    DECODERS,
    Column("parameters", "params", itemgetter("parameters"), formatting.format_count, numeric=True),
    Column("macs", "MACs", itemgetter("macs"), formatting.format_count, numeric=True),
    Column("inference_macs", "inference MACs", itemgetter("inference_macs"), formatting.format_count, numeric=True),
    Column("train_seconds", "train s", itemgetter("train_seconds"), formatting.format_seconds, numeric=True),
)


def _fit_terminal() -> list[Column[Row]]:
    """The columns of a line of text: without those that only some readers need, the others narrower."""
    narrower: dict[str, dict[str, Any]] = {
        "error": {"value": _make_marked_error},
        "difference": {"title": "gain, pp", "value": _make_gain},
        "decoders": {"title": "dec."},
        "inference_macs": {"title": "MACs"},
    }
    shown = [column for column in _COLUMNS if column.key != "macs"]
    return [dataclasses.replace(column, **narrower.get(column.key, {})) for column in shown]


# -- tables


def build_tables(findings: StudyResults) -> list[Table]:
    """One per dataset."""
    caption = _write_caption(findings.records)
    tables = []
    for dataset, board in group_rows(findings).items():
        slug, title = formatting.slug_of_name(dataset), f"Leaderboard: {dataset}"
        tables.append(fill_table(f"leaderboard-{slug}", title, caption, _COLUMNS, board, _list_notes(board)))
    return tables


def _write_caption(records: Records) -> str:
    """What the numbers are, in one line."""
    return (
        f"Test {name_metric(records)} error, mean ± half the {formatting.format_level(records.alpha)} interval over "
        "seeds. Against the baseline: paired difference in percentage points, positive is better. Bold: not "
        "distinguishable from the best."
    )


def name_metric(records: Records) -> str:
    """`top-1`."""
    return {"top1": "top-1", "top5": "top-5"}[records.study.metric]


def _write_title(records: Records) -> str:
    """`Leaderboard of STUDY`, with the profile when the study has one."""
    profile = records.study.profile
    return f"Leaderboard of {records.study.study}" + (f" [profile: {profile}]" if profile else "")


def _list_notes(board: Sequence[Row]) -> Iterator[str]:
    """Why rows have no rank, and what a reader must know of others."""
    for row in board:
        sentences = list(row["warnings"])
        if not row["comparable"]:
            sentences.insert(0, row["reason"] or "no test error")
        for sentence in sentences:
            yield f"{row['backbone']} / {row['label']}: {sentence}"


# -- forms


def to_markdown(findings: StudyResults) -> str:
    """The leaderboard as GitHub Markdown, in percent and percentage points."""
    heading = f"# {rendering.escape_markdown(_write_title(findings.records))}\n\n"
    return heading + "\n".join(map(rendering.to_markdown, build_tables(findings))).rstrip() + "\n"


def to_text(findings: StudyResults, width: int = 118) -> str:
    """The leaderboard for a terminal of `width` columns; `*` marks what is bold elsewhere. Long names are shortened."""
    level = formatting.format_level(findings.records.alpha)
    parts = [
        f"{_write_title(findings.records)}\n"
        f"Test {name_metric(findings.records)} error, mean ± half the {level} interval; gain: paired, positive\n"
        "is better than the baseline; MACs: at inference; *: not distinguishable from the best. Intervals are\n"
        "of one comparison; verdicts count how many there are (Holm)."
    ]
    parts[0] += "".join(f"\nnote: {note}" for note in findings.notes)
    # variants give way, then backbones, then variants again
    narrowed = (("variant", 24), ("backbone", 12), ("variant", 10))
    for dataset, board in group_rows(findings).items():
        table = fill_table("leaderboard", dataset, "", _fit_terminal(), board, _list_notes(board))
        parts.append(rendering.to_text(table, width, narrowed))
    return "\n\n".join(parts).rstrip() + "\n"


def join_tables(findings: StudyResults) -> Table:
    """All datasets in one table, with a column that names them: one header for a spreadsheet."""
    columns = [DATASET, *(dataclasses.replace(column, optional=False) for column in _COLUMNS)]
    rows = list(itertools.chain(*group_rows(findings).values()))
    return fill_table("leaderboard", _write_title(findings.records), "", columns, rows)


FORMS: dict[str, Callable[[StudyResults], str]] = {
    "text": to_text,
    "markdown": to_markdown,
    "latex": lambda findings: "\n".join(map(latex.to_latex, build_tables(findings))),
    "csv": lambda findings: rendering.to_csv(join_tables(findings)),
    "json": lambda findings: json.dumps(build_cell_rows(findings), indent=1) + "\n",
    "html": lambda findings: "".join(map(rendering.to_html, build_tables(findings))),
}
