"""The command line: what each verb prints, and that wrong input is one sentence, exit code 2, nothing left behind."""

from __future__ import annotations

import http.server
import io
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from suite.cli import main as command_line
from suite.core import records
from suite.core.records import Record, describe_trial
from suite.core.specs import Trial
from suite.study.config import parse_study
from suite.study.plan import ExecutionConfig, make_plan
from suite.sweep.storage import StudyStorage
from suite.tracking import mlflow_store
from tests.fixtures import Answer, Command

STUDY: dict[str, Any] = {
    "study": "small",
    "datasets": ["digits"],
    "backbones": ["gradient_cnn"],
    "variants": ["baseline", {"name": "sire", "lambda": [0.1, 0.3]}],
    "recipe": {"name": "gradient", "epochs": 1},
    "seeds": 2,
    "search": {"trials": 3, "space": {"lr": {"low": 0.001, "high": 0.01, "log": True}}},
}


TOO_DEEP = {"name": "sire", "decoders": 4}  # gradient_cnn has one downsampling step
BASE_CNN = {"name": "base_cnn", "width": 0.1}


StudyFile = Callable[..., str]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the command, empty; study files lie beside it."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("MLFLOW_TRACKING_URI", "GRAFTBENCH_DATA"):
        monkeypatch.delenv(name, raising=False)
    for name in ("MLFLOW_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED"):  # so that main's own are undone
        monkeypatch.setenv(name, "0")
    return folder


@pytest.fixture
def study_file(tmp_path: Path) -> StudyFile:
    def write(**changes: Any) -> str:
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump({**STUDY, **changes}))
        return str(path)

    return write


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def assert_refused(answer: Answer, *parts: str) -> None:
    assert answer.code == 2, answer
    assert answer.err.startswith("graftbench: ") and answer.err.count("\n") == 1 and "Traceback" not in answer.err
    assert answer.out == ""
    for part in parts:
        assert part in answer.err


# -- plan


def test_plan_as_json(graftbench: Command, study_file: StudyFile, work: Path) -> None:
    answer = graftbench(
        "plan", "--json", study_file(backbones=[BASE_CNN, "gradient_cnn"], variants=[*STUDY["variants"], TOO_DEEP])
    )
    assert (answer.code, answer.err) == (0, "")
    plan = json.loads(answer.out)
    assert list(plan) == ["study", "profile", "cells", "trials", "images", "power", "price", "missing"]
    assert plan["missing"] == {}
    keys = (
        "dataset backbone variant settings parameters macs inference_macs decoders search_trials confirm_trials "
        "refused warnings"
    )
    assert all(list(cell) == keys.split() for cell in plan["cells"])
    assert [cell["variant"] for cell in plan["cells"]] == ["baseline", "sire", "sire", "sire"] * 2
    assert plan["cells"][1]["settings"] == {"lambda": 0.1}
    assert plan["trials"] == sum(cell["search_trials"] + cell["confirm_trials"] for cell in plan["cells"]) == 7 * 5
    [refused] = [cell for cell in plan["cells"] if cell["refused"]]
    assert (refused["backbone"], refused["settings"]) == ("gradient_cnn", {"decoders": [4]})
    assert "4 out of range" in refused["refused"]
    assert [refused[name] for name in keys.split()[4:10]] == [None, None, None, None, 0, 0]
    assert all(cell["parameters"] > 0 and cell["macs"] >= cell["inference_macs"] > 0 for cell in plan["cells"][:7])
    assert contents(work) == {}


def test_plan_says_how_many_decoders_a_network_has(graftbench: Command, study_file: StudyFile) -> None:
    attached = {"name": "sire", "decoders": [1, [2, 4]]}
    path = study_file(backbones=[BASE_CNN, "gradient_cnn"], variants=["baseline", attached])
    answer = graftbench("plan", path)
    assert re.search(r"variant +decoders +parameters +MACs", answer.out)
    assert re.search(r"sire\(decoders=2\+4\) +2 +\d", answer.out)
    assert re.search(r"base_cnn\S* +baseline {5,}\d", answer.out)
    assert re.search(r"gradient_cnn +sire\(decoders=1\) +1 +\d", answer.out)
    cells = json.loads(graftbench("plan", path, "--json").out)["cells"]
    assert [cell["decoders"] for cell in cells] == [0, 1, 2, 0, 1, None]
    without = study_file(backbones=[BASE_CNN], variants=["baseline", {"name": "sire", "components": "Re"}])
    assert re.search(r"variant +parameters +MACs", graftbench("plan", without).out), "no column where none has any"


