"""One trial from its name to its record.

`python -m suite.trial TRIAL.json` runs one anywhere: no Ray, no MLflow.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from suite import __version__
from suite.core import provenance, recipes, records
from suite.core.errors import UserError
from suite.core.records import FINISHED, TEST_CURVE, Epoch, Record, Status
from suite.core.run_context import RunContext
from suite.core.specs import Streams, Trial
from suite.core.trial_folder import (
    claim_directory,
    count_failures,
    drop_checkpoints,
    drop_epoch_note,
    note_epoch,
    note_test_read,
    note_test_report,
    read_finished_record,
    read_measurements,
    read_trial,
    write_measurements,
)
from suite.data.dataset import Dataset
from suite.models.assembly import assemble_network, cell_costs, describe_network, input_shape
from suite.training import predictions
from suite.training.augment import Augmentation
from suite.training.checkpoint import Checkpoints
from suite.training.data import Examples, count_trained_images
from suite.training.execution import Execution, device_name, resolve_device
from suite.training.feeds import RESIDENCIES
from suite.training.loop import (
    Diverged,
    Evaluation,
    build_optimizer,
    evaluate_model,
    evaluate_ten_crops,
    train_epoch,
)
from suite.training.memory import PeakMemory
from suite.training.outcome import best_epoch, partial_record
from suite.training.trial_data import decide_residency, load_test, training_data

_log = logging.getLogger(__name__)


class TrialRun:
    """A trial under way: `step` until `done`, then `finish`.

    Raises:
        UserError: a part of the trial can't be served, or `context.directory` belongs to another trial.
    """

    def __init__(self, trial: Trial, context: RunContext) -> None:
        self.trial = trial
        self._context = context
        claim_directory(trial, context.directory)
        self._recipe = recipes.resolve_recipe(trial.recipe, trial.hyperparameters)
        self._augmentation = Augmentation.of(self._recipe)
        device = resolve_device(context.device)
        self._execution = Execution(device, trial.precision, trial.channels_last, trial.micro_batch, context.threads)
        self._execution.set_up_process()
        self._memory = PeakMemory(device)
        self._streams = Streams(trial.stage, trial.seed)
        cell, chosen = trial.cell, trial.hyperparameters
        self._dataset = Dataset(cell.dataset, context.data)
        shape, classes = input_shape(self._dataset.info, self._recipe), self._dataset.info.classes
        self._residency = decide_residency(self._dataset, context.residency, device, context.device_memory)
        self._data, self._described = training_data(trial, self._dataset, self._recipe, self._residency, device)
        structural = tuple((name, value) for name, value in chosen if "." in name)  # a learning rate costs nothing
        self._costs = cell_costs(cell, shape, classes, structural)
        _check_revision(trial, describe_network(cell, shape, classes)[1])
        graft = assemble_network(
            cell,
            shape,
            classes,
            streams=self._streams,
            hyperparameters=chosen,
            black=self._data.scaling.black,
        )
        self._graft = graft._replace(model=self._execution.place_model(graft.model))
        self._optimizer = build_optimizer(self._recipe, self._graft.model, device)
        # A search trial's weights are for people to look at; a confirm trial needs its best ones for the test.
        keeps_best = trial.stage == "confirm" or (context.keep == "best" and context.directory is not None)
        self._draws_curve = self._recipe.test_curve and trial.stage == "confirm"
        self._checkpoints = Checkpoints(
            context.directory, trial.key, device, keeps_best=keeps_best, keeps_all=self._draws_curve
        )
        self.history: tuple[Epoch, ...] = self._checkpoints.restore_training(
            self._graft.model, self._optimizer, self._find_best
        )
        self.resumed_epochs = len(self.history)
        if context.directory is not None:  # for whoever stops the trial from outside
            write_measurements(self._describe_start(), context.directory)

    @property
    def done(self) -> bool:
        return len(self.history) >= self.trial.epochs

    def run_epoch(self) -> Epoch:
        """Trains and validates one epoch, and checkpoints.

        Raises:
            Diverged: a loss is not finite; the epoch leaves no trace.
        """
        number = len(self.history) + 1
        rate = recipes.compute_learning_rate(self._recipe, number, self.trial.epochs)
        trained = train_epoch(
            self._graft,
            self._optimizer,
            self._data,
            self._execution,
            self._augmentation,
            batch=self._recipe.batch,
            streams=self._streams,
            epoch=number,
            learning_rate=rate,
        )
        validated = self._evaluate_examples(self._data.validation)
        epoch = Epoch(
            epoch=number,
            learning_rate=rate,
            train_loss=trained.loss,
            train_top1_error=trained.top1_error,
            validation_loss=validated.loss,
            validation_top1_error=validated.top1_error,
            validation_top5_error=validated.top5_error,
            train_seconds=trained.seconds,
            scalars=trained.scalars,
        )
        self.history = (*self.history, epoch)
        is_best = self._find_best(self.history) is epoch
        self._checkpoints.save_epoch(self._graft.model, self._optimizer, self.history, is_best=is_best)
        if self._context.directory is not None:
            note_epoch(self.history, self._context.directory)
        return epoch

    def finish(self, status: Status = "completed", reason: str = "") -> Record:
        """The record, written too. A completed confirm trial reads the test part now, once, from its best epoch.

        With the recipe's `test_curve` it then reads it once more for every epoch, into the record's history alone.
        """
        measured, history = self._describe_start() | self._measure_performance(), self.history
        if status == "completed" and self.trial.stage == "confirm":
            measured |= self._read_test()
            if self._draws_curve:
                history, measured["test_curve_reads"] = self._test_curve()
        record = partial_record(self.trial, status, reason, history, **measured)
        if self._context.directory is not None:
            records.write_record(record, self._context.directory / "record.json")
            if record.test_reads:
                with contextlib.suppress(OSError):  # the record is written, whatever the disk says now
                    note_test_report(self._context.directory)
            drop_epoch_note(self._context.directory)
        if status in FINISHED:
            self._checkpoints.remove_weights(self._context.keep)
        return record

    def _find_best(self, history: Sequence[Epoch]) -> Epoch:
        return best_epoch(history, self._recipe.selection)

    def _evaluate_examples(self, examples: Examples, keep_probabilities: bool = False) -> Evaluation:
        seed = self._streams.seed_of("evaluation")
        how = (self._data.scaling, self._execution, self._augmentation)
        return evaluate_model(
            self._graft.model,
            examples,
            *how,
            batch=self._recipe.batch,
            seed=seed,
            keep_probabilities=keep_probabilities,
        )

    def _read_test(self) -> dict[str, Any]:
        reads = note_test_read(self._context.directory)
        test, described = load_test(self.trial, self._dataset, self._residency, self._execution.device)
        self._graft.model.load_state_dict(self._checkpoints.best_weights())
        classes = self._dataset.info.classes
        kept = predictions.keeps_probabilities(self._context.probabilities, len(test), classes)
        result = self._evaluate_examples(test, keep_probabilities=kept and self._context.directory is not None)
        if self._context.directory is not None:
            predictions.write_predictions(self._context.directory / "predictions.parquet", test.labels.cpu(), result)
        return {
            **described,
            **self._test_crops(test),
            "test_loss": result.loss,
            "test_top1_error": result.top1_error,
            "test_top5_error": result.top5_error,
            "majority_error": 1 - int(test.labels.bincount().max()) / len(test),
            "test_reads": reads.reported,
            "test_attempts": reads.begun,
            "test_examples": len(test),
        }

    def _test_crops(self, test: Examples) -> dict[str, float]:
        """Figures of the recipe's `test_crops`, of the same read and weights as those of the centre."""
        if self._recipe.test_crops == 1:
            return {}
        found = evaluate_ten_crops(
            self._graft.model,
            test,
            self._data.scaling,
            self._execution,
            self._recipe.random_resized_crop,
            batch=self._recipe.batch,
            seed=self._streams.seed_of("evaluation"),
        )
        return {"multi_crop_top1_error": found.top1_error, "multi_crop_top5_error": found.top5_error}

    def _test_curve(self) -> tuple[tuple[Epoch, ...], int]:
        """The history with each epoch's test figures among its scalars, and how often the test part was read."""
        test, _ = load_test(self.trial, self._dataset, self._residency, self._execution.device)
        drawn: list[Epoch] = []
        reads = 0
        for epoch in self.history:
            reads = max(reads + 1, note_test_read(self._context.directory, "test_curve_reads").begun)
            self._graft.model.load_state_dict(self._checkpoints.epoch_weights(epoch.epoch))
            drawn.append(dataclasses.replace(epoch, scalars={**epoch.scalars, **self._curve_figures(test)}))
        return tuple(drawn), reads

    def _curve_figures(self, test: Examples) -> dict[str, float]:
        try:
            found = self._evaluate_examples(test)
        except Diverged:  # a point that is missing, not a trial that failed: validation was finite
            return {}
        figures = {"loss": found.loss, "top1_error": found.top1_error, "top5_error": found.top5_error}
        return {f"{TEST_CURVE}{name}": value for name, value in figures.items()}

    def _describe_start(self) -> dict[str, Any]:
        """What is known before the first epoch."""
        return {
            **dataclasses.asdict(self._costs),
            **self._described,
            "threads": torch.get_num_threads(),
            "device_kind": self._execution.device.type,
            "device": device_name(self._execution.device),
            **_describe_origin(),
        }

    def _measure_performance(self) -> dict[str, Any]:
        trained = count_trained_images(len(self._data.train), self._recipe.batch) * len(self.history)
        seconds = sum(epoch.train_seconds for epoch in self.history)
        rate = trained / seconds if seconds > 0 else None
        return {"images_per_second": rate, "peak_memory_mib": self._memory.read_mib()}


