"""What the terminal shows while a study runs: a live table per cell, or a line now and then in a log."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from suite.core.records import Epoch, Record
from suite.core.specs import Cell, Trial
from suite.study.plan import Plan, PlannedCell
from suite.sweep.status import CellWork, estimate_seconds_left, format_duration

_REFRESH_SECONDS = 0.5
_LINE_SECONDS = 15.0
_RESTORED = 0.5  # an epoch heard in less than this part of its training time was trained by an earlier run


@dataclass
class _CellProgress:
    planned: PlannedCell
    epochs_left: int
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)  # (stage, status) -> trials
    running: dict[str, int] = field(default_factory=dict)  # trial key -> epochs so far
    epochs_heard: int = 0
    seconds_heard: float = 0.0  # of training, in the epochs heard
    latest: float | None = None  # latest validation top-1 error

    @property
    def macs(self) -> int:
        return self.planned.macs or 1

    def format_share(self, stage: str, planned: int) -> str:
        done = sum(number for (of_stage, _), number in self.ended.items() if of_stage == stage)
        bad = self.ended[stage, "failed"] + self.ended[stage, "diverged"] + self.ended[stage, "skipped"]
        return f"{done}/{planned} ({bad} bad)" if bad else f"{done}/{planned}"


class SlotClock:
    """A listener of the scheduler: for how long trials occupied their places.

    Attributes:
        occupied: seconds from handing a trial out to its record, of this run's trials, by the device's name.
    """

    def __init__(self) -> None:
        self.occupied: dict[str, float] = {}
        self._began: dict[str, float] = {}  # by trial key; of a trial handed out again, since then

    def on_start(self, trial: Trial) -> None:
        self._began[trial.key] = time.monotonic()

    def on_epoch(self, trial: Trial, epoch: Epoch) -> None:
        """Nothing: only whole trials count."""

    def on_finish(self, record: Record) -> None:
        began = self._began.pop(record.trial_key, None)
        if began is not None:  # a skipped trial never began
            seconds = time.monotonic() - began
            self.occupied[record.device] = self.occupied.get(record.device, 0.0) + seconds


class ProgressDisplay:
    """A listener of the scheduler; use as a context manager."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan, self._console = plan, console
        self._rows: dict[Cell, _CellProgress] = {}
        for planned in plan.cells:
            epochs = plan.study.search.trials * plan.search_epochs + plan.count_seeds(planned.cell) * plan.epochs
            self._rows[planned.cell] = _CellProgress(planned, epochs)
        self._runnable = [row for row in self._rows.values() if row.planned.refused is None]
        self._began = self._shown = time.monotonic()
        self._trained = 0.0  # seconds of training in this run, over all slots
        self._heard: dict[str, float] = {}  # trial key -> when it was last heard of
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> ProgressDisplay:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    # -- what the scheduler tells

    def count_known(self, record: Record) -> None:
        """Count a trial that an earlier run finished."""
        row = self._rows[Trial.from_dict(record.trial).cell]
        row.running.pop(record.trial_key, None)
        self._heard.pop(record.trial_key, None)
        row.ended[record.stage, record.status] += 1
        row.epochs_left -= record.epochs  # a stopped or skipped trial needs no more either

    def on_start(self, trial: Trial) -> None:
        self._rows[trial.cell].running.setdefault(trial.key, 0)  # one whose worker was lost goes on where it was
        self._heard[trial.key] = time.monotonic()
        self._refresh()

    def on_epoch(self, trial: Trial, epoch: Epoch) -> None:
        row, now = self._rows[trial.cell], time.monotonic()
        if now - self._heard[trial.key] >= _RESTORED * epoch.train_seconds:
            self._trained += epoch.train_seconds
        self._heard[trial.key] = now
        row.running[trial.key] = epoch.epoch
        row.latest = epoch.validation_top1_error
        row.epochs_heard += 1
        row.seconds_heard += epoch.train_seconds
        self._refresh()

    def on_finish(self, record: Record) -> None:
        self.count_known(record)
        if record.status == "failed":
            label = Trial.from_dict(record.trial).cell.label
            sentence = f"{label}, {record.stage} {record.seed}: {record.reason}"
            self._console.print(f"[red]failed[/]: {escape(sentence)}")
        self._refresh()

    # -- display

    def _refresh(self) -> None:
        pause = _REFRESH_SECONDS if self._live else _LINE_SECONDS
        if time.monotonic() - self._shown < pause:
            return
        self._shown = time.monotonic()
        if self._live:
            self._live.update(self._build_table(), refresh=True)
        else:
            self._console.print(self._format_line())

    def _format_line(self) -> str:
        done = sum(row.ended.total() for row in self._runnable)
        running = sum(len(row.running) for row in self._runnable)
        return f"{done} of {self._plan.trials} trials done, {running} running, {self._time_left()}"

    def _time_left(self) -> str:
        seconds = self.seconds_left()
        if seconds is None or not any(row.ended for row in self._rows.values()):  # the first epochs say too little
            return "time left not known yet"
        return f"about {format_duration(seconds)} left"

    def seconds_left(self) -> float | None:
        """As `suite.sweep.status.estimate_seconds_left`; None before the first epoch."""
        cells = []
        for row in self._runnable:
            left = row.epochs_left - sum(row.running.values())
            cells.append(CellWork(row.macs, left, row.epochs_heard, row.seconds_heard))
        return estimate_seconds_left(cells, self._trained, time.monotonic() - self._began)

    def _build_table(self) -> Table:
        table = Table(title=f"{self._plan.study.study}: {self._format_line()}", title_justify="left", expand=False)
        table.add_column("cell", overflow="fold")
        for name in ("search", "stopped", "confirm", "running", "latest val. error"):
            table.add_column(name, justify="right")
        for row in self._rows.values():
            table.add_row(*self._format_row(row))
        return table

    def _format_row(self, row: _CellProgress) -> list[str]:
        label = escape(row.planned.cell.label)
        if row.planned.refused:
            return [label, "refused", "", "", "", ""]
        search = row.format_share("search", self._plan.study.search.trials)
        stopped = str(row.ended["search", "stopped"] or "")
        confirm = row.format_share("confirm", self._plan.count_seeds(row.planned.cell))
        running = ", ".join(f"epoch {epoch}" for epoch in row.running.values())
        latest = "" if row.latest is None else f"{100 * row.latest:.2f} %"
        return [label, search, stopped, confirm, running, latest]
