"""`graftbench run`: from a checked plan to records, on Ray or in this process."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from suite.core.records import Record
from suite.core.run_context import RunContext
from suite.study.config import Resources
from suite.study.plan import Plan, group_label
from suite.study.prepare_data import prepare_data
from suite.sweep.execution_settings import choose_execution
from suite.sweep.in_process import run_local
from suite.sweep.interim_looks import add_current_look, describe_unplanned_looks, with_looks
from suite.sweep.journal import EventLog, write_plan
from suite.sweep.progress import ProgressDisplay, SlotClock
from suite.sweep.ray_connection import no_ray, prepare_to_join, watch_ray
from suite.sweep.scheduler import TrialScheduler
from suite.sweep.storage import StudyStorage
from suite.tracking.mlflow_listener import MlflowListener
from suite.tracking.mlflow_store import check_experiment, check_store, tracking_uri
from suite.tracking.optuna_mirror import check_mirror, open_mirror


@dataclass(frozen=True)
class Options:
    """How to run a study, as the command line says it."""

    data: Path
    local: bool = False  # one process, no Ray
    address: str | None = None  # of a running Ray to join; None starts one on this machine
    device: str = "auto"  # auto, cpu, cuda or cuda:N
    source: str = ""  # digest of the study file, by which `status` knows the plan again
    only: frozenset[str] | None = None  # keys of the trials that may be trained; None: all


@dataclass(frozen=True)
class Outcome:
    """What a run left.

    Attributes:
        trained: how many trials it trained itself.
        records: of the plan, all of them.
        occupied: as of `suite.sweep.progress.SlotClock`.
    """

    trained: int
    records: Mapping[str, Record]
    tracking_trouble: str | None = None
    occupied: Mapping[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> list[Record]:
        return [record for record in self.records.values() if record.status == "failed"]


def run_study(plan: Plan, options: Options, console: Console) -> Outcome:
    """Train what is missing, write MLflow, return what there is.

    Raises:
        UserError: storage, tracking store, images or cluster can't be used; nothing has been started or written.
        RayLostError: Ray died; finished trials are kept likewise.
        KeyboardInterrupt: interrupted; finished trials are kept and the rest resumes with the same command.
    """
    storage, uri = StudyStorage(plan.study), tracking_uri(plan.study)
    storage.check_study()
    plan = with_looks(plan)
    check_store(uri)
    check_mirror(plan.study)
    check_experiment(plan.study, uri)
    is_training = needs_training(plan, storage, options.only)
    lines: list[str] = []
    if is_training:
        lines = prepare_data(plan, options.data, storage.read_records().values(), console)
    with _connected_ray(plan.study.resources, options, is_training) as (resources, device):
        storage.create()
        with storage.locked(), _interruptible():
            for line in lines:
                console.print(escape(line))
            plan = _note_look(plan, storage, console)
            write_plan(plan, options.source, _count_slots(resources, options, is_training))
            return _run_sweep(plan, storage, uri, replace(options, device=device), resources, console)


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
    # In one process nothing may run beside the first trial, whose seconds count.
    with (
        MlflowListener(plan, uri, storage.path / "trials", at_once=options.local) as tracking,
        open_mirror(plan, at_once=options.local) as mirror,
    ):
        stored = storage.read_records()
        for record in tracking.read_finished_elsewhere(stored):
            storage.import_record(record)
            stored[record.trial_key] = record
        decided = storage.read_execution()
        executions = choose_execution(
            plan,
            options.data,
            options.device,
            resources,
            decided=decided,
            elsewhere=_runs_elsewhere(options),
            console=console,
        )
        if executions != decided:  # written before any group's first trial
            storage.write_execution(executions)
        interrupted = storage.list_interrupted()
        with ProgressDisplay(plan, console) as progress:
            events, clock = EventLog(storage.path), SlotClock()
            listeners = (events, tracking, mirror, progress, clock)
            scheduler = TrialScheduler(plan, executions, stored, interrupted, listeners, options.only)
            events.catch_up(stored.values())
            for key, record in scheduler.records.items():
                if key in stored:
                    progress.count_known(record)
            tracking.catch_up({key: record for key, record in stored.items() if key in scheduler.records})
            mirror.settle(scheduler.records, is_whole=False)
            if not scheduler.idle:
                _train_trials(scheduler, storage, plan, options, resources)
            if scheduler.idle and options.only is None:  # then every record of the plan is known
                tracking.settle(scheduler.records)
                mirror.settle(scheduler.records, is_whole=True)
    return Outcome(scheduler.trained, scheduler.records, tracking.trouble, clock.occupied)


def _train_trials(
    scheduler: TrialScheduler, storage: StudyStorage, plan: Plan, options: Options, resources: Resources
) -> None:
    context = RunContext(
        options.data.absolute(),
        device=options.device,
        threads=max(1, int(resources.cpus)),
        keep=plan.study.keep,
        residency=resources.residency,
        device_memory=resources.device_memory,
        probabilities=plan.study.probabilities,
    )
    if options.local:
        run_local(scheduler, storage, context)
        return
    from suite.sweep.ray_tune import run_on_ray  # Ray takes seconds to import

    run_on_ray(scheduler, storage, context, resources)


def _runs_elsewhere(options: Options) -> bool:
    """Whether only a worker knows the machine of the trials: on a cluster, or with GPUs that Ray deals out."""
    return not options.local and (options.address is not None or options.device != "cpu")


def needs_training(plan: Plan, storage: StudyStorage, only: frozenset[str] | None = None) -> bool:
    """Whether the storage alone can't show that everything is finished."""
    decided = storage.read_execution()
    if any(group_label(planned.cell) not in decided for planned in plan.runnable):
        return True
    return not TrialScheduler(plan, decided, storage.read_records(), storage.list_interrupted(), only=only).idle


def _count_slots(resources: Resources, options: Options, is_training: bool) -> int:
    """How many trials run at once."""
    if options.local or not is_training:
        return 1
    from suite.sweep.ray_tune import count_slots

    return count_slots(resources)


@contextlib.contextmanager
def _connected_ray(resources: Resources, options: Options, is_training: bool) -> Iterator[tuple[Resources, str]]:
    """A connected Ray that can hold at least one trial, where one is needed; what a trial occupies, and its device."""
    if options.local or not is_training:
        yield resources, options.device
        return
    if options.address is not None:
        prepare_to_join(options.address)
    from suite.sweep import ray_tune

    try:
        ray_tune.connect_ray(options.address, resources)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise no_ray(options.address, error) from error
    with watch_ray():
        resources, device = ray_tune.settle_resources(resources, options.device)
        ray_tune.refuse_too_large(resources)
        yield resources, device


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
