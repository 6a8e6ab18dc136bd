"""Training data in memory: uint8 images on the device, batches by index, augmentation and scaling per batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from suite.specs import Streams


@dataclass(frozen=True)
class Examples:
    """Some images of a part, by index.

    Attributes:
        images: uint8 (N, channels, height, width), the whole part, on the device.
        labels: int64 (N,), likewise.
        index: int64 (n,), which of them these are, likewise.
    """

    images: Tensor
    labels: Tensor
    index: Tensor

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

    def inputs(self, images: Tensor, memory_format: torch.memory_format) -> Tensor:
        """uint8 images -> float32 (image / 255 - mean) / std, as torchvision's ToTensor and Normalize."""
        floats = images.contiguous(memory_format=memory_format).to(torch.float32)
        return floats.div_(255).sub_(self.mean).div_(self.std)


@dataclass(frozen=True)
class TrainingData:
    """What a trial may see while it trains: never the test part."""

    train: Examples
    validation: Examples
    scaling: Scaling


def moments(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel mean and standard deviation on the 0-1 scale, exact, from the histogram of uint8 values.

    A constant channel gets the standard deviation 1, so that it becomes 0 and not NaN.
    """
    values = np.arange(256) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = np.bincount(images[:, channel].reshape(-1).numpy(), minlength=256)
        mean = float((counts * values).sum() / counts.sum())
        variance = float((counts * (values - mean) ** 2).sum() / counts.sum())
        means.append(mean)
        stds.append(variance**0.5 or 1.0)
    return tuple(means), tuple(stds)


def training_batches(
    examples: Examples, *, batch: int, flip: bool, streams: Streams, epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """uint8 images (n, channels, height, width) and labels (n,) of one epoch, n = `batch` but for the last.

    The order comes from stream `order`, the flips from stream `augmentation`, both drawn on the CPU: the same on
    every device and for every cell. A last batch of a single image is dropped (batch normalisation can't use it).
    """
    count, device = len(examples), examples.images.device
    order = torch.randperm(count, generator=_generator(streams, "order", epoch))
    order = examples.index[order.to(device)]
    flips = torch.rand(count, generator=_generator(streams, "augmentation", epoch)) < 0.5
    flips = flips.to(device)
    for start in range(0, count, batch):
        chosen = order[start : start + batch]
        if len(chosen) == 1:
            return
        images = examples.images.index_select(0, chosen)
        if flip:
            images = mirrored(images, flips[start : start + batch])
        yield images, examples.labels.index_select(0, chosen)


def mirrored(images: Tensor, chosen: Tensor) -> Tensor:
    """Images (n, channels, height, width) with those where `chosen` (n,) is true flipped left to right."""
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(-1), images)


def batches(examples: Examples, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """uint8 images and labels in index order, all of them."""
    for chosen in torch.split(examples.index, batch):
        yield examples.images.index_select(0, chosen), examples.labels.index_select(0, chosen)


def trained_images(examples: int, batch: int) -> int:
    """Images that one epoch trains on: all but a last batch of one."""
    return examples - (examples % batch == 1)


def _generator(streams: Streams, stream: str, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(streams.seed_of(stream, epoch))
