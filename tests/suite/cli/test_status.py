"""`graftbench status` and `retry`: what a storage tells in each of its states, and that it tells it from little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from suite.cli.status import answer_at_once
from suite.core import records
from suite.core.records import Epoch, Status
from suite.core.specs import Component, Trial
from suite.core.trial_folder import note_epoch
from suite.study.config import load_study
from suite.study.plan import ExecutionConfig, InterimLook, Plan, make_plan, with_cells
from suite.study.study_files import digest_study
from suite.sweep.journal import EventLog, read_ends, read_plan, write_plan
from suite.sweep.status import CellWork, estimate_seconds_left, read_state
from suite.sweep.storage import StudyStorage
from suite.training.outcome import partial_record
from tests.fixtures import Answer, Command

STUDY: dict[str, Any] = {
    "study": "small",
    "datasets": ["digits"],
    "backbones": ["gradient_cnn"],
    "variants": ["baseline", "image_gradient"],
    "recipe": {"name": "gradient", "epochs": 4},
    "seeds": 2,
    "search": {"trials": 3, "space": {"lr": {"low": 0.001, "high": 0.01, "log": True}}},
}
FILE = Path("small.yaml")
BUILT = {"typer", "pydantic"}  # which the command line is built of
HEAVY = {"torch", "ray", "mlflow", "optuna", "numpy", "pandas", "suite.study.config"}


class Started:
    """A storage as a run leaves it half-way, without the training."""

    def __init__(self) -> None:
        FILE.write_text(yaml.safe_dump(STUDY))
        plan = make_plan(load_study(FILE))
        self.plan: Plan = with_cells(plan, [replace(planned, macs=1000) for planned in plan.cells])
        self.plan = replace(self.plan, looks=(InterimLook({"digits / gradient_cnn": 2}),))
        self.storage = StudyStorage(self.plan.study)
        self.storage.create()
        self.storage.write_looks(self.plan.looks)
        self.log = EventLog(self.storage.path)
        self.begin_run()

    def begin_run(self, slots: int = 2) -> None:
        write_plan(self.plan, digest_study(FILE), slots)

    def trial(self, stage: str, seed: int, cell: int = 0) -> Trial:
        planned = self.plan.cells[cell]
        chosen = self.plan.first_draws(planned, seed if stage == "search" else 0)
        if stage == "search":
            return self.plan.search_trial(planned.cell, seed, chosen, ExecutionConfig())
        return self.plan.confirm_trials(planned.cell, chosen, ExecutionConfig())[seed]

    def take_up(self, trial: Trial, epochs: int = 0) -> Path:
        folder = self.storage.trial_directory(trial.key)
        folder.mkdir(exist_ok=True)
        (folder / "trial.json").write_text(json.dumps(trial.to_dict()))
        if epochs:
            note_epoch(make_history(epochs), folder)
        return folder

    def end(
        self, trial: Trial, how: Status = "completed", reason: str = "", *, told: bool = True, failures: int = 0
    ) -> Path:
        folder = self.take_up(trial)
        record = partial_record(trial, how, reason, make_history(trial.epochs), failures=failures)
        records.write_record(record, folder / "record.json")
        if told:
            self.log.on_finish(record)
        return folder

    def read(self) -> dict[str, Any]:
        plan = read_plan(self.storage.path, digest_study(FILE))
        assert plan is not None
        return read_state(self.storage.path, plan)


def make_history(epochs: int) -> tuple[Epoch, ...]:
    return tuple(
        Epoch(
            epoch=number,
            learning_rate=0.1,
            train_loss=1.0,
            train_top1_error=0.5,
            validation_loss=1.0,
            validation_top1_error=0.5 / number,
            validation_top5_error=0.1,
            train_seconds=10.0,
        )
        for number in range(1, epochs + 1)
    )


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "GRAFTBENCH_DATA"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def started(work: Path) -> Started:
    return Started()


def assert_refused(answer: Answer, *parts: str) -> None:
    assert answer.code == 2 and answer.err.count("\n") == 1, answer
    for part in parts:
        assert part in answer.err


# -- what a storage tells


def test_a_run_half_way(started: Started, graftbench: Command) -> None:
    started.end(started.trial("search", 0))
    started.end(started.trial("search", 1), "stopped", "stopped by ASHA")
    started.end(started.trial("search", 0, cell=1), "failed", "Traceback\n  File x\nRuntimeError: [1] broke")
    started.take_up(started.trial("search", 2), epochs=2)
    started.take_up(started.trial("search", 1, cell=1))
    with started.storage.locked():
        state = json.loads(graftbench("status", "--json", FILE).out)
        page = graftbench("status", FILE).out
    assert list(state)[:4] == ["study", "storage", "trials", "cells"]
    assert (state["study"], state["storage"], state["trials"], state["finished"]) == ("small", "runs/small", 10, 2)
    assert state["cells"][0] == {
        "dataset": "digits",
        "backbone": "gradient_cnn",
        "variant": "baseline",
        "planned": 5,
        "refused": None,
        "search": {"completed": 1, "stopped": 1, "running": 1},
        "confirm": {},
    }
    assert state["cells"][1]["search"] == {"failed": 1, "running": 1}
    assert (state["run"]["slots"], state["run"]["busy"]) == (2, 2)
    notes = {trial["cell"]: (trial["epochs"], trial["validation_top1_error"]) for trial in state["running"]}
    assert notes == {
        "digits / gradient_cnn / baseline": (2, 0.25),
        "digits / gradient_cnn / image_gradient": (0, None),
    }
    assert [failure["reason"] for failure in state["failures"]] == ["RuntimeError: [1] broke"]
    assert state["trials_per_hour"] > 0 and state["seconds_left"] > 0
    assert "1 completed, 1 stopped, 1 running" in page and "2 of 10 trials finished; 2 of 2 workers busy" in page
    assert "trials an hour, about" in page and "left (estimate)" in page
    assert "running digits / gradient_cnn / baseline, search 2: epoch 2 of 4, validation error 25.00 %" in page
    assert "failed digits / gradient_cnn / image_gradient, search 0: RuntimeError: [1] broke" in page


def test_no_run_at_work(started: Started, graftbench: Command) -> None:
    started.end(started.trial("search", 0))
    started.take_up(started.trial("search", 1), epochs=3)
    state = json.loads(graftbench("status", "--json", FILE).out)
    assert state["cells"][0]["search"] == {"completed": 1, "interrupted": 1}
    assert state["running"] == [] and state["run"] is state["seconds_left"] is state["trials_per_hour"] is None
    assert "1 of 10 trials finished; no run is at work" in graftbench("status", FILE).out


def test_what_an_earlier_run_left_open_is_not_running(started: Started) -> None:
    left = started.take_up(started.trial("search", 0))
    failed = started.end(started.trial("search", 1), "failed", "broke")
    for path in (left / "trial.json", failed / "trial.json", failed / "record.json"):
        os.utime(path, ns=(1, 1))
    started.log.catch_up([records.read_record(failed / "record.json")])
    with started.storage.locked():
        assert started.read()["cells"][0]["search"] == {"failed": 1, "interrupted": 1}
        started.take_up(started.trial("search", 0))
        started.take_up(started.trial("search", 1))
        assert started.read()["cells"][0]["search"] == {"running": 2}, "a failed one is trained again"


def test_records_are_the_one_truth(started: Started) -> None:
    told, untold, gone, replaced, torn = (started.trial("search", seed, cell) for seed, cell in PLACES)
    started.end(told)
    started.end(untold, "diverged", told=False)  # the driver was killed in between
    (started.end(gone) / "record.json").unlink()
    started.end(replaced, "failed", "broke")
    time.sleep(0.01)
    started.end(replaced, told=False)
    (started.end(torn) / "record.json").write_text('{"trial_key": ')
    cells = started.read()["cells"]
    assert cells[0]["search"] == {"completed": 1, "diverged": 1, "interrupted": 1}
    assert cells[1]["search"] == {"completed": 1, "interrupted": 1}


PLACES = ((0, 0), (1, 0), (2, 0), (0, 1), (1, 1))


def test_torn_lines(started: Started) -> None:
    first, second, third = (started.trial("search", seed) for seed in range(3))
    started.end(first)
    events = started.storage.path / "events.jsonl"
    whole = events.read_bytes()
    with events.open("ab") as log:
        log.write(whole[: len(whole) // 2])  # killed while it wrote
    started.end(second)
    with events.open("ab") as log:
        log.write(b'[1, "no line of ours"]\n{"key": 1}\n\xff\n{"key"')
    assert read_ends(started.storage.path).keys() == {first.key, second.key}
    started.end(third, told=False)
    assert started.read()["cells"][0]["search"] == {"completed": 3}


def test_missing_lines_are_caught_up(started: Started) -> None:
    found = []
    for seed in range(3):
        folder = started.end(started.trial("search", seed), told=seed == 0)
        found.append(records.read_record(folder / "record.json"))
    assert len(read_ends(started.storage.path)) == 1
    for _ in range(2):
        started.log.catch_up(found)
    assert (started.storage.path / "events.jsonl").read_bytes().count(b"\n") == 3, "none is written twice"
    assert len(read_ends(started.storage.path)) == 3


def test_lines_save_the_reading_of_records(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    started.end(started.trial("search", 0))
    read: list[Path] = []
    monkeypatch.setattr(records, "read_record", lambda path: read.append(path))
    assert started.read()["finished"] == 1 and read == []


def test_trials_that_the_plan_does_not_ask_for(started: Started) -> None:
    started.end(replace(started.trial("search", 0), revision="another"))
    started.end(replace(started.trial("search", 0), seed=3))
    cell = replace(started.plan.cells[0].cell, backbone=Component("gone"))
    started.end(replace(started.trial("search", 0), cell=cell))
    state = started.read()
    assert state["finished"] == 0 and all(cell["search"] == {} for cell in state["cells"])


@pytest.mark.parametrize("lacks", ["plan.json", "events.jsonl", "both"])
def test_a_study_of_an_older_version(started: Started, graftbench: Command, lacks: str) -> None:
    started.end(started.trial("search", 0))
    for name in ("plan.json", "events.jsonl"):
        if lacks in (name, "both"):
            (started.storage.path / name).unlink()
    state = json.loads(graftbench("status", "--json", FILE).out)
    assert (state["trials"], state["cells"][0]["search"]) == (10, {"completed": 1})


def test_a_study_file_that_has_changed_is_planned_anew(started: Started, graftbench: Command) -> None:
    FILE.write_text(yaml.safe_dump({**STUDY, "seeds": 4}))
    assert json.loads(graftbench("status", "--json", FILE).out)["trials"] == 14
    FILE.write_text(yaml.safe_dump({**STUDY, "split_seed": 1}))
    assert_refused(graftbench("status", FILE), "split_seed: changed since runs/small was started")


def test_seeds_that_a_topup_added(started: Started) -> None:
    started.storage.write_looks((*started.plan.looks, InterimLook({"digits / gradient_cnn": 5}, 0.5)))
    assert read_plan(started.storage.path, digest_study(FILE)) is None, "the plan is made anew, with them"


def test_many_cells_are_counted_and_those_under_way_shown(
    started: Started, graftbench: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suite.cli.status._ROWS", 1)
    started.end(started.trial("search", 0, cell=1))
    page = graftbench("status", FILE).out
    assert "image_gradient" in page and "baseline" not in page
    assert "1 of 2 cells are under way; 0 are finished, 1 not begun, 0 refused (all with --json)" in page


@pytest.mark.parametrize(
    ("options", "absent"),
    [((), HEAVY | BUILT), (("--json",), HEAVY | BUILT), (("--watch",), HEAVY), (("--data", "elsewhere"), HEAVY)],
)
def test_it_imports_nothing_heavy(started: Started, options: tuple[str, ...], absent: set[str]) -> None:
    started.end(started.trial("search", 0))
    code = f"""
