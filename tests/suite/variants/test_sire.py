"""SIRe: published counts, wiring of S, I and Re by hand, the loss, and refusals (docs/papers.md, section 1)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.backbones import base_cnn, gradient_cnn
from suite.layers.decoders import RESIDUAL_RULES, trace_stage
from suite.layers.model import Backbone, ModelOutput, Stage, parameter_count
from suite.variants import sire

# Avola et al. 2022, Table 3: millions, truncated; AE_1,3,4 is not printed there.
TABLE_3 = {
    (1,): 7.9, (2,): 8.2, (3,): 9.0, (4,): 12.6,
    (1, 2): 8.2, (1, 3): 9.1, (1, 4): 12.6, (2, 3): 9.3, (2, 4): 12.8, (3, 4): 13.7,
    (1, 2, 3): 9.3, (1, 2, 4): 12.9, (2, 3, 4): 14.0, (1, 2, 3, 4): 14.0,
}  # fmt: skip


def small(seed: int = 0, **settings: Any) -> Any:
    torch.manual_seed(seed)
    return base_cnn.build((3, 16, 16), 10, width=0.1, **settings)


def images(batch: int = 4, seed: int = 1) -> Tensor:
    return torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def full_size() -> Backbone:
    return base_cnn.build((3, 32, 32), 100)


@pytest.mark.parametrize("decoders", TABLE_3)
def test_table_3_follows_by_truncation(full_size: Backbone, decoders: tuple[int, ...]) -> None:
    count = parameter_count(sire.apply(full_size, decoders=decoders).model)
    assert math.floor(count / 1e5) / 10 == TABLE_3[decoders]


def test_exact_counts(full_size: Backbone) -> None:
    model = sire.apply(full_size).model
    assert parameter_count(model) == 14_072_944
    assert parameter_count(sire.apply(full_size, decoders=[1, 3, 4]).model) == 13_812_397
    with_norm = [parameter_count(decoder) for decoder in model.decoders.values()]
    assert with_norm == [38_787, 260_547, 1_146_435, 4_687_683]
    alone = [
        sum(parameter_count(m) for m in decoder.modules() if isinstance(m, nn.ConvTranspose2d))
        for decoder in model.decoders.values()
    ]
    assert alone == [38_659, 260_035, 1_145_155, 4_684_867]


def test_components_without_decoders_add_no_parameters() -> None:
    backbone = small()
    graft = sire.apply(backbone, components="Re")
    assert parameter_count(graft.model) == parameter_count(backbone)
    assert graft.extra_loss is None


# --- S ---------------------------------------------------------------------------------------------------------


def _recorded(model: nn.Module, modules: dict[str, nn.Module]) -> dict[str, tuple[Tensor, Tensor]]:
    """Input and output of named modules; filled by the next forward pass (the last call wins)."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    for name, module in modules.items():
        module.register_forward_hook(lambda _, args, out, name=name: seen.update({name: (args[0], out)}))
    return seen


def _wired(
    components: str, skips: str = "block"
) -> tuple[Any, Any, dict[str, tuple[Tensor, Tensor]], dict[str, Tensor]]:
    """A pass through the model with AE_2 alone in eval mode: what its transposed convolutions and stages saw."""
    model: Any = sire.apply(small(), components=components, decoders=2, skips=skips).model
    model.eval()
    mirrors = model.decoders["2"].mirrors
    modules: dict[str, nn.Module] = {}
    for stage, mirror in zip((2, 1), mirrors, strict=True):
        modules |= {f"T{stage}b": mirror.steps[0].step[0], f"T{stage}a": mirror.steps[1].step[0]}
        modules |= {f"step{stage}b": mirror.steps[0], f"step{stage}a": mirror.steps[1]}
        body = model.backbone.stages[stage - 1].body
        modules |= {f"norm{stage}a": body[0].norm, f"norm{stage}b": body[1].norm}
        modules |= {f"pool{stage}": model.backbone.stages[stage - 1].downsample}
    seen = _recorded(model, modules)
    pictures = model.reconstruct(images())
    units = {name[4:]: seen[name][1].relu() for name in seen if name.startswith("norm")}
    return model, pictures, seen, units


