"""The sweep on Ray: one Tune controller per study, driven by the scheduler.

Tune only places trials on machines. What runs next comes from the scheduler through a `Searcher`, what stops early
through a `TrialScheduler`. A trial whose worker was lost is handed out again, and resumes from its own checkpoint;
nothing depends on Tune's retries or snapshots. `suite.sweep.scheduler.TrialScheduler` is ours; what Tune calls a
scheduler only stops trials.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.air.execution import FixedResourceManager
from ray.tune.error import TuneError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Experiment
from ray.tune.schedulers import FIFOScheduler
from ray.tune.schedulers import TrialScheduler as TuneScheduler
from ray.tune.search import Searcher
from ray.tune.search.search_generator import SearchGenerator

from suite.core import provenance, registry
from suite.core.errors import UserError
from suite.core.records import FINISHED, SEARCH_ATTEMPTS, Epoch
from suite.core.run_context import RunContext
from suite.core.specs import Trial
from suite.core.trial_folder import MemoryNote, take_memory_note
from suite.data.cache import cache_directory
from suite.study.config import Resources
from suite.sweep.in_process import STOPPED_BY_ASHA, end_early
from suite.sweep.ray_worker import Assignment, TrialActor
from suite.sweep.scheduler import TrialScheduler
from suite.sweep.storage import StudyStorage

log = logging.getLogger(__name__)

LOST_WORKER_RETRIES = 2
_RECOUNT_SECONDS = 5.0  # between two looks at which machines there are
_ROUNDING = 1e-9
_START_SECONDS = 120.0  # that a worker may take to start before its trial takes one that has become free

_QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # records and MLflow replace the CSV, JSON and TensorBoard files
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C reaches the driver as KeyboardInterrupt, at once
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",  # its snapshots are not what a resumed run reads
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


_NO_MONITOR = "RAY_memory_monitor_refresh_ms"  # 0: each worker has a guard, which knows better whom to end
_PRELOAD = "RAY_preload_python_modules"  # by workers that Ray starts, one a core, while the driver checks the study
_NVIDIA = Path("/dev/nvidiactl")


@dataclass
class _Link:
    """What the searcher and the scheduler share: which Tune trial runs which of ours."""

    scheduler: TrialScheduler
    storage: StudyStorage
    context: RunContext
    trials: dict[str, Trial] = field(default_factory=dict)  # by the id of the Tune trial
    error: Exception | None = None  # Tune swallows some, and would wait for ever

    def on_epoch(self, tune_trial_id: str, epoch: Epoch) -> bool:
        """Hear of an epoch; False when ASHA has stopped the trial, whose record is then written."""
        key = self.trials[tune_trial_id].key
        if self.scheduler.on_epoch(key, epoch):
            return True
        del self.trials[tune_trial_id]
        end_early(self.scheduler, self.storage, key, "stopped", STOPPED_BY_ASHA)
        return False

    def complete_trial(self, tune_trial_id: str, lost: bool) -> None:
        trial = self.trials.pop(tune_trial_id, None)
        if trial is None:
            return  # stopped by ASHA
        memory = take_memory_note(self.storage.trial_directory(trial.key))
        record = self.storage.read_record(trial.key)
        if record is not None and (record.status in FINISHED or not lost):
            self.scheduler.finish_trial(record)
        elif memory is not None:
            self._requeue_grown(trial, memory)
        elif not self.scheduler.requeue(trial.key, at_most=LOST_WORKER_RETRIES):
            times = LOST_WORKER_RETRIES + 1
            reason = f"its worker left no record {times} times (killed, out of memory, or no shared disk)"
            end_early(self.scheduler, self.storage, trial.key, "failed", reason)

    def _requeue_grown(self, trial: Trial, memory: MemoryNote) -> None:
        """Hand a trial that used up a machine's memory out once more, when it has the machines for itself."""
        held = f"{memory.held / 2**30:.1f} of the machine's {memory.total / 2**30:.1f} GiB"
        if self.scheduler.requeue_alone(trial.key):
            log.warning(
                "out of memory: %s, %s %d held %s; it is trained again after all others, alone. If this comes again, "
                "raise resources.cpus, so that fewer run at once",
                trial.cell.label,
                trial.stage,
                trial.seed,
                held,
            )
        elif memory.neighbours:  # of other studies: whose fault it was can't be told
            reason = f"out of memory: its worker held {held}, beside {memory.neighbours} workers of other studies"
            end_early(self.scheduler, self.storage, trial.key, "failed", reason)
        else:
            reason = f"out of memory: its worker held {held}, with no other trial beside it"
            end_early(self.scheduler, self.storage, trial.key, "failed", reason, failures=SEARCH_ATTEMPTS)


