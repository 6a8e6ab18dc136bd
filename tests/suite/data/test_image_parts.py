"""Parts and classes in folders of images, told by names and content; what is passed over; how often disks are asked."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from suite.core.errors import UserError
from suite.core.settings import resolve_settings
from suite.core.specs import Component, freeze_settings
from suite.data.composition import compose_dataset
from suite.data.dataset import Dataset
from suite.data.image_parts import tell_role
from suite.data.source import DatasetInfo
from suite.datasets import folder

BIRDS = ("crow", "wren")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTBENCH_CACHE", str(tmp_path / "cache"))


def write_images(directory: Path, count: int = 6, pattern: str = "{}.png") -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(np.full((3, 4, 3), number, np.uint8)).save(directory / pattern.format(number), "PNG")


def write_classes(directory: Path, classes: tuple[str, ...] = BIRDS, count: int = 6) -> None:
    for name in classes:
        write_images(directory / name, count)


def describe(root: Path, path: str = "set", **settings: Any) -> DatasetInfo:
    return folder.facts(root, path=path, size=8, **settings)


def refuse(root: Path, path: str = "set", **settings: Any) -> str:
    """The refusal, which facts and sources share."""
    with pytest.raises(UserError) as refusal:
        describe(root, path, **settings)
    with pytest.raises(UserError) as again:
        folder.source(root, "train", path=path, size=8, **settings)
    assert str(refusal.value) == str(again.value)
    return str(refusal.value)


def count_parts(facts: DatasetInfo) -> tuple[int, int]:
    return facts.train_examples, facts.test_examples


# -- which folders are parts


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("TRAIN", "TEST"),
        ("train", "valid"),
        ("train", "dev"),
        ("Train", "Validation"),
        ("seg_train", "seg_test"),
        ("train_images", "test_images"),
        ("trainset", "testset"),
        ("TrainData", "ValData"),
        ("train2017", "val2017"),
        ("images-train", "images-test"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train/images", "test/images"),
    ],
)
def test_parts_are_recognised_by_their_usual_names(tmp_path: Path, train: str, test: str) -> None:
    write_classes(tmp_path / "set" / train, count=5)
    write_classes(tmp_path / "set" / test, count=3)
    facts = describe(tmp_path)
    assert (count_parts(facts), facts.class_names, facts.passed_over) == ((10, 6), BIRDS, ())
    sources = {part: folder.source(tmp_path, part, path="set") for part in ("train", "test")}  # type: ignore[arg-type]
    assert {file.parents[1] for file in sources["train"].files} == {tmp_path / "set" / train}
    assert {file.parents[1] for file in sources["test"].files} == {tmp_path / "set" / test}


@pytest.mark.parametrize("name", ["bus", "strain", "contest", "invalid", "train_test", "tester", "devil", "2017"])
def test_other_names_speak_of_no_part(name: str) -> None:
    assert tell_role(name) is None


@pytest.mark.parametrize(
    "classes",
    [
        ("bus", "car", "train"),
        ("beaker", "test_tube", "train_station"),
        ("freight_train", "passenger_train"),
        ("bus", "train", "train_station"),
        ("invalid", "valid_ticket"),
        ("control_group", "test_group_class"),
    ],
)
def test_folders_that_hold_images_are_classes_whatever_their_names(tmp_path: Path, classes: tuple[str, ...]) -> None:
    write_classes(tmp_path / "set", classes, 10)
    facts = describe(tmp_path)
    assert facts.class_names == classes and count_parts(facts) == (7 * len(classes), 3 * len(classes))
    write_classes(tmp_path / "parts" / "train", classes, 4)
    write_classes(tmp_path / "parts" / "test", classes, 2)
    facts = describe(tmp_path, "parts")
    assert facts.class_names == classes and count_parts(facts) == (4 * len(classes), 2 * len(classes))


def test_a_class_that_looks_like_a_part_is_told_to_be_renamed(tmp_path: Path) -> None:
    write_classes(tmp_path / "set", ("bus", "test_tube", "train"), 10)
    assert refuse(tmp_path).endswith("; where it is a class, give it another name, for instance train_class")
    (tmp_path / "set" / "train").rename(tmp_path / "set" / "train_class")
    assert describe(tmp_path).class_names == ("bus", "test_tube", "train_class")


def test_classes_within_parts_may_have_any_name(tmp_path: Path) -> None:
    classes = ("dev", "test", "train", "val2017")
    write_classes(tmp_path / "set" / "train", classes, 4)
    write_classes(tmp_path / "set" / "test", classes, 2)
    facts = describe(tmp_path)
    assert facts.class_names == classes and count_parts(facts) == (16, 8)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("test", "test"),
        ("Testing", "test"),
        ("test1", "test"),
        ("test_images", "test"),
        ("VAL", "validation"),
        ("valid", "validation"),
        ("dev", "validation"),
        ("val2017", "validation"),
        ("Training", "training"),
        ("trainset", "training"),
    ],
)
def test_a_flat_part_beside_classes_is_no_class(tmp_path: Path, name: str, part: str) -> None:
    write_classes(tmp_path / "set", (*BIRDS, name), 10)
    sentence = refuse(tmp_path)
    assert f"{tmp_path}/set/{name} lies beside class folders, but its name speaks of a {part} part" in sentence
    assert f"move it out of {tmp_path}/set, or, where it is a class, give it another name" in sentence
    other = sentence.rpartition("for instance ")[2]
    (tmp_path / "set" / name).rename(tmp_path / "set" / other)
    assert set(describe(tmp_path).class_names) == {*BIRDS, other}, "the remedy works"
    (tmp_path / "set" / other).rename(tmp_path / name)
    assert describe(tmp_path).class_names == BIRDS, "and so does the other"


@pytest.mark.parametrize(
    "parts",
    [
        ("Train", "Test"),
        ("train", "val", "test"),
        ("train",),
        ("seg_train", "seg_test"),
        ("train", "test", "sample"),
        ("train/train", "test1/test1"),
        ("train2017", "val2017", "annotations"),
        ("images_train", "images_test", "extra"),
        ("flowers_train", "flowers_test", "extra"),
        ("train", "flowers_test", "extra"),
        ("trainA", "testA", "trainB", "testB"),
        ("segTrain", "segTest", "extra"),
        ("test", "val", "bus"),
        ("train", "test", "bus"),
    ],
)
def test_parts_without_class_folders_are_no_classes(tmp_path: Path, parts: tuple[str, ...]) -> None:
    for name in parts:
        write_images(tmp_path / "set" / name)
    sentence = refuse(tmp_path)
    first = parts[0].partition("/")[0]
    assert f"{tmp_path}/set/{first} is no class, but a part without class folders; give each class a folder" in sentence
    assert "docs/datasets.md" in sentence


def test_images_without_class_folders_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "set")
    assert "set holds images, but no class folders; give each class a folder" in refuse(tmp_path)
    write_images(tmp_path / "set" / "thumbnails")
    assert refuse(tmp_path).endswith("docs/datasets.md, Images of your own)")
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "archive.zip").write_bytes(b"PK")
    assert "packed has no class folders, only 1 file .zip; " in refuse(tmp_path, "packed")


def test_a_class_that_is_named_as_the_set_says_where_the_set_is(tmp_path: Path) -> None:
    write_classes(tmp_path / "birds", count=10)
    for root, path, remedy in (
        (tmp_path, "birds/crow", "set `path: birds`"),
        (tmp_path / "birds", "crow", f"set `path: birds` with --data {tmp_path}"),
    ):
        assert refuse(root, path).endswith(f"; or, where the folder is a class itself, {remedy}")
    assert describe(tmp_path, "birds").class_names == BIRDS


@pytest.mark.parametrize("parts", [("train", "test"), ("",)])
@pytest.mark.parametrize("table", ["train.csv", "labels.TSV", "images/meta.json", ""])
def test_one_class_alone_is_refused(tmp_path: Path, table: str, parts: tuple[str, ...]) -> None:
    for part in parts:
        write_images(tmp_path / "set" / part / "images", 10)
        (tmp_path / "set" / part / "annotations").mkdir()
        (tmp_path / "set" / part / "annotations" / "0.xml").write_text("<box/>")
        if table:
            (tmp_path / "set" / part / table).write_text("0.png,1")
    sentence = refuse(tmp_path)
    place = tmp_path / "set" / parts[0]
    assert f"folder: {place} has one class alone; a classification needs two; " in sentence
    assert "give each class a folder of its images" in sentence and "write a dataset file (docs/datasets.md" in sentence
    assert (f"labels in tables ({Path(table).name}) aren't read" in sentence) == bool(table)
    for part in parts:
        write_images(tmp_path / "set" / part / "others", 10)
    assert "annotations holds no images" in refuse(tmp_path), "with two classes it is looked at closely"


def test_one_class_in_the_training_part_is_refused_before_a_test_part_is_asked_for(tmp_path: Path) -> None:
    write_images(tmp_path / "set" / "train" / "crow", 10)
    assert "set/train has one class alone" in refuse(tmp_path)
    write_images(tmp_path / "set" / "test", 10)
    assert "set/train has one class alone" in refuse(tmp_path)


def test_images_deep_in_one_folder_are_no_class(tmp_path: Path) -> None:
    write_images(tmp_path / "set" / "archive" / "images")
    (tmp_path / "set" / "archive" / "annotations").mkdir()
    assert f"set has no class folders, only images in {tmp_path}/set/archive/images; give each" in refuse(tmp_path)
    (tmp_path / "tables" / "labels").mkdir(parents=True)
    (tmp_path / "tables" / "labels" / "0.txt").write_text("1")
    assert "tables has no folder with images in it; give each class" in refuse(tmp_path, "tables")


@pytest.mark.parametrize("suffix", ["heic", "psd"])
def test_one_readable_class_of_two_isnt_alone(tmp_path: Path, suffix: str) -> None:
    write_images(tmp_path / "set" / "crow")
    (tmp_path / "set" / "wren").mkdir()
    assert "set/wren holds no images; put some there" in refuse(tmp_path)
    (tmp_path / "set" / "wren" / f"0.{suffix}").write_bytes(b"x")
    assert f"set/wren holds no images that can be read, only 1 file .{suffix}" in refuse(tmp_path)


# -- parts by name


@pytest.mark.parametrize(
    ("train", "test"), [("seg_train", "seg_test"), ("train2017", "val2017"), ("train_images", "flowers_test")]
)
def test_folders_of_images_beside_two_parts_are_passed_over(tmp_path: Path, train: str, test: str) -> None:
    write_classes(tmp_path / "set" / train, count=6)
    write_classes(tmp_path / "set" / test, count=3)
    write_images(tmp_path / "set" / "previews", 4)
    write_images(tmp_path / "set" / "samples", 1)
    facts = describe(tmp_path)
    assert (count_parts(facts), facts.class_names) == ((12, 6), BIRDS)
    assert facts.passed_over == ("previews/ with 4 files", "samples/ with 1 file")


def test_one_unclear_part_beside_folders_of_images_is_to_be_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "set" / "seg_train", count=10)
    write_images(tmp_path / "set" / "samples", 4)
    sentence = refuse(tmp_path)
    assert "set/seg_train lies beside folders of images, but holds class folders itself" in sentence
    assert "name it as `train: seg_train` where it is the training part" in sentence
    facts = describe(tmp_path, train="seg_train")
    assert (count_parts(facts), facts.passed_over) == ((14, 6), ("samples/ with 4 files",))


@pytest.mark.parametrize("parts", [("train", "test"), ("Training", "Testing"), ("seg_train", "seg_test")])
@pytest.mark.parametrize("strays", [(1, 0), (0, 1), (1, 1), (3, 3)])
def test_stray_images_in_a_part_are_named(tmp_path: Path, parts: tuple[str, str], strays: tuple[int, int]) -> None:
    for part, count in zip(parts, strays, strict=True):
        write_classes(tmp_path / "set" / part, count=6)
        write_images(tmp_path / "set" / part, count, "preview{}.png")
    first = parts[0] if strays[0] else parts[1]
    stray = tmp_path / "set" / first / "preview0.png"
    assert refuse(tmp_path).endswith(
        f"{stray} lies beside the class folders; put it into its class's folder, or remove it"
    )
    for file in (tmp_path / "set").glob("*/preview*"):
        file.rename(file.parent / "crow" / file.name)
    facts = describe(tmp_path)
    assert count_parts(facts) == (12 + strays[0], 12 + strays[1])


def test_many_images_beside_folders_are_no_strays(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_images(tmp_path / "set" / part, 6)
        write_classes(tmp_path / "set" / part, ("depth", "masks"))
    assert "set/train is no class, but a part without class folders" in refuse(tmp_path)


def test_parts_are_named_as_they_are_called(tmp_path: Path) -> None:
    for name, count in (("fit", 6), ("pick", 4), ("judge", 3)):
        write_classes(tmp_path / "set" / name, count=count)
    sentence = refuse(tmp_path)
    assert (
        "`path: set/fit` or `path: set/judge` or `path: set/pick`, or name the parts among them as `train: NAME`"
        in sentence
    )
    facts = describe(tmp_path, train="fit", validation="pick", test="judge")
    assert (*count_parts(facts), facts.validation, facts.passed_over) == (20, 6, 8, ())
    facts = describe(tmp_path, train="FIT", test="Judge")
    assert (*count_parts(facts), facts.validation) == (12, 6, 2)
    assert facts.passed_over == ("pick/ with 8 files",)
    facts = describe(tmp_path, train="fit", test=50)
    assert count_parts(facts) == (6, 6), "a share of the named part"
    assert refuse(tmp_path, train="fti").endswith("set has no folder 'fti'; did you mean 'fit'?")
    assert "folder.test: " in refuse(tmp_path, test="judge") and "`train: NAME`" in refuse(tmp_path, test="judge")


def test_a_named_validation_part_is_held_out_of_the_training_part(tmp_path: Path) -> None:
    write_classes(tmp_path / "set" / "train", ("ant", *BIRDS), count=3)
    write_classes(tmp_path / "set" / "val", count=2)
    write_classes(tmp_path / "set" / "test", count=1)
    source = folder.source(tmp_path, "train", path="set", validation="val")
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 1, 1, 2, 2]
    assert source.validation_rows is not None and source.validation_rows.tolist() == [9, 10, 11, 12]
    assert [file.parents[1].name for file in source.files] == ["train"] * 9 + ["val"] * 4
    assert list(source.watched) == list(source.files)
    plain = folder.source(tmp_path, "train", path="set")
    assert plain.validation_rows is None and len(plain.files) == 9 and plain.origin != source.origin
    write_images(tmp_path / "set" / "val" / "zebra")
    assert "val/zebra is a class that" in refuse(tmp_path, validation="val")


def test_a_validation_part_beside_a_share_for_testing(tmp_path: Path) -> None:
    write_classes(tmp_path / "set" / "train", count=10)
    write_classes(tmp_path / "set" / "val", count=2)
    assert count_parts(describe(tmp_path)) == (20, 4), "val is the test part where none is named"
    assert "has train/ but no test part" in refuse(tmp_path, validation="val")
    facts = describe(tmp_path, train="train", validation="val")
    assert (*count_parts(facts), facts.validation) == (18, 6, 4)
    source = folder.source(tmp_path, "train", path="set", train="train", validation="val")
    assert source.validation_rows is not None and source.validation_rows.tolist() == [14, 15, 16, 17]
    test = folder.source(tmp_path, "test", path="set", train="train", validation="val")
    assert not set(test.files) & set(source.files)


def test_no_part_holds_images_of_another(tmp_path: Path) -> None:
    write_classes(tmp_path / "set" / "train")
    write_classes(tmp_path / "set" / "val")
    (tmp_path / "set" / "test").symlink_to("train")
    assert "folder.test: " in refuse(tmp_path) and "holds images of the training part" in refuse(tmp_path)
    assert "holds images of the validation part" in refuse(tmp_path, validation="val", test="val")
    assert "folder.validation: " in refuse(tmp_path, validation="train", test="val")
    assert "holds images of the training part" in refuse(tmp_path, train="train", test="train/crow")


def test_naming_what_would_be_chosen_changes_nothing(tmp_path: Path) -> None:
    write_classes(tmp_path / "set" / "Training")
    write_classes(tmp_path / "set" / "Testing", count=2)
    assert describe(tmp_path) == describe(tmp_path, train="Training") == describe(tmp_path, test="testing")


def test_several_folders_with_one_claim_are_refused(tmp_path: Path) -> None:
    for name in ("train_a", "train_b", "test"):
        write_classes(tmp_path / "set" / name)
    assert "several folders for the training part (train_a/, train_b/); set train to one" in refuse(tmp_path)
    assert describe(tmp_path, train="train_b").passed_over == ("train_a/ with 12 files",)
    write_classes(tmp_path / "set" / "train", count=2)
    assert count_parts(describe(tmp_path)) == (4, 12), "the plain name goes first"


@pytest.mark.parametrize("given", [True, 1.5, "", 0, 100])
def test_test_is_a_percentage_or_a_folder(given: Any) -> None:
    with pytest.raises(UserError, match=r"folder\.test: must be"):
        resolve_settings(folder.SETTINGS, {"test": given}, "folder")
    assert resolve_settings(folder.SETTINGS, {"test": "val", "validation": "v"}, "folder")["test"] == "val"


# -- remedies that work


@pytest.mark.parametrize("inside", ["", "unknown", "test"])
def test_a_test_part_without_labels_says_what_to_use(tmp_path: Path, inside: str) -> None:
    write_classes(tmp_path / "set" / "train", count=10)
    write_images(tmp_path / "set" / "test" / inside)
    sentence = refuse(tmp_path)
    assert f"{tmp_path}/set/test has no class folders, its labels are withheld; set `train: train` to test" in sentence
    assert "`test: " not in sentence, "there is no other part"
    facts = describe(tmp_path, train="train")
    assert (count_parts(facts), facts.passed_over) == ((14, 6), ("test/ with 6 files",))
    write_classes(tmp_path / "set" / "val", count=2)
    assert "; set `test: val`, or `train: train` to test" in refuse(tmp_path)
    facts = describe(tmp_path, test="val")
    assert (count_parts(facts), facts.passed_over) == ((20, 4), ("test/ with 6 files",))


def test_a_training_part_alone_says_how_to_test(tmp_path: Path) -> None:
    write_classes(tmp_path / "set" / "Train", count=10)
    assert "has Train/ but no test part" in refuse(tmp_path) and "set `train: Train` to test" in refuse(tmp_path)
    assert count_parts(describe(tmp_path, train="Train")) == (14, 6)
    assert count_parts(describe(tmp_path, train="Train", test=10)) == (18, 2)
    (tmp_path / "set" / "test").mkdir()
    assert "set/test is empty; set `train: Train`" in refuse(tmp_path)


def test_a_test_part_alone_says_how_to_train(tmp_path: Path) -> None:
    write_classes(tmp_path / "set" / "test")
    write_classes(tmp_path / "set" / "learn")
    assert "has test/ but no train/; add it, or name the folder as `train: learn`" in refuse(tmp_path)
    assert count_parts(describe(tmp_path, train="learn")) == (12, 12)


def test_classes_beside_a_test_part_are_to_be_put_into_a_training_part(tmp_path: Path) -> None:
    write_classes(tmp_path / "set", count=5)
    write_classes(tmp_path / "set" / "test", count=3)
    assert "no train/; add it, or put the class folders that lie beside it into one" in refuse(tmp_path)
    for name in BIRDS:
        (tmp_path / "set" / "train").mkdir(exist_ok=True)
        (tmp_path / "set" / name).rename(tmp_path / "set" / "train" / name)
    assert count_parts(describe(tmp_path)) == (10, 6)


@pytest.mark.parametrize("below", ["images", "archive/dataset", "a/b/c"])
@pytest.mark.parametrize("parts", [("train", "test"), ("",)])
def test_folders_around_folders_are_named_as_path(tmp_path: Path, below: str, parts: tuple[str, ...]) -> None:
    for part in parts:
        write_classes(tmp_path / "set" / below / part)
    (tmp_path / "set" / "annotations").mkdir()
    (tmp_path / "set" / "annotations" / "boxes.xml").write_text("<boxes/>")
    assert f"folders further down have; set `path: set/{below}`" in refuse(tmp_path)
    assert describe(tmp_path, f"set/{below}").class_names == BIRDS


def test_parquet_files_say_what_reads_them(tmp_path: Path) -> None:
    (tmp_path / "set" / "data").mkdir(parents=True)
    (tmp_path / "set" / "data" / "train-0.parquet").write_bytes(b"PAR1")
    assert "holds Parquet files; name it as `{name: parquet, path: set}`" in refuse(tmp_path)


def test_classes_too_small_for_a_share_say_which_share_would_do(tmp_path: Path) -> None:
    write_images(tmp_path / "set" / "many", 10)
    write_images(tmp_path / "set" / "few", 3)
    sentence = refuse(tmp_path)
    remedy = "; set `test: 34`, or add images until each class has 4"
    assert "too few images for a test part (images by class: few 3, many 10)" + remedy in sentence
    assert np.bincount(folder.source(tmp_path, "test", path="set", test=34).labels).tolist() == [1, 3]
    with pytest.raises(UserError, match="too few images"):
        describe(tmp_path, test=33)
    write_images(tmp_path / "set" / "lone", 1)
    write_images(tmp_path / "set" / "other", 2)
    assert refuse(tmp_path).endswith("add images until each class has 4"), "no share of one image is a test image"


@pytest.mark.parametrize("percent", [1, 10, 30, 33, 50, 75, 99])
@pytest.mark.parametrize("counts", [(2, 2, 2), (1, 2), (2, 2), (3, 3, 3), (1, 1, 9), (2, 3, 4, 5, 6), (2,) * 12])
def test_what_too_few_images_are_told_to_do_is_enough(tmp_path: Path, counts: tuple[int, ...], percent: int) -> None:
    for number, count in enumerate(counts):
        write_images(tmp_path / "set" / f"c{number}", count)
    settings: dict[str, Any] = {"path": "set", "test": percent}
    try:
        describe(tmp_path, **settings)
        return
    except UserError as refusal:
        found = re.search(r"; (?:set `test: (\d+)`, or )?add images until each class has (\d+)$", str(refusal))
        assert found, refusal
    if found[1]:
        compose({**settings, "test": int(found[1])}, tmp_path)
    for number, count in enumerate(counts):
        write_images(tmp_path / "set" / f"c{number}", max(count, int(found[2])))
    compose(settings, tmp_path)


def compose(settings: dict[str, Any], root: Path) -> None:
    """Asserts that plans take the set: each class has images to train and to test on, and some are held out."""
    composition = compose_dataset(Dataset(Component("folder", freeze_settings(settings)), root))
    assert composition is not None and composition.find_void() is None
    assert min(composition.counts["train"]) > 0 and min(composition.counts["test"]) > 0
    assert sum(composition.counts["validation"]) > 0


def test_a_named_validation_part_leaves_one_image_of_each_class_to_train_on(tmp_path: Path) -> None:
    for part in ("learn", "choose"):
        write_classes(tmp_path / "set" / part, count=2)
    assert "to hold one out for validation" in refuse(tmp_path, train="learn", test=50)
    facts = describe(tmp_path, train="learn", test=50, validation="choose")
    assert (*count_parts(facts), facts.validation) == (6, 2, 4)


# -- what is passed over


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_classes(root, count=10)
    for number in range(90):
        (root / "crow" / f"{number}.HEIC").write_bytes(b"x")
    hidden = (".DS_Store", "crow/Thumbs.db", "wren/._0.png", "wren/desktop.ini")
    for name in (*hidden, "labels.csv", "LICENSE", "crow/notes", "wren/a.b c"):
        (root / name).write_text("x")
    write_classes(root / "__MACOSX")
    write_classes(root / ".ipynb_checkpoints")
    os.mkfifo(root / "wren" / "pipe.png")
    write_images(root / "crow", 2, "without suffix {}")
    write_images(root / "wren", 1, "2019.{:04d}")
    facts = describe(tmp_path)
    assert facts.passed_over == (
        "90 files .heic",
        "2 files without a suffix",
        "2 files beside the class folders",
        "4 hidden files",
        "2 hidden folders",
        "1 special file",
    )
    assert count_parts(facts) == (23 - 6, 6), "with three images known by their content"


def test_what_is_passed_over_beside_parts_is_counted(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for name in ("train", "test", "val"):
        write_classes(root / name)
        (root / name / "crow" / "a.txt").write_text("x")
    write_images(root / "sample" / "deeper", 3)
    for name in ("README.md", ".hidden", "train/list.csv"):
        (root / name).write_text("x")
    expected = [
        "2 files .txt",
        "1 file beside the class folders",
        "1 hidden file",
        "sample/ with 3 files",
        "val/ with 13 files (name it as validation: val)",
        "1 file beside the parts",
    ]
    assert list(describe(tmp_path).passed_over) == expected
    assert list(describe(tmp_path, validation="val").passed_over) == ["3 files .txt", *expected[1:4], expected[5]]


def test_every_image_of_every_suffix_is_read(tmp_path: Path) -> None:
    kinds = {"jfif": "JPEG", "JPG": "JPEG", "gif": "GIF", "tga": "TGA", "jp2": "JPEG2000", "webp": "WEBP", "PNG": "PNG"}
    for name in BIRDS:
        for suffix, kind in kinds.items():
            (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4), "red").save(tmp_path / "set" / name / f"0.{suffix}", kind)
    facts = describe(tmp_path)
    assert (sum(count_parts(facts)), facts.passed_over) == (14, ())
    sources = [folder.source(tmp_path, part, path="set", size=4) for part in ("train", "test")]  # type: ignore[arg-type]
    pixels = [source.decode(row)[0].min() for source in sources for row in range(len(source.files))]
    assert len(pixels) == 14 and min(pixels) > 240


@pytest.mark.parametrize(
    ("suffix", "remedy"),
    [("HEIC", "2 files .heic; convert them to JPEG"), ("psd", "2 files .psd; put images")],
)
def test_a_class_without_a_readable_image_says_what_it_has(tmp_path: Path, suffix: str, remedy: str) -> None:
    write_classes(tmp_path / "set")
    (tmp_path / "set" / "owl").mkdir()
    for number in range(2):
        (tmp_path / "set" / "owl" / f"{number}.{suffix}").write_bytes(b"x")
    assert f"set/owl holds no images that can be read, only {remedy}" in refuse(tmp_path)


# -- links, permissions, names


@pytest.mark.parametrize("where", ["owl", "crow/9.png"])
def test_a_dangling_link_is_refused_with_its_target(tmp_path: Path, where: str) -> None:
    write_classes(tmp_path / "set")
    (tmp_path / "set" / where).symlink_to("/nowhere/owl")
    assert f"set/{where} is a link to /nowhere/owl, which can't be read; mount or restore that" in refuse(tmp_path)


def test_a_dangling_part_is_refused_with_its_target(tmp_path: Path) -> None:
    write_classes(tmp_path / "set" / "train")
    (tmp_path / "set" / "test").symlink_to("/nowhere/test")
    assert "set/test is a link to /nowhere/test" in refuse(tmp_path)


def test_links_that_lead_back_are_refused(tmp_path: Path) -> None:
    write_classes(tmp_path / "set")
    (tmp_path / "set" / "back").symlink_to(tmp_path)
    assert "set/back is a link to a folder that it lies in" in refuse(tmp_path)
    write_classes(tmp_path / "other")
    (tmp_path / "other" / "self").symlink_to("self")
    assert "other/self is a link to self, which can't be read" in refuse(tmp_path, "other")


def test_links_that_lead_somewhere_are_read(tmp_path: Path) -> None:
    write_classes(tmp_path / "elsewhere", ("owl", "rook"), 10)
    write_classes(tmp_path / "set", count=10)
    (tmp_path / "set" / "owl").symlink_to(tmp_path / "elsewhere" / "owl")
    (tmp_path / "set" / "crow" / "linked.png").symlink_to(tmp_path / "elsewhere" / "rook" / "0.png")
    facts = describe(tmp_path)
    assert facts.class_names == ("crow", "owl", "wren") and sum(count_parts(facts)) == 31


@pytest.mark.parametrize("where", ["set/wren", "set/train", "set"])
def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Root may read everything, so the refusal is made here."""
    write_classes(tmp_path / "set")
    if where == "set/train":
        write_classes(tmp_path / where)
    scandir = os.scandir

    def refuse_one(path: Any = ".") -> Any:
        if Path(path) == tmp_path / where:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse_one)
    assert f"{where} can't be read (Permission denied); let it be read, or remove it" in refuse(tmp_path)


