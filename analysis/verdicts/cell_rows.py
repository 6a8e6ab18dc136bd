"""Every cell as a row of plain values: its error, difference, verdict, rank and cost; what tables are made of."""

from __future__ import annotations

import math
import statistics as stdlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from analysis.records.model import CellResults, Records
from analysis.stats import paired as statistics
from analysis.stats.paired import LEAST
from analysis.verdicts.model import Verdict
from analysis.verdicts.results import StudyResults
from suite.core.records import Record
from suite.core.specs import CellId

Row = dict[str, Any]
_RECONSTRUCTION = "reconstruction_mse_"  # of an epoch: one metric per decoder
_ROUNDING = 12  # digits: means of the same errors in another order are the same


@lru_cache(maxsize=1)  # a study's tables all start from its rows
def build_cell_rows(findings: StudyResults) -> list[Row]:
    """Rows of plain JSON values, best first within each dataset; errors and differences are fractions.

    `rank` is None, and the row stands last, for a cell whose mean would be over another set of seeds, or whose budget
    differs from its baseline's; equal means share a rank. `bold`: not distinguishable from the best of its dataset
    (see `_mark_best`). `runs`: the MLflow runs of its completed confirm trials; `decoders`: how many reconstructed
    during training, None for none. Read them only: the next caller gets the same.
    """
    records, ids, decoders = findings.records, run_ids(findings.records), _count_decoders(findings.records.epochs)
    by_dataset: dict[str, list[tuple[Row, CellResults]]] = {}
    for group in findings.groups:
        baseline = list(runs_of(list_completed(group.baseline), ids)) if group.baseline else []
        for cell in group.cells:
            row = _build_row(cell, findings.by_cell.get(cell.cell_id), records)
            row["runs"] = list(runs_of(list_completed(cell), ids))
            row["baseline_runs"] = [] if cell.is_baseline else baseline
            row["decoders"] = max((decoders.get(one.trial_key, 0) for one in (*cell.confirm, *cell.search)), default=0)
            row["decoders"] = row["decoders"] or None
            by_dataset.setdefault(group.dataset, []).append((row, cell))
    rows: list[Row] = []
    for board in by_dataset.values():
        board.sort(key=lambda item: (not item[0]["comparable"], item[0]["mean_error"] is None, item[0]["mean_error"]))
        ranked = [item for item in board if item[0]["comparable"]]
        means = [row["mean_error"] for row, _ in ranked]
        for (row, _), rank in zip(ranked, rank_errors(means, "min"), strict=True):
            row["rank"] = int(rank)
        _mark_best(ranked, records)
        rows += [row for row, _ in board]
    return rows


def rank_errors(errors: Sequence[float], ties: str = "average") -> list[float]:
    """1 for the lowest error; ties share a rank: their average, or with `min` the best of them (scipy `rankdata`)."""
    ranks: list[float] = pd.Series(np.round(errors, _ROUNDING)).rank(method=ties).tolist()
    return ranks


def row_cell(row: Mapping[str, Any]) -> CellId:
    """What names the row's cell."""
    return CellId(row["dataset"], row["backbone"], row["variant"], row["settings"])


# -- the trials behind a row


def run_ids(records: Records) -> dict[str, str]:
    """MLflow run id by trial key; records from elsewhere have none."""
    trials = records.trials
    if "run_id" not in trials:
        return {}
    both = zip(trials["trial_key"], trials["run_id"], strict=True)
    return {key: str(run) for key, run in both if not pd.isna(run) and run}


def list_completed(cell: CellResults) -> list[Record]:
    """The confirm trials that its mean is over."""
    return [trial for trial in cell.confirm if trial.status == "completed"]


