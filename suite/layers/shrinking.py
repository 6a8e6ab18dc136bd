"""The operations that shrink a backbone's map, found and given a pool of another kind in their place.

What counts, in the backbone's stages and tail: convolutions with a stride above 1, every `PoolingConv2d`, and max and
average pools with a stride above 1. Found by running the backbone once on the meta device (shapes and no numbers).
"""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.layers.model import Backbone, PoolingConv2d
from suite.layers.shapes import for_shapes
from suite.layers.spectral import DiffStride, FixedSpectralPool, HartleyPool
from suite.layers.surgery import follow

Pair = tuple[float, float]

POSITION = Setting(
    "pre_norm",
    "where a pool at the end stands; pre_norm: before the last BN-ReLU; pre_gap: before global average pooling, as the "
    "paper draws it, where it changes nothing",
    choices=("pre_norm", "pre_gap"),
)
END_STRIDE = 2.0  # of a pool at the end; the paper gives none (docs/papers.md, section 3)
SPECTRAL = (DiffStride, FixedSpectralPool, HartleyPool)
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)
_POOL, _END = "pool", "end"  # children of a convolution and of the tail


@dataclass(frozen=True)
class Place:
    """Where one pool goes: an operation, or several on parallel branches whose input maps have one size.

    Attributes:
        operations: names of the modules in the backbone, in forward order.
        strides: (vertical, horizontal) of the operations.
    """

    operations: tuple[str, ...]
    strides: Pair


class _Call(NamedTuple):
    """One operation's part in a forward pass; `before` and `after` are the autograd nodes of its input and output."""

    name: str
    size: tuple[int, ...]
    strides: Pair
    before: Any
    after: Any


def find_places(backbone: Backbone, owner: str) -> list[Place]:
    """Where the backbone shrinks its map, in forward order; operations that have a spectral pool are left out.

    Raises:
        UserError: there are none.
        ValueError: nobody has set the backbone's `input_shape`.
    """
    probe, images = _on_meta(backbone)
    calls: dict[str, _Call] = {}
    for name, module in probe.named_modules():
        if name.startswith(("stages.", "tail.")) and _is_shrinking(module):
            module.register_forward_hook(partial(_record_call, calls, name))
    probe.features(probe.prepare(images))
    groups: list[list[_Call]] = []
    for call in calls.values():
        upstream = _find_ancestors(call.before)
        for group in groups:
            if all(_is_parallel(call, upstream, other) for other in group):
                group.append(call)
                break
        else:
            groups.append([call])
    if not groups:
        raise UserError(f"{owner}: no layer of this backbone shrinks its map (any more); choose another backbone")
    places = []
    for group in groups:
        places.append(Place(tuple(call.name for call in group), group[0].strides))
    return places


def fill_place(backbone: Backbone, place: Place, pool: nn.Module) -> None:
    """Puts the pool at the place, in the backbone itself: one instance for all of its operations.

    A convolution keeps its names and weights, takes stride 1 and zero padding that keeps the size of its map (for a
    k x k kernel k - 1 in all, the odd one behind), and hands its output through the pool, its child `pool`. A pool is
    replaced.
    """
    for name in place.operations:
        operation = backbone.get_submodule(name)
        if isinstance(operation, nn.Conv2d):
            operation.stride, operation.padding = (1, 1), "same"
            follow(operation, _POOL, pool)
            continue
        for alias, module in list(backbone.named_modules(remove_duplicate=False)):
            if module is operation:
                backbone.set_submodule(alias, pool)


def fill_end(backbone: Backbone, pool: nn.Module, position: str, owner: str) -> None:
    """Puts the pool behind the last feature layers, in the backbone itself, as the tail's child `end`.

    `pre_norm`: before the tail's final normalisation and activation, which pre-activation networks have. `pre_gap`:
    behind them, directly before the classifier.

    Raises:
        UserError: `pre_norm`, and the tail ends with no normalisation.
    """
    if position == "pre_norm":
        layers = list(backbone.tail.named_children())
        cut = _find_final_norm(layers)
        if cut is None or not isinstance(backbone.tail, nn.Sequential):
            raise UserError(
                f"{owner}.position: pre_norm stands before a final normalisation, and this backbone's tail ends with "
                "none; set position to pre_gap, or choose a pre-activation network"
            )
        backbone.tail = nn.Sequential(OrderedDict([*layers[:cut], (_END, pool), *layers[cut:]]))
        return
    warnings.warn(
        f"{owner}.position: pre_gap puts a linear layer directly before the classifier; where that begins with a "
        "global mean, spectral pooling changes nothing and a DiffStride's strides get no gradient, for both only "
        "rescale the mean; pre_norm avoids this",
        stacklevel=2,
    )
    if isinstance(backbone.tail, nn.Sequential):
        backbone.tail.add_module(_END, pool)
    else:
        follow(backbone.tail, _END, pool)


