"""SIRe's mirrors: a network's layers backwards, with transposed convolutions (docs/papers.md, section 1).

A layer of a known class is mirrored as it is built: its input and output change places, branch by branch. What else
there may be gets the generic rule of `suite.layers.decoders`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models.googlenet import Inception

from suite.layers.model import ConvUnit, Residual, kernel_convolutions

Skips = Sequence[Tensor | None]


def make_transposed(
    channels: int, out: int, kernel: int = 3, *, normalised: bool = True, activated: bool = True
) -> nn.Sequential:
    """Transposed convolution of stride 1 that keeps the map's size, batch-norm and ReLU where asked for."""
    layers: list[nn.Module] = [nn.ConvTranspose2d(channels, out, kernel, padding=kernel // 2)]
    layers += [nn.BatchNorm2d(out)] if normalised else []
    return nn.Sequential(*layers, nn.ReLU()) if activated else nn.Sequential(*layers)


def make_drawing_layer(channels: int, out: int) -> nn.Sequential:
    """The step that draws the image: linear."""
    return nn.Sequential(nn.ConvTranspose2d(channels, out, 3, padding=1))


def add_skip(x: Tensor, skips: Skips, position: int) -> Tensor:
    """x plus the skip at `position`, where there is one of its shape."""
    skip = skips[position] if position < len(skips) else None
    return x if skip is None or skip.shape != x.shape else x + skip


def _find_convolution(layer: nn.Module) -> nn.Conv2d | None:
    """The convolution that a layer is, with or without norm and activation."""
    if isinstance(layer, ConvUnit):
        return layer.conv
    return layer if isinstance(layer, nn.Conv2d) else None


def is_known(layer: nn.Module) -> bool:
    """Whether `mirror_of` knows the layer's own mirror."""
    return isinstance(layer, ConvUnit | Inception) or (isinstance(layer, Residual) and _is_chain(layer))


def _is_chain(block: Residual) -> bool:
    """Whether each of the branch's convolutions takes what the one before it gives, and no other layer holds any.

    The 1 x 1 convolutions of a squeeze-and-excitation gate don't count.
    """
    convolutions = _branch_convolutions(block)
    taken = [conv.in_channels for conv in convolutions[1:]]
    given = [conv.out_channels for conv in convolutions[:-1]]
    others = [layer for layer in block.branch if not isinstance(layer, nn.Conv2d)]
    return bool(convolutions) and taken == given and not any(kernel_convolutions(layer) for layer in others)


def mirror_of(layer: nn.Module) -> nn.Module:
    """(x, skips) -> the layer backwards at the resolution of its input; of a known class, or a convolution."""
    conv = _find_convolution(layer)
    if conv is not None:
        return ConvolutionMirror(_make_backwards(conv, normalised=_is_normalised(layer)))
    return ResidualMirror(layer) if isinstance(layer, Residual) else InceptionMirror(cast(Inception, layer))


def trace_layer(layer: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor | None]]:
    """The layer's output, and what S adds in its mirror, in the order in which `mirror_of` uses it."""
    if isinstance(layer, Residual):
        return _trace_residual(layer, x)
    if isinstance(layer, Inception):
        return _trace_inception(layer, x)
    out = layer(x)
    return out, [out]


class ConvolutionMirror(nn.Module):
    """One transposed convolution; S adds the convolution's output to its input.

    Attributes:
        channels: of its input.
    """

    def __init__(self, step: nn.Sequential) -> None:
        super().__init__()
        self.step = step
        self.channels = cast(nn.ConvTranspose2d, step[0]).in_channels

    def forward(self, x: Tensor, skips: Skips) -> Tensor:
        out: Tensor = self.step(add_skip(x, skips, 0))
        return out


class ResidualMirror(nn.Module):
    """A residual block of transposed convolutions: ReLU(mirrored branch + shortcut), the last convolution first.

    The shortcut is the identity, or a 1 x 1 transposed convolution with batch-norm where the width changes.
    """

    def __init__(self, block: Residual) -> None:
        super().__init__()
        convolutions = _branch_convolutions(block)[::-1]
        ends = [False] * (len(convolutions) - 1) + [True]
        self.steps = nn.ModuleList(
            _make_backwards(conv, normalised=_holds_norm(block), activated=not end)
            for conv, end in zip(convolutions, ends, strict=True)
        )
        out, back = convolutions[0].out_channels, convolutions[-1].in_channels
        normalised = _holds_norm(block)
        self.shortcut = (
            nn.Identity() if out == back else make_transposed(out, back, 1, normalised=normalised, activated=False)
        )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor, skips: Skips) -> Tensor:
        branch = x
        for position, step in enumerate(self.steps):
            branch = step(add_skip(branch, skips, position))
        out: Tensor = self.activation(branch + self.shortcut(x))
        return out


