"""The published networks: torchvision's parameters and logits, stems, widths, smallest images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from suite.core.errors import UserError
from suite.core.registry import load_component
from suite.core.settings import resolve_settings
from suite.layers.model import Auxiliary, Backbone, ConvUnit, Residual, parameter_count

META = torch.device("meta")
# One of each family: the others differ by their depths alone.
STEMMED = ["vgg16", "resnet18", "googlenet", "densenet121"]
SCALED = ["vgg16", "resnet18", "resnet50", "googlenet"]

EVERY = ["vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "resnet152", "googlenet", "inception_v3"]
EVERY += ["densenet121", "alexnet", "zfnet", "preact_resnet18", "cifar_cnn"]

# Name, settings, smallest side, downsampling steps.
SMALLEST: list[tuple[str, dict[str, Any], int, int]] = [
    ("vgg16", {}, 16, 5),
    ("vgg16", {"stem": "imagenet"}, 32, 5),
    ("resnet18", {}, 5, 3),
    ("resnet50", {}, 5, 3),
    ("resnet50", {"stem": "imagenet"}, 17, 5),
    ("googlenet", {}, 8, 3),
    ("googlenet", {"stem": "imagenet"}, 31, 4),
    ("densenet121", {}, 8, 3),
    ("densenet121", {"stem": "imagenet"}, 29, 5),
    ("inception_v3", {}, 75, 5),
    ("alexnet", {}, 63, 4),
    ("zfnet", {}, 47, 5),
]


def on_meta(name: str, shape: tuple[int, int, int], classes: int = 10, **settings: Any) -> Any:
    with META:
        return load_component("backbone", name).build(shape, classes, **settings)


def run_on_meta(model: Backbone, shape: tuple[int, int, int]) -> Any:
    with META:
        return model.train()(torch.empty(2, *shape))


def filled(model: nn.Module) -> Any:
    """A model from the meta device with weights that keep its maps at one scale."""
    model = model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.ndim > 1:
                value.normal_(std=math.sqrt(2 / value[0].numel()), generator=generator)
            elif value.ndim == 0:
                value.zero_()
            elif name.endswith("bias") or name.endswith("mean"):
                value.uniform_(-0.1, 0.1, generator=generator)
            else:
                value.uniform_(0.5, 1.5, generator=generator)
    return model


def in_our_order(key: str) -> tuple[bool, str]:
    """GoogLeNet's auxiliary classifiers stand after the blocks that feed them; in theirs, before the last layer."""
    name = key.split(".")[0]
    feeds = {"aux1": "inception4a~", "aux2": "inception4d~"}
    return name == "fc", feeds.get(name, name)


def with_our_weights(theirs: nn.Module, ours: nn.Module) -> Any:
    """Their model, of our tensors: both register the same layers, in the same order."""
    keys = list(theirs.state_dict())
    if "aux1.fc1.weight" in keys:
        keys.sort(key=in_our_order)
    theirs.load_state_dict(dict(zip(keys, ours.state_dict().values(), strict=True)), assign=True)
    return theirs


def pair(name: str, theirs: Callable[..., nn.Module], side: int, **settings: Any) -> tuple[Any, Any]:
    ours = filled(on_meta(name, (3, side, side), **settings))
    with META:
        other = theirs(num_classes=10)
    return ours, with_our_weights(other, ours)


def images(side: int) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def googlenet(**settings: Any) -> nn.Module:
    made: nn.Module = torchvision.models.googlenet(init_weights=False, aux_logits=True, **settings)
    return made


def inception_v3(**settings: Any) -> nn.Module:
    made: nn.Module = torchvision.models.inception_v3(init_weights=False, aux_logits=True, **settings)
    return made


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("vgg16", {}, 138_357_544),
        ("vgg16", {"batch_norm": True}, 138_365_992),
        ("vgg19", {}, 143_667_240),
        ("vgg19", {"batch_norm": True}, 143_678_248),
        ("resnet18", {}, 11_689_512),
        ("resnet34", {}, 21_797_672),
        ("resnet50", {}, 25_557_032),
        ("resnet152", {}, 60_192_808),
        ("densenet121", {}, 7_978_856),
        ("alexnet", {}, 61_100_840),
        ("googlenet", {}, 13_004_888),
        ("inception_v3", {}, 27_161_264),
        ("zfnet", {}, 107_627_624),
        ("zfnet", {"middle": "standard"}, 62_357_608),
    ],
)
def test_parameters_at_1000_classes(name: str, settings: dict[str, Any], expected: int) -> None:
    side = 299 if name == "inception_v3" else 224
    assert parameter_count(on_meta(name, (3, side, side), 1000, **settings)) == expected


