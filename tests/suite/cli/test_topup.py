"""More seeds, honestly: what they can see, how many are needed, and that every look at the results is counted."""

from __future__ import annotations

import io
import json
import math
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console
from statsmodels.stats.power import TTestPower

from analysis import testing
from analysis.records.load import load_records
from analysis.stats import paired
from analysis.verdicts import power
from analysis.verdicts.model import TestSettings
from analysis.verdicts.results import StudyResults
from suite.cli import main as command_line
from suite.cli import power as cli_power
from suite.cli import topup
from suite.cli.common import collect_records
from suite.core import records
from suite.core.errors import UserError
from suite.core.records import Record, describe_trial
from suite.core.specs import Trial
from suite.study.config import parse_study
from suite.study.plan import ExecutionConfig, InterimLook, Plan, make_plan
from suite.sweep.interim_looks import add_current_look, describe_unplanned_looks, with_looks
from suite.sweep.storage import StudyStorage
from suite.tracking.mlflow_store import describe_study
from tests.fixtures import Answer, Command

STUDY: dict[str, Any] = {
    "study": "small",
    "datasets": ["digits"],
    "backbones": [{"name": "base_cnn", "width": 0.125}],
    "variants": ["baseline", "image_gradient"],
    "recipe": {"name": "gradient", "epochs": 2, "batch": 32, "train_limit": 640, "lr": 0.005},
    "seeds": 3,
    "statistics": {"looks": 2, "most_seeds": 5},
    "precision": "float32",
    "memory_format": "contiguous",
}
GROUP = "digits / base_cnn(width=0.125)"


def plan(**changes: Any) -> Plan:
    return make_plan(parse_study({**STUDY, **changes}))


# -- what seeds can see


def lines(of: Plan) -> list[str]:
    return list(cli_power.power_lines(cli_power.compute_power(of)))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the command."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "GRAFTBENCH_DATA"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_plan_says_what_its_seeds_can_see(work: Path) -> None:
    found = cli_power.compute_power(plan(seeds=5, backbones=["base_cnn", "gradient_cnn"]))
    assert (found["family"], found["alpha_per_look"], found["hardest_step"]) == (2, 0.025, 0.0125)
    [five] = found["planned"]
    own = TTestPower().solve_power(nobs=5, alpha=0.0125, power=0.8)
    assert five["seeds"] == 5 and five["smallest_effect_in_sd"] == pytest.approx(own, rel=1e-3)
    assert [one["seeds"] for one in found["more"]] == [10, 20] and found["measured"] == [] and found["note"] is None
    first, second, *_ = cli_power.power_lines(found)
    assert "2 comparisons in one family at alpha 0.025 (0.05 over 2 looks), so 0.013" in first
    assert f"5 seeds see mean differences from {own:.2g} sd on, with power 0.8: {0.3 * own:.2g} pp where" in second
    assert lines(plan(variants=["baseline"])) == [], "nothing is compared"


def test_a_plan_says_when_no_verdict_can_be_reached(work: Path) -> None:
    many = {"variants": ["baseline", {"name": "sire", "lambda": [round(0.01 * n, 2) for n in range(1, 41)]}]}
    found = lines(plan(seeds=10, **many))
    least = next(n for n in range(10, 30) if 40 * 2 / 2**n < 0.025)
    assert "no verdict is attainable" in found[1] and f"{least} seeds can" in found[1]
    assert "no verdict is attainable" not in " ".join(lines(plan(seeds=least, **many)))
    assert "there is no test below 3 seeds" in lines(plan(seeds=2))[1]


