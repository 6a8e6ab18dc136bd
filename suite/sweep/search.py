"""The search of one cell: its Optuna study, which also holds its ASHA bracket.

Optuna's `SuccessiveHalvingPruner` is asynchronous successive halving; living in the cell's own study, it compares a
cell's trials with each other only, never an easy dataset's with a hard one's, and works with and without Ray.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter

import optuna
from optuna.trial import TrialState

from suite.core.records import Epoch, Record
from suite.core.specs import Settings, Trial, freeze_settings, hash_parts
from suite.study.plan import ExecutionConfig, Plan, PlannedCell
from suite.study.search_space import make_distribution, name_objective

optuna.logging.set_verbosity(optuna.logging.WARNING)


class CellSearch:
    """Draws the search trials of one cell and chooses its hyperparameters.

    Search trial i < first_draws takes the hashed draws that every cell shares; the sampler sees them and draws the
    rest. Results of an earlier run are replayed first, so a resumed search knows what the interrupted one knew.
    """

    def __init__(self, plan: Plan, planned: PlannedCell, execution: ExecutionConfig) -> None:
        self._plan, self._planned, self._execution = plan, planned, execution
        self._distributions = {name: make_distribution(space) for name, space in planned.space}
        self._objective = name_objective(plan)
        self._optuna = optuna.create_study(sampler=optuna.samplers.RandomSampler(), pruner=self._make_pruner())
        self._open: dict[int, optuna.Trial] = {}
        self._records: dict[int, Record] = {}

    def _make_sampler(self, index: int) -> optuna.samplers.BaseSampler:
        """A fresh one for every draw: one generator for all would, in a resumed run, draw its first points again."""
        search = self._plan.study.search
        seed = hash_parts("sampler", search.sampler, self._plan.study.study, self._planned.cell.label, index) % 2**32
        if search.sampler == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=search.first_draws, constant_liar=True)

    def _make_pruner(self) -> optuna.pruners.BasePruner:
        asha = self._plan.study.search.asha
        if asha is None:
            return optuna.pruners.NopPruner()
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=asha.grace, reduction_factor=asha.reduction)

    @property
    def total(self) -> int:
        return self._plan.study.search.trials

    @property
    def finished(self) -> bool:
        """Whether every trial has its result, or has failed often enough."""
        return sum(record.is_final for record in self._records.values()) == self.total

    def search_trial(self, index: int) -> Trial:
        """The index-th search trial; asks the sampler when it is past the shared first draws."""
        self._optuna.sampler = self._make_sampler(index)
        if index < self._plan.study.search.first_draws:
            chosen = self._ask_sampler(index, self._plan.first_draws(self._planned, index))
        else:
            chosen = self._ask_sampler(index)
        return self._plan.search_trial(self._planned.cell, index, chosen, self._execution)

    def import_trial(self, trial: Trial) -> None:
        """Take a trial of an interrupted run back in, with the hyperparameters that it had."""
        self._ask_sampler(trial.seed, trial.hyperparameters)

    def replay_record(self, record: Record, trial: Trial) -> None:
        """Tell the sampler and the bracket about a finished trial of an earlier run."""
        self.import_trial(trial)
        for epoch in record.history:
            self.on_epoch(trial.seed, epoch)
        self.finish_trial(trial.seed, record)

    def _ask_sampler(self, index: int, fixed: Settings | None = None) -> Settings:
        if fixed is not None:
            searched = {name: value for name, value in fixed if name in self._distributions}
            self._optuna.enqueue_trial(searched)
        optuna_trial = self._optuna.ask(self._distributions)
        self._open[index] = optuna_trial
        return freeze_settings(optuna_trial.params)

    def on_epoch(self, index: int, epoch: Epoch) -> bool:
        """Report an epoch to the bracket; False when ASHA stops the trial. The last epoch is never cut off."""
        optuna_trial = self._open[index]
        value = self._score(epoch)
        if value is None or not math.isfinite(value):
            return True  # the training core ends it as diverged
        optuna_trial.report(value, epoch.epoch)
        return not optuna_trial.should_prune() or epoch.epoch >= self._plan.search_epochs

    def finish_trial(self, index: int, record: Record) -> None:
        """Tell how the trial ended. A diverged or failed one has no value; a stopped one is pruned, not complete."""
        optuna_trial = self._open.pop(index)
        self._records[index] = record
        value = self._score(record)
        if record.status == "completed" and value is not None:
            self._optuna.tell(optuna_trial, value)
        elif record.status == "stopped":
            self._optuna.tell(optuna_trial, state=TrialState.PRUNED)
        else:
            self._optuna.tell(optuna_trial, state=TrialState.FAIL)

    def best_hyperparameters(self) -> Settings | None:
        """Hyperparameters of the lowest validation value among completed trials, ties to the first.

        None when no trial completed; without a search there are none to choose.
        """
        if not self.total:
            return ()
        ranked: list[tuple[float, int]] = []
        for index, record in self._records.items():
            value = self._score(record)
            if record.status == "completed" and value is not None:
                ranked.append((value, index))
        if not ranked:
            return None
        _, best = min(ranked)
        return Trial.from_dict(self._records[best].trial).hyperparameters

    def describe_outcome(self) -> str:
        """`3 diverged, 1 failed`: how the trials ended, for the sentence of a cell without a best."""
        counts = Counter(record.status for record in self._records.values())
        return ", ".join(f"{number} {status}" for status, number in counts.items())

    def _score(self, figures: Epoch | Record) -> float | None:
        score: float | None = getattr(figures, self._objective)
        return score
