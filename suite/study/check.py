"""The check between plan and run: component settings, refused pairs, parameters and MACs on the meta device.

The first step that may import torch; still before Ray, MLflow writes and images.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from suite.core import recipes, registry
from suite.core.errors import UserError
from suite.core.settings import Setting, canonicalize_component
from suite.core.specs import Cell, Component, Settings, Space, format_settings, freeze_settings
from suite.data.dataset import Dataset
from suite.data.source import DatasetInfo
from suite.models import grafting
from suite.models.assembly import assemble_network, input_shape
from suite.study.model_costs import NetworkCosts, count_costs
from suite.study.plan import Axis, Plan, PlannedCell, entries_by_kind, expand_axes, refuse_repeats, with_cells

MOST_CORNERS = 256  # combinations of a space's bounds and choices that are tried
LAST = 1 - 2**-53  # the position of a space's upper bound


def check_plan(plan: Plan, data: Path, *, strict: bool = False) -> Plan:
    """The plan with canonical settings, costs, and a sentence on each pair that can't be served.

    Args:
        data: the data directory; facts of some datasets are read from their files there.
        strict: refuse the study when any pair is refused.

    Raises:
        UserError: an illegal setting or space, a refused baseline, nothing left to run, or `strict` and a refusal.
    """
    study = plan.study
    same: dict[registry.Kind, dict[Component, Axis]] = {}
    for kind, entries in entries_by_kind(study).items():
        same[kind] = {axis.component: _canonicalize_axis(kind, axis) for axis in expand_axes(kind, entries)}
        refuse_repeats(list(same[kind].values()))
    recipe = recipes.resolve_recipe(plan.recipe)
    stored = {axis.component: _read_dataset_info(axis, recipe, data) for axis in same["dataset"].values()}
    facts = {one: replace(known, shape=input_shape(known, recipe)) for one, known in stored.items()}
    spaces = {name: _check_space(name, space) for name, space in study.search.space.items()}
    _check_searched_knobs(plan, spaces, stored.values())
    cells = [replace(planned, cell=_replace_components(same, planned.cell)) for planned in plan.cells]
    counted = count_costs(
        (cell, facts[cell.dataset].shape, facts[cell.dataset].classes) for cell in (x.cell for x in cells)
    )
    costed = [_add_costs(plan, planned, spaces, counted[planned.cell]) for planned in cells]
    checked = with_cells(plan, _check_searches(costed, facts))
    _refuse_hopeless(checked, strict)
    return checked


def _canonicalize_axis(kind: registry.Kind, axis: Axis) -> Axis:
    component = axis.component
    try:
        if kind == "variant":
            component = replace(component, name=grafting.canonical_name(component.name))
            declared: Mapping[str, Setting] = grafting.find_settings(component.name)
        else:
            declared = registry.load_component(kind, component.name).SETTINGS
    except UserError as refusal:
        raise UserError(f"{axis.where}: {refusal}") from refusal
    return replace(axis, component=canonicalize_component(declared, component, axis.where))


def _read_dataset_info(axis: Axis, recipe: recipes.Recipe, data: Path) -> DatasetInfo:
    """What is known of the dataset, whose training part must hold what the recipe holds out."""
    try:
        facts = Dataset(axis.component, data).info
    except UserError as refusal:
        raise UserError(f"{axis.where}: {refusal}") from refusal
    held_out = recipe.validation or facts.validation
    if facts.train_examples - held_out < 2:
        where = "recipe.validation" if recipe.validation else axis.where
        raise UserError(
            f"{where}: holding out {held_out} of the {facts.train_examples} training images of "
            f"{axis.component.label} leaves nothing to train on; name fewer"
        )
    if facts.classes < 2:
        raise UserError(f"{axis.where}: {axis.component.label} has one class alone; a classification needs two")
    return facts


def _replace_components(same: Mapping[registry.Kind, Mapping[Component, Axis]], cell: Cell) -> Cell:
    return Cell(
        same["dataset"][cell.dataset].component,
        same["backbone"][cell.backbone].component,
        same["variant"][cell.variant].component,
    )


def _check_space(name: str, space: Space) -> Space:
    variant, dot, knob = name.partition(".")
    declared = grafting.find_settings(variant) if dot else recipes.KNOBS
    where = f"search.space.{name}"
    if dot and knob not in declared:
        raise UserError(f"{where}: {variant} has no setting {knob!r}; it has: {', '.join(sorted(declared)) or 'none'}")
    setting: Setting = declared[knob if dot else name]
    try:
        if space.choices:
            return replace(space, choices=tuple(setting.parse_value(choice) for choice in space.choices))
        whole = isinstance(setting.default, int) and not isinstance(setting.default, bool)
        for bound in (space.low, space.high):
            setting.parse_value(int(bound) if whole and bound is not None and bound == int(bound) else bound)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    return replace(space, integer=whole)


def _add_costs(plan: Plan, planned: PlannedCell, spaces: Mapping[str, Space], counted: NetworkCosts) -> PlannedCell:
    cell = planned.cell
    space = tuple((name, spaces[name]) for name, _ in planned.space)
    cost = counted.costs
    if cost is None:
        return PlannedCell(cell, space, refused=counted.refused)
    try:
        fixed = _find_fixed_knobs(plan, cell)
    except UserError as refusal:
        return PlannedCell(cell, space, refused=str(refusal))
    changed = {name: value for name, value in fixed if name != "epochs"}
    settled = changed.keys() | recipes.find_idle_knobs(
        recipes.resolve_recipe(plan.recipe, freeze_settings(changed)), changed
    )
    return PlannedCell(
        cell,
        space=tuple(item for item in space if item[0] not in settled),
        fixed=fixed,
        parameters=cost.parameters,
        macs=cost.macs,
        inference_macs=cost.inference_macs,
        warnings=counted.warnings,
    )


def _find_fixed_knobs(plan: Plan, cell: Cell) -> Settings:
    """The recipe knobs that the cell's variant sets, and sets to something else than the study's recipe does.

    Raises:
        UserError: they are illegal together with the recipe.
    """
    changes = grafting.recipe_changes(cell.variant.name, dict(cell.variant.settings))
    epochs = changes.pop("epochs", plan.epochs)
    recipe = recipes.resolve_recipe(plan.recipe, freeze_settings(changes))
    own = recipes.resolve_recipe(plan.recipe)
    if recipe.random_resized_crop != own.random_resized_crop:
        raise UserError(f"{cell.variant.label}: a group's cells see images of one size; leave random_resized_crop out")
    named = {**changes, **({"epochs": epochs} if epochs != plan.epochs else {})}
    if changes and all(value == getattr(own, name) for name, value in named.items()):
        said = ", ".join(f"{name} {value}" for name, value in named.items())
        raise UserError(f"{cell.variant.label}: changes nothing, the study's recipe has {said} already; leave it out")
    if not changes.get("augment", True) and not any(getattr(own, name) for name in recipes.AUGMENTING):
        raise UserError(f"{cell.variant.label}: the study's recipe augments nothing; leave it out, or name flip or pad")
    return freeze_settings(named)


def _check_searched_knobs(plan: Plan, spaces: Mapping[str, Space], facts: Iterable[DatasetInfo]) -> None:
    knobs = [(name, space) for name, space in spaces.items() if "." not in name]
    known = list(facts)

    def serve(chosen: Settings) -> None:
        for one in known:
            input_shape(one, recipes.resolve_recipe(plan.recipe, chosen))

    found = _find_refusal(knobs, serve)
    if found:
        raise UserError(found[1])


def _check_searches(cells: Iterable[PlannedCell], facts: Mapping[Component, DatasetInfo]) -> Iterator[PlannedCell]:
    """The cells, each refused when its variant can't be built at some corner of its space.

    Raises:
        UserError: no cell that searches a name can serve all of its space, so the space itself is wrong.
    """
    cells = list(cells)
    found = {planned.cell: _variant_refusal(planned, facts[planned.cell.dataset]) for planned in cells}
    served = {name for planned in cells if not (planned.refused or found[planned.cell]) for name, _ in planned.space}
    for planned in cells:
        refusal = found[planned.cell]
        if refusal and refusal[0] not in served:
            raise UserError(refusal[1])
        yield PlannedCell(planned.cell, planned.space, planned.fixed, refusal[1]) if refusal else planned


def _variant_refusal(planned: PlannedCell, facts: DatasetInfo) -> tuple[str, str] | None:
    def build(chosen: Settings) -> None:
        assemble_network(planned.cell, facts.shape, facts.classes, streams=None, hyperparameters=chosen)

    return None if planned.refused else _find_refusal([item for item in planned.space if "." in item[0]], build)


def _find_refusal(space: Iterable[tuple[str, Space]], attempt: Callable[[Settings], object]) -> tuple[str, str] | None:
    """The name to blame and the sentence, when `attempt` refuses some combination of bounds and choices."""

    def refused(chosen: Mapping[str, object]) -> UserError | None:
        try:
            attempt(freeze_settings(chosen))
        except UserError as refusal:
            return refusal
        return None

    space = list(space)
    if not space:
        return None
    values = [item.choices or (item.value_at(0.0), item.value_at(LAST)) for _, item in space]
    for corner in itertools.islice(itertools.product(*values), MOST_CORNERS):
        chosen = dict(zip((name for name, _ in space), corner, strict=True))
        if not refused(chosen):
            continue
        for name in list(chosen):  # what is refused without a name isn't that name's fault
            rest = {other: value for other, value in chosen.items() if other != name}
            chosen = rest if refused(rest) else chosen
        name = min(chosen)
        return name, f"search.space.{name}: with {format_settings(freeze_settings(chosen))}: {refused(chosen)}"
    return None


def _refuse_hopeless(plan: Plan, strict: bool) -> None:
    refused = [planned for planned in plan.cells if planned.refused]
    for planned in refused:
        if planned.cell.is_baseline or strict:
            raise UserError(f"{planned.cell.label}: {planned.refused}")
    if all(planned.cell.is_baseline for planned in plan.runnable) and refused:
        raise UserError(f"no variant is left to compare: {refused[0].cell.label}: {refused[0].refused}")
