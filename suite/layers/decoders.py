"""SIRe's interlaced auto-encoders: a decoder per downsampling step, and the encoder pass that feeds them.

One rule serves every backbone (docs/papers.md, section 1): each stage is run backwards, layer by layer where layers'
own mirrors are known (`suite.layers.mirrors`), else by one transposed convolution per k x k convolution. For the
paper's base CNN that is the paper's own mirror.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from suite.layers.mirrors import (
    ConvolutionMirror,
    Skips,
    is_known,
    make_transposed,
    mirror_of,
    trace_layer,
)
from suite.layers.model import Auxiliary, ConvUnit, Stage, kernel_convolutions, pad_channels


@dataclass
class StageTrace:
    """What a decoder needs of one encoder stage.

    Attributes:
        size: (height, width) of the stage's input map.
        output: the stage's output map.
        skips: what S adds in each of the mirror's steps, in their order; missing or None: nothing.
    """

    size: tuple[int, int]
    output: Tensor
    skips: list[Skips]


def conv_units(stage: Stage) -> list[ConvUnit]:
    """The stage's body as its ConvUnits; empty when it is made of anything else."""
    if not isinstance(stage.body, nn.Sequential):
        return []
    units = [layer for layer in stage.body if isinstance(layer, ConvUnit)]
    return units if len(units) == len(stage.body) else []


def takes_residual(stage: Stage) -> bool:
    """Whether Re attaches: two last ConvUnits that keep the map's size, and no channels lost (only padding adds)."""
    last = conv_units(stage)[-2:]
    if len(last) < 2 or last[1].conv.out_channels < last[0].conv.in_channels:
        return False
    return all(_keeps_size(unit.conv) for unit in last)


def _keeps_size(conv: nn.Conv2d) -> bool:
    if isinstance(conv.padding, str):
        return conv.padding == "same"
    around = zip(conv.padding, conv.kernel_size, conv.dilation, strict=True)
    return set(conv.stride) == {1} and all(2 * pad == (side - 1) * dilation for pad, side, dilation in around)


def trace_stage(stage: Stage, x: Tensor, *, residual: bool, skips: bool) -> StageTrace:
    """Run an encoder stage, with Re's residual and with S's skips kept where they are asked for."""
    size = (x.shape[-2], x.shape[-1])
    kept: list[Skips] = []
    if residual and takes_residual(stage):
        out, kept = _run_units(conv_units(stage), x, skips=skips)
    elif skips and _has_own_mirrors(stage):
        out, kept = _run_layers(stage, x)
    else:
        out = stage.body(x)
        # An empty body hands on its input: at the first stage that is the image, which is never added.
        kept = [[None if out is x else out]]
    if not skips:
        kept = []
    elif _has_own_mirrors(stage):
        kept = [[]] * len(_list_convolving(stage.downsample)) + kept  # nothing pairs with the downsampling's own
    return StageTrace(size, stage.downsample(out), kept)


def _run_units(units: list[ConvUnit], x: Tensor, *, skips: bool) -> tuple[Tensor, list[Skips]]:
    """The body's output with Re's sum, and every unit's own output, after its activation and without the sum."""
    outputs: list[Tensor] = []
    for unit in units[:-2]:
        x = unit(x)
        outputs.append(x)
    first = units[-2](x)
    before = units[-1].before_activation(first)
    out: Tensor = units[-1].activation(before + pad_channels(x, before.shape[1]))
    # After `out`, so that an in-place activation can't change what the residual is added to.
    if skips:
        outputs += [first, units[-1].activation(before)]
    return out, [[output] for output in reversed(outputs)]


def _run_layers(stage: Stage, x: Tensor) -> tuple[Tensor, list[Skips]]:
    kept: list[Skips] = []
    convolving = _list_convolving(stage.body)
    for layer in _list_layers(stage.body):
        if layer in convolving:
            x, skips = trace_layer(layer, x)
            kept.append(skips)
        else:
            x = layer(x)
    return x, kept[::-1]


def _list_layers(module: nn.Module) -> list[nn.Module]:
    """What a module runs one after the other, Sequentials taken apart."""
    if not isinstance(module, nn.Sequential):
        return [module]
    layers: list[nn.Module] = []
    for child in module:
        layers += _list_layers(child)
    return layers


def _list_convolving(module: nn.Module) -> list[nn.Module]:
    """The layers that hold convolutions, in forward order; auxiliary classifiers are no part of the way."""
    convolving = []
    for layer in _list_layers(module):
        if not isinstance(layer, Auxiliary) and any(isinstance(inner, nn.Conv2d) for inner in layer.modules()):
            convolving.append(layer)
    return convolving


def _has_own_mirrors(stage: Stage) -> bool:
    """Whether the stage convolves, and every layer that does has a mirror of its own.

    A bare convolution has one in the downsampling alone: in the body, S would add its output before the activation.
    """
    body, downsampling = _list_convolving(stage.body), _list_convolving(stage.downsample)
    for layer in downsampling:
        if not is_known(layer) and not isinstance(layer, nn.Conv2d):
            return False
    return bool(body + downsampling) and all(map(is_known, body))


class Mirror(nn.Module):
    """One stage backwards: (batch, out, h, w) -> (batch, in, *size).

    Nearest upsampling to the size of the stage's input (a learned one would break Table 3's counts), then the layers'
    own mirrors. A stage of other layers, or of none, gets one 3 x 3 transposed convolution per k x k convolution, at
    least one; all keep the stage's width except the last, which goes to the stage's input width. Batch-norm and ReLU
    follow each convolution, but not the one that draws the image.
    """

    def __init__(self, stage: Stage, *, draws_image: bool) -> None:
        super().__init__()
        self.steps = nn.ModuleList(_make_mirrors(stage))
        if draws_image:  # instead of the last convolution, or after the last block
            channels, last = stage.in_channels, self.steps[-1]
            if isinstance(last, ConvolutionMirror):
                channels = last.channels
                self.steps.pop(-1)
            drawing = make_transposed(channels, stage.in_channels, normalised=False, activated=False)
            self.steps.append(ConvolutionMirror(drawing))

    def forward(self, x: Tensor, size: tuple[int, int], skips: Sequence[Skips]) -> Tensor:
        x = functional.interpolate(x, size=size, mode="nearest")
        for position, step in enumerate(self.steps):
            x = step(x, skips[position] if position < len(skips) else ())
        return x


def _make_mirrors(stage: Stage) -> list[nn.Module]:
    layers = _list_convolving(stage.body) + _list_convolving(stage.downsample)
    if _has_own_mirrors(stage):
        return [mirror_of(layer) for layer in reversed(layers)]
    count = max(1, sum(len(kernel_convolutions(layer)) for layer in layers))
    widths = [stage.out_channels] * count + [stage.in_channels]
    return [ConvolutionMirror(make_transposed(*pair)) for pair in itertools.pairwise(widths)]


class Decoder(nn.Module):
    """AE_i: from the output of stage i back through stages i, i-1, ..., 1 to the network's input."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        super().__init__()
        self.mirrors = nn.ModuleList(Mirror(stage, draws_image=stage is stages[0]) for stage in reversed(stages))

    def forward(self, traces: Sequence[StageTrace]) -> Tensor:
        """Traces of stages 1..i, in that order -> (batch, channels, height, width) of the network's input."""
        x = traces[-1].output
        for mirror, trace in zip(self.mirrors, reversed(traces), strict=True):
            x = mirror(x, trace.size, trace.skips)
        return x
