"""The confirm networks of a cell as one ensemble: their mean softmax on the test images.

An ensemble is one network more, not a sample of them: its interval is over test images, and no verdict rests on it.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import special

from analysis.records.model import METRICS, CellResults
from suite.core.records import Record

PROBABILITIES = "probabilities"
_LABEL = "label"
_MOST_CLASSES = 5  # top-5 is top-k of k = min(5, classes), as in records


@dataclass(frozen=True, kw_only=True)
class EnsembleError:
    """A share of wrong test images, with the interval of that many independent images.

    Attributes:
        single: mean of the single networks' errors.
        error: the ensemble's.
        low, high: the exact binomial interval of `error` (Clopper and Pearson 1934).
    """

    single: float
    error: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """One ensemble of `networks` confirm networks, on `images` test images; `errors` by column of the metric."""

    networks: int
    images: int
    errors: dict[str, EnsembleError]


def form_ensemble(folder: Path, cell: CellResults, alpha: float) -> Ensemble | str:
    """The ensemble of all confirm seeds of a cell; a sentence where there can't be one, empty where nothing is kept.

    Args:
        folder: of collected records.
        alpha: the intervals are of level 1 - alpha.
    """
    completed = [trial for trial in cell.confirm if trial.status == "completed"]
    kept = [trial for trial in completed if _has_probabilities(_path_of(folder, trial))]
    if len(kept) < 2 or cell.doubtful:
        return ""
    if {trial.seed for trial in kept} != set(cell.expected):
        return f"no ensemble: {len(kept)} of {len(cell.expected)} networks left the probabilities of their classes"
    tables = [_path_of(folder, trial) for trial in kept]
    try:
        labels, mean = _average_networks(tables)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        return f"no ensemble: {error}"
    ranks = rank_labels(labels, mean)
    errors = {}
    for name, column in METRICS.items():
        classes = 1 if name == "top1" else min(_MOST_CLASSES, mean.shape[1])
        wrong = float(1 - ranks[:, :classes].sum(1).mean())
        singles = [getattr(trial, column) for trial in kept]
        if None not in singles:
            low, high = bound_share(wrong, len(labels), alpha)
            errors[column] = EnsembleError(single=statistics.fmean(singles), error=wrong, low=low, high=high)
    return Ensemble(networks=len(kept), images=len(labels), errors=errors)


def _path_of(folder: Path, trial: Record) -> Path:
    return folder / "predictions" / f"{trial.trial_key}.parquet"


def _has_probabilities(path: Path) -> bool:
    """Older trials, and those of many classes and images, have predictions alone."""
    try:
        return PROBABILITIES in pq.read_schema(path).names
    except (pa.ArrowException, OSError):
        return False


def _average_networks(paths: Sequence[Path]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Labels (n,) and mean softmax (n, classes).

    Raises:
        ValueError: the networks were not tested on the same images.
    """
    labels, total = _read_softmax(paths[0])
    for path in paths[1:]:
        others, softmax = _read_softmax(path)
        if not np.array_equal(labels, others) or softmax.shape != total.shape:
            raise ValueError("its networks were not tested on the same images")
        total += softmax
    return labels, total / np.float32(len(paths))


def _read_softmax(path: Path) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    table: Any = pq.read_table(path, columns=[_LABEL, PROBABILITIES])
    labels = table[_LABEL].to_numpy().astype(np.int64)
    values = table[PROBABILITIES].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return labels, values.reshape(len(labels), -1).astype(np.float32)


def rank_labels(labels: NDArray[np.int64], softmax: NDArray[np.float32]) -> NDArray[np.float64]:
    """How much of each image's label stands at each of the first ranks (n, 5 at most): 1 at one of them, or shares.

    Equal probabilities share their ranks: float16 takes what is below 3e-8 for 0, which has no order.
    """
    own = np.take_along_axis(softmax, labels[:, None], 1)
    above, tied = (softmax > own).sum(1)[:, None], (softmax == own).sum(1)[:, None]
    ranks = np.arange(min(_MOST_CLASSES, softmax.shape[1]))
    shares: NDArray[np.float64] = ((above <= ranks) & (ranks < above + tied)) / tied
    return shares


def bound_share(share: float, count: int, alpha: float) -> tuple[float, float]:
    """The exact interval of a share of `count` independent images; between whole numbers by the same formula."""
    found = share * count
    low = float(special.betaincinv(found, count - found + 1, alpha / 2)) if found > 0 else 0.0
    high = float(special.betaincinv(found + 1, count - found, 1 - alpha / 2)) if found < count else 1.0
    return low, high
