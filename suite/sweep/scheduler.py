"""Which trial runs next, and whether a running one goes on, with or without Ray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from suite.core.records import FINISHED, Epoch, Record, Status
from suite.core.specs import Cell, Component, Trial
from suite.study.plan import ExecutionConfig, Plan, PlannedCell
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

    planned: PlannedCell
    conditions: ExecutionConfig
    search: CellSearch
    drawn: set[int] = field(default_factory=set)  # indices of search trials handed out or finished
    queue: list[Trial] = field(default_factory=list)  # to hand out before anything new is drawn
    confirm: list[Trial] | None = None  # None: the search is not over

    @property
    def cell(self) -> Cell:
        return self.planned.cell

    def next_undrawn(self) -> int | None:
        """The lowest search index not yet handed out."""
        return next((index for index in range(self.search.total) if index not in self.drawn), None)


class TrialScheduler:
    """Hands out a plan's trials: per cell the search, then, as soon as it is over, the paired confirm seeds.

    What `finished` already holds is not handed out again; `interrupted` search trials come first, unchanged.
    """

    def __init__(
        self,
        plan: Plan,
        conditions: Mapping[tuple[Component, Component], ExecutionConfig],
        finished: Mapping[str, Record],
        interrupted: Iterable[Trial],
        listeners: Iterable[TrialListener] = (),
    ) -> None:
        self._plan = plan
        self._listeners = tuple(listeners)
        self._done = {key: record for key, record in finished.items() if record.status in FINISHED}
        self._running: dict[str, tuple[CellState, Trial]] = {}
        self._histories: dict[str, list[Epoch]] = {}
        self._lost: dict[str, int] = {}  # how often a trial's worker was lost
        self.trained = 0  # trials that ended in this run
        self.records: dict[str, Record] = {}  # of this plan: finished before and now
        self._cell_of: dict[str, Cell] = {}  # by trial key, for every one of `records`
        self._cells = [self._make_state(planned, conditions[planned.cell.group]) for planned in plan.runnable]
        self._state_of = {state.cell: state for state in self._cells}
        self._replay_finished()
        self._take_back(interrupted)
        for planned in plan.cells:
            if planned.refused:
                self._skip_cell(planned.cell, ExecutionConfig(), planned.refused)
        for state in self._cells:
            self._confirm_if_due(state)

    def _make_state(self, planned: PlannedCell, conditions: ExecutionConfig) -> CellState:
        return CellState(planned, conditions, CellSearch(self._plan, planned, conditions))

    def _replay_finished(self) -> None:
        """Tell the searches what finished before, index by index: any order of files gives the same search."""
        trials = [(Trial.from_dict(record.trial), record) for record in self._done.values()]
        for trial, record in sorted(trials, key=lambda pair: (pair[0].seed, pair[0].key)):
            state = self._find_search(trial)
            if state is not None:
                state.drawn.add(trial.seed)
                state.search.replay_record(record, trial)
                self._keep_record(record, state.cell)

    def _find_search(self, trial: Trial) -> CellState | None:
        """The cell whose search the plan would hand this very trial out in, if its index is still free."""
        state = self._state_of.get(trial.cell)
        if state is None or trial.seed >= state.search.total or trial.seed in state.drawn:
            return None
        expected = self._plan.search_trial(state.cell, trial.seed, trial.hyperparameters, state.conditions)
        return state if trial == expected else None

    def _take_back(self, interrupted: Iterable[Trial]) -> None:
        for trial in interrupted:
            state = self._find_search(trial)
            if state is not None:
                state.drawn.add(trial.seed)
                state.search.import_trial(trial)
                state.queue.append(trial)

    # -- handing out

    def next_trial(self) -> Trial | Literal["wait", "done"]:
        """The next trial to run. Confirm trials first, so that cells finish; then the search, index by index."""
        state = next((state for state in self._cells if state.queue), None)
        if state is None:
            state = self._draw_search_trial()
        if state is None:
            return "wait" if self._running else "done"
        trial = state.queue.pop(0)
        self._running[trial.key] = (state, trial)
        self._histories.setdefault(trial.key, [])  # a trial handed out again has one
        for listener in self._listeners:
            listener.on_start(trial)
        return trial

    def _draw_search_trial(self) -> CellState | None:
        waiting = [(index, state) for state in self._cells if (index := state.next_undrawn()) is not None]
        if not waiting:
            return None
        index, state = min(waiting, key=lambda pair: pair[0])
        state.drawn.add(index)
        state.queue.append(state.search.search_trial(index))
        return state

    # -- hearing back

    def on_epoch(self, key: str, epoch: Epoch) -> bool:
        """Hear of an epoch; False stops the trial. A repeated epoch (a retried worker) is heard once."""
        state, trial = self._running[key]
        if any(known.epoch == epoch.epoch for known in self._histories[key]):
            return True
        self._histories[key].append(epoch)
        for listener in self._listeners:
            listener.on_epoch(trial, epoch)
        return trial.stage == "confirm" or state.search.on_epoch(trial.seed, epoch)

    def finish_trial(self, record: Record) -> None:
        """Hear how a trial ended, and go on with its cell."""
        state, trial = self._running.pop(record.trial_key)
        heard = {epoch.epoch for epoch in self._histories.pop(record.trial_key)}
        if trial.stage == "search":
            for epoch in record.history:
                if epoch.epoch not in heard:
                    state.search.on_epoch(trial.seed, epoch)
            state.search.finish_trial(trial.seed, record)
        self.trained += 1
        self._announce_record(record, state.cell)
        self._confirm_if_due(state)

    def requeue(self, key: str, *, at_most: int) -> bool:
        """Hand a running trial out again, next, because its worker was lost; False when that happened too often."""
        self._lost[key] = self._lost.get(key, 0) + 1
        if self._lost[key] > at_most:
            return False
        state, trial = self._running.pop(key)
        state.queue.insert(0, trial)
        return True

    def finish_early(self, key: str, status: Status, reason: str, **measured: Any) -> Record:
        """The record of a trial that ended from outside (stopped by ASHA, its worker lost), told to everyone.

        Args:
            measured: further fields of the record, as `suite.trial.read_measurements` finds them.
        """
        record = partial_record(self._running[key][1], status, reason, tuple(self._histories[key]), **measured)
        self.finish_trial(record)
        return record

    def _keep_record(self, record: Record, cell: Cell) -> None:
        self.records[record.trial_key] = record
        self._cell_of[record.trial_key] = cell

    def _announce_record(self, record: Record, cell: Cell) -> None:
        self._keep_record(record, cell)
        for listener in self._listeners:
            listener.on_finish(record)

    def _confirm_if_due(self, state: CellState) -> None:
        if state.confirm is not None or (state.search.total and not state.search.finished):
            return
        best = state.search.best_hyperparameters() if state.search.total else ()
        if best is None:
            state.confirm = []
            reason = f"no search trial of the cell completed ({state.search.describe_outcome()})"
            self._skip_cell(state.cell, state.conditions, reason)
            return
        state.confirm = self._plan.confirm_trials(state.cell, best, state.conditions)
        for trial in state.confirm:
            if trial.key in self._done:
                self._keep_record(self._done[trial.key], state.cell)
            else:
                state.queue.append(trial)

    def _skip_cell(self, cell: Cell, conditions: ExecutionConfig, reason: str) -> None:
        for trial in self._plan.confirm_trials(cell, (), conditions):
            self._announce_record(partial_record(trial, "skipped", reason, ()), cell)

    # -- looking in

    @property
    def idle(self) -> bool:
        """Whether there is nothing left to hand out, now or later."""
        return not self._running and all(not state.queue and state.next_undrawn() is None for state in self._cells)

    @property
    def running(self) -> list[Trial]:
        return [trial for _, trial in self._running.values()]

    def count_trials(self) -> dict[Cell, dict[str, int]]:
        """Per cell: trials by status, `running` included."""
        found: dict[Cell, dict[str, int]] = {planned.cell: {} for planned in self._plan.cells}
        for key, record in self.records.items():
            cell = self._cell_of[key]
            found[cell][record.status] = found[cell].get(record.status, 0) + 1
        for trial in self.running:
            found[trial.cell]["running"] = found[trial.cell].get("running", 0) + 1
        return found
