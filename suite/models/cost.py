"""What a network costs: parameters and multiply-accumulates, counted on the meta device (no data, no memory)."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from suite.layers.model import Auxiliary, Backbone, Graft, ModelOutput, parameter_count
from suite.layers.shapes import for_shapes

_IMAGES = 2  # batch normalisation in training mode needs more than one value per channel


@dataclass(frozen=True)
class Costs:
    """
    Attributes:
        parameters: trainable parameters as trained, decoders included.
        macs: multiply-accumulates of one image's forward pass as trained (convolutions and products of matrices;
            FFTs, normalisation and activations excluded).
        inference_macs: the same for what classification alone needs.
        decoders: how many reconstruct the network's input in training (SIRe).
    """

    parameters: int
    macs: int
    inference_macs: int
    decoders: int = 0


def count_network_costs(graft: Graft, shape: tuple[int, int, int]) -> Costs:
    """Counts for images of `shape` (channels, height, width). The graft's own model is left as it was."""
    return spent_costs(graft._replace(model=copy.deepcopy(graft.model).to("meta")), shape)


def spent_costs(graft: Graft, shape: tuple[int, int, int]) -> Costs:
    """As `count_network_costs`, of a graft on the meta device that is of no use afterwards: a third faster."""
    model = for_shapes(graft.model)
    macs, output = _count_macs(model.train(), shape)
    inference_macs = macs
    # Where training computes what inference doesn't: a model around a backbone may, in a backbone only `Auxiliary`
    # does. (The contract of suite/variants; tests/suite/test_components.py holds every pair to it.)
    if not isinstance(model, Backbone) or any(isinstance(layer, Auxiliary) for layer in model.modules()):
        inference_macs, _ = _count_macs(model.eval(), shape)
    return Costs(parameter_count(model), macs, inference_macs, len(output.reconstructions))


def _count_macs(model: nn.Module, shape: tuple[int, int, int]) -> tuple[int, ModelOutput]:
    """The multiply-accumulates of one image, and what the model gave."""
    images = torch.empty(_IMAGES, *shape, device="meta")
    with torch.no_grad(), torch.device("meta"), FlopCounterMode(display=False) as counter:
        output: ModelOutput = model(images)
    return int(counter.get_total_flops()) // 2 // _IMAGES, output  # one multiply-accumulate is two operations
