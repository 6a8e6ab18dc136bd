"""Fashion-MNIST: `FashionMNIST/raw/*-ubyte`, plain or `.gz`, as torchvision reads them, or Parquet."""

from __future__ import annotations

from pathlib import Path

from suite.data import layouts
from suite.data.fetch import download_torchvision
from suite.data.layouts import ParquetSet
from suite.data.source import DatasetInfo, ImageSource, Part
from suite.data.splits import validation_setting
from suite.datasets._idx import CLASSES, EXAMPLES, SIDE, IdxSet

SETTINGS = {"validation": validation_setting("10,000 (SIRe's split)")}

FILES = IdxSet("fashion_mnist", "FashionMNIST")
NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
PARQUET = ParquetSet(
    name="fashion_mnist",
    repository="zalando-datasets/fashion_mnist",
    classes=CLASSES,
    image="image",
    label="label",
    examples=EXAMPLES,
    shape=(1, SIDE, SIDE),
    class_names=NAMES,
)


def facts(root: Path, *, validation: int = 0) -> DatasetInfo:
    """Known without the files; `missing` says whether they are there."""
    return DatasetInfo(
        title="Fashion-MNIST",
        classes=CLASSES,
        shape=(1, SIDE, SIDE),
        train_examples=EXAMPLES["train"],
        test_examples=EXAMPLES["test"],
        validation=validation or 10_000,
        mean=(0.2860,),
        std=(0.3530,),
        licence="MIT (Zalando SE)",
        source="Xiao et al. 2017, in torchvision's layout; mean and std as commonly published, over the 60,000 "
        "training images",
        class_names=NAMES,
        missing=layouts.find_missing(root, FILES, PARQUET),
    )


def source(root: Path, part: Part, *, validation: int = 0) -> ImageSource:
    return layouts.open_part(root, part, FILES, PARQUET)


def fetch(root: Path) -> None:
    download_torchvision("fashion_mnist", "FashionMNIST", root)
