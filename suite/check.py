"""The check between plan and run: component settings, refused pairs, parameters and MACs on the meta device.

The first step that may import torch; still before Ray, MLflow writes and images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from suite import registry
from suite.plan import Axis, Plan, PlannedCell, axes, refuse_repeats, with_cells
from suite.settings import Refused, Setting, canonical
from suite.specs import Cell, Component, Space
from suite.training import recipes
from suite.training.cost import costs
from suite.trial import assemble, facts_of


def check(plan: Plan, data: Path, *, strict: bool = False) -> Plan:
    """The plan with canonical settings, costs, and a sentence on each pair that can't be served.

    Args:
        data: the data directory; facts of some datasets are read from their files there.
        strict: refuse the study when any pair is refused.

    Raises:
        Refused: an illegal setting or space, a refused baseline, nothing left to run, or `strict` and a refusal.
    """
    study = plan.study
    same: dict[tuple[registry.Kind, Component], Component] = {}
    for kind, entries in (("dataset", study.datasets), ("backbone", study.backbones), ("variant", study.variants)):
        for axis in axes(kind, entries):  # type: ignore[arg-type]
            same[kind, axis.component] = _canonical(kind, axis)  # type: ignore[index,arg-type]
    spaces = {name: _checked_space(name, space) for name, space in study.search.space.items()}
    refuse_repeats([_with(same, planned.cell) for planned in plan.cells])
    checked = with_cells(plan, (_checked(planned, same, spaces, data) for planned in plan.cells))
    _refuse_hopeless(checked, strict)
    return checked


def refuse_missing_data(plan: Plan, data: Path) -> None:
    """
    Raises:
        Refused: files of a dataset are missing; the sentence names the path and the command that makes them.
    """
    for dataset in dict.fromkeys(planned.cell.dataset for planned in plan.runnable):
        missing = facts_of(dataset, data).missing
        if missing:
            raise Refused(missing)


def _canonical(kind: registry.Kind, axis: Axis) -> Component:
    declared: Mapping[str, Setting] = registry.load(kind, axis.component.name).SETTINGS
    return canonical(declared, axis.component, axis.where)


def _with(same: Mapping[tuple[registry.Kind, Component], Component], cell: Cell) -> Cell:
    return Cell(same["dataset", cell.dataset], same["backbone", cell.backbone], same["variant", cell.variant])


def _checked_space(name: str, space: Space) -> Space:
    variant, dot, knob = name.partition(".")
    declared = registry.load("variant", variant).SETTINGS if dot else recipes.KNOBS
    where = f"search.space.{name}"
    if dot and knob not in declared:
        raise Refused(f"{where}: {variant} has no setting {knob!r}; it has: {', '.join(sorted(declared)) or 'none'}")
    setting: Setting = declared[knob if dot else name]
    for value in space.choices or (space.low, space.high):
        try:
            setting.value(int(value) if isinstance(setting.default, int) and value == int(value) else value)
        except (ValueError, TypeError) as error:
            raise Refused(f"{where}: {error}") from error
    whole = isinstance(setting.default, int) and not isinstance(setting.default, bool)
    return replace(space, integer=whole and not space.choices)


def _checked(
    planned: PlannedCell,
    same: Mapping[tuple[registry.Kind, Component], Component],
    spaces: Mapping[str, Space],
    data: Path,
) -> PlannedCell:
    cell = _with(same, planned.cell)
    space = tuple((name, spaces[name]) for name, _ in planned.space)
    facts = facts_of(cell.dataset, data)
    try:
        cost = costs(assemble(cell, facts.shape, facts.classes, streams=None), facts.shape)
    except Refused as refusal:
        return PlannedCell(cell, space, refused=str(refusal))
    return PlannedCell(cell, space, None, cost.parameters, cost.macs, cost.inference_macs)


def _refuse_hopeless(plan: Plan, strict: bool) -> None:
    refused = [planned for planned in plan.cells if planned.refused]
    for planned in refused:
        if planned.cell.is_baseline or strict:
            raise Refused(f"{planned.cell.label}: {planned.refused}")
    if all(planned.cell.is_baseline for planned in plan.runnable) and refused:
        raise Refused(f"no variant is left to compare: {refused[0].cell.label}: {refused[0].refused}")
