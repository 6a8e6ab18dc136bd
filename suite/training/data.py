"""What a trial reads: examples by index, and the batches of an epoch, augmented and normalised."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from suite.core.specs import Streams
from suite.training.augment import Augmentation, centre_crop, normalise_images
from suite.training.feeds import Feed, Resident


@dataclass(frozen=True)
class Examples:
    """Some images of a part, by index.

    Attributes:
        feed: the images of the whole part.
        labels: int64 (N,), likewise, on the device.
        index: int64 (n,), which of them these are, on the CPU.
        size: height and width of the images.
    """

    feed: Feed
    labels: Tensor
    index: Tensor
    size: tuple[int, int]

    @classmethod
    def in_memory(cls, images: Tensor, labels: Tensor, index: Tensor | None = None) -> Examples:
        """Of uint8 images (N, channels, height, width) and labels (N,) on the device; `index`: all by default."""
        index = torch.arange(len(labels)) if index is None else index
        return cls(Resident(images), labels, index, (images.shape[-2], images.shape[-1]))

    def __len__(self) -> int:
        return int(self.index.shape[0])


@dataclass(frozen=True)
class Scaling:
    """Channel mean and standard deviation on the 0-1 scale, float32 (channels, 1, 1), on the device."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> Scaling:
        values = (torch.tensor(numbers, device=device).view(-1, 1, 1) for numbers in (mean, std))
        return cls(*values)

    @property
    def black(self) -> Tensor:
        """float32 (channels, 1, 1): what black is after normalisation."""
        return -self.mean / self.std

    def normalise_images(self, images: Tensor, memory_format: torch.memory_format) -> Tensor:
        """uint8 images -> float32 (image / 255 - mean) / std, as torchvision's ToTensor and Normalize."""
        return normalise_images(images, self.mean, self.std, memory_format)


@dataclass(frozen=True)
class TrainingData:
    """What a trial may see while it trains: never the test part."""

    train: Examples
    validation: Examples
    scaling: Scaling


class Batch(NamedTuple):
    """A batch as the network sees it.

    Attributes:
        inputs: float32 (n, channels, height, width).
        labels: int64 (n,), of the images themselves.
        partners, share: mixup's other labels (n,), and how much of each input is its own image; None, 1: not mixed.
    """

    inputs: Tensor
    labels: Tensor
    partners: Tensor | None = None
    share: float = 1.0

    def split(self, limit: int | None) -> list[Batch]:
        """Even micro-batches, each at most `limit` images but never a single one; None: itself alone."""
        if limit is None:
            return [self]
        count = len(self.labels)
        parts = max(1, min(math.ceil(count / limit), count // 2))
        partners = [None] * parts if self.partners is None else self.partners.tensor_split(parts)
        columns = self.inputs.tensor_split(parts), self.labels.tensor_split(parts), partners
        return [Batch(*row, self.share) for row in zip(*columns, strict=True)]


def training_batches(
    data: TrainingData,
    augmentation: Augmentation,
    *,
    batch: int,
    streams: Streams,
    epoch: int,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Iterator[Batch]:
    """The batches of one epoch, `batch` images each but for the last.

    The order comes from stream `order`, what is random in augmentation from its own streams, all drawn on the CPU: the
    same on every device and for every cell. A last batch of a single image is dropped (batch normalisation can't use
    it).
    """
    examples, device = data.train, data.train.labels.device
    count = count_trained_images(len(examples), batch)
    shuffled = torch.randperm(len(examples), generator=torch.Generator().manual_seed(streams.seed_of("order", epoch)))
    order = examples.index[shuffled][:count]
    draws = augmentation.make_draws(streams, epoch, count=len(examples), batch=batch, size=examples.size, device=device)
    labels = torch.split(examples.labels[order.to(device)], batch)
    for images, own, drawn in zip(examples.feed.iterate_batches(order, batch), labels, draws, strict=False):
        inputs = data.scaling.normalise_images(augmentation.augment_images(images, drawn), memory_format)
        inputs = augmentation.augment_inputs(inputs, drawn)
        yield Batch(inputs, own) if drawn.share is None else Batch(inputs, own, own.roll(1), drawn.share)


def evaluation_batches(
    examples: Examples,
    scaling: Scaling,
    augmentation: Augmentation,
    *,
    batch: int,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Iterator[Batch]:
    """All examples in index order, as they are: the centre of the size that training sees."""
    labels = torch.split(examples.labels[examples.index.to(examples.labels.device)], batch)
    for images, own in zip(examples.feed.iterate_batches(examples.index, batch), labels, strict=True):
        side = augmentation.random_resized_crop
        yield Batch(scaling.normalise_images(centre_crop(images, side) if side else images, memory_format), own)


def count_trained_images(examples: int, batch: int) -> int:
    """Images that one epoch trains on: all but a last batch of one."""
    return examples - (examples % batch == 1)
