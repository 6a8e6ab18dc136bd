"""A printed confusion matrix beside the answers of our networks: counts by hand, in every form, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import testing
from analysis.figures import render_svg
from analysis.figures.confusions import draw_confusions
from analysis.published.confusions import Confusion, confuse_classes, find_confusions
from analysis.published.tables import load_table
from analysis.records.load import load_records
from analysis.tables import latex, rendering
from analysis.tables.published import build_comparisons, to_json, to_markdown, to_table
from analysis.verdicts.results import StudyResults
from suite.datasets import cifar10

NAME = "cifar10-cnn-project-figure-3b"
BACKBONE = "cifar_cnn(batch_norm=True, dropout=0.2)"
LABELS = np.repeat(np.arange(10), 20)


def write_answers(folder: Path, seed: int, predictions: np.ndarray, labels: np.ndarray = LABELS) -> None:
    (folder / "predictions").mkdir(exist_ok=True)
    table = pd.DataFrame({"index": range(len(labels)), "label": labels, "prediction": predictions}, dtype="int32")
    table.to_parquet(folder / "predictions" / f"cifar10-{BACKBONE}-baseline--confirm-{seed}.parquet")


def answers(wrong: int) -> np.ndarray:
    """Of each class's 20 images, the first `wrong` are taken for the next class."""
    predictions = LABELS.copy().reshape(10, 20)
    predictions[:, :wrong] = (predictions[:, :wrong] + 1) % 10
    return predictions.ravel()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study of the improved network, three seeds: 2, 4 and 9 of each 20 images are wrong."""
    changes = {"reproduces": [NAME, "cifar10-cnn-project-table-1"]}
    study = testing.make_study({"baseline": [0.1, 0.2, 0.45]}, "cifar10", BACKBONE, **changes)
    study.trials.to_parquet(tmp_path / "trials.parquet")
    study.epochs.to_parquet(tmp_path / "epochs.parquet")
    (tmp_path / "study.json").write_text(json.dumps(dict(study.study.whole)))
    for seed, wrong in enumerate((2, 4, 9)):
        write_answers(tmp_path, seed, answers(wrong))
    return tmp_path


def find(folder: Path) -> Confusion:
    return confuse_classes(load_table(NAME), StudyResults(load_records(folder)))


def test_ours_is_the_sum_over_networks_divided_by_their_number(folder: Path) -> None:
    found = find(folder)
    assert found.ours is not None and found.networks == 3 and not found.gap
    assert found.ours.diagonal() == pytest.approx([15.0] * 10)  # of 18, 16 and 11
    assert found.ours[9, 0] == pytest.approx(5.0) and found.ours.sum() == pytest.approx(200.0)
    assert found.cell == f"cifar10 / {BACKBONE} / baseline" and len(found.runs) == 3


def test_recalls_are_apart_by_their_mean_absolute_difference(folder: Path) -> None:
    """Printed rows are divided by their own sums: cat has 980 images, 462 of them right."""
    found = find(folder)
    right = [679, 779, 490, 462, 542, 536, 787, 750, 811, 804]
    printed = np.array(right) / [1000, 1000, 1000, 980, 1000, 1000, 1000, 1000, 1000, 1000]
    assert found.difference == pytest.approx(np.abs(0.75 - printed).mean())
    assert found.scatter == pytest.approx((2 + 7 + 5) / 3 / 20)  # pairs of 2, 4 and 9 wrong images of 20


def test_classes_stand_in_the_datasets_own_order() -> None:
    for letter in "abcdef":
        assert load_table(f"cifar10-cnn-project-figure-3{letter}").classes == cifar10.NAMES


def test_printed_and_ours_stand_beside_each_other_in_every_form(folder: Path) -> None:
    findings, published = StudyResults(load_records(folder)), load_table(NAME)
    found, table = find(folder), to_table(published, findings)
    text = to_markdown(published, findings)
    lines = [line for line in text.splitlines() if line.startswith("| cat |")]
    assert lines[0].startswith("| cat | printed | 3.0 | 1.8 | 7.3 | **47.1** | 5.1 |")
    assert lines[1].startswith("| cat | ours | 0.0 | 0.0 | 0.0 | **75.0** | 25.0 |") and lines[1].endswith("| +27.86 |")
    assert f"Recalls, ours and printed: {100 * found.difference:.2f} pp apart, mean over classes." in text
    assert "Recalls of two single networks of ours: 23.33 pp apart, mean over classes and pairs." in text
    assert "the sum over 3 confirm networks divided by their number" in text
    assert "Trace 6,640 of 9,980 images; Table 1 prints 66.60 % for Improved." in text
    page = rendering.to_html(table)
    assert page.count("<td>printed</td>") == 10 and page.count("3 runs") == 10
    assert "automobile" in latex.to_latex(table) and "automobile" in rendering.to_text(table, 200, ())
    rows = json.loads(rendering.to_json(table))
    assert (
        len(rows) == 20 and rows[7]["as_cat"] == pytest.approx(0.75) and rows[6]["as_cat"] == pytest.approx(462 / 980)
    )
    plain = json.loads(json.dumps(to_json(published, findings)))
    assert plain["recall_difference"] == found.difference and plain["networks"] == 3
    assert plain["rows"][7]["shares"]["cat"] == 0.75 and plain["rows"][7]["whose"] == "ours"


def test_a_report_has_every_matrix_that_the_study_names(folder: Path) -> None:
    findings = StudyResults(load_records(folder))
    assert [found.table.id for found in find_confusions(findings)] == [NAME]
    assert [table.id for table in build_comparisons(findings)] == [
        f"published-{NAME}", "published-cifar10-cnn-project-table-1"
    ]  # fmt: skip
    [drawing] = draw_confusions(findings)
    assert drawing.id == f"confusion-{NAME}" and drawing.title == "Confusion matrices: Fig. 3(b), Improved"
    picture = render_svg(drawing.figure)
    assert ">printed<" in picture and ">ours<" in picture and picture.count(">75<") == 10 + 1  # ours, and horse's 75.0
    assert len(picture) < 150_000


def test_a_figure_is_drawn_of_what_has_answers_alone(folder: Path) -> None:
    for path in (folder / "predictions").iterdir():
        path.unlink()
    assert not list(draw_confusions(StudyResults(load_records(folder))))


def test_fewer_networks_and_none_are_said(folder: Path) -> None:
    paths = sorted((folder / "predictions").iterdir())
    paths[2].unlink()
    found = find(folder)
    assert found.gap == "2 of 3 networks left their answers" and found.ours.diagonal() == pytest.approx([17.0] * 10)
    paths[1].unlink()
    assert find(folder).scatter is None and find(folder).difference is not None
    paths[0].unlink()
    found = find(folder)
    assert found.ours is None and found.difference is None and found.gap == "no confirm network left its answers"
    table = to_table(load_table(NAME), StudyResults(load_records(folder)))
    assert len(table.rows) == 10 and table.notes[0] == "Ours: no confirm network left its answers."
    assert "recall_difference" not in {column.key for column in table.columns}


@pytest.mark.parametrize(
    ("labels", "predictions", "gap"),
    [
        (LABELS, LABELS + 1, "no matrix of ours: its networks know more classes than the 10 of the printed one"),
        (LABELS[20:], LABELS[20:], "no matrix of ours: no test image is of class airplane"),
    ],
)
def test_answers_that_are_of_something_else_are_refused(
    folder: Path, labels: np.ndarray, predictions: np.ndarray, gap: str
) -> None:
    write_answers(folder, 1, predictions, labels)
    assert find(folder).gap == gap and find(folder).ours is None


def test_another_study_has_only_the_printed_matrix() -> None:
    found = confuse_classes(load_table(NAME), StudyResults(testing.make_study({"baseline": [0.1, 0.2]})))
    assert found.gap == "not run: this study has no such cell" and found.ours is None
    assert found.printed.sum() == 9980