class InceptionMirror(nn.Module):
    """An inception block backwards: what was concatenated is split, what shared an input is summed, then ReLU.

    The inner max-pool of stride 1 stays as it is.
    """

    def __init__(self, block: Inception) -> None:
        super().__init__()
        branches = [_list_units(branch) for branch in _list_branches(block)]
        self.widths = [units[-1].conv.out_channels for units in branches]
        self.branches = nn.ModuleList(
            nn.ModuleList(
                _make_backwards(unit.conv, normalised=_is_normalised(unit), activated=unit is not first)
                for unit in units[::-1]
                for first in units[:1]
            )
            for units in branches
        )
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor, skips: Skips) -> Tensor:
        position, total = 1, None
        parts = torch.split(add_skip(x, skips, 0), self.widths, dim=1)
        for number, (part, steps) in enumerate(zip(parts, self.branches, strict=True)):
            out = self.pool(part) if number == len(self.widths) - 1 else part
            for index, step in enumerate(cast(nn.ModuleList, steps)):
                if index:
                    out = add_skip(out, skips, position)
                    position += 1
                out = step(out)
            total = out if total is None else total + out
        activated: Tensor = self.activation(total)
        return activated


def _make_backwards(conv: nn.Conv2d, *, normalised: bool = True, activated: bool = True) -> nn.Sequential:
    kernel = 3 if max(conv.kernel_size) > 1 else 1
    return make_transposed(conv.out_channels, conv.in_channels, kernel, normalised=normalised, activated=activated)


def _is_normalised(layer: nn.Module) -> bool:
    """A unit without normalisation is mirrored without (VGG); a bare convolution's stands elsewhere."""
    return not isinstance(layer, ConvUnit) or _holds_norm(layer)


def _holds_norm(layer: nn.Module) -> bool:
    return any(isinstance(inner, _BatchNorm | nn.GroupNorm) for inner in layer.modules())


def _branch_convolutions(block: Residual) -> list[nn.Conv2d]:
    return [layer for layer in block.branch if isinstance(layer, nn.Conv2d)]


def _trace_residual(block: Residual, x: Tensor) -> tuple[Tensor, list[Tensor | None]]:
    """Every convolution's output as the next one sees it, the last one's as the sum sees it."""
    outputs: list[Tensor] = []
    branch, begun = x, False
    for layer in block.branch:
        if isinstance(layer, nn.Conv2d):
            if begun:
                outputs.append(branch)
            begun = True
        branch = layer(branch)
    out: Tensor = block.activation(branch + block.shortcut(x))
    return out, [branch, *outputs[::-1]]


def _list_branches(block: Inception) -> list[nn.Module]:
    return [block.branch1, block.branch2, block.branch3, block.branch4]


def _list_units(branch: nn.Module) -> list[ConvUnit]:
    return [layer for layer in branch.modules() if isinstance(layer, ConvUnit)]


def _trace_inception(block: Inception, x: Tensor) -> tuple[Tensor, list[Tensor | None]]:
    """The block's output, and each branch's inner map (a branch has two convolutions at most)."""
    inner: list[Tensor] = []
    hooks = [
        unit.register_forward_hook(lambda _, __, out: inner.append(out))
        for branch in _list_branches(block)
        for unit in _list_units(branch)[-2::-1]
    ]
    try:
        out: Tensor = block(x)
    finally:
        for hook in hooks:
            hook.remove()
    return out, [out, *inner]
