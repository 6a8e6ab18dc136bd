"""The Parquet dataset on small made files, and on CIFAR-10 where it is."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from suite.core.errors import UserError
from suite.core.settings import resolve_settings
from suite.data import parquet_rows
from suite.data.cache import load_decoded_part
from suite.data.images import Unreadable
from suite.data.source import ImageSource
from suite.datasets import cifar10, parquet

Real = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTBENCH_CACHE", str(tmp_path / "cache"))


def arrays(source: ImageSource) -> tuple[Any, Any]:
    """All images of a source, decoded, and its labels."""
    return np.stack([source.decode(row) for row in range(len(source.labels))]), source.labels


def encoded(pixels: Any, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def picture(value: int, shape: tuple[int, ...] = (6, 5, 3)) -> bytes:
    return encoded(np.full(shape, value, np.uint8))


def write_parquet(
    file: Path,
    images: Sequence[bytes | None],
    labels: list[int],
    names: list[str] | None = None,
    rows_per_group: int | None = None,
) -> None:
    cells = [{"bytes": image, "path": None} for image in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"img": pa.array(cells, kind), "label": pa.array(labels, pa.int64())})
    if names:
        features = {"img": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=rows_per_group)


def write_set(root: Path, **train: Any) -> Path:
    """`root/set` with five training images in two files and one test image; returns the second training file."""
    defaults: dict[str, Any] = {"images": [picture(3), picture(4)], "labels": [0, 1], "names": ["cat", "dog"]}
    first, test, second = (root / "set" / f"{name}.parquet" for name in ("train-0", "test-0", "train-1"))
    names = (defaults | train)["names"]
    write_parquet(first, [picture(i) for i in range(3)], [0, 1, 0], names)
    write_parquet(second, **(defaults | train))
    write_parquet(test, [picture(9)], [1], names)
    return second


def test_parquet_in_order_of_files_and_rows(tmp_path: Path) -> None:
    write_set(tmp_path)
    facts = parquet.facts(tmp_path, path="set")
    assert (facts.classes, facts.shape, facts.class_names) == (2, (3, 6, 5), ("cat", "dog"))
    assert (facts.train_examples, facts.test_examples, facts.validation) == (5, 1, 1)
    images, labels = arrays(parquet.source(tmp_path, "train", path="set"))
    assert images.shape == (5, 3, 6, 5) and images[:, 2, 5, 4].tolist() == [0, 1, 2, 3, 4]
    assert labels.tolist() == [0, 1, 0, 0, 1]
    assert parquet.source(tmp_path, "test", path="set").decode(0)[0, 0, 0] == 9


def test_parquet_channels_come_first(tmp_path: Path) -> None:
    pixels = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)
    write_set(tmp_path, images=[encoded(pixels), picture(0)])
    assert np.array_equal(parquet.source(tmp_path, "train", path="set").decode(3), pixels.transpose(2, 0, 1))


def test_parquet_without_class_names_takes_the_labels_that_there_are(tmp_path: Path) -> None:
    write_set(tmp_path, names=None, labels=[0, 6])
    facts = parquet.facts(tmp_path, path="set")
    assert (facts.classes, facts.class_names) == (3, ("0", "1", "6"))
    assert parquet.source(tmp_path, "train", path="set").labels.tolist() == [0, 1, 0, 0, 2]


def test_parquet_holds_out_what_it_is_told(tmp_path: Path) -> None:
    write_set(tmp_path)
    assert parquet.facts(tmp_path, path="set", validation=2).validation == 2
    assert len(parquet.source(tmp_path, "train", path="set", validation=2).labels) == 5, "the part itself is whole"


def test_parquet_with_100_classes_holds_out_a_tenth(tmp_path: Path) -> None:
    write_set(tmp_path, images=[picture(0)] * 27, labels=[0] * 27, names=[str(i) for i in range(100)])
    assert (parquet.facts(tmp_path, path="set").train_examples, parquet.facts(tmp_path, path="set").validation) == (
        30,
        3,
    )


def test_parquet_grey_images_have_one_channel(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_parquet(tmp_path / "set" / f"{part}-0.parquet", [picture(7, (4, 4))] * 2, [0, 1])
    assert parquet.facts(tmp_path, path="set").shape == (1, 4, 4)
    assert parquet.source(tmp_path, "train", path="set").decode(1).shape == (1, 4, 4)


def test_parquet_a_grey_image_among_colour_ones_becomes_colour(tmp_path: Path) -> None:
    write_set(tmp_path, images=[picture(3), picture(8, (6, 5))])
    assert parquet.source(tmp_path, "train", path="set").decode(4)[:, 0, 0].tolist() == [8, 8, 8]


def test_parquet_finds_data_folder_and_validation_files(tmp_path: Path) -> None:
    for name in ("train", "validation"):
        write_parquet(tmp_path / "set" / "data" / f"{name}-0.parquet", [picture(len(name))] * 2, [0, 1])
    assert parquet.source(tmp_path, "test", path="set").decode(0)[0, 0, 0] == len("validation")
    write_parquet(tmp_path / "set" / "data" / "test-0.parquet", [picture(77)] * 2, [0, 1])
    assert parquet.source(tmp_path, "test", path="set").decode(0)[0, 0, 0] == 77


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        ({"images": [picture(1), picture(1, (7, 5, 3))]}, "row 1 is 7 pixels high .*not 6 and 5 .write `size: 6` in"),
        ({"images": [picture(1), b"not an image"]}, "row 1 can't be decoded"),
        ({"images": [picture(1), picture(1)[:50]]}, "row 1 can't be decoded"),
        ({"images": [None, picture(1)]}, "row 0 has no image bytes"),
        ({"images": [picture(1), b""]}, "row 1 has no image bytes"),
        ({"labels": [0, 2]}, r"row 1 has label 2, outside 0\.\.1"),
        ({"labels": [-1, 0]}, "row 0 has label -1"),
        ({"labels": [0, None]}, "without a label"),
    ],
)
def test_parquet_refuses_broken_rows(tmp_path: Path, train: dict[str, Any], sentence: str) -> None:
    file = write_set(tmp_path, **train)
    source = parquet.source(tmp_path, "train", path="set")
    with pytest.raises(UserError, match=sentence) as refusal:
        load_decoded_part(source, "parquet-train", classes=2)
    assert str(file) in str(refusal.value)


def test_parquet_refuses_a_broken_first_row(tmp_path: Path) -> None:
    write_set(tmp_path)
    first = tmp_path / "set" / "train-0.parquet"
    for image, sentence in ((None, "no image bytes"), (b"not an image", "can't be decoded")):
        write_parquet(first, [image], [0], ["cat", "dog"])
        with pytest.raises(UserError, match=rf"train-0\.parquet row 0 .*{sentence}"):
            parquet.facts(tmp_path, path="set")


def test_parquet_a_colour_image_among_grey_ones_is_refused(tmp_path: Path) -> None:
    for part in ("train", "test"):
        images = [picture(7, (4, 4)), picture(7, (4, 4, 3))]
        write_parquet(tmp_path / "set" / f"{part}-0.parquet", images, [0, 1])
    with pytest.raises(UserError, match=r"row 1 is a colour image \(RGB\) among grey ones"):
        load_decoded_part(parquet.source(tmp_path, "train", path="set"), "parquet-train", classes=2)


def test_parquet_a_file_unlike_the_first_is_refused(tmp_path: Path) -> None:
    file = write_set(tmp_path)
    table = pq.read_table(file)
    for names, column in ((["img", "other"], "label"), (["other", "label"], "img")):
        pq.write_table(table.rename_columns(names), file)
        with pytest.raises(UserError, match=rf"train-1\.parquet has no column '{column}', and .*train-0\.parquet has"):
            parquet.source(tmp_path, "train", path="set")
    pq.write_table(table.set_column(1, "label", pa.array(["a", "b"])), file)
    with pytest.raises(
        UserError, match=r"'label' of .*train-1\.parquet holds string, and that of .*train-0\.parquet int64"
    ):
        parquet.source(tmp_path, "train", path="set")


def write_groups(root: Path, rows_per_group: int) -> int:
    """Two training files of 23 and 10 images, the first with several row groups; returns how many images."""
    generator = np.random.default_rng(0)
    for name, count in (("train-0", 23), ("train-1", 10), ("test-0", 2)):
        images = [encoded(generator.integers(0, 256, (5, 4, 3), np.uint8)) for _ in range(count)]
        labels = generator.integers(0, 3, count).tolist()
        write_parquet(root / "set" / f"{name}.parquet", list(images), labels, ["a", "b", "c"], rows_per_group)
    return 33


@pytest.mark.parametrize("rows_per_group", [1, 4, 23, 100])
def test_parquet_random_rows_are_the_sequential_ones(tmp_path: Path, rows_per_group: int) -> None:
    count = write_groups(tmp_path, rows_per_group)
    images, labels = arrays(parquet.source(tmp_path, "train", path="set"))
    stored = [pq.read_table(tmp_path / "set" / f"train-{i}.parquet") for i in (0, 1)]
    cells = [cell["bytes"] for table in stored for cell in table.column("img").to_pylist()]
    pixels = [np.asarray(Image.open(io.BytesIO(cell))).transpose(2, 0, 1) for cell in cells]
    assert np.array_equal(images, np.stack(pixels))
    assert labels.tolist() == [label for table in stored for label in table.column("label").to_pylist()]
    source = parquet.source(tmp_path, "train", path="set")
    for row in np.random.default_rng(1).permutation(count):
        assert np.array_equal(source.decode(int(row)), images[row])
    assert source.name(22).endswith("train-0.parquet row 22") and source.name(23).endswith("train-1.parquet row 0")


def test_parquet_rows_from_many_threads(tmp_path: Path) -> None:
    count = write_groups(tmp_path, rows_per_group=2)
    images, _ = arrays(parquet.source(tmp_path, "train", path="set"))
    source = parquet.source(tmp_path, "train", path="set")
    rows = np.random.default_rng(2).integers(0, count, 400).tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(source.decode, rows))
    assert np.array_equal(np.stack(found), images[rows])


def test_parquet_in_order_reads_a_row_group_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_groups(tmp_path, rows_per_group=4)
    reads = []
    read = parquet_rows.ParquetRows._read_group
    monkeypatch.setattr(
        parquet_rows.ParquetRows, "_read_group", lambda self, group: reads.append(group) or read(self, group)
    )
    source = parquet.source(tmp_path, "train", path="set")
    assert reads == [], "opening reads no images"
    arrays(source)
    assert len(reads) == len(set(reads)) == 6 + 3
    assert isinstance(source, parquet_rows.ParquetRows) and len(source._kept) == parquet_rows.KEPT


def test_parquet_resized_images_may_differ_in_shape(tmp_path: Path) -> None:
    from torchvision.transforms import functional

    generator = np.random.default_rng(3)
    pixels = [generator.integers(0, 256, (40 + 5 * i, 61, 3), np.uint8) for i in range(2)]
    write_set(tmp_path, images=[encoded(picture) for picture in pixels])
    assert parquet.facts(tmp_path, path="set", size=32).shape == (3, 32, 32)
    for row, image in enumerate(pixels):
        squashed = parquet.source(tmp_path, "train", path="set", size=32).decode(3 + row)
        cropped = parquet.source(tmp_path, "train", path="set", size=32, resize="crop").decode(3 + row)
        original = Image.fromarray(image)
        wanted = functional.center_crop(functional.resize(original, 32), 32)
        assert np.array_equal(cropped, np.asarray(wanted).transpose(2, 0, 1))
        assert np.array_equal(squashed, np.asarray(functional.resize(original, [32, 32])).transpose(2, 0, 1))


def test_parquet_crop_needs_a_size(tmp_path: Path) -> None:
    write_set(tmp_path)
    for look in (
        lambda: parquet.facts(tmp_path, path="set", resize="crop"),
        lambda: parquet.source(tmp_path, "train", path="set", resize="crop"),
    ):
        with pytest.raises(UserError, match=r"parquet\.resize: crop needs a size"):
            look()


def test_parquet_origin_tells_what_changes_pixels(tmp_path: Path) -> None:
    write_set(tmp_path)
    chosen: list[dict[str, Any]] = [{}, {"size": 6}, {"size": 6, "resize": "crop"}]
    sources = [parquet.source(tmp_path, part, path="set", **one) for one in chosen for part in ("train", "test")]
    assert len({(source.origin, source.shape) for source in sources}) == 6
    assert parquet.source(tmp_path, "train", path="set", validation=3).origin == sources[0].origin
    assert all(file.is_absolute() for source in sources for file in source.files)


def test_parquet_refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name the directory"):
        parquet.facts(tmp_path)
    with pytest.raises(UserError, match="absent is missing"):
        parquet.facts(tmp_path, path="absent")
    (tmp_path / "absent").mkdir()
    with pytest.raises(UserError, match=r"no train-\*\.parquet"):
        parquet.facts(tmp_path, path="absent")
    write_set(tmp_path).write_bytes(b"PAR1 but not really")
    with pytest.raises(UserError, match=r"train-1\.parquet is not a readable"):
        parquet.facts(tmp_path, path="set")


def test_a_folder_that_may_not_be_read_is_not_called_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the refusal is made here."""
    (tmp_path / "set").mkdir()

    def refuse(path: Any = ".") -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"set can't be read \(Permission denied\); let it be read"):
        parquet.facts(tmp_path, path="set")


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty; download it again"),
        (b"<!DOCTYPE html><html>", "is an HTML page: its download failed; download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "is a Git LFS pointer; run `git lfs pull`"),
        (None, "is not a regular file; remove it"),
    ],
)
def test_what_isnt_parquet_is_called_what_it_is(content: bytes | None, sentence: str, tmp_path: Path) -> None:
    file = write_set(tmp_path)
    file.unlink()
    if content is None:
        os.mkfifo(file)
    else:
        file.write_bytes(content)
    with pytest.raises(UserError) as refusal:
        parquet.source(tmp_path, "train", path="set")
    assert str(refusal.value).startswith(f"parquet: {file} {sentence}")


