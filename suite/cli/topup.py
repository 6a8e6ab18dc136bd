"""`graftbench topup`: adds the confirm seeds that it takes to see a difference, and runs them."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from suite.cli.common import (
    Address,
    Device,
    Local,
    StudyFile,
    build_checked_plan,
    check_place,
    collect_records,
    format_study_argument,
    read_findings,
    train_missing,
)
from suite.cli.console import DEFAULT_DATA, DONE, SOME_FAILED, Data, Json, Profile, print_parts, write_json
from suite.core.errors import UserError
from suite.core.specs import CellId

if TYPE_CHECKING:
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
        cells = [
            {
                "variant": cell.verdict.variant,
                "settings": cell.verdict.settings,
                "verdict": cell.verdict.verdict,
                "undecided": cell.undecided,
                "needed": cell.seeds,
                "why": cell.why,
            }
            for cell in self.need.cells
        ]
        return {**vars(self.need), "trials": self.trials, "train_seconds": self.train_seconds, "cells": cells}


def topup(
    study: StudyFile,
    detect: Annotated[
        float | None, typer.Option(help="The difference to see, in percentage points; default: the study's rope.")
    ] = None,
    profile: Profile = "",
    data: Data = DEFAULT_DATA,
    local: Local = False,
    address: Address = None,
    device: Device = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be added; train nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Add the confirm seeds that undecided cells need to see a difference, and run them: the study's next look."""
    if detect is not None and not 0 < detect < 100:
        raise UserError(f"--detect: must be above 0 and below 100 percentage points, not {detect:g}")
    check_place(local, address, device)
    checked, name = build_checked_plan(study, data, profile), format_study_argument(study, profile)
    from suite.sweep.run import Options

    plan, additions, look = _plan_next_look(checked, study, profile, detect)
    said = {
        "study": plan.study.study,
        "detect": look.detect,
        "look": len(plan.looks),
        "looks": plan.study.statistics.looks,
        "resumed": additions is None,
        "seeds": dict(look.seeds),
        "groups": [one.as_dict() for one in additions or ()],
    }
    if not as_json:
        print_parts(_format_resumed_lines(plan, look) if additions is None else _format_lines(plan, additions, look))
    nothing = additions is not None and not any(one.trials for one in additions)
    if dry_run or nothing:
        if as_json:
            write_json({**said, "trained": 0, "failed": 0})
        return
    command = f"topup {name} --detect {look.detect:g}"
    outcome = train_missing(plan, Options(data, local, address, device), command, stderr=as_json)
    if as_json:
        write_json({**said, "trained": outcome.trained, "failed": len(outcome.failed)})
    else:
        from suite.cli.render import outcome_lines

        print_parts(
            [
                *outcome_lines(plan, outcome, name),
                _format_current_verdicts(read_findings(collect_records(study, profile))),
            ]
        )
    raise typer.Exit(SOME_FAILED if outcome.failed or outcome.tracking_trouble else DONE)


def _plan_next_look(
    plan: Plan, study: Path, profile: str, detect: float | None
) -> tuple[Plan, list[Addition] | None, InterimLook]:
    """The plan with the look that is to be run, what it adds (None: it is under way already), and the look.

    Raises:
        UserError: the study isn't finished, has no spread to plan with, or has taken all its looks.
    """
    from suite.sweep.interim_looks import add_current_look, with_looks
    from suite.sweep.run import needs_training
    from suite.sweep.storage import StudyStorage

    storage = StudyStorage(plan.study)
    storage.check_study()
    plan = with_looks(plan)
    if needs_training(plan, storage):
        under_way = add_current_look(plan, storage).looks[
            -1
        ]  # what is missing may be seeds that the study file added since
        if under_way.detect is None:
            raise UserError(
                "the study is not finished, and seeds are added to whole cells only: first "
                f"`graftbench run {format_study_argument(study, profile)}` (`status` shows what is missing or failed)"
            )
        return plan, None, under_way
    points = plan.study.statistics.rope if detect is None else detect
    additions = _plan_additions(plan, read_findings(collect_records(study, profile)), points / 100)
    plan = _with_what_else_was_seen(plan, additions)
    look = _make_look(plan, additions, points)
    if not any(one.trials for one in additions):
        return plan, additions, look
    _refuse_unplanned(plan)
    return replace(plan, looks=(*plan.looks, look)), additions, look


def _make_look(plan: Plan, additions: Sequence[Addition], points: float) -> InterimLook:
    """The next look; groups in which nothing can be compared stay as the last one left them."""
    from suite.study.plan import InterimLook

    targets = {one.group: one.need.target for one in additions if one.need.comparable}
    return InterimLook({**plan.looks[-1].seeds, **targets}, points)