def test_finished_seeds_show_their_spread(work: Path) -> None:
    of = plan(variants=["baseline", "image_gradient", "squeeze_excite"])
    finish(of, {"baseline": [0.20, 0.21, 0.22], "image_gradient": [0.19, 0.20, 0.22], "squeeze_excite": [0.1] * 3})
    found = cli_power.compute_power(of)
    sizes = {row["variant"]: row["sd"] for row in found["measured"]}
    assert sizes == pytest.approx({"image_gradient": np.std([1, 1, 0], ddof=1) / 100, "squeeze_excite": 0.01})
    row = next(row for row in found["measured"] if row["variant"] == "squeeze_excite")
    seen_by_three = TTestPower().power(row["smallest_effect"] / row["sd"], 3, 0.0125 / 2, alternative="larger")
    assert row["planned_seeds"] == 3 and seen_by_three == pytest.approx(0.8, abs=1e-3)
    assert row["seeds_for_rope"] == needed(0.005 / 0.01, 0.0125)
    shown = list(cli_power.power_lines(found))[-1]
    assert "2 cells, sd 0.58 to 1 pp: the planned seeds see from" in shown
    assert shown.endswith(f"; 0.5 pp takes {needed(0.005 / 0.01 * 3**0.5, 0.0125)} to {row['seeds_for_rope']} seeds")


# -- how many seeds are needed


def needed(effect_in_sd: float, alpha: float) -> int:
    """By statsmodels' own search, where it converges."""
    return math.ceil(TTestPower().solve_power(effect_size=effect_in_sd, alpha=alpha, power=0.8))


NOISY = [0.30, 0.28, 0.31, 0.29]  # against a baseline of 0.30: mean 0.5 pp, sd 1.29 pp
CLEAR = [0.20, 0.201, 0.199, 0.2005]


def needs(cells: dict[str, Sequence[float | None]], effect: float = 0.01, most: int = 100, **changes: Any) -> Any:
    found = StudyResults(testing.make_study({"baseline": [0.30] * len(next(iter(cells.values()))), **cells}, **changes))
    [group] = power.list_needs(found, effect, most)
    return group


def test_a_group_gets_what_its_neediest_undecided_cell_asks_for() -> None:
    calm = [0.30, 0.295, 0.302, 0.299]
    group = needs({"a": NOISY, "b": calm, "c": CLEAR}, looks=2)
    asked = {need.verdict.variant: need for need in group.cells}
    expected = needed(0.01 / float(np.std(NOISY, ddof=1)), 0.025 / 3)
    assert (asked["a"].seeds, asked["a"].undecided) == (expected, True) and expected > 10
    assert asked["b"].undecided and asked["b"].seeds < expected
    assert (asked["c"].verdict.verdict, asked["c"].undecided, asked["c"].seeds) == ("HELPS", False, 4)
    assert (group.seeds, group.needed, group.target) == (4, expected, expected)
    assert f"a needs {expected} seeds (sd 1.3 pp)" in group.why


def test_decided_cells_ask_for_none() -> None:
    group = needs({"a": CLEAR, "b": [0.30] * 4, "c": [0.30, 0.31, None, 0.29]})
    assert [need.verdict.verdict for need in group.cells] == ["HELPS", "EQUIVALENT", "NOT COMPARABLE"]
    assert (group.target, group.needed, group.why) == (4, 4, "no cell is undecided")
    assert "diverged" in group.cells[2].why


def test_most_seeds_is_the_most() -> None:
    group = needs({"a": NOISY}, most=9)
    assert group.target == 9 < group.needed and "; most_seeds is 9, which see >= " in group.why
    assert needs({"a": NOISY}, most=3).target == 4, "what there is stays"
    tiny = needs({"a": NOISY}, effect=1e-5, most=50)
    assert (tiny.needed, tiny.target) == (None, 50) and "more than 1,000 seeds" in tiny.why
    enough = needs({"a": NOISY}, effect=0.5)
    seen = "4 seeds see 50 pp (sd 1.3 pp) and show neither a difference nor equivalence; a smaller one takes more"
    assert (enough.target, enough.why) == (4, seen)


def noisy(seeds: int) -> list[float]:
    """Differences from 0.30 with mean 0 and a standard deviation of about 0.3 pp: the ROPE is less than twice that."""
    return [0.30 + 0.003 * (-1) ** seed for seed in range(seeds)]


