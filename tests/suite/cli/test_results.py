"""The verbs that read results, on a folder of records alone; a study's own are in test_cli.py and test_sweep.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures import Command


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Two datasets, six seeds: `better` helps by 2 pp on both; one row can't be read."""
    generator = np.random.default_rng(0)
    lines = ["dataset,backbone,variant,seed,test_top1_error"]
    for dataset in ("a", "b"):
        for seed, noise in enumerate(generator.normal(0, 0.0005, (6, 2))):
            lines += [
                f"{dataset},net,baseline,{seed},{0.1 + noise[0]:.5f}",
                f"{dataset},net,better,{seed},{0.08 + noise[1]:.5f}",
            ]
    folder = tmp_path / "mailed"
    folder.mkdir()
    (folder / "results.csv").write_text("\n".join([*lines, "a,net,other,0,n/a?"]) + "\n")
    return folder


def test_verdicts_as_json_and_as_text(graftbench: Command, records: Path) -> None:
    answer = graftbench("verdicts", "--records", records, "--json")
    found = {(one["dataset"], one["variant"]): one for one in json.loads(answer.out)}
    assert found["a", "better"]["verdict"] == found["b", "better"]["verdict"] == "HELPS"
    assert found["a", "better"]["mean_difference"] == pytest.approx(0.02, abs=0.001)
    assert "note: 1 row not used" in answer.err
    text = graftbench("verdicts", "--records", records).out
    assert "Variants across datasets" in text and "note: 1 row not used" in " ".join(text.split())


def test_leaderboard_and_report_need_no_study(graftbench: Command, records: Path, tmp_path: Path) -> None:
    assert "better" in graftbench("leaderboard", "--records", records).out
    out, tex = tmp_path / "out", tmp_path / "tex"
    answer = graftbench("report", "--records", records, "--out", out, "--tex", tex)
    assert answer.code == 0 and (out / "report.html").is_file() and (tex / "report.tex").is_file()


@pytest.mark.parametrize("verb", ["verdicts", "leaderboard", "report"])
def test_wrong_input_is_one_sentence(graftbench: Command, records: Path, tmp_path: Path, verb: str) -> None:
    wrong = {
        "name a study file, or a folder of records": (verb,),
        "one of them": (verb, "study.yaml", "--records", records),
        "belongs to a study file": (verb, "--records", records, "--profile", "quick"),
        "No records at": (verb, "--records", tmp_path / "nowhere"),
    }
    for sentence, arguments in wrong.items():
        answer = graftbench(*arguments)
        assert answer.code == 2 and sentence in answer.err and answer.err.count("\n") == 1
    assert not (tmp_path / "report").exists()
