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
    canonical: dict[registry.Kind, dict[Component, Axis]] = {}
    for kind, entries in entries_by_kind(study).items():
        canonical[kind] = {axis.component: _canonicalize_axis(kind, axis) for axis in expand_axes(kind, entries)}
        refuse_repeats(list(canonical[kind].values()))
    recipe = recipes.resolve_recipe(plan.recipe)
    stored = [(axis.component, _read_dataset_info(axis, recipe, data)) for axis in canonical["dataset"].values()]
    datasets = {dataset: replace(info, shape=input_shape(info, recipe)) for dataset, info in stored}
    spaces = {name: _check_space(name, space) for name, space in study.search.space.items()}
    _check_searched_knobs(plan, spaces, dict(stored).values())
    cells = []
    for planned in plan.cells:
        cell = Cell(
            canonical["dataset"][planned.cell.dataset].component,
            canonical["backbone"][planned.cell.backbone].component,
            canonical["variant"][planned.cell.variant].component,
        )
        cells.append(PlannedCell(cell, tuple((name, spaces[name]) for name, _ in planned.space)))
    costs = count_costs((planned.cell for planned in cells), datasets)
    cells = [_add_costs(plan, planned, costs[planned.cell]) for planned in cells]
    checked = with_cells(plan, _check_searches(cells, datasets))
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


def _check_space(name: str, space: Space) -> Space:
    variant, dot, knob = name.partition(".")
    declared = grafting.find_settings(variant) if dot else recipes.KNOBS
    setting = declared.get(knob or name)
    if setting is None:
        knobs = ", ".join(sorted(declared)) or "none"
        raise UserError(f"search.space.{name}: {variant} has no setting {knob!r}; it has: {knobs}")
    try:
        if space.choices:
            return replace(space, choices=tuple(map(setting.parse_value, space.choices)))
        whole = isinstance(setting.default, int) and not isinstance(setting.default, bool)
        for bound in (space.low, space.high):
            setting.parse_value(int(bound) if whole and bound is not None and bound == int(bound) else bound)
    except ValueError as error:
        raise UserError(f"search.space.{name}: {error}") from error
    return replace(space, integer=whole)


def _add_costs(plan: Plan, planned: PlannedCell, network: NetworkCosts) -> PlannedCell:
    if network.costs is None:
        return replace(planned, refused=network.refused)
    try:
        fixed = _find_fixed_knobs(plan, planned.cell)
    except UserError as refusal:
        return replace(planned, refused=str(refusal))
    changes = dict(fixed)
    changes.pop("epochs", None)
    recipe = recipes.resolve_recipe(plan.recipe, freeze_settings(changes))
    settled = changes.keys() | recipes.find_idle_knobs(recipe, changes)
    return replace(
        planned,
        space=tuple(item for item in planned.space if item[0] not in settled),
        fixed=fixed,
        **vars(network.costs),
        warnings=network.warnings,
        revision=network.revision,
    )


def _find_fixed_knobs(plan: Plan, cell: Cell) -> Settings:
    """The recipe knobs that the cell's variant sets, and sets to something else than the study's recipe does.

    Raises:
        UserError: they are illegal together with the recipe.
    """
    label = cell.variant.label
    changes = grafting.recipe_changes(cell.variant.name, dict(cell.variant.settings))
    epochs = changes.pop("epochs", plan.epochs)
    recipe = recipes.resolve_recipe(plan.recipe, freeze_settings(changes))
    before = recipes.resolve_recipe(plan.recipe)
    if recipe.random_resized_crop != before.random_resized_crop:
        raise UserError(f"{label}: a group's cells see images of one size; leave random_resized_crop out")
    if changes and recipe == before and epochs == plan.epochs:
        knobs = ", ".join(f"{name} {value}" for name, value in changes.items())
        raise UserError(f"{label}: changes nothing, the study's recipe has {knobs} already; leave it out")
    if not changes.get("augment", True) and not any(getattr(before, name) for name in recipes.AUGMENTING):
        raise UserError(f"{label}: the study's recipe augments nothing; leave it out, or name flip or pad")
    if epochs != plan.epochs:
        changes["epochs"] = epochs
    return freeze_settings(changes)


def _check_searched_knobs(plan: Plan, spaces: Mapping[str, Space], stored: Iterable[DatasetInfo]) -> None:
    def serve_datasets(chosen: Settings) -> None:
        recipe = recipes.resolve_recipe(plan.recipe, chosen)
        for info in stored:
            input_shape(info, recipe)

    refusal = _find_refusal([item for item in spaces.items() if "." not in item[0]], serve_datasets)
    if refusal:
        raise UserError(refusal[1])


def _check_searches(cells: list[PlannedCell], datasets: Mapping[Component, DatasetInfo]) -> Iterator[PlannedCell]:
    """The cells, each refused when its variant can't be built at some corner of its space.

    Raises:
        UserError: no cell that searches a name can serve all of its space, so the space itself is wrong.
    """
    refusals: dict[Cell, tuple[str, str]] = {}
    served: set[str] = set()
    for planned in cells:
        if planned.refused:
            continue
        refusal = _find_variant_refusal(planned, datasets[planned.cell.dataset])
        if refusal:
            refusals[planned.cell] = refusal
        else:
            served.update(dict(planned.space))
    for planned in cells:
        if planned.cell not in refusals:
            yield planned
            continue
        name, sentence = refusals[planned.cell]
        if name not in served:
            raise UserError(sentence)
        yield PlannedCell(planned.cell, planned.space, planned.fixed, sentence)


def _find_variant_refusal(planned: PlannedCell, facts: DatasetInfo) -> tuple[str, str] | None:
    def build(chosen: Settings) -> None:
        assemble_network(planned.cell, facts.shape, facts.classes, streams=None, hyperparameters=chosen)

    return _find_refusal([item for item in planned.space if "." in item[0]], build)


def _find_refusal(space: list[tuple[str, Space]], attempt: Callable[[Settings], object]) -> tuple[str, str] | None:
    """The name to blame and the sentence, when `attempt` refuses some combination of bounds and choices."""

    def try_values(chosen: Mapping[str, object]) -> UserError | None:
        try:
            attempt(freeze_settings(chosen))
        except UserError as refusal:
            return refusal
        return None

    if not space:
        return None
    values = [item.choices or (item.value_at(0.0), item.value_at(LAST)) for _, item in space]
    for corner in itertools.islice(itertools.product(*values), MOST_CORNERS):
        chosen = dict(zip(dict(space), corner, strict=True))
        if not try_values(chosen):
            continue
        for name in list(chosen):  # what is refused without a name isn't that name's fault
            rest = dict(chosen)
            del rest[name]
            if try_values(rest):
                chosen = rest
        name = min(chosen)
        return name, f"search.space.{name}: with {format_settings(freeze_settings(chosen))}: {try_values(chosen)}"
    return None


def _refuse_hopeless(plan: Plan, strict: bool) -> None:
    refused = [planned for planned in plan.cells if planned.refused]
    for planned in refused:
        if planned.cell.is_baseline or strict:
            raise UserError(f"{planned.cell.label}: {planned.refused}")
    if all(planned.cell.is_baseline for planned in plan.runnable) and refused:
        raise UserError(f"no variant is left to compare: {refused[0].cell.label}: {refused[0].refused}")
