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

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.formatting import format_plural
from analysis.records.arrange import arrange_records
from analysis.records.checks import check_fractions, format_examples, trial_names, without_infinities
from analysis.records.description import StudyDescription, read_description
from analysis.records.external.epochs import read_external_epochs
from analysis.records.external.fields import parse_number, parse_text, says_nan
from analysis.records.mlflow_runs import INFINITE, LARGEST
from analysis.records.model import AUDITED, METRICS, Records, several_baselines
from analysis.records.superseded import CELL, find_with_result
from suite.core.records import COLUMNS, EPOCH_COLUMNS, STATUSES
from suite.core.specs import BASELINE

NEEDED = ("dataset", "backbone", "variant", "seed")
_KNOWN: dict[str, type] = {**COLUMNS, "run_id": str, "started": int, "ended": int}
_COUNTS = tuple(name for name, kind in COLUMNS.items() if kind is int and name != "seed")
_AMOUNTS = (*_COUNTS, "train_seconds", "seconds_per_epoch", "images_per_second", "peak_memory_mib")  # never below 0
_STATUSES = sorted({*STATUSES, "running"})


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
        sentences = list(self.sentences)
        for reason, rows in self.aside.items():
            sentences.append(f"{format_plural(len(rows), 'row')} not used, {reason}: {format_examples(rows)}.")
        return tuple(sentences)


def load_external(path: Path) -> Records:
    """The records in a file, or in the Parquet and CSV files of a folder (with `study.json`, where it has one).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: what is there can't be used; the message says why and what to do.
    """
    files = [path] if path.is_file() else [*sorted(path.glob("*.parquet")), *sorted(path.glob("*.csv"))]
    if not files:
        raise FileNotFoundError(f"No study.json, Parquet or CSV file in {path}: collect the study's records first.")
    usage = _Usage()
    table, epochs = _read_tables(path, files, usage)
    study = _read_description(path, "top1" if METRICS["top1"] in table else "top5")
    metric = METRICS[study.metric]
    if metric not in table:
        raise ValueError(f"No column {metric} in {path}, which the study's metric asks for.")
    trials = _read_trials(table, metric, usage)
    searches = trials[trials["stage"] == "search"].groupby(CELL).size()
    if "search_trials" not in study.whole and len(searches):
        study = replace(study, search_trials=int(searches.max()))
    histories, epoch_sentences = read_external_epochs(epochs, path)
    records = arrange_records(trials.drop(columns="row"), histories, study)
    usage.sentences += [*epoch_sentences, *_check_baselines(trials)]
    problems = (*usage.list_sentences(), *records.problems)
    source = {"files": [file.name for file in files]}
    return replace(records, source=source, problems=problems, lost=frozenset(usage.lost))


# --- files


def _read_tables(
    path: Path, files: Sequence[Path], usage: _Usage
) -> tuple[pd.DataFrame, list[tuple[str, pd.DataFrame]]]:
    """The files with results as one table, and those with epochs by name."""
    tables, epochs = [], []
    for file in files:
        frame = _read_table(file)
        missing = _find_missing_columns(frame)
        if set(EPOCH_COLUMNS) <= set(frame.columns):
            epochs.append((file.name, frame))
        elif missing:
            usage.sentences.append(f"{file.name} is not used: it lacks {missing}.")
        elif frame.empty:
            usage.sentences.append(f"{file.name} is not used: it has no rows.")
        else:
            unknown = ", ".join(repr(name) for name in frame if name not in _KNOWN and name != "row")
            if unknown:
                usage.sentences.append(f"{file.name}: no use is made of the unknown columns {unknown}.")
            tables.append(frame)
    if not tables:
        remedy = "add a file with the columns " + ", ".join([*NEEDED, METRICS["top1"]])
        reasons = " ".join(usage.sentences) or f"{', '.join(file.name for file in files)}: epochs alone."
        raise ValueError(f"No results in {path}: {reasons.rstrip('.')}; {remedy}.")
    return pd.concat(tables, ignore_index=True), epochs


def _read_table(file: Path) -> pd.DataFrame:
    """The table as objects, with a column `row` that says where each row is from."""
    try:
        if file.suffix == ".csv":
            return _read_csv(file)
        frame = pd.DataFrame(pq.read_table(file).to_pydict(), dtype=object)
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{file} can't be read as {file.suffix[1:]} ({reason}): export it again.") from error
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
    required = list(NEEDED)
    if not set(METRICS.values()) & set(frame):
        required.append(METRICS["top1"])
    unknown = [name for name in frame if name not in _KNOWN]
    missing = []
    for name in required:
        if name in frame:
            continue
        guesses = difflib.get_close_matches(name, unknown, 1)
        if guesses and "acc" in guesses[0].lower():  # renamed, accuracies would turn every verdict round
            name += f" (1 - {guesses[0]!r})"
        elif guesses:
            name += f" (is {guesses[0]!r} meant?)"
        missing.append(name)
    return ", ".join(missing)