class SchedulerSearcher(Searcher):  # type: ignore[misc]
    """Tune's view of the scheduler: which trial comes next."""

    def __init__(self, link: _Link, slots: _Slots) -> None:
        super().__init__()
        self._link, self._slots = link, slots

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        if len(self._link.trials) >= self._slots.number:
            return None
        trial = self._link.scheduler.next_trial()
        if trial == "wait":
            return None
        if trial == "done":
            return Searcher.FINISHED
        self._link.trials[trial_id] = trial
        folder = self._link.storage.trial_directory(trial.key).absolute()
        return {"assignment": Assignment(trial, replace(self._link.context, directory=folder))}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        try:
            self._link.complete_trial(trial_id, lost=error)
        except Exception as failure:
            self._link.error = failure
            raise

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the storage is what a resumed run reads."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, likewise."""


class TuneTrialScheduler(FIFOScheduler):  # type: ignore[misc]
    """Tune's view of the scheduler: which trial goes on."""

    def __init__(self, link: _Link) -> None:
        super().__init__()
        self._link = link

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        try:
            goes_on = self._link.on_epoch(trial.trial_id, result["epoch"])
        except Exception as failure:
            self._link.error = failure
            raise
        if goes_on:
            return str(TuneScheduler.CONTINUE)
        return str(TuneScheduler.STOP)


class _Slots:
    """How many trials the connected Ray runs at once, and what they occupy; machines come and go.

    Attributes:
        number: as last counted, at least 1.
        occupied: what so many trials occupy, by Ray's name of the resource; Tune's budget, changed in place.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self.occupied: dict[str, float] = {}
        self.recount()

    def recount(self) -> None:
        self._counted = time.monotonic()
        self.number = max(1, count_slots(self._resources))
        # Half a trial more: what Ray Tune subtracts step by step, rounded each time, may not lose the last place.
        self.occupied["CPU"] = (self.number + 0.5) * self._resources.cpus
        self.occupied["GPU"] = (self.number + 0.5) * (self._resources.gpus or 0)

    def is_due(self) -> bool:
        return time.monotonic() - self._counted > _RECOUNT_SECONDS


class StudyController(TuneController):  # type: ignore[misc]
    """Tune's loop without what a study of ten thousand trials pays for and nobody reads.

    No snapshots of its state, which grow with every trial; no trial kept once it has ended; and no placement groups or
    environment of its own for each worker, so that workers which Ray has started meanwhile are used.
    """

    def __init__(self, slots: _Slots, **options: Any) -> None:
        super().__init__(resource_manager_factory=lambda: FixedResourceManager(slots.occupied), **options)
        self._slots = slots
        self._asked: dict[Any, float] = {}  # when a trial's worker was asked for
        self._class_cache = _WorkerClasses()

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Nothing: the storage is what a resumed run reads."""

    def _schedule_trial_actor(self, trial: Any) -> None:
        super()._schedule_trial_actor(trial)
        self._asked[trial] = time.monotonic()

    def _maybe_reuse_cached_actor(self, trial: Any) -> bool:
        """A trial whose own worker is on its way waits for it, as long as a start takes.

        Tune would end that worker, and begin again with the next trial: while trials are shorter than a worker's start,
        there would never be a second one. But it may never come, where a machine has left or others use it.
        """
        waited = time.monotonic() - self._asked.get(trial, 0.0)
        if trial in self._trial_to_actor and waited < _START_SECONDS:
            return False
        return bool(super()._maybe_reuse_cached_actor(trial))

    def on_step_begin(self) -> None:
        super().on_step_begin()
        if self._slots.is_due():
            self._slots.recount()
            self.update_max_pending_trials(self._slots.number)

    def on_step_end(self) -> None:
        super().on_step_end()
        ended = self._stopped_trials | self._failed_trials
        if not ended:
            return
        self._trials[:] = [trial for trial in self._trials if trial not in ended]
        for trials in (self._live_trials, self._trials_to_cache, self._stopped_trials, self._failed_trials):
            trials.difference_update(ended)
        for trial in ended:
            self._asked.pop(trial, None)


class _WorkerClasses:
    """In place of Tune's own, which gives workers an environment that only fresh processes have."""

    def get(self, trainable: type) -> Any:
        return ray.remote(trainable)


