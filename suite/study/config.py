"""The study file: typed, validated before anything heavy is imported.

Every mistake becomes one `UserError` sentence that starts with the key's path in the file: `variants[1].lamda: ...`.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    field_validator,
    model_validator,
)

from suite.core.errors import UserError, did_you_mean, one_of
from suite.core.recipes import KNOBS
from suite.core.specs import BASELINE, Space
from suite.study.profiles import apply_profile
from suite.study.study_files import choose_storage, find_study

# Strict: `seeds: "3"` and `seeds: true` are mistakes, not 3 and 1.
Whole = Annotated[int, Strict()]
Positive = Annotated[Whole, Field(ge=1)]
Number = Annotated[float, Strict(), AllowInfNan(False)]
Switch = Annotated[bool, Strict()]
Place = Annotated[str, Field(min_length=1)]


def _setting_value(value: Any) -> Any:
    """A component's own file says what is legal; here only what YAML offers and a study can't mean is refused."""
    if isinstance(value, list):
        if not value:
            raise ValueError("must name at least one value, not []")
        for item in value:
            _setting_value(item)
    elif not isinstance(value, bool | int | float | str):
        raise ValueError(f"must be a value or a list of values, not {value!r}")
    return value


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Entry(Section):
    """A component: `name`, or a mapping of `name` and its settings. A list of values expands to a grid.

    `backbones` restricts a variant to some of the study's backbones, by name (SIRe's lambda differs between them).
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Annotated[Any, AfterValidator(_setting_value)]] = Field(init=False)
    name: str
    backbones: list[str] = []

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"name": data}
        if not isinstance(data, Mapping) or "name" not in data:
            raise ValueError(f"must be a name, or a mapping of `name` and its settings, not {data!r}")
        return data

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Asha(Section):
    """Asynchronous successive halving (Li et al. 2020), one bracket per cell; stops search trials only."""

    grace: Positive = 1  # epochs before the first rung
    reduction: Annotated[Whole, Field(ge=2)] = 3  # the best 1/reduction of a rung go on


def _check_space(space: Space) -> Space:
    if space.integer:
        raise ValueError("leave `integer` out: the hyperparameter itself says whether it is a whole number")
    if space.choices:
        if space.low is not None or space.high is not None:
            raise ValueError("takes choices, or low and high, not both")
        return space
    if space.low is None or space.high is None:
        raise ValueError("needs low and high, or choices")
    if not -math.inf < space.low < space.high < math.inf:
        raise ValueError(f"needs low < high, both finite, not {space.low:g} .. {space.high:g}")
    if space.log and space.low <= 0:
        raise ValueError(f"is log, so low must be above 0, not {space.low:g}")
    return space


class Search(Section):
    """The search stage: the same number of trials for every cell, judged on validation data only."""

    trials: Annotated[Whole, Field(ge=0)] = 0
    space: dict[str, Annotated[Space, AfterValidator(_check_space)]] = {}
    sampler: Literal["tpe", "random"] = "tpe"
    first_draws: Positive = 5  # hashed, the same in every cell; the sampler draws the rest
    epochs: Positive | None = None  # default: the recipe's
    asha: Asha | None = None
    storage: Place | None = None  # an Optuna storage that shows the searches; nothing is read from it

    @model_validator(mode="after")
    def _something_to_search(self) -> Search:
        if self.trials and not self.space:
            raise ValueError("trials need a space: name at least one hyperparameter, or set trials: 0")
        return self


class Resources(Section):
    """What one trial occupies while it runs; Ray packs as many as fit."""

    cpus: Annotated[Number, Field(gt=0)] = 1
    gpus: Annotated[Number, Field(ge=0)] | None = None  # default: 1 where Ray has GPUs, else 0; 0 trains on the CPU
    residency: Literal["auto", "device", "host", "stream"] = "auto"  # where images live; changes no figure
    device_memory: Annotated[Number, Field(gt=0, le=1)] = 0.25  # share of a GPU's memory that images may take


class Statistics(Section):
    """Fixed before the run, since a margin chosen after looking proves nothing."""

    metric: Literal["top1", "top5"] = "top1"
    rope: Annotated[Number, Field(gt=0, le=10)] = 0.5  # percentage points that are too small to matter
    alpha: Annotated[Number, Field(gt=0, lt=0.5)] = 0.05
    looks: Positive = 1  # at the data, in all; alpha is split evenly over them
    most_seeds: Annotated[Whole, Field(ge=3)] = 30  # a topup adds confirm seeds up to here


