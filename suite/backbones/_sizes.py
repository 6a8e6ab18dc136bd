"""Image sizes and widths that several backbones share: stems, the smallest image, padding, the factor on channels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.layers.model import Backbone, Stage

SMALL_BELOW = 64  # pixels of the smaller image side (docs/papers.md, section 1)

STEM = Setting(
    "auto",
    "imagenet: the paper's; small: first convolution 3x3 of stride 1, no stem pool; auto: small below 64 px",
    choices=("auto", "imagenet", "small"),
)
WIDTH = Setting(1.0, "factor on every convolution's and hidden dense layer's width", low=1 / 64, high=16.0)


def scale_channels(full: int, width: float) -> int:
    """Channels at a factor `width`, at least one."""
    return max(1, round(full * width))


def takes_small_stem(stem: str, shape: tuple[int, int, int]) -> bool:
    """Whether `stem` means the small one for images of `shape`."""
    return stem == "small" or (stem == "auto" and min(shape[1:]) < SMALL_BELOW)


def require_size(name: str, shape: tuple[int, int, int], least: int) -> None:
    """
    Raises:
        UserError: an image side is below `least` pixels; the sentence starts with `name`.
    """
    _, height, width = shape
    if min(height, width) < least:
        raise UserError(
            f"{name}: needs images of at least {least} x {least} pixels, not {height} x {width}, for its last "
            "downsampling to have a map to shrink; choose a larger image size"
        )


class PaddedBackbone(Backbone):
    """Zero-pads images to the next multiple of `multiple`, so that every pool halves exactly (28 px -> 32 px)."""

    def __init__(self, stages: list[Stage], head: nn.Module, *, multiple: int) -> None:
        super().__init__(stages, head)
        self.multiple = multiple

    def prepare(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) -> the same with both sides padded up; an odd zero goes after."""
        missing_rows, missing_columns = (-side % self.multiple for side in images.shape[-2:])
        if missing_rows == missing_columns == 0:
            return images
        top, left = missing_rows // 2, missing_columns // 2
        return functional.pad(images, (left, missing_columns - left, top, missing_rows - top))
