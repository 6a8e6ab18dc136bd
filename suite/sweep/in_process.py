"""The sweep in this process, one trial at a time: the same plan and the same records, without Ray."""

from __future__ import annotations

from suite.core.records import Record
from suite.sweep.context import SweepContext
from suite.sweep.scheduler import TrialScheduler
from suite.sweep.storage import StudyStorage
from suite.trial import trial_events

STOPPED_BY_ASHA = "stopped by ASHA"


def run_local(conductor: TrialScheduler, ledger: StudyStorage, places: SweepContext) -> None:
    """Run every trial that the conductor hands out."""
    while not isinstance(trial := conductor.next_trial(), str):
        for event in trial_events(trial, places.run_context(trial)):
            if isinstance(event, Record):
                conductor.finish_trial(event)
            elif not conductor.on_epoch(trial.key, event):
                ledger.write_record(
                    conductor.finish_early(trial.key, "stopped", STOPPED_BY_ASHA, **ledger.read_measurements(trial.key))
                )
                break
