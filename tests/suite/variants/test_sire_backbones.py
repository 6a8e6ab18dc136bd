"""SIRe on VGG, ResNet and GoogLeNet: counts of docs/papers.md, section 1, and the mirrors of their blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from suite.backbones import googlenet, resnet18
from suite.core.specs import Cell, Component, Streams, freeze_settings
from suite.layers.decoders import trace_stage
from suite.layers.mirrors import InceptionMirror, ResidualMirror, trace_layer
from suite.layers.model import Residual
from suite.models.assembly import assemble_network, cell_costs, describe_network
from suite.variants import sire

IMAGENET = (3, 224, 224)


def cell(backbone: str, variant: str = "sire", **settings: Any) -> Cell:
    return Cell(Component("imagenet"), Component(backbone, freeze_settings(settings)), Component(variant))


def parameters(backbone: str, variant: str) -> int:
    return cell_costs(cell(backbone, variant), IMAGENET, 1000).parameters


@pytest.mark.parametrize(
    ("backbone", "alone", "added"),
    [
        ("vgg16", 138_357_544, 24_382_863),  # the rule's; the paper prints 22.6M
        ("vgg19", 143_667_240, 33_232_527),  # 176,899,767, printed 176.8M
        ("resnet34", 21_797_672, 31_164_111),  # ours: the paper's +28.6M doesn't follow from its text
        ("resnet50", 25_557_032, 33_866_959),  # 59,423,991, printed 59.4M
        ("googlenet", 13_004_888, 4_031_276),  # printed +4.0M
    ],
)
def test_parameters_of_the_imagenet_networks(backbone: str, alone: int, added: int) -> None:
    assert parameters(backbone, "baseline") == alone
    assert parameters(backbone, "sire") == alone + added


@pytest.mark.parametrize(
    ("backbone", "imagenet", "small"), [("vgg16", 5, 5), ("resnet34", 5, 3), ("resnet50", 5, 3), ("googlenet", 4, 3)]
)
def test_a_decoder_per_downsampling_step(backbone: str, imagenet: int, small: int) -> None:
    for stem, decoders in (("imagenet", imagenet), ("small", small)):
        model: Any = assemble_network(cell(backbone, stem=stem), (3, 64, 64), 10, streams=None).model
        assert len(model.decoders) == decoders


def test_a_residual_stage_is_mirrored_whole_and_its_decoder_hangs_behind_it() -> None:
    backbone = resnet18.build((3, 32, 32), 10, width=1 / 8)
    model: Any = sire.apply(backbone, components="IRe").model.eval()
    seen: dict[str, Tensor] = {}
    behind = [backbone.stages[1].body, backbone.stages[2].body, backbone.tail]  # layer 2, 3 and 4, whole
    for number, layers in enumerate(behind, start=1):
        layers[-1].register_forward_hook(lambda _, __, out, number=number: seen.update({f"map{number}": out}))
        first = model.decoders[str(number)].rest[0]
        first.register_forward_hook(lambda _, given, __, number=number: seen.update({f"given{number}": given[0]}))
    model.reconstruct(torch.randn(2, 3, 32, 32))
    for number in (1, 2, 3):
        assert torch.equal(seen[f"map{number}"], seen[f"given{number}"])
        blocks = [module for module in model.decoders[str(number)].modules() if isinstance(module, ResidualMirror)]
        assert len(blocks) == 2 * (number + 1), "two blocks a layer, layer 1 included"


def test_one_convolution_stands_between_the_last_residual_mirror_and_the_drawing_layer() -> None:
    model: Any = sire.apply(resnet18.build((3, 32, 32), 10, width=1 / 8)).model
    for decoder in model.decoders.values():
        *_, block, unit, drawing = decoder.mirrors[-1].steps
        assert isinstance(block, ResidualMirror)
        assert [type(layer).__name__ for layer in unit.step] == ["ConvTranspose2d", "BatchNorm2d", "ReLU"]
        assert [type(layer).__name__ for layer in drawing.step] == ["ConvTranspose2d"]


def residual(into: int, out: int) -> Residual:
    branch = nn.Sequential(
        nn.Conv2d(into, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(), nn.Conv2d(out, out, 3, padding=1)
    )
    return Residual(branch, nn.Identity() if into == out else nn.Conv2d(into, out, 1), nn.ReLU())


def seen_by(steps: Any) -> list[Tensor]:
    """Inputs of the steps' transposed convolutions, filled by the next pass."""
    inputs: list[Tensor] = []
    for step in steps:
        step[0].register_forward_hook(lambda _, given, __: inputs.append(given[0]))
    return inputs


@pytest.mark.parametrize(("into", "out"), [(4, 4), (4, 6)])
def test_residual_mirror_adds_each_convolution_to_the_input_of_its_own(into: int, out: int) -> None:
    torch.manual_seed(0)
    block, x = residual(into, out), torch.randn(2, into, 5, 5)
    mirror, below = ResidualMirror(block), torch.randn(2, out, 5, 5)
    output, skips = trace_layer(block, x)
    assert torch.equal(output, block(x)), "tracing changes nothing (here without running statistics in the way)"
    inputs = seen_by(mirror.steps)
    back = mirror(below, skips)
    first = block.branch[:3](x)
    assert torch.allclose(inputs[0], below + block.branch[3](first), atol=1e-6)
    assert torch.allclose(inputs[1], mirror.steps[0](below + skips[0]) + first, atol=1e-6)
    assert back.shape == x.shape and (back >= 0).all()
    assert isinstance(mirror.shortcut, nn.Identity) == (into == out)


