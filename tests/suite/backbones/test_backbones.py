"""Parameter counts from outside knowledge (docs/papers.md, sections 1 and 2), padding, and refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from suite.backbones import base_cnn, gradient_cnn
from suite.core.errors import UserError
from suite.layers.model import parameter_count
from suite.training.data import Scaling


def test_base_cnn_has_the_papers_parameters_at_any_image_size() -> None:
    assert parameter_count(base_cnn.build((3, 32, 32), 100)) == 7_939_492
    assert parameter_count(base_cnn.build((3, 224, 224), 100)) == 7_939_492


@pytest.mark.parametrize(
    ("shape", "classes", "expected"),
    [((1, 28, 28), 10, 50_938), ((3, 32, 32), 10, 2_138_890), ((3, 32, 32), 100, 2_150_500)],
)
def test_gradient_cnn_has_the_papers_parameters(shape: tuple[int, int, int], classes: int, expected: int) -> None:
    assert parameter_count(gradient_cnn.build(shape, classes)) == expected


def test_base_cnn_pads_with_black_around_the_image() -> None:
    model = base_cnn.build((3, 28, 28), 10, width=0.05)
    model.black = torch.tensor([-0.5, 0.25, -2.0]).view(3, 1, 1)
    images = torch.randn(2, 3, 28, 28).contiguous(memory_format=torch.channels_last)
    padded = model.prepare(images)
    assert padded.shape == (2, 3, 32, 32) and padded.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(padded[..., 2:30, 2:30], images)
    for channel, black in enumerate(model.black.flatten()):
        assert (padded[:, channel, :2] == black).all() and (padded[:, channel, :, 30:] == black).all()
    assert "black" not in "".join(model.state_dict()), "checkpoints of before can be read"


def test_black_is_what_black_is_after_normalisation() -> None:
    scaling = Scaling.of((0.25, 0.5), (0.5, 0.125), torch.device("cpu"))
    assert scaling.black.flatten().tolist() == [-0.5, -4.0]


def test_base_cnn_puts_an_odd_padding_after_the_image() -> None:
    model = base_cnn.build((1, 17, 32), 10, width=0.05)
    padded = model.prepare(torch.ones(1, 1, 17, 32))
    assert padded.shape == (1, 1, 32, 32)
    assert padded[0, 0, :, 0].nonzero().flatten().tolist() == list(range(7, 24))


def test_base_cnn_leaves_a_fitting_image_alone() -> None:
    images = torch.ones(1, 3, 32, 32)
    assert base_cnn.build((3, 32, 32), 10, width=0.05).prepare(images) is images


def test_base_cnn_width_scales_convolutions_and_dense_layers() -> None:
    model: Any = base_cnn.build((3, 32, 32), 10, width=0.25)
    assert [stage.out_channels for stage in model.stages] == [16, 32, 64, 128]
    hidden = [layer.out_features for layer in model.head if isinstance(layer, torch.nn.Linear)]
    assert hidden == [256, 256, 10]


def test_base_cnn_refuses_images_it_cannot_halve_four_times() -> None:
    with pytest.raises(UserError, match="at least 16 x 16 pixels, not 8 x 32"):
        base_cnn.build((1, 8, 32), 10)


def test_gradient_cnn_chooses_its_net_by_channels_or_as_told() -> None:
    assert gradient_cnn.build((1, 28, 28), 10).stages[0].out_channels == 4
    assert gradient_cnn.build((3, 32, 32), 10).stages[0].out_channels == 16
    assert gradient_cnn.build((3, 32, 32), 10, net="mnist").stages[0].out_channels == 4
    assert gradient_cnn.build((4, 32, 32), 10, net="cifar")(torch.zeros(2, 4, 32, 32)).logits.shape == (2, 10)
    with pytest.raises(UserError, match="1 or 3 channels, not 4"):
        gradient_cnn.build((4, 32, 32), 10)


def test_gradient_cnn_stage_ends_at_the_pool_and_the_rest_is_tail() -> None:
    model = gradient_cnn.build((3, 32, 32), 10).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    after_pool = model.stages[0](images)
    assert after_pool.shape == (2, 16, 16, 16)
    assert model.features(images).shape == (2, 64, 16, 16)
    assert torch.equal(model.tail(after_pool), model.features(images))


def test_dropout_reaches_every_dropout_layer() -> None:
    for model in (gradient_cnn.build((3, 32, 32), 10, dropout=0.1), base_cnn.build((1, 16, 16), 10, dropout=0.1)):
        rates = {layer.p for layer in model.modules() if isinstance(layer, torch.nn.Dropout)}
        assert rates == {0.1}