def test_parquet_label_column_must_be_unambiguous(tmp_path: Path) -> None:
    write_set(tmp_path)
    for name in ("train-0", "train-1", "test-0"):
        file = tmp_path / "set" / f"{name}.parquet"
        table = pq.read_table(file).rename_columns(["img", "fine"]).replace_schema_metadata(None)
        pq.write_table(table.append_column("coarse", pa.array([0] * len(table))), file)
    with pytest.raises(UserError, match="fine, coarse"):
        parquet.facts(tmp_path, path="set")
    assert parquet.facts(tmp_path, path="set", label="fine").classes == 2
    with pytest.raises(UserError, match="has no column 'fin'; it has fine, coarse"):
        parquet.facts(tmp_path, path="set", label="fin")


@pytest.mark.parametrize("path", ["/etc", "../elsewhere", "a/../../b", 3])
def test_parquet_stays_below_the_data_directory(path: Any) -> None:
    with pytest.raises(UserError, match="below the data directory"):
        resolve_settings(parquet.SETTINGS, {"path": path}, "parquet")


def test_cifar10_parquet(real: Real) -> None:
    root = real("cifar10-parquet")
    facts = parquet.facts(root, path="cifar10-parquet")
    assert (facts.classes, facts.shape, facts.class_names[6]) == (10, (3, 32, 32), "frog")
    assert facts.class_names == cifar10.NAMES
    assert (facts.train_examples, facts.test_examples, facts.validation) == (50_000, 10_000, 10_000)
    found = load_decoded_part(parquet.source(root, "test", path="cifar10-parquet"), "parquet-test", 10)
    assert found.images is not None and found.images.shape == (10_000, 3, 32, 32)
    assert np.bincount(found.labels).tolist() == [1000] * 10
    # The published CIFAR-10 test means are 0.4942, 0.4851, 0.4504; JPEG moves the fourth digit.
    assert np.abs(found.images.mean((0, 2, 3)) / 255 - [0.4942, 0.4851, 0.4504]).max() < 0.001


