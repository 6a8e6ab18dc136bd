"""Where it is known from what trials take: this study's own, kept timings, and trials of other studies. No torch."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from suite.core import records
from suite.core.records import Record
from suite.core.specs import Cell
from suite.price.costs import TrialCost, cost_trial, count_images, resolve_cell_recipe
from suite.price.price import Device, DeviceKind, Infos, KnownCost
from suite.price.timings import KeptTiming, count_threads, identify_network, read_timings
from suite.study.plan import Plan, PlannedCell
from suite.sweep.journal import TrialState, read_ends

Costs = dict[Device, dict[Cell, KnownCost]]

_SAMPLE = 10  # trials of a cell and a host that are looked at
_MEASURED = frozenset({"completed", "stopped"})


def find_costs(plan: Plan, infos: Infos, *, is_alone: bool = False) -> Costs:
    """What is known of the plan's cells, by device; first the device of which most is known.

    A trial of this study says more than a timing, and that more than a trial of another study.

    Args:
        is_alone: whether trials will run one at a time, as with `--local`; ended trials tell what they took where they
            ran.
    """
    own = plan.study.storage_path
    others = sorted(path.parent for path in own.parent.glob("*/events.jsonl") if path.parent != own)
    found: Costs = {}
    for part in (read_trials(own, plan, infos), read_kept(plan, infos, is_alone), *_read_each(others, plan, infos)):
        for device, costs in part.items():
            found[device] = costs | found.get(device, {})
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), -_count_trials(item[1]))))


def _read_each(storages: Iterable[Path], plan: Plan, infos: Infos) -> Iterator[Costs]:
    for storage in storages:
        yield read_trials(storage, plan, infos)


def _count_trials(costs: Mapping[Cell, KnownCost]) -> int:
    return sum(known.trials for known in costs.values())


# -- timings


def read_kept(plan: Plan, infos: Infos, is_alone: bool) -> Costs:
    """From the timings of earlier probes."""
    found: Costs = defaultdict(dict)
    for planned in plan.runnable:
        for kept in read_timings(identify_network(plan, planned, infos[planned.cell.dataset])):
            found[kept.device][planned.cell] = cost_kept(plan, planned, kept, infos, is_alone)
    return dict(found)


def cost_kept(plan: Plan, planned: PlannedCell, kept: KeptTiming, infos: Infos, is_alone: bool = False) -> KnownCost:
    """What a cell's trials take by a timing, beside as many others as a run has, or alone."""
    recipe = resolve_cell_recipe(plan, planned)
    cost = cost_trial(kept.timing, count_images(infos[planned.cell.dataset], recipe), recipe)
    if is_alone:
        return KnownCost(cost, timed=kept.made)
    crowded = TrialCost(*(kept.crowding * seconds for seconds in (cost.start, cost.epoch, cost.test)))
    return KnownCost(crowded, timed=kept.made, slots=kept.slots)


# -- trials


def read_trials(storage: Path, plan: Plan, infos: Infos) -> Costs:
    """From a study's trials of the plan's cells, with as many threads, in batches as large."""
    cells = {planned.cell.label: planned for planned in plan.runnable}
    ended: dict[tuple[str, str], list[TrialState]] = defaultdict(list)
    for end in read_ends(storage).values():
        planned = cells.get(end.cell)
        if planned and end.revision == planned.revision and end.status in _MEASURED and end.epochs and end.seconds:
            ended[end.cell, end.host].append(end)
    samples: dict[Device, dict[Cell, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (label, _), ends in ended.items():
        record = _read_record(storage, ends[0])
        if record and _is_alike(record, plan, cells[label]):
            device = Device(_name_kind(record), record.device)
            factor = _compare_images(record, plan, cells[label], infos)
            whole = sorted(ends, key=lambda end: -end.epochs)  # one stopped early is mostly its start
            measured = [factor * measure_epoch(storage, end) for end in whole[:_SAMPLE]]
            samples[device][cells[label].cell] += measured
    return {device: _take_medians(by_cell) for device, by_cell in samples.items()}


def measure_epoch(storage: Path, end: TrialState) -> float:
    """Seconds of a trial per epoch, with all that isn't training: from its being taken up to its record.

    Of a trial that was interrupted, or whose files were copied, training alone is known.
    """
    seconds = end.seconds or 0.0
    try:
        taken_up = (storage / "trials" / end.key / "trial.json").stat().st_mtime_ns
    except OSError:
        taken_up = end.stamp
    return max(seconds, (end.stamp - taken_up) / 1e9) / end.epochs


def _read_record(storage: Path, end: TrialState) -> Record | None:
    try:
        return records.read_record(storage / "trials" / end.key / "record.json")
    except (OSError, ValueError):
        return None


def _is_alike(record: Record, plan: Plan, planned: PlannedCell) -> bool:
    is_same_batch = record.batch == resolve_cell_recipe(plan, planned).batch
    return is_same_batch and record.threads == count_threads(plan) and bool(record.device)


def _name_kind(record: Record) -> DeviceKind:
    return "cuda" if record.device_kind == "cuda" else "cpu"


def _compare_images(record: Record, plan: Plan, planned: PlannedCell, infos: Infos) -> float:
    """How many times the record's images the plan's trials have: another study may limit them."""
    had = (record.train_examples or 0) + (record.validation_examples or 0)
    images = count_images(infos[planned.cell.dataset], resolve_cell_recipe(plan, planned))
    return (images.train + images.validation) / had if had else 1.0


def _take_medians(by_cell: Mapping[Cell, list[float]]) -> dict[Cell, KnownCost]:
    known = {}
    for cell, seconds in by_cell.items():
        known[cell] = KnownCost(TrialCost(0.0, statistics.median(seconds), 0.0), trials=len(seconds))
    return known
