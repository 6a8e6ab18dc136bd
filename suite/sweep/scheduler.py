"""Which trial runs next, and whether a running one goes on, with or without Ray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from suite.core.records import FINISHED, Epoch, Record, Status
from suite.core.specs import Cell, Trial
from suite.study.plan import ExecutionConfig, Plan, group_label
from suite.sweep.search import CellSearch
from suite.training.outcome import partial_record


class TrialListener(Protocol):
    """Who is told what happens: tracking, progress."""

    def on_start(self, trial: Trial) -> None: ...

    def on_epoch(self, trial: Trial, epoch: Epoch) -> None: ...

    def on_finish(self, record: Record) -> None: ...


@dataclass
class CellState:
    """Where one cell stands."""

    cell: Cell
    execution: ExecutionConfig
    search: CellSearch
    drawn: set[int] = field(default_factory=set)  # indices of search trials handed out or finished
    queue: list[Trial] = field(default_factory=list)  # to hand out before anything new is drawn
    second_attempts: list[Trial] = field(default_factory=list)  # after everything else: what failed it may be over
    is_confirming: bool = False  # its search is over, and its confirm trials are queued, finished or skipped

    def next_index(self) -> int:
        """The lowest search index not yet handed out; the search's `total` when all are."""
        return min(set(range(self.search.total)) - self.drawn, default=self.search.total)

    def has_more(self) -> bool:
        return bool(self.queue or self.second_attempts) or self.next_index() < self.search.total


