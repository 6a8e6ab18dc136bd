"""What many cells cost: equal networks are counted once, and all cores count."""

from __future__ import annotations

import gc
import multiprocessing
import os
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import torch

from suite.core.errors import UserError
from suite.core.specs import Cell, Component
from suite.models import grafting
from suite.models.assembly import cell_costs
from suite.models.cost import Costs

_WORTH_PROCESSES = 24  # networks; fewer are counted sooner than processes start

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class NetworkCosts:
    """A network's costs, or why it can't be built; `warnings`: what its parts say of themselves."""

    costs: Costs | None
    refused: str | None = None
    warnings: tuple[str, ...] = ()


def count_costs(cells: Iterable[tuple[Cell, Shape, int]]) -> dict[Cell, NetworkCosts]:
    """Costs of cells, each with its input shape and number of classes."""
    cells = list(cells)
    networks = {_network_identity(*item): item for item in reversed(cells)}  # of equal ones the first is built
    counted = dict(zip(networks, _count_each(list(networks.values())), strict=True))
    return {item[0]: counted[_network_identity(*item)] for item in cells}


def _network_identity(cell: Cell, shape: Shape, classes: int) -> tuple[object, ...]:
    """What decides a network: not its dataset's name, and not a positive weight of a loss term."""
    return cell.backbone, _variant_structure(cell.variant), shape, classes


def _variant_structure(variant: Component) -> tuple[object, ...]:
    """The variant without its positive weights; where it sets something else too, that they are set still counts."""
    declared = grafting.find_settings(variant.name)
    weights = {name for name, value in variant.settings if declared[name].is_weight and _is_positive(value)}
    others = tuple((name, value) for name, value in variant.settings if name not in weights)
    return variant.name, others, tuple(sorted(weights)) if others else ()


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and value > 0


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
            costs = cell_costs(*network)
        except UserError as refusal:
            return NetworkCosts(None, str(refusal))
    own = (str(warning.message) for warning in caught if warning.category is UserWarning)
    return NetworkCosts(costs, warnings=tuple(dict.fromkeys(own)))
