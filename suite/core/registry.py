"""Components by name: a file's existence registers it; listing names imports nothing.

The only place that imports by name. `backbones/base_cnn.py` is the backbone `base_cnn`; a folder named in
GRAFTBENCH_PLUGINS with the same sub-folders adds components of one's own; `timm:NAME` is any classifier of timm.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from suite.core.errors import UserError, did_you_mean
from suite.core.settings import Setting
from suite.core.specs import split_variant

Kind = Literal["dataset", "backbone", "variant"]

PLUGINS = "GRAFTBENCH_PLUGINS"  # folders, separated as in PATH
TIMM = "timm:"
_MEMBERS: dict[Kind, tuple[str, ...]] = {
    "dataset": ("SETTINGS", "facts", "source"),
    "backbone": ("SETTINGS", "build"),
    "variant": ("SETTINGS", "apply"),
}


def list_components(kind: Kind) -> list[str]:
    """Names of the registered components of a kind, sorted. Files whose names start with `_` are helpers.

    Raises:
        UserError: a plugin folder is missing, or two files give one name.
    """
    return sorted(_find_files(kind))


def _find_files(kind: Kind) -> Mapping[str, Path]:
    """Every component's file, by name."""
    folders = [folder / f"{kind}s" for folder in (Path(__file__).parents[1], *list_plugin_folders())]
    return _list_folder(kind, tuple((folder, folder.stat().st_mtime_ns) for folder in folders if folder.is_dir()))


@functools.lru_cache(maxsize=64)  # a grid asks thousands of times; a file that comes or goes changes its folder's time
def _list_folder(kind: Kind, folders: tuple[tuple[Path, int], ...]) -> Mapping[str, Path]:
    found: dict[str, Path] = {}
    for folder, _ in folders:
        for path in sorted(folder.glob("*.py")):
            if path.stem.startswith("_"):
                continue
            if path.stem in found:
                raise UserError(f"{path}: {found[path.stem]} is the {kind} {path.stem!r} already; rename the file")
            found[path.stem] = path
    return found


def list_plugin_folders() -> list[Path]:
    """The folders that `GRAFTBENCH_PLUGINS` names.

    Raises:
        UserError: one is not there.
    """
    folders = [Path(part) for part in os.environ.get(PLUGINS, "").split(os.pathsep) if part]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{PLUGINS}: {folder} is no folder; correct or unset it")
    return folders


def check_name(kind: Kind, name: str, where: str | None = None) -> None:
    """
    Raises:
        UserError: no component of that kind has that name; the sentence starts with `where` (default: the kind).
    """
    if kind == "backbone" and name.startswith(TIMM):
        return  # timm knows its names; asking it would import torch
    known = list_components(kind)
    for part in split_variant(name) if kind == "variant" else (name,):
        if part not in known:
            raise UserError(f"{where or kind}: unknown {kind} {part!r}{did_you_mean(part, known)}")


def load_component(kind: Kind, name: str) -> Any:
    """The module of a component; its room's `__init__` says what it must define.

    Raises:
        UserError: no component of that kind has that name, or a plugin's file can't be imported.
    """
    check_name(kind, name)
    if kind == "backbone" and name.startswith(TIMM):
        return importlib.import_module("suite.models.timm_adapter").TimmBackbone(name.removeprefix(TIMM))
    file = _find_files(kind)[name]
    if file.is_relative_to(Path(__file__).parents[1]):
        return importlib.import_module(f"suite.{kind}s.{name}")
    return _load_plugin(kind, file)


def read_docstring(kind: Kind, name: str) -> str:
    """What a component's file says of itself, read without importing it; empty where it says nothing.

    Raises:
        UserError: no component of that kind has that name.
    """
    check_name(kind, name)
    return ast.get_docstring(ast.parse(_find_files(kind)[name].read_text(encoding="utf-8"))) or ""


def _load_plugin(kind: Kind, file: Path) -> Any:
    module_name = f"graftbench_plugins.{kind}s.{file.stem}"
    known = sys.modules.get(module_name)
    if known is not None and known.__file__ == str(file):
        return known
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up here
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        said = str(error).partition("\n")[0]
        raise UserError(f"{file}: can't be imported: {type(error).__name__}: {said}") from error
    lacking = [name for name in _MEMBERS[kind] if not hasattr(module, name)]
    if lacking:
        del sys.modules[module_name]
        raise UserError(
            f"{file}: defines no {' and no '.join(lacking)}; docs/write-a-variant.md shows what a file needs"
        )
    wrong = [name for name, spec in module.SETTINGS.items() if not isinstance(spec, Setting)]
    if wrong:
        del sys.modules[module_name]
        raise UserError(
            f"{file}: SETTINGS[{wrong[0]!r}] must be a suite.core.settings.Setting, not {module.SETTINGS[wrong[0]]!r}"
        )
    return module


def is_plugin(module: Any) -> bool:
    """Whether a component's module comes from a plug-in folder."""
    return str(getattr(module, "__name__", "")).startswith("graftbench_plugins.")
