"""Where images live while a trial reads them: on the device, in host memory, or still encoded in their files.

All three give the same bits, so the choice is no part of a trial's definition.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Residency = Literal["device", "host", "stream"]
RESIDENCIES: tuple[Residency, ...] = ("device", "host", "stream")
AHEAD = 3  # batches gathered before they are asked for


class Feed(Protocol):
    """Images of one part."""

    def iterate_batches(self, order: Tensor, batch: int) -> Iterator[Tensor]:
        """uint8 (n, channels, height, width) on the device, `batch` rows of `order` (int64, on the CPU) at a time."""
        ...


def choose_residency(wanted: str, size: int, device: torch.device, fraction: float) -> Residency:
    """Where `size` bytes of decoded images should live, when they aren't streamed.

    Args:
        wanted: `device`, `host`, or `auto`: on the device where they fit into `fraction` of its memory.
    """
    if wanted != "auto":
        return "device" if wanted == "device" else "host"
    if device.type == "cpu":
        return "device"  # the cache's mapping itself
    return "device" if size <= fraction * torch.cuda.get_device_properties(device).total_memory else "host"


class Resident:
    """Images that lie on the device as one array; on the CPU that is the cache's mapping itself."""

    def __init__(self, images: Tensor) -> None:
        self._images = images

    def iterate_batches(self, order: Tensor, batch: int) -> Iterator[Tensor]:
        for rows in torch.split(order.to(self._images.device), batch):
            yield self._images.index_select(0, rows)


class Prefetched:
    """Images gathered on the CPU a few batches ahead by a thread, and copied to the device beside its computing."""

    def __init__(self, gather: Callable[[Tensor], Tensor], device: torch.device) -> None:
        self._gather, self._device = gather, device
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def iterate_batches(self, order: Tensor, batch: int) -> Iterator[Tensor]:
        parts = iter(torch.split(order, batch))
        pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        try:
            pending = deque(pool.submit(self._send_batch, rows) for rows in islice(parts, AHEAD))
            while pending:
                sent = pending.popleft().result()
                pending.extend(pool.submit(self._send_batch, rows) for rows in islice(parts, 1))
                yield self._receive_batch(sent)
        finally:  # also when nobody wants the rest
            pool.shutdown(cancel_futures=True)

    def _send_batch(self, rows: Tensor) -> _Sent:
        images = self._gather(rows)
        if self._copies is None:
            return _Sent(images, None)
        with torch.cuda.stream(self._copies):
            copy = images.pin_memory().to(self._device, non_blocking=True)
            return _Sent(copy, self._copies.record_event())

    def _receive_batch(self, sent: _Sent) -> Tensor:
        if sent.copied is not None:
            computing = torch.cuda.current_stream(self._device)
            computing.wait_event(sent.copied)
            sent.images.record_stream(computing)  # the allocator may not hand its memory to the other stream yet
        return sent.images


class _Sent(NamedTuple):
    images: Tensor
    copied: torch.cuda.Event | None


class Decoding:
    """Gathers images by decoding them, several at a time: Pillow works outside the interpreter's lock."""

    def __init__(self, decode: Callable[[int], NDArray[np.uint8]]) -> None:
        self._decode = decode
        self._pool = ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="decode")  # the trial's share

    def __call__(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(np.stack(list(self._pool.map(self._decode, rows.tolist()))))


def make_feed(images: Tensor | Callable[[int], NDArray[np.uint8]], residency: Residency, device: torch.device) -> Feed:
    """The feed of uint8 images (N, channels, height, width) on the CPU or, to stream, of how one of them is decoded."""
    if not isinstance(images, Tensor):
        return Prefetched(Decoding(images), device)
    if residency == "device":
        return Resident(images.to(device))
    return Prefetched(lambda rows: images.index_select(0, rows), device)
