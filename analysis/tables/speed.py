"""How soon every cell reached an error, in epochs and seconds of training, and what it saved against its baseline."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from analysis import formatting
from analysis.records.model import Records
from analysis.tables import EMPTY, Column, Table, Value, fill_table, latex, rendering
from analysis.tables.leaderboard import CELL, DATASET, DECODERS, name_metric
from analysis.verdicts.cell_rows import Row, build_cell_rows, row_cell
from analysis.verdicts.results import StudyResults
from analysis.verdicts.speed import Saving, Speed, measure_speeds

_WIDTH = 118  # columns of a terminal


def build_speed(findings: StudyResults, target: float | None = None) -> list[Table]:
    """One table of all cells, in the order of the plan; nothing where no trial has a curve.

    Args:
        target: validation error (a fraction) for all groups; None: what each group's baseline gets to.
    """
    speeds = measure_speeds(findings, target)
    if not any(speed.arrivals for speed in speeds):
        return []
    rows = {row_cell(row): row for row in build_cell_rows(findings)}
    items = [rows[speed.cell_id] | {"speed": speed} for speed in speeds]
    caption = _write_caption(findings.records, target is not None)
    return [fill_table("speed", "Epochs to an error", caption, _COLUMNS, items, _list_notes(items))]


def _write_caption(records: Records, is_named: bool) -> str:
    chosen = "the one that was asked for"
    if not is_named:
        rope = formatting.format_size(records.rope)
        chosen = f"the median over the baseline's seeds of the lowest one, and {rope} pp (the ROPE) more"
    return (
        f"Training until the {name_metric(records)} validation error is first at the target or below: {chosen}. Epochs "
        "and train s (training steps only): of the median seed. Saved: mean paired difference, baseline less variant, "
        f"with its {formatting.format_level(records.alpha)} interval, unadjusted; positive is sooner. A seed that "
        "never got there counts as its whole training. Settled: the median epoch from which the error stays within the "
        "ROPE of the last one's."
    )


# -- values


def _make_reached(row: Row) -> Value:
    """`3/5`."""
    speed: Speed = row["speed"]
    if not speed.arrivals:
        return EMPTY
    return Value(f"{speed.reached}/{len(speed.arrivals)}", speed.reached, runs=tuple(row["runs"]))


def _make_epochs(row: Row) -> Value:
    """The median; `> 50` where half of the seeds or more never got there in 50 epochs."""
    speed: Speed = row["speed"]
    if not speed.arrivals:
        return EMPTY
    if speed.median_epochs is None:
        longest = max(arrival.epochs for arrival in speed.arrivals.values())
        return Value(f"> {longest}")
    return Value(f"{speed.median_epochs:g}", speed.median_epochs)


def _make_saving(name: str, decimals: int, row: Row) -> Value:
    saving: Saving | None = getattr(row["speed"], name)
    if saving is None:
        return EMPTY
    write = f"{{:+.{decimals}f}}".format
    detail = ""
    if saving.low is not None and saving.high is not None:
        detail = f"[{write(saving.low)} .. {write(saving.high)}]"
    runs = (*row["runs"], *row["baseline_runs"])
    return Value(write(saving.mean), saving.mean, detail=detail, runs=runs, low=saving.low, high=saving.high)


_COLUMNS: tuple[Column[Row], ...] = (
    DATASET,
    *CELL,
    DECODERS,
    Column("target", "target, %", lambda row: row["speed"].target, formatting.format_percent, numeric=True),
    Column("reached", "reached by", _make_reached, numeric=True),
    Column("epochs", "epochs", _make_epochs, numeric=True),
    Column("saved_epochs", "epochs saved", partial(_make_saving, "saved_epochs", 1), numeric=True),
    Column("seconds", "train s", lambda row: row["speed"].median_seconds, formatting.format_seconds, numeric=True),
    Column("saved_seconds", "train s saved", partial(_make_saving, "saved_seconds", 1), numeric=True),
    Column("settled", "settled", lambda row: row["speed"].median_settled, "{:g}".format, numeric=True),
)


def _list_notes(items: Sequence[Row]) -> Iterator[str]:
    """Why a cell isn't compared, or not in seconds."""
    for row in items:
        speed: Speed = row["speed"]
        sentences = []
        if row["reason"] and speed.saved_epochs is None and row["verdict"] != "SINGLE RUN":
            sentences.append(row["reason"])
        if speed.target is None:
            sentences.append("no completed baseline to set a target; name one")
        if speed.without_curve:
            sentences.append(f"no validation curve of seed {formatting.format_ranges(speed.without_curve)}")
        if speed.several_devices:
            sentences.append("run on other devices than its baseline, or on several, so its seconds don't compare")
        for sentence in (*sentences, *row["warnings"]):
            yield f"{row['dataset']} / {row['backbone']} / {row['label']}: {sentence}"


# -- forms


def to_text(table: Table) -> str:
    """For a terminal: shorter titles, and intervals in line."""
    columns = []
    for column in table.columns:
        columns.append(dataclasses.replace(column, title=_SHORTER.get(column.key, column.title)))
    rows = tuple(tuple(map(_write_in_line, row)) for row in table.rows)
    narrowed = (("variant", 24), ("backbone", 12), ("dataset", 12), ("variant", 10))
    body = rendering.to_text(dataclasses.replace(table, columns=tuple(columns), rows=rows), _WIDTH, narrowed)
    title, _, rest = body.partition("\n")
    return "\n".join([title, *textwrap.wrap(table.caption, _WIDTH, break_on_hyphens=False), rest]) + "\n"


_SHORTER = {"decoders": "dec.", "target": "target %", "reached": "reached", "saved_seconds": "s saved"}


def _write_in_line(value: Value) -> Value:
    """`+2.6 ± 1.4`: the t interval is symmetric."""
    if value.low is None or value.high is None:
        return value
    return dataclasses.replace(value, text=f"{value.text} ± {(value.high - value.low) / 2:.1f}")


FORMS: dict[str, Callable[[Table], str]] = {
    "text": to_text,
    "markdown": rendering.to_markdown,
    "latex": latex.to_latex,
    "csv": rendering.to_csv,
    "json": rendering.to_json,
    "html": rendering.to_html,
}
