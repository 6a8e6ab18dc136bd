"""DiffStride, spectral pooling and their hybrids grafted onto backbones (docs/papers.md, section 3)."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.backbones import base_cnn, gradient_cnn
from suite.core.errors import UserError
from suite.core.recipes import Recipe
from suite.core.specs import Component, freeze_settings
from suite.layers.model import Backbone, Graft, PoolingConv2d, Stage, parameter_count
from suite.layers.shrinking import SPECTRAL, find_places
from suite.layers.spectral import DiffStride, FixedSpectralPool, HartleyPool
from suite.models import grafting
from suite.models.assembly import build_backbone
from suite.models.cost import count_network_costs
from suite.training.loop import build_optimizer
from suite.variants import diffstride, hybrid, spectral

Kind = TypeVar("Kind", bound=nn.Module)

# docs/papers.md, section 3: side of the map after the stem and stages 2-4 (stage 1 keeps it), and GMAC.
TUPLE = (1, 1, 2, 2, 2)
TABLE = {
    (1, 1, 2, 2, 2): ([32, 24, 20, 18], 4.21, [(32, 32), (16, 16), (8, 8), (4, 4)], 0.74),
    (1, 1, 2, 2, 3): ([32, 24, 20, 16], 3.72, [(32, 32), (16, 16), (8, 8), (2, 2)], 0.66),
    (1, 1, 1, 3, 1): ([32, 32, 20, 20], 5.09, [(32, 32), (32, 32), (10, 10), (10, 10)], 2.04),
    (1, 1, 3, 1, 3): ([32, 20, 20, 16], 3.59, [(32, 32), (10, 10), (10, 10), (2, 3)], 0.66),
    (1, 1, 3, 1, 2): ([32, 20, 20, 18], 4.07, [(32, 32), (10, 10), (10, 10), (4, 5)], 0.76),
    (1, 1, 3, 2, 3): ([32, 20, 18, 14], 2.93, [(32, 32), (10, 10), (4, 5), (2, 2)], 0.40),
}
STEM = "stages.0.body.0"
BRANCH, SHORTCUT = "stages.0.downsample.branch.2", "stages.0.downsample.shortcut"


def preact(strides: tuple[int, ...] = TUPLE, classes: int = 10, width: float = 1.0, size: int = 32) -> Backbone:
    torch.manual_seed(0)
    settings = freeze_settings({"strides": strides, "width": width})
    return build_backbone(Component("preact_resnet18", settings), (3, size, size), classes)


def small(strides: tuple[int, ...] = TUPLE, size: int = 32) -> Backbone:
    return preact(strides, width=1 / 16, size=size)


def shaped(backbone: Backbone, shape: tuple[int, int, int]) -> Backbone:
    backbone.input_shape = shape
    return backbone


def base(size: int = 32) -> Backbone:
    torch.manual_seed(0)
    return shaped(base_cnn.build((3, size, size), 10, width=0.1), (3, size, size))


def plain(*layers: nn.Module, size: int = 16, head: nn.Module | None = None) -> Backbone:
    """One stage whose layers take 3 channels to 4."""
    stage = Stage(nn.Identity(), nn.Sequential(*layers), in_channels=3, out_channels=4)
    means = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    return shaped(Backbone([stage], head or means), (3, size, size))


def images(size: int = 32) -> Tensor:
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))


def pools(model: nn.Module, *kinds: type[Kind]) -> list[Kind]:
    return [module for module in model.modules() if isinstance(module, kinds)]


def train_step(graft: Graft, size: int = 32, lr: float = 0.1) -> None:
    optimizer = torch.optim.SGD(graft.model.parameters(), lr=lr)
    output = graft.model.train()(images(size))
    loss = functional.cross_entropy(output.logits, torch.arange(4))
    (loss if graft.extra_loss is None else loss + graft.extra_loss(output)).backward()
    optimizer.step()
    assert graft.after_step is not None
    graft.after_step()


def map_sizes(model: nn.Module) -> list[tuple[int, ...]]:
    """(height, width) behind each spectral layer in forward order, on the meta device."""
    probe: Any = copy.deepcopy(model).to("meta").eval()
    sizes: dict[nn.Module, tuple[int, ...]] = {}
    for pool in pools(probe, *SPECTRAL):
        pool.register_forward_hook(lambda pool, _, out: sizes.update({pool: tuple(out.shape[-2:])}))
    probe(torch.empty(1, *probe.input_shape, device="meta"))
    return list(sizes.values())


class TestPublishedNetwork:
    @pytest.mark.parametrize("strides", TABLE)
    def test_maps_and_macs(self, strides: tuple[int, ...]) -> None:
        sides, gmac, fixed_sizes, fixed_gmac = TABLE[strides]
        with torch.device("meta"):
            learned, fixed = diffstride.apply(preact(strides)), spectral.apply(preact(strides))
        assert map_sizes(learned.model) == [(side, side) for side in sides]
        assert map_sizes(fixed.model) == fixed_sizes
        assert round(count_network_costs(learned, (3, 32, 32)).macs / 1e9, 2) == gmac
        assert round(count_network_costs(fixed, (3, 32, 32)).macs / 1e9, 2) == fixed_gmac

    @pytest.mark.parametrize(("classes", "count"), [(10, 11_172_178), (100, 11_218_348)])
    def test_parameters(self, classes: int, count: int) -> None:
        with torch.device("meta"):
            assert parameter_count(diffstride.apply(preact(classes=classes)).model) == count
            assert parameter_count(spectral.apply(preact(classes=classes)).model) == count - 8
            assert parameter_count(preact(classes=classes)) == count - 8

    def test_numbers_given_are_the_tuple(self) -> None:
        with torch.device("meta"):
            model = diffstride.apply(preact(), strides=[1, 3, 2, 3]).model
        assert map_sizes(model) == [(side, side) for side in TABLE[1, 1, 3, 2, 3][0]]


class TestPlaces:
    def test_branches_of_a_block_share_a_place(self) -> None:
        found = find_places(small((1, 1, 2, 3, 1)), "test")
        assert [place.strides for place in found] == [(1, 1), (2, 2), (3, 3), (1, 1)]
        assert found[0].operations == (STEM,)
        assert set(found[1].operations) == {BRANCH, SHORTCUT}

    def test_one_after_another_does_not(self) -> None:
        same_size = plain(nn.Conv2d(3, 4, 3, padding=1), PoolingConv2d(4, 4, 1), PoolingConv2d(4, 4, 1))
        assert [place.operations for place in find_places(same_size, "test")] == [
            ("stages.0.downsample.1",),
            ("stages.0.downsample.2",),
        ]

    def test_branches_that_are_concatenated_share_too(self) -> None:
        class Reduction(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.before = nn.Conv2d(3, 3, 1)
                self.conv = nn.Conv2d(3, 1, 3, stride=2)
                self.pool = nn.MaxPool2d(3, stride=2)

            def forward(self, x: Tensor) -> Tensor:
                return torch.cat([self.conv(self.before(x)), self.pool(x)], 1)

        backbone = plain(Reduction())
        assert [len(place.operations) for place in find_places(backbone, "test")] == [2]
        block = diffstride.apply(backbone).model.get_submodule("stages.0.downsample.0")
        assert block.pool is block.conv.pool and map_sizes(backbone) == [(16, 16)]

    @pytest.mark.parametrize(
        ("name", "size", "counts"),
        [("resnet18", 32, [2, 2, 2]), ("resnet18", 224, [1, 1, 2, 2, 2]), ("googlenet", 224, [1] * 5)],
    )
    def test_backbones_in_forward_order(self, name: str, size: int, counts: list[int]) -> None:
        with torch.device("meta"):
            found = find_places(build_backbone(Component(name), (3, size, size), 10), "test")
        assert [len(place.operations) for place in found] == counts
        stages = [int(place.operations[0].split(".")[1]) for place in found]
        assert stages == sorted(stages)

    def test_what_shrinks_nothing_is_no_place(self) -> None:
        steps = [nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(3, 1, 1), nn.AvgPool2d((2, 1)), nn.MaxPool2d(2)]
        found = find_places(plain(*steps), "test")
        assert [(place.operations, place.strides) for place in found] == [
            (("stages.0.downsample.2",), (2, 1)),
            (("stages.0.downsample.3",), (2, 2)),
        ]

    def test_without_a_shape(self) -> None:
        backbone = small()
        backbone.input_shape = None
        with pytest.raises(ValueError, match="input_shape is not set"):
            find_places(backbone, "test")


class TestReplacing:
    def test_names_and_values_stay_and_the_stride_goes(self) -> None:
        before = small().state_dict()
        model = diffstride.apply(small()).model
        after = model.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert {name.rsplit(".", 1)[1] for name in after.keys() - before.keys()} == {"strides"}
        assert all(conv.stride == (1, 1) for conv in pools(model, nn.Conv2d))

    def test_a_convolution_hands_its_map_through_the_pool(self) -> None:
        backbone = plain(PoolingConv2d(3, 4, 3, stride=2, padding=1))
        kept = copy.deepcopy(backbone.stages[0].downsample[0])
        diffstride.apply(backbone)
        full = functional.conv2d(images(16), kept.weight, kept.bias, padding=1)
        torch.testing.assert_close(backbone.features(images(16)), DiffStride(2.0)(full))

    @pytest.mark.filterwarnings("ignore:Using padding='same'")
    @pytest.mark.parametrize(("kernel", "padding"), [(3, 0), (4, 0), (7, 1), (11, 2), (1, 0)])
    def test_padding_keeps_the_size(self, kernel: int, padding: int) -> None:
        backbone = plain(nn.Conv2d(3, 4, kernel, stride=2, padding=padding), size=17)
        spectral.apply(backbone)
        assert map_sizes(backbone) == [(8, 8)]

    def test_a_max_pool_is_replaced(self) -> None:
        model = diffstride.apply(base()).model
        assert not pools(model, nn.MaxPool2d) and len(pools(model, DiffStride)) == 4
        assert isinstance(model.stages[0].downsample, DiffStride)

    def test_shared_layers_are_trained_once_and_add_their_gradients(self) -> None:
        model = diffstride.apply(small()).model
        shared = model.get_submodule(f"{SHORTCUT}.pool")
        assert shared is model.get_submodule(f"{BRANCH}.pool")
        assert sum(parameter is shared.strides for parameter in model.parameters()) == 1
        model(images()).logits.square().sum().backward()
        together = shared.strides.grad
        assert together is not None and together.abs().min() > 0
        apart = copy.deepcopy(model)
        own = copy.deepcopy(shared)
        apart.set_submodule(f"{SHORTCUT}.pool", own)
        apart.zero_grad()
        apart(images()).logits.square().sum().backward()
        other = apart.get_submodule(f"{BRANCH}.pool")
        assert other is not own
        torch.testing.assert_close(own.strides.grad + other.strides.grad, together, rtol=1e-4, atol=1e-6)

    def test_a_checkpoint_restores_it(self) -> None:
        graft = diffstride.apply(small())
        train_step(graft)
        fresh = diffstride.apply(small()).model
        fresh.load_state_dict(graft.model.state_dict())
        assert torch.equal(fresh.eval()(images()).logits, graft.model.eval()(images()).logits)

    def test_a_copy_runs_its_own_pools(self) -> None:
        model = diffstride.apply(small()).model.eval()
        twin = copy.deepcopy(model)
        for pool in pools(twin, DiffStride):
            nn.init.constant_(pool.strides, 3.0)
        assert not torch.equal(twin(images()).logits, model(images()).logits)
        reported = {name: value.item() for name, value in twin.report[0]().items()}
        assert reported["stride_1_height"] == 3.0 and model.report[0]()["stride_1_height"] != 3.0

    def test_inside_sire(self) -> None:
        graft = grafting.graft_variant(base(), "sire+diffstride", {})
        train_step(graft)
        output = graft.model(images())
        assert len(output.reconstructions) == 4 and "stride_4_width" in output.scalars
        assert all(image.shape == images().shape for image in output.reconstructions)

    def test_pre_activation_inside_sire(self) -> None:
        output = grafting.graft_variant(small(), "hybrid+sire", {}).model.train()(images())
        assert [image.shape for image in output.reconstructions] == [images().shape] * 3


class TestLearning:
    def test_strides_move_are_reported_and_kept_in_their_limits(self) -> None:
        graft = diffstride.apply(small(), lower=1.5, upper=2.0)
        for _ in range(3):
            train_step(graft, lr=50.0)
            strides = torch.cat([pool.strides.detach() for pool in pools(graft.model, DiffStride)])
            assert strides.min() >= 1.5 and strides.max() <= 2.0
        assert set(strides.tolist()) != {2.0}
        scalars = graft.model.train()(images()).scalars
        assert list(scalars) == [f"stride_{i}_{axis}" for i in range(1, 5) for axis in ("height", "width")]
        assert scalars["stride_2_height"].item() == pytest.approx(strides[2].item(), abs=0.2)
        assert graft.model.eval()(images()).scalars == {}

    def test_complexity_term(self) -> None:
        graft = diffstride.apply(small(), regulariser=0.5)
        output = graft.model(images())
        assert graft.extra_loss is not None
        areas = 1 / ((32 / 28) ** 2), 1 / 4, 1 / 4, 1 / 4  # stride 1 is below the minimum of 32 px
        expected, kept = 0.0, 1.0
        for area in areas:
            kept *= area
            expected += kept
        loss = graft.extra_loss(output)
        assert loss.item() == pytest.approx(0.5 * expected)
        loss.backward()
        assert all((pool.strides.grad < 0).all() for pool in pools(graft.model, DiffStride))  # a penalty on the maps

    def test_settings_reach_the_layers(self) -> None:
        graft = diffstride.apply(small(), smoothness=2, cropping=False, shared=True)
        for pool in pools(graft.model, DiffStride):
            assert (pool.smoothness, pool.cropping, pool.strides.shape) == (2.0, False, (1,))
        assert map_sizes(graft.model) == [(32, 32)] * 4 and graft.extra_loss is None

    def test_weight_decay_spares_the_strides(self) -> None:
        model = diffstride.apply(small()).model
        groups = build_optimizer(Recipe(weight_decay=0.1), model, torch.device("cpu")).param_groups
        spared = [parameter for group in groups if group["weight_decay"] == 0 for parameter in group["params"]]
        assert {id(parameter) for parameter in spared} == {id(pool.strides) for pool in pools(model, DiffStride)}


class TestEnd:
    def test_before_the_last_norm(self) -> None:
        before = small().state_dict()
        model = hybrid.apply(small()).model
        assert list(dict(model.tail.named_children())) == ["blocks", "end", "norm"]
        assert isinstance(model.tail.end, HartleyPool) and before.keys() <= model.state_dict().keys()
        assert model.features(images()).shape[-2:] == (9, 9)  # half of 18

    def test_pre_gap_with_spectral_pooling_changes_nothing_and_says_so(self) -> None:
        with pytest.warns(UserWarning, match="hybrid.position: pre_gap puts a linear layer directly before"):
            drawn = hybrid.apply(small(), position="pre_gap").model.eval()
        without = diffstride.apply(small()).model.eval()
        assert drawn.features(images()).shape[-2:] == (9, 9)
        torch.testing.assert_close(drawn(images()).logits, without(images()).logits, rtol=1e-4, atol=1e-5)
        moved = hybrid.apply(small()).model.eval()
        assert not torch.allclose(moved(images()).logits, without(images()).logits, rtol=1e-2)

    @pytest.mark.filterwarnings("ignore:hybrid.position")
    @pytest.mark.parametrize(("position", "learns"), [("pre_gap", False), ("pre_norm", True)])
    def test_a_second_diffstride_learns_before_the_norm_alone(self, position: str, learns: bool) -> None:
        graft = hybrid.apply(small(), order="diffstride+diffstride", position=position)
        functional.cross_entropy(graft.model(images()).logits, torch.arange(4)).backward()
        gradients = [pool.strides.grad.abs().max().item() for pool in pools(graft.model, DiffStride)]
        assert len(gradients) == 5 and graft.model.tail.end.initial_strides == (2.0, 2.0)
        assert (gradients[-1] > 1e-4 * max(gradients)) == learns
        assert "stride_5_width" in graft.model(images()).scalars

    def test_reversed_order(self) -> None:
        model = hybrid.apply(small(), order="spectral+diffstride").model
        stem = model.get_submodule(f"{STEM}.pool")
        assert isinstance(stem, HartleyPool) and stem.strides == (2.0, 2.0)
        assert isinstance(model.tail.end, DiffStride) and len(pools(model, DiffStride)) == 4
        assert map_sizes(model)[0] == (16, 16)
        strided = hybrid.apply(small((3, 1, 1, 1, 1)), order="spectral+diffstride").model
        assert strided.stages[0].downsample.pool.strides == (3.0, 3.0)

    @pytest.mark.parametrize("order", hybrid.SETTINGS["order"].choices)
    @pytest.mark.parametrize("strides", TABLE)
    def test_all_published_tuples_are_served(self, strides: tuple[int, ...], order: str) -> None:
        with torch.device("meta"):
            hybrid.apply(small(strides), order=order)

    def test_hartley_alone(self) -> None:
        model: Any = spectral.apply(small(), where="end").model
        assert len(pools(model, HartleyPool)) == 1 and not pools(model, FixedSpectralPool, DiffStride)
        assert model.features(images()).shape[-2:] == (2, 2)
        assert find_places(model, "test") == find_places(small(), "test")

    def test_composed_it_is_the_hybrid(self) -> None:
        composed = grafting.graft_variant(small(), "diffstride+spectral", {"spectral.where": "end"}).model.eval()
        assert torch.equal(composed(images()).logits, hybrid.apply(small()).model.eval()(images()).logits)

    @pytest.mark.filterwarnings("ignore:hybrid.position")
    def test_after_a_network_without_tail(self) -> None:
        backbone = base()
        model = hybrid.apply(backbone, position="pre_gap").model
        assert isinstance(model.tail.end, HartleyPool)
        assert model(images()).logits.shape == (4, 10)


class TestRefusals:
    @pytest.mark.parametrize(
        ("variant", "settings", "backbone", "sentence"),
        [
            (diffstride, {"strides": [1, 2]}, small, r"diffstride.strides: has 2 numbers for 4 places \(stages.0"),
            (diffstride, {"strides": "mine"}, small, "diffstride.strides: must be own, or a list"),
            (diffstride, {"strides": [0.5, 1, 1, 1]}, small, "numbers of at least 1"),
            (diffstride, {"smoothness": 0}, small, "diffstride.smoothness: must be a finite number above 0"),
            (diffstride, {"upper": 0.5}, small, "diffstride: DiffStride: the upper limit 0.5 is below the lower limit"),
            (
                diffstride,
                {"smoothness": 8.0},
                lambda: small(size=8),
                r"diffstride\.smoothness: at stages.0.body.0.pool, .*a 8x8 map.*above 0 and below 8, or choose larger",
            ),
            (diffstride, {}, lambda: plain(nn.Conv2d(3, 4, 3)), "diffstride: no layer of this backbone shrinks"),
            (hybrid, {}, lambda: base(), "hybrid.position: pre_norm stands before a final normalisation"),
            (hybrid, {"order": "x"}, small, "hybrid.order: must be one of"),
            (spectral, {"where": "end"}, lambda: small(size=8), "spectral: at tail.end, .*too small to shrink"),
            (spectral, {"position": "pre_gap"}, small, "spectral.position: does nothing with where: all"),
            (
                diffstride,
                {},
                lambda: shaped(gradient_cnn.build((3, 32, 32), 10), (3, 32, 32)),
                "diffstride: the last map becomes 24x24, and this backbone's classifier takes one size alone",
            ),
        ],
    )
    def test_sentences(self, variant: Any, settings: dict[str, Any], backbone: Any, sentence: str) -> None:
        for device in ("cpu", "meta"):
            with torch.device(device), pytest.raises(UserError, match=sentence) as refusal:
                variant.apply(backbone(), **settings)
            assert "\n" not in str(refusal.value)

    def test_a_branch_that_shrinks_without_a_layer(self) -> None:
        class Reduction(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = nn.Conv2d(3, 2, 3, stride=2, padding=1)
                self.other = nn.Conv2d(3, 2, 1)

            def forward(self, x: Tensor) -> Tensor:
                return torch.cat([self.conv(x), self.other(functional.max_pool2d(x, 2))], 1)

        with pytest.raises(
            UserError, match=r"after stages.0.downsample.0.conv.pool the maps of parallel branches differ"
        ):
            diffstride.apply(plain(Reduction()))
        assert map_sizes(spectral.apply(plain(Reduction())).model) == [(8, 8)]

    def test_twice(self) -> None:
        with pytest.raises(UserError, match=r"spectral: no layer of this backbone shrinks its map \(any more\)"):
            grafting.graft_variant(small(), "diffstride+spectral", {})
