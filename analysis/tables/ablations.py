"""Ablation grids: a variant with several values of its settings in the study, each value against the baseline."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from analysis import formatting
from analysis.tables import EMPTY, Column, Table, Value
from analysis.tables.leaderboard import choose_board_decimals, difference_value, error_value
from analysis.verdicts.cell_rows import Row, build_cell_rows
from analysis.verdicts.results import StudyResults

DEFAULT = "default"
Settings = dict[str, str]


def build_tables(findings: StudyResults) -> list[Table]:
    """One per dataset, backbone and variant of which several settings were planned, in the order of the plan."""
    rows = {
        (row["dataset"], row["backbone"], row["variant"], row["settings"]): row for row in build_cell_rows(findings)
    }
    found = []
    for group in findings.groups:
        for variant in dict.fromkeys(cell.variant for cell in group.cells if not cell.is_baseline):
            own = [rows[group.dataset, group.backbone, variant, cell.settings]
                   for cell in group.cells if cell.variant == variant]  # fmt: skip
            varied = list_varying([parse_settings(row["settings"]) for row in own])
            if varied:
                found.append(_build_table(own, varied, findings))
    return found


def parse_settings(settings: str) -> Settings:
    """`decoders=1+4, lambda=0.1` by name. A part without `=` belongs to the value before it."""
    parts: Settings = {}
    last = ""
    for part in settings.split(", ") if settings else ():
        name, equals, value = part.partition("=")
        if equals:
            last = name
            parts[name] = value
        elif last:
            parts[last] += f", {part}"
    return parts


def list_varying(settings: Sequence[Settings]) -> list[str]:
    """The settings with more than one value, the default included; the one with the most values first."""
    names = sorted({name for one in settings for name in one})
    counts = {name: len({one.get(name, DEFAULT) for one in settings}) for name in names}
    return sorted((name for name in names if counts[name] > 1), key=lambda name: (-counts[name], name))


def value_order(value: str) -> tuple[int, float, str]:
    """The default first, then numbers by size, then text."""
    if value == DEFAULT:
        return 0, 0.0, ""
    try:
        return 1, float(value), ""
    except ValueError:
        return 2, 0.0, value


def _build_table(own: Sequence[Row], varied: Sequence[str], findings: StudyResults) -> Table:
    """A grid where two settings vary and more than half of their pairs were planned; else a row per cell."""
    places = {(order_of(row, varied[0]), order_of(row, varied[-1])) for row in own}
    down, across = (sorted({place[axis] for place in places}) for axis in (0, 1))
    full = len(varied) == 2 and len(places) == len(own) and 2 * len(own) > len(down) * len(across)
    columns, rows = _build_grid(own, varied) if full else _build_list(own, varied)
    dataset, backbone, variant = own[0]["dataset"], own[0]["backbone"], own[0]["variant"]
    fixed = _describe_fixed(own, varied)
    return Table(
        id=f"ablation-{formatting.slug_of_name(dataset)}-{formatting.slug_of_name(backbone)}-{formatting.slug_of_name(variant)}",
        title=f"Ablation: {variant}, {' x '.join(varied)} ({dataset}, {backbone})",
        caption=(
            "Paired difference in test error to the baseline, in percentage points, positive is better, with its "
            f"{formatting.format_level(findings.records.alpha)} interval, and the verdict (Holm over the "
            "whole study). Default: "
            f"the setting was not given.{f' The same in all: {fixed}.' if fixed else ''}"
        ),
        columns=columns,
        rows=rows,
        notes=tuple(f"{row['label']}: {row['reason']}" for row in own if not row["comparable"]),
    )


Cells = tuple[tuple[Column, ...], tuple[tuple[Value, ...], ...]]


def _build_list(own: Sequence[Row], varied: Sequence[str]) -> Cells:
    digits = choose_board_decimals(own)
    variant = own[0]["variant"]
    columns = (
        *(Column(f"{variant}.{name}", name) for name in varied),
        Column("difference", "vs baseline, pp", numeric=True),
        Column("error", "error %", numeric=True),
        Column("verdict", "verdict"),
    )
    rows = tuple(
        (
            *(_make_setting_value(row, name) for name in varied),
            difference_value(row, digits),
            error_value(row | {"bold": False}, digits),
            Value(row["verdict"]),
        )
        for row in sorted(own, key=lambda row: [order_of(row, name) for name in varied])
    )
    return columns, rows


def _build_grid(own: Sequence[Row], varied: Sequence[str]) -> Cells:
    """The first setting down, the second across; each difference with its interval and verdict."""
    digits, (first, second) = choose_board_decimals(own), varied
    placed = {(order_of(row, first), order_of(row, second)): row for row in own}
    down, across = ({place[axis]: placed[place] for place in sorted(placed)} for axis in (0, 1))
    columns = [Column(f"{own[0]['variant']}.{first}", f"{first} \\ {second}")]
    for value in sorted(across):
        shown = _make_setting_value(across[value], second).text
        columns.append(Column(f"{second}={shown}", shown, numeric=True))
    rows = tuple(
        (
            _make_setting_value(row, first),
            *(_make_judged_value(placed.get((value, other)), digits) for other in sorted(across)),
        )
        for value, row in down.items()
    )
    return tuple(columns), rows


def _make_judged_value(row: Row | None, digits: int) -> Value:
    if row is None:
        return EMPTY
    value = difference_value(row, digits)
    return dataclasses.replace(value, detail=f"{value.detail} {row['verdict']}".strip())


def _make_setting_value(row: Row, name: str) -> Value:
    value = parse_settings(row["settings"]).get(name, DEFAULT)
    kind, number, _ = value_order(value)
    return Value(value, number if kind == 1 else None)


def order_of(row: Row, name: str) -> tuple[int, float, str]:
    return value_order(parse_settings(row["settings"]).get(name, DEFAULT))


def _describe_fixed(own: Sequence[Row], varied: Iterable[str]) -> str:
    """Settings that every cell of the grid has."""
    shared: Mapping[str, str] = parse_settings(own[0]["settings"])
    left_out = set(varied)
    return ", ".join(f"{name}={value}" for name, value in shared.items() if name not in left_out)
