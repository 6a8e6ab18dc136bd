"""Two trained networks compared image by image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import testing
from tests.fixtures import Answer, Command


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A study of two cells; seed 0 of each has predictions of 200 images, of which 40 are told apart, 30 to 10."""
    study = testing.make_study({"baseline": [0.1, 0.1, 0.1], "sire": [0.2, 0.2, 0.2]})
    study.trials.to_parquet(tmp_path / "trials.parquet")
    study.epochs.to_parquet(tmp_path / "epochs.parquet")
    (tmp_path / "study.json").write_text(json.dumps(dict(study.study.whole)))
    (tmp_path / "predictions").mkdir()
    label = np.arange(200) % 10
    wrong = {"baseline": range(10), "sire": range(10, 40)}
    for variant, images in wrong.items():
        prediction = label.copy()
        prediction[list(images)] = (label[list(images)] + 1) % 10
        table = pd.DataFrame({"index": np.arange(200), "label": label, "prediction": prediction, "confidence": 0.5})
        table.sample(frac=1, random_state=0).to_parquet(tmp_path / "predictions" / f"{key(variant)}.parquet")
    return tmp_path


def key(variant: str, seed: int = 0) -> str:
    return f"digits-cnn-{variant}--confirm-{seed}"


def compare(graftbench: Command, records: Path, *arguments: str) -> Answer:
    return graftbench("compare-networks", *arguments, "--records", records)


def test_counts_and_the_exact_p(records: Path, graftbench: Command) -> None:
    answer = compare(graftbench, records, key("baseline"), key("sire"), "--json")
    assert answer.code == 0
    found = json.loads(answer.out)
    assert (found["images"], found["both_right"], found["both_wrong"]) == (200, 160, 0)
    assert (found["only_baseline"], found["only_variant"]) == (30, 10)
    assert found["p_value"] == pytest.approx(stats.binomtest(10, 40).pvalue)


def test_it_is_labelled_as_of_networks_not_methods(records: Path, graftbench: Command) -> None:
    answer = compare(graftbench, records, key("baseline"), key("sire"))
    assert answer.code == 0
    text = answer.out
    assert "A: baseline on digits / cnn, seed 0" in text and "only A right 30, only B right 10" in text
    assert "compares these two networks, not the methods" in text


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ((key("baseline"), "nowhere"), "no trial begins with 'nowhere'"),
        (("digits", key("sire")), "14 trials begin with 'digits'"),
        ((key("baseline"), key("sire", 1)), "No predictions of sire on digits / cnn, seed 1"),
    ],
)
def test_what_cant_be_compared_is_one_sentence(
    records: Path, graftbench: Command, keys: tuple[str, str], sentence: str
) -> None:
    answer = compare(graftbench, records, *keys)
    assert answer.code == 2 and sentence in " ".join(answer.err.split())


def test_other_images_are_refused(records: Path, graftbench: Command) -> None:
    path = records / "predictions" / f"{key('sire')}.parquet"
    pd.read_parquet(path).head(150).to_parquet(path)
    answer = compare(graftbench, records, key("baseline"), key("sire"))
    assert answer.code == 2 and "not tested on the same images" in " ".join(answer.err.split())
    path.write_bytes(b"PAR1")
    answer = compare(graftbench, records, key("baseline"), key("sire"))
    assert answer.code == 2 and "collect the study again" in " ".join(answer.err.split())
