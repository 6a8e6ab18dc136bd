"""MNIST: `MNIST/raw/*-ubyte`, plain or `.gz`, as torchvision reads them, or Parquet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from suite.data import layouts
from suite.data.layouts import ParquetSet
from suite.data.source import DatasetInfo, ImageSource, Part
from suite.data.splits import validation_setting
from suite.datasets._idx import CLASSES, EXAMPLES, SIDE, IdxSet, channels_setting

SETTINGS = {
    "validation": validation_setting("10,000 (SIRe's split; ours for Pandey and Jha 2020: 5000)"),
    "channels": channels_setting(),
}

MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
FILES = IdxSet("mnist", "MNIST", MD5)
NAMES = tuple(str(digit) for digit in range(CLASSES))
PARQUET = ParquetSet(
    name="mnist",
    repository="ylecun/mnist",
    classes=CLASSES,
    image="image",
    label="label",
    examples=EXAMPLES,
    shape=(1, SIDE, SIDE),
    class_names=NAMES,
)


MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
ARCHIVES = {  # and their MD5 sums
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}


def facts(root: Path, *, validation: int = 0, channels: int = 1) -> DatasetInfo:
    """Known without the files; `missing` says whether they are there."""
    return DatasetInfo(
        title="MNIST",
        classes=CLASSES,
        shape=(channels, SIDE, SIDE),
        train_examples=EXAMPLES["train"],
        test_examples=EXAMPLES["test"],
        validation=validation or 10_000,
        mean=channels * (0.1307,),
        std=channels * (0.3081,),
        licence="CC BY-SA 3.0 (Yann LeCun, Corinna Cortes)",
        source="LeCun et al. 1998, in torchvision's layout; mean and std over the 60,000 training images",
        class_names=NAMES,
        missing=layouts.find_missing(root, FILES, PARQUET),
    )


def source(root: Path, part: Part, *, validation: int = 0, channels: int = 1) -> ImageSource:
    files, parquet = replace(FILES, channels=channels), replace(PARQUET, shape=(channels, SIDE, SIDE))
    return layouts.open_part(root, part, files, parquet)


def fetch(root: Path) -> None:
    FILES.fetch_files(root, MIRROR, ARCHIVES)
