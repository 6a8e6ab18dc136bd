"""Recipes: the named training protocols, their knobs, and the learning rate of every epoch.

No torch here: planning reads this file.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from suite.core import settings as declared
from suite.core.errors import UserError, did_you_mean
from suite.core.settings import Setting
from suite.core.specs import Component, Settings, freeze_settings

Optimizer = Literal["sgd", "adam"]
Schedule = Literal["constant", "step", "cosine"]
Selection = Literal["validation_error", "validation_top5", "validation_loss", "last", "train_error"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training protocol: everything of a training run that is neither data nor network.

    Attributes:
        decay: what weight_decay applies to; `weights` leaves out biases and normalisation (one-dimensional parameters).
        milestones: fractions of the budget after which the learning rate is multiplied by `factor` (`step` only).
        warmup: fraction of the budget over which the rate rises linearly to `lr`.
        warmup_factor: what `lr` is multiplied by during all of `warmup`; 0: it rises linearly.
        augment: False treats training images as the others, without draws.
        epochs: the budget when a study names none; a trial's own `epochs` rules.
        random_resized_crop, pad, flip, cutout, mixup: of training images, see `suite.training.augment`; the other
            images are cropped at their centre to `random_resized_crop`.
        selection: the figure whose best epoch counts; ties go to the earliest epoch.
        train_limit: train on this many images only, the first of the training part in file order, or of each class in
            proportion where they stand class by class; 0: all.
        validation: training images held out; 0: as many as the dataset declares.
        test_crops: confirm trials test each image on so many crops too: 10 are the corners and the centre of side
            `random_resized_crop`, and their mirror images (Krizhevsky et al. 2012).
        test_curve: confirm trials measure the test error of every epoch too, after training, from saved weights; no
            choice sees it.
    """

    optimizer: Optimizer = "sgd"
    lr: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    decay: Literal["all", "weights"] = "all"
    schedule: Schedule = "constant"
    milestones: tuple[float, ...] = ()
    factor: float = 0.1
    warmup: float = 0.0
    warmup_factor: float = 0.0
    epochs: int = 1
    batch: int = 64
    augment: bool = True
    random_resized_crop: int = 0
    pad: int = 0
    flip: bool = False
    cutout: int = 0
    mixup: float = 0.0
    selection: Selection = "validation_error"
    train_limit: int = 0
    validation: int = 0
    test_crops: int = 1
    test_curve: bool = False


def _parse_milestones(given: Any) -> tuple[float, ...]:
    if not isinstance(given, list | tuple) or not all(isinstance(item, int | float) for item in given):
        raise ValueError(f"must be a list of fractions of the budget, like [0.3, 0.6, 0.8], not {given!r}")
    fractions = tuple(float(item) for item in given)
    if list(fractions) != sorted(set(fractions)) or not all(0 < item < 1 for item in fractions):
        raise ValueError(f"must rise and lie between 0 and 1 (fractions of the budget), not {given!r}")
    return fractions


# Declarations only: the defaults here give the types, each recipe below has values of its own.
KNOBS: dict[str, Setting] = {
    "optimizer": Setting("sgd", "optimiser", choices=("sgd", "adam")),
    "lr": Setting(0.1, "learning rate of the first epoch", low=0.0),
    "momentum": Setting(0.0, "momentum (sgd only)", low=0.0, high=1.0),
    "nesterov": Setting(False, "Nesterov's form of momentum (sgd only)"),
    "weight_decay": Setting(0.0, "L2 penalty on all parameters, as torch's optimisers apply it", low=0.0),
    "decay": Setting(
        "all", "what the penalty applies to; weights: not to biases and normalisation", choices=("all", "weights")
    ),
    "schedule": Setting("constant", "how the learning rate moves", choices=("constant", "step", "cosine")),
    "milestones": Setting(
        (), "fractions of the budget after which the rate drops (step only)", parse=_parse_milestones
    ),
    "factor": Setting(0.1, "what the rate is multiplied by at a milestone (step only)", low=0.0, high=1.0),
    "warmup": Setting(
        0.0, "fraction of the budget over which the rate rises linearly (not with constant)", low=0.0, high=0.5
    ),
    "warmup_factor": Setting(
        0.0, "what the rate is multiplied by during all of the warm-up; 0: it rises linearly", low=0.0, high=1.0
    ),
    "epochs": Setting(1, "budget in epochs when the study names none", low=1),
    "batch": Setting(64, "images per optimiser step", low=2),
    "augment": Setting(True, "false: no random change of training images; they are treated as the others"),
    "flip": Setting(False, "random left-right flip of training images"),
    "pad": Setting(0, "zeros around training images, from which a random crop restores their size; 0: off", low=0),
    "random_resized_crop": Setting(
        0, "side of a random-resized crop of training images, and of the centre crop of the others; 0: off", low=0
    ),
    "cutout": Setting(0, "side of the square blanked in training images (DeVries and Taylor 2017); 0: off", low=0),
    "mixup": Setting(0.0, "alpha of mixup's Beta(alpha, alpha) (Zhang et al. 2018); 0: off", low=0.0),
    "selection": Setting(
        "validation_error",
        "figure whose best epoch counts",
        choices=("validation_error", "validation_top5", "validation_loss", "last", "train_error"),
    ),
    "train_limit": Setting(0, "train on the first so many images of the training part; 0: all", low=0),
    "test_crops": Setting(
        1,
        "confirm trials: crops of each test image whose mean softmax is measured too; no choice sees it",
        choices=(1, 10),
    ),
    "test_curve": Setting(
        False, "confirm trials: test error of every epoch too, after training; costs a test read each, chosen by never"
    ),
    "validation": Setting(0, "training images held out; 0: as many as the dataset declares", low=0),
}

