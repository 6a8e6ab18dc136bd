"""What the terminal shows while a study runs: a live table per cell, or a line now and then in a log."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table

from suite.plan import Plan, PlannedCell
from suite.records import Epoch, Record
from suite.specs import Cell, Trial

_REFRESH_SECONDS = 0.5
_LINE_SECONDS = 15.0


@dataclass
class _Row:
    planned: PlannedCell
    ended: dict[str, int] = field(default_factory=dict)  # "search completed" -> trials
    running: dict[str, int] = field(default_factory=dict)  # trial key -> epochs so far
    epochs_left: int = 0
    epochs_heard: int = 0
    seconds_heard: float = 0.0  # of training, in the epochs heard
    latest: float | None = None  # latest validation top-1 error

    def count(self, stage: str) -> int:
        return sum(number for name, number in self.ended.items() if name.startswith(stage))


class Progress:
    """An audience of the conductor; use as a context manager."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan, self._console = plan, console
        self._rows = {planned.cell: _Row(planned, epochs_left=_epochs(plan, planned)) for planned in plan.cells}
        self._began = self._shown = time.monotonic()
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    # -- audience

    def known(self, record: Record, cell: Cell) -> None:
        """Count a trial that an earlier run finished."""
        self._end(record, cell)

    def started(self, trial: Trial) -> None:
        self._rows[trial.cell].running[trial.key] = 0
        self._show()

    def epoch(self, trial: Trial, epoch: Epoch) -> None:
        row = self._rows[trial.cell]
        row.running[trial.key] = epoch.epoch
        row.latest = epoch.validation_top1_error
        row.epochs_heard += 1
        row.seconds_heard += epoch.train_seconds
        self._show()

    def finished(self, record: Record) -> None:
        cell = Trial.from_dict(record.trial).cell
        self._end(record, cell)
        if record.status == "failed":
            self._console.print(f"[red]failed[/]: {cell.label}, {record.stage} {record.seed}: {record.reason}")
        self._show()

    def _end(self, record: Record, cell: Cell) -> None:
        row = self._rows[cell]
        row.running.pop(record.trial_key, None)
        name = f"{record.stage} {record.status}"
        row.ended[name] = row.ended.get(name, 0) + 1
        row.epochs_left -= record.epochs if record.status != "skipped" else 0  # a stopped trial needs no more either

    # -- display

    def _show(self) -> None:
        pause = _REFRESH_SECONDS if self._live else _LINE_SECONDS
        if time.monotonic() - self._shown < pause:
            return
        self._shown = time.monotonic()
        if self._live:
            self._live.update(self._table(), refresh=True)
        else:
            self._console.print(self._line())

    def _line(self) -> str:
        done = sum(row.count("") for row in self._rows.values())
        running = sum(len(row.running) for row in self._rows.values())
        return f"{done} of {self._plan.trials} trials done, {running} running, {self._time_left()}"

    def _time_left(self) -> str:
        seconds = self.seconds_left()
        if seconds is None:
            return "time left not known yet"
        return f"about {_duration(seconds)} left"

    def seconds_left(self) -> float | None:
        """Training seconds left over the rate so far (slots and overhead included); None before the first epoch.

        A cell that has not trained yet is taken to cost what the others do, by multiply-accumulates.
        """
        rows = [row for row in self._rows.values() if row.planned.refused is None]
        heard = sum(row.seconds_heard for row in rows)
        if not heard:
            return None
        per_mac = max(
            row.seconds_heard / row.epochs_heard / (row.planned.macs or 1) for row in rows if row.epochs_heard
        )
        least = min(row.seconds_heard / row.epochs_heard for row in rows if row.epochs_heard)
        left = 0.0
        for row in rows:
            guess = max(least, per_mac * (row.planned.macs or 1))
            cost = row.seconds_heard / row.epochs_heard if row.epochs_heard else guess
            left += max(0, row.epochs_left - sum(row.running.values())) * cost
        return left * (time.monotonic() - self._began) / heard

    def _table(self) -> Table:
        table = Table(title=f"{self._plan.study.study}: {self._line()}", title_justify="left", expand=False)
        table.add_column("cell", overflow="fold")
        for name in ("search", "stopped", "confirm", "running", "latest val. error"):
            table.add_column(name, justify="right")
        for row in self._rows.values():
            table.add_row(*self._row(row))
        return table

    def _row(self, row: _Row) -> list[str]:
        study, label = self._plan.study, row.planned.cell.label
        if row.planned.refused:
            return [label, "refused", "", "", "", ""]
        stopped = row.ended.get("search stopped", 0)
        bad = sum(n for name, n in row.ended.items() if name.endswith(("failed", "diverged", "skipped")))
        running = ", ".join(f"epoch {epoch}" for epoch in row.running.values())
        return [
            label,
            f"{row.count('search')}/{study.search.trials}",
            str(stopped or ""),
            f"{row.count('confirm')}/{study.seeds}" + (f" ({bad} bad)" if bad else ""),
            running,
            "" if row.latest is None else f"{100 * row.latest:.2f} %",
        ]


def _epochs(plan: Plan, planned: PlannedCell) -> int:
    if planned.refused:
        return 0
    return plan.study.search.trials * plan.search_epochs + plan.study.seeds * plan.epochs


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
