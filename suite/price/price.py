"""The price of what is left of a study: trials, device-hours, wall time and disk, by group and in all. No torch."""

from __future__ import annotations

import itertools
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from suite.core.errors import UserError
from suite.core.records import FINISHED
from suite.core.specs import Cell, Component, Stage
from suite.data.dataset import STREAM_ABOVE
from suite.data.source import DatasetInfo
from suite.price.costs import TrialCost, count_images, measure_disk_space, resolve_cell_recipe
from suite.study.plan import Plan, PlannedCell
from suite.sweep.journal import TrialState, read_ends
from suite.sweep.storage import StudyStorage

DeviceKind = Literal["cpu", "cuda"]
Infos = Mapping[Component, DatasetInfo]


class Device(NamedTuple):
    """A kind of device by its maker's name: times on one say nothing of another."""

    kind: DeviceKind
    name: str


@dataclass(frozen=True)
class KnownCost:
    """What a cell's trials take on a device, and how that is known.

    Attributes:
        trials: earlier ones that it is the median of; 0: its network was timed.
        timed: when that was, in seconds since 1970.
        is_scaled: no trial and no timing of the cell itself; by the multiply-accumulates of another.
        slots: trials at once for which a timing is reckoned.
    """

    cost: TrialCost
    trials: int = 0
    timed: float = 0.0
    is_scaled: bool = False
    slots: int = 1


class TrialsLeft(NamedTuple):
    """Trials of a cell that have no result yet."""

    search: int
    confirm: int


@dataclass(frozen=True)
class GroupPrice:
    """What is left of the cells of one dataset and backbone.

    Attributes:
        weights: bytes of `disk` that are weights.
        seconds, search_seconds: of all trials and of search trials, one after the other; 0 where not known.
    """

    dataset: str
    backbone: str
    trials: int
    weights: float
    disk: float
    seconds: float = 0.0
    search_seconds: float = 0.0


@dataclass(frozen=True)
class Price:
    """What is left of a study.

    Attributes:
        device: that the seconds are of; None: they are not known.
        occupied: devices that a trial occupies: GPUs, or CPU cores.
        longest: seconds of the longest search trial and the confirm trial after it, which nothing can shorten.
        known: how the seconds of each cell are known.
        is_upper_bound: ASHA ends search trials early, and how many is not known before.
        streamed: datasets whose images are decoded while they are trained on.
    """

    groups: tuple[GroupPrice, ...]
    device: Device | None = None
    occupied: float = 1.0
    longest: float = 0.0
    known: tuple[KnownCost, ...] = ()
    is_upper_bound: bool = False
    streamed: tuple[str, ...] = ()

    @property
    def trials(self) -> int:
        return sum(group.trials for group in self.groups)

    @property
    def seconds(self) -> float:
        """Of all trials, one after the other."""
        return sum(group.seconds for group in self.groups)

    @property
    def search_seconds(self) -> float:
        return sum(group.search_seconds for group in self.groups)

    @property
    def disk(self) -> float:
        return sum(group.disk for group in self.groups)

    @property
    def weights(self) -> float:
        """Bytes of `disk` that are weights."""
        return sum(group.weights for group in self.groups)

    def compute_device_hours(self, seconds: float) -> float:
        """GPU-hours or CPU-hours of so many seconds of trials."""
        return seconds * self.occupied / 3600

    def compute_wall_seconds(self, devices: int) -> float:
        """From the first trial's start to the last one's end, on so many devices that always have a trial."""
        return max(self.seconds / max(1, int(devices / self.occupied)), self.longest)


def count_left(plan: Plan) -> dict[PlannedCell, TrialsLeft]:
    """What a run would train, by cell; a trial that was interrupted counts as a whole one."""
    done: dict[tuple[str, str, str], set[int]] = defaultdict(set)  # seeds
    for end in _list_ends(plan):
        if end.status in FINISHED:
            done[end.cell, end.revision, end.stage].add(end.seed)
    left = {}
    for planned in plan.runnable:
        label, seeds = planned.cell.label, plan.count_seeds(planned.cell)
        left[planned] = TrialsLeft(
            search=len(set(range(plan.study.search.trials)) - done[label, planned.revision, "search"]),
            confirm=len(set(range(seeds)) - done[label, planned.revision, "confirm"]),
        )
    return left


def _list_ends(plan: Plan) -> Iterable[TrialState]:
    """Ends of the study's trials; none where a run would refuse the storage."""
    storage = StudyStorage(plan.study)
    try:
        storage.check_study()
    except UserError:
        return ()
    return read_ends(storage.path).values()


def count_devices(plan: Plan, kind: DeviceKind) -> float:
    """How many GPUs, or CPU cores, a trial occupies."""
    resources = plan.study.resources
    return resources.cpus if kind == "cpu" else resources.gpus or 1