def _read_description(path: Path, metric: str) -> StudyDescription:
    """The folder's `study.json` over the name of file or folder and the metric that the results have."""
    if path.is_file():
        return read_description({"study": path.stem, "metric": metric}, "study.json")
    defaults = {"study": path.resolve().name, "metric": metric}
    file = path / "study.json"
    if not file.is_file():
        return read_description(defaults, "study.json")
    try:
        described = json.loads(file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON ({error}): correct it, or remove it.") from error
    if isinstance(described, dict):
        described = defaults | described
    return read_description(described, str(file))


# --- rows


def _read_trials(frame: pd.DataFrame, metric: str, usage: _Usage) -> pd.DataFrame:
    """The usable rows with every column of the schema; a cell that says nothing is missing, or empty text."""
    frame = frame.reindex(columns=["row", *_KNOWN])
    trials = frame[["row"]].copy()
    unread: dict[str, pd.Series] = {}
    for name, kind in _KNOWN.items():
        if kind is str:
            trials[name] = frame[name].map(parse_text)
            continue
        values = [parse_number(value, kind) for value in frame[name]]
        numbers = pd.Series(values, frame.index, dtype=object)  # not inferred: a float would round long integers
        unread[name] = numbers.map(lambda value: isinstance(value, str)).astype(bool)
        trials[name] = numbers.mask(unread[name], None).astype("Int64" if kind is int else "float64")
    usage.sentences += _not_recorded(trials)
    trials = _with_defaults(trials, metric, frame[metric].map(says_nan))
    for name, which in unread.items():
        if name in ("seed", metric):
            trials = usage.set_lost(trials, which.reindex(trials.index), f"{name} is no number")
        elif which.any():
            usage.sentences.append(f"{name} is no number, so missing, in {format_examples(frame['row'][which])}.")
    usage.sentences += _without_impossible(trials)
    for name in ("dataset", "backbone", "variant"):
        trials = usage.set_aside(trials, trials[name] == "", f"without a {name}")
    trials = usage.set_aside(trials, trials["seed"].isna(), "without a seed")
    trials = usage.set_lost(trials, ~trials["stage"].isin(["confirm", "search"]), "stage must be confirm or search")
    reason = f"status must be one of {', '.join(_STATUSES)}"
    trials = usage.set_lost(trials, ~trials["status"].isin(_STATUSES), reason)
    check_fractions(trials, trials["row"].tolist())
    trials = _without_repetitions(trials, usage)
    trials, problems = without_infinities(trials, metric, trials["row"].tolist())
    usage.sentences += problems
    return trials.reset_index(drop=True)


def _without_impossible(trials: pd.DataFrame) -> list[str]:
    """Takes amounts below 0, and finite figures that nothing measures, out of the trials; sentences on them."""
    sentences = []
    for name, kind in COLUMNS.items():
        if kind is str:
            continue
        values = trials[name]
        impossible = {f"beyond {LARGEST:g}": values.abs().between(LARGEST, INFINITE, inclusive="neither")}
        if name in _AMOUNTS:
            impossible = {"below 0": values < 0} | impossible
        for what, which in impossible.items():
            which = which.fillna(False).astype(bool)
            if which.any():
                trials[name] = trials[name].mask(which)
                sentences.append(f"{name} is {what}, so missing, in {format_examples(trials['row'][which])}.")
    return sentences


def _check_baselines(trials: pd.DataFrame) -> list[str]:
    """What stands in the way of comparing: no baseline at all, or several in one group."""
    rows = trials[trials["variant"] == BASELINE]
    if rows.empty:
        sentence = f"No row has the variant {BASELINE!r}, with which the others are compared"
        if not trials.empty:
            sentence += f"; there are: {', '.join(trials['variant'].unique()[:6])}. Rename the one to compare with"
        return [f"{sentence}."]
    sentences = []
    for (dataset, backbone), group in rows.groupby(["dataset", "backbone"], sort=False):
        settings = list(group["settings"].replace("", "no settings").unique())
        if len(settings) > 1:
            number = "one" if len(settings) == 2 else "all but one"
            sentence = several_baselines(f"{dataset} / {backbone}", settings)
            sentences.append(f"{sentence}: call {number} of them by another variant's name.")
    return sentences


def _not_recorded(trials: pd.DataFrame) -> list[str]:
    """What no row says of the conditions that the audit compares. No micro-batch means the whole batch, so it says."""
    missing = []
    for name, label in AUDITED.items():
        if name != "micro_batch" and trials[name].isin(["", pd.NA]).all():
            missing.append(label)
    return [f"Not recorded, so the audit can't compare it: {', '.join(missing)}."] if missing else []


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


def _without_repetitions(trials: pd.DataFrame, usage: _Usage) -> pd.DataFrame:
    """Rows that say the same once; what remains double is a conflict, and named."""
    trials = usage.set_aside(trials, trials.drop(columns=["row", "trial_key"]).duplicated(), "repeated")
    undated = trials["started"].isna() & (trials["stage"] == "confirm")
    place = [*CELL, "stage", "seed"]
    same = undated & trials.duplicated([*place, "status", *METRICS.values()])
    trials = usage.set_aside(trials, same, "its seed stands there already with the same result")
    again = (trials["status"] == "failed") & (trials["stage"] == "confirm") & find_with_result(trials)
    trials = usage.set_aside(trials, again, "a failed trial whose seed has a result")
    undated = trials[trials["started"].isna() & (trials["stage"] == "confirm")]
    double = undated[undated.duplicated(place, keep=False)]
    for _, rows in double.groupby(place, sort=False, dropna=False):
        conflict = f"{trial_names(rows)[0]} has different results, and nothing says which counts"
        usage.sentences.append(f"{conflict}: {format_examples(rows['row'])}.")
    return trials
