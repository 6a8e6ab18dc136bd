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

from suite.core.errors import Refused
from suite.core.specs import Cell, Component
from suite.models import grafting
from suite.models.assembly import cell_costs
from suite.models.cost import Costs

_WORTH_PROCESSES = 24  # networks; fewer are counted sooner than processes start

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Counted:
    """A network's costs, or why it can't be built; `warnings`: what its parts say of themselves."""

    costs: Costs | None
    refused: str | None = None
    warnings: tuple[str, ...] = ()


def count(cells: Iterable[tuple[Cell, Shape, int]]) -> dict[Cell, Counted]:
    """Costs of cells, each with its input shape and number of classes."""
    cells = list(cells)
    networks = {_network(*item): item for item in reversed(cells)}  # of equal ones the first is built
    counted = dict(zip(networks, _each(list(networks.values())), strict=True))
    return {item[0]: counted[_network(*item)] for item in cells}


def _network(cell: Cell, shape: Shape, classes: int) -> tuple[object, ...]:
    """What decides a network: not its dataset's name, and not a positive weight of a loss term."""
    return cell.backbone, _structure(cell.variant), shape, classes


def _structure(variant: Component) -> tuple[object, ...]:
    """The variant without its positive weights; where it sets something else too, that they are set still counts."""
    declared = grafting.declared(variant.name)
    weights = {name for name, value in variant.settings if declared[name].is_weight and _positive(value)}
    others = tuple((name, value) for name, value in variant.settings if name not in weights)
    return variant.name, others, tuple(sorted(weights)) if others else ()


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and value > 0


def _each(networks: list[tuple[Cell, Shape, int]]) -> list[Counted]:
    processes = min(os.cpu_count() or 1, 16)
    if processes == 1 or len(networks) < _WORTH_PROCESSES:
        return [_counted(network) for network in networks]
    # Forked: torch is imported already, and counting on the meta device starts no threads.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, context, initializer=_settle) as pool:
        return list(pool.map(_counted, networks, chunksize=8))


def _settle() -> None:
    torch.set_num_threads(1)
    gc.freeze()  # what is imported stays: looking through it again and again took a fifth of the time
    gc.set_threshold(100_000, 20, 20)


def _counted(network: tuple[Cell, Shape, int]) -> Counted:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            costs = cell_costs(*network)
        except Refused as refusal:
            return Counted(None, str(refusal))
    own = (str(warning.message) for warning in caught if warning.category is UserWarning)
    return Counted(costs, warnings=tuple(dict.fromkeys(own)))
