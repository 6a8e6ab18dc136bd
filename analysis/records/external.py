"""Results from elsewhere: Parquet and CSV files with some of the columns of `suite.core.records`, as records of a
study.

What can't be used is set aside and named in `Records.problems`; what makes the whole untrustworthy (errors in percent,
a file that can't be read) is refused. docs/records.md has the rules for people.
"""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.formatting import format_plural
from analysis.records import external_epochs
from analysis.records.arrange import arrange_records
from analysis.records.checks import check_fractions, format_examples, trial_names, without_infinities
from analysis.records.description import StudyDescription, read_description
from analysis.records.external_fields import parse_number, parse_text, says_nan
from analysis.records.mlflow_runs import INFINITE, LARGEST
from analysis.records.model import AUDITED, METRICS, Records, several_baselines
from analysis.records.superseded import CELL, find_with_result
from suite.core.records import COLUMNS, EPOCH_COLUMNS, STATUSES
from suite.core.specs import BASELINE

NEEDED = ("dataset", "backbone", "variant", "seed")
_KNOWN: dict[str, type] = {**COLUMNS, "run_id": str, "started": int, "ended": int}
_COUNTS = tuple(name for name, kind in COLUMNS.items() if kind is int and name != "seed")
_AMOUNTS = (*_COUNTS, "train_seconds", "seconds_per_epoch", "images_per_second", "peak_memory_mib")  # never below 0
_STATUSES = frozenset({*STATUSES, "running"})


@dataclass
class _Usage:
    """Sentences, rows by the reason for which they are not used, and seeds of which such rows were a trial."""

    sentences: list[str] = field(default_factory=list)
    aside: dict[str, list[str]] = field(default_factory=dict)
    lost: set[tuple[str, str, int]] = field(default_factory=set)  # dataset, backbone, seed

    def set_aside(self, frame: pd.DataFrame, which: pd.Series, reason: str) -> pd.DataFrame:
        if which.any():
            self.aside.setdefault(reason, []).extend(frame["row"][which])
        return frame[~which]

    def set_lost(self, frame: pd.DataFrame, which: pd.Series, reason: str) -> pd.DataFrame:
        """Set aside what may have been a confirm trial. Its group must have its seed: else the verdict would rest on
        the seeds that were easy to read."""
        rows = frame[which & (frame["stage"] != "search") & frame["seed"].notna() & (frame["variant"] != "")]
        self.lost.update(zip(rows["dataset"], rows["backbone"], map(int, rows["seed"]), strict=True))
        return self.set_aside(frame, which, reason)

    def list_sentences(self) -> tuple[str, ...]:
        rows = (
            f"{format_plural(len(where), 'row')} not used, {why}: {format_examples(where)}."
            for why, where in self.aside.items()
        )
        return (*self.sentences, *rows)


def load_external(path: Path) -> Records:
    """The records in a file, or in the Parquet and CSV files of a folder (with `study.json`, where it has one).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: what is there can't be used; the message says why and what to do.
    """
    folder = path if path.is_dir() else path.parent
    files = (
        [path] if path.is_file() else [file for kind in ("parquet", "csv") for file in sorted(path.glob(f"*.{kind}"))]
    )
    if not files:
        raise FileNotFoundError(f"No study.json, Parquet or CSV file in {path}: collect the study's records first.")
    found, tables, epochs = _Usage(), [], []
    for file in files:
        frame = _read_table(file)
        if set(EPOCH_COLUMNS) <= set(frame.columns):
            epochs.append((file.name, frame))
        elif lacking := _find_missing_columns(frame):
            found.sentences.append(f"{file.name} is not used: it lacks {lacking}.")
        elif frame.empty:
            found.sentences.append(f"{file.name} is not used: it has no rows.")
        else:
            found.sentences += _name_unknown(file, frame)
            tables.append(frame)
    if not tables:
        remedy = "add a file with the columns " + ", ".join([*NEEDED, METRICS["top1"]])
        reasons = " ".join(found.sentences) or f"{', '.join(file.name for file in files)}: epochs alone."
        raise ValueError(f"No results in {path}: {reasons.rstrip('.')}; {remedy}.")
    trials = pd.concat(tables, ignore_index=True)
    named = path.resolve().name if path.is_dir() else path.stem
    defaults = {"study": named, "metric": "top1" if METRICS["top1"] in trials else "top5"}
    study = _read_description(folder / "study.json" if path.is_dir() else None, defaults)
    metric = METRICS[study.metric]
    if metric not in trials:
        raise ValueError(f"No column {metric} in {path}, which the study's metric asks for.")
    trials = _read_trials(trials, metric, found)
    searches = trials[trials["stage"] == "search"].groupby(CELL).size()
    if "search_trials" not in study.whole and len(searches):
        study = replace(study, search_trials=int(searches.max()))
    long, odd = external_epochs.read_external_epochs(epochs, folder)
    found.sentences += odd
    records = arrange_records(trials.drop(columns="row"), long, study)
    found.sentences += _check_baselines(trials)
    source = {"files": [file.name for file in files]}
    return replace(
        records, source=source, problems=(*found.list_sentences(), *records.problems), lost=frozenset(found.lost)
    )