def test_inception_mirror_is_the_block_backwards() -> None:
    torch.manual_seed(0)
    block: Any = googlenet.build((3, 16, 16), 10, width=1 / 8).stages[1].body[0]
    block.eval()
    into = block.branch1.conv.in_channels
    x = torch.rand(2, into, 6, 6)
    output, skips = trace_layer(block, x)
    mirror = InceptionMirror(block).eval()
    kernels = [tuple(p.shape[-2:]) for p in mirror.parameters() if p.dim() == 4]
    assert kernels == [(1, 1), (3, 3), (1, 1), (3, 3), (1, 1), (1, 1)]
    weights = sum(p.numel() for p in block.parameters() if p.dim() == 4)
    assert sum(p.numel() for p in mirror.parameters() if p.dim() == 4) == weights
    inputs = [seen_by(steps) for steps in mirror.branches]
    below = torch.rand_like(output)
    assert mirror(below, skips).shape == x.shape
    reduced = block.branch2[0](x)
    assert torch.allclose(inputs[1][1], mirror.branches[1][0](inputs[1][0]) + reduced, atol=1e-6)
    split = (below + output).split(mirror.widths, dim=1)
    assert torch.equal(inputs[0][0], split[0])
    assert torch.equal(inputs[3][0], nn.functional.max_pool2d(split[3], 3, stride=1, padding=1))


def test_skips_stand_with_the_bodys_mirrors_and_not_with_the_downsamplings() -> None:
    backbone = resnet18.build((3, 32, 32), 10, width=1 / 8)
    model: Any = sire.apply(backbone, components="SI").model.eval()
    images = torch.randn(2, 3, 32, 32)
    x = backbone.prepare(images)
    for stage, mirror in zip(backbone.stages, model.decoders["3"].mirrors[::-1], strict=True):
        trace = trace_stage(stage, x, residual=None, skips="every")  # type: ignore[arg-type]
        assert len(trace.skips) <= len(mirror.steps)
        assert trace.skips[0] == [], "the strided block comes first in the mirror"
        assert all(skip is not None and skip.shape[-2:] == trace.size for own in trace.skips[1:] for skip in own)
        x = trace.output
    assert [picture.shape for picture in model.reconstruct(images)] == [images.shape] * 3


@pytest.mark.parametrize("backbone", ["resnet18", "googlenet", "vgg16"])
def test_the_image_is_drawn_by_a_linear_convolution(backbone: str) -> None:
    torch.manual_seed(0)
    graft = assemble_network(cell(backbone, width=1 / 16), (3, 32, 32), 10, streams=Streams("search", 0))
    output = graft.model.train()(torch.randn(4, 3, 32, 32))
    for picture in output.reconstructions:
        assert picture.shape == (4, 3, 32, 32) and picture.min() < 0 < picture.max()


@pytest.mark.parametrize(
    ("backbone", "shape", "settings", "revision"),
    [
        ("base_cnn", (3, 32, 32), {}, "skips-block+residual-before-norm"),
        ("base_cnn", (3, 32, 32), {"components": "SI"}, "skips-block"),
        ("base_cnn", (3, 32, 32), {"components": "IRe"}, "residual-before-norm"),
        ("base_cnn", (3, 32, 32), {"components": "Re"}, "residual-before-norm"),
        ("base_cnn", (3, 32, 32), {"components": "Re", "residual": "before_activation"}, ""),
        ("base_cnn", (3, 32, 32), {"skips": "every", "components": "SI"}, ""),
        ("base_cnn", (1, 28, 28), {"components": "I"}, "black-padding"),
        ("base_cnn", (1, 28, 28), {}, "black-padding+skips-block+residual-before-norm"),
        ("vgg16", (3, 32, 32), {"components": "Re"}, ""),  # no batch norm: both rules are one
        ("gradient_cnn", (1, 28, 28), {}, ""),  # one convolution before its pool: block and every are one
        ("resnet34", (3, 32, 32), {}, "skips-block+whole-stages"),
        ("resnet34", (3, 32, 32), {"components": "I"}, "whole-stages"),
        ("googlenet", (3, 64, 64), {"components": "I"}, ""),
    ],
)
def test_what_means_something_else_since_has_another_key(
    backbone: str, shape: tuple[int, int, int], settings: dict[str, Any], revision: str
) -> None:
    extended = Cell(Component("any"), Component(backbone), Component("sire", freeze_settings(settings)))
    assert describe_network(extended, shape, 10)[1] == revision
    alone = Cell(Component("any"), Component(backbone), Component("baseline"))
    assert describe_network(alone, shape, 10)[1] == ("black-padding" if "black-padding" in revision else "")
