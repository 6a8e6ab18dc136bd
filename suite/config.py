"""The study file: typed, validated before anything heavy is imported.

Every mistake becomes one `Refused` sentence that starts with the key's path in the file: `variants[1].lamda: ...`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from suite.settings import Refused, did_you_mean
from suite.specs import BASELINE, Space

Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Entry(Section):
    """A component: `name`, or a mapping of `name` and its settings. A list of values expands to a grid."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Asha(Section):
    """Asynchronous successive halving (Li et al. 2020), one bracket per cell; stops search trials only."""

    grace: Positive = 1  # epochs before the first rung
    reduction: Annotated[int, Field(ge=2)] = 3  # the best 1/reduction of a rung go on


class Search(Section):
    """The search stage: the same number of trials for every cell, judged on validation data only."""

    trials: Annotated[int, Field(ge=0)] = 0
    space: dict[str, Space] = {}
    sampler: Literal["tpe", "random"] = "tpe"
    first_draws: Annotated[int, Field(ge=1)] = 5  # hashed, the same in every cell; the sampler draws the rest
    epochs: Positive | None = None  # default: the recipe's
    asha: Asha | None = None

    @model_validator(mode="after")
    def _spaces(self) -> Search:
        for name, space in self.space.items():
            _check_space(name, space)
        if self.trials and not self.space:
            raise ValueError("trials need a space: name at least one hyperparameter, or set trials: 0")
        return self


def _check_space(name: str, space: Space) -> None:
    if space.choices:
        if space.low is not None or space.high is not None:
            raise ValueError(f"space.{name} takes choices, or low and high, not both")
        return
    if space.low is None or space.high is None:
        raise ValueError(f"space.{name} needs low and high, or choices")
    if not space.low < space.high:
        raise ValueError(f"space.{name} needs low < high, not {space.low:g} .. {space.high:g}")
    if space.log and space.low <= 0:
        raise ValueError(f"space.{name} is log, so low must be above 0, not {space.low:g}")


class Resources(Section):
    """What one trial occupies while it runs; Ray packs as many as fit."""

    cpus: Annotated[float, Field(gt=0)] = 1
    gpus: Annotated[float, Field(ge=0)] = 0


class Statistics(Section):
    """Fixed before the run, since a margin chosen after looking proves nothing."""

    metric: Literal["top1", "top5"] = "top1"
    rope: Annotated[float, Field(gt=0, lt=100)] = 0.5  # percentage points that are too small to matter
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05


class Study(Section):
    """One study file. `docs/study-files.md` explains every key."""

    study: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=80)]
    description: str = ""
    datasets: Annotated[list[Entry], Field(min_length=1)]
    backbones: Annotated[list[Entry], Field(min_length=1)]
    variants: Annotated[list[Entry], Field(min_length=1)]
    recipe: Entry
    seeds: Positive
    search: Search = Search()
    resources: Resources = Resources()
    statistics: Statistics = Statistics()
    split_seed: int = 0
    resplit: bool = False
    precision: Literal["auto", "float32", "bf16"] = "auto"
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    keep: Literal["best", "none"] = "best"
    tracking: str | None = None  # default: MLFLOW_TRACKING_URI, else sqlite:///runs/mlflow.db
    storage: str | None = None  # default: runs/<study>

    @model_validator(mode="after")
    def _one_baseline(self) -> Study:
        baselines = [entry for entry in self.variants if entry.name == BASELINE]
        if len(baselines) != 1:
            raise ValueError(f"variants: must hold {BASELINE!r} exactly once, since every comparison is with it")
        return self

    @property
    def storage_path(self) -> Path:
        return Path(self.storage or f"runs/{self.study}")

    def identity(self) -> dict[str, Any]:
        """What may not change once trials have run; seeds, cells and places may."""
        fixed = {"study", "recipe", "search", "statistics", "split_seed", "resplit", "precision", "memory_format"}
        return self.model_dump(mode="json", include=fixed)


def load_study(path: Path) -> Study:
    """
    Raises:
        Refused: the file is missing, is no YAML, or breaks a rule; one sentence with the key's path.
    """
    if not path.is_file():
        raise Refused(f"{path}: no such study file; the ready ones are in configs/")
    try:
        data = yaml.load(path.read_text(), Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise Refused(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: not a text file") from error
    try:
        return parse_study(data)
    except Refused as refusal:
        raise Refused(f"{path}: {refusal}") from None


def parse_study(data: Any) -> Study:
    """
    Raises:
        Refused: the data breaks a rule; one sentence with the key's path.
    """
    if not isinstance(data, Mapping):
        raise Refused("a study is a mapping of keys; start with `study: NAME`")
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        raise Refused(_sentence(error, data)) from None


def _sentence(error: ValidationError, data: Mapping[str, Any]) -> str:
    first = error.errors()[0]
    path = _path(first["loc"])
    kind, message = first["type"], first["msg"].removeprefix("Value error, ")
    if kind in {"extra_forbidden", "unexpected_keyword_argument"}:
        known = _known_keys(first["loc"])
        return f"{path}: unknown key{did_you_mean(str(first['loc'][-1]), known)}"
    if kind == "missing":
        return f"{path}: missing"
    if kind == "string_pattern_mismatch":
        return f"{path}: use lower-case letters, digits, - and _, not {first['input']!r}"
    if kind in {"model_type", "dict_type", "dataclass_type"}:
        return f"{path}: must be a mapping of keys, not {first['input']!r}"
    if kind == "value_error":
        return f"{path}: {message}" if path else message
    return f"{path}: {message[0].lower()}{message[1:]}, not {first['input']!r}"


def _path(loc: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.lstrip(".")


def _known_keys(loc: tuple[int | str, ...]) -> list[str]:
    model: Any = Study
    for part in loc[:-1]:
        if isinstance(part, str) and isinstance(model, type) and issubclass(model, BaseModel):
            model = _section_type(model.model_fields[part].annotation) if part in model.model_fields else Space
    if isinstance(model, type) and issubclass(model, BaseModel):
        return list(model.model_fields)
    return list(Space.__dataclass_fields__)


def _section_type(annotation: Any) -> Any:
    """The section or space inside `X`, `X | None`, `list[X]` or `dict[str, X]`."""
    options = [annotation, *(_section_type(argument) for argument in get_args(annotation))]
    found = [option for option in options if option is Space or _is_section(option)]
    return found[0] if found else annotation


def _is_section(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, BaseModel)


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a repeated key is an error and `1e-3` is a number (as in YAML 1.2)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def grid(entry: Entry) -> Iterator[dict[str, Any]]:
    """The settings that an entry expands to: a list of values is one axis; a value that is itself a list is
    written as a list inside the list (`decoders: [[1, 4], [1, 2]]`)."""
    combinations: list[dict[str, Any]] = [{}]
    for name, value in entry.settings.items():
        values = value if isinstance(value, list) else [value]
        combinations = [{**chosen, name: item} for chosen in combinations for item in values]
    yield from combinations