class Study(Section):
    """One study file. `docs/study-files.md` explains every key."""

    study: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=80)]
    description: str = ""
    reproduces: list[str] = []  # ids of published tables (analysis/published) that its results stand beside
    datasets: Annotated[list[Entry], Field(min_length=1)]
    backbones: Annotated[list[Entry], Field(min_length=1)]
    variants: Annotated[list[Entry], Field(min_length=1)]
    recipe: Entry
    seeds: Positive
    search: Search = Search()
    resources: Resources = Resources()
    statistics: Statistics = Statistics()
    split_seed: Whole = 0
    resplit: Switch = False
    precision: Literal["auto", "float32", "bf16"] = "auto"
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    keep: Literal["best", "none"] = "best"
    probabilities: Literal["auto", "all", "none"] = "auto"  # of test images, by class; auto: up to 20 MB a trial
    tracking: Place | None = None  # default: MLFLOW_TRACKING_URI, else sqlite:///runs/mlflow.db
    storage: Place | None = None  # default: runs/<study>
    profile: str = ""  # the profile in force; set on the command line

    @field_validator("variants")
    @classmethod
    def _one_baseline(cls, variants: list[Entry]) -> list[Entry]:
        if [entry.name for entry in variants].count(BASELINE) != 1:
            raise ValueError(f"must hold {BASELINE!r} exactly once, since every comparison is with it")
        return variants

    @model_validator(mode="after")
    def _known_backbones(self) -> Study:
        names = {entry.name for entry in self.backbones}
        for entry in (*self.datasets, *self.backbones, self.recipe):
            if entry.backbones:
                raise ValueError(f"{entry.name}.backbones: only a variant can be restricted to some backbones")
        for entry in self.variants:
            if entry.name == BASELINE and entry.backbones:
                raise ValueError(f"{BASELINE}.backbones: every backbone needs its baseline; leave it out")
            for name in entry.backbones:
                if name not in names:
                    raise ValueError(f"{entry.name}.backbones: the study has no {name!r}{did_you_mean(name, names)}")
        return self

    @property
    def storage_path(self) -> Path:
        return choose_storage(self.study, self.storage)

    def describe_identity(self) -> dict[str, Any]:
        """What may not change once trials have run; seeds, cells and places may."""
        fixed = {"study", "recipe", "search", "statistics", "split_seed", "resplit", "precision", "memory_format"}
        # Without defaults, a key added later changes no study that stands.
        return self.model_dump(mode="json", include=fixed, exclude={"search": {"storage"}}, exclude_defaults=True)


def load_study(path: Path, profile: str = "") -> Study:
    """The study of a file, in one of its profiles if named.

    Args:
        path: of the file, or the bare name of a ready study (`demo`).

    Raises:
        UserError: the file is missing, is no YAML, or breaks a rule; one sentence with the key's path.
    """
    path = find_study(path)
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except (UnicodeDecodeError, yaml.reader.ReaderError) as error:
        raise UserError(f"{path}: not a text file in UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise UserError(f"{path}: not valid YAML: {error.problem}{line}") from error
    except ValueError as error:  # a date like 2024-13-01
        raise UserError(f"{path}: not valid YAML: {error}") from error
    try:
        return parse_study(data, profile)
    except UserError as refusal:
        raise UserError(f"{path}: {refusal}") from None


def parse_study(data: Any, profile: str = "") -> Study:
    """The study of a file's content. Raises UserError where it breaks a rule: one sentence with the key's path."""
    if not isinstance(data, Mapping):
        raise UserError("a study is a mapping of keys; start with `study: NAME`")
    try:
        study = Study.model_validate(apply_profile(data, profile))
    except ValidationError as error:
        raise UserError(_format_error(error)) from None
    for idle in ("space", "asha", "storage"):
        if not study.search.trials and getattr(study.search, idle):
            raise UserError(f"search.trials: without trials {idle} does nothing; name how many, or leave {idle} out")
    return study


_PHRASES = {  # pydantic's error types
    "missing": "required key is missing",
    "invalid_key": "a key must be text",
    "model_type": "must be a mapping of keys",
    "dict_type": "must be a mapping of keys",
    "dataclass_type": "must be a mapping of keys",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than_equal": "must be {ge:g} or more",
    "greater_than": "must be above {gt:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be {le:g} or less",
    "too_short": "must name at least one",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "use lower-case letters, digits, - and _",
}
_SECTIONS: dict[str, type[Section]] = {"search": Search, "asha": Asha, "resources": Resources, "statistics": Statistics}
_SELF_EVIDENT = frozenset({"missing", "too_short", "string_too_short"})  # the wrong value would add nothing


def _format_error(error: ValidationError) -> str:
    # A misspelt key is also a missing one: the misspelling is the better sentence.
    first = min(error.errors(), key=lambda mistake: mistake["type"] == "missing")
    location = ""
    for part in first["loc"]:
        location += f"[{part}]" if isinstance(part, int) else f".{part}"
    return f"{location.lstrip('.')}: {_phrase_error(first)}"


def _phrase_error(error: Mapping[str, Any]) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind in {"extra_forbidden", "unexpected_keyword_argument"}:
        key = str(error["loc"][-1])
        if len(error["loc"]) == 1 and key in KNOBS:
            return f"unknown key; it belongs under recipe: `recipe: {{name: ..., {key}: {value}}}`"
        return f"unknown key{did_you_mean(key, _known_keys(error['loc']))}"
    if kind == "literal_error":
        return one_of(value, re.findall("'([^']*)'", context["expected"]))
    if kind == "value_error":
        return str(context["error"])
    phrase = _PHRASES.get(kind, error["msg"]).format(**context)
    return phrase if kind in _SELF_EVIDENT else f"{phrase}, not {value!r}"


def _known_keys(loc: tuple[int | str, ...]) -> list[str]:
    """The keys of the section in which the misspelt one stands (an entry's keys are settings, known elsewhere)."""
    if "space" in loc[:-1]:
        return list(Space.__dataclass_fields__)
    section: type[Section] = Study
    if len(loc) > 1:
        section = _SECTIONS[str(loc[-2])]
    return sorted(section.model_fields.keys() - {"profile"})  # which the command line sets


class _StrictLoader(yaml.SafeLoader):
    """YAML whose keys are text and stand once, and in which `1e-3` is a number (as in YAML 1.2)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *anchor`; what stands beside it wins
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def expand_grid(entry: Entry) -> Iterator[dict[str, Any]]:
    """The settings that an entry expands to: a list of values is one axis; a value that is itself a list is
    written as a list inside the list (`decoders: [[1, 4], [1, 2]]`)."""
    settings = entry.settings
    axes = []
    for value in settings.values():
        axes.append(value if isinstance(value, list) else [value])
    for values in itertools.product(*axes):
        yield dict(zip(settings, values, strict=True))
