"""How many images of a batch fit into a GPU's memory at once: tried, since nothing else tells."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch

from suite.core.recipes import Recipe
from suite.core.specs import Streams
from suite.layers.model import Graft
from suite.training.augment import Augmentation
from suite.training.data import Examples, Scaling, TrainingData
from suite.training.execution import Execution
from suite.training.loop import build_optimizer, train_epoch


def find_micro_batch(
    build_graft: Callable[[], Graft], shape: tuple[int, int, int], classes: int, recipe: Recipe, execution: Execution
) -> int | None:
    """The largest of batch, batch/2, batch/4, ... with which a training step fits; None stands for the whole batch.

    Args:
        execution: device, precision and memory format; its own micro-batch is not looked at.

    Raises:
        torch.OutOfMemoryError: not even two images fit.
    """
    micro_batch: int | None = None
    while True:
        try:
            _train_step(build_graft, shape, classes, recipe, dataclasses.replace(execution, micro_batch=micro_batch))
            return micro_batch
        except torch.OutOfMemoryError:
            micro_batch = math.ceil((micro_batch or recipe.batch) / 2)
            if micro_batch < 2:
                raise
        torch.cuda.empty_cache()


def _train_step(
    build_graft: Callable[[], Graft], shape: tuple[int, int, int], classes: int, recipe: Recipe, execution: Execution
) -> None:
    """Two steps on random images: the second has the optimiser's own memory too."""
    execution.set_up_process()
    graft = build_graft()
    graft = graft._replace(model=execution.place_model(graft.model))
    optimizer = build_optimizer(recipe, graft.model, execution.device)
    data = _draw_images(shape, classes, 2 * recipe.batch, execution.device)
    # At rate 0 the weights stay finite, and the memory is the same.
    train_epoch(
        graft,
        optimizer,
        data,
        execution,
        Augmentation(),
        batch=recipe.batch,
        streams=Streams("search", 0),
        epoch=1,
        learning_rate=0.0,
    )


def _draw_images(shape: tuple[int, int, int], classes: int, count: int, device: torch.device) -> TrainingData:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, classes, (count,), generator=generator)
    examples = Examples.in_memory(pixels.to(device), labels.to(device))
    halves = (0.5,) * shape[0]
    return TrainingData(examples, examples, Scaling.of(halves, halves, device))
