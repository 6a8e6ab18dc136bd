"""Peak memory of a trial, in MiB."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class PeakMemory:
    """The most memory held between construction and `mib()`.

    CUDA: what torch's allocator handed out on the device. Linux CPU: the process's resident memory, data and
    libraries included. None elsewhere, and where the kernel doesn't let the high-water mark be reset.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._known = True
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            self._known = _reset_high_water_mark()

    def read_mib(self) -> float | None:
        if self._device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self._device)) / 2**20
        return _high_water_mark() if self._known else None


def _reset_high_water_mark() -> bool:
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")  # proc(5): 5 resets the peak resident set size
        return True
    return False


def _high_water_mark() -> float | None:
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return None
