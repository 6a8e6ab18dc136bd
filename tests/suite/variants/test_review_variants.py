"""Switches and blocks of the large-scale review, on small networks of the classes that they look for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torchvision.models.googlenet import Inception
from torchvision.models.inception import InceptionB

from suite.backbones import base_cnn, gradient_cnn
from suite.core import recipes, settings
from suite.core.errors import UserError
from suite.core.registry import load_component
from suite.layers.model import Auxiliary, Backbone, ConvUnit, Residual, Stage, parameter_count
from suite.layers.surgery import replace
from suite.models import grafting
from suite.models.cost import count_network_costs

SWITCHES = (
    "squeeze_excite",
    "stochastic_depth",
    "no_batch_norm",
    "tanh",
    "no_lrn",
    "no_dropout",
    "no_aux",
    "no_skip",
    "non_overlapping_pooling",
)
IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(7))


def unit(channels: int, out: int, **kwargs: Any) -> ConvUnit:
    return ConvUnit(nn.Conv2d(channels, out, bias=False, **kwargs), nn.BatchNorm2d(out))


def block(channels: int, out: int) -> Residual:
    branch = nn.Sequential(unit(channels, out, kernel_size=3, padding=1), nn.Conv2d(out, out, 1), nn.BatchNorm2d(out))
    shortcut = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1, bias=False)
    return Residual(branch, shortcut, nn.ReLU())


def network(tail: nn.Module, channels: int, pool: nn.Module | None = None) -> Backbone:
    """A stem of 8 channels, a pool, the tail under test and a linear classifier."""
    stem = nn.Sequential(unit(3, 8, kernel_size=3, padding=1))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))
    return Backbone([Stage(stem, pool or nn.MaxPool2d(2), in_channels=3, out_channels=8)], head, tail)


def residual_net() -> Backbone:
    torch.manual_seed(0)
    return network(nn.Sequential(block(8, 8), block(8, 16), block(16, 16)), 16)


def inception_net() -> Backbone:
    torch.manual_seed(0)
    auxiliary = Auxiliary(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)), 0.3)
    inception = Inception(8, 4, 2, 4, 2, 4, 4, conv_block=unit)
    return network(nn.Sequential(inception, auxiliary), 16, nn.MaxPool2d(3, stride=2, ceil_mode=True))


def alex_net() -> Backbone:
    torch.manual_seed(0)
    tail = nn.Sequential(nn.LocalResponseNorm(5, alpha=0.5), nn.Dropout(0.5))
    return network(tail, 8, nn.MaxPool2d(3, stride=2))


def kept(before: Backbone, after: nn.Module) -> set[str]:
    """Names that both have; their values must be equal."""
    old, new = before.state_dict(), after.state_dict()
    shared = old.keys() & new.keys()
    assert all(torch.equal(old[name], new[name]) for name in shared)
    return shared


def apply(variant: str, backbone: Backbone, **chosen: Any) -> Any:
    return load_component("variant", variant).apply(backbone, **chosen)


def squeezed(gate: Any, x: Tensor) -> Tensor:
    """Equations 2-4 of Hu et al. with the gate's weights as dense matrices."""
    z = x.mean((2, 3))
    hidden = torch.relu(z @ gate.fc1.weight.flatten(1).T + gate.fc1.bias)
    scale = torch.sigmoid(hidden @ gate.fc2.weight.flatten(1).T + gate.fc2.bias)
    return x * scale[:, :, None, None]


def test_squeeze_excite_scales_a_residual_branch_before_the_sum() -> None:
    plain, backbone = residual_net().eval(), apply("squeeze_excite", residual_net()).model.eval()
    assert kept(plain, backbone) == plain.state_dict().keys()
    x = torch.randn(2, 8, 5, 5)
    old, new = plain.tail[1], backbone.tail[1]
    expected = torch.relu(squeezed(new.branch[-1], old.branch(x)) + old.shortcut(x))
    assert torch.allclose(new(x), expected, atol=1e-6)


def test_squeeze_excite_adds_what_se_resnet_50_adds() -> None:
    with torch.device("meta"):
        backbone = load_component("backbone", "resnet50").build((3, 32, 32), 10)
        before = parameter_count(backbone)
        after = parameter_count(apply("squeeze_excite", backbone).model)
    assert after - before == 28_088_024 - 25_557_032  # timm's seresnet50 and resnet50