import sys
from suite.cli.__main__ import main
try:
    main()
finally:
    found = {absent} & set(sys.modules)
    assert not found, found
"""
    command = [sys.executable, "-c", code, "status", str(FILE), *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0 and "small" in ended.stdout, ended.stderr


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_without_the_command_line_it_says_the_same(
    started: Started, graftbench: Command, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    started.end(started.trial("search", 0), "failed", "broke")
    assert answer_at_once([str(FILE), *options])
    assert capsys.readouterr().out == graftbench("status", FILE, *options).out


@pytest.mark.parametrize(
    "arguments", ["", "--json", "small.yaml --jsno", "a b", "absent.yaml", "small.yaml --profile x"]
)
def test_the_command_line_answers_what_is_not_plain(
    started: Started, capsys: pytest.CaptureFixture[str], arguments: str
) -> None:
    assert not answer_at_once(arguments.split())
    assert capsys.readouterr().out == ""


def test_memory_does_not_grow_with_the_records(started: Started) -> None:
    """Of 3,000 trials with long histories, the command holds little more than of one."""
    started.end(started.trial("search", 0))
    small = measure_memory()
    events = started.storage.path / "events.jsonl"
    line = json.loads(events.read_text())
    with events.open("a") as log:
        for index in range(3000):
            key = f"{index:016x}"
            folder = started.storage.trial_directory(key)
            folder.mkdir()
            (folder / "record.json").write_text("no record: it must not be read")
            stamp = (folder / "record.json").stat().st_mtime_ns
            log.write(json.dumps([key, *line[1:-1], stamp]) + "\n")
    assert started.read()["finished"] == 3001
    assert small < 100e6 and measure_memory() - small < 10e6


def measure_memory() -> float:
    """Bytes that the command held at most. A small process starts it: a process inherits its parent's peak."""
    launch = "import os, subprocess, sys; print(os.wait4(subprocess.Popen(sys.argv[1:], stdout=2).pid, 0)[2].ru_maxrss)"
    command = [sys.executable, "-c", launch, sys.executable, "-m", "suite.cli", "status", str(FILE)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "small in runs/small" in ended.stderr
    return 1024 * float(ended.stdout)


# -- watching


def test_watching_ends_with_the_run(started: Started, graftbench: Command) -> None:
    ready, finish = threading.Event(), threading.Event()

    def hold() -> None:
        with started.storage.locked():
            ready.set()
            finish.wait(30)
            started.end(started.trial("search", 0))

    run = threading.Thread(target=hold)
    run.start()
    ready.wait(30)
    threading.Timer(0.4, finish.set).start()
    answer = graftbench("status", "--watch", "--every", "0.1", FILE)
    run.join()
    assert answer.code == 0
    assert answer.out.count("0 of 10 trials finished; 0 of 2 workers busy, time left not known yet") >= 2
    assert "1 of 10 trials finished; no run is at work" in answer.out.splitlines()[-1]


def test_ctrl_c_ends_the_watching(started: Started, graftbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("suite.cli.status.time.sleep", interrupt)
    with started.storage.locked():
        answer = graftbench("status", "--watch", FILE)
    assert answer.code == 0 and answer.out.count("0 of 10 trials finished") == 2


@pytest.mark.parametrize(
    ("options", "part"),
    [(("--watch", "--json"), "contradict each other"), (("--every", "3"), "belongs to --watch")],
)
def test_options_that_make_no_sense(started: Started, graftbench: Command, options: tuple[str, ...], part: str) -> None:
    assert_refused(graftbench("status", FILE, *options), part)


# -- time left


def test_the_estimate_of_the_time_left() -> None:
    """Two slots: 100 s of training took 50 s. An unseen cell of twice the MACs costs twice as much an epoch."""
    seen, unseen = CellWork(1000, 5, 10, 100.0), CellWork(2000, 4)
    assert estimate_seconds_left([seen, unseen], 100.0, 50.0) == pytest.approx((5 * 10 + 4 * 20) / 2)
    assert estimate_seconds_left([unseen], 0.0, 50.0) is None


# -- retry


@pytest.fixture
def with_failures(started: Started, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Failed trials in both cells; the options of the runs that `retry` asks for, none of which trains."""
    from suite.cli import common

    started.end(started.trial("search", 0), "failed", "broke")
    started.end(started.trial("search", 1), "diverged", "nan")
    started.end(started.trial("search", 2, cell=1), "failed", "broke too")
    asked: list[Any] = []

    def note(_: Plan, options: Any, command: str) -> Any:
        asked.append((options, command))
        raise SystemExit(0)

    monkeypatch.setattr(common, "train_missing", note)
    return lambda: asked


def test_retry_trains_what_failed_and_nothing_else(
    started: Started, graftbench: Command, with_failures: Callable[..., list[Any]]
) -> None:
    answer = graftbench("retry", FILE, "--local")
    assert "training 2 failed trials again:" in answer.out
    assert "  digits / gradient_cnn / baseline, search 0: broke\n" in answer.out
    [(options, command)] = with_failures()
    keys = {started.trial("search", 0).key, started.trial("search", 2, cell=1).key}
    assert (options.only, options.local, command) == (keys, True, "retry small.yaml")


@pytest.mark.parametrize(
    "pattern", ["digits/gradient_cnn/image_gradient", "digits / gradient_cnn / image_gradient", "*/image*"]
)
def test_retry_of_some_cells(
    started: Started, graftbench: Command, with_failures: Callable[..., list[Any]], pattern: str
) -> None:
    graftbench("retry", FILE, "--cell", pattern)
    assert with_failures()[0][0].only == {started.trial("search", 2, cell=1).key}


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--cell", "digits/cnn/sire"), ("no cell 'digits/cnn/sire'", "digits/gradient_cnn/baseline; digits/gradient")),
        (("--status", "diverged"), ("a diverged trial is not trained again", "cherry-picking", "legal: failed")),
        (("--status", "skipped"), ("a skipped trial is not trained again", "refused")),
        (("--status", "fail"), ("must be one of failed, not 'fail'",)),
        (("--device", "tpu"), ("--device: must be auto",)),
    ],
)
def test_retry_refuses(
    graftbench: Command,
    with_failures: Callable[..., list[Any]],
    options: tuple[str, ...],
    parts: tuple[str, ...],
) -> None:
    assert_refused(graftbench("retry", FILE, *options), *parts)
    assert with_failures() == []


def test_retry_waits_for_a_run_at_work(
    started: Started, graftbench: Command, with_failures: Callable[..., list[Any]]
) -> None:
    with started.storage.locked():
        assert_refused(graftbench("retry", FILE), "another run of 'small' is using runs/small: wait for it")
    assert with_failures() == []


def test_retry_without_a_failure(started: Started, graftbench: Command) -> None:
    started.end(started.trial("search", 0), "diverged", "nan")
    answer = graftbench("retry", FILE)
    assert answer.code == 0 and "nothing to train again" in answer.out


def test_retry_changes_no_choice_that_the_test_part_has_followed(started: Started, graftbench: Command) -> None:
    started.end(started.trial("search", 0), "failed", "broke", failures=2)
    started.end(started.trial("confirm", 0))
    answer = graftbench("retry", FILE)
    assert answer.code == 0 and "not trained again: 1 failed search trial whose cell has confirm trials" in answer.out
    assert "nothing to train again" in answer.out


def test_a_failure_is_trained_again_for_real(work: Path, graftbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search and a confirm trial failed, and a seed was added: the two are trained again, the seed is for `run`."""
    study = {**STUDY, "variants": ["baseline"], "recipe": {"name": "gradient", "epochs": 1}}
    FILE.write_text(yaml.safe_dump(study))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{work}/first.db")
    assert graftbench("run", FILE, "--local").code == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{work}/second.db")  # the first one has their results
    storage = StudyStorage(load_study(FILE))
    for record in storage.read_records().values():
        if record.seed == 1:
            broken = partial_record(Trial.from_dict(record.trial), "failed", "broke")
            records.write_record(broken, storage.trial_directory(record.trial_key) / "record.json")
    state = json.loads(graftbench("status", "--json", FILE).out)
    assert state["cells"][0]["search"] == {"completed": 2, "failed": 1}
    assert state["cells"][0]["confirm"] == {"completed": 1, "failed": 1}
    FILE.write_text(yaml.safe_dump({**study, "seeds": 3}))
    answer = graftbench("retry", FILE, "--local")
    assert answer.code == 0 and "training 2 failed trials again" in answer.out and "trained 2 trials" in answer.out
    assert "more is missing, which this trains: graftbench run small.yaml" in answer.out
    state = json.loads(graftbench("status", "--json", FILE).out)
    assert (state["finished"], state["failures"]) == (5, [])
    assert "nothing to train again" in graftbench("retry", FILE).out
    assert "trained 1 trials" in graftbench("run", FILE, "--local").out
    assert not list(storage.path.glob("trials/*/epoch.json")), "what shows the way is gone when it is over"
