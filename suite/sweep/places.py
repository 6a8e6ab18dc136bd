"""Where the trials of a study run: paths and devices, nothing that defines a trial."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from suite.specs import Trial
from suite.trial import Place


@dataclass(frozen=True)
class Places:
    """What all places of a study's trials share; picklable, so that workers can make their own.

    Attributes:
        data: the data directory.
        trials: the folder of trial folders.
        threads: of each trial.
    """

    data: Path
    trials: Path
    device: str
    threads: int
    keep: Literal["best", "none"]

    def of(self, trial: Trial) -> Place:
        directory = self.trials / trial.key
        return Place(self.data, directory, device=self.device, threads=self.threads, keep=self.keep)
