"""Pooling in the frequency domain: DiffStride with learned strides, fixed spectral pooling, Hartley pooling.

Definitions: docs/papers.md, section 3, measured against the original implementation (google-research/diffstride) and
pinned by the golden vectors in tests/golden. All layers take and return (batch, channels, height, width) in the
input's own dtype and memory format; the transforms run in float32, in float64 for float64 input. Gradients are
first-order: a second derivative raises.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from suite.layers._spectrum import Band, hartley_crop, resample_spectrum

Pair = tuple[float, float]


class DiffStride(nn.Module):
    """Spectral pooling whose strides are learned (Riad et al., ICLR 2022; docs/papers.md, section 3).

    Height and width shrink to about size / stride + 2 * smoothness (32 px at stride 2: 24), the width always to an
    even number. There is no rescaling: a constant c becomes c * H * W / (h * w). Reading the strides makes a GPU wait
    once per forward; on the meta device they have no value and the initial ones give the shape.

    Args:
        strides: initial strides (vertical, horizontal), or one number for both; at least 1.
        smoothness: R, the width of the mask's ramp in bins; the input has to be larger than it.
        cropping: False keeps the size and only masks.
        shared: one trained stride for both axes.
        lower, upper: limits of the strides used. `project_strides` holds the parameter to them.

    Attributes:
        strides: parameter (2,), or (1,) when shared; the layer itself never writes to it.
        effective_strides: what the last forward used: not below size / (size - R), within the limits.
        map_size: (height, width) of the last forward's input; None before the first.
        undecayed: names its strides to whoever builds an optimiser: weight decay would pull them to 0.

    Raises:
        ValueError: an illegal argument; in the forward, an input that isn't larger than R.
    """

    undecayed = ("strides",)

    def __init__(
        self,
        strides: float | Pair,
        smoothness: float = 4.0,
        cropping: bool = True,
        shared: bool = False,
        lower: float = 1.0,
        upper: float | None = None,
    ) -> None:
        super().__init__()
        initial = _check_strides("DiffStride", strides)
        if shared and initial[0] != initial[1]:
            raise ValueError(f"DiffStride: a shared stride needs equal initial values, got {initial}")
        if not 0 < smoothness < math.inf:
            raise ValueError(f"DiffStride: smoothness has to be a positive number, got {smoothness}")
        if not 1 <= lower < math.inf:
            raise ValueError(f"DiffStride: the lower limit of a stride has to be at least 1, got {lower}")
        if upper is not None and not upper >= lower:
            raise ValueError(f"DiffStride: the upper limit {upper} is below the lower limit {lower}")
        self.shared = shared
        self.smoothness = float(smoothness)
        self.cropping = cropping
        self.lower = float(lower)
        self.upper = None if upper is None else float(upper)
        self.initial_strides = initial
        self.effective_strides = initial
        self.map_size: tuple[int, int] | None = None
        self.strides = nn.Parameter(torch.tensor(initial[:1] if shared else initial))

    def strides_for(self, height: int, width: int) -> Tensor:
        """(2,): the strides used on a map of this size, differentiable (a complexity penalty wants that)."""
        return self._within_limits(self.strides, height, width)

    def forward(self, x: Tensor) -> Tensor:
        image = _full_precision("DiffStride", x)
        height, width = image.shape[-2:]
        if min(height, width) <= self.smoothness or width < 2:
            raise ValueError(
                f"DiffStride: a {height}x{width} map is too small, both sides have to be larger than the smoothness "
                f"{self.smoothness:g} and the width at least 2"
            )
        self.map_size = (height, width)
        used = self.strides_for(height, width)
        reach = self._mask_reach(used, height, width)
        self.effective_strides, reached = self._on_the_host(used, reach, height, width)
        band = self._mask_band(reached, height, width)
        if x.is_meta:
            return _make_empty(x, (band.top + band.bottom, band.width))
        odd = height % 2
        rows = torch.cat([torch.arange(band.top) + odd, torch.arange(band.bottom - 1, -1, -1)]).to(reach)
        columns = torch.arange(band.columns).to(reach)
        row_mask, column_mask = self._compute_mask(reach[0], rows), self._compute_mask(reach[1], columns)
        return _match_layout(resample_spectrum(image, band, row_mask.to(image.dtype), column_mask.to(image.dtype)), x)

    def _within_limits(self, strides: Tensor, height: int, width: int) -> Tensor:
        strides = strides.to(torch.promote_types(strides.dtype, torch.float32))
        minimum = torch.tensor([size / (size - self.smoothness) for size in (height, width)]).to(strides)
        if self.shared:
            strides, minimum = strides.expand(2), minimum.max().expand(2)
        # Straight through: the original writes the minimum into its variable, so the gradient doesn't see it.
        raised = minimum + (strides - strides.detach())
        return _clip_through(torch.where(strides < minimum, raised, strides), self.lower, self.upper)

    def _mask_reach(self, used: Tensor, height: int, width: int) -> Tensor:
        """(2,): R + T, the positions at which the masks of rows and columns reach 0."""
        half = _clip_through(torch.tensor([height, width]).to(used) / used, 2.0) / 2
        return self.smoothness + (half + torch.tensor([0, 1]).to(used))

    def _on_the_host(self, used: Tensor, reach: Tensor, height: int, width: int) -> tuple[Pair, Pair]:
        """Strides and reach as numbers."""
        if used.device.type == "meta":
            with torch.device("cpu"):
                initial = torch.tensor(self.initial_strides[: len(self.strides)])
                used = self._within_limits(initial, height, width)
                reach = self._mask_reach(used, height, width)
        vertical, horizontal, rows, columns = torch.cat([used, reach]).tolist()
        return (vertical, horizontal), (rows, columns)

    def _mask_band(self, reach: Pair, height: int, width: int) -> Band:
        """The bins where the mask is above 0; with NaN strides all of them, so that the loss shows the NaN."""
        kept = [height + width, height + width]
        for axis, end in enumerate(reach):
            if self.cropping and math.isfinite(end):
                kept[axis] = math.ceil(end)
        odd = height % 2
        top, bottom = min(height // 2, kept[0] - odd), min(height // 2 + odd, kept[0])
        columns = min(width // 2 + 1, kept[1])
        return Band(top, bottom, columns, 2 * (columns - 1))

    def _compute_mask(self, reach: Tensor, positions: Tensor) -> Tensor:
        return _clip_through((reach - positions) / self.smoothness, 0.0, 1.0)

    def extra_repr(self) -> str:
        options = f"smoothness={self.smoothness:g}, cropping={self.cropping}, shared={self.shared}"
        return f"{self.initial_strides}, {options}, lower={self.lower:g}, upper={self.upper}"


def project_strides(model: nn.Module) -> None:
    """Moves every learned stride back into its layer's limits; belongs after each optimiser step."""
    for layer in model.modules():
        if isinstance(layer, DiffStride):
            with torch.no_grad():
                layer.strides.clamp_(layer.lower, layer.upper)


