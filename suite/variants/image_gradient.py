"""The image's gradient as a second input through the same features (Pandey and Jha 2020; docs/papers.md, section 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor, nn

from suite.core.errors import UserError
from suite.core.settings import Setting, resolve_settings
from suite.layers.gradients import FORMS, copy
from suite.layers.model import Backbone, Graft, ModelOutput

SETTINGS = {
    "fusion": Setting(
        "add",
        "how the two passes meet; add: maps summed before the classifier; concat: maps concatenated there; score: the "
        "classifier runs on both, logits summed before the softmax (section 4.4)",
        choices=("add", "concat", "score"),
    ),
    "form": Setting(
        "sum",
        "what the second input is; sum: dx + dy per channel; sobel, magnitude or texture: other forms (section 6); "
        "copy, noise: controls",
        choices=tuple(FORMS),
    ),
}

WRAPS = True


class ImageGradient(nn.Module):
    """Two passes through the same features, maps fused, then the classifier.

    Batch-norm normalises each pass with that pass's batch statistics, and both update the running ones.
    """

    def __init__(self, backbone: Backbone, form: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.backbone = backbone
        self.form = form

    def forward(self, images: Tensor) -> ModelOutput:
        inputs = self.backbone.prepare(images)
        first = self.backbone.features(inputs)
        second = self.backbone.features(self._make_second(images, inputs))
        return self.backbone.output(self.fuse(first, second), inputs)

    def _make_second(self, images: Tensor, inputs: Tensor) -> Tensor:
        """Made before any padding, whose border would be an edge; the control `copy` is the padded input itself."""
        return inputs if self.form is copy else self.backbone.prepare_second(self.form(images))

    def fuse(self, first: Tensor, second: Tensor) -> Tensor:
        """Feature maps of the image and of its second form -> logits."""
        logits: Tensor = self.backbone.head(first + second)
        return logits


class ScoreFusion(ImageGradient):
    """Fusion by score: the same classifier on both maps."""

    def fuse(self, first: Tensor, second: Tensor) -> Tensor:
        logits: Tensor = self.backbone.head(first) + self.backbone.head(second)
        return logits


class ConcatFusion(ImageGradient):
    """Fusion by concatenation: the classifier's first dense layer sees both maps.

    W [f; g] = W_f f + W_g g: W_f, with the bias, is the backbone's own layer and starts equal to the baseline's;
    W_g is `second`, with torch's default start. What stands before the first dense layer works on both maps alike.
    """

    def __init__(self, backbone: Backbone, form: Callable[[Tensor], Tensor]) -> None:
        super().__init__(backbone, form)
        self.cut, dense = _first_dense(backbone.head)
        self.second = nn.Linear(dense.in_features, dense.out_features, bias=False)

    def fuse(self, first: Tensor, second: Tensor) -> Tensor:
        head = cast(nn.Sequential, self.backbone.head)
        before, dense, after = head[: self.cut], head[self.cut], head[self.cut + 1 :]
        logits: Tensor = after(dense(before(first)) + self.second(before(second)))
        return logits


_FUSIONS = {"add": ImageGradient, "concat": ConcatFusion, "score": ScoreFusion}


def _first_dense(head: nn.Module) -> tuple[int, nn.Linear]:
    """The first dense layer of a sequential classifier, and its position."""
    layers = list(head) if isinstance(head, nn.Sequential) else []
    for position, layer in enumerate(layers):
        if isinstance(layer, nn.Linear):
            return position, layer
    raise UserError(
        "image_gradient.fusion: concat widens the classifier's first dense layer, and this backbone's classifier is no "
        "sequence with one; use add or score"
    )


def apply(backbone: Backbone, *, fusion: str = "add", form: str = "sum") -> Graft:
    """The backbone with a second form of its input; no parameters are added, but by concat.

    Raises:
        UserError: an unknown fusion or form, or concat on a classifier without a dense layer in sequence.
    """
    chosen = resolve_settings(SETTINGS, {"fusion": fusion, "form": form}, "image_gradient")
    return Graft(_FUSIONS[chosen["fusion"]](backbone, FORMS[chosen["form"]]))
