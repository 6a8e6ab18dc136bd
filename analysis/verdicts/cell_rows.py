"""Every cell as a row of plain values: its error, difference, verdict, rank and cost; what tables are made of."""

from __future__ import annotations

import math
import statistics as stdlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from analysis.records.model import CellResults, Records
from analysis.stats import paired
from analysis.stats.paired import LEAST
from analysis.verdicts.audit import list_completed
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
    (see `_mark_best`). `runs`: the MLflow runs of its completed confirm trials; `decoders`: how many reconstruct the
    input during training, None for none. Read them only: the next caller gets the same.
    """
    records = findings.records
    ids, logged = run_ids(records), _count_logged_decoders(records.epochs)
    boards: dict[str, list[tuple[Row, CellResults]]] = defaultdict(list)
    for group in findings.groups:
        baseline_runs: tuple[str, ...] = ()
        if group.baseline:
            baseline_runs = runs_of(list_completed(group.baseline), ids)
        for cell in group.cells:
            row = _build_row(cell, findings.by_cell.get(cell.cell_id), records)
            row["runs"] = list(runs_of(list_completed(cell), ids))
            row["baseline_runs"] = [] if cell.is_baseline else list(baseline_runs)
            row["decoders"] = _count_decoders(cell, logged)
            boards[group.dataset].append((row, cell))
    rows: list[Row] = []
    for board in boards.values():
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


def runs_of(trials: Sequence[Record], ids: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(ids[trial.trial_key] for trial in trials if trial.trial_key in ids)


def _count_decoders(cell: CellResults, logged: Mapping[str, int]) -> int | None:
    """The decoders of the cell's network; None for none. Older records don't say, but logged an error of each."""
    recorded = _read_count(cell, "decoders")
    if recorded is None:
        recorded = max((logged.get(trial.trial_key, 0) for trial in (*cell.confirm, *cell.search)), default=0)
    return recorded or None


def _count_logged_decoders(epochs: pd.DataFrame) -> dict[str, int]:
    """Decoders by trial key, of trials that have any: the reconstruction errors that its first epoch logged."""
    first = epochs[epochs["epoch"] == 1]
    logged = first[first["metric"].astype(str).str.startswith(_RECONSTRUCTION)]
    counts: dict[str, int] = logged.groupby("trial_key", observed=True)["metric"].nunique().to_dict()
    return counts


# -- a row


def _build_row(cell: CellResults, verdict: Verdict | None, records: Records) -> Row:
    errors, gap = list(cell.errors_by_seed(records.metric).values()), cell.describe_gap(records.metric)
    row: Row = {
        "study": records.study.study,
        "profile": records.study.profile or None,
        "metric": records.metric,
        **cell.cell_id._asdict(),
        "label": cell.label,
        "rank": None,
        "comparable": False,
        "bold": False,
        "errors": errors,
        "mean_error": None,
        "interval": None,
        "difference": None,
        "ci_low": None,
        "ci_high": None,
        "verdict": "baseline, incomplete",
        "reason": gap,
        "warnings": [],
        "seeds": len(errors),
        "seeds_expected": len(cell.expected),
        "parameters": _read_count(cell, "parameters"),
        "macs": _read_count(cell, "macs"),
        "inference_macs": _read_count(cell, "inference_macs"),
        "train_seconds": _train_seconds(cell),
    }
    if errors and not gap:
        mean, interval = stdlib.fmean(errors), half_width(errors, records.alpha)
        row |= {"comparable": True, "mean_error": mean, "interval": interval, "verdict": "baseline"}
    if verdict is None:
        return row
    if verdict.verdict == "NOT COMPARABLE":
        row["comparable"] = False
    row |= {"difference": verdict.mean_difference, "ci_low": verdict.ci_low, "ci_high": verdict.ci_high}
    return row | {"verdict": verdict.verdict, "reason": verdict.reason, "warnings": list(verdict.warnings)}


def half_width(errors: Sequence[float], alpha: float) -> float | None:
    """Half the t interval of the mean; None below 3 values."""
    if len(errors) < LEAST:
        return None
    quantile = float(special.stdtrit(len(errors) - 1, 1 - alpha / 2))
    return quantile * stdlib.stdev(errors) / math.sqrt(len(errors))


def _read_count(cell: CellResults, field: str) -> int | None:
    """A count, from any trial of the cell that has it, completed confirm trials first; None when none has it."""
    for trial in [*sorted(cell.confirm, key=lambda trial: trial.status != "completed"), *cell.search]:
        value: int | None = getattr(trial, field)
        if value is not None:
            return value
    return None


def _train_seconds(cell: CellResults) -> float | None:
    """Mean over the cell's confirm trials that measured it, diverged ones too."""
    seconds = [trial.train_seconds for trial in cell.confirm if trial.train_seconds is not None]
    if not seconds or not all(map(math.isfinite, seconds)):
        return None
    return stdlib.fmean(seconds)


def _mark_best(board: list[tuple[Row, CellResults]], records: Records) -> None:
    """Bold the best of a dataset, and every cell that paired tests can't tell from it.

    Paired t per cell on the seeds, Holm-adjusted over the dataset; sign-flip where all differences are one value. Below
    3 seeds nothing can be told apart, so nothing is bold. The best was picked on these numbers: bold is a reading aid,
    the verdicts are the tests.
    """
    if not board:
        return
    best = board[0][1].errors_by_seed(records.metric)
    if len(best) < LEAST:
        return
    board[0][0]["bold"] = True
    paired_rows, p_values = [], []
    for row, cell in board[1:]:
        errors = cell.errors_by_seed(records.metric)
        if errors.keys() == best.keys():
            differences = np.round([errors[seed] - best[seed] for seed in best], _ROUNDING)
            paired_rows.append(row)
            p_values.append(paired.test_mean_difference(differences))
    for row, p in zip(paired_rows, paired.adjust_holm(p_values), strict=True):
        row["bold"] = p >= records.alpha
