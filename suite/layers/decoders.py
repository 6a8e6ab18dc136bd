"""SIRe's interlaced auto-encoders: a decoder per downsampling step, and the encoder pass that feeds them.

One rule serves every backbone (methods.md, section 1). For the paper's base CNN it is the paper's own mirror.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from suite.layers.model import ConvUnit, Stage, kernel_convolutions, pad_channels


@dataclass
class StageTrace:
    """What a decoder needs of one encoder stage.

    Attributes:
        size: (height, width) of the stage's input map.
        output: the stage's output map.
        skips: what S adds to the input of each transposed convolution, in their order; None: nothing.
    """

    size: tuple[int, int]
    output: Tensor
    skips: list[Tensor | None]


def conv_units(stage: Stage) -> list[ConvUnit]:
    """The stage's body as its ConvUnits; empty when it is made of anything else."""
    layers = list(stage.body) if isinstance(stage.body, nn.Sequential) else []
    units = [layer for layer in layers if isinstance(layer, ConvUnit)]
    return units if len(units) == len(layers) else []


def takes_residual(stage: Stage) -> bool:
    """Whether Re attaches: two last ConvUnits to span, and no channels lost (an identity can only be padded)."""
    units = conv_units(stage)
    return len(units) >= 2 and units[-1].conv.out_channels >= units[-2].conv.in_channels


def trace_stage(stage: Stage, x: Tensor, *, residual: bool, skips: bool) -> StageTrace:
    """Run an encoder stage, with Re's residual and with S's skips kept where they are asked for."""
    size = (x.shape[-2], x.shape[-1])
    units = conv_units(stage)
    if units:
        out, outputs = _run_units(units, x, residual=residual and takes_residual(stage), skips=skips)
        kept = _aligned(stage, units, outputs)
    else:
        out = stage.body(x)
        # An empty body hands on its input: at the first stage that is the image, which is never added.
        kept = [out if skips and out is not x else None]
    return StageTrace(size, stage.downsample(out), kept)


def _run_units(units: list[ConvUnit], x: Tensor, *, residual: bool, skips: bool) -> tuple[Tensor, list[Tensor]]:
    """The body's output, and every unit's own output: after its activation, without Re's sum."""
    outputs: list[Tensor] = []
    plain = units[:-2] if residual else units
    for unit in plain:
        x = unit(x)
        outputs.append(x)
    if residual:
        first = units[-2](x)
        before = units[-1].before_activation(first)
        out = units[-1].activation(before + pad_channels(x, before.shape[1]))
        # After `out`, so that an in-place activation can't change what the residual is added to.
        outputs += [first, units[-1].activation(before)] if skips else []
        x = out
    return x, outputs if skips else []


def _aligned(stage: Stage, units: list[ConvUnit], outputs: list[Tensor]) -> list[Tensor | None]:
    """Unit outputs in the order of the transposed convolutions that mirror them, those of the downsampling first."""
    mirrored = [output for unit, output in zip(units, outputs, strict=False) if kernel_convolutions(unit)]
    unpaired: list[Tensor | None] = [None] * len(kernel_convolutions(stage.downsample))
    return unpaired + mirrored[::-1]


class Mirror(nn.Module):
    """One stage backwards: (batch, out, h, w) -> (batch, in, *size).

    Nearest upsampling to the size of the stage's input (a learned one would break Table 3's counts), then one 3 x 3
    transposed convolution per k x k convolution of the stage, at least one. All keep the stage's width except the
    last, which goes to the stage's input width. Batch-norm and ReLU follow each, but not the one that draws the image.
    """

    def __init__(self, stage: Stage, *, draws_image: bool) -> None:
        super().__init__()
        count = max(1, len(kernel_convolutions(stage)))
        widths = [stage.out_channels] * count + [stage.in_channels]
        steps = [_step(widths[i], widths[i + 1], linear=draws_image and i == count - 1) for i in range(count)]
        self.steps = nn.ModuleList(steps)

    def forward(self, x: Tensor, size: tuple[int, int], skips: Sequence[Tensor | None]) -> Tensor:
        x = functional.interpolate(x, size=size, mode="nearest")
        for position, step in enumerate(self.steps):
            skip = skips[position] if position < len(skips) else None
            if skip is not None and skip.shape == x.shape:
                x = x + skip
            x = step(x)
        return x


def _step(channels: int, out: int, *, linear: bool) -> nn.Sequential:
    transposed = nn.ConvTranspose2d(channels, out, 3, padding=1)
    return nn.Sequential(transposed) if linear else nn.Sequential(transposed, nn.BatchNorm2d(out), nn.ReLU())


class Decoder(nn.Module):
    """AE_i: from the output of stage i back through stages i, i-1, ..., 1 to the network's input."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        backwards = range(len(stages) - 1, -1, -1)
        self.mirrors = nn.ModuleList([Mirror(stages[j], draws_image=j == 0) for j in backwards])

    def forward(self, traces: Sequence[StageTrace]) -> Tensor:
        """Traces of stages 1..i, in that order -> (batch, channels, height, width) of the network's input."""
        x = traces[-1].output
        for mirror, trace in zip(self.mirrors, reversed(traces), strict=True):
            x = mirror(x, trace.size, trace.skips)
        return x
