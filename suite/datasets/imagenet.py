"""ImageNet (ILSVRC 2012): `imagenet/train/<wnid>/*.JPEG`, `imagenet/val/<wnid>/*.JPEG`, or Parquet.

Class folders are what torchvision's ImageNet leaves after extraction. The official validation images are our test part,
since the labels of the official test images are not public; validation is held out of training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from suite.core.errors import UserError
from suite.data import layouts
from suite.data.class_folders import (
    count_hidden,
    count_things,
    list_class_folders,
    list_folder,
    scan_class_folders,
)
from suite.data.images import Resize, resize_setting, size_setting
from suite.data.layouts import ParquetSet
from suite.data.source import DatasetInfo, ImageFiles, ImageSource, Part

SETTINGS = {"size": size_setting(256), "resize": resize_setting("crop")}

FOLDERS: dict[Part, str] = {"train": "train", "test": "val"}
EXAMPLES: dict[Part, int] = {"train": 1_281_167, "test": 50_000}
CLASSES = 1000
REMEDY = (
    "log in at image-net.org, download ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, and extract them there "
    "(torchvision.datasets.ImageNet does it)"
)
PARTIAL = f"{REMEDY}, or name what is there as `{{name: folder, path: imagenet}}`"


def facts(root: Path, *, size: int = 256, resize: Resize = "crop") -> DatasetInfo:
    """Known without the files; `missing` says whether the class folders are there, and doesn't look into them; nor does
    `passed_over`.
    """
    class_folders = ClassFolders(size, resize)
    return DatasetInfo(
        title="ImageNet",
        classes=CLASSES,
        shape=(3, size, size),
        train_examples=EXAMPLES["train"],
        test_examples=EXAMPLES["test"],
        validation=50_000,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        licence="image-net.org's terms of access: non-commercial research",
        source="Russakovsky et al. 2015 (ILSVRC 2012); its validation images are the test part; mean and std as "
        "torchvision's models use them",
        missing=layouts.find_missing(root, class_folders, _parquet_set(size, resize)),
        passed_over=tuple(class_folders.describe_passed_over(root)),
    )


def source(root: Path, part: Part, *, size: int = 256, resize: Resize = "crop") -> ImageSource:
    """The part's photographs, class by class, or in the order of the Parquet files.

    Raises:
        UserError: class folders, files or images are missing.
    """
    return layouts.open_part(root, part, ClassFolders(size, resize), _parquet_set(size, resize))


def _parquet_set(size: int, resize: Resize) -> ParquetSet:
    """The Hub's copy. Its own test split has no labels, and is never read; its labels number the sorted wnids."""
    return ParquetSet(
        name="imagenet",
        repository="ILSVRC/imagenet-1k",
        classes=CLASSES,
        image="image",
        label="label",
        splits={"train": "train", "test": "validation"},
        examples=EXAMPLES,
        shape=(3, size, size),
        resize=resize,
    )


@dataclass(frozen=True)
class ClassFolders:
    """The official archives, extracted."""

    size: int
    resize: Resize

    def find_missing(self, root: Path) -> str | None:
        """What isn't there; doesn't look into the class folders."""
        names: dict[Part, list[str]] = {}
        for part in FOLDERS:
            directory = self._find_directory(root, part)
            if not directory.is_dir():
                return f"{directory} is missing; {REMEDY}"
            names[part] = list_class_folders("imagenet", directory)
            if len(names[part]) != CLASSES:
                return f"{directory} holds {len(names[part]):,} class folders, not {CLASSES:,}; {PARTIAL}"
        if names["train"] != names["test"]:
            return f"{self._find_directory(root, 'test')} has other class folders than train; {REMEDY}"
        return None

    def describe_passed_over(self, root: Path) -> list[str]:
        """Phrases on what lies beside the class folders; none where these aren't what is read."""
        if self.find_missing(root):
            return []
        tops = [list_folder("imagenet", self._find_directory(root, part)) for part in FOLDERS]
        beside = sum(len(top.files) for top in tops)
        phrases = [f"{count_things(beside, 'file')} beside the class folders"] if beside else []
        return phrases + count_hidden(tops)

    def open_part(self, root: Path, part: Part) -> ImageSource:
        tree = scan_class_folders("imagenet", self._find_directory(root, part))
        if len(tree.files) != EXAMPLES[part]:
            count = f"{tree.directory} holds {len(tree.files):,} images, not {EXAMPLES[part]:,}"
            raise UserError(f"imagenet: {count}; {PARTIAL}")
        shape = (3, self.size, self.size)
        return ImageFiles(f"imagenet {part} in {tree.directory}", shape, tree.files, tree.labels, self.resize)

    def _find_directory(self, root: Path, part: Part) -> Path:
        return Path(root).absolute() / "imagenet" / FOLDERS[part]