def test_squeeze_excite_follows_an_inception_block() -> None:
    plain, backbone = inception_net().eval(), apply("squeeze_excite", inception_net(), reduction=5).model.eval()
    assert kept(plain, backbone) == plain.state_dict().keys()
    added = backbone.state_dict().keys() - plain.state_dict().keys()
    assert added == {f"tail.0.squeeze_excite.fc{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")}
    assert backbone.tail[0].squeeze_excite.fc1.out_channels == 3
    x = torch.randn(2, 8, 5, 5)
    assert torch.allclose(backbone.tail[0](x), squeezed(backbone.tail[0].squeeze_excite, plain.tail[0](x)), atol=1e-6)
    other = copy.deepcopy(backbone)
    nn.init.zeros_(other.tail[0].squeeze_excite.fc2.weight)
    nn.init.zeros_(other.tail[0].squeeze_excite.fc2.bias)
    assert torch.allclose(other.tail[0](x), plain.tail[0](x) / 2), "a copy runs its own block"


def test_squeeze_excite_counts_channels_of_blocks_that_pool() -> None:
    backbone = network(nn.Sequential(InceptionB(8, conv_block=unit)), 488)
    model = apply("squeeze_excite", backbone).model
    assert model.tail[0].squeeze_excite.fc1.in_channels == 384 + 96 + 8


def test_squeeze_excite_on_a_plain_backbone_follows_every_activation_and_composes() -> None:
    def build() -> Backbone:
        torch.manual_seed(0)
        return base_cnn.build((3, 16, 16), 10, width=1 / 16)

    plain, model = build(), apply("squeeze_excite", build(), reduction=2).model
    assert kept(plain, model) == plain.state_dict().keys()
    assert parameter_count(model) - parameter_count(plain) == sum(
        2 * (2 * c * (c // 2) + c // 2 + c) for c in (4, 8, 16, 32)
    )
    old, new = plain.stages[0].body[0], model.stages[0].body[0]
    assert torch.allclose(new(IMAGES), squeezed(new.activation[1], old(IMAGES)), atol=1e-6)
    composed = grafting.graft_variant(build(), "squeeze_excite+sire", {"squeeze_excite.reduction": 2})
    output = composed.model(IMAGES)
    assert len(output.reconstructions) == 4
    assert composed.extra_loss is not None and composed.extra_loss(output).isfinite()


def test_squeeze_excite_goes_in_once() -> None:
    with pytest.raises(UserError, match="has squeeze-and-excitation blocks already"):
        apply("squeeze_excite", apply("squeeze_excite", residual_net()).model)
    with torch.device("meta"):
        backbone = load_component("backbone", "senet154").build((3, 32, 32), 10)
    with pytest.raises(UserError, match="has squeeze-and-excitation blocks already"):
        apply("squeeze_excite", backbone)


def test_squeeze_excite_never_squeezes_to_nothing() -> None:
    assert apply("squeeze_excite", residual_net(), reduction=64).model.tail[0].branch[-1].fc1.out_channels == 1


def test_stochastic_depth_decays_linearly_and_keeps_the_expectation() -> None:
    backbone = apply("stochastic_depth", residual_net(), survival=0.4).model
    assert [round(1 - one.branch[-1].p, 6) for one in backbone.tail] == [0.8, 0.6, 0.4]
    dropping = apply("stochastic_depth", network(Residual(nn.Sequential(nn.Conv2d(8, 8, 1))), 8), survival=0.4).model
    torch.manual_seed(1)
    added = dropping.tail(torch.ones(20_000, 8, 1, 1)) - 1
    branch = dropping.tail.branch[0](torch.ones(1, 8, 1, 1))
    alive = (added.abs() > 1e-5).all(1).flatten()  # images are dropped whole, each on its own
    assert alive.float().mean() == pytest.approx(0.4, abs=0.02)
    assert torch.allclose(added[alive], (branch / 0.4).expand_as(added[alive]), atol=1e-5)
    assert torch.allclose(dropping.eval().tail(torch.ones(1, 8, 1, 1)), 1 + branch)


@pytest.mark.parametrize("survival", [0, -0.1, 1.5, True, "half"])
def test_stochastic_depth_survives_with_a_probability(survival: Any) -> None:
    with pytest.raises(UserError, match=r"stochastic_depth.survival: must be a probability above 0"):
        settings.resolve_settings(
            load_component("variant", "stochastic_depth").SETTINGS, {"survival": survival}, "stochastic_depth"
        )


def test_no_batch_norm_keeps_a_shift_where_the_convolution_has_none() -> None:
    plain, backbone = residual_net().eval(), apply("no_batch_norm", residual_net()).model.eval()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    lost = plain.state_dict().keys() - kept(plain, backbone)
    # Units keep their shift; the norm after the branch's last convolution, which has a bias, goes wholly.
    assert "tail.0.branch.0.norm.bias" in backbone.state_dict() and "tail.0.branch.2.bias" in lost
    assert backbone.state_dict().keys() < plain.state_dict().keys()
    # At the start a norm's running mean is 0, its variance and scale are 1: it only divides by sqrt(1 + 1e-5).
    assert torch.allclose(backbone(IMAGES).logits, plain(IMAGES).logits, atol=1e-4)
    backbone.stages[0].body[0].norm.bias.data += torch.arange(8.0)
    x = torch.zeros(1, 3, 4, 4)
    assert backbone.stages[0].body(x)[0, :, 2, 2].tolist() == list(range(8))


def test_no_batch_norm_adds_no_second_bias() -> None:
    backbone = gradient_cnn.build((1, 28, 28), 10)
    assert parameter_count(apply("no_batch_norm", backbone).model) == 50_938 - 2 * 4


def test_no_batch_norm_keeps_the_shift_of_channels_that_no_bias_reaches() -> None:
    dense = nn.Sequential(nn.Conv2d(8, 4, 1), nn.Upsample(scale_factor=2), nn.PixelUnshuffle(2), nn.BatchNorm2d(16))
    model = apply("no_batch_norm", network(dense, 16)).model
    assert model.tail[3].bias.shape == (16,) and model(IMAGES).logits.shape == (4, 10)


def test_no_batch_norm_keeps_the_activation_that_a_timm_norm_holds() -> None:
    backbone = network(nn.Sequential(nn.Conv2d(8, 8, 1), BatchNormAct2d(8)), 8)
    model = apply("no_batch_norm", backbone).model
    assert (model.tail[1](-torch.ones(1, 8, 2, 2)) == 0).all()
    backbone = network(nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), BatchNormAct2d(8)), 8)
    model = apply("no_batch_norm", backbone).model
    assert "tail.1.bias" in model.state_dict() and (model.tail[1](-torch.ones(1, 8, 2, 2)) == 0).all()


