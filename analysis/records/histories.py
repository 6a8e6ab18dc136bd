"""The long table of epochs, arranged once so that each trial's history is found without a search."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.records.mlflow_runs import LARGEST


def read_measured(value: float | None) -> float | None:
    """The value, or None where it is no number that anything could have measured."""
    if value is None or not abs(value) <= LARGEST:
        return None
    return value


class Histories:
    """Per-epoch figures by trial and metric. A value that is no finite number is NaN here."""

    def __init__(self, epochs: pd.DataFrame) -> None:
        table = epochs[["trial_key", "metric"]].copy()
        for name in ("epoch", "value"):
            table[name] = pd.to_numeric(epochs[name], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        table["value"] = table["value"].where(table["value"].abs() <= LARGEST)
        table = table[np.isfinite(table["epoch"])]
        self._epochs, self._values = table["epoch"].to_numpy(), table["value"].to_numpy()
        self._rows = table.groupby(["trial_key", "metric"], observed=True).indices
        self._metrics: dict[str, list[str]] = {}
        for key, metric in self._rows:
            self._metrics.setdefault(key, []).append(metric)

    def list_metrics(self, keys: Iterable[str]) -> list[str]:
        """What any of these trials logged, sorted."""
        metrics: set[str] = set()
        for key in keys:
            metrics.update(self._metrics.get(key, ()))
        return sorted(metrics)

    def read_curve(self, key: str, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Epochs, ascending, and the metric's value at each; both empty when the trial logged none."""
        rows = self._rows.get((key, metric), [])[::-1]
        epochs, last = np.unique(self._epochs[rows], return_index=True)  # the last of duplicates counts
        return epochs, self._values[rows][last]
