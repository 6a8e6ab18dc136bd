"""The sweep in this process, one trial at a time: the same plan and the same records, without Ray."""

from __future__ import annotations

from dataclasses import replace

from suite.core.records import Record, Status
from suite.core.run_context import RunContext
from suite.core.trial_folder import read_measurements
from suite.sweep.scheduler import TrialScheduler
from suite.sweep.storage import StudyStorage

STOPPED_BY_ASHA = "stopped by ASHA"


def run_local(scheduler: TrialScheduler, storage: StudyStorage, context: RunContext) -> None:
    """Run every trial that the scheduler hands out; `context` is each one's but for its folder."""
    from suite.trial import trial_events  # torch: seconds, which a driver of Ray does without

    while not isinstance(trial := scheduler.next_trial(), str):
        place = replace(context, directory=storage.trial_directory(trial.key).absolute())
        for event in trial_events(trial, place):
            if isinstance(event, Record):
                scheduler.finish_trial(event)
            elif not scheduler.on_epoch(trial.key, event):
                end_early(scheduler, storage, trial.key, "stopped", STOPPED_BY_ASHA)
                break


def end_early(
    scheduler: TrialScheduler, storage: StudyStorage, key: str, status: Status, reason: str, failures: int = 0
) -> None:
    """Keep the record of a trial that was ended from outside, with what its worker had measured until then.

    Args:
        failures: how often it failed by its own fault; a worker that was lost is nobody's.
    """
    measured = read_measurements(storage.trial_directory(key))
    record = scheduler.make_early_record(key, status, reason, failures=failures, **measured)
    storage.write_record(record)
    scheduler.finish_trial(record)
