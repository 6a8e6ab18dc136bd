"""`graftbench data`: what is listed, that a fetch leaves all or nothing, what verify finds, what warm decodes."""

from __future__ import annotations

import csv
import fcntl
import gzip
import hashlib
import http.server
import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from suite.core import registry
from suite.core.errors import UserError
from suite.core.specs import Component
from suite.data import catalog, dataset, fetch
from suite.data.source import ImageFiles
from suite.datasets import _idx as idx
from suite.datasets import mnist
from suite.study import data_targets
from tests.fixtures import Answer, Command

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "datasets.md").read_text()
ROWS = [
    [cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line[:1] == "|"
]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory; the working directory is above it, and the cache beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFTBENCH_CACHE", str(tmp_path / "cache"))
    for name in ("MLFLOW_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED"):  # so that main's own are undone
        monkeypatch.setenv(name, "0")
    folder = tmp_path / "data"
    monkeypatch.setenv("GRAFTBENCH_DATA", str(folder))
    folder.mkdir()
    return folder


@pytest.fixture
def data_command(root: Path, graftbench: Command) -> Command:
    """`data_command("list")` is `graftbench data list`."""
    return lambda *arguments: graftbench("data", *arguments)


def assert_refused(answer: Answer, *parts: str) -> None:
    """One sentence on stderr that ends with nothing else, apart from a progress bar of a download before it."""
    assert answer.code == 2 and "Traceback" not in answer.err, answer
    assert answer.err.count("graftbench: ") == 1 and answer.err.endswith("\n")
    sentence = answer.err.partition("graftbench: ")[2]
    assert sentence.count("\n") == 1
    for part in parts:
        assert part in sentence


def mnist_files(train: int = 3, test: int = 2) -> dict[str, bytes]:
    """A tiny MNIST, as its servers offer it."""
    files = {}
    for prefix, count in (("train", train), ("t10k", test)):
        pixels = (np.arange(count * 784) % 251).astype(np.uint8).tobytes()
        images = np.array([0x803, count, 28, 28], ">u4").tobytes() + pixels
        labels = np.array([0x801, count], ">u4").tobytes() + bytes(range(count))
        files[f"{prefix}-images-idx3-ubyte.gz"] = gzip.compress(images, mtime=0)
        files[f"{prefix}-labels-idx1-ubyte.gz"] = gzip.compress(labels, mtime=0)
    return files


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(idx.EXAMPLES, "train", 3)
    monkeypatch.setitem(idx.EXAMPLES, "test", 2)
    for name in list(mnist.MD5):
        monkeypatch.delitem(mnist.MD5, name)


def write_mnist(root: Path) -> Path:
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, content in mnist_files().items():
        (folder / name).write_bytes(content)
    return folder


def write_photos(folder: Path, classes: tuple[str, ...] = ("crow", "wren"), count: int = 6) -> list[Path]:
    files = []
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            files.append(folder / name / f"{number}.png")
            Image.fromarray(np.full((9, 7, 3), 40 * label + number, np.uint8)).save(files[-1], compress_level=0)
    return files


def write_parquet(folder: Path, labels: tuple[int, ...] = (0, 1, 0, 1)) -> None:
    folder.mkdir(parents=True)
    names = {"info": {"features": {"img": {"_type": "Image"}, "label": {"names": ["cat", "dog"]}}}}
    for part, these in (("train", labels), ("test", (0, 1))):
        cells = []
        for value in these:
            buffer = io.BytesIO()
            Image.fromarray(np.full((6, 6, 3), 9 * abs(value), np.uint8)).save(buffer, "PNG")
            cells.append({"bytes": buffer.getvalue(), "path": None})
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = pa.table({"img": pa.array(cells, kind), "label": pa.array(these, pa.int64())})
        pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(names)}), folder / f"{part}-0.parquet")


def write_study(folder: Path, datasets: list[Any]) -> str:
    study = {"study": "small", "datasets": datasets, "backbones": ["gradient_cnn"], "variants": ["baseline"]}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({**study, "recipe": "gradient", "seeds": 3}))
    return str(path)


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


# -- list


def listed(data_command: Command) -> dict[str, dict[str, Any]]:
    answer = data_command("list", "--json")
    assert (answer.code, answer.err) == (0, "")
    return {one["dataset"]: one for one in json.loads(answer.out)["datasets"]}


def test_list_has_every_dataset_with_state_and_remedy(data_command: Command, root: Path, tiny: None) -> None:
    found = listed(data_command)
    assert list(found) == registry.list_components("dataset"), "none twice, none left out, sorted"
    assert found["digits"] == {
        "dataset": "digits", "title": "Digits", "classes": 10, "shape": [1, 16, 16], "train_examples": 1438,
        "validation": 288, "test_examples": 359, "licence": found["digits"]["licence"], "remedy": None, "decoded": [],
        "size": 0, "state": "found", "composition": None,
    }  # fmt: skip
    assert found["mnist"]["state"] == "missing" and "graftbench data fetch mnist" in found["mnist"]["remedy"]
    assert found["parquet"]["classes"] is None and "parquet.path" in found["parquet"]["remedy"]
    assert found["parquet"]["state"] == found["folder"]["state"] == "missing"
    write_mnist(root)
    before = contents(root)
    assert listed(data_command)["mnist"]["state"] == "found"
    assert data_command("warm", "mnist").code == 0
    warmed = listed(data_command)["mnist"]
    files = [file for entry in warmed["decoded"] for file in Path(entry).iterdir()]
    assert warmed["state"] == "decoded" and warmed["size"] == sum(file.stat().st_size for file in files) > 5 * 784
    assert contents(root) == before, "the data directory is only read"


def test_list_counts_images_by_part_and_class(data_command: Command, root: Path) -> None:
    write_photos(root / "birds", count=10)
    found = listed(data_command)["folder(path=birds)"]["composition"]
    assert found["images"] == {"train": [5, 6], "validation": [2, 1], "test": [3, 3]}
    assert found["classes"] == ["crow", "wren"] and found["duplicates"] is None and found["void"] is None
    assert "crow" in data_command("list").out
    assert data_command("warm", "digits").code == 0
    assert sum(map(sum, listed(data_command)["digits"]["composition"]["images"].values())) == 1_797


