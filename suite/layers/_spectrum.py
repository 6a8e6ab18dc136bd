"""The transforms behind `suite.layers.spectral`, with gradients written by hand.

Images are real, contiguous float32 or float64 (batch, channels, height, width). Half spectra are kept transposed,
(maps, columns, rows), because a transform along the last dimension needs no copy. No matrix products: neither
autocast nor the count of multiply-accumulates should see them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Pixels per thread and step on the CPU: temporaries stay in the cache, and below the size at which every allocation
# is fresh memory. 2^15 to 2^19 are equal within the noise, the whole batch at once costs two to three times as much.
_PIXELS_PER_THREAD = 2**17


class Band(NamedTuple):
    """The bins of a half spectrum (`rfft2`, FFT order) that survive; top + bottom rows are the output's height."""

    top: int
    bottom: int
    columns: int
    width: int


def resample_spectrum(
    image: Tensor, band: Band, row_mask: Tensor | None = None, column_mask: Tensor | None = None
) -> Tensor:
    """irfft2 of what `band` keeps of rfft2(image), times the outer product of the masks."""
    out: Tensor = _Resample.apply(image, row_mask, column_mask, band)  # type: ignore[no-untyped-call]
    return out


def hartley_crop(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Hartley pooling to `size`, which is at most the image's."""
    out: Tensor = _HartleyCrop.apply(image, size)  # type: ignore[no-untyped-call]
    return out


class _Resample(torch.autograd.Function):
    """By hand, because torch's own backward of rfft2 runs a full complex transform (benchmarks/spectral.py).

    With c(l) = 1 in the columns that have no mirror image (0, and w / 2 of an even width w), else 2:
    y = Re sum_kl c(l) M_kl F_kl e^{+i...} / (h w) over the half spectrum F of x. So with G = rfft2 of y's gradient
    dM_kl = c(l) / (h w) sum Re(conj(F_kl) G_kl), and x's gradient is the same operation the other way round.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, row_mask: Tensor | None, column_mask: Tensor | None, band: Band) -> Tensor:
        maps, rows = image.flatten(0, 1), band.top + band.bottom
        ctx.band, ctx.size = band, image.shape
        mask = kept = None
        if row_mask is not None and column_mask is not None:
            mask = column_mask[:, None] * row_mask
            if ctx.needs_input_grad[1]:
                kept = maps.new_empty(len(maps), band.columns, rows, dtype=maps.dtype.to_complex())
            ctx.save_for_backward(row_mask, column_mask, kept)
        out = maps.new_empty(len(maps), rows, band.width)
        for part in _iterate_slices(maps):
            spectrum = _kept_spectrum(maps[part], band)
            if kept is not None:
                kept[part] = spectrum
            if mask is not None:
                spectrum.mul_(mask)
            out[part] = _invert_spectrum(spectrum, band.top, (rows, band.width))
        return out.view(*image.shape[:2], rows, band.width)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        band, (height, width) = ctx.band, ctx.size[-2:]
        gradients = gradient.contiguous().flatten(0, 1)
        saved: tuple[Any, Any, Any] = ctx.saved_tensors or (None, None, None)
        row_mask, column_mask, kept = saved
        rows = band.top + band.bottom
        scale = gradient.new_full((band.columns, 1), height * width / (rows * band.width))
        if band.width % 2 == 0 and band.width != width:
            scale[-1] /= 2  # the output's last column is alone, in the input it has a mirror image
        if row_mask is not None:
            scale = scale * column_mask[:, None] * row_mask
        out = gradients.new_empty(len(gradients), height, width) if ctx.needs_input_grad[0] else None
        products = gradients.new_zeros(band.columns, rows)
        for part in _iterate_slices(gradients):
            spectrum = _kept_spectrum(gradients[part], band)
            if kept is not None:
                products += (torch.view_as_real(kept[part]) * torch.view_as_real(spectrum)).sum(0).sum(-1)
            if out is not None:
                out[part] = _invert_spectrum(spectrum.mul_(scale), band.top, (height, width))
        for_image = None if out is None else out.view(ctx.size)
        if kept is None:
            return for_image, None, None, None
        return for_image, *_mask_gradients(products, row_mask, column_mask, band), None


def _iterate_slices(maps: Tensor) -> Iterator[slice]:
    """The maps in steps whose temporaries are small; elsewhere than on the CPU all at once."""
    step = max(1, len(maps))
    if maps.device.type == "cpu":
        step = max(1, _PIXELS_PER_THREAD * torch.get_num_threads() // math.prod(maps.shape[1:]))
    for start in range(0, len(maps), step):
        yield slice(start, start + step)


def _mask_gradients(products: Tensor, row_mask: Tensor, column_mask: Tensor, band: Band) -> tuple[Tensor, Tensor]:
    mirrored = torch.full_like(column_mask, 2)
    mirrored[0] = 1
    if band.width % 2 == 0:
        mirrored[-1] = 1
    products = products * (mirrored / (len(row_mask) * band.width))[:, None]
    # Sums, not matrix products: those autocast would turn into bf16.
    return (products * column_mask[:, None]).sum(0), (products * row_mask).sum(1)


def _kept_spectrum(maps: Tensor, band: Band) -> Tensor:
    """The band of rfft2(maps), transposed; the second transform runs on kept columns alone."""
    spectrum: Tensor = torch.fft.fft(torch.fft.rfft(maps)[..., : band.columns].transpose(-1, -2))
    height = spectrum.shape[-1]
    if band.top + band.bottom >= height:
        return spectrum
    return torch.cat([spectrum[..., : band.top], spectrum[..., height - band.bottom :]], dim=-1)


def _invert_spectrum(spectrum: Tensor, top: int, size: tuple[int, int]) -> Tensor:
    """irfft2 of a transposed half spectrum to `size`; missing rows (after the first `top`) and columns are 0."""
    height, width = size
    maps, columns, rows = spectrum.shape
    if rows < height:
        gap = spectrum.new_zeros(maps, columns, height - rows)
        spectrum = torch.cat([spectrum[..., :top], gap, spectrum[..., top:]], dim=-1)
    lines = torch.fft.ifft(spectrum)
    # The mask isn't symmetric about row 0, so these columns aren't real; what irfft makes of that is up to its library.
    lines.imag[:, 0] = 0
    if width == 2 * (columns - 1):
        lines.imag[:, -1] = 0
    out: Tensor = torch.fft.irfft(lines.transpose(-1, -2), n=width)
    return out


class _HartleyCrop(torch.autograd.Function):
    """crop(Hartley(x)) transformed again at the small size, over H * W. The transform is its own adjoint."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, size: tuple[int, int]) -> Tensor:
        ctx.size = image.shape
        maps, (height, width) = image.flatten(0, 1), size
        out = maps.new_empty(len(maps), height, width)
        for part in _iterate_slices(maps):
            out[part] = _compute_hartley(_compute_hartley(maps[part], (height, width)), (width, height))
        out /= math.prod(image.shape[-2:])
        return out.view(*image.shape[:2], height, width)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradients = gradient.contiguous().flatten(0, 1)
        (small_height, small_width), (height, width) = gradient.shape[-2:], ctx.size[-2:]
        out = gradients.new_empty(len(gradients), height, width)
        # Where the small transform's frequencies lie in the large one.
        rows = _list_frequencies(small_height, gradient.device) % height
        columns = _list_frequencies(small_width, gradient.device) % width
        for part in _iterate_slices(gradients):
            coefficients = _compute_hartley(gradients[part], (small_height, small_width))
            padded = coefficients.new_zeros(len(coefficients), width, height)
            padded[:, columns[:, None], rows] = coefficients
            out[part] = _compute_hartley(padded, (width, height))
        out /= height * width
        return out.view(ctx.size), None


def _list_frequencies(size: int, device: torch.device) -> Tensor:
    """In FFT order: 0 .. m, -m .. -1 for 2m + 1, or 0 .. m - 1, -m .. -1 for 2m."""
    index = torch.arange(size, device=device)
    return torch.where(index < (size + 1) // 2, index, index - size)


def _compute_hartley(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """The `size` lowest frequencies of Re(fft2) - Im(fft2), transposed: (maps, size[1], size[0]), in FFT order."""
    height = maps.shape[-2]
    half = size[1] // 2
    spectrum = torch.fft.fft(torch.fft.rfft(maps)[..., : half + 1].transpose(-1, -2))
    rows = _list_frequencies(size[0], maps.device)
    positive = spectrum[:, : (size[1] + 1) // 2].index_select(-1, rows % height)
    # Column -l of a real image's spectrum is column l conjugated, with its rows mirrored.
    negative = spectrum[:, 1 : half + 1].index_select(-1, -rows % height).flip(-2)
    out: Tensor = torch.cat([positive.real - positive.imag, negative.real + negative.imag], dim=-2)
    return out
