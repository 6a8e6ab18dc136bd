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


class Residual(nn.Module):
    """activation(branch(x) + shortcut(x)): a residual block, before or after activation (He et al. 2016a, 2016b).

    Attributes:
        branch: a Sequential that ends with what is added.
        shortcut: Identity, or a projection where shape changes.
        activation: after the sum; Identity in a pre-activation block.
    """

    def __init__(
        self, branch: nn.Sequential, shortcut: nn.Module | None = None, activation: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut or nn.Identity()
        self.activation = activation or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.activation(self.branch(x) + self.shortcut(x))
        return out


class PoolingConv2d(nn.Conv2d):
    """A convolution whose stride belongs to the network's downsampling even where it is 1 (DiffStride's stem)."""


class Auxiliary(nn.Module):
    """A further classifier on an inner map (GoogLeNet). Hands its input on; in training mode it keeps its logits
    until `Backbone.classify` takes them.

    Attributes:
        weight: of its cross-entropy in the loss.
    """

    def __init__(self, head: nn.Module, weight: float) -> None:
        super().__init__()
        self.head = head
        self.weight = weight
        self._logits: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self._logits.append(self.head(x))
        return x

    def take(self) -> list[tuple[Tensor, float]]:
        """The logits since the last call. Several passes through the features (image_gradient) share the weight."""
        pairs = [(logits, self.weight / len(self._logits)) for logits in self._logits]
        self._logits = []
        return pairs


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

    A model around a backbone calls these parts in its own way, and ends with `classify`. What a variant can change is
    found by class: `ConvUnit`, `Residual`, `PoolingConv2d`, `Auxiliary`, torch's own convolutions, pools and norms.

    Attributes:
        stages: each ends at a downsampling step.
        tail: feature layers after the last downsampling step (Identity when there are none).
        head: the classifier, from the feature map to the logits (its flattening and pooling included).
        report: gives further scalars to log in training, such as a layer's learned strides; variants append.
        input_shape: (channels, height, width) of the images that it was built for; set by whoever assembles.
        black: float (channels, 1, 1), what black is after normalisation; set by whoever assembles, 0 until then.
        rebuild: the backbone again with another width, `rebuild(width=0.5)`; None where it has no such setting.
    """

    black: Tensor

    def __init__(self, stages: list[Stage], head: nn.Module, tail: nn.Module | None = None) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.tail = tail or nn.Identity()
        self.head = head
        self.report: list[Callable[[], dict[str, Tensor]]] = []
        self.input_shape: tuple[int, int, int] | None = None
        self.register_buffer("black", torch.zeros(1, 1, 1), persistent=False)
        self.rebuild: Callable[..., Backbone] | None = None

    def prepare(self, images: Tensor) -> Tensor:
        """The network's input from normalised images (padding, for instance); default: as they are."""
        return images

    def prepare_second(self, maps: Tensor) -> Tensor:
        """A second input made of the images, such as their gradient: of the size that `prepare` gives, 0 around it."""
        return maps

    def list_revisions(self) -> tuple[str, ...]:
        """Names of what the backbone means otherwise than in the first version; they are part of a trial's key."""
        return ()

    def features(self, inputs: Tensor) -> Tensor:
        """Prepared inputs -> the feature map that `head` classifies."""
        for stage in self.stages:
            inputs = stage(inputs)
        out: Tensor = self.tail(inputs)
        return out

    def classify(self, features: Tensor, inputs: Tensor) -> ModelOutput:
        """The output for a feature map of `inputs`; in training mode with auxiliary logits and reported scalars."""
        return self.output(self.head(features), inputs)

    def output(self, logits: Tensor, inputs: Tensor) -> ModelOutput:
        """As `classify`, for logits that are made already."""
        output = ModelOutput(logits, auxiliary_logits=self.take_auxiliary(), inputs=inputs)
        if self.training:
            for report_scalars in self.report:
                output.scalars |= report_scalars()
        return output

    def take_auxiliary(self) -> list[tuple[Tensor, float]]:
        """The logits that inner classifiers have kept, with their weights; they keep them no longer."""
        pairs: list[tuple[Tensor, float]] = []
        for module in self.modules():
            if isinstance(module, Auxiliary):
                pairs += module.take()
        return pairs

    def forward(self, images: Tensor) -> ModelOutput:
        inputs = self.prepare(images)
        return self.classify(self.features(inputs), inputs)


class Graft(NamedTuple):
    """What a variant returns.

    Attributes:
        model: images (batch, channels, height, width), normalised float -> ModelOutput. In evaluation mode it
            computes what classification needs and no more.
        extra_loss: scalar to add to the cross-entropy of one training batch, or None.
        cross_entropy_scale: factor on the cross-entropy.
        initialise: called once with the first training batch's inputs, on the device, before the first step of a
            new trial (data-dependent initialisation); it may change weights in place.
        after_step: called after every optimiser step (projections of parameters).
        revisions: names of what the variant means otherwise than in the first version; they are part of a trial's key.
    """

    model: nn.Module
    extra_loss: Callable[[ModelOutput], Tensor] | None = None
    cross_entropy_scale: float = 1.0
    initialise: Callable[[Tensor], None] | None = None
    after_step: Callable[[], None] | None = None
    revisions: tuple[str, ...] = ()


def parameter_count(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def kernel_convolutions(module: nn.Module) -> list[nn.Conv2d]:
    """The k x k convolutions (k > 1) inside a module, in registration order."""
    return [m for m in module.modules() if isinstance(m, nn.Conv2d) and max(m.kernel_size) > 1]


def pad_channels(x: Tensor, channels: int) -> Tensor:
    """Identity shortcut over a channel growth: zero channels appended (He et al. 2016, option A)."""
    grown = channels - x.shape[1]
    if grown == 0:
        return x
    return torch.nn.functional.pad(x, (0, 0, 0, 0, 0, grown))
