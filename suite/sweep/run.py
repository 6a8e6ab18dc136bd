"""`graftbench run`: from a checked plan to records, on Ray or in this process."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from suite.core.records import Record
from suite.core.specs import Cell, Component, Trial
from suite.study.config import Resources
from suite.study.plan import ExecutionConfig, Plan, group_label
from suite.sweep.address import no_ray, prepare_to_join
from suite.sweep.context import SweepContext
from suite.sweep.execution_settings import choose_execution
from suite.sweep.in_process import run_local
from suite.sweep.interim_looks import add_current_look, describe_unplanned_looks, with_looks
from suite.sweep.prepare_data import prepare_data
from suite.sweep.progress import ProgressDisplay
from suite.sweep.scheduler import TrialScheduler
from suite.sweep.storage import StudyStorage
from suite.tracking.mlflow_store import check_experiment, check_store, open_experiment, tracking_uri

log = logging.getLogger(__name__)

Groups = Mapping[tuple[Component, Component], ExecutionConfig]


@dataclass(frozen=True)
class Options:
    """How to run a study, as the command line says it.

    Attributes:
        local: one process, no Ray.
        address: a running Ray to join; None starts one on this machine.
        device: auto, cpu, cuda.
    """

    data: Path
    local: bool = False
    address: str | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Outcome:
    """What a run left: how many trials it trained itself, and every record of the plan."""

    trained: int
    records: Mapping[str, Record]
    tracking_trouble: str | None = None

    @property
    def failed(self) -> list[Record]:
        return [record for record in self.records.values() if record.status == "failed"]


def run_study(plan: Plan, options: Options, console: Console) -> Outcome:
    """Train what is missing, write MLflow, return what there is.

    Raises:
        UserError: storage, tracking store, images or cluster can't be used; nothing has been started or written.
        KeyboardInterrupt: interrupted; finished trials are kept and the rest resumes with the same command.
    """
    storage, uri = StudyStorage(plan.study), tracking_uri(plan.study)
    storage.check_study()
    plan = with_looks(plan)
    check_store(uri)
    check_experiment(plan.study, uri)
    found = (
        prepare_data(plan, options.data, storage.read_records().values(), console)
        if needs_training(plan, storage)
        else []
    )
    with _connected_ray(plan, storage, options) as (resources, device):
        placed = replace(options, device=device)
        storage.create()
        with storage.locked(), _interruptible():
            for line in found:
                console.print(escape(line))
            return _run_sweep(_note_look(plan, storage, console), storage, uri, placed, resources, console)


def _note_look(plan: Plan, storage: StudyStorage, console: Console) -> Plan:
    """The plan with the look that its results will be, noted before the first trial that belongs to it."""
    plan = add_current_look(plan, storage)
    if plan.looks != storage.read_looks():
        storage.write_looks(plan.looks)
    warning = describe_unplanned_looks(plan)
    if warning:
        console.print(f"[yellow]note[/] {escape(warning)}")
    return plan


def _run_sweep(
    plan: Plan, storage: StudyStorage, uri: str, options: Options, resources: Resources, console: Console
) -> Outcome:
    from suite.tracking.mlflow_writer import MlflowWriter  # MLflow takes seconds to import

    client, experiment = open_experiment(plan, uri)
    with contextlib.closing(MlflowWriter(client, experiment, plan, storage.path / "trials")) as writer:
        known = storage.read_records()
        for record in writer.read_finished_elsewhere(known):
            storage.import_record(record)
            known[record.trial_key] = record
        conditions = _decide_execution(plan, storage, options, resources, console)
        with ProgressDisplay(plan, console) as progress:
            scheduler = TrialScheduler(
                plan, conditions, known, storage.list_interrupted(), listeners=(writer, progress)
            )
            for record in scheduler.records.values():
                if record.trial_key in known:
                    progress.count_known(record, Trial.from_dict(record.trial).cell)
            writer.catch_up({key: record for key, record in known.items() if key in scheduler.records})
            if not scheduler.idle:
                _train_trials(scheduler, storage, plan, options, resources)
    return Outcome(scheduler.trained, scheduler.records, writer.trouble)


def _train_trials(
    scheduler: TrialScheduler, storage: StudyStorage, plan: Plan, options: Options, resources: Resources
) -> None:
    threads = max(1, int(resources.cpus))
    wanted = plan.study.resources
    context = SweepContext(
        options.data.absolute(),
        (storage.path / "trials").absolute(),
        options.device,
        threads,
        plan.study.keep,
        wanted.residency,
        wanted.device_memory,
    )
    if options.local:
        run_local(scheduler, storage, context)
        return
    from suite.sweep.ray_tune import run_on_ray  # Ray takes seconds to import

    run_on_ray(scheduler, storage, context, resources)


def _decide_execution(
    plan: Plan, storage: StudyStorage, options: Options, resources: Resources, console: Console
) -> Groups:
    """Per group, as an earlier run decided, else by rule now; written before the group's first trial."""
    decided = storage.read_execution()
    place = (options.data, options.device, resources)
    fresh = choose_execution(plan, *place, known=decided, on_ray=not options.local, console=console)
    if fresh != decided:
        storage.write_execution(fresh)
    return by_group(plan, fresh)


def by_group(plan: Plan, decided: Mapping[str, ExecutionConfig]) -> Groups:
    """Conditions of every group of the plan that has some decided."""
    cells: list[Cell] = [planned.cell for planned in plan.cells]
    return {cell.group: decided[group_label(cell)] for cell in cells if group_label(cell) in decided}


def needs_training(plan: Plan, storage: StudyStorage) -> bool:
    """Whether the storage alone can't show that everything is finished."""
    groups = by_group(plan, storage.read_execution())
    if any(planned.cell.group not in groups for planned in plan.runnable):
        return True
    return not TrialScheduler(plan, groups, storage.read_records(), storage.list_interrupted()).idle


@contextlib.contextmanager
def _connected_ray(plan: Plan, storage: StudyStorage, options: Options) -> Iterator[tuple[Resources, str]]:
    """A connected Ray that can hold at least one trial, where the run needs one; what a trial occupies, and its device.

    Raises:
        UserError: no Ray can be joined or started, or a trial is larger than it.
    """
    if options.local or not needs_training(plan, storage):
        yield plan.study.resources, options.device
        return
    if options.address is not None:
        prepare_to_join(options.address)
    import ray

    from suite.sweep import ray_tune

    try:
        ray_tune.connect_ray(options.address)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise no_ray(options.address, error) from error
    try:
        resources, device = ray_tune.settle_resources(plan.study.resources, options.device)
        ray_tune.refuse_too_large(resources)
        yield resources, device
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