def test_an_undecided_cell_that_sees_the_effect_gets_its_equivalence_test() -> None:
    group = needs({"a": noisy(8)}, effect=0.005)
    assert group.cells[0].verdict.verdict == "NOT ENOUGH EVIDENCE" and group.cells[0].verdict.equivalence_p is None
    assert (group.seeds, group.needed, group.target) == (8, 10, 10)
    assert group.why == "8 seeds see 0.5 pp (sd 0.32 pp); a needs 10 for an equivalence test"
    assert needs({"a": noisy(10)}, effect=0.005).why == "no cell is undecided", "and it is EQUIVALENT then"
    larger = needs({"a": noisy(8)}, effect=0.01)
    assert larger.target == 8 and "show neither" in larger.why, "the ROPE was not asked for"


def test_a_group_where_nothing_can_be_compared_asks_for_nothing() -> None:
    lost = needs({"a": [0.3, None, 0.3, 0.29], "b": [None] * 4})
    assert not lost.comparable and (lost.seeds, lost.needed, lost.target) == (0, 0, 0)
    assert lost.why == "nothing can be compared there yet"
    half = needs({"a": NOISY, "b": [None] * 4})
    assert half.comparable and half.target > half.seeds == 4


def test_seeds_that_can_t_reach_a_verdict_are_never_enough() -> None:
    """Over 100 cells the sign-flip test takes 12 seeds, so 10 and 11 are no target and 9 are."""
    terms = TestSettings(0.05, 0.005, 100)
    d = np.array([0.004, 0.012, 0.008, 0.006])
    effect = 0.9 * paired.compute_spread(d) * paired.effect_in_sd(9, 0.05 / 100)
    assert paired.seeds_to_see(effect, d, 0.05 / 100) == 10
    assert paired.seeds_needed(effect, d, terms.family, terms.alpha) == 12
    flat = paired.seeds_needed(effect, np.full(4, 0.01), terms.family, terms.alpha)
    assert flat == 12, "without a spread the sign-flip test alone decides"
    cells = {f"v{number}": [0.30, 0.30, 0.30, 0.30] for number in range(99)}
    group = needs({"a": [0.296, 0.288, 0.292, 0.294], **cells}, effect=effect, most=11)
    assert (group.needed, group.target) == (12, 9) and "11 seeds cannot reach HELPS or HURTS" in group.why


# -- looks


def finish(of: Plan, errors: Mapping[str, Sequence[float]]) -> None:
    """Confirm trials of the plan's first group, as a run leaves them."""
    storage = StudyStorage(of.study)
    storage.create()
    for planned in of.cells:
        for trial in of.confirm_trials(planned.cell, (), ExecutionConfig()):
            values = errors.get(trial.cell.variant.name, ())
            if trial.cell.group == of.cells[0].cell.group and trial.seed < len(values):
                store(storage, trial, values[trial.seed])


def store(storage: StudyStorage, trial: Trial, error: float) -> None:
    facts = describe_trial(trial) | {"status": "completed", "test_top1_error": error, "test_reads": 1}
    folder = storage.trial_directory(trial.key)
    folder.mkdir(parents=True)
    (folder / "trial.json").write_text(json.dumps(trial.to_dict()))
    records.write_record(Record(**facts), folder / "record.json")


BOTH = {"baseline": [0.2, 0.3, 0.4, 0.3, 0.2], "image_gradient": [0.3, 0.3, 0.3, 0.3, 0.3]}


def seen(of: Plan, errors: Mapping[str, Sequence[float]]) -> Plan:
    """The plan after a run of it that left these errors."""
    looked = add_current_look(of, StudyStorage(of.study))
    finish(looked, errors)
    StudyStorage(of.study).write_looks(looked.looks)
    return looked


def test_seeds_raised_after_results_could_be_seen_are_a_look(work: Path) -> None:
    first = seen(plan(), BOTH)
    assert first.looks == (InterimLook({GROUP: 3}),) and describe_unplanned_looks(first) is None
    again = with_looks(plan())
    assert add_current_look(again, StudyStorage(again.study)) == again == first, "the same seeds are the same look"
    more = add_current_look(with_looks(plan(seeds=5)), StudyStorage(first.study))
    assert (
        more.looks == (InterimLook({GROUP: 3}), InterimLook({GROUP: 5})) and describe_unplanned_looks(more) is None
    ), "two were planned"
    third = add_current_look(replace(plan(seeds=8), looks=more.looks), StudyStorage(first.study))
    assert len(third.looks) == 2, "nothing of the second has been seen: it is still under way"