def test_names_that_look_the_same_are_one_class(tmp_path: Path) -> None:
    composed, split = (unicodedata.normalize(form, "hérisson") for form in ("NFC", "NFD"))
    write_classes(tmp_path / "set" / "train", (split, "owl"))
    write_classes(tmp_path / "set" / "test", (composed, "owl"), 2)
    facts = describe(tmp_path)
    assert facts.class_names == tuple(sorted((split, "owl"))), "as the training part spells them"
    assert folder.source(tmp_path, "test", path="set").labels.tolist() == [0, 0, 1, 1]
    write_classes(tmp_path / "set" / "train", (composed,))
    sentence = refuse(tmp_path)
    assert "two class folders 'hérisson' that differ only in Unicode normalisation" in sentence


# -- how often is looked


@pytest.mark.parametrize("parts", [("train", "val", "test"), ("",)])
def test_a_warm_start_lists_each_folder_once_and_asks_for_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: tuple[str, ...]
) -> None:
    for part in parts:
        write_classes(tmp_path / "set" / part, count=5)
    component = Component("folder", freeze_settings({"path": "set", "size": 4}))
    for part in ("train", "test"):
        Dataset(component, tmp_path).load_part(part)  # type: ignore[arg-type]
    folders = {path for path in (tmp_path / "set").rglob("*") if path.is_dir()} | {tmp_path / "set"}
    scans: Counter[str] = Counter()
    stats: Counter[str] = Counter()
    scandir, stat = os.scandir, os.stat

    def count_scan(path: Any = ".") -> Any:
        scans[str(path)] += 1
        return scandir(path)

    def count_stat(path: Any, **options: Any) -> Any:
        stats[str(path)] += 1
        return stat(path, **options)

    monkeypatch.setattr(os, "scandir", count_scan)
    monkeypatch.setattr(os, "stat", count_stat)
    dataset = Dataset(component, tmp_path)
    sources = [dataset.open_source("train"), dataset.open_source("test")]
    scans_of_the_set = {path: count for path, count in scans.items() if path.startswith(str(tmp_path / "set"))}
    assert not [path for path in stats if path.endswith(".png")]
    assert scans_of_the_set == dict.fromkeys(map(str, folders), 1)
    stats.clear()
    for part in ("train", "test"):
        dataset.load_part(part)  # type: ignore[arg-type]
    watched = Counter(str(file) for source in sources for file in source.watched)
    assert {path: count for path, count in stats.items() if path.endswith(".png")} == watched, "by the cache's check"


def test_another_dataset_object_sees_what_has_changed(tmp_path: Path) -> None:
    write_classes(tmp_path / "set", count=10)
    component = Component("folder", freeze_settings({"path": "set"}))
    first = Dataset(component, tmp_path)
    assert count_parts(first.info) == (14, 6)
    write_images(tmp_path / "set" / "crow", 20)
    assert len(first.open_source("train").files) == 14, "one object sees one state"
    assert count_parts(Dataset(component, tmp_path).info) == (21, 9)