def count_here(kind: DeviceKind) -> int:
    """GPUs or CPU cores of this machine, 1 at least; asks without torch."""
    if kind == "cpu":
        return len(os.sched_getaffinity(0))
    return max(1, len(list(Path("/dev").glob("nvidia[0-9]*"))))


def count_slots_here(plan: Plan, kind: DeviceKind) -> int:
    """How many trials a run has at once on the cores of this machine, or on one of its GPUs."""
    places = count_here(kind) if kind == "cpu" else 1
    return max(1, int(places / count_devices(plan, kind)))


def fill_gaps(plan: Plan, costs: Mapping[Cell, KnownCost], infos: Infos) -> dict[Cell, KnownCost]:
    """The costs, where there are any, and for the other cells that of the one nearest in multiply-accumulates."""
    filled = dict(costs)
    work = {planned.cell: _count_work(plan, planned, infos) for planned in plan.runnable}
    for cell, own in work.items():
        if costs and cell not in costs:
            nearest = min(costs, key=lambda other: abs(math.log(work[other] / own)))
            filled[cell] = KnownCost(costs[nearest].cost.scale(own / work[nearest]), is_scaled=True)
    return filled


def _count_work(plan: Plan, planned: PlannedCell, infos: Infos) -> int:
    """Multiply-accumulates of an epoch's training images."""
    images = count_images(infos[planned.cell.dataset], resolve_cell_recipe(plan, planned))
    return max(1, images.train * (planned.macs or 1))


def price_plan(
    plan: Plan,
    left: Mapping[PlannedCell, TrialsLeft],
    infos: Infos,
    device: Device | None = None,
    costs: Mapping[Cell, KnownCost] | None = None,
) -> Price:
    """
    Args:
        device: which `costs` are of; None: nothing is known of the time.
        costs: of the cells, all of them or some; without any the price knows no time.
    """
    filled = fill_gaps(plan, costs or {}, infos)
    groups: dict[tuple[Component, Component], list[PlannedCell]] = {}
    for planned, trials in left.items():
        if trials.search + trials.confirm:
            groups.setdefault(planned.cell.group, []).append(planned)
    priced = tuple(_price_group(plan, cells, left, infos, filled) for cells in groups.values())
    if device is None or not filled:
        return Price(priced)
    counted = list(itertools.chain.from_iterable(groups.values()))
    timed = dict.fromkeys(planned.cell.dataset for planned in counted if filled[planned.cell].timed)
    return Price(
        priced,
        device,
        occupied=count_devices(plan, device.kind),
        longest=max((_find_longest(plan, planned, left[planned], filled) for planned in counted), default=0.0),
        known=tuple(filled[planned.cell] for planned in counted),
        is_upper_bound=plan.study.search.asha is not None and any(left[planned].search for planned in counted),
        streamed=tuple(component.label for component in timed if _is_streamed(plan, infos[component])),
    )


def _is_streamed(plan: Plan, info: DatasetInfo) -> bool:
    """Whether trials are taken to decode images while they train; only the files tell surely."""
    wanted, images = plan.study.resources.residency, info.train_examples + info.test_examples
    return wanted == "stream" or (wanted == "auto" and images * math.prod(info.shape) > STREAM_ABOVE)


def _list_stages(plan: Plan, planned: PlannedCell, left: TrialsLeft) -> Iterator[tuple[Stage, int, int]]:
    """Stages with their trials left and the epochs of each."""
    if left.search:
        yield "search", left.search, plan.search_epochs
    if left.confirm:
        yield "confirm", left.confirm, resolve_cell_recipe(plan, planned).epochs


def _price_group(
    plan: Plan,
    cells: list[PlannedCell],
    left: Mapping[PlannedCell, TrialsLeft],
    infos: Infos,
    costs: Mapping[Cell, KnownCost],
) -> GroupPrice:
    trials, weights, disk = 0, 0.0, 0.0
    seconds = {"search": 0.0, "confirm": 0.0}
    for planned in cells:
        for stage, number, epochs in _list_stages(plan, planned, left[planned]):
            space = measure_disk_space(plan, planned, stage, epochs, infos[planned.cell.dataset])
            trials += number
            weights += number * space.weights
            disk += number * (space.weights + space.others)
            if costs:
                seconds[stage] += number * costs[planned.cell].cost.compute_seconds(stage, epochs)
    first = cells[0].cell
    labels = (first.dataset.label, first.backbone.label)
    return GroupPrice(*labels, trials, weights, disk, sum(seconds.values()), seconds["search"])


def _find_longest(plan: Plan, planned: PlannedCell, left: TrialsLeft, costs: Mapping[Cell, KnownCost]) -> float:
    cost = costs[planned.cell].cost
    return sum(cost.compute_seconds(stage, epochs) for stage, _, epochs in _list_stages(plan, planned, left))
