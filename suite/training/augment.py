"""Augmentation of whole batches: what is random is drawn once per epoch, on the CPU, from one stream per operation.

`Augmentation.make_draws` decides, `Augmentation.augment_images` crops and flips uint8 images,
`Augmentation.augment_inputs` blanks and mixes normalised inputs. Work on a batch makes no GPU wait.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import torch
from torch import Tensor

from suite.core.recipes import Recipe
from suite.core.specs import Streams

# torchvision's defaults of RandomResizedCrop, from the Inception paper (arXiv 1409.4842, section 6)
_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_TRIES = 10

_CACHE = 2**19  # bytes of float32 images per CPU thread: half of a common second-level cache, measured good


@dataclass(frozen=True)
class Draws:
    """What was drawn for the n images of one batch, in their order, on the device; None where an operation is off.

    Attributes:
        flips: bool (n,), which images are flipped.
        offsets: int64 (n, 2), top and left of the crop in the padded image.
        boxes: int64 (n, 4), top, left, height and width of the crop that is resized.
        centres: int64 (n, 2), row and column of the centre of the square that is blanked.
        share: of each image in its mixture, 0-1; the rest is its partner's.
    """

    flips: Tensor | None = None
    offsets: Tensor | None = None
    boxes: Tensor | None = None
    centres: Tensor | None = None
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What happens to training images; everything is off by default.

    Attributes:
        flip: left to right, with probability 1/2 (torchvision RandomHorizontalFlip).
        pad: zero pixels around the image, cropped back to its size at a random place
            (torchvision RandomCrop(size, padding=pad)).
        random_resized_crop: side in pixels of the square output (torchvision RandomResizedCrop, antialiased bilinear);
            evaluation takes the `centre_crop` of this side.
        cutout: side in pixels of a square that is blanked to the channel mean, its centre uniform over all pixels,
            clipped at the border (DeVries & Taylor, arXiv 1708.04552).
        mixup: alpha of Beta(alpha, alpha) (Zhang et al., arXiv 1710.09412); as torchvision v2.MixUp, one draw per
            batch, an image's partner is the one before it.
        augment: False turns all of it off; training images are then cropped at their centre, as the others.
    """

    augment: bool = True
    flip: bool = False
    pad: int = 0
    random_resized_crop: int = 0
    cutout: int = 0
    mixup: float = 0.0

    @classmethod
    def of(cls, recipe: Recipe) -> Augmentation:
        """What a recipe's settings of the same names ask for."""
        if recipe.augment:
            return cls(**{field.name: getattr(recipe, field.name) for field in fields(cls)})
        return cls(augment=False, random_resized_crop=recipe.random_resized_crop)

    def __post_init__(self) -> None:
        for name in ("pad", "random_resized_crop", "cutout"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)} pixels, but must be 0 (off) or more")
        if not (math.isfinite(self.mixup) and self.mixup >= 0):
            raise ValueError(f"mixup is {self.mixup}, but must be 0 (off) or a finite positive number")
        if self.pad and self.random_resized_crop:
            raise ValueError("pad and random_resized_crop both crop: one of them must be 0 (off)")

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width that the network sees, of images of height and width `size`."""
        return (self.random_resized_crop,) * 2 if self.random_resized_crop else size

    def make_draws(
        self, streams: Streams, epoch: int, *, count: int, batch: int, size: tuple[int, int], device: torch.device
    ) -> list[Draws]:
        """Draws of one epoch's batches: `count` images of height and width `size`, `batch` at a time, last one smaller.

        Each operation has its own stream, so turning one on moves no other.
        """
        stream = partial(_make_generator, streams, epoch)
        resized = self.augment and self.random_resized_crop
        columns = {
            "flips": (torch.rand(count, generator=stream("augmentation")) < 0.5) if self.flip else None,
            "offsets": _draw_places(count, (2 * self.pad + 1,) * 2, stream("augmentation/crop")) if self.pad else None,
            "boxes": crop_boxes(count, size, stream("augmentation/resized_crop")) if resized else None,
            "centres": _draw_places(count, self.output_size(size), stream("augmentation/cutout"))
            if self.cutout
            else None,
        }
        batches = math.ceil(count / batch)
        split = {name: torch.split(drawn.to(device), batch) for name, drawn in columns.items() if drawn is not None}
        shares: list[float | None] = [None] * batches
        if self.mixup:
            seed = streams.seed_of("augmentation/mixup", epoch)
            shares = np.random.default_rng(seed).beta(self.mixup, self.mixup, batches).tolist()
        return [
            Draws(**{name: parts[number] for name, parts in split.items()}, share=shares[number])
            for number in range(batches)
        ]

    def augment_images(self, images: Tensor, draws: Draws) -> Tensor:
        """uint8 images (n, channels, height, width), cropped, then flipped."""
        if draws.offsets is not None:
            images = crop_padded(images, draws.offsets, self.pad)
        if draws.boxes is not None:
            images = crop_resized(images, draws.boxes, self.random_resized_crop)
        elif self.random_resized_crop:  # no draws: not to be augmented
            images = centre_crop(images, self.random_resized_crop)
        return images if draws.flips is None else mirror_images(images, draws.flips)

    def augment_inputs(self, inputs: Tensor, draws: Draws) -> Tensor:
        """Normalised inputs (n, channels, height, width) of a whole batch, blanked (in place), then mixed."""
        if draws.centres is not None:
            inputs = blank_squares(inputs, draws.centres, self.cutout)
        return inputs if draws.share is None else mix_values(inputs, draws.share)


def mirror_images(images: Tensor, chosen: Tensor) -> Tensor:
    """uint8 images (n, channels, height, width) with those where `chosen` (n,) is true flipped left to right."""
    # selects by bits, image ^ ((flipped ^ image) & mask): on a CPU 5 to 10 times as fast as torch.where, which
    # goes through uint8 one by one
    mask = chosen.to(torch.uint8).mul_(255).view(-1, 1, 1, 1)
    return images.flip(-1).bitwise_xor_(images).bitwise_and_(mask).bitwise_xor_(images)


def crop_padded(images: Tensor, offsets: Tensor, pad: int) -> Tensor:
    """Crops of the images' own size at `offsets` (n, 2) of the images padded by `pad` zeros on every side."""
    count, channels, height, width = images.shape
    rows, columns = height + 2 * pad, width + 2 * pad
    padded = images.new_zeros(count, channels, rows, columns)
    padded[:, :, pad : pad + height, pad : pad + width] = images
    top, left = offsets.view(count, 2, 1, 1).unbind(1)
    plane = torch.arange(count * channels, device=images.device).view(count, channels, 1)
    row = plane * rows + top + torch.arange(height, device=images.device)
    # every run of `width` pixels is a row of a view: whole rows are copied, which no other indexing does
    runs = padded.view(-1).unfold(0, width, 1)
    return runs.index_select(0, (row * columns + left).view(-1)).view(images.shape)