@pytest.mark.parametrize(("name", "expected"), [("googlenet", 6_379_984), ("inception_v3", 27_161_264 - 23_834_568)])
def test_parameters_of_the_auxiliary_classifiers(name: str, expected: int) -> None:
    model = on_meta(name, (3, 299, 299), 1000)
    assert sum(parameter_count(layer) for layer in model.modules() if isinstance(layer, Auxiliary)) == expected


@pytest.mark.parametrize(
    ("name", "theirs", "side", "settings"),
    [
        ("vgg16", torchvision.models.vgg16, 64, {}),
        ("vgg19", torchvision.models.vgg19_bn, 33, {"stem": "imagenet", "batch_norm": True}),
        ("resnet18", torchvision.models.resnet18, 65, {}),
        ("resnet34", torchvision.models.resnet34, 32, {"stem": "imagenet"}),
        ("resnet50", torchvision.models.resnet50, 32, {"stem": "imagenet"}),
        ("resnet152", torchvision.models.resnet152, 32, {"stem": "imagenet"}),
        ("densenet121", torchvision.models.densenet121, 64, {}),
        ("googlenet", googlenet, 64, {}),
        ("inception_v3", inception_v3, 80, {}),
    ],
)
def test_logits_are_torchvisions(
    name: str, theirs: Callable[..., nn.Module], side: int, settings: dict[str, Any]
) -> None:
    ours, other = pair(name, theirs, side, **settings)
    with torch.inference_mode():
        logits = ours.eval()(images(side)).logits
        assert torch.equal(logits, other.eval()(images(side)))
    assert logits.isfinite().all() and not torch.allclose(logits[0], logits[1], rtol=1e-3)


def test_alexnet_without_its_response_norm_is_torchvisions() -> None:
    ours, other = pair("alexnet", torchvision.models.alexnet, 80)
    with torch.inference_mode():
        expected = other.eval()(images(80))
        assert not torch.allclose(ours.eval()(images(80)).logits, expected)
        for stage in ours.stages[1:3]:
            assert isinstance(stage.body[1], nn.LocalResponseNorm)
            stage.body[1] = nn.Identity()
        assert torch.equal(ours(images(80)).logits, expected)


@pytest.mark.parametrize(
    ("name", "theirs", "side"), [("googlenet", googlenet, 64), ("inception_v3", inception_v3, 299)]
)
def test_auxiliary_logits_are_torchvisions(name: str, theirs: Callable[..., nn.Module], side: int) -> None:
    ours, other = pair(name, theirs, side, aux_weight=0.25)
    for layer in [*ours.modules(), *other.modules()]:
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    with torch.no_grad():
        output, expected = ours.train()(images(side)), other.train()(images(side))
    assert torch.equal(output.logits, expected[0])
    assert [weight for _, weight in output.auxiliary_logits] == [0.25] * (len(expected) - 1)
    deepest_first = [logits for logits, _ in reversed(output.auxiliary_logits)]
    assert all(torch.equal(logits, theirs) for logits, theirs in zip(deepest_first, expected[1:], strict=True))
    assert ours.eval()(images(side)).auxiliary_logits == []


def test_auxiliary_weights_by_default() -> None:
    for name, shape, weights in (("googlenet", (3, 32, 32), [0.3, 0.3]), ("inception_v3", (3, 75, 75), [0.4])):
        output = run_on_meta(on_meta(name, shape), shape)
        assert [weight for _, weight in output.auxiliary_logits] == weights


@pytest.mark.parametrize(
    ("name", "theirs", "side"),
    [
        ("resnet50", lambda: torchvision.models.resnet50(), 64),
        ("densenet121", lambda: torchvision.models.densenet121(), 64),
        ("googlenet", lambda: torchvision.models.googlenet(init_weights=True), 64),
    ],
)
def test_initial_weights_are_torchvisions(name: str, theirs: Callable[[], nn.Module], side: int) -> None:
    torch.manual_seed(0)
    ours = load_component("backbone", name).build((3, side, side), 1000)
    other = theirs().state_dict()
    keys = sorted(other, key=in_our_order) if name == "googlenet" else list(other)
    for key, value in zip(keys, ours.state_dict().values(), strict=True):
        if value.numel() > 2000:
            assert value.std().item() == pytest.approx(other[key].std().item(), rel=0.1), key
        elif "bn" in key or "norm" in key:
            assert torch.equal(value, other[key]), key


