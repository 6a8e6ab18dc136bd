"""Cost of the spectral pooling layers on their own: forward and backward, in milliseconds.

    python benchmarks/spectral.py [--threads 2] [--rounds 9] [--batch 128] [--channels 64] [--size 32] [--device cpu]

Stride 2 on random maps, float32. Beside the layers: a strided 3x3 convolution of the same shape, rfft2 and irfft2
with torch's own backward, and the floor: the four transforms of a DiffStride step (there and back at both sizes, kept
bins only) with nothing between them, the whole batch at once and in parts that stay in the cache, as the layers take
it. All alternate in one process; medians (and range) over the rounds, after two that warm up; then the best DiffStride
over the best floor. `--profile` shows where the time goes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.profiler import profile

from suite.layers.spectral import DiffStride, FixedSpectralPool, HartleyPool
from suite.training.execution import Execution, device_name, resolve_device

WARM_UP = 2
PART = 2**17  # pixels per thread
FLOOR = "four transforms, in parts"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--profile", action="store_true", help="where DiffStride's time goes")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = resolve_device(given.device)
    x = torch.randn(given.batch, given.channels, given.size, given.size, device=device)
    pieces = {
        "rfft2 + irfft2, torch's backward": fourier_step(x),
        "four transforms, all at once": transforms(x, x.numel()),
        FLOOR: transforms(x, PART * given.threads),
    }
    contestants = {**layers(x), **pieces}
    print(f"{device_name(device)}, {given.threads} threads, torch {torch.__version__}, {tuple(x.shape)}, stride 2")
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(given.rounds + WARM_UP):
        for name, step in contestants.items():
            started = time.perf_counter()
            step()
            Execution(device).synchronise()
            if number >= WARM_UP:
                times[name].append(1000 * (time.perf_counter() - started))
    for name, values in times.items():
        print(f"{name:36}{statistics.median(values):7.1f} ms ({min(values):.1f} .. {max(values):.1f})")
    print(f"DiffStride / floor: {min(times['DiffStride']) / min(times[FLOOR]):.2f}")
    if given.profile:
        with profile() as recorded:
            contestants["DiffStride"]()
        print(recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=15))


def layers(x: Tensor) -> dict[str, Callable[[], None]]:
    channels = x.shape[1]
    built: dict[str, nn.Module] = {
        "DiffStride": DiffStride(2.0),
        "FixedSpectralPool": FixedSpectralPool(2.0),
        "HartleyPool": HartleyPool(2.0),
        "convolution 3x3, stride 2": nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False),
    }
    return {name: training_step(layer.to(x.device), x) for name, layer in built.items()}


def training_step(layer: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    """Forward and backward with a gradient that is ready; the input takes part, as inside a network."""
    leaf = x.clone().requires_grad_()
    gradient = torch.randn_like(layer(x))

    def step() -> None:
        leaf.grad = None
        layer(leaf).backward(gradient)  # type: ignore[no-untyped-call]

    return step


def fourier_step(x: Tensor) -> Callable[[], None]:
    return training_step(lambda image: torch.fft.irfft2(torch.fft.rfft2(image)), x)


def transforms(x: Tensor, pixels: int) -> Callable[[], None]:
    """The four transforms of a step, in parts of so many pixels of the input."""
    y = DiffStride(2.0)(x.cpu()).detach().to(x.device)
    size, kept = x.shape[-1], y.shape[-1] // 2 + 1
    maps = max(1, pixels // size**2)
    large_maps, small_maps = x.flatten(0, 1).split(maps), y.flatten(0, 1).split(maps)
    large = [torch.fft.rfft2(part)[..., :kept].contiguous() for part in large_maps]
    small = [torch.fft.rfft2(part) for part in small_maps]

    def step() -> None:
        for part, spectrum in zip(large_maps, small, strict=True):
            torch.fft.fft(torch.fft.rfft(part)[..., :kept], dim=-2)
            torch.fft.irfft(torch.fft.ifft(spectrum, dim=-2))
        for part, spectrum in zip(small_maps, large, strict=True):
            torch.fft.fft(torch.fft.rfft(part), dim=-2)
            torch.fft.irfft(torch.fft.ifft(spectrum, dim=-2), n=size)

    return step


if __name__ == "__main__":
    main()
