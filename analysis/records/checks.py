"""What must hold of tables of records, whoever wrote them; what does not is refused or set aside, in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.formatting import format_plural
from analysis.records.manifest import REMEDY
from analysis.records.mlflow_runs import INFINITE
from suite.core.records import COLUMNS

FRACTIONS = [name for name in COLUMNS if name.endswith("_error")]
_EXAMPLES = 5


def format_examples(names: Iterable[object]) -> str:
    """The first few, for a sentence."""
    shown = list(map(str, names))
    if len(shown) > _EXAMPLES:
        shown[_EXAMPLES:] = ["..."]
    return "; ".join(shown)


def check_columns(name: str, table: pa.Schema, wanted: pa.Schema, may_lack: Set[str] = frozenset()) -> None:
    """
    Args:
        may_lack: columns that an earlier version did not have.

    Raises:
        ValueError: a column is missing or of another type; the message names all of them.
    """
    missing = sorted(set(wanted.names) - set(table.names) - may_lack)
    if missing:
        raise ValueError(f"{name} lacks the columns {', '.join(missing)}: {REMEDY}.")
    wrong = []
    for column in wanted.names:
        if column not in table.names:
            continue
        kind, wanted_kind = _plain_type(table.field(column).type), _plain_type(wanted.field(column).type)
        if kind != wanted_kind:
            wrong.append(f"{column} is {kind}, not {wanted_kind}")
    if wrong:
        raise ValueError(f"{name} has columns of the wrong type ({'; '.join(wrong)}): {REMEDY}.")


def fill_columns(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """The table with the `wanted` columns that it lacks: null, or empty text."""
    for field in wanted:
        if field.name not in table.column_names:
            nothing = pa.scalar("" if pa.types.is_string(field.type) else None, field.type)
            table = table.append_column(field, pa.repeat(nothing, table.num_rows))
    return table


def _plain_type(kind: pa.DataType) -> str:
    """`text` for every way of storing it, else the type's name."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else str(kind)


def check_fractions(trials: pd.DataFrame, names: Sequence[str]) -> None:
    """
    Args:
        names: of the rows, for people.

    Raises:
        ValueError: an error is no fraction; the message names the row.
    """
    for column in FRACTIONS:
        values = trials[column].to_numpy("float64", na_value=np.nan)
        outside = ((values < 0) | (values > 1)) & (np.abs(values) < INFINITE)
        if outside.any():
            position = int(outside.argmax())
            value = values[position]
            remedy = "they look like percent, divide them by 100" if value > 1 else "correct it"
            raise ValueError(f"{column} is {value:g} in {names[position]}: errors are fractions from 0 to 1; {remedy}.")


def without_infinities(trials: pd.DataFrame, metric: str, names: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """The trials with what is not a finite number as missing, and sentences on completed trials that had such.

    MLflow stores infinities as 1.797e308, so that counts as one. A diverged trial may well have them.
    """
    trials, problems = trials.copy(), []
    completed = (trials["status"] == "completed").to_numpy()
    row_names = pd.Series(names, trials.index, dtype=object)
    for column, kind in COLUMNS.items():
        if kind is not float:
            continue
        infinite = np.abs(trials[column].to_numpy("float64", na_value=np.nan)) >= INFINITE
        if infinite.any():
            trials[column] = trials[column].mask(infinite)
        if (infinite & completed).any():
            where = format_examples(row_names[infinite & completed])
            problems.append(f"{column} is infinite, so counted as not measured, in {where}.")
    missing = completed & (trials["stage"] == "confirm").to_numpy() & trials[metric].isna().to_numpy()
    if missing.any():
        count = format_plural(int(missing.sum()), "completed trial")
        problems.append(f"{count} without a finite {metric}: {format_examples(row_names[missing])}; not averaged.")
    return trials, problems


def trial_names(trials: pd.DataFrame) -> list[str]:
    """`sire (lambda=0.1) on cnn, digits, seed 2`, row by row."""
    names = []
    columns = ["variant", "settings", "backbone", "dataset", "stage", "seed"]
    for variant, settings, backbone, dataset, stage, seed in trials[columns].itertuples(index=False, name=None):
        label = f"{variant} ({settings})" if settings else variant
        kind = "seed" if stage == "confirm" else "search trial"
        names.append(f"{label} on {backbone}, {dataset}, {kind} {seed}")
    return names