def test_plan_as_a_table(graftbench: Command, study_file: StudyFile, work: Path) -> None:
    description, backbones = "with [/] and [bold]marks[/bold]", [BASE_CNN, "gradient_cnn"]
    path = study_file(description=description, backbones=backbones, variants=["baseline", TOO_DEEP])
    answer = graftbench("plan", path)
    assert (answer.code, answer.err) == (0, "")
    assert "small: with [/] and [bold]marks[/bold]" in answer.out
    assert "recipe gradient(epochs=1): 1 epoch, batch 128" in answer.out
    assert "search 3 trials a cell over lr (tpe), then 2 paired confirm seeds" in answer.out
    assert re.search(r"gradient_cnn +baseline +17,146 +26\.2 k +26\.2 k +5\n", answer.out)
    assert "refused digits / gradient_cnn / sire(decoders=4): sire.decoders: 4 out of range; this" in answer.out
    assert "15 trials: 3 cells x (3 search + 2 confirm); 1 cell refused; 1 comparison with baseline" in answer.out
    assert f"run it: graftbench run {path}\n" in answer.out, "a command that can be copied, however long"
    elsewhere = graftbench("plan", path, "--data", "my data")
    assert f"run it: graftbench run {path} --data 'my data'\n" in elsewhere.out
    assert contents(work) == {}


def test_plan_starts_neither_ray_nor_mlflow(study_file: StudyFile, work: Path) -> None:
    code = f"""
import sys
from suite.cli.main import main
sys.argv = ["graftbench", "plan", {study_file()!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"ray", "mlflow", "optuna"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, stdout=subprocess.DEVNULL, cwd=work)


def test_strict_refuses_the_whole_study(graftbench: Command, study_file: StudyFile) -> None:
    path = study_file(variants=["baseline", "sire", TOO_DEEP])
    assert graftbench("plan", path).code == 0
    assert_refused(graftbench("plan", "--strict", path), "digits / gradient_cnn / sire(decoders=4): ")


# -- bad input


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"seds": 1}, ["seds: unknown key; did you mean 'seeds'?"]),
        ({"seeds": 0}, ["seeds: must be 1 or more, not 0"]),
        ({"datasets": ["digit"]}, ["datasets[0]: unknown dataset 'digit'; did you mean 'digits'?"]),
        ({"backbones": ["qqq"]}, ["backbones[0]: unknown backbone 'qqq'; known: ", "base_cnn"]),
        ({"variants": ["baseline", {"name": "sire", "lamda": 1}]}, ["variants[1].lamda: unknown", "'lambda'"]),
        ({"variants": ["baseline", {"name": "sire", "lambda": -1}]}, ["variants[1].lambda: must be", "not -1"]),
        ({"recipe": {"name": "gradient", "lr": -1}}, ["recipe.lr: must be 0 or more, not -1"]),
        ({"datasets": [{"name": "parquet", "path": "cifar"}]}, ["datasets[0]: ", "data/cifar", "hf download"]),
        ({"datasets": [{"name": "digits", "size": 8}], "backbones": ["base_cnn"]}, ["base_cnn / baseline: "]),
        ({"variants": ["baseline", TOO_DEEP]}, ["no variant"]),
    ],
)
def test_a_wrong_study_is_refused_by_every_verb_alike(
    graftbench: Command, study_file: StudyFile, work: Path, changes: dict[str, Any], parts: list[str]
) -> None:
    path = study_file(**changes)
    for verb in ("plan", "run", "status"):
        assert_refused(graftbench(verb, path), *parts)
    assert contents(work) == {}


@pytest.mark.parametrize("verb", ["plan", "run", "status", "leaderboard", "report", "ui", "clean"])
def test_a_missing_study_file(graftbench: Command, work: Path, verb: str) -> None:
    assert_refused(graftbench(verb, "none.yaml"), "none.yaml: no such study file; known: ")
    assert contents(work) == {}


def test_missing_images_stop_a_run_before_it_starts(graftbench: Command, study_file: StudyFile, work: Path) -> None:
    path = study_file(datasets=["digits", "mnist"])
    planned = graftbench("plan", "--data", "elsewhere", path)
    assert planned.code == 0 and "missing mnist: " in planned.out and "`graftbench data fetch mnist`" in planned.out
    assert list(json.loads(graftbench("plan", "--json", "--data", "elsewhere", path).out)["missing"]) == ["mnist"]
    answer = graftbench("run", "--local", "--data", "elsewhere", path)
    assert_refused(
        answer, "/elsewhere/MNIST/raw/train-images-idx3-ubyte", "fetch it with `graftbench data fetch mnist`"
    )
    assert contents(work) == {}


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--local", "--address", "auto"], "--local and --address contradict each other"),
        (["--device", "gpu"], "--device: must be auto, cpu, cuda or cuda:N, not 'gpu'"),
        (["--device", "cuda:99", "--local"], "'cuda:99' is not on this machine"),
    ],
)
def test_wrong_options(graftbench: Command, study_file: StudyFile, work: Path, options: list[str], part: str) -> None:
    assert_refused(graftbench("run", study_file(), *options), part)
    assert contents(work) == {}


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def other_server() -> Iterator[str]:
    """A web server that is no MLflow: it answers every path with a page."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("http://127.0.0.1:PORT", ["no MLflow server answers at http://127.0.0.1:", "refused", "start it, or leave"]),
        ("http://127.0.0.1:abc", ["no MLflow server answers at http://127.0.0.1:abc"]),
        ("http://[::1", ["no MLflow server answers at http://[::1"]),
        ("file:///tmp/mlruns", ["'file:///tmp/mlruns' is no MLflow store", "file store is gone"]),
        ("mlruns", ["'mlruns' is no MLflow store: use sqlite:///PATH"]),
        ("sqlite:///", ["'sqlite:///' is no MLflow store"]),
        ("sqlite:///.", [". is a folder; name a file in it"]),
        ("sqlite:///../small.yaml/mlflow.db", ["small.yaml is not a writable folder"]),
        ("sqlite:///../small.yaml", ["../small.yaml is not an SQLite database"]),
        ("postgresql:nonsense", ["tracking: "]),
        ("postgresql://u:secret@127.0.0.1:PORT/x", ["tracking: "]),
    ],
)
def test_a_store_that_can_t_be_used(
    graftbench: Command, study_file: StudyFile, work: Path, uri: str, parts: list[str]
) -> None:
    uri = uri.replace("PORT", str(closed_port()))
    answer = graftbench("run", "--local", study_file(tracking=uri))
    assert_refused(answer, "graftbench: tracking: ", *parts)
    assert "secret" not in answer.err
    assert contents(work) == {}


