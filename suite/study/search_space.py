"""A study's search in Optuna's terms: what it draws from, and what it minimises."""

from __future__ import annotations

import warnings
from typing import Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from suite.core import recipes
from suite.core.specs import Space
from suite.study.plan import Plan

Objective = Literal["validation_loss", "validation_top1_error"]


def name_objective(plan: Plan) -> Objective:
    """The figure of a record and of an epoch that the search judges by."""
    by_loss = recipes.resolve_recipe(plan.recipe).selection == "validation_loss"
    return "validation_loss" if by_loss else "validation_top1_error"


def make_distribution(space: Space) -> BaseDistribution:
    """What a hyperparameter is drawn from. Choices may be tuples (a list of decoders), which no database takes."""
    if space.choices:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return CategoricalDistribution(space.choices)
    if space.low is None or space.high is None:
        raise ValueError("a space needs low and high, or choices")
    if space.integer:
        return IntDistribution(int(space.low), int(space.high), log=space.log)
    return FloatDistribution(space.low, space.high, log=space.log)