def connect_ray(address: str | None, resources: Resources) -> None:
    """Start Ray on this machine, or join the running Ray at `address` (`auto` finds it).

    Args:
        resources: what a trial occupies.

    Raises:
        ConnectionError: no Ray answers there.
    """
    os.environ.update(_QUIET)
    folders = _list_folder_variables()
    os.environ.update(folders)
    # Ray's own logs stay in its session folder; the terminal belongs to the study.
    options = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if address is None:
        os.environ.setdefault(_NO_MONITOR, "0")
        if resources.cpus <= 1 and not resources.gpus and not _NVIDIA.exists():  # else most of them would be idle
            os.environ.setdefault(_PRELOAD, "suite.sweep.ray_worker,suite.trial")
        ray.init(address="local", include_dashboard=False, **options)  # else it joins whichever Ray it finds
    else:
        commit = provenance.find_commit()  # workers may run from an installed copy without git
        variables = {"GRAFTBENCH_COMMIT": commit.commit, "GRAFTBENCH_DIRTY": commit.dirty, **folders}
        ray.init(address=address, runtime_env={"env_vars": variables}, **options)
    for name in ("ray.tune", "ray.train", "ray"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # lost workers are in the records; the rest is noise
    # Whatever is set, the driver prints pages of the raylet's log when it or a worker dies.
    ray._private.worker.print_to_stdstream = _print_nothing


def _print_nothing(*_: Any, **__: Any) -> None:
    pass


def _list_folder_variables() -> dict[str, str]:
    """The variables that name folders, as workers need them: absolute, since Tune gives every worker its own directory.

    An empty `GRAFTBENCH_PLUGINS` says that there are none: a running Ray may have been started with some.
    """
    plugins = [str(Path(part).absolute()) for part in os.environ.get(registry.PLUGINS, "").split(os.pathsep) if part]
    variables = {registry.PLUGINS: os.pathsep.join(plugins)}
    if "GRAFTBENCH_CACHE" in os.environ:
        variables["GRAFTBENCH_CACHE"] = str(cache_directory())
    return variables


def settle_resources(resources: Resources, device: str) -> tuple[Resources, str]:
    """What one trial occupies on the connected Ray, and its device: without GPUs it must not look for one.

    A study that does not say takes one GPU per trial where there are GPUs and the command allows them.
    """
    gpus = resources.gpus
    if gpus is None:
        gpus = int(device != "cpu" and ray.cluster_resources().get("GPU", 0) >= 1)
    if device == "auto" and not gpus:
        device = "cpu"
    return resources.model_copy(update={"gpus": gpus}), device


def refuse_too_large(resources: Resources) -> None:
    """Refuse resources of which the connected Ray has too little for even one trial."""
    if count_slots(resources) < 1:
        cluster = ray.cluster_resources()
        raise UserError(
            f"resources: one trial needs {resources.cpus:g} CPUs and {resources.gpus or 0:g} GPUs, but Ray has "
            f"{cluster.get('CPU', 0):g} and {cluster.get('GPU', 0):g}"
        )


def count_slots(resources: Resources) -> int:
    """How many trials the connected Ray can run at once; a trial never spans two nodes. 0 when not even one fits."""
    slots = 0
    for node in ray.nodes():
        if node["Alive"]:
            fitting = [int(node["Resources"].get("CPU", 0) / resources.cpus + _ROUNDING)]
            if resources.gpus:
                fitting.append(_count_on_gpus(int(node["Resources"].get("GPU", 0)), resources.gpus))
            slots += min(fitting)
    return slots


def _count_on_gpus(gpus: int, share: float) -> int:
    """A trial with less than a GPU is on one alone: two of 0.6 need two."""
    if share < 1:
        return gpus * int(1 / share + _ROUNDING)
    return int(gpus / share + _ROUNDING)


def run_on_ray(scheduler: TrialScheduler, storage: StudyStorage, context: RunContext, resources: Resources) -> None:
    """Run every trial that the scheduler hands out on the connected Ray; `context` is each one's but for its folder."""
    link, slots = _Link(scheduler, storage, context), _Slots(resources)
    with tempfile.TemporaryDirectory(prefix="graftbench-tune-") as folder:
        experiment = Experiment(
            "tune",
            TrialActor,
            num_samples=sys.maxsize,
            resources_per_trial={"cpu": resources.cpus, "gpu": resources.gpus or 0},
            storage_path=folder,
            max_failures=0,  # the scheduler hands a lost trial out again
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        )
        search = SearchGenerator(SchedulerSearcher(link, slots))
        search.add_configurations([experiment])
        controller = StudyController(
            slots,
            search_alg=search,
            scheduler=TuneTrialScheduler(link),
            trial_checkpoint_config=experiment.checkpoint_config,
            reuse_actors=True,
            storage=experiment.storage,
        )
        controller.update_max_pending_trials(slots.number)
        try:
            while not controller.is_finished() and link.error is None:
                controller.step()
        except TuneError:
            if link.error is None:
                raise
        finally:
            controller.cleanup()
    if link.error is not None:  # such as a full disk
        raise link.error
