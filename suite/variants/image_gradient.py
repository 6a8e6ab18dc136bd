"""The image's gradient as a second input through the same features (image-gradients.md; methods.md, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suite.layers.model import Backbone, Graft, ModelOutput
from suite.settings import Setting

SETTINGS = {
    "fusion": Setting("add", "how the two feature maps meet; add: summed before the classifier", choices=("add",)),
    "form": Setting("sum", "what the second input is; sum: dx + dy per channel", choices=("sum",)),
}


def forward_differences(images: Tensor) -> tuple[Tensor, Tensor]:
    """(batch, channels, height, width) -> dx, dy of the same shape: the next pixel minus this one.

    dx is 0 in the last column and dy in the last row (ours: the paper names no operator).
    """
    dx, dy = torch.zeros_like(images), torch.zeros_like(images)
    dx[..., :-1] = images[..., 1:] - images[..., :-1]
    dy[..., :-1, :] = images[..., 1:, :] - images[..., :-1, :]
    return dx, dy


class ImageGradient(nn.Module):
    """Two passes through the same features, maps added, then the classifier; no parameters of its own.

    Batch-norm normalises each pass with that pass's batch statistics, and both update the running ones.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> ModelOutput:
        inputs = self.backbone.prepare(images)
        dx, dy = forward_differences(inputs)
        features = self.backbone.features(inputs) + self.backbone.features(dx + dy)
        return ModelOutput(self.backbone.head(features), inputs=inputs)


def apply(backbone: Backbone, *, fusion: str = "add", form: str = "sum") -> Graft:
    """The backbone with its input's gradient as a second input; `fusion` and `form` have one choice each so far."""
    return Graft(ImageGradient(backbone))
