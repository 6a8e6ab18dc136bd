"""The contract between backbones, variants and the training loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn


@dataclass
class ModelOutput:
    """What a model's forward returns.

    Attributes:
        logits: (batch, classes).
        auxiliary_logits: further classifiers' logits with their loss weights (GoogLeNet); training mode only.
        reconstructions: one (batch, channels, height, width) image per decoder, shallowest first.
        inputs: the network's input exactly as fed, after `Backbone.prepare`; reconstructions aim at it.
        scalars: what the model wants logged, averaged over an epoch.
    """

    logits: Tensor
    auxiliary_logits: list[tuple[Tensor, float]] = field(default_factory=list)
    reconstructions: list[Tensor] = field(default_factory=list)
    inputs: Tensor | None = None
    scalars: dict[str, Tensor] = field(default_factory=dict)


class ConvUnit(nn.Module):
    """Convolution, optional normalisation, activation: the step that SIRe mirrors and Re spans.

    (batch, in, height, width) -> (batch, out, height, width) for odd kernels with `same` padding.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.Module | None = None, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = conv
        self.norm = norm or nn.Identity()
        self.activation = activation or nn.ReLU(inplace=False)

    def before_activation(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x))
        return out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.activation(self.before_activation(x))
        return out


class Stage(nn.Module):
    """A run of layers that ends at a downsampling step.

    Attributes:
        body: the layers at the stage's input resolution; a Sequential of `ConvUnit` where the backbone can.
        downsample: the step that shrinks the map (pool or strided convolution).
        in_channels, out_channels, stride: what the stage does to its input map.
    """

    def __init__(
        self, body: nn.Module, downsample: nn.Module, *, in_channels: int, out_channels: int, stride: int = 2
    ) -> None:
        super().__init__()
        self.body = body
        self.downsample = downsample
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.downsample(self.body(x))
        return out


class Backbone(nn.Module):
    """A classifier cut where extensions attach: `prepare` -> `stages` -> `tail` -> `head`.

    Attributes:
        stages: each ends at a downsampling step.
        tail: feature layers after the last downsampling step (Identity when there are none).
        head: the classifier, from the feature map to the logits (its flattening and pooling included).
    """

    def __init__(self, stages: list[Stage], head: nn.Module, tail: nn.Module | None = None) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.tail = tail or nn.Identity()
        self.head = head

    def prepare(self, images: Tensor) -> Tensor:
        """The network's input from normalised images (padding, for instance); default: as they are."""
        return images

    def features(self, inputs: Tensor) -> Tensor:
        """Prepared inputs -> the feature map that `head` classifies."""
        for stage in self.stages:
            inputs = stage(inputs)
        out: Tensor = self.tail(inputs)
        return out

    def forward(self, images: Tensor) -> ModelOutput:
        inputs = self.prepare(images)
        return ModelOutput(self.head(self.features(inputs)), inputs=inputs)


class Graft(NamedTuple):
    """What a variant returns.

    Attributes:
        model: images (batch, channels, height, width), normalised float -> ModelOutput. In evaluation mode it
            computes what classification needs and no more.
        extra_loss: scalar to add to the cross-entropy of one training batch, or None.
        cross_entropy_scale: factor on the cross-entropy.
    """

    model: nn.Module
    extra_loss: Callable[[ModelOutput], Tensor] | None = None
    cross_entropy_scale: float = 1.0


def parameter_count(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def kernel_convolutions(module: nn.Module) -> list[nn.Conv2d]:
    """The k x k convolutions (k > 1) inside a module, in registration order."""
    return [m for m in module.modules() if isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1]


def pad_channels(x: Tensor, channels: int) -> Tensor:
    """Identity shortcut over a channel growth: zero channels appended (He et al. 2016, option A)."""
    grown = channels - x.shape[1]
    return x if grown == 0 else torch.nn.functional.pad(x, (0, 0, 0, 0, 0, grown))
