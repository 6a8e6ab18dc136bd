"""Splits, and the datasets on real files where they are, and on small made ones in the same layout."""

from __future__ import annotations

import gzip
import hashlib
import inspect
import io
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from suite.core.errors import UserError
from suite.core.registry import list_components, load_component
from suite.data.source import ImageSource, Part
from suite.data.splits import allocate, digest, split
from suite.datasets import _idx as idx
from suite.datasets import cifar10, cifar100, digits, fashion_mnist, mnist, synthetic

Real = Callable[..., Path]


def arrays(source: ImageSource) -> tuple[Any, Any]:
    """All images of a source, decoded, and its labels."""
    return np.stack([source.decode(row) for row in range(len(source.labels))]), source.labels


def moments(images: Any) -> tuple[Any, Any]:
    """Mean and standard deviation per channel on the 0-1 scale."""
    counts = [np.bincount(images[:, channel].reshape(-1), minlength=256) for channel in range(images.shape[1])]
    values = np.arange(256) / 255
    means = np.array([(c * values).sum() / c.sum() for c in counts])
    variances = [(c * (values - mean) ** 2).sum() / c.sum() for c, mean in zip(counts, means, strict=True)]
    return means, np.sqrt(variances)


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
        with pytest.raises(UserError, match="can't be held out"):
            split(np.zeros(6, dtype=np.int64), validation, seed=0)


# --- digits ----------------------------------------------------------------------------------------------------


def test_digits_constants(tmp_path: Path) -> None:
    for size in (8, 16):
        images, _ = arrays(digits.source(tmp_path, "train", size=size))
        facts = digits.facts(tmp_path, size=size)
        assert facts.mean == (round(images.mean() / 255, 5),)
        assert facts.std == (round(float(images.std()) / 255, 5),)
        assert images.min() == 0 and images.max() == 255


def test_digits_are_the_bytes_they_always_were(tmp_path: Path) -> None:
    """Pinned with the loader that earlier results came from: other pixels would share their trial keys."""
    images, labels = arrays(digits.source(tmp_path, "train"))
    assert hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()[:16] == "4d1866d6e7d10967"


def test_digits_test_part_is_a_fixed_fifth_of_every_class(tmp_path: Path) -> None:
    test, train = (digits.source(tmp_path, part, size=8).labels for part in ("test", "train"))
    assert len(test) + len(train) == 1797
    share = np.bincount(test) / (np.bincount(test) + np.bincount(train))
    assert np.abs(share - 0.2).max() < 0.005
    assert test[:8].tolist() == [0, 0, 0, 2, 7, 1, 6, 7]


def test_digits_pixels_are_repeated(tmp_path: Path) -> None:
    small, _ = arrays(digits.source(tmp_path, "test", size=8))
    large, _ = arrays(digits.source(tmp_path, "test", size=24))
    for row in range(3):
        assert np.array_equal(large[:, :, row::3, 2::3], small)


def test_digits_facts_need_no_scikit_learn() -> None:
    code = "import sys; from suite.datasets import digits; digits.facts('.'); assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_digits_are_those_that_scikit_learn_loads(tmp_path: Path) -> None:
    bunch = pytest.importorskip("sklearn.datasets").load_digits()
    pixels, labels = digits._read(digits.source(tmp_path, "train").files[0])
    assert np.array_equal(pixels, bunch.images) and np.array_equal(labels, bunch.target)


# --- mnist and fashion_mnist -----------------------------------------------------------------------------------

IDX = ((mnist, "MNIST"), (fashion_mnist, "FashionMNIST"))


def write_idx(root: Path, monkeypatch: pytest.MonkeyPatch, folder: str = "MNIST", *, compressed: bool = False) -> Path:
    """A tiny set: 3 training and 2 test images; returns its folder."""
    examples: dict[Part, int] = {"train": 3, "test": 2}
    for part, count in examples.items():
        monkeypatch.setitem(idx.EXAMPLES, part, count)
    for name in list(mnist.MD5):
        monkeypatch.delitem(mnist.MD5, name)
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", 3), ("t10k", 2)):
        pixels = (np.arange(count * 784) % 251).astype(np.uint8)
        files = {
            f"{prefix}-images-idx3-ubyte": np.array([0x803, count, 28, 28], ">u4").tobytes() + pixels.tobytes(),
            f"{prefix}-labels-idx1-ubyte": np.array([0x801, count], ">u4").tobytes() + bytes(range(count)),
        }
        for name, data in files.items():
            (raw / (name + ".gz" * compressed)).write_bytes(gzip.compress(data) if compressed else data)
    return raw


