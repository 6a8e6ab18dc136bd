"""The searches, live, in the Optuna storage that a study names: a queue, and one thread that writes.

Nothing waits for it and nothing depends on it. A storage that is away is tried again while the run goes on; what never
arrives is written by the next `graftbench run`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from suite.core.errors import UserError
from suite.core.records import Epoch, Record
from suite.core.redaction import redact_text, redact_uri
from suite.core.specs import Cell, Trial
from suite.study.config import Study
from suite.tracking.addresses import Owner, check_database, check_sqlite, sqlite_path
from suite.tracking.mlflow_store import tracking_uri

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from suite.study.plan import Plan
    from suite.tracking.optuna_writer import OptunaWriter

log = logging.getLogger(__name__)

_OWNER = Owner("search.storage", "Optuna", "studies")
_MLFLOWS = "experiments"  # a table of its databases; both keep versions in a table of one name
_CONNECT_SECONDS = 5
_PAUSES = (0.5, 2.0, 8.0)  # between attempts; the last one again and again
_LAST_ATTEMPTS = 3  # at the end of a run
_SILENCE = 30.0  # seconds without an answer after which a run's end waits no longer


class SearchMirror(Protocol):
    """What the sweep tells."""

    def on_start(self, trial: Trial) -> None: ...

    def on_epoch(self, trial: Trial, epoch: Epoch) -> None: ...

    def on_finish(self, record: Record) -> None: ...

    def settle(self, plan_records: Mapping[str, Record], *, is_whole: bool) -> None:
        """Make the storage say what these records say.

        Args:
            plan_records: those of the plan that there are, by key.
            is_whole: they are all, for nothing is left to train.
        """

    def __enter__(self) -> SearchMirror: ...

    def __exit__(self, *_: Any) -> None: ...


def check_mirror(study: Study) -> None:
    """Refuse a `search.storage` that can't be used; writes nothing."""
    uri = study.search.storage
    if uri is None:
        return
    scheme = uri.partition(":")[0].partition("+")[0]
    if uri.startswith("sqlite:///") and sqlite_path(uri).name not in ("", ":memory:"):
        if sqlite_path(tracking_uri(study)).absolute() == sqlite_path(uri).absolute():
            raise UserError(f"{_OWNER.key}: {sqlite_path(uri)} is MLflow's; name a file of its own")
        check_sqlite(_OWNER, sqlite_path(uri))
    elif scheme in {"postgresql", "mysql"}:
        check_database(_OWNER, uri, taken=_MLFLOWS)
    else:
        raise UserError(
            f"{_OWNER.key}: {redact_uri(uri)!r} is no Optuna storage: use sqlite:///PATH, postgresql://... or mysql://..."
        )


def open_mirror(plan: Plan, *, at_once: bool = False) -> SearchMirror:
    """The mirror in the storage that the study names; without one, a mirror that shows nothing.

    Args:
        at_once: open the storage here, so that nothing runs beside the first trial.
    """
    if plan.study.search.storage is None:
        return _NoMirror()
    return OptunaMirror(plan, plan.study.search.storage, at_once=at_once)


def forget_mirror(study: Study) -> int:
    """Delete the study's searches from the storage that it names; how many there were.

    Raises:
        UserError: the storage can't be used now.
    """
    uri = study.search.storage
    if uri is None or (uri.startswith("sqlite:") and not sqlite_path(uri).is_file()):
        return 0
    from suite.tracking.optuna_writer import delete_studies

    try:
        return delete_studies(_open_storage(uri), study.study)
    except Exception as error:
        reason = _describe_failure(error)
        raise UserError(
            f"{_OWNER.key}: can't delete the study's searches at {redact_uri(uri)} ({reason}); run the command again"
        ) from error


def _open_storage(uri: str) -> BaseStorage:
    """An Optuna storage, made where it is missing, that notices soon when nobody answers."""
    from optuna.storages import RDBStorage

    if uri.startswith("sqlite:"):
        sqlite_path(uri).absolute().parent.mkdir(parents=True, exist_ok=True)
        return RDBStorage(uri, {"connect_args": {"timeout": _CONNECT_SECONDS}})
    return RDBStorage(uri, {"connect_args": {"connect_timeout": _CONNECT_SECONDS}, "pool_pre_ping": True})


class _NoMirror:
    """Of a study that names no storage."""

    def on_start(self, trial: Trial) -> None:
        """Nothing, as in the others."""

    def on_epoch(self, trial: Trial, epoch: Epoch) -> None: ...

    def on_finish(self, record: Record) -> None: ...

    def settle(self, plan_records: Mapping[str, Record], *, is_whole: bool) -> None: ...

    def __enter__(self) -> _NoMirror:
        return self

    def __exit__(self, *_: Any) -> None: ...


Job = Callable[["OptunaWriter"], None]


