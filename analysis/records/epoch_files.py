"""The long table of epochs as a folder of Parquet files, each with the whole histories of some trials."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.records.manifest import Change, Manifest
from analysis.records.mlflow_runs import INFINITE, Run

RUNS = 500  # in a part; what is read at once
SMALL = 250  # parts of fewer runs are put together
MOST_SMALL = 8  # when there are more of them than this
FOLDER = "epochs"
_NAMES = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema([("trial_key", _NAMES), ("epoch", pa.int64()), ("metric", _NAMES), ("value", pa.float64())])
_PLAIN = pa.schema([(field.name, pa.string() if field.type == _NAMES else field.type) for field in SCHEMA])
POINT = np.dtype([("epoch", "i8"), ("value", "f8")])


def make_table(groups: Sequence[tuple[str, str, int]], points: NDArray[np.void]) -> pa.Table:
    """Epochs of some runs.

    Args:
        groups: trial key, metric and number of points, in the order of the points.
        points: of `POINT`, by group and epoch. Of an epoch written twice (a resumed trial) the last one counts.
    """
    sizes = np.array([size for _, _, size in groups], dtype=np.int64)
    group = np.repeat(np.arange(len(groups), dtype=np.int32), sizes)
    epoch, value = points["epoch"], points["value"]
    last = np.ones(len(points), dtype=bool)
    last[:-1] = (group[1:] != group[:-1]) | (epoch[1:] != epoch[:-1])
    huge = np.abs(value) >= INFINITE
    value[huge] = np.copysign(np.inf, value[huge])
    columns = [_encode_names([key for key, _, _ in groups], group[last]), pa.array(epoch[last])]
    columns += [_encode_names([metric for _, metric, _ in groups], group[last]), pa.array(value[last])]
    return pa.table(columns, schema=SCHEMA)


def _encode_names(names: Sequence[str], group: NDArray[np.int32]) -> pa.DictionaryArray:
    """The groups' names by row, in a dictionary that has each name once."""
    known = {name: index for index, name in enumerate(dict.fromkeys(names))}
    codes = np.array([known[name] for name in names], dtype=np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(codes[group]), pa.array(list(known), pa.string()))


def make_empty_table() -> pa.Table:
    return SCHEMA.empty_table()


def read_epochs(paths: Iterable[Path]) -> pa.Table:
    """The table that the parts make together."""
    return pa.concat_tables(
        [make_empty_table(), *(pq.read_table(path, schema=SCHEMA) for path in paths)]
    ).unify_dictionaries()


def carry_over(change: Change, old: Manifest, files: Mapping[str, Path], kept: Iterable[Run]) -> dict[str, str]:
    """Keep the histories of the `kept` runs; the part of each, by run id. Files that hold others are written anew."""
    keys = {run.run_id: run.trial_key for run in kept}
    members: dict[str, list[str]] = {}
    for run_id, seen in old.runs.items():
        if seen.part:
            members.setdefault(seen.part, []).append(run_id)
    stay = {part: [run_id for run_id in ids if run_id in keys] for part, ids in members.items()}
    small = [part for part, ids in stay.items() if 0 < len(ids) < SMALL]
    merged = small if len(small) > MOST_SMALL else []
    placed: dict[str, str] = {}
    for part, ids in stay.items():
        if part in merged or not ids:
            continue
        name = part
        if len(ids) == len(members[part]):
            change.keep_file(part, old.files[part])
        else:
            name = _write_file(change, _filter_epochs(files[part], [keys[run_id] for run_id in ids]))
        placed |= dict.fromkeys(ids, name)
    if merged:
        together = [_filter_epochs(files[part], [keys[run_id] for run_id in stay[part]]) for part in merged]
        name = _write_file(change, pa.concat_tables(together))
        placed |= {run_id: name for part in merged for run_id in stay[part]}
    return placed


def add_epochs(change: Change, batches: Iterator[tuple[Sequence[Run], pa.Table]]) -> dict[str, str]:
    """Write the histories of some runs, one part per batch; the part of each, by run id."""
    placed: dict[str, str] = {}
    for runs, epochs in batches:
        if epochs.num_rows:
            name = _write_file(change, epochs)
            with_history = set(pc.unique(epochs["trial_key"]).to_pylist())
            placed |= {run.run_id: name for run in runs if run.trial_key in with_history}
    return placed


def _filter_epochs(path: Path, keys: Sequence[str]) -> pa.Table:
    plain = pq.read_table(path, schema=SCHEMA).cast(_PLAIN)  # so that the names of what goes go too
    return plain.filter(pc.is_in(plain["trial_key"], pa.array(keys, pa.string()))).cast(SCHEMA)


def _write_file(change: Change, epochs: pa.Table) -> str:
    named = ["trial_key", "metric", "epoch"]
    pq.write_table(epochs.unify_dictionaries(), change.draft_path(), use_dictionary=named, compression="zstd")
    return change.add_draft(f"{FOLDER}/{{}}.parquet", epochs.num_rows)
