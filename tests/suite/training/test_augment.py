"""Augmentation against torchvision's transforms and plain loops: equal values, equal distributions, own streams."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from suite.core.recipes import RECIPES, Recipe
from suite.core.specs import Streams
from suite.training import augment
from suite.training.augment import Augmentation, Draws

CPU = torch.device("cpu")
STREAMS = Streams("search", 3)
UNLIKELY = 1e-3  # p-value below which two distributions differ; the seeds are fixed, so a pass stays a pass
COLUMNS = ("flips", "offsets", "boxes", "centres")
PADDED = Augmentation(flip=True, pad=4, cutout=8, mixup=0.4)
RESIZED = Augmentation(flip=True, random_resized_crop=16, cutout=8, mixup=0.4)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Batches this small only wait for each other's threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def drawn(
    augmentation: Augmentation,
    *,
    count: int,
    batch: int | None = None,
    size: tuple[int, int] = (32, 32),
    streams: Streams = STREAMS,
    epoch: int = 1,
) -> list[Draws]:
    return augmentation.make_draws(streams, epoch, count=count, batch=batch or count, size=size, device=CPU)


def column(draws: list[Draws], name: str) -> Tensor:
    return torch.cat([getattr(some, name) for some in draws])


def same(one: list[Draws], other: list[Draws]) -> dict[str, bool]:
    """For every operation that is on in both, whether its draws are the same bits."""
    names = [name for name in COLUMNS if None not in (getattr(one[0], name), getattr(other[0], name))]
    found = {name: torch.equal(column(one, name), column(other, name)) for name in names}
    if None not in (one[0].share, other[0].share):
        found["share"] = [some.share for some in one] == [some.share for some in other]
    return found


# -- draws


def test_flips_are_the_bits_that_finished_trials_used() -> None:
    generator = torch.Generator().manual_seed(STREAMS.seed_of("augmentation", 2))
    expected = torch.rand(1000, generator=generator) < 0.5
    assert torch.equal(column(drawn(PADDED, count=1000, batch=96, epoch=2), "flips"), expected)
    assert stats.binomtest(int(expected.sum()), 1000).pvalue > UNLIKELY


@pytest.mark.parametrize("augmentation", [PADDED, RESIZED])
def test_draws_depend_on_epoch_seed_and_stage_alone(augmentation: Augmentation) -> None:
    first = drawn(augmentation, count=50, batch=8)
    assert same(first, drawn(augmentation, count=50, batch=8)) == dict.fromkeys(same(first, first), True)
    for streams, epoch in ((STREAMS, 2), (Streams("search", 4), 1), (Streams("confirm", 3), 1)):
        other = drawn(augmentation, count=50, batch=8, streams=streams, epoch=epoch)
        assert not any(same(first, other).values())
    assert len(same(first, first)) == 4


@pytest.mark.parametrize("everything", [PADDED, RESIZED])
def test_an_operation_turned_on_moves_no_other(everything: Augmentation) -> None:
    """Cutout is measured on the crop: its centres may depend on the size of the output, on nothing else."""
    together = drawn(everything, count=50, batch=8)
    side = everything.random_resized_crop
    crop = Augmentation(random_resized_crop=side) if side else Augmentation(pad=4)
    for alone in (Augmentation(flip=True), crop, Augmentation(cutout=8), Augmentation(mixup=0.4)):
        size = everything.output_size((32, 32)) if alone.cutout else (32, 32)
        assert list(same(together, drawn(alone, count=50, batch=8, size=size)).values()) == [True]


@pytest.mark.parametrize(("augmentation", "crop"), [(PADDED, "crop"), (RESIZED, "resized_crop")])
def test_every_operation_has_its_own_stream(
    augmentation: Augmentation, crop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(Streams, "seed_of", lambda _, stream, epoch: asked.append((stream, epoch)) or len(asked))
    drawn(augmentation, count=4, epoch=7)
    names = ["augmentation", f"augmentation/{crop}", "augmentation/cutout", "augmentation/mixup"]
    assert asked == [(name, 7) for name in names]


@pytest.mark.parametrize("augmentation", [PADDED, RESIZED])
def test_batches_are_slices_of_the_epoch_and_the_last_is_smaller(augmentation: Augmentation) -> None:
    epoch, batches = drawn(augmentation, count=50), drawn(augmentation, count=50, batch=16)
    for name in COLUMNS:
        if getattr(epoch[0], name) is not None:
            assert [len(getattr(some, name)) for some in batches] == [16, 16, 16, 2]
            assert torch.equal(column(batches, name), getattr(epoch[0], name))
    images = pictures(50, 3, 32, 32)
    whole = augmentation.augment_images(images, epoch[0])
    parts = [augmentation.augment_images(i, d) for i, d in zip(images.split(16), batches, strict=True)]
    assert torch.equal(torch.cat(parts), whole)


def test_nothing_is_on_by_default() -> None:
    (nothing,) = drawn(Augmentation(), count=5)
    assert nothing == Draws()
    images, inputs = pictures(5, 1, 8, 8), torch.randn(5, 1, 8, 8)
    assert Augmentation().augment_images(images, nothing) is images
    assert Augmentation().augment_inputs(inputs, nothing) is inputs


@pytest.mark.parametrize(
    "settings",
    [
        {"pad": -1},
        {"cutout": -2},
        {"random_resized_crop": -1},
        {"mixup": -0.1},
        {"mixup": math.nan},
        {"mixup": math.inf},
        {"pad": 4, "random_resized_crop": 16},
    ],
)
def test_senseless_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Augmentation(**settings)  # type: ignore[arg-type]


def test_a_recipe_names_its_augmentation() -> None:
    assert Augmentation.of(Recipe(pad=2, cutout=5, mixup=0.2)) == Augmentation(pad=2, cutout=5, mixup=0.2)
    assert Augmentation.of(RECIPES["sire"]) == Augmentation(flip=True)


@pytest.mark.parametrize("augmentation", [PADDED, RESIZED])
def test_no_step_waits_for_a_value(augmentation: Augmentation) -> None:
    """Tensors on `meta` have no values: whatever would make a GPU wait for one fails there."""
    device = torch.device("meta")
    draws = augmentation.make_draws(STREAMS, 1, count=5, batch=5, size=(32, 32), device=device)[0]
    images = augmentation.augment_images(torch.empty(5, 3, 32, 32, dtype=torch.uint8, device=device), draws)
    mean, std = torch.empty(2, 3, 1, 1, device=device)
    inputs = augmentation.augment_inputs(augment.normalise_images(images, mean, std, torch.channels_last), draws)
    assert inputs.shape == (5, 3, *augmentation.output_size((32, 32)))
    with pytest.raises((RuntimeError, NotImplementedError)):
        inputs[0, 0, 0, 0].item()
    with pytest.raises((RuntimeError, NotImplementedError)):
        inputs[inputs > 0]


# -- flip, pad-and-crop


@pytest.mark.parametrize("shape", [(6, 3, 8, 8), (6, 1, 7, 7), (6, 2, 5, 9)])
def test_flip_equals_torchvisions(shape: tuple[int, ...]) -> None:
    images = pictures(*shape)
    before = images.clone()
    chosen = torch.tensor([True, False, True, False, False, True])
    expected = [reference.horizontal_flip(i) if c else i for i, c in zip(images, chosen, strict=True)]
    assert torch.equal(augment.mirror_images(images, chosen), torch.stack(expected))
    assert torch.equal(images, before)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 7, 7), (2, 5, 9)])
@pytest.mark.parametrize("pad", [1, 4])
def test_crop_and_flip_equal_torchvisions_pixel_by_pixel(shape: tuple[int, ...], pad: int) -> None:
    """All offsets, the extremes at the last image included."""
    offsets = torch.cartesian_prod(torch.arange(2 * pad + 1), torch.arange(2 * pad + 1))
    images, flips = pictures(len(offsets), *shape), torch.arange(len(offsets)) % 2 == 0
    cropped = Augmentation(flip=True, pad=pad).augment_images(images, Draws(flips=flips, offsets=offsets))
    assert cropped.is_contiguous()
    for image, flip, (top, left), found in zip(images, flips, offsets.tolist(), cropped, strict=True):
        expected = reference.crop(reference.pad(image, [pad]), top, left, *shape[1:])
        assert torch.equal(found, reference.horizontal_flip(expected) if flip else expected)


def test_crop_offsets_are_uniform() -> None:
    offsets = column(drawn(Augmentation(pad=2), count=5000, size=(5, 9)), "offsets")
    counts = torch.bincount(offsets[:, 0] * 5 + offsets[:, 1], minlength=25)
    assert counts.shape == (25,)
    assert stats.chisquare(counts.numpy()).pvalue > UNLIKELY


# -- random resized crop


@cache
def torchvisions_boxes(size: tuple[int, int], count: int) -> Tensor:
    image, transform = torch.empty(1, *size), v2.RandomResizedCrop(8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = [transform.make_params([image]) for _ in range(count)]
    return torch.tensor([[box[name] for name in ("top", "left", "height", "width")] for box in found])


@pytest.mark.parametrize("size", [(224, 224), (32, 32), (40, 100), (100, 30)])
def test_crop_boxes_are_distributed_as_torchvisions(size: tuple[int, int]) -> None:
    """The long sizes reach the fallback: a central box of the extreme ratio."""
    theirs = torchvisions_boxes(size, 3000)
    ours = column(drawn(Augmentation(random_resized_crop=8), count=6000, size=size), "boxes")
    bottom_right = ours[:, :2] + ours[:, 2:]
    assert bool((ours[:, :2] >= 0).all() and (ours[:, 2:] > 0).all() and (bottom_right <= torch.tensor(size)).all())
    for figure in (
        lambda box: box[:, 2] * box[:, 3],
        lambda box: box[:, 3] / box[:, 2],
        lambda box: box[:, 0] / (size[0] - box[:, 2]).clamp(min=1),
        lambda box: box[:, 1] / (size[1] - box[:, 3]).clamp(min=1),
        lambda box: box[:, 0] + box[:, 2],
        lambda box: box[:, 1] + box[:, 3],
    ):
        assert stats.ks_2samp(figure(ours).numpy(), figure(theirs).numpy()).pvalue > UNLIKELY


@pytest.mark.parametrize("size", [(8, 200), (200, 8), (6, 7)])
def test_the_box_of_last_resort_is_torchvisions(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """No try fits when all ask for more than the image: the central box, of the whole image if its ratio is allowed."""
    monkeypatch.setattr(augment, "_AREA", (9.0, 9.0))
    params = v2.RandomResizedCrop(8, scale=(9.0, 9.0)).make_params([torch.empty(1, *size)])
    expected = torch.tensor([params[name] for name in ("top", "left", "height", "width")])
    boxes = augment.crop_boxes(5, size, torch.Generator().manual_seed(0))
    assert torch.equal(boxes, expected.expand(5, 4))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(40, 52), (16, 16)])
@pytest.mark.parametrize("side", [8, 16, 60])
def test_resized_crops_equal_torchvisions(channels: int, size: tuple[int, int], side: int) -> None:
    """Down and up, boxes at all borders, of one pixel, the whole image, and of the very side."""
    height, width = size
    boxes = [(0, 0, height, width), (0, 0, 1, 1), (height - 1, width - 1, 1, 1), (0, width - 5, 9, 5)]
    boxes += [(height - 7, 0, 7, 11), (3, 2, 13, 1), (height - 8, width - 8, 8, 8), (0, 0, 16, 16)]
    boxes += augment.crop_boxes(30, size, torch.Generator().manual_seed(1)).tolist()
    images = pictures(len(boxes), channels, *size)
    found = Augmentation(random_resized_crop=side).augment_images(images, Draws(boxes=torch.tensor(boxes)))
    assert found.dtype == torch.uint8 and found.is_contiguous() and found.shape[1:] == (channels, side, side)
    rounded_once = 0
    for image, box, ours in zip(images, boxes, found, strict=True):
        theirs = reference.resized_crop(image, *box, [side, side], antialias=True)
        assert int((ours.int() - theirs.int()).abs().max()) <= 1
        # torch's integers are rounded after either axis, floats once: they must agree but for ties
        exact = reference.resized_crop(image.double(), *box, [side, side], antialias=True)
        assert float((ours - exact).abs().max()) < 0.5 + 1e-3
        rounded_once += int((ours != exact.round()).sum())
    assert rounded_once < found.numel() / 100


def test_resizing_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images, boxes = pictures(10, 3, 20, 20), augment.crop_boxes(10, (20, 20), torch.Generator().manual_seed(1))
    whole = augment.crop_resized(images, boxes, 12)
    monkeypatch.setattr(augment, "_CACHE", 3 * 4 * images[0].numel())
    assert torch.equal(augment.crop_resized(images, boxes, 12), whole)


@pytest.mark.parametrize("size", [(9, 9), (8, 9), (9, 12), (7, 7)])
def test_centre_crop_equals_torchvisions(size: tuple[int, int]) -> None:
    images = pictures(2, 3, *size)
    for side in (1, 4, 6, 7):
        assert torch.equal(augment.centre_crop(images, side), reference.center_crop(images, [side, side]))
    with pytest.raises(ValueError, match="no central"):
        augment.centre_crop(images, min(size) + 1)


# -- cutout


@pytest.mark.parametrize("side", [1, 4, 5, 30])
@pytest.mark.parametrize("size", [(6, 6), (5, 9)])
def test_cutout_blanks_what_a_plain_loop_blanks(side: int, size: tuple[int, int]) -> None:
    """DeVries and Taylor's: clipped at the border; for even sides the bounds are those of their code."""
    centres = torch.cartesian_prod(torch.arange(size[0]), torch.arange(size[1]))
    inputs = torch.rand(len(centres), 3, *size, generator=torch.Generator().manual_seed(0)) + 1
    expected = inputs.clone()
    for image, (row, column) in zip(expected, centres.tolist(), strict=True):
        for y in range(row - side // 2, row - side // 2 + side):
            for x in range(column - side // 2, column - side // 2 + side):
                if 0 <= y < size[0] and 0 <= x < size[1]:
                    image[:, y, x] = 0
    assert torch.equal(Augmentation(cutout=side).augment_inputs(inputs, Draws(centres=centres)), expected)


def test_cutout_covers_as_much_as_the_papers() -> None:
    """Centres are uniform over all pixels, of the cropped image where it is resized, so the covered area is too."""
    height, width, side, count = 16, 12, 8, 4000
    settings = Augmentation(cutout=side)
    draws = drawn(settings, count=count, size=(height, width))[0]
    assert draws.centres is not None
    places = torch.bincount(draws.centres[:, 0] * width + draws.centres[:, 1], minlength=height * width)
    assert stats.chisquare(places.numpy()).pvalue > UNLIKELY
    blank = settings.augment_inputs(torch.ones(count, 1, height, width), draws) == 0
    covered = blank.flatten(1).sum(1).numpy()
    rng = np.random.default_rng(0)
    y, x = rng.integers(height, size=count), rng.integers(width, size=count)
    rows = np.clip(y + side // 2, 0, height) - np.clip(y - side // 2, 0, height)
    columns = np.clip(x + side // 2, 0, width) - np.clip(x - side // 2, 0, width)
    assert stats.ks_2samp(covered, rows * columns).pvalue > UNLIKELY
    resized = column(drawn(Augmentation(cutout=2, random_resized_crop=5), count=500), "centres")
    assert set(resized.flatten().tolist()) == set(range(5))


# -- mixup


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_mixup_equals_torchvisions(share: float, layout: torch.memory_format) -> None:
    """Inputs, and the targets of labels mixed by the same share with those of the batch rolled by one."""
    inputs = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
    labels = torch.tensor([0, 2, 2, 1, 0])
    transform, params = v2.MixUp(num_classes=3), {"lam": share, "labels": labels, "batch_size": 5}
    before = inputs.clone()
    found = Augmentation(mixup=1.0).augment_inputs(inputs, Draws(share=share))
    torch.testing.assert_close(found, transform.transform(before, params), rtol=1e-6, atol=1e-6)
    assert found.is_contiguous(memory_format=layout)
    one_hot = torch.nn.functional.one_hot
    targets = share * one_hot(labels, 3) + (1 - share) * one_hot(labels.roll(1), 3)
    torch.testing.assert_close(targets, transform.transform(labels, params))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_mixups_shares_are_distributed_as_torchvisions(alpha: float) -> None:
    shares = [some.share for some in drawn(Augmentation(mixup=alpha), count=4000, batch=2)]
    assert len(shares) == 2000 and all(isinstance(share, float) for share in shares)
    transform = v2.MixUp(alpha=alpha, num_classes=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = [transform.make_params([])["lam"] for _ in range(2000)]
    one, other = np.array(shares, np.float32), np.array(theirs, np.float32)  # theirs reach 1 by rounding
    assert stats.ks_2samp(one, other).pvalue > UNLIKELY


def test_inputs_are_blanked_before_they_are_mixed() -> None:
    """As torchvision would: MixUp comes after the images' own transforms, in the collate function."""
    settings = Augmentation(cutout=2, mixup=1.0)
    draws = Draws(centres=torch.tensor([[1, 1], [3, 3]]), share=0.75)
    found = settings.augment_inputs(torch.ones(2, 1, 4, 4), draws)
    assert found[0, 0, 0, 0] == 0.25 and found[0, 0, 3, 3] == 0.75 and found[0, 0, 0, 3] == 1


# -- normalisation


@pytest.mark.parametrize("shape", [(7, 3, 6, 5), (7, 1, 6, 6), (1, 3, 8, 8)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("cache_bytes", [1, 800, 2**21])
def test_normalised_has_the_bits_and_layout_of_the_plain_way(
    shape: tuple[int, ...], layout: torch.memory_format, cache_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(augment, "_CACHE", cache_bytes)
    images = pictures(*shape)
    mean, std = torch.rand(2, shape[1], 1, 1, generator=torch.Generator().manual_seed(0)) + 0.1
    expected = images.contiguous(memory_format=layout).to(torch.float32).div(255).sub(mean).div(std)
    for stored in (images, images.to(memory_format=torch.channels_last)):
        found = augment.normalise_images(stored, mean, std, layout)
        assert torch.equal(found, expected)
        assert found.is_contiguous(memory_format=layout)
    assert augment.normalise_images(images, mean, std, layout).stride() == expected.stride()
    torchvisions = reference.normalize(reference.to_dtype(images, scale=True), mean.flatten(), std.flatten())
    torch.testing.assert_close(found, torchvisions)


# -- none


@pytest.mark.parametrize("size", [(32, 32), (33, 30), (19, 31)])
def test_without_augmentation_training_images_are_cropped_as_the_others(size: tuple[int, int]) -> None:
    """To the bit, odd borders included."""
    recipe = Recipe(augment=False, random_resized_crop=16, flip=True, cutout=4, mixup=0.4)
    plain = Augmentation.of(recipe)
    [draws] = drawn(plain, count=6, size=size)
    assert all(getattr(draws, name) is None for name in (*COLUMNS, "share"))
    images = pictures(6, 3, *size)
    assert torch.equal(plain.augment_images(images, draws), augment.centre_crop(images, 16))
    inputs = images.float()
    assert plain.augment_inputs(inputs, draws) is inputs
    assert plain.output_size(size) == Augmentation.of(Recipe(random_resized_crop=16)).output_size(size) == (16, 16)


def test_without_augmentation_and_crop_images_are_as_they_are() -> None:
    plain = Augmentation.of(Recipe(augment=False, flip=True, pad=4))
    images = pictures(6, 3, 8, 8)
    [draws] = drawn(plain, count=6, size=(8, 8))
    assert plain.augment_images(images, draws) is images
