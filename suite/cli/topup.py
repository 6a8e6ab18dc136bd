"""`graftbench topup`: adds the confirm seeds that it takes to see a difference, and runs them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suite.cli import common
from suite.cli.common import DEFAULT_DATA, Data, Json, Profile
from suite.cli.console import escape, make_table, print_parts, write_json
from suite.core.errors import UserError
from suite.core.specs import CellId

if TYPE_CHECKING:
    from rich.table import Table

    from analysis.verdicts.power import GroupNeed
    from analysis.verdicts.results import StudyResults
    from suite.study.plan import InterimLook, Plan


@dataclass(frozen=True)
class Addition:
    """What a group's need comes to: how many trials more, and their training seconds by what the finished ones took."""

    need: GroupNeed
    trials: int
    train_seconds: float

    @property
    def group(self) -> str:
        """As `suite.study.plan.group_label` names it."""
        return f"{self.need.dataset} / {self.need.backbone}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        cells = []
        for need in self.need.cells:
            verdict = need.verdict
            cell = {"variant": verdict.variant, "settings": verdict.settings, "verdict": verdict.verdict}
            cells.append({**cell, "undecided": need.undecided, "needed": need.seeds, "why": need.why})
        return {**vars(self.need), "trials": self.trials, "train_seconds": self.train_seconds, "cells": cells}


