"""The verb `reproduce`: tables and their studies, parameter counts, refusals, and a table redrawn end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from analysis.published.tables import list_tables, load_table
from suite.cli import reproduce
from suite.study import study_files
from tests.fixtures import Command


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("MLFLOW_TRACKING_URI", "GRAFTBENCH_DATA"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_table_all_are_listed_with_their_study(graftbench: Command) -> None:
    answer = graftbench("reproduce")
    assert answer.code == 0
    for name in list_tables():
        assert name in answer.out
    [line] = [line for line in answer.out.splitlines() if line.startswith("sire-table-4 ")]
    assert "Table 4" in line and "sire_table_4" in line


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sire-tabel-4"], "No published table 'sire-tabel-4'; did you mean 'sire-table-4'?; `graftbench reproduce`"),
        (["sire-table-9", "--check-parameters"], "No published table 'sire-table-9'; did you mean"),
        (["cifar10-cnn-project-table-2"], "cifar10-cnn-project-table-2: no ready study redraws it"),
        (["sire-table-2", "--check-parameters"], "sire-table-2: prints no parameter counts; leave --check-parameters"),
        (["sire-table-1", "--profile", "quik"], "profiles: has no 'quik'; did you mean 'quick'?"),
    ],
)
def test_refusals_are_one_sentence(graftbench: Command, tmp_path: Path, arguments: list[str], sentence: str) -> None:
    answer = graftbench("reproduce", *arguments)
    assert answer.code == 2 and answer.out == ""
    assert answer.err.startswith("graftbench: ") and answer.err.count("\n") == 1
    assert sentence in answer.err
    assert not list(tmp_path.iterdir()), "nothing was started"


@pytest.mark.parametrize("table", ["sire-table-1", "sire-table-3"])
def test_the_base_cnns_printed_counts_are_ours_cut_off(table: str) -> None:
    found = reproduce.parameter_rows(load_table(table))
    assert [row["row"] for row in found] == [row.row for row in load_table(table).rows]
    assert {row["agrees"] for row in found} == {"truncated"}
    assert found[0]["ours"] == 7_939_492 and found[-1]["ours"] == 14_072_944


def test_counts_that_dont_follow_are_explained(graftbench: Command) -> None:
    answer = graftbench("reproduce", "sire-table-4", "--check-parameters", "--json")
    assert answer.code == 0
    found = {row["row"]: row for row in json.loads(answer.out)}
    assert len(found) == 12
    assert {name for name, row in found.items() if row["agrees"] == "no"} == {
        "SIRe-VGG16", "SIRe-VGG19", "SIRe-ResNet34",
    }  # fmt: skip
    assert all(bool(row["explanation"]) == (row["agrees"] == "no") for row in found.values())
    assert found["VGG16"]["ours"] == 138_365_992, "as for ImageNet, whatever the dataset"
    assert found["SIRe-ResNet50"]["ours"] == 59_423_991
    # The remarks' own sums, without batch normalisation: what VGG has, and the printed increase.
    assert (138_357_544 + 22_612_623) // 100_000 == 1609
    assert "176,899,767" in found["SIRe-VGG19"]["explanation"] and 143_667_240 + 33_232_527 == 176_899_767
    # One convolution of 512 to 512 with its batch norm; four of 64 to 64, in AE_2 to AE_5, before the drawing layers.
    missing = 512 * 512 * 9 + 3 * 512 + 4 * (64 * 64 * 9 + 3 * 64)
    assert f"{found['SIRe-ResNet34']['ours'] - missing:,}" in found["SIRe-ResNet34"]["explanation"]


def test_counts_for_a_terminal(graftbench: Command) -> None:
    answer = graftbench("reproduce", "sire-table-1", "--check-parameters")
    assert answer.code == 0 and "6 of 6 printed counts follow from ours" in answer.out


@pytest.mark.parametrize(
    ("printed", "ours", "agreement"),
    [
        ("7.9", 7_939_492, "truncated"),
        ("7.9", 7_999_999, "truncated"),
        ("8.0", 7_999_999, "rounded"),
        ("21.8", 21_797_672, "rounded"),
        ("8.0", 7_939_492, "no"),
        ("60", 60_500_001, "truncated"),
        ("61", 60_500_001, "rounded"),
        ("160.9", 162_740_407, "no"),
    ],
)
def test_agreement(printed: str, ours: int, agreement: str) -> None:
    assert reproduce._describe_agreement(printed, ours) == agreement


def test_words_in_place_of_a_count_are_passed_over() -> None:
    """`60 million` is a count, `around 1/3 of ResNet's` none."""
    [only] = reproduce.parameter_rows(load_table("large-scale-review-text-1"))
    assert only["published"] == "60 million" and only["ours"] == 61_100_840


STUDY: dict[str, Any] = {
    "study": "redrawn",
    "reproduces": ["sire-table-6"],
    "datasets": [{"name": "fashion_mnist", "channels": 3}],
    "backbones": ["base_cnn"],
    "variants": ["baseline", "sire"],
    "recipe": "sire_1280",
    "seeds": 2,
    "profiles": {
        "quick": {
            "backbones": [{"name": "base_cnn", "width": 0.05}],
            "recipe": {"epochs": 1, "train_limit": 64, "lr": 0.01},
            "resources": {"gpus": 0},
            "precision": "float32",
            "memory_format": "contiguous",
        }
    },
}


@pytest.fixture
def configs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("configs")
    (folder / "redrawn.yaml").write_text(yaml.safe_dump(STUDY))
    monkeypatch.setattr(study_files, "READY_FOLDERS", (folder,))
    return folder


def write_fashion_mnist(root: Path) -> None:
    """Files of the published sizes: dark images but for four pixels that number them, a class each tenth row."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", 60_000), ("t10k", 10_000)):
        pixels = np.zeros((count, 28 * 28), np.uint8)
        pixels[:, :4] = np.arange(len(prefix) * 100_000, len(prefix) * 100_000 + count, dtype=">u4")[:, None].view("u1")
        images = np.array([0x803, count, 28, 28], ">u4").tobytes() + pixels.tobytes()
        labels = np.array([0x801, count], ">u4").tobytes() + bytes(range(10)) * (count // 10)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(images)
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)


def test_missing_data_stop_it_before_it_starts(graftbench: Command, configs: Path, tmp_path: Path) -> None:
    answer = graftbench("reproduce", "sire-table-6", "--local")
    assert answer.code == 2 and "fashion_mnist" in answer.err and answer.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_table_is_redrawn_end_to_end(graftbench: Command, configs: Path, tmp_path: Path) -> None:
    write_fashion_mnist(tmp_path / "data")
    answer = graftbench("reproduce", "sire-table-6", "--profile", "quick", "--local", "--json")
    assert answer.code == 0, answer
    found = json.loads(answer.out)
    assert [row["model"] for row in found] == [row.row for row in load_table("sire-table-6").rows]
    assert found[1]["outcome"] == "single run" and found[1]["seeds"] == 2
    written = (tmp_path / "runs" / "redrawn-quick" / "report" / "sire-table-6.md").read_text(encoding="utf-8")
    assert "Profile quick: not the paper's protocol" in written
    [line] = [line for line in written.splitlines() if line.startswith("| SIRe-CNN |")]
    assert (
        "| 20.04 |" in line
        and "| +4.17 |" in line
        and line.endswith(r"| 2 | 4 | single run | fashion\_mnist(channels=3) / base\_cnn(width=0.05) / sire |")
    )
    assert written.count("| not run |") == 10
