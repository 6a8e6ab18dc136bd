"""Which precision, memory format and micro-batch train a network fastest on this machine, by trying."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from suite.layers.model import Graft
from suite.specs import Streams
from suite.training.augment import Augmentation
from suite.training.data import Examples, Scaling, TrainingData
from suite.training.execution import Execution, Precision
from suite.training.loop import Diverged, build_optimizer, train_epoch
from suite.training.recipes import Recipe

WORTH_IT = 1.15  # below this gain plain float32 stays: it is exact, and timings of a busy machine wobble
_SECONDS = 0.6  # of timed steps per candidate
_STEP_SECONDS = 0.5  # on the CPU, a batch is cut down until a step takes about this long
_CANDIDATES: tuple[tuple[Precision, bool], ...] = (("float32", False), ("float32", True), ("bf16", True))


@dataclass(frozen=True)
class Probe:
    """What a group should train with, and what was measured.

    Attributes:
        images_per_second: of the choice, while training.
        measured: (precision, channels_last, micro_batch, images per second) of every candidate that ran.
    """

    precision: Precision
    channels_last: bool
    micro_batch: int | None
    images_per_second: float
    measured: tuple[tuple[Precision, bool, int | None, float], ...]


def probe(
    graft_builder: Callable[[], Graft],
    shape: tuple[int, int, int],
    classes: int,
    batch: int,
    device: torch.device,
    threads: int | None = None,
) -> Probe:
    """Trains a few steps on random images: float32, float32 channels_last, and bf16 channels_last.

    The fastest wins if it beats plain float32 by `WORTH_IT`. Out of memory on CUDA halves the micro-batch.

    Raises:
        torch.OutOfMemoryError: not even two images fit.
    """
    steps = _Steps(graft_builder, shape, classes, device, threads)
    images = batch if device.type == "cuda" else steps.affordable(batch)
    measured = []
    for precision, channels_last in _CANDIDATES:
        micro_batch, rate = steps.fitting(precision, channels_last, images)
        measured.append((precision, channels_last, micro_batch, rate))
    plain, best = measured[0], max(measured, key=lambda candidate: candidate[3])
    return Probe(*(best if best[3] >= WORTH_IT * plain[3] else plain), tuple(measured))


@dataclass(frozen=True)
class _Steps:
    graft_builder: Callable[[], Graft]
    shape: tuple[int, int, int]
    classes: int
    device: torch.device
    threads: int | None

    def affordable(self, batch: int) -> int:
        """As many images of the batch as a step of bearable length takes; at least 4."""
        few = min(batch, 4)
        seconds = few / self.rate(Execution(self.device, threads=self.threads), few, timed=1e-9)
        return max(few, min(batch, int(few * _STEP_SECONDS / seconds)))

    def fitting(self, precision: Precision, channels_last: bool, images: int) -> tuple[int | None, float]:
        """The largest micro-batch that fits (None: the whole batch), and images per second with it."""
        micro_batch: int | None = None
        while True:
            execution = Execution(self.device, precision, channels_last, micro_batch, self.threads)
            try:
                return micro_batch, self.rate(execution, images, timed=_SECONDS)
            except torch.OutOfMemoryError:
                micro_batch = math.ceil((micro_batch or images) / 2)
                if micro_batch < 2:
                    raise
            torch.cuda.empty_cache()

    def rate(self, execution: Execution, images: int, *, timed: float) -> float:
        """Images per second: the median step of `timed` seconds of steps, after a step that doesn't count."""
        execution.settle()
        graft = self.graft_builder()
        graft = graft._replace(model=execution.placed(graft.model))
        optimizer = build_optimizer(Recipe(), graft.model, self.device)
        data = self._random_batch(images)
        seconds: list[float] = []
        deadline = math.inf
        while len(seconds) < 2 or time.perf_counter() < deadline:
            try:
                figures = train_epoch(
                    graft,
                    optimizer,
                    data,
                    execution,
                    Augmentation(),
                    batch=images,
                    streams=Streams("search", 0),
                    epoch=len(seconds) + 1,
                    learning_rate=0.0,  # the weights stay finite; the arithmetic is the same
                )
            except Diverged as error:
                raise RuntimeError(f"the freshly drawn network has no finite loss on noise: {error}") from error
            seconds.append(figures.seconds)
            deadline = min(deadline, time.perf_counter() + timed) if len(seconds) == 1 else deadline
        return images / statistics.median(seconds[1:])

    def _random_batch(self, images: int) -> TrainingData:
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (images, *self.shape), dtype=torch.uint8, generator=generator)
        labels = torch.randint(0, self.classes, (images,), generator=generator)
        examples = Examples.in_memory(pixels.to(self.device), labels.to(self.device))
        halves = (0.5,) * self.shape[0]
        return TrainingData(examples, examples, Scaling.of(halves, halves, self.device))
