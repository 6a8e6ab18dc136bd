"""One network on the bench: seconds of its start, steps, evaluation and checkpoint, by the code of trials."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from suite.core.errors import UserError
from suite.core.recipes import Recipe
from suite.core.specs import Cell, Settings, Streams
from suite.data.source import DatasetInfo
from suite.models.assembly import assemble_network, input_shape
from suite.price.costs import NetworkTiming
from suite.training.augment import Augmentation
from suite.training.checkpoint import Checkpoints
from suite.training.data import Examples, Scaling, TrainingData
from suite.training.execution import Execution, device_name
from suite.training.feeds import Feed, Residency, make_feed
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


def time_network(subject: Subject, scratch: Path) -> NetworkTiming:
    """Seconds of a network's start, training, evaluation and checkpoint. First steps are timed as part of the start.

    Args:
        scratch: a folder for the checkpoint.
    """
    execution = subject.execution
    with refuse_too_large(subject):
        network, start = start_network(subject)
        network.train_steps(1, epoch=2)
        step, steps = network.time_training()
        held = min(subject.held, STEPS * subject.batch)
        network.evaluate_images(min(held, subject.batch))
        evaluation = measure_seconds(lambda: network.evaluate_images(held), execution)
        save = measure_seconds(lambda: network.save_checkpoint(scratch), execution)
    return NetworkTiming(start, step / subject.batch, evaluation / held, save, steps)


def wake_device(subject: Subject) -> None:
    """What a process does once, at its first step, is no trial's."""
    with refuse_too_large(subject):
        start_network(subject)


@contextlib.contextmanager
def refuse_too_large(subject: Subject) -> Iterator[None]:
    """Memory that is too small for the network becomes a refusal."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        place = device_name(subject.execution.device)
        raise UserError(f"{subject.cell.label}: doesn't fit into the memory of {place}") from error


def start_network(subject: Subject) -> tuple[Bench, float]:
    """The network after its first step, and the seconds until then."""
    images = _make_images(subject)
    subject.execution.synchronise()
    began = time.perf_counter()
    network = Bench(subject, images)
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


class Bench:
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

    def time_training(self) -> tuple[float, int]:
        """As `time_steps`, of this network."""

        def time_some(steps: int) -> float:
            return measure_seconds(lambda: self.train_steps(steps, epoch=3), self._subject.execution)

        return time_steps(time_some)

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
