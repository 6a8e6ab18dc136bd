"""Published numbers: every table of the papers, as printed, from `analysis/published/*.yaml`.

One file per paper; docs/published-numbers.md explains the layout. A wrong file is refused with a one-sentence
`ValueError` that starts with the place: `sire-table-4, row 2: ...`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

import yaml

from suite.core.specs import BASELINE, Cell, Component, freeze_settings

Kind = Literal["results", "figure", "architecture", "confusion_matrix"]
Unit = Literal["percent", "fraction"]
KINDS: tuple[Kind, ...] = get_args(Kind)
UNITS: tuple[Unit, ...] = get_args(Unit)
METRICS = ("top1_error", "top5_error", "accuracy", "error_reduction", "relative_error_reduction")

_MINUTES = {"''": 1 / 60, "'": 1.0, "h": 60.0}  # the units that the papers print


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A paper. `year` is None where it prints none; `remarks` hold for all its tables."""

    name: str
    title: str
    authors: tuple[str, ...]
    year: int | None
    where: str
    remarks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One model of a table.

    Attributes:
        model: as printed.
        row: the printed row's label; differs from `model` where the models are columns.
        dataset, backbone, variant: what it is here, settings without our defaults; None: nothing here corresponds.
        recipe: the training protocol here that is nearest.
        values: metric -> number as printed, in the table's unit; a metric that isn't printed is missing.
        weight: the printed lambda.
        batch: the printed batch size, images.
        parameters_printed, time_printed: as printed (`14.0M`, `≈124'`), else empty.
    """

    model: str
    row: str
    dataset: Component | None
    backbone: Component | None
    variant: Component | None
    recipe: Component | None
    values: Mapping[str, float]
    weight: float | None
    batch: int | None
    parameters_printed: str
    time_printed: str
    remarks: tuple[str, ...]

    @property
    def cell(self) -> Cell | None:
        """The cell that reproduces the row; None for what isn't implemented here."""
        if self.dataset is None or self.backbone is None or self.variant is None:
            return None
        return Cell(self.dataset, self.backbone, self.variant)

    @property
    def training_minutes(self) -> float | None:
        """The printed training time in minutes; None where none is printed."""
        return _parse_minutes(self.time_printed) if self.time_printed else None


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """A table, or a figure that stands in for one.

    Attributes:
        id: paper and table: `sire-table-4`.
        place: where the paper prints it: `Table 4`.
        protocol: data, training, and what was measured.
        metrics: those that its rows may have.
        unit: of the values, as printed; None where there are none.
        not_comparable: why rows may not be compared with each other; empty where they may.
        remarks: what contradicts itself, the text or other tables.
        classes, matrix: of a confusion matrix, images; one row per true class.
        columns, lines: of an architecture, text as printed.
        reference: the variant whose row the others' gains are over.
    """

    id: str
    paper: Publication
    kind: Kind
    place: str
    title: str
    protocol: str
    metrics: tuple[str, ...]
    unit: Unit | None
    not_comparable: str
    remarks: tuple[str, ...]
    rows: tuple[PublishedRow, ...]
    classes: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]
    columns: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    reference: Component

    def cite_row(self, row: PublishedRow) -> str:
        """`sire, Table 4, row SIRe-VGG16`."""
        return f"{self.paper.name}, {self.place}, row {row.row}"

    def read_percent(self, row: PublishedRow, metric: str) -> float | None:
        """A value in percent, whatever the paper's unit; None where it isn't printed."""
        value = row.values.get(metric)
        if value is None or self.unit == "percent":
            return value
        return round(100 * value, 10)  # 0.9341 is 93.41, not 93.41000000000001


def list_tables() -> list[str]:
    """The ids of all tables, paper by paper, in each paper's own order."""
    return list(_read_library())


def load_table(table_id: str) -> PublishedTable:
    """The table of that id.

    Raises:
        LookupError: there is none; the sentence names the nearest.
        ValueError: a file of published numbers is wrong.
    """
    library = _read_library()
    if table_id not in library:
        raise LookupError(f"No published table {table_id!r}{_find_nearest(table_id, library)}.")
    return library[table_id]


@cache
def _read_library() -> dict[str, PublishedTable]:
    files = (item for item in (resources.files("analysis") / "published").iterdir() if item.name.endswith(".yaml"))
    found: dict[str, PublishedTable] = {}
    for item in sorted(files, key=lambda item: item.name):
        name = item.name.removesuffix(".yaml")
        found.update((table.id, table) for table in parse_tables(item.read_text(encoding="utf-8"), name))
    return found