@pytest.mark.parametrize(("module", "folder"), IDX)
@pytest.mark.parametrize("compressed", [False, True])
def test_idx_plain_and_compressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, folder: str, compressed: bool
) -> None:
    raw = write_idx(tmp_path, monkeypatch, folder, compressed=compressed)
    assert module.facts(tmp_path).missing is None
    source = module.source(tmp_path, "train")
    assert {file.suffix == ".gz" for file in source.files} == {compressed}
    assert str(raw) in source.origin and "train" in source.origin
    images, labels = arrays(source)
    assert images.shape == (3, 1, 28, 28) and labels.tolist() == [0, 1, 2]
    assert images[1, 0, 0, :3].tolist() == [784 % 251, 785 % 251, 786 % 251]
    assert len(module.source(tmp_path, "test").labels) == 2


def test_idx_prefers_the_plain_file_that_torchvision_extracted(tmp_path: Path, monkeypatch: Any) -> None:
    raw = write_idx(tmp_path, monkeypatch)
    (raw / "train-images-idx3-ubyte.gz").write_bytes(b"the download, kept beside it")
    assert len(arrays(mnist.source(tmp_path, "train"))[0]) == 3


@pytest.mark.parametrize(
    ("module", "held_out"), [(mnist, 10_000), (fashion_mnist, 10_000), (cifar10, 10_000), (cifar100, 5_000)]
)
def test_published_sets_hold_out_what_they_are_told(tmp_path: Path, module: ModuleType, held_out: int) -> None:
    assert module.facts(tmp_path).validation == held_out
    assert module.facts(tmp_path, validation=77).validation == 77


@pytest.mark.parametrize(("module", "folder"), IDX)
def test_idx_missing_names_path_and_remedy(tmp_path: Path, monkeypatch: Any, module: Any, folder: str) -> None:
    raw = write_idx(tmp_path, monkeypatch, folder)
    (raw / "t10k-labels-idx1-ubyte").unlink()
    missing = module.facts(tmp_path).missing
    assert str(raw / "t10k-labels-idx1-ubyte") in missing
    assert f"`graftbench data fetch {module.FILES.name}`" in missing
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte"):
        module.source(tmp_path, "test")


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        ("images-idx3", lambda data: b"\0\0\x08\x01" + data[4:], "magic number 0x00000803"),
        ("images-idx3", lambda data: data[:-1], "2351 bytes for 3 x 28 x 28"),
        ("images-idx3", lambda data: data[:7], "magic number"),
        ("images-idx3", lambda data: data[:7] + b"\x02" + data[8 : 16 + 2 * 784], "2 x 28 x 28, not 3 x 28 x 28"),
        ("labels-idx1", lambda data: data[:4] + b"\0\0\0\x02" + data[8:10], "2 labels, not 3"),
        ("labels-idx1", lambda data: data[:-1] + b"\x0a", "label 10 in row 2"),
    ],
)
def test_idx_refuses_broken_files(tmp_path: Path, monkeypatch: Any, file: str, change: Any, sentence: str) -> None:
    path = write_idx(tmp_path, monkeypatch) / f"train-{file}-ubyte"
    path.write_bytes(change(path.read_bytes()))
    source = mnist.source(tmp_path, "train")
    with pytest.raises(UserError, match=sentence) as refusal:
        _ = source.labels
    assert str(path) in str(refusal.value)


def test_idx_refuses_a_cut_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_idx(tmp_path, monkeypatch, compressed=True) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="can't be read"):
        _ = mnist.source(tmp_path, "train").labels


