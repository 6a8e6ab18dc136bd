"""What this machine's CPU is called and can do, by what Linux says of it."""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path
from typing import Literal

Precision = Literal["float32", "bf16"]

_FACTS = Path("/proc/cpuinfo")
_BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})


def choose_cpu_precision() -> Precision:
    """bf16 where the CPU multiplies it in hardware, else float32.

    Elsewhere torch computes bf16 by way of float32, which is slower and less exact.
    """
    has_bf16 = not _BF16_FLAGS.isdisjoint(_read_fact("flags").split())
    return "bf16" if has_bf16 else "float32"


def find_processor_name() -> str:
    """The name its maker gave it: `AMD EPYC`."""
    return _read_fact("model name") or platform.processor() or platform.machine()


def _read_fact(name: str) -> str:
    """Of the first core; empty where it isn't said."""
    with contextlib.suppress(OSError):
        for line in _FACTS.read_text().splitlines():
            if line.startswith(name):
                return line.partition(":")[2].strip()
    return ""