def _refuse_unplanned(plan: Plan) -> None:
    planned, alpha = plan.study.statistics.looks, plan.study.statistics.alpha
    if len(plan.looks) < planned:
        return
    taken = "1 look at its results, which is taken" if planned == 1 else f"{planned} looks at its results, all taken"
    raise UserError(
        f"statistics.looks: this study planned {taken}, and seeds added after looking make a false HELPS or HURTS "
        f"likelier than {alpha:g}: looks are planned before the first run, so start afresh with `looks: {planned + 1}` "
        "in a study of a new name and another split_seed, whose trials nobody has seen"
    )


def _with_what_else_was_seen(plan: Plan, additions: Sequence[Addition]) -> Plan:
    """Results may hold seeds that this storage knows nothing of (another machine's): those were a look too."""
    from suite.study.plan import InterimLook

    found = {one.group: one.need.seeds for one in additions if one.need.comparable}
    if not plan.looks:
        return replace(plan, looks=(InterimLook(found),))
    last = plan.looks[-1].seeds
    more = {group: seeds for group, seeds in found.items() if seeds > last.get(group, 0)}
    if more:
        return replace(plan, looks=(*plan.looks, InterimLook({**last, **more})))
    return plan


def _plan_additions(plan: Plan, findings: StudyResults, effect: float) -> list[Addition]:
    """Per group of the plan; those that compare nothing are left out.

    Raises:
        UserError: a cell has too few seeds for a spread.
    """
    from analysis.verdicts.power import list_needs
    from suite.study.plan import group_label

    cells: dict[str, set[CellId]] = {}
    for one in plan.runnable:
        own = one.cell.cell_id
        cells.setdefault(group_label(one.cell), set()).add(own)
    found = []
    for need in list_needs(findings, effect, plan.study.statistics.most_seeds):
        single = next((cell for cell in need.cells if cell.verdict.verdict == "SINGLE RUN"), None)
        if single is not None:
            raise UserError(
                f"seeds: {single.why}; set `seeds: 3` or more and run the study first (with fewer nothing is tested, "
                "so that is no look)"
            )
        planned = cells.get(f"{need.dataset} / {need.backbone}")
        if planned:
            more = need.target - need.seeds
            found.append(Addition(need, more * len(planned), more * _seconds_of_a_seed(findings, need, planned)))
    return found


def _seconds_of_a_seed(findings: StudyResults, need: GroupNeed, planned: Container[CellId]) -> float:
    """Training seconds of one confirm seed in all planned cells of the group."""
    wanted, seconds = (need.dataset, need.backbone), 0.0
    for group in findings.groups:
        for cell in group.cells if (group.dataset, group.backbone) == wanted else ():
            taken = [trial.train_seconds for trial in cell.confirm if trial.train_seconds is not None]
            if taken and cell.cell_id in planned:
                seconds += sum(taken) / len(taken)
    return seconds


# -- what it says


def _format_lines(plan: Plan, additions: Sequence[Addition], look: InterimLook) -> Iterator[Table | str]:
    from suite.sweep.progress import format_duration

    rules, trials = plan.study.statistics, sum(one.trials for one in additions)
    yield (
        f"[bold]{plan.study.study}[/]: seeds to see {look.detect:g} pp with power 0.8, at alpha "
        f"{rules.alpha / rules.looks:g} a look"
    )
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("dataset", "backbone", "seeds", "needed", "will be", "why"):
        table.add_column(name, justify="right" if name in ("seeds", "needed", "will be") else "left", overflow="fold")
    for one in additions:
        needed = "> 1,000" if one.need.needed is None else str(one.need.needed)
        counts = (str(one.need.seeds), needed, str(one.need.target)) if one.need.comparable else ("", "", "")
        table.add_row(escape(one.need.dataset), escape(one.need.backbone), *counts, escape(one.need.why))
    yield table
    if not trials:
        yield "nothing to add, and no look taken"
        return
    cost = format_duration(sum(one.train_seconds for one in additions))
    yield f"look {len(plan.looks)} of {rules.looks}: {trials} trials more, about {cost} of training, as the others took"
    if any(one.trials and one.need.capped for one in additions):
        hardly = "where most_seeds caps it, this look can hardly decide; a larger --detect spends it better"
        yield f"[yellow]warning[/]: {hardly}"


def _format_resumed_lines(plan: Plan, look: InterimLook) -> Iterator[str]:
    seeds = ", ".join(f"{group}: {number}" for group, number in look.seeds.items())
    yield escape(
        f"look {len(plan.looks)} of {plan.study.statistics.looks}, to see {look.detect:g} pp, is not finished and goes "
        f"on; seeds of {seeds}"
    )


def _format_current_verdicts(findings: StudyResults) -> str:
    from analysis.verdicts.cells import count_rulings

    return "verdicts: " + ", ".join(f"{number} {ruling}" for ruling, number in count_rulings(findings.verdicts).items())