def test_what_answers_must_be_mlflow(graftbench: Command, study_file: StudyFile, work: Path, other_server: str) -> None:
    answer = graftbench("run", "--local", study_file(tracking=other_server))
    assert_refused(answer, f"no MLflow server answers at {other_server} (what answers is no MLflow server)")
    assert contents(work) == {}


@pytest.mark.parametrize("verb", ["run", "leaderboard", "ui"])
def test_another_applications_database(graftbench: Command, study_file: StudyFile, work: Path, verb: str) -> None:
    with sqlite3.connect(work / "other.db") as database:
        database.execute("CREATE TABLE orders (id INTEGER)")
    database.close()
    before = contents(work)
    answer = graftbench(verb, study_file(tracking="sqlite:///other.db"))
    assert_refused(answer, "tracking: other.db is a database of something else than MLflow; name another file")
    assert contents(work) == before


def test_a_database_that_is_busy_is_not_called_broken(graftbench: Command, study_file: StudyFile, work: Path) -> None:
    with closing(sqlite3.connect(work / "busy.db", isolation_level=None)) as database:
        database.execute("CREATE TABLE experiments (id INTEGER)")
        database.execute("BEGIN EXCLUSIVE")
        answer = graftbench("run", "--local", study_file(tracking="sqlite:///busy.db"))
    assert_refused(answer, "tracking: busy.db can't be read now (database is locked); run the command again")


def stored(**changes: Any) -> StudyStorage:
    """The storage of a study that an earlier run has opened."""
    storage = StudyStorage(parse_study({**STUDY, **changes}))
    storage.create()
    return storage


RUN, REMOVE = ("run", "--local"), ("clean", "--all", "--yes")


@pytest.mark.parametrize("verb", [RUN, ("status",), ("clean",), REMOVE])
def test_another_studys_storage(graftbench: Command, study_file: StudyFile, work: Path, verb: tuple[str, ...]) -> None:
    stored(study="other", storage="shared")
    before = contents(work)
    answer = graftbench(*verb, study_file(storage="shared"))
    assert_refused(answer, "storage: shared belongs to the study 'other'; name another folder")
    assert contents(work) == before


