"""Precision, memory format and micro-batch of each group, decided by a rule before its first trial.

They are equal for every cell of a group, because batch-norm statistics and bits depend on them. The rule asks for the
kind of machine and never for the time, so a study started anew decides the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape

from suite.core import recipes
from suite.core.specs import Cell, Streams
from suite.data.dataset import Dataset
from suite.layers.model import Graft
from suite.models.assembly import assemble_network, input_shape
from suite.study.config import Resources
from suite.study.plan import ExecutionConfig, Plan, PlannedCell, group_label
from suite.training.execution import Execution, Precision, choose_precision, resolve_device
from suite.training.micro_batch import find_micro_batch


@dataclass(frozen=True)
class _Question:
    """What the machine that runs a group's trials is asked.

    Attributes:
        cell: the one of the group that needs most.
        precision: the study's choice, or auto.
    """

    cell: Cell
    shape: tuple[int, int, int]
    classes: int
    recipe: recipes.Recipe
    device: str
    threads: int
    precision: Precision | Literal["auto"]
    channels_last: bool


def choose_execution(
    plan: Plan,
    data: Path,
    device: str,
    resources: Resources,
    *,
    known: Mapping[str, ExecutionConfig],
    on_ray: bool,
    console: Console,
) -> dict[str, ExecutionConfig]:
    """Conditions by group label: those known stay, the study's own choice goes before the rule's.

    Args:
        device: auto, cpu, cuda; of the machine that runs the trials.
        resources: what a trial occupies.
        on_ray: decide inside a Ray task with a trial's resources, where the trials will run.
    """
    decided = dict(known)
    for label, planned in _most_demanding(plan).items():
        if label in decided:
            continue
        question = _make_question(plan, planned, data, device, resources)
        decided[label] = _ask_ray(resources, question) if on_ray else _answer_question(question)
        console.print(escape(f"{label}: {_describe_choice(decided[label])}"))
    return decided


def _most_demanding(plan: Plan) -> dict[str, PlannedCell]:
    """Per group the runnable cell with the most multiply-accumulates; its needs bind the others."""
    heaviest: dict[str, PlannedCell] = {}
    for planned in plan.runnable:
        label = group_label(planned.cell)
        if label not in heaviest or (planned.macs or 0) > (heaviest[label].macs or 0):
            heaviest[label] = planned
    return heaviest


def _make_question(plan: Plan, planned: PlannedCell, data: Path, device: str, resources: Resources) -> _Question:
    facts = Dataset(planned.cell.dataset, data).info
    recipe = recipes.resolve_recipe(plan.recipe)
    return _Question(
        planned.cell,
        input_shape(facts, recipe),
        facts.classes,
        recipe,
        device,
        max(1, int(resources.cpus)),
        plan.study.precision,
        plan.study.memory_format != "contiguous",
    )


def _answer_question(question: _Question) -> ExecutionConfig:
    device = resolve_device(question.device)
    precision = choose_precision(device) if question.precision == "auto" else question.precision
    micro_batch = None
    if device.type == "cuda":  # elsewhere memory is not what decides

        def build() -> Graft:
            return assemble_network(question.cell, question.shape, question.classes, streams=Streams("search", 0))

        execution = Execution(device, precision, question.channels_last, threads=question.threads)
        micro_batch = find_micro_batch(build, question.shape, question.classes, question.recipe, execution)
    return ExecutionConfig(precision, question.channels_last, micro_batch)


def _ask_ray(resources: Resources, question: _Question) -> ExecutionConfig:
    import ray

    task = ray.remote(_answer_question).options(num_cpus=resources.cpus, num_gpus=resources.gpus or 0)
    found: ExecutionConfig = ray.get(task.remote(question))
    return found


def _describe_choice(chosen: ExecutionConfig) -> str:
    memory_format = "channels_last" if chosen.channels_last else "contiguous"
    pieces = f", {chosen.micro_batch} images at once" if chosen.micro_batch else ""
    return f"{chosen.precision}, {memory_format}{pieces}"