def _find_final_norm(layers: list[tuple[str, nn.Module]]) -> int | None:
    """Position of the normalisation that the layers end with, an activation at most behind it; None: there is none."""
    for position in range(len(layers) - 1, max(len(layers) - 3, -1), -1):
        _, last = layers[position]
        first = last
        if isinstance(last, nn.Sequential) and 1 <= len(last) <= 2:
            first = last[0]
        if isinstance(first, _NORMS):
            return position
        if list(last.parameters()):
            return None
    return None


def refuse_unfit(backbone: Backbone, owner: str) -> None:
    """Runs the backbone with its new pools once, on the meta device.

    Raises:
        UserError: a map is too small for its pool, parallel branches differ in size, or the classifier takes maps of
            another size.
    """
    probe, images = _on_meta(backbone)
    reached: list[tuple[str, nn.Module, int]] = []
    for name, module in probe.named_modules():
        if isinstance(module, SPECTRAL):
            module.register_forward_pre_hook(partial(_note_reached, reached, name))
    try:
        features = probe.features(probe.prepare(images))
    except ValueError as error:
        name, pool, side = reached[-1]
        where, remedy = owner, "choose larger images"
        if isinstance(pool, DiffStride):
            where, remedy = f"{owner}.smoothness", f"set it above 0 and below {side}, or {remedy}"
        raise UserError(f"{where}: at {name}, {error}; {remedy}") from error
    except RuntimeError as error:
        raise UserError(
            f"{owner}: after {reached[-1][0]} the maps of parallel branches differ in size, for one of them shrinks "
            "its map without a layer of its own (as in torchvision's Inception-v3); choose another backbone"
        ) from error
    try:
        probe.head(features)
    except RuntimeError as error:
        height, width = features.shape[-2:]
        raise UserError(
            f"{owner}: the last map becomes {height}x{width}, and this backbone's classifier takes one size alone; "
            "choose a backbone that averages its map before the dense layers"
        ) from error


def _on_meta(backbone: Backbone) -> tuple[Backbone, Tensor]:
    """A copy without numbers, in evaluation mode, and one image; the graph of its forward pass is recorded."""
    if backbone.input_shape is None:
        raise ValueError("the backbone's input_shape is not set; suite.models.assembly.build_backbone does that")
    # Deep copies take what the memo has for a tensor, so that no weight is copied.
    memo: dict[int, Any] = {id(buffer): buffer.to("meta") for buffer in backbone.buffers()}
    memo |= {id(parameter): nn.Parameter(parameter.detach().to("meta")) for parameter in backbone.parameters()}
    probe = for_shapes(copy.deepcopy(backbone, memo).eval())
    return probe, torch.empty(1, *backbone.input_shape, device="meta", requires_grad=True)


def _is_shrinking(module: nn.Module) -> bool:
    if any(isinstance(child, SPECTRAL) for child in module.children()):
        return False
    if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        return isinstance(module, PoolingConv2d) or max(_as_pair(module.stride)) > 1
    return False


def _record_call(calls: dict[str, _Call], name: str, module: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
    size, strides = tuple(args[0].shape[-2:]), _as_pair(module.stride)
    calls.setdefault(name, _Call(name, size, strides, args[0].grad_fn, output.grad_fn))


def _note_reached(
    reached: list[tuple[str, nn.Module, int]], name: str, pool: nn.Module, args: tuple[Tensor, ...]
) -> None:
    """A pool that a forward pass reached, and the shorter side of its map."""
    reached.append((name, pool, min(args[0].shape[-2:])))


def _is_parallel(call: _Call, upstream: set[Any], other: _Call) -> bool:
    return other.after not in upstream and (call.size, call.strides) == (other.size, other.strides)


def _find_ancestors(node: Any) -> set[Any]:
    """The autograd nodes that a tensor was computed through, its own included."""
    ancestors: set[Any] = set()
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in ancestors:
            ancestors.add(node)
            waiting += [before for before, _ in node.next_functions]
    return ancestors


def _as_pair(stride: Any) -> Pair:
    if isinstance(stride, int):
        return float(stride), float(stride)
    return float(stride[0]), float(stride[1])