@pytest.mark.parametrize("verb", [RUN, ("status",), ("clean",), REMOVE])
def test_a_storage_that_holds_other_files(
    graftbench: Command, study_file: StudyFile, work: Path, verb: tuple[str, ...]
) -> None:
    """`clean --all` above all: a wrong `storage` must never cost somebody's files."""
    (work / "thesis").mkdir()
    (work / "thesis" / "chapter1.tex").write_text("irreplaceable")
    before = contents(work)
    answer = graftbench(*verb, study_file(storage="thesis"))
    assert_refused(answer, "storage: thesis holds other files; name an empty or new folder")
    assert contents(work) == before


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("not JSON", "storage: there/study.json can't be read"),
        ("[]", "storage: there/study.json can't be read"),
        ("{}", "storage: there/study.json can't be read"),
    ],
)
def test_a_storage_with_a_broken_marker(
    graftbench: Command, study_file: StudyFile, work: Path, content: str, part: str
) -> None:
    (work / "there").mkdir()
    (work / "there" / "study.json").write_text(content)
    for verb in (RUN, REMOVE):
        assert_refused(graftbench(*verb, study_file(storage="there")), part)


@pytest.mark.parametrize("storage", ["taken", "taken/below"])
def test_a_storage_that_is_a_file(graftbench: Command, study_file: StudyFile, work: Path, storage: str) -> None:
    (work / "taken").write_text("a file")
    before = contents(work)
    assert_refused(graftbench(*RUN, study_file(storage=storage)), "storage: ", "taken")
    assert contents(work) == before


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"recipe": {"name": "gradient", "epochs": 2}}, "recipe: changed since runs/small was started"),
        ({"split_seed": 1, "statistics": {"rope": 1}}, "split_seed, statistics: changed since runs/small"),
    ],
)
def test_a_changed_study_in_its_old_storage(
    graftbench: Command, study_file: StudyFile, work: Path, changes: dict[str, Any], part: str
) -> None:
    stored()
    before = contents(work)
    for verb in (RUN, ("status",)):
        assert_refused(graftbench(*verb, study_file(**changes)), part, "give the study a new name, or remove")
    assert graftbench("status", study_file(seeds=9)).code == 0, "more seeds are no change"
    assert contents(work) == before


@pytest.mark.parametrize("verb", [RUN, ("clean",), REMOVE])
def test_a_storage_in_use(graftbench: Command, study_file: StudyFile, work: Path, verb: tuple[str, ...]) -> None:
    storage = stored()
    with storage.locked():
        before = contents(work)
        assert_refused(graftbench(*verb, study_file()), "another run of 'small' is using runs/small: wait for it")
        assert contents(work) == before


@pytest.mark.parametrize(
    ("stage", "identity", "part"),
    [
        ("active", "{}", "the experiment 'small' holds a study with another recipe, search, split or statistics"),
        ("deleted", "{}", "the experiment 'small' is deleted; restore it in MLflow or rename the study"),
    ],
)
def test_another_studys_experiment(
    graftbench: Command,
    study_file: StudyFile,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    identity: str,
    part: str,
) -> None:
    """Two studies of one name and one store: the second is refused before its storage is made."""
    (work / "mlflow.db").touch()
    experiment = SimpleNamespace(name="small", lifecycle_stage=stage, tags={mlflow_store.IDENTITY_TAG: identity})
    client = SimpleNamespace(get_experiment_by_name={"small": experiment}.get)
    monkeypatch.setattr(mlflow_store, "_make_client", lambda uri: client)
    before = contents(work)
    assert_refused(graftbench(*RUN, study_file(tracking="sqlite:///mlflow.db")), part)
    assert contents(work) == before


@pytest.mark.parametrize("verb", ["leaderboard", "report"])
def test_no_results_yet(graftbench: Command, study_file: StudyFile, work: Path, verb: str) -> None:
    path = study_file()
    assert_refused(graftbench(verb, path), "sqlite:///runs/mlflow.db", f"`graftbench run {path}` makes results")
    assert contents(work) == {}


def test_a_refusal_from_outside(study_file: StudyFile, work: Path) -> None:
    """A whole process: exit code, one line, no traceback, and answered before anything heavy is imported."""
    code = """
import sys
from suite.cli.main import main
try:
    main()
finally:
    assert not {"torch", "ray", "mlflow", "numpy"} & set(sys.modules)
"""
    command = [sys.executable, "-c", code, "plan", study_file(seeds=0)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=work)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(r"graftbench: .*small\.yaml: seeds: must be 1 or more, not 0\n", ended.stderr)


