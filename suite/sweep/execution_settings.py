"""Precision, memory format and micro-batch of each group, decided by a rule before its first trial.

They are equal for every cell of a group, because batch-norm statistics and bits depend on them. The rule asks for the
kind of machine and never for the time, so a study started anew decides the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from suite.core import recipes
from suite.core.processor import choose_cpu_precision
from suite.core.specs import Cell, Streams
from suite.data.dataset import Dataset
from suite.data.source import DatasetInfo
from suite.study.config import Resources
from suite.study.plan import ExecutionConfig, Plan, PlannedCell, group_label


def choose_execution(
    plan: Plan,
    data: Path,
    device: str,
    resources: Resources,
    *,
    decided: Mapping[str, ExecutionConfig],
    elsewhere: bool,
    console: Console,
) -> dict[str, ExecutionConfig]:
    """Conditions by group label: those decided stay, the study's own choice goes before the rule's.

    Args:
        device: auto, cpu, cuda; of the machine that runs the trials.
        resources: what a trial occupies.
        elsewhere: decide inside a Ray task with a trial's resources, where the trials will run.
    """
    executions = dict(decided)
    for label, planned in _most_demanding(plan).items():
        if label in executions:
            continue
        facts, threads = Dataset(planned.cell.dataset, data).info, max(1, int(resources.cpus))
        if device == "cpu" and not elsewhere:
            executions[label] = _choose_for_own_cpu(plan)
        elif elsewhere:
            import ray

            task = ray.remote(_apply_rule).options(num_cpus=resources.cpus, num_gpus=resources.gpus or 0)
            executions[label] = ray.get(task.remote(plan, planned.cell, facts, device, threads))
        else:
            executions[label] = _apply_rule(plan, planned.cell, facts, device, threads)
        console.print(escape(f"{label}: {_describe_choice(executions[label])}"))
    return executions


def _most_demanding(plan: Plan) -> dict[str, PlannedCell]:
    """Per group the runnable cell with the most multiply-accumulates; its needs bind the others."""
    heaviest: dict[str, PlannedCell] = {}
    for planned in plan.runnable:
        label = group_label(planned.cell)
        if label not in heaviest or (planned.macs or 0) > (heaviest[label].macs or 0):
            heaviest[label] = planned
    return heaviest


def _choose_for_own_cpu(plan: Plan) -> ExecutionConfig:
    """Without torch, whose import takes seconds; memory is not what decides there."""
    precision = choose_cpu_precision() if plan.study.precision == "auto" else plan.study.precision
    return ExecutionConfig(precision, plan.study.memory_format != "contiguous", None)


def _apply_rule(plan: Plan, cell: Cell, facts: DatasetInfo, device_name: str, threads: int) -> ExecutionConfig:
    """On the machine that runs the group's trials; `cell` is the one of the group that needs most."""
    from suite.models.assembly import assemble_network, input_shape
    from suite.training.execution import Execution, choose_precision, resolve_device
    from suite.training.micro_batch import find_micro_batch

    device, precision, micro_batch = resolve_device(device_name), plan.study.precision, None
    channels_last = plan.study.memory_format != "contiguous"
    recipe = recipes.resolve_recipe(plan.recipe)
    shape = input_shape(facts, recipe)
    if precision == "auto":
        precision = choose_precision(device)
    if device.type == "cuda":  # elsewhere memory is not what decides

        def build() -> Any:
            return assemble_network(cell, shape, facts.classes, streams=Streams("search", 0))

        execution = Execution(device, precision, channels_last, threads=threads)
        micro_batch = find_micro_batch(build, shape, facts.classes, recipe, execution)
    return ExecutionConfig(precision, channels_last, micro_batch)


def _describe_choice(chosen: ExecutionConfig) -> str:
    memory_format = "channels_last" if chosen.channels_last else "contiguous"
    if chosen.micro_batch:
        return f"{chosen.precision}, {memory_format}, {chosen.micro_batch} images at once"
    return f"{chosen.precision}, {memory_format}"