# --- files


def _read_table(file: Path) -> pd.DataFrame:
    """The table as objects, with a column `row` that says where each row is from."""
    try:
        frame = _read_csv(file) if file.suffix == ".csv" else _read_parquet(file)
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{file} can't be read as {file.suffix[1:]} ({reason}): export it again.") from error
    return frame


def _read_parquet(file: Path) -> pd.DataFrame:
    table = pq.read_table(file)
    frame = pd.DataFrame({name: pd.Series(table[name].to_pylist(), dtype=object) for name in table.column_names})
    frame["row"] = [f"{file.name} row {number}" for number in range(1, len(frame) + 1)]
    return frame


def _read_csv(file: Path) -> pd.DataFrame:
    """Separated by commas, semicolons or tabs: whichever the header has most of."""
    with file.open(encoding="utf-8-sig", newline="") as text:
        header = text.readline()
        text.seek(0)
        reader = csv.reader(text, delimiter=max(",;\t", key=header.count), strict=True)
        names = [name.strip() for name in next(reader, [])]
        if len(set(names)) < len(names):
            raise csv.Error("two columns have one name")
        rows, lines = [], []
        for row in reader:
            if not row:
                continue
            if len(row) != len(names):
                raise csv.Error(f"line {reader.line_num} has {len(row)} fields, the header {len(names)}")
            rows.append(row)
            lines.append(f"{file.name} line {reader.line_num}")
    frame = pd.DataFrame(rows, columns=names, dtype=object)
    frame["row"] = lines
    return frame


def _find_missing_columns(frame: pd.DataFrame) -> str:
    """The columns without which a table holds no results; with what may have been meant."""
    needed = [name for name in NEEDED if name not in frame]
    if not set(METRICS.values()) & set(frame):
        needed.append(METRICS["top1"])
    unknown = [name for name in frame if name not in _KNOWN]
    guesses = {name: difflib.get_close_matches(name, unknown, 1) for name in needed}
    return ", ".join(name + _suggest_column(guess[0]) if guess else name for name, guess in guesses.items())


def _suggest_column(guess: str) -> str:
    """A column of accuracies must not be renamed: that would turn every verdict round."""
    return f" (1 - {guess!r})" if "acc" in guess.lower() else f" (is {guess!r} meant?)"


def _name_unknown(file: Path, frame: pd.DataFrame) -> list[str]:
    names = [name for name in frame if name not in _KNOWN and name != "row"]
    return [f"{file.name}: no use is made of the unknown columns {', '.join(map(repr, names))}."] if names else []


