"""Times a plan's networks on this machine, each once, alone; and how much longer a step takes beside other trials."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console

from suite.core.errors import UserError
from suite.core.specs import Component
from suite.data.dataset import STREAM_ABOVE, Dataset
from suite.price.bench import Bench, Subject, refuse_too_large, start_network, time_network, wake_device
from suite.price.costs import count_images, resolve_cell_recipe
from suite.price.neighbours import train_beside
from suite.price.price import Device, count_slots_here
from suite.price.timings import KeptTiming, count_batch, count_threads, identify_network, keep_timing
from suite.study.plan import ExecutionConfig, Plan, PlannedCell, group_label
from suite.sweep.execution_settings import choose_execution
from suite.sweep.storage import StudyStorage
from suite.training.execution import Execution, device_name, resolve_device
from suite.training.feeds import Residency, choose_residency

LONG = 5.0  # seconds of steps that are compared with as many beside other trials
MOST_AT_ONCE = 16  # trials that are tried beside each other; more would say little more


def choose_device(plan: Plan, name: str) -> torch.device:
    """The device that the plan's trials would run on here.

    Raises:
        UserError: there is none of that name.
    """
    is_for_cpu = name == "auto" and plan.study.resources.gpus == 0
    return resolve_device("cpu" if is_for_cpu else name)


class Probe:
    """Times every distinct network among some cells of a plan, and keeps what it took in this machine's cache.

    Nothing is read of a dataset but its facts, and nothing is written to the study's storage.

    Attributes:
        device: what it times on.
        networks: cells that share a network, by its identity.
        timings: those made so far, by network.

    Raises:
        UserError: a network doesn't fit into the device's memory.
    """

    def __init__(self, plan: Plan, cells: Iterable[PlannedCell], data: Path, device: torch.device) -> None:
        self._plan, self._data, self._place = plan, data, device
        self._datasets = {planned.cell.dataset: Dataset(planned.cell.dataset, data) for planned in plan.runnable}
        self._subjects: dict[str, Subject] = {}
        self.device = Device("cuda" if device.type == "cuda" else "cpu", device_name(device))
        self.timings: dict[str, KeptTiming] = {}
        self.networks: dict[str, list[PlannedCell]] = {}
        for planned in cells:
            network = identify_network(plan, planned, self._datasets[planned.cell.dataset].info)
            self.networks.setdefault(network, []).append(planned)

    def time_networks(self) -> Iterator[tuple[PlannedCell, KeptTiming]]:
        """The first cell of each network, and what the network took, alone."""
        storage = StudyStorage(self._plan.study)
        executions = _choose_executions(self._plan, self._data, self._place, storage)
        for network, cells in self.networks.items():
            self._subjects[network] = _describe_subject(self._plan, cells[0], self._datasets, self._place, executions)
        wake_device(next(iter(self._subjects.values())))
        with _make_scratch(storage.path) as scratch:
            for network, cells in self.networks.items():
                timing = time_network(self._subjects[network], Path(scratch))
                self._keep(network, KeptTiming(self.device, timing, time.time()))
                yield cells[0], self.timings[network]

    def time_crowd(self, trials: int) -> Crowd | None:
        """How many trials a run has on this machine at once, and how many times as long each step then takes.

        Tried on the network that takes most. None where a trial has no neighbours, or they could not be started.

        Args:
            trials: how many there are in all.
        """
        slots = min(count_slots_here(self._plan, self.device.kind), trials, MOST_AT_ONCE)
        if slots < 2:
            return None
        network = max(self.networks, key=lambda each: len(self.networks[each]) * self.timings[each].timing.train_image)
        factor = measure_crowding(self._subjects[network], slots - 1)
        if factor is None:
            return None
        for each, kept in list(self.timings.items()):
            self._keep(each, replace(kept, slots=slots, crowding=factor))
        return Crowd(self.networks[network][0], slots, factor)

    def _keep(self, network: str, kept: KeptTiming) -> None:
        self.timings[network] = kept
        keep_timing(network, kept)


class Crowd(NamedTuple):
    """Trials at once, and how many times as long a step of one then takes, as the cell's network did."""

    planned: PlannedCell
    slots: int
    factor: float


def measure_crowding(subject: Subject, neighbours: int) -> float | None:
    """How many times as long a step takes beside so many others; None where they could not be started."""
    with refuse_too_large(subject):
        network, _ = start_network(subject)
        network.train_steps(1, epoch=2)
        alone = _time_long(network)
        with train_beside(subject, neighbours) as are_busy:
            return max(1.0, _time_long(network) / alone) if are_busy else None


def _time_long(network: Bench) -> float:
    """Seconds of a step, over so many that a busy moment of the machine counts little."""
    began, steps = time.perf_counter(), list[float]()
    while not steps or time.perf_counter() - began < LONG:
        steps.append(network.time_training()[0])
    return statistics.fmean(steps)


def _choose_executions(
    plan: Plan, data: Path, device: torch.device, storage: StudyStorage
) -> dict[str, ExecutionConfig]:
    """As a run on this machine would, quietly."""
    try:
        return choose_execution(
            plan,
            data,
            str(device),
            plan.study.resources,
            decided=storage.read_execution(),
            elsewhere=False,
            console=Console(quiet=True),
        )
    except torch.OutOfMemoryError as error:
        raise UserError(f"a network of {plan.study.study} doesn't fit into the memory of {device}") from error


def _make_scratch(storage: Path) -> tempfile.TemporaryDirectory[str]:
    """A folder that goes again, on the disk where checkpoints will be written, if that can be."""
    for folder in storage.absolute().parents:
        if folder.is_dir():
            writable = str(folder) if os.access(folder, os.W_OK) else None
            return tempfile.TemporaryDirectory(prefix=".graftbench-probe-", dir=writable)
    return tempfile.TemporaryDirectory(prefix=".graftbench-probe-")


def _describe_subject(
    plan: Plan,
    planned: PlannedCell,
    datasets: Mapping[Component, Dataset],
    device: torch.device,
    executions: Mapping[str, ExecutionConfig],
) -> Subject:
    dataset, chosen = datasets[planned.cell.dataset], executions[group_label(planned.cell)]
    info, recipe, resources = dataset.info, resolve_cell_recipe(plan, planned), plan.study.resources
    micro_batch = chosen.micro_batch if device.type == "cuda" else None  # decided where the study ran, maybe not here
    drawn = plan.first_draws(planned, 0)
    return Subject(
        cell=planned.cell,
        chosen=tuple((name, value) for name, value in drawn if "." in name),
        recipe=recipe,
        info=info,
        batch=count_batch(recipe, info),
        held=max(1, count_images(info, recipe).validation),
        execution=Execution(device, chosen.precision, chosen.channels_last, micro_batch, count_threads(plan)),
        residency=_choose_residency(dataset, resources.residency, device, resources.device_memory),
    )


def _choose_residency(dataset: Dataset, wanted: str, device: torch.device, fraction: float) -> Residency:
    """Where a trial's images would live; those that are decoded while it trains are taken to lie in memory."""
    is_streamed = wanted == "stream" or (wanted == "auto" and dataset.size > STREAM_ABOVE)
    return "host" if is_streamed else choose_residency(wanted, dataset.size, device, fraction)