class _FixedPool(nn.Module, ABC):
    """A pool with fixed strides: (vertical, horizontal), or one number for both; at least 1. Nothing is trained.

    Raises:
        ValueError: an illegal stride; in the forward, a map that is too small.
    """

    def __init__(self, strides: float | Pair) -> None:
        super().__init__()
        self.strides = _check_strides(type(self).__name__, strides)

    def forward(self, x: Tensor) -> Tensor:
        image = _full_precision(type(self).__name__, x)
        height, width = image.shape[-2:]
        size = self._compute_size(height, width)
        if size == (height, width):
            return x
        if x.is_meta:
            return _make_empty(x, size)
        return _match_layout(self._shrink(image, size), x)

    @abstractmethod
    def _compute_size(self, height: int, width: int) -> tuple[int, int]: ...

    @abstractmethod
    def _shrink(self, image: Tensor, size: tuple[int, int]) -> Tensor: ...

    def extra_repr(self) -> str:
        return f"{self.strides}"


class FixedSpectralPool(_FixedPool):
    """Fourier cropping (Rippel et al. 2015; docs/papers.md, section 3). Nothing is rescaled.

    (batch, channels, H, W) -> height floor(H / stride) made even downward, width floor(W / stride), both at least 2.
    """

    def _compute_size(self, height: int, width: int) -> tuple[int, int]:
        if min(height, width) < 2:
            raise ValueError(f"FixedSpectralPool: a {height}x{width} map is too small, both sides have to be 2 or more")
        return 2 * max(int(height / self.strides[0]) // 2, 1), max(int(width / self.strides[1]), 2)

    def _shrink(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        half, width = size[0] // 2, size[1]
        return resample_spectrum(image, Band(half, half, width // 2 + 1, width))


class HartleyPool(_FixedPool):
    """Cropping of the two-dimensional Hartley transform (Zhang and Ma 2020; docs/papers.md, section 3).

    (batch, channels, H, W) -> (batch, channels, floor(H / stride), floor(W / stride)). Constants and the spatial mean
    are kept.
    """

    def _compute_size(self, height: int, width: int) -> tuple[int, int]:
        size = (int(height / self.strides[0]), int(width / self.strides[1]))
        if min(size) < 1:
            raise ValueError(f"HartleyPool: a {height}x{width} map is too small to shrink {self.strides} times")
        return size

    def _shrink(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        return hartley_crop(image, size)


def _make_empty(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Of the output's shape, and x's successor in the graph: all that a plan wants, in a tenth of the time."""
    return x[..., :1, :1].expand(*x.shape[:2], *size)


def _clip_through(x: Tensor, low: float, high: float | None = None) -> Tensor:
    """Clipping that passes the gradient at equality, where integer strides sit; torch.clamp of torch 2.14 stops it."""
    high = math.inf if high is None else high
    return torch.where((x < low) | (x > high), x.detach().clamp(low, high), x)


def _check_strides(layer: str, strides: float | Pair) -> Pair:
    pair = (strides, strides) if isinstance(strides, (int, float)) else tuple(strides)
    if len(pair) != 2 or not all(1 <= stride < math.inf for stride in pair):
        raise ValueError(f"{layer}: strides have to be one or two numbers of at least 1, got {strides}")
    return float(pair[0]), float(pair[1])


def _full_precision(layer: str, x: Tensor) -> Tensor:
    """What the transforms read: float32 or float64, contiguous."""
    if x.dim() != 4 or not x.is_floating_point():
        raise ValueError(
            f"{layer}: takes a floating-point (batch, channels, height, width), got {x.dtype} {tuple(x.shape)}"
        )
    return x.to(torch.promote_types(x.dtype, torch.float32), memory_format=torch.contiguous_format)


def _match_layout(y: Tensor, x: Tensor) -> Tensor:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return y.to(x.dtype, memory_format=torch.channels_last if last else torch.contiguous_format)
