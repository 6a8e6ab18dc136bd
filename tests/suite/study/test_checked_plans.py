"""A plan is checked once: the answer that is remembered is the check's own, and any change asks it again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from suite.core.errors import UserError
from suite.study import check, checked_plans
from suite.study.config import parse_study
from suite.study.plan import Plan, make_plan
from suite.study.study_files import ready_studies

STUDY: dict[str, Any] = {
    "study": "s",
    "datasets": ["digits"],
    "backbones": ["gradient_cnn", {"name": "base_cnn", "width": 0.1}],
    "variants": ["baseline", {"name": "sire", "decoders": [1, 4]}, "image_gradient"],  # too deep for gradient_cnn
    "recipe": {"name": "gradient", "epochs": 2},
    "search": {
        "trials": 2,
        "space": {
            "lr": {"low": 0.001, "high": 0.01, "log": True},
            "image_gradient.form": {"choices": ["sum", "sobel"]},
        },
    },
    "seeds": 3,
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAFTBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "plans"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The studies that the check itself was asked about."""
    studies: list[str] = []

    def check_plan(plan: Plan, data: Path, *, strict: bool = False) -> Plan:
        studies.append(plan.study.study)
        return own(plan, data, strict=strict)

    own = check.check_plan
    monkeypatch.setattr(check, "check_plan", check_plan)
    return studies


def plan_of(**changes: Any) -> Plan:
    return make_plan(parse_study({**STUDY, **changes}))


def test_what_is_remembered_is_what_the_check_said(asked: list[str]) -> None:
    plan = plan_of()
    fresh = check.check_plan(plan, Path("data"))
    assert any(cell.refused for cell in fresh.cells) and any(cell.space for cell in fresh.cells)
    for _ in range(3):
        assert checked_plans.check_plan_once(plan, Path("data")) == fresh
    assert asked == ["s", "s"], "once here, once for the first plan"


def test_a_change_asks_again(asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def check_once(**changes: Any) -> int:
        checked_plans.check_plan_once(plan_of(**changes), Path("data"))
        return len(asked)

    assert [check_once(), check_once(), check_once(seeds=4), check_once()] == [1, 1, 2, 2]
    plugins = tmp_path / "plugins"
    (plugins / "variants").mkdir(parents=True)
    monkeypatch.setenv("GRAFTBENCH_PLUGINS", str(plugins))
    helper = plugins / "variants" / "_helper.py"
    helper.write_text("A = 1\n")
    assert [check_once(), check_once()] == [3, 3]
    helper.write_text("A = 2\n")
    assert [check_once(), check_once()] == [4, 4]
    for file in cache.glob("*.json"):
        file.write_text(file.read_text()[:40])
    assert [check_once(), check_once()] == [5, 5], "what was cut short is no answer"


def test_a_refusal_is_not_remembered(asked: list[str], cache: Path) -> None:
    wrong = plan_of(variants=["baseline", {"name": "sire", "decoders": "x"}, "image_gradient"])
    for _ in range(2):
        with pytest.raises(UserError, match=r"variants\[1\]\.decoders"):
            checked_plans.check_plan_once(wrong, Path("data"))
    assert len(asked) == 2 and not cache.exists()
    with pytest.raises(UserError, match="gradient_cnn"):
        checked_plans.check_plan_once(plan_of(), Path("data"), strict=True)


def test_status_of_a_study_that_was_planned_needs_no_torch(tmp_path: Path) -> None:
    demo = ready_studies()["demo"]
    run = "import sys; sys.argv = ['graftbench', *{!r}]; from suite.cli.main import app; app(standalone_mode=False)"
    found = "print('found', [name for name in ('torch', 'ray', 'mlflow', 'scipy') if name in sys.modules])"
    for verb, heavy in (("plan", True), ("status", False)):
        code = f"{run.format([verb, str(demo)])}; {found}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert ("found []" in done.stdout) is not heavy, done.stdout