def _read_description(file: Path | None, defaults: dict[str, Any]) -> StudyDescription:
    if file is None or not file.is_file():
        return read_description(defaults, "study.json")
    try:
        described = json.loads(file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON ({error}): correct it, or remove it.") from error
    if isinstance(described, dict):
        described = defaults | described
    return read_description(described, str(file))


# --- rows


def _read_trials(frame: pd.DataFrame, metric: str, found: _Usage) -> pd.DataFrame:
    """The usable rows with every column of the schema; a cell that says nothing is missing, or empty text."""
    trials = pd.DataFrame({"row": frame["row"]})
    unread: dict[str, pd.Series] = {}
    for name, kind in _KNOWN.items():
        column = frame[name] if name in frame else pd.Series([None] * len(frame), dtype=object)
        if kind is str:
            trials[name] = column.map(parse_text)
        else:
            read = [parse_number(value, kind) for value in column]
            numbers = pd.Series(read, frame.index, dtype=object)  # not inferred: a float would round long integers
            unread[name] = pd.Series([isinstance(one, str) for one in read], frame.index, dtype=bool)
            trials[name] = numbers.mask(unread[name], None).astype("Int64" if kind is int else "float64")
    found.sentences += _not_recorded(trials)
    said_nan = frame[metric].map(says_nan) if metric in frame else pd.Series(False, frame.index)
    trials = _with_defaults(trials, metric, said_nan)
    for name, mask in unread.items():
        if name in ("seed", metric):
            trials = found.set_lost(trials, mask.reindex(trials.index), f"{name} is no number")
        elif mask.any():
            found.sentences.append(f"{name} is no number, so missing, in {format_examples(frame['row'][mask])}.")
    found.sentences += _without_impossible(trials)
    for name in ("dataset", "backbone", "variant"):
        trials = found.set_aside(trials, trials[name] == "", f"without a {name}")
    trials = found.set_aside(trials, trials["seed"].isna(), "without a seed")
    trials = found.set_lost(trials, ~trials["stage"].isin(["confirm", "search"]), "stage must be confirm or search")
    known = ", ".join(sorted(_STATUSES))
    trials = found.set_lost(trials, ~trials["status"].isin(_STATUSES), f"status must be one of {known}")
    check_fractions(trials, trials["row"].tolist())
    trials = _without_repetitions(trials, found)
    trials, problems = without_infinities(trials, metric, trials["row"].tolist())
    found.sentences += problems
    return trials.reset_index(drop=True)


def _without_impossible(trials: pd.DataFrame) -> list[str]:
    """Takes amounts below 0, and finite figures that nothing measures, out of the trials; sentences on them."""
    sentences = []
    for name in (name for name, kind in COLUMNS.items() if kind is not str):
        size = trials[name].abs()
        for what, which in {
            "below 0": (trials[name] < 0) if name in _AMOUNTS else None,
            f"beyond {LARGEST:g}": (size > LARGEST) & (size < INFINITE),
        }.items():
            found = pd.Series(False, trials.index) if which is None else which.fillna(False).astype(bool)
            if found.any():
                trials[name] = trials[name].mask(found)
                sentences.append(f"{name} is {what}, so missing, in {format_examples(trials['row'][found])}.")
    return sentences


def _check_baselines(trials: pd.DataFrame) -> list[str]:
    """What stands in the way of comparing: no baseline at all, or several in one group."""
    rows = trials[trials["variant"] == BASELINE]
    if rows.empty:
        names = ", ".join(map(str, trials["variant"].unique()[:6]))
        told = f"; there are: {names}. Rename the one to compare with" if names else ""
        return [f"No row has the variant {BASELINE!r}, with which the others are compared{told}."]
    sentences = []
    for (dataset, backbone), group in rows.groupby(["dataset", "backbone"], sort=False):
        settings = [text or "no settings" for text in group["settings"].unique()]
        if len(settings) > 1:
            remedy = f"call {'one' if len(settings) == 2 else 'all but one'} of them by another variant's name"
            sentences.append(f"{several_baselines(f'{dataset} / {backbone}', settings)}: {remedy}.")
    return sentences


def _not_recorded(trials: pd.DataFrame) -> list[str]:
    """What no row says of the conditions that the audit compares. No micro-batch means the whole batch, so it says."""
    fields = [name for name in AUDITED if name != "micro_batch"]
    lacking = [AUDITED[name] for name in fields if (trials[name].isna() | (trials[name].astype(str) == "")).all()]
    return [f"Not recorded, so the audit can't compare it: {', '.join(lacking)}."] if lacking else []


def _with_defaults(trials: pd.DataFrame, metric: str, said_nan: pd.Series) -> pd.DataFrame:
    """Of rows that don't say: stage confirm; completed with a test error, diverged where it is NaN, else failed."""
    trials["stage"] = trials["stage"].mask(trials["stage"] == "", "confirm")
    silent = trials["status"] == ""
    stands = trials[metric].notna() & ~said_nan
    trials["status"] = trials["status"].mask(silent, "failed").mask(silent & stands, "completed")
    trials["status"] = trials["status"].mask(silent & said_nan, "diverged")
    nothing = silent & ~stands & (trials["reason"] == "")
    trials["reason"] = trials["reason"].mask(nothing, f"no {metric} in " + trials["row"])
    trials["trial_key"] = trials["trial_key"].mask(trials["trial_key"] == "", trials["row"])
    return trials


def _without_repetitions(trials: pd.DataFrame, found: _Usage) -> pd.DataFrame:
    """Rows that say the same once; what remains double is a conflict, and named."""
    trials = found.set_aside(
        trials, _find_repeats(trials, [name for name in _KNOWN if name != "trial_key"]), "repeated"
    )
    undated = trials["started"].isna() & (trials["stage"] == "confirm")
    result = [*CELL, "stage", "seed", "status", *METRICS.values()]
    same = undated & _find_repeats(trials, result)
    trials = found.set_aside(trials, same, "its seed stands there already with the same result")
    place = [*CELL, "stage", "seed"]
    again = (trials["status"] == "failed") & (trials["stage"] == "confirm") & find_with_result(trials)
    trials = found.set_aside(trials, again, "a failed trial whose seed has a result")
    undated = trials[trials["started"].isna() & (trials["stage"] == "confirm")]
    double = undated[undated.duplicated(place, keep=False)]
    for _, rows in double.groupby(place, sort=False, dropna=False):
        name = trial_names(rows)[0]
        found.sentences.append(
            f"{name} has different results, and nothing says which counts: {format_examples(rows['row'])}."
        )
    return trials


def _find_repeats(trials: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    return trials.duplicated(list(columns), keep="first")
