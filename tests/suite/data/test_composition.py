"""What datasets' parts hold: images by class, copies across parts, and what no comparison survives."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from suite.core.errors import UserError
from suite.core.recipes import Recipe
from suite.core.specs import Component, freeze_settings
from suite.data.composition import (
    Composition,
    check_composition,
    compose_dataset,
    describe_counts,
    find_duplicates,
)
from suite.data.dataset import Dataset
from suite.data.splits import limit_rows, split
from tests.fixtures import Command

Counts = Mapping[str, int]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTBENCH_CACHE", str(tmp_path / "cache"))


def paint(folder: Path, counts: Counts, seed: int) -> None:
    """Random pictures, `counts` of each class."""
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / name / f"{number:03}.png")


def opened(tmp_path: Path, train: Counts, test: Counts) -> Dataset:
    paint(tmp_path / "birds" / "train", train, 1)
    paint(tmp_path / "birds" / "test", test, 2)
    return dataset(tmp_path)


def dataset(tmp_path: Path) -> Dataset:
    return Dataset(Component("folder", freeze_settings({"path": "birds", "size": 8})), tmp_path)


def composed(found: Dataset, validation: int = 0) -> Composition:
    composition = compose_dataset(found, Recipe(validation=validation))
    assert composition is not None
    return composition


def test_images_are_counted_by_part_and_class(tmp_path: Path) -> None:
    found = opened(tmp_path, {"crow": 20, "owl": 10, "wren": 10}, {"crow": 4, "owl": 3, "wren": 2})
    composition = composed(found)
    assert composition.counts == {"train": (16, 8, 8), "validation": (4, 2, 2), "test": (4, 3, 2)}
    assert composition.describe_subset("test") == "crow 4, owl 3, wren 2"
    assert composition.find_void() is None and not list(composition.list_notes())
    assert composition.duplicates is None  # nothing is decoded yet
    assert composed(found, validation=4).counts["validation"] == (2, 1, 1)


def test_many_classes_are_told_by_the_smallest_and_the_largest() -> None:
    names = [f"c{number}" for number in range(20)]
    assert describe_counts([5] * 20, names) == "5 each of 20 classes"
    assert describe_counts([5] * 18 + [2, 1000], names) == "2 (c18) to 1,000 (c19) of 20 classes"
    assert describe_counts([1, 2], ()) == "class 0 1, class 1 2"


@pytest.mark.parametrize(
    ("train", "test", "sentence"),
    [
        ({"crow": 9, "owl": 9}, {"crow": 4}, "all 4 test images are of one class, crow, .*add test images"),
        ({"crow": 5, "owl": 5}, {"crow": 4, "owl": 4}, None),
    ],
)
def test_a_test_part_of_one_class_is_refused(tmp_path: Path, train: Counts, test: Counts, sentence: str | None) -> None:
    composition = composed(opened(tmp_path, train, test))
    if sentence is None:
        check_composition(composition)
        return
    with pytest.raises(UserError, match=sentence):
        check_composition(composition)


def test_a_class_that_is_tested_alone_is_refused() -> None:
    counts = {"train": (8, 0), "validation": (2, 0), "test": (5, 5)}
    void = Composition("birds", ("crow", "owl"), counts).find_void()  # type: ignore[arg-type]
    assert void is not None and "the class owl has 5 test images and none to train on (training: crow 8, owl 0" in void


def test_no_validation_image_is_refused() -> None:
    counts = {"train": (8, 8), "validation": (0, 0), "test": (5, 5)}
    void = Composition("birds", (), counts).find_void()  # type: ignore[arg-type]
    assert void is not None and void.startswith("no image is held out for validation")


def test_classes_without_test_images_are_a_note(tmp_path: Path) -> None:
    composition = composed(opened(tmp_path, {"crow": 9, "owl": 9, "wren": 9}, {"crow": 4, "owl": 4}))
    assert composition.find_void() is None
    assert list(composition.list_notes()) == ["1 of 3 classes have no test image: wren"]


def test_copies_across_parts_and_classes_are_counted(tmp_path: Path) -> None:
    opened(tmp_path, {"crow": 10, "owl": 10}, {"crow": 6, "owl": 6})
    birds = tmp_path / "birds"
    shutil.copy(birds / "train" / "crow" / "003.png", birds / "test" / "crow" / "copy.png")
    shutil.copy(birds / "train" / "crow" / "004.png", birds / "test" / "owl" / "copy.png")  # under another label too
    Image.open(birds / "train" / "owl" / "001.png").save(
        birds / "test" / "owl" / "again.bmp"
    )  # other bytes, same pixels
    found = dataset(tmp_path)
    for part in ("train", "test"):
        found.load_part(part)  # type: ignore[arg-type]
    composition = composed(found)
    assert composition.duplicates is not None
    assert dataclasses.asdict(composition.duplicates)["test"] == 3
    assert composition.duplicates.conflicting == 2
    assert "3 of 15 test images are training or validation images too, pixel for pixel" in composition.list_notes()
    assert "2 images have a copy under another label" in composition.list_notes()
    check_composition(composition)


def test_a_test_part_that_was_trained_on_is_refused(tmp_path: Path) -> None:
    paint(tmp_path / "birds" / "train", {"crow": 10, "owl": 10}, 1)
    shutil.copytree(tmp_path / "birds" / "train", tmp_path / "birds" / "test")
    found = dataset(tmp_path)
    check_composition(composed(found))
    for part in ("train", "test"):
        found.load_part(part)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"folder.*: 20 of 20 test images are training or validation images too"):
        check_composition(composed(dataset(tmp_path)))


def test_duplicates_agree_with_a_plain_count() -> None:
    rng = np.random.default_rng(0)
    pool = rng.integers(0, 256, (40, 16), np.uint8)
    train, test = rng.integers(0, 40, 60), rng.integers(0, 40, 30)
    labels = rng.integers(0, 3, 90)
    held = np.arange(0, 60, 5)
    found = find_duplicates((pool[train], labels[:60]), held, (pool[test], labels[60:]))
    trained = {int(image) for row, image in enumerate(train) if row not in held}
    assert found.validation == sum(int(train[row]) in trained for row in held)
    assert found.test == sum(image in set(train.tolist()) for image in test.tolist())
    images = [*train.tolist(), *test.tolist()]
    by_image: dict[int, set[int]] = {}
    for image, label in zip(images, labels.tolist(), strict=True):
        by_image.setdefault(image, set()).add(label)
    assert found.conflicting == sum(len(by_image[image]) > 1 for image in images)
    assert all(train[row] == test[copy] for row, copy in found.across) and len(found.across) == found.test
    assert find_duplicates((pool[train], labels[:60]), held, None).test == 0


def test_every_class_keeps_an_image_to_train_on() -> None:
    labels = np.array([0] * 60 + [1] * 2 + [2], np.int64)
    for held_out in (1, 13, 40, 60):
        train, validation = split(labels, held_out, 0)
        assert len(validation) == held_out and set(labels[train].tolist()) == {0, 1, 2}
    with pytest.raises(UserError, match=r"61 of 63 training images in 3 classes .* choose from 1..60"):
        split(labels, 61, 0)


def test_a_training_limit_takes_the_first_where_they_hold_every_class_and_some_of_each_elsewhere() -> None:
    rows = np.arange(100)
    mixed, sorted_labels = rows % 4, rows // 25
    assert limit_rows(rows, mixed, 10).tolist() == list(range(10))
    for limit in (30, 50, 51, 76, 99):  # though the first rows would hold every class from 76 on
        counts = np.bincount(sorted_labels[limit_rows(rows, sorted_labels, limit)])
        assert counts.sum() == limit and counts.max() - counts.min() <= 1
    few = np.array([0] * 400 + [1] * 5)
    assert np.bincount(few[limit_rows(np.arange(405), few, 20)]).tolist() == [19, 1]
    assert limit_rows(rows, sorted_labels, 8).tolist() == [0, 1, 25, 26, 50, 51, 75, 76]
    assert limit_rows(rows, sorted_labels, 0).tolist() == rows.tolist()
    assert len(limit_rows(rows, sorted_labels, 2)) == 2


def test_plan_shows_the_table_and_refuses_what_is_void(tmp_path: Path, graftbench: Command) -> None:
    opened(tmp_path, {"crow": 10, "owl": 10}, {"crow": 6, "owl": 5})
    study = tmp_path / "study.yaml"
    study.write_text(
        "study: birds\ndatasets: [{name: folder, path: birds, size: 32}]\nbackbones: [gradient_cnn]\n"
        "variants: [baseline, sire]\nrecipe: {name: gradient, epochs: 1}\nseeds: 2\n"
    )
    shown = graftbench("plan", str(study), "--data", str(tmp_path))
    assert shown.code == 0 and "crow 6, owl 5" in shown.out
    images = json.loads(graftbench("plan", str(study), "--data", str(tmp_path), "--json").out)["images"]
    assert images[0]["images"]["test"] == [6, 5] and images[0]["void"] is None
    for file in (tmp_path / "birds" / "test" / "owl").iterdir():
        file.rename(tmp_path / file.name)
    (tmp_path / "birds" / "test" / "owl").rmdir()
    refused = graftbench("plan", str(study), "--data", str(tmp_path))
    assert refused.code == 2 and "all 6 test images are of one class, crow" in refused.err


def test_verify_names_copies(tmp_path: Path, graftbench: Command) -> None:
    opened(tmp_path, {"crow": 10, "owl": 10}, {"crow": 6, "owl": 6})
    birds = tmp_path / "birds"
    shutil.copy(birds / "train" / "crow" / "003.png", birds / "test" / "crow" / "copy.png")
    shown = graftbench("data", "verify", "folder", "--set", "path=birds", "--set", "size=8", "--data", str(tmp_path))
    assert shown.code == 0
    expected = f"{birds}/test/crow/copy.png is {birds}/train/crow/003.png, pixel for pixel"
    assert expected in shown.out
    assert "1 of 13 test images are training or validation images too" in shown.out
