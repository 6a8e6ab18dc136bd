"""How long `graftbench status` takes for a large study that runs, and how much memory.

    python -m benchmarks.status_scale [--rounds 7] [--epochs 20] [--untold]

Makes, in a folder for temporary files that goes again, the storage of `full_grid` in the middle of its last trials, as
a run leaves it: 11,544 trials with their records, some of them failed, some running, and a lock that is held. The
command runs in a process of its own; seconds are of the whole process, memory is the most that it held. `--untold`
measures it without the lines that say how trials ended too: every record is read then. Target: under 0.5 s and 100 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from suite.core import records
from suite.core.records import Epoch, Record, Status
from suite.core.specs import Trial
from suite.core.trial_folder import note_epoch
from suite.study.config import load_study
from suite.study.plan import ExecutionConfig, InterimLook, Plan, group_label, make_plan, with_cells
from suite.study.study_files import digest_study
from suite.sweep.journal import EventLog, write_plan
from suite.sweep.storage import StudyStorage
from suite.training.outcome import partial_record

STUDY = Path("full_grid")
REFUSED = 24  # cells of its 912, which leaves 11,544 trials
SLOTS = 16


def make_large_plan() -> Plan:
    """The plan without its check, which would build every network; so many cells are refused as by the check."""
    plan = make_plan(load_study(STUDY))
    cells = list(plan.cells)
    variants = [index for index, planned in enumerate(cells) if not planned.cell.is_baseline]
    for index in variants[:REFUSED]:
        cells[index] = replace(cells[index], refused="the backbone has no stage for it")
    plan = with_cells(plan, [replace(planned, macs=10_000_000) for planned in cells])
    seeds = {group_label(planned.cell): plan.study.seeds for planned in plan.runnable}
    return replace(plan, looks=(InterimLook(seeds),))


def iterate_trials(plan: Plan) -> Iterator[Trial]:
    execution = ExecutionConfig()
    for planned in plan.runnable:
        for index in range(plan.study.search.trials):
            yield plan.search_trial(planned.cell, index, plan.first_draws(planned, index), execution)
        yield from plan.confirm_trials(planned.cell, plan.first_draws(planned, 0), execution)


def make_storage(plan: Plan, epochs: int) -> int:
    """A run's storage in this folder; the number of trials. Nothing is flushed: nobody needs it after a power cut."""
    storage = StudyStorage(plan.study)
    storage.create()
    storage.write_looks(plan.looks)
    history = [_make_epoch(number) for number in range(1, epochs + 1)]
    ended: list[Record] = []
    running: list[Trial] = []
    trials = list(iterate_trials(plan))
    for index, trial in enumerate(trials):
        folder = storage.trial_directory(trial.key)
        folder.mkdir()
        if index >= len(trials) - SLOTS:
            running.append(trial)
            continue
        (folder / "trial.json").write_text(json.dumps(trial.to_dict(), indent=1))
        status: Status = "stopped" if trial.stage == "search" and index % 2 else "completed"
        if index % 1000 == 0:
            status = "failed"
        ended.append(partial_record(trial, status, "" if status == "completed" else "as it was", history))
        (folder / "record.json").write_text(records.to_json(ended[-1]))
    EventLog(storage.path).catch_up(ended)
    write_plan(plan, digest_study(STUDY), SLOTS)
    for trial in running:
        folder = storage.trial_directory(trial.key)
        (folder / "trial.json").write_text(json.dumps(trial.to_dict(), indent=1))
        note_epoch(history[:3], folder)
    return len(trials)


def _make_epoch(number: int) -> Epoch:
    return Epoch(
        epoch=number,
        learning_rate=0.001234567,
        train_loss=1.2345678901 / number,
        train_top1_error=0.51234567 / number,
        validation_loss=1.3456789012 / number,
        validation_top1_error=0.5234567 / number,
        validation_top5_error=0.1234567 / number,
        train_seconds=12.345678,
        scalars={"reconstruction_mse_1": 0.0123456 / number},
    )


def run_status(*options: str) -> tuple[float, float, float]:
    """Seconds of the whole command, seconds of a processor, and the most memory that it held (MB)."""
    command = [sys.executable, "-m", "suite.cli", "status", str(STUDY), *options]
    measured = subprocess.run([sys.executable, "-c", _LAUNCHER, *command], check=True, capture_output=True, text=True)
    code, seconds, processor, kibibytes = map(float, measured.stdout.split())
    if code:
        raise SystemExit(f"{' '.join(command)} failed: {measured.stderr}")
    return seconds, processor, kibibytes * 1024 / 1e6


# A process inherits the peak memory of the one that started it, so a small one does.
_LAUNCHER = """
import os, subprocess, sys, time
began = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, code, used = os.wait4(process.pid, 0)
print(code, time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


def measure(rounds: int, *options: str) -> None:
    run_status(*options)  # the files are in memory then, as during a run
    found = [run_status(*options) for _ in range(rounds)]
    seconds, processor, memory = (statistics.median(values) for values in zip(*found, strict=True))
    name = " ".join(("status", *options))
    sys.stdout.write(
        f"{name:14} {seconds:.2f} s ({processor:.2f} s of a processor), {memory:.0f} MB; medians of {rounds}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=20, help="of every record's history")
    parser.add_argument("--untold", action="store_true", help="measure it without the lines of ended trials too")
    given = parser.parse_args()
    plan = make_large_plan()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        storage = StudyStorage(plan.study)
        trials = make_storage(plan, given.epochs)
        sys.stdout.write(f"{trials:,} trials\n")
        with storage.locked():
            measure(given.rounds)
            measure(given.rounds, "--json")
            if given.untold:
                (storage.path / "events.jsonl").unlink()
                measure(1)


if __name__ == "__main__":
    main()