def test_cifar10_constants_from_parquet(real: Real) -> None:
    """The published mean and standard deviation are those of the 50,000 images, but for what JPEG moved."""
    found = load_decoded_part(
        parquet.source(real("cifar10-parquet"), "train", path="cifar10-parquet"), "parquet-train", 10
    )
    facts = cifar10.facts(Path())
    assert facts.mean is not None and facts.std is not None
    assert np.abs(np.subtract(found.mean, facts.mean)).max() < 0.001
    assert np.abs(np.subtract(found.std, facts.std)).max() < 0.002


def test_parquet_shards_that_are_missing_are_named(tmp_path: Path) -> None:
    write_set(tmp_path)
    folder = tmp_path / "set"
    for number in (0, 1):
        (folder / f"train-{number}.parquet").rename(folder / f"train-{number:05d}-of-00002.parquet")
    assert parquet.facts(tmp_path, path="set").train_examples == 5
    (folder / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(UserError, match=r"train-00000-of-00002\.parquet is missing beside train-00001-of-00002"):
        parquet.facts(tmp_path, path="set")


def test_parquet_channels_decide_where_the_first_image_misleads(tmp_path: Path) -> None:
    write_set(tmp_path)
    grey = picture(7, (6, 5))
    write_parquet(tmp_path / "set" / "train-0.parquet", [grey, picture(1), picture(2)], [0, 1, 0], ["cat", "dog"])
    source = parquet.source(tmp_path, "train", path="set")
    with pytest.raises(Unreadable, match="set channels: 3"):
        source.decode(1)
    coloured = parquet.source(tmp_path, "train", path="set", channels=3)
    assert coloured.shape == (3, 6, 5) and coloured.decode(0)[:, 0, 0].tolist() == [7, 7, 7]
    assert parquet.facts(tmp_path, path="set", channels=3).shape == (3, 6, 5)
    assert coloured.origin == source.origin, "the shape tells them apart"


# -- nothing is guessed against the evidence


def write_part(file: Path, labels: Any, names: list[str] | None = None, image: str = "image", **more: Any) -> None:
    """Images whose pixels are their row's number, a column `label` and more columns."""
    count = len(labels)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = pa.array([{"bytes": picture(row), "path": None} for row in range(count)], kind)
    table = pa.table({image: cells, "label": labels, **more})
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)


def write_parts(root: Path, train: Any, test: Any, **more: Any) -> None:
    write_part(root / "set" / "train.parquet", train, **{name: value[0] for name, value in more.items()})
    write_part(root / "set" / "test.parquet", test, **{name: value[1] for name, value in more.items()})


def read_part(root: Path, part: Any = "train", **settings: Any) -> list[int]:
    return parquet.source(root, part, path="set", **settings).labels.tolist()


WORDS = ["bee", "ant", "cat", "bee"]


@pytest.mark.parametrize(
    ("values", "classes", "labels"),
    [
        (pa.array(WORDS), ("ant", "bee", "cat"), [1, 0, 2, 1]),
        (pa.array(WORDS, pa.large_string()), ("ant", "bee", "cat"), [1, 0, 2, 1]),
        (pa.array(WORDS).dictionary_encode(), ("ant", "bee", "cat"), [1, 0, 2, 1]),
        (pa.array([True, False, False, True]), ("False", "True"), [1, 0, 0, 1]),
        (pa.array([3, 1, 2, 3]), ("1", "2", "3"), [2, 0, 1, 2]),
        (pa.array([2_000_000_000, 7, 7, 7]), ("7", "2000000000"), [1, 0, 0, 0]),
        (pa.array([1, 0, 0, 1], pa.uint8()), (), [1, 0, 0, 1]),
    ],
    ids=["text", "large text", "dictionary", "bool", "from 1", "large", "0, 1"],
)
def test_labels_of_every_kind_are_read(
    tmp_path: Path, values: Any, classes: tuple[str, ...], labels: list[int]
) -> None:
    """Beside a column of whole numbers that would be taken for labels."""
    write_parts(tmp_path, values, values, width=([32] * 4, [32] * 4))
    facts = parquet.facts(tmp_path, path="set")
    assert (facts.class_names, facts.classes) == (classes, len(set(labels)))
    assert read_part(tmp_path) == read_part(tmp_path, "test") == labels


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([0.5, 1.5, 0.5, 0.5], "the column 'label' of .* holds double, and labels are whole numbers, texts"),
        ([[0], [1], [0], [1]], "the column 'label' of .* holds list"),
        ([11, 12, 13, 14], "the column 'label' has another value in each of its 4 rows, so it is no label"),
    ],
)
def test_what_is_no_label_is_refused(tmp_path: Path, values: list[Any], sentence: str) -> None:
    write_parts(tmp_path, values, values, width=([32] * 4, [32] * 4))
    with pytest.raises(UserError, match=sentence):
        parquet.facts(tmp_path, path="set")


