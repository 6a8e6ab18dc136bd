"""Epochs from elsewhere: long tables of `suite.core.records.EPOCH_COLUMNS`, and what of them can't be used."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa

from analysis.formatting import format_plural
from analysis.records import epoch_files
from analysis.records.external.fields import parse_number, parse_text
from analysis.records.mlflow_runs import LARGEST

_MOST_EPOCHS = 10**7  # an epoch beyond is a slip


def read_external_epochs(frames: Sequence[tuple[str, pd.DataFrame]], path: Path) -> tuple[pd.DataFrame, list[str]]:
    """The long tables as one, and sentences on the rows that are not used, or not drawn.

    Args:
        frames: file names with what they hold, as objects.
        path: of the results. A collected folder that lost its manifest has its histories in `epochs/`.
    """
    folder = path / epoch_files.FOLDER
    if path.is_file():
        folder = path.parent / epoch_files.FOLDER
    stored = sorted(folder.glob("*.parquet"))
    try:
        epochs = epoch_files.read_epochs(stored).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{folder} can't be read ({str(error).splitlines()[0]}): remove it.") from error
    tables = [epochs] if stored else []
    sentences: list[str] = []
    for name, frame in frames:
        table, unused = _keep_usable(frame)
        tables.append(table)
        for what, which in unused.items():
            if which.any():
                sentences.append(f"{name}: {format_plural(int(which.sum()), 'row')} of epochs {what}.")
    if tables:
        epochs = pd.concat(tables, ignore_index=True)
    return epochs, sentences


def _keep_usable(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    """The rows that say a trial, a metric, a whole epoch and a value; and which others lack what."""
    values = frame["value"].map(partial(parse_number, kind=float))
    readable = ~values.map(lambda value: isinstance(value, str)).astype(bool)
    epochs = frame["epoch"].map(partial(parse_number, kind=float))
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
    unused = {
        "without a trial, metric or epoch, not used": ~named,
        f"whose epoch is no whole number from 0 to {_MOST_EPOCHS}, not used": named & ~whole,
        "whose value is no number, not used": named & whole & ~readable,
    }
    usable = named & whole & readable
    drawn = table["value"].abs() <= LARGEST
    unused[f"whose value is missing, infinite or beyond {LARGEST:g}: a curve ends before it"] = usable & ~drawn
    return table[usable].astype({"epoch": "int64"}), unused