class TrialScheduler:
    """Hands out a plan's trials: per cell the search, then, as soon as it is over, the paired confirm seeds.

    What `finished` holds is not handed out again where it is final; `interrupted` search trials come first, unchanged.
    `executions` are by group label. `only`: keys of the trials that may be handed out; None: all.
    """

    def __init__(
        self,
        plan: Plan,
        executions: Mapping[str, ExecutionConfig],
        finished: Mapping[str, Record],
        interrupted: Iterable[Trial],
        listeners: Iterable[TrialListener] = (),
        only: frozenset[str] | None = None,
    ) -> None:
        self._plan = plan
        self._only = only
        self._listeners = tuple(listeners)
        wanted = frozenset[str]() if only is None else only  # a failed trial among these is tried once more
        self._done = {
            key: record
            for key, record in finished.items()
            if record.status in FINISHED or (record.is_final and key not in wanted)
        }
        self._running: dict[str, tuple[CellState, Trial]] = {}
        self._histories: dict[str, dict[int, Epoch]] = {}  # by trial key, then by epoch
        self._lost: dict[str, int] = {}  # how often a trial's worker was lost
        self._grown: list[tuple[CellState, Trial]] = []  # to hand out again when nothing else runs
        self._alone: set[str] = set()  # keys of those that were
        self.trained = 0  # trials that ended in this run
        self.records: dict[str, Record] = {}  # of this plan: finished before and now
        self._states: dict[Cell, CellState] = {}
        for planned in plan.runnable:
            execution = executions[group_label(planned.cell)]
            self._states[planned.cell] = CellState(planned.cell, execution, CellSearch(plan, planned, execution))
        self._replay_finished()
        self._take_back(interrupted)
        for planned in plan.cells:
            if planned.refused:
                self._skip_cell(planned.cell, ExecutionConfig(), planned.refused)
        for state in self._states.values():
            self._confirm_if_due(state)

    def _replay_finished(self) -> None:
        """Tell the searches what finished before, index by index: any order of files gives the same search."""
        for record in sorted(self._done.values(), key=lambda record: (record.seed, record.trial_key)):
            trial = Trial.from_dict(record.trial)
            state = self._claim_index(trial)
            if state is not None:
                state.search.replay_record(record, trial)
                self.records[record.trial_key] = record

    def _take_back(self, interrupted: Iterable[Trial]) -> None:
        for trial in interrupted:
            state = self._claim_index(trial)
            if state is not None:
                state.search.import_trial(trial)
                if self._may_run(trial):
                    state.queue.append(trial)

    def _claim_index(self, trial: Trial) -> CellState | None:
        """The cell whose search the plan would hand this very trial out in, its index now taken; None: there is none,
        or the index was taken."""
        state = self._states.get(trial.cell)
        if state is None or trial.seed >= state.search.total or trial.seed in state.drawn:
            return None
        if trial != self._plan.search_trial(state.cell, trial.seed, trial.hyperparameters, state.execution):
            return None
        state.drawn.add(trial.seed)
        return state

    # -- handing out

    def next_trial(self) -> Trial | Literal["wait", "done"]:
        """The next trial to run. Confirm trials first, so that cells finish; then the search, index by index."""
        state = next((state for state in self._states.values() if state.queue), None)
        if state is None:
            state = self._draw_search_trial()
        if state is None and not self._running:
            state = self._take_grown()
        if state is None:
            return "wait" if self._running else "done"
        trial = state.queue.pop(0)
        self._running[trial.key] = (state, trial)
        self._histories.setdefault(trial.key, {})  # a trial handed out again has one
        for listener in self._listeners:
            listener.on_start(trial)
        return trial

    def _draw_search_trial(self) -> CellState | None:
        """The cell whose search is the least far, with its next trial in the queue; None: all are drawn."""
        if self._only is not None:
            return None
        state = min(filter(CellState.has_more, self._states.values()), key=CellState.next_index, default=None)
        if state is None:
            return None
        index = state.next_index()
        if index < state.search.total:
            state.drawn.add(index)
            state.queue.append(state.search.search_trial(index))
        else:
            state.queue.append(state.second_attempts.pop(0))
        return state

    def _take_grown(self) -> CellState | None:
        """The cell of a trial that used up a machine's memory, with that trial in the queue."""
        if not self._grown:
            return None
        state, trial = self._grown.pop(0)
        self._alone.add(trial.key)
        state.queue.append(trial)
        return state

    # -- hearing back

    def on_epoch(self, key: str, epoch: Epoch) -> bool:
        """Hear of an epoch; False stops the trial. A repeated epoch (a retried worker) is heard once."""
        state, trial = self._running[key]
        history = self._histories[key]
        if epoch.epoch in history:
            return True
        history[epoch.epoch] = epoch
        for listener in self._listeners:
            listener.on_epoch(trial, epoch)
        return trial.stage == "confirm" or state.search.on_epoch(trial.seed, epoch)

    def finish_trial(self, record: Record) -> None:
        """Hear how a trial ended, and go on with its cell. A search trial with an error gets a second attempt."""
        state, trial = self._running.pop(record.trial_key)
        if trial.stage == "search" and record.status == "failed" and record.failures and not record.is_final:
            state.second_attempts.append(trial)
            return
        history = self._histories.pop(record.trial_key)
        if trial.stage == "search":
            for epoch in record.history:
                if epoch.epoch not in history:
                    state.search.on_epoch(trial.seed, epoch)
            state.search.finish_trial(trial.seed, record)
        self.trained += 1
        self._announce_record(record)
        self._confirm_if_due(state)

    def requeue(self, key: str, *, at_most: int) -> bool:
        """Hand a running trial out again, next, because its worker was lost; False when that happened too often."""
        self._lost[key] = self._lost.get(key, 0) + 1
        if self._lost[key] > at_most:
            return False
        state, trial = self._running.pop(key)
        state.queue.insert(0, trial)
        return True

    def requeue_alone(self, key: str) -> bool:
        """Hand a running trial out again once nothing else runs or waits, because it used up its machine's memory.

        False when it had the machines for itself already.
        """
        if key in self._alone:
            return False
        self._grown.append(self._running.pop(key))
        return True

    def make_early_record(self, key: str, status: Status, reason: str, **measured: Any) -> Record:
        """The record of a running trial that ended from outside (stopped by ASHA, its worker lost), for `finish_trial`.

        Args:
            measured: further fields of the record, as `suite.core.trial_folder.read_measurements` finds them.
        """
        _, trial = self._running[key]
        return partial_record(trial, status, reason, tuple(self._histories[key].values()), **measured)

    def _announce_record(self, record: Record) -> None:
        self.records[record.trial_key] = record
        for listener in self._listeners:
            listener.on_finish(record)

    def _confirm_if_due(self, state: CellState) -> None:
        if state.is_confirming or not state.search.finished:
            return
        state.is_confirming = True
        best = state.search.best_hyperparameters()
        if best is None:
            reason = f"no search trial of the cell completed ({state.search.describe_outcome()})"
            self._skip_cell(state.cell, state.execution, reason)
            return
        for trial in self._plan.confirm_trials(state.cell, best, state.execution):
            if trial.key in self._done:
                self.records[trial.key] = self._done[trial.key]
            elif self._may_run(trial):
                state.queue.append(trial)

    def _may_run(self, trial: Trial) -> bool:
        return self._only is None or trial.key in self._only

    def _skip_cell(self, cell: Cell, execution: ExecutionConfig, reason: str) -> None:
        for trial in self._plan.confirm_trials(cell, (), execution):
            self._announce_record(partial_record(trial, "skipped", reason, ()))

    @property
    def idle(self) -> bool:
        """Whether there is nothing left to hand out, now or later."""
        if self._running or self._grown or any(state.queue for state in self._states.values()):
            return False
        return self._only is not None or not any(state.has_more() for state in self._states.values())
