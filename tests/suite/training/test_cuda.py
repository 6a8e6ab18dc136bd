"""What a GPU changes in the input pipeline, and what it may not. Skipped, aloud, where there is none."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from suite.core.specs import Streams
from suite.training.augment import Augmentation
from suite.training.data import Batch, Examples, Scaling, TrainingData, training_batches
from suite.training.feeds import RESIDENCIES, Residency, choose_residency, make_feed

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
PIXELS = torch.randint(0, 256, (500, 3, 20, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(500) % 10


def epoch_of(residency: Residency, device: torch.device, **on: float) -> list[Batch]:
    pictures = (lambda row: PIXELS[row].numpy()) if residency == "stream" else PIXELS
    whole = Examples.in_memory(PIXELS, LABELS)
    part = dataclasses.replace(whole, feed=make_feed(pictures, residency, device), labels=LABELS.to(device))
    data = TrainingData(part, part, Scaling.of((0.5, 0.4, 0.3), (0.2, 0.3, 0.25), device))
    augmentation = Augmentation(**on)  # type: ignore[arg-type]
    return list(training_batches(data, augmentation, batch=64, streams=Streams("search", 0), epoch=1))


def inputs_of(batches: list[Batch]) -> Tensor:
    return torch.cat([batch.inputs.cpu() for batch in batches])


@pytest.mark.parametrize("residency", RESIDENCIES)
@pytest.mark.parametrize("on", [{"flip": 1, "pad": 3}, {"cutout": 8}, {"mixup": 0.4}, {}], ids=str)
def test_inputs_are_those_of_the_cpu(residency: Residency, on: dict[str, float]) -> None:
    ours, theirs = epoch_of(residency, CUDA, **on), epoch_of("device", CPU, **on)
    assert all(batch.inputs.device == CUDA and batch.labels.device == CUDA for batch in ours)
    torch.testing.assert_close(inputs_of(ours), inputs_of(theirs), rtol=1e-6, atol=1e-6)
    assert all(torch.equal(one.labels.cpu(), other.labels) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("residency", RESIDENCIES)
def test_residencies_give_equal_bits(residency: Residency) -> None:
    on = {"flip": 1, "random_resized_crop": 16, "cutout": 4, "mixup": 0.4}
    for one, other in zip(epoch_of(residency, CUDA, **on), epoch_of("device", CUDA, **on), strict=True):
        assert torch.equal(one.inputs, other.inputs)


def test_a_resized_crop_is_within_a_grey_level_of_the_cpus() -> None:
    grey = 1 / 255 / 0.2
    ours, theirs = (inputs_of(epoch_of("device", device, random_resized_crop=16)) for device in (CUDA, CPU))
    assert float((ours - theirs).abs().max()) < 1.01 * grey


def test_prefetched_batches_survive_slow_consumers() -> None:
    """A batch's memory may not be handed to the copying stream before the computing one has read it."""
    busy = torch.randn(4096, 4096, device=CUDA)
    found = []
    part = make_feed(PIXELS, "host", CUDA)
    for images in part.iterate_batches(torch.arange(500), 64):
        busy = busy @ busy / 64  # keeps the GPU busy while the next copies come in
        found.append(images.clone())
        del images
    torch.testing.assert_close(torch.cat(found).cpu(), PIXELS)


def test_images_stay_on_the_gpu_where_they_fit() -> None:
    total = torch.cuda.get_device_properties(CUDA).total_memory
    assert choose_residency("auto", total // 8, CUDA, 0.25) == "device"
    assert choose_residency("auto", total // 2, CUDA, 0.25) == "host"
