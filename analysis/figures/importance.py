"""How much of a search's spread each hyperparameter explains; optuna is imported only where there is enough to tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from suite.core.records import Record
from suite.core.specs import parse_settings

LEAST_TRIALS = 10  # below this a random forest's shares are noise


def parse_number(text: str) -> float | None:
    """The text as a finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return value


def compute_importances(trials: Sequence[Record]) -> dict[str, float]:
    """Share by hyperparameter, in all 1, from a cell's completed search trials; empty when it can't be told.

    It can't with fewer than `LEAST_TRIALS` trials, fewer than two hyperparameters that vary, or equal errors.
    """
    if len(trials) < LEAST_TRIALS:
        return {}
    table = pd.DataFrame([parse_settings(trial.hyperparameters) for trial in trials]).dropna(axis="columns")
    table = table.loc[:, table.nunique() > 1].copy()
    errors = [trial.validation_top1_error or 0.0 for trial in trials]
    if table.shape[1] < 2 or len(set(errors)) < 2:
        return {}
    return _run_fanova(table, errors)


def _run_fanova(table: pd.DataFrame, errors: Sequence[float]) -> dict[str, float]:
    """Numbers range over what they span, on a log scale where that is a factor of ten; texts are choices."""
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    space: dict[str, Any] = {}
    for name in table:
        texts = table[name].tolist()
        space[name] = CategoricalDistribution(sorted(set(texts)))
        if None not in map(parse_number, texts) and len(set(map(float, texts))) > 1:
            numbers = list(map(float, texts))
            low, high = min(numbers), max(numbers)
            table[name], space[name] = numbers, FloatDistribution(low, high, log=low > 0 and high / low >= 10)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study()
        for point, error in zip(table.to_dict("records"), errors, strict=True):
            study.add_trial(optuna.create_trial(params=point, distributions=space, value=error))
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=32, seed=0)
        return optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)
