"""The datasets that a command is about: one by name, by label, or those of a study file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import yaml

from suite.core import registry
from suite.core.errors import UserError
from suite.core.settings import Setting, canonicalize_component
from suite.core.specs import Component, freeze_settings
from suite.data.catalog import holds_parquet
from suite.study.config import load_study
from suite.study.plan import Axis, expand_axes, refuse_repeats


def find_targets(target: str, given: list[str], root: Path) -> list[Component]:
    """The datasets that a command is about: one by name or label with `given` settings, or a study file's.

    Args:
        target: `folder`, `folder(path=birds)` as `data list` prints it, or the path of a study file.
        given: `size=224`.

    Raises:
        UserError: an unknown name or an illegal setting.
    """
    if not target.endswith((".yaml", ".yml")):
        return [_canonicalize_dataset(_find_one(target, given, root))]
    if given:
        raise UserError("--set: a study file says the settings of its datasets; leave --set out")
    named = expand_axes("dataset", load_study(Path(target)).datasets)
    same = [Axis(axis.where, _canonicalize_dataset(axis.component, axis.where)) for axis in named]
    return [axis.component for axis in refuse_repeats(same)]


def find_residency(target: str) -> str:
    """Where trials will want the images to live: as the study file says."""
    return load_study(Path(target)).resources.residency if target.endswith((".yaml", ".yml")) else "auto"


def _find_one(target: str, given: list[str], root: Path) -> Component:
    label = re.fullmatch(r"(\w+)\((.*)\)", target)
    name, inner = label.groups() if label else (target, "")
    if name not in registry.list_components("dataset") and (hint := _folder_hint(target, root)):
        raise UserError(f"dataset: unknown dataset {target!r}; {hint}")
    registry.check_name("dataset", name)
    declared = registry.load_component("dataset", name).SETTINGS
    settings = [_parse_setting(text, target, declared) for text in re.split(r", (?=\w+=)", inner) if text]
    settings += [_parse_setting(text, f"--set {text}", declared) for text in given]
    return Component(name, freeze_settings(dict(settings)))


def _folder_hint(target: str, root: Path) -> str | None:
    path = PurePosixPath(target)
    if path.is_absolute() or ".." in path.parts or not path.parts or not (root / path).is_dir():
        return None
    name = "parquet" if holds_parquet(root / path) else "folder"
    return f"{path} is a folder in {root}: `{name} --set {shlex.quote(f'path={path}')}`"


def _canonicalize_dataset(dataset: Component, where: str | None = None) -> Component:
    return canonicalize_component(
        registry.load_component("dataset", dataset.name).SETTINGS, dataset, where or dataset.name
    )


def _parse_setting(text: str, where: str, declared: Mapping[str, Setting]) -> tuple[str, object]:
    name, equals, said = text.partition("=")
    if name in declared and isinstance(declared[name].default, str) and said[:1] not in {"'", '"'}:
        return name, said  # a folder may be named 2020, or no
    try:
        value = yaml.safe_load(said)
    except yaml.YAMLError as error:
        raise UserError(f"{where}: {said!r} isn't a YAML value; put it in quotes") from error
    if not name or not equals or not isinstance(value, bool | int | float | str):
        raise UserError(f"{where}: must be NAME=VALUE, for instance size=224")
    return name, value
