"""How long collecting and reporting a large study take, and how much memory.

    python -m benchmarks.analysis_scale [--runs 5000] [--epochs 200] [--metrics 6]

Makes an MLflow store (SQLite, MLflow's own schema, rows as `suite/tracking/mlflow_writer.py` leaves them) in the folder
for temporary files, where the next run finds it again. Every step runs in a process of its own; times exclude the start
of the process and its imports, peak memory includes them. MLflow's own way (`search_runs`, then `get_metric_history`
for every run and metric) is timed on a few runs and extrapolated.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

STUDY = "scale"
NEW_RUNS = 10
START = 1_750_000_000_000  # milliseconds since 1970
SAMPLE = 20  # runs whose histories are read by MLflow's client
METRICS = (
    "train_loss",
    "train_top1_error",
    "validation_loss",
    "validation_top1_error",
    "validation_top5_error",
    "train_seconds",
    "learning_rate",
)
DATASETS = ("mnist", "fashion_mnist", "cifar10", "cifar100", "caltech101")
BACKBONES = tuple(f"cnn(width={width})" for width in range(1, 11))
VARIANTS = (
    ("baseline", "", 0.0),
    ("sire", "", 0.008),
    *(("sire", f"lambda={value}", effect) for value, effect in ((0.01, 0.004), (1, 0.001), (10, -0.006))),
    ("se", "", 0.003),
    ("diffstride", "", 0.0),
    ("image_gradient", "", -0.002),
    ("lsuv", "", 0.0),
    ("wide", "", 0.012),
)


def make_store(folder: Path, runs: int, epochs: int, metrics: int) -> str:
    """The tracking URI of a store with `runs` finished confirm trials and `NEW_RUNS` more; made where it is not yet."""
    name = f"{runs}x{epochs}x{metrics}"
    target = folder / name
    uri = f"sqlite:///{target}/mlflow.db"
    if target.is_dir():
        return uri
    making = folder / f".{name}.{os.getpid()}"
    making.mkdir(parents=True)
    experiment = _empty_store(f"sqlite:///{making}/mlflow.db", target / "artifacts")
    with sqlite3.connect(making / "mlflow.db", isolation_level=None) as database:
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA cache_size = -400000")
        _insert(database, experiment, target, making, range(runs + NEW_RUNS), epochs, metrics)
    making.rename(target)
    return uri


def hide_new(uri: str, hidden: bool) -> None:
    """Whether the store's last `NEW_RUNS` runs are there; each of the others ended before they began."""
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        last = f"SELECT run_uuid FROM runs WHERE name LIKE 'confirm%' ORDER BY start_time DESC LIMIT {NEW_RUNS}"
        stage = "deleted" if hidden else "active"
        database.execute(f"UPDATE runs SET lifecycle_stage = ? WHERE run_uuid IN ({last})", (stage,))


def _empty_store(uri: str, artifacts: Path) -> int:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.create_experiment(STUDY, artifact_location=artifacts.as_uri())
    cells = [
        {"dataset": dataset, "backbone": backbone, "variant": variant, "settings": settings, "refused": None}
        for dataset in DATASETS
        for backbone in BACKBONES
        for variant, settings, _ in VARIANTS
    ]
    study = {"study": STUDY, "metric": "top1", "rope": 0.005, "alpha": 0.05, "seeds": 0, "search_trials": 0}
    text = json.dumps({**study, "profile": None, "cells": cells})
    for number, start in enumerate(range(0, len(text), 5000)):
        tag = f"graftbench.study.{number}" if number else "graftbench.study"
        client.set_experiment_tag(experiment, tag, text[start : start + 5000])
    return int(experiment)