def _check_revision(trial: Trial, revision: str) -> None:
    """A trial that was defined when its network meant something else would have results under a wrong key."""
    if trial.revision != revision:
        raise UserError(
            f"{trial.cell.label}: the trial was defined for revision {trial.revision or 'none'} of its network, and "
            f"this Graftbench builds {revision or 'none'}; run the study again, which defines its trials anew"
        )


def trial_events(trial: Trial, context: RunContext) -> Iterator[Epoch | Record]:
    """A trial as it happens: each epoch, restored ones included, then the record. A finished one is not trained again.

    Whoever stops listening stops the trial: it can be taken up again from its folder.

    Raises:
        UserError: the directory belongs to another trial. Every other end, errors included, is a record.
    """
    claim_directory(trial, context.directory)
    known = read_finished_record(trial, context.directory)
    if known is not None:
        yield from known.history
        yield known
        return
    run: TrialRun | None = None
    try:
        run = TrialRun(trial, context)
        yield from run.history
        while not run.done:
            yield run.run_epoch()
        yield run.finish()
    except Diverged as divergence:
        assert run is not None
        yield run.finish("diverged", str(divergence))
    except Exception as error:  # noqa: BLE001 - whatever it was, the sweep goes on and the record says it
        _log.debug("trial %s failed", trial.key, exc_info=error)
        yield _write_failed(trial, context.directory, f"{type(error).__name__}: {error}", run.history if run else ())