@pytest.mark.parametrize(
    ("module", "folder", "train", "test"),
    [(mnist, "MNIST", [5, 0, 4, 1, 9], [7, 2, 1, 0, 4]), (fashion_mnist, "FashionMNIST", [9, 0, 0, 3, 0], None)],
)
def test_idx_sets_as_published(real: Real, module: Any, folder: str, train: list[int], test: list[int] | None) -> None:
    root = real(folder, "raw")
    facts = module.facts(root)
    images, labels = module.source(root, "train")._arrays
    mean, std = moments(images)
    assert facts.missing is None and images.shape == (60_000, 1, 28, 28)
    assert np.allclose(mean, facts.mean, atol=6e-5) and np.allclose(std, facts.std, atol=6e-5)
    assert labels[:5].tolist() == train
    assert test is None or module.source(root, "test").labels[:5].tolist() == test


def test_mnist_with_a_flipped_byte_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write_idx(tmp_path, monkeypatch)
    path = raw / "train-images-idx3-ubyte"
    monkeypatch.setitem(mnist.MD5, path.name, hashlib.md5(path.read_bytes()).hexdigest())
    assert len(mnist.source(tmp_path, "train").labels) == 3
    whole = bytearray(path.read_bytes())
    whole[500] ^= 1
    path.write_bytes(bytes(whole))
    with pytest.raises(UserError, match=f"{path} has another checksum"):
        _ = mnist.source(tmp_path, "train").labels


# --- cifar -----------------------------------------------------------------------------------------------------

CIFAR = ((cifar10, "labels"), (cifar100, "fine_labels"))


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, key: str, rows: int = 4) -> Path:
    """Batches of `rows` images, whose MD5 sums torchvision then takes for the published ones; returns the folder."""
    from torchvision import datasets

    reader, layout = getattr(datasets, module.FILES.class_name), module.FILES
    folder: Path = root / layout.folder
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    sums: dict[str, str] = {}
    for name in (*layout.files["train"], *layout.files["test"]):
        pixels = generator.integers(0, 256, (rows, 3072), np.uint8)
        content = pickle.dumps({"data": pixels, key: list(range(rows)), "coarse_labels": [19] * rows})
        (folder / name).write_bytes(content)
    (folder / layout.meta).write_bytes(pickle.dumps({"label_names": ["x"], "fine_label_names": ["x"]}))
    for path in folder.iterdir():
        sums[path.name] = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    for part in ("train", "test"):
        monkeypatch.setattr(reader, f"{part}_list", [[name, sums[name]] for name in layout.files[part]])
    monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": sums[layout.meta]})
    return folder


@pytest.mark.parametrize(("module", "key"), CIFAR)
def test_cifar_layout_is_torchvisions(module: ModuleType, key: str) -> None:
    """The file names are written here too, so that looking for them needs no torchvision."""
    from torchvision import datasets

    reader, layout = getattr(datasets, module.FILES.class_name), module.FILES
    assert (layout.folder, layout.meta) == (reader.base_folder, reader.meta["filename"])
    assert layout.files["train"] == tuple(name for name, _ in reader.train_list)
    assert layout.files["test"] == tuple(name for name, _ in reader.test_list)


@pytest.mark.parametrize(("module", "key"), CIFAR)
def test_cifar_reads_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, key: str) -> None:
    folder = write_cifar(tmp_path, monkeypatch, module, key)
    assert module.facts(tmp_path).missing is None
    for part in ("train", "test"):
        source = module.source(tmp_path, part)
        images, labels = arrays(source)
        stored = [pickle.loads((folder / name).read_bytes())["data"] for name in module.FILES.files[part]]
        assert np.array_equal(images.reshape(-1, 3072), np.concatenate(stored)) and images.dtype == np.uint8
        assert labels.tolist() == [0, 1, 2, 3] * len(stored) and labels.dtype == np.int64
        assert [file.name for file in source.files] == list(module.FILES.files[part])


@pytest.mark.parametrize(("module", "key"), CIFAR)
def test_cifar_refuses_missing_and_broken_files(tmp_path: Path, monkeypatch: Any, module: Any, key: str) -> None:
    folder = write_cifar(tmp_path, monkeypatch, module, key)
    broken = folder / module.FILES.files["test"][0]
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-100])
    with pytest.raises(UserError, match=r"graftbench data fetch cifar") as refusal:
        _ = module.source(tmp_path, "test").labels
    assert str(broken) in str(refusal.value)
    broken.write_bytes(whole)
    assert len(module.source(tmp_path, "test").labels) == 4
    (folder / module.FILES.meta).unlink()
    assert str(folder / module.FILES.meta) in module.facts(tmp_path).missing
    with pytest.raises(UserError, match=module.FILES.meta):
        module.source(tmp_path, "test")