def test_no_batch_norm_leaves_norms_of_dense_maps_shaped() -> None:
    backbone = network(nn.Identity(), 8)
    backbone.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(8), nn.Linear(8, 10))
    assert apply("no_batch_norm", backbone).model(IMAGES).logits.shape == (4, 10)


def test_tanh_replaces_every_relu() -> None:
    plain, backbone = residual_net(), apply("tanh", residual_net()).model
    assert kept(plain, backbone) == plain.state_dict().keys() == backbone.state_dict().keys()
    kinds = [type(module) for module in backbone.modules()]
    assert nn.ReLU not in kinds
    assert kinds.count(nn.Tanh) == 7
    x = torch.randn(1, 3, 4, 4)
    stem = backbone.eval().stages[0].body[0]
    assert torch.equal(stem(x), torch.tanh(stem.before_activation(x)))


def test_no_lrn_and_no_dropout_take_their_layers_out() -> None:
    backbone = apply("no_dropout", apply("no_lrn", alex_net()).model).model.train()
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(backbone.tail(x), x)
    assert not torch.equal(apply("no_dropout", alex_net()).model.tail(x), x), "the normalisation stays"


def test_no_dropout_has_nothing_to_do_at_probability_0() -> None:
    with pytest.raises(UserError, match="no_dropout: this backbone drops nothing"):
        apply("no_dropout", base_cnn.build((3, 16, 16), 10, width=1 / 16, dropout=0.0))


def test_no_aux_takes_the_heads_and_their_loss_out() -> None:
    plain, backbone = inception_net(), apply("no_aux", inception_net()).model
    assert len(plain(IMAGES).auxiliary_logits) == 1
    output = backbone(IMAGES)
    assert output.auxiliary_logits == [] and torch.equal(output.logits, plain(IMAGES).logits)
    assert parameter_count(plain) - parameter_count(backbone) == 16 * 10 + 10


def test_no_skip_leaves_the_branch_and_its_activation() -> None:
    plain, backbone = residual_net().eval(), apply("no_skip", residual_net()).model.eval()
    lost = plain.state_dict().keys() - kept(plain, backbone)
    assert lost == {"tail.1.shortcut.weight"}
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(backbone.tail[1](x), torch.relu(plain.tail[1].branch(x)))