@pytest.mark.parametrize("components", ["SI", "SIRe"])
def test_a_blocks_last_map_is_added_where_its_mirror_begins(components: str) -> None:
    """The default, as U-Net does it; nothing is added at the other transposed convolutions."""
    _, pictures, seen, units = _wired(components)
    for stage, below in ((2, seen["pool2"][1]), (1, seen["step2a"][1])):
        upsampled = functional.interpolate(below, scale_factor=2, mode="nearest")
        assert torch.equal(seen[f"T{stage}b"][0], upsampled + units[f"{stage}b"])
        assert torch.equal(seen[f"T{stage}a"][0], seen[f"step{stage}b"][1])
    assert torch.equal(pictures[0], seen["T1a"][1]), "the last transposed convolution is linear, and nothing is added"


@pytest.mark.parametrize("components", ["SI", "SIRe"])
def test_output_adds_each_convolutions_input_to_what_its_mirror_gives(components: str) -> None:
    """Before normalisation and ReLU, and never to the drawn image."""
    model, pictures, seen, units = _wired(components, "output")
    below = functional.interpolate(seen["pool2"][1], scale_factor=2, mode="nearest")
    assert torch.equal(seen["T2b"][0], below)
    steps = [mirror.steps[0].step for mirror in model.decoders["2"].mirrors]
    for stage, step in zip((2, 1), steps, strict=True):
        added = seen[f"T{stage}b"][1] + units[f"{stage}a"]
        assert torch.equal(seen[f"T{stage}a"][0], step[2](step[1](added)))
    step = model.decoders["2"].mirrors[0].steps[1].step
    last = step[2](step[1](seen["T2a"][1] + seen["pool1"][1]))
    assert torch.equal(seen["T1b"][0], functional.interpolate(last, scale_factor=2, mode="nearest"))
    assert torch.equal(pictures[0], seen["T1a"][1])


@pytest.mark.parametrize("components", ["SI", "SIRe"])
def test_every_encoder_convolution_is_added_to_the_input_of_its_mirror(components: str) -> None:
    _, pictures, seen, units = _wired(components, "every")
    for stage, below in ((2, seen["pool2"][1]), (1, seen["step2a"][1])):
        upsampled = functional.interpolate(below, scale_factor=2, mode="nearest")
        assert torch.equal(seen[f"T{stage}b"][0], upsampled + units[f"{stage}b"])
        assert torch.equal(seen[f"T{stage}a"][0], seen[f"step{stage}b"][1] + units[f"{stage}a"])
    assert torch.equal(pictures[0], seen["T1a"][1]), "the last transposed convolution is linear, and nothing is added"


def test_without_s_nothing_is_added() -> None:
    _, _, seen, _ = _wired("IRe")
    assert torch.equal(seen["T2b"][0], functional.interpolate(seen["pool2"][1], scale_factor=2, mode="nearest"))
    assert torch.equal(seen["T1a"][0], seen["step1b"][1])


def test_the_image_never_reaches_its_reconstruction_directly() -> None:
    """With the first convolutions silenced, no picture depends on the image, skips or not."""
    for components in ("SIRe", "SI"):
        model: Any = sire.apply(small(), components=components).model.eval()
        for unit in model.backbone.stages[0].body:
            nn.init.zeros_(unit.conv.weight)
        if components == "SIRe":  # the residual's identity would carry the image on, inside the encoder
            model.residual = None
        for one, other in zip(model.reconstruct(images(seed=1)), model.reconstruct(images(seed=2)), strict=True):
            assert torch.equal(one, other)


def test_an_empty_body_does_not_skip_the_image() -> None:
    convolution = nn.Conv2d(3, 3, 3, stride=2, padding=1)
    backbone = Backbone([Stage(nn.Identity(), convolution, in_channels=3, out_channels=3)], nn.Flatten())
    model: Any = sire.apply(backbone, components="SI").model
    upsampled = functional.interpolate(convolution(images()), size=(16, 16), mode="nearest")
    assert torch.equal(model.reconstruct(images())[0], model.decoders["1"].mirrors[0].steps[0].step(upsampled))