def crop_boxes(count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Boxes (count, 4) of top, left, height, width: torchvision's RandomResizedCrop.make_params, for all at once.

    Each takes the first of ten tries that fits into `size`, else the largest central box of an allowed ratio.
    """
    rows, columns = size
    area, ratio, top, left = torch.rand(4, count, _TRIES, generator=generator, dtype=torch.float64)
    area = rows * columns * (_AREA[0] + area * (_AREA[1] - _AREA[0]))
    ratio = torch.exp(math.log(_RATIO[0]) + ratio * math.log(_RATIO[1] / _RATIO[0]))
    heights, widths = torch.sqrt(area / ratio).round_(), torch.sqrt(area * ratio).round_()
    fits = (heights >= 1) & (heights <= rows) & (widths >= 1) & (widths <= columns)
    tries = torch.stack([(top * (rows - heights + 1)), (left * (columns - widths + 1)), heights, widths], -1).long()
    first = fits.int().argmax(1)
    boxes = tries[torch.arange(count), first]
    return torch.where(fits.any(1, keepdim=True), boxes, torch.tensor(_central_box(rows, columns)))


def _central_box(rows: int, columns: int) -> tuple[int, int, int, int]:
    height, width = rows, columns
    if columns / rows < _RATIO[0]:
        height = round(columns / _RATIO[0])
    elif columns / rows > _RATIO[1]:
        width = round(rows * _RATIO[1])
    return (rows - height) // 2, (columns - width) // 2, height, width


def crop_resized(images: Tensor, boxes: Tensor, side: int) -> Tensor:
    """The `boxes` (n, 4) of uint8 images, resized to (n, channels, side, side) by antialiased bilinear interpolation.

    Within one grey level of torchvision v2.functional.resized_crop, which itself differs that much between devices.
    """
    chunk = _count_cached_images(images)
    parts = zip(torch.split(images, chunk), torch.split(boxes, chunk), strict=True)
    return torch.cat([_resize_crops(some, where, side) for some, where in parts])


def _resize_crops(images: Tensor, boxes: Tensor, side: int) -> Tensor:
    count, channels, height, width = images.shape
    top, left, rows, columns = boxes.unbind(1)
    # height before channels: then either axis is one matrix product per image, and the type casts do the transposing
    floats = images.transpose(1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    floats = _triangle_weights(top, rows, height, side) @ floats.view(count, height, channels * width)
    floats = floats.view(count, side * channels, width) @ _triangle_weights(left, columns, width, side).mT
    resized = floats.round_().view(count, side, channels, side).transpose(1, 2)
    return resized.to(torch.uint8, memory_format=torch.contiguous_format)


def _triangle_weights(start: Tensor, length: Tensor, size: int, side: int) -> Tensor:
    """Weights (n, side, size) that resize pixels `start` to `start + length` of a line of `size` to `side` pixels.

    torch's upsample_bilinear2d_aa: triangles of half-width max(1, length / side) pixels, cut off at the box.
    """
    start, length = start.view(-1, 1, 1), length.view(-1, 1, 1)
    scale = length / side
    centre = (torch.arange(side, device=start.device).view(-1, 1) + 0.5) * scale
    pixel = torch.arange(size, device=start.device) - start
    weights = (1 - (pixel + 0.5 - centre).abs() / scale.clamp(min=1)).clamp_(min=0)
    weights *= (pixel >= 0) & (pixel < length)
    return weights / weights.sum(-1, keepdim=True)


def centre_crop(images: Tensor, side: int) -> Tensor:
    """The central `side` x `side` pixels (a view), as torchvision v2.functional.center_crop.

    Raises:
        ValueError: the images are smaller.
    """
    height, width = images.shape[-2:]
    if side > min(height, width):
        raise ValueError(f"images of {height} x {width} pixels have no central {side} x {side}")
    top, left = round((height - side) / 2), round((width - side) / 2)
    return images[..., top : top + side, left : left + side]


def iterate_ten_crops(images: Tensor, side: int) -> Iterator[Tensor]:
    """Views of the centre and the corners of `side` x `side` pixels, each followed by its mirror image.

    Krizhevsky et al. 2012 (section 4.1), and torchvision v2.functional.ten_crop.
    """
    bottom, right = images.shape[-2] - side, images.shape[-1] - side
    yield from _mirror_too(centre_crop(images, side))
    for top, left in ((0, 0), (0, right), (bottom, 0), (bottom, right)):
        yield from _mirror_too(images[..., top : top + side, left : left + side])


def _mirror_too(images: Tensor) -> tuple[Tensor, Tensor]:
    return images, images.flip(-1)


def blank_squares(inputs: Tensor, centres: Tensor, side: int) -> Tensor:
    """Normalised inputs with a square of `side` pixels around `centres` (n, 2) set to 0, the mean; in place."""
    height, width = inputs.shape[-2:]
    top, left = (centres - side // 2).view(-1, 2, 1, 1, 1).unbind(1)
    row = torch.arange(height, device=inputs.device).view(-1, 1) - top
    column = torch.arange(width, device=inputs.device) - left
    outside = ~(((row >= 0) & (row < side)) & ((column >= 0) & (column < side)))
    return inputs.mul_(outside)  # three times as fast on a CPU as masked_fill_


def mix_values(values: Tensor, share: float) -> Tensor:
    """`share` of each of a batch's values (n, ...) plus the rest of the one before it, as torchvision v2.MixUp."""
    return values.roll(1, 0).mul_(1 - share).add_(values, alpha=share)


def normalise_images(images: Tensor, mean: Tensor, std: Tensor, memory_format: torch.memory_format) -> Tensor:
    """uint8 images -> float32 (image / 255 - mean) / std, as torchvision's ToTensor and Normalize.

    `mean` and `std` are (channels, 1, 1). Where a CPU has to change the layout, it does so last, and for a few images
    at a time: per-channel steps are slow on channels-last. The bits are those of the plain way.
    """
    if images.device.type != "cpu" or images.is_contiguous(memory_format=memory_format):
        floats = images.contiguous(memory_format=memory_format).to(torch.float32)
        return floats.div_(255).sub_(mean).div_(std)
    floats = torch.empty_like(images, dtype=torch.float32, memory_format=memory_format)
    chunk = _count_cached_images(images)
    for some, place in zip(torch.split(images, chunk), torch.split(floats, chunk), strict=True):
        place.copy_(some.to(torch.float32).div_(255).sub_(mean).div_(std))
    return floats


def _count_cached_images(images: Tensor) -> int:
    """How many images, as float32, a step works on at a time: on a CPU what its threads' caches hold, else all."""
    if images.device.type != "cpu":
        return len(images)
    return max(1, torch.get_num_threads() * _CACHE // (4 * images[0].numel()))


def _draw_places(count: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Places (count, 2), uniform over `size` rows and columns."""
    return torch.stack([torch.randint(0, length, (count,), generator=generator) for length in size], 1)


def _make_generator(streams: Streams, epoch: int, stream: str) -> torch.Generator:
    return torch.Generator().manual_seed(streams.seed_of(stream, epoch))
