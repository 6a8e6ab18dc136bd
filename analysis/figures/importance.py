"""How much of a search's spread each hyperparameter explains; optuna is imported only where there is enough to tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from suite.core.records import Record
from suite.core.specs import parse_settings

LEAST_TRIALS = 10  # below this a random forest's shares are noise


def parse_number(text: str) -> float | None:
    """The text as a finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def compute_importances(trials: Sequence[Record]) -> dict[str, float]:
    """Share by hyperparameter, in all 1; empty when it can't be told.

    It can't with fewer than `LEAST_TRIALS` trials, fewer than two hyperparameters that vary, or equal errors.

    Args:
        trials: completed search trials of one cell.
    """
    points = [parse_settings(trial.hyperparameters) for trial in trials]
    errors = [trial.validation_top1_error or 0.0 for trial in trials]
    shared = [name for name in (points[0] if points else {}) if all(name in point for point in points)]
    varied = [name for name in shared if len({point[name] for point in points}) > 1]
    if len(trials) < LEAST_TRIALS or len(varied) < 2 or len(set(errors)) < 2:
        return {}
    return _run_fanova({name: [point[name] for point in points] for name in varied}, errors)


def _run_fanova(values: dict[str, list[str]], errors: Sequence[float]) -> dict[str, float]:
    import optuna

    columns = {name: _make_column(column) for name, column in values.items()}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study()
        space = {name: distribution for name, (_, distribution) in columns.items()}
        for index, error in enumerate(errors):
            point = {name: column[index] for name, (column, _) in columns.items()}
            study.add_trial(optuna.create_trial(params=point, distributions=space, value=error))
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=32, seed=0)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {name: float(share) for name, share in found.items()}


def _make_column(texts: list[str]) -> tuple[list[Any], Any]:
    """A hyperparameter's values and their range: numbers (log where they span a decade), else choices."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    numbers = [parse_number(text) for text in texts]
    known = [value for value in numbers if value is not None]
    if len(known) < len(texts) or len(set(known)) < 2:
        return texts, CategoricalDistribution(sorted(set(texts)))
    low, high = min(known), max(known)
    return known, FloatDistribution(low, high, log=low > 0 and high / low >= 10)