def run_trial(trial: Trial, report: Callable[[Epoch], bool] | None = None, *, context: RunContext) -> Record:
    """Runs a trial to its record, from where an earlier run left it. A finished one is not trained again.

    Args:
        report: hears of each epoch, restored ones included; False stops the trial. A finished trial can't be stopped
            any more: its record is returned unheard, and a False after the last epoch changes nothing.

    Raises:
        UserError: the directory belongs to another trial. Every other end, errors included, is a record.
    """
    history: list[Epoch] = []
    known = read_finished_record(trial, context.directory)
    for event in trial_events(trial, context) if known is None else (known,):
        if isinstance(event, Record):
            return event
        history.append(event)
        if report is not None and not report(event) and event.epoch < trial.epochs:
            return close_early(trial, context.directory, f"stopped after epoch {event.epoch}", history)
    raise AssertionError("a trial ends with its record")


def close_early(trial: Trial, directory: Path | None, reason: str, history: Sequence[Epoch]) -> Record:
    """The record of a trial stopped from outside, written too; its checkpoints have served."""
    measured = read_measurements(directory) if directory else _describe_origin()
    record = partial_record(trial, "stopped", reason, history, **measured)
    if directory is not None:
        records.write_record(record, directory / "record.json")
        drop_checkpoints(directory)
    return record


def _write_failed(trial: Trial, directory: Path | None, reason: str, history: tuple[Epoch, ...]) -> Record:
    failures = count_failures(directory) + 1
    record = partial_record(trial, "failed", reason, history, failures=failures, **_describe_origin())
    if directory is not None:
        records.write_record(record, directory / "record.json")
    return record


def _describe_origin() -> dict[str, str]:
    commit, dirty = provenance.find_commit()
    return {
        "host": provenance.find_host(),
        "versions": provenance.list_versions(),
        "graftbench_version": __version__,
        "git_commit": commit,
        "dirty": dirty,
    }


# -- command line


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 failed, 2 refused, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m suite.trial", description="Run one trial.")
    parser.add_argument("trial", type=Path, help="JSON file of a trial, as trial.json in a trial's folder")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GRAFTBENCH_DATA", "data")))
    parser.add_argument("--directory", type=Path, help="the trial's folder; default: keep nothing")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--residency", choices=("auto", *RESIDENCIES), default="auto", help="where images live")
    given = parser.parse_args(arguments)
    context = RunContext(given.data, given.directory, given.device, given.threads, residency=given.residency)
    try:
        record = run_trial(read_trial(given.trial), _print_epoch, context=context)
    except UserError as refusal:
        sys.stderr.write(f"{refusal}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    for name, value in record.to_row().items():
        if value not in (None, ""):
            sys.stdout.write(f"{name}: {value}\n")
    if record.status == "failed":
        return 2 if record.reason.startswith(UserError.__name__) else 1
    return 0


def _print_epoch(epoch: Epoch) -> bool:
    figures = ", ".join(f"{name} {value:.4g}" for name, value in epoch.list_values().items())
    sys.stdout.write(f"epoch {epoch.epoch}: {figures}\n")
    sys.stdout.flush()
    return True


if __name__ == "__main__":
    sys.exit(main())
