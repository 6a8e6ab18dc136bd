"""What the scheduler tells, on its way to MLflow: a queue, and one thread that writes.

A store that goes away is waited for: trials go on, and once it answers the thread writes what was told meanwhile. The
storage has every record, so what never arrives is written by the next `graftbench run`.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.core.errors import UserError
from suite.core.records import Epoch, Record
from suite.core.redaction import redact_text
from suite.core.specs import Trial
from suite.tracking.mlflow_store import is_new_store, open_experiment

if TYPE_CHECKING:
    from suite.study.plan import Plan
    from suite.tracking.mlflow_writer import MlflowWriter

log = logging.getLogger(__name__)

PATIENCE = 60.0  # seconds that a run's end waits for a store that is away

_LAST_ATTEMPT = 30.0  # seconds that a call may take once the patience is over
_FLUSH_SECONDS = 2.0
_PAUSES = (0.5, 2.0, 8.0)  # between attempts; the last one again and again


class MlflowListener:
    """A listener of the scheduler. Calls return at once; `close` waits until everything is written.

    Attributes:
        trouble: why some records are not in MLflow; None where all are.
    """

    def __init__(self, plan: Plan, uri: str, trials_folder: Path, *, at_once: bool = False) -> None:
        """Opens the store, or lets the thread do so where there is none yet: MLflow's import and its tables take
        seconds, in which trials can start.

        Args:
            at_once: open a new store here too, so that nothing runs beside the first trial.

        Raises:
            UserError: the store holds another study of that name.
        """
        self.trouble: str | None = None
        self._pending: dict[str, tuple[Trial, list[Epoch]]] = {}
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._written = self._answered = time.monotonic()
        self._away = False  # the store; epochs are not queued then, since records have them
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._is_new = is_new_store(uri)

        def open_store() -> None:
            from suite.tracking.mlflow_writer import MlflowWriter

            client, experiment = open_experiment(plan, uri)
            self._writer: MlflowWriter = MlflowWriter(client, experiment, trials_folder)

        if self._is_new and not at_once:
            self._jobs.put(open_store)
        else:
            open_store()
            self._jobs.put(lambda: self._writer.hide_leftovers())
        self._thread = threading.Thread(target=self._work_through_jobs, name="mlflow-listener", daemon=True)
        self._thread.start()

    def __enter__(self) -> MlflowListener:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self.close(PATIENCE if kind is None else 0.0)

    # -- what the scheduler tells

    def on_start(self, trial: Trial) -> None:
        self._jobs.put(lambda: self._writer.start_run(trial))

    def on_epoch(self, trial: Trial, epoch: Epoch) -> None:
        if not self._away:
            self._jobs.put(lambda: self._hear_epoch(trial, epoch))

    def on_finish(self, record: Record) -> None:
        self._jobs.put(lambda: self._finish_run(record))

    def catch_up(self, stored: Mapping[str, Record]) -> None:
        """Write the records of an earlier run that MLflow does not have yet."""
        for record in stored.values():
            self.on_finish(record)

    def settle(self, plan_records: Mapping[str, Record]) -> None:
        """Hide what the plan no longer knows; to be told of every record of the plan, once nothing is left to train."""
        known = dict(plan_records)
        self._jobs.put(lambda: self._writer.hide_unplanned(known))

    def read_finished_elsewhere(self, stored: Mapping[str, Record]) -> list[Record]:
        """As `MlflowWriter.read_finished_elsewhere`; before anything is told."""
        return [] if self._is_new else self._writer.read_finished_elsewhere(stored)

    def close(self, patience: float) -> None:
        """Write what is left, end the cells' runs, stop the thread; a store that is away is waited for so long."""
        self._jobs.put(self._end_cells)
        self._jobs.put(None)
        self._deadline = time.monotonic() + patience
        self._closing.set()
        while self._thread.is_alive():
            self._thread.join(1.0)
            if time.monotonic() > max(self._deadline, self._answered) + _LAST_ATTEMPT:  # a call that never returns
                self.trouble = "MLflow does not answer"
                return

    # -- the thread

    def _work_through_jobs(self) -> None:
        while True:
            job: Callable[[], None] | None = self._flush_epochs
            with contextlib.suppress(queue.Empty):
                job = self._jobs.get(timeout=_FLUSH_SECONDS)
            if job is None:
                return
            self._attempt_job(job)
            if time.monotonic() - self._written > _FLUSH_SECONDS:
                self._attempt_job(self._flush_epochs)

    def _attempt_job(self, job: Callable[[], None]) -> None:
        """Until it is done: a store that is away comes back."""
        began = time.localtime()
        for attempt in itertools.count():
            if self.trouble:
                return
            try:
                if attempt and hasattr(self, "_writer"):  # a call that failed may have been heard all the same
                    self._writer.find_runs()
                job()
                self._answered = time.monotonic()
                self._note_return()
                return
            except UserError as refusal:
                self.trouble = str(refusal)
            except Exception as error:  # noqa: BLE001  (a tracking failure must not end a sweep)
                self._judge_failure(error, attempt, began)
                if not _is_of_store(error):
                    return

    def _judge_failure(self, error: Exception, attempt: int, began: time.struct_time) -> None:
        """Wait before the next attempt, or note why there is none."""
        reason = f"{type(error).__name__}: {redact_text((str(error).splitlines() or [''])[0])}"
        if not hasattr(self, "_writer") and not _is_of_store(error):  # it could not even be opened
            self.trouble = reason
            return
        if not _is_of_store(error):  # this record's own fault: the others go on
            log.warning("one record is not in MLflow: %s", reason)
            return
        is_hopeless = attempt >= len(_PAUSES) and not _is_away(error)
        if is_hopeless or time.monotonic() >= self._deadline:
            self.trouble = reason
            log.warning("MLflow stopped taking records: %s", reason)
            return
        if attempt >= len(_PAUSES) and not self._away:
            self._away = True
            since = time.strftime("%H:%M:%S", began)
            log.warning("MLflow has taken no records since %s (%s); they are written once it answers", since, reason)
        pause = _PAUSES[min(attempt, len(_PAUSES) - 1)]
        if self._closing.wait(pause):
            time.sleep(min(pause, 1.0))

    def _note_return(self) -> None:
        if self._away:
            self._away = False
            log.warning("MLflow takes records again; what it missed is being written")

    # -- jobs

    def _hear_epoch(self, trial: Trial, epoch: Epoch) -> None:
        _, epochs = self._pending.setdefault(trial.key, (trial, []))
        epochs.append(epoch)

    def _flush_epochs(self) -> None:
        for key, (trial, epochs) in list(self._pending.items()):
            self._writer.write_epochs(trial, epochs)
            del self._pending[key]
        self._written = time.monotonic()

    def _finish_run(self, record: Record) -> None:
        self._pending.pop(record.trial_key, None)  # the record's history has them
        if record.status == "skipped":
            self._writer.note_skip(record)
        else:
            self._writer.finish_run(record)

    def _end_cells(self) -> None:
        self._flush_epochs()
        self._writer.hide_leftovers()
        self._writer.end_cells()


def _is_of_store(error: Exception) -> bool:
    """Whether the store failed, and not what was to be written."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if isinstance(error, FileNotFoundError):
        return False
    return isinstance(error, (MlflowException, SQLAlchemyError, OSError))  # requests' errors are OSErrors


def _is_away(error: Exception) -> bool:
    """Whether the same call may be taken later: no answer, or the server's own trouble."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
        return bool(status >= 500 or status == 429)
    return True
