"""DiffStride: learned strides in place of a backbone's own (Riad et al., ICLR 2022; docs/papers.md, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from suite.core.errors import UserError
from suite.core.settings import Setting, resolve_settings
from suite.layers.model import Backbone, Graft, ModelOutput
from suite.layers.shrinking import Pair, Place, fill_place, find_places, refuse_unfit
from suite.layers.spectral import DiffStride, project_strides


def parse_strides(given: Any) -> str | tuple[float, ...]:
    """`own`, or a list of numbers of at least 1. Raises ValueError with a sentence."""
    if given == "own":
        return "own"
    numbers = list(given) if isinstance(given, list | tuple) else [given]
    legal = (isinstance(n, int | float) and not isinstance(n, bool) and 1 <= n < float("inf") for n in numbers)
    if not isinstance(given, list | tuple) or not numbers or not all(legal):
        raise ValueError(f"must be own, or a list of numbers of at least 1 such as [1, 2, 2, 2], not {given!r}")
    return tuple(float(number) for number in numbers)


def parse_smoothness(given: Any) -> float:
    """A number above 0. Raises ValueError with a sentence."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < float("inf"):
        raise ValueError(f"must be a finite number above 0, not {given!r}")
    return float(given)


SETTINGS = {
    "strides": Setting(
        "own", "initial strides: own (each operation's), or a list with one per place", parse=parse_strides
    ),
    "smoothness": Setting(
        4.0, "R, width of the mask's ramp in bins; the maps have to be larger", parse=parse_smoothness
    ),
    "cropping": Setting(True, "false: mask only, maps keep their size"),
    "shared": Setting(False, "one stride for both axes"),
    "lower": Setting(1.0, "least stride", low=1.0),
    "upper": Setting(0.0, "greatest stride; 0: none", low=0.0),
    "regulariser": Setting(
        0.0, "lambda of the complexity term lambda * sum_l prod_{i<=l} 1 / (S_h^i S_w^i) (Riad et al., 2022)", low=0.0
    ),
}


def apply(backbone: Backbone, **settings: Any) -> Graft:
    """The backbone with DiffStride layers: after each strided convolution, now of stride 1, and in place of each pool.

    Operations on parallel branches of one block share one layer (Rafif et al. 2024, Fig. 2).

    Raises:
        UserError: an illegal setting, nothing to replace, a map that isn't larger than R, or a classifier or block that
            takes maps of the original size alone.
    """
    chosen = resolve_settings(SETTINGS, settings, "diffstride")
    pools = []
    for place, strides in initial_strides(backbone, chosen["strides"], "diffstride"):
        pools.append(make_learned_pool(strides, chosen, "diffstride"))
        fill_place(backbone, place, pools[-1])
    return graft_pools(backbone, pools, chosen, "diffstride")


def initial_strides(backbone: Backbone, chosen: str | tuple[float, ...], owner: str) -> list[tuple[Place, Pair]]:
    """The backbone's places in forward order, each with its initial strides.

    Raises:
        UserError: there are none, or the numbers given are not as many.
    """
    found = find_places(backbone, owner)
    if isinstance(chosen, str):
        return [(place, place.strides) for place in found]
    if len(chosen) != len(found):
        names = ", ".join(place.operations[0] for place in found)
        raise UserError(
            f"{owner}.strides: has {len(chosen)} numbers for {len(found)} places ({names}); give one per place, or own"
        )
    return [(place, (stride, stride)) for place, stride in zip(found, chosen, strict=True)]


def make_learned_pool(strides: Pair, chosen: Mapping[str, Any], owner: str) -> DiffStride:
    """A DiffStride layer with the variant's settings.

    Raises:
        UserError: settings that contradict each other.
    """
    try:
        return DiffStride(
            strides,
            chosen["smoothness"],
            chosen["cropping"],
            chosen["shared"],
            chosen["lower"],
            chosen["upper"] or None,
        )
    except ValueError as error:
        raise UserError(f"{owner}: {error}") from error


def graft_pools(backbone: Backbone, pools: Sequence[DiffStride], chosen: Mapping[str, Any], owner: str) -> Graft:
    """The backbone with its pools in place: strides reported, held to their limits, and regularised where asked.

    Raises:
        UserError: as `refuse_unfit`.
    """
    refuse_unfit(backbone, owner)
    backbone.report.append(partial(report_strides, pools))
    weight = chosen["regulariser"]
    extra_loss = partial(_weigh_complexity, pools=pools, weight=weight) if weight > 0 else None
    return Graft(backbone, extra_loss, after_step=partial(project_strides, backbone))


def report_strides(pools: Sequence[DiffStride]) -> dict[str, Tensor]:
    """`stride_1_height`, `stride_1_width`, ...: what the last forward pass used, in forward order of the places."""
    return {
        f"stride_{number}_{axis}": torch.tensor(stride)
        for number, pool in enumerate(pools, start=1)
        for axis, stride in zip(("height", "width"), pool.effective_strides, strict=True)
    }


def stride_complexity(pools: Sequence[DiffStride]) -> Tensor:
    """sum_l prod_{i<=l} 1 / (S_h^i S_w^i), of the strides used in the last forward pass; differentiable."""
    strides = [pool.strides_for(*pool.map_size) for pool in pools if pool.map_size is not None]
    return (1 / torch.stack(strides).prod(1)).cumprod(0).sum()


def _weigh_complexity(_: ModelOutput, pools: Sequence[DiffStride], weight: float) -> Tensor:
    return weight * stride_complexity(pools)