def test_a_look_too_many_is_noted(work: Path) -> None:
    of = plan(statistics={"looks": 1})
    seen(of, BOTH)
    more = with_looks(plan(seeds=5, statistics={"looks": 1}))
    note = describe_unplanned_looks(add_current_look(more, StudyStorage(more.study)))
    assert note and "seeds were raised from 3 to 5 after results could be seen: look 2 of 1 planned" in note
    assert note in lines(more)[-1]
    assert describe_study(add_current_look(more, StudyStorage(more.study)))["looks_taken"] == 2


@pytest.mark.parametrize(
    ("seeds", "errors"),
    [
        (3, {}),
        (3, {"baseline": [0.2, 0.3, 0.4], "image_gradient": [0.3, 0.3]}),
        (3, {"baseline": [0.2, 0.3], "image_gradient": [0.3, 0.3, 0.3]}),
        (2, {"baseline": [0.2, 0.3], "image_gradient": [0.3, 0.3]}),  # nothing is tested on two
    ],
)
def test_seeds_raised_before_anything_could_be_seen_are_no_look(
    work: Path, seeds: int, errors: dict[str, Sequence[float]]
) -> None:
    seen(plan(seeds=seeds), errors)
    more = with_looks(plan(seeds=5))
    assert add_current_look(more, StudyStorage(more.study)).looks == (InterimLook({GROUP: 5}),)


def test_a_new_group_is_no_look(work: Path) -> None:
    seen(plan(), BOTH)
    wider = with_looks(plan(backbones=[*STUDY["backbones"], "gradient_cnn"]))
    other = "digits / gradient_cnn"
    assert add_current_look(wider, StudyStorage(wider.study)).looks == (InterimLook({GROUP: 3, other: 3}),)


def test_a_topup_is_part_of_the_plan(work: Path) -> None:
    wide = plan(backbones=[*STUDY["backbones"], "gradient_cnn"])
    raised = replace(wide, looks=(InterimLook({GROUP: 3}), InterimLook({GROUP: 5}, detect=0.5)))
    first, *_, last = (planned.cell for planned in raised.cells)
    assert (raised.count_seeds(first), raised.count_seeds(last), raised.trials) == (5, 3, 2 * 5 + 2 * 3)
    assert [trial.seed for trial in raised.confirm_trials(first, (), ExecutionConfig())] == [0, 1, 2, 3, 4]
    kept = [trial.key for trial in wide.confirm_trials(first, (), ExecutionConfig())]
    assert [trial.key for trial in raised.confirm_trials(first, (), ExecutionConfig())][:3] == kept
    told = describe_study(raised)
    assert [cell.get("seeds") for cell in told["cells"]] == [5, 5, None, None]
    assert (told["seeds"], told["looks"], told["looks_taken"]) == (3, 2, 2)
    by_hand = replace(wide, looks=(InterimLook({GROUP: 3}), InterimLook({GROUP: 5})))
    assert by_hand.count_seeds(first) == 3, "seeds of the study file are the study file's"


def test_a_later_look_never_lowers_seeds() -> None:
    raised = replace(
        plan(),
        looks=(InterimLook({GROUP: 3}), InterimLook({GROUP: 8}, detect=0.5), InterimLook({GROUP: 0}, detect=0.3)),
    )
    assert raised.count_seeds(raised.cells[0].cell) == 8


def test_what_the_audit_compares_is_told() -> None:
    search = {"trials": 4, "epochs": 3, "first_draws": 2, "space": {"lr": {"low": 0.001, "high": 0.1}}, "asha": {}}
    told = describe_study(plan(search=search, reproduces=["sire-table-4"]))
    names = ("search_trials", "search_epochs", "first_draws", "asha", "reproduces", "looks", "looks_taken")
    assert [told[name] for name in names] == [4, 3, 2, {"grace": 1, "reduction": 3}, ["sire-table-4"], 2, 0]
    assert describe_study(plan())["asha"] is None


