"""What the networks of a cell reach as one ensemble, and on ten crops of each image."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

from analysis import formatting
from analysis.records.model import METRICS, CellResults
from analysis.tables import EMPTY, Column, Table, Value, fill_table, make_estimate
from analysis.verdicts.audit import list_completed
from analysis.verdicts.cell_rows import build_cell_rows, row_cell, run_ids, runs_of
from analysis.verdicts.ensembles import Ensemble, EnsembleError
from analysis.verdicts.results import StudyResults

ID = "ensembles"


@dataclass(frozen=True)
class _Item:
    cell: CellResults
    ensemble: Ensemble | None
    runs: tuple[str, ...]
    decoders: int | None

    @property
    def has_crops(self) -> bool:
        return any(trial.multi_crop_top1_error is not None for trial in list_completed(self.cell))

    def find_error(self, metric: str) -> EnsembleError | None:
        return self.ensemble.errors.get(metric) if self.ensemble else None


def build_ensembles(findings: StudyResults) -> list[Table]:
    """A row per cell that has an ensemble or figures of ten crops; no table where none has."""
    ids = run_ids(findings.records)
    formed = findings.ensembles
    decoders = {row_cell(row): row["decoders"] for row in build_cell_rows(findings)}
    items, notes = [], []
    for group in findings.groups:
        for cell in group.cells:
            found = formed.get(cell.cell_id)
            if isinstance(found, str):
                notes.append(f"{cell.cell_id.label}: {found}.")
            ensemble = found if isinstance(found, Ensemble) else None
            item = _Item(cell, ensemble, runs_of(list_completed(cell), ids), decoders[cell.cell_id])
            if ensemble is not None or item.has_crops:
                items.append(item)
    if not items:
        return []
    level = formatting.format_level(findings.records.alpha)
    caption = (
        "Test error in percent. Single: mean of the confirm networks, one crop. Ensemble: their mean softmax; it is "
        f"one observation, so its {level} interval is over test images, and no verdict rests on it. Ten crops: corners "
        "and centre, mirrored too, mean softmax of each network; mean over networks."
    )
    return [fill_table(ID, "Ensembles and ten crops", caption, _list_columns(), items, notes)]


def _list_columns() -> list[Column[_Item]]:
    columns: list[Column[_Item]] = [
        Column("dataset", "dataset", attrgetter("cell.dataset")),
        Column("backbone", "backbone", attrgetter("cell.backbone")),
        Column("variant", "variant", lambda item: Value(item.cell.label, runs=item.runs)),
        Column("decoders", "decoders", attrgetter("decoders"), numeric=True, optional=True),
        Column("networks", "networks", lambda item: len(list_completed(item.cell)), numeric=True),
    ]
    columns += [column for name, metric in METRICS.items() for column in _list_metric(name, metric)]
    return columns


def _list_metric(name: str, metric: str) -> Iterator[Column[_Item]]:
    title = name.replace("top", "top-")
    crops = metric.replace("test_", "multi_crop_")
    yield Column(f"single_{name}", f"{title}, single", partial(_make_mean, metric), numeric=True)
    yield Column(f"ensemble_{name}", f"{title}, ensemble", partial(_make_ensemble, metric), numeric=True, optional=True)
    yield Column(crops, f"{title}, ten crops", partial(_make_mean, crops), numeric=True, optional=True)


def _make_mean(field: str, item: _Item) -> Value:
    errors: Sequence[float | None] = [getattr(trial, field) for trial in list_completed(item.cell)]
    known = [error for error in errors if error is not None]
    if not known or len(known) < len(errors):
        return EMPTY
    mean = statistics.fmean(known)
    return Value(formatting.format_percent(mean), mean, runs=item.runs)


def _make_ensemble(metric: str, item: _Item) -> Value:
    found = item.find_error(metric)
    if found is None:
        return EMPTY
    return make_estimate(found.error, found.low, found.high, formatting.format_percent, item.runs)
