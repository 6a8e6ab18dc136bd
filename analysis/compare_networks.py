"""McNemar's test on two trained networks, image by image.

It says whether these two networks differ on this test part, nothing about methods: another seed may say otherwise. The
verdicts are what speaks of methods.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis.formatting import format_p
from analysis.records.arrange import records_of
from analysis.records.load import load_records
from analysis.stats.paired import run_mcnemar
from suite.core.records import Record
from suite.core.specs import format_label


def compare_networks(records_dir: Path, first: str, second: str) -> dict[str, Any]:
    """What two trials answered on the same test images.

    Args:
        first, second: trial keys, or their first digits.

    Raises:
        FileNotFoundError: no records, or no predictions of a trial in them.
        ValueError: no such trial, several, or not the same test images.
    """
    trials = {one.trial_key: one for one in records_of(load_records(records_dir).trials)}
    found = [_find_trial(trials, key) for key in (first, second)]
    answers = [_read_answers(records_dir, one) for one in found]
    if not answers[0].index.equals(answers[1].index) or not answers[0]["label"].equals(answers[1]["label"]):
        raise ValueError(f"{_format_title(found[0])} and {_format_title(found[1])} were not tested on the same images.")
    right = [(own["prediction"] == own["label"]).to_numpy() for own in answers]
    result = run_mcnemar(*right)
    return {
        "networks": [_format_title(one) for one in found],
        "images": len(answers[0]),
        "both_right": int((right[0] & right[1]).sum()),
        "both_wrong": int((~right[0] & ~right[1]).sum()),
        **dataclasses.asdict(result),
    }


def _find_trial(trials: dict[str, Record], key: str) -> Record:
    found = [one for name, one in trials.items() if name.startswith(key) and key]
    if len(found) != 1:
        several = f"{len(found)} trials begin" if found else "no trial begins"
        raise ValueError(f"{several} with {key!r}; give the `trial_key` of the tables or of MLflow.")
    return found[0]


def _format_title(one: Record) -> str:
    variant = format_label(one.variant, one.settings)
    return f"{variant} on {one.dataset} / {one.backbone}, seed {one.seed}"


def _read_answers(records_dir: Path, one: Record) -> pd.DataFrame:
    """Table of label and prediction by the index of the test image."""
    path = records_dir / "predictions" / f"{one.trial_key}.parquet"
    if not path.is_file():
        raise FileNotFoundError(
            f"No predictions of {_format_title(one)} in {records_dir}: only completed confirm trials have them."
        )
    try:
        return pd.read_parquet(path, columns=["index", "label", "prediction"]).set_index("index").sort_index()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ValueError(f"{path} holds no predictions that can be read; collect the study again.") from error


def to_text(found: dict[str, Any]) -> str:
    """For a terminal."""
    first, second = found["networks"]
    return "\n".join(
        [
            f"A: {first}",
            f"B: {second}",
            f"{found['images']} test images: both right {found['both_right']}, both wrong {found['both_wrong']}, "
            f"only A right {found['only_baseline']}, only B right {found['only_variant']}",
            f"McNemar's exact test: {format_p(found['p_value'])}. It compares these two networks, not the methods: "
            "another seed may say otherwise.",
        ]
    )