def test_looks_that_can_t_be_read_are_not_forgotten(work: Path) -> None:
    seen(plan(), BOTH)
    (work / "runs" / "small" / "looks.json").write_text("[{]")
    with pytest.raises(UserError, match=r"runs/small/looks\.json can't be read .* restore it from a copy"):
        with_looks(plan())


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"looks": 0}, "statistics.looks: must be 1 or more, not 0"),
        ({"looks": 1.5}, "statistics.looks: must be a whole number, not 1.5"),
        ({"most_seeds": 2}, "statistics.most_seeds: must be 3 or more, not 2"),
        ({"look": 2}, "statistics.look: unknown key; did you mean 'looks'?"),
    ],
)
def test_wrong_keys_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        plan(statistics=given)
    assert str(refusal.value) == sentence


def test_looks_are_fixed_before_the_run(work: Path) -> None:
    assert "statistics" not in plan(statistics={"looks": 1}).study.describe_identity(), (
        "studies that stand keep their identity"
    )
    for before, after in (({}, {"looks": 2}), ({"looks": 2}, {}), ({"looks": 2}, {"looks": 3})):
        shutil.rmtree(work / "runs", ignore_errors=True)
        StudyStorage(plan(statistics=before).study).create()
        StudyStorage(plan(statistics=before).study).check_study()
        with pytest.raises(UserError, match="statistics: changed since runs/small was started"):
            StudyStorage(plan(statistics=after).study).check_study()


# -- the verb


def said_by(folder: Path, verb: str, *arguments: str, **changes: Any) -> int:
    """The exit code of a verb on the study file `small.yaml` of the folder, in this process."""
    study = {**STUDY, "tracking": f"sqlite:///{folder}/runs/mlflow.db", **changes}
    (folder / "small.yaml").write_text(yaml.safe_dump(study))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("GRAFTBENCH_DATA", raising=False)
        for name in ("MLFLOW_DISABLE_TELEMETRY", "RAY_USAGE_STATS_ENABLED"):
            patch.setenv(name, "0")
        patch.setattr(sys, "argv", ["graftbench", verb, "small.yaml", *arguments])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
    return ended.value.code if isinstance(ended.value.code, int) else int(ended.value.code is not None)


@pytest.fixture
def graftbench(work: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    def command(verb: str, *arguments: str, **changes: Any) -> Answer:
        return Answer(said_by(work, verb, *arguments, **changes), *capsys.readouterr())

    return command


def looks(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "runs/small/looks.json").read_text())
    return found


def stamps(folder: Path) -> dict[str, int]:
    """When each trial's record was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("runs/small/trials/*/record.json")}


@pytest.fixture(scope="module")
def first_look(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study run as its file says: 2 cells with 3 seeds."""
    folder = tmp_path_factory.mktemp("first")
    assert said_by(folder, "run", "--local") == 0 and len(stamps(folder)) == 6
    return folder


@pytest.fixture
def looked(work: Path, first_look: Path) -> Path:
    """A copy of it to work on."""
    shutil.copytree(first_look / "runs", work / "runs")
    return work


DETECT = ("--detect", "0.4")  # too little for 5 seeds, so that most_seeds says how many are added