# Avola et al. 2022, section 4.1: rate divided by 5 at epochs 60, 120 and 160 of 200.
_SIRE = Recipe(
    optimizer="sgd",
    lr=0.1,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    schedule="step",
    milestones=(0.3, 0.6, 0.8),
    factor=0.2,
    epochs=200,
    batch=64,
    flip=True,
)
RECIPES: dict[str, Recipe] = {
    "sire": _SIRE,
    # MNIST and Fashion-MNIST in the same section; no milestone is reached in 5 epochs.
    "sire_1280": dataclasses.replace(_SIRE, epochs=5, train_limit=1280, schedule="constant", milestones=()),
    # Ours: Pandey and Jha 2020 names no optimiser, rate, batch or epochs.
    "gradient": Recipe(optimizer="adam", lr=1e-3, epochs=30, batch=128),
    # Rafif et al. 2024, sections 3.5 and 4: the four rates and 200 epochs; equal quarters, momentum and batch are ours.
    "hybrid": Recipe(
        lr=0.1, momentum=0.9, schedule="step", milestones=(0.25, 0.5, 0.75), factor=0.1, epochs=200, batch=128
    ),
    # The code of Riad et al. 2022 (google-research/diffstride, `cifar10.gin`): rates up to steps 400, 18,000, 32,000
    # and 78,000 of 128 mixed images, here epochs 1, 46, 82 and 200; Keras's L2 of 5e-4 is a weight decay of 1e-3.
    "diffstride": Recipe(
        lr=0.1,
        momentum=0.9,
        weight_decay=1e-3,
        decay="weights",
        schedule="step",
        milestones=(0.23, 0.41),
        factor=0.1,
        warmup=0.005,
        warmup_factor=0.1,
        epochs=200,
        batch=128,
        mixup=0.2,
    ),
    # Murgolo's report, sections 2.2 and 3.1: the base training, and the improved one.
    "cnn_base": Recipe(lr=1e-3, momentum=0.9, epochs=10, batch=128, selection="last"),
    "cnn_improved": Recipe(
        lr=2e-4,
        momentum=0.9,
        weight_decay=4e-3,
        decay="weights",
        schedule="step",
        milestones=(0.8,),
        factor=0.1,
        epochs=20,
        batch=128,
        selection="validation_loss",
    ),
    # Ours (docs/papers.md, section 5): 0.1 per 256 images, cosine after 5 epochs of warm-up.
    "imagenet": Recipe(
        lr=0.1,
        momentum=0.9,
        weight_decay=1e-4,
        schedule="cosine",
        warmup=5 / 90,
        epochs=90,
        batch=256,
        random_resized_crop=224,
        flip=True,
        selection="validation_top5",
    ),
}