# -- status, trial, clean


def started(storage: StudyStorage, trial: Trial, status: str | None = None, **measured: Any) -> Path:
    folder = storage.trial_directory(trial.key)
    folder.mkdir(parents=True)
    (folder / "trial.json").write_text(json.dumps(trial.to_dict()))
    (folder / "best.pt").write_bytes(b"weights")
    if status:
        records.write_record(Record(**describe_trial(trial), status=status, **measured), folder / "record.json")  # type: ignore[arg-type]
    return folder


@pytest.fixture
def half_way(work: Path) -> tuple[StudyStorage, list[Trial]]:
    """Two confirm trials of the first cell: one completed, one that a kill left open."""
    plan = make_plan(parse_study(STUDY))
    trials = plan.confirm_trials(plan.cells[0].cell, (), ExecutionConfig())
    storage = stored()
    started(storage, trials[0], "completed", epochs_run=1, validation_top1_error=0.25, reason="looked at [64, 3]")
    started(storage, trials[1])
    return storage, trials


def test_status(graftbench: Command, study_file: StudyFile, half_way: tuple[StudyStorage, list[Trial]]) -> None:
    answer = graftbench("status", "--json", study_file())
    found = json.loads(answer.out)
    assert (answer.code, found["study"], found["storage"], found["trials"]) == (0, "small", "runs/small", 15)
    assert found["cells"][0] == {
        "dataset": "digits",
        "backbone": "gradient_cnn",
        "variant": "baseline",
        "planned": 5,
        "refused": None,
        "search": {},
        "confirm": {"completed": 1, "interrupted": 1},
    }
    assert all(cell["search"] == cell["confirm"] == {} for cell in found["cells"][1:])
    table = graftbench("status", study_file()).out
    assert "1 completed, 1 interrupted" in table and "none yet" in table
    fewer = json.loads(graftbench("status", "--json", study_file(seeds=1)).out)
    assert fewer["cells"][0]["confirm"] == {"completed": 1}, "trials that the plan no longer asks for are not counted"


def test_status_of_nothing(graftbench: Command, study_file: StudyFile, work: Path) -> None:
    answer = graftbench("status", study_file())
    assert answer.code == 0 and "none yet" in answer.out
    assert contents(work) == {}


def test_trial(graftbench: Command, half_way: tuple[StudyStorage, list[Trial]]) -> None:
    storage, (first, second) = half_way
    answer = graftbench("trial", first.key[:8])
    assert answer.code == 0 and first.key in answer.out and first.cell.label in answer.out
    assert "completed: looked at [64, 3], 1 of 1 epochs" in answer.out
    assert "validation top1 error: 25.00 %" in answer.out
    assert f"-m suite.trial {storage.path}/trials/{first.key}/trial.json\n" in answer.out
    assert "no record yet" in graftbench("trial", second.key).out
    assert Trial.from_dict(json.loads(graftbench("trial", "--json", first.key).out)) == first


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("0000000000000000", "no trial '0000000000000000' under runs"),
        ("*", "'*' is no trial's key"),
        ("", "'' is no trial's key"),
        ("../../etc", "is no trial's key"),
    ],
)
def test_an_unknown_trial(graftbench: Command, half_way: tuple[StudyStorage, list[Trial]], key: str, part: str) -> None:
    assert_refused(graftbench("trial", key), part)


def test_an_ambiguous_or_torn_trial(graftbench: Command, half_way: tuple[StudyStorage, list[Trial]]) -> None:
    storage, (first, _) = half_way
    twin = storage.trial_directory(first.key[:15] + ("0" if first.key[15] != "0" else "1"))
    twin.mkdir()
    (twin / "trial.json").write_text("{")
    assert_refused(graftbench("trial", first.key[:15]), "fits 2 trials", "give more digits")
    assert_refused(graftbench("trial", twin.name), "trial.json holds no trial")


