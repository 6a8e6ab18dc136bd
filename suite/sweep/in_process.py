"""The sweep in this process, one trial at a time: the same plan and the same records, without Ray."""

from __future__ import annotations

from suite.core.records import Record
from suite.sweep.context import SweepContext
from suite.sweep.scheduler import TrialScheduler
from suite.sweep.storage import StudyStorage
from suite.trial import trial_events

STOPPED_BY_ASHA = "stopped by ASHA"


def run_local(scheduler: TrialScheduler, storage: StudyStorage, context: SweepContext) -> None:
    """Run every trial that the scheduler hands out."""
    while not isinstance(trial := scheduler.next_trial(), str):
        for event in trial_events(trial, context.run_context(trial)):
            if isinstance(event, Record):
                scheduler.finish_trial(event)
            elif not scheduler.on_epoch(trial.key, event):
                storage.write_record(
                    scheduler.finish_early(
                        trial.key, "stopped", STOPPED_BY_ASHA, **storage.read_measurements(trial.key)
                    )
                )
                break
