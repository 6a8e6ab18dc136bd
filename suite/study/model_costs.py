"""What many cells cost: equal networks are counted once, and all cores count."""

from __future__ import annotations

import gc
import multiprocessing
import os
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import torch

from suite.core.errors import UserError
from suite.core.specs import Cell, Component, Settings
from suite.data.source import DatasetInfo
from suite.models import grafting
from suite.models.assembly import describe_network
from suite.models.cost import Costs

_WORTH_PROCESSES = 24  # networks; fewer are counted sooner than processes start

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class NetworkCosts:
    """A network's costs, or why it can't be built; `warnings`: what its parts say of themselves; `revision`: as of
    `Trial`.
    """

    costs: Costs | None
    refused: str | None = None
    warnings: tuple[str, ...] = ()
    revision: str = ""


def count_costs(cells: Iterable[Cell], datasets: Mapping[Component, DatasetInfo]) -> dict[Cell, NetworkCosts]:
    """Costs of cells, whose datasets' facts give the input shape and the number of classes."""
    identities: dict[Cell, object] = {}
    networks: dict[object, tuple[Cell, Shape, int]] = {}
    for cell in cells:
        facts = datasets[cell.dataset]
        # Not the dataset's name; of equal networks the first is built.
        identities[cell] = cell.backbone, _variant_structure(cell.variant), facts.shape, facts.classes
        networks.setdefault(identities[cell], (cell, facts.shape, facts.classes))
    costs = dict(zip(networks, _count_each(list(networks.values())), strict=True))
    return {cell: costs[identity] for cell, identity in identities.items()}


def _variant_structure(variant: Component) -> tuple[object, ...]:
    """The variant without its loss weights' positive values; beside other settings, that they are set counts."""
    declared = grafting.find_settings(variant.name)
    weights: list[str] = []
    others: Settings = ()
    for name, value in variant.settings:
        if declared[name].is_weight and isinstance(value, int | float) and value > 0:
            weights.append(name)
        else:
            others += ((name, value),)
    return (variant.name, others, *weights) if others else (variant.name,)


def _count_each(networks: list[tuple[Cell, Shape, int]]) -> list[NetworkCosts]:
    processes = min(os.cpu_count() or 1, 16)
    if processes == 1 or len(networks) < _WORTH_PROCESSES:
        return [_count_network(network) for network in networks]
    # Forked: torch is imported already, and counting on the meta device starts no threads.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, context, initializer=_settle_worker) as pool:
        return list(pool.map(_count_network, networks, chunksize=8))


def _settle_worker() -> None:
    torch.set_num_threads(1)
    gc.freeze()  # what is imported stays: looking through it again and again took a fifth of the time
    gc.set_threshold(100_000, 20, 20)


def _count_network(network: tuple[Cell, Shape, int]) -> NetworkCosts:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            costs, revision = describe_network(*network)
        except UserError as refusal:
            return NetworkCosts(None, str(refusal))
    messages = dict.fromkeys(str(warning.message) for warning in caught if warning.category is UserWarning)
    return NetworkCosts(costs, warnings=tuple(messages), revision=revision)
