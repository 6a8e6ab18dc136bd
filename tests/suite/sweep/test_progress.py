"""What the terminal shows, from made-up events and a clock that the test moves."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from suite.core.records import Epoch, Record, Status
from suite.core.specs import Trial
from suite.study.config import parse_study
from suite.study.plan import ExecutionConfig, Plan, make_plan, with_cells
from suite.sweep import progress
from suite.sweep.progress import ProgressDisplay, SlotClock
from suite.sweep.status import format_duration
from suite.training.outcome import partial_record

STUDY: dict[str, Any] = {
    "study": "shown",
    "datasets": ["digits"],
    "backbones": ["gradient_cnn"],
    "variants": ["baseline", "image_gradient", "sire"],
    "recipe": {"name": "gradient", "epochs": 6},
    "seeds": 2,
    "search": {"trials": 3, "epochs": 4, "space": {"lr": {"low": 0.001, "high": 0.1}}},
}
REASON = "sire needs two stages"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=clock.monotonic))
    yield clock


def plan() -> Plan:
    """Three cells of 3 x 4 + 2 x 6 = 24 epochs; the second costs three times the first, the third is refused."""
    found = make_plan(parse_study(STUDY))
    one, two, three = found.cells
    return with_cells(found, (replace(one, macs=1000), replace(two, macs=3000), replace(three, refused=REASON)))


def trial(of: Plan, cell: int = 0, stage: str = "search", seed: int = 0) -> Trial:
    chosen = of.cells[cell].cell
    if stage == "search":
        return of.search_trial(chosen, seed, (), ExecutionConfig())
    return of.confirm_trials(chosen, (), ExecutionConfig())[seed]


def epoch(number: int, seconds: float = 10.0, error: float = 0.25) -> Epoch:
    return Epoch(
        epoch=number,
        learning_rate=0.1,
        train_loss=1.0,
        train_top1_error=0.5,
        validation_loss=1.0,
        validation_top1_error=error,
        validation_top5_error=0.1,
        train_seconds=seconds,
    )


def record(of: Trial, status: Status = "completed", reason: str = "") -> Record:
    return partial_record(of, status, reason, ())


def quiet() -> Console:
    return Console(file=io.StringIO(), record=True, width=140)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=140)


def test_time_left_by_hand(clock: Clock) -> None:
    of = plan()
    shown = ProgressDisplay(of, quiet())
    assert shown.seconds_left() is None
    first = trial(of)
    shown.on_start(first)
    assert shown.seconds_left() is None, "nothing is known before the first epoch"
    clock.now += 16.0
    shown.on_epoch(first, epoch(1))
    # 10 s of training took 16 s; left are 23 epochs of 10 s, and 24 of the second cell at three times the cost.
    assert shown.seconds_left() == pytest.approx((23 * 10 + 24 * 30) * 16 / 10)
    second = trial(of, cell=1)
    shown.on_start(second)
    clock.now += 20.0
    shown.on_epoch(second, epoch(1, seconds=20.0))  # measured now: 20 s, not the 30 guessed
    assert shown.seconds_left() == pytest.approx((23 * 10 + 23 * 20) * 36 / 30)
    shown.on_finish(record(first, "stopped"))  # its other 3 epochs need no more training
    assert shown.seconds_left() == pytest.approx((20 * 10 + 23 * 20) * 36 / 30)


def test_two_slots_halve_the_time_left(clock: Clock) -> None:
    of = plan()
    shown = ProgressDisplay(of, quiet())
    pair = [trial(of, seed=seed) for seed in (0, 1)]
    for each in pair:
        shown.on_start(each)
    clock.now += 10.0
    for each in pair:
        shown.on_epoch(each, epoch(1))
    assert shown.seconds_left() == pytest.approx((22 * 10 + 24 * 30) / 2)


def test_restored_epochs_are_no_sign_of_speed(clock: Clock) -> None:
    """A resumed trial tells the epochs of its earlier life within a moment."""
    of = plan()
    shown = ProgressDisplay(of, quiet())
    first = trial(of)
    shown.on_start(first)
    clock.now += 2.0
    for number in (1, 2, 3):
        shown.on_epoch(first, epoch(number))
    assert shown.seconds_left() is None
    clock.now += 10.0
    shown.on_epoch(first, epoch(4))
    assert shown.seconds_left() == pytest.approx((20 * 10 + 24 * 30) * 12 / 10)


def test_what_is_known_or_skipped_is_not_waited_for(clock: Clock) -> None:
    of = plan()
    shown = ProgressDisplay(of, quiet())
    for seed in range(3):
        shown.count_known(record(trial(of, 1, seed=seed), "diverged"))
    for cell in (1, 2):
        for seed in range(2):
            shown.on_finish(record(trial(of, cell, "confirm", seed), "skipped", "no search trial completed"))
    first = trial(of)
    shown.on_start(first)
    clock.now += 10.0
    shown.on_epoch(first, epoch(1))
    assert shown.seconds_left() == pytest.approx(23 * 10)
    assert shown._format_line().startswith("5 of 10 trials done, 1 running")


def test_a_log_gets_a_line_now_and_then(clock: Clock) -> None:
    of, console = plan(), quiet()
    with ProgressDisplay(of, console) as shown:
        first = trial(of)
        shown.on_start(first)
        clock.now += 10.0
        shown.on_epoch(first, epoch(1))
        assert console.export_text(clear=False) == ""
        clock.now += 10.0
        shown.on_epoch(first, epoch(2))
        clock.now += 1.0
        shown.on_finish(record(first, "stopped"))
        clock.now += 20.0
        shown.on_start(trial(of, seed=1))
    # 22 x 10 + 24 x 30 = 940 s at full speed; then 20 x 10 + 24 x 30 = 920 s at 20 s of training in 41 s.
    assert console.export_text().splitlines() == [
        "0 of 10 trials done, 1 running, time left not known yet",  # one epoch says too little
        "1 of 10 trials done, 1 running, about 31 min left",
    ]


def test_a_failure_is_said_at_once_whatever_its_text(clock: Clock) -> None:
    of, console = plan(), quiet()
    shown = ProgressDisplay(of, console)
    failed = trial(of, cell=1, seed=2)
    shown.on_start(failed)
    shown.on_finish(record(failed, "failed", "KeyError: [/red] in x[3]"))
    assert console.export_text().splitlines() == [
        "failed: digits / gradient_cnn / image_gradient, search 2: KeyError: [/red] in x[3]"
    ]


def test_the_table_has_a_row_per_cell(clock: Clock) -> None:
    of = plan()
    shown = ProgressDisplay(of, quiet())
    for seed, status in enumerate(("completed", "stopped", "diverged")):
        shown.count_known(record(trial(of, seed=seed), status))  # type: ignore[arg-type]
    shown.on_finish(record(trial(of, 0, "confirm", 0)))
    running = trial(of, 0, "confirm", 1)
    shown.on_start(running)
    clock.now += 10.0
    shown.on_epoch(running, epoch(1, error=0.125))
    console = quiet()
    console.print(shown._build_table())
    title, _, header, _, *rows, _ = console.export_text().splitlines()
    assert title.strip() == "shown: 4 of 10 trials done, 1 running, about 13 min left"
    cells = [[part.strip() for part in row.strip("│┃").split("┃" if "┃" in row else "│")] for row in (header, *rows)]
    assert cells == [
        ["cell", "search", "stopped", "confirm", "running", "latest val. error"],
        ["digits / gradient_cnn / baseline", "3/3 (1 bad)", "1", "1/2", "epoch 1", "12.50 %"],
        ["digits / gradient_cnn / image_gradient", "0/3", "", "0/2", "", ""],
        ["digits / gradient_cnn / sire", "refused", "", "", "", ""],
    ]


def test_a_terminal_shows_the_table_live(clock: Clock) -> None:
    of, console = plan(), terminal()
    with ProgressDisplay(of, console) as shown:
        shown.on_start(trial(of))
        clock.now += 1.0
        shown.on_start(trial(of, cell=1))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "2 running, time left not known yet" in text and "latest val. error" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (5399, "90 min"),
        (5400, "1.5 h"),
        (86400, "24.0 h"),
        (561600, "6.5 days"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_tiny_cell_says_nothing_of_a_large_one(clock: Clock) -> None:
    """The tiny one's seconds are overhead alone; by them the third cell would take 2,000 times as long."""
    found = make_plan(parse_study(STUDY))
    macs = (1000, 1_000_000, 2_000_000)
    of = with_cells(found, tuple(replace(cell, macs=own) for cell, own in zip(found.cells, macs, strict=True)))
    shown = ProgressDisplay(of, quiet())
    for cell in (0, 1):
        told = trial(of, cell)
        shown.on_start(told)
        clock.now += 10.0 * (cell + 1)
        shown.on_epoch(told, epoch(1, seconds=10.0 * (cell + 1)))
    assert shown.seconds_left() == pytest.approx(23 * 10 + 23 * 20 + 24 * 40)


def test_how_long_trials_held_their_places(clock: Clock) -> None:
    of, held = plan(), SlotClock()
    first, second, lost = trial(of), trial(of, seed=1), trial(of, seed=2)
    held.on_start(first)
    held.on_start(lost)
    clock.now += 10.0
    held.on_start(second)
    held.on_start(lost)  # handed out again, since its worker was lost
    clock.now += 5.0
    held.on_epoch(first, epoch(1))
    for ended, device in ((first, "one"), (second, "other"), (lost, "one")):
        held.on_finish(replace(record(ended), device=device))
    held.on_finish(record(trial(of, stage="confirm"), "skipped"))
    assert held.occupied == {"one": 20.0, "other": 5.0}
