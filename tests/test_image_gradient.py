"""Forward differences by hand, two passes, no parameters (methods.md, section 2)."""

from __future__ import annotations

import torch

from suite.backbones import base_cnn, gradient_cnn
from suite.layers.model import parameter_count
from suite.variants import image_gradient


def test_forward_differences_by_hand() -> None:
    image = torch.tensor([[[[1.0, 4.0, 9.0], [2.0, 8.0, 0.0]]]])
    dx, dy = image_gradient.forward_differences(image)
    assert dx.tolist() == [[[[3.0, 5.0, 0.0], [6.0, -8.0, 0.0]]]]
    assert dy.tolist() == [[[[1.0, 4.0, -9.0], [0.0, 0.0, 0.0]]]]


def test_channels_and_images_do_not_mix() -> None:
    images = torch.zeros(2, 3, 4, 4)
    images[1, 2] = torch.arange(16.0).reshape(4, 4)
    dx, dy = image_gradient.forward_differences(images)
    assert (dx + dy).nonzero()[:, :2].unique(dim=0).tolist() == [[1, 2]]
    assert (dx + dy)[1, 2, :3, :3].unique().tolist() == [5.0]  # 1 along a row, 4 down a column


def test_adds_no_parameters() -> None:
    backbone = gradient_cnn.build((1, 28, 28), 10)
    graft = image_gradient.apply(backbone)
    assert parameter_count(graft.model) == 50_938
    assert graft.extra_loss is None and graft.cross_entropy_scale == 1.0


def test_logits_are_the_head_of_summed_features_of_the_prepared_input() -> None:
    torch.manual_seed(0)
    backbone = base_cnn.build((1, 28, 28), 10, width=0.05).eval()  # pads: the gradient is of the padded input
    images = torch.randn(3, 1, 28, 28)
    inputs = backbone.prepare(images)
    shifted_x = torch.cat([inputs[..., 1:], inputs[..., -1:]], dim=-1)
    shifted_y = torch.cat([inputs[..., 1:, :], inputs[..., -1:, :]], dim=-2)
    gradient = (shifted_x - inputs) + (shifted_y - inputs)
    expected = backbone.head(backbone.features(inputs) + backbone.features(gradient))
    assert torch.equal(image_gradient.apply(backbone).model(images).logits, expected)


def test_batch_norm_normalises_each_pass_alone_and_both_update_it() -> None:
    torch.manual_seed(0)
    model = image_gradient.apply(gradient_cnn.build((1, 28, 28), 10, dropout=0.0)).model.train()
    norm = model.backbone.tail[1]
    batches: list[torch.Tensor] = []
    norm.register_forward_hook(lambda _, args, out: batches.append((args[0].detach(), out.detach())))
    model(torch.randn(8, 1, 28, 28))
    assert norm.num_batches_tracked == 2
    running = torch.zeros(4)
    for given, normalised in batches:
        assert torch.allclose(normalised.mean((0, 2, 3)), torch.zeros(4), atol=1e-5)
        running = 0.9 * running + 0.1 * given.mean((0, 2, 3))
    assert torch.allclose(norm.running_mean, running, atol=1e-6)
