"""A printed confusion matrix and ours: which classes the networks take for which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.formatting import format_plural
from analysis.published.comparison import find_counterpart
from analysis.published.tables import PublishedTable, list_tables, load_table
from analysis.records.model import CellResults
from analysis.verdicts.cell_rows import build_cell_rows, row_cell
from analysis.verdicts.results import StudyResults

Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """A row per true class, a column per answer.

    Attributes:
        printed: images.
        ours: images, the sum over the confirm networks divided by their number; None: not run, or no answers left.
        networks: how many confirm networks those are.
        cell: ours; empty: not run.
        recalls: of each network, each class's share of right answers (networks x classes).
        runs: MLflow runs behind ours.
        gap: why ours is absent, or of fewer networks than planned; a sentence, empty where it is whole.
    """

    table: PublishedTable
    printed: Matrix
    ours: Matrix | None = None
    networks: int = 0
    cell: str = ""
    recalls: Matrix | None = None
    runs: tuple[str, ...] = ()
    gap: str = ""

    @property
    def recall_differences(self) -> Matrix | None:
        """Of each class, our recall minus the printed one."""
        if self.ours is None:
            return None
        difference: Matrix = normalise_rows(self.ours).diagonal() - normalise_rows(self.printed).diagonal()
        return difference

    @property
    def difference(self) -> float | None:
        """The mean of their absolute values, a fraction."""
        differences = self.recall_differences
        return None if differences is None else float(np.abs(differences).mean())

    @property
    def scatter(self) -> float | None:
        """The same between two networks of ours, mean over all pairs: what chance alone makes of it."""
        if self.recalls is None or len(self.recalls) < 2:
            return None
        return float(np.mean([np.abs(one - other).mean() for one, other in combinations(self.recalls, 2)]))


def normalise_rows(matrix: Matrix) -> Matrix:
    """Shares of each true class's images; every class has some."""
    shares: Matrix = matrix / matrix.sum(1, keepdims=True)
    return shares


def find_confusions(findings: StudyResults) -> Iterator[Confusion]:
    """Of every printed matrix that the study names (`reproduces`)."""
    known = set(list_tables())
    for name in findings.records.study.reproduces:
        if name in known and load_table(name).kind == "confusion_matrix":
            yield confuse_classes(load_table(name), findings)


def confuse_classes(table: PublishedTable, findings: StudyResults) -> Confusion:
    """The printed matrix, and that of the answers that our confirm networks of the same cell left."""
    printed = np.array(table.matrix, dtype=np.float64)
    row = find_counterpart(table, table.rows[0], build_cell_rows(findings))
    folder = findings.records.folder
    if row is None:
        return Confusion(table=table, printed=printed, gap="not run: this study has no such cell")
    cells = {cell.cell_id: cell for group in findings.groups for cell in group.cells}
    cell, label = cells[row_cell(row)], row_cell(row).label
    paths = [] if folder is None else _list_answers(folder, cell, findings.records.metric)
    if not paths:
        return Confusion(table=table, printed=printed, cell=label, gap="no confirm network left its answers")
    try:
        matrices = [_count_answers(path, table.classes) for path in paths]
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        return Confusion(table=table, printed=printed, cell=label, gap=f"no matrix of ours: {error}")
    gap = ""
    if len(paths) < len(cell.expected):
        gap = f"{len(paths)} of {format_plural(len(cell.expected), 'network')} left their answers"
    recalls = np.array([normalise_rows(matrix).diagonal() for matrix in matrices])
    ours: Matrix = np.sum(matrices, axis=0) / len(matrices)
    return Confusion(
        table=table,
        printed=printed,
        ours=ours,
        networks=len(paths),
        cell=label,
        recalls=recalls,
        runs=tuple(row["runs"]),
        gap=gap,
    )


def _list_answers(folder: Path, cell: CellResults, metric: str) -> list[Path]:
    """The files of the completed confirm networks, by seed; only these leave one."""
    trials = cell.records_by_seed()
    paths = [folder / "predictions" / f"{trials[seed].trial_key}.parquet" for seed in cell.errors_by_seed(metric)]
    return [path for path in paths if path.is_file()]


def _count_answers(path: Path, classes: Sequence[str]) -> Matrix:
    """Images by true class and answer.

    Raises:
        ValueError: the network knows other classes than the printed matrix, or was tested on images of some only.
    """
    answers: Any = pq.read_table(path, columns=["label", "prediction"])
    labels, predictions = (answers[name].to_numpy().astype(np.int64) for name in ("label", "prediction"))
    size = len(classes)
    if max(labels.max(initial=0), predictions.max(initial=0)) >= size:
        raise ValueError(f"its networks know more classes than the {size} of the printed one")
    counts = np.bincount(size * labels + predictions, minlength=size * size).reshape(size, size)
    untested = [name for name, images in zip(classes, counts.sum(1), strict=True) if not images]
    if untested:
        raise ValueError(f"no test image is of class {untested[0]}")
    return counts.astype(np.float64)