def runs_of(trials: Sequence[Record], ids: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(ids[trial.trial_key] for trial in trials if trial.trial_key in ids)


def _count_decoders(epochs: pd.DataFrame) -> dict[str, int]:
    """Decoders by trial key, of trials that have any: the reconstruction errors that its first epoch logged."""
    first = epochs[epochs["epoch"] == 1]
    found = first[first["metric"].astype(str).str.startswith(_RECONSTRUCTION)]
    return {
        str(key): int(number) for key, number in found.groupby("trial_key", observed=True)["metric"].nunique().items()
    }


# -- a row


def _build_row(cell: CellResults, verdict: Verdict | None, records: Records) -> Row:
    errors, gap = list(cell.errors_by_seed(records.metric).values()), cell.describe_gap(records.metric)
    full = bool(errors) and not gap
    refused_pair = verdict is not None and verdict.verdict == "NOT COMPARABLE"
    return {
        "study": records.study.study,
        "profile": records.study.profile or None,
        "metric": records.metric,
        "dataset": cell.dataset,
        "backbone": cell.backbone,
        "variant": cell.variant,
        "settings": cell.settings,
        "label": cell.label,
        "rank": None,
        "comparable": full and not refused_pair,
        "bold": False,
        "errors": errors,
        "mean_error": stdlib.fmean(errors) if full else None,
        "interval": half_width(errors, records.alpha) if full else None,
        "difference": verdict.mean_difference if verdict else None,
        "ci_low": verdict.ci_low if verdict else None,
        "ci_high": verdict.ci_high if verdict else None,
        "verdict": verdict.verdict if verdict else ("baseline" if full else "baseline, incomplete"),
        "reason": verdict.reason if verdict else gap,
        "warnings": list(verdict.warnings) if verdict else [],
        "seeds": len(errors),
        "seeds_expected": len(cell.expected),
        "parameters": _read_count(cell, "parameters"),
        "macs": _read_count(cell, "macs"),
        "inference_macs": _read_count(cell, "inference_macs"),
        "train_seconds": _train_seconds(cell),
    }


def half_width(errors: Sequence[float], alpha: float) -> float | None:
    """Half the t interval of the mean; None below 3 values."""
    if len(errors) < LEAST:
        return None
    return _t_quantile(alpha, len(errors)) * stdlib.stdev(errors) / math.sqrt(len(errors))


@lru_cache
def _t_quantile(alpha: float, seeds: int) -> float:
    return float(special.stdtrit(seeds - 1, 1 - alpha / 2))


def _read_count(cell: CellResults, field: str) -> int | None:
    """A count, from any trial of the cell that has it, completed confirm trials first; None when none has it."""
    trials = [*sorted(cell.confirm, key=lambda trial: trial.status != "completed"), *cell.search]
    return next((value for value in (getattr(trial, field) for trial in trials) if value is not None), None)


def _train_seconds(cell: CellResults) -> float | None:
    """Mean over the cell's confirm trials that measured it, diverged ones too."""
    found = [trial.train_seconds for trial in cell.confirm if trial.train_seconds is not None]
    return stdlib.fmean(found) if found and all(map(math.isfinite, found)) else None


def _mark_best(board: list[tuple[Row, CellResults]], records: Records) -> None:
    """Bold the best of a dataset, and every cell that paired tests can't tell from it.

    Paired t per cell on the seeds, Holm-adjusted over the dataset; sign-flip where all differences are one value. Below
    3 seeds nothing can be told apart, so nothing is bold. The best was picked on these numbers: bold is a reading aid,
    the verdicts are the tests.
    """
    if not board or len(board[0][1].errors_by_seed(records.metric)) < LEAST:
        return
    best = board[0][1].errors_by_seed(records.metric)
    paired, p_values = [], []
    for row, cell in board[1:]:
        errors = cell.errors_by_seed(records.metric)
        if errors.keys() != best.keys():
            continue
        differences = np.round([errors[seed] - best[seed] for seed in best], _ROUNDING)
        alike, flat = statistics.all_zero(differences), statistics.is_constant(differences)
        flip = statistics.sign_flip(differences) if flat and not alike else 1.0
        paired.append(row)
        p_values.append(flip if flat else statistics.run_paired_t(differences).p_value)
    board[0][0]["bold"] = True
    for row, p in zip(paired, statistics.adjust_holm(p_values), strict=True):
        row["bold"] = p >= records.alpha
