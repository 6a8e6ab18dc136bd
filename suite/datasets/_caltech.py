"""Caltech's two sets of photographs, in class folders without parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.data.class_folders import Tree, choose_test_rows, describe_passed_over, scan_class_folders
from suite.data.fetch import fetch_remedy
from suite.data.images import Resize, resize_setting, size_setting
from suite.data.source import DatasetInfo, ImageFiles, Part
from suite.data.splits import validation_setting

LICENCE = "CC BY 4.0 (CaltechDATA)"
TEST_PERCENT = 30


def photograph_settings() -> dict[str, Setting]:
    return {
        "size": size_setting(224),
        "resize": resize_setting("squash"),
        "validation": validation_setting("a tenth of the training part"),
    }


@dataclass(frozen=True)
class CaltechSet:
    """One of the two sets as published; `test` of its images are the test part, TEST_PERCENT of each class."""

    name: str
    folder: str
    classes: int
    images: int
    test: int
    without: tuple[str, ...] = ()

    def describe_set(self, root: Path, title: str, size: int, validation: int, source: str) -> DatasetInfo:
        """Known without the files, but for the class names; `missing` says whether all images are there."""
        missing, class_names, passed_over = None, tuple[str, ...](), list[str]()
        try:
            tree = self._scan_folders(root)
            class_names, passed_over = tree.classes, describe_passed_over([tree])
        except UserError as refusal:
            missing = str(refusal).removeprefix(f"{self.name}: ")
        train = self.images - self.test
        return DatasetInfo(
            title=title,
            classes=self.classes,
            shape=(3, size, size),
            train_examples=train,
            test_examples=self.test,
            validation=validation or round(train / 10),
            mean=None,
            std=None,
            licence=LICENCE,
            source=source,
            class_names=class_names,
            missing=missing,
            passed_over=tuple(passed_over),
        )

    def open_part(self, root: Path, part: Part, size: int, resize: Resize) -> ImageFiles:
        """The part's photographs, class by class. Raises UserError when they aren't those that were published."""
        tree = self._scan_folders(root)
        files, labels = tree.choose_rows(choose_test_rows(tree, self.name, TEST_PERCENT) == (part == "test"))
        return ImageFiles(f"{self.name} {part} in {tree.directory}", (3, size, size), files, labels, resize, tree.files)

    def _scan_folders(self, root: Path) -> Tree:
        directory = Path(root).absolute() / self.folder
        if not directory.is_dir():
            raise UserError(f"{self.name}: {directory} is missing; fetch it with `{fetch_remedy(self.name)}`")
        tree = scan_class_folders(self.name, directory, without=self.without, ignore_folders=True)
        if (len(tree.classes), len(tree.files)) != (self.classes, self.images):
            raise UserError(
                f"{self.name}: {directory} holds {len(tree.files):,} images in {len(tree.classes)} classes, not "
                f"{self.images:,} in {self.classes}; fetch them all with `{fetch_remedy(self.name)}`, or name what is "
                f"there as `{{name: folder, path: {self.folder}}}`"
            )
        return tree
