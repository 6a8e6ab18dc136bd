"""SIRe's mirrors: a network's layers backwards, with transposed convolutions (docs/papers.md, section 1).

A layer of a known class is mirrored as it is built: its input and output change places, branch by branch. What else
there may be gets the generic rule of `suite.layers.decoders`.
"""

from __future__ import annotations

import itertools
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
    layers = nn.Sequential(nn.ConvTranspose2d(channels, out, kernel, padding=kernel // 2))
    if normalised:
        layers.append(nn.BatchNorm2d(out))
    if activated:
        layers.append(nn.ReLU())
    return layers


def add_skip(x: Tensor, skips: Skips, position: int) -> Tensor:
    """x plus the skip at `position`, where there is one of its shape."""
    if position < len(skips):
        skip = skips[position]
        if skip is not None and skip.shape == x.shape:
            return x + skip
    return x


def is_known(layer: nn.Module) -> bool:
    """Whether `mirror_of` knows the layer's own mirror."""
    return isinstance(layer, ConvUnit | Inception) or (isinstance(layer, Residual) and _is_chain(layer))


def _is_chain(block: Residual) -> bool:
    """Whether each of the branch's convolutions takes what the one before it gives, and no other layer holds any.

    The 1 x 1 convolutions of a squeeze-and-excitation gate don't count.
    """
    convolutions = _branch_convolutions(block)
    for before, after in itertools.pairwise(convolutions):
        if before.out_channels != after.in_channels:
            return False
    return bool(convolutions) and set(kernel_convolutions(block.branch)).issubset(convolutions)


def mirror_of(layer: nn.Module) -> nn.Module:
    """(x, skips) -> the layer backwards at the resolution of its input; of a known class, or a convolution."""
    if isinstance(layer, Residual):
        return ResidualMirror(layer)
    if isinstance(layer, Inception):
        return InceptionMirror(layer)
    if isinstance(layer, ConvUnit):  # without normalisation it is mirrored without (VGG)
        return ConvolutionMirror(_make_backwards(layer.conv, normalised=_holds_norm(layer)))
    return ConvolutionMirror(_make_backwards(cast(nn.Conv2d, layer)))  # its normalisation stands elsewhere


def trace_layer(layer: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor | None]]:
    """The layer's output, and what S adds in its mirror, in the order in which `mirror_of` uses it."""
    if isinstance(layer, Residual):
        return _trace_residual(layer, x)
    if isinstance(layer, Inception):
        return _trace_inception(layer, x)
    out = layer(x)
    return out, [out]


class ConvolutionMirror(nn.Module):
    """One transposed convolution, with normalisation and activation where `step` has them.

    Attributes:
        channels: of its input.
    """

    def __init__(self, step: nn.Sequential) -> None:
        super().__init__()
        self.step = step
        self.channels = cast(nn.ConvTranspose2d, step[0]).in_channels

    def forward(self, x: Tensor, skips: Skips) -> Tensor:
        """With S's skip added to what the convolution takes."""
        out: Tensor = self.step(add_skip(x, skips, 0))
        return out

    def add_to_output(self, x: Tensor, skips: Skips) -> Tensor:
        """With S's skip added to what the convolution gives, before its normalisation; never to the drawn image."""
        convolution, after = self.step[0], self.step[1:]
        x = convolution(x)
        if len(after):
            x = after(add_skip(x, skips, 0))
        return x


class ResidualMirror(nn.Module):
    """A residual block of transposed convolutions: ReLU(mirrored branch + shortcut), the last convolution first.

    The shortcut is the identity, or a 1 x 1 transposed convolution with batch-norm where the width changes.
    """

    def __init__(self, block: Residual) -> None:
        super().__init__()
        convolutions = _branch_convolutions(block)[::-1]
        normalised = _holds_norm(block)
        self.steps = nn.ModuleList()
        for number, conv in enumerate(convolutions, start=1):
            self.steps.append(_make_backwards(conv, normalised=normalised, activated=number < len(convolutions)))
        out, back = convolutions[0].out_channels, convolutions[-1].in_channels
        self.shortcut: nn.Module = nn.Identity()
        if out != back:
            self.shortcut = make_transposed(out, back, 1, normalised=normalised, activated=False)
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
        self.widths: list[int] = []
        self.branches = nn.ModuleList()
        for units in _list_branches(block):
            self.widths.append(units[-1].conv.out_channels)
            steps = nn.ModuleList()
            for unit in reversed(units):
                normalised, activated = _holds_norm(unit), unit is not units[0]
                steps.append(_make_backwards(unit.conv, normalised=normalised, activated=activated))
            self.branches.append(steps)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor, skips: Skips) -> Tensor:
        position = 1
        parts = list(torch.split(add_skip(x, skips, 0), self.widths, dim=1))
        parts[-1] = self.pool(parts[-1])
        for number, steps in enumerate(self.branches):
            for index, step in enumerate(cast(nn.ModuleList, steps)):
                if index:
                    parts[number] = add_skip(parts[number], skips, position)
                    position += 1
                parts[number] = step(parts[number])
        out: Tensor = self.activation(sum(parts[1:], parts[0]))
        return out


def _make_backwards(conv: nn.Conv2d, *, normalised: bool = True, activated: bool = True) -> nn.Sequential:
    kernel = 3 if max(conv.kernel_size) > 1 else 1
    return make_transposed(conv.out_channels, conv.in_channels, kernel, normalised=normalised, activated=activated)


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


def _list_branches(block: Inception) -> list[list[ConvUnit]]:
    """The convolution units of each branch."""
    branches = []
    for branch in (block.branch1, block.branch2, block.branch3, block.branch4):
        branches.append([layer for layer in branch.modules() if isinstance(layer, ConvUnit)])
    return branches


def _trace_inception(block: Inception, x: Tensor) -> tuple[Tensor, list[Tensor | None]]:
    """The block's output, and each branch's inner map (a branch has two convolutions at most)."""
    inner: list[Tensor] = []
    hooks = []
    for units in _list_branches(block):
        for unit in units[-2::-1]:
            hooks.append(unit.register_forward_hook(lambda _, __, out: inner.append(out)))
    try:
        out: Tensor = block(x)
    finally:
        for hook in hooks:
            hook.remove()
    return out, [out, *inner]
