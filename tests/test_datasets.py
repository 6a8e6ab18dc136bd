"""Splits, and the loaders on real files where they are, and on small made ones."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.datasets import digits, mnist
from suite.datasets._splits import allocate, digest, split
from suite.settings import Refused


def real(*parts: str) -> Path:
    """The data directory, if it holds the given path; skips otherwise."""
    roots = [Path(os.environ["GRAFTBENCH_DATA"])] if "GRAFTBENCH_DATA" in os.environ else []
    roots.append(Path(__file__).resolve().parents[2] / "shared" / "data")
    for root in roots:
        if root.joinpath(*parts).exists():
            return root
    pytest.skip(f"real data {'/'.join(parts)} is neither in GRAFTBENCH_DATA nor in ../shared/data")


# --- splits ----------------------------------------------------------------------------------------------------


def labels_of(*counts: int) -> Any:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int64)


def test_split_is_disjoint_covering_sorted_and_stratified() -> None:
    labels = labels_of(50, 30, 21)
    train, validation = split(labels, 20, seed=3)
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(101))
    for part in (train, validation):
        assert part.dtype == np.int64 and np.all(np.diff(part) > 0)
    assert np.bincount(labels[validation]).tolist() == [10, 6, 4]


def test_shares_are_exact_by_largest_remainder() -> None:
    assert allocate(np.array([50, 30, 21]), 20) == [10, 6, 4]  # 9.90, 5.94, 4.16
    assert allocate(np.array([1, 1, 1]), 2) == [1, 1, 0]
    assert allocate(np.array([5, 0, 5]), 10) == [5, 0, 5]
    for total in range(101):
        shares = allocate(np.array([50, 30, 21]), total)
        assert sum(shares) == total and all(0 <= s <= n for s, n in zip(shares, (50, 30, 21), strict=True))


def test_the_seed_decides_who_is_held_out() -> None:
    labels = labels_of(50, 30, 21)
    assert digest(*split(labels, 20, seed=3)) == digest(*split(labels, 20, seed=3))
    assert digest(*split(labels, 20, seed=3)) != digest(*split(labels, 20, seed=4))
    assert len(digest(*split(labels, 20, seed=2**63 - 1))) == 16


def test_split_and_digest_are_pinned() -> None:
    """A changed split would silently change every result that shares a trial key."""
    train, validation = split(np.arange(20, dtype=np.int64) % 2, 4, seed=7)
    assert validation.tolist() == [3, 6, 7, 12]
    assert digest(train, validation) == "be3d6b701fbd9bfe"


def test_digest_tells_the_parts_apart() -> None:
    one, two = np.array([1], dtype=np.int64), np.array([2], dtype=np.int64)
    assert digest(one, two) != digest(two, one)
    assert digest(np.array([1, 2]), np.array([], dtype=np.int64)) != digest(one, two)


def test_split_refuses_to_leave_nothing() -> None:
    for validation in (-1, 6, 7):
        with pytest.raises(Refused, match="can't be held out"):
            split(np.zeros(6, dtype=np.int64), validation, seed=0)


# --- digits ----------------------------------------------------------------------------------------------------


def test_digits_constants(tmp_path: Path) -> None:
    for size in (8, 16):
        images, _ = digits.load(tmp_path, "train", size=size)
        facts = digits.facts(tmp_path, size=size)
        assert facts.mean == (round(images.mean() / 255, 5),)
        assert facts.std == (round(float(images.std()) / 255, 5),)
        assert images.min() == 0 and images.max() == 255


def test_digits_test_part_is_a_fixed_fifth_of_every_class(tmp_path: Path) -> None:
    test, test_labels = digits.load(tmp_path, "test", size=8)
    train, train_labels = digits.load(tmp_path, "train", size=8)
    assert len(test) + len(train) == 1797
    share = np.bincount(test_labels) / (np.bincount(test_labels) + np.bincount(train_labels))
    assert np.abs(share - 0.2).max() < 0.005
    assert [int(label) for label in test_labels[:8]] == [0, 0, 0, 2, 7, 1, 6, 7]


def test_digits_pixels_are_repeated(tmp_path: Path) -> None:
    small, _ = digits.load(tmp_path, "test", size=8)
    large, _ = digits.load(tmp_path, "test", size=24)
    for row in range(3):
        assert np.array_equal(large[:, :, row::3, 2::3], small)


def test_digits_facts_need_no_scikit_learn() -> None:
    code = "import sys; from suite.datasets import digits; digits.facts('.'); assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


# --- mnist -----------------------------------------------------------------------------------------------------


def write_mnist(root: Path, monkeypatch: pytest.MonkeyPatch, *, compressed: bool = False) -> Path:
    """A tiny MNIST: 3 training and 2 test images; returns its folder."""
    monkeypatch.setattr(mnist, "EXAMPLES", {"train": 3, "test": 2})
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for prefix, count in (("train", 3), ("t10k", 2)):
        pixels = (np.arange(count * 784) % 251).astype(np.uint8)
        files = {
            f"{prefix}-images-idx3-ubyte": np.array([0x803, count, 28, 28], ">u4").tobytes() + pixels.tobytes(),
            f"{prefix}-labels-idx1-ubyte": np.array([0x801, count], ">u4").tobytes() + bytes(range(count)),
        }
        for name, data in files.items():
            (folder / (name + ".gz" * compressed)).write_bytes(gzip.compress(data) if compressed else data)
    return folder


@pytest.mark.parametrize("compressed", [False, True])
def test_mnist_reads_idx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compressed: bool) -> None:
    write_mnist(tmp_path, monkeypatch, compressed=compressed)
    assert mnist.facts(tmp_path).missing is None
    images, labels = mnist.load(tmp_path, "train")
    assert images.shape == (3, 1, 28, 28) and labels.tolist() == [0, 1, 2]
    assert images[1, 0, 0, :3].tolist() == [784 % 251, 785 % 251, 786 % 251]


def test_mnist_holds_out_what_it_is_told(tmp_path: Path) -> None:
    assert mnist.facts(tmp_path).validation == 10_000
    assert mnist.facts(tmp_path, validation=5000).validation == 5000


def test_mnist_missing_names_path_and_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_mnist(tmp_path, monkeypatch)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    missing = mnist.facts(tmp_path).missing
    assert missing is not None and "t10k-labels-idx1-ubyte" in missing
    assert f"torchvision.datasets.MNIST('{tmp_path}', download=True)" in missing
    with pytest.raises(Refused, match="t10k-labels-idx1-ubyte"):
        mnist.load(tmp_path, "train")


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        ("images-idx3", lambda data: b"\0\0\x08\x01" + data[4:], "magic number 0x00000803"),
        ("images-idx3", lambda data: data[:-1], "2351 bytes for 3 x 28 x 28"),
        ("images-idx3", lambda data: data[:7], "magic number"),
        ("labels-idx1", lambda data: data[:4] + b"\0\0\0\x02" + data[8:10], "2 labels, not 3"),
        ("labels-idx1", lambda data: data[:-1] + b"\x0a", "label 10 in row 2"),
    ],
)
def test_mnist_refuses_broken_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, change: Any, sentence: str
) -> None:
    path = write_mnist(tmp_path, monkeypatch) / f"train-{file}-ubyte"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(Refused, match=sentence) as refusal:
        mnist.load(tmp_path, "train")
    assert str(path) in str(refusal.value)


def test_mnist_refuses_a_cut_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_mnist(tmp_path, monkeypatch, compressed=True) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Refused, match="can't be read"):
        mnist.load(tmp_path, "train")


def test_mnist_as_published() -> None:
    root = real("MNIST", "raw")
    facts = mnist.facts(root)
    images, labels = mnist.load(root, "train")
    assert facts.missing is None and images.shape == (60_000, 1, 28, 28)
    assert facts.mean == (round(images.mean() / 255, 4),)
    assert facts.std == (round(float(np.sqrt((images / np.float32(255)).var(dtype=np.float64))), 4),)
    assert labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.load(root, "test")[1][:5].tolist() == [7, 2, 1, 0, 4]


def test_digits_are_those_that_scikit_learn_loads() -> None:
    bunch = pytest.importorskip("sklearn.datasets").load_digits()
    pixels, labels = digits._read()
    assert np.array_equal(pixels, bunch.images) and np.array_equal(labels, bunch.target)
