"""Images are made ready, or refused, before any trial starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from suite.core.errors import UserError
from suite.core.records import Record
from suite.core.run_context import RunContext
from suite.data.catalog import warm_dataset
from suite.study.check import check_plan
from suite.study.config import parse_study
from suite.study.plan import ExecutionConfig, Plan, make_plan
from suite.study.prepare_data import prepare_data
from suite.sweep.run import Options, run_study
from suite.trial import run_trial

PHOTOS = {"name": "folder", "path": "photos", "size": 16, "resize": "crop", "test": 25}
CELLS = ("crow", "wren")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAFTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """24 small photographs of two classes, brighter in the second."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(CELLS):
        folder = tmp_path / "data" / "photos" / name
        folder.mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 128, (20, 24, 3), dtype=np.uint8) + np.uint8(100 * label)
            Image.fromarray(pixels).save(folder / f"{number:02d}.jpg")
    return tmp_path / "data" / "photos"


def planned(*datasets: Any, data: str = "data", **changes: Any) -> Plan:
    study = {
        "study": "images",
        "datasets": list(datasets),
        "backbones": ["gradient_cnn"],
        "variants": ["baseline"],
        "recipe": {"name": "gradient", "epochs": 1, "batch": 8},
        "seeds": 1,
        "precision": "float32",
        "memory_format": "contiguous",
        "tracking": "sqlite:///mlflow.db",
        **changes,
    }
    return check_plan(make_plan(parse_study(study)), Path(data))


def test_a_broken_image_that_is_removed_leaves_nothing_in_the_way(photos: Path, tmp_path: Path) -> None:
    """Both parts are shares of one tree, whose change both notice."""
    broken = photos / "crow" / "03.jpg"
    broken.write_bytes(b"none")
    with pytest.raises(UserError, match=r"03\.jpg can't be decoded"):
        prepared(planned(PHOTOS))
    broken.unlink()
    prepared(planned(PHOTOS))


def prepared(plan: Plan, finished: list[Record] | None = None, data: str = "data") -> None:
    prepare_data(plan, Path(data), finished or [], Console(quiet=True))


def trained(plan: Plan, tmp_path: Path, **context: Any) -> Record:
    [cell] = plan.cells
    [trial] = plan.confirm_trials(cell.cell, (), ExecutionConfig())
    record = run_trial(trial, context=RunContext(tmp_path / "data", device="cpu", threads=1, **context))
    assert record.status == "completed", record.reason
    return record


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(UserError) as refused:
        action()
    return str(refused.value)


def test_photographs_train_wherever_they_live_to_the_same_bits(photos: Path, tmp_path: Path) -> None:
    plan = planned(PHOTOS, recipe={"name": "gradient", "epochs": 2, "batch": 8, "flip": True, "pad": 2})
    found = {residency: trained(plan, tmp_path, residency=residency) for residency in ("auto", "host", "stream")}
    assert [record.residency for record in found.values()] == ["device", "host", "stream"]
    for record in found.values():
        timeless = [{**epoch.list_values(), "train_seconds": 0.0} for epoch in record.history]
        assert timeless == [{**epoch.list_values(), "train_seconds": 0.0} for epoch in found["auto"].history]
        assert (record.test_loss, record.data) == (found["auto"].test_loss, found["auto"].data)
        assert record.test_data and record.data != record.test_data


def test_a_random_resized_crop_trains_and_tests_at_its_size(photos: Path, tmp_path: Path) -> None:
    plan = planned(PHOTOS, recipe={"name": "gradient", "epochs": 1, "batch": 8, "random_resized_crop": 12})
    [cell] = plan.cells
    assert cell.macs == planned({**PHOTOS, "size": 12}).cells[0].macs
    assert trained(plan, tmp_path).test_examples == 6


def test_missing_files_are_said_before_anything_is_decoded(photos: Path, cache: Path) -> None:
    sentence = refusal(lambda: prepared(planned(PHOTOS, "mnist")))
    assert sentence.startswith("mnist: ") and "graftbench data fetch mnist" in sentence
    assert not cache.exists()


