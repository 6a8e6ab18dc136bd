"""The sweep in this process, one trial at a time: the same plan and the same records, without Ray."""

from __future__ import annotations

from suite.core.records import Record
from suite.sweep.context import Places
from suite.sweep.scheduler import Conductor
from suite.sweep.storage import Ledger
from suite.trial import trial_events

STOPPED_BY_ASHA = "stopped by ASHA"


def run_local(conductor: Conductor, ledger: Ledger, places: Places) -> None:
    """Run every trial that the conductor hands out."""
    while not isinstance(trial := conductor.next(), str):
        for event in trial_events(trial, places.of(trial)):
            if isinstance(event, Record):
                conductor.finish(event)
            elif not conductor.epoch(trial.key, event):
                ledger.close(conductor.end(trial.key, "stopped", STOPPED_BY_ASHA, **ledger.measured(trial.key)))
                break
