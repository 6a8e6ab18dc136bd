"""Second inputs by hand, two passes, three fusions (docs/papers.md, section 2)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.backbones import base_cnn, gradient_cnn
from suite.core.errors import UserError
from suite.layers import gradients
from suite.layers.model import Auxiliary, Backbone, Stage, parameter_count
from suite.variants import image_gradient


def test_forward_differences_by_hand() -> None:
    image = torch.tensor([[[[1.0, 4.0, 9.0], [2.0, 8.0, 0.0]]]])
    dx, dy = gradients.forward_differences(image)
    assert dx.tolist() == [[[[3.0, 5.0, 0.0], [6.0, -8.0, 0.0]]]]
    assert dy.tolist() == [[[[1.0, 4.0, -9.0], [0.0, 0.0, 0.0]]]]


def test_channels_and_images_do_not_mix() -> None:
    images = torch.zeros(2, 3, 4, 4)
    images[1, 2] = torch.arange(16.0).reshape(4, 4)
    dx, dy = gradients.forward_differences(images)
    assert (dx + dy).nonzero()[:, :2].unique(dim=0).tolist() == [[1, 2]]
    assert (dx + dy)[1, 2, :3, :3].unique().tolist() == [5.0]  # 1 along a row, 4 down a column


def test_adds_no_parameters() -> None:
    backbone = gradient_cnn.build((1, 28, 28), 10)
    graft = image_gradient.apply(backbone)
    assert parameter_count(graft.model) == 50_938
    assert graft.extra_loss is None and graft.cross_entropy_scale == 1.0


def test_logits_are_the_head_of_summed_features_of_input_and_gradient() -> None:
    """The gradient is taken before any padding, whose border would be an edge."""
    torch.manual_seed(0)
    backbone = base_cnn.build((1, 28, 28), 10, width=0.05).eval()
    backbone.black = torch.full((1, 1, 1), -0.4)
    images = torch.randn(3, 1, 28, 28)
    shifted_x = torch.cat([images[..., 1:], images[..., -1:]], dim=-1)
    shifted_y = torch.cat([images[..., 1:, :], images[..., -1:, :]], dim=-2)
    gradient = functional.pad((shifted_x - images) + (shifted_y - images), (2, 2, 2, 2))
    expected = backbone.head(backbone.features(backbone.prepare(images)) + backbone.features(gradient))
    assert torch.equal(image_gradient.apply(backbone).model(images).logits, expected)


def test_a_black_image_has_no_edges_however_it_is_padded() -> None:
    backbone = base_cnn.build((1, 28, 28), 10, width=0.05)
    black = torch.full((1, 1, 1), -0.4)
    backbone.black = black
    images = black.expand(2, 1, 28, 28)
    model: Any = image_gradient.apply(backbone).model
    inputs = backbone.prepare(images)
    assert inputs.unique().tolist() == black.unique().tolist() and inputs.shape == (2, 1, 32, 32)
    assert not model._make_second(images, inputs).any()
    assert not gradients.difference_sum(inputs).any()


def test_the_control_copy_is_the_padded_input_itself() -> None:
    backbone = base_cnn.build((1, 28, 28), 10, width=0.05)
    model: Any = image_gradient.apply(backbone, form="copy").model
    inputs = backbone.prepare(torch.randn(2, 1, 28, 28))
    assert model._make_second(torch.randn(2, 1, 28, 28), inputs) is inputs


def test_batch_norm_normalises_each_pass_alone_and_both_update_it() -> None:
    torch.manual_seed(0)
    model = image_gradient.apply(gradient_cnn.build((1, 28, 28), 10, dropout=0.0)).model.train()
    norm = model.backbone.tail[1]
    batches: list[tuple[Tensor, Tensor]] = []
    norm.register_forward_hook(lambda _, args, out: batches.append((args[0].detach(), out.detach())))
    model(torch.randn(8, 1, 28, 28))
    assert norm.num_batches_tracked == 2
    running = torch.zeros(4)
    for given, normalised in batches:
        assert torch.allclose(normalised.mean((0, 2, 3)), torch.zeros(4), atol=1e-5)
        running = 0.9 * running + 0.1 * given.mean((0, 2, 3))
    assert torch.allclose(norm.running_mean, running, atol=1e-6)


def built(seed: int = 0, **kwargs: Any) -> Backbone:
    torch.manual_seed(seed)
    return base_cnn.build((3, 32, 32), 10, width=1 / 16, **kwargs)


def pictures() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(5))


def test_sobel_is_the_slope_of_a_ramp_and_the_operator_inside() -> None:
    ramp = 2 * torch.arange(6.0).repeat(5, 1)[None, None] + 3 * torch.arange(5.0)[None, None, :, None]
    assert torch.allclose(gradients.sobel(ramp)[..., 1:-1, 1:-1], torch.full((1, 1, 3, 4), 5.0))
    images = pictures()
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    kernel = (across + across.T).expand(3, 1, 3, 3)
    inside = functional.conv2d(images, kernel, groups=3)
    assert torch.allclose(gradients.sobel(images)[..., 1:-1, 1:-1], inside, atol=1e-6)
    assert (gradients.sobel(torch.ones(1, 1, 4, 4)) == 0).all(), "borders repeat their pixels"


def test_magnitude_by_hand() -> None:
    image = torch.tensor([[[[0.0, 3.0], [-4.0, 8.0]]]])
    assert gradients.magnitude(image).tolist() == [[[[5.0, 5.0], [12.0, 0.0]]]]


def test_texture_is_the_local_standard_deviation() -> None:
    images = pictures() + 100
    found = gradients.texture(images)
    assert found.shape == images.shape
    assert torch.allclose(found[1, 2, 7, 9], images[1, 2, 6:9, 8:11].std(correction=0), atol=1e-4)
    corner = images[0, 0][[0, 0, 1]][:, [0, 0, 1]].std(correction=0)
    assert torch.allclose(found[0, 0, 0, 0], corner, atol=1e-4)
    assert (gradients.texture(torch.full((1, 1, 3, 3), 7.3)) == 0).all()


def test_noise_is_standard_normal_and_seeded() -> None:
    images = torch.zeros(8, 3, 32, 32)
    torch.manual_seed(0)
    first, second = gradients.noise(images), gradients.noise(images)
    torch.manual_seed(0)
    assert torch.equal(gradients.noise(images), first) and not torch.equal(first, second)
    assert abs(float(first.mean())) < 0.02 and abs(float(first.std()) - 1) < 0.02


@pytest.mark.parametrize("form", image_gradient.SETTINGS["form"].choices)
@pytest.mark.parametrize("fusion", ["add", "score"])
def test_add_and_score_add_no_parameters_in_any_form(fusion: str, form: str) -> None:
    baseline, model = built(), image_gradient.apply(built(), fusion=fusion, form=form).model
    assert parameter_count(model) == parameter_count(baseline)
    torch.manual_seed(1)
    assert model(pictures()).logits.isfinite().all()


def test_copy_doubles_the_features() -> None:
    backbone = built().eval()
    logits = image_gradient.apply(backbone, form="copy").model(pictures()).logits
    assert torch.equal(logits, backbone.head(2 * backbone.features(pictures())))


def test_score_adds_the_logits_of_one_classifier() -> None:
    backbone = built().eval()
    logits = image_gradient.apply(backbone, fusion="score").model(pictures()).logits
    of_gradient = backbone(gradients.difference_sum(pictures())).logits
    assert torch.equal(logits, backbone(pictures()).logits + of_gradient)


def test_concat_is_one_dense_layer_on_both_maps() -> None:
    baseline: Any = built().eval()
    model: Any = image_gradient.apply(built(), fusion="concat").model.eval()
    assert set(model.state_dict()) == {*(f"backbone.{name}" for name in baseline.state_dict()), "second.weight"}
    dense = baseline.head[2]
    assert parameter_count(model) - parameter_count(baseline) == dense.in_features * dense.out_features
    maps = [baseline.features(x) for x in (pictures(), gradients.difference_sum(pictures()))]
    both = torch.cat(maps, dim=1)  # channels
    weight = torch.cat([dense.weight, model.second.weight], dim=1)
    hidden = functional.linear(baseline.head[:2](both), weight, dense.bias)
    assert torch.allclose(model(pictures()).logits, baseline.head[3:](hidden), atol=1e-6)


def test_concat_draws_its_half_from_the_global_generator() -> None:
    def second(seed: int) -> Tensor:
        backbone = built()
        torch.manual_seed(seed)
        model: Any = image_gradient.apply(backbone, fusion="concat").model
        weight: Tensor = model.second.weight
        return weight

    assert torch.equal(second(1), second(1)) and not torch.equal(second(1), second(2))


@pytest.mark.parametrize("head", [nn.Sequential(nn.Conv2d(3, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear])
def test_concat_needs_a_dense_layer_in_sequence(head: Any) -> None:
    backbone = Backbone([], nn.Linear(4, 10) if head is nn.Linear else head)
    with pytest.raises(UserError, match=r"image_gradient.fusion: concat widens .*; use add or score"):
        image_gradient.apply(backbone, fusion="concat")


def test_two_passes_share_the_weight_of_an_auxiliary_classifier() -> None:
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))
    stage = Stage(nn.Identity(), nn.MaxPool2d(2), in_channels=3, out_channels=3)
    backbone = Backbone([stage], head, nn.Sequential(Auxiliary(nn.Sequential(nn.Flatten(), nn.Linear(768, 10)), 0.3)))
    found = image_gradient.apply(backbone, fusion="score").model(pictures()).auxiliary_logits
    assert [weight for _, weight in found] == [0.15, 0.15]
    assert not torch.equal(found[0][0], found[1][0])
