"""Checkpoints that are whole or absent: written beside their place, moved in, read without running code."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from suite.core.files import replace_file
from suite.core.records import Epoch

# What torch.load raises for a file that was cut short, overwritten or never a checkpoint.
_BROKEN = (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, pickle.UnpicklingError)


def save_state(state: dict[str, Any], path: Path) -> None:
    """Tensors, numbers, text, lists and dicts only, so that `load` needs no trust in the file."""
    with replace_file(path) as beside:
        torch.save(state, beside)


def load_state(path: Path, key: str, device: torch.device) -> dict[str, Any]:
    """The state saved for the trial `key`; empty when the file is missing, torn or another trial's."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except _BROKEN:
        return {}
    return state if isinstance(state, dict) and state.get("key") == key else {}


class Checkpoints:
    """A trial's weights over time: last.pt after each epoch, best.pt of the best one, and epoch-<n>.pt of each.

    Without a directory they are kept in memory, and the last ones not at all. `keeps_best=False` keeps no best ones,
    `keeps_all=False` none of each epoch.
    """

    def __init__(
        self, directory: Path | None, key: str, device: torch.device, *, keeps_best: bool, keeps_all: bool = False
    ) -> None:
        self._directory = directory
        self._key = key
        self._device = device
        self._keeps_best = keeps_best
        self._keeps_all = keeps_all
        self._in_memory: dict[str, dict[str, Any]] = {}

    def save_epoch(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, history: Sequence[Epoch], *, is_best: bool
    ) -> None:
        """After an epoch. last.pt goes last: a kill before it repeats the epoch, bit for bit."""
        weights = model.state_dict()
        best = ["best.pt"] if is_best and self._keeps_best else []
        names = best + ([_epoch_file(len(history))] if self._keeps_all else [])
        state = {"key": self._key, "model": weights}
        for name in names:
            if self._directory is None:
                self._in_memory[name] = {"model": {key: value.clone() for key, value in weights.items()}}
            else:
                save_state({**state, "epoch": len(history)}, self._directory / name)
        if self._directory is None:
            return
        epochs = [asdict(epoch) for epoch in history]
        save_state({**state, "optimizer": optimizer.state_dict(), "history": epochs}, self._directory / "last.pt")

    def restore_training(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, best: Callable[[Sequence[Epoch]], Epoch]
    ) -> tuple[Epoch, ...]:
        """Model and optimiser as after the last whole epoch, and the history until then.

        Empty, and nothing changed, when a piece is missing or torn: the trial then starts anew.
        """
        state = self._load_file("last.pt")
        if not state:
            return ()
        history = tuple(Epoch(**epoch) for epoch in state["history"])
        # Killed between the two files, best.pt may be one epoch ahead; the repeated epoch writes it again.
        if self._keeps_best and self._load_file("best.pt").get("epoch") not in {best(history).epoch, len(history) + 1}:
            return ()
        if self._keeps_all and not all(self._has_file(_epoch_file(epoch.epoch)) for epoch in history):
            return ()
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        return history

    def best_weights(self) -> dict[str, Any]:
        """The best epoch's state_dict; call with `keeps_best` and after an epoch."""
        weights: dict[str, Any] = self._load_file("best.pt")["model"]
        return weights

    def epoch_weights(self, epoch: int) -> dict[str, Any]:
        """An epoch's state_dict; call with `keeps_all`, for an epoch that was trained."""
        weights: dict[str, Any] = self._load_file(_epoch_file(epoch))["model"]
        return weights

    def remove_weights(self, keep: Literal["best", "none"]) -> None:
        """What a finished trial needs no more goes."""
        if self._directory is None:
            return
        gone = ["last.pt", *([] if keep == "best" else ["best.pt"])]
        for path in (*(self._directory / name for name in gone), *self._directory.glob("epoch-*.pt")):
            path.unlink(missing_ok=True)

    def _has_file(self, name: str) -> bool:
        return self._directory is not None and (self._directory / name).is_file()

    def _load_file(self, name: str) -> dict[str, Any]:
        if self._directory is None:
            return self._in_memory.get(name, {})
        return load_state(self._directory / name, self._key, self._device)


def _epoch_file(epoch: int) -> str:
    return f"epoch-{epoch}.pt"
