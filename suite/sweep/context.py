"""Where the trials of a study run: paths and devices, nothing that defines a trial."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from suite.core.specs import Trial
from suite.training.trial_data import Wanted
from suite.trial import RunContext


@dataclass(frozen=True)
class SweepContext:
    """What all context of a study's trials share; picklable, so that workers can make their own.

    Attributes:
        data: the data directory.
        trials: the folder of trial folders.
        threads: of each trial.
        residency, device_memory: of images, as `Place` has them.
    """

    data: Path
    trials: Path
    device: str
    threads: int
    keep: Literal["best", "none"]
    residency: Wanted = "auto"
    device_memory: float = 0.25

    def run_context(self, trial: Trial) -> RunContext:
        return RunContext(
            self.data,
            self.trials / trial.key,
            device=self.device,
            threads=self.threads,
            keep=self.keep,
            residency=self.residency,
            device_memory=self.device_memory,
        )
