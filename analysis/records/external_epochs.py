"""Epochs from elsewhere: long tables of `suite.core.records.EPOCH_COLUMNS`, and what of them can't be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from analysis.formatting import format_plural
from analysis.records import epoch_files
from analysis.records.external_fields import parse_number, parse_text
from analysis.records.mlflow_runs import LARGEST

_MOST_EPOCHS = 10**7  # an epoch beyond is a slip


def read_external_epochs(frames: Sequence[tuple[str, pd.DataFrame]], folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """The long tables as one, and sentences on the rows that are not used, or not drawn.

    Args:
        frames: file names with what they hold, as objects.
        folder: a collected folder that lost its manifest has its histories in `epochs/`.
    """
    stored = sorted((folder / epoch_files.FOLDER).glob("*.parquet"))
    try:
        tables: list[pd.DataFrame] = [epoch_files.read_epochs(stored).to_pandas()] if stored else []
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{folder / epoch_files.FOLDER} can't be read ({str(error).splitlines()[0]}): remove it."
        ) from error
    sentences: list[str] = []
    for name, frame in frames:
        table, counted = _keep_usable(frame)
        tables.append(table)
        sentences += [
            f"{name}: {format_plural(rows, 'row')} of epochs {what}." for what, rows in counted.items() if rows
        ]
    if not tables:
        return epoch_files.SCHEMA.empty_table().to_pandas(), sentences
    return pd.concat(tables, ignore_index=True), sentences


def _keep_usable(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows that say a trial, a metric, a whole epoch and a value; the others counted by what they lack."""
    epochs, values = (frame[name].map(lambda value: parse_number(value, float)) for name in ("epoch", "value"))
    readable = ~values.map(lambda value: isinstance(value, str)).astype(bool)
    numbers = pd.to_numeric(epochs, errors="coerce").astype("float64")
    table = pd.DataFrame(
        {
            "trial_key": frame["trial_key"].map(parse_text),
            "epoch": numbers,
            "metric": frame["metric"].map(parse_text),
            "value": pd.to_numeric(values, errors="coerce").astype("float64"),
        }
    )
    named = (table["trial_key"] != "") & (table["metric"] != "") & numbers.notna()
    whole = (numbers == numbers.round()) & numbers.between(0, _MOST_EPOCHS)
    usable = named & whole & readable
    counted = {
        "without a trial, metric or epoch, not used": ~named,
        f"whose epoch is no whole number from 0 to {_MOST_EPOCHS}, not used": named & ~whole,
        "whose value is no number, not used": named & whole & ~readable,
        f"whose value is missing, infinite or beyond {LARGEST:g}: a curve ends before it": usable
        & ~(table["value"].abs() <= LARGEST),
    }
    return table[usable].astype({"epoch": "int64"}), {what: int(rows.sum()) for what, rows in counted.items()}
