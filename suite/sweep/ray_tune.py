"""The sweep on Ray: one Tuner per study, driven by the scheduler.

Tune only places trials on machines. What runs next comes from the scheduler through a `Searcher`, what stops early
through a `TrialScheduler`. A trial whose worker was lost is handed out again, and resumes from its own checkpoint;
nothing depends on Tune's retries or snapshots. `suite.sweep.scheduler.TrialScheduler` is ours; what Tune calls a
scheduler only stops trials.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.schedulers import TrialScheduler as TuneScheduler
from ray.tune.search import Searcher

from suite.core import provenance, registry
from suite.core.errors import UserError
from suite.core.records import FINISHED, Epoch, Record
from suite.core.specs import Trial
from suite.data.cache import cache_directory
from suite.study.config import Resources
from suite.sweep.in_process import STOPPED_BY_ASHA, end_early
from suite.sweep.scheduler import TrialScheduler
from suite.sweep.storage import StudyStorage
from suite.trial import RunContext, trial_events

LOST_WORKER_RETRIES = 2

_QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # records and MLflow replace the CSV, JSON and TensorBoard files
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C reaches the driver as KeyboardInterrupt, at once
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",  # its snapshots are not what a resumed run reads
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class TrialActor(tune.Trainable):  # type: ignore[misc]
    """One worker process; runs many trials one after another. One Tune step is one epoch."""

    def setup(self, config: Mapping[str, Any]) -> None:
        self._events: Iterator[Epoch | Record] = trial_events(Trial.from_dict(config["trial"]), config["context"])

    def step(self) -> dict[str, Any]:
        event = next(self._events)
        if isinstance(event, Record):
            return {"done": True}  # the record itself lies in the trial's folder
        return {"epoch": event}

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        self._events = iter(())


@dataclass
class _Link:
    """What the searcher and the scheduler share: which Tune trial runs which of ours."""

    scheduler: TrialScheduler
    storage: StudyStorage
    context: RunContext
    trials: dict[str, Trial] = field(default_factory=dict)  # by the id of the Tune trial

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
        record = self.storage.read_record(trial.key)
        if record is not None and (record.status in FINISHED or not lost):
            self.scheduler.finish_trial(record)
        elif not self.scheduler.requeue(trial.key, at_most=LOST_WORKER_RETRIES):
            times = LOST_WORKER_RETRIES + 1
            reason = f"its worker left no record {times} times (killed, out of memory, or no shared disk)"
            end_early(self.scheduler, self.storage, trial.key, "failed", reason)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()  # Tune pickles its configuration into a snapshot that nobody reads


class SchedulerSearcher(Searcher):  # type: ignore[misc]
    """Tune's view of the scheduler: which trial comes next."""

    def __init__(self, link: _Link) -> None:
        super().__init__()
        self._link = link

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        trial = self._link.scheduler.next_trial()
        if trial == "wait":
            return None
        if trial == "done":
            return Searcher.FINISHED
        self._link.trials[trial_id] = trial
        folder = self._link.storage.trial_directory(trial.key).absolute()
        return {"trial": trial.to_dict(), "context": replace(self._link.context, directory=folder)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._link.complete_trial(trial_id, lost=error)

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
        if self._link.on_epoch(trial.trial_id, result["epoch"]):
            return str(TuneScheduler.CONTINUE)
        return str(TuneScheduler.STOP)


def connect_ray(address: str | None) -> None:
    """Start Ray on this machine, or join the running Ray at `address` (`auto` finds it).

    Raises:
        ConnectionError: no Ray answers there.
    """
    os.environ.update(_QUIET)
    folders = _list_folder_variables()
    os.environ.update(folders)
    # Ray's own logs stay in its session folder; the terminal belongs to the study.
    options = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if address is None:
        ray.init(include_dashboard=False, **options)
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
            fitting = [int(node["Resources"].get("CPU", 0) / resources.cpus)]
            if resources.gpus:
                fitting.append(int(node["Resources"].get("GPU", 0) / resources.gpus))
            slots += min(fitting)
    return slots


def run_on_ray(scheduler: TrialScheduler, storage: StudyStorage, context: RunContext, resources: Resources) -> None:
    """Run every trial that the scheduler hands out on the connected Ray; `context` is each one's but for its folder."""
    link = _Link(scheduler, storage, context)
    tuner = tune.Tuner(
        tune.with_resources(TrialActor, {"cpu": resources.cpus, "gpu": resources.gpus or 0}),
        tune_config=tune.TuneConfig(
            search_alg=SchedulerSearcher(link),
            scheduler=TuneTrialScheduler(link),
            num_samples=-1,
            max_concurrent_trials=count_slots(resources),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(storage.path.absolute()),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),  # the scheduler hands a lost trial out again
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    )
    tuner.fit()
