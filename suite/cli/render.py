"""Plans, states and outcomes as people and programs read them."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from analysis.formatting import format_plural
from suite.core import records
from suite.core.specs import BASELINE, format_settings
from suite.core.trial_folder import read_trial
from suite.study.plan import Plan

if TYPE_CHECKING:
    from suite.study.config import Study
    from suite.sweep.run import Outcome


def plan_as_dict(plan: Plan) -> dict[str, Any]:
    """The plan as `plan --json` prints it; parameters and MACs are null for a refused cell."""
    search = plan.study.search.trials
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
            "confirm_trials": 0 if planned.refused else plan.count_seeds(planned.cell),
            "refused": planned.refused,
            "warnings": list(planned.warnings),
        }
        for planned in plan.cells
    ]
    study = plan.study
    return {
        "study": study.study,
        "profile": study.profile or None,
        "cells": cells,
        "trials": plan.trials,
    }


def plan_tables(plan: Plan) -> Iterator[Table | str]:
    """The plan for a terminal."""
    study = plan.study
    yield f"[bold]{study.study}[/]" + (f": {escape(study.description)}" if study.description else "")
    yield from profile_lines(plan.study)
    yield f"recipe {plan.recipe.label}: {plan.epochs} epoch{'s' * (plan.epochs != 1)}, batch {plan.batch}"
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
        names = (escape(part.label) for part in (planned.cell.dataset, planned.cell.backbone, planned.cell.variant))
        if planned.refused:
            table.add_row(*names, "[yellow]refused[/]", "", "", "0")
        else:
            trials = str(study.search.trials + plan.count_seeds(planned.cell))
            table.add_row(
                *names, f"{planned.parameters:,}", _format_si(planned.macs), _format_si(planned.inference_macs), trials
            )
    yield table
    for planned in plan.cells:
        if planned.refused:
            yield f"[yellow]refused[/] {escape(planned.cell.label)}: {escape(planned.refused)}"
    for note in dict.fromkeys(note for planned in plan.cells for note in planned.warnings):
        yield f"[yellow]note[/] {escape(note)}"
    refused = len(plan.cells) - len(plan.runnable)
    comparisons = sum(not planned.cell.is_baseline for planned in plan.runnable)
    cells = format_plural(len(plan.runnable), "cell")
    yield (
        f"{plan.trials} trials: {cells} x ({study.search.trials} search + {_format_seeds(plan)} confirm)"
        + (f"; {format_plural(refused, 'cell')} refused" if refused else "")
        + f"; {format_plural(comparisons, 'comparison')} with {BASELINE}"
    )


def profile_lines(study: Study) -> Iterator[str]:
    """What sets a profile's figures apart from the study's own."""
    if study.profile:
        yield f"[yellow]profile {escape(study.profile)}[/]: a smaller version; its figures are not those of the study"


def _search_line(plan: Plan) -> Iterator[str]:
    search = plan.study.search
    if not search.trials:
        return
    asha = f", ASHA from epoch {search.asha.grace} by {search.asha.reduction}" if search.asha else ""
    over = f"over {', '.join(search.space)} ({search.sampler}{asha})"
    yield f"search {search.trials} trials a cell {over}, then {_format_seeds(plan)} paired confirm seeds"


def _format_seeds(plan: Plan) -> str:
    """`5`, or `5 to 12` where some groups were topped up."""
    found = {plan.count_seeds(planned.cell) for planned in plan.runnable} or {plan.study.seeds}
    return str(min(found)) if len(found) == 1 else f"{min(found)} to {max(found)}"


def _format_si(value: int | None) -> str:
    """1,234,567 -> `1.23 M`."""
    number = float(value or 0)
    for unit in ("", "k", "M", "G"):
        if number < 1000:
            return f"{number:.3g} {unit}".strip()
        number /= 1000
    return f"{number:.3g} T"


def status_table(found: Mapping[str, Any]) -> Table:
    """`graftbench status` for a terminal."""
    table = Table(title=escape(f"{found['study']} in {found['storage']}"), title_justify="left", header_style="bold")
    for name in ("dataset", "backbone", "variant", "search", "confirm"):
        table.add_column(name, overflow="fold")
    for cell in found["cells"]:
        names = (escape(cell[role]) for role in ("dataset", "backbone", "variant"))
        if cell["refused"]:
            table.add_row(*names, "refused", escape(cell["refused"]))
        else:
            table.add_row(*names, _format_status_counts(cell["search"]), _format_status_counts(cell["confirm"]))
    return table


def _format_status_counts(by_status: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in by_status.items()) or "none yet"


def outcome_lines(plan: Plan, outcome: Outcome, study: str) -> Iterator[str]:
    """What a run says at its end; `study` as it was named on the command line."""
    by_status: Counter[str] = Counter(record.status for record in outcome.records.values())
    counts = ", ".join(f"{by_status[status]} {status}" for status in records.STATUSES if by_status[status])
    if outcome.trained:
        yield f"trained {outcome.trained} trials; the study has {counts}"
    else:
        yield f"nothing to train: the study has {counts}"
    for reason in dict.fromkeys(record.reason for record in outcome.records.values() if record.status == "skipped"):
        yield f"[yellow]skipped[/]: {escape(reason)}"
    for reason in {record.reason for record in outcome.failed}:
        yield f"[red]failed[/]: {escape(reason)}; the same command runs those trials again"
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
    chosen = "".join(f", {format_settings((pair,))}" for pair in trial.hyperparameters)
    yield escape(f"{trial.stage} seed {trial.seed}, recipe {trial.recipe.label}, {trial.epochs} epochs{chosen}")
    yield from _end_lines(folder)
    yield "run it alone, without Ray or MLflow:"
    yield escape(f"  {_rerun_command(folder)}")


def _rerun_command(folder: Path) -> str:
    """On the same kind of device with as many threads, so that it gives the same figures to the bit."""
    try:
        record = records.read_record(folder / "record.json")
    except (FileNotFoundError, ValueError):
        return _format_trial_command(folder)
    options = f" --threads {record.threads}" if record.threads else ""
    options += f" --device {record.device_kind}" if record.device_kind else ""
    return _format_trial_command(folder) + options


def _format_trial_command(folder: Path) -> str:
    return shlex.join([sys.executable, "-m", "suite.trial", str(folder / "trial.json")])


def _end_lines(folder: Path) -> Iterator[str]:
    try:
        record = records.read_record(folder / "record.json")
    except records.NoRecordError as error:
        yield f"[yellow]its record can't be read[/]: {escape(str(error))}"
        return
    except (FileNotFoundError, ValueError):
        yield "no record yet: it is running, or was interrupted"
        return
    reason = f": {escape(record.reason)}" if record.reason else ""
    yield f"{record.status}{reason}, {record.epochs_run} of {record.epochs} epochs"
    for name in ("validation_top1_error", "test_top1_error", "test_top5_error"):
        value = getattr(record, name)
        if value is not None:
            yield f"  {name.replace('_', ' ')}: {100 * value:.2f} %"
    if record.train_seconds is not None:
        yield f"  trained {record.train_seconds:.1f} s on {record.device or 'an unknown device'} ({record.precision})"