class OptunaMirror:
    """A listener of the scheduler. Calls return at once; leaving the context waits until everything is written."""

    def __init__(self, plan: Plan, uri: str, *, at_once: bool = False) -> None:
        self._plan, self._uri = plan, uri
        self._writer: OptunaWriter | None = None
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        self._answered = time.monotonic()
        self._away = False  # the storage; epochs are not queued then, since records have them
        self._closing = threading.Event()
        self._is_cut_off = False
        self._has_warned = False
        self._reason = ""  # of the last failure
        self._last_attempts = 0  # that failed since the run's end
        if at_once:
            self._attempt_job(lambda writer: None)
        self._thread = threading.Thread(target=self._work_through_jobs, name="optuna-mirror", daemon=True)
        self._thread.start()

    def __enter__(self) -> OptunaMirror:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._is_cut_off = kind is not None  # Ctrl-C waits for nothing: a later run writes what is missing
        self._jobs.put(None)
        self._closing.set()
        began = time.monotonic()
        while self._thread.is_alive():
            self._thread.join(1.0)
            if time.monotonic() > max(began, self._answered) + _SILENCE:
                self._warn("it does not answer")
                return

    # -- what the scheduler tells

    def on_start(self, trial: Trial) -> None:
        if trial.stage == "search":
            self._jobs.put(lambda writer: writer.start_trial(trial))

    def on_epoch(self, trial: Trial, epoch: Epoch) -> None:
        if trial.stage == "search" and not self._away:
            self._jobs.put(lambda writer: writer.write_epoch(trial, epoch))

    def on_finish(self, record: Record) -> None:
        if record.stage == "search":
            self._jobs.put(lambda writer: writer.finish_trial(record))

    def settle(self, plan_records: Mapping[str, Record], *, is_whole: bool) -> None:
        """As `SearchMirror.settle`; a job for each cell, so that no job takes long."""
        by_cell: dict[Cell, dict[str, Record]] = defaultdict(dict)
        for key, record in plan_records.items():
            if record.stage == "search":
                by_cell[Trial.from_dict(record.trial).cell][key] = record
        for planned in self._plan.runnable:
            self._settle_cell(planned.cell, by_cell[planned.cell], is_whole)

    def _settle_cell(self, cell: Cell, finals: Mapping[str, Record], is_whole: bool) -> None:
        self._jobs.put(lambda writer: writer.settle_cell(cell, finals, is_whole=is_whole))

    # -- the thread

    def _work_through_jobs(self) -> None:
        while (job := self._jobs.get()) is not None and not self._is_cut_off:
            attempts = 0
            while not self._attempt_job(job):
                attempts += 1
                if not self._may_try_again(attempts):
                    return
            self._away = False

    def _attempt_job(self, job: Job) -> bool:
        """Whether the job is done with: it succeeded, or no later attempt would."""
        try:
            if self._writer is None:
                self._writer = self._open_writer()
            job(self._writer)
        except UserError as refusal:
            self._warn(str(refusal))
        except Exception as error:  # noqa: BLE001  (a mirror's failure must not end a sweep)
            self._writer = None  # a call that failed may have been heard all the same: everything is looked up again
            self._reason = _describe_failure(error)
            if _is_away(_find_cause(error)):
                return False
            self._warn(self._reason)
        self._answered = time.monotonic()
        return True

    def _open_writer(self) -> OptunaWriter:
        from suite.tracking.optuna_writer import OptunaWriter

        return OptunaWriter(self._plan, _open_storage(self._uri))

    def _may_try_again(self, attempts: int) -> bool:
        """After a pause; False at the end of a run, where the storage stays away."""
        if attempts >= len(_PAUSES):
            self._away = True
            self._warn(self._reason)
        pause = _PAUSES[min(attempts, len(_PAUSES)) - 1]
        if not self._closing.wait(pause):
            return True
        if self._is_cut_off:
            return False
        self._last_attempts += 1
        if self._last_attempts > _LAST_ATTEMPTS:
            self._warn(self._reason)
            return False
        time.sleep(min(pause, 1.0))
        return True

    def _warn(self, reason: str) -> None:
        """Once a run."""
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "%s: %s lacks some of the searches (%s); nothing is lost, and a later run writes them",
                _OWNER.key,
                redact_uri(self._uri),
                reason,
            )


def _find_cause(error: Exception) -> BaseException:
    """What the database's driver said, where Optuna only says that something was raised."""
    from optuna.exceptions import StorageInternalError

    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        return error.__cause__
    return error


def _describe_failure(error: Exception) -> str:
    cause = _find_cause(error)
    return f"{type(cause).__name__}: {redact_text((str(cause).splitlines() or [''])[0])}"


def _is_away(error: BaseException) -> bool:
    """Whether the storage failed (away, locked, full), and not what was to be written."""
    from sqlalchemy.exc import InterfaceError, OperationalError
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError

    return isinstance(error, (OperationalError, InterfaceError, PoolTimeoutError, OSError))
