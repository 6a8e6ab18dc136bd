"""The check of a plan, remembered: equal studies, code and datasets need no torch to be checked again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import suite
from suite.core import provenance, recipes, registry
from suite.core.errors import UserError
from suite.core.files import write_json
from suite.core.settings import canonicalize_component
from suite.core.specs import Cell, Component, Space, freeze_settings
from suite.data.cache import cache_directory
from suite.data.composition import Composition, check_composition, compose_dataset
from suite.data.dataset import Dataset
from suite.study.plan import Plan, PlannedCell, entries_by_kind, expand_axes, with_cells

_KEPT = 200  # answers; the oldest go


def check_plan_once(plan: Plan, data: Path, *, strict: bool = False) -> Plan:
    """As `suite.study.check.check_plan`, from the machine's cache where it was answered before; keeps no refusal."""
    try:
        path = cache_directory() / "plans" / f"{_fingerprint(plan, data)}.json"
    except UserError:  # a dataset can't be read: the check says where it stands in the study
        path = None
    if path is not None and not strict:
        cells = _read_cells(path)
        if cells is not None:
            return with_cells(plan, cells)
    from suite.study.check import check_plan

    checked = check_plan(plan, data, strict=strict)
    if path is not None:
        _keep_cells(path, checked)
    return checked


def open_datasets(plan: Plan, data: Path) -> list[Dataset]:
    """The datasets that the plan trains on, each once."""
    components = dict.fromkeys(planned.cell.dataset for planned in plan.runnable)
    return [Dataset(component, data) for component in components]


def find_missing_data(datasets: Iterable[Dataset]) -> dict[str, str]:
    """What datasets lack before a plan can run, by label, each with its remedy. Planning needs no files."""
    missing = {}
    for dataset in datasets:
        if dataset.missing:
            missing[dataset.component.label] = dataset.missing
    return missing


def compose_datasets(plan: Plan, datasets: Iterable[Dataset]) -> list[Composition]:
    """What the parts of the plan's datasets hold, of those that are there and can be told without decoding.

    Raises:
        UserError: comparisons on some of them mean nothing; a line for each.
    """
    compositions = []
    voids = []
    recipe = recipes.resolve_recipe(plan.recipe)
    for dataset in datasets:
        if dataset.info.missing:
            continue
        try:
            composition = compose_dataset(dataset, recipe, plan.study.split_seed)
            if composition:
                check_composition(composition)
                compositions.append(composition)
        except UserError as refusal:
            voids.append(str(refusal))
    if voids:
        raise UserError("\n".join(voids))
    return compositions


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
        cells: list[PlannedCell] = json.loads(path.read_text(), object_hook=_read_value)
    except (OSError, ValueError):
        return None
    return cells


def _read_value(fields: dict[str, Any]) -> PlannedCell | Cell | Component | Space:
    """The value that was written as this object, known by its fields; JSON's lists are its tuples."""
    for kind in (PlannedCell, Cell, Component, Space):
        if fields.keys() == kind.__dataclass_fields__.keys():
            return kind(**dict(freeze_settings(fields)))
    raise ValueError("written by another version")
