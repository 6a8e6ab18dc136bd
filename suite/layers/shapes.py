"""Models for shapes alone: on the meta device nothing has a value, and layers that keep the shape can be skipped."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Model = TypeVar("Model", bound=nn.Module)

# On the meta device each takes 2 to 5 ms, most of a network's time there: more than its convolutions.
_ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.GELU, nn.Hardswish)
_SHAPE_KEEPING = (*_ACTIVATIONS, _BatchNorm, nn.Dropout, nn.LocalResponseNorm)


def for_shapes(model: Model) -> Model:
    """The model, in place, with layers that neither change a shape nor multiply matrices handing their input on."""
    for layer in model.modules():
        if isinstance(layer, _SHAPE_KEEPING):
            layer.forward = _pass_on  # type: ignore[method-assign,assignment]
    return model


def _pass_on(x: Tensor) -> Tensor:
    return x
