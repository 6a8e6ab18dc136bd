"""Well-known datasets in both of their layouts: the same images and labels, or a refusal that names file and remedy."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from suite.core.errors import UserError
from suite.core.specs import Component
from suite.data import layouts
from suite.data.dataset import Dataset
from suite.data.layouts import ParquetSet
from suite.data.source import Part
from suite.datasets import cifar10, cifar100, fashion_mnist, imagenet, mnist

SETS = {module.PARQUET.name: module.PARQUET for module in (cifar10, cifar100, mnist, fashion_mnist)}
SETS["imagenet"] = imagenet._parquet_set(8, "crop")
EXAMPLES: dict[Part, int] = {"train": 6, "test": 3}


class NoClassicFiles:
    """The classic layout, absent."""

    def find_missing(self, root: Path) -> str:
        return f"{root / 'classic'} is missing; fetch it"

    def open_part(self, root: Path, part: Part) -> Any:
        raise AssertionError("nothing to open")


def make_images(part: Part, shape: tuple[int, int, int]) -> Any:
    generator = np.random.default_rng(len(part))
    return generator.integers(0, 256, (EXAMPLES[part], *shape), dtype=np.uint8)


def encode(image: Any) -> bytes:
    """A PNG of uint8 (channels, height, width)."""
    buffer = io.BytesIO()
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_split(file: Path, files: ParquetSet, images: Any, names: tuple[str, ...] | None = None) -> None:
    """A shard in the Hub's form; labels count up from 0."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": encode(image), "path": None} for image in images]
    labels = pa.array(range(len(images)), pa.int64())
    columns = {files.image: pa.array(cells, kind), files.label: labels}
    if files.label == "fine_label":
        columns["coarse_label"] = pa.array([0] * len(images), pa.int64())
    stored = names or files.class_names or tuple(map(str, range(files.classes)))
    features = {files.label: {"names": list(stored), "_type": "ClassLabel"}}
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, file)


def write_set(folder: Path, files: ParquetSet) -> None:
    for part, split in files.splits.items():
        write_split(folder / f"{split}-00000-of-00001.parquet", files, make_images(part, files.shape))


@pytest.fixture(params=sorted(SETS))
def files(request: pytest.FixtureRequest) -> ParquetSet:
    return dataclasses.replace(SETS[request.param], examples=EXAMPLES)


def test_the_hubs_files_are_read_wherever_they_may_lie(files: ParquetSet, tmp_path: Path) -> None:
    repository = files.repository.rpartition("/")[2]
    for number, place in enumerate(
        (f"{files.name}-parquet", f"{files.name}-parquet/plain_text", files.name, f"{repository}/data")
    ):
        root = tmp_path / str(number)
        write_set(root / place, files)
        assert layouts.find_missing(root, NoClassicFiles(), files) is None
        for part in EXAMPLES:
            source = layouts.open_part(root, part, NoClassicFiles(), files)
            images = np.stack([source.decode(row) for row in range(EXAMPLES[part])])
            assert (images == make_images(part, files.shape)).all()
            assert source.labels.tolist() == list(range(EXAMPLES[part]))


def test_the_converted_branch_is_read_too(files: ParquetSet, tmp_path: Path) -> None:
    """`default/SPLIT/0000.parquet`, as the Hub converts what was stored otherwise."""
    for part, split in files.splits.items():
        file = tmp_path / files.name / "default" / split / "0000.parquet"
        write_split(file, files, make_images(part, files.shape))
    assert layouts.open_part(tmp_path, "test", NoClassicFiles(), files).labels.tolist() == [0, 1, 2]


def test_without_any_files_both_remedies_are_named(files: ParquetSet, tmp_path: Path) -> None:
    missing = layouts.find_missing(tmp_path, NoClassicFiles(), files)
    download = f"hf download --repo-type dataset {files.repository}"
    folder = tmp_path / f"{files.name}-parquet"
    assert missing == (
        f"{tmp_path / 'classic'} is missing; fetch it, or as Parquet with `{download} --local-dir {folder}`"
    )
    with pytest.raises(UserError, match="classic is missing"):
        layouts.open_part(tmp_path, "train", NoClassicFiles(), files)


