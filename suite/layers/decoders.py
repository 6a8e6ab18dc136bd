"""SIRe's interlaced auto-encoders: a decoder per downsampling step, and the encoder pass that feeds them.

One rule serves every backbone (docs/papers.md, section 1): each stage is run backwards, layer by layer where layers'
own mirrors are known (`suite.layers.mirrors`), else by one transposed convolution per k x k convolution. For the
paper's base CNN that is the paper's own mirror.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from suite.layers.mirrors import (
    ConvolutionMirror,
    ResidualMirror,
    Skips,
    is_known,
    make_transposed,
    mirror_of,
    trace_layer,
)
from suite.layers.model import Auxiliary, ConvUnit, Residual, Stage, kernel_convolutions, pad_channels

# Where S adds what (docs/papers.md, section 1).
SkipRule = Literal["block", "every", "output"]
SKIP_RULES: tuple[SkipRule, ...] = get_args(SkipRule)
# Where Re adds in a block's last unit, which is convolution, batch-norm, ReLU.
ResidualRule = Literal["before_norm", "before_activation"]
RESIDUAL_RULES: tuple[ResidualRule, ...] = get_args(ResidualRule)


@dataclass
class StageTrace:
    """What a decoder needs of one encoder stage.

    Attributes:
        size: (height, width) of the stage's input map.
        mapped: what its body gives, before the downsampling.
        output: the stage's output map.
        whole: the map behind the stage and the layers that `find_rest` counts to it; set by whoever runs the stages.
        skips: what S adds in each of the mirror's steps, in their order; missing or None: nothing.
        at_output: whether to what a step's convolution gives, instead of to what it takes.
    """

    size: tuple[int, int]
    mapped: Tensor
    output: Tensor
    whole: Tensor
    skips: list[Skips]
    at_output: bool = False


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


def normalises_residual(stage: Stage) -> bool:
    """Whether Re attaches to a unit with a normalisation, so that its two rules are two networks."""
    return takes_residual(stage) and not isinstance(conv_units(stage)[-1].norm, nn.Identity)


def _keeps_size(conv: nn.Conv2d) -> bool:
    if isinstance(conv.padding, str):
        return conv.padding == "same"
    around = zip(conv.padding, conv.kernel_size, conv.dilation, strict=True)
    return set(conv.stride) == {1} and all(2 * pad == (side - 1) * dilation for pad, side, dilation in around)


def trace_stage(stage: Stage, x: Tensor, *, residual: ResidualRule | None, skips: SkipRule | None) -> StageTrace:
    """Run an encoder stage, with Re's residual and with S's skips kept where they are asked for.

    Args:
        residual: None: no Re.
        skips: None: no S; `output` needs a body of ConvUnits.
    """
    size = (x.shape[-2], x.shape[-1])
    units = conv_units(stage)
    if not takes_residual(stage):
        residual = None
    kept: list[Skips] = []
    if units and (residual or skips):
        out, inputs, outputs = _run_units(units, x, residual=residual)
        kept = [[map_] for map_ in reversed(inputs if skips == "output" else outputs)]
    elif skips and _has_own_mirrors(stage):
        out, kept = _run_layers(stage, x)
    else:
        out = stage.body(x)
        # An empty body hands on its input: at the first stage that is the image, which is never added.
        kept = [[None if out is x else out]]
    if skips == "block":
        kept = [first[:1] for first in kept[:1]]
    if not skips:
        kept = []
    elif _has_own_mirrors(stage):
        kept = [[]] * len(_list_convolving(stage.downsample)) + kept  # nothing pairs with the downsampling's own
    shrunk = stage.downsample(out)
    return StageTrace(size, out, shrunk, shrunk, kept, at_output=skips == "output")


def find_rest(following: nn.Module) -> list[nn.Module]:
    """The layers behind a stage's downsampling that belong to the stage: what follows it up to the next downsampling,
    where that is residual blocks, normalisation and activations alone (a ResNet's stage begins with its strided block).
    """
    layers = _list_layers(following)
    for layer in layers:
        is_block = isinstance(layer, Residual) and is_known(layer)
        if not is_block and not isinstance(layer, _BatchNorm | nn.ReLU | nn.Identity):
            return []
    return layers


def has_several_skips(stage: Stage) -> bool:
    """Whether `every` adds more than one map in the stage's mirror, so that `block` is another network."""
    units = conv_units(stage)
    if units or not _has_own_mirrors(stage):
        return len(units) > 1
    body = _list_convolving(stage.body)
    return len(body) > 1 or any(len(kernel_convolutions(layer)) > 1 for layer in body)


def _run_units(
    units: Sequence[ConvUnit], x: Tensor, *, residual: ResidualRule | None
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The body's output, with Re's sum where asked for, and what S takes of every unit: its input and its output.

    S takes the last unit's output without a sum behind its batch-norm, and with one that its batch-norm normalises.
    """
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    for unit in units[:-1]:
        inputs.append(x)
        x = unit(x)
        outputs.append(x)
    last = units[-1]
    inputs.append(x)
    if residual == "before_norm":
        convolved = last.conv(x)
        before = last.norm(convolved + pad_channels(inputs[-2], convolved.shape[1]))
    else:
        before = last.before_activation(x)
    if residual != "before_activation":
        own: Tensor = last.activation(before)
        return own, inputs, [*outputs, own]
    out: Tensor = last.activation(before + pad_channels(inputs[-2], before.shape[1]))
    # After `out`, so that an in-place activation can't change what the residual is added to.
    return out, inputs, [*outputs, last.activation(before)]


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
            if len(self.steps) and isinstance(self.steps[-1], ResidualMirror):
                # ReLU(branch + shortcut) has a mean that grows from block to block, too large a feature to draw from.
                self.steps.append(ConvolutionMirror(make_transposed(channels, channels)))
            drawing = make_transposed(channels, stage.in_channels, normalised=False, activated=False)
            self.steps.append(ConvolutionMirror(drawing))

    def forward(self, x: Tensor, trace: StageTrace) -> Tensor:
        x = functional.interpolate(x, size=trace.size, mode="nearest")
        for position, step in enumerate(self.steps):
            skips = trace.skips[position] if position < len(trace.skips) else ()
            run = cast(ConvolutionMirror, step).add_to_output if trace.at_output else step
            x = run(x, skips)
        return x


def _make_mirrors(stage: Stage) -> list[nn.Module]:
    layers = _list_convolving(stage.body) + _list_convolving(stage.downsample)
    if _has_own_mirrors(stage):
        return [mirror_of(layer) for layer in reversed(layers)]
    count = max(1, sum(len(kernel_convolutions(layer)) for layer in layers))
    widths = [stage.out_channels] * count + [stage.in_channels]
    return [ConvolutionMirror(make_transposed(*pair)) for pair in itertools.pairwise(widths)]


class Decoder(nn.Module):
    """AE_i: from the map behind stage i, its rest included, back through stages i, i-1, ..., 1 to the network's input.

    Args:
        stages: 1 to i.
        rest: of stage i, as of `find_rest`; nothing is upscaled there, so S adds nothing there.
    """

    def __init__(self, stages: Sequence[Stage], rest: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.rest = nn.Sequential()
        for block in reversed(rest):
            if isinstance(block, Residual):
                self.rest.append(ResidualMirror(block))
        self.mirrors = nn.ModuleList(Mirror(stage, draws_image=stage is stages[0]) for stage in reversed(stages))

    def forward(self, traces: Sequence[StageTrace]) -> Tensor:
        """Traces of stages 1..i, in that order -> (batch, channels, height, width) of the network's input."""
        x = traces[-1].whole
        for block in self.rest:
            x = block(x, ())
        for mirror, trace in zip(self.mirrors, reversed(traces), strict=True):
            x = mirror(x, trace)
        return x
