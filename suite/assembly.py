"""Where dataset, backbone, variant and recipe meet: networks and data of a cell, and the test-set firewall."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from suite import grafting, registry, settings
from suite.datasets import Facts, Part, _splits
from suite.datasets._cache import Decoded
from suite.datasets._images import Unreadable
from suite.datasets._source import Images, Source
from suite.layers.model import Backbone, Graft
from suite.library import Dataset
from suite.settings import Refused
from suite.specs import Cell, Component, Settings, Streams, Trial, parts, split_stream
from suite.training.cost import Costs, spent_costs
from suite.training.data import Examples, Scaling, TrainingData
from suite.training.execution import seeded
from suite.training.feeds import Residency, choose, feed
from suite.training.recipes import Recipe

Wanted = Residency | Literal["auto"]
Pictures = Tensor | Callable[[int], Images]


def assemble(
    cell: Cell,
    shape: tuple[int, int, int],
    classes: int,
    *,
    streams: Streams | None,
    hyperparameters: Settings = (),
) -> Graft:
    """The cell's network for images of `shape`. The caller's random generator is left as it was.

    The backbone is drawn wholly from stream `init`, what each part of the variant adds from `init/<part>`: all cells
    of a group start from the same backbone. Hyperparameters `variant.setting` override the variant's settings.

    Args:
        streams: None builds on the meta device: shapes and no numbers, for planning.

    Raises:
        Refused: an illegal setting, or a pair that can't be served.
    """
    given = {**dict(cell.variant.settings), **_searched(cell.variant.name, hyperparameters)}

    def stream(name: str) -> AbstractContextManager[None]:
        return seeded(streams.seed_of(name) if streams else 0)

    with torch.device("meta") if streams is None else nullcontext():
        with stream("init"):
            backbone = build_backbone(cell.backbone, shape, classes)
        return grafting.apply(backbone, cell.variant.name, given, lambda part: stream(f"init/{part}"))


def build_backbone(component: Component, shape: tuple[int, int, int], classes: int) -> Backbone:
    """The backbone for images of `shape`; knows its shape, and how to become wider.

    Raises:
        Refused: an illegal setting or shape.
    """
    build = functools.partial(_built, component, shape, classes)
    on_meta = torch.get_default_device().type == "meta"
    backbone = copy.deepcopy(_template(component, shape, classes)) if on_meta else build()
    if "width" in registry.load("backbone", component.name).SETTINGS:
        backbone.rebuild = build
    return backbone


def _built(component: Component, shape: tuple[int, int, int], classes: int, **changes: Any) -> Backbone:
    module = registry.load("backbone", component.name)
    values = settings.resolve(module.SETTINGS, dict(component.settings), component.name)
    backbone: Backbone = module.build(shape, classes, **{**values, **changes})
    backbone.input_shape = shape
    return backbone


@functools.lru_cache(maxsize=4)
def _template(component: Component, shape: tuple[int, int, int], classes: int) -> Backbone:
    """On the meta device, for copies: a network of timm takes a second to build and to cut, a plan wants ten."""
    return _built(component, shape, classes)


@functools.lru_cache(maxsize=1024)
def cell_costs(cell: Cell, shape: tuple[int, int, int], classes: int, hyperparameters: Settings = ()) -> Costs:
    """What the cell's network costs. Counted once per process: counting takes as long as a small trial's epoch.

    Raises:
        Refused: as `assemble`.
    """
    return spent_costs(assemble(cell, shape, classes, streams=None, hyperparameters=hyperparameters), shape)


def _searched(variant: str, hyperparameters: Settings) -> dict[str, Any]:
    found = {}
    for name, value in hyperparameters:
        owner, dot, knob = name.partition(".")
        if dot and owner not in parts(variant):
            raise Refused(f"{name}: the cell's variant is {variant}, so this hyperparameter would do nothing")
        if dot:
            found[knob if owner == variant else name] = value
    return found


def input_shape(facts: Facts, recipe: Recipe) -> tuple[int, int, int]:
    """(channels, height, width) of what the network sees of a dataset's images.

    Raises:
        Refused: a crop, padding or square of the recipe is larger than the images.
    """
    channels, *size = facts.shape
    crop = recipe.random_resized_crop
    smallest = {"random_resized_crop": min(size), "pad": min(size), "cutout": crop or min(size)}
    for knob, pixels in smallest.items():
        if getattr(recipe, knob) > pixels:
            raise Refused(
                f"recipe.{knob}: {getattr(recipe, knob)} pixels are too many for images of {pixels}; at most {pixels}"
            )
    return (channels, crop, crop) if crop else facts.shape


def residency(dataset: Dataset, wanted: Wanted, device: torch.device, fraction: float) -> Residency:
    """Where the dataset's images should live; `fraction` as of `feeds.choose`."""
    if dataset.streamed(wanted):
        return "stream"
    return choose(wanted, dataset.size, device, fraction)


def _part(dataset: Dataset, part: Part, streamed: bool) -> tuple[Decoded, Pictures]:
    """What the cache holds of a part, and its images or how one is decoded."""
    found = dataset.decoded(part, keep_images=not streamed)
    if streamed:
        return found, _one_by_one(dataset.source(part))
    assert found.images is not None
    return found, torch.from_numpy(found.images)


def _one_by_one(source: Source) -> Callable[[int], Images]:
    def decode(row: int) -> Images:
        try:
            return source.decode(row)
        except Unreadable as error:
            raise Refused(f"{source.name(row)} {error}; repair it, then `graftbench data verify`") from error

    return decode


def training_data(
    trial: Trial, dataset: Dataset, recipe: Recipe, residency: Residency, device: torch.device
) -> tuple[TrainingData, dict[str, Any]]:
    """The training part, split; and what a record says of it."""
    facts = dataset.facts
    found, pictures = _part(dataset, "train", residency == "stream")
    held_out = recipe.validation or facts.validation
    train, validation = _splits.split(found.labels, held_out, split_stream(trial))
    train = np.sort(train)[: recipe.train_limit or None]
    if len(train) < 2 or len(validation) < 1:
        name = dataset.component.label
        raise Refused(f"{name}: {len(train)} training and {len(validation)} validation images")
    mean, std = (facts.mean, facts.std) if facts.mean and facts.std else (found.mean, found.std)
    images, labels = feed(pictures, residency, device), torch.from_numpy(found.labels).to(device)
    size = facts.shape[1:]
    trained, held = (Examples(images, labels, torch.from_numpy(index), size) for index in (train, validation))
    described = {
        "data": found.digest,
        "split": _splits.digest(train, validation),
        "train_examples": len(train),
        "validation_examples": len(validation),
        "residency": residency,
    }
    return TrainingData(trained, held, Scaling.of(mean, std, device)), described


def load_test(trial: Trial, dataset: Dataset, residency: Residency, device: torch.device) -> tuple[Examples, str]:
    """The test part, for confirm trials only: the one way to it; and its digest.

    Raises:
        PermissionError: a search trial asked.
    """
    if trial.stage != "confirm":
        raise PermissionError(f"a {trial.stage} trial may not read the test part")
    found, pictures = _part(dataset, "test", residency == "stream")
    images, labels = feed(pictures, residency, device), torch.from_numpy(found.labels)
    return Examples(images, labels.to(device), torch.arange(len(labels)), dataset.facts.shape[1:]), found.digest
