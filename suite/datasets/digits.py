"""scikit-learn's handwritten digits: 1,797 real 8 x 8 images inside the package, nothing to download."""

from __future__ import annotations

import importlib.util
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.core.specs import hash_parts
from suite.data.source import Arrays, DatasetInfo, Images, ImageSource, Labels, Part
from suite.data.splits import allocate

SETTINGS = {
    "size": Setting(16, "image side in pixels; every pixel of the 8 x 8 images is repeated", choices=(8, 16, 24, 32)),
}

TEST_EXAMPLES = 359  # a fifth of 1,797
TRAIN_EXAMPLES = 1438
MEAN, STD = 0.30537, 0.37613  # of the training part on the 0-1 scale; a test computes them again


def facts(root: Path, *, size: int = 16) -> DatasetInfo:
    """Known without scikit-learn; the data directory isn't needed."""
    return DatasetInfo(
        title="Digits",
        classes=10,
        shape=(1, size, size),
        train_examples=TRAIN_EXAMPLES,
        test_examples=TEST_EXAMPLES,
        validation=288,
        mean=(MEAN,),
        std=(STD,),
        licence="CC BY 4.0 (UCI Optical Recognition of Handwritten Digits)",
        source="sklearn.datasets.load_digits; mean and std over the 1,438 training images",
        class_names=tuple(str(digit) for digit in range(10)),
    )


def source(root: Path, part: Part, *, size: int = 16) -> ImageSource:
    """Images (1, size, size) with the values 0-16 scaled to 0-255.

    Raises:
        UserError: scikit-learn is not installed, or keeps the file elsewhere.
    """
    file = _file()
    return Arrays(f"digits {part} in {file}", (1, size, size), [file], lambda: _part(file, part, size))


def _part(file: Path, part: Part, size: int) -> tuple[Images, Labels]:
    pixels, labels = _read(file)
    chosen = _test_mask(labels) == (part == "test")
    values = (pixels[chosen] * 255 + 8) // 16
    factor = size // 8
    images = values.astype(np.uint8).repeat(factor, axis=1).repeat(factor, axis=2)
    return np.ascontiguousarray(images[:, None]), labels[chosen]


def _file() -> Path:
    """scikit-learn's own file: importing scikit-learn to read it would take each worker 3 s."""
    package = importlib.util.find_spec("sklearn")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz" if package and package.origin else None
    if path is None or not path.is_file():
        raise UserError("digits: scikit-learn, which holds these images, is missing: pip install scikit-learn")
    return path


def _read(file: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What `sklearn.datasets.load_digits` returns: pixels 0-16 (1797, 8, 8), and labels; a test compares the two."""
    try:
        rows = np.loadtxt(file, delimiter=",").astype(np.int64)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"digits: {file} can't be read ({error}); install scikit-learn again") from error
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]


def _test_mask(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The fixed, stratified test part: by hash, so that no seed of a study moves it."""
    classes, counts = np.unique(labels, return_counts=True)
    mask = np.zeros(len(labels), dtype=bool)
    for label, share in zip(classes, allocate(counts, TEST_EXAMPLES), strict=True):
        members = np.flatnonzero(labels == label).tolist()
        mask[sorted(members, key=lambda index: hash_parts("digits", "test", index))[:share]] = True
    return mask
