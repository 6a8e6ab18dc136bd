"""On what and how a network runs: device, precision, memory format, micro-batches, threads, memory used."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from suite.core.errors import UserError
from suite.core.processor import Precision, choose_cpu_precision, find_processor_name

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of mallopt(3)


@dataclass(frozen=True)
class Execution:
    """
    Attributes:
        precision: `bf16` runs forward and loss under torch.autocast; weights and optimiser stay float32.
        micro_batch: at most so many images at once, gradients accumulated over the batch; None: the whole batch.
        threads: CPU threads; None: torch's own choice.
    """

    device: torch.device
    precision: Precision = "float32"
    channels_last: bool = False
    micro_batch: int | None = None
    threads: int | None = None

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def place_model(self, model: nn.Module) -> nn.Module:
        """The model on the device, in the memory format (in place, as nn.Module.to does)."""
        model.to(self.device)
        return model.to(memory_format=self.memory_format)  # type: ignore[call-overload,no-any-return]

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def set_up_process(self) -> None:
        """Sets the process to this execution: threads, memory, and on CUDA the choices that decide bits.

        `float32` means IEEE float32 on every device (no TF32), and cuDNN picks its algorithms by rule, not by
        timing: equal trials on equal devices then give equal results.
        """
        _spare_imported_modules()
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        if self.device.type != "cuda":
            _keep_freed_memory()
            return
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats its sums only with this
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def _spare_imported_modules() -> None:
    """Keeps the garbage collector off what torch's import made: a full pass over it takes 0.3 s. Once a process, since
    what is garbage by then stays."""
    if not gc.get_freeze_count():
        gc.freeze()


def _keep_freed_memory() -> None:
    """Lets the allocator reuse large blocks: by itself glibc maps those above 32 MiB anew each time, and a batch of
    photographs then costs more in page faults than in arithmetic. Elsewhere than on glibc nothing happens.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.malloc_trim(0)  # of what an earlier trial of this process kept: each one's peak is its own


def resolve_device(name: str) -> torch.device:
    """`auto` (CUDA when there is one), `cpu`, `cuda` or `cuda:1`.

    Raises:
        UserError: an unknown name, or a CUDA device that this machine doesn't have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in {"cpu", "cuda"} or (index and not index.isdigit()):
        raise UserError(f"device: must be auto, cpu, cuda or cuda:N, not {name!r}")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and int(index or 0) >= found:
        raise UserError(f"device: {name!r} is not on this machine ({found} CUDA devices); use --device cpu")
    return torch.device("cpu") if kind == "cpu" else torch.device("cuda", int(index or 0))


def choose_precision(device: torch.device) -> Precision:
    """bf16 where the device multiplies it in hardware, else float32: one answer on one kind of machine, no timing.

    That is CUDA from compute capability 8.0 on (Ampere), and CPUs with AMX-BF16 or AVX512-BF16. Elsewhere torch
    computes bf16 by way of float32, which is slower and less exact.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    return choose_cpu_precision()


def device_name(device: torch.device) -> str:
    """The name its maker gave it: `NVIDIA H100 80GB HBM3`, `AMD EPYC`."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return find_processor_name()


@contextlib.contextmanager
def seed_torch(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Inside, torch's global generators (CPU, and the device's) start from `seed`; the caller's stay untouched."""
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield
