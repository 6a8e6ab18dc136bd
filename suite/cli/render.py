"""Plans, states and outcomes as people and programs read them."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from analysis.formatting import format_plural
from suite.cli.console import make_table
from suite.core import records
from suite.core.specs import BASELINE, Cell, format_settings
from suite.core.trial_folder import read_trial
from suite.study.plan import Plan
from suite.sweep.interim_looks import format_range

if TYPE_CHECKING:
    from suite.sweep.run import Outcome


def plan_as_dict(plan: Plan) -> dict[str, Any]:
    """The plan as `plan --json` prints it; its counts are null for a refused cell."""
    cells = []
    for planned in plan.cells:
        cell = {
            "dataset": planned.cell.dataset.label,
            "backbone": planned.cell.backbone.label,
            "variant": planned.cell.variant.name,
            "settings": dict(planned.cell.variant.settings),
            "parameters": planned.parameters,
            "macs": planned.macs,
            "inference_macs": planned.inference_macs,
            "decoders": planned.decoders,
            "search_trials": 0,
            "confirm_trials": 0,
            "refused": planned.refused,
            "warnings": list(planned.warnings),
        }
        if not planned.refused:
            cell |= {"search_trials": plan.study.search.trials, "confirm_trials": plan.count_seeds(planned.cell)}
        cells.append(cell)
    return {"study": plan.study.study, "profile": plan.study.profile or None, "cells": cells, "trials": plan.trials}


def plan_tables(plan: Plan) -> Iterator[Table | str]:
    """The plan for a terminal."""
    study, title = plan.study, f"[bold]{plan.study.study}[/]"
    if study.description:
        title += f": {escape(study.description)}"
    yield title
    if study.profile:
        yield f"[yellow]profile {escape(study.profile)}[/]: a smaller version; its figures are not those of the study"
    yield f"recipe {plan.recipe.label}: {format_plural(plan.epochs, 'epoch')}, batch {plan.batch}"
    yield from _search_line(plan)
    with_decoders = any(planned.decoders for planned in plan.cells)
    figures = ["parameters", "MACs", "inference MACs", "trials"]
    if with_decoders:
        figures.insert(0, "decoders")
    table = make_table("dataset", "backbone", "variant", *figures, right=figures)
    notes: dict[str, None] = {}
    for planned in plan.cells:
        notes |= dict.fromkeys(planned.warnings)
        row = _escape_labels(planned.cell)
        if with_decoders:
            row.append(str(planned.decoders or ""))
        if planned.refused:
            table.add_row(*row, "[yellow]refused[/]", "", "", "0")
        else:
            costs = (f"{planned.parameters:,}", _format_si(planned.macs), _format_si(planned.inference_macs))
            trials = study.search.trials + plan.count_seeds(planned.cell)
            table.add_row(*row, *costs, str(trials))
    yield table
    for planned in plan.cells:
        if planned.refused:
            yield f"[yellow]refused[/] {escape(planned.cell.label)}: {escape(planned.refused)}"
    for note in notes:
        yield f"[yellow]note[/] {escape(note)}"
    yield _summarise_plan(plan)


def _escape_labels(cell: Cell) -> list[str]:
    return [escape(part.label) for part in (cell.dataset, cell.backbone, cell.variant)]


def _summarise_plan(plan: Plan) -> str:
    cells, refused = format_plural(len(plan.runnable), "cell"), len(plan.cells) - len(plan.runnable)
    text = f"{plan.trials} trials: {cells} x ({plan.study.search.trials} search + {_format_seeds(plan)} confirm)"
    if refused:
        text += f"; {format_plural(refused, 'cell')} refused"
    comparisons = sum(not planned.cell.is_baseline for planned in plan.runnable)
    return f"{text}; {format_plural(comparisons, 'comparison')} with {BASELINE}"


def _search_line(plan: Plan) -> Iterator[str]:
    search = plan.study.search
    if not search.trials:
        return
    asha = f", ASHA from epoch {search.asha.grace} by {search.asha.reduction}" if search.asha else ""
    over = f"over {', '.join(search.space)} ({search.sampler}{asha})"
    yield f"search {search.trials} trials a cell {over}, then {_format_seeds(plan)} paired confirm seeds"


def _format_seeds(plan: Plan) -> str:
    """`5`, or `5 to 12` where some groups were topped up."""
    seeds = {plan.count_seeds(planned.cell) for planned in plan.runnable}
    return format_range(seeds or {plan.study.seeds})


def _format_si(value: int | None) -> str:
    """1,234,567 -> `1.23 M`."""
    number = float(value or 0)
    for unit in ("", "k", "M", "G"):
        if number < 1000:
            return f"{number:.3g} {unit}".strip()
        number /= 1000
    return f"{number:.3g} T"


def outcome_lines(plan: Plan, outcome: Outcome, study: str) -> Iterator[str]:
    """What a run says at its end; `study` as it was named on the command line."""
    by_status: Counter[str] = Counter(record.status for record in outcome.records.values())
    counts = ", ".join(f"{by_status[status]} {status}" for status in records.STATUSES if by_status[status])
    if outcome.trained:
        yield f"trained {outcome.trained} trials; the study has {counts}"
    else:
        yield f"nothing to train: the study has {counts}"
    skipped = [record.reason for record in outcome.records.values() if record.status == "skipped"]
    for reason in dict.fromkeys(skipped):
        yield f"[yellow]skipped[/]: {escape(reason)}"
    for reason in {record.reason for record in outcome.failed if not record.is_final}:
        yield f"[red]failed[/]: {escape(reason)}; the same command runs those trials again"
    for reason in {record.reason for record in outcome.failed if record.is_final}:
        yield f"[red]failed twice[/]: {escape(reason)}; the search of its cell goes on without that draw"
    if outcome.tracking_trouble:
        yield (
            f"[yellow]MLflow stopped taking records[/] ({escape(outcome.tracking_trouble)}); nothing is lost: the same "
            f"command writes them from {escape(str(plan.study.storage_path))}"
        )
    yield f"next: graftbench leaderboard {study}, graftbench report {study}, graftbench ui {study}"


def trial_lines(folder: Path) -> Iterator[str]:
    """One trial: what defines it, how it ended, how to run it alone."""
    trial = read_trial(folder / "trial.json")
    yield f"[bold]{trial.key}[/]  {escape(trial.cell.label)}"
    parts = [f"{trial.stage} seed {trial.seed}", f"recipe {trial.recipe.label}", f"{trial.epochs} epochs"]
    if trial.hyperparameters:
        parts.append(format_settings(trial.hyperparameters))
    yield escape(", ".join(parts))
    yield from _end_lines(folder)
    yield "run it alone, without Ray or MLflow:"
    yield escape(f"  {_rerun_command(folder)}")


def _rerun_command(folder: Path) -> str:
    """On the same kind of device with as many threads, so that it gives the same figures to the bit."""
    command = shlex.join([sys.executable, "-m", "suite.trial", str(folder / "trial.json")])
    with contextlib.suppress(FileNotFoundError, ValueError):
        record = records.read_record(folder / "record.json")
        if record.threads:
            command += f" --threads {record.threads}"
        if record.device_kind:
            command += f" --device {record.device_kind}"
    return command


def _end_lines(folder: Path) -> Iterator[str]:
    try:
        record = records.read_record(folder / "record.json")
    except records.NoRecordError as error:
        yield f"[yellow]its record can't be read[/]: {escape(str(error))}"
        return
    except (FileNotFoundError, ValueError):
        yield "no record yet: it is running, or was interrupted"
        return
    status = f"{record.status}: {escape(record.reason)}" if record.reason else record.status
    yield f"{status}, {record.epochs_run} of {record.epochs} epochs"
    for name in ("validation_top1_error", "test_top1_error", "test_top5_error"):
        value = getattr(record, name)
        if value is not None:
            yield f"  {name.replace('_', ' ')}: {100 * value:.2f} %"
    if record.train_seconds is not None:
        yield f"  trained {record.train_seconds:.1f} s on {record.device or 'an unknown device'} ({record.precision})"