def parse_tables(text: str, name: str) -> list[PublishedTable]:
    """The tables of one file; `name` is the paper's, with which every id starts.

    Raises:
        ValueError: the file is wrong; one sentence that starts with the place.
    """
    try:
        data = yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        raise ValueError(f"{name}: is not YAML whose keys stand once: {' '.join(str(error).split())}") from error
    top = _Part(data, name, "paper", "tables")
    paper = _parse_publication(top.get_value("paper", dict), name)
    found = [
        _parse_table(item, f"{name}, table {number}", paper)
        for number, item in enumerate(top.get_value("tables", list), 1)
    ]
    ids = [table.id for table in found]
    for one in ids:
        if ids.count(one) > 1:
            raise ValueError(f"{name}: the id {one!r} stands {ids.count(one)} times; give each table its own.")
    return found


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key of a mapping stands once: a second `top1_error` would silently replace the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key, (where, _) in zip(keys, node.value, strict=True):
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", where.start_mark)
        return super().construct_mapping(node, deep)


_NAMES: dict[type, str] = {str: "text", int: "a whole number", float: "a number", dict: "a mapping", list: "a list"}


def _is_a(kind: type, value: Any) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind) and not isinstance(value, bool)


class _Part:
    """A mapping of the file and its place, for errors that name it."""

    def __init__(self, data: Any, place: str, *known: str) -> None:
        if not isinstance(data, dict):
            raise ValueError(f"{place}: must be a mapping, not {data!r}.")
        for key in data:
            if known and key not in known:
                raise ValueError(f"{place}: unknown key {key!r}{_find_nearest(str(key), known)}.")
        self.data: dict[str, Any] = data
        self.place = place

    def get_value(self, key: str, kind: type, default: Any = ..., choices: Iterable[str] = ()) -> Any:
        """The value, of that type and among `choices`; an absent or empty one is `default`, and refused without one."""
        value = self.data.get(key)
        if value is None:
            if default is ...:
                raise ValueError(f"{self.place}: {key} is missing.")
            return default
        if not _is_a(kind, value):
            raise ValueError(f"{self.place}: {key} must be {_NAMES[kind]}, not {value!r}.")
        if choices and value not in choices:
            raise ValueError(f"{self.place}: {key} must be one of {', '.join(choices)}, not {value!r}.")
        return value

    def get_several(self, key: str, kind: type) -> tuple[Any, ...]:
        return _check_each(self.get_value(key, list, []), kind, f"{self.place}: {key}")

    def get_grid(self, key: str, kind: type) -> tuple[tuple[Any, ...], ...]:
        return tuple(_check_each(line, kind, f"{self.place}: {key}") for line in self.get_several(key, list))

    def get_component(self, key: str, settings: Mapping[str, Any] | None = None) -> Component | None:
        """A bare name, or a mapping of `name` and settings."""
        value = self.data.get(key)
        whole = {"name": value} if isinstance(value, str) else value
        if whole is None and not settings:
            return None
        if not isinstance(whole, dict) or not isinstance(whole.get("name"), str):
            raise ValueError(f"{self.place}: {key} must be a name, or a mapping of name and settings, not {value!r}.")
        own = {name: one for name, one in whole.items() if name != "name"}
        return Component(whole["name"], freeze_settings({**own, **(settings or {})}))


def _check_each(values: list[Any], kind: type, place: str) -> tuple[Any, ...]:
    for value in values:
        if not _is_a(kind, value):
            raise ValueError(f"{place} must hold {_NAMES[kind]} only, not {value!r}.")
    return tuple(values)


# What a file may say: the fields above; `values` stand under their metrics, the variant's settings under `settings`.
_ROW = ("settings", "lambda", *(one.name for one in fields(PublishedRow) if one.name not in {"values", "weight"}))
_TABLE = ("defaults", *(one.name for one in fields(PublishedTable) if one.name != "paper"))


def _parse_publication(data: Any, name: str) -> Publication:
    part = _Part(data, f"{name}, paper", "title", "authors", "year", "where", "remarks")
    return Publication(
        name=name,
        title=part.get_value("title", str),
        authors=part.get_several("authors", str),
        year=part.get_value("year", int, None),
        where=part.get_value("where", str),
        remarks=part.get_several("remarks", str),
    )