def test_a_topup_adds_exactly_the_seeds_needed(graftbench: Command, looked: Path) -> None:
    before, conditions = stamps(looked), (looked / "runs/small/conditions.json").read_bytes()
    tried = graftbench("topup", *DETECT, "--dry-run", "--json")
    assert tried.code == 0 and stamps(looked) == before and len(looks(looked)) == 1, tried
    said = json.loads(graftbench("topup", *DETECT, "--local", "--json").out)
    assert {**json.loads(tried.out), "trained": 4} == said
    assert (said["look"], said["looks"], said["resumed"], said["failed"], said["seeds"]) == (2, 2, False, 0, {GROUP: 5})
    [group] = said["groups"]
    assert (group["seeds"], group["target"], group["trials"]) == (3, 5, 4)
    assert (group["needed"] or 1001) > 5, "more than 1,000 are none; which it is depends on the CPU's rounding"
    assert group["train_seconds"] > 0 and "; most_seeds is 5, which see >= " in group["why"]
    assert looks(looked) == [{"seeds": {GROUP: 3}, "detect": None}, {"seeds": {GROUP: 5}, "detect": 0.4}]
    after = stamps(looked)
    assert {key: after[key] for key in before} == before, "a trial of the first look was trained again"
    assert (looked / "runs/small/conditions.json").read_bytes() == conditions
    found = StudyStorage(plan().study).read_records().values()
    assert Counter((one.variant, one.seed) for one in found) == Counter(
        (variant, seed) for variant in ("baseline", "image_gradient") for seed in range(5)
    )
    assert len({(one.precision, one.memory_format, one.micro_batch, one.threads) for one in found}) == 1
    assert_known_to_all(graftbench, looked)


def assert_known_to_all(graftbench: Command, folder: Path) -> None:
    """Every verb knows the seeds that were added, none adds more, and verdicts are at the alpha of a look."""
    assert "nothing to train" in graftbench("run", "--local").out
    status = json.loads(graftbench("status", "--json").out)
    assert status["trials"] == 10 and [cell["confirm"] for cell in status["cells"]] == [{"completed": 5}] * 2
    assert json.loads(graftbench("plan", "--json").out)["trials"] == 10
    found = load_records(collect_records(folder / "small.yaml", ""))
    assert found.alpha == 0.025
    [verdict] = StudyResults(found).verdicts
    assert verdict.seeds == 5 and verdict.verdict == "NOT ENOUGH EVIDENCE"
    third = graftbench("topup", *DETECT, "--local")
    assert (third.code, len(looks(folder))) == (0, 2) and "nothing to add, and no look taken" in third.out
    by_hand = graftbench("topup", *DETECT, "--local", seeds=6)
    assert by_hand.code == 2 and "the study is not finished" in by_hand.err, "those seeds are no part of the topup"
    note = " ".join(graftbench("plan", seeds=6).out.split())
    assert "look 3 of 2 planned, so a false HELPS or HURTS is likelier than 0.05" in note