@pytest.mark.parametrize("size", [3, 7, 8, 16, 32, 55])
@pytest.mark.parametrize(
    "pool", [nn.MaxPool2d(3, 2), nn.MaxPool2d(3, 2, padding=1), nn.MaxPool2d((3, 2), (2, 2), ceil_mode=True)]
)
def test_non_overlapping_pooling_keeps_sizes(size: int, pool: nn.MaxPool2d) -> None:
    x = torch.randn(1, 2, size, size + 1)
    tiled = apply("non_overlapping_pooling", network(nn.Identity(), 8, pool)).model.stages[0].downsample
    assert tiled(x).shape == pool(x).shape and tiled(x).isfinite().all()


def test_non_overlapping_pooling_tiles_the_map() -> None:
    x = torch.arange(49.0).reshape(1, 1, 7, 7)
    tiled = apply("non_overlapping_pooling", alex_net()).model.stages[0].downsample
    # The pool of 3 x 3 gives 3 x 3 windows; those of 2 x 2 reach rows and columns 0..5.
    assert tiled(x)[0, 0].tolist() == [[8, 10, 12], [22, 24, 26], [36, 38, 40]]
    even = torch.arange(64.0).reshape(1, 1, 8, 8)  # 1 row and column is cut off at each side
    assert tiled(even)[0, 0].tolist() == [[18, 20, 22], [34, 36, 38], [50, 52, 54]]


def test_non_overlapping_pooling_spares_pools_that_shrink_nothing() -> None:
    model = apply("non_overlapping_pooling", inception_net()).model
    assert type(model.stages[0].downsample) is not nn.MaxPool2d
    assert type(model.tail[0].branch4[0]) is nn.MaxPool2d
    with pytest.raises(UserError, match="no downsampling max pool"):
        apply("non_overlapping_pooling", model)


@pytest.mark.parametrize("build", [residual_net, inception_net, alex_net])
@pytest.mark.parametrize("variant", SWITCHES)
def test_plans_on_the_meta_device(variant: str, build: Callable[[], Backbone]) -> None:
    with torch.device("meta"):
        backbone = build()
        before = parameter_count(backbone)
        try:
            graft = apply(variant, backbone)
        except UserError:
            assert parameter_count(backbone) == before, "what is refused is left as it was"
            return
    assert all(parameter.is_meta for parameter in graft.model.parameters())
    counted = count_network_costs(graft, (3, 16, 16))
    assert counted.parameters == parameter_count(graft.model) and counted.macs > 0


@pytest.mark.parametrize("variant", SWITCHES)
def test_a_variant_that_would_change_nothing_is_refused(variant: str) -> None:
    bare = Backbone([], nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10)))
    with pytest.raises(UserError, match=f"^{variant}: .*(choose|leave)"):
        apply(variant, bare)


def test_replacing_counts_changes_and_makes_shared_modules_once() -> None:
    shared = nn.ReLU()
    root = nn.Sequential(shared, nn.Sequential(shared, nn.Tanh()))
    assert replace(root, nn.ReLU, lambda module: module) == 0
    assert replace(root, nn.ReLU, lambda _: nn.Sigmoid()) == 1
    assert root[0] is root[1][0] and isinstance(root[0], nn.Sigmoid)


def test_training_changes_named_knobs_alone() -> None:
    training = load_component("variant", "training")
    chosen = settings.resolve_settings(
        training.SETTINGS, {"lr": 1, "milestones": [0.5], "schedule": "step"}, "training"
    )
    assert training.recipe(**chosen) == {"lr": 1.0, "milestones": (0.5,), "schedule": "step"}
    assert set(training.SETTINGS) <= set(recipes.KNOBS)
    backbone = residual_net()
    assert training.apply(backbone, **chosen).model is backbone
    with pytest.raises(UserError, match="training: changes nothing; name at least one knob of optimizer, lr"):
        training.apply(backbone, **settings.resolve_settings(training.SETTINGS, {}, "training"))


@pytest.mark.parametrize(("knob", "given"), [("lr", -1), ("optimizer", "sgdd"), ("milestones", [2]), ("flip", 1)])
def test_training_checks_values_as_the_recipe_does(knob: str, given: Any) -> None:
    with pytest.raises(UserError, match=rf"^training.{knob}: must "):
        settings.resolve_settings(load_component("variant", "training").SETTINGS, {knob: given}, "training")


def test_no_augmentation_changes_the_recipe_alone() -> None:
    variant, backbone = load_component("variant", "no_augmentation"), residual_net()
    assert variant.recipe() == {"augment": False} and variant.apply(backbone).model is backbone
    assert set(variant.recipe()) <= set(recipes.KNOBS)