# A knob without effect is refused rather than ignored: (knob, value) -> knobs that then do nothing.
AUGMENTING = frozenset({"flip", "pad", "cutout", "mixup"})
_IDLE: dict[tuple[str, Any], frozenset[str]] = {
    ("optimizer", "adam"): frozenset({"momentum", "nesterov"}),
    ("schedule", "constant"): frozenset({"milestones", "factor", "warmup", "warmup_factor"}),
    ("warmup", 0.0): frozenset({"warmup_factor"}),
    ("schedule", "cosine"): frozenset({"milestones", "factor"}),
    ("augment", False): AUGMENTING,
    ("weight_decay", 0.0): frozenset({"decay"}),
}


def resolve_recipe(component: Component, hyperparameters: Settings = ()) -> Recipe:
    """The recipe with a study's overrides and a search's choices; hyperparameters with a dot belong to components.

    Raises:
        UserError: an unknown recipe or knob, an illegal value, or a combination in which a given knob does nothing.
    """
    if component.name not in RECIPES:
        raise UserError(f"recipe.name: unknown recipe {component.name!r}{did_you_mean(component.name, RECIPES)}")
    base = RECIPES[component.name]
    settings = dict(component.settings)
    searched = {name: value for name, value in hyperparameters if "." not in name}
    if "epochs" in searched:
        raise UserError("recipe.epochs: can't be searched, every cell gets the same budget; set it once")
    given = {**settings, **searched}
    values = declared.resolve_settings(KNOBS, given, "recipe")
    recipe = dataclasses.replace(base, **{name: values[name] for name in given})
    # A search or a variant that takes a knob's effect away may do so whatever the study says of that knob.
    _refuse_idle(recipe, {*searched, *(settings.keys() - find_idle_knobs(recipe, searched))})
    return recipe


def find_idle_knobs(recipe: Recipe, deciding: Collection[str]) -> set[str]:
    """The knobs that do nothing because of one of the `deciding` ones."""
    return {
        name
        for (knob, value), without_effect in _IDLE.items()
        if knob in deciding and getattr(recipe, knob) == value
        for name in without_effect
    }


def _refuse_idle(recipe: Recipe, given: Collection[str]) -> None:
    for (knob, value), without_effect in _IDLE.items():
        named = sorted(without_effect & set(given))
        if getattr(recipe, knob) == value and named:
            raise UserError(f"recipe.{named[0]}: does nothing with {knob} {str(value).lower()}; leave it out")
    if recipe.optimizer == "sgd" and recipe.nesterov and recipe.momentum == 0:
        raise UserError("recipe.nesterov: needs a momentum above 0; set nesterov: false too")
    if recipe.pad and recipe.random_resized_crop:
        raise UserError("recipe.pad: random_resized_crop crops already; leave one of them out")
    if recipe.test_crops > 1 and not recipe.random_resized_crop:
        raise UserError(
            "recipe.test_crops: needs random_resized_crop, the side of a crop; name it, or leave test_crops out"
        )
    if recipe.schedule == "step" and not recipe.milestones:
        raise UserError("recipe.schedule: step needs milestones, like [0.3, 0.6, 0.8] (fractions of the budget)")


def canonicalize_recipe(component: Component) -> Component:
    """The component without the overrides that equal the recipe's own values, so equal protocols have equal keys.

    Raises:
        UserError: as `resolve`.
    """
    recipe = resolve_recipe(component)
    own = RECIPES[component.name]
    values = {name: getattr(recipe, name) for name, _ in component.settings}
    return Component(component.name, freeze_settings({k: v for k, v in values.items() if v != getattr(own, k)}))


def compute_learning_rate(recipe: Recipe, epoch: int, epochs: int) -> float:
    """The rate of an epoch, counted from 1, in a budget of `epochs`.

    Milestones are fractions of the budget: 0.3, 0.6 and 0.8 of 200 drop the rate after epochs 60, 120 and 160.
    A smaller budget compresses the schedule instead of cutting it off, so a short run still ends at the last rate.
    """
    if recipe.schedule == "constant":
        return recipe.lr
    rising = round(recipe.warmup * epochs)
    if epoch <= rising:
        return recipe.lr * (recipe.warmup_factor or epoch / (rising + 1))
    if recipe.schedule == "cosine":
        done = (epoch - 1 - rising) / (epochs - rising)
        return recipe.lr * (1 + math.cos(math.pi * done)) / 2
    # Rounded because 0.7 * 10 is a hair above 7, which would delay a drop by an epoch.
    drops = sum(epoch - 1 >= round(fraction * epochs, 9) for fraction in recipe.milestones)
    return float(recipe.lr * recipe.factor**drops)