@pytest.mark.parametrize(
    ("module", "of_class", "label"), [(cifar10, {0: "airplane", 6: "frog"}, 6), (cifar100, {19: "cattle"}, 19)]
)
def test_cifar_class_names(tmp_path: Path, module: ModuleType, of_class: dict[int, str], label: int) -> None:
    names = module.facts(tmp_path).class_names
    assert list(names) == sorted(set(names)) and len(names) == module.facts(tmp_path).classes
    assert {row: names[row] for row in of_class} == of_class


@pytest.mark.parametrize(("module", "first"), [(cifar10, [6, 9, 9, 4, 1]), (cifar100, [19, 29, 0, 11, 1])])
def test_cifar_as_published(real: Real, module: ModuleType, first: list[int]) -> None:
    root = real(module.FILES.folder)
    facts = module.facts(root)
    images, labels = module.source(root, "train")._arrays
    mean, std = moments(images)
    assert images.shape == (50_000, 3, 32, 32) and labels[:5].tolist() == first
    assert np.allclose(mean, facts.mean, atol=1e-4) and np.allclose(std, facts.std, atol=1e-4)


# --- synthetic -------------------------------------------------------------------------------------------------


def nearest_pattern_error(signal: float) -> float:
    """Test error of the nearest class mean of the training images."""
    images, labels = arrays(synthetic.source(Path(), "train", signal=signal))
    means = np.stack([images[labels == label].mean(0) for label in range(10)]).reshape(10, -1)
    test, truth = arrays(synthetic.source(Path(), "test", signal=signal))
    flat = test.reshape(len(test), -1) - means.mean(0)
    scores = flat @ (means - means.mean(0)).T - ((means - means.mean(0)) ** 2).sum(1) / 2
    return float((scores.argmax(1) != truth).mean())


def test_synthetic_difficulty_is_a_setting() -> None:
    assert nearest_pattern_error(1.0) == 0
    assert 0.02 < nearest_pattern_error(synthetic.SETTINGS["signal"].default) < 0.5
    assert 0.85 < nearest_pattern_error(0.0) < 0.95, "nothing to learn: chance is 0.9"


def test_synthetic_parts_and_shapes() -> None:
    settings: dict[str, Any] = {"classes": 3, "channels": 1, "size": 12, "train": 30, "test": 9}
    facts = synthetic.facts(Path(), **settings)
    assert (facts.shape, facts.train_examples, facts.test_examples, facts.validation) == ((1, 12, 12), 30, 9, 6)
    train, labels = arrays(synthetic.source(Path(), "train", **settings))
    test, _ = arrays(synthetic.source(Path(), "test", **settings))
    assert train.shape == (30, 1, 12, 12) and np.bincount(labels).tolist() == [10, 10, 10]
    assert not np.array_equal(train[:9], test), "noise of its own"
    longer, _ = arrays(synthetic.source(Path(), "train", **{**settings, "train": 40}))
    assert np.array_equal(longer[:30], train)
    other, _ = arrays(synthetic.source(Path(), "train", **settings, seed=1))
    assert not np.array_equal(other, train)
    with pytest.raises(UserError, match=r"synthetic\.test: 2 images can't show 3 classes"):
        synthetic.facts(Path(), classes=3, test=2)


def test_synthetic_images_are_pinned() -> None:
    """Equal in every process and on every machine: results share a trial key by the settings alone."""
    images, _ = arrays(synthetic.source(Path(), "train", train=20))
    assert hashlib.sha256(images.tobytes()).hexdigest()[:16] == "d443ac5593fb5398"


def test_synthetic_origins_tell_settings_apart() -> None:
    chosen: list[dict[str, Any]] = [{}, {"classes": 9}, {"train": 1999}, {"signal": 0.2}, {"seed": 1}, {"size": 31}]
    sources = [synthetic.source(Path(), "train", **settings) for settings in chosen]
    assert len({(source.origin, source.shape) for source in sources}) == len(chosen)
    held = synthetic.source(Path(), "train", validation=5)
    assert held.origin == sources[0].origin, "what is held out doesn't change the images"