def test_a_split_that_is_missing_is_named(files: ParquetSet, tmp_path: Path) -> None:
    write_set(tmp_path / files.name, files)
    test = files.splits["test"]
    (tmp_path / files.name / f"{test}-00000-of-00001.parquet").unlink()
    assert f"no {test}-*.parquet in" in str(layouts.find_missing(tmp_path, NoClassicFiles(), files))


def test_a_shard_that_is_missing_is_named(files: ParquetSet, tmp_path: Path) -> None:
    write_set(tmp_path / files.name, files)
    folder = tmp_path / files.name
    (folder / "train-00000-of-00001.parquet").rename(folder / "train-00001-of-00002.parquet")
    assert "train-00000-of-00002.parquet is missing beside train-00001-of-00002.parquet" in str(
        layouts.find_missing(tmp_path, NoClassicFiles(), files)
    )


def test_other_numbers_of_rows_are_refused(files: ParquetSet, tmp_path: Path) -> None:
    write_set(tmp_path / files.name, files)
    whole = dataclasses.replace(files, examples={"train": 7, "test": 3})
    with pytest.raises(UserError, match=r"the train part in .* has 6 rows, not 7; fetch them with `hf download"):
        layouts.open_part(tmp_path, "train", NoClassicFiles(), whole)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashion_mnist"])
def test_labels_that_mean_other_classes_are_refused(name: str, tmp_path: Path) -> None:
    files = dataclasses.replace(SETS[name], examples=EXAMPLES)
    swapped = (files.class_names[1], files.class_names[0], *files.class_names[2:])
    for part, split in files.splits.items():
        write_split(tmp_path / name / f"{split}-0.parquet", files, make_images(part, files.shape), swapped)
    with pytest.raises(UserError, match=f"{name}: .* names other classes, or in another order: {swapped[0]}"):
        layouts.open_part(tmp_path, "train", NoClassicFiles(), files)


def test_names_that_differ_in_marks_alone_are_the_same(tmp_path: Path) -> None:
    files = dataclasses.replace(SETS["fashion_mnist"], examples=EXAMPLES)
    names = ("T - shirt / top", *files.class_names[1:])
    for part, split in files.splits.items():
        write_split(tmp_path / files.name / f"{split}-0.parquet", files, make_images(part, files.shape), names)
    assert len(layouts.open_part(tmp_path, "train", NoClassicFiles(), files).labels) == EXAMPLES["train"]


def test_imagenets_own_test_split_is_never_read(tmp_path: Path) -> None:
    """Its labels are all -1."""
    files = dataclasses.replace(SETS["imagenet"], examples=EXAMPLES)
    write_set(tmp_path / "imagenet" / "data", files)
    (tmp_path / "imagenet" / "data" / "test-00000-of-00001.parquet").write_bytes(b"not read")
    assert len(layouts.open_part(tmp_path, "test", NoClassicFiles(), files).labels) == EXAMPLES["test"]


def test_whole_classic_files_come_first(tmp_path: Path) -> None:
    files = dataclasses.replace(SETS["mnist"], examples=EXAMPLES)
    write_set(tmp_path / files.name, files)

    class Classic:
        def find_missing(self, root: Path) -> None:
            return None

        def open_part(self, root: Path, part: Part) -> Any:
            return f"classic {part}"

    assert layouts.find_missing(tmp_path, Classic(), files) is None
    opened: Any = layouts.open_part(tmp_path, "train", Classic(), files)
    assert opened == "classic train"


def test_cifar10_is_read_from_the_hubs_files(real: Callable[..., Path]) -> None:
    dataset = Dataset(Component("cifar10"), real("cifar10-parquet"))
    assert dataset.info.missing is None
    decoded = dataset.load_part("train")
    assert np.bincount(decoded.labels).tolist() == [5000] * 10
    assert np.bincount(dataset.load_part("test").labels).tolist() == [1000] * 10
    published = cifar10.facts(Path("nowhere")).mean
    assert published is not None
    assert np.allclose(decoded.mean, published, atol=5e-4), "within what lossy copies of the images move it by"
