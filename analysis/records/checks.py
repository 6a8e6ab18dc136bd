"""What must hold of tables of records, whoever wrote them; what does not is refused or set aside, in a sentence."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

import pandas as pd
import pyarrow as pa

from analysis.formatting import format_plural
from analysis.records.mlflow_runs import INFINITE
from suite.core.records import COLUMNS

FRACTIONS = tuple(name for name in COLUMNS if name.endswith("_error"))
_EXAMPLES = 5


def format_examples(names: Iterable[object]) -> str:
    """The first few, for a sentence."""
    known = [str(name) for name in names]
    return "; ".join(known[:_EXAMPLES]) + ("; ..." if len(known) > _EXAMPLES else "")


def check_columns(name: str, table: pa.Schema, wanted: pa.Schema, remedy: str, may_lack: Container[str] = ()) -> None:
    """
    Args:
        may_lack: columns that an earlier version did not have.

    Raises:
        ValueError: a column is missing or of another type; the message names all of them.
    """
    lacking = sorted(column for column in set(wanted.names) - set(table.names) if column not in may_lack)
    if lacking:
        raise ValueError(f"{name} lacks the columns {', '.join(lacking)}: {remedy}.")
    wrong = [
        f"{one} is {_plain_type(table.field(one).type)}, not {_plain_type(wanted.field(one).type)}"
        for one in wanted.names
        if one in table.names and _plain_type(table.field(one).type) != _plain_type(wanted.field(one).type)
    ]
    if wrong:
        raise ValueError(f"{name} has columns of the wrong type ({'; '.join(wrong)}): {remedy}.")


def fill_columns(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """The table with the `wanted` columns that it lacks: null, or empty text."""
    for field in wanted:
        if field.name not in table.column_names:
            nothing = "" if pa.types.is_string(field.type) else None
            table = table.append_column(field, pa.array([nothing] * table.num_rows, field.type))
    return table


def _plain_type(kind: pa.DataType) -> str:
    """`text` for every way of storing it, else the type's name."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else str(kind)


def check_fractions(trials: pd.DataFrame, names: Sequence[str]) -> None:
    """
    Args:
        names: of the rows, for people.

    Raises:
        ValueError: an error is no fraction; the message names the row.
    """
    for column in FRACTIONS:
        values = trials[column].astype("float64")
        outside = ((values < 0) | (values > 1)) & (values.abs() < INFINITE)
        if outside.any():
            position = int(outside.to_numpy().argmax())
            value = values.iloc[position]
            remedy = "they look like percent, divide them by 100" if value > 1 else "correct it"
            raise ValueError(f"{column} is {value:g} in {names[position]}: errors are fractions from 0 to 1; {remedy}.")


def without_infinities(trials: pd.DataFrame, metric: str, names: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """The trials with what is not a finite number as missing, and sentences on completed trials that had such.

    MLflow stores infinities as 1.797e308, so that counts as one. A diverged trial may well have them.
    """
    trials, problems = trials.copy(), []
    completed = (trials["status"] == "completed").to_numpy()
    row_names = pd.Series(names, trials.index, dtype=object)
    for column in (name for name, kind in COLUMNS.items() if kind is float):
        infinite = (trials[column].abs() >= INFINITE).to_numpy(dtype=bool, na_value=False)
        if infinite.any():
            trials[column] = trials[column].mask(infinite)
            if (infinite & completed).any():
                where = format_examples(row_names[infinite & completed])
                problems.append(f"{column} is infinite, so counted as not measured, in {where}.")
    lacking = completed & (trials["stage"] == "confirm").to_numpy() & trials[metric].isna().to_numpy()
    if lacking.any():
        some = format_plural(int(lacking.sum()), "completed trial")
        problems.append(f"{some} without a finite {metric}: {format_examples(row_names[lacking])}; not averaged.")
    return trials, problems


def trial_names(trials: pd.DataFrame) -> list[str]:
    """`sire (lambda=0.1) on cnn, digits, seed 2`, row by row."""
    columns = [trials[name].tolist() for name in ("variant", "settings", "backbone", "dataset", "stage", "seed")]
    return [
        f"{variant}{f' ({settings})' if settings else ''} on {backbone}, {dataset}, "
        f"{'seed' if stage == 'confirm' else 'search trial'} {seed}"
        for variant, settings, backbone, dataset, stage, seed in zip(*columns, strict=True)
    ]
