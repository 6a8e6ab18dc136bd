"""ZFNet (Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", Fig. 3 and Table 2)."""

from __future__ import annotations

from torch import nn

from suite.backbones._lrn import response_norm
from suite.backbones._sizes import require_size
from suite.core.settings import Setting
from suite.layers.model import Backbone, ConvUnit, Stage

MIDDLE = {"standard": (384, 384, 256), "large": (512, 1024, 512)}

SETTINGS = {
    "middle": Setting(
        "large",
        "widths of convolutions 3 to 5; standard: 384, 384, 256 (Fig. 3); large: 512, 1024, 512 (Table 2, the better)",
        choices=tuple(MIDDLE),
    ),
    "dropout": Setting(0.5, "dropout after each hidden dense layer", low=0.0, high=0.95),
}

LEAST = 47


def build(shape: tuple[int, int, int], classes: int, *, middle: str = "large", dropout: float = 0.5) -> Backbone:
    """107,627,624 parameters with 3 channels and 1000 classes; 62,357,608 with `middle: standard`.

    Maps at 224 px as in Fig. 3: 110, 55, 26, 13, 13, 6. Ours: local response normalisation for the paper's contrast
    normalisation, and PyTorch's initial weights, as torchvision's AlexNet has them.

    Raises:
        UserError: an image side is below 47 pixels.
    """
    require_size("zfnet", shape, LEAST)
    third, fourth, fifth = MIDDLE[middle]
    rest = [ConvUnit(nn.Conv2d(a, b, 3, padding=1)) for a, b in ((256, third), (third, fourth), (fourth, fifth))]
    stages = [
        Stage(
            nn.Sequential(),
            nn.Conv2d(shape[0], 96, 7, stride=2, padding=1),
            in_channels=shape[0],
            out_channels=96,
        ),
        Stage(nn.Sequential(nn.ReLU()), _make_pool(), in_channels=96, out_channels=96),
        Stage(nn.Sequential(response_norm()), nn.Conv2d(96, 256, 5, stride=2), in_channels=96, out_channels=256),
        Stage(nn.Sequential(nn.ReLU()), _make_pool(), in_channels=256, out_channels=256),
        Stage(nn.Sequential(response_norm(), *rest), _make_pool(), in_channels=256, out_channels=fifth),
    ]
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(6),
        nn.Flatten(),
        nn.Linear(fifth * 6 * 6, 4096),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(4096, classes),
    )
    return Backbone(stages, head)


def _make_pool() -> nn.Module:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)
