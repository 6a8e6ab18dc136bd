"""Where dataset, backbone, variant and recipe meet: networks and data of a cell, and the test-set firewall."""

from __future__ import annotations

import functools
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suite import registry, settings
from suite.datasets import Facts, Part, _splits
from suite.layers.model import Graft
from suite.settings import Refused
from suite.specs import Cell, Component, Settings, Streams, Trial, split_stream
from suite.training.cost import Costs, costs
from suite.training.data import Examples, Scaling, TrainingData, moments
from suite.training.execution import seeded
from suite.training.recipes import Recipe


def facts_of(dataset: Component, root: Path) -> Facts:
    """What is known of a dataset without reading its images. Raises Refused for an illegal setting."""
    module = registry.load("dataset", dataset.name)
    chosen = settings.resolve(module.SETTINGS, dict(dataset.settings), dataset.name)
    facts: Facts = module.facts(root, **chosen)
    return facts


def assemble(
    cell: Cell,
    shape: tuple[int, int, int],
    classes: int,
    *,
    streams: Streams | None,
    hyperparameters: Settings = (),
) -> Graft:
    """The cell's network for images of `shape`. The caller's random generator is left as it was.

    The backbone is drawn wholly from stream `init`, what the variant adds from `init/<variant>`: all cells of a
    group start from the same backbone. Hyperparameters `variant.setting` override the variant's settings.

    Args:
        streams: None builds on the meta device: shapes and no numbers, for planning.

    Raises:
        Refused: an illegal setting, or a pair that can't be served.
    """
    backbones, variants = registry.load("backbone", cell.backbone.name), registry.load("variant", cell.variant.name)
    body = settings.resolve(backbones.SETTINGS, dict(cell.backbone.settings), cell.backbone.name)
    given = {**dict(cell.variant.settings), **_searched(cell.variant.name, hyperparameters)}
    extension = settings.resolve(variants.SETTINGS, given, cell.variant.name)
    with torch.device("meta") if streams is None else nullcontext():
        with seeded(streams.seed_of("init") if streams else 0):
            backbone = backbones.build(shape, classes, **body)
        with seeded(streams.seed_of(f"init/{cell.variant.name}") if streams else 0):
            graft: Graft = variants.apply(backbone, **extension)
    return graft


@functools.lru_cache(maxsize=1024)
def cell_costs(cell: Cell, shape: tuple[int, int, int], classes: int, hyperparameters: Settings = ()) -> Costs:
    """What the cell's network costs. Counted once per process: counting takes as long as a small trial's epoch.

    Raises:
        Refused: as `assemble`.
    """
    return costs(assemble(cell, shape, classes, streams=None, hyperparameters=hyperparameters), shape)


def _searched(variant: str, hyperparameters: Settings) -> dict[str, Any]:
    found = {}
    for name, value in hyperparameters:
        owner, dot, knob = name.partition(".")
        if dot and owner != variant:
            raise Refused(f"{name}: the cell's variant is {variant}, so this hyperparameter would do nothing")
        if dot:
            found[knob] = value
    return found


@functools.lru_cache(maxsize=4)
def _arrays(dataset: Component, root: Path, part: Part) -> tuple[Tensor, Tensor]:
    """uint8 (N, channels, height, width) and int64 (N,) on the CPU, shared by the trials of a process."""
    module = registry.load("dataset", dataset.name)
    facts = facts_of(dataset, root)
    if facts.missing:
        raise Refused(facts.missing)
    chosen = settings.resolve(module.SETTINGS, dict(dataset.settings), dataset.name)
    images, labels = module.load(root, part, **chosen)
    if images.dtype != np.uint8 or images.shape[1:] != facts.shape:
        raise Refused(f"{dataset.label}: images are {images.dtype} {images.shape[1:]}, not uint8 {facts.shape}")
    return torch.from_numpy(np.require(images, requirements=["C", "W"])), torch.from_numpy(labels.astype(np.int64))


@functools.lru_cache(maxsize=64)
def _moments(dataset: Component, root: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel mean and standard deviation of the training part; counting takes as long as a small trial's epoch."""
    return moments(_arrays(dataset, root, "train")[0])


def training_data(trial: Trial, root: Path, recipe: Recipe, device: torch.device) -> tuple[TrainingData, str]:
    """The training part, split; and the digest of the split."""
    facts = facts_of(trial.cell.dataset, root)
    images, labels = _arrays(trial.cell.dataset, root, "train")
    held_out = recipe.validation or facts.validation
    train, validation = _splits.split(labels.numpy(), held_out, split_stream(trial))
    train = np.sort(train)[: recipe.train_limit or None]
    if len(train) < 2 or len(validation) < 1:
        raise Refused(f"{trial.cell.dataset.label}: {len(train)} training and {len(validation)} validation images")
    mean, std = (facts.mean, facts.std) if facts.mean and facts.std else _moments(trial.cell.dataset, root)
    on_device = images.to(device), labels.to(device)
    trained, held = (Examples(*on_device, torch.from_numpy(index).to(device)) for index in (train, validation))
    return TrainingData(trained, held, Scaling.of(mean, std, device)), _splits.digest(train, validation)


def load_test(trial: Trial, root: Path, device: torch.device) -> Examples:
    """The test part, for confirm trials only: the one way to it.

    Raises:
        PermissionError: a search trial asked.
    """
    if trial.stage != "confirm":
        raise PermissionError(f"a {trial.stage} trial may not read the test part")
    images, labels = _arrays(trial.cell.dataset, root, "test")
    return Examples(images.to(device), labels.to(device), torch.arange(len(labels), device=device))
