"""Plans, states and outcomes as people and programs read them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from suite import records
from suite.plan import Plan
from suite.specs import BASELINE, Trial

if TYPE_CHECKING:
    from suite.sweep.run import Outcome


def plan_as_dict(plan: Plan) -> dict[str, Any]:
    """The plan as `plan --json` prints it; parameters and MACs are null for a refused cell."""
    search, seeds = plan.study.search.trials, plan.study.seeds
    cells = [
        {
            "dataset": planned.cell.dataset.label,
            "backbone": planned.cell.backbone.label,
            "variant": planned.cell.variant.name,
            "settings": dict(planned.cell.variant.settings),
            "parameters": planned.parameters,
            "macs": planned.macs,
            "inference_macs": planned.inference_macs,
            "search_trials": 0 if planned.refused else search,
            "confirm_trials": 0 if planned.refused else seeds,
            "refused": planned.refused,
        }
        for planned in plan.cells
    ]
    return {"study": plan.study.study, "cells": cells, "trials": plan.trials}


def plan_tables(plan: Plan) -> Iterator[Table | str]:
    """The plan for a terminal."""
    study = plan.study
    yield f"[bold]{study.study}[/]: {study.description}" if study.description else f"[bold]{study.study}[/]"
    yield f"recipe {plan.recipe.label}: {plan.epochs} epochs, batch {plan.batch}"
    yield from _search_line(plan)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, side in (
        ("dataset", "left"),
        ("backbone", "left"),
        ("variant", "left"),
        ("parameters", "right"),
        ("MACs", "right"),
        ("inference MACs", "right"),
        ("trials", "right"),
    ):
        table.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]
    for planned in plan.cells:
        names = (planned.cell.dataset.label, planned.cell.backbone.label, planned.cell.variant.label)
        if planned.refused:
            table.add_row(*names, f"[yellow]refused[/]: {planned.refused}", "", "", "0")
        else:
            trials = str(study.search.trials + study.seeds)
            table.add_row(*names, f"{planned.parameters:,}", _si(planned.macs), _si(planned.inference_macs), trials)
    yield table
    refused = len(plan.cells) - len(plan.runnable)
    comparisons = sum(not planned.cell.is_baseline for planned in plan.runnable)
    yield (
        f"{plan.trials} trials: {len(plan.runnable)} cells x ({study.search.trials} search + {study.seeds} confirm)"
        + (f"; {refused} cells refused" if refused else "")
        + f"; {comparisons} comparisons with {BASELINE}"
    )


def _search_line(plan: Plan) -> Iterator[str]:
    search = plan.study.search
    if not search.trials:
        return
    asha = f", ASHA from epoch {search.asha.grace} by {search.asha.reduction}" if search.asha else ""
    yield f"search {search.trials} trials a cell over {', '.join(search.space)} ({search.sampler}{asha}), then {plan.study.seeds} paired confirm seeds"


def _si(value: int | None) -> str:
    """1,234,567 -> `1.23 M`."""
    number = float(value or 0)
    for unit in ("", "k", "M", "G"):
        if number < 1000:
            return f"{number:.3g} {unit}".strip()
        number /= 1000
    return f"{number:.3g} T"


def status_table(found: Mapping[str, Any]) -> Table:
    """`graftbench status` for a terminal."""
    table = Table(title=f"{found['study']} in {found['storage']}", title_justify="left", header_style="bold")
    for name in ("dataset", "backbone", "variant", "search", "confirm"):
        table.add_column(name, overflow="fold")
    for cell in found["cells"]:
        names = (cell["dataset"], cell["backbone"], cell["variant"])
        if cell["refused"]:
            table.add_row(*names, "refused", cell["refused"])
        else:
            table.add_row(*names, _counts(cell["search"]), _counts(cell["confirm"]))
    return table


def _counts(by_status: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in by_status.items()) or "none yet"


def outcome_lines(plan: Plan, outcome: Outcome, study: Path) -> Iterator[str]:
    """What a run says at its end."""
    by_status = Counter(record.status for record in outcome.records.values())
    counts = ", ".join(f"{by_status[status]} {status}" for status in records.STATUSES if by_status[status])
    if outcome.trained:
        yield f"trained {outcome.trained} trials; the study has {counts}"
    else:
        yield f"nothing to train: the study has {counts}"
    for reason in {record.reason for record in outcome.failed}:
        yield f"[red]failed[/]: {reason}; the same command runs those trials again"
    if outcome.tracking_trouble:
        yield (
            f"[yellow]MLflow stopped taking records[/] ({outcome.tracking_trouble}); nothing is lost: the same command "
            f"writes them from {plan.study.storage_path}"
        )
    yield f"next: graftbench leaderboard {study}, graftbench report {study}, graftbench ui {study}"


def trial_lines(folder: Path) -> Iterator[str]:
    """One trial: what defines it, how it ended, how to run it alone."""
    trial = Trial.from_dict(json.loads((folder / "trial.json").read_text()))
    yield f"[bold]{trial.key}[/]  {trial.cell.label}"
    chosen = ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in trial.hyperparameters
    )
    yield f"{trial.stage} seed {trial.seed}, recipe {trial.recipe.label}, {trial.epochs} epochs" + (
        f", {chosen}" if chosen else ""
    )
    yield from _end_lines(folder)
    yield "run it alone, without Ray or MLflow:"
    yield f"  python -m suite.trial {folder / 'trial.json'}"


def _end_lines(folder: Path) -> Iterator[str]:
    try:
        record = records.read(folder / "record.json")
    except (FileNotFoundError, ValueError):
        yield "no record yet: it is running, or was interrupted"
        return
    yield f"{record.status}{': ' + record.reason if record.reason else ''}, {record.epochs_run} of {record.epochs} epochs"
    for name in ("validation_top1_error", "test_top1_error", "test_top5_error"):
        value = getattr(record, name)
        if value is not None:
            yield f"  {name.replace('_', ' ')}: {100 * value:.2f} %"
    if record.train_seconds is not None:
        yield f"  trained {record.train_seconds:.1f} s on {record.device or 'an unknown device'} ({record.precision})"
