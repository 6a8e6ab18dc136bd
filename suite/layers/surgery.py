"""Changing a network in place: modules replaced by class, or given something after their output."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from suite.layers.model import Backbone, Residual

M = TypeVar("M", bound=nn.Module)

_PROBE = 32  # side of the map on which output channels are read off; larger than any block's kernels


def replace(root: nn.Module, kind: type[M], make: Callable[[M], nn.Module]) -> int:
    """Puts `make(module)` in the place of every module of a class inside `root`; how many changed.

    What `make` hands back as it was stays. A module that stands in several places is made once.
    """
    made: dict[nn.Module, nn.Module] = {}
    for parent in list(root.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                if child not in made:
                    made[child] = make(child)
                setattr(parent, name, made[child])
    return sum(new is not old for old, new in made.items())


def features(backbone: Backbone) -> Iterator[nn.Module]:
    """Every module of the stages and the tail, in order; the classifier is left out."""
    yield from backbone.stages.modules()
    yield from backbone.tail.modules()


def residuals(backbone: Backbone) -> list[Residual]:
    """The residual blocks, in order."""
    return [module for module in features(backbone) if isinstance(module, Residual)]


def output_channels(block: nn.Module) -> int:
    """Channels of what a convolutional block makes of its map: its last layer's, or read off on the meta device."""
    last = block
    if isinstance(block, nn.Sequential) and len(block):
        last = block[-1]
    if isinstance(last, nn.Conv2d):
        return last.out_channels
    if isinstance(last, nn.BatchNorm2d):
        return last.num_features
    first = next(module for module in block.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad(), torch.device("meta"):
        probe = torch.empty(1, first.in_channels, _PROBE, _PROBE)
        out: Tensor = copy.deepcopy(block).to("meta").eval()(probe)
    return out.shape[1]


def follow(block: nn.Module, name: str, step: nn.Module) -> None:
    """Makes `block` hand its output through `step`, registered as its child `name`; no other name changes."""
    block.register_module(name, step)
    block.register_forward_hook(_Through(name))


class _Through:
    """A forward hook that finds its step by name, so that a copy of the block runs the copy's own step."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, block: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor:
        out: Tensor = block.get_submodule(self.name)(output)
        return out