def test_list_as_a_table(data_command: Command, root: Path) -> None:
    write_photos(root / "my[birds]")
    answer = data_command("list")
    assert (answer.code, answer.err) == (0, "")
    assert re.search(r"\ndigits +Digits +10 +1 x 16 x 16 +1,438 +288 +359 +found", answer.out)
    assert re.search(r"\nfolder\(path=my\[birds\]\) +my\[birds\] +2 +3 x 224 x 224 +10 +2 +2 +found", answer.out)
    assert f"missing mnist: {root}/MNIST/raw/train-images-idx3-ubyte (or .gz) is missing; fetch it with" in answer.out
    *_, copies, files = answer.out.splitlines()
    assert copies == f"decoded copies lie in {root.parent / 'cache'} (GRAFTBENCH_CACHE)"
    assert files == f"files are looked up in {root} (GRAFTBENCH_DATA, or --data)"
    assert "missing parquet: parquet.path: name the directory" in answer.out and "licence" not in answer.out
    assert not re.search("^decoded copies +shape", answer.out, re.MULTILINE), "there are none"


def test_list_keeps_names_whole(data_command: Command, root: Path) -> None:
    write_photos(root / "caltech101" / "101_ObjectCategories")
    assert "\nfolder(path=caltech101/101_ObjectCategories) " in data_command("list").out
    write_photos(root / ("birds" * 20))
    out = data_command("list").out
    assert "…" not in out and " 1,438 " in out, "numbers whole"
    rows = [line.split() for line in out.splitlines() if line.startswith("folder(path=birdsbirds")]
    name = f"folder(path={'birds' * 20})"
    assert [" ".join(row) for row in rows] == [
        f"{name} 2 3 x 224 x 224 10 2 2 found",
        f"{name} training 8 4 each of 2 classes",
    ]


def test_list_says_that_the_data_directory_isnt_there(data_command: Command, root: Path) -> None:
    lines = data_command("list", "--data", "no[where]").out.splitlines()
    assert lines[-1] == "files are looked up in no[where] (GRAFTBENCH_DATA, or --data), which doesn't exist"
    (root / "file").write_text("")
    assert data_command("list", "--data", str(root / "file")).out.endswith(", which is not a directory\n")


def test_list_has_decoded_copies_of_any_settings(data_command: Command, root: Path) -> None:
    write_photos(root / "birds")
    assert data_command("warm", *BIRDS).code == data_command("warm", "digits").code == 0
    cache = root.parent / "cache"
    built = next(found for found in cache.glob("digits-test-*") if found.is_dir())
    shutil.copytree(built, cache / "digits-test-0.building")
    answer = data_command("list", "--json")
    copies = json.loads(answer.out)["copies"]
    assert [re.sub("-[0-9a-f]+$", "", Path(copy["folder"]).name) for copy in copies] == [
        "digits-test", "digits-train", "folder-test", "folder-train"
    ]  # fmt: skip
    entry = Path(copies[3]["folder"])
    origin = copies[3]["origin"]
    assert origin.startswith("folder train ") and str(root / "birds") in origin
    assert entry.parent == cache and copies[3] == {
        "origin": origin, "shape": [3, 8, 8], "folder": str(entry),
        "size": sum(file.stat().st_size for file in entry.iterdir()),
    }  # fmt: skip
    assert listed(data_command)["folder(path=birds)"]["state"] == "found", "only of another size"
    (entry / "manifest.json").write_text('{"torn')
    out = data_command("list").out
    assert re.search("\ndecoded copies +shape +MiB +folder *\n", out)
    assert re.search(f"\nincomplete +0.0 +{entry.name} *\n", out)
    assert re.search(f" 3 x 8 x 8 +0.0 +{Path(copies[2]['folder']).name} *\n", out)


def broken_facts(root: Path) -> Any:
    raise AttributeError("no 'images'\nin it")


def broken_source(root: Path, part: str) -> Any:
    raise TypeError("source() takes 1 positional argument")


def wrong_facts(root: Path) -> Any:
    return replace(mnist.facts(root), test_examples=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "function", "error"),
    [
        ("facts", broken_facts, "AttributeError: no 'images' in it"),
        ("facts", wrong_facts, "TypeError: facts: test_examples must be a whole number, not None"),
        ("source", broken_source, "TypeError: source() takes 1 positional argument"),
        ("SETTINGS", None, "AttributeError: "),
    ],
)
def test_a_broken_dataset_file_hides_no_other(
    data_command: Command, root: Path, monkeypatch: pytest.MonkeyPatch, name: str, function: Any, error: str
) -> None:
    module = types.ModuleType("suite.datasets.mnist")
    vars(module).update({"SETTINGS": {}, "facts": lambda root: replace(mnist.facts(root), missing=None)})
    vars(module)[name] = function
    monkeypatch.setitem(sys.modules, "suite.datasets.mnist", module)
    found = listed(data_command)
    assert list(found) == registry.list_components("dataset") and found["digits"]["state"] == "found"
    assert found["mnist"]["state"] == "unusable"
    assert found["mnist"]["remedy"].startswith(f"{ROOT}/suite/datasets/mnist.py fails ({error}")
    assert f"unusable mnist: {found['mnist']['remedy']}\n" in data_command("list").out


