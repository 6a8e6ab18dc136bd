"""`plan --probe`, what `plan` says without it, and what `run` says in the end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from suite.cli import price as prices
from suite.price import bench, probe
from suite.price.costs import TrialCost
from suite.price.price import Device, GroupPrice, KnownCost, Price
from suite.sweep.run import Outcome
from tests.fixtures import Answer, Command

STUDY: dict[str, Any] = {
    "study": "small",
    "datasets": [{"name": "digits", "size": 8}],
    "backbones": ["gradient_cnn"],
    "variants": ["baseline", {"name": "sire", "lambda": [0.1, 0.3]}],
    "recipe": {"name": "gradient", "epochs": 1},
    "seeds": 2,
}
CPU = Device("cpu", "a [processor]")


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GRAFTBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bench, "_SHORTEST", 0.0)
    monkeypatch.setattr(probe, "count_slots_here", lambda *_: 1)
    for name in ("MLFLOW_TRACKING_URI", "GRAFTBENCH_DATA"):
        monkeypatch.delenv(name, raising=False)
    return folder


def study_file(**changes: Any) -> str:
    path = Path("..") / "small.yaml"
    path.write_text(yaml.safe_dump({**STUDY, **changes}))
    return str(path)


def price_of(answer: Answer) -> dict[str, Any]:
    assert answer.code == 0, answer
    found: dict[str, Any] = json.loads(answer.out)["price"]
    return found


def test_nothing_is_known_before_the_first_probe(graftbench: Command, work: Path) -> None:
    answer = graftbench("plan", study_file())
    assert re.search(r"\nprice: about \d+ kB of disk; hours are not known yet, `--probe` would tell\n", answer.out)
    found = price_of(graftbench("plan", study_file(), "--json"))
    assert found["trials"] == 6 and found["bytes"] > found["weight_bytes"] > 0
    unknown = ("device", "device_kind", "device_hours", "search_device_hours", "devices", "wall_hours")
    assert [found[name] for name in unknown] == [None] * 6
    assert list(work.iterdir()) == []


def test_a_probe_then_a_plan_then_a_run(graftbench: Command, work: Path) -> None:
    path = study_file()
    answer = graftbench("plan", path, "--probe", "--on", "3")
    assert answer.code == 0 and list(work.iterdir()) == []
    assert re.match(r"timing 2 networks on .+: 20 steps and an evaluation each\n", answer.err)
    assert re.search(r"\n  digits\(size=8\) / gradient_cnn / sire\(lambda=0.1\): [\d,]+ images/s trained, ", answer.err)
    assert re.search(r"\nprice of the 6 trials left, timed on \S.*\n.*dataset +backbone +trials +CPU-hours", answer.out)
    assert re.search(r"\ndigits\(size=8\) +gradient_cnn +6 +\S+ +\d+ kB\n", answer.out)
    assert re.search(r"\nwall time on 3 CPUs: \d+ s", answer.out) and "at most" not in answer.out
    again = graftbench("plan", path)
    assert again.err == "" and "price of the 6 trials left, timed on" in again.out
    found = price_of(graftbench("plan", path, "--json", "--on", "2"))
    assert found["source"] == {"timed_cells": 3, "earlier_trials": 0, "scaled_cells": 0, "trials_at_once": 1}
    assert (found["devices"], found["device_kind"], found["upper_bound"]) == (2, "cpu", False)
    assert found["device_hours"] > 0 and found["wall_hours"] == pytest.approx(found["device_hours"] / 2)
    [group] = found["groups"]
    assert (group["trials"], group["device_hours"]) == (6, found["device_hours"])

    ran = graftbench("run", path, "--local", "--device", "cpu")
    assert ran.code == 0 and re.search(r"\nforetold \S+ CPU-hours, took \S+\n$", ran.out)
    again = graftbench("run", path, "--local", "--device", "cpu")
    assert "nothing to train" in again.out and "foretold" not in again.out
    assert "price: nothing is left to train\n" in graftbench("plan", path).out
    done = graftbench("plan", path, "--probe")
    assert (done.code, done.err) == (0, "") and "price: nothing is left to train\n" in done.out

    more = graftbench("plan", study_file(seeds=4))
    assert re.search(r"\nprice of the 6 trials left, from 6 earlier trials on \S", more.out)
    other = price_of(graftbench("plan", study_file(study="another"), "--json"))
    assert other["source"] == {"timed_cells": 3, "earlier_trials": 0, "scaled_cells": 0, "trials_at_once": 1}, (
        "a timing of its own"
    )
    (work.parent / "cache" / "probes").rename(work.parent / "gone")
    other = price_of(graftbench("plan", study_file(study="another"), "--json"))
    assert other["source"] == {"timed_cells": 0, "earlier_trials": 6, "scaled_cells": 0, "trials_at_once": 1}
    added = study_file(study="another", variants=["baseline", "sire", "image_gradient"])
    assert "; 2 cells by the MACs of others\n" in graftbench("plan", added).out


def test_json_of_a_probe_is_json_alone(graftbench: Command) -> None:
    answer = graftbench("plan", study_file(variants=["baseline", "image_gradient"]), "--probe", "--json")
    assert answer.err.startswith("timing 2 networks on ")
    assert price_of(answer)["source"]["timed_cells"] == 2


def test_trials_beside_each_other_take_longer(graftbench: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    path = study_file(variants=["baseline", "image_gradient"])
    alone = price_of(graftbench("plan", path, "--probe", "--json"))
    monkeypatch.setattr(probe, "count_slots_here", lambda *_: 2)
    monkeypatch.setattr(probe, "measure_crowding", lambda *_: 1000.0)
    answer = graftbench("plan", path, "--probe")
    assert re.search(r"\n  digits\S+ / gradient_cnn / \w+: a step takes 1000.0 times as long beside 1 of", answer.err)
    assert re.search(r"\nprice of the 4 trials left, timed on .*, 2 trials at once\n", answer.out)
    beside = price_of(graftbench("plan", path, "--json"))
    assert beside["source"]["trials_at_once"] == 2 and beside["device_hours"] > 50 * alone["device_hours"]
    ran = graftbench("run", path, "--local")
    [foretold] = re.findall(r"foretold (\S+) CPU-hours", ran.out)
    assert float(foretold) < beside["device_hours"] / 50, "one at a time"


def test_a_run_of_which_nothing_was_foretold_compares_nothing(graftbench: Command) -> None:
    answer = graftbench("run", study_file(variants=["baseline", "image_gradient"], seeds=1), "--local")
    assert answer.code == 0 and "foretold" not in answer.out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--probe", "--device", "cuda:99"], "device: 'cuda:99' is not on this machine"),
        (["--probe", "--device", "gpu"], "--device: must be auto, cpu, cuda or cuda:N, not 'gpu'"),
        (["--device", "cpu"], "--device: belongs to --probe; add it, or leave --device out"),
    ],
)
def test_wrong_options(graftbench: Command, work: Path, options: list[str], sentence: str) -> None:
    answer = graftbench("plan", study_file(), *options)
    assert (answer.code, answer.out) == (2, "") and answer.err.startswith(f"graftbench: {sentence}")
    assert answer.err.count("\n") == 1 and list(work.iterdir()) == []


def test_a_study_of_refused_pairs_is_not_timed(graftbench: Command, work: Path) -> None:
    answer = graftbench("plan", study_file(variants=["baseline", {"name": "sire", "decoders": 4}]), "--probe")
    assert (answer.code, answer.out) == (2, "") and answer.err.startswith("graftbench: no variant is left to compare")
    assert answer.err.count("\n") == 1 and list(work.iterdir()) == []


def test_a_remembered_plan_has_its_price_without_torch(graftbench: Command, work: Path) -> None:
    path = study_file()
    graftbench("plan", path, "--probe")
    code = f"""
