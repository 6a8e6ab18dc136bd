"""A study's storage on disk: which study it is, what each trial left, and the conditions of each group.

<storage>/study.json            identity of the study, and the schema of its results; another study, or a later schema,
                                is refused
<storage>/looks.json            the looks at its results: seeds per group, and what a topup added
<storage>/conditions.json       precision, memory format and micro-batch per group, decided before its first trial
<storage>/trials/<key>/         one folder per trial (see `suite.trial.Place`)
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suite.core import records
from suite.core.errors import Refused
from suite.core.records import FINISHED, SCHEMA, NewerSchemaError, NoRecordError, Record, check_schema
from suite.core.specs import Trial
from suite.core.trial_folder import conditions_of, drop_checkpoints, read_trial, write_json
from suite.study.config import Study
from suite.study.plan import Conditions, Look, group_label

log = logging.getLogger(__name__)

_EXAMPLES = 3  # files that a refusal names


class Ledger:
    """The one source of what is finished; MLflow is written from it."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.path = study.storage_path
        self._torn: set[Path] = set()  # records that were named already

    def check(self) -> None:
        """
        Raises:
            Refused: the storage path holds something else, or results of a later version; or this study's fixed parts
                have changed.
        """
        self.check_owner()
        self._check_writable()
        found, wanted = self._marker(), self.study.identity()
        changed = sorted(key for key in found | wanted if found and found.get(key) != wanted.get(key))
        if changed:
            raise Refused(
                f"{', '.join(changed)}: changed since {self.path} was started, and mixed results can't be compared: "
                f"give the study a new name, or remove the old results with `graftbench clean STUDY --all`"
            )

    def check_owner(self) -> None:
        """
        Raises:
            Refused: the storage path holds something else than this study.
        """
        if self.path.exists() and not self.path.is_dir():
            raise Refused(f"storage: {self.path} is a file; name a folder")
        found = self._marker()
        if not found and self.path.is_dir() and any(self.path.iterdir()):
            raise Refused(f"storage: {self.path} holds other files; name an empty or new folder")
        if found and found["study"] != self.study.study:
            raise Refused(f"storage: {self.path} belongs to the study {found['study']!r}; name another folder")

    def _marker(self) -> dict[str, Any]:
        """Identity of the study that the storage belongs to; empty where there is none yet."""
        path = self.path / "study.json"
        if not path.is_file():
            return {}
        try:
            found = json.loads(path.read_text())
            check_schema(found.pop("schema", 1))
            return {"study": found["study"], **found}
        except NoRecordError as error:
            raise Refused(f"storage: {path}: {error}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Refused(f"storage: {path} can't be read ({error}); name another folder") from error

    def _check_writable(self) -> None:
        existing = next(folder for folder in (self.path.absolute(), *self.path.absolute().parents) if folder.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise Refused(f"storage: can't write {self.path}: {existing} is not a writable folder; name another")

    def open(self) -> None:
        """Create the storage. Call after `check`."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json({"schema": SCHEMA, **self.study.identity()}, self.path / "study.json")
        (self.path / "trials").mkdir(exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """
        Raises:
            Refused: another `graftbench run` of this study is at work.
        """
        with (self.path / "lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise Refused(f"another run of {self.study.study!r} is using {self.path}: wait for it") from error
            yield

    def _in_use(self) -> bool:
        """Whether a run is at work; leaves no trace."""
        if not (self.path / "lock").is_file():
            return False
        try:
            with self.locked():
                return False
        except Refused:
            return True

    def directory(self, key: str) -> Path:
        return self.path / "trials" / key

    def records(self) -> dict[str, Record]:
        """Every record by key. One that was cut short is named, and as if it were not there.

        Raises:
            Refused: a whole record can't be read by this version. Its trial may have ended, so it never runs again by
                itself.
        """
        found, unreadable = {}, []
        for path in sorted(self.path.glob("trials/*/record.json")):
            try:
                found[path.parent.name] = _read_with_trial(path)
            except NewerSchemaError as error:
                raise Refused(str(error)) from error
            except NoRecordError as error:
                unreadable.append(str(error))
            except ValueError as error:
                self._name_torn(path, error)
        if unreadable:
            more = f" (and {len(unreadable) - _EXAMPLES} more)" if len(unreadable) > _EXAMPLES else ""
            raise Refused(
                f"{'; '.join(unreadable[:_EXAMPLES])}{more}: trained already, as far as can be told, so not trained "
                "again; restore the file, or remove its folder to train the trial anew"
            )
        return found

    def _name_torn(self, path: Path, error: ValueError) -> None:
        if path not in self._torn:
            self._torn.add(path)
            log.warning("%s: cut short, so it is read from MLflow, or its trial is trained again", error)

    def adopt(self, record: Record) -> None:
        """Keep a finished record that another machine, or a lost folder, left in MLflow; and its group's conditions."""
        trial = Trial.from_dict(record.trial)
        folder = self.directory(record.trial_key)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(trial.to_dict(), folder / "trial.json")
        records.write(record, folder / "record.json")
        found = Conditions(trial.precision, trial.channels_last, trial.micro_batch)
        self.write_conditions({group_label(trial.cell): found, **self.conditions()})

    def measured(self, key: str) -> dict[str, Any]:
        """What a trial's worker noted of itself before its first epoch: split, costs, device, versions."""
        return conditions_of(self.directory(key))

    def record(self, key: str) -> Record | None:
        """A trial's record, if there is a readable one."""
        try:
            return records.read(self.directory(key) / "record.json")
        except (OSError, ValueError):
            return None

    def states(self) -> Iterator[tuple[Trial, str]]:
        """Every started trial with its status; without a record `running`, or `interrupted` when no run is at work;
        `unreadable` where there is a record that this version can't read."""
        open_status = "running" if self._in_use() else "interrupted"
        for path in sorted(self.path.glob("trials/*/trial.json")):
            try:
                trial = read_trial(path)
            except Refused:
                continue
            try:
                yield trial, records.read(path.with_name("record.json")).status
            except NoRecordError:
                yield trial, "unreadable"
            except (FileNotFoundError, ValueError):
                yield trial, open_status

    def interrupted(self) -> list[Trial]:
        """Trials that were started and left no final record, in order of their seeds."""
        open_trials = [trial for trial, status in self.states() if status not in FINISHED]
        return sorted(open_trials, key=lambda trial: (trial.seed, trial.key))

    def close(self, record: Record) -> None:
        """Keep a record that the driver made, for a trial whose worker could not (stopped by ASHA, or lost)."""
        folder = self.directory(record.trial_key)
        records.write(record, folder / "record.json")
        if record.status == "stopped":
            drop_checkpoints(folder)

    def conditions(self) -> dict[str, Conditions]:
        """Decided conditions by group label."""
        path = self.path / "conditions.json"
        if not path.is_file():
            return {}
        return {group: Conditions(**values) for group, values in json.loads(path.read_text()).items()}

    def write_conditions(self, conditions: dict[str, Conditions]) -> None:
        plain = {group: dataclasses.asdict(values) for group, values in conditions.items()}
        write_json(plain, self.path / "conditions.json")

    def looks(self) -> tuple[Look, ...]:
        """The looks at the results so far, in order.

        Raises:
            Refused: the file can't be read.
        """
        path = self.path / "looks.json"
        if not path.is_file():
            return ()
        try:
            return tuple(Look(**look) for look in json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise Refused(
                f"storage: {path} can't be read ({error}); it counts the looks at the data, so restore it from a copy"
            ) from error

    def write_looks(self, looks: tuple[Look, ...]) -> None:
        write_json([dataclasses.asdict(look) for look in looks], self.path / "looks.json")


def _read_with_trial(path: Path) -> Record:
    record = records.read(path)
    try:
        Trial.from_dict(record.trial)
    except ValueError as error:
        raise NoRecordError(f"{path}: {error}") from error
    return record
