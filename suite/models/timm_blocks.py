"""timm's blocks in the words that variants know, computing the same: `Residual` and `ConvUnit`."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn

from suite.layers.model import ConvUnit, Residual
from suite.models.timm_graph import Segment, Uncuttable, as_module, cut_segments, iterate_between

SUMS = {operator.add, operator.iadd, torch.add}
NORMS = (nn.BatchNorm2d, nn.GroupNorm)
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Mish)

Named = tuple[str, nn.Module]


def recognise_layers(name: str, module: nn.Module) -> list[Named]:
    """A module as layers in a row, its residual sums as `Residual`s; as it is where it has none that can be told."""
    if isinstance(module, fx.GraphModule) or not list(module.children()):
        return [(name, module)]
    layers: list[Named] = []
    try:
        for segment in cut_segments(module):
            layers += _recognise_segment(module, segment)
    except Uncuttable:
        return [(name, module)]
    if not any(isinstance(layer, Residual) for _, layer in layers):
        return [(name, module)]
    layers = _close_residuals(layers)
    if len(layers) == 1:
        return [(name, layers[0][1])]
    return [(f"{name}_{part}", layer) for part, layer in layers]


def _recognise_segment(module: nn.Module, segment: Segment) -> list[Named]:
    target = segment.called_module()
    if target is not None:
        return recognise_layers(target.replace(".", "_"), module.get_submodule(target))
    residual = _recognise_residual(module, segment)
    return [as_module(module, segment)] if residual is None else [("residual", residual)]


def _recognise_residual(module: nn.Module, segment: Segment) -> Residual | None:
    """branch(x) + shortcut(x), if that is what the segment computes by two separate paths."""
    end = segment.end
    if end.target not in SUMS or len(end.args) != 2 or end.kwargs:
        return None
    paths = [_find_path(segment, value) for value in end.args]
    if paths[0] is None or paths[1] is None or len(paths[0]) + len(paths[1]) + 1 != len(segment.nodes):
        return None
    branch = _list_layers(module, segment, paths[0], end.args[0])
    shortcut = _list_layers(module, segment, paths[1], end.args[1])
    if _count_convolutions(branch) <= _count_convolutions(shortcut):
        return None  # shortcut + branch: turned round, the sum could differ in memory layout, and what follows in bits
    # The branch runs first here; were both sides to draw random numbers, the order would matter.
    if any("Drop" in type(part).__name__ for part in _iterate_modules(shortcut)):
        return None
    return Residual(_join_row(_flatten_layers(branch)), _join_row(_flatten_layers(shortcut)))


def _list_layers(module: nn.Module, segment: Segment, path: list[fx.Node], value: Any) -> list[Named]:
    return [as_module(module, part) for part in iterate_between(segment.start, path, value)]


def _flatten_layers(layers: list[Named]) -> list[Named]:
    """The layers with those that only call one after another taken apart, so that a branch shows its convolutions."""
    flat: list[Named] = []
    for name, module in layers:
        calls = _list_calls(module)
        parts = [(f"{name}_{call}".replace(".", "_"), module.get_submodule(call)) for call in calls]
        flat += _flatten_layers(parts) if parts else [(name, module)]
    return flat


def _list_calls(module: nn.Module) -> list[str]:
    """The submodules that a module's own forward pass calls one after another; none if it does anything else."""
    if isinstance(module, fx.GraphModule) or not list(module.children()):
        return []
    calls: list[str] = []
    try:
        for segment in cut_segments(module):
            call = segment.called_module()
            if call is None:
                return []
            calls.append(call)
    except Uncuttable:
        return []
    return calls


def _find_path(segment: Segment, value: object) -> list[fx.Node] | None:
    """The segment's nodes that `value` is computed by; None if it is no value of the segment."""
    if value is segment.start:
        return []
    if not isinstance(value, fx.Node) or value not in segment.nodes:
        return None
    needed = {value}
    for node in reversed(segment.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    return [node for node in segment.nodes if node in needed]


def _iterate_modules(layers: list[Named]) -> Iterator[nn.Module]:
    for _, layer in layers:
        yield from layer.modules()


def _count_convolutions(layers: list[Named]) -> int:
    return sum(isinstance(part, nn.Conv2d) for part in _iterate_modules(layers))


def _close_residuals(layers: list[Named]) -> list[Named]:
    """A residual block's closing activation put inside it."""
    if len(layers) > 1:
        block, last = layers[-2][1], layers[-1][1]
        if isinstance(block, Residual) and isinstance(last, ACTIVATIONS):
            return [*layers[:-2], ("residual", Residual(block.branch, block.shortcut, last))]
    return layers


def join_layers(layers: list[Named]) -> nn.Sequential:
    """The layers in a row, each convolution, norm and activation that follow one another as a ConvUnit."""
    rest = [layer for layer in layers if not isinstance(layer[1], nn.Identity)]
    row: list[Named] = []
    while rest:
        name, module = rest.pop(0)
        norm, after = None, rest
        if rest and type(rest[0][1]) in NORMS:
            norm, after = rest[0][1], rest[1:]
        if isinstance(module, nn.Conv2d) and after and isinstance(after[0][1], ACTIVATIONS):
            module = ConvUnit(module, norm, after[0][1])
            rest = after[1:]
        row.append((name, module))
    return _join_row(row)


def _join_row(layers: list[Named]) -> nn.Sequential:
    row = nn.Sequential()
    for name, module in layers:
        if isinstance(module, nn.Identity):
            continue
        while hasattr(row, name):  # a module called twice, or a name that Sequential has
            name += "_again"
        row.add_module(name, module)
    return row