def rename(root: Path, **names: str) -> None:
    for file in (root / "set").glob("*.parquet"):
        table = pq.read_table(file)
        pq.write_table(table.rename_columns([names.get(name, name) for name in table.column_names]), file)


@pytest.mark.parametrize("name", ["labels", "Target", "class", "fine_label", "bird_class", "class_id", "label_name"])
def test_a_column_named_like_a_label_is_the_label(tmp_path: Path, name: str) -> None:
    write_parts(tmp_path, WORDS, WORDS, width=([32] * 4, [32] * 4))
    rename(tmp_path, label=name)
    assert read_part(tmp_path) == [1, 0, 2, 1]


def test_a_whole_number_of_another_name_is_not_guessed(tmp_path: Path) -> None:
    write_parts(tmp_path, WORDS, WORDS, width=([32] * 4, [32] * 4))
    rename(tmp_path, label="species")
    with pytest.raises(UserError, match="has the columns species, width; set label to the one to classify"):
        parquet.facts(tmp_path, path="set")
    assert read_part(tmp_path, label="species") == [1, 0, 2, 1]


NUMBERS = list(range(3)) * 4


def test_y_is_a_coordinate_beside_others(tmp_path: Path) -> None:
    write_parts(tmp_path, WORDS, WORDS, x=([3] * 4, [3] * 4), y=([0, 1, 2, 0], [0, 1, 2, 0]))
    rename(tmp_path, label="species")
    with pytest.raises(UserError, match="has the columns species, x, y; set label to the one to classify"):
        parquet.facts(tmp_path, path="set")
    assert read_part(tmp_path, label="species") == [1, 0, 2, 1]


@pytest.mark.parametrize(("beside", "fits"), [({}, True), ({"weight": [0.5] * 12}, True), ({"x": [0.5] * 12}, False)])
def test_y_is_the_label_where_nothing_else_can_be(tmp_path: Path, beside: dict[str, Any], fits: bool) -> None:
    write_parts(tmp_path, NUMBERS, NUMBERS, **{name: (values, values) for name, values in beside.items()})
    rename(tmp_path, label="y")
    if fits:
        assert read_part(tmp_path) == NUMBERS
        return
    with pytest.raises(UserError, match="has the columns y, x; set label to the one to classify"):
        parquet.facts(tmp_path, path="set")


@pytest.mark.parametrize("name", ["width", "Image_ID", "id", "index", "file_size", "img_height", "file_name", "url"])
def test_a_property_of_the_image_is_no_label_by_being_alone(tmp_path: Path, name: str) -> None:
    write_parts(tmp_path, NUMBERS, NUMBERS)
    rename(tmp_path, label=name)
    with pytest.raises(
        UserError, match=f"'{name}' is named like a property of an image; add one, or set `label: {name}`"
    ):
        parquet.facts(tmp_path, path="set")
    assert read_part(tmp_path, label=name) == NUMBERS


