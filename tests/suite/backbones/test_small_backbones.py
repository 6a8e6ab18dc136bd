"""The pre-activation ResNet-18 of DiffStride and the small CIFAR-10 network, against their papers' numbers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from suite.backbones import cifar_cnn, preact_resnet18
from suite.core.errors import UserError
from suite.core.settings import resolve_settings
from suite.layers.model import Backbone, Graft, PoolingConv2d, Residual, parameter_count
from suite.models.cost import count_network_costs

META = torch.device("meta")
CIFAR = (3, 32, 32)
TUPLES = [
    ((1, 1, 2, 2, 2), [16, 8, 4], 0.56),
    ((1, 1, 2, 2, 3), [16, 8, 3], 0.50),
    ((1, 1, 1, 3, 1), [11], 1.96),
    ((1, 1, 3, 1, 3), [11, 4], 0.60),
    ((1, 1, 3, 1, 2), [11, 6], 0.77),
    ((1, 1, 3, 2, 3), [11, 6, 2], 0.33),
]


def on_meta(module: Any, shape: tuple[int, int, int], classes: int = 10, **settings: Any) -> Any:
    with META:
        return module.build(shape, classes, **settings)


def map_sizes(model: Backbone, shape: tuple[int, int, int]) -> list[int]:
    sizes = []
    with META:
        x = torch.empty(2, *shape)
        for stage in model.stages:
            x = stage(x)
            sizes.append(x.shape[-1])
    return sizes


@pytest.mark.parametrize(("strides", "sizes", "gmac"), TUPLES)
def test_preact_resnet_costs_and_maps(strides: tuple[int, ...], sizes: list[int], gmac: float) -> None:
    model = on_meta(preact_resnet18, CIFAR, strides=strides)
    assert map_sizes(model, CIFAR) == sizes
    assert [stage.stride for stage in model.stages] == [stride for stride in strides if stride > 1]
    cost = count_network_costs(Graft(model), CIFAR)
    assert cost.parameters == 11_172_170
    assert round(cost.macs / 1e9, 2) == round(cost.inference_macs / 1e9, 2) == gmac


def test_preact_resnet_parameters_with_100_classes() -> None:
    assert parameter_count(on_meta(preact_resnet18, CIFAR, 100)) == 11_218_340


def test_preact_resnet_layers_with_stride_1_belong_to_what_follows() -> None:
    usual = on_meta(preact_resnet18, CIFAR)
    assert [len(stage.body) for stage in usual.stages] == [3, 1, 1] and len(usual.tail.blocks) == 1
    late = on_meta(preact_resnet18, CIFAR, strides=(1, 1, 1, 3, 1))
    assert [len(stage.body) for stage in late.stages] == [5] and len(late.tail.blocks) == 3
    early = on_meta(preact_resnet18, CIFAR, strides=(2, 1, 2, 2, 2))
    assert isinstance(early.stages[0].downsample, PoolingConv2d) and len(early.stages[0].body) == 0
    assert map_sizes(early, CIFAR) == [16, 8, 4, 2]
    none = on_meta(preact_resnet18, CIFAR, strides=(1, 1, 1, 1, 1))
    assert len(none.stages) == 0 and len(none.tail.blocks) == 9


def test_preact_resnet_ignores_the_stride_of_stage_1() -> None:
    assert str(on_meta(preact_resnet18, CIFAR, strides=(1, 4, 2, 2, 2))) == str(on_meta(preact_resnet18, CIFAR))


def test_preact_resnet_poolings_are_the_tuples() -> None:
    model = on_meta(preact_resnet18, CIFAR, strides=(1, 1, 3, 1, 2))
    poolings = [layer for layer in model.modules() if isinstance(layer, PoolingConv2d)]
    assert [(layer.kernel_size[0], layer.stride[0]) for layer in poolings] == [
        (3, 1), (3, 3), (1, 3), (3, 1), (1, 1), (3, 2), (1, 2)
    ]  # fmt: skip
    assert all(layer.bias is None for layer in model.modules() if isinstance(layer, nn.Conv2d))


def test_preact_resnet_equals_its_definition() -> None:
    torch.manual_seed(0)
    model = preact_resnet18.build(CIFAR, 10, width=1 / 16).eval()
    images = torch.randn(2, *CIFAR)
    assert isinstance(model.stages[1].downsample, Residual)
    norm1, relu, conv1, norm2, _, conv2 = model.stages[1].downsample.branch
    shortcut = model.stages[1].downsample.shortcut
    x = torch.randn(2, 8, 16, 16)
    expected = conv2(relu(norm2(conv1(relu(norm1(x)))))) + shortcut(x)
    assert torch.equal(model.stages[1].downsample(x), expected) and expected.shape == (2, 16, 8, 8)
    features = model.features(images)
    before = model.tail.blocks(torch.randn(2, 32, 4, 4))  # type: ignore[union-attr,operator]
    assert (features >= 0).all() and (before < 0).any(), "the last batch norm and ReLU are `norm`"
    assert torch.allclose(model.head(features), model.head[2](features.mean((2, 3))))  # type: ignore[index]


def test_preact_resnet_starts_he_normal() -> None:
    torch.manual_seed(0)
    model = preact_resnet18.build(CIFAR, 10, width=0.25)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 4000:
            assert layer.weight.detach().std() == pytest.approx(math.sqrt(2 / layer.weight[0].numel()), rel=0.05)


@pytest.mark.parametrize("given", [[1, 1, 2, 2], [1, 1, 2, 2, 0], [1, 1, 2, 2, 9], [1, 1, 2, 2, 2.0], 2, [True] * 5])
def test_preact_resnet_refuses_other_strides(given: Any) -> None:
    with pytest.raises(UserError, match=r"^preact_resnet18\.strides: must be five whole numbers within 1 \.\. 8"):
        resolve_settings(preact_resnet18.SETTINGS, {"strides": given}, "preact_resnet18")


def test_preact_resnet_strides_are_canonical() -> None:
    assert resolve_settings(preact_resnet18.SETTINGS, {"strides": [1, 1, 2, 2, 3]}, "x")["strides"] == (1, 1, 2, 2, 3)


@pytest.mark.parametrize(
    ("strides", "least"), [((1, 1, 2, 2, 2), 5), ((1, 8, 1, 3, 1), 2), ((1, 1, 1, 1, 1), 1), ((1, 1, 3, 2, 3), 7)]
)
def test_preact_resnet_smallest_image(strides: tuple[int, ...], least: int) -> None:
    shape = (1, least, least)
    with META:
        model = on_meta(preact_resnet18, shape, strides=strides)
        assert model.train()(torch.empty(2, *shape)).logits.shape == (2, 10)
        if least > 1:
            with pytest.raises(UserError, match=f"^preact_resnet18: .* at least {least} x {least} pixels"):
                preact_resnet18.build((1, least - 1, least), 10, strides=strides)


def test_preact_resnet_width() -> None:
    model = on_meta(preact_resnet18, CIFAR, width=0.5)
    assert [stage.out_channels for stage in model.stages] == [64, 128, 256] and model.stages[0].in_channels == 3


def test_cifar_cnn_parameters_and_maps() -> None:
    model = on_meta(cifar_cnn, CIFAR)
    assert parameter_count(model) == 116_906
    assert parameter_count(on_meta(cifar_cnn, CIFAR, batch_norm=True)) == 116_970
    assert map_sizes(model, CIFAR) == [15, 7, 3]
    assert [layer.in_features for layer in model.head if isinstance(layer, nn.Linear)] == [576, 64]


def test_cifar_cnn_improvements_stand_where_they_should() -> None:
    def kinds(model: Backbone) -> list[type[nn.Module]]:
        inner = nn.Sequential | nn.ModuleList
        leaves = [layer for layer in model.modules() if not list(layer.children()) and not isinstance(layer, inner)]
        return [type(layer) for layer in leaves if not isinstance(layer, nn.Identity)]

    conv = [nn.Conv2d, nn.ReLU, nn.MaxPool2d]
    assert kinds(on_meta(cifar_cnn, CIFAR)) == [*conv * 3, nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    improved = on_meta(cifar_cnn, CIFAR, batch_norm=True, dropout=0.2)
    first = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]
    dense = [nn.Flatten, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert kinds(improved) == [*first, *conv * 2, *dense]
    assert improved.head[3].p == 0.2


def test_cifar_cnn_other_sizes() -> None:
    for shape in ((1, 15, 15), (1, 28, 28), (3, 64, 48)):
        with META:
            assert cifar_cnn.build(shape, 10, width=0.1)(torch.empty(2, *shape)).logits.shape == (2, 10)
    with pytest.raises(UserError, match=r"^cifar_cnn: .* at least 15 x 15 pixels, not 14 x 28"):
        on_meta(cifar_cnn, (1, 14, 28))
