"""Published numbers: every table and figure of the papers, as printed, from `analysis/published/*.yaml`.

One file per paper; docs/published-numbers.md explains the layout. A wrong file is refused with a one-sentence
`ValueError` that starts with the place: `sire-table-4, row 2: ...`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from suite.core.errors import did_you_mean
from suite.core.specs import BASELINE, Cell, Component, freeze_settings

Metric = Literal["top1_error", "top5_error", "accuracy", "error_reduction", "relative_error_reduction"]

_TIME = r"≈?(\d+(?:\.\d+)?)(''|'|h)"
_MINUTES = {"''": 1 / 60, "'": 1.0, "h": 60.0}  # the units that the papers print


class _Part(BaseModel):
    """A mapping of a file. The validation's context holds the fields that the loader adds: `name`, `paper`."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, data: Any, info: ValidationInfo) -> Any:
        """Refuse a key that is no field; one with an empty value (`year:`) counts as left out."""
        if not isinstance(data, dict):
            return data
        added = {name: value for name, value in (info.context or {}).items() if name in cls.model_fields}
        known = [field.alias or name for name, field in cls.model_fields.items() if name not in added]
        for key in data:
            if key not in known:
                raise ValueError(f"unknown key {key!r}{did_you_mean(str(key), known)}")
        return {key: value for key, value in data.items() if value is not None} | added


class Publication(_Part):
    """A paper. `year` is None where it prints none; `remarks` hold for all its tables.

    `prints` names every table and figure of it, each of which has an entry of that `place`.
    """

    name: str
    title: str
    authors: tuple[str, ...] = ()
    year: StrictInt | None = None
    where: str
    prints: tuple[str, ...] = ()  # `Table 1`, `Fig. 3(a)`
    remarks: tuple[str, ...] = ()


class PublishedRow(_Part):
    """One model of a table; `dataset`, `backbone` and `variant` are what it is here, None where nothing corresponds."""

    model: str  # as printed
    row: str = ""  # the printed row's label; differs from `model` where the models are columns
    dataset: Component | None = None
    backbone: Component | None = None
    settings: dict[str, Any] = {}  # the variant's, without our defaults
    variant: Component | None = None  # with `settings`
    recipe: Component | None = None  # the training protocol here that is nearest
    top1_error: StrictFloat | None = None
    top5_error: StrictFloat | None = None
    accuracy: StrictFloat | None = None
    error_reduction: StrictFloat | None = None
    relative_error_reduction: StrictFloat | None = None
    printed: str = ""  # a figure or claim that is none of the metrics, in the paper's words: `≈132 % more parameters`
    weight: StrictFloat | None = Field(None, alias="lambda")  # as printed
    batch: StrictInt | None = None  # as printed, images
    mean: StrictBool = False  # whether it is the mean of the table's other rows of its variant
    ensemble: StrictBool = False  # whether the printed figures are of an ensemble of networks
    collapsed: StrictBool = False  # whether the printed figures are of a run that collapsed
    parameters_printed: str = ""  # `14.0M`
    time_printed: str = Field("", pattern=f"^$|^{_TIME}$")  # `≈124'`
    remarks: tuple[str, ...] = ()

    @field_validator("row")
    @classmethod
    def _default_row(cls, row: str, info: ValidationInfo) -> str:
        return row or info.data.get("model", "")

    @field_validator("dataset", "backbone", "variant", "recipe", mode="before")
    @classmethod
    def _read_component(cls, given: Any, info: ValidationInfo) -> Component | None:
        """A bare name, or a mapping of `name` and settings; a variant's may stand in the row's `settings` too."""
        added = info.data.get("settings", {}) if info.field_name == "variant" else {}
        if given is None and not added:
            return None
        whole = {"name": given} if isinstance(given, str) else given
        if not isinstance(whole, dict) or not isinstance(whole.get("name"), str):
            raise ValueError(f"must be a name, or a mapping of name and settings, not {given!r}")
        own = {key: value for key, value in whole.items() if key != "name"}
        return Component(whole["name"], freeze_settings({**own, **added}))

    @property
    def values(self) -> Mapping[str, float]:
        """Metric -> number as printed, in the table's unit; a metric that isn't printed is missing."""
        return self.model_dump(include=set(get_args(Metric)), exclude_none=True)

    @property
    def cell(self) -> Cell | None:
        """The cell that reproduces the row; None for what isn't implemented here."""
        if self.dataset is None or self.backbone is None or self.variant is None:
            return None
        return Cell(self.dataset, self.backbone, self.variant)

    @property
    def training_minutes(self) -> float | None:
        """The printed training time in minutes; None where none is printed."""
        match = re.fullmatch(_TIME, self.time_printed)
        return float(match[1]) * _MINUTES[match[2]] if match else None


class _Reference(_Part):
    """The variant whose row the others' gains are over."""

    variant: str
    settings: dict[str, Any] = {}