def test_generic_body_is_added_to_the_upsampled_map_where_shapes_match() -> None:
    body = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU())
    pooled = Stage(body, nn.MaxPool2d(2), in_channels=3, out_channels=5)
    strided = Stage(nn.Conv2d(5, 6, 1), nn.Conv2d(6, 7, 3, 2, 1), in_channels=5, out_channels=7)
    model: Any = sire.apply(Backbone([pooled, strided], nn.Flatten()), components="SI").model
    seen = _recorded(model, {f"T{i}": model.decoders[str(i)].mirrors[0].steps[0].step for i in (1, 2)})
    pictures = model.reconstruct(images())
    mapped = body(images())
    upsampled = functional.interpolate(pooled(images()), size=(16, 16), mode="nearest")
    assert torch.equal(seen["T1"][0], upsampled + mapped)
    upsampled = functional.interpolate(strided(pooled(images())), size=(8, 8), mode="nearest")
    assert torch.equal(seen["T2"][0], upsampled), "6 channels don't fit on 7: no skip"
    assert [picture.shape for picture in pictures] == [(4, 3, 16, 16)] * 2


def test_odd_maps_are_upsampled_to_their_recorded_size() -> None:
    model: Any = sire.apply(gradient_cnn.build((1, 15, 13), 10)).model.train()
    output = model(torch.randn(4, 1, 15, 13))
    assert [picture.shape for picture in output.reconstructions] == [(4, 1, 15, 13)]


# --- Re --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RESIDUAL_RULES)
def test_residual_by_hand(rule: str) -> None:
    backbone = small().eval()
    model = sire.apply(backbone, components="Re", residual=rule).model.eval()
    x = images()
    for stage in backbone.stages:
        first, second = stage.body
        summed = second.conv(first.norm(first.conv(x)).relu())
        if rule == "before_activation":
            summed = second.norm(summed)
        summed[:, : x.shape[1]] += x  # further channels get the zeros of the padding
        if rule == "before_norm":
            summed = second.norm(summed)
        x = functional.max_pool2d(summed.relu(), 2)
    assert torch.allclose(model(images()).logits, backbone.head(x), atol=1e-6)
    assert not torch.allclose(model(images()).logits, backbone(images()).logits, atol=1e-3)


@pytest.mark.parametrize("rule", RESIDUAL_RULES)
def test_residual_spans_the_last_two_of_three(rule: str) -> None:
    stage = small().stages[2].eval()
    stage.body.insert(0, small(seed=5).stages[2].body[0].eval())
    stage.body[1] = small(seed=6).stages[2].body[1].eval()
    model: Any = sire.apply(Backbone([stage], nn.Flatten()), components="Re", residual=rule).model.eval()
    x = torch.randn(2, stage.in_channels, 8, 8, generator=torch.Generator().manual_seed(0))
    start = stage.body[0](x)
    last, inner = stage.body[2], stage.body[1](start)
    summed = last.before_activation(inner) + start
    if rule == "before_norm":
        summed = last.norm(last.conv(inner) + start)
    assert torch.equal(model.backbone.features(x), stage(x))  # the backbone itself is unchanged
    assert torch.equal(model(x).logits, functional.max_pool2d(summed.relu(), 2).flatten(1))


def test_the_sum_before_the_norm_is_normalised_for_the_classifier() -> None:
    """However large a block's input is: what keeps Re stable at the paper's rate."""
    for rule, grows in (("before_norm", False), ("before_activation", True)):
        model: Any = sire.apply(small(), components="Re", residual=rule).model.train()
        [stage] = list(model.backbone.stages)[1:2]
        x = 100 * torch.rand(4, stage.in_channels, 8, 8, generator=torch.Generator().manual_seed(0))
        out = trace_stage(stage, x, residual=model.residual, skips=None).output
        assert (float(out.detach().max()) > 20) == grows