def topup(
    study: common.StudyFile,
    detect: Annotated[
        float | None, typer.Option(help="The difference to see, in percentage points; default: the study's rope.")
    ] = None,
    profile: Profile = "",
    data: Data = DEFAULT_DATA,
    local: common.Local = False,
    address: common.Address = None,
    device: common.Device = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be added; train nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Add the confirm seeds that undecided cells need to see a difference, and run them: the study's next look."""
    if detect is not None and not 0 < detect < 100:
        raise UserError(f"--detect: must be above 0 and below 100 percentage points, not {detect:g}")
    common.check_place(local, address, device)
    plan, name = common.build_checked_plan(study, data, profile), common.format_study_argument(study, profile)
    from suite.cli.render import outcome_lines
    from suite.study.study_files import digest_study
    from suite.sweep.run import Options

    plan, additions, look = _plan_next_look(plan, study, profile, detect)
    summary = {
        "study": plan.study.study,
        "detect": look.detect,
        "look": len(plan.looks),
        "looks": plan.study.statistics.looks,
        "resumed": additions is None,
        "seeds": dict(look.seeds),
        "groups": [addition.as_dict() for addition in additions or ()],
    }
    if not as_json:
        print_parts(_format_lines(plan, additions, look))
    if dry_run or (additions is not None and not _count_trials(additions)):
        if as_json:
            write_json({**summary, "trained": 0, "failed": 0})
        return
    command = f"topup {common.format_study_argument(study, profile, data)} --detect {look.detect:g}"
    options = Options(data, local, address, device, digest_study(study, profile))
    outcome = common.train_missing(plan, options, command, stderr=as_json)
    if as_json:
        write_json({**summary, "trained": outcome.trained, "failed": len(outcome.failed)})
    else:
        from analysis.verdicts.cells import count_rulings

        findings = common.read_findings(common.collect_records(study, profile))
        counts = count_rulings(findings.verdicts).items()
        verdicts = ", ".join(f"{number} {ruling}" for ruling, number in counts)
        print_parts([*outcome_lines(plan, outcome, name), f"verdicts: {verdicts}"])
    common.exit_after(outcome)


def _plan_next_look(
    plan: Plan, study: Path, profile: str, detect: float | None
) -> tuple[Plan, list[Addition] | None, InterimLook]:
    """The plan with the look that is to be run, what it adds (None: it is under way already), and the look.

    Refused where the study isn't finished, has no spread to plan with, or has taken all its looks.
    """
    from suite.sweep.interim_looks import add_current_look, with_looks
    from suite.sweep.run import needs_training
    from suite.sweep.storage import StudyStorage

    storage = StudyStorage(plan.study)
    storage.check_study()
    plan = with_looks(plan)
    if needs_training(plan, storage):
        # What is missing may be seeds that the study file added since.
        look = add_current_look(plan, storage).looks[-1]
        if look.detect is None:
            raise UserError(
                "the study is not finished, and seeds are added to whole cells only: first `graftbench run "
                f"{common.format_study_argument(study, profile)}` (`status` shows what is missing or failed)"
            )
        return plan, None, look
    points = plan.study.statistics.rope if detect is None else detect
    findings = common.read_findings(common.collect_records(study, profile))
    additions = _plan_additions(plan, findings, points / 100)
    plan = _with_what_else_was_seen(plan, additions)
    look = _make_look(plan, additions, points)
    if _count_trials(additions):
        _refuse_unplanned(plan)
        plan = replace(plan, looks=(*plan.looks, look))
    return plan, additions, look


def _count_trials(additions: Sequence[Addition]) -> int:
    return sum(addition.trials for addition in additions)


def _make_look(plan: Plan, additions: Sequence[Addition], points: float) -> InterimLook:
    """The next look; groups in which nothing can be compared stay as the last one left them."""
    from suite.study.plan import InterimLook

    seeds = dict(plan.looks[-1].seeds)
    for addition in additions:
        if addition.need.comparable:
            seeds[addition.group] = addition.need.target
    return InterimLook(seeds, points)


def _refuse_unplanned(plan: Plan) -> None:
    planned, alpha = plan.study.statistics.looks, plan.study.statistics.alpha
    if len(plan.looks) < planned:
        return
    looks = "1 look at its results, which is taken" if planned == 1 else f"{planned} looks at its results, all taken"
    raise UserError(
        f"statistics.looks: this study planned {looks}, and seeds added after looking make a false HELPS or HURTS "
        f"likelier than {alpha:g}: looks are planned before the first run, so start afresh with `looks: {planned + 1}` "
        "in a study of a new name and another split_seed, whose trials nobody has seen"
    )


def _with_what_else_was_seen(plan: Plan, additions: Sequence[Addition]) -> Plan:
    """Results may hold seeds that this storage knows nothing of (another machine's): those were a look too."""
    from suite.study.plan import InterimLook

    last: Mapping[str, int] = plan.looks[-1].seeds if plan.looks else {}
    more = {}
    for addition in additions:
        if addition.need.comparable and addition.need.seeds > last.get(addition.group, 0):
            more[addition.group] = addition.need.seeds
    if plan.looks and not more:
        return plan
    return replace(plan, looks=(*plan.looks, InterimLook({**last, **more})))


def _plan_additions(plan: Plan, findings: StudyResults, effect: float) -> list[Addition]:
    """Per group of the plan; those that compare nothing are left out. A cell without a spread is refused."""
    from analysis.verdicts.power import list_needs

    planned: dict[tuple[str, str], set[CellId]] = defaultdict(set)
    for runnable in plan.runnable:
        cell_id = runnable.cell.cell_id
        planned[cell_id.dataset, cell_id.backbone].add(cell_id)
    additions = []
    for need in list_needs(findings, effect, plan.study.statistics.most_seeds):
        for cell in need.cells:
            if cell.verdict.verdict == "SINGLE RUN":
                raise UserError(
                    f"seeds: {cell.why}; set `seeds: 3` or more and run the study first (with fewer nothing is tested, "
                    "so that is no look)"
                )
        cells = planned[need.dataset, need.backbone]
        if cells:
            more = need.target - need.seeds
            additions.append(Addition(need, more * len(cells), more * _measure_seed(findings, cells)))
    return additions


def _measure_seed(findings: StudyResults, cell_ids: Container[CellId]) -> float:
    """Training seconds of one confirm seed in all these cells."""
    seconds = 0.0
    for group in findings.groups:
        for cell in group.cells:
            times = [trial.train_seconds for trial in cell.confirm if trial.train_seconds is not None]
            if times and cell.cell_id in cell_ids:
                seconds += sum(times) / len(times)
    return seconds


def _format_lines(plan: Plan, additions: Sequence[Addition] | None, look: InterimLook) -> Iterator[Table | str]:
    from suite.sweep.status import format_duration

    rules = plan.study.statistics
    if additions is None:
        seeds = ", ".join(f"{group}: {number}" for group, number in look.seeds.items())
        yield escape(
            f"look {len(plan.looks)} of {rules.looks}, to see {look.detect:g} pp, is not finished and goes on; "
            f"seeds of {seeds}"
        )
        return
    trials = _count_trials(additions)
    alpha = rules.alpha / rules.looks
    yield f"[bold]{plan.study.study}[/]: seeds to see {look.detect:g} pp with power 0.8, at alpha {alpha:g} a look"
    figures = ("seeds", "needed", "will be")
    table = make_table("dataset", "backbone", *figures, "why", right=figures)
    for addition in additions:
        need, counts = addition.need, ("", "", "")
        if need.comparable:
            needed = "> 1,000" if need.needed is None else str(need.needed)
            counts = (str(need.seeds), needed, str(need.target))
        table.add_row(escape(need.dataset), escape(need.backbone), *counts, escape(need.why))
    yield table
    if not trials:
        yield "nothing to add, and no look taken"
        return
    cost = format_duration(sum(addition.train_seconds for addition in additions))
    yield f"look {len(plan.looks)} of {rules.looks}: {trials} trials more, about {cost} of training, as the others took"
    if any(addition.trials and addition.need.capped for addition in additions):
        hardly = "where most_seeds caps it, this look can hardly decide; a larger --detect spends it better"
        yield f"[yellow]warning[/]: {hardly}"
