"""Study -> cells -> trials: a pure function. Launchers only consume what it returns."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from suite.core import recipes, registry
from suite.core.errors import UserError, did_you_mean
from suite.core.specs import Cell, Component, Settings, Space, Stage, Trial, first_draw, freeze_settings, split_variant
from suite.study.config import Entry, Study, expand_grid

# Searching these would give cells unequal budgets (a batch also decides the steps) or move the yardstick.
_NOT_SEARCHABLE = frozenset(
    {"epochs", "batch", "train_limit", "validation", "selection", "random_resized_crop", "test_crops", "test_curve"}
)


@dataclass(frozen=True)
class ExecutionConfig:
    """What every trial of a group shares besides its seeds; set before the group's first trial."""

    precision: Literal["float32", "bf16"] = "float32"
    channels_last: bool = False
    micro_batch: int | None = None


@dataclass(frozen=True)
class PlannedCell:
    """A cell and what the check found out about it.

    Attributes:
        space: what its search may choose, by name; a setting that the study fixes is not in it.
        fixed: recipe knobs that its variant sets for its cells, instead of the study's recipe; set by the check.
        refused: why the pair can't be served; its trials become `skipped` records.
        parameters, macs, inference_macs, decoders: as `suite.models.cost` counts; None before the check, where refused.
        warnings: what its parts say of themselves, such as a setting that can do nothing.
        revision: as of `Trial`; set by the check.
    """

    cell: Cell
    space: tuple[tuple[str, Space], ...] = ()
    fixed: Settings = ()
    refused: str | None = None
    parameters: int | None = None
    macs: int | None = None
    inference_macs: int | None = None
    decoders: int | None = None
    warnings: tuple[str, ...] = ()
    revision: str = ""


@dataclass(frozen=True)
class InterimLook:
    """One look at a study's results.

    Attributes:
        seeds: how many confirm seeds every group had, or shall have, at this look, by the group's label.
        detect: the difference in percentage points that `topup` added seeds to see; None: the seeds of the study file.
    """

    seeds: Mapping[str, int]
    detect: float | None = None


def group_label(cell: Cell) -> str:
    """The name of a cell's group in files and messages."""
    return f"{cell.dataset.label} / {cell.backbone.label}"


@dataclass(frozen=True)
class Plan:
    """What a study amounts to.

    Attributes:
        recipe: with the study's overrides, defaults left out.
        epochs, search_epochs: budget of a confirm and of a search trial.
        batch: images per training step.
        looks: at its results so far, the first run's included; what they added is part of the plan.
    """

    study: Study
    recipe: Component
    epochs: int
    search_epochs: int
    batch: int
    cells: tuple[PlannedCell, ...]
    looks: tuple[InterimLook, ...] = ()

    @property
    def runnable(self) -> tuple[PlannedCell, ...]:
        return tuple(planned for planned in self.cells if planned.refused is None)

    @property
    def trials(self) -> int:
        """How many trainings the plan asks for."""
        return sum(self.study.search.trials + self.count_seeds(planned.cell) for planned in self.runnable)

    def count_seeds(self, cell: Cell) -> int:
        """Confirm seeds of a cell: the study's, or what a topup raised its group's to."""
        return max(self.study.seeds, self._seeds_by_group[group_label(cell)])

    @functools.cached_property
    def _seeds_by_group(self) -> Counter[str]:
        raised: Counter[str] = Counter()
        for look in self.looks:
            if look.detect is not None:
                raised |= Counter(look.seeds)  # the larger number of each group
        return raised

    def search_trial(self, cell: Cell, index: int, chosen: Settings, execution: ExecutionConfig) -> Trial:
        return self._make_trial(cell, "search", index, self.search_epochs, chosen, execution)

    def confirm_trials(self, cell: Cell, chosen: Settings, execution: ExecutionConfig) -> list[Trial]:
        """One per confirm seed, all with the hyperparameters that the cell's search chose."""
        seeds = range(self.count_seeds(cell))
        return [self._make_trial(cell, "confirm", seed, self.epochs, chosen, execution) for seed in seeds]

    def fixed_knobs(self, cell: Cell) -> Settings:
        """The recipe knobs that the cell's variant sets."""
        return self._fixed_by_cell.get(cell, ())

    @functools.cached_property
    def _fixed_by_cell(self) -> dict[Cell, Settings]:
        return {planned.cell: planned.fixed for planned in self.cells if planned.fixed}

    def find_revision(self, cell: Cell) -> str:
        """As of `Trial`: results of another revision of the cell don't count."""
        return self._revision_by_cell.get(cell, "")

    @functools.cached_property
    def _revision_by_cell(self) -> dict[Cell, str]:
        return {planned.cell: planned.revision for planned in self.cells if planned.revision}

    def _make_trial(
        self, cell: Cell, stage: Stage, seed: int, epochs: int, chosen: Settings, execution: ExecutionConfig
    ) -> Trial:
        fixed = dict(self.fixed_knobs(cell))
        fixed_epochs = fixed.pop("epochs", epochs)
        if stage == "confirm":  # unequal to the baseline's, and the audit will say so; the searches stay equal
            epochs = fixed_epochs
        return Trial(
            cell=cell,
            recipe=self.recipe,
            stage=stage,
            seed=seed,
            epochs=epochs,
            hyperparameters=freeze_settings(dict(chosen) | fixed),
            split_seed=self.study.split_seed,
            resplit=self.study.resplit,
            precision=execution.precision,
            channels_last=execution.channels_last,
            micro_batch=execution.micro_batch,
            revision=self.find_revision(cell),
        )

    def first_draws(self, planned: PlannedCell, index: int) -> Settings:
        """What the index-th search trial tries in every cell that has these hyperparameters."""
        chosen = {}
        for name, space in planned.space:
            chosen[name] = space.value_at(first_draw(self.study.study, index, name))
        return freeze_settings(chosen)


