"""timm's classifiers as backbones: `timm:NAME` (R. Wightman, PyTorch Image Models). Never pretrained, no download.

The model's own forward pass is cut, not rebuilt: with equal weights the backbone computes what timm's model computes,
to the bit, in evaluation and in training mode.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import timm
from torch import nn

from suite.core.errors import UserError, did_you_mean
from suite.core.settings import Setting
from suite.layers.model import Backbone, Stage
from suite.models.timm_blocks import join_layers, recognise_layers
from suite.models.timm_graph import Size, Step, Uncuttable, first_sentence, is_map, list_steps, output_size

REFERENCE = 224  # px; stages are cut at this size or the model's own larger one, so that they don't depend on the data
# Of models that can't take what they are given.
FAILURES = (TypeError, ValueError, RuntimeError, AssertionError, AttributeError, ImportError)


def _parse_rate(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"must be null (the model's own), or a rate from 0 to less than 1, not {value!r}")
    return float(value)


SETTINGS = {
    "drop_rate": Setting(None, "dropout before the classifier; null: the model's own", parse=_parse_rate),
    "drop_path_rate": Setting(None, "stochastic depth, last block's rate; null: the model's own", parse=_parse_rate),
}


class TimmBackbone:
    """The backbone `timm:NAME`: with `SETTINGS` and `build` as a backbone's file. UserError: timm has no such model."""

    SETTINGS = SETTINGS

    def __init__(self, name: str) -> None:
        models = timm.list_models()
        if name not in models:
            hint = did_you_mean(name, models)
            if not hint.startswith("; did"):  # not the list of all of them
                hint = "; timm.list_models() lists those it has"
            raise UserError(f"backbone: timm {timm.__version__} has no model {name!r}{hint}")
        self.build = partial(build, model=name)


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    model: str,
    drop_rate: float | None = None,
    drop_path_rate: float | None = None,
    owner: str | None = None,
) -> Backbone:
    """timm's `model` for images of `shape`, cut into stages.

    Args:
        owner: whose name refusals start with; None: `timm:` and the model's name.

    Raises:
        UserError: timm can't make it, its forward pass can't be cut into stages, or the images are too small.
    """
    owner = owner or f"timm:{model}"
    rates = {}
    demands = f"{shape[0]} channels"
    for name, rate in (("drop_rate", drop_rate), ("drop_path_rate", drop_path_rate)):
        if rate is not None:
            rates[name] = rate
            demands += f", {name} {rate:g}"
    try:
        classifier = timm.create_model(model, pretrained=False, num_classes=classes, in_chans=shape[0], **rates)
    except FAILURES as error:
        reason = first_sentence(error)
        raise UserError(f"{owner}: timm can't make it with {demands} ({reason}); choose another model") from error
    return cut_classifier(classifier, shape, classes, owner=owner)


def cut_classifier(model: nn.Module, shape: tuple[int, int, int], classes: int, *, owner: str) -> Backbone:
    """A classifier (batch, channels, height, width) -> (batch, classes) as a backbone that is made of its parts.

    Args:
        owner: whose name refusals start with.

    Raises:
        UserError: as `build`.
    """
    # Operations in place would overwrite maps that a model around the backbone keeps (SIRe's traces).
    for module in model.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    config = getattr(model, "pretrained_cfg", None) or {}
    fixed = config.get("fixed_input_size", False)
    side = max(config.get("input_size", ())[1:], default=REFERENCE)
    if not fixed:
        side = max(REFERENCE, side)
    model.eval()
    try:
        steps = list_steps(model, (2, shape[0], side, side))
        features, head = _split_head(steps, classes)
    except (Uncuttable, *FAILURES) as error:
        raise UserError(f"{owner}: can't be cut into stages: {first_sentence(error)}; choose another model") from error
    stages, tail = _make_stages(features)
    backbone = Backbone(stages, _make_sequential(head), _make_sequential(tail))
    _check_size(backbone, shape, owner, most=side, fixed=fixed)
    return backbone.train()


def _split_head(steps: list[Step], classes: int) -> tuple[list[Step], list[Step]]:
    """Steps on feature maps, and the head: from the first step whose output is none (global pooling)."""
    features = list(itertools.takewhile(lambda step: is_map(step.outputs), steps))
    head = steps[len(features) :]
    if not features:
        raise Uncuttable("it has no (batch, channels, height, width) feature maps, as transformers have none")
    # The input is square: a map that isn't has its channels last.
    if any(step.outputs[2] != step.outputs[3] for step in features):
        raise Uncuttable("its feature maps are not (batch, channels, height, width)")
    if all(step.stride <= 1 for step in features):
        raise Uncuttable("no step of its own makes the feature map smaller")
    if not head or head[-1].outputs != (steps[0].inputs[0], classes):
        raise Uncuttable(f"its output is no (batch, {classes}) logits")
    return features, head


def _make_stages(steps: list[Step]) -> tuple[list[Stage], list[Step]]:
    """Each shrinking step, with the norm and activation that follow it, ends a stage; what remains is the tail."""
    stages: list[Stage] = []
    body: list[Step] = []
    remaining = list(steps)
    while remaining:
        step = remaining.pop(0)
        if step.stride <= 1:
            body.append(step)
            continue
        downsample = [step]
        while remaining and remaining[0].stride <= 1 and not _has_weights(remaining[0].module):
            downsample.append(remaining.pop(0))
        row = _make_sequential(downsample)
        stage = Stage(
            _make_sequential(body),
            row[0] if len(row) == 1 else row,
            in_channels=(body or downsample)[0].inputs[1],
            out_channels=downsample[-1].outputs[1],
            stride=step.stride,
        )
        stages.append(stage)
        body = []
    return stages, body


def _has_weights(module: nn.Module) -> bool:
    """Whether a module mixes channels or pixels: more than norms, activations and dropout."""
    return any(parameter.dim() > 1 for parameter in module.parameters())


def _make_sequential(steps: list[Step]) -> nn.Sequential:
    layers = []
    for step in steps:
        layers += recognise_layers(step.name, step.module)
    return join_layers(layers)


def _check_size(backbone: Backbone, shape: tuple[int, int, int], owner: str, *, most: int, fixed: bool) -> None:
    channels, height, width = shape
    trouble = _find_trouble(backbone, shape)
    if not trouble:
        return
    if fixed:
        raise UserError(
            f"{owner}: takes images of {most} x {most} pixels only, not {height} x {width}; choose that image size"
        )
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        if _find_trouble(backbone, (channels, middle, middle)):
            low = middle
        else:
            high = middle
    if min(height, width) < high:
        raise UserError(
            f"{owner}: needs images of at least {high} x {high} pixels, not {height} x {width} ({trouble}); "
            "choose a larger image size"
        )
    raise UserError(f"{owner}: can't take images of {height} x {width} pixels ({trouble}); choose another image size")


def _find_trouble(backbone: Backbone, shape: tuple[int, int, int]) -> str:
    """What goes wrong at this image size, or nothing."""
    size: Size = (2, *shape)
    try:
        for i, stage in enumerate(backbone.stages, start=1):
            before, after = size, output_size(stage, size)
            if after is None or after[2] >= before[2] or after[3] >= before[3]:
                return f"stage {i} has a map of {before[2]} x {before[3]}, which it can't make smaller"
            size = after
        output_size(nn.Sequential(backbone.tail, backbone.head), size)
    except FAILURES as error:
        return first_sentence(error)
    return ""