class PublishedTable(_Part):
    """A table, or a figure that stands in for one."""

    id: str  # paper and table: `sire-table-4`
    paper: Publication
    kind: Literal["results", "figure", "text", "architecture", "confusion_matrix"] = "results"
    place: str  # where the paper prints it: `Table 4`
    title: str
    protocol: str  # data, training, and what was measured
    here: str = ""  # of a figure or text: what of ours corresponds to it, or that nothing does
    metrics: tuple[Metric, ...] = ()  # those that its rows may have
    unit: Literal["percent", "fraction"] | None = None  # of the values, as printed; None where there are none
    not_comparable: str = ""  # why rows may not be compared with each other
    remarks: tuple[str, ...] = ()  # what contradicts itself, the text or other tables
    defaults: dict[str, Any] = {}  # for all rows; a row's own value wins
    rows: tuple[PublishedRow, ...] = ()
    classes: tuple[str, ...] = ()  # of a confusion matrix
    matrix: tuple[tuple[StrictInt, ...], ...] = ()  # images; one row per true class
    columns: tuple[str, ...] = ()  # of an architecture
    lines: tuple[tuple[str, ...], ...] = ()  # text as printed
    over: _Reference = Field(_Reference(variant=BASELINE), alias="reference")

    @field_validator("rows", mode="before")
    @classmethod
    def _fill_rows(cls, rows: Any, info: ValidationInfo) -> Any:
        defaults = info.data.get("defaults", {})
        return [_fill_row(row, defaults) for row in rows] if isinstance(rows, list) else rows

    @model_validator(mode="after")
    def _check_table(self) -> PublishedTable:
        if self.metrics and self.unit is None:
            raise ValueError("unit is missing; its metrics need percent or fraction")
        most = 100 if self.unit == "percent" else 1
        values = [(number, *item) for number, row in enumerate(self.rows, 1) for item in row.values.items()]
        for number, metric, value in values:
            if metric not in self.metrics:
                raise ValueError(f"{metric} of row {number} is none of the table's metrics; add it, or leave it out")
            if not 0 <= value <= most:
                raise ValueError(f"{metric} of row {number} must be within 0 .. {most} by its unit, not {value:g}")
        size = len(self.classes)
        square = [len(line) for line in self.matrix] == [size] * size
        if not square or (self.kind == "confusion_matrix") != bool(self.matrix):
            raise ValueError("a confusion_matrix, and nothing else, has classes and a row and column for each")
        if self.kind in {"figure", "text"} and not self.here:
            raise ValueError("here is missing; say what of ours corresponds to the figure, or that nothing does")
        full = all(len(line) == len(self.columns) for line in self.lines)
        if not full or (self.kind == "architecture") != bool(self.lines):
            raise ValueError("an architecture, and nothing else, has columns, and lines with an entry for each")
        return self

    @property
    def reference(self) -> Component:
        """The variant whose row the others' gains are over."""
        return Component(self.over.variant, freeze_settings(self.over.settings))

    def cite_row(self, row: PublishedRow) -> str:
        """`sire, Table 4, row SIRe-VGG16`."""
        return f"{self.paper.name}, {self.place}, row {row.row}"

    def read_percent(self, row: PublishedRow, metric: str) -> float | None:
        """A value in percent, whatever the paper's unit; None where it isn't printed."""
        value = row.values.get(metric)
        if value is None or self.unit == "percent":
            return value
        return round(100 * value, 10)  # 0.9341 is 93.41, not 93.41000000000001


def _fill_row(row: Any, defaults: Mapping[str, Any]) -> Any:
    return {**defaults, **row} if isinstance(row, dict) else row


class _File(_Part):
    paper: dict[Any, Any]
    tables: tuple[dict[Any, Any], ...]


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
        raise LookupError(f"No published table {table_id!r}{did_you_mean(table_id, library)}.")
    return library[table_id]


@cache
def _read_library() -> dict[str, PublishedTable]:
    folder = resources.files("analysis") / "published"
    found: dict[str, PublishedTable] = {}
    for file in sorted(item.name for item in folder.iterdir() if item.name.endswith(".yaml")):
        tables = parse_tables((folder / file).read_text(encoding="utf-8"), file.removesuffix(".yaml"))
        found.update((table.id, table) for table in tables)
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
    file = _parse_part(_File, data, name)
    paper = _parse_part(Publication, file.paper, f"{name}, paper", name=name)
    found: dict[str, PublishedTable] = {}
    for number, item in enumerate(file.tables, 1):
        table_id = str(item.get("id"))
        if not re.fullmatch(rf"{re.escape(name)}-[a-z]+-\w+", table_id):
            raise ValueError(f"{name}, table {number}: id must be {name}-table-N or the like, not {item.get('id')!r}.")
        if table_id in found:
            raise ValueError(f"{name}: the id {table_id!r} stands twice; give each table its own.")
        found[table_id] = _parse_part(PublishedTable, item, table_id, paper=paper)
    places = {table.place for table in found.values()}
    for place in paper.prints:
        if place not in places:
            raise ValueError(f"{name}: the paper prints {place}, and no table here has that place; add it.")
    return list(found.values())


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key of a mapping stands once: a second `top1_error` would silently replace the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key, (where, _) in zip(keys, node.value, strict=True):
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", where.start_mark)
        return super().construct_mapping(node, deep)


_Model = TypeVar("_Model", bound=_Part)
_PHRASES = {  # where pydantic's own sentence speaks of Python
    "missing": "is missing",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "string_pattern_mismatch": "must be like 124', 10'' or 16h",
}


def _parse_part(model: type[_Model], data: Any, place: str, **added: Any) -> _Model:
    try:
        return model.model_validate(data, context=added)
    except ValidationError as error:
        raise ValueError(_write_sentence(error, place)) from None


def _write_sentence(error: ValidationError, place: str) -> str:
    """`sire-table-4, row 2: batch must be a valid integer, not '64'.`"""
    first = error.errors()[0]
    kind, loc = first["type"], first["loc"]
    if loc[:1] == ("rows",) and len(loc) > 1:
        place, loc = f"{place}, row {int(loc[1]) + 1}", loc[2:]
    if loc[:1] == ("reference",) and (len(loc) > 1 or kind == "value_error"):
        place, loc = f"{place}, reference", loc[1:]
    phrase = _PHRASES.get(kind, first["msg"].removeprefix("Value error, ").replace("Input should be", "must be"))
    given = "" if kind in {"missing", "value_error"} else f", not {first['input']!r}"
    key = ".".join(map(str, loc))
    return f"{place}: {f'{key} {phrase}'.lstrip()}{given}."
