"""Where dataset, backbone, variant and recipe meet: networks and data of a cell, and the test-set firewall."""

from __future__ import annotations

import copy
import functools
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from suite.core import registry, settings
from suite.core.errors import UserError
from suite.core.recipes import Recipe
from suite.core.specs import Cell, Component, Settings, Streams, split_variant
from suite.data.source import DatasetInfo
from suite.layers.model import Backbone, Graft
from suite.models import grafting
from suite.models.cost import Costs, spent_costs
from suite.training.execution import seed_torch


def assemble_network(
    cell: Cell,
    shape: tuple[int, int, int],
    classes: int,
    *,
    streams: Streams | None,
    hyperparameters: Settings = (),
    black: Tensor | None = None,
) -> Graft:
    """The cell's network for images of `shape`. The caller's random generator is left as it was.

    The backbone is drawn wholly from stream `init`, what each part of the variant adds from `init/<part>`: all cells
    of a group start from the same backbone. Hyperparameters `variant.setting` override the variant's settings.

    Args:
        streams: None builds on the meta device: shapes and no numbers, for planning.
        black: float (channels, 1, 1), what black is after normalisation; None: 0.

    Raises:
        UserError: an illegal setting, or a pair that can't be served.
    """
    variant = cell.variant.name
    settings = dict(cell.variant.settings) | _find_searched_settings(variant, hyperparameters)
    if streams is None:
        with torch.device("meta"), seed_torch(0):
            backbone = build_backbone(cell.backbone, shape, classes)
            return _add_revisions(backbone, grafting.graft_variant(backbone, variant, settings))
    with seed_torch(streams.seed_of("init")):
        backbone = build_backbone(cell.backbone, shape, classes)

    def draw_part(part: str) -> AbstractContextManager[None]:
        return seed_torch(streams.seed_of(f"init/{part}"))

    graft = _add_revisions(backbone, grafting.graft_variant(backbone, variant, settings, draw_part))
    if black is not None:
        for module in graft.model.modules():
            if isinstance(module, Backbone):
                module.black = black.cpu()
    return graft


def _add_revisions(backbone: Backbone, graft: Graft) -> Graft:
    return graft._replace(revisions=(*backbone.list_revisions(), *graft.revisions))


def build_backbone(component: Component, shape: tuple[int, int, int], classes: int) -> Backbone:
    """The backbone for images of `shape`; knows its shape, and how to become wider. UserError as `assemble_network`."""
    build = functools.partial(_build_backbone, component, shape, classes)
    if torch.get_default_device().type == "meta":
        backbone = copy.deepcopy(_build_template(component, shape, classes))
    else:
        backbone = build()
    if "width" in registry.load_component("backbone", component.name).SETTINGS:
        backbone.rebuild = build
    return backbone


def _build_backbone(component: Component, shape: tuple[int, int, int], classes: int, **changes: Any) -> Backbone:
    module = registry.load_component("backbone", component.name)
    values = settings.resolve_settings(module.SETTINGS, dict(component.settings), component.name)
    backbone: Backbone = module.build(shape, classes, **{**values, **changes})
    backbone.input_shape = shape
    return backbone


@functools.lru_cache(maxsize=4)
def _build_template(component: Component, shape: tuple[int, int, int], classes: int) -> Backbone:
    """On the meta device, for copies: a network of timm takes a second to build and to cut, a plan wants ten."""
    return _build_backbone(component, shape, classes)


@functools.lru_cache(maxsize=1024)
def describe_network(
    cell: Cell, shape: tuple[int, int, int], classes: int, hyperparameters: Settings = ()
) -> tuple[Costs, str]:
    """What the cell's network costs, and its revision as of `Trial`.

    Counted once per process: counting takes as long as a small trial's epoch.
    """
    graft = assemble_network(cell, shape, classes, streams=None, hyperparameters=hyperparameters)
    return spent_costs(graft, shape), "+".join(graft.revisions)


def cell_costs(cell: Cell, shape: tuple[int, int, int], classes: int, hyperparameters: Settings = ()) -> Costs:
    """What the cell's network costs."""
    return describe_network(cell, shape, classes, hyperparameters)[0]


def _find_searched_settings(variant: str, hyperparameters: Settings) -> dict[str, Any]:
    settings = {}
    for name, value in hyperparameters:
        owner, dot, _ = name.partition(".")
        if not dot:
            continue
        if owner not in split_variant(variant):
            raise UserError(f"{name}: the cell's variant is {variant}, so this hyperparameter would do nothing")
        settings[name.removeprefix(f"{variant}.")] = value
    return settings


def input_shape(facts: DatasetInfo, recipe: Recipe) -> tuple[int, int, int]:
    """(channels, height, width) of what the network sees of a dataset's images.

    Raises:
        UserError: a crop, padding or square of the recipe is larger than the images, or as large where the recipe
            tests several crops.
    """
    channels, *size = facts.shape
    crop = recipe.random_resized_crop
    smallest = {"random_resized_crop": min(size), "pad": min(size), "cutout": crop or min(size)}
    for knob, limit in smallest.items():
        pixels = getattr(recipe, knob)
        if pixels > limit:
            raise UserError(f"recipe.{knob}: {pixels} pixels are too many for images of {limit}; at most {limit}")
    if recipe.test_crops > 1 and min(size) <= crop:
        raise UserError(
            f"recipe.test_crops: images of {min(size)} pixels have one crop of {crop}; let the dataset's size be "
            "larger (256 for 224), or leave test_crops out"
        )
    return (channels, crop, crop) if crop else facts.shape
