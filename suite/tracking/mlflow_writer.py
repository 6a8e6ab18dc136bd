"""What stands in MLflow of a trial, and how it gets there: on the driver, in batches, each call safe to repeat.

A trial has one run, found again by its `trial_key`; steps that stand in it are not written twice. An epoch goes into
one call, which MLflow takes whole or not at all. What a later training replaced, or the plan no longer knows, is hidden
(`suite.tracking.mlflow_runs`). Workers need no MLflow and no credentials.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from suite.core import recipes, records
from suite.core.errors import UserError
from suite.core.records import COLUMNS, TEST_CURVE, Epoch, NoRecordError, Record
from suite.core.specs import Cell, CellId, Trial
from suite.tracking.mlflow_runs import (
    DOUBLE,
    NOT_PLANNED,
    SUPERSEDED_TAG,
    TRAINED_AGAIN,
    Ending,
    KnownRun,
    choose_runs,
    find_cell_id,
    find_unplanned,
    read_cell_id,
    read_run,
)

log = logging.getLogger(__name__)

_MAX_BATCH = 900  # MLflow takes at most 1,000 metrics a call
_MAX_TAG = 5000
_MAX_NAME = 250  # a run's name, in MLflow's tables
_SKIPPED_TAG = "skipped"  # of a cell's run: why the cell has no confirm trials


class MlflowWriter:
    """Writes trials into an experiment. Each call may raise what the store raises, and may then be made again once
    `find_runs` has looked up what arrived.
    """

    def __init__(self, client: MlflowClient, experiment_id: str, trials_folder: Path) -> None:
        self._client = client
        self._experiment = experiment_id
        self._folder = trials_folder
        self._runs: dict[str, KnownRun] = {}
        self._leftovers: list[KnownRun] = []  # runs that are to be hidden
        self._cells: dict[CellId, str] = {}  # each cell's parent run
        self._skips: dict[CellId, str] = {}  # why a cell has no confirm trials, where its run says so
        self.find_runs()

    def read_finished_elsewhere(self, stored: Mapping[str, Record]) -> list[Record]:
        """Final records that MLflow has and the storage does not (another machine's, or a lost folder).

        Raises:
            UserError: one of them can't be read by this version, so that its trial would be trained again.
        """
        missing = []
        for key, run in self._runs.items():
            status = run.ending.status if run.ending else ""
            if status not in {*records.FINISHED, "failed"} or (key in stored and stored[key].is_final):
                continue
            record = self._download_record(run)
            if record is not None and record.is_final:
                missing.append(record)
        return missing

    def find_runs(self) -> None:
        """Look up what the experiment has."""
        found: list[KnownRun] = []
        cells: dict[CellId, str] = {}
        skips: dict[CellId, str] = {}
        for run in self._iterate_runs():
            tags = run.data.tags
            if tags.get("kind") == "cell":
                cells[read_cell_id(tags)] = run.info.run_id
                skips[read_cell_id(tags)] = tags.get(_SKIPPED_TAG, "")
            elif "trial_key" in tags:
                found.append(read_run(run))
        self._runs, self._leftovers = choose_runs(found)
        self._cells, self._skips = cells, skips

    def _iterate_runs(self) -> Iterator[Any]:
        """Those that are not deleted."""
        token = None
        while True:
            page = self._client.search_runs([self._experiment], max_results=5000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _download_record(self, run: KnownRun) -> Record | None:
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
        """Before a trial is trained: on in its run, or in a new one where an end stands in that."""
        run = self._runs.get(trial.key)
        if run is not None and run.ending is not None:
            self._supersede(run, TRAINED_AGAIN)
        self._open_run(trial)

    def _open_run(self, trial: Trial) -> KnownRun:
        run = self._runs.get(trial.key)
        if run is None:
            run = self._runs[trial.key] = self._create_run(trial)
        elif run.ended:
            self._client.update_run(run.run_id, status="RUNNING")
            run.ended = False
        return run

    def _supersede(self, run: KnownRun, reason: str) -> None:
        """Hide a run. Cut off in between, it is a leftover with its tag, or as if nothing had been done."""
        if not run.ended:
            self._client.set_terminated(run.run_id, "KILLED")
        if not run.superseded:
            self._client.set_tag(run.run_id, SUPERSEDED_TAG, reason)
        self._client.delete_run(run.run_id)
        if self._runs.get(run.trial_key) is run:
            del self._runs[run.trial_key]

    def hide_leftovers(self) -> None:
        """Hide the runs that no longer count, which a kill has left, or a second writer made."""
        while self._leftovers:
            self._supersede(self._leftovers[-1], DOUBLE)
            self._leftovers.pop()

    def hide_unplanned(self, plan_records: Mapping[str, Record]) -> None:
        """Hide the runs of trials that the plan no longer knows, and take reasons off cells that are skipped no longer.

        Args:
            plan_records: every record of the plan, skipped trials' included, once nothing is left to train.
        """
        for run in find_unplanned(list(self._runs.values()), plan_records):
            if self._is_of_this_storage(run):
                self._supersede(run, NOT_PLANNED)
        skipped = {find_cell_id(record) for record in plan_records.values() if record.status == "skipped"}
        for cell_id, reason in self._skips.items():
            if reason and cell_id not in skipped:
                self._client.delete_tag(self._cells[cell_id], _SKIPPED_TAG)
                self._skips[cell_id] = ""

    def _is_of_this_storage(self, run: KnownRun) -> bool:
        """Another machine's plan may know what it trained itself; a trial that never ran has no folder anywhere."""
        is_skipped = run.ending is not None and run.ending.status == "skipped"
        return is_skipped or (self._folder / run.trial_key).is_dir()

    def note_skip(self, record: Record) -> None:
        """A trial that never ran has no run: why stands in its cell's."""
        cell = Trial.from_dict(record.trial).cell
        run_id, reason = self._find_parent_run(cell), record.reason[:_MAX_TAG]
        if self._skips.get(cell.cell_id) != reason:
            self._client.set_tag(run_id, _SKIPPED_TAG, reason)
            self._skips[cell.cell_id] = reason

    def _create_run(self, trial: Trial) -> KnownRun:
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
        place = (trial.cell.cell_id, trial.stage, trial.seed)
        return KnownRun(info.run_id, trial.key, *place, started=info.start_time, steps=set())

    def _find_parent_run(self, cell: Cell) -> str:
        cell_id = cell.cell_id
        if cell_id not in self._cells:
            tags = {"kind": "cell", **cell_id._asdict()}
            run = self._client.create_run(self._experiment, tags=tags, run_name=_format_title(cell)[:_MAX_NAME])
            self._cells[cell_id] = run.info.run_id
        return self._cells[cell_id]

    def write_epochs(self, trial: Trial, epochs: Sequence[Epoch]) -> None:
        """Those that stand in the trial's run already are left out."""
        self._write_run(self._open_run(trial), trial, epochs)

    def _write_run(
        self,
        run: KnownRun,
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

    def finish_run(self, record: Record) -> None:
        """Nothing, where MLflow has all of it."""
        run = self._runs.get(record.trial_key)
        if run is not None and run.needs_nothing(record):
            return
        if run is not None and not run.agrees(record):
            self._supersede(run, TRAINED_AGAIN)
        trial = Trial.from_dict(record.trial)
        run = self._open_run(trial)
        predictions = self._folder / record.trial_key / "predictions.parquet"
        if predictions.is_file():
            self._client.log_artifact(run.run_id, str(predictions))
        self._client.log_text(run.run_id, records.to_json(record), "record.json")
        final, tags = [], []
        for name, value in record.to_row().items():
            if COLUMNS[name] is str:
                tags.append(RunTag(name, str(value)[:_MAX_TAG]))
            elif value is not None:
                final.append(Metric(name, float(value), run.started, 0))
        for epoch in record.history:
            final += _make_metrics(epoch, run.started, of_test=True)
        self._write_run(run, trial, record.history, final, tags)
        run.ending = Ending(record.status, record.failures, record.train_seconds)
        status = "FAILED" if record.status == "failed" else "FINISHED"
        self._client.set_terminated(run.run_id, status)
        run.ended = True

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
