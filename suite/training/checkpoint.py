"""Checkpoints that are whole or absent: written beside their place, moved in, read without running code."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from suite.records import Epoch

# What torch.load raises for a file that was cut short, overwritten or never a checkpoint.
_BROKEN = (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, pickle.UnpicklingError)


def save(state: dict[str, Any], path: Path) -> None:
    """Tensors, numbers, text, lists and dicts only, so that `load` needs no trust in the file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    torch.save(state, temporary)
    temporary.replace(path)


def load(path: Path, key: str, device: torch.device) -> dict[str, Any]:
    """The state saved for the trial `key`; empty when the file is missing, torn or another trial's."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except _BROKEN:
        return {}
    return state if isinstance(state, dict) and state.get("key") == key else {}


class Checkpoints:
    """A trial's weights over time: last.pt after each epoch, best.pt of the best one.

    Without a directory only the best weights are kept, in memory. `keeps_best=False` keeps none of them.
    """

    def __init__(self, directory: Path | None, key: str, device: torch.device, *, keeps_best: bool) -> None:
        self._directory = directory
        self._key = key
        self._device = device
        self._keeps_best = keeps_best
        self._in_memory: dict[str, Any] = {}

    def save(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, history: Sequence[Epoch], *, is_best: bool
    ) -> None:
        """After an epoch. best.pt goes before last.pt: a kill between them repeats the epoch, bit for bit."""
        weights = model.state_dict()
        if self._directory is None:
            if is_best and self._keeps_best:
                self._in_memory = {name: value.clone() for name, value in weights.items()}
            return
        state = {"key": self._key, "model": weights}
        if is_best and self._keeps_best:
            save({**state, "epoch": len(history)}, self._directory / "best.pt")
        epochs = [asdict(epoch) for epoch in history]
        save({**state, "optimizer": optimizer.state_dict(), "history": epochs}, self._directory / "last.pt")

    def restore(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, best: Callable[[Sequence[Epoch]], Epoch]
    ) -> tuple[Epoch, ...]:
        """Model and optimiser as after the last whole epoch, and the history until then.

        Empty, and nothing changed, when a piece is missing or torn: the trial then starts anew.
        """
        state = self._load("last.pt")
        if not state:
            return ()
        history = tuple(Epoch(**epoch) for epoch in state["history"])
        # Killed between the two files, best.pt may be one epoch ahead; the repeated epoch writes it again.
        if self._keeps_best and self._load("best.pt").get("epoch") not in {best(history).epoch, len(history) + 1}:
            return ()
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return history

    def best_weights(self) -> dict[str, Any]:
        """The best epoch's state_dict; call with `keeps_best` and after an epoch."""
        weights: dict[str, Any] = self._in_memory if self._directory is None else self._load("best.pt")["model"]
        return weights

    def clean(self, keep: Literal["best", "none"]) -> None:
        """What a finished trial needs no more goes."""
        for name in ("last.pt",) if keep == "best" else ("last.pt", "best.pt"):
            if self._directory is not None:
                (self._directory / name).unlink(missing_ok=True)

    def _load(self, name: str) -> dict[str, Any]:
        return load(self._directory / name, self._key, self._device) if self._directory else {}