@dataclass(frozen=True)
class Axis:
    """One entry of a study's list, expanded: where it stands in the file, and the component.

    `backbones`: names of those that a variant is for; empty: all.
    """

    where: str
    component: Component
    backbones: tuple[str, ...] = ()


def expand_axes(kind: registry.Kind, entries: Iterable[Entry]) -> Iterator[Axis]:
    """The entries as components. Raises UserError where none of that kind has an entry's name."""
    for position, entry in enumerate(entries):
        where = f"{kind}s[{position}]"
        registry.check_name(kind, entry.name, where)
        for settings in expand_grid(entry):
            yield Axis(where, Component(entry.name, freeze_settings(settings)), tuple(entry.backbones))


def make_plan(study: Study) -> Plan:
    """The plan as the file says it: names known, grid expanded, spaces assigned; nothing heavy imported.

    Raises:
        UserError: an unknown name, a repeated entry, a space that no cell can use, or an ASHA that stops nothing.
    """
    chosen = Component(study.recipe.name, freeze_settings(study.recipe.settings))
    recipe = recipes.resolve_recipe(chosen)
    search_epochs = study.search.epochs or recipe.epochs
    _check_space_names(study)
    _check_grace(study, search_epochs)
    axes = [refuse_repeats(list(expand_axes(kind, entries))) for kind, entries in entries_by_kind(study).items()]
    cells = []
    for dataset, backbone, variant in itertools.product(*axes):
        if not variant.backbones or backbone.component.name in variant.backbones:
            cell = Cell(dataset.component, backbone.component, variant.component)
            cells.append(PlannedCell(cell, _find_space(study, cell.variant)))
    _refuse_unused(study, cells)
    return Plan(
        study=study,
        recipe=recipes.canonicalize_recipe(chosen),
        epochs=recipe.epochs,
        search_epochs=search_epochs,
        batch=recipe.batch,
        cells=tuple(cells),
    )


def entries_by_kind(study: Study) -> dict[registry.Kind, list[Entry]]:
    """The three lists whose product the study is."""
    return {"dataset": study.datasets, "backbone": study.backbones, "variant": study.variants}


def refuse_repeats(axes: list[Axis]) -> list[Axis]:
    """The axes, if no two components are equal (their product then holds no cell twice); else UserError."""
    seen: set[Component] = set()
    for axis in axes:
        if axis.component in seen:
            raise UserError(
                f"{axis.where}: {axis.component.label} is a duplicate entry; remove the repeated entry or value"
            )
        seen.add(axis.component)
    return axes


def _check_space_names(study: Study) -> None:
    variants = set(itertools.chain.from_iterable(split_variant(entry.name) for entry in study.variants))
    knobs = recipes.KNOBS.keys() - _NOT_SEARCHABLE
    for name in study.search.space:
        where = f"search.space.{name}"
        owner, dot, _ = name.partition(".")
        if dot and owner not in variants:
            raise UserError(f"{where}: the study has no variant {owner!r}{did_you_mean(owner, variants)}")
        if not dot and name in _NOT_SEARCHABLE:
            raise UserError(f"{where}: every cell of a group must have the same {name}; set it under recipe instead")
        if not dot and name not in knobs:
            settings = {f"{variant}.<setting>" for variant in variants}
            raise UserError(f"{where}: unknown hyperparameter{did_you_mean(name, knobs | settings)}")


def _check_grace(study: Study, epochs: int) -> None:
    """A trial's last epoch is never cut off, so the first rung must come before it."""
    asha = study.search.asha
    if asha and asha.grace >= epochs:
        remedy = f"choose less than {epochs}, or leave asha out" if epochs > 1 else "leave asha out"
        raise UserError(f"search.asha.grace: {asha.grace} of {epochs} search epochs stops nothing; {remedy}")


def _refuse_unused(study: Study, cells: Iterable[PlannedCell]) -> None:
    used = dict(itertools.chain.from_iterable(planned.space for planned in cells))
    for name in study.search.space:
        if name not in used:
            raise UserError(f"search.space.{name}: every cell sets it itself, so no search would use it; leave one out")


def _find_space(study: Study, variant: Component) -> tuple[tuple[str, Space], ...]:
    """The study's space without what the variant sets itself, and without other variants' settings."""
    parts = split_variant(variant.name)
    prefix = "" if len(parts) > 1 else f"{variant.name}."  # a composition's settings are named by part already
    fixed = {prefix + name for name, _ in variant.settings}
    space = []
    for name in sorted(study.search.space):
        owner, dot, _ = name.partition(".")
        if name not in fixed and (not dot or owner in parts):
            space.append((name, study.search.space[name]))
    return tuple(space)


def with_cells(plan: Plan, cells: Iterable[PlannedCell]) -> Plan:
    return replace(plan, cells=tuple(cells))