def test_clean(
    graftbench: Command,
    study_file: StudyFile,
    work: Path,
    half_way: tuple[StudyStorage, list[Trial]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage, (first, second) = half_way
    answer = graftbench("clean", study_file())
    assert answer.code == 0 and "removed the checkpoints of 1 finished trials" in answer.out
    assert not (storage.trial_directory(first.key) / "best.pt").exists()
    assert (storage.trial_directory(first.key) / "record.json").exists()
    assert (storage.trial_directory(second.key) / "best.pt").exists(), "an open trial needs its weights"
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert graftbench("clean", "--all", study_file()).code == 0 and storage.path.exists()
    answer = graftbench(*REMOVE, study_file())
    assert (answer.code, answer.out) == (0, "removed runs/small\n") and not storage.path.exists()


def test_clean_on_nothing(graftbench: Command, study_file: StudyFile, work: Path) -> None:
    for verb in (("clean",), REMOVE):
        answer = graftbench(*verb, study_file())
        assert answer.code == 0 and answer.out.startswith("nothing to remove: runs/small does not exist")
    assert contents(work) == {}


# -- doctor, help


def test_doctor(graftbench: Command, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTBENCH_CACHE", "cache/deep")
    (work / "data" / "birds" / "data").mkdir(parents=True)
    (work / "data" / "birds" / "data" / "train-0.parquet").write_bytes(b"torn")
    before = contents(work)
    found = json.loads(graftbench("doctor", "--json").out)
    assert list(found) == ["python", "packages", "devices", "data", "datasets", "cache", "tracking"]
    assert found["packages"]["torch"] and found["devices"][0].startswith("cpu: ")
    assert found["datasets"]["digits"] == "found: 1,438 + 359 images, 10 classes, (1, 16, 16)"
    assert "data/MNIST/raw/train-images-idx3-ubyte (or .gz) is missing" in found["datasets"]["mnist"]
    assert found["datasets"]["parquet(path=birds)"].startswith("unusable: ")
    assert found["datasets"]["mnist"].startswith("missing: ")
    assert found["cache"] == {"directory": str(work / "cache" / "deep"), "trouble": None}
    assert found["tracking"] == {"uri": "sqlite:///runs/mlflow.db", "trouble": None}
    answer = graftbench("doctor")
    assert answer.code == 0 and "sqlite:///runs/mlflow.db can be used" in answer.out
    assert re.search(r"\ndecoded copies +/", answer.out) and " can be written (GRAFTBENCH_CACHE)" in " ".join(
        answer.out.split()
    )
    assert "datasets were looked up in data (GRAFTBENCH_DATA, or --data)" in answer.out
    assert contents(work) == before


def test_doctor_says_what_is_wrong(graftbench: Command, work: Path) -> None:
    answer = graftbench("doctor", "--tracking", f"http://127.0.0.1:{closed_port()}", "--data", "no[where]")
    assert answer.code == 0 and "no MLflow server answers" in answer.out and "looked up in no[where]" in answer.out
    assert contents(work) == {}


def test_doctor_says_that_no_copy_can_be_written(
    graftbench: Command, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cache() -> Any:
        return json.loads(graftbench("doctor", "--json").out)["cache"]

    monkeypatch.setenv("GRAFTBENCH_CACHE", str(work / "file" / "cache"))
    (work / "file").write_text("")
    assert cache()["trouble"].startswith(f"{work}/file is a file, not a directory; remove it, or set GRAFTBENCH_CACHE")
    assert "is a file, not a directory" in " ".join(graftbench("doctor").out.split())
    (work / "file").unlink()
    assert cache() == {"directory": f"{work}/file/cache", "trouble": None}
    # Tests may run as root, who can write anywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: path == work and not mode & os.W_OK)
    assert cache()["trouble"].startswith(f"{work} can't be written; set GRAFTBENCH_CACHE")
    assert contents(work) == {}


VERBS = {
    command.callback.__name__.replace("_", "-"): command.callback
    for command in command_line.app.registered_commands
    if command.callback
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_what_it_is_for(graftbench: Command, work: Path, verb: str) -> None:
    answer = graftbench(verb, "--help")
    purpose = (VERBS[verb].__doc__ or "").split()[:5]
    assert answer.code == 0 and len(purpose) == 5
    assert " ".join(purpose) in " ".join(answer.out.split())


def test_help_lists_the_verbs_and_the_exit_codes(graftbench: Command) -> None:
    answer = graftbench("--help")
    assert answer.code == 0
    assert all(verb in answer.out for verb in VERBS) and {"plan", "run", "status", "report", "doctor"} <= set(VERBS)
    assert "0 done, 1 some trials failed, 2 refused, 130 interrupted" in " ".join(answer.out.split())


@pytest.mark.parametrize("arguments", [["frobnicate"], ["plan"], ["plan", "--no-such-option", "x.yaml"]])
def test_wrong_usage_is_exit_2(graftbench: Command, arguments: list[str]) -> None:
    answer = graftbench(*arguments)
    assert answer.code == 2 and "Traceback" not in answer.err
