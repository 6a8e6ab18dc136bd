"""The Parquet loader on small made files, and on CIFAR-10 where it is."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from suite.datasets import parquet
from suite.settings import Refused, resolve


def real(*parts: str) -> Path:
    """The data directory, if it holds the given path; skips otherwise."""
    roots = [Path(os.environ["GRAFTBENCH_DATA"])] if "GRAFTBENCH_DATA" in os.environ else []
    roots.append(Path(__file__).resolve().parents[2] / "shared" / "data")
    for root in roots:
        if root.joinpath(*parts).exists():
            return root
    pytest.skip(f"real data {'/'.join(parts)} is neither in GRAFTBENCH_DATA nor in ../shared/data")


def encoded(pixels: Any, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def picture(value: int, shape: tuple[int, ...] = (6, 5, 3)) -> bytes:
    return encoded(np.full(shape, value, np.uint8))


def write_parquet(file: Path, images: list[bytes | None], labels: list[int], names: list[str] | None = None) -> None:
    cells = [{"bytes": image, "path": None} for image in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"img": pa.array(cells, kind), "label": pa.array(labels, pa.int64())})
    if names:
        features = {"img": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)


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
    images, labels = parquet.load(tmp_path, "train", path="set")
    assert images.shape == (5, 3, 6, 5) and images[:, 2, 5, 4].tolist() == [0, 1, 2, 3, 4]
    assert labels.tolist() == [0, 1, 0, 0, 1]
    assert parquet.load(tmp_path, "test", path="set")[0][0, 0, 0, 0] == 9


def test_parquet_channels_come_first(tmp_path: Path) -> None:
    pixels = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)
    write_set(tmp_path, images=[encoded(pixels), picture(0)])
    assert np.array_equal(parquet.load(tmp_path, "train", path="set")[0][3], pixels.transpose(2, 0, 1))


def test_parquet_without_class_names_counts_labels(tmp_path: Path) -> None:
    write_set(tmp_path, names=None, labels=[0, 6])
    assert parquet.facts(tmp_path, path="set").classes == 7


def test_parquet_holds_out_what_it_is_told(tmp_path: Path) -> None:
    write_set(tmp_path)
    assert parquet.facts(tmp_path, path="set", validation=2).validation == 2
    assert len(parquet.load(tmp_path, "train", path="set", validation=2)[0]) == 5, "the part itself is whole"


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
    assert parquet.load(tmp_path, "train", path="set")[0].shape == (2, 1, 4, 4)


def test_parquet_a_grey_image_among_colour_ones_becomes_colour(tmp_path: Path) -> None:
    write_set(tmp_path, images=[picture(3), picture(8, (6, 5))])
    assert parquet.load(tmp_path, "train", path="set")[0][4, :, 0, 0].tolist() == [8, 8, 8]


def test_parquet_finds_data_folder_and_validation_files(tmp_path: Path) -> None:
    for name in ("train", "validation"):
        write_parquet(tmp_path / "set" / "data" / f"{name}-0.parquet", [picture(len(name))] * 2, [0, 1])
    assert parquet.load(tmp_path, "test", path="set")[0][0, 0, 0, 0] == len("validation")
    write_parquet(tmp_path / "set" / "data" / "test-0.parquet", [picture(77)] * 2, [0, 1])
    assert parquet.load(tmp_path, "test", path="set")[0][0, 0, 0, 0] == 77


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        ({"images": [picture(1), picture(1, (7, 5, 3))]}, "3 x 7 x 5 in row 1"),
        ({"images": [picture(1), b"not an image"]}, "row 1 that can't be decoded"),
        ({"images": [picture(1), picture(1)[:50]]}, "row 1 that can't be decoded"),
        ({"images": [None, picture(1)]}, "no image bytes in row 0"),
        ({"labels": [0, 2]}, r"label 2 in row 1, outside 0\.\.1"),
        ({"labels": [-1, 0]}, "label -1 in row 0"),
        ({"labels": [0, None]}, "without a label"),
    ],
)
def test_parquet_refuses_broken_rows(tmp_path: Path, train: dict[str, Any], sentence: str) -> None:
    file = write_set(tmp_path, **train)
    with pytest.raises(Refused, match=sentence) as refusal:
        parquet.load(tmp_path, "train", path="set")
    assert str(file) in str(refusal.value)


def test_parquet_rows_are_counted_over_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS", 2)
    write_set(tmp_path, images=[picture(1)] * 3 + [b"broken"], labels=[0] * 4)
    with pytest.raises(Refused, match="in row 3"):
        parquet.load(tmp_path, "train", path="set")


def test_parquet_refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="name the directory"):
        parquet.facts(tmp_path)
    with pytest.raises(Refused, match=r"no train-\*\.parquet"):
        parquet.facts(tmp_path, path="absent")
    write_set(tmp_path).write_bytes(b"PAR1 but not really")
    with pytest.raises(Refused, match=r"train-1\.parquet is not a readable"):
        parquet.facts(tmp_path, path="set")


def test_parquet_label_column_must_be_unambiguous(tmp_path: Path) -> None:
    write_set(tmp_path)
    for name in ("train-0", "train-1", "test-0"):
        file = tmp_path / "set" / f"{name}.parquet"
        table = pq.read_table(file).rename_columns(["img", "fine"]).replace_schema_metadata(None)
        pq.write_table(table.append_column("coarse", pa.array([0] * len(table))), file)
    with pytest.raises(Refused, match="fine, coarse"):
        parquet.facts(tmp_path, path="set")
    assert parquet.facts(tmp_path, path="set", label="fine").classes == 2
    with pytest.raises(Refused, match="no whole-number column 'fin'"):
        parquet.facts(tmp_path, path="set", label="fin")


@pytest.mark.parametrize("path", ["/etc", "../elsewhere", "a/../../b", 3])
def test_parquet_stays_below_the_data_directory(path: Any) -> None:
    with pytest.raises(Refused, match="below the data directory"):
        resolve(parquet.SETTINGS, {"path": path}, "parquet")


def test_cifar10_parquet() -> None:
    root = real("cifar10-parquet")
    facts = parquet.facts(root, path="cifar10-parquet")
    assert (facts.classes, facts.shape, facts.class_names[6]) == (10, (3, 32, 32), "frog")
    assert (facts.train_examples, facts.test_examples, facts.validation) == (50_000, 10_000, 10_000)
    images, labels = parquet.load(root, "test", path="cifar10-parquet")
    assert images.shape == (10_000, 3, 32, 32) and np.bincount(labels).tolist() == [1000] * 10
    # The published CIFAR-10 test means are 0.4942, 0.4851, 0.4504; JPEG moves the fourth digit.
    assert np.abs(images.mean((0, 2, 3)) / 255 - [0.4942, 0.4851, 0.4504]).max() < 0.001
