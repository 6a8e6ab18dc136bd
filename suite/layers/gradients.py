"""Second inputs made of an image: its gradient in several forms, and two controls (docs/papers.md, section 2).

All take and return (batch, channels, height, width); channels and images do not mix, borders repeat their last pixel.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def forward_differences(images: Tensor) -> tuple[Tensor, Tensor]:
    """(batch, channels, height, width) -> dx, dy of the same shape: the next pixel minus this one.

    dx is 0 in the last column and dy in the last row (ours: the paper names no operator).
    """
    dx, dy = torch.zeros_like(images), torch.zeros_like(images)
    dx[..., :-1] = images[..., 1:] - images[..., :-1]
    dy[..., :-1, :] = images[..., 1:, :] - images[..., :-1, :]
    return dx, dy


def difference_sum(images: Tensor) -> Tensor:
    """dx + dy of the forward differences (Pandey and Jha 2020, section 5)."""
    dx, dy = forward_differences(images)
    return dx + dy


def magnitude(images: Tensor) -> Tensor:
    """sqrt(dx^2 + dy^2) of the forward differences."""
    return torch.hypot(*forward_differences(images))


def sobel(images: Tensor) -> Tensor:
    """Sobel's dx + dy, divided by 8: on a ramp it equals the ramp's slope, as forward differences do."""
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    columns = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    return (rows[..., 2:] - rows[..., :-2] + columns[..., 2:, :] - columns[..., :-2, :]) / 8


def texture(images: Tensor) -> Tensor:
    """The standard deviation of the 3 x 3 pixels around each pixel (ours: the paper names texture alone)."""
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    return padded.unfold(-2, 3, 1).unfold(-2, 3, 1).std(dim=(-2, -1), correction=0)


def copy(images: Tensor) -> Tensor:
    """The images again: two passes without a gradient."""
    return images


def noise(images: Tensor) -> Tensor:
    """Standard normal noise from the global generator of the images' device; normalised images have unit variance."""
    return torch.randn_like(images)


FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": difference_sum,
    "sobel": sobel,
    "magnitude": magnitude,
    "texture": texture,
    "copy": copy,
    "noise": noise,
}
