"""What a trial is: frozen values that fully name it, its key, and its seed streams.

Standard library only, so that every room (analysis and a bare GPU machine included) can read them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Value = Any  # bool | int | float | str | None | tuple of the same
Settings = tuple[tuple[str, Value], ...]
Stage = Literal["search", "confirm"]

BASELINE = "baseline"


def split_variant(variant: str) -> tuple[str, ...]:
    """The variants that a composition joins: `sire+squeeze_excite` is `sire` and `squeeze_excite`."""
    return tuple(variant.split("+"))


def freeze_settings(settings: Mapping[str, Any]) -> Settings:
    """A mapping as a hashable value: sorted by name, lists as tuples."""
    return tuple((name, _freeze_value(settings[name])) for name in sorted(settings))


def _freeze_value(value: Any) -> Value:
    return tuple(_freeze_value(item) for item in value) if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class Component:
    """A dataset, backbone, variant or recipe by name, with the settings that differ from its defaults."""

    name: str
    settings: Settings = ()

    @property
    def label(self) -> str:
        """`sire(lambda=0.1, components=IRe)`, or the bare name when all settings are defaults."""
        return format_label(self.name, format_settings(self.settings))


def format_settings(settings: Settings) -> str:
    """`decoders=1+4, lambda=0.1`: settings as people read them; empty when all are defaults."""
    return ", ".join(f"{name}={_format_value(value)}" for name, value in settings)


def parse_settings(text: str) -> dict[str, str]:
    """The inverse of `format_settings`, values as text. A value may hold commas: what is no `name=` belongs to it."""
    settings: dict[str, str] = {}
    for part in re.split(r", (?=[\w.]+=)", text):
        name, equals, value = part.partition("=")
        if equals:
            settings[name] = value
    return settings


def format_label(name: str, settings: str) -> str:
    """`sire(lambda=0.1)`: the one spelling of a component; `settings` as `format_settings` gives them."""
    return f"{name}({settings})" if settings else name


def parse_label(label: str) -> tuple[str, dict[str, str]]:
    """The inverse of `format_label`: name and settings."""
    name, _, settings = label.partition("(")
    return name, parse_settings(settings.removesuffix(")"))


def _format_value(value: Value) -> str:
    if isinstance(value, tuple):
        return "+".join(_format_value(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


class CellId(NamedTuple):
    """A cell as records name it: labels of dataset and backbone, the variant's name, its settings as text."""

    dataset: str
    backbone: str
    variant: str
    settings: str

    @property
    def label(self) -> str:
        """`digits / base_cnn(width=0.25) / sire(lambda=0.1)`."""
        return f"{self.dataset} / {self.backbone} / {format_label(self.variant, self.settings)}"


@dataclass(frozen=True)
class Cell:
    """dataset x backbone x variant with its settings."""

    dataset: Component
    backbone: Component
    variant: Component

    @property
    def group(self) -> tuple[Component, Component]:
        """The cells of one dataset and backbone are compared with each other."""
        return self.dataset, self.backbone

    @property
    def is_baseline(self) -> bool:
        return self.variant.name == BASELINE

    @property
    def label(self) -> str:
        return self.cell_id.label

    @property
    def cell_id(self) -> CellId:
        variant = self.variant
        return CellId(self.dataset.label, self.backbone.label, variant.name, format_settings(variant.settings))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run, fully named. Equal trials on equal devices and threads give equal results.

    `seed` is the confirm seed, or the index of the draw in the search. `hyperparameters` are the search's choices:
    recipe knobs by name (`lr`), variant settings as `variant.setting` (`sire.lambda`).
    `precision`, `channels_last` and `micro_batch` are fixed per group before its first trial.
    """

    cell: Cell
    recipe: Component
    stage: Stage
    seed: int
    epochs: int
    hyperparameters: Settings = ()
    split_seed: int = 0
    resplit: bool = False  # a fresh train/validation split per seed, paired across the group
    precision: Literal["float32", "bf16"] = "float32"
    channels_last: bool = False
    micro_batch: int | None = None  # None: the whole batch at once
    revision: str = ""  # what the cell's network means otherwise than in the first version, as its parts declare

    @property
    def key(self) -> str:
        return trial_key(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; fields at their defaults are left out, so a new knob changes no old key."""
        plain: dict[str, Any] = _to_plain(self)
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Trial:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a field is missing or unknown.
        """
        try:
            parts = dict(data)
            cell = {role: _read_component(part) for role, part in parts.pop("cell").items()}
            recipe = _read_component(parts.pop("recipe"))
            chosen = freeze_settings(parts.pop("hyperparameters", {}))
            return cls(cell=Cell(**cell), recipe=recipe, hyperparameters=chosen, **parts)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a trial: {error}") from error


def _read_component(data: Mapping[str, Any]) -> Component:
    return Component(data["name"], freeze_settings(data.get("settings", {})))


_SETTINGS_FIELDS = frozenset({"settings", "hyperparameters"})


def _to_plain(value: Any) -> Any:
    if not dataclasses.is_dataclass(value):
        return value
    plain: dict[str, Any] = {}
    for spec in dataclasses.fields(value):
        item = getattr(value, spec.name)
        if item == spec.default:
            continue
        plain[spec.name] = dict(item) if spec.name in _SETTINGS_FIELDS else _to_plain(item)
    return plain


def trial_key(trial: Trial) -> str:
    """16 hexadecimal digits that name a trial, independent of field order, paths, host and device."""
    canonical = json.dumps(trial.to_dict(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def hash_parts(*parts: object) -> int:
    """A 63-bit integer from named parts; the source of every seed in the suite."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogateescape")).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class Streams:
    """The random streams of one trial. The stage is in every hash: search and confirm never share one.

    The cell is in none of them, so every cell of a group sees the same order, augmentation and initialisation.
    """

    stage: Stage
    seed: int

    def seed_of(self, stream: str, epoch: int | None = None) -> int:
        """Seed of a stream: `init`, `init/<variant>`, or per epoch `order`, `augmentation`, `dropout`."""
        return hash_parts("stream", self.stage, self.seed, stream, *(() if epoch is None else (epoch,)))


def split_stream(trial: Trial) -> int:
    """Seed of the train/validation split: one per study, or with `resplit` one per seed of a stage."""
    return hash_parts("split", trial.split_seed, *((trial.stage, trial.seed) if trial.resplit else ()))


def first_draw(study: str, index: int, name: str) -> float:
    """Uniform in [0, 1): where the index-th search trial starts on hyperparameter `name`, in every cell alike."""
    return (hash_parts("draw", study, index, name) >> 10) / 2**53  # 53 bits: a float holds them all, none rounds to 1


@dataclass(frozen=True)
class Space:
    """The range of one searched hyperparameter: `choices`, or `low` to `high` (uniform, or log-uniform)."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  (read by pydantic; this module needs no pydantic)

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Value, ...] = field(default=())
    integer: bool = False  # set by the plan's check for whole-number hyperparameters

    def value_at(self, position: float) -> Value:
        """The value at `position` in [0, 1)."""
        if self.choices:
            return self.choices[min(int(position * len(self.choices)), len(self.choices) - 1)]
        if self.low is None or self.high is None:
            raise ValueError("a space needs low and high, or choices")
        low, high = (self.low, self.high + 1) if self.integer else (self.low, self.high)
        value = low * (high / low) ** position if self.log else low + (high - low) * position
        value = min(max(value, self.low), high)  # rounding may leave the range by a hair
        return min(math.floor(value), math.floor(self.high)) if self.integer else float(value)