def test_vgg_and_inception_initial_weights() -> None:
    torch.manual_seed(0)
    vgg = load_component("backbone", "vgg16").build((3, 32, 32), 10, width=0.25)
    deepest, dense = vgg.stages[4].body[2].conv, vgg.head[5]
    assert deepest.weight.detach().std() == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.02)
    assert dense.weight.detach().std() == pytest.approx(0.01, rel=0.02)
    assert deepest.bias.count_nonzero() == dense.bias.count_nonzero() == 0
    inception = load_component("backbone", "inception_v3").build((3, 75, 75), 100)
    assert inception.head[-1].weight.detach().std() == pytest.approx(0.1, rel=0.02)
    auxiliary = next(layer for layer in inception.modules() if isinstance(layer, Auxiliary))
    assert auxiliary.head[-1].weight.detach().std() == pytest.approx(0.001, rel=0.02)  # type: ignore[index,operator]


@pytest.mark.parametrize(("name", "settings", "least", "steps"), SMALLEST)
def test_smallest_image(name: str, settings: dict[str, Any], least: int, steps: int) -> None:
    model = on_meta(name, (3, least, least), **settings)
    assert len(model.stages) == steps
    assert run_on_meta(model, (3, least, least)).logits.shape == (2, 10)
    assert run_on_meta(on_meta(name, (1, least, least + 1), **settings), (1, least, least + 1)).logits.shape == (2, 10)
    for shape in ((3, least - 1, least), (3, least, 4)):
        with pytest.raises(
            UserError, match=f"^{name}: .* at least {least} x {least} pixels, not {shape[1]} x {shape[2]}"
        ):
            on_meta(name, shape, **settings)


@pytest.mark.parametrize("name", EVERY)
def test_every_network_refuses_4_x_4_pixels_and_names_its_minimum(name: str) -> None:
    with pytest.raises(UserError, match=f"^{name}: .* at least [0-9]+ x [0-9]+ pixels, not 4 x 4.*; choose"):
        on_meta(name, (3, 4, 4))


@pytest.mark.parametrize("name", STEMMED)
def test_auto_stem_is_small_below_64_pixels(name: str) -> None:
    for shape, stem in (((3, 64, 64), "imagenet"), ((3, 63, 80), "small"), ((3, 32, 32), "small")):
        expected = str(on_meta(name, shape, stem=stem))
        assert str(on_meta(name, shape)) == expected
        assert str(on_meta(name, shape, stem="imagenet" if stem == "small" else "small")) != expected


@pytest.mark.parametrize("name", [name for name in STEMMED if "vgg" not in name])
def test_small_stem_keeps_the_images_resolution(name: str) -> None:
    model = on_meta(name, (1, 28, 28))
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    assert (first.in_channels, first.kernel_size, first.stride, first.padding) == (1, (3, 3), (1, 1), (1, 1))
    sizes = []
    with META:
        x = model.prepare(torch.empty(2, 1, 28, 28))
        for stage in model.stages:
            x = stage(x)
            sizes.append(x.shape[-1])
    assert sizes in ([14, 7, 4], [14, 7, 3])  # DenseNet's average pools round down


def test_small_vgg_feeds_the_fifth_pools_vector_to_the_dense_layers() -> None:
    model = on_meta("vgg16", (1, 28, 28))
    with META:
        inputs = model.prepare(torch.empty(2, 1, 28, 28))
        assert inputs.shape == (2, 1, 32, 32)
        assert model.features(inputs).shape == (2, 512, 1, 1)
    assert [layer.in_features for layer in model.head if isinstance(layer, nn.Linear)] == [512, 4096, 4096]
    first = next(layer for layer in on_meta("vgg16", (3, 64, 64)).head if isinstance(layer, nn.Linear))
    assert first.in_features == 512 * 7 * 7


def test_vgg_pads_with_zeros_around_small_images_only() -> None:
    build = load_component("backbone", "vgg16").build
    padded = build((1, 28, 33), 10, width=1 / 64).prepare(torch.ones(2, 1, 28, 33))
    assert padded.shape == (2, 1, 32, 64) and padded.sum() == 2 * 28 * 33
    assert padded[0, 0, 2:30, 15:48].min() == 1 and padded[0, 0, :, 14].max() == 0
    same = torch.ones(1, 3, 33, 40)
    assert build((3, 33, 40), 10, stem="imagenet", width=1 / 64).prepare(same) is same


