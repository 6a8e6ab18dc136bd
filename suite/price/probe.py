"""Times a plan's networks on this machine: training steps and an evaluation, on made images, by the code of trials."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor

from suite.core.errors import UserError
from suite.core.recipes import Recipe
from suite.core.specs import Cell, Component, Settings, Streams
from suite.data.dataset import STREAM_ABOVE, Dataset
from suite.data.source import DatasetInfo
from suite.models.assembly import assemble_network, input_shape
from suite.price.costs import NetworkTiming, count_images, resolve_cell_recipe
from suite.price.price import Device
from suite.price.timings import KeptTiming, count_batch, count_threads, identify_network, keep_timing
from suite.study.plan import ExecutionConfig, Plan, PlannedCell, group_label
from suite.sweep.execution_settings import choose_execution
from suite.sweep.storage import StudyStorage
from suite.training.augment import Augmentation
from suite.training.checkpoint import Checkpoints
from suite.training.data import Examples, Scaling, TrainingData
from suite.training.execution import Execution, device_name, resolve_device
from suite.training.feeds import Feed, Residency, choose_residency, make_feed
from suite.training.loop import Diverged, build_optimizer, evaluate_model, train_epoch

STEPS = 20
LONGEST = 60.0  # seconds that a network's steps may take; of slower ones there are fewer
FEWEST = 3
_SHORTEST = 1.0  # seconds of steps: of quicker ones there are more, or a busy moment of the machine would decide
_MOST = 200  # steps
_DISTINCT = 1024  # made images; an epoch goes through them again and again
_STREAMS = Streams("search", 0)


@dataclass(frozen=True)
class Subject:
    """What is timed: a cell's network and recipe, on images like its dataset's.

    Attributes:
        chosen: hyperparameters that change the network, as the first search trial draws them.
        held: images of an evaluation.
        residency: where the images live.
    """

    cell: Cell
    chosen: Settings
    recipe: Recipe
    info: DatasetInfo
    batch: int
    held: int
    execution: Execution
    residency: Residency


class Images(NamedTuple):
    """Made images and their labels, on the device."""

    feed: Feed
    labels: Tensor


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

    Raises:
        UserError: a network doesn't fit into the device's memory.
    """

    def __init__(self, plan: Plan, cells: Iterable[PlannedCell], data: Path, device: torch.device) -> None:
        self._plan, self._data, self._place = plan, data, device
        self._datasets = {planned.cell.dataset: Dataset(planned.cell.dataset, data) for planned in plan.runnable}
        self.device = Device("cuda" if device.type == "cuda" else "cpu", device_name(device))
        self.networks: dict[str, list[PlannedCell]] = {}
        for planned in cells:
            network = identify_network(plan, planned, self._datasets[planned.cell.dataset].info)
            self.networks.setdefault(network, []).append(planned)

    def time_networks(self) -> Iterator[tuple[list[PlannedCell], KeptTiming]]:
        """The cells of each network, and what it took."""
        storage = StudyStorage(self._plan.study)
        executions = _choose_executions(self._plan, self._data, self._place, storage)
        is_awake = False
        with _make_scratch(storage.path) as scratch:
            for network, cells in self.networks.items():
                subject = _describe_subject(self._plan, cells[0], self._datasets, self._place, executions)
                if not is_awake:
                    wake_device(subject)
                    is_awake = True
                kept = KeptTiming(self.device, time_network(subject, Path(scratch)), time.time())
                keep_timing(network, kept)
                yield cells, kept


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


# -- one network


def time_network(subject: Subject, scratch: Path) -> NetworkTiming:
    """Seconds of a network's start, training, evaluation and checkpoint. First steps are timed as part of the start.

    Args:
        scratch: a folder for the checkpoint.
    """
    execution = subject.execution
    with _refuse_too_large(subject):
        network, start = start_network(subject)
        network.train_steps(1, epoch=2)

        def time_some(steps: int) -> float:
            return measure_seconds(lambda: network.train_steps(steps, epoch=3), execution)

        step, steps = time_steps(time_some)
        held = min(subject.held, STEPS * subject.batch)
        network.evaluate_images(min(held, subject.batch))
        evaluation = measure_seconds(lambda: network.evaluate_images(held), execution)
        save = measure_seconds(lambda: network.save_checkpoint(scratch), execution)
    return NetworkTiming(start, step / subject.batch, evaluation / held, save, steps)


