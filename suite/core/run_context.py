"""Where a trial runs. Standard library only: whoever hands trials out needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class RunContext:
    """Nothing here defines the trial or enters its key.

    Attributes:
        data: the data directory.
        directory: the trial's own folder (trial.json, last.pt, best.pt, predictions.parquet, record.json);
            None keeps nothing on disk.
        device: auto, cpu, cuda or cuda:N.
        threads: CPU threads; None: torch's choice.
        keep: the weights that stay once the trial is finished.
        residency: where images live, auto or one of `suite.training.feeds.RESIDENCIES`.
        device_memory: the share of a GPU's memory that images may take under auto.
        probabilities: whether a confirm trial keeps every class's probability of every test image.
    """

    data: Path
    directory: Path | None = None
    device: str = "auto"
    threads: int | None = None
    keep: Literal["best", "none"] = "best"
    residency: Literal["auto", "device", "host", "stream"] = "auto"
    device_memory: float = 0.25
    probabilities: Literal["auto", "all", "none"] = "auto"
