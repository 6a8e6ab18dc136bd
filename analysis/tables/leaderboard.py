"""Per dataset, every cell by mean test error, never without its cost; cells that lack seeds are rows too."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from analysis import formatting
from analysis.records.model import Records
from analysis.tables import EMPTY, Column, Table, Value, latex, rendering, without_empty
from analysis.verdicts.cell_rows import Row, build_cell_rows
from analysis.verdicts.results import StudyResults

COLUMNS = (
    Column("rank", "#", numeric=True),
    Column("backbone", "backbone"),
    Column("variant", "variant"),
    Column("error", "error %", numeric=True),
    Column("difference", "vs baseline, pp", numeric=True),
    Column("verdict", "verdict"),
    Column("seeds", "seeds", numeric=True),
    Column("decoders", "decoders", numeric=True),
    Column("parameters", "params", numeric=True),
    Column("macs", "MACs", numeric=True),
    Column("inference_macs", "inference MACs", numeric=True),
    Column("train_seconds", "train s", numeric=True),
)


def to_json(findings: StudyResults) -> list[Row]:
    """Plain JSON values, as `analysis.verdicts.cell_rows` says."""
    return build_cell_rows(findings)


def group_rows(findings: StudyResults) -> dict[str, list[Row]]:
    """The rows by dataset."""
    found: dict[str, list[Row]] = {}
    for row in build_cell_rows(findings):
        found.setdefault(row["dataset"], []).append(row)
    return found


def build_tables(findings: StudyResults) -> list[Table]:
    """One per dataset."""
    return [_build_table(findings.records, dataset, board) for dataset, board in group_rows(findings).items()]


def _build_table(records: Records, dataset: str, board: Sequence[Row]) -> Table:
    digits = choose_board_decimals(board)
    columns, rows = without_empty(COLUMNS, [_make_values(row, digits) for row in board], frozenset({"decoders"}))
    return Table(
        id=f"leaderboard-{formatting.slug_of_name(dataset)}",
        title=f"Leaderboard: {dataset}",
        caption=write_caption(records),
        columns=columns,
        rows=rows,
        notes=tuple(_write_notes(board)),
    )


def _make_values(row: Row, digits: int) -> tuple[Value, ...]:
    return (
        Value(str(row["rank"] or formatting.NONE), row["rank"]),
        Value(row["backbone"]),
        Value(row["label"]),
        error_value(row, digits),
        difference_value(row, digits),
        Value(row["verdict"]),
        Value(seeds_text(row), row["seeds"]),
        Value(str(row["decoders"] or formatting.NONE), row["decoders"]),
        *(Value(formatting.format_count(row[name]), row[name]) for name in ("parameters", "macs", "inference_macs")),
        Value(formatting.format_seconds(row["train_seconds"]), row["train_seconds"]),
    )


def choose_board_decimals(board: Sequence[Row]) -> int:
    """Decimals of a percent that these rows are worth, by the narrower of their intervals: mostly the difference's."""
    differences = [None if row["ci_low"] is None else (row["ci_high"] - row["ci_low"]) / 2 for row in board]
    narrow = [half for half in differences if half] or [row["interval"] for row in board]
    return formatting.choose_decimals(narrow)


def error_value(row: Row, digits: int = 2) -> Value:
    """`8.31 ± 0.42`; bold as the row is."""
    mean, half = row["mean_error"], row["interval"]
    if mean is None:
        return EMPTY
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return Value(error_text(row, digits), mean, row["bold"], runs=tuple(row["runs"]), low=low, high=high)


def difference_value(row: Row, digits: int = 2) -> Value:
    """`+0.84`, its interval as detail; positive when better than the baseline."""
    if row["difference"] is None:
        return EMPTY
    low, high = row["ci_low"], row["ci_high"]
    between = "" if low is None else f"[{formatting.format_interval(low, high, digits)}]"
    runs = (*row["runs"], *row["baseline_runs"])
    text = formatting.format_points(row["difference"], digits)
    return Value(text, row["difference"], detail=between, runs=runs, low=low, high=high)


def error_text(row: Row, digits: int = 2) -> str:
    """`8.31 ± 0.42`."""
    half = f" ± {formatting.format_percent(row['interval'], digits)}" if row["interval"] is not None else ""
    return formatting.format_percent(row["mean_error"], digits) + half


def seeds_text(row: Row) -> str:
    """`5`, or `3/5` when some are missing."""
    full = row["seeds"] == row["seeds_expected"]
    return str(row["seeds"]) if full else f"{row['seeds']}/{row['seeds_expected']}"


def write_caption(records: Records) -> str:
    """What the numbers are, in one line."""
    return (
        f"Test {metric_name(records)} error, mean ± half the {formatting.format_level(records.alpha)} interval over "
        "seeds. Against the baseline: paired difference in percentage points, positive is better. Bold: not "
        "distinguishable from the best."
    )


def metric_name(records: Records) -> str:
    """`top-1`."""
    return {"top1": "top-1", "top5": "top-5"}[records.study.get("metric", "top1")]