def test_decoders_alone_leave_the_classifier_as_it_is() -> None:
    backbone = small().eval()
    assert torch.equal(sire.apply(backbone, components="SI").model.eval()(images()).logits, backbone(images()).logits)


# --- modes and loss --------------------------------------------------------------------------------------------


def test_decoders_run_in_training_mode_only() -> None:
    model: Any = sire.apply(small()).model
    calls: list[str] = []
    for name, decoder in model.decoders.items():
        decoder.register_forward_hook(lambda *_, name=name: calls.append(name))
    assert model.eval()(images()).reconstructions == [] and calls == []
    output = model.train()(images())
    assert len(output.reconstructions) == 4 and calls == ["1", "2", "3", "4"]
    assert sorted(output.scalars) == [f"reconstruction_mse_{i}" for i in range(1, 5)]
    assert not any(value.requires_grad for value in output.scalars.values())
    pictures = model.eval().reconstruct(images())
    assert [picture.shape for picture in pictures] == [(4, 3, 16, 16)] * 4
    assert not any(picture.requires_grad for picture in pictures)


def test_loss_is_the_weighted_sum_of_mean_squared_errors() -> None:
    graft = sire.apply(small(), decoders=[4, 1], **{"lambda": [0.1, 0.5]})
    assert graft.extra_loss is not None
    inputs = torch.zeros(2, 3, 4, 4)
    output = ModelOutput(torch.zeros(2, 10), reconstructions=[inputs + 2.0, inputs + 3.0], inputs=inputs)
    assert graft.extra_loss(output).item() == pytest.approx(0.1 * 4.0 + 0.5 * 9.0)


def test_loss_is_float32_under_bf16_autocast() -> None:
    graft = sire.apply(small())
    assert graft.extra_loss is not None
    with torch.autocast("cpu", torch.bfloat16):
        output = graft.model.train()(images())
        assert output.reconstructions[0].dtype == torch.bfloat16
        assert graft.extra_loss(output).dtype == torch.float32


def test_per_class_divides_the_cross_entropy() -> None:
    assert sire.apply(small(), ce_scale="per_class").cross_entropy_scale == 0.1
    assert sire.apply(small()).cross_entropy_scale == 1.0


def _trained(**settings: Any) -> dict[str, Tensor]:
    """The backbone's state after some SGD steps; every run sees the same data and dropout."""
    graft = sire.apply(small(), **settings)
    graft.model.train()
    optimiser = torch.optim.SGD(graft.model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for step in range(3):
        torch.manual_seed(step)
        output = graft.model(images(seed=step))
        loss = functional.cross_entropy(output.logits, torch.arange(4))
        loss = loss if graft.extra_loss is None else loss + graft.extra_loss(output)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return {name: value for name, value in graft.model.state_dict().items() if name.startswith("backbone.")}


def test_lambda_0_trains_to_the_bits_of_the_model_without_decoders() -> None:
    without, silent = _trained(components="Re"), _trained(components="SIRe", **{"lambda": 0.0})
    assert without.keys() == silent.keys()
    assert all(torch.equal(without[name], silent[name]) for name in without)
    weighed = _trained(components="SIRe", **{"lambda": 0.2})
    assert any(not torch.equal(without[name], weighed[name]) for name in without)


def test_a_decoder_of_weight_0_cannot_spoil_the_loss() -> None:
    graft = sire.apply(small(), decoders=[1, 2], **{"lambda": [0.0, 0.5]})
    assert graft.extra_loss is not None
    inputs = torch.zeros(2, 3, 4, 4)
    output = ModelOutput(torch.zeros(2, 10), reconstructions=[inputs + math.inf, inputs + 2.0], inputs=inputs)
    assert graft.extra_loss(output).item() == 2.0


def test_lambda_trains_every_decoder_and_the_encoder_but_not_the_classifier() -> None:
    graft = sire.apply(small())
    assert graft.extra_loss is not None
    graft.extra_loss(graft.model.train()(images())).backward()
    unmoved = {name for name, parameter in graft.model.named_parameters() if parameter.grad is None}
    assert unmoved == {name for name, _ in graft.model.named_parameters() if name.startswith("backbone.head.")}
