"""Caltech-101 in torchvision's layout: `caltech101/101_ObjectCategories/<class>/image_0001.jpg`, 101 classes."""

from __future__ import annotations

import shutil
from pathlib import Path

from suite.data.fetch import fetch_archive, unpack_archive
from suite.data.images import Resize
from suite.data.source import DatasetInfo, ImageSource, Part
from suite.datasets._caltech import CaltechSet, photograph_settings

SETTINGS = photograph_settings()

FILES = CaltechSet(
    name="caltech101",
    folder="caltech101/101_ObjectCategories",
    classes=101,
    images=8_677,
    test=2_560,
    without=("BACKGROUND_Google",),  # no class, and left out by torchvision too
)
SOURCE = (
    "Fei-Fei et al. 2004, in torchvision's layout; a fixed 30 % of each class, rounded down, is the test part (ours)"
)


URL = "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip"
MD5 = "3138e1922a9193bfa496528edbbc45d0"


def facts(root: Path, *, size: int = 224, resize: Resize = "squash", validation: int = 0) -> DatasetInfo:
    return FILES.describe_set(root, "Caltech-101", size, validation, SOURCE)


def source(root: Path, part: Part, *, size: int = 224, resize: Resize = "squash", validation: int = 0) -> ImageSource:
    return FILES.open_part(root, part, size, resize)


def fetch(root: Path) -> None:
    folder = root / "caltech101"
    fetch_archive(URL, folder, MD5)
    inner = folder / "caltech-101"
    for archive in inner.glob("*.tar.gz"):
        unpack_archive(archive, folder)
    shutil.rmtree(inner)
