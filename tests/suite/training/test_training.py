"""The training core on networks of a few hundred weights: loop, data, costs, checkpoints, precision."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import functional as transforms

from suite.core import registry
from suite.core.errors import UserError
from suite.core.recipes import RECIPES, Recipe
from suite.core.specs import Cell, Component, Streams, freeze_settings
from suite.layers.model import Graft, ModelOutput
from suite.models import cost
from suite.models.assembly import assemble_network
from suite.models.cost import Costs, count_network_costs
from suite.training import checkpoint
from suite.training.augment import Augmentation, iterate_ten_crops
from suite.training.data import Batch, Examples, Scaling, TrainingData, count_trained_images, training_batches
from suite.training.execution import Execution, choose_precision, resolve_device, seed_torch
from suite.training.feeds import AHEAD, RESIDENCIES, Prefetched, Residency, choose_residency, make_feed
from suite.training.loop import (
    Diverged,
    TrainingFigures,
    build_optimizer,
    evaluate_model,
    evaluate_ten_crops,
    train_epoch,
)
from suite.training.micro_batch import find_micro_batch

CPU = torch.device("cpu")
STREAMS = Streams("search", 3)
SHAPE, CLASSES = (2, 6, 6), 7


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only wait for each other's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Net(nn.Module):
    """A convolution, a dense layer; with a decoder, an auxiliary head and dropout in training mode on demand."""

    def __init__(self, *, decode: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * 36, CLASSES, bias=False)
        self.decoder = nn.ConvTranspose2d(4, 2, 3, padding=1, bias=False) if decode else None

    def forward(self, images: Tensor) -> ModelOutput:
        features = self.conv(images).relu()
        output = ModelOutput(self.head(self.dropout(features).flatten(1)), inputs=images)
        if self.training and self.decoder is not None:
            output.reconstructions = [self.decoder(features)]
            output.scalars = {"mean_feature": features.mean()}
            output.auxiliary_logits = [(output.logits * 2, 0.5)]
        return output


def net(**options: float) -> Net:
    with seed_torch(1):
        return Net(**options)  # type: ignore[arg-type]


def pixels(count: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def examples(count: int, seed: int = 0) -> Examples:
    labels = torch.randint(0, CLASSES, (count,), generator=torch.Generator().manual_seed(seed + 1000))
    return Examples.in_memory(pixels(count, seed), labels)


def data(count: int) -> TrainingData:
    return TrainingData(examples(count), examples(8, seed=1), Scaling.of((0.4, 0.5), (0.2, 0.3), CPU))


def train(graft: Graft, training: TrainingData, execution: Execution, **options: float) -> TrainingFigures:
    recipe = Recipe(lr=0.1, momentum=0.9)
    optimizer = build_optimizer(recipe, graft.model, CPU)
    augmentation = Augmentation(flip=options.pop("flip", True))  # type: ignore[arg-type]
    settings = {"batch": 8, "epoch": 1, "learning_rate": 0.1, **options}
    return train_epoch(graft, optimizer, training, execution, augmentation, streams=STREAMS, **settings)  # type: ignore[arg-type]


def epoch_of(part: Examples, *, batch: int, epoch: int = 1, streams: Streams = STREAMS, **on: Any) -> list[Batch]:
    """All batches of an epoch, as numbers 0-255."""
    training = TrainingData(part, part, Scaling.of((0.0, 0.0), (1 / 255, 1 / 255), CPU))
    return list(training_batches(training, Augmentation(**on), batch=batch, streams=streams, epoch=epoch))


# -- data


def test_scaling_equals_torchvisions() -> None:
    images = pixels(5)
    scaled = Scaling.of((0.4, 0.5), (0.2, 0.3), CPU).normalise_images(images, torch.channels_last)
    expected = transforms.normalize(images.float() / 255, [0.4, 0.5], [0.2, 0.3])
    assert torch.equal(scaled, expected)
    assert scaled.is_contiguous(memory_format=torch.channels_last)


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own() -> None:
    part = dataclasses.replace(examples(20), labels=torch.arange(20), index=torch.arange(3, 19))
    orders = []
    for epoch in (1, 1, 2):
        labels = [batch.labels for batch in epoch_of(part, batch=5, epoch=epoch)]
        assert [len(y) for y in labels] == [5, 5, 5]  # 16 images: a last batch of one is dropped
        orders.append(torch.cat(labels).tolist())
    assert orders[0] == orders[1] != orders[2]
    assert len(set(orders[0])) == 15 and set(orders[0]) <= set(range(3, 19))
    assert count_trained_images(16, 5) == 15 and count_trained_images(17, 5) == 17


def test_images_and_labels_stay_together() -> None:
    images = pixels(40)
    part = Examples.in_memory(images, torch.arange(40))
    for batch in epoch_of(part, batch=7):
        torch.testing.assert_close(batch.inputs, images[batch.labels].float())


def test_augmentation_changes_the_images_it_was_drawn_for() -> None:
    images = pixels(40)
    part = Examples.in_memory(images, torch.arange(40))
    mirrored = [
        not torch.allclose(image, images[label].float())
        for batch in epoch_of(part, batch=7, flip=True)
        for image, label in zip(batch.inputs, batch.labels, strict=True)
    ]
    drawn = torch.rand(40, generator=torch.Generator().manual_seed(STREAMS.seed_of("augmentation", 1))) < 0.5
    assert mirrored == drawn.tolist()


def test_mixup_mixes_each_image_with_its_partner() -> None:
    images = pixels(24)
    part = Examples.in_memory(images, torch.arange(24))
    for batch in epoch_of(part, batch=8, mixup=1.0):
        assert batch.partners is not None and 0 < batch.share < 1
        expected = batch.share * images[batch.labels].float() + (1 - batch.share) * images[batch.partners].float()
        torch.testing.assert_close(batch.inputs, expected)


def test_micro_batches_keep_their_partners() -> None:
    whole = Batch(torch.arange(7.0).view(7, 1, 1, 1), torch.arange(7), torch.arange(7).roll(1), 0.3)
    parts = whole.split(3)
    assert [len(part.labels) for part in parts] == [3, 2, 2] and all(part.share == 0.3 for part in parts)
    for column in ("inputs", "labels", "partners"):
        assert torch.equal(torch.cat([getattr(part, column) for part in parts]), getattr(whole, column))
    assert whole.split(None) == [whole]
    assert [len(part.labels) for part in whole.split(1)] == [3, 2, 2]  # never a single image


def test_mixed_loss_is_that_of_the_mixed_targets() -> None:
    training, model = data(8), net()
    augmentation = Augmentation(mixup=1.0)
    (batch,) = training_batches(training, augmentation, batch=8, streams=STREAMS, epoch=1)
    assert batch.partners is not None
    targets = torch.zeros(8, CLASSES)
    for row, (own, other) in enumerate(zip(batch.labels, batch.partners, strict=True)):
        targets[row, own] += batch.share
        targets[row, other] += 1 - batch.share
    expected = nn.functional.cross_entropy(model(batch.inputs).logits, targets)
    optimizer = build_optimizer(Recipe(), model, CPU)
    figures = train_epoch(
        Graft(model),
        optimizer,
        training,
        Execution(CPU, micro_batch=3),
        augmentation,
        batch=8,
        streams=STREAMS,
        epoch=1,
        learning_rate=0.0,
    )
    assert figures.loss == pytest.approx(float(expected.detach()))


def test_search_and_confirm_seeds_share_no_order() -> None:
    part = dataclasses.replace(examples(50), labels=torch.arange(50))
    first = [
        epoch_of(part, batch=50, streams=Streams(stage, 0))[0].labels.tolist()  # type: ignore[arg-type]
        for stage in ("search", "confirm")
    ]
    assert first[0] != first[1]


@pytest.mark.parametrize("residency", RESIDENCIES)
def test_every_residency_gives_the_same_bits(residency: Residency) -> None:
    images = pixels(30)
    pictures = (lambda row: images[row].numpy()) if residency == "stream" else images
    part = dataclasses.replace(Examples.in_memory(images, torch.arange(30)), feed=make_feed(pictures, residency, CPU))
    wanted = epoch_of(Examples.in_memory(images, torch.arange(30)), batch=4, flip=True, pad=1)
    found = epoch_of(part, batch=4, flip=True, pad=1)
    assert len(found) == len(wanted) == 8
    assert all(torch.equal(one.inputs, other.inputs) for one, other in zip(found, wanted, strict=True))


def test_a_prefetching_feed_gathers_ahead_stops_when_unwanted_and_passes_errors_on() -> None:
    gathered: list[list[int]] = []

    def gather(rows: Tensor) -> Tensor:
        if 17 in rows:
            raise UserError("row 17 is broken")
        gathered.append(rows.tolist())
        return rows

    batches = Prefetched(gather, CPU).iterate_batches(torch.arange(20), 2)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert 1 <= len(gathered) <= AHEAD + 1 and gathered[0] == [0, 1]
    with pytest.raises(UserError, match="row 17"):
        list(Prefetched(gather, CPU).iterate_batches(torch.arange(20), 2))


def test_images_live_where_they_are_wanted() -> None:
    wanted = ("auto", "device", "host", "stream")  # an array can't be streamed
    assert [choose_residency(one, 10, CPU, 0.5) for one in wanted] == ["device", "device", "host", "host"]


# -- loop


def test_two_steps_equal_two_steps_by_hand() -> None:
    training, model = data(16), net()
    figures = train(Graft(model), training, Execution(CPU))
    by_hand = net()
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for inputs, labels, *_ in training_batches(training, Augmentation(flip=True), batch=8, streams=STREAMS, epoch=1):
        loss = nn.functional.cross_entropy(by_hand(inputs).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert figures.loss == pytest.approx(sum(losses) / 2)
    for mine, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_loss_is_the_sum_of_its_terms_and_the_scalars_are_means() -> None:
    training = data(8)
    graft = Graft(net(decode=True), extra_loss=lambda output: output.logits.square().mean(), cross_entropy_scale=0.5)
    figures = train(graft, training, Execution(CPU), learning_rate=0.0, flip=False)
    with torch.no_grad():
        inputs = training.scaling.normalise_images(pixels(8), torch.contiguous_format)
        output = net(decode=True).train()(inputs)
        labels = training.train.labels
        loss = nn.functional.cross_entropy(output.logits, labels) * 0.5
        loss += nn.functional.cross_entropy(output.logits * 2, labels) * 0.5 + output.logits.square().mean()
        original = pixels(8).float() / 255
        decoded = output.reconstructions[0] * torch.tensor([0.2, 0.3]).view(-1, 1, 1)
        decoded += torch.tensor([0.4, 0.5]).view(-1, 1, 1)
    assert figures.loss == pytest.approx(float(loss), rel=1e-5)
    assert figures.scalars["reconstruction_mse_1"] == pytest.approx(
        float((decoded - original).square().mean()), rel=1e-5
    )
    assert figures.scalars["mean_feature"] == pytest.approx(float(output.scalars["mean_feature"]), rel=1e-5)
    assert figures.top1_error == pytest.approx(float((output.logits.argmax(1) != labels).float().mean()))


@pytest.mark.parametrize("micro_batch", [1, 2, 3, 4, 7, 8, 100])
def test_micro_batches_add_up_to_the_batch(micro_batch: int) -> None:
    whole, parts = net(), net()
    training = data(19)  # last batch of 3
    a = train(Graft(whole), training, Execution(CPU))
    b = train(Graft(parts), training, Execution(CPU, micro_batch=micro_batch))
    assert a.loss == pytest.approx(b.loss, rel=1e-5) and a.top1_error == pytest.approx(b.top1_error)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_dropout_comes_from_the_epochs_stream_and_leaves_the_callers_generator_alone() -> None:
    weights = []
    for elsewhere, epoch in ((5, 1), (6, 1), (5, 2)):
        torch.manual_seed(elsewhere)
        before = torch.get_rng_state()
        model = net(dropout=0.5)
        train(Graft(model), data(16), Execution(CPU), epoch=epoch)
        assert torch.equal(before, torch.get_rng_state())
        weights.append(model.head.weight.detach().clone())
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_divergence(value: float) -> None:
    graft = Graft(net(), extra_loss=lambda output: output.logits.sum() * 0 + value)
    with pytest.raises(Diverged, match=r"training loss (nan|inf) in epoch 1"):
        train(graft, data(16), Execution(CPU))
    model = net()
    nn.init.constant_(model.head.weight, math.nan)
    with pytest.raises(Diverged, match="evaluation loss nan"):
        evaluate_model(model, examples(4), data(8).scaling, Execution(CPU), Augmentation(), batch=4, seed=0)


def test_bf16_and_channels_last_train_nearly_the_same() -> None:
    plain = train(Graft(net()), data(64), Execution(CPU))
    fast = train(Graft(net(decode=True)), data(64), Execution(CPU, "bf16", channels_last=True))
    assert math.isfinite(fast.loss) and math.isfinite(fast.scalars["reconstruction_mse_1"])
    short = train(Graft(net()), data(64), Execution(CPU, "bf16", channels_last=True))
    assert short.loss == pytest.approx(plain.loss, rel=0.03)


def test_evaluation_counts_by_hand() -> None:
    part, model = examples(23), net()
    scaling = data(8).scaling
    result = evaluate_model(model, part, scaling, Execution(CPU), Augmentation(), batch=5, seed=0)
    with torch.no_grad():
        logits = model.eval()(scaling.normalise_images(pixels(23), torch.contiguous_format)).logits
    order = logits.argsort(1, descending=True)
    top1 = float((order[:, 0] != part.labels).double().mean())
    top5 = float((order[:, :5] != part.labels[:, None]).all(1).double().mean())
    assert (result.top1_error, result.top5_error) == pytest.approx((top1, top5))
    assert result.loss == pytest.approx(float(nn.functional.cross_entropy(logits, part.labels)), rel=1e-5)
    assert torch.equal(result.predictions, order[:, 0])
    torch.testing.assert_close(result.confidence, logits.softmax(1).amax(1))
    assert result.probabilities is None
    kept = evaluate_model(
        model, part, scaling, Execution(CPU), Augmentation(), batch=5, seed=0, keep_probabilities=True
    ).probabilities
    assert kept is not None and kept.dtype == torch.float16 and kept.shape == (23, CLASSES)
    torch.testing.assert_close(kept.float(), logits.softmax(1), rtol=5e-4, atol=1e-7)


def test_ten_crops_are_torchvisions_and_averaged() -> None:
    images = torch.randint(0, 256, (7, 2, 9, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    crops = list(iterate_ten_crops(images, 6))
    assert {crop.numpy().tobytes() for crop in crops} == {
        crop.numpy().tobytes() for crop in transforms.ten_crop(images, [6, 6])
    }
    part, model, scaling = Examples.in_memory(images, torch.arange(7) % CLASSES), net(), data(8).scaling
    found = evaluate_ten_crops(model, part, scaling, Execution(CPU), 6, batch=3, seed=0)
    with torch.no_grad():
        inputs = [scaling.normalise_images(crop, torch.contiguous_format) for crop in crops]
        mean = torch.stack([model.eval()(one).logits.softmax(1) for one in inputs]).mean(0)
    order = mean.argsort(1, descending=True)
    assert found.top1_error == pytest.approx(float((order[:, 0] != part.labels).double().mean()))
    assert found.top5_error == pytest.approx(float((order[:, :5] != part.labels[:, None]).all(1).double().mean()))


# -- costs, checkpoints, machine


def test_costs_count_the_decoder_in_training_only() -> None:
    graft = Graft(net(decode=True))
    conv, head, decoder = 2 * 4 * 9 * 36, 4 * 36 * CLASSES, 4 * 2 * 9 * 36
    expected = Costs(parameters=72 + head + 72, macs=conv + head + decoder, inference_macs=conv + head, decoders=1)
    assert count_network_costs(graft, SHAPE) == expected
    assert graft.model.training and not graft.model.conv.weight.is_meta  # type: ignore[union-attr]
    with torch.device("meta"):
        assert count_network_costs(Graft(Net(decode=True)), SHAPE) == expected


@pytest.mark.parametrize(
    ("backbone", "variant", "shape"),
    [
        ("base_cnn", "sire", (3, 32, 32)),
        ("cifar_cnn", "no_dropout", (3, 32, 32)),
        ("gradient_cnn", "image_gradient", (1, 28, 28)),
        ("preact_resnet18", "hybrid", (3, 32, 32)),
        ("resnet18", "squeeze_excite+stochastic_depth", (3, 32, 32)),
        ("googlenet", "sire", (3, 32, 32)),
        ("densenet121", "tanh", (3, 32, 32)),
        ("alexnet", "baseline", (3, 80, 80)),  # local response normalisation
        ("timm:test_efficientnet", "sire", (3, 32, 32)),
        ("timm:test_resnet", "squeeze_excite", (3, 32, 32)),
    ],
)
def test_skipping_layers_that_keep_their_shape_changes_no_count(
    backbone: str, variant: str, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = registry.load_component("backbone", backbone)
    narrow = freeze_settings({"width": 0.25} if "width" in module.SETTINGS else {})
    settings = freeze_settings({"batch_norm": True, "dropout": 0.2} if backbone == "cifar_cnn" else {})
    named = Cell(Component("digits"), Component(backbone, narrow + settings), Component(variant))
    quick = count_network_costs(assemble_network(named, shape, 10, streams=None), shape)
    monkeypatch.setattr(cost, "for_shapes", lambda model: model)
    assert quick == count_network_costs(assemble_network(named, shape, 10, streams=None), shape)
    assert quick.macs >= quick.inference_macs > 0


def test_costs_leave_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Tanh())
    graft = Graft(Wrapped(model))
    inputs = torch.randn(3, *SHAPE)
    before = model(inputs)
    count_network_costs(graft, SHAPE)
    assert not any("forward" in vars(layer) for layer in model.modules())
    assert torch.equal(model(inputs), before) and not before.is_meta


class Wrapped(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> ModelOutput:
        return ModelOutput(self.model(images))


def test_checkpoints_are_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    assert checkpoint.load_state(path, "k", CPU) == {}
    checkpoint.save_state({"key": "k", "model": {"w": torch.arange(3)}}, path)
    assert list(tmp_path.iterdir()) == [path]
    assert torch.equal(checkpoint.load_state(path, "k", CPU)["model"]["w"], torch.arange(3))
    assert checkpoint.load_state(path, "another", CPU) == {}
    whole = path.read_bytes()
    for torn in (b"", b"not a checkpoint", whole[:100], whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(torn)
        assert checkpoint.load_state(path, "k", CPU) == {}


def test_devices_by_name() -> None:
    assert resolve_device("cpu") == CPU
    assert resolve_device("auto").type in {"cpu", "cuda"}
    for name in ("gpu", "cuda:99", "cuda:x"):
        with pytest.raises(UserError, match="device: "):
            resolve_device(name)


@pytest.mark.parametrize(
    ("flags", "precision"),
    [("fpu avx2 avx512f", "float32"), ("fpu avx512_bf16", "bf16"), ("amx_tile amx_bf16", "bf16"), ("", "float32")],
)
def test_precision_on_a_cpu_goes_by_its_features(flags: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.core.processor._read_fact", lambda name: flags)
    assert choose_precision(CPU) == precision


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "float32"), ((8, 0), "bf16"), ((12, 0), "bf16")])
def test_precision_on_cuda_goes_by_compute_capability(
    capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    assert choose_precision(torch.device("cuda")) == precision


def find(batch: int) -> int | None:
    recipe = dataclasses.replace(RECIPES["gradient"], batch=batch)
    return find_micro_batch(lambda: Graft(net()), SHAPE, CLASSES, recipe, Execution(CPU))


def test_a_micro_batch_is_halved_until_a_step_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_rng_state()
    assert find(32) is None
    assert torch.equal(before, torch.get_rng_state())
    forward, seen, room = nn.Module.__call__, [], 5

    def call(module: nn.Module, *inputs: Tensor) -> Any:
        seen.append(len(inputs[0]))
        if len(inputs[0]) > room:
            raise torch.OutOfMemoryError
        return forward(module, *inputs)

    monkeypatch.setattr(nn.Module, "__call__", call)
    assert find(32) == 4
    assert seen[:3] == [32, 16, 8] and set(seen[3:]) == {4}
    room = 1
    with pytest.raises(torch.OutOfMemoryError):
        find(32)
