"""The two networks of the image-gradient paper, one for MNIST and one for CIFAR (Pandey and Jha 2020, Table 1)."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.layers.model import Backbone, ConvUnit, Stage

SETTINGS = {
    "net": Setting("auto", "which network; auto: mnist for 1 channel, cifar for 3", choices=("auto", "mnist", "cifar")),
    "dropout": Setting(0.2, "dropout after each convolution", low=0.0, high=0.95),
}


def build(shape: tuple[int, int, int], classes: int, *, net: str = "auto", dropout: float = 0.2) -> Backbone:
    """50,938 parameters (mnist, 1 x 28 x 28, 10 classes), 2,138,890 (cifar, 3 x 32 x 32, 10), 2,150,500 (100).

    Raises:
        UserError: `auto` with neither 1 nor 3 channels, or an image side below 2 pixels.
    """
    channels, height, width = shape
    if min(height, width) < 2:
        raise UserError(f"gradient_cnn: needs images of at least 2 x 2 pixels to pool, not {height} x {width}")
    positions = (height // 2) * (width // 2)
    return _BUILDERS[_choose_net(net, channels)](channels, positions, classes, dropout)


def _choose_net(net: str, channels: int) -> str:
    if net != "auto":
        return net
    by_channels = {1: "mnist", 3: "cifar"}
    if channels not in by_channels:
        raise UserError(
            f"gradient_cnn.net: auto knows images of 1 or 3 channels, not {channels}; set net to mnist or cifar"
        )
    return by_channels[channels]


def _build_mnist_net(channels: int, positions: int, classes: int, dropout: float) -> Backbone:
    tail = nn.Sequential(nn.Dropout(dropout), nn.BatchNorm2d(4))
    return Backbone([_make_stage(channels, 4)], _make_head([4 * positions, 64, classes]), tail)


def _build_cifar_net(channels: int, positions: int, classes: int, dropout: float) -> Backbone:
    tail = nn.Sequential(
        nn.Dropout(dropout),
        nn.BatchNorm2d(16),
        _make_unit(16, 32),
        nn.Dropout(dropout),
        nn.BatchNorm2d(32),
        _make_unit(32, 64),
        nn.Dropout(dropout),
        nn.BatchNorm2d(64),
    )
    return Backbone([_make_stage(channels, 16)], _make_head([64 * positions, 128, 128, classes]), tail)


_BUILDERS = {"mnist": _build_mnist_net, "cifar": _build_cifar_net}


def _make_stage(channels: int, out: int) -> Stage:
    return Stage(nn.Sequential(_make_unit(channels, out)), nn.MaxPool2d(2), in_channels=channels, out_channels=out)


def _make_unit(channels: int, out: int) -> ConvUnit:
    """Batch-norm comes after the dropout in these networks, so the unit itself has none."""
    return ConvUnit(nn.Conv2d(channels, out, 3, padding=1))


def _make_head(widths: list[int]) -> nn.Sequential:
    """Dense layers; ReLU on the hidden ones (ours: the paper names no activation there)."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