@pytest.mark.parametrize("name", SCALED)
def test_width_scales_channels_and_hidden_layers(name: str) -> None:
    full, half = on_meta(name, (3, 32, 32)), on_meta(name, (3, 32, 32), width=0.5)
    for one, other in zip(full.modules(), half.modules(), strict=True):
        if isinstance(one, nn.Conv2d):
            assert other.out_channels * 2 == one.out_channels
        elif isinstance(one, nn.Linear) and one.out_features != 10:
            assert other.out_features * 2 == one.out_features
    for width in (1 / 64, 1.3):
        model = on_meta(name, (3, 32, 32), width=width)
        assert run_on_meta(model, (3, 32, 32)).logits.shape == (2, 10)
    with pytest.raises(UserError, match=r"within 0\.015625 \.\. 16"):
        resolve_settings(load_component("backbone", name).SETTINGS, {"width": 0.0}, name)


@pytest.mark.parametrize("name", ["vgg16", "vgg19", "alexnet", "zfnet"])
def test_dropout_reaches_both_dropout_layers(name: str) -> None:
    rates = [layer.p for layer in on_meta(name, (3, 64, 64), dropout=0.1).modules() if isinstance(layer, nn.Dropout)]
    assert rates == [0.1, 0.1]


def test_resnet_stages_end_where_the_map_shrinks() -> None:
    stages = on_meta("resnet18", (3, 224, 224)).stages
    assert [len(stage.body) for stage in stages] == [0, 2, 2, 1, 1]
    shrinking = [type(stage.downsample) for stage in stages]
    assert shrinking == [nn.Conv2d, nn.MaxPool2d, Residual, Residual, Residual]
    assert [stage.out_channels for stage in on_meta("resnet50", (3, 224, 224)).stages] == [64, 64, 512, 1024, 2048]
    small = on_meta("resnet18", (3, 32, 32)).stages
    assert [type(layer) for layer in small[0].body] == [ConvUnit, Residual, Residual]


@pytest.mark.parametrize(
    ("name", "blocks", "projections"),
    [("resnet18", 8, 3), ("resnet34", 16, 3), ("resnet50", 16, 4), ("resnet152", 50, 4)],
)
def test_residual_blocks_are_all_there(name: str, blocks: int, projections: int) -> None:
    found = [layer for layer in on_meta(name, (3, 32, 32)).modules() if isinstance(layer, Residual)]
    assert len(found) == blocks and all(isinstance(block.activation, nn.ReLU) for block in found)
    assert sum(not isinstance(block.shortcut, nn.Identity) for block in found) == projections


def test_googlenet_counts_its_four_pools() -> None:
    stages = on_meta("googlenet", (3, 224, 224)).stages
    assert [stage.stride for stage in stages] == [4, 2, 2, 2] and len(stages[0].body) == 0
    assert [stage.out_channels for stage in stages] == [64, 192, 480, 832]
    shapes = []
    with META:
        x = torch.empty(2, 3, 224, 224)
        for stage in stages:
            x = stage(x)
            shapes.append(x.shape[-1])
    assert shapes == [56, 28, 14, 7]


def test_zfnet_has_the_papers_maps() -> None:
    model = on_meta("zfnet", (3, 224, 224))
    sizes = []
    with META:
        x = torch.empty(2, 3, 224, 224)
        for stage in model.stages:
            x = stage(x)
            sizes.append(x.shape[-1])
    assert sizes == [110, 55, 26, 13, 6]


def test_response_norm_is_krizhevskys() -> None:
    model = on_meta("alexnet", (3, 64, 64))
    layer = next(layer for layer in model.modules() if isinstance(layer, nn.LocalResponseNorm))
    x = 30 * torch.randn(1, 8, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for channel in range(8):
        near = x[0, max(0, channel - 2) : channel + 3].square().sum()
        expected = x[0, channel] / (2 + 1e-4 * near) ** 0.75
        assert layer(x)[0, channel].item() == pytest.approx(expected.item())


def test_no_activation_works_in_place() -> None:
    for name, settings, least, _ in SMALLEST:
        layers = on_meta(name, (3, least, least), **settings).modules()
        assert not any(layer.inplace for layer in layers if isinstance(layer, nn.ReLU)), name
