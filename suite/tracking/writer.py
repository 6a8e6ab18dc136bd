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
from collections.abc import Callable, Mapping
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
_FLUSH_SECONDS = 2.0
_RETRY_SECONDS = (0.5, 2.0, 8.0)


@dataclasses.dataclass
class _Run:
    run_id: str
    status: str | None = None  # the record's, once it is written
    steps: set[int] | None = None  # epochs that stand in the run; None: not looked up yet


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
                    self._runs[tags["trial_key"]] = _Run(run.info.run_id, tags.get("status"))
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
        run_id = self._client.create_run(self._experiment, tags=tags, run_name=name).info.run_id
        params = [Param(key, str(value)) for key, value in _params(trial).items()]
        self._client.log_batch(run_id, params=params)
        return _Run(run_id, steps=set())

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

    def _write_epochs(self, run: _Run, epochs: list[Epoch], extra: list[Any] | None = None) -> None:
        """Metrics `epoch/<name>` of the epochs that the run lacks, and `extra` metrics, in as few calls as allowed."""
        if run.steps is None:
            history = self._client.get_metric_history(run.run_id, "epoch/train_seconds")
            run.steps = {int(metric.step) for metric in history}
        fresh = [epoch for epoch in epochs if epoch.epoch not in run.steps]
        stamp = int(time.time() * 1000)
        # `train_seconds` goes last: where it stands, the whole epoch stands.
        names = sorted({name for epoch in fresh for name in epoch.values()}, key=lambda n: (n == "train_seconds", n))
        metrics = [
            Metric(f"epoch/{name}", epoch.values()[name], stamp, epoch.epoch)
            for epoch in fresh
            for name in names
            if name in epoch.values()
        ] + (extra or [])
        for start in range(0, len(metrics), _MAX_BATCH):
            self._client.log_batch(run.run_id, metrics=metrics[start : start + _MAX_BATCH])
        run.steps.update(epoch.epoch for epoch in fresh)

    def _finish(self, record: Record) -> None:
        trial = Trial.from_dict(record.trial)
        run = self._runs.get(record.trial_key) or self._runs.setdefault(record.trial_key, self._create(trial))
        if run.status == record.status:
            return
        self._pending.pop(record.trial_key, None)  # the record's history has them
        row = record.row()
        # One fixed stamp per trial makes a second attempt at the same metrics a repetition, not a new value.
        stamp = int(self._client.get_run(run.run_id).info.start_time)
        numbers = {name: row[name] for name, kind in COLUMNS.items() if kind is not str and row[name] is not None}
        final = [Metric(name, float(value), stamp, 0) for name, value in numbers.items()]
        self._write_epochs(run, list(record.history), final)
        predictions = self._folder / record.trial_key / "predictions.parquet"
        if predictions.is_file():
            self._client.log_artifact(run.run_id, str(predictions))
        self._client.log_text(run.run_id, records.to_json(record), "record.json")
        text = {name: str(row[name])[:5000] for name, kind in COLUMNS.items() if kind is str}
        self._client.log_batch(run.run_id, tags=[RunTag(name, value) for name, value in text.items()])
        self._client.set_terminated(run.run_id, "FAILED" if record.status == "failed" else "FINISHED")
        run.status = record.status

    def _end_cells(self) -> None:
        self._flush()
        for run_id in self._cells.values():
            self._client.set_terminated(run_id, "FINISHED")


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
