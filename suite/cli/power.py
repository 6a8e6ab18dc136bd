"""What `graftbench plan` says of a study's seeds: the smallest effect that they can see."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rich.markup import escape

from suite.core.errors import UserError

if TYPE_CHECKING:
    from analysis.verdicts.model import TestSettings
    from analysis.verdicts.power import Spread
    from suite.study.plan import Plan
    from suite.sweep.storage import StudyStorage

_Number = TypeVar("_Number", int, float)

EXAMPLE_SD = 0.003  # of the paired differences, while a study has none: 0.3 pp
MORE_SEEDS = (10, 20)  # shown beside those planned


def compute_power(plan: Plan) -> dict[str, Any]:
    """What the planned seeds can see, for `plan --json`; effects and spreads as fractions.

    `measured` holds a row per cell whose finished seeds show a spread, `note` a sentence or None.
    """
    from analysis.verdicts.model import TestSettings
    from analysis.verdicts.power import compute_mde

    rules = plan.study.statistics
    family = sum(not planned.cell.is_baseline for planned in plan.runnable)
    terms = TestSettings(rules.alpha / rules.looks, rules.rope / 100, max(1, family), rules.looks)
    planned = sorted({plan.count_seeds(one.cell) for one in plan.runnable}) if family else []
    more = [seeds for seeds in MORE_SEEDS if planned and seeds > planned[-1]]
    measured, note = _so_far(plan, terms)
    return {
        "family": family,
        "alpha": rules.alpha,
        "looks": rules.looks,
        "alpha_per_look": terms.alpha,
        "hardest_step": terms.alpha / terms.family,
        "rope": terms.rope,
        "planned": [dataclasses.asdict(compute_mde(seeds, terms)) for seeds in planned],
        "more": [dataclasses.asdict(compute_mde(seeds, terms)) for seeds in more],
        "measured": measured,
        "note": note,
    }


def _so_far(plan: Plan, terms: TestSettings) -> tuple[list[dict[str, Any]], str | None]:
    """A row per cell with a spread so far, and what `run` would say of the storage or of the looks at it."""
    from analysis.verdicts.power import compute_mde
    from suite.study.plan import group_label
    from suite.sweep.interim_looks import add_current_look, describe_unplanned_looks
    from suite.sweep.storage import StudyStorage

    storage = StudyStorage(plan.study)
    try:
        storage.check_study()
        note = describe_unplanned_looks(add_current_look(plan, storage))
    except UserError as refusal:
        return [], f"finished trials are left out here: {refusal}"
    planned, rows = {group_label(one.cell): plan.count_seeds(one.cell) for one in plan.runnable}, []
    for one in _measure_spreads(plan, storage):
        group = f"{one.cell.dataset} / {one.cell.backbone}"
        if group in planned:
            seen = compute_mde(planned[group], terms).smallest_effect_in_sd
            row = one.cell.cell_id._asdict()
            row |= {"seeds": one.seeds, "sd": one.sd, "planned_seeds": planned[group]}
            row |= {"smallest_effect": seen and seen * one.sd, "seeds_for_rope": one.seeds_for_rope}
            rows.append(row)
    return rows, note


def _measure_spreads(plan: Plan, storage: StudyStorage) -> list[Spread]:
    rows = [record.to_row() for record in storage.read_records().values()]
    if not rows:
        return []
    import pandas as pd

    from analysis.records.arrange import arrange_records
    from analysis.records.description import read_description
    from analysis.verdicts.power import list_spreads
    from analysis.verdicts.results import StudyResults
    from suite.tracking.mlflow_store import describe_study

    described = describe_study(plan)
    for cell in described["cells"]:
        cell["seeds"] = 0  # the seeds that there are, not those planned
    study = read_description(described, "the study")
    return list_spreads(StudyResults(arrange_records(pd.DataFrame(rows), pd.DataFrame(), study)))


def power_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """`power` for a terminal."""
    if not found["family"]:
        return
    split = f" ({found['alpha']:g} over {found['looks']} looks)" if found["looks"] > 1 else ""
    yield (
        f"power: {_format_comparison_count(found['family'])} in one family at alpha {found['alpha_per_look']:g}"
        f"{split}, so {found['hardest_step']:.2g} for the first to decide (Holm)"
    )
    for one in found["planned"]:
        if one["unattainable"]:
            yield f"[yellow]no verdict is attainable[/]: {escape(one['unattainable'])}"
        else:
            example = "" if found["measured"] else _format_example(one)
            yield f"  {one['seeds']} seeds see mean differences from {_in_sd(one)} on, with power 0.8{example}"
    better = [one for one in found["more"] if not one["unattainable"]]
    if better:
        seen = (f"{one['seeds']} would see them from {_in_sd(one)}" for one in better)
        yield f"  {', '.join(seen)} on"
    if found["measured"]:
        yield f"  {_format_spread_line(found)}"
    if found["note"]:
        yield f"[yellow]note[/] {escape(found['note'])}"


def _in_sd(one: Mapping[str, Any]) -> str:
    return f"{one['smallest_effect_in_sd']:.2g} sd"


def _format_example(one: Mapping[str, Any]) -> str:
    """`: 1.2 pp where the paired differences of a cell have an sd of 0.3 pp`."""
    from analysis.formatting import format_size

    effect = format_size(one["smallest_effect_in_sd"] * EXAMPLE_SD)
    return f": {effect} pp where the paired differences of a cell have an sd of {format_size(EXAMPLE_SD)} pp"


def _format_spread_line(found: Mapping[str, Any]) -> str:
    """`by the finished seeds of 4 cells, sd 0.2 to 0.5 pp: the planned seeds see 0.8 to 2 pp; 0.5 pp takes 8 to 31`."""
    from analysis.formatting import format_plural, format_size
    from analysis.stats.paired import MOST_SEEDS

    rows = found["measured"]
    spread = _format_span([row["sd"] for row in rows], format_size)
    line = f"by the finished seeds of {format_plural(len(rows), 'cell')}, sd {spread} pp"
    seen = [row["smallest_effect"] for row in rows if row["smallest_effect"] is not None]
    if seen:
        line += f": the planned seeds see from {_format_span(seen, format_size)} pp on"
    takes = [row["seeds_for_rope"] or MOST_SEEDS + 1 for row in rows]
    shown = _format_span(takes, lambda seeds: f"{seeds}" if seeds <= MOST_SEEDS else f"more than {MOST_SEEDS:,}")
    return f"{line}; {format_size(found['rope'])} pp takes {shown} seeds"


def _format_span(values: Sequence[_Number], show: Callable[[_Number], str]) -> str:
    """`0.2 to 0.5`, or the one value."""
    low, high = show(min(values)), show(max(values))
    return low if low == high else f"{low} to {high}"


def _format_comparison_count(number: int) -> str:
    return f"{number} comparison" + ("" if number == 1 else "s")