def write_title(records: Records) -> str:
    """`Leaderboard of STUDY`, with the profile when the study has one."""
    profile = records.study.get("profile")
    return f"Leaderboard of {records.study.get('study', '')}" + (f" [profile: {profile}]" if profile else "")


def _write_notes(board: Sequence[Row]) -> list[str]:
    """Why rows have no rank, and what a reader must know of others."""
    told = []
    for row in board:
        said = [] if row["comparable"] else [row["reason"] or "no test error"]
        told += [f"{row['backbone']} / {row['label']}: {sentence}" for sentence in (*said, *row["warnings"])]
    return told


def to_markdown(findings: StudyResults) -> str:
    """The leaderboard as GitHub Markdown, in percent and percentage points."""
    heading = f"# {rendering.escape_markdown(write_title(findings.records))}\n\n"
    return heading + "\n".join(map(rendering.to_markdown, build_tables(findings))).rstrip() + "\n"


_TERMINAL: tuple[tuple[str, Callable[[Row, int], str]], ...] = (
    ("#", lambda row, _: str(row["rank"] or formatting.NONE)),
    ("backbone", lambda row, _: row["backbone"]),
    ("variant", lambda row, _: row["label"]),
    ("error %", lambda row, digits: error_text(row, digits) + (" *" if row["bold"] else "  ")),
    ("gain, pp", lambda row, digits: _gain_text(row, digits)),
    ("verdict", lambda row, _: row["verdict"]),
    ("seeds", lambda row, _: seeds_text(row)),
    ("params", lambda row, _: formatting.format_count(row["parameters"])),
    (
        "MACs",
        lambda row, _: formatting.format_count(row["inference_macs"]),
    ),  # training MACs: in the tables and the JSON
    ("train s", lambda row, _: formatting.format_seconds(row["train_seconds"])),
)
_TO_THE_RIGHT = frozenset({"#", "error %", "gain, pp", "seeds", "params", "MACs", "train s"})


def _gain_text(row: Row, digits: int) -> str:
    """`+0.84 ± 0.53` over the baseline: the t interval is symmetric."""
    if row["difference"] is None or row["ci_high"] is None:
        return formatting.format_points(row["difference"], digits)
    half = formatting.format_percent(row["ci_high"] - row["difference"], digits)
    return f"{formatting.format_points(row['difference'], digits)} ± {half}"


def to_text(findings: StudyResults, width: int = 118) -> str:
    """The leaderboard for a terminal of `width` columns; `*` marks what is bold elsewhere. Long names are shortened."""
    records = findings.records
    lines = [
        write_title(records),
        f"Test {metric_name(records)} error, mean ± half the {formatting.format_level(records.alpha)} interval; gain: "
        "paired, positive",
    ]
    lines += ["is better than the baseline; MACs: at inference; *: not distinguishable from the best. Intervals are"]
    lines += [
        "of one comparison; verdicts count how many there are (Holm).",
        *(f"note: {note}" for note in findings.notes),
        "",
    ]
    for dataset, board in group_rows(findings).items():
        digits = choose_board_decimals(board)
        table = [[name for name, _ in _TERMINAL], *([value(row, digits) for _, value in _TERMINAL] for row in board)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        excess = sum(widths) + 2 * (len(widths) - 1) - width
        for index, least in ((2, 24), (1, 12), (2, 10)):  # variants, then backbones, then both give way
            cut = max(0, min(excess, widths[index] - least))
            widths[index], excess = widths[index] - cut, excess - cut
        rows = ["  ".join(map(_fit_text, line, widths, table[0])).rstrip() for line in table]
        lines += [dataset, rows[0], "-" * max(map(len, rows)), *rows[1:]]
        lines += [f"  {note}" for note in _write_notes(board)] + [""]
    return "\n".join(lines).rstrip() + "\n"


def _fit_text(text: str, width: int, column: str) -> str:
    text = formatting.shorten_text(text, width)
    return text.rjust(width) if column in _TO_THE_RIGHT else text.ljust(width)


FORMS: dict[str, Callable[[StudyResults], str]] = {
    "text": to_text,
    "markdown": to_markdown,
    "latex": lambda findings: "\n".join(map(latex.to_latex, build_tables(findings))),
    "csv": lambda findings: rendering.to_csv(join_tables(findings)),
    "json": lambda findings: json.dumps(to_json(findings), indent=1) + "\n",
    "html": lambda findings: "".join(rendering.to_html(one, links=lambda _: None) for one in build_tables(findings)),
}


def join_tables(findings: StudyResults) -> Table:
    """All datasets in one table, with a column that names them: one header for a spreadsheet."""
    found = group_rows(findings)
    rows = [
        (Value(dataset), *_make_values(row, digits))
        for dataset, board in found.items()
        for digits in [choose_board_decimals(board)]
        for row in board
    ]
    columns = (Column("dataset", "dataset"), *COLUMNS)
    return Table("leaderboard", write_title(findings.records), write_caption(findings.records), columns, tuple(rows))
