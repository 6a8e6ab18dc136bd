"""Made images: a fixed smooth pattern per class under noise. No files; difficulty and sizes are settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.core.specs import hash_parts
from suite.data.source import Arrays, DatasetInfo, Images, ImageSource, Labels, Part
from suite.data.splits import validation_setting

SETTINGS = {
    "classes": Setting(10, "number of classes", low=2),
    "channels": Setting(3, "1: grey, 3: colour", choices=(1, 3)),
    "size": Setting(32, "image side in pixels", low=4),
    "train": Setting(2000, "training images", low=2),
    "test": Setting(1000, "test images", low=2),
    "validation": validation_setting("a fifth"),
    "signal": Setting(0.07, "standard deviation of the patterns over that of the noise; 0: nothing to learn", low=0),
    "seed": Setting(0, "decides patterns and noise", low=0),
}

GREY, SPREAD = 128, 37  # mean and standard deviation of the noise in grey levels: 128 +- 64 at its bounds
COARSE = 4  # a pattern is drawn on 4 x 4 points and interpolated


def facts(
    root: Path,
    *,
    classes: int = 10,
    channels: int = 3,
    size: int = 32,
    train: int = 2000,
    test: int = 1000,
    validation: int = 0,
    signal: float = 0.07,
    seed: int = 0,
) -> DatasetInfo:
    """Raises UserError when a part is too small to show every class."""
    for name, count in (("train", train), ("test", test)):
        if count < classes:
            raise UserError(f"synthetic.{name}: {count} images can't show {classes} classes; make at least {classes}")
    return DatasetInfo(
        title="Synthetic",
        classes=classes,
        shape=(channels, size, size),
        train_examples=train,
        test_examples=test,
        validation=validation or train // 5,
        mean=None,
        std=None,
        licence="made here: none needed",
        source="numpy's default generator, seeded by the settings; mean and std computed from the training part",
    )


def source(
    root: Path,
    part: Part,
    *,
    classes: int = 10,
    channels: int = 3,
    size: int = 32,
    train: int = 2000,
    test: int = 1000,
    validation: int = 0,
    signal: float = 0.07,
    seed: int = 0,
) -> ImageSource:
    """Images whose labels count through the classes. The training part's number doesn't change the test part."""
    count, shape = train if part == "train" else test, (channels, size, size)
    origin = f"synthetic {part}: {count} images, {classes} classes, signal {signal!r}, seed {seed}"
    return Arrays(origin, shape, [], lambda: _make_images(part, count, classes, shape, signal, seed))


def _make_images(
    part: Part, count: int, classes: int, shape: tuple[int, int, int], signal: float, seed: int
) -> tuple[Images, Labels]:
    labels = np.arange(count, dtype=np.int64) % classes
    patterns = np.stack(
        [_draw_pattern(shape, hash_parts("synthetic", seed, "pattern", label)) for label in range(classes)]
    )
    generator = np.random.default_rng(hash_parts("synthetic", seed, part))
    images = np.empty((count, *shape), np.uint8)
    for row, label in enumerate(labels):
        noise = _draw_uniform(generator, shape)
        values = GREY + SPREAD * (noise + np.float32(signal) * patterns[label])
        images[row] = np.clip(np.rint(values), 0, 255)
    return images, labels


def _draw_pattern(shape: tuple[int, int, int], seed: int) -> NDArray[np.float32]:
    """Smooth, of mean 0 and standard deviation 1."""
    channels, size, _ = shape
    coarse = _draw_uniform(np.random.default_rng(seed), (channels, COARSE, COARSE))
    # Linear interpolation as a matrix: row p holds the weights of the coarse points at pixel p.
    place = np.linspace(0, COARSE - 1, size)[:, None]
    weights = np.maximum(0, 1 - np.abs(place - np.arange(COARSE)))
    fine = weights @ coarse @ weights.T
    pattern: NDArray[np.float32] = ((fine - fine.mean()) / fine.std()).astype(np.float32)
    return pattern


def _draw_uniform(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Mean 0, standard deviation 1. Raw uniforms: numpy promises more stability for them than for its normals."""
    return (generator.random(shape, np.float32) - np.float32(0.5)) * np.float32(12**0.5)
