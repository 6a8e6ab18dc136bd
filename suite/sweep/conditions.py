"""Precision, memory format and micro-batch of each group, decided by probe before its first trial.

They are equal for every cell of a group, because batch-norm statistics and bits depend on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from suite.assembly import assemble, input_shape
from suite.config import Resources
from suite.layers.model import Graft
from suite.library import Dataset
from suite.plan import Conditions, Plan, PlannedCell, group_label
from suite.specs import Cell, Streams
from suite.training import recipes
from suite.training.execution import Precision, resolve_device
from suite.training.probe import WORTH_IT, Probe, probe


def decide(
    plan: Plan,
    data: Path,
    device: str,
    resources: Resources,
    *,
    known: Mapping[str, Conditions],
    on_ray: bool,
    console: Console,
) -> dict[str, Conditions]:
    """Conditions by group label: those known stay, the study's own choice goes before the probe's.

    Args:
        device: auto, cpu, cuda; of the machine that runs the trials.
        resources: what a trial occupies.
        on_ray: probe inside a Ray task with a trial's resources, where the trials will run.
    """
    decided = dict(known)
    for label, planned in _most_demanding(plan).items():
        if label in decided:
            continue
        fixed = _fixed(plan)
        if fixed is not None:
            decided[label] = fixed
            continue
        threads = max(1, int(resources.cpus))
        facts = Dataset(planned.cell.dataset, data).facts
        shape = input_shape(facts, recipes.resolve(plan.recipe))
        arguments = (planned.cell, shape, facts.classes, plan.batch, device, threads)
        found = _on_ray(resources, arguments) if on_ray else _probe(*arguments)
        precision, channels_last, micro_batch, rate = _chosen(plan, found)
        decided[label] = Conditions(precision, channels_last, micro_batch)
        console.print(escape(_sentence(label, decided[label], rate, found.measured[0][3])))
    return decided


def _most_demanding(plan: Plan) -> dict[str, PlannedCell]:
    """Per group the runnable cell with the most multiply-accumulates; its needs bind the others."""
    heaviest: dict[str, PlannedCell] = {}
    for planned in plan.runnable:
        label = group_label(planned.cell)
        if label not in heaviest or (planned.macs or 0) > (heaviest[label].macs or 0):
            heaviest[label] = planned
    return heaviest


def _fixed(plan: Plan) -> Conditions | None:
    """The study's choice, when it leaves nothing to the probe."""
    study = plan.study
    if study.precision == "auto" or study.memory_format == "auto":
        return None
    return Conditions(study.precision, study.memory_format == "channels_last")


def _probe(cell: Cell, shape: tuple[int, int, int], classes: int, batch: int, device: str, threads: int) -> Probe:
    def build() -> Graft:
        return assemble(cell, shape, classes, streams=Streams("search", 0))

    return probe(build, shape, classes, batch, resolve_device(device), threads)


def _on_ray(resources: Resources, arguments: tuple[Cell, tuple[int, int, int], int, int, str, int]) -> Probe:
    import ray

    task = ray.remote(_probe).options(num_cpus=resources.cpus, num_gpus=resources.gpus or 0)
    found: Probe = ray.get(task.remote(*arguments))
    return found


def _chosen(plan: Plan, found: Probe) -> tuple[Precision, bool, int | None, float]:
    """The measured candidate that the probe's own rule takes among those that the study allows."""
    precision, memory_format = plan.study.precision, plan.study.memory_format
    allowed = [
        candidate
        for candidate in found.measured
        if precision in ("auto", candidate[0]) and memory_format in ("auto", _format(candidate[1]))
    ]
    plain, best = allowed[0], max(allowed, key=lambda candidate: candidate[3])
    return best if best[3] >= WORTH_IT * plain[3] else plain


def _format(channels_last: bool) -> str:
    return "channels_last" if channels_last else "contiguous"


def _sentence(label: str, chosen: Conditions, rate: float, plain: float) -> str:
    gain = f"{rate / plain:.2f} x plain float32" if rate != plain else "plain"
    return f"{label}: {chosen.precision}, {_format(chosen.channels_last)} ({rate:.0f} images/s, {gain})"
