"""The MLflow writer: one background thread on the driver, in batches. Workers need no MLflow and no credentials.

A trial has one run, found again by its `trial_key`; steps that stand in it are not written twice. What MLflow does
not take is not lost: the ledger has it, and the next `graftbench run` writes it.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from suite import records
from suite.plan import Plan
from suite.records import COLUMNS, Epoch, Record
from suite.specs import Cell, Trial, settings_label
from suite.training import recipes

log = logging.getLogger(__name__)

_MAX_BATCH = 900  # MLflow takes at most 1,000 metrics a call
_MAX_TAG = 5000
_FLUSH_SECONDS = 2.0
_RETRY_SECONDS = (0.5, 2.0, 8.0)


@dataclasses.dataclass
class _Run:
    run_id: str
    start_time: int  # milliseconds
    status: str | None = None  # the record's, once it is written
    steps: set[int] | None = None  # epochs that stand in the run; None: not looked up yet
    params: list[Param] = dataclasses.field(default_factory=list)  # go with the first metrics: one call less


class MlflowWriter:
    """An audience of the conductor. Calls return at once; `close` waits until everything is written."""

    def __init__(self, client: MlflowClient, experiment_id: str, plan: Plan, trials_folder: Path) -> None:
        self._client = client
        self._experiment = experiment_id
        self._plan = plan
        self._folder = trials_folder
        self._runs: dict[str, _Run] = {}
        self._cells: dict[str, str] = {}  # cell label -> id of its parent run
        self._pending: dict[str, list[Epoch]] = {}
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._written = time.monotonic()
        self.trouble: str | None = None
        self._find_runs()
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._thread.start()

    # -- audience

    def started(self, trial: Trial) -> None:
        self._jobs.put(lambda: self._start(trial))

    def epoch(self, trial: Trial, epoch: Epoch) -> None:
        self._jobs.put(lambda: self._pending.setdefault(trial.key, []).append(epoch))

    def finished(self, record: Record) -> None:
        self._jobs.put(lambda: self._finish(record))

    def catch_up(self, known: Mapping[str, Record]) -> None:
        """Write the records of an earlier run that MLflow does not have yet."""
        for key, record in known.items():
            run = self._runs.get(key)
            if run is None or run.status != record.status:
                self.finished(record)

    def finished_elsewhere(self, known: Mapping[str, Record]) -> list[Record]:
        """Finished records that MLflow has and the ledger does not (another machine's, or a lost folder)."""
        missing = [run for key, run in self._runs.items() if run.status in records.FINISHED and key not in known]
        return [record for run in missing if (record := self._download(run)) is not None]

    def close(self) -> None:
        """Write what is left, end the cells' runs, stop the thread."""
        self._jobs.put(self._end_cells)
        self._jobs.put(None)
        self._thread.join()

    # -- the thread

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=_FLUSH_SECONDS)
            except queue.Empty:
                self._attempt(self._flush)
                continue
            if job is None:
                return
            self._attempt(job)
            if time.monotonic() - self._written > _FLUSH_SECONDS:
                self._attempt(self._flush)

    def _attempt(self, job: Callable[[], None]) -> None:
        if self.trouble:
            return None
        for pause in (*_RETRY_SECONDS, None):
            try:
                return job()
            except Exception as error:  # noqa: BLE001  (a tracking failure must not end a sweep)
                if pause is None:
                    self.trouble = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                    log.warning("MLflow stopped taking records: %s", self.trouble)
                else:
                    time.sleep(pause)
        return None

    def _find_runs(self) -> None:
        token = None
        while True:
            page = self._client.search_runs([self._experiment], max_results=5000, page_token=token)
            for run in page:
                tags = run.data.tags
                if tags.get("kind") == "cell":
                    self._cells[_cell_name(tags)] = run.info.run_id
                elif "trial_key" in tags:
                    self._runs[tags["trial_key"]] = _Run(run.info.run_id, run.info.start_time, tags.get("status"))
            token = page.token
            if not token:
                return

    def _download(self, run: _Run) -> Record | None:
        try:
            return records.read(Path(self._client.download_artifacts(run.run_id, "record.json")))
        except (OSError, ValueError):
            return None

    # -- jobs

    def _start(self, trial: Trial) -> None:
        run = self._runs.get(trial.key)
        if run is None:
            self._runs[trial.key] = self._create(trial)
        elif run.status is not None:  # failed before, running again
            self._client.delete_tag(run.run_id, "status")
            self._client.update_run(run.run_id, status="RUNNING")
            run.status = None

    def _create(self, trial: Trial) -> _Run:
        identity = {name: str(value) for name, value in records.identity(trial).items() if name in COLUMNS}
        text = {name: value for name, value in identity.items() if COLUMNS[name] is str}
        tags = {
            **text,
            "kind": "trial",
            "seed": str(trial.seed),
            "mlflow.parentRunId": self._parent(trial.cell),
            "mlflow.source.name": "graftbench",
        }
        name = f"{trial.stage} {trial.seed}: {trial.cell.label}"
        info = self._client.create_run(self._experiment, tags=tags, run_name=name).info
        params = [Param(key, str(value)) for key, value in _params(trial).items()]
        return _Run(info.run_id, info.start_time, steps=set(), params=params)

    def _parent(self, cell: Cell) -> str:
        tags = {
            "kind": "cell",
            "dataset": cell.dataset.label,
            "backbone": cell.backbone.label,
            "variant": cell.variant.name,
            "settings": settings_label(cell.variant.settings),
        }
        name = _cell_name(tags)
        if name not in self._cells:
            run = self._client.create_run(self._experiment, tags=tags, run_name=cell.label)
            self._cells[name] = run.info.run_id
        return self._cells[name]

    def _flush(self) -> None:
        for key in list(self._pending):
            self._write_epochs(self._runs[key], self._pending[key])
            del self._pending[key]
        self._written = time.monotonic()

    def _write_epochs(
        self, run: _Run, epochs: Sequence[Epoch], extra: Sequence[Metric] = (), tags: Sequence[RunTag] = ()
    ) -> None:
        """Metrics `epoch/<name>` of the epochs that the run lacks, and the rest, in as few calls as possible."""
        if run.steps is None:
            history = self._client.get_metric_history(run.run_id, "epoch/train_seconds")
            run.steps = {int(metric.step) for metric in history}
        fresh = [epoch for epoch in epochs if epoch.epoch not in run.steps]
        metrics = [*_metrics(fresh), *extra]
        for start in range(0, max(len(metrics), 1), _MAX_BATCH):
            last = start + _MAX_BATCH >= len(metrics)
            batch = metrics[start : start + _MAX_BATCH]
            self._client.log_batch(run.run_id, batch, params=run.params, tags=tags if last else ())
            run.params = []
        run.steps.update(epoch.epoch for epoch in fresh)

    def _finish(self, record: Record) -> None:
        run = self._runs.get(record.trial_key)
        if run is None:
            run = self._runs[record.trial_key] = self._create(Trial.from_dict(record.trial))
        if run.status == record.status:
            return
        self._pending.pop(record.trial_key, None)  # the record's history has them
        predictions = self._folder / record.trial_key / "predictions.parquet"
        if predictions.is_file():
            self._client.log_artifact(run.run_id, str(predictions))
        self._client.log_text(run.run_id, records.to_json(record), "record.json")
        row = record.row()
        numbers = {name: row[name] for name, kind in COLUMNS.items() if kind is not str and row[name] is not None}
        # The run's own start as the stamp makes a second attempt at the same metrics a repetition, not a new value.
        final = [Metric(name, float(value), run.start_time, 0) for name, value in numbers.items()]
        tags = [RunTag(name, str(row[name])[:_MAX_TAG]) for name, kind in COLUMNS.items() if kind is str]
        self._write_epochs(run, record.history, final, tags)
        self._client.set_terminated(run.run_id, "FAILED" if record.status == "failed" else "FINISHED")
        run.status = record.status

    def _end_cells(self) -> None:
        self._flush()
        for run_id in self._cells.values():
            self._client.set_terminated(run_id, "FINISHED")