def test_as_many_values_as_half_the_rows_are_no_classes(tmp_path: Path) -> None:
    twice = [row // 2 for row in range(12)]
    write_parts(tmp_path, twice, twice)
    with pytest.raises(
        UserError,
        match=r"has 6 values in 12 rows, so it looks like .*; add a column of labels, or set `label: label` if",
    ):
        parquet.facts(tmp_path, path="set")
    assert read_part(tmp_path, label="label") == twice
    thrice = [row // 3 for row in range(12)]
    write_parts(tmp_path, thrice, thrice)
    assert read_part(tmp_path) == thrice


def test_a_refused_label_names_the_columns_that_may_be_one(tmp_path: Path) -> None:
    write_parts(tmp_path, [0.5] * 4, [0.5] * 4)
    with pytest.raises(UserError, match=r"truth values, one a row; add a column of labels$"):
        parquet.facts(tmp_path, path="set")
    write_parts(tmp_path, [11, 12, 13, 14], [11], species=(WORDS, ["ant"]))
    with pytest.raises(UserError, match=r"so it is no label; set label to another column \(species\)$"):
        parquet.facts(tmp_path, path="set")


def test_the_image_column_is_chosen_or_named(tmp_path: Path) -> None:
    write_parts(tmp_path, WORDS, WORDS)
    for file in (tmp_path / "set").glob("*.parquet"):
        table = pq.read_table(file)
        pq.write_table(table.append_column("mask", table["image"]), file)
    with pytest.raises(UserError, match="has image, mask; set image to the one to use"):
        parquet.facts(tmp_path, path="set")
    assert read_part(tmp_path, image="image") == [1, 0, 2, 1]
    with pytest.raises(UserError, match="has no column 'imag' of encoded images; did you mean 'image'"):
        parquet.facts(tmp_path, path="set", image="imag")


def test_images_may_be_plain_bytes(tmp_path: Path) -> None:
    for part in ("train", "test"):
        table = pa.table({"jpg": pa.array([picture(row) for row in range(4)], pa.binary()), "label": WORDS})
        (tmp_path / "set").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "set" / f"{part}.parquet")
    assert parquet.source(tmp_path, "train", path="set").decode(3)[0, 0, 0] == 3


# -- facts come from every file


def test_equal_names_in_another_order_are_mapped_by_name(tmp_path: Path) -> None:
    write_parts(tmp_path, [0, 1, 2, 0], [0, 1, 2, -1], names=(["ant", "bee", "cat"], ["cat", "ant", "bee"]))
    assert parquet.facts(tmp_path, path="set").class_names == ("ant", "bee", "cat")
    assert read_part(tmp_path) == [0, 1, 2, 0]
    assert read_part(tmp_path, "test") == [2, 0, 1, -1], "one that names no class stays, for the cache to name its row"


def test_other_names_are_refused_with_both_files(tmp_path: Path) -> None:
    write_parts(tmp_path, [0, 1, 0, 0], [0, 1], names=(["ant", "bee"], ["ant", "wasp"]))
    with pytest.raises(
        UserError, match=r"test\.parquet and .*train\.parquet name other classes \(one alone has 'bee'\)"
    ):
        parquet.facts(tmp_path, path="set")


@pytest.mark.parametrize("nameless", ["train-0", "train-1", "test"])
def test_numbers_without_names_beside_named_ones_are_refused(tmp_path: Path, nameless: str) -> None:
    orders = {"train-0": ["ant", "bee", "cat"], "train-1": ["ant", "bee", "cat"], "test": ["cat", "ant", "bee"]}
    for file, names in orders.items():
        write_part(tmp_path / "set" / f"{file}.parquet", [0, 1, 2, 0], None if file == nameless else names)
    with pytest.raises(UserError, match=rf"{nameless}\.parquet stores no class names, and .*\.parquet does"):
        parquet.facts(tmp_path, path="set")


def test_texts_are_looked_up_in_stored_names(tmp_path: Path) -> None:
    names = ["cat", "bee", "ant"]
    write_parts(tmp_path, WORDS, WORDS[:3], names=(names, None))
    assert parquet.facts(tmp_path, path="set").class_names == ("cat", "bee", "ant")
    assert (read_part(tmp_path), read_part(tmp_path, "test")) == ([1, 2, 0, 1], [1, 2, 0])
    write_parts(tmp_path, [*WORDS, "wasp"], WORDS, names=(names, names))
    with pytest.raises(UserError, match="row 4 has label 'wasp', a class that the stored class names haven't; repair"):
        read_part(tmp_path)


def test_names_in_other_unicode_forms_are_the_same(tmp_path: Path) -> None:
    composed, decomposed = "\u00e9", "e\u0301"
    write_parts(tmp_path, [composed, "a", "a"], ["a", decomposed])
    assert (read_part(tmp_path), read_part(tmp_path, "test")) == ([1, 0, 0], [0, 1])
    write_parts(tmp_path, [0, 1, 0], [0, 1], names=(["a", composed], [decomposed, "a"]))
    assert (read_part(tmp_path), read_part(tmp_path, "test")) == ([0, 1, 0], [1, 0])


def test_names_that_differ_in_unicode_form_alone_are_refused(tmp_path: Path) -> None:
    composed, decomposed = "\u00e9", "e\u0301"
    write_parts(tmp_path, [composed, decomposed, "a"], ["a"])
    with pytest.raises(UserError, match=r"train\.parquet has two labels 'é' that differ only in Unicode normalisation"):
        parquet.facts(tmp_path, path="set")
    write_parts(tmp_path, [0, 1, 0], [0], names=([composed, decomposed], None))
    with pytest.raises(UserError, match=r"train\.parquet stores the class name 'é' twice, .*Unicode normalisation"):
        parquet.facts(tmp_path, path="set")


def test_facts_come_from_files_with_rows(tmp_path: Path) -> None:
    write_part(tmp_path / "set" / "train-0.parquet", pa.nulls(0))
    write_part(tmp_path / "set" / "train-1.parquet", [0, 1, 0, 1], ["ant", "bee"])
    write_part(tmp_path / "set" / "test.parquet", [0, 1], ["ant", "bee"])
    facts = parquet.facts(tmp_path, path="set")
    assert (facts.class_names, facts.train_examples, facts.passed_over) == (("ant", "bee"), 4, ())
    assert read_part(tmp_path) == [0, 1, 0, 1]
    write_part(tmp_path / "set" / "test.parquet", pa.array([], pa.int64()))
    with pytest.raises(UserError, match=r"test\.parquet has no rows; fetch it again"):
        parquet.facts(tmp_path, path="set")


def test_a_row_without_a_label_is_named(tmp_path: Path) -> None:
    for values in (["ant", "bee", None, "ant"], ["ant", "bee", " ", "ant"], pa.array([0, 1, None, 1])):
        write_parts(tmp_path, values, values)
        with pytest.raises(UserError, match=r"train\.parquet row 2 is without a label; remove the row, or repair"):
            read_part(tmp_path)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    write_parts(tmp_path, WORDS, WORDS, other=(WORDS, WORDS))
    rename(tmp_path, other="label")
    with pytest.raises(UserError, match=r"train\.parquet has two columns 'label'; give them different names"):
        parquet.facts(tmp_path, path="set")


def test_a_training_part_without_labels_is_refused(tmp_path: Path) -> None:
    write_parts(tmp_path, [-1, -1, -1], [0, 1])
    with pytest.raises(UserError, match=r"train\.parquet and the files beside it have no labels in 'label'; add"):
        parquet.facts(tmp_path, path="set")


def test_numbers_beyond_the_stored_names_are_left_to_the_cache(tmp_path: Path) -> None:
    values = pa.array([0, 1, 2**63], pa.uint64())
    write_parts(tmp_path, values, values, names=(["ant", "bee"], ["ant", "bee"]))
    with pytest.raises(UserError, match=r"train\.parquet row 2 has label .*, outside 0\.\.1"):
        load_decoded_part(parquet.source(tmp_path, "train", path="set"), "parquet-train", classes=2)


def test_minus_one_is_a_class_beside_one_alone(tmp_path: Path) -> None:
    write_parts(tmp_path, [-1, 1, 1, -1], [-1, -1])
    assert parquet.facts(tmp_path, path="set").class_names == ("-1", "1")
    assert (read_part(tmp_path), read_part(tmp_path, "test")) == ([0, 1, 1, 0], [0, 0])
    write_parts(tmp_path, [0, 1, 1, 0], [-1, -1])
    with pytest.raises(UserError, match="they are withheld"):
        parquet.facts(tmp_path, path="set")


def test_a_class_that_training_lacks_is_refused_with_its_row(tmp_path: Path) -> None:
    write_parts(tmp_path, WORDS, ["ant", "wasp"])
    with pytest.raises(UserError, match=r"test\.parquet row 1 has label 'wasp', a class that the training part hasn't"):
        read_part(tmp_path, "test")


def test_another_order_of_classes_is_another_decoded_copy(tmp_path: Path) -> None:
    write_parts(tmp_path, WORDS, WORDS)
    before = parquet.source(tmp_path, "test", path="set").origin
    write_part(tmp_path / "set" / "train.parquet", ["ant", "dog", "bee", "cat", "dog"])
    assert parquet.source(tmp_path, "test", path="set").origin != before


# -- a split is one complete set of shards


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["train-00000-of-00003-0a1b.parquet", "train-00002-of-00003-0c2d.parquet"],
         r"train-00001-of-00003\.parquet is missing beside"),
        (["train-00000-of-00001.parquet", "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
         "are two shardings of one split"),
        (["train-00000-of-00001.parquet", "train.parquet"], "are two shardings of one split"),
        (["train-00000-of-00001-aa.parquet", "train-00000-of-00001-bb.parquet"], "are the same shard"),
        (["train-0.parquet", "data/train-0.parquet"], "train files lie in .*set and in .*data; move away those"),
        (["default/train/0000.parquet", "default/train/0002.parquet"], r"0001\.parquet is missing beside 0000"),
        (["train-0000-of-0003.parquet", "train-0002-of-0003.parquet"], r"train-0001-of-0003\.parquet is missing"),
        (["train-2-of-2.parquet"], r"train-1-of-2\.parquet is missing beside"),
        (["train_2-00002-of-00003-0a.parquet", "train_2-00000-of-00003-0b.parquet"],
         r"train_2-00001-of-00003\.parquet is missing beside"),
        (["train-000-of-001.parquet", "train-000-of-002.parquet", "train-001-of-002.parquet"], "are two shardings"),
        ([f"train-0000{number}-of-00002.parquet" for number in range(3)],
         r"train-00002-of-00002\.parquet is one shard more than the 2 that names tell; move it away"),
        (["train-00000-of-00002.snappy.parquet"], r"train-00001-of-00002\.snappy\.parquet is missing beside"),
        (["train-0.parquet", "train-2.parquet"],
         r"train-1\.parquet is missing beside train-0\.parquet; fetch it too, or number the files from 0 without"),
        (["train-1.parquet", "train-2.parquet"], r"train-0\.parquet is missing beside train-1"),
        (["train.parquet", "train_2.parquet"], "are two shardings of one split"),
        (["train/a.parquet", "train/a_old.parquet"], "are two shardings of one split"),
        (["train.parquet/part.0.parquet", "train.parquet/part.2.parquet"], r"part\.1\.parquet is missing beside"),
        ([f"train/part-0000{number}-{number}6d8b6a2-0000-4000-8000-0123456789ab-c000.snappy.parquet"
          for number in range(2)], "are two shardings of one split"),
    ],
)  # fmt: skip
def test_a_split_that_is_no_complete_set_is_refused(tmp_path: Path, names: list[str], sentence: str) -> None:
    for name in (*names, "test.parquet"):
        write_part(tmp_path / "set" / name, WORDS)
    train = "train_2" if names[0].startswith("train_2") else ""
    with pytest.raises(UserError, match=sentence):
        parquet.facts(tmp_path, path="set", train=train)


