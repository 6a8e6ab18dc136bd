"""Inception-v3 (Szegedy et al. 2016, Table 1) of torchvision's blocks, with its auxiliary classifier."""

from __future__ import annotations

from torch import nn
from torchvision.models.inception import InceptionA, InceptionB, InceptionC, InceptionD, InceptionE

from suite.backbones._inception import initialise_weights, make_unit
from suite.backbones._sizes import require_size
from suite.core.settings import Setting
from suite.layers.model import Auxiliary, Backbone, Stage

SETTINGS = {
    "aux_weight": Setting(
        0.4, "weight of the auxiliary classifier's cross-entropy (torchvision's training)", low=0.0, high=10.0
    ),
}

LEAST = 75
NOMINAL = 299  # pixels; its auxiliary classifier is made for the 17 x 17 map of such images


def build(shape: tuple[int, int, int], classes: int, *, aux_weight: float = 0.4) -> Backbone:
    """27,161,264 parameters with 3 channels and 1000 classes, of which 3,326,696 are auxiliary.

    Images come as the dataset's statistics normalise them: torchvision's `transform_input` is left out.

    Raises:
        UserError: an image side is below 75 pixels.
    """
    require_size("inception_v3", shape, LEAST)
    extra = _make_auxiliary(classes, min(shape[1:]))
    c = make_unit
    into = shape[0]
    stages = []
    for body, downsample, out in (
        ([], c(into, 32, kernel_size=3, stride=2), 32),
        ([c(32, 32, kernel_size=3), c(32, 64, kernel_size=3, padding=1)], nn.MaxPool2d(3, stride=2), 64),
        ([c(64, 80, kernel_size=1), c(80, 192, kernel_size=3)], nn.MaxPool2d(3, stride=2), 192),
        ([InceptionA(192, 32, c), InceptionA(256, 64, c), InceptionA(288, 64, c)], InceptionB(288, c), 768),
        (
            [*(InceptionC(768, inner, c) for inner in (128, 160, 160, 192)), Auxiliary(extra, aux_weight)],
            InceptionD(768, c),
            1280,
        ),
    ):
        stages.append(Stage(nn.Sequential(*body), downsample, in_channels=into, out_channels=out))
        into = out
    tail = nn.Sequential(InceptionE(1280, c), InceptionE(2048, c))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Dropout(0.5), nn.Flatten(), nn.Linear(2048, classes))
    backbone = Backbone(stages, head, tail)
    initialise_weights(backbone, std=0.1)
    initialise_weights(extra[-1], std=0.001)
    return backbone


def _make_auxiliary(classes: int, side: int) -> nn.Sequential:
    """torchvision's InceptionAux. It pools a map of 17 x 17 or more; smaller images' maps are pooled to its 5 x 5."""
    pool = nn.AvgPool2d(5, stride=3) if side >= NOMINAL else nn.AdaptiveAvgPool2d(5)
    return nn.Sequential(
        pool,
        make_unit(768, 128, kernel_size=1),
        make_unit(128, 768, kernel_size=5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(768, classes),
    )
