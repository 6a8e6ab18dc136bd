"""The check of a plan, remembered: equal studies, code and datasets need no torch to be checked again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import suite
from suite.core import provenance, registry
from suite.core.errors import UserError
from suite.core.files import write_json
from suite.core.settings import canonicalize_component
from suite.core.specs import Cell, Component, Space, freeze_settings
from suite.data.cache import cache_directory
from suite.data.dataset import Dataset
from suite.study.plan import Plan, PlannedCell, entries_by_kind, expand_axes, with_cells

_KEPT = 200  # answers; the oldest go


def check_plan_once(plan: Plan, data: Path, *, strict: bool = False) -> Plan:
    """As `suite.study.check.check_plan`, from the machine's cache where it has been answered before.

    Raises:
        UserError: as `check_plan`; a refusal is not remembered.
    """
    try:
        path = cache_directory() / "plans" / f"{_fingerprint(plan, data)}.json"
    except UserError:  # a dataset can't be read: the check says where it stands in the study
        path = None
    cells = None if strict or path is None else _read_cells(path)
    if cells is not None:
        return with_cells(plan, cells)
    from suite.study.check import check_plan

    checked = check_plan(plan, data, strict=strict)
    if path is not None:
        _keep_cells(path, checked)
    return checked


def find_missing_data(plan: Plan, data: Path) -> dict[str, str]:
    """What the plan's datasets lack before it can run, by label, each with its remedy. Planning needs no files."""
    found = {planned.cell.dataset: Dataset(planned.cell.dataset, data).info.missing for planned in plan.runnable}
    return {dataset.label: sentence for dataset, sentence in found.items() if sentence}


def _fingerprint(plan: Plan, data: Path) -> str:
    """Of all that the check looks at: the study, what is known of its datasets, the code and its packages."""
    datasets = []
    for axis in expand_axes("dataset", entries_by_kind(plan.study)["dataset"]):
        declared = registry.load_component("dataset", axis.component.name).SETTINGS
        info = Dataset(canonicalize_component(declared, axis.component, axis.where), data).info
        datasets.append(repr(dataclasses.replace(info, missing=None)))
    study = plan.study.model_dump(mode="json")
    facts = (suite.__version__, provenance.list_versions(), _digest_sources(), study, datasets)
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()[:32]


def _digest_sources() -> str:
    """Of every Python file of the package and of the plug-in folders."""
    digest = hashlib.sha256()
    for folder in (Path(suite.__file__).parent, *registry.list_plugin_folders()):
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _keep_cells(path: Path, checked: Plan) -> None:
    """Best effort: a cache that can't be written slows the next plan down, and nothing else."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json([dataclasses.asdict(planned) for planned in checked.cells], path)
        for old in sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)[:-_KEPT]:
            old.unlink(missing_ok=True)
    except (OSError, TypeError):
        return


def _read_cells(path: Path) -> list[PlannedCell] | None:
    try:
        return [_read_cell(data) for data in json.loads(path.read_text())]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_cell(data: Mapping[str, Any]) -> PlannedCell:
    cell = Cell(**{role: _read_component(part) for role, part in data["cell"].items()})
    space = tuple((name, _read_space(part)) for name, part in data["space"])
    fixed = freeze_settings(dict(data["fixed"]))
    return PlannedCell(**{**data, "cell": cell, "space": space, "fixed": fixed, "warnings": tuple(data["warnings"])})


def _read_component(data: Mapping[str, Any]) -> Component:
    return Component(data["name"], freeze_settings(dict(data["settings"])))


def _read_space(data: Mapping[str, Any]) -> Space:
    return Space(**{**data, "choices": freeze_settings({"": data["choices"]})[0][1]})
