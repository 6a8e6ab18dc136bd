"""CIFAR-100, its 100 fine classes: `cifar-100-python/`, the Python version of its page as torchvision reads it, or
Parquet.
"""

from __future__ import annotations

from pathlib import Path

from suite.data import layouts
from suite.data.fetch import fetch_archive
from suite.data.layouts import ParquetSet
from suite.data.source import DatasetInfo, ImageSource, Part
from suite.data.splits import validation_setting
from suite.datasets._cifar import EXAMPLES, SHAPE, CifarSet

SETTINGS = {"validation": validation_setting("5,000, 50 per class (SIRe's split)")}

FILES = CifarSet(
    name="cifar100",
    class_name="CIFAR100",
    folder="cifar-100-python",
    files={"train": ("train",), "test": ("test",)},
    meta="meta",
)
NAMES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
PARQUET = ParquetSet(
    name="cifar100",
    repository="uoft-cs/cifar100",
    classes=100,
    image="img",
    label="fine_label",
    examples=EXAMPLES,
    shape=SHAPE,
    class_names=tuple(NAMES.split()),
)


URL = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
MD5 = "eb9058c3a382ffc7106e4002c42a8d85"


def facts(root: Path, *, validation: int = 0) -> DatasetInfo:
    """Known without the files; `missing` says whether they are there."""
    return DatasetInfo(
        title="CIFAR-100",
        classes=100,
        shape=SHAPE,
        train_examples=EXAMPLES["train"],
        test_examples=EXAMPLES["test"],
        validation=validation or 5_000,
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        licence="not stated on its page (Krizhevsky 2009)",
        source="Krizhevsky 2009, in torchvision's layout; mean and std as commonly published, over the 50,000 "
        "training images",
        class_names=tuple(NAMES.split()),
        missing=layouts.find_missing(root, FILES, PARQUET),
    )


def source(root: Path, part: Part, *, validation: int = 0) -> ImageSource:
    return layouts.open_part(root, part, FILES, PARQUET)


def fetch(root: Path) -> None:
    fetch_archive(URL, root, MD5)
