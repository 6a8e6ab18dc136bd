"""timm's models as backbones: equal to the bit, cut where their maps shrink, refused with the reason."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.backbones import preact_resnet200
from suite.core.errors import UserError
from suite.core.registry import load_component
from suite.core.settings import canonicalize_component
from suite.core.specs import Component, freeze_settings
from suite.layers.model import Backbone, ConvUnit, parameter_count
from suite.layers.surgery import residuals
from suite.models import timm_adapter

MODELS = (
    "resnet18",
    "resnet18d",
    "resnetv2_18",
    "legacy_seresnet18",
    "regnety_002",
    "mobilenetv3_small_050",
    "efficientnet_b0",
    "densenet121",
    "convnext_atto",
    "efficientvit_m0",
    "test_nfnet",
)


def images(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def step(model: nn.Module, size: int, *, train: bool) -> Tensor:
    """Logits in one mode, from one state of the generator; in training mode with gradients left behind."""
    torch.manual_seed(2)
    out = model.train(train)(images(size))
    logits: Tensor = out if isinstance(out, Tensor) else out.logits
    if train:
        functional.cross_entropy(logits, torch.tensor([1, 2])).backward()
    return logits.detach()


def assert_equal_to_the_bit(model: nn.Module, size: int = 64) -> Backbone:
    """The cut copy of a model gives its logits, gradients and batch statistics."""
    parts = copy.deepcopy(model)
    backbone = timm_adapter.cut_classifier(parts, (3, size, size), 10, owner="test")
    for train in (False, True):
        assert torch.equal(step(model, size, train=train), step(backbone, size, train=train))
    ours, theirs = dict(parts.named_parameters()), dict(model.named_parameters())
    assert {id(p) for p in ours.values()} == {id(p) for p in backbone.parameters()}
    for name, parameter in theirs.items():
        wanted, found = parameter.grad, ours[name].grad
        assert wanted is not None and found is not None, name
        assert torch.equal(wanted, found), name
    buffers = dict(parts.named_buffers())
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())
    return backbone


@pytest.mark.parametrize("name", MODELS)
def test_a_cut_model_computes_what_timms_model_computes(name: str) -> None:
    torch.manual_seed(0)
    assert_equal_to_the_bit(timm.create_model(name, num_classes=10))


def test_dropout_and_stochastic_depth_draw_what_timms_model_draws() -> None:
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=10, drop_rate=0.4, drop_path_rate=0.5)
    backbone = assert_equal_to_the_bit(model)
    assert [m.p for m in backbone.modules() if isinstance(m, nn.Dropout)] == [0.4]
    assert not torch.equal(step(backbone, 64, train=True), step(backbone, 64, train=False))


def test_build_draws_its_weights_as_timm_does() -> None:
    torch.manual_seed(3)
    backbone = load_component("backbone", "timm:resnet18").build((1, 64, 64), 10)
    after = torch.rand(1)
    torch.manual_seed(3)
    model = timm.create_model("resnet18", num_classes=10, in_chans=1).eval()
    assert torch.equal(after, torch.rand(1))
    grey = images(64)[:, :1]
    assert backbone.training
    assert torch.equal(backbone.eval()(grey).logits, model(grey))


def test_stages_of_resnet18() -> None:
    with torch.device("meta"):
        backbone: Any = timm_adapter.build((3, 224, 224), 1000, model="resnet18")
    facts = [(stage.in_channels, stage.out_channels, stage.stride) for stage in backbone.stages]
    assert facts == [(3, 64, 2), (64, 64, 2), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
    assert isinstance(backbone.stages[0].downsample, ConvUnit)
    assert isinstance(backbone.stages[1].downsample, nn.MaxPool2d)
    assert [len(stage.body) for stage in backbone.stages] == [0, 0, 2, 1, 1]
    assert [type(layer) for layer in backbone.head] == [nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear]
    assert parameter_count(backbone) == 11_689_512


def test_stages_do_not_depend_on_the_image_size() -> None:
    with torch.device("meta"):
        names = [list(timm_adapter.build((3, s, s), 10, model="test_efficientnet").state_dict()) for s in (32, 224)]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    ("name", "strides", "sums"),
    [
        ("resnet50", [2, 2, 2, 2, 2], 16),
        ("resnetv2_18", [2, 2, 2, 2, 2], 8),
        ("convnext_atto", [4, 2, 2, 2], 12),
        ("hrnet_w18_small", [2, 2, 8], 1),
    ],
)
def test_strides_and_residual_sums(name: str, strides: list[int], sums: int) -> None:
    with torch.device("meta"):
        backbone = timm_adapter.build((3, 224, 224), 10, model=name)
    assert [stage.stride for stage in backbone.stages] == strides
    assert len(residuals(backbone)) == sums


def test_bodies_of_vgg_are_convolution_units() -> None:
    with torch.device("meta"):
        backbone: Any = timm_adapter.build((3, 64, 64), 10, model="vgg16")
    assert [len(stage.body) for stage in backbone.stages] == [2, 2, 3, 3, 3]
    assert all(isinstance(unit, ConvUnit) for stage in backbone.stages for unit in stage.body)


def test_a_copy_has_its_own_weights_and_takes_a_state() -> None:
    backbone = timm_adapter.build((3, 64, 64), 10, model="test_byobnet")
    other = copy.deepcopy(backbone)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    x = images(64)
    assert other.eval()(x).logits.eq(0).all() and not backbone.eval()(x).logits.eq(0).any()
    other.load_state_dict(backbone.state_dict())
    assert torch.equal(other(x).logits, backbone(x).logits)


def test_runs_in_channels_last_and_bfloat16() -> None:
    torch.manual_seed(0)
    backbone = timm_adapter.build((3, 64, 64), 10, model="test_resnet").eval()
    exact = backbone(images(64)).logits
    backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = images(64).to(memory_format=torch.channels_last)
    torch.testing.assert_close(backbone(x).logits, exact, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(backbone(x).logits.float(), exact, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("variant", ["sire", "stochastic_depth", "image_gradient"])
def test_variants_attach(variant: str) -> None:
    torch.manual_seed(0)
    graft = load_component("variant", variant).apply(timm_adapter.build((3, 32, 32), 10, model="test_resnet"))
    output = graft.model.train()(images(32))
    loss = functional.cross_entropy(output.logits, torch.tensor([1, 2]))
    (loss + graft.extra_loss(output) if graft.extra_loss else loss).backward()
    assert all(p.grad is not None for p in graft.model.parameters())
    if variant == "sire":
        assert {tuple(image.shape) for image in output.reconstructions} == {(2, 3, 32, 32)}


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("vit_tiny_patch16_224", (3, 224, 224), "can't be cut into stages: it has no .* feature maps"),
        ("swin_tiny_patch4_window7_224", (3, 224, 224), "feature maps are not .batch, channels, height, width"),
        ("twins_pcpvt_small", (3, 224, 224), "can't be cut into stages: its forward pass can't be traced"),
        ("coatnet_0_224", (3, 32, 32), "takes images of 224 x 224 pixels only, not 32 x 32"),
        ("resnet18", (3, 16, 64), "at least 17 x 17 pixels, not 16 x 64 .stage 5 has a map of 1 x 4"),
    ],
)
def test_refuses_what_it_cannot_cut(name: str, shape: tuple[int, int, int], reason: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=f"^timm:{name}: .*{reason}"):
        timm_adapter.build(shape, 10, model=name)


def test_refuses_a_model_without_downsampling_or_with_a_mode_of_its_own() -> None:
    class Moody(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 10, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return (self.conv(x) if self.training else -self.conv(x)).mean((2, 3))

    plain = nn.Sequential(nn.Conv2d(3, 10, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(UserError, match=r"^mine: .* no step of its own makes the feature map smaller"):
        timm_adapter.cut_classifier(plain, (3, 32, 32), 10, owner="mine")
    with pytest.raises(UserError, match=r"^mine: .* differs between training and evaluation"):
        timm_adapter.cut_classifier(Moody(), (3, 32, 32), 10, owner="mine")


def test_unknown_models_and_rates_are_refused() -> None:
    with pytest.raises(UserError, match="has no model 'resnet81'; did you mean 'resnet"):
        load_component("backbone", "timm:resnet81")
    with pytest.raises(UserError, match=r"has no model 'qqqq'; timm.list_models\(\)") as refusal:
        load_component("backbone", "timm:qqqq")
    assert len(str(refusal.value)) < 200
    with pytest.raises(UserError, match=r"drop_rate: must be null .* not 1$"):
        canonicalize_component(
            timm_adapter.SETTINGS, Component("timm:resnet18", freeze_settings({"drop_rate": 1})), "timm:resnet18"
        )
    with pytest.raises(UserError, match=r"^timm:densenet121: timm can't make it with 3 channels, drop_path_rate 0.1"):
        timm_adapter.build((3, 32, 32), 10, model="densenet121", drop_path_rate=0.1)


@pytest.mark.parametrize(
    ("name", "parameters", "sums", "dropout"),
    [
        ("inception_resnet_v2", 55_843_464, 10 + 20 + 10, [0.2]),
        ("senet154", 115_088_984, 3 + 8 + 36 + 3, [0.2]),
        ("preact_resnet200", 64_666_152, 3 + 24 + 36 + 3, []),
    ],
)
def test_named_networks(name: str, parameters: int, sums: int, dropout: list[float]) -> None:
    module = load_component("backbone", name)
    with torch.device("meta"):
        backbone = module.build((3, 224, 224), 1000)
        assert parameter_count(backbone) == parameters
        assert len(residuals(backbone)) == sums and [stage.stride for stage in backbone.stages] == [2] * 5
    assert [m.p for m in backbone.modules() if isinstance(m, nn.Dropout) and m.p > 0] == dropout


def test_inception_resnet_v2_needs_75_pixels() -> None:
    with (
        torch.device("meta"),
        pytest.raises(UserError, match=r"^inception_resnet_v2: .* at least 75 x 75 pixels, not 74"),
    ):
        load_component("backbone", "inception_resnet_v2").build((3, 74, 74), 10)


def test_preact_resnet200_by_arithmetic() -> None:
    counted, width = 7 * 7 * 3 * 64, 64
    for depth, out in zip((3, 24, 36, 3), (256, 512, 1024, 2048), strict=True):
        middle = out // 4
        counted += width * out  # projection
        for _ in range(depth):
            counted += 2 * width + width * middle  # batch norm, 1 x 1
            counted += 2 * middle + 9 * middle**2 + 2 * middle + middle * out  # batch norm, 3 x 3; batch norm, 1 x 1
            width = out
    counted += 2 * width + width * 1000 + 1000
    assert counted == 64_666_152


def test_timms_resnet200_is_what_preact_resnet200_is_compared_with() -> None:
    """After activation, of the same depth, with the strides in the same convolutions."""
    with torch.device("meta"):
        model = timm.create_model("resnet200")
    stages = [model.layer1, model.layer2, model.layer3, model.layer4]
    assert tuple(map(len, stages)) == preact_resnet200.DEPTHS
    assert [stage[0].conv2.stride[0] for stage in stages] == [1, 2, 2, 2]
    assert all(block.conv1.stride[0] == block.conv3.stride[0] == 1 for stage in stages for block in stage)
    assert parameter_count(model) == 64_673_832