import sys
from suite.cli.main import main
sys.argv = ["graftbench", "plan", {path!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert not {{"torch", "ray", "mlflow", "optuna"}} & set(sys.modules)
"""
    answer = subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True, text=True)
    assert "price of the 6 trials left, timed on" in answer.stdout


# -- what is printed, of made-up prices


def price(groups: int = 2, **changes: Any) -> Price:
    made = [GroupPrice("digits", f"net{number}", 600, 4e9, 5e9, 360_000.0, 90_000.0) for number in range(groups)]
    known = (KnownCost(TrialCost(1.0, 1.0, 1.0), timed=1e9),)
    return Price(tuple(made), **{"device": CPU, "known": known, **changes})


def lines(of: Price, devices: int | None = 8) -> str:
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), width=100)
    for part in prices.price_lines(of, devices):
        console.print(part, soft_wrap=isinstance(part, str))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_price_on_a_terminal() -> None:
    text = lines(price(is_upper_bound=True))
    assert re.match(r"price of the 1,200 trials left, timed [\d.]+ days ago on a \[processor\]\n", text)
    assert re.search(r"\ndigits +net1 +600 +100 +5.0 GB\s*\nall +1,200 +200 +10 GB\s*\n", text)
    assert "\nat most: 50 of these CPU-hours are searches, of which ASHA stops trials early\n" in text
    assert text.endswith("\nwall time on 8 CPUs: 25.0 h\n")
    assert "\nall" not in lines(price(groups=1)), "its group says it"


def test_a_price_on_shared_cards_of_streamed_images() -> None:
    text = lines(price(5, device=Device("cuda", "a card"), occupied=0.5, streamed=("imagenet",), longest=1e6))
    assert "on a card, 0.5 GPUs a trial\n" in text and "GPU-hours" in text
    assert "wall time on 8 GPUs: 11.6 days, that of a search trial and a confirm trial after it: more would not" in text
    assert "20 GB of the disk are the best weights of each trial; `keep: none` leaves none\n" in text
    assert "note trials share a device; timed alone, a network takes longer beside others\n" in text
    assert "note imagenet: images are decoded while training, which no probe times\n" in text


@pytest.mark.parametrize(
    ("hours", "text"),
    [(1240.4, "1,240"), (85.2, "85"), (3.21, "3.2"), (0.2, "0.20"), (0.0164, "0.016"), (1e-9, "0.001")],
)
def test_hours(hours: float, text: str) -> None:
    assert prices.format_hours(hours) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (71, "0.1 kB"),
        (71e3, "71 kB"),
        (1.24e6, "1.2 MB"),
        (999.7e6, "1.0 GB"),
        (5.94e12, "5.9 TB"),
        (12e15, "12,000 TB"),
    ],
)
def test_bytes(size: float, text: str) -> None:
    assert prices.format_bytes(size) == text


@pytest.mark.parametrize(
    ("occupied", "trained", "line"),
    [
        ({CPU.name: 720_000.0}, 1200, "foretold 200 CPU-hours, took 200"),
        ({CPU.name: 350_000.0, "": 10_000.0}, 600, "foretold 200 CPU-hours for 1,200 trials, took 100 for 600"),
        ({"another": 1.0}, 1200, None),
        ({CPU.name: 1.0, "another": 1.0}, 1200, None),
        ({}, 0, None),
    ],
)
def test_what_was_foretold_and_what_it_took(occupied: dict[str, float], trained: int, line: str | None) -> None:
    found = list(prices.compare_lines([price(device=None), price()], Outcome(trained, {}, occupied=occupied)))
    assert found == ([line] if line else [])


def test_what_was_foretold_at_most() -> None:
    [line] = prices.compare_lines([price(is_upper_bound=True)], Outcome(1200, {}, occupied={CPU.name: 360_000.0}))
    assert line == "foretold at most 200 CPU-hours, took 100"
