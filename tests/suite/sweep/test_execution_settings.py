"""What the rule decides of a group, and what the study decides itself."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from suite.study.config import parse_study
from suite.study.plan import ExecutionConfig, make_plan
from suite.sweep.execution_settings import choose_execution

STUDY = {"study": "s", "datasets": ["digits"], "backbones": ["gradient_cnn"], "variants": ["baseline"], "seeds": 1}
GROUP = "digits / gradient_cnn"


def decided(
    known: dict[str, ExecutionConfig], device: str = "cpu", **asked: Any
) -> tuple[dict[str, ExecutionConfig], str]:
    plan = make_plan(parse_study({**STUDY, "recipe": "gradient", **asked}))
    console = Console(file=io.StringIO())
    found = choose_execution(
        plan, Path("data"), device, plan.study.resources, decided=known, elsewhere=False, console=console
    )
    return found, console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("device", ["cpu", "auto"])  # without torch, and by it
@pytest.mark.parametrize("flags", ["avx2", "avx512_bf16"])
@pytest.mark.parametrize(
    ("asked", "precision", "channels_last"),
    [
        ({}, "auto", True),
        ({"precision": "float32"}, "float32", True),
        ({"precision": "bf16"}, "bf16", True),
        ({"memory_format": "contiguous"}, "auto", False),
        ({"precision": "bf16", "memory_format": "contiguous"}, "bf16", False),
    ],
)
def test_the_studys_choice_goes_before_the_rules(
    asked: dict[str, Any],
    precision: str,
    channels_last: bool,
    flags: str,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("suite.core.processor._read_fact", lambda name: flags)
    by_rule = "bf16" if flags == "avx512_bf16" else "float32"
    wanted = ExecutionConfig(by_rule if precision == "auto" else precision, channels_last)  # type: ignore[arg-type]
    found, told = decided({}, device, **asked)
    assert found == {GROUP: wanted}
    assert told == f"{GROUP}: {wanted.precision}, {'channels_last' if channels_last else 'contiguous'}\n"


def test_what_an_earlier_run_decided_stays() -> None:
    known = {GROUP: ExecutionConfig("bf16", False, 8)}
    assert decided(known, precision="float32") == (known, "")
