"""DiffStride and spectral pooling in one network (Rafif et al. 2024; docs/papers.md, section 3).

The paper's network has DiffStride after the first convolution and in the residual layers (3.6, Fig. 2), and one more
layer before global average pooling (Fig. 3). What that and the first layer are is the setting `order`:

- `diffstride+spectral`: DiffStride at every shrinking operation, Hartley pooling (Algorithm 1) at the end.
- `diffstride+diffstride`: a further DiffStride at the end.
- `spectral+diffstride`: the reversed order, which the third contribution compares with and no table shows. Ours: the
  layers after the first convolution and at the end trade places, the residual layers keep DiffStride (3.1: "each
  residual layer will use DiffStride").

The paper gives the layers at the end no size. Ours: both start by halving the map, Hartley pooling rounded down.
Hartley pooling after the first convolution shrinks by that operation's own stride, and halves where it is 1, as in
all six tuples of Table 1: with stride 1 it would be the identity.
"""

from __future__ import annotations

from typing import Any

from suite.core.settings import Setting, resolve_settings
from suite.layers.model import Backbone, Graft
from suite.layers.shrinking import END_STRIDE, POSITION, Pair, fill_end, fill_place
from suite.layers.spectral import DiffStride, HartleyPool
from suite.variants import diffstride

SETTINGS = {
    "order": Setting(
        "diffstride+spectral",
        "which layer comes first (after the first convolution) and which at the end; between them DiffStride",
        choices=("diffstride+spectral", "diffstride+diffstride", "spectral+diffstride"),
    ),
    "position": POSITION,
    **diffstride.SETTINGS,
}


def apply(backbone: Backbone, **settings: Any) -> Graft:
    """The backbone with spectral layers at its shrinking operations and one more at the end.

    Raises:
        UserError: as `diffstride`; a last map too small to halve or not larger than R; no place for `position`.
    """
    chosen = resolve_settings(SETTINGS, settings, "hybrid")
    first, last = chosen["order"].split("+")
    pools: list[DiffStride] = []
    for number, (place, strides) in enumerate(diffstride.initial_strides(backbone, chosen["strides"], "hybrid")):
        if number == 0 and first == "spectral":
            fill_place(backbone, place, HartleyPool(_is_shrinking(strides)))
            continue
        pools.append(diffstride.make_learned_pool(strides, chosen, "hybrid"))
        fill_place(backbone, place, pools[-1])
    if last == "spectral":
        fill_end(backbone, HartleyPool(END_STRIDE), chosen["position"], "hybrid")
    else:
        pools.append(diffstride.make_learned_pool((END_STRIDE, END_STRIDE), chosen, "hybrid"))
        fill_end(backbone, pools[-1], chosen["position"], "hybrid")
    return diffstride.graft_pools(backbone, pools, chosen, "hybrid")


def _is_shrinking(strides: Pair) -> Pair:
    return strides if max(strides) > 1 else (END_STRIDE, END_STRIDE)
