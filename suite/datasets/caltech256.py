"""Caltech-256 in torchvision's layout: `caltech256/256_ObjectCategories/001.ak47/001_0001.jpg`, clutter included."""

from __future__ import annotations

from pathlib import Path

from suite.data.fetch import fetch_archive
from suite.data.images import Resize
from suite.data.source import DatasetInfo, ImageSource, Part
from suite.datasets._caltech import CaltechSet, photograph_settings

SETTINGS = photograph_settings()

FILES = CaltechSet(
    name="caltech256",
    folder="caltech256/256_ObjectCategories",
    classes=257,
    images=30_607,
    test=9_076,  # Avola et al. 2022, section 4.1: 21,531/9,076; which images these were is not published
)
SOURCE = "Griffin et al. 2007, in torchvision's layout; SIRe's 70/30 of each class; which images is ours"


URL = "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar"
MD5 = "67b4f42ca05d46448c6bb8ecd2220f6d"


def facts(root: Path, *, size: int = 224, resize: Resize = "squash", validation: int = 0) -> DatasetInfo:
    return FILES.describe_set(root, "Caltech-256", size, validation, SOURCE)


def source(root: Path, part: Part, *, size: int = 224, resize: Resize = "squash", validation: int = 0) -> ImageSource:
    return FILES.open_part(root, part, size, resize)


def fetch(root: Path) -> None:
    fetch_archive(URL, root / "caltech256", MD5)