def _insert(
    database: sqlite3.Connection,
    experiment: int,
    folder: Path,
    written: Path,
    runs: Iterable[int],
    epochs: int,
    metrics: int,
) -> None:
    """The runs' rows; `folder` is where the store will be, `written` where its files go now."""
    import numpy as np

    from suite.core.records import COLUMNS

    predictions = written / "predictions.parquet"
    if not predictions.is_file():
        _write_predictions(predictions)
    names = [*METRICS, *(f"scalar_{index}" for index in range(len(METRICS), metrics))][:metrics]
    database.execute("BEGIN")
    for number in runs:
        generator = np.random.default_rng([7, number])
        run, row, curve = _trial(number, generator, epochs)
        began, ended = START + number * 60_000, START + number * 60_000 + 50_000
        artifacts = f"artifacts/{run}/artifacts"
        database.execute(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,"
            " end_time, source_version, lifecycle_stage, artifact_uri, experiment_id) VALUES"
            " (?, ?, 'UNKNOWN', '', '', 'me', 'FINISHED', ?, ?, '', 'active', ?, ?)",
            (run, f"confirm {row['seed']}", began, ended, (folder / artifacts).as_uri(), experiment),
        )
        text = {name: str(row.get(name, "")) for name, kind in COLUMNS.items() if kind is str}
        tags = text | {"kind": "trial", "seed": str(row["seed"]), "mlflow.source.name": "graftbench"}
        database.executemany("INSERT INTO tags VALUES (?, ?, ?)", [(key, value, run) for key, value in tags.items()])
        params = {f"recipe.knob{index}": str(index) for index in range(20)}
        database.executemany("INSERT INTO params VALUES (?, ?, ?)", [(key, one, run) for key, one in params.items()])
        numbers = {name: float(row[name]) for name, kind in COLUMNS.items() if kind is not str and name in row}
        final = [(name, value, began, run, 0, 0) for name, value in numbers.items()]
        noise = generator.normal(0, 0.01, (epochs, len(names))) * curve[:, None]
        stamps = np.linspace(began, ended, epochs).astype(int).tolist()
        figures = (curve[:, None] + noise).tolist()
        history = [
            (f"epoch/{name}", figures[epoch][column], stamps[epoch], run, epoch + 1, 0)
            for epoch in range(epochs)
            for column, name in enumerate(names)
        ]
        insert = "INSERT INTO {} (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)"
        database.executemany(insert.format("metrics"), history + final)
        database.executemany(insert.format("latest_metrics"), history[-len(names) :] + final)
        (written / artifacts).mkdir(parents=True)
        os.link(predictions, written / artifacts / "predictions.parquet")
    database.execute("COMMIT")


def _trial(number: int, generator: Any, epochs: int) -> tuple[str, dict[str, Any], Any]:
    """A run's id, its record's columns, and a falling curve that ends at its error.

    Cells come first, then seeds, so that every cell of a small store has its first seeds.
    """
    import numpy as np

    cell, seed = number % 500, number // 500
    dataset, backbone = cell // 100, cell // 10 % 10
    variant, settings, effect = VARIANTS[cell % 10]
    shared = np.random.default_rng([11, dataset, backbone, seed]).normal(0, 0.004)
    error = 0.05 + 0.06 * dataset + 0.004 * backbone - effect + shared + generator.normal(0, 0.003)
    error = round(float(np.clip(error, 0, 1)) * 10_000) / 10_000
    row = {
        "trial_key": f"{number:016x}",
        "dataset": DATASETS[dataset],
        "backbone": BACKBONES[backbone],
        "variant": variant,
        "settings": settings,
        "recipe": "standard",
        "stage": "confirm",
        "hyperparameters": "lr=0.1",
        "seed": seed,
        "status": "completed",
        "epochs": epochs,
        "epochs_run": epochs,
        "best_epoch": epochs,
        "train_top1_error": error / 2,
        "validation_loss": 3 * error,
        "validation_top1_error": error,
        "validation_top5_error": error / 5,
        "test_loss": 3 * error,
        "test_top1_error": error,
        "test_top5_error": error / 5,
        "majority_error": 0.9,
        "test_reads": 1,
        "test_curve_reads": 0,
        "data": "4ab2",
        "test_data": "77e0",
        "split": "5f1d",
        "train_examples": 50_000,
        "validation_examples": 10_000,
        "test_examples": 10_000,
        "parameters": 100_000 * (backbone + 1) + 1_000 * (cell % 10),
        "macs": 4_000_000 * (backbone + 1) + 90_000 * (cell % 10),
        "inference_macs": 4_000_000 * (backbone + 1),
        "train_seconds": 10.0 * (backbone + 1) + cell % 10,
        "seconds_per_epoch": 0.05 * (backbone + 1),
        "images_per_second": 9_000.0,
        "peak_memory_mib": 900.0,
        "batch": 128,
        "precision": "float32",
        "memory_format": "contiguous",
        "threads": 2,
        "residency": "device",
        "device_kind": "cuda",
        "device": "a GPU",
        "host": f"node{number % 8}",
        "versions": "python 3.11.7, torch 2.14.1",
        "git_commit": "0123456789abcdef",
        "dirty": "no",
    }
    curve = error + 0.6 * np.exp(-np.arange(1, epochs + 1) / (epochs / 6))
    return uuid.uuid5(uuid.NAMESPACE_OID, str(number)).hex, row, curve