def _parse_table(data: Any, place: str, paper: Publication) -> PublishedTable:
    table_id = _Part(data, place).get_value("id", str)
    if not re.fullmatch(rf"{re.escape(paper.name)}-[a-z]+-\w+", table_id):
        raise ValueError(f"{place}: id must be {paper.name}-table-N or the like, not {table_id!r}.")
    part = _Part(data, table_id, *_TABLE)
    metrics = part.get_several("metrics", str)
    for metric in metrics:
        if metric not in METRICS:
            raise ValueError(f"{table_id}: unknown metric {metric!r}{_find_nearest(metric, METRICS)}.")
    unit = part.get_value("unit", str, None, UNITS)
    if metrics and unit is None:
        raise ValueError(f"{table_id}: unit is missing; its metrics need one of {', '.join(UNITS)}.")
    table = PublishedTable(
        id=table_id,
        paper=paper,
        kind=part.get_value("kind", str, "results", KINDS),
        place=part.get_value("place", str),
        title=part.get_value("title", str),
        protocol=part.get_value("protocol", str),
        metrics=metrics,
        unit=unit,
        not_comparable=part.get_value("not_comparable", str, ""),
        remarks=part.get_several("remarks", str),
        rows=tuple(_parse_rows(part, metrics, unit)),
        classes=part.get_several("classes", str),
        matrix=part.get_grid("matrix", int),
        columns=part.get_several("columns", str),
        lines=part.get_grid("lines", str),
        reference=_parse_reference(part),
    )
    _check_shape(table)
    return table


def _parse_reference(part: _Part) -> Component:
    given = _Part(
        part.get_value("reference", dict, {"variant": BASELINE}), f"{part.place}, reference", "variant", "settings"
    )
    given.get_value("variant", str)
    reference = given.get_component("variant", given.get_value("settings", dict, {}))
    assert reference is not None
    return reference


def _parse_rows(part: _Part, metrics: tuple[str, ...], unit: Unit | None) -> Iterator[PublishedRow]:
    defaults = part.get_value("defaults", dict, {})
    for number, data in enumerate(part.get_several("rows", dict), 1):
        row = _Part({**defaults, **data}, f"{part.place}, row {number}", *_ROW, *metrics)
        model = row.get_value("model", str)
        time = row.get_value("time_printed", str, "")
        if time:
            _parse_minutes(time, row.place)
        yield PublishedRow(
            model=model,
            row=row.get_value("row", str, model),
            dataset=row.get_component("dataset"),
            backbone=row.get_component("backbone"),
            variant=row.get_component("variant", row.get_value("settings", dict, {})),
            recipe=row.get_component("recipe"),
            values=_parse_values(row, metrics, 100 if unit == "percent" else 1),
            weight=row.get_value("lambda", float, None),
            batch=row.get_value("batch", int, None),
            parameters_printed=row.get_value("parameters_printed", str, ""),
            time_printed=time,
            remarks=row.get_several("remarks", str),
        )


def _parse_values(row: _Part, metrics: tuple[str, ...], most: int) -> dict[str, float]:
    values = {metric: row.get_value(metric, float, None) for metric in metrics}
    printed = {metric: float(value) for metric, value in values.items() if value is not None}
    for metric, value in printed.items():
        if not 0 <= value <= most:
            raise ValueError(f"{row.place}: {metric} must be within 0 .. {most}, the table's unit, not {value:g}.")
    return printed


def _check_shape(table: PublishedTable) -> None:
    size = len(table.classes)
    square = len(table.matrix) == size and all(len(row) == size for row in table.matrix)
    if not square or (table.kind == "confusion_matrix") != bool(table.matrix):
        raise ValueError(
            f"{table.id}: a confusion_matrix, and nothing else, has classes and a row and column for each."
        )
    full = all(len(line) == len(table.columns) for line in table.lines)
    if not full or (table.kind == "architecture") != bool(table.lines):
        raise ValueError(
            f"{table.id}: an architecture, and nothing else, has columns, and lines with an entry for each."
        )


def _parse_minutes(printed: str, place: str = "time") -> float:
    match = re.fullmatch(r"≈?(\d+(?:\.\d+)?)(''|'|h)", printed)
    if not match:
        raise ValueError(f"{place}: time_printed must be like 124', 10'' or 16h, not {printed!r}.")
    return float(match[1]) * _MINUTES[match[2]]


def _find_nearest(name: str, known: Iterable[str]) -> str:
    options = list(known)
    near = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(options)}"
