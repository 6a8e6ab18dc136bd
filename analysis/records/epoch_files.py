"""The long table of epochs as a folder of Parquet files, each with the whole histories of some trials."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.records.manifest import Change, Manifest, read_parquet
from analysis.records.mlflow_runs import INFINITE, Run

SMALL = 250  # parts of fewer runs are put together
MOST_SMALL = 8  # when there are more of them than this
FOLDER = "epochs"
_NAMES = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema([("trial_key", _NAMES), ("epoch", pa.int64()), ("metric", _NAMES), ("value", pa.float64())])
_PLAIN = pa.schema(
    [("trial_key", pa.string()), ("epoch", pa.int64()), ("metric", pa.string()), ("value", pa.float64())]
)
POINT = np.dtype([("epoch", "i8"), ("value", "f8")])


def make_table(keys: Sequence[str], metrics: Sequence[str], sizes: Sequence[int], points: NDArray[np.void]) -> pa.Table:
    """Epochs of some runs.

    Args:
        keys, metrics, sizes: trial key, metric and number of points of each group, in the order of the points.
        points: of `POINT`, by group and epoch. Of an epoch written twice (a resumed trial) the last one counts.
    """
    group = np.repeat(np.arange(len(keys), dtype=np.int32), np.array(sizes, dtype=np.int64))
    epoch, value = points["epoch"], points["value"]
    last = np.ones(len(points), dtype=bool)
    last[:-1] = (group[1:] != group[:-1]) | (epoch[1:] != epoch[:-1])
    huge = np.abs(value) >= INFINITE
    value[huge] = np.copysign(np.inf, value[huge])
    rows = pa.array(group[last])
    trial_keys = pa.array(keys, pa.string()).dictionary_encode().take(rows)
    names = pa.array(metrics, pa.string()).dictionary_encode().take(rows)
    return pa.table([trial_keys, pa.array(epoch[last]), names, pa.array(value[last])], schema=SCHEMA)


def read_epochs(paths: Iterable[Path]) -> pa.Table:
    """The table that the parts make together."""
    parts = [read_parquet(path).select(SCHEMA.names).cast(SCHEMA) for path in paths]
    return pa.concat_tables([SCHEMA.empty_table(), *parts]).unify_dictionaries()


def carry_over(change: Change, old: Manifest, files: Mapping[str, Path], kept: Iterable[Run]) -> dict[str, str]:
    """Keep the histories of the `kept` runs; the part of each, by run id. Files that hold others are written anew."""
    kept_ids = {run.run_id for run in kept}
    members = Counter(seen.part for seen in old.runs.values())
    stay: dict[str, dict[str, str]] = defaultdict(dict)  # by part: trial keys by run id
    for run_id, seen in old.runs.items():
        if seen.part and run_id in kept_ids:
            stay[seen.part][run_id] = seen.trial_key
    small = [part for part, keys in stay.items() if len(keys) < SMALL]
    if len(small) <= MOST_SMALL:
        small = []
    placed: dict[str, str] = {}
    together = []
    for part, keys in stay.items():
        if part in small:
            together.append(_filter_epochs(files[part], keys))
            continue
        name = part
        if len(keys) == members[part]:
            change.keep_file(part, old.files[part])
        else:
            name = _write_file(change, _filter_epochs(files[part], keys))
        placed |= dict.fromkeys(keys, name)
    if small:
        name = _write_file(change, pa.concat_tables(together))
        for part in small:
            placed |= dict.fromkeys(stay[part], name)
    return placed


def add_epochs(change: Change, batches: Iterator[tuple[Sequence[Run], pa.Table]]) -> dict[str, str]:
    """Write the histories of some runs, one part per batch; the part of each, by run id."""
    placed: dict[str, str] = {}
    for runs, epochs in batches:
        if not epochs.num_rows:
            continue
        name = _write_file(change, epochs)
        with_history = set(pc.unique(epochs["trial_key"]).to_pylist())
        placed |= {run.run_id: name for run in runs if run.trial_key in with_history}
    return placed


def _filter_epochs(path: Path, keys: Mapping[str, str]) -> pa.Table:
    plain = read_parquet(path).select(_PLAIN.names).cast(_PLAIN)  # so that the names of what goes go too
    return plain.filter(pc.is_in(plain["trial_key"], pa.array(keys.values(), pa.string()))).cast(SCHEMA)


def _write_file(change: Change, epochs: pa.Table) -> str:
    columns = ["trial_key", "metric", "epoch"]
    pq.write_table(epochs.unify_dictionaries(), change.draft_path(), use_dictionary=columns, compression="zstd")
    return change.add_draft(f"{FOLDER}/{{}}.parquet", epochs.num_rows)
