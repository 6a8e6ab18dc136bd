"""Ensembles: the mean softmax of a cell's networks, from what their trials left, and the table of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from analysis import testing
from analysis.records.load import load_records
from analysis.tables import ensembles, latex, rendering
from analysis.tables.all_tables import build_all_tables
from analysis.verdicts.ensembles import Ensemble, bound_share, rank_labels
from analysis.verdicts.results import StudyResults
from suite.core.specs import CellId
from suite.training.loop import Evaluation
from suite.training.predictions import write_predictions

IMAGES, CLASSES = 60, 8
LABELS = np.arange(IMAGES) % CLASSES
BASELINE = CellId("digits", "cnn", "baseline", "")
SIRE = CellId("digits", "cnn", "sire", "")

Records = Callable[..., Path]


def softmax_of(seed: int) -> NDArray[np.float16]:
    """Of a network that leans towards the labels."""
    scores = np.random.default_rng(seed).normal(size=(IMAGES, CLASSES)) + 0.8 * np.eye(CLASSES)[LABELS]
    return (np.exp(scores) / np.exp(scores).sum(1, keepdims=True)).astype(np.float16)


def write_answers(folder: Path, key: str, softmax: NDArray[np.float16] | None, labels: NDArray[np.int64]) -> None:
    """As a trial leaves them; without probabilities where there is no softmax."""
    answers = softmax_of(0) if softmax is None else softmax
    evaluation = Evaluation(
        loss=1.0,
        top1_error=0.0,
        top5_error=0.0,
        predictions=torch.from_numpy(answers.argmax(1)),
        confidence=torch.from_numpy(answers.max(1).astype(np.float32)),
        probabilities=None if softmax is None else torch.from_numpy(softmax),
    )
    (folder / "predictions").mkdir(exist_ok=True)
    write_predictions(folder / "predictions" / f"{key}.parquet", torch.from_numpy(labels), evaluation)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study of two cells and three seeds, whose networks left probabilities."""
    study = testing.make_study({"baseline": [0.5, 0.4, 0.6], "sire": [0.3, 0.4, 0.5]})
    study.trials.assign(test_top5_error=0.25).to_parquet(tmp_path / "trials.parquet")
    study.epochs.to_parquet(tmp_path / "epochs.parquet")
    (tmp_path / "study.json").write_text(json.dumps(dict(study.study.whole)))
    for variant, first in (("baseline", 0), ("sire", 10)):
        for seed in range(3):
            write_answers(tmp_path, key(variant, seed), softmax_of(first + seed), LABELS)
    return tmp_path


def key(variant: str, seed: int) -> str:
    return f"digits-cnn-{variant}--confirm-{seed}"


def find(folder: Path, cell: CellId = BASELINE) -> Ensemble | str:
    return StudyResults(load_records(folder)).ensembles.get(cell, "")


def test_errors_of_the_mean_softmax_by_hand(folder: Path) -> None:
    found = find(folder)
    assert isinstance(found, Ensemble) and (found.networks, found.images) == (3, IMAGES)
    mean = sum(softmax_of(seed).astype(np.float64) for seed in range(3)) / 3
    order = mean.argsort(1)[:, ::-1]
    wrong = int((order[:, 0] != LABELS).sum())
    top1, top5 = found.errors["test_top1_error"], found.errors["test_top5_error"]
    assert top1.error == pytest.approx(wrong / IMAGES) and 0 < wrong < IMAGES
    assert top5.error == pytest.approx((order[:, :5] != LABELS[:, None]).all(1).mean())
    assert (top1.single, top5.single) == pytest.approx((0.5, 0.25))
    interval = stats.binomtest(wrong, IMAGES).proportion_ci(0.95, method="exact")
    assert (top1.low, top1.high) == pytest.approx((interval.low, interval.high))


def test_equal_probabilities_share_their_ranks() -> None:
    softmax = np.array([[0.4, 0.4, 0.2, 0, 0, 0, 0, 0], [0.7, 0.3, 0, 0, 0, 0, 0, 0]], np.float32)
    first, last = rank_labels(np.array([1, 7]), softmax)
    assert first.tolist() == [0.5, 0.5, 0, 0, 0], "one of two at the first two ranks"
    assert last.tolist() == pytest.approx([0, 0, 1 / 6, 1 / 6, 1 / 6]), "three of the six ranks that the zeros share"


@pytest.mark.parametrize(("share", "expected"), [(0.0, (0.0, 0.0362)), (1.0, (0.9638, 1.0))])
def test_bounds_of_none_and_all(share: float, expected: tuple[float, float]) -> None:
    assert bound_share(share, 100, 0.05) == pytest.approx(expected, abs=1e-4)


def test_predictions_without_probabilities_are_passed_over(folder: Path) -> None:
    for seed in range(3):
        write_answers(folder, key("baseline", seed), None, LABELS)
    assert find(folder) == "" and isinstance(find(folder, SIRE), Ensemble)
    write_answers(folder, key("sire", 2), None, LABELS)
    assert find(folder, SIRE) == "no ensemble: 2 of 3 networks left the probabilities of their classes"
    for path in (folder / "predictions").iterdir():
        path.unlink()
    assert StudyResults(load_records(folder)).ensembles == {}


def test_networks_of_other_images_are_no_ensemble(folder: Path) -> None:
    write_answers(folder, key("sire", 1), softmax_of(11), LABELS[::-1].copy())
    assert find(folder, SIRE) == "no ensemble: its networks were not tested on the same images"


def test_the_table_in_every_form(folder: Path) -> None:
    findings = StudyResults(load_records(folder))
    [table] = [table for table in build_all_tables(findings) if table.id == ensembles.ID]
    assert [column.key for column in table.columns[3:]] == [
        "networks", "single_top1", "ensemble_top1", "single_top5", "ensemble_top5"
    ]  # fmt: skip
    assert len(table.rows) == 2 and "no verdict rests on it" in table.caption
    found = find(folder)
    assert isinstance(found, Ensemble)
    shown = f"{100 * found.errors['test_top1_error'].error:.2f}"
    forms = (
        rendering.to_markdown(table), rendering.to_html(table), rendering.to_text(table, 118, ()), latex.to_latex(table)
    )  # fmt: skip
    assert all(shown in form for form in forms)
    row, _ = json.loads(rendering.to_json(table))
    assert row["ensemble_top1"] == found.errors["test_top1_error"].error
    assert "ensemble_top1" in rendering.to_csv(table)


def test_ten_crops_stand_beside_the_centre() -> None:
    study = testing.make_study({"baseline": [0.5, 0.4, 0.6], "sire": [0.3, 0.4, 0.5]})
    study.trials.loc[study.trials["variant"] == "sire", ["multi_crop_top1_error", "decoders"]] = 0.125, 4
    [table] = ensembles.build_ensembles(StudyResults(study))
    [row] = table.rows
    values = {column.key: value.text for column, value in zip(table.columns, row, strict=True)}
    assert (values["single_top1"], values["multi_crop_top1_error"]) == ("40.00", "12.50")
    assert values["decoders"] == "4"
    assert "ensemble_top1" not in values
    assert ensembles.build_ensembles(StudyResults(testing.make_study({"baseline": [0.5] * 3}))) == []