# --- fetch -----------------------------------------------------------------------------------------------------

FETCHED = [name for name in list_components("dataset") if hasattr(load_component("dataset", name), "fetch")]


def test_what_can_be_fetched() -> None:
    assert FETCHED == ["caltech101", "caltech256", "cifar10", "cifar100", "fashion_mnist", "mnist"]


def list_downloads(name: str) -> list[tuple[str, str]]:
    """Addresses and MD5 sums of a dataset's files."""
    module = load_component("dataset", name)
    if hasattr(module, "ARCHIVES"):
        return [(f"{module.MIRROR}{archive}", md5) for archive, md5 in module.ARCHIVES.items()]
    return [(module.URL, module.MD5)]


@pytest.mark.parametrize("name", FETCHED)
def test_what_is_downloaded_is_what_torchvision_downloads(name: str) -> None:
    from torchvision import datasets

    [known] = [known for known in datasets.__all__ if known.lower() == name.replace("_", "")]
    published = getattr(datasets, known)
    if hasattr(published, "mirrors"):
        expected = [(f"{published.mirrors[0]}{archive}", md5) for archive, md5 in published.resources]
        assert list_downloads(name) == expected
    elif hasattr(published, "tgz_md5"):
        assert list_downloads(name) == [(published.url, published.tgz_md5)]
    else:
        [(url, md5)] = list_downloads(name)
        source = inspect.getsource(published.download)
        assert f'"{url}"' in source and f'"{md5}"' in source


def pack(files: Mapping[str, bytes], kind: str) -> bytes:
    """A .zip, .tar or .tar.gz of files."""
    packed = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return packed.getvalue()
    with tarfile.open(fileobj=packed, mode="w:gz" if kind == "tar.gz" else "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


CALTECH101 = pack({"101_ObjectCategories/ant/image_0001.jpg": b"ant"}, "tar.gz")
FETCHED_ARCHIVES = {
    "caltech101": pack({"caltech-101/101_ObjectCategories.tar.gz": CALTECH101, "caltech-101/show.m": b""}, "zip"),
    "caltech256": pack({"256_ObjectCategories/001.ak47/001_0001.jpg": b"ant"}, "tar"),
    "cifar10": pack({"cifar-10-batches-py/test_batch": b"ant"}, "tar.gz"),
    "cifar100": pack({"cifar-100-python/test": b"ant"}, "tar.gz"),
}
FETCHED_FILES = {
    "caltech101": "caltech101/101_ObjectCategories/ant/image_0001.jpg",
    "caltech256": "caltech256/256_ObjectCategories/001.ak47/001_0001.jpg",
    "cifar10": "cifar-10-batches-py/test_batch",
    "cifar100": "cifar-100-python/test",
}


@pytest.mark.parametrize("name", FETCHED_ARCHIVES)
def test_archives_are_unpacked_to_where_they_are_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load_component("dataset", name)
    [(url, _)] = list_downloads(name)
    archive = tmp_path / "server" / url.rpartition("/")[2]
    archive.parent.mkdir()
    archive.write_bytes(FETCHED_ARCHIVES[name])
    monkeypatch.setattr(module, "URL", archive.as_uri())
    monkeypatch.setattr(module, "MD5", hashlib.md5(FETCHED_ARCHIVES[name]).hexdigest())
    root = tmp_path / "data"
    module.fetch(root)
    files = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    assert files == [FETCHED_FILES[name]] and (root / files[0]).read_bytes() == b"ant"
    assert str(module.FILES.folder) in str(root / files[0])


def test_grey_digits_are_repeated_as_colour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path, monkeypatch)
    grey, colour = (mnist.source(tmp_path, "train", channels=channels) for channels in (1, 3))
    assert mnist.facts(tmp_path, channels=3).shape == colour.shape == (3, 28, 28)
    assert mnist.facts(tmp_path, channels=3).mean == 3 * mnist.facts(tmp_path).mean
    for channel in range(3):
        assert np.array_equal(colour.decode(1)[channel], grey.decode(1)[0])