def wake_device(subject: Subject) -> None:
    """What a process does once, at its first step, is no trial's."""
    with _refuse_too_large(subject):
        start_network(subject)


@contextlib.contextmanager
def _refuse_too_large(subject: Subject) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        place = device_name(subject.execution.device)
        raise UserError(f"{subject.cell.label}: doesn't fit into the memory of {place}") from error


def start_network(subject: Subject) -> tuple[_Bench, float]:
    """The network after its first step, and the seconds until then."""
    images = _make_images(subject)
    subject.execution.synchronise()
    began = time.perf_counter()
    network = _Bench(subject, images)
    network.train_steps(1, epoch=1)
    subject.execution.synchronise()
    return network, time.perf_counter() - began


def measure_seconds(action: Callable[[], None], execution: Execution) -> float:
    """The seconds of a call, the device's work included."""
    execution.synchronise()
    began = time.perf_counter()
    action()
    execution.synchronise()
    return time.perf_counter() - began


def time_steps(time_some: Callable[[int], float]) -> tuple[float, int]:
    """Seconds of a step, and of how many it is the mean.

    Args:
        time_some: trains so many steps and says how many seconds they took.
    """
    few = time_some(FEWEST)
    steps = choose_steps(few / FEWEST)
    return (time_some(steps) / steps, steps) if steps > FEWEST else (few / FEWEST, FEWEST)


def choose_steps(step: float) -> int:
    """How many steps of so many seconds are timed."""
    if STEPS * step > LONGEST:
        return max(FEWEST, int(LONGEST / step))
    return max(STEPS, min(_MOST, math.ceil(_SHORTEST / step)))


def _make_images(subject: Subject) -> Images:
    """Random ones, on the device or off it as the dataset's would be."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (_DISTINCT, *subject.info.shape), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, subject.info.classes, (_DISTINCT,), generator=generator)
    device = subject.execution.device
    return Images(make_feed(pixels, subject.residency, device), labels.to(device))


class _Bench:
    """A network set up as in a trial."""

    def __init__(self, subject: Subject, images: Images) -> None:
        execution = subject.execution
        self._subject, self._images = subject, images
        network = input_shape(subject.info, subject.recipe)
        execution.set_up_process()
        graft = assemble_network(
            subject.cell, network, subject.info.classes, streams=_STREAMS, hyperparameters=subject.chosen
        )
        self._graft = graft._replace(model=execution.place_model(graft.model))
        self._optimizer = build_optimizer(subject.recipe, self._graft.model, execution.device)
        self._augmentation = Augmentation.of(subject.recipe)
        halves = (0.5,) * network[0]
        self._scaling = Scaling.of(halves, halves, execution.device)

    def train_steps(self, number: int, epoch: int) -> None:
        """An epoch of so many steps, at rate 0: the weights stay finite, and the time is the same."""
        examples = self._take(number * self._subject.batch)
        with contextlib.suppress(Diverged):  # on made images it says nothing
            train_epoch(
                self._graft,
                self._optimizer,
                TrainingData(examples, examples, self._scaling),
                self._subject.execution,
                self._augmentation,
                batch=self._subject.batch,
                streams=_STREAMS,
                epoch=epoch,
                learning_rate=0.0,
            )

    def evaluate_images(self, number: int) -> None:
        with contextlib.suppress(Diverged):
            evaluate_model(
                self._graft.model,
                self._take(number),
                self._scaling,
                self._subject.execution,
                self._augmentation,
                batch=self._subject.recipe.batch,
                seed=0,
            )

    def save_checkpoint(self, folder: Path) -> None:
        """As after a best epoch."""
        checkpoints = Checkpoints(folder, "probe", self._subject.execution.device, keeps_best=True)
        checkpoints.save_epoch(self._graft.model, self._optimizer, (), is_best=True)

    def _take(self, number: int) -> Examples:
        index = torch.arange(number) % _DISTINCT
        return Examples(self._images.feed, self._images.labels, index, self._subject.info.shape[1:])
