"""What stands in MLflow of a trial, and how it gets there: on the driver, in batches, each call safe to repeat.

A trial has one run, found again by its `trial_key`; steps that stand in it are not written twice. An epoch goes into
one call, which MLflow takes whole or not at all. Workers need no MLflow and no credentials.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from suite.core import recipes, records
from suite.core.errors import UserError
from suite.core.records import COLUMNS, TEST_CURVE, Epoch, NoRecordError, Record
from suite.core.specs import Cell, CellId, Trial

log = logging.getLogger(__name__)

_MAX_BATCH = 900  # MLflow takes at most 1,000 metrics a call
_MAX_TAG = 5000
_MAX_NAME = 250  # a run's name, in MLflow's tables


@dataclasses.dataclass
class _Run:
    """What is known of a trial's run."""

    run_id: str
    # Of the final metrics, in milliseconds: when the run began or, run again, ended last. So a second attempt at the
    # same metrics is a repetition, and what a later training found replaces what an earlier one did.
    stamp: int
    status: str | None = None  # the record's, once it is written
    ended: bool = False  # whether MLflow too knows that the run is over
    has_params: bool = False  # they go with the first metrics, which saves a call
    steps: set[int] | None = None  # epochs that stand in the run; None: not looked up yet


class MlflowWriter:
    """Writes trials into an experiment. Each call may raise what the store raises, and may then be made again once
    `find_runs` has looked up what arrived.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, trials_folder: Path) -> None:
        self._client = client
        self._experiment = experiment_id
        self._folder = trials_folder
        self._runs: dict[str, _Run] = {}
        self._cells: dict[CellId, str] = {}  # each cell's parent run
        self.find_runs()

    def read_finished_elsewhere(self, stored: Mapping[str, Record]) -> list[Record]:
        """Final records that MLflow has and the storage does not (another machine's, or a lost folder).

        Raises:
            UserError: one of them can't be read by this version, so that its trial would be trained again.
        """
        missing = []
        for key, run in self._runs.items():
            if run.status not in {*records.FINISHED, "failed"} or (key in stored and stored[key].is_final):
                continue
            record = self._download_record(run)
            if record is not None and record.is_final:
                missing.append(record)
        return missing

    def find_runs(self) -> None:
        token = None
        while True:
            page = self._client.search_runs([self._experiment], max_results=5000, page_token=token)
            for run in page:
                tags, info = run.data.tags, run.info
                if tags.get("kind") == "cell":
                    self._cells[_read_cell_id(tags)] = info.run_id
                elif "trial_key" in tags:
                    ended, stamp = info.status != "RUNNING", info.end_time or info.start_time
                    params = bool(run.data.params)
                    self._runs[tags["trial_key"]] = _Run(info.run_id, stamp, tags.get("status"), ended, params)
            token = page.token
            if not token:
                return

    def _download_record(self, run: _Run) -> Record | None:
        try:
            return records.read_record(Path(self._client.download_artifacts(run.run_id, "record.json")))
        except NoRecordError as error:
            raise UserError(
                f"tracking: MLflow's run {run.run_id} is of a finished trial whose record can't be read ({error}); it "
                "is not trained again before that run is deleted"
            ) from error
        except (OSError, ValueError, MlflowException) as error:
            log.warning("MLflow lost the record of its run %s, whose trial is trained again: %s", run.run_id, error)
            return None

    def start_run(self, trial: Trial) -> None:
        run = self._runs.get(trial.key)
        if run is None:
            self._runs[trial.key] = self._create_run(trial)
        elif run.ended or run.status is not None:  # failed before, running again
            if run.status is not None:
                self._client.delete_tag(run.run_id, "status")
                run.status = None
            self._client.update_run(run.run_id, status="RUNNING")
            run.ended = False

    def _create_run(self, trial: Trial) -> _Run:
        identity = records.describe_trial(trial)
        tags = {
            **{name: str(value) for name, value in identity.items() if COLUMNS.get(name) is str},
            "kind": "trial",
            "seed": str(trial.seed),
            "mlflow.parentRunId": self._find_parent_run(trial.cell),
            "mlflow.source.name": "graftbench",
        }
        name = f"{trial.stage} {trial.seed}: {_format_title(trial.cell)}"[:_MAX_NAME]
        info = self._client.create_run(self._experiment, tags=tags, run_name=name).info
        return _Run(info.run_id, info.start_time, steps=set())

    def _find_parent_run(self, cell: Cell) -> str:
        cell_id = cell.cell_id
        if cell_id not in self._cells:
            tags = {"kind": "cell", **cell_id._asdict()}
            run = self._client.create_run(self._experiment, tags=tags, run_name=_format_title(cell)[:_MAX_NAME])
            self._cells[cell_id] = run.info.run_id
        return self._cells[cell_id]

    def write_epochs(self, trial: Trial, epochs: Sequence[Epoch]) -> None:
        """Those that stand in the trial's run already are left out."""
        self._write_run(self._runs[trial.key], trial, epochs)

    def _write_run(
        self,
        run: _Run,
        trial: Trial,
        epochs: Sequence[Epoch],
        final: Sequence[Metric] = (),
        tags: Sequence[RunTag] = (),
    ) -> None:
        """The epochs that the run lacks, as metrics `epoch/<name>`, and the rest, in as few calls as possible."""
        if run.steps is None:
            history = self._client.get_metric_history(run.run_id, "epoch/train_seconds")
            run.steps = {int(metric.step) for metric in history}
        fresh = [epoch for epoch in epochs if epoch.epoch not in run.steps]
        now = int(time.time() * 1000)
        groups = [_make_metrics(epoch, now, of_test=False) for epoch in fresh]
        *first, last = _make_batches([*groups, final])
        params: list[Param] = []
        if not run.has_params:
            params = [Param(name, str(value)) for name, value in _make_params(trial).items()]
        for batch in first:
            self._client.log_batch(run.run_id, batch, params=params)
            params = []
        self._client.log_batch(run.run_id, last, params=params, tags=tags)
        run.has_params = True
        run.steps.update(epoch.epoch for epoch in fresh)

    def _is_written(self, record: Record, run: _Run | None) -> bool:
        """Whether MLflow needs nothing more: it has this record, or a finished one where this one is not."""
        if run is None or not run.ended:
            return False
        return run.status == record.status or (run.status in records.FINISHED and record.status not in records.FINISHED)

    def finish_run(self, record: Record) -> None:
        """Nothing, where MLflow has all of it."""
        if self._is_written(record, self._runs.get(record.trial_key)):
            return
        trial = Trial.from_dict(record.trial)
        if record.trial_key not in self._runs or self._runs[record.trial_key].ended:
            self.start_run(trial)
        run = self._runs[record.trial_key]
        predictions = self._folder / record.trial_key / "predictions.parquet"
        if predictions.is_file():
            self._client.log_artifact(run.run_id, str(predictions))
        self._client.log_text(run.run_id, records.to_json(record), "record.json")
        final, tags = [], []
        for name, value in record.to_row().items():
            if COLUMNS[name] is str:
                tags.append(RunTag(name, str(value)[:_MAX_TAG]))
            elif value is not None:
                final.append(Metric(name, float(value), run.stamp, 0))
        for epoch in record.history:
            final += _make_metrics(epoch, run.stamp, of_test=True)
        self._write_run(run, trial, record.history, final, tags)
        end = int(time.time() * 1000)
        status = "FAILED" if record.status == "failed" else "FINISHED"
        self._client.set_terminated(run.run_id, status, end_time=end)
        run.stamp, run.status, run.ended = end, record.status, True

    def end_cells(self) -> None:
        for run_id in self._cells.values():
            self._client.set_terminated(run_id, "FINISHED")


def _make_metrics(epoch: Epoch, stamp: int, *, of_test: bool) -> list[Metric]:
    """Those of the test part, which are known when the trial has ended, or the others."""
    values = epoch.list_values().items()
    return [
        Metric(f"epoch/{name}", value, stamp, epoch.epoch)
        for name, value in values
        if name.startswith(TEST_CURVE) == of_test
    ]


def _make_batches(groups: Iterable[Sequence[Metric]]) -> list[list[Metric]]:
    """The groups in as few calls as MLflow allows, none torn apart; at least one, which may be empty."""
    batches: list[list[Metric]] = [[]]
    for group in groups:
        if len(batches[-1]) + len(group) > _MAX_BATCH:
            batches.append([])
        batches[-1].extend(group)
    return batches


def _format_title(cell: Cell) -> str:
    """A run's name: what differs most goes first, since the UI cuts names."""
    return f"{cell.variant.label} on {cell.backbone.label}, {cell.dataset.label}"


def _read_cell_id(tags: Mapping[str, str]) -> CellId:
    return CellId(*(tags.get(name, "") for name in CellId._fields))


def _make_params(trial: Trial) -> dict[str, Any]:
    """What a person filters by in the MLflow UI: the resolved recipe and every setting that is not a default."""
    try:
        recipe = dataclasses.asdict(recipes.resolve_recipe(trial.recipe, trial.hyperparameters))
    except UserError:  # the trial failed for that very reason; its run says so
        recipe = {}
    params: dict[str, Any] = {f"recipe.{name}": value for name, value in recipe.items()}
    cell = trial.cell
    for role, component in (("dataset", cell.dataset), ("backbone", cell.backbone), ("variant", cell.variant)):
        params |= {f"{role}.{name}": value for name, value in component.settings}
    params |= {name: value for name, value in trial.hyperparameters if "." in name}
    return {**params, "epochs": trial.epochs, "split_seed": trial.split_seed, "stage": trial.stage}