def test_a_corrupt_image_stops_a_run_before_it_starts(photos: Path, cache: Path, tmp_path: Path) -> None:
    for name in ("crow/03.jpg", "wren/07.jpg"):
        (photos / name).write_bytes((photos / name).read_bytes()[:200])
    sentence = refusal(lambda: run_study(planned(PHOTOS), Options(Path("data"), local=True), Console(quiet=True)))
    assert "crow/03.jpg" in sentence and "wren/07.jpg" in sentence, "of both parts at once"
    listed = list(cache.glob("*-unreadable.txt"))
    assert len(listed) == 2 and all(str(file) in sentence for file in listed)
    assert not (tmp_path / "runs").exists() and not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize("residency", ["auto", "stream"])
def test_a_folder_that_changes_under_its_copy_stops_a_run(residency: str, photos: Path, tmp_path: Path) -> None:
    plan = planned(PHOTOS, resources={"residency": residency})
    prepared(plan)
    Image.new("RGB", (20, 20)).save(photos / "crow" / "new.jpg")
    sentence = refusal(lambda: run_study(plan, Options(Path("data"), local=True), Console(quiet=True)))
    assert f"{photos}/crow/new.jpg was added" in sentence and "graftbench data warm" in sentence
    assert sentence.count("was added") == 2 and "is gone" not in sentence, "not what moved between the parts"
    assert not (tmp_path / "runs").exists()


def test_streamed_images_are_looked_at_once_and_not_kept(photos: Path, cache: Path) -> None:
    prepared(planned(PHOTOS, resources={"residency": "stream"}))
    assert len(list(cache.glob("*/manifest.json"))) == 2 and not list(cache.glob("*/images.npy"))
    prepared(planned(PHOTOS))
    assert len(list(cache.glob("*/images.npy"))) == 2


def test_trials_on_other_images_than_the_finished_ones_are_refused(photos: Path, tmp_path: Path) -> None:
    plan = planned(PHOTOS)
    record = trained(plan, tmp_path)
    prepared(plan, [record])
    Image.new("RGB", (20, 20)).save(sorted(photos.rglob("*.jpg"))[5])
    dataset = plan.cells[0].cell.dataset
    warm_dataset(dataset, tmp_path / "data", rebuild=False, accepted=print, progress=lambda done, of: None)
    sentence = refusal(lambda: prepared(plan, [record]))
    assert sentence.startswith(f"{dataset.label}: its ") and record.data in sentence
    assert "graftbench clean STUDY --all" in sentence
    prepared(planned({**PHOTOS, "size": 18}), [record])  # another dataset of the study stays free


def test_equal_images_elsewhere_are_equal(photos: Path, tmp_path: Path) -> None:
    """The digest is of pixels and labels: moved files are the same data."""
    record = trained(planned(PHOTOS), tmp_path)
    (tmp_path / "elsewhere").mkdir()
    photos.rename(tmp_path / "elsewhere" / "photos")
    prepared(planned(PHOTOS, data="elsewhere"), [record], data="elsewhere")


def test_digits_need_nothing(cache: Path) -> None:
    prepared(planned("digits"))
    assert {path.name.rpartition("-")[0] for path in cache.glob("*/")} == {"digits-train", "digits-test"}


@pytest.mark.parametrize(
    ("dataset", "classes"),
    [
        ({"name": "mnist", "validation": 500}, 10),
        ({"name": "parquet", "path": "cifar10-parquet", "validation": 500}, 10),
        ({"name": "folder", "path": "caltech101/101_ObjectCategories", "size": 32}, 20),
    ],
    ids=["mnist", "cifar10", "caltech"],
)
def test_real_images_train(
    dataset: dict[str, Any],
    classes: int,
    real: Callable[..., Path],
    session_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An epoch on a few of them is enough to beat guessing."""
    monkeypatch.setenv("GRAFTBENCH_CACHE", str(session_cache))  # other tests read them too
    root = real({"mnist": "MNIST"}.get(dataset["name"], dataset.get("path", "")))
    recipe = {"name": "gradient", "epochs": 1, "batch": 16, "train_limit": 2000, "flip": True, "pad": 2}
    plan = planned(dataset, data=str(root), recipe=recipe)
    prepared(plan, data=str(root))
    [trial] = plan.confirm_trials(plan.cells[0].cell, (), ExecutionConfig())
    record = run_trial(trial, context=RunContext(root, device="cpu", threads=1))
    assert record.status == "completed", record.reason
    assert record.test_top1_error is not None and record.test_top1_error < 0.9 * (1 - 1 / classes)
