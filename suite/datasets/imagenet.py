"""ImageNet (ILSVRC 2012) as class folders: `imagenet/train/<wnid>/*.JPEG`, `imagenet/val/<wnid>/*.JPEG`.

What torchvision's ImageNet leaves after extraction. The official validation images are our test part, since the labels
of the official test images are not public; validation is held out of training.
"""

from __future__ import annotations

from pathlib import Path

from suite.core.errors import UserError
from suite.data.class_folders import class_folders, scan_class_folders
from suite.data.images import Resize
from suite.data.settings import resize_setting, size_setting
from suite.data.source import DatasetInfo, ImageFiles, ImageSource, Part

SETTINGS = {"size": size_setting(256), "resize": resize_setting("crop")}

FOLDERS: dict[Part, str] = {"train": "train", "test": "val"}
EXAMPLES: dict[Part, int] = {"train": 1_281_167, "test": 50_000}
CLASSES = 1000
REMEDY = (
    "log in at image-net.org, download ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, and extract them there "
    "(torchvision.datasets.ImageNet does it)"
)


def facts(root: Path, *, size: int = 256, resize: Resize = "crop") -> DatasetInfo:
    """Known without the files; `missing` says whether the class folders are there, and doesn't look into them."""
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
        missing=_missing(root),
    )


def source(root: Path, part: Part, *, size: int = 256, resize: Resize = "crop") -> ImageSource:
    """The part's photographs, class by class.

    Raises:
        UserError: class folders or images are missing.
    """
    if missing := _missing(root):
        raise UserError(f"imagenet: {missing}")
    tree = scan_class_folders("imagenet", _directory(root, part))
    if len(tree.files) != EXAMPLES[part]:
        count = f"{tree.directory} holds {len(tree.files):,} images, not {EXAMPLES[part]:,}"
        raise UserError(f"imagenet: {count}; {_remedy()}")
    return ImageFiles(f"imagenet {part} in {tree.directory}", (3, size, size), tree.files, tree.labels, resize)


def _missing(root: Path) -> str | None:
    names = {}
    for part in FOLDERS:
        directory = _directory(root, part)
        if not directory.is_dir():
            return f"{directory} is missing; {REMEDY}"
        names[part] = class_folders("imagenet", directory)
        if len(names[part]) != CLASSES:
            return f"{directory} holds {len(names[part]):,} class folders, not {CLASSES:,}; {_remedy()}"
    if names["train"] != names["test"]:
        return f"{_directory(root, 'test')} has other class folders than train; {REMEDY}"
    return None


def _remedy() -> str:
    return f"{REMEDY}, or name what is there as `{{name: folder, path: imagenet}}`"


def _directory(root: Path, part: Part) -> Path:
    return Path(root).absolute() / "imagenet" / FOLDERS[part]
