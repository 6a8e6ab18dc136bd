"""Images in class folders: `folder`, Caltech's two sets and ImageNet on small made trees, and on photographs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from suite.core.errors import UserError
from suite.core.settings import resolve_settings
from suite.data.cache import load_decoded_part
from suite.data.class_folders import Tree, choose_test_rows
from suite.data.images import LOADABLE_SUFFIXES, Unreadable, decode_image
from suite.datasets import caltech101, caltech256, folder, imagenet
from suite.datasets._caltech import TEST_PERCENT

Real = Callable[..., Path]

CALTECH = ((caltech101, "caltech101/101_ObjectCategories"), (caltech256, "caltech256/256_ObjectCategories"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTBENCH_CACHE", str(tmp_path / "cache"))


def write_image(path: Path, value: int = 0, shape: tuple[int, ...] = (9, 12, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)
    return path


def write_tree(directory: Path, counts: dict[str, int], pattern: str = "{:04d}.png") -> Path:
    """Images whose grey level is their number in their class."""
    for name, count in counts.items():
        for number in range(count):
            write_image(directory / name / pattern.format(number), number)
    return directory


# --- resizing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "LA"])
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (97, 64), (64, 64), (64, 101), (31, 57), (500, 65)])
def test_resizing_is_torchvisions_to_the_bit(tmp_path: Path, size: tuple[int, int], mode: str) -> None:
    from torchvision.transforms import functional

    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    kind = "jpg" if mode == "CMYK" else "png"
    Image.fromarray(pixels).convert(mode).save(tmp_path / f"image.{kind}")
    for side in (64, 48):
        with Image.open(tmp_path / f"image.{kind}") as stored:
            image = stored.convert("RGB")  # as torchvision's loader does
        squashed = functional.resize(image, [side, side])
        cropped = functional.center_crop(functional.resize(image, side), [side, side])
        for resize, wanted in (("squash", squashed), ("crop", cropped)):
            found = decode_image(tmp_path / f"image.{kind}", (3, side, side), resize)  # type: ignore[arg-type]
            assert np.array_equal(found, np.asarray(wanted).transpose(2, 0, 1)), resize


def test_images_that_cannot_be_used(tmp_path: Path) -> None:
    whole = write_image(tmp_path / "whole.png", shape=(64, 64, 3)).read_bytes()
    with pytest.raises(Unreadable, match="can't be decoded"):
        decode_image(whole[: len(whole) // 2], (3, 64, 64), "squash")
    with pytest.raises(Unreadable, match="can't be decoded"):
        decode_image(tmp_path / "absent.png", (3, 64, 64), "squash")
    with pytest.raises(Unreadable, match="is 64 pixels high and 64 wide, not 32 and 32"):
        decode_image(whole, (3, 32, 32), "none")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(Unreadable, match="more than 8 bits"):
        decode_image(tmp_path / "deep.png", (3, 4, 4), "none")


# --- folder -----------------------------------------------------------------------------------------------------


def test_folder_with_parts(tmp_path: Path) -> None:
    write_tree(tmp_path / "set" / "train", {"cat": 3, "Ant": 2})
    write_tree(tmp_path / "set" / "test", {"cat": 2})
    facts = folder.facts(tmp_path, path="set", size=8)
    assert (facts.classes, facts.class_names, facts.shape) == (2, ("Ant", "cat"), (3, 8, 8))
    assert (facts.train_examples, facts.test_examples, facts.validation, facts.title) == (5, 2, 1, "set")
    train, test = (folder.source(tmp_path, part, path="set", size=8) for part in ("train", "test"))
    assert train.labels.tolist() == [0, 0, 1, 1, 1]
    assert [image[0, 0, 0] for image in map(train.decode, range(5))] == [0, 1, 0, 1, 2]
    assert train.decode(0).shape == (3, 8, 8) and train.decode(0).dtype == np.uint8
    assert test.labels.tolist() == [1, 1], "labels count the training part's classes"
    assert all(file.is_absolute() for file in (*train.files, *test.files))
    assert train.name(2) == str(tmp_path / "set/train/cat/0000.png")


@pytest.mark.parametrize("name", ["test", "val", "valid", "validation"])
def test_folder_names_of_the_test_part(tmp_path: Path, name: str) -> None:
    write_tree(tmp_path / "set" / "train", {"a": 4, "b": 4})
    write_tree(tmp_path / "set" / name, {"a": 1, "b": 2})
    write_tree(tmp_path / "set" / "validation", {"a": 3 if name != "validation" else 1})
    assert folder.source(tmp_path, "test", path="set").labels.tolist() == [0, 1, 1]


def test_folder_reads_all_suffixes_of_torchvision_and_more() -> None:
    from torchvision.datasets.folder import IMG_EXTENSIONS

    assert set(LOADABLE_SUFFIXES) > set(IMG_EXTENSIONS)


def test_folder_reads_what_torchvision_reads(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    for name in ("b/2.JPEG", "b/10.jpg", "a/x.PNG", "a/Y.webp", "C/1.bmp", "C/notes.txt", "C/Thumbs.db"):
        path = tmp_path / "set" / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3, 3)).save(path) if path.suffix not in {".txt", ".db"} else path.write_text("x")
    write_tree(tmp_path / "set" / "val", {"a": 1})
    source = folder.source(tmp_path, "train", path="set")
    theirs = ImageFolder(str(tmp_path / "set" / "train"))
    assert [str(file) for file in source.files] == [file for file, _ in theirs.samples]
    assert source.labels.tolist() == theirs.targets
    for hidden in (".ipynb_checkpoints/1.png", "a/._x.PNG"):
        write_image(tmp_path / "set" / "train" / hidden)
    assert folder.source(tmp_path, "train", path="set").files == source.files


def test_folder_without_parts_has_a_fixed_stratified_split(tmp_path: Path) -> None:
    write_tree(tmp_path / "set", {"a": 20, "b": 11, "c": 9})
    facts = folder.facts(tmp_path, path="set")
    assert (facts.train_examples, facts.test_examples, facts.validation) == (29, 11, 6)
    train, test = (folder.source(tmp_path, part, path="set") for part in ("train", "test"))
    assert sorted((*train.files, *test.files)) == sorted((tmp_path / "set").rglob("*.png"))
    assert np.bincount(test.labels).tolist() == [6, 3, 2]
    assert all(file.parent.name == "abc"[label] for file, label in zip(test.files, test.labels, strict=True))
    # Pinned: another split would change every result that shares a trial key.
    assert [int(file.stem) for file in test.files] == [3, 7, 10, 13, 15, 17, 2, 5, 10, 4, 5]
    assert folder.facts(tmp_path, path="set", test=50).test_examples == 19
    with pytest.raises(UserError, match="too few images for a test part"):
        write_tree(tmp_path / "tiny", {"a": 9, "b": 9})
        folder.facts(tmp_path, path="tiny", test=1)


def test_folder_split_is_by_names_alone(tmp_path: Path) -> None:
    counts = {"a": 20, "b": 11}
    write_tree(tmp_path / "one", counts)
    write_tree(tmp_path / "elsewhere" / "two", counts)
    here, there = (
        [file.relative_to(tmp_path / path) for file in folder.source(tmp_path, "test", path=path).files]
        for path in ("one", "elsewhere/two")
    )
    assert here == there


def test_folder_origin_tells_what_changes_pixels_or_rows(tmp_path: Path) -> None:
    write_tree(tmp_path / "set", {"a": 10, "b": 10})
    write_tree(tmp_path / "other", {"a": 10, "b": 10})
    chosen: list[dict[str, Any]] = [{}, {"test": 20}, {"size": 8}, {"resize": "crop"}, {"path": "other"}]
    sources = [folder.source(tmp_path, "train", **{"path": "set", **settings}) for settings in chosen]
    sources.append(folder.source(tmp_path, "test", path="set"))
    assert len({(source.origin, source.shape) for source in sources}) == 6
    assert str(tmp_path / "set") in sources[0].origin
    assert folder.source(tmp_path, "train", path="set", validation=3).origin == sources[0].origin


def test_folder_relative_root_is_the_same_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(tmp_path / "set", {"a": 10, "b": 10})
    monkeypatch.chdir(tmp_path)
    here, there = (folder.source(root, "train", path="set") for root in (Path(), tmp_path))
    assert (here.origin, list(here.files)) == (there.origin, list(there.files))


def test_folder_refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"folder\.path: name the directory"):
        folder.facts(tmp_path)
    with pytest.raises(UserError, match=r"absent is missing; put the class folders there"):
        folder.source(tmp_path, "train", path="absent")
    (tmp_path / "train.csv").write_text("0.png,1")
    with pytest.raises(UserError, match=r"train\.csv is a file; name the directory that holds the class folders"):
        folder.facts(tmp_path, path="train.csv")
    for path in ("../x", "/x"):
        with pytest.raises(UserError, match="below the data directory"):
            resolve_settings(folder.SETTINGS, {"path": path}, "folder")


def empty_class(root: Path) -> Path:
    (root / "c").mkdir()
    return root / "c"


def nested_folder(root: Path) -> Path:
    return write_image(root / "a" / "more" / "1.png").parent


def stray_image(root: Path) -> Path:
    return write_image(root / "stray.JPG")


def only_test(root: Path) -> Path:
    write_tree(root / "test", {"a": 2})
    return root


def only_train(root: Path) -> Path:
    write_tree(root / "train", {"a": 2, "b": 2})
    return root


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (empty_class, "holds no images"),
        (nested_folder, "is a folder inside the class folder a"),
        (stray_image, "lies beside the class folders"),
        (only_test, "has test/ but no train/"),
        (only_train, "has train/ but no test part"),
    ],
)
def test_folder_refuses_stray_layouts(tmp_path: Path, spoil: Any, sentence: str) -> None:
    root = write_tree(tmp_path / "set", {"a": 5, "b": 5})
    spoilt = spoil(root)
    for look in (lambda: folder.facts(tmp_path, path="set"), lambda: folder.source(tmp_path, "train", path="set")):
        with pytest.raises(UserError, match=sentence) as refusal:
            look()
        assert str(spoilt) in str(refusal.value)


def test_folder_refuses_no_classes_and_unknown_ones(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(UserError, match="has no class folders"):
        folder.facts(tmp_path, path="set")
    write_tree(tmp_path / "set" / "train", {"a": 2, "b": 2})
    write_tree(tmp_path / "set" / "val", {"a": 2, "z": 2})
    with pytest.raises(UserError, match=r"val/z is a class that .*train doesn't have"):
        folder.facts(tmp_path, path="set")


def test_folder_names_every_broken_image(tmp_path: Path) -> None:
    write_tree(tmp_path / "set", {"a": 10, "b": 10})
    source = folder.source(tmp_path, "train", path="set", size=8)
    broken = source.files[3]
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(UserError, match="can't be decoded") as refusal:
        load_decoded_part(source, "folder-train", classes=2)
    assert str(broken) in str(refusal.value)


# --- Caltech ----------------------------------------------------------------------------------------------------


def published(module: ModuleType, monkeypatch: pytest.MonkeyPatch, classes: int, images: int, test: int) -> None:
    monkeypatch.setattr(module, "FILES", replace(module.FILES, classes=classes, images=images, test=test))


@pytest.mark.parametrize(("module", "path"), CALTECH)
def test_caltech_facts_without_files(tmp_path: Path, module: ModuleType, path: str) -> None:
    facts = module.facts(tmp_path)
    assert str(tmp_path / path) in facts.missing and f"`graftbench data fetch {module.FILES.name}`" in facts.missing
    assert facts.shape == (3, 224, 224) and module.facts(tmp_path, size=64).shape == (3, 64, 64)
    assert module.facts(tmp_path, validation=9).validation == 9
    with pytest.raises(UserError, match=module.FILES.name):
        module.source(tmp_path, "train")


def test_caltech_published_numbers(tmp_path: Path) -> None:
    facts = caltech256.facts(tmp_path)
    assert (facts.classes, facts.train_examples, facts.test_examples) == (257, 21_531, 9_076), "SIRe's split"
    assert facts.train_examples + facts.test_examples == 30_607
    facts = caltech101.facts(tmp_path)
    assert (facts.classes, facts.train_examples + facts.test_examples) == (101, 8_677)
    assert facts.test_examples == 2_560 and facts.validation == 612


def test_caltech101_leaves_the_background_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(caltech101, monkeypatch, classes=2, images=30, test=9)
    counts = {"accordion": 20, "Faces": 10, "BACKGROUND_Google": 7}
    write_tree(tmp_path / "caltech101/101_ObjectCategories", counts, "image_{:04d}.jpg")
    facts = caltech101.facts(tmp_path)
    assert facts.missing is None and facts.class_names == ("Faces", "accordion")
    train, test = (caltech101.source(tmp_path, part, size=16) for part in ("train", "test"))
    assert np.bincount(train.labels).tolist() == [7, 14] and np.bincount(test.labels).tolist() == [3, 6]
    assert not set(train.files) & set(test.files)
    assert train.decode(0).shape == (3, 16, 16)


def test_caltech256_passes_over_what_the_archive_has_beside_photographs(tmp_path: Path, monkeypatch: Any) -> None:
    published(caltech256, monkeypatch, classes=2, images=10, test=2)
    root = tmp_path / "caltech256/256_ObjectCategories"
    write_tree(root, {"056.dog": 4, "198.spider": 6}, "{:04d}.jpg")
    write_image(root / "056.dog" / "greg" / "vision309" / "056_0001.jpg")
    (root / "198.spider" / "RENAME2").write_text("#!/bin/sh")
    facts = caltech256.facts(tmp_path)
    assert facts.missing is None and facts.class_names == ("056.dog", "198.spider")
    assert facts.passed_over == ("1 file without a suffix",)
    assert len(caltech256.source(tmp_path, "train").labels) == 8


@pytest.mark.parametrize(("module", "path"), CALTECH)
def test_caltech_refuses_a_part_of_the_set(tmp_path: Path, monkeypatch: Any, module: ModuleType, path: str) -> None:
    published(module, monkeypatch, classes=2, images=8, test=2)
    write_tree(tmp_path / path, {"a": 4, "b": 3}, "{}.jpg")
    missing = module.facts(tmp_path).missing
    assert "holds 7 images in 2 classes, not 8 in 2" in missing and f"`{{name: folder, path: {path}}}`" in missing
    with pytest.raises(UserError, match="holds 7 images"):
        module.source(tmp_path, "test")
    write_image(tmp_path / path / "a" / "one more.jpg")
    assert module.facts(tmp_path).missing is None


def test_caltech_photographs_as_folder(real: Real) -> None:
    path = "caltech101/101_ObjectCategories"
    root = real(path)
    facts = folder.facts(root, path=path)
    if facts.classes != 20:
        pytest.skip(f"{root / path} isn't the sample of 20 categories")
    assert (facts.train_examples, facts.test_examples, facts.shape) == (840, 360, (3, 224, 224))
    train, test = (folder.source(root, part, path=path) for part in ("train", "test"))
    assert np.bincount(test.labels).tolist() == [18] * 20 and np.bincount(train.labels).tolist() == [42] * 20
    image = test.decode(0)
    assert image.shape == (3, 224, 224) and image.std() > 10
    assert "1,200 images in 20 classes, not 8,677 in 101" in (caltech101.facts(root).missing or "")


# --- ImageNet ---------------------------------------------------------------------------------------------------


def write_imagenet(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(imagenet, "CLASSES", 2)
    monkeypatch.setitem(imagenet.EXAMPLES, "train", 5)
    monkeypatch.setitem(imagenet.EXAMPLES, "test", 2)
    write_tree(root / "imagenet" / "train", {"n01440764": 3, "n01443537": 2}, "n01_{}.JPEG")
    write_tree(root / "imagenet" / "val", {"n01440764": 1, "n01443537": 1}, "ILSVRC2012_val_{}.JPEG")
    return root / "imagenet"


def test_imagenet_facts_without_files(tmp_path: Path) -> None:
    facts = imagenet.facts(tmp_path)
    assert (facts.classes, facts.train_examples, facts.test_examples) == (1000, 1_281_167, 50_000)
    assert facts.validation == 50_000 and facts.shape == (3, 256, 256)
    assert facts.missing and str(tmp_path / "imagenet/train") in facts.missing and "image-net.org" in facts.missing


def test_imagenet_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_imagenet(tmp_path, monkeypatch)
    assert imagenet.facts(tmp_path).missing is None
    train, test = (imagenet.source(tmp_path, part, size=16) for part in ("train", "test"))
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 0, 0, 1, 1], [0, 1])
    assert train.decode(4).shape == (3, 16, 16) and test.name(1).endswith("n01443537/ILSVRC2012_val_0.JPEG")


def test_imagenet_says_what_lies_beside_its_class_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_imagenet(tmp_path, monkeypatch)
    assert imagenet.facts(tmp_path).passed_over == ()
    for name in ("train/meta.bin", "val/valprep.sh", "val/.DS_Store"):
        (root / name).write_text("x")
    assert imagenet.facts(tmp_path).passed_over == ("2 files beside the class folders", "1 hidden file")
    (root / "val" / "n01443537").rename(tmp_path / "away")
    assert imagenet.facts(tmp_path).passed_over == (), "the class folders aren't what is read"


def test_imagenet_refuses_a_part_of_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_imagenet(tmp_path, monkeypatch)
    (root / "train" / "n01443537" / "n01_1.JPEG").unlink()
    with pytest.raises(UserError, match=r"train holds 4 images, not 5; .*`\{name: folder, path: imagenet\}`"):
        imagenet.source(tmp_path, "train")
    (root / "val" / "n01443537").rename(root / "val" / "n09999999")
    assert "other class folders than train" in (imagenet.facts(tmp_path).missing or "")
    write_image(root / "train" / "n02" / "1.JPEG")
    assert "holds 3 class folders, not 2" in (imagenet.facts(tmp_path).missing or "")
    with pytest.raises(UserError, match="holds 3 class folders"):
        imagenet.source(tmp_path, "test")
    (root / "val" / "n09999999").rename(root / "val" / "n01443537")
    assert folder.facts(tmp_path, path="imagenet").classes == 3, "as the refusal says"


# Images per class: the sets' own file lists, Caltech-256 from 001.ak47 to 257.clutter, Caltech-101 from accordion to
# yin_yang without BACKGROUND_Google.
CALTECH256 = """
98 97 151 127 148 90 106 232 102 94 278 216 98 86 122 91 104 101 124 83 142 97 110 112 114 106 100 110 103 104
90 101 102 100 87 106 120 110 85 124 87 87 124 121 85 133 94 103 106 97 114 85 82 118 98 102 106 93 83 87 102 83
122 131 101 83 83 110 99 84 99 118 100 115 83 84 92 90 99 116 95 81 95 84 112 80 93 98 110 212 95 201 112 104 86
285 89 100 80 93 138 88 111 97 270 87 89 85 156 85 84 84 116 120 88 107 121 108 87 130 82 103 111 91 101 242 128
105 190 91 92 190 136 119 93 93 156 192 86 89 117 107 130 82 798 82 202 174 103 111 109 120 93 103 92 96 105 149
209 83 103 91 90 101 88 92 86 140 92 102 84 99 106 84 83 110 96 98 80 102 100 120 100 84 103 81 95 88 119 112
111 112 174 112 87 104 100 108 105 100 81 97 91 80 87 98 115 109 102 111 95 136 101 139 84 98 105 81 84 94 103
91 80 110 90 99 147 95 95 94 112 358 100 122 114 97 90 97 84 201 95 93 90 91 91 101 92 84 100 96 800 116 435 95
103 108 827
"""
CALTECH101 = """
55 800 42 42 47 54 46 33 128 98 43 85 91 50 43 123 47 59 62 107 47 69 73 70 50 51 57 67 52 65 68 75 64 53 64 85
435 435 67 67 45 34 34 51 99 100 42 54 88 80 31 64 86 114 61 81 200 78 41 66 43 40 87 32 76 798 55 35 39 47 38
45 53 34 57 82 59 49 40 63 39 84 57 35 64 45 86 59 64 35 85 49 86 75 239 37 59 34 56 39 60
"""


@pytest.mark.parametrize(("module", "counts"), [(caltech256, CALTECH256), (caltech101, CALTECH101)])
def test_thirty_percent_of_each_class_rounded_down_is_the_published_test_part(module: Any, counts: str) -> None:
    """Avola et al. 2022, section 4.1: 21,531 training and 9,076 test images of Caltech-256."""
    sizes = [int(count) for count in counts.split()]
    assert (len(sizes), sum(sizes)) == (module.FILES.classes, module.FILES.images)
    names = tuple(f"{number:03d}" for number in range(len(sizes)))
    files = tuple(Path(f"{name}/{number}") for name, size in zip(names, sizes, strict=True) for number in range(size))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    held = choose_test_rows(Tree(Path("anywhere"), names, files, labels), "caltech", TEST_PERCENT)
    assert np.count_nonzero(held) == module.FILES.test
    assert np.bincount(labels[held]).tolist() == [size * 3 // 10 for size in sizes]
    if module is caltech256:
        assert np.count_nonzero(~held) == 21_531 and np.count_nonzero(held) == 9_076
