"""What `graftbench plan` says of a study's seeds: the smallest effect that they can see."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from analysis.formatting import format_plural, format_size
from suite.cli.console import escape
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

    rules = plan.study.statistics
    family = sum(not planned.cell.is_baseline for planned in plan.runnable)
    terms = TestSettings(rules.alpha / rules.looks, rules.rope / 100, max(1, family), rules.looks)
    planned, more = set[int](), list[int]()
    if family:
        planned = {plan.count_seeds(planned.cell) for planned in plan.runnable}
        more = [seeds for seeds in MORE_SEEDS if seeds > max(planned)]
    measured, note = _summarise_spreads(plan, terms)
    return {
        "family": family,
        "alpha": rules.alpha,
        "looks": rules.looks,
        "alpha_per_look": terms.alpha,
        "hardest_step": terms.alpha / terms.family,
        "rope": terms.rope,
        "planned": _compute_effects(sorted(planned), terms),
        "more": _compute_effects(more, terms),
        "measured": measured,
        "note": note,
    }


def _compute_effects(seeds: Sequence[int], terms: TestSettings) -> list[dict[str, Any]]:
    from analysis.verdicts.power import compute_mde

    return [dataclasses.asdict(compute_mde(number, terms)) for number in seeds]


def _summarise_spreads(plan: Plan, terms: TestSettings) -> tuple[list[dict[str, Any]], str | None]:
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
    planned_seeds = {group_label(planned.cell): plan.count_seeds(planned.cell) for planned in plan.runnable}
    rows = []
    for spread in _measure_spreads(plan, storage):
        seeds = planned_seeds.get(f"{spread.cell.dataset} / {spread.cell.backbone}")
        if seeds is None:
            continue
        smallest = compute_mde(seeds, terms).smallest_effect_in_sd
        row = {**spread.cell.cell_id._asdict(), "seeds": spread.seeds, "sd": spread.sd, "planned_seeds": seeds}
        row["smallest_effect"] = None if smallest is None else smallest * spread.sd
        rows.append({**row, "seeds_for_rope": spread.seeds_for_rope})
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

    description = describe_study(plan)
    for cell in description["cells"]:
        cell["seeds"] = 0  # the seeds that there are, not those planned
    study = read_description(description, "the study")
    return list_spreads(StudyResults(arrange_records(pd.DataFrame(rows), pd.DataFrame(), study)))


def power_lines(power: Mapping[str, Any]) -> Iterator[str]:
    """What `compute_power` found, for a terminal."""
    if not power["family"]:
        return
    alpha = f"alpha {power['alpha_per_look']:g}"
    if power["looks"] > 1:
        alpha += f" ({power['alpha']:g} over {power['looks']} looks)"
    yield (
        f"power: {format_plural(power['family'], 'comparison')} in one family at {alpha}"
        f", so {power['hardest_step']:.2g} for the first to decide (Holm)"
    )
    for effect in power["planned"]:
        if effect["unattainable"]:
            yield f"[yellow]no verdict is attainable[/]: {escape(effect['unattainable'])}"
        else:
            example = "" if power["measured"] else _format_example(effect)
            yield f"  {effect['seeds']} seeds see mean differences from {_in_sd(effect)} on, with power 0.8{example}"
    better = [
        f"{effect['seeds']} would see them from {_in_sd(effect)}"
        for effect in power["more"]
        if not effect["unattainable"]
    ]
    if better:
        yield f"  {', '.join(better)} on"
    if power["measured"]:
        yield f"  {_format_spread_line(power['measured'], power['rope'])}"
    if power["note"]:
        yield f"[yellow]note[/] {escape(power['note'])}"


def _in_sd(effect: Mapping[str, Any]) -> str:
    return f"{effect['smallest_effect_in_sd']:.2g} sd"


def _format_example(effect: Mapping[str, Any]) -> str:
    """`: 1.2 pp where the paired differences of a cell have an sd of 0.3 pp`."""
    points = format_size(effect["smallest_effect_in_sd"] * EXAMPLE_SD)
    return f": {points} pp where the paired differences of a cell have an sd of {format_size(EXAMPLE_SD)} pp"


def _format_spread_line(rows: Sequence[Mapping[str, Any]], rope: float) -> str:
    """`by the finished seeds of 4 cells, sd 0.2 to 0.5 pp: the planned seeds see 0.8 to 2 pp; 0.5 pp takes 8 to 31`."""
    from analysis.stats.paired import MOST_SEEDS

    def format_seeds(seeds: int) -> str:
        return f"{seeds}" if seeds <= MOST_SEEDS else f"more than {MOST_SEEDS:,}"

    spread = _format_span([row["sd"] for row in rows], format_size)
    line = f"by the finished seeds of {format_plural(len(rows), 'cell')}, sd {spread} pp"
    effects = [row["smallest_effect"] for row in rows if row["smallest_effect"] is not None]
    if effects:
        line += f": the planned seeds see from {_format_span(effects, format_size)} pp on"
    seeds = [row["seeds_for_rope"] or MOST_SEEDS + 1 for row in rows]
    return f"{line}; {format_size(rope)} pp takes {_format_span(seeds, format_seeds)} seeds"


def _format_span(values: Sequence[_Number], show: Callable[[_Number], str]) -> str:
    """`0.2 to 0.5`, or the one value."""
    low, high = show(min(values)), show(max(values))
    return low if low == high else f"{low} to {high}"
