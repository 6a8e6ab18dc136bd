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
    """Pads images to the next multiple of `multiple`, so that every pool halves exactly (28 px -> 32 px)."""

    def __init__(self, stages: list[Stage], head: nn.Module, *, multiple: int) -> None:
        super().__init__(stages, head)
        self.multiple = multiple

    def prepare(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) -> both sides padded up with black; an odd pixel goes after."""
        padding = self._find_padding(images)
        if not any(padding):
            return images
        frame = functional.pad(images.new_zeros(images.shape[-2:]), padding, value=1.0)
        return functional.pad(images, padding) + frame * self.black.to(images)

    def prepare_second(self, maps: Tensor) -> Tensor:
        return functional.pad(maps, self._find_padding(maps))

    def list_revisions(self) -> tuple[str, ...]:
        """Padding was zeros after normalisation once: a grey frame."""
        assert self.input_shape is not None
        is_padded = any(side % self.multiple for side in self.input_shape[1:])
        return ("black-padding",) if is_padded else ()

    def _find_padding(self, images: Tensor) -> tuple[int, int, int, int]:
        """Columns before and after, rows before and after."""
        rows, columns = (-side % self.multiple for side in images.shape[-2:])
        return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2
