"""CIFAR-10: `cifar-10-batches-py/`, the Python version of its page as torchvision reads it, or Parquet."""

from __future__ import annotations

from pathlib import Path

from suite.data import layouts
from suite.data.fetch import fetch_archive
from suite.data.layouts import ParquetSet
from suite.data.source import DatasetInfo, ImageSource, Part
from suite.data.splits import validation_setting
from suite.datasets._cifar import EXAMPLES, SHAPE, CifarSet

SETTINGS = {"validation": validation_setting("10,000 (SIRe's split)")}

FILES = CifarSet(
    name="cifar10",
    class_name="CIFAR10",
    folder="cifar-10-batches-py",
    files={"train": tuple(f"data_batch_{batch}" for batch in range(1, 6)), "test": ("test_batch",)},
    meta="batches.meta",
)
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PARQUET = ParquetSet(
    name="cifar10",
    repository="uoft-cs/cifar10",
    classes=10,
    image="img",
    label="label",
    examples=EXAMPLES,
    shape=SHAPE,
    class_names=NAMES,
)


URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"


def facts(root: Path, *, validation: int = 0) -> DatasetInfo:
    """Known without the files; `missing` says whether they are there."""
    return DatasetInfo(
        title="CIFAR-10",
        classes=10,
        shape=SHAPE,
        train_examples=EXAMPLES["train"],
        test_examples=EXAMPLES["test"],
        validation=validation or 10_000,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        licence="not stated on its page (Krizhevsky 2009)",
        source="Krizhevsky 2009, in torchvision's layout; mean and std as commonly published, over the 50,000 "
        "training images",
        class_names=NAMES,
        missing=layouts.find_missing(root, FILES, PARQUET),
    )


def source(root: Path, part: Part, *, validation: int = 0) -> ImageSource:
    return layouts.open_part(root, part, FILES, PARQUET)


def fetch(root: Path) -> None:
    fetch_archive(URL, root, MD5)
