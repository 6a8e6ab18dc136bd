"""What one trial takes, in seconds and in bytes on the disk: arithmetic alone, no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

from suite.core import recipes
from suite.core.recipes import Recipe
from suite.core.specs import Stage, freeze_settings
from suite.data.source import DatasetInfo
from suite.study.plan import Plan, PlannedCell

# Bytes, as docs/records.md has them: a record and predictions are kept twice, since MLflow has copies; the ten metrics
# of an epoch take 3 kB of MLflow's SQLite with their indexes.
_RECORD, _RECORD_EPOCH = 6_500, 700
_TRACKING, _TRACKING_EPOCH = 17_000, 3_000
_PREDICTIONS, _PREDICTION = 3_000, 4
_WEIGHT = 4  # float32
AFFORDABLE = 20_000_000  # as `suite.training.predictions` has it, which imports torch


@dataclass(frozen=True)
class NetworkTiming:
    """Seconds that a network took on a device.

    Attributes:
        start: to build it, and to its first step's end; once a trial.
        train_image, evaluated_image: per image.
        save: to write the checkpoint of an epoch.
        steps: how many training steps were timed.
    """

    start: float
    train_image: float
    evaluated_image: float
    save: float
    steps: int


class ImageCounts(NamedTuple):
    """Images that a trial trains, validates and tests on."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class TrialCost:
    """Seconds of a cell's trials: `start` once, `epoch` each, `test` once a confirm trial."""

    start: float
    epoch: float
    test: float

    def compute_seconds(self, stage: Stage, epochs: int) -> float:
        seconds = self.start + epochs * self.epoch
        return seconds + self.test if stage == "confirm" else seconds

    def scale(self, factor: float) -> TrialCost:
        """Of a network or images that take so much longer; a start takes as long."""
        return TrialCost(self.start, factor * self.epoch, factor * self.test)


class DiskSpace(NamedTuple):
    """Bytes that a trial leaves: of weights, and of all else (record, predictions, MLflow's rows and copies)."""

    weights: float
    others: float


def resolve_cell_recipe(plan: Plan, planned: PlannedCell) -> Recipe:
    """The recipe of a cell's trials, before a search chooses; its `epochs` are those of confirm trials."""
    fixed = dict(planned.fixed)
    epochs = fixed.pop("epochs", plan.epochs)
    return dataclasses.replace(recipes.resolve_recipe(plan.recipe, freeze_settings(fixed)), epochs=epochs)


def count_images(info: DatasetInfo, recipe: Recipe) -> ImageCounts:
    """What planning knows of the parts; files with a validation part of their own say so in `info`."""
    validation = recipe.validation or info.validation
    train = info.train_examples - validation
    if recipe.train_limit:
        train = min(train, recipe.train_limit)
    return ImageCounts(train, validation, info.test_examples)


def cost_trial(timing: NetworkTiming, images: ImageCounts, recipe: Recipe) -> TrialCost:
    """The cost of a trial whose network was timed on the same batch."""
    epoch = images.train * timing.train_image + images.validation * timing.evaluated_image + timing.save
    passes = 1
    if recipe.test_crops > 1:
        passes += recipe.test_crops
    if recipe.test_curve:
        passes += recipe.epochs
    return TrialCost(timing.start, epoch, passes * images.test * timing.evaluated_image)


def measure_disk_space(plan: Plan, planned: PlannedCell, stage: Stage, epochs: int, info: DatasetInfo) -> DiskSpace:
    """What a trial that ran its whole budget leaves, about."""
    weights = _WEIGHT * (planned.parameters or 0) if plan.study.keep == "best" else 0
    others = _RECORD + _TRACKING + epochs * (_RECORD_EPOCH + _TRACKING_EPOCH)
    if stage == "confirm":
        others += 2 * (_PREDICTIONS + info.test_examples * (_PREDICTION + _count_probability_bytes(plan, info)))
    return DiskSpace(weights, others)


def _count_probability_bytes(plan: Plan, info: DatasetInfo) -> int:
    """Per test image; float16."""
    wanted, size = plan.study.probabilities, 2 * info.classes
    if wanted == "none" or (wanted == "auto" and size * info.test_examples > AFFORDABLE):
        return 0
    return size
