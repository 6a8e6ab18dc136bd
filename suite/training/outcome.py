"""From a trial's history to its record: the best epoch and the figures that count. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from suite.core import records
from suite.core.errors import UserError
from suite.core.recipes import Selection, resolve_recipe
from suite.core.records import Epoch, Record, Status
from suite.core.specs import Trial

_LOWER_IS_BETTER: dict[Selection, Callable[[Epoch], float]] = {
    "validation_error": lambda epoch: epoch.validation_top1_error,
    "validation_top5": lambda epoch: epoch.validation_top5_error,
    "validation_loss": lambda epoch: epoch.validation_loss,
    "train_error": lambda epoch: epoch.train_top1_error,
    "last": lambda epoch: -epoch.epoch,
}


def best_epoch(history: Sequence[Epoch], selection: Selection) -> Epoch:
    """The epoch with the lowest figure; ties go to the earliest. `history` holds at least one epoch."""
    figure = _LOWER_IS_BETTER[selection]
    return min(history, key=lambda epoch: (figure(epoch), epoch.epoch))


def partial_record(
    trial: Trial, status: Status, reason: str = "", history: Sequence[Epoch] = (), **measured: Any
) -> Record:
    """A record from the trial and its history alone, for a trial that ended from outside or never began.

    Args:
        measured: further fields of the record, by whoever knows them.
    """
    fields: dict[str, Any] = {
        **records.describe_trial(trial),
        "status": status,
        "reason": reason,
        "epochs_run": len(history),
        "history": tuple(history),
        **_describe_history(trial, history),
    }
    return Record(**{**fields, **measured})


def _describe_history(trial: Trial, history: Sequence[Epoch]) -> dict[str, Any]:
    try:
        recipe = resolve_recipe(trial.recipe, trial.hyperparameters)
    except UserError:  # the record of a trial that was refused says so in its reason
        return {}
    if not history:
        return {"batch": recipe.batch}
    best = best_epoch(history, recipe.selection)
    seconds = sum(epoch.train_seconds for epoch in history)
    return {
        "batch": recipe.batch,
        "best_epoch": best.epoch,
        "train_top1_error": best.train_top1_error,
        "validation_loss": best.validation_loss,
        "validation_top1_error": best.validation_top1_error,
        "validation_top5_error": best.validation_top5_error,
        "train_seconds": seconds,
        "seconds_per_epoch": seconds / len(history),
    }
