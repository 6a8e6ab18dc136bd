"""The datasets that a command is about: one by name, by label, or those of a study file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import yaml

from suite.core import registry
from suite.core.errors import Refused
from suite.core.settings import Setting, canonical
from suite.core.specs import Component, freeze
from suite.data.catalog import holds_parquet
from suite.study.config import load_study
from suite.study.plan import Axis, axes, refuse_repeats


def targets(target: str, given: list[str], root: Path) -> list[Component]:
    """The datasets that a command is about: one by name or label with `given` settings, or a study file's.

    Args:
        target: `folder`, `folder(path=birds)` as `data list` prints it, or the path of a study file.
        given: `size=224`.

    Raises:
        Refused: an unknown name or an illegal setting.
    """
    if not target.endswith((".yaml", ".yml")):
        return [_canonical(_one(target, given, root))]
    if given:
        raise Refused("--set: a study file says the settings of its datasets; leave --set out")
    named = axes("dataset", load_study(Path(target)).datasets)
    same = [Axis(axis.where, _canonical(axis.component, axis.where)) for axis in named]
    return [axis.component for axis in refuse_repeats(same)]


def residency(target: str) -> str:
    """Where trials will want the images to live: as the study file says."""
    return load_study(Path(target)).resources.residency if target.endswith((".yaml", ".yml")) else "auto"


def _one(target: str, given: list[str], root: Path) -> Component:
    label = re.fullmatch(r"(\w+)\((.*)\)", target)
    name, inner = label.groups() if label else (target, "")
    if name not in registry.available("dataset") and (hint := _folder_hint(target, root)):
        raise Refused(f"dataset: unknown dataset {target!r}; {hint}")
    registry.check_name("dataset", name)
    declared = registry.load("dataset", name).SETTINGS
    settings = [_setting(text, target, declared) for text in re.split(r", (?=\w+=)", inner) if text]
    settings += [_setting(text, f"--set {text}", declared) for text in given]
    return Component(name, freeze(dict(settings)))


def _folder_hint(target: str, root: Path) -> str | None:
    path = PurePosixPath(target)
    if path.is_absolute() or ".." in path.parts or not path.parts or not (root / path).is_dir():
        return None
    name = "parquet" if holds_parquet(root / path) else "folder"
    return f"{path} is a folder in {root}: `{name} --set {shlex.quote(f'path={path}')}`"


def _canonical(dataset: Component, where: str | None = None) -> Component:
    return canonical(registry.load("dataset", dataset.name).SETTINGS, dataset, where or dataset.name)


def _setting(text: str, where: str, declared: Mapping[str, Setting]) -> tuple[str, object]:
    name, equals, said = text.partition("=")
    if name in declared and isinstance(declared[name].default, str) and said[:1] not in {"'", '"'}:
        return name, said  # a folder may be named 2020, or no
    try:
        value = yaml.safe_load(said)
    except yaml.YAMLError as error:
        raise Refused(f"{where}: {said!r} isn't a YAML value; put it in quotes") from error
    if not name or not equals or not isinstance(value, bool | int | float | str):
        raise Refused(f"{where}: must be NAME=VALUE, for instance size=224")
    return name, value
