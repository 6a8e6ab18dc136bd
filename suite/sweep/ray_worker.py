"""A worker on Ray: one process that trains many trials, one after another."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray._private.utils import estimate_available_memory, get_system_memory

from suite.core.records import Epoch, Record
from suite.core.run_context import RunContext
from suite.core.specs import Trial
from suite.core.trial_folder import take_memory_note
from suite.training.memory_guard import MachineMemory, MemoryGuard

RAY_LIMIT = "RAY_memory_usage_threshold"  # Ray's own: the share of memory in use at which it ends a worker
_ENOUGH = 8 * 2**30  # bytes left; of a large machine five per cent are more than any trial grows by in a moment
_BEFORE_RAY = 0.03  # so much earlier the one that grew ends itself


@dataclass(frozen=True)
class Assignment:
    """What a worker is handed. Tune copies what it is given, deeply and often; this is one and the same."""

    trial: Trial
    context: RunContext

    def __deepcopy__(self, memo: dict[int, Any]) -> Assignment:
        return self


class TrialActor(tune.Trainable):  # type: ignore[misc]
    """One Tune step is one epoch."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        least = 1 - float(os.environ.get(RAY_LIMIT, 0.95)) + _BEFORE_RAY
        enough = math.inf if RAY_LIMIT in os.environ else _ENOUGH
        self._guard = MemoryGuard(b"ray::TrialActor", least, read_machine_memory, enough)
        self._guard.start()
        super().__init__(*arguments, **options)

    def setup(self, config: Mapping[str, Any]) -> None:
        from suite.trial import trial_events  # torch: the driver, which imports this file, needs none

        assignment: Assignment = config["assignment"]
        folder = assignment.context.directory
        if folder is not None:
            take_memory_note(folder)  # of an attempt that no driver heard of
        self._guard.watch_trial(folder)
        self._events: Iterator[Epoch | Record] = trial_events(assignment.trial, assignment.context)

    def step(self) -> dict[str, Any]:
        event = next(self._events)
        if isinstance(event, Record):
            self._guard.watch_trial(None)
            return {"done": True}  # the record itself lies in the trial's folder
        return {"epoch": event}

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        self._events = iter(())


def read_machine_memory() -> MachineMemory:
    """As Ray's own monitor counts it: of the container where there is one."""
    return MachineMemory(get_system_memory(), estimate_available_memory())
