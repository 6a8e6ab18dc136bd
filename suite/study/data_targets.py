"""The datasets that a command is about: one by name, by label, or those of a study file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import yaml

from suite.core import registry
from suite.core.errors import UserError
from suite.core.settings import Setting, canonicalize_component
from suite.core.specs import Component, freeze_settings
from suite.data.layouts import holds_parquet
from suite.study.config import Study, load_study
from suite.study.plan import expand_axes, refuse_repeats

STUDY_SUFFIXES = (".yaml", ".yml")


def find_targets(target: str, settings: list[str], root: Path) -> list[Component]:
    """The datasets that a command is about: one by name or label with `settings`, or a study file's.

    Args:
        target: `folder`, `folder(path=birds)` as `data list` prints it, or the path of a study file.
        settings: `size=224`.

    Raises:
        UserError: an unknown name or an illegal setting.
    """
    if not target.endswith(STUDY_SUFFIXES):
        dataset = _parse_target(target, settings, root)
        return [_canonicalize_dataset(dataset, dataset.name)]
    if settings:
        raise UserError("--set: a study file says the settings of its datasets; leave --set out")
    axes = []
    study = load_study(Path(target))
    refuse_folder_names(study, root)
    for axis in expand_axes("dataset", study.datasets):
        axes.append(replace(axis, component=_canonicalize_dataset(axis.component, axis.where)))
    return [axis.component for axis in refuse_repeats(axes)]


def find_residency(target: str) -> str:
    """Where trials will want the images to live: as the study file says."""
    return load_study(Path(target)).resources.residency if target.endswith(STUDY_SUFFIXES) else "auto"


def refuse_folder_names(study: Study, root: Path) -> None:
    """Refuses a study whose dataset's name is that of a folder in the data directory; a component reads it."""
    known = registry.list_components("dataset")
    for position, entry in enumerate(study.datasets):
        reader = "" if entry.name in known else _find_reader(entry.name, root)
        if reader:
            raise UserError(
                f"datasets[{position}]: unknown dataset {entry.name!r}; it is a folder in {root}: write "
                f"`{{name: {reader}, path: {entry.name}}}`"
            )


def _parse_target(target: str, settings: list[str], root: Path) -> Component:
    name, inner = target, ""
    label = re.fullmatch(r"(\w+)\((.*)\)", target, re.DOTALL)
    if label:
        name, inner = label.groups()
    if name not in registry.list_components("dataset"):
        _refuse_folder(target, root)
    registry.check_name("dataset", name)
    declared = registry.load_component("dataset", name).SETTINGS
    texts = [text for text in re.split(r", (?=\w+=)", inner) if text]
    values: list[tuple[str, object]] = []
    path = inner.removeprefix("path=")
    if path != inner and path and (root / path).is_dir():  # a folder may be called `birds, size=3`
        texts = []
        values = [("path", path)]
    values += [_parse_setting(text, target, declared) for text in texts]
    values += [_parse_setting(text, f"--set {text}", declared) for text in settings]
    return Component(name, freeze_settings(dict(values)))


def _refuse_folder(target: str, root: Path) -> None:
    """What is no dataset may be a folder in the data directory; a component reads it then."""
    reader = _find_reader(target, root)
    if reader:
        path = PurePosixPath(target)
        remedy = f"`{reader} --set {shlex.quote(f'path={path}')}`"
        raise UserError(f"dataset: unknown dataset {target!r}; {path} is a folder in {root}: {remedy}")


def _find_reader(name: str, root: Path) -> str:
    """The dataset that reads a folder of the data directory; empty where there is no such folder."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or not (root / path).is_dir():
        return ""
    return "parquet" if holds_parquet(root / path) else "folder"


def _canonicalize_dataset(dataset: Component, where: str) -> Component:
    return canonicalize_component(registry.load_component("dataset", dataset.name).SETTINGS, dataset, where)


def _parse_setting(text: str, where: str, declared: Mapping[str, Setting]) -> tuple[str, object]:
    name, equals, written = text.partition("=")
    if name in declared and isinstance(declared[name].default, str) and not written.startswith(("'", '"')):
        return name, written  # a folder may be named 2020, or no
    try:
        value = yaml.safe_load(written)
    except yaml.YAMLError as error:
        raise UserError(f"{where}: {written!r} isn't a YAML value; put it in quotes") from error
    if not name or not equals or not isinstance(value, bool | int | float | str):
        raise UserError(f"{where}: must be NAME=VALUE, for instance size=224")
    return name, value
