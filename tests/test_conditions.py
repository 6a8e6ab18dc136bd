"""What the probe measured, and what the study lets a group have of it."""

from __future__ import annotations

from typing import Any

import pytest

from suite.config import parse_study
from suite.plan import make_plan
from suite.sweep.conditions import _chosen
from suite.training.probe import Probe

MEASURED = (
    ("float32", False, None, 100.0),
    ("float32", True, None, 105.0),
    ("bf16", True, 32, 200.0),
)
SLOW = (*MEASURED[:2], ("bf16", True, 32, 110.0))


@pytest.mark.parametrize(
    ("asked", "measured", "place"),
    [
        ({}, MEASURED, 2),
        ({}, SLOW, 0),  # 1.1 times plain float32 is not worth it
        ({"precision": "float32"}, MEASURED, 0),
        ({"precision": "bf16"}, SLOW, 2),
        ({"memory_format": "contiguous"}, MEASURED, 0),
        ({"memory_format": "channels_last"}, MEASURED, 2),
        ({"memory_format": "channels_last"}, SLOW, 1),
    ],
)
def test_the_studys_choice_goes_before_the_probes(asked: dict[str, Any], measured: Any, place: int) -> None:
    """Format, micro-batch and speed are those of the candidate itself, not of one that the study rules out."""
    study = {"study": "s", "datasets": ["digits"], "backbones": ["gradient_cnn"], "variants": ["baseline"], "seeds": 1}
    plan = make_plan(parse_study({**study, "recipe": "gradient", **asked}))
    best = max(measured, key=lambda candidate: candidate[3])
    assert _chosen(plan, Probe(*best, measured)) == measured[place]