def _write_predictions(path: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    generator = np.random.default_rng(0)
    columns = {
        "index": np.arange(1000),
        "label": generator.integers(0, 10, 1000),
        "prediction": generator.integers(0, 10, 1000),
        "confidence": generator.random(1000),
    }
    pq.write_table(pa.table(columns), path)


# --- steps, each in a process of its own


def collect_step(uri: str, folder: Path) -> dict[str, float]:
    import pyarrow.compute  # noqa: F401  (collect imports it when it is needed)
    import sqlalchemy.dialects.sqlite  # noqa: F401

    from analysis.records.collect import collect_study

    return _timed(lambda: collect_study(uri, STUDY, folder / "records"))


def report_step(uri: str, folder: Path) -> dict[str, float]:
    from analysis.report.build import write_report

    figures = _timed(lambda: write_report(folder / "records", folder / "report"))
    pages = [path for path in (folder / "report").rglob("*.html") if path.is_file()]
    return figures | {"megabytes": sum(path.stat().st_size for path in pages) / 1e6}


def search_step(uri: str, folder: Path) -> dict[str, float]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(STUDY)

    def search() -> None:
        token = None
        while True:
            page = client.search_runs([experiment.experiment_id], max_results=5000, page_token=token)
            token = page.token
            if not token:
                return

    return _timed(search)


def history_step(uri: str, folder: Path) -> dict[str, float]:
    """Of `SAMPLE` runs; `runs` says of how many all together."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(STUDY)
    sample = client.search_runs([experiment.experiment_id], max_results=SAMPLE)

    def read() -> None:
        for run in sample:
            for name in run.data.metrics:
                if name.startswith("epoch/"):
                    client.get_metric_history(run.info.run_id, name)

    return _timed(read) | {"runs": len(sample)}


STEPS: dict[str, Callable[[str, Path], dict[str, float]]] = {
    "collect": collect_step,
    "report": report_step,
    "search": search_step,
    "history": history_step,
}


def _timed(step: Callable[[], object]) -> dict[str, float]:
    wall, processor = time.perf_counter(), time.process_time()
    step()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return {"wall": wall, "processor": processor, "mebibytes": _peak()}


def _peak() -> float:
    """Of this process. What getrusage says would include its parent's, from before the program was started."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _in_a_process(step: str, uri: str, folder: Path) -> dict[str, float]:
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.analysis_scale", "--step", step, uri, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures | {"process": time.perf_counter() - began}


def _table(uri: str, runs: int, folder: Path) -> Iterator[str]:
    yield f"{'':44} {'s':>8} {'CPU s':>8} {'process s':>10} {'peak MiB':>9}"

    def line(name: str, step: str) -> tuple[str, dict[str, float]]:
        figures = _in_a_process(step, uri, folder)
        numbers = f"{figures['wall']:8.2f} {figures['processor']:8.2f} {figures['process']:10.2f}"
        return f"{name:44} {numbers} {figures['mebibytes']:9.0f}", figures

    hide_new(uri, True)
    yield line("first collect", "collect")[0]
    yield line("second collect, nothing new", "collect")[0]
    hide_new(uri, False)
    yield line(f"second collect, {NEW_RUNS} new runs", "collect")[0]
    yield line("MLflow: search_runs, no histories", "search")[0]
    text, figures = line(f"MLflow: get_metric_history, {SAMPLE} runs", "history")
    yield text
    yield f"{f'  the same for {runs} runs, extrapolated':44} {figures['wall'] * runs / figures['runs']:8.0f}"
    text, figures = line("the whole report", "report")
    yield f"{text}, {figures['megabytes']:.1f} MB of HTML"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--metrics", type=int, default=6)
    parser.add_argument("--step", nargs=3, metavar=("STEP", "URI", "DIR"), help="one step alone, its figures as JSON")
    options = parser.parse_args()
    if options.step:
        step, uri, folder = options.step
        print(json.dumps(STEPS[step](uri, Path(folder))))
        return
    cache = Path(tempfile.gettempdir()) / "graftbench-analysis-scale"
    uri = make_store(cache, options.runs, options.epochs, options.metrics)
    size = f"{options.runs} runs x {options.epochs} epochs x {options.metrics} metrics"
    print(f"{size}; {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        for row in _table(uri, options.runs, Path(folder)):
            print(row, flush=True)


if __name__ == "__main__":
    main()