SPARK = "c6d8b6a2-0000-4000-8000-0123456789ab-c000.snappy.parquet"


@pytest.mark.parametrize(
    "names",
    [
        ["train-1-of-2.parquet", "train-2-of-2.parquet"],
        ["train_0_of_2.parquet", "train_1_of_2.parquet"],
        ["train-00000-of-00002.snappy.parquet", "train-00001-of-00002.snappy.parquet"],
        ["train0.parquet", "train1.parquet"],
        ["train.parquet/part.0.parquet", "train.parquet/part.1.parquet"],
        ["Train.parquet/0000.parquet", "Train.parquet/0001.parquet"],
        [f"train.parquet/part-00000-{SPARK}", f"train.parquet/part-00001-{SPARK}"],
        ["data/train/a-00000-of-00002.parquet", "data/train/a-00001-of-00002.parquet"],
    ],
)
def test_a_complete_set_of_shards_is_read(tmp_path: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        write_part(tmp_path / "set" / name, WORDS[: 4 - number])
    write_part(tmp_path / "set" / "test.parquet", WORDS[:3])
    assert read_part(tmp_path) == [1, 0, 2, 1, 1, 0, 2]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train_old.parquet", "train_old"),
        ("train_extra-00000-of-00001.parquet", "train_extra"),
        ("test_hidden.parquet", "test_hidden"),
        ("train.clean.100-00000-of-00001.parquet", "train.clean.100"),
        ("default/partial-train/0000.parquet", "partial-train"),
        ("extra/part-0.parquet", "extra"),
        ("cifar10.parquet", "cifar10"),
        ("noisy-3-of-5.parquet", "noisy"),
    ],
)
def test_any_other_name_is_a_split_of_its_own(tmp_path: Path, name: str, split: str) -> None:
    write_parts(tmp_path, WORDS, WORDS[:3])
    write_part(tmp_path / "set" / name, WORDS[:2])
    facts = parquet.facts(tmp_path, path="set")
    assert (facts.train_examples, facts.test_examples) == (4, 3)
    assert facts.passed_over == (f"split {split} with 2 rows",)
    if split != "noisy":  # that one is incomplete, which stops who asks for it alone
        assert parquet.facts(tmp_path, path="set", test=split).test_examples == 2


def test_a_file_named_as_another_split_is_none_of_its_folders(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write_part(tmp_path / "train" / f"{name}-0.parquet", WORDS)
    facts = parquet.facts(tmp_path, path="train")
    assert (facts.train_examples, facts.test_examples) == (4, 4)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train-00000-of-00001-0a1b.parquet", "test-00000-of-00001-0a1b.parquet"),
        ("train.parquet", "valid.parquet"),
        ("Training-0.parquet", "dev-0.parquet"),
        ("default/train/0000.parquet", "default/validation/0000.parquet"),
        ("plain_text/train-0.parquet", "plain_text/test-0.parquet"),
        ("train/part-0.parquet", "val/part-0.parquet"),
    ],
)
def test_splits_are_found_by_their_usual_names(tmp_path: Path, train: str, test: str) -> None:
    write_part(tmp_path / "set" / train, WORDS)
    write_part(tmp_path / "set" / test, WORDS[:3])
    facts = parquet.facts(tmp_path, path="set")
    assert (facts.train_examples, facts.test_examples) == (4, 3)


def test_splits_may_be_named(tmp_path: Path) -> None:
    for split, count in (("clean", 4), ("noisy", 3), ("test", 2)):
        write_part(tmp_path / "set" / f"{split}.parquet", WORDS[:count])
    with pytest.raises(UserError, match=r"no train-\*.* or .*; it has clean, noisy, test; set train to one of them"):
        parquet.facts(tmp_path, path="set")
    facts = parquet.facts(tmp_path, path="set", train="clean", test="noisy")
    assert (facts.train_examples, facts.test_examples) == (4, 3)
    with pytest.raises(UserError, match=r"parquet\.train: .* has no split 'clan'; did you mean 'clean'"):
        parquet.facts(tmp_path, path="set", train="clan")