def _metrics(epochs: Sequence[Epoch]) -> Iterator[Metric]:
    """`train_seconds` goes last: where it stands in a run, the whole epoch stands."""
    stamp = int(time.time() * 1000)
    names = {name for epoch in epochs for name in epoch.values()}
    for name in sorted(names, key=lambda name: (name == "train_seconds", name)):
        for epoch in epochs:
            if name in epoch.values():
                yield Metric(f"epoch/{name}", epoch.values()[name], stamp, epoch.epoch)


def _cell_name(tags: Mapping[str, str]) -> str:
    return " / ".join(tags.get(part, "") for part in ("dataset", "backbone", "variant", "settings"))


def _params(trial: Trial) -> dict[str, Any]:
    """What a person filters by in the MLflow UI: the resolved recipe and every setting that is not a default."""
    recipe = dataclasses.asdict(recipes.resolve(trial.recipe, trial.hyperparameters))
    params = {f"recipe.{name}": value for name, value in recipe.items()}
    for role in ("dataset", "backbone", "variant"):
        params |= {f"{role}.{name}": value for name, value in getattr(trial.cell, role).settings}
    params |= {name: value for name, value in trial.hyperparameters if "." in name}
    return {**params, "epochs": trial.epochs, "split_seed": trial.split_seed, "stage": trial.stage}
