"""Studies that nothing trained: records with known effects, for the A/A control, power checks and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.records.arrange import arrange_records
from analysis.records.description import read_description
from analysis.records.model import Group, Records
from suite.core.records import COLUMNS, EPOCH_COLUMNS, Record
from suite.core.specs import BASELINE

_DTYPES = {int: "Int64", float: "float64"}
Errors = Mapping[str, Sequence[float | None]]  # cell name -> test error by seed; None: the seed diverged


def make_study(errors: Errors, dataset: str = "digits", backbone: str = "cnn", **changes: Any) -> Records:
    """A study of one group. Cells are named `variant` or `variant:settings`; every cell has 4 search trials.

    `changes` are entries of the study's description (`rope`, `seeds`, `profile`...).
    """
    rows = trial_rows(errors, dataset, backbone)
    seeds = max((len(values) for values in errors.values()), default=0)
    return make_records(rows, [cell_of(name, dataset, backbone) for name in errors], **{"seeds": seeds, **changes})


def make_studies(errors: Mapping[tuple[str, str], Errors], **changes: Any) -> Records:
    """A study of several groups: errors by dataset and backbone."""
    rows = [row for place, cells in errors.items() for row in trial_rows(cells, *place)]
    seeds = max((len(values) for cells in errors.values() for values in cells.values()), default=0)
    cells = [cell_of(name, *place) for place, own in errors.items() for name in own]
    return make_records(rows, cells, **{"seeds": seeds, **changes})


def with_errors(arranged: Sequence[Group], errors: NDArray[np.float64]) -> list[Group]:
    """The same groups with other top-1 test errors: simulated studies by the hundred, without a table for each.

    Args:
        errors: groups x cells x seeds, in the order of the groups, of their cells and of the seeds.
    """
    redrawn = []
    for group, by_cell in zip(arranged, errors.tolist(), strict=True):
        cells = tuple(
            replace(cell, confirm=tuple(map(_with_error, cell.confirm, own)))
            for cell, own in zip(group.cells, by_cell, strict=True)
        )
        baseline = next((cell for cell in cells if cell.is_baseline), None)
        redrawn.append(replace(group, baseline=baseline, cells=cells))
    return redrawn


def _with_error(trial: Record, error: float) -> Record:
    return replace(trial, test_top1_error=error)


def make_records(rows: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, Any]], **changes: Any) -> Records:
    """Records from rows of trials and the planned cells."""
    described = {
        "study": "synthetic",
        "metric": "top1",
        "rope": 0.005,
        "alpha": 0.05,
        "seeds": 0,
        "search_trials": 4,
        "profile": None,
        "cells": list(cells),
    }
    own = ["run_id", "started", "ended"]
    trials = pd.DataFrame.from_records(list(rows), columns=[*COLUMNS, *own])
    trials = trials.astype({name: _DTYPES[kind] for name, kind in COLUMNS.items() if kind is not str})
    return arrange_records(trials, epochs_of(rows), read_description(described | changes, "study.json"))


def cell_of(name: str, dataset: str, backbone: str, refused: str | None = None) -> dict[str, Any]:
    """A planned cell, as the study's description lists it."""
    variant, _, settings = name.partition(":")
    return {"dataset": dataset, "backbone": backbone, "variant": variant, "settings": settings, "refused": refused}


def trial_rows(errors: Errors, dataset: str = "digits", backbone: str = "cnn") -> list[dict[str, Any]]:
    """Search and confirm trials of one group, with equal budgets."""
    rows = []
    for name, values in errors.items():
        variant, _, settings = name.partition(":")
        cell = {"dataset": dataset, "backbone": backbone, "variant": variant, "settings": settings}
        for seed in range(4):
            own = {
                "status": "completed",
                "validation_top1_error": 0.2 + seed / 100,
                "hyperparameters": f"lr={seed + 1}",
            }
            rows.append(_make_row(cell, "search", seed, own))
        for seed, error in enumerate(values):
            done = error is not None
            own = {"status": "completed" if done else "diverged", "test_top1_error": error, "test_reads": int(done)}
            rows.append(_make_row(cell, "confirm", seed, own | {"hyperparameters": "lr=1"}))
    return rows


def _make_row(cell: Mapping[str, str], stage: str, seed: int, own: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {name: "" if kind is str else None for name, kind in COLUMNS.items()}
    key = "-".join([*cell.values(), stage, str(seed)])
    facts = {"recipe": "standard", "stage": stage, "seed": seed, "trial_key": key, "run_id": key, "test_reads": 0}
    size = 1_000_000 if cell["variant"] == BASELINE else 1_100_000
    cost = {"parameters": size, "macs": 40 * size, "inference_macs": 40_000_000, "train_seconds": 12.5}
    budget = {"epochs": 10, "epochs_run": 10, "batch": 64, "threads": 2, "test_examples": 360}
    data = {"data": "4ab2", "test_data": "77e0", "split": "5f1d", "majority_error": 0.9}
    host = {"precision": "float32", "memory_format": "contiguous", "device_kind": "cpu", "device": "a CPU", "host": "h"}
    made = {"started": 0, "ended": 1, "git_commit": "abc"}
    return row | dict(cell) | facts | cost | budget | data | host | made | dict(own)


def epochs_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A falling validation error for every confirm trial that has a test error."""
    columns: dict[str, list[Any]] = {name: [] for name in EPOCH_COLUMNS}
    for row in rows:
        if row["stage"] == "confirm" and row.get("test_top1_error") is not None:
            for epoch in range(1, row["epochs"] + 1):
                value = row["test_top1_error"] + 0.5 * float(np.exp(-epoch / 2))
                cells = (row["trial_key"], epoch, "validation_top1_error", value)
                for name, cell in zip(EPOCH_COLUMNS, cells, strict=True):
                    columns[name].append(cell)
    return pd.DataFrame(columns)


def draw_study(
    generator: np.random.Generator, cells: int, seeds: int, effect: float = 0.0, noise: float = 0.005
) -> Records:
    """A study of `cells` cells (one is the baseline): seeds share noise, the first variant is better by `effect`.

    Errors are fractions; `noise` is the standard deviation of each trial beside what its seed shares.
    """
    shared = generator.normal(0.1, noise, seeds)
    own: NDArray[np.float64] = shared + generator.normal(0, noise, (cells, seeds))
    own[1] -= effect
    names = [BASELINE, *(f"variant{index}" for index in range(1, cells))]
    return make_study(dict(zip(names, own.tolist(), strict=True)))
