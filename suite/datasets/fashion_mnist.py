"""Fashion-MNIST: `FashionMNIST/raw/*-ubyte`, plain or `.gz`, as torchvision reads them, or Parquet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from suite.data import layouts
from suite.data.layouts import ParquetSet
from suite.data.source import DatasetInfo, ImageSource, Part
from suite.data.splits import validation_setting
from suite.datasets._idx import CLASSES, EXAMPLES, SIDE, IdxSet, channels_setting

SETTINGS = {
    "validation": validation_setting("10,000 (SIRe's split)"),
    "channels": channels_setting(),
}

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


MIRROR = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
ARCHIVES = {  # and their MD5 sums
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


def facts(root: Path, *, validation: int = 0, channels: int = 1) -> DatasetInfo:
    """Known without the files; `missing` says whether they are there."""
    return DatasetInfo(
        title="Fashion-MNIST",
        classes=CLASSES,
        shape=(channels, SIDE, SIDE),
        train_examples=EXAMPLES["train"],
        test_examples=EXAMPLES["test"],
        validation=validation or 10_000,
        mean=channels * (0.2860,),
        std=channels * (0.3530,),
        licence="MIT (Zalando SE)",
        source="Xiao et al. 2017, in torchvision's layout; mean and std as commonly published, over the 60,000 "
        "training images",
        class_names=NAMES,
        missing=layouts.find_missing(root, FILES, PARQUET),
    )


def source(root: Path, part: Part, *, validation: int = 0, channels: int = 1) -> ImageSource:
    files, parquet = replace(FILES, channels=channels), replace(PARQUET, shape=(channels, SIDE, SIDE))
    return layouts.open_part(root, part, files, parquet)


def fetch(root: Path) -> None:
    FILES.fetch_files(root, MIRROR, ARCHIVES)