@pytest.mark.parametrize("withheld", [[-1, -1], pa.array([None, None], pa.int64()), pa.nulls(2)])
def test_a_test_part_whose_labels_are_withheld_says_what_to_use(tmp_path: Path, withheld: Any) -> None:
    write_parts(tmp_path, [0, 1, 0, 1], withheld, names=(["ant", "bee"], ["ant", "bee"]))
    with pytest.raises(UserError, match="are withheld; set `test: 20` to hold out 20 % of each class"):
        parquet.facts(tmp_path, path="set")
    write_part(tmp_path / "set" / "validation.parquet", [1, 0, 1], ["ant", "bee"])
    with pytest.raises(UserError, match="they are withheld; set `test: validation`"):
        parquet.facts(tmp_path, path="set")
    assert parquet.facts(tmp_path, path="set", test="validation").test_examples == 3
    assert read_part(tmp_path, "test", test="validation") == [1, 0, 1]


def test_a_test_part_without_labels_says_what_to_use(tmp_path: Path) -> None:
    write_parts(tmp_path, WORDS, WORDS)
    write_part(tmp_path / "set" / "validation.parquet", WORDS[:3])
    table = pq.read_table(tmp_path / "set" / "test.parquet")
    texts = table.set_column(1, "label", pa.array([""] * 4))
    for unlabelled in (table.drop_columns("label"), texts):
        pq.write_table(unlabelled, tmp_path / "set" / "test.parquet")
        with pytest.raises(UserError, match=r"the test part, test\.parquet, has no labels, .*; set `test: validation`"):
            parquet.facts(tmp_path, path="set")
        assert parquet.facts(tmp_path, path="set", test="validation").test_examples == 3


# -- a share of the training split as the test part


def write_shares(root: Path) -> None:
    """30 training images of 3 classes, 7, 9 and 14, in two files; a pixel is its row's number."""
    labels = [0] * 7 + [1] * 9 + [2] * 14
    order = np.random.default_rng(4).permutation(30)
    for number, rows in enumerate((order[:17], order[17:])):
        file = root / "set" / f"train-{number}.parquet"
        write_parquet(file, [picture(row) for row in rows], [labels[row] for row in rows], None, rows_per_group=4)


def test_a_share_of_each_class_is_held_out(tmp_path: Path) -> None:
    write_shares(tmp_path)
    facts = parquet.facts(tmp_path, path="set", test=30)
    assert (facts.train_examples, facts.test_examples, facts.classes, facts.validation) == (22, 8, 3, 4)
    train, test = (parquet.source(tmp_path, part, path="set", test=30) for part in ("train", "test"))
    assert np.bincount(test.labels).tolist() == [2, 2, 4] and np.bincount(train.labels).tolist() == [5, 7, 10]
    assert train.origin != test.origin
    pixels = [[int(one.decode(row)[0, 0, 0]) for row in range(len(one.labels))] for one in (train, test)]
    assert sorted(pixels[0] + pixels[1]) == list(range(30)), "each image is in one part"
    for one, values in zip((train, test), pixels, strict=True):
        assert [0 if value < 7 else 1 if value < 16 else 2 for value in values] == one.labels.tolist()
    again = parquet.source(tmp_path, "test", path="set", test=30)
    assert again.name(0) == test.name(0)
    number, row = test.name(0)[-len("0.parquet row 0") :].split(".parquet row ")
    stored = pq.read_table(tmp_path / "set" / f"train-{number[-1]}.parquet").column("img")[int(row)].as_py()
    assert stored["bytes"] == picture(pixels[1][0])


def test_the_share_stays_the_same(tmp_path: Path) -> None:
    """Pinned: other images in the test part would be another dataset of the same name."""
    write_shares(tmp_path)
    test = parquet.source(tmp_path, "test", path="set", test=30)
    assert [int(test.decode(row)[0, 0, 0]) for row in range(8)] == [28, 5, 23, 17, 29, 4, 12, 14]


def test_a_share_and_a_named_validation_split_go_together(tmp_path: Path) -> None:
    write_shares(tmp_path)
    write_part(tmp_path / "set" / "valid.parquet", [2, 0])
    rename(tmp_path, image="img")
    facts = parquet.facts(tmp_path, path="set", test=30, validation="valid")
    assert (facts.train_examples, facts.test_examples, facts.validation) == (24, 8, 2)
    train = parquet.source(tmp_path, "train", path="set", test=30, validation="valid")
    assert train.validation_rows is not None and train.validation_rows.tolist() == [22, 23]
    assert train.labels[-2:].tolist() == [2, 0] and len(train.labels) == 24
    assert train.decode(23).max() == 1, "the second image of the validation file"


def test_a_share_comes_before_a_test_split_which_is_said(tmp_path: Path) -> None:
    write_parts(tmp_path, NUMBERS, [-1, -1])
    facts = parquet.facts(tmp_path, path="set", test=25)
    assert (facts.train_examples, facts.test_examples) == (9, 3)
    assert facts.passed_over == ("split test with 2 rows",)


def test_a_share_must_give_two_classes_a_test_image(tmp_path: Path) -> None:
    write_part(tmp_path / "set" / "train.parquet", NUMBERS)
    with pytest.raises(UserError, match=r"parquet\.test: 20 % of each class .* is too few images for a test part"):
        parquet.facts(tmp_path, path="set", test=20)
    for given in (0, 100, True, 1.5):
        with pytest.raises(UserError, match=r"parquet\.test: must be"):
            resolve_settings(parquet.SETTINGS, {"test": given}, "parquet")
    assert resolve_settings(parquet.SETTINGS, {"test": ""}, "parquet")["test"] == ""
    assert resolve_settings(parquet.SETTINGS, {"test": "20"}, "parquet")["test"] == 20, "as a command's --set has it"


# -- images of several sizes


def test_images_of_several_sizes_are_refused_by_their_headers(tmp_path: Path) -> None:
    shapes = [(6, 5, 3), *[(6 + row % 3, 5, 3) for row in range(99)]]
    write_parquet(tmp_path / "set" / "train.parquet", [picture(1, shape) for shape in shapes], [0, 1] * 50)
    write_parquet(tmp_path / "set" / "test.parquet", [picture(1)] * 2, [0, 1])
    with pytest.raises(
        UserError, match=r"train\.parquet holds images of several sizes \(6 x 5, . x 5 pixels\); write `size: 7`"
    ):
        parquet.facts(tmp_path, path="set")
    assert parquet.facts(tmp_path, path="set", size=7).shape == (3, 7, 7)


def test_an_image_of_another_size_is_not_to_be_removed(tmp_path: Path) -> None:
    write_set(tmp_path, images=[picture(1), picture(1, (7, 5, 3))])
    with pytest.raises(UserError, match="write `size: 6`") as refusal:
        load_decoded_part(parquet.source(tmp_path, "train", path="set"), "parquet-train", classes=2)
    assert "remove" not in str(refusal.value)


