"""The check between plan and run: component settings, refused pairs, parameters and MACs on the meta device.

The first step that may import torch; still before Ray, MLflow writes and images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from suite import registry
from suite.assembly import cell_costs, facts_of
from suite.datasets import Facts
from suite.plan import Axis, Plan, PlannedCell, axes, entries_by_kind, refuse_repeats, with_cells
from suite.settings import Refused, Setting, canonical
from suite.specs import Cell, Component, Space
from suite.training import recipes


def check(plan: Plan, data: Path, *, strict: bool = False) -> Plan:
    """The plan with canonical settings, costs, and a sentence on each pair that can't be served.

    Args:
        data: the data directory; facts of some datasets are read from their files there.
        strict: refuse the study when any pair is refused.

    Raises:
        Refused: an illegal setting or space, a refused baseline, nothing left to run, or `strict` and a refusal.
    """
    study = plan.study
    same: dict[registry.Kind, dict[Component, Axis]] = {}
    for kind, entries in entries_by_kind(study).items():
        same[kind] = {axis.component: _canonical(kind, axis) for axis in axes(kind, entries)}
        refuse_repeats(list(same[kind].values()))
    facts = {axis.component: _facts(axis, plan, data) for axis in same["dataset"].values()}
    spaces = {name: _checked_space(name, space) for name, space in study.search.space.items()}
    cells = (replace(planned, cell=_with(same, planned.cell)) for planned in plan.cells)
    checked = with_cells(plan, (_checked(planned, spaces, facts[planned.cell.dataset]) for planned in cells))
    _refuse_hopeless(checked, strict)
    return checked


def refuse_missing_data(plan: Plan, data: Path) -> None:
    """
    Raises:
        Refused: files of a dataset are missing; the sentence names the path and the command that makes them.
    """
    for axis in axes("dataset", plan.study.datasets):
        missing = facts_of(axis.component, data).missing
        if missing:
            raise Refused(f"{axis.where}: {missing}")


def _canonical(kind: registry.Kind, axis: Axis) -> Axis:
    declared: Mapping[str, Setting] = registry.load(kind, axis.component.name).SETTINGS
    return Axis(axis.where, canonical(declared, axis.component, axis.where))


def _facts(axis: Axis, plan: Plan, data: Path) -> Facts:
    """What is known of the dataset, whose training part must hold what the recipe holds out."""
    try:
        facts = facts_of(axis.component, data)
    except Refused as refusal:
        raise Refused(f"{axis.where}: {refusal}") from refusal
    recipe = recipes.resolve(plan.recipe)
    held_out = recipe.validation or facts.validation
    if facts.train_examples - held_out < 2:
        raise Refused(
            f"recipe.validation: holding out {held_out} of the {facts.train_examples} training images of "
            f"{axis.component.label} leaves nothing to train on; name fewer"
        )
    return facts


def _with(same: Mapping[registry.Kind, Mapping[Component, Axis]], cell: Cell) -> Cell:
    return Cell(
        same["dataset"][cell.dataset].component,
        same["backbone"][cell.backbone].component,
        same["variant"][cell.variant].component,
    )


def _checked_space(name: str, space: Space) -> Space:
    variant, dot, knob = name.partition(".")
    declared = registry.load("variant", variant).SETTINGS if dot else recipes.KNOBS
    where = f"search.space.{name}"
    if dot and knob not in declared:
        raise Refused(f"{where}: {variant} has no setting {knob!r}; it has: {', '.join(sorted(declared)) or 'none'}")
    setting: Setting = declared[knob if dot else name]
    try:
        if space.choices:
            return replace(space, choices=tuple(setting.value(choice) for choice in space.choices))
        whole = isinstance(setting.default, int) and not isinstance(setting.default, bool)
        for bound in (space.low, space.high):
            setting.value(int(bound) if whole and bound is not None and bound == int(bound) else bound)
    except ValueError as error:
        raise Refused(f"{where}: {error}") from error
    return replace(space, integer=whole)


def _checked(planned: PlannedCell, spaces: Mapping[str, Space], facts: Facts) -> PlannedCell:
    cell = planned.cell
    space = tuple((name, spaces[name]) for name, _ in planned.space)
    try:
        cost = cell_costs(cell, facts.shape, facts.classes)
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