def test_a_killed_topup_goes_on_with_the_same_look(graftbench: Command, looked: Path) -> None:
    before = stamps(looked)
    command = [sys.executable, "-m", "suite.cli", "topup", "small.yaml", "--local", *DETECT]
    graftbench("plan")  # writes the study file
    process = subprocess.Popen(command, cwd=looked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 120
    while len(stamps(looked)) == len(before) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    half = stamps(looked)
    assert len(before) < len(half) < 10 and len(looks(looked)) == 2
    said = json.loads(graftbench("topup", "--detect", "0.1", "--local", "--json").out)
    assert (said["resumed"], said["detect"], said["trained"]) == (True, 0.4, 10 - len(half))
    after = stamps(looked)
    assert {key: after[key] for key in half} == half and len(after) == 10 and len(looks(looked)) == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--detect", "0"), "--detect: must be above 0 and below 100 percentage points, not 0"),
        (("--detect", "nan"), "--detect: must be above 0 and below 100 percentage points, not nan"),
        (("--local", "--address", "auto"), "--local and --address contradict each other"),
        ((), "the study is not finished, and seeds are added to whole cells only: first `graftbench run small.yaml`"),
    ],
)
def test_what_can_t_be_topped_up_is_refused(
    graftbench: Command, work: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    answer = graftbench("topup", *arguments)
    assert answer.code == 2 and sentence in answer.err and answer.err.count("\n") == 1, answer
    assert not (work / "runs").exists()


def test_a_study_that_is_partly_failed_is_finished_first(graftbench: Command, looked: Path) -> None:
    storage = StudyStorage(plan().study)
    key, record = next(iter(storage.read_records().items()))
    records.write_record(
        replace(record, status="failed", reason="disk full"), storage.trial_directory(key) / "record.json"
    )
    answer = graftbench("topup", "--local")
    assert answer.code == 2 and "the study is not finished" in answer.err and len(looks(looked)) == 1


def test_looks_used_up_are_refused() -> None:
    one = replace(plan(statistics={}), looks=(InterimLook({GROUP: 3}),))
    with pytest.raises(UserError) as refusal:
        topup._refuse_unplanned(one)
    assert str(refusal.value).startswith("statistics.looks: this study planned 1 look at its results, which is taken")
    assert "`looks: 2` in a study of a new name and another split_seed" in str(refusal.value)
    two = replace(plan(), looks=(InterimLook({GROUP: 3}),))
    topup._refuse_unplanned(two)
    with pytest.raises(UserError, match="planned 2 looks at its results, all taken"):
        topup._refuse_unplanned(replace(two, looks=(*two.looks, InterimLook({GROUP: 5}, 0.5))))


def test_seeds_that_came_from_elsewhere_were_a_look_too() -> None:
    """Another machine topped the study up, and its results came by MLflow: this storage knows nothing of that."""
    found = findings({"baseline": [0.3] * 5, "image_gradient": [0.30, 0.28, 0.31, 0.29, 0.3]})
    of = replace(plan(), looks=(InterimLook({GROUP: 3}),))
    additions = topup._plan_additions(of, found, 0.005)
    assert topup._with_what_else_was_seen(of, additions).looks == (InterimLook({GROUP: 3}), InterimLook({GROUP: 5}))
    same = replace(plan(), looks=(InterimLook({GROUP: 5}),))
    assert topup._with_what_else_was_seen(same, additions) == same


OTHER = "digits / gradient_cnn"


def half_lost() -> tuple[Plan, list[topup.Addition]]:
    """Two groups, topped up to 5 once before: in the first nothing can be compared, in the second more is needed."""
    wide = plan(backbones=[*STUDY["backbones"], "gradient_cnn"], statistics={"looks": 3, "most_seeds": 9})
    wide = replace(wide, looks=(InterimLook({GROUP: 3, OTHER: 3}), InterimLook({GROUP: 5, OTHER: 5}, detect=0.6)))
    cells: dict[str, testing.Errors] = {
        GROUP: {"baseline": [0.3, 0.3, None, 0.3, 0.3], "image_gradient": [0.30, 0.28, 0.31, 0.29, 0.3]},
        OTHER: {"baseline": [0.3] * 5, "image_gradient": [0.30, 0.28, 0.31, 0.29, 0.3]},
    }
    places = {(place[0], place[2]): own for name, own in cells.items() if (place := name.partition(" / "))}
    return wide, topup._plan_additions(wide, StudyResults(testing.make_studies(places)), 0.005)


def test_a_group_that_lost_its_baseline_stands_in_no_look() -> None:
    of, additions = half_lost()
    lost, other = additions
    assert (lost.trials, lost.need.target, other.need.target) == (0, 0, 9)
    assert topup._with_what_else_was_seen(of, additions) == of
    look = topup._make_look(of, additions, 0.5)
    assert look == InterimLook({GROUP: 5, OTHER: 9}, 0.5), "what an earlier look raised stays"
    after = replace(of, looks=(*of.looks, look))
    assert [after.count_seeds(one.cell) for one in after.cells] == [5, 5, 9, 9]
    shown = Console(width=200, file=io.StringIO())
    for line in topup._format_lines(after, additions, look):
        shown.print(line)
    told = shown.file.getvalue()  # type: ignore[attr-defined]
    assert "nothing can be compared there yet" in told and "no cell is undecided" not in told
    fresh = replace(of, looks=())
    assert topup._with_what_else_was_seen(fresh, additions).looks == (InterimLook({OTHER: 5}),)


def test_without_a_spread_there_is_no_plan() -> None:
    with pytest.raises(UserError, match=r"^seeds: 2 seeds: no spread to plan with; set `seeds: 3` or more"):
        topup._plan_additions(plan(), findings({"baseline": [0.3, 0.2], "image_gradient": [0.1, 0.2]}), 0.005)


def findings(errors: dict[str, Sequence[float | None]]) -> StudyResults:
    dataset, _, backbone = GROUP.partition(" / ")
    return StudyResults(testing.make_study(errors, dataset, backbone))
