"""Caltech's two sets of photographs in class folders, as torchvision lays them out, with a fixed 70/30 split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from suite.datasets import Facts, Part
from suite.datasets._fetch import remedy
from suite.datasets._folders import Tree, fixed_test, scan
from suite.datasets._images import Resize
from suite.datasets._settings import resize_setting, size_setting, validation_setting
from suite.datasets._source import ImageFiles
from suite.settings import Refused, Setting

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

    def facts(self, root: Path, title: str, size: int, validation: int, source: str) -> Facts:
        """Known without the files, but for the class names; `missing` says whether all images are there."""
        missing, class_names = None, tuple[str, ...]()
        try:
            class_names = self._tree(root).classes
        except Refused as refusal:
            missing = str(refusal).removeprefix(f"{self.name}: ")
        train = self.images - self.test
        return Facts(
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
        )

    def source(self, root: Path, part: Part, size: int, resize: Resize) -> ImageFiles:
        """The part's photographs, class by class. Raises Refused when they aren't those that were published."""
        tree = self._tree(root)
        files, labels = tree.chosen(fixed_test(tree, self.name, TEST_PERCENT) == (part == "test"))
        return ImageFiles(f"{self.name} {part} in {tree.directory}", (3, size, size), files, labels, resize, tree.files)

    def _tree(self, root: Path) -> Tree:
        directory = Path(root).absolute() / self.folder
        if not directory.is_dir():
            raise Refused(f"{self.name}: {directory} is missing; fetch it with `{remedy(self.name)}`")
        tree = scan(self.name, directory, without=self.without, ignore_folders=True)
        if (len(tree.classes), len(tree.files)) != (self.classes, self.images):
            raise Refused(
                f"{self.name}: {directory} holds {len(tree.files):,} images in {len(tree.classes)} classes, not "
                f"{self.images:,} in {self.classes}; fetch them all with `{remedy(self.name)}`, or name what is there "
                f"as `{{name: folder, path: {self.folder}}}`"
            )
        return tree
