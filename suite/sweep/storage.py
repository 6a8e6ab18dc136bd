"""A study's storage on disk: which study it is, what each trial left, and the conditions of each group.

<storage>/study.json            identity of the study, and the schema of its results; another study, or a later schema,
                                is refused
<storage>/looks.json            the looks at its results: seeds per group, and what a topup added
<storage>/plan.json, events.jsonl   what `status` reads first (see `suite.sweep.journal`)
<storage>/conditions.json       precision, memory format and micro-batch per group, decided before its first trial
<storage>/trials/<key>/         one folder per trial (see `suite.core.run_context`)
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suite.core import records
from suite.core.errors import UserError
from suite.core.files import hold_lock, is_locked, remove_unfinished, write_json
from suite.core.records import FINISHED, SCHEMA, NewerSchemaError, NoRecordError, Record, check_schema
from suite.core.specs import Trial
from suite.core.trial_folder import drop_checkpoints, read_trial
from suite.study.config import Study
from suite.study.plan import ExecutionConfig, InterimLook, group_label
from suite.sweep.journal import LOCK

log = logging.getLogger(__name__)

_LOCK_ATTEMPTS, _LOCK_SECONDS = 3, 0.05  # whoever asks whether a run is at work holds the lock for a moment
_EXAMPLES = 3  # files that a refusal names


class StudyStorage:
    """The one source of what is finished; MLflow is written from it."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.path = study.storage_path
        self._torn: set[Path] = set()  # records that were named already
        self._known: dict[Path, tuple[int, Record]] = {}  # by file, with the time that it was written

    def check_study(self) -> None:
        """Refuse another study's storage, results of a later version, and fixed parts that have changed since."""
        self.check_owner()
        path = self.path.absolute()
        existing = next(folder for folder in (path, *path.parents) if folder.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise UserError(f"storage: can't write {self.path}: {existing} is not a writable folder; name another")
        marker, identity = self._read_marker(), self.study.describe_identity()
        changed = sorted(key for key in marker | identity if marker.get(key) != identity.get(key))
        if marker and changed:
            raise UserError(
                f"{', '.join(changed)}: changed since {self.path} was started, and mixed results can't be compared: "
                f"give the study a new name, or remove the old results with `graftbench clean STUDY --all`"
            )

    def check_owner(self) -> None:
        """Refuse a storage path that holds something else than this study."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"storage: {self.path} is a file; name a folder")
        marker = self._read_marker()
        if not marker and self.path.is_dir() and any(self.path.iterdir()):
            raise UserError(f"storage: {self.path} holds other files; name an empty or new folder")
        if marker and marker["study"] != self.study.study:
            raise UserError(f"storage: {self.path} belongs to the study {marker['study']!r}; name another folder")

    def _read_marker(self) -> dict[str, Any]:
        """Identity of the study that the storage belongs to; empty where there is none yet."""
        path = self.path / "study.json"
        if not path.is_file():
            return {}
        try:
            marker = json.loads(path.read_text())
            check_schema(marker.pop("schema", 1))
            return {"study": marker["study"], **marker}
        except NoRecordError as error:
            raise UserError(f"storage: {path}: {error}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"storage: {path} can't be read ({error}); name another folder") from error

    def create(self) -> None:
        """Create the storage. Call after `check_study`."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json({"schema": SCHEMA, **self.study.describe_identity()}, self.path / "study.json")
        (self.path / "trials").mkdir(exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Refused while another `graftbench run` of this study is at work."""
        with contextlib.ExitStack() as stack:
            for attempt in range(_LOCK_ATTEMPTS):
                try:
                    stack.enter_context(hold_lock(self.path / LOCK))
                    break
                except OSError as error:
                    if attempt + 1 == _LOCK_ATTEMPTS:
                        raise self._refuse_second_run() from error
                time.sleep(_LOCK_SECONDS)
            for folder in (self.path, *self.path.glob("trials/*/")):
                remove_unfinished(folder)
            yield

    def check_idle(self) -> None:
        """Refuse while a run of this study is at work."""
        if is_locked(self.path / LOCK):
            raise self._refuse_second_run()

    def _refuse_second_run(self) -> UserError:
        return UserError(f"another run of {self.study.study!r} is using {self.path}: wait for it")

    def trial_directory(self, key: str) -> Path:
        return self.path / "trials" / key

    def read_records(self) -> dict[str, Record]:
        """Every record by key. One that was cut short is named, and as if it were not there.

        Raises:
            UserError: a whole record can't be read by this version. Its trial may have ended, so it never runs again by
                itself.
        """
        by_key, unreadable = {}, []
        for path in sorted(self.path.glob("trials/*/record.json")):
            try:
                by_key[path.parent.name] = self._read_once(path)
            except NewerSchemaError as error:
                raise UserError(str(error)) from error
            except NoRecordError as error:
                unreadable.append(str(error))
            except ValueError as error:
                if path not in self._torn:
                    self._torn.add(path)
                    log.warning("%s: cut short, so it is read from MLflow, or its trial is trained again", error)
        if unreadable:
            examples = "; ".join(unreadable[:_EXAMPLES])
            if len(unreadable) > _EXAMPLES:
                examples += f" (and {len(unreadable) - _EXAMPLES} more)"
            raise UserError(
                f"{examples}: trained already, as far as can be told, so not trained "
                "again; restore the file, or remove its folder to train the trial anew"
            )
        return by_key

    def _read_once(self, path: Path) -> Record:
        """A run looks at every record several times; a file that hasn't changed is read the first time."""
        stamp = path.stat().st_mtime_ns
        known_stamp, record = self._known.get(path, (0, None))
        if record is None or known_stamp != stamp:
            record = _read_with_trial(path)
            self._known[path] = stamp, record
        return record

    def import_record(self, record: Record) -> None:
        """Keep a finished record that another machine, or a lost folder, left in MLflow; and its group's conditions."""
        trial = Trial.from_dict(record.trial)
        folder = self.trial_directory(record.trial_key)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(trial.to_dict(), folder / "trial.json")
        records.write_record(record, folder / "record.json")
        config = ExecutionConfig(trial.precision, trial.channels_last, trial.micro_batch)
        self.write_execution({group_label(trial.cell): config, **self.read_execution()})

    def read_record(self, key: str) -> Record | None:
        """A trial's record, if there is a readable one."""
        try:
            return records.read_record(self.trial_directory(key) / "record.json")
        except (OSError, ValueError):
            return None

    def list_interrupted(self) -> list[Trial]:
        """Trials that were started and have no result, failed ones included, in order of their seeds."""
        open_trials = []
        for path in self.path.glob("trials/*/trial.json"):
            if not self._is_finished(path.with_name("record.json")):
                with contextlib.suppress(UserError):  # torn by a kill: nothing came after it
                    open_trials.append(read_trial(path))
        return sorted(open_trials, key=lambda trial: (trial.seed, trial.key))

    def _is_finished(self, path: Path) -> bool:
        try:
            return self._read_once(path).status in FINISHED
        except (OSError, ValueError):
            return False

    def write_record(self, record: Record) -> None:
        """Keep a record that the driver made, for a trial whose worker could not (stopped by ASHA, or lost)."""
        folder = self.trial_directory(record.trial_key)
        records.write_record(record, folder / "record.json")
        if record.status == "stopped":
            drop_checkpoints(folder)

    def read_execution(self) -> dict[str, ExecutionConfig]:
        """What was decided before, by group label."""
        path = self.path / "conditions.json"
        if not path.is_file():
            return {}
        return {group: ExecutionConfig(**values) for group, values in json.loads(path.read_text()).items()}

    def write_execution(self, executions: dict[str, ExecutionConfig]) -> None:
        plain = {group: dataclasses.asdict(values) for group, values in executions.items()}
        write_json(plain, self.path / "conditions.json")

    def read_looks(self) -> tuple[InterimLook, ...]:
        """The looks at the results so far, in order."""
        path = self.path / "looks.json"
        if not path.is_file():
            return ()
        try:
            return tuple(InterimLook(**look) for look in json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"storage: {path} can't be read ({error}); it counts the looks at the data, so restore it from a copy"
            ) from error

    def write_looks(self, looks: tuple[InterimLook, ...]) -> None:
        write_json([dataclasses.asdict(look) for look in looks], self.path / "looks.json")


def _read_with_trial(path: Path) -> Record:
    record = records.read_record(path)
    try:
        Trial.from_dict(record.trial)
    except ValueError as error:
        raise NoRecordError(f"{path}: {error}") from error
    return record
