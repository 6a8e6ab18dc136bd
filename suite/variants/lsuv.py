"""Layer-sequential unit-variance initialisation (Mishkin and Matas 2016, "All you need is a good init", Alg. 1)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.layers.model import Auxiliary, Backbone, Graft

SETTINGS = {
    "tolerance": Setting(0.1, "Tol_var: how far from 1 a layer's output variance may end", low=1e-6, high=1.0),
    "rounds": Setting(10, "T_max: how often a layer is scaled at most", low=1),
}

RESTARTS = True  # it is another start by definition


def apply(backbone: Backbone, *, tolerance: float = 0.1, rounds: int = 10) -> Graft:
    """Orthonormal weights and zero biases now; scaled on the first batch of training (`Graft.initialise`).

    Every convolution and dense layer that the backbone has by now is scaled, inception branches, projections and
    auxiliary classifiers included; what a later variant adds is not.

    Raises:
        UserError: the backbone has no such layer.
    """
    layers = [module for module in backbone.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    if not layers:
        raise UserError("lsuv: initialises convolutions and dense layers, and this backbone has none; choose another")
    for layer in layers:
        nn.init.orthogonal_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return Graft(backbone, initialise=partial(scale_to_unit_variance, backbone, layers, tolerance, rounds))


@torch.no_grad()
def scale_to_unit_variance(
    backbone: Backbone, layers: Sequence[nn.Conv2d | nn.Linear], tolerance: float, rounds: int, images: Tensor
) -> None:
    """Divides each layer's weight by its output's standard deviation over the batch, until the variance is near 1.

    One forward pass, in whose order every layer is scaled as soon as its input is there: what comes before it is
    final, so running the layer again equals running the network again. A layer whose output is constant stays.

    Args:
        images: (batch, channels, height, width), normalised.
    """
    done: set[nn.Module] = set()

    def scale(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        for _ in range(0 if layer in done else rounds):
            variance = float(output.var(correction=0))
            if not 0 < variance < math.inf or abs(variance - 1) < tolerance:
                break
            layer.weight.div_(math.sqrt(variance))
            output = layer.forward(*inputs)
        done.add(layer)
        return output

    # First of all hooks: a spectral pool is one too, and takes the layer's output after it.
    hooks = [layer.register_forward_hook(scale, prepend=True) for layer in layers]
    try:
        # In full precision: autocast would go on with the copy of a weight that it made before the weight was scaled.
        with _batch_statistics(backbone), torch.autocast(images.device.type, enabled=False):
            backbone(images)
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _batch_statistics(backbone: Backbone) -> Iterator[None]:
    """Training as far as it is deterministic: batch norms use the batch, auxiliary classifiers run, nothing is dropped.

    Afterwards every module is in its mode again and every buffer, such as a running mean, has its value again.
    """
    modes = {module: module.training for module in backbone.modules()}
    buffers = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    try:
        for module in modes:
            module.training = isinstance(module, _BatchNorm | Auxiliary)
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for name, buffer in backbone.named_buffers():
            buffer.copy_(buffers[name])