def test_a_dataset_file_that_cant_be_imported_hides_no_other(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ROOT / "suite/datasets"  # as if absent.py were there
    monkeypatch.setattr(
        registry, "_find_files", lambda kind: {name: folder / f"{name}.py" for name in ("absent", "digits")}
    )
    found = {one.dataset: one for one in catalog.list_datasets(root)}
    absent = found["absent"]
    assert (absent.state, found["digits"].state) == ("unusable", "found")
    assert absent.remedy and "absent.py fails (ModuleNotFoundError: No module named" in absent.remedy


def test_a_torn_file_is_unusable_not_missing(data_command: Command, root: Path) -> None:
    write_photos(root / "birds")
    (root / "birds" / "crow" / "deeper").mkdir()
    answer = data_command("list")
    assert "\nunusable folder(path=birds): folder: " in answer.out
    assert re.search(r"\nfolder\(path=birds\) .*unusable", answer.out)


def test_list_finds_folders_of_any_images(data_command: Command, root: Path) -> None:
    write_photos(root / "birds")
    write_photos(root / "parts" / "train")
    write_photos(root / "parts" / "test")
    write_photos(root / "caltech101" / "101_ObjectCategories")  # two of its classes
    write_photos(root / ".fetching-folder-x")
    (root / "flat").mkdir()
    write_photos(root / "flat", ("alone",))  # one class is none
    write_parquet(root / "cats" / "data")
    write_parquet(root / ".fetching-parquet-x")
    found = listed(data_command)
    assert [name for name in found if name.startswith(("folder", "parquet"))] == [
        "folder(path=birds)",
        "folder(path=caltech101/101_ObjectCategories)",
        "folder(path=flat)",
        "folder(path=parts)",
        "parquet(path=cats)",
    ]
    assert found["parquet(path=cats)"]["train_examples"] == 4
    assert (found["folder(path=parts)"]["train_examples"], found["folder(path=parts)"]["test_examples"]) == (12, 12)


def test_a_folder_that_may_not_be_read_hides_nothing_else(
    data_command: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `lost+found` of a mounted disk; root may read it, so the refusal is made here."""
    write_photos(root / "birds")
    write_photos(root / "half", ("crow", "private", "wren"))
    unreadable = {"lost+found", "private"}
    for name in unreadable:
        (root / name).mkdir()
    scandir = os.scandir

    def refuse(path: Any = ".") -> Any:
        if Path(path).name in unreadable:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = listed(data_command)
    assert [name for name in found if name.startswith("folder")] == ["folder(path=birds)", "folder(path=half)"]
    assert found["folder(path=half)"]["state"] == "unusable"
    assert f"{root}/half/private can't be read (Permission denied)" in found["folder(path=half)"]["remedy"]


@pytest.mark.parametrize(
    ("target", "folder"),
    [
        ("imagenet", "imagenet"),
        ("mnist", "MNIST/raw"),
        ("cifar10", "cifar-10-batches-py"),
        ("caltech101", "caltech101/101_ObjectCategories"),
        ("folder(path=birds)", "birds"),
    ],
)
def test_a_dataset_that_may_not_be_read_is_refused(
    data_command: Command, root: Path, monkeypatch: pytest.MonkeyPatch, target: str, folder: str
) -> None:
    """Root may read everything, so the refusal is made here."""
    (root / folder).mkdir(parents=True)
    closed = (root / folder).parts
    scandir, stat = os.scandir, os.stat

    def check(path: Any) -> None:
        if isinstance(path, str | Path) and Path(path).parts[: len(closed)] == closed:
            raise PermissionError(13, "Permission denied", str(path))

    def refuse_scan(path: Any = ".") -> Any:
        check(path)
        return scandir(path)

    def refuse_stat(path: Any, **options: Any) -> Any:
        if path not in {root / folder, str(root / folder)}:  # the folder itself is known to those above it
            check(path)
        return stat(path, **options)

    monkeypatch.setattr(os, "scandir", refuse_scan)
    monkeypatch.setattr(os, "stat", refuse_stat)
    answer = data_command("verify", target)
    assert_refused(answer, f"{target.partition('(')[0]}: {root}/{folder}", "can't be read (Permission denied); let it")
    found = listed(data_command)
    if not target.startswith("folder"):
        assert found[target]["state"] in {"unusable", "missing"}
        assert answer.err.endswith(f"{found[target]['remedy']}\n"), "the same sentence"


def test_a_fault_in_a_dataset_file_is_no_refusal(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(root: Path) -> Any:
        raise OSError("no file is named")

    monkeypatch.setattr(mnist, "facts", lambda root, **settings: fail(root))
    with pytest.raises(OSError, match="no file is named"):
        dataset.Dataset(Component("mnist"), root).info  # noqa: B018


@pytest.mark.parametrize("target", ["mnist", "caltech101", "imagenet", "folder(path=birds)", "parquet(path=birds)"])
def test_a_data_directory_that_isnt_there_is_named(data_command: Command, root: Path, target: str) -> None:
    answer = data_command("verify", target, "--data", str(root / "nowhere"))
    why = f"the data directory {root}/nowhere doesn't exist (--data or GRAFTBENCH_DATA names it), so {root}/nowhere/"
    assert_refused(answer, f"{target.partition('(')[0]}: {why}", " is missing; ")
    assert "doesn't exist" not in data_command("verify", target).err


def test_plan_names_a_data_directory_that_isnt_there(root: Path, graftbench: Command) -> None:
    study = write_study(root, ["mnist"])
    why = f"missing mnist: the data directory {root}/nowhere doesn't exist"
    assert why in graftbench("plan", study, "--data", str(root / "nowhere")).out
    answer = graftbench("plan", write_study(root, [{"name": "folder", "path": "birds"}]), "--data", str(root / "no"))
    assert answer.code == 2 and f"the data directory {root}/no doesn't exist" in answer.err


def test_list_tells_parts_from_classes_as_training_does(data_command: Command, root: Path) -> None:
    for part in ("Training", "Testing"):
        write_photos(root / "tumour" / part)
    write_photos(root / "vehicles", ("bus", "car", "train"))
    write_photos(root / "my" / "archive" / "dataset" / "train")
    write_photos(root / "my" / "archive" / "dataset" / "val")
    write_photos(root / "flat", ("Train", "Test"))
    found = {name: one for name, one in listed(data_command).items() if name.startswith("folder")}
    assert {name: (one["state"], one["classes"], one["train_examples"]) for name, one in found.items()} == {
        "folder(path=flat)": ("unusable", None, None),
        "folder(path=my/archive/dataset)": ("found", 2, 12),
        "folder(path=tumour)": ("found", 2, 12),
        "folder(path=vehicles)": ("found", 3, 15),
    }
    assert "Train is no class, but a part without class folders" in found["folder(path=flat)"]["remedy"]


def write_flat(folder: Path) -> str:
    write_photos(folder, ("images",))
    (folder / "images").rename(folder / "pictures")
    for file in (folder / "pictures").iterdir():
        file.rename(folder / file.name)
    (folder / "pictures").rmdir()
    (folder / "labels.csv").write_text("0.png,1")
    return "holds images, but no class folders"


def write_one_class(folder: Path) -> str:
    write_photos(folder, ("crow",))
    return "has one class alone; a classification needs two"


def write_table(folder: Path) -> str:
    write_photos(folder, ("images",))
    (folder / "train.csv").write_text("0.png,1")
    return "has one class alone; a classification needs two; labels in tables (train.csv) aren't read"


def write_heic(folder: Path) -> str:
    for name in ("crow", "wren"):
        (folder / name).mkdir(parents=True)
        (folder / name / "0.HEIC").write_bytes(b"x")
    return "crow holds no images that can be read, only 1 file .heic; convert them to JPEG"


def write_deep(folder: Path) -> str:
    write_photos(folder / "archive", ("images",))
    return "has no class folders, only images in "


@pytest.mark.parametrize("write", [write_flat, write_one_class, write_table, write_heic, write_deep])
def test_list_says_why_images_cant_be_used(data_command: Command, root: Path, write: Callable[[Path], str]) -> None:
    sentence = write(root / "mine")
    found = listed(data_command)["folder(path=mine)"]
    assert found["state"] == "unusable" and sentence in found["remedy"]
    answer = data_command("verify", "folder(path=mine)")
    assert_refused(answer, sentence)
    assert answer.err == f"graftbench: {found['remedy']}\n", "the same sentence"


def test_list_says_nothing_of_folders_without_images(data_command: Command, root: Path) -> None:
    for name, file in (("papers", "a.pdf"), ("tables", "a.csv"), ("packed", "a.zip")):
        (root / name).mkdir()
        (root / name / file).write_bytes(b"x")
    (root / "empty").mkdir()
    write_mnist(root)
    assert [name for name in listed(data_command) if name.startswith("folder")] == ["folder"]


def test_list_finds_folders_among_many_files(data_command: Command, root: Path) -> None:
    for part in ("train", "test"):
        write_photos(root / "birds" / part)
    for number in range(300):
        (root / "birds" / f"{number}.json").write_text("{}")
        (root / "birds" / "train" / f"{number}.txt").write_text("x")
    assert listed(data_command)["folder(path=birds)"]["train_examples"] == 12


@pytest.mark.parametrize(
    "name", ["my (odd), size=3 photos", "a, b", "it's", "'quoted'", "(x)", "2020", "path=x", "é [b]"]
)
def test_what_list_prints_is_a_target(data_command: Command, root: Path, name: str) -> None:
    write_photos(root / name)
    [label] = [one for one in listed(data_command) if one.startswith("folder")]
    assert label == f"folder(path={name})"
    answer = data_command("warm", label)
    assert answer.code == 0 and answer.out.startswith(f"{label}: 12 images, ")


def test_a_datasets_own_folder_is_no_folder_of_any_images(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from suite.datasets import caltech101

    monkeypatch.setattr(caltech101, "FILES", replace(caltech101.FILES, classes=2, images=12, test=4))
    write_photos(root / "caltech101" / "101_ObjectCategories")
    write_photos(root / "caltech101" / "annotated")
    names = {one.dataset: one.state for one in catalog.list_datasets(root)}
    assert names["caltech101"] == "found"
    assert [name for name in names if name.startswith("folder")] == ["folder(path=caltech101/annotated)"]


def test_nothing_here_needs_torch(root: Path) -> None:
    write_photos(root / "birds")
    code = (
        "import sys, pathlib; from suite.cli import main; from suite.data import catalog, fetch, dataset\n"
        f"assert len(catalog.list_datasets(pathlib.Path({str(root)!r}))) > 9\n"
        "digits, here = dataset.Component('digits'), pathlib.Path('.')\n"
        "catalog.warm_dataset(digits, here, rebuild=False, progress=print, accepted=print)\n"
        "assert not {'torch', 'torchvision', 'ray', 'mlflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# -- fetch


class Server(NamedTuple):
    """A server of files: what it offers, after how many bytes it breaks off, and what it was asked for."""

    address: str
    offers: dict[str, bytes]
    breaks_off: dict[str, int]
    asked: list[str]


@pytest.fixture
def server() -> Iterator[Server]:
    offers: dict[str, bytes] = {}
    breaks_off: dict[str, int] = {}
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            asked.append(name)
            if name not in offers:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(offers[name])))
            self.end_headers()
            self.wfile.write(offers[name][: breaks_off.get(name)])

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield Server(f"http://127.0.0.1:{served.server_port}/", offers, breaks_off, asked)
        served.shutdown()
        thread.join()


@pytest.fixture
def mirror(server: Server, tiny: None, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A tiny MNIST where MNIST is downloaded from."""
    server.offers.update(mnist_files())
    sums = {name: hashlib.md5(content).hexdigest() for name, content in server.offers.items()}
    monkeypatch.setattr(mnist, "MIRROR", server.address)
    monkeypatch.setattr(mnist, "ARCHIVES", sums)
    monkeypatch.setattr(fetch, "PAUSE", 0)
    return server


def test_fetch_brings_the_files_and_then_does_nothing(data_command: Command, root: Path, mirror: Server) -> None:
    answer = data_command("fetch", "mnist")
    assert (answer.code, answer.out) == (0, f"fetched {root / 'MNIST'}\n")
    assert [path.name for path in root.iterdir()] == ["MNIST"], "no staging, no lock"
    assert mnist.facts(root).missing is None
    assert dataset.Dataset(Component("mnist"), root).load_part("train").labels.tolist() == [0, 1, 2]
    before, asked = contents(root), len(mirror.asked)
    answer = data_command("fetch", "mnist")
    assert (answer.code, answer.out, answer.err) == (0, "mnist is there already: nothing to fetch\n", "")
    assert (contents(root), len(mirror.asked)) == (before, asked)


def break_off(mirror: Server) -> None:
    mirror.breaks_off["t10k-images-idx3-ubyte.gz"] = 100


def corrupt(mirror: Server) -> None:
    content = mirror.offers["t10k-labels-idx1-ubyte.gz"]
    mirror.offers["t10k-labels-idx1-ubyte.gz"] = content[:-1] + bytes([content[-1] ^ 1])


def lose(mirror: Server) -> None:
    del mirror.offers["t10k-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize("trouble", [break_off, corrupt, lose])
def test_a_broken_download_leaves_nothing(
    data_command: Command, root: Path, mirror: Server, trouble: Callable[[Server], None]
) -> None:
    trouble(mirror)
    answer = data_command("fetch", "mnist")
    assert_refused(answer, "mnist", "try again")
    assert answer.out == "" and "train-images-idx3-ubyte.gz" in mirror.asked
    assert contents(root) == {}
    assert listed(data_command)["mnist"]["state"] == "missing"
    mirror.offers.update(mnist_files())
    mirror.breaks_off.clear()
    assert data_command("fetch", "mnist").code == 0, "the same command again"


def test_a_failed_fetch_leaves_no_directories_that_it_made(data_command: Command, root: Path, mirror: Server) -> None:
    lose(mirror)
    for place in (root / "a" / "b", Path("relative")):
        assert_refused(data_command("fetch", "mnist", "--data", str(place)), "mnist")
    assert list(root.parent.iterdir()) == [root] and contents(root) == {}, "what was there already stays"
    (root / "a").mkdir()
    assert_refused(data_command("fetch", "mnist", "--data", str(root / "a" / "b")), "mnist")
    assert list(root.rglob("*")) == [root / "a"]
    mirror.offers.update(mnist_files())
    assert data_command("fetch", "mnist", "--data", str(root / "a" / "b")).code == 0
    assert (root / "a" / "b" / "MNIST").is_dir()


def test_what_came_is_checked(
    data_command: Command, root: Path, mirror: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(idx.EXAMPLES, "test", 7)
    answer = data_command("fetch", "mnist")
    assert_refused(answer, "mnist: what came isn't whole and nothing of it was kept", f"{root}/MNIST/raw/t10k")
    assert ".fetching" not in answer.err.partition("graftbench: ")[2] and contents(root) == {}


def test_a_killed_fetch_counts_for_nothing_and_is_removed(data_command: Command, root: Path, mirror: Server) -> None:
    write_mnist(root / ".fetching-mnist-killed")
    (root / ".fetching-cifar10-other").mkdir()
    assert listed(data_command)["mnist"]["state"] == "missing"
    assert data_command("fetch", "mnist").code == 0
    assert sorted(path.name for path in root.iterdir()) == [".fetching-cifar10-other", "MNIST"]


def test_an_interrupted_fetch_leaves_nothing(
    data_command: Command, root: Path, mirror: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(root: Path) -> None:
        write_mnist(root)
        raise KeyboardInterrupt

    monkeypatch.setattr(mnist, "fetch", interrupted)
    assert data_command("fetch", "mnist").code in {1, 130}
    assert contents(root) == {}


def test_two_fetches_at_once(data_command: Command, root: Path, mirror: Server) -> None:
    with (root / ".fetching-mnist.lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        (root / ".fetching-mnist-other").mkdir()
        assert_refused(data_command("fetch", "mnist"), "another process is fetching it")
        assert (root / ".fetching-mnist-other").is_dir() and not mirror.asked


def test_incomplete_files_are_set_aside_not_deleted(data_command: Command, root: Path, mirror: Server) -> None:
    folder = write_mnist(root)
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    kept = (folder / "note.txt").write_text("mine") and contents(root / "MNIST")
    answer = data_command("fetch", "mnist")
    assert answer.code == 0 and f"{root}/MNIST was there and not whole: it is now {root}/MNIST.before-1" in answer.out
    assert list(contents(root / "MNIST.before-1").values()) == list(kept.values())
    assert mnist.facts(root).missing is None


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("folder", ["folder: Graftbench can't download it: folder.path: name the directory"]),
        ("parquet", ["parquet: Graftbench can't download it: parquet.path: name the directory"]),
        ("imagenet", ["imagenet: Graftbench can't download it", "log in at image-net.org"]),
        ("mnits", ["dataset: unknown dataset 'mnits'; did you mean 'mnist'?"]),
    ],
)
def test_what_cant_be_fetched_says_what_to_do(data_command: Command, root: Path, name: str, parts: list[str]) -> None:
    answer = data_command("fetch", name)
    assert_refused(answer, *parts)
    assert contents(root) == {} and answer.out == ""


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_what_needs_no_files_is_there_already(data_command: Command, root: Path, name: str) -> None:
    assert data_command("fetch", name) == (0, f"{name} is there already: nothing to fetch\n", "")
    assert contents(root) == {}


def test_a_data_directory_that_cant_be_made(data_command: Command, root: Path, mirror: Server) -> None:
    (root / "file").write_text("")
    assert_refused(data_command("fetch", "mnist", "--data", str(root / "file")), "can't be written", "--data")


# -- verify

BIRDS = ("folder", "--set", "path=birds", "--set", "size=8")


def test_verify_says_whole_and_writes_nothing(data_command: Command, root: Path) -> None:
    write_photos(root / "birds")
    before = contents(root)
    answer = data_command("verify", *BIRDS)
    lines = [line.rstrip() for line in answer.out.splitlines()]
    assert (answer.code, answer.err) == (0, "") and lines == [
        "folder(path=birds, size=8) train: 10 images, whole; no decoded copy",
        "folder(path=birds, size=8) test: 2 images, whole; no decoded copy",
        "dataset                     part        images  by class",
        "folder(path=birds, size=8)  training         8  4 each of 2 classes",
        "                            validation       2  1 each of 2 classes",
        "                            test             2  1 each of 2 classes",
    ]
    assert contents(root) == before and not (root.parent / "cache").exists()
    data_command("warm", *BIRDS)
    answer = data_command("verify", *BIRDS)
    assert answer.code == 0 and answer.out.count(", whole; ") == 2
    assert re.search(rf"train: 10 images, whole; decoded copy in {root.parent}/cache/folder-train-\w+\n", answer.out)


def test_verify_lists_unreadable_images(data_command: Command, root: Path) -> None:
    files = write_photos(root / "birds")
    data_command("warm", *BIRDS)
    for file in files[:2]:
        content, times = file.read_bytes(), file.stat()
        file.write_bytes(content[:40].ljust(len(content), b"\0"))
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    files[2].write_bytes(b"none")
    answer = data_command("verify", *BIRDS)
    assert_refused(answer, "folder: ", "not whole, see above")
    lists = list((root.parent / "cache").glob("*-unreadable.txt"))
    in_lists = "".join(file.read_text() for file in lists)
    for file in files[:3]:
        assert f"{file} can't be decoded: " in answer.out
        assert f"{file}\tcan't be decoded: " in in_lists
    assert str(files[3]) not in answer.out and all(
        f"listed in {file}: repair or remove them" in answer.out for file in lists
    )
    assert "0.png has changed" not in answer.out


def test_verify_lists_each_folders_images_in_a_file_of_its_own(data_command: Command, root: Path) -> None:
    first = []
    for name in ("birds", "bees"):
        first.append(write_photos(root / name)[0])
        first[-1].write_bytes(b"")
        answer = data_command("verify", "folder", "--set", f"path={name}", "--set", "size=8")
        assert_refused(answer, "1 of the parts")
        assert "1 image is unusable, listed in " in answer.out
    lists = sorted((root.parent / "cache").glob("*-unreadable.txt"))
    assert sorted(file.read_text().partition("\t")[0] for file in lists) == sorted(map(str, first))
    assert_refused(data_command("warm", "folder(path=bees, size=8)"), f"listed in {root.parent / 'cache'}")
    assert sorted((root.parent / "cache").glob("*-unreadable.txt")) == lists, "the same place"


def test_verify_speaks_of_one_and_of_many(data_command: Command, root: Path) -> None:
    write_parquet(root / "cats", labels=(0, 1, 2))
    assert "1 label is outside 0..1" in data_command("verify", "parquet(path=cats)").out
    write_photos(root / "pair", ("crow", "wren"), count=3)
    assert "test: 2 images, " in data_command("verify", "folder(path=pair, test=50)").out
    write_parquet(root / "dog", labels=(1,))
    assert "train: 1 image, whole; no decoded copy\n" in data_command("verify", "parquet(path=dog)").out


def test_verify_finds_what_rotted_in_the_cache(data_command: Command, root: Path) -> None:
    write_photos(root / "birds")
    data_command("warm", *BIRDS)
    [images] = (root.parent / "cache").glob("folder-test-*/images.npy")
    content = bytearray(images.read_bytes())
    content[-1] ^= 4
    images.write_bytes(content)
    answer = data_command("verify", *BIRDS)
    assert_refused(answer, "folder: 1 of the parts looked at is not whole, see above")
    assert "train: 10 images, whole; decoded copy in" in answer.out and answer.out.count(", whole; ") == 1
    assert (
        f"the decoded copy {images.parent} has a checksum mismatch" in answer.out
        and "`graftbench data warm 'folder(path=birds, size=8)' --rebuild` decodes anew" in answer.out
    )
    assert "decoded already" in data_command("warm", *BIRDS).out, "nothing but verify looks at every byte"
    assert "decoded in" in data_command("warm", *BIRDS, "--rebuild").out
    assert data_command("verify", *BIRDS).code == 0


@pytest.mark.parametrize("file", ["images.npy", "labels.npy", "manifest.json"])
def test_verify_finds_a_torn_copy(data_command: Command, root: Path, file: str) -> None:
    write_photos(root / "birds")
    data_command("warm", *BIRDS)
    [torn] = (root.parent / "cache").glob(f"folder-train-*/{file}")
    torn.write_bytes(torn.read_bytes()[:-3])
    answer = data_command("verify", *BIRDS)
    assert_refused(answer, "1 of the parts")
    assert f"the decoded copy {torn.parent} is incomplete" in answer.out
    assert "decoded in" in data_command("warm", *BIRDS).out and data_command("verify", *BIRDS).code == 0


def test_verify_finds_changed_files_and_warm_accepts_them(data_command: Command, root: Path) -> None:
    files = write_photos(root / "birds")
    data_command("warm", *BIRDS)
    Image.fromarray(np.full((9, 7, 3), 200, np.uint8)).save(files[0])
    os.utime(files[0], (1, 1))
    answer = data_command("verify", *BIRDS)
    assert_refused(answer, " of the parts looked at ")
    assert f"{files[0]} has changed since" in answer.out
    assert "decoded in" in data_command("warm", *BIRDS).out and data_command("verify", *BIRDS).code == 0


def test_verify_of_files_with_other_times(data_command: Command, root: Path) -> None:
    files = write_photos(root / "birds")
    data_command("warm", *BIRDS)
    os.utime(files[0], (1, 1))
    assert data_command("verify", *BIRDS).code == 0
    assert len(files[1].read_bytes()) == len(files[2].read_bytes())
    files[1].write_bytes(files[2].read_bytes())
    answer = data_command("verify", *BIRDS)
    assert_refused(answer, "1 of the parts")
    assert "holds other images than the files do now" in answer.out and "incomplete" not in answer.out
    [labels] = (root.parent / "cache").glob("folder-test-*/manifest.json")
    labels.write_bytes(b"")
    assert "is incomplete" in data_command("verify", *BIRDS).out


def test_verify_finds_other_pixels_behind_the_same_size_and_time(data_command: Command, root: Path) -> None:
    files = write_photos(root / "birds")
    data_command("warm", *BIRDS)
    before, content = files[1].stat(), files[2].read_bytes()
    assert len(content) == before.st_size and content != files[1].read_bytes()
    files[1].write_bytes(content)
    os.utime(files[1], ns=(before.st_atime_ns, before.st_mtime_ns))
    answer = data_command("verify", *BIRDS)
    assert_refused(answer, "1 of the parts")
    assert "holds other images than the files do now" in answer.out


def test_verify_finds_wrong_labels(data_command: Command, root: Path) -> None:
    write_parquet(root / "cats", labels=(0, 1, 2, -1))
    answer = data_command("verify", "parquet", "--set", "path=cats")
    assert_refused(answer, "parquet: 1 of the parts")
    assert "row 2 has label 2, outside 0..1" in answer.out and "row 3 has label -1, outside 0..1" in answer.out
    assert "2 labels are outside" in answer.out and "test: 2 images, whole; no decoded copy" in answer.out


def test_verify_goes_on_after_a_broken_file(data_command: Command, root: Path, tiny: None) -> None:
    file = write_mnist(root) / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-20])
    answer = data_command("verify", "mnist")
    assert_refused(answer, "1 of the parts")
    assert (
        "mnist train: unknown number of images, not whole; no" in answer.out and f"{file} can't be read" in answer.out
    )
    assert "mnist test: 2 images, whole; no decoded copy" in answer.out


def test_verify_counts(data_command: Command, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from suite.datasets import digits

    monkeypatch.setattr(digits, "TRAIN_EXAMPLES", 1439)
    answer = data_command("verify", "digits")
    assert_refused(answer, "1 of the parts")
    assert "1,438 images are there, and 1,439 were expected" in answer.out
    assert_refused(data_command("warm", "digits"), "has 1,438 images, and 1,439 were expected")


def test_missing_files_are_refused_before_anything_is_looked_at(data_command: Command, root: Path) -> None:
    for verb in ("verify", "warm"):
        answer = data_command(verb, "mnist")
        assert_refused(answer, "train-images-idx3-ubyte (or .gz) is missing", "graftbench data fetch mnist")
        assert answer.out == ""


# -- warm


def test_warm_twice(data_command: Command, root: Path, tiny: None) -> None:
    folder = write_mnist(root)
    first = data_command("warm", "mnist")
    said = re.fullmatch(r"mnist: 5 images, 0\.0 MiB, decoded in \d+\.\d s, in (\S+), (\S+)\n", first.out)
    assert said and first.code == 0
    before = contents(root.parent / "cache")
    assert {str(Path(entry) / "images.npy") for entry in said.groups()} <= before.keys()
    second = data_command("warm", "mnist")
    assert second.out == f"mnist: 5 images, 0.0 MiB, decoded already, in {said[1]}, {said[2]}\n"
    assert contents(root.parent / "cache") == before
    os.utime(folder / "train-images-idx3-ubyte.gz", (5, 5))
    assert "decoded in" in data_command("warm", "mnist").out
    assert dataset.Dataset(Component("mnist"), root).load_part("train").labels.tolist() == [0, 1, 2]


def test_warm_says_which_changes_it_accepts(data_command: Command, root: Path) -> None:
    files = write_photos(root / "birds")
    data_command("warm", *BIRDS)
    files[0].write_bytes(files[0].read_bytes() + b"more")
    with pytest.raises(UserError, match="has changed since"):
        dataset.Dataset(Component("folder", (("path", "birds"), ("size", 8))), root).load_part("train")
    first, second = data_command("warm", *BIRDS).out.splitlines()
    assert first == f"accepted: {files[0]} has changed"
    assert second.startswith("folder(path=birds, size=8): 12 images, ") and "decoded in" in second
    assert "accepted" not in data_command("warm", *BIRDS).out


def test_warm_says_what_is_broken_in_both_parts(data_command: Command, root: Path) -> None:
    for part in ("train", "test"):
        write_photos(root / "birds" / part)
    assert data_command("warm", *BIRDS).code == 0
    broken = [root / "birds" / part / "wren" / "3.png" for part in ("train", "test")]
    for file in broken:
        file.write_bytes(b"none")
    answer = data_command("warm", *BIRDS)
    assert answer.code == 2 and answer.err.startswith("graftbench: ") and answer.err.count("\n") == 2
    for file, sentence in zip(broken, answer.err.splitlines(), strict=True):
        assert f"{file} can't be decoded" in sentence and "1 image is unusable, listed in" in sentence
    assert answer.out == "", "nothing was accepted"
    write_photos(root / "again" / "train")
    write_photos(root / "again" / "test")
    Path(root / "again" / "train" / "crow" / "0.png").write_bytes(b"none")
    assert_refused(data_command("warm", "folder(path=again, size=8)"), "again/train/crow/0.png can't be decoded")
    assert len(list((root.parent / "cache").glob("folder-test-*/images.npy"))) == 2, "the other part was decoded"


def test_rebuild_decodes_again(data_command: Command, root: Path) -> None:
    write_photos(root / "birds")
    data_command("warm", *BIRDS)
    [images] = (root.parent / "cache").glob("folder-train-*/images.npy")
    mapped, inode = np.load(images, mmap_mode="r"), images.stat().st_ino
    assert "decoded in" in data_command("warm", *BIRDS, "--rebuild").out
    assert images.stat().st_ino != inode and np.array_equal(np.load(images), mapped), "old mappings stay usable"


def test_a_part_too_large_keeps_no_images(data_command: Command, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photos(root / "birds")
    cache = root.parent / "cache"
    monkeypatch.setattr(dataset, "STREAM_ABOVE", 12 * 3 * 64 - 1)
    assert data_command("warm", *BIRDS).code == 0 and not list(cache.glob("*/images.npy"))
    assert "decoded already" in data_command("warm", *BIRDS).out and data_command("verify", *BIRDS).code == 0


def test_a_study_that_streams_keeps_no_images(data_command: Command, root: Path) -> None:
    write_photos(root / "birds")
    study = write_study(root.parent, [{"name": "folder", "path": "birds", "size": 8}])
    streaming = root.parent / "streaming.yaml"
    streaming.write_text(Path(study).read_text() + "\nresources: {residency: stream}\n")
    assert data_command("warm", str(streaming)).code == 0 and not list((root.parent / "cache").glob("*/images.npy"))
    assert data_command("warm", study).code == 0 and len(list((root.parent / "cache").glob("*/images.npy"))) == 2


def test_a_study_file_stands_for_all_its_datasets(data_command: Command, root: Path) -> None:
    write_photos(root / "birds")
    study = write_study(
        root.parent, [{"name": "digits", "size": [8, 16]}, {"name": "folder", "path": "birds", "size": 8}]
    )
    answer = data_command("warm", study)
    starts = [line.partition(": ")[0] for line in answer.out.splitlines()]
    assert answer.code == 0 and starts == ["digits(size=8)", "digits", "folder(path=birds, size=8)"]
    assert len(list((root.parent / "cache").glob("*/images.npy"))) == 6
    answer = data_command("verify", study)
    assert answer.code == 0 and answer.out.count(", whole; ") == 6


@pytest.mark.parametrize("name", ["2020", "no", "birds, ducks", "my[birds]", "a: b", "[a"])
def test_a_listed_label_is_a_target(data_command: Command, root: Path, name: str) -> None:
    write_photos(root / name)
    [label] = [label for label in listed(data_command) if label.startswith("folder")]
    assert label == f"folder(path={name})"
    component = Component("folder", (("path", name),))
    assert (
        data_targets.find_targets(label, [], root)
        == data_targets.find_targets("folder", [f"path={name}"], root)
        == [component]
    )


def test_a_label_with_settings(data_command: Command, root: Path) -> None:
    write_photos(root / "birds")
    wanted = Component("folder", (("path", "birds"), ("resize", "crop"), ("size", 8)))
    assert data_targets.find_targets(wanted.label, [], root) == [wanted]
    assert data_targets.find_targets("folder(path='birds', resize=crop)", ["size=8"], root) == [wanted]
    assert data_targets.find_targets("digits()", [], root) == [Component("digits")]
    assert data_command("warm", "folder(path=birds, size=8)").out.startswith("folder(path=birds, size=8): 12 images, ")


@pytest.mark.parametrize("target", ["my birds", "my birds/", "deep/photos"])
def test_a_folders_name_as_a_target_gets_a_hint(data_command: Command, root: Path, target: str) -> None:
    write_photos(root / target)
    hint = shlex.quote(f"path={target.rstrip('/')}")
    is_folder = f"{target.rstrip('/')} is a folder in {root}: `folder --set {hint}`"
    assert_refused(data_command("warm", target), f"dataset: unknown dataset {target!r}; {is_folder}")


def test_a_parquet_folders_name_as_a_target_gets_a_hint(data_command: Command, root: Path) -> None:
    write_parquet(root / "cats" / "data")
    assert_refused(data_command("verify", "cats"), f"cats is a folder in {root}: `parquet --set path=cats`\n")


@pytest.mark.parametrize("verb", ["plan", "warm"])
def test_a_study_that_names_a_folder_is_told_what_reads_it(
    data_command: Command, graftbench: Command, root: Path, verb: str
) -> None:
    write_photos(root / "birds")
    write_parquet(root / "cats")
    run = graftbench if verb == "plan" else data_command
    for name, reader in (("birds", "folder"), ("cats", "parquet")):
        sentence = (
            f"datasets[1]: unknown dataset '{name}'; it is a folder in {root}: write `{{name: {reader}, path: {name}}}`"
        )
        assert_refused(run(verb, write_study(root, ["digits", name])), sentence)
    assert_refused(run(verb, write_study(root, ["bird"])), "datasets[0]: unknown dataset 'bird'; ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["folder(pth=birds)"], "folder.pth: unknown setting; did you mean 'path'?"),
        (["digits(size)"], "digits(size): must be NAME=VALUE"),
        (["digits(size=[8)"], "digits(size=[8): '[8' isn't a YAML value"),
        (["diggits(size=8)"], "dataset: unknown dataset 'diggits'; did you mean 'digits'?"),
        (["../data"], "dataset: unknown dataset '../data'; known: "),
        (["folder", "--set", "pth=birds"], "folder.pth: unknown setting; did you mean 'path'?"),
        (["digits", "--set", "size=17"], "digits.size: must be one of 8, 16, 24, 32, not 17"),
        (["folder", "--set", "path=../birds"], "folder.path: must be a name below the data directory"),
        (["folder", "--set", "size=small"], "folder.size: must be a whole number, not 'small'"),
        (["folder", "--set", "size"], "--set size: must be NAME=VALUE"),
        (["folder", "--set", "size="], "--set size=: must be NAME=VALUE"),
        (["folder", "--set", "size=[a"], "--set size=[a: '[a' isn't a YAML value"),
        (["folder"], "folder.path: name the directory"),
        (["diggits"], "dataset: unknown dataset 'diggits'; did you mean 'digits'?"),
        (["nowhere.yaml"], "nowhere.yaml: no such study file"),
    ],
)
@pytest.mark.parametrize("verb", ["verify", "warm"])
def test_wrong_input_is_one_sentence(
    data_command: Command, root: Path, verb: str, arguments: list[str], sentence: str
) -> None:
    answer = data_command(verb, *arguments)
    assert_refused(answer, sentence)
    assert answer.out == "" and contents(root) == {}


def test_a_study_file_takes_no_settings_and_names_its_mistakes(data_command: Command, root: Path) -> None:
    study = write_study(root.parent, [{"name": "digits", "size": 9}])
    assert_refused(data_command("warm", study), "datasets[0].size: must be one of 8, 16, 24, 32, not 9")
    study = write_study(root.parent, ["digits"])
    assert_refused(data_command("warm", study, "--set", "size=8"), "a study file says the settings of its datasets")


# -- docs/datasets.md


def test_the_page_has_every_dataset(tmp_path: Path) -> None:
    table = {row[0]: row for row in ROWS if len(row) == 8}
    assert table.keys() - {"name"} == set(registry.list_components("dataset")) | {"---"}
    for listed in catalog.list_datasets(tmp_path):
        _, below, classes, shape, training, test, *_ = table[listed.dataset]
        if listed.title:
            assert classes == str(listed.classes) and test == f"{listed.test_examples:,}", listed.dataset
            assert shape == " x ".join(map(str, listed.shape or ()))
            assert training == f"{listed.train_examples:,} ({listed.validation:,})"
            named = [re.split(r"[*<]", part)[0] for part in re.findall(r"[\w.-]+/[\w./*<>-]*", below)]
            assert not listed.remedy or any(str(tmp_path / part) in listed.remedy for part in named), listed.dataset


def test_the_page_has_every_setting() -> None:
    said = {(row[0], row[1]): row[2] for row in ROWS if len(row) == 4 and row[0] in registry.list_components("dataset")}
    declared = {
        (name, setting): str(spec.default)
        for name in registry.list_components("dataset")
        for setting, spec in registry.load_component("dataset", name).SETTINGS.items()
    }
    assert said == declared


def test_the_pages_study_plans(tmp_path: Path) -> None:
    [study] = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    path = tmp_path / "study.yaml"
    path.write_text(study)
    assert [target.label for target in data_targets.find_targets(str(path), [], tmp_path)] == [
        "folder(path=birds, size=64)",
        "parquet(path=my-set)",
    ]


def test_the_pages_dataset_file_works(
    data_command: Command, root: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetched, verified and warmed, on a tiny archive in BloodMNIST's format."""
    text, _ = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    file = root.parent / "bloodmnist.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location("suite.datasets.bloodmnist", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "suite.datasets.bloodmnist", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(registry, "_find_files", lambda kind: {"bloodmnist": ROOT / "suite/datasets/bloodmnist.py"})
    assert sum(module.EXAMPLES.values()) == 17_092 == 11_959 + 1_712 + 3_421, "Yang et al. 2023, table 2"
    sizes = {"train": 5, "val": 2, "test": 3}
    arrays: dict[str, Any] = {f"{part}_images": np.full((n, 28, 28, 3), n, np.uint8) for part, n in sizes.items()}
    arrays |= {f"{part}_labels": np.arange(n, dtype=np.uint8)[:, None] for part, n in sizes.items()}
    archive = io.BytesIO()
    np.savez(archive, **arrays)
    server.offers["bloodmnist.npz"] = archive.getvalue()
    monkeypatch.setattr(module, "URL", f"{server.address}bloodmnist.npz")
    monkeypatch.setattr(module, "MD5", hashlib.md5(archive.getvalue()).hexdigest())
    monkeypatch.setattr(module, "EXAMPLES", {"train": 7, "test": 3})

    assert_refused(data_command("warm", "bloodmnist"), "graftbench data fetch bloodmnist")
    assert data_command("fetch", "bloodmnist").code == 0
    assert data_command("warm", "bloodmnist", "--set", "validation=2").code == 0
    assert data_command("verify", "bloodmnist", "--set", "validation=2").out.count(", whole; ") == 2
    found = dataset.Dataset(Component("bloodmnist"), root).load_part("train")
    assert found.labels.tolist() == [0, 1, 2, 3, 4, 0, 1] and found.images is not None
    assert found.images[:, 2, 27, 27].tolist() == [5] * 5 + [2] * 2
    (root / "bloodmnist.npz").write_bytes(archive.getvalue()[:-100])
    assert_refused(data_command("verify", "bloodmnist"))


def test_the_pages_table_of_names_works(tmp_path: Path) -> None:
    _, text = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    names = {"csv": csv, "np": np, "Path": Path, "ImageFiles": ImageFiles}
    exec("from __future__ import annotations\n" + text, names)
    [first, second, *_] = write_photos(tmp_path / "leaves", ("crow",))
    (tmp_path / "leaves" / "train.csv").write_text("crow/1.png,3\ncrow/0.png,0\n")
    found: Any = names["source"](tmp_path, "train", size=8)  # type: ignore[operator]
    assert (list(found.files), found.labels.tolist(), found.shape) == ([second, first], [3, 0], (3, 8, 8))
