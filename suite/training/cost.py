"""What a network costs: parameters and multiply-accumulates, counted on the meta device (no data, no memory)."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from suite.layers.model import Graft, parameter_count

_IMAGES = 2  # batch normalisation in training mode needs more than one value per channel


@dataclass(frozen=True)
class Costs:
    """
    Attributes:
        parameters: trainable parameters as trained, decoders included.
        macs: multiply-accumulates of one image's forward pass as trained (convolutions and products of matrices;
            FFTs, normalisation and activations excluded).
        inference_macs: the same for what classification alone needs.
    """

    parameters: int
    macs: int
    inference_macs: int


def costs(graft: Graft, shape: tuple[int, int, int]) -> Costs:
    """Counts for images of `shape` (channels, height, width). The graft's own model is left as it was."""
    model = copy.deepcopy(graft.model).to("meta")
    for layer in model.modules():
        if isinstance(layer, _BatchNorm):  # counts nothing, and takes 5 ms on the meta device: most of a plan's time
            layer.forward = _handed_on  # type: ignore[method-assign,assignment]
    return Costs(
        parameters=parameter_count(graft.model),
        macs=_macs(model.train(), shape),
        inference_macs=_macs(model.eval(), shape),
    )


def _handed_on(x: Tensor) -> Tensor:
    return x


def _macs(model: nn.Module, shape: tuple[int, int, int]) -> int:
    images = torch.empty(_IMAGES, *shape, device="meta")
    with torch.no_grad(), torch.device("meta"), FlopCounterMode(display=False) as counter:
        model(images)
    return int(counter.get_total_flops()) // 2 // _IMAGES  # one multiply-accumulate is two operations
