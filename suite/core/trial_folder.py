"""A trial's own folder, apart from its weights: who it belongs to, what was noted at the start, how it ended.

    trial.json        what defines the trial, written when it is taken up
    conditions.json   what the worker found at the start
    epoch.json        the last whole epoch, for whoever looks on; gone once the trial is finished
    memory.json       what its worker held when the machine's memory ran out; gone once the driver has heard
    test_reads        `begun` before each read of the test part, `reported` once a record has its result
    record.json       the record, written last

Standard library only; `suite.trial` and `suite.training.checkpoint` write the rest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from suite.core import records
from suite.core.errors import UserError
from suite.core.files import write_json
from suite.core.records import FINISHED, Epoch, NoRecordError, Record
from suite.core.specs import Trial

_CONDITIONS = "conditions.json"
_EPOCH = "epoch.json"
_MEMORY = "memory.json"
_TEST_READS = "test_reads"


class MemoryNote(NamedTuple):
    """What a worker that ended because memory ran out held, and what its machine has, in bytes; how many other workers
    there were on it."""

    held: int
    total: int
    neighbours: int


class ReadCounts(NamedTuple):
    """How often a trial read the test part: those reads whose result stands in a record, and all that were begun.

    A read that a kill cut short is in no record, so no comparison has seen it.
    """

    reported: int
    begun: int


def claim_directory(trial: Trial, directory: Path | None) -> None:
    """Writes trial.json. Without a directory there is nothing to claim.

    Raises:
        UserError: the folder holds another trial.
    """
    if directory is None:
        return
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "trial.json"
    if path.exists():
        try:
            held = read_trial(path)
        except UserError:  # torn by a kill: nothing after it was written
            held = trial
        if held.key != trial.key:
            raise UserError(f"{directory} holds the trial {held.key}, not {trial.key}; give each trial its own folder")
    write_json(trial.to_dict(), path)


def read_trial(path: Path) -> Trial:
    """
    Raises:
        UserError: the file holds no trial.
    """
    try:
        return Trial.from_dict(json.loads(path.read_text()))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path} holds no trial: {error}") from error


def read_finished_record(trial: Trial, directory: Path | None) -> Record | None:
    """The record in the directory, if it is this trial's and final. One that is cut short is as if it were not there.

    Raises:
        UserError: there is a whole one that this version can't read.
    """
    try:
        record = records.read_record(directory / "record.json") if directory else None
    except NoRecordError as error:
        raise UserError(f"{error}; its trial is not trained again before that file is mended or removed") from error
    except (OSError, ValueError):
        return None
    return record if record and record.trial_key == trial.key and record.status in FINISHED else None


def write_measurements(conditions: dict[str, Any], directory: Path) -> None:
    """For whoever stops the trial from outside: the fields of its record that only the worker knows."""
    write_json(conditions, directory / _CONDITIONS)


def read_measurements(directory: Path) -> dict[str, Any]:
    """What a trial's run noted at its start (split, costs, threads, device, versions): fields of a record."""
    try:
        found: dict[str, Any] = json.loads((directory / _CONDITIONS).read_text())
    except (OSError, ValueError):
        return {}
    return found


def note_epoch(history: Sequence[Epoch], directory: Path) -> None:
    """Note where a running trial is, after each epoch. Not flushed to the disk: nothing goes on from it."""
    last = history[-1]
    note = {
        "epoch": last.epoch,
        "validation_top1_error": last.validation_top1_error,
        "train_seconds": sum(epoch.train_seconds for epoch in history),
    }
    beside = directory / f".{_EPOCH}"
    beside.write_text(json.dumps(note))
    beside.replace(directory / _EPOCH)


def read_epoch_note(directory: Path) -> dict[str, Any]:
    """What `note_epoch` left: `epoch`, `validation_top1_error` (a fraction), `train_seconds`; empty if nothing."""
    try:
        note = json.loads((directory / _EPOCH).read_text())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def drop_epoch_note(directory: Path) -> None:
    (directory / _EPOCH).unlink(missing_ok=True)


def note_memory(note: MemoryNote, directory: Path) -> None:
    """Note that the worker ends because memory ran out."""
    write_json(note._asdict(), directory / _MEMORY)


def take_memory_note(directory: Path) -> MemoryNote | None:
    """What `note_memory` left, which is then gone; None: the worker ended in another way."""
    path = directory / _MEMORY
    try:
        note = MemoryNote(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    path.unlink(missing_ok=True)
    return note


def note_test_read(directory: Path | None, log_name: str = _TEST_READS) -> ReadCounts:
    """The reads of the test part by this trial, this one included; noted first, so that a kill can't hide it.

    Args:
        log_name: `test_curve_reads` for the reads that draw the test curve.
    """
    if directory is None:
        return ReadCounts(1, 1)
    with (directory / log_name).open("a+") as log:
        log.write("begun\n")
        log.seek(0)
        lines = log.read().split()
    earlier = lines.count("read")  # of a version that did not tell them apart
    return ReadCounts(earlier + lines.count("reported") + 1, earlier + lines.count("begun"))


def note_test_report(directory: Path) -> None:
    """Note that a record has the result of the last read: from now on it counts as a look at the test part."""
    with (directory / _TEST_READS).open("a") as log:
        log.write("reported\n")


def count_failures(directory: Path | None) -> int:
    """How often the trial has failed, as its record says; 0 without one."""
    try:
        return records.read_record(directory / "record.json").failures if directory else 0
    except (OSError, ValueError):
        return 0


def drop_checkpoints(directory: Path) -> None:
    """Removes a trial's weights and leaves its record."""
    drop_epoch_note(directory)
    for weights in directory.glob("*.pt"):
        weights.unlink(missing_ok=True)
