"""The data of one trial, and the test-set firewall: `load_test` is a trial's one way to the test part.

Nothing that is chosen, hyperparameters or epochs, may depend on test images: search trials can't read them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from suite.core.errors import UserError
from suite.core.recipes import Recipe
from suite.core.specs import Trial, split_stream
from suite.data import splits
from suite.data.cache import Decoded
from suite.data.composition import count_classes, describe_counts, find_duplicates
from suite.data.dataset import Dataset
from suite.data.images import Unreadable
from suite.data.source import Images, ImageSource, Part
from suite.data.splits import Indices
from suite.training.data import Examples, Scaling, TrainingData
from suite.training.feeds import Residency, choose_residency, make_feed

Wanted = Residency | Literal["auto"]
Pictures = Tensor | Callable[[int], Images]


def decide_residency(dataset: Dataset, wanted: Wanted, device: torch.device, fraction: float) -> Residency:
    """Where the dataset's images should live; `fraction` as of `feeds.choose_residency`."""
    if dataset.is_streamed(wanted):
        return "stream"
    return choose_residency(wanted, dataset.size, device, fraction)


def _open_part(dataset: Dataset, part: Part, streamed: bool) -> tuple[Decoded, Pictures]:
    """What the cache holds of a part, and its images or how one is decoded."""
    found = dataset.load_part(part, keep_images=not streamed)
    if streamed:
        return found, _make_decoder(dataset.open_source(part))
    assert found.images is not None
    return found, torch.from_numpy(found.images)


def _make_decoder(source: ImageSource) -> Callable[[int], Images]:
    def decode(row: int) -> Images:
        try:
            return source.decode(row)
        except Unreadable as error:
            raise UserError(f"{source.name(row)} {error}; repair it, then `graftbench data verify`") from error

    return decode


def training_data(
    trial: Trial, dataset: Dataset, recipe: Recipe, residency: Residency, device: torch.device
) -> tuple[TrainingData, dict[str, Any]]:
    """The training part, split; and what a record says of it."""
    facts = dataset.info
    found, pictures = _open_part(dataset, "train", residency == "stream")
    train, validation = dataset.split_training_part(found.labels, recipe, split_stream(trial))
    if len(train) < 2 or len(validation) < 1:
        name = dataset.component.label
        raise UserError(f"{name}: {len(train)} training and {len(validation)} validation images")
    mean, std = (facts.mean, facts.std) if facts.mean and facts.std else (found.mean, found.std)
    images, labels = make_feed(pictures, residency, device), torch.from_numpy(found.labels).to(device)
    size = facts.shape[1:]
    trained, held = (Examples(images, labels, torch.from_numpy(index), size) for index in (train, validation))
    described = {
        "data": found.digest,
        "split": splits.digest(train, validation),
        "train_examples": len(train),
        "validation_examples": len(validation),
        **_describe_training(dataset, found, train, validation),
        "residency": residency,
    }
    return TrainingData(trained, held, Scaling.of(mean, std, device)), described


def _describe_training(dataset: Dataset, found: Decoded, train: Indices, validation: Indices) -> dict[str, Any]:
    names, classes = dataset.info.class_names, dataset.info.classes
    duplicates = find_duplicates((found.hashes, found.labels), validation, None)
    return {
        "train_classes": describe_counts(count_classes(found.labels[train], classes), names),
        "validation_classes": describe_counts(count_classes(found.labels[validation], classes), names),
        "validation_duplicates": duplicates.validation,
        "passed_over": "; ".join(dataset.info.passed_over),
    }


def load_test(
    trial: Trial, dataset: Dataset, residency: Residency, device: torch.device
) -> tuple[Examples, dict[str, Any]]:
    """The test part, for confirm trials only: the one way to it; and what a record says of it.

    Raises:
        PermissionError: a search trial asked.
    """
    if trial.stage != "confirm":
        raise PermissionError(f"a {trial.stage} trial may not read the test part")
    found, pictures = _open_part(dataset, "test", residency == "stream")
    images, labels = make_feed(pictures, residency, device), torch.from_numpy(found.labels)
    examples = Examples(images, labels.to(device), torch.arange(len(labels)), dataset.info.shape[1:])
    return examples, {"test_data": found.digest, **_describe_test(dataset, found)}


def _describe_test(dataset: Dataset, found: Decoded) -> dict[str, Any]:
    info, train = dataset.info, dataset.load_part("train", keep_images=False)
    validation = np.empty(0, np.int64)  # which training images are held out plays no part here
    duplicates = find_duplicates((train.hashes, train.labels), validation, (found.hashes, found.labels))
    return {
        "test_classes": describe_counts(count_classes(found.labels, info.classes), info.class_names),
        "test_duplicates": duplicates.test,
        "conflicting_labels": duplicates.conflicting,
    }
