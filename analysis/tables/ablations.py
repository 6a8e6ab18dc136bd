"""Ablation grids: a variant with several values of its settings in the study, each value against the baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from operator import itemgetter

from analysis import formatting
from analysis.tables import EMPTY, Column, Table, Value, fill_table
from analysis.tables.leaderboard import DECODERS, make_difference, make_plain_error, set_digits
from analysis.verdicts.cell_rows import Row, build_cell_rows, row_cell
from analysis.verdicts.results import StudyResults
from suite.core.specs import parse_settings

DEFAULT = "default"
Settings = dict[str, str]
Rank = tuple[int, float, str]  # of a setting's value among the others


def build_tables(findings: StudyResults) -> list[Table]:
    """One per dataset, backbone and variant of which several settings were planned, in the order of the plan."""
    rows = {row_cell(row): row for row in build_cell_rows(findings)}
    tables = []
    for group in findings.groups:
        by_variant: dict[str, list[Row]] = {}
        for cell in group.cells:
            if not cell.is_baseline:
                by_variant.setdefault(cell.variant, []).append(rows[cell.cell_id])
        for variant_rows in by_variant.values():
            varied = list_varying([parse_settings(row["settings"]) for row in variant_rows])
            if varied:
                tables.append(_build_table(set_digits(variant_rows), varied, findings))
    return tables


def list_varying(settings: Sequence[Settings]) -> list[str]:
    """The settings with more than one value, the default included; the one with the most values first."""
    counts = {}
    for name in sorted({name for each in settings for name in each}):
        counts[name] = len({each.get(name, DEFAULT) for each in settings})
    varied = [name for name, count in counts.items() if count > 1]
    return sorted(varied, key=lambda name: -counts[name])


def _build_table(rows: Sequence[Row], varied: Sequence[str], findings: StudyResults) -> Table:
    """A grid where two settings vary and more than half of their pairs were planned; else a row per cell."""
    places = {(_rank_value(row, varied[0]), _rank_value(row, varied[-1])): row for row in rows}
    down = {place[0] for place in places}
    across = {place[1] for place in places}
    full = len(varied) == 2 and len(places) == len(rows) and 2 * len(rows) > len(down) * len(across)
    columns = _list_grid_columns(places, varied) if full else _list_columns(rows, varied)
    items = sorted(rows, key=lambda row: [_rank_value(row, name) for name in varied])
    if full:
        items = list({_rank_value(row, varied[0]): row for row in items}.values())
    place = [rows[0][name] for name in ("dataset", "backbone", "variant")]
    fixed = [f"{name}={value}" for name, value in parse_settings(rows[0]["settings"]).items() if name not in varied]
    caption = (
        "Paired difference in test error to the baseline, in percentage points, positive is better, with its "
        f"{formatting.format_level(findings.records.alpha)} interval, and the verdict (Holm over the whole study). "
        "Default: the setting was not given."
    )
    if fixed:
        caption += f" The same in all: {', '.join(fixed)}."
    return fill_table(
        "-".join(["ablation", *map(formatting.slug_of_name, place)]),
        f"Ablation: {place[2]}, {' x '.join(varied)} ({place[0]}, {place[1]})",
        caption,
        columns,
        items,
        [f"{row['label']}: {row['reason']}" for row in rows if not row["comparable"]],
    )


def _list_columns(rows: Sequence[Row], varied: Sequence[str]) -> list[Column[Row]]:
    variant = rows[0]["variant"]
    settings = [Column(f"{variant}.{name}", name, partial(_make_setting, name)) for name in varied]
    return [
        *settings,
        Column("difference", "vs baseline, pp", make_difference, numeric=True),
        Column("error", "error %", make_plain_error, numeric=True),
        dataclasses.replace(DECODERS, title="number of decoders"),  # beside the setting, which says which
        Column("verdict", "verdict", itemgetter("verdict")),
    ]


def _list_grid_columns(places: Mapping[tuple[Rank, Rank], Row], varied: Sequence[str]) -> list[Column[Row]]:
    """The first setting down, the second across: of any row with a value of the first."""
    first, second = varied
    across = {place[1]: _make_setting(second, row).text for place, row in places.items()}
    variant = next(iter(places.values()))["variant"]
    columns: list[Column[Row]] = [Column(f"{variant}.{first}", f"{first} \\ {second}", partial(_make_setting, first))]
    for rank in sorted(across):
        judge = partial(_make_judged, places, first, rank)
        columns.append(Column(f"{second}={across[rank]}", across[rank], judge, numeric=True))
    return columns


def _make_judged(places: Mapping[tuple[Rank, Rank], Row], first: str, across: Rank, down: Row) -> Value:
    """The difference with its interval and verdict, of the row at `across` in the line of `down`."""
    row = places.get((_rank_value(down, first), across))
    if row is None:
        return EMPTY
    value = make_difference(row)
    return dataclasses.replace(value, detail=f"{value.detail} {row['verdict']}".strip())


def _make_setting(name: str, row: Row) -> Value:
    kind, number, _ = _rank_value(row, name)
    value = parse_settings(row["settings"]).get(name, DEFAULT)
    return Value(value, number if kind == 1 else None)


def _rank_value(row: Row, name: str) -> Rank:
    """The default first, then numbers by size, then text."""
    value = parse_settings(row["settings"]).get(name, DEFAULT)
    if value == DEFAULT:
        return 0, 0.0, ""
    try:
        return 1, float(value), ""
    except ValueError:
        return 2, 0.0, value
