"""The long table of epochs, arranged once so that each trial's history is found without a search."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.records.mlflow_runs import LARGEST


def read_measured(value: float | None) -> float | None:
    """The value, or None where it is no number that anything could have measured."""
    return value if value is not None and abs(value) <= LARGEST else None


class Histories:
    """Per-epoch figures by trial and metric. A value that is no finite number is NaN here."""

    def __init__(self, epochs: pd.DataFrame) -> None:
        keys, names = pd.factorize(epochs["trial_key"])
        metrics, self._metrics = pd.factorize(epochs["metric"])
        numbers = pd.to_numeric(epochs["epoch"], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        values = pd.to_numeric(epochs["value"], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        usable = np.isfinite(numbers) & (keys >= 0) & (metrics >= 0)
        order = np.flatnonzero(usable)[np.argsort(keys[usable], kind="stable")]
        self._epoch = numbers[order]
        self._metric = metrics[order]
        self._value = np.where(np.abs(values[order]) <= LARGEST, values[order], np.nan)
        bounds = np.searchsorted(keys[order], np.arange(len(names) + 1))
        self._rows = {str(name): slice(bounds[at], bounds[at + 1]) for at, name in enumerate(names)}
        self._codes = {str(name): code for code, name in enumerate(self._metrics)}

    def list_metrics(self, keys: Iterable[str]) -> list[str]:
        """What any of these trials logged, sorted."""
        codes = {int(code) for key in keys if key in self._rows for code in np.unique(self._metric[self._rows[key]])}
        return sorted(str(self._metrics[code]) for code in codes)

    def read_curve(self, key: str, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Epochs, ascending, and the metric's value at each; both empty when the trial logged none."""
        code = self._codes.get(metric)
        if code is None or key not in self._rows:
            return np.empty(0), np.empty(0)
        rows = self._rows[key]
        own = self._metric[rows] == code
        epochs, where = np.unique(self._epoch[rows][own][::-1], return_index=True)  # the last of duplicates counts
        return epochs, self._value[rows][own][::-1][where]
