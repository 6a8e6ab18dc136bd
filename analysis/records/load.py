"""The records of one study from a folder: what `analysis.records.collect` wrote, checked against its manifest, or
results from elsewhere.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.records import checks, epoch_files, manifest, mlflow_runs
from analysis.records.arrange import arrange_records
from analysis.records.description import read_description
from analysis.records.model import METRICS, Records
from suite.core.records import COLUMNS, REQUIRED, Record

NULLABLE = COLUMNS.keys() - REQUIRED[Record] - set(METRICS.values())  # a folder of an earlier version may lack them
_ATTEMPTS = 3  # to read a folder while it is being collected


def load_records(path: Path) -> Records:
    """The records that `analysis.records.collect` wrote to a folder, or results from elsewhere
    (`analysis.records.external.load`).

    Args:
        path: a folder; of results from elsewhere also a single Parquet or CSV file.

    Raises:
        FileNotFoundError: there are none.
        ValueError: a file is cut short, changed since it was collected, lacks a column or has one of the wrong type;
            or an error is no fraction. The message names it and says what to do.
    """
    if not path.exists():
        raise FileNotFoundError(f"No records at {path}: there is no such file or folder.")
    for attempt in range(_ATTEMPTS):
        collected = manifest.read_manifest(path)
        if collected is None:
            from analysis.records.external.load import load_external  # collected records need nothing of it

            return replace(load_external(path), folder=path if path.is_dir() else None)
        try:
            return _load_collected(path, collected)
        except (manifest.DamagedError, FileNotFoundError):  # a collector at work may have just moved the file
            if attempt + 1 == _ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _load_collected(folder: Path, collected: manifest.Manifest) -> Records:
    files = manifest.verify_files(folder, collected)
    for name in ("trials.parquet", "study.json"):
        if name not in files:
            raise manifest.DamagedError(f"{folder / manifest.NAME} names no {name}: {manifest.REMEDY}.")
    table = manifest.read_content(folder / "trials.parquet", partial(manifest.read_parquet, files["trials.parquet"]))
    checks.check_columns(str(folder / "trials.parquet"), table.schema, mlflow_runs.SCHEMA, NULLABLE)
    table = checks.fill_columns(table, mlflow_runs.SCHEMA)
    stored = [file for name, file in files.items() if name.startswith(f"{epoch_files.FOLDER}/")]
    for file in stored:
        schema = manifest.read_content(file, partial(pq.read_schema, file))
        checks.check_columns(str(file), schema, epoch_files.SCHEMA)
    trials = table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    described = manifest.read_content(folder / "study.json", lambda: json.loads(files["study.json"].read_text()))
    study = read_description(described, str(folder / "study.json"))
    names = checks.trial_names(trials)
    checks.check_fractions(trials, names)
    trials, problems = checks.without_infinities(trials, METRICS[study.metric], names)
    epochs = manifest.read_content(folder / epoch_files.FOLDER, lambda: epoch_files.read_epochs(stored).to_pandas())
    records = arrange_records(trials, epochs, study)
    source = {"tracking_uri": collected.tracking, "experiment_id": collected.experiment_id}
    source["collected"] = collected.collected
    return replace(records, folder=folder, source=source, problems=(*problems, *records.problems))
