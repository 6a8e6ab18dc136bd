"""LSUV: orthonormal, then unit output variance per layer on one batch (Mishkin and Matas 2016, Algorithm 1)."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from suite.backbones import base_cnn
from suite.core.errors import UserError
from suite.core.specs import Cell, Component, Streams, freeze_settings
from suite.layers.model import Auxiliary, Backbone, ConvUnit, Residual, Stage
from suite.models import grafting
from suite.models.assembly import assemble_network
from suite.variants import lsuv


class Crossed(nn.Module):
    """Registers its layers against the order in which they run."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.first = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(torch.relu(self.first(x)))
        return out


def network() -> Backbone:
    def unit(channels: int, out: int) -> ConvUnit:
        return ConvUnit(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out))

    def classifier() -> nn.Sequential:
        return nn.Sequential(nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))

    torch.manual_seed(0)
    stage = Stage(nn.Sequential(unit(3, 8), unit(8, 8)), nn.MaxPool2d(2), in_channels=3, out_channels=8)
    residual = Residual(nn.Sequential(unit(8, 8), nn.Dropout2d(0.5)), nn.Conv2d(8, 8, 1))
    return Backbone([stage], classifier(), nn.Sequential(residual, Crossed(), Auxiliary(classifier(), 0.3)))


def layers(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def images(seed: int = 1) -> Tensor:
    return 3 * torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) + 1


def output_variances(model: nn.Module, batch: Tensor) -> list[float]:
    """Of every layer, on a training pass without dropout."""
    model = copy.deepcopy(model).train()
    found: list[float] = []
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.eval()
    for layer in layers(model):
        layer.register_forward_hook(lambda _, __, out: found.append(float(out.var(correction=0))))
    with torch.no_grad():
        model(batch)
    return found


def test_weights_start_orthonormal_with_zero_biases() -> None:
    model = lsuv.apply(network()).model
    for layer in layers(model):
        matrix = layer.weight.detach().flatten(1)
        short = matrix if len(matrix) <= matrix.shape[1] else matrix.T
        assert torch.allclose(short @ short.T, torch.eye(len(short)), atol=1e-5)
        assert layer.bias is None or (layer.bias == 0).all()


def test_the_start_comes_from_the_global_generator() -> None:
    def start(seed: int) -> Tensor:
        backbone = network()
        torch.manual_seed(seed)
        weight: Tensor = lsuv.apply(backbone).model.stages[0].body[0].conv.weight
        return weight

    assert torch.equal(start(1), start(1)) and not torch.equal(start(1), start(2))


def test_every_layer_gets_unit_variance_on_the_batch() -> None:
    graft = lsuv.apply(network(), tolerance=0.01)
    before = output_variances(graft.model, images())
    assert len(before) == 8 and any(abs(variance - 1) > 0.1 for variance in before)
    assert graft.initialise is not None
    graft.initialise(images())
    assert all(abs(variance - 1) < 0.011 for variance in output_variances(graft.model, images()))


def test_layers_within_tolerance_stay() -> None:
    graft = lsuv.apply(network(), tolerance=0.05)
    assert graft.initialise is not None
    graft.initialise(images())
    once = copy.deepcopy(graft.model.state_dict())
    graft.initialise(images())
    assert all(torch.equal(once[name], value) for name, value in graft.model.state_dict().items())
    graft.initialise(10 * images())
    assert not torch.equal(once["stages.0.body.0.conv.weight"], graft.model.stages[0].body[0].conv.weight)


def test_initialising_leaves_everything_but_weights_as_it_was() -> None:
    graft = lsuv.apply(network())
    model = graft.model.train()
    model.tail[0].eval()
    modes = [module.training for module in model.modules()]
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    generator = torch.get_rng_state()
    assert graft.initialise is not None
    graft.initialise(images())
    assert [module.training for module in model.modules()] == modes
    assert buffers and all(torch.equal(buffers[name], value) for name, value in model.named_buffers())
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert len(model(images()).auxiliary_logits) == 1, "no logits are left over"


def test_a_constant_output_stays_finite() -> None:
    graft = lsuv.apply(network())
    assert graft.initialise is not None
    graft.initialise(torch.zeros(4, 3, 16, 16))
    assert all(parameter.isfinite().all() for parameter in graft.model.parameters())


def test_full_precision_inside_autocast() -> None:
    graft = lsuv.apply(network(), tolerance=0.01)
    assert graft.initialise is not None
    with torch.autocast("cpu", torch.bfloat16):
        graft.initialise(images())
    assert all(abs(variance - 1) < 0.011 for variance in output_variances(graft.model, images()))


def test_composes_with_what_wraps_the_forward_pass_and_scales_the_backbone_alone() -> None:
    torch.manual_seed(0)
    backbone = base_cnn.build((3, 16, 16), 10, width=1 / 16)
    graft = grafting.graft_variant(backbone, "lsuv+no_batch_norm+sire", {"lsuv.tolerance": 0.01})
    decoders = copy.deepcopy(graft.model.decoders.state_dict())
    assert graft.initialise is not None
    graft.initialise(images())
    assert all(abs(variance - 1) < 0.011 for variance in output_variances(backbone, images()))
    assert all(torch.equal(decoders[name], value) for name, value in graft.model.decoders.state_dict().items())


def test_plans_on_the_meta_device_and_refuses_a_backbone_without_layers() -> None:
    with torch.device("meta"):
        lsuv.apply(network())
    with pytest.raises(UserError, match="lsuv: initialises convolutions and dense layers"):
        lsuv.apply(Backbone([], nn.Flatten()))


def test_a_layer_that_runs_twice_is_scaled_where_it_runs_first() -> None:
    shared = nn.Conv2d(3, 3, 3, padding=1)
    backbone = Backbone([], nn.Flatten(), nn.Sequential(shared, nn.ReLU(), shared))
    graft = lsuv.apply(backbone, tolerance=0.01)
    assert graft.initialise is not None
    graft.initialise(images())
    first, second = output_variances(backbone, images())
    assert abs(first - 1) < 0.011 < abs(second - 1)


@pytest.mark.parametrize("variant", ["diffstride+lsuv", "lsuv+spectral"])
def test_a_spectral_pool_behind_a_layer_stays_behind_it(variant: str) -> None:
    cell = Cell(
        Component("cifar10"), Component("preact_resnet18", freeze_settings({"width": 0.125})), Component(variant)
    )
    graft = assemble_network(cell, (3, 32, 32), 10, streams=Streams("search", 0))
    batch = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert graft.initialise is not None
    graft.initialise(batch)
    found: list[float] = []
    for layer in layers(graft.model):
        layer.register_forward_hook(
            lambda _, __, out: found.append(float(out.detach().var(correction=0))), prepend=True
        )
    graft.model.train()(batch)
    assert len(found) == len(layers(graft.model)) and all(abs(variance - 1) < 0.11 for variance in found)
