"""Looks at a study's results. Each one is a chance of a false HELPS or HURTS, so the study's alpha is split over those
that it plans, and seeds that were added after looking are counted here, by whatever command they were added.

<storage>/looks.json holds them: the first run's seeds are the first look; a topup is another, and so is raising `seeds`
in the study file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace

from suite.core.specs import BASELINE, Trial
from suite.study.plan import InterimLook, Plan, group_label
from suite.sweep.storage import StudyStorage

_TESTED = 3  # fewer seeds give no verdict: there was nothing to look at


def with_looks(plan: Plan) -> Plan:
    """The plan with the looks that its storage knows, hence with the seeds that topups added."""
    if plan.looks:
        return plan
    return replace(plan, looks=StudyStorage(plan.study).read_looks())


def add_current_look(plan: Plan, storage: StudyStorage) -> Plan:
    """The plan with the look that its results will be.

    Seeds that were added before anything could be seen belong to the look that is under way; else they are a look more.
    """
    planned = {group_label(planned.cell): plan.count_seeds(planned.cell) for planned in plan.runnable}
    if not plan.looks:
        return replace(plan, looks=(InterimLook(planned),))
    *earlier, last = plan.looks
    raised = {group: seeds for group, seeds in planned.items() if seeds > last.seeds.get(group, 0)}
    if not raised:
        return plan
    seeds = {**last.seeds, **raised}
    if _was_judged({group: last.seeds.get(group, 0) for group in raised}, storage):
        return replace(plan, looks=(*plan.looks, InterimLook(seeds)))
    return replace(plan, looks=(*earlier, InterimLook(seeds, last.detect)))


def _was_judged(seeds: Mapping[str, int], storage: StudyStorage) -> bool:
    """Whether a cell of these groups can have got a verdict on so many seeds: it and its baseline have them all."""
    if max(seeds.values()) < _TESTED:
        return False
    completed: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))  # group -> variant -> seeds
    for record in storage.read_records().values():
        if record.stage == "confirm" and record.status == "completed":
            cell = Trial.from_dict(record.trial).cell
            completed[group_label(cell)][cell.variant.label].add(record.seed)
    for group, number in seeds.items():
        whole = [variant for variant, done in completed[group].items() if done.issuperset(range(number))]
        if number >= _TESTED and BASELINE in whole and len(whole) > 1:
            return True
    return False


def describe_unplanned_looks(plan: Plan) -> str | None:
    """The sentence that says so, when there were more looks than the study planned."""
    planned, alpha = plan.study.statistics.looks, plan.study.statistics.alpha
    if len(plan.looks) <= planned:
        return None
    before, after = (format_range(look.seeds.values()) for look in plan.looks[-2:])
    return (
        f"seeds were raised from {before} to {after} after results could be seen: look {len(plan.looks)} of {planned} "
        f"planned, so a false HELPS or HURTS is likelier than {alpha:g}; "
        "statistics.looks is set before a study's first run"
    )


def format_range(numbers: Collection[int]) -> str:
    """`5`, or `5 to 12` where they differ."""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"
