"""Max pools that do not overlap: what AlexNet's authors compare theirs with (their section 3.4)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.layers.model import Backbone, Graft
from suite.layers.surgery import replace

SETTINGS: dict[str, Setting] = {}


class NonOverlappingMaxPool2d(nn.MaxPool2d):
    """A max pool whose windows are as large as its stride, with the output size of the overlapping one.

    The windows tile the middle of the map: what they do not reach (as 2 of 32 pixels where a 3 x 3 pool of stride 2
    gave 15) is cut off evenly at both sides, and where they reach beyond it the border counts as minus infinity, as
    in every max pool. Every later layer keeps its size.
    """

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__(_as_pair(pool.stride))
        self._overlapping = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        windows, whole = _as_pair(self.stride), self._output_size(x)
        spare_y, spare_x = (x.shape[axis - 2] - whole[axis] * windows[axis] for axis in (0, 1))
        # Negative padding cuts off.
        sides = (-(spare_x // 2), spare_x // 2 - spare_x, -(spare_y // 2), spare_y // 2 - spare_y)
        return functional.max_pool2d(functional.pad(x, sides, value=float("-inf")), windows, windows)

    def _output_size(self, x: Tensor) -> tuple[int, int]:
        """(height, width) of the overlapping pool's output."""
        probe = functional.max_pool2d(x.new_empty(1, 1, *x.shape[-2:], device="meta"), *self._overlapping)
        return probe.shape[-2], probe.shape[-1]


def apply(backbone: Backbone) -> Graft:
    """Every max pool with a kernel larger than its stride gets one of its stride; sizes of maps stay.

    Pools of stride 1 (Inception's) shrink nothing and stay, as do those that torchvision's Inception-v3 calls as
    functions inside its blocks.

    Raises:
        UserError: no pool overlaps.
    """
    if not replace(
        backbone, nn.MaxPool2d, lambda pool: NonOverlappingMaxPool2d(pool) if _is_overlapping(pool) else pool
    ):
        raise UserError(
            "non_overlapping_pooling: no downsampling max pool of this backbone overlaps; leave the variant out"
        )
    return Graft(backbone)


def _is_overlapping(pool: nn.MaxPool2d) -> bool:
    pairs = zip(_as_pair(pool.kernel_size), _as_pair(pool.stride), strict=True)
    return min(_as_pair(pool.stride)) > 1 and any(kernel > stride for kernel, stride in pairs)


def _as_pair(size: int | tuple[int, ...]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