def test_training_images_are_no_test_part(tmp_path: Path) -> None:
    write_part(tmp_path / "set" / "train.parquet", WORDS)
    with pytest.raises(UserError, match=r"no test-\*.* or a folder of it; put .*, or set `test: 20` to hold out"):
        parquet.facts(tmp_path, path="set")
    with pytest.raises(
        UserError, match=r"parquet\.test: .*train\.parquet is the training part too; name another split"
    ):
        parquet.facts(tmp_path, path="set", test="train")


# --- a named validation split, and what isn't read -----------------------------------------------------------------


def test_a_named_validation_split_is_held_out_of_the_training_part(tmp_path: Path) -> None:
    write_parts(tmp_path, WORDS, WORDS[:3])
    write_part(tmp_path / "set" / "valid.parquet", ["cat", "bee"])
    facts = parquet.facts(tmp_path, path="set", validation="valid")
    assert (facts.train_examples, facts.test_examples, facts.validation, facts.passed_over) == (6, 3, 2, ())
    source = parquet.source(tmp_path, "train", path="set", validation="valid")
    assert source.labels.tolist() == [1, 0, 2, 1, 2, 1]
    assert source.validation_rows is not None and source.validation_rows.tolist() == [4, 5]
    assert source.decode(5).max() == 1, "the second image of the validation file"
    plain = parquet.source(tmp_path, "train", path="set")
    assert plain.validation_rows is None and plain.origin != source.origin
    test = parquet.source(tmp_path, "test", path="set", validation="valid")
    assert test.validation_rows is None and test.labels.tolist() == [1, 0, 2]
    assert parquet.facts(tmp_path, path="set").passed_over == (
        "split valid with 2 rows (name it as validation: valid)",
    )


def test_a_validation_split_is_one_part_alone(tmp_path: Path) -> None:
    write_part(tmp_path / "set" / "train.parquet", WORDS)
    write_part(tmp_path / "set" / "validation.parquet", WORDS[:3])
    assert parquet.facts(tmp_path, path="set").test_examples == 3
    with pytest.raises(UserError, match=r"no test-\*\.parquet"):
        parquet.facts(tmp_path, path="set", validation="validation")
    with pytest.raises(UserError, match=r"parquet\.test: .*validation\.parquet is the validation part too"):
        parquet.facts(tmp_path, path="set", validation="validation", test="validation")
    with pytest.raises(UserError, match=r"parquet\.validation: .*train\.parquet is the training part too"):
        parquet.facts(tmp_path, path="set", validation="train")


def test_a_validation_split_has_no_class_of_its_own(tmp_path: Path) -> None:
    write_parts(tmp_path, WORDS, WORDS[:3])
    write_part(tmp_path / "set" / "validation.parquet", ["cat", "dog"])
    with pytest.raises(UserError, match=r"validation\.parquet row 1 has label 'dog', a class that the training part"):
        read_part(tmp_path, validation="validation")
    write_part(tmp_path / "set" / "validation.parquet", [1, 0])
    with pytest.raises(UserError, match=r"the column 'label' of .*validation\.parquet holds int64"):
        parquet.facts(tmp_path, path="set", validation="validation")


def test_withheld_test_labels_name_the_split_that_is_there(tmp_path: Path) -> None:
    write_parts(tmp_path, [0, 1, 0, 1], [-1, -1])
    write_part(tmp_path / "set" / "dev.parquet", [1, 0])
    with pytest.raises(UserError, match="they are withheld; set `test: dev`"):
        parquet.facts(tmp_path, path="set")
    assert parquet.facts(tmp_path, path="set", test="dev").test_examples == 2


def test_what_is_no_part_is_counted(tmp_path: Path) -> None:
    write_parts(tmp_path, WORDS, WORDS[:3])
    write_part(tmp_path / "set" / "unsupervised-0.parquet", WORDS[:2])
    for name in ("README.md", "dataset_infos.json", "old/a.arrow", "old/b.arrow", "more.csv", ".gitattributes"):
        (tmp_path / "set" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "set" / name).write_text("x")
    for name in (".DS_Store", "data/.train-1.parquet", ".cache/x", ".trash/y"):
        (tmp_path / "set" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "set" / name).write_text("x")
    write_part(tmp_path / "set" / "a" / "b" / "c" / "train.parquet", WORDS)
    assert parquet.facts(tmp_path, path="set").passed_over == (
        "split unsupervised with 2 rows",
        "1 file .parquet more than 2 folders down",
        "2 files .arrow",
        "1 file .csv",
        "2 hidden files",
        "1 hidden folder",
    )


def test_a_broken_split_that_no_part_reads_stops_nothing(tmp_path: Path) -> None:
    write_parts(tmp_path, WORDS, WORDS[:3])
    (tmp_path / "set" / "extra.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    assert parquet.facts(tmp_path, path="set").passed_over == ("split extra that can't be read",)
    with pytest.raises(UserError, match="is a Git LFS pointer"):
        parquet.facts(tmp_path, path="set", test="extra")


def test_another_layout_says_what_reads_it(tmp_path: Path) -> None:
    for name in ("ant/0.png", "bee/0.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        (tmp_path / "photos" / name).write_bytes(picture(1))
    with pytest.raises(UserError, match=r"no Parquet files; name it as `\{name: folder, path: photos\}`"):
        parquet.facts(tmp_path, path="photos")
    write_parts(tmp_path / "deep" / "a" / "b" / "c", WORDS, WORDS[:3])
    with pytest.raises(UserError, match="only further down; set `path: deep/a/b/c/set`"):
        parquet.facts(tmp_path, path="deep")
    assert parquet.facts(tmp_path, path="deep/a/b/c/set").test_examples == 3


def test_one_of_several_configurations_is_named_by_its_path(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_parts(tmp_path / "many" / name, WORDS, WORDS[:3])
    with pytest.raises(UserError, match=r"files lie in .*; read one of these folders as `\{name: parquet, path"):
        parquet.facts(tmp_path, path="many")
    assert parquet.facts(tmp_path, path="many/two").train_examples == 4


@pytest.mark.parametrize("given", [True, 1.5, "", -1])
def test_validation_is_a_number_or_a_split(given: Any) -> None:
    with pytest.raises(UserError, match=r"parquet\.validation: must be"):
        resolve_settings(parquet.SETTINGS, {"validation": given}, "parquet")


def test_an_absolute_path_says_how_to_name_it() -> None:
    with pytest.raises(UserError, match="write `path: birds`, with --data or GRAFTBENCH_DATA set to /disk/photos"):
        resolve_settings(parquet.SETTINGS, {"path": "/disk/photos/birds"}, "parquet")
