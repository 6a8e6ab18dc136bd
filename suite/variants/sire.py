"""SIRe: long Skips, Interlaced auto-encoders and short Residuals (Avola et al. 2022; docs/papers.md, section 1)."""

from __future__ import annotations

import math
import re
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from suite.core.errors import UserError
from suite.core.settings import Setting, resolve_settings
from suite.layers.decoders import (
    RESIDUAL_RULES,
    SKIP_RULES,
    Decoder,
    ResidualRule,
    SkipRule,
    StageTrace,
    conv_units,
    find_rest,
    has_several_skips,
    normalises_residual,
    takes_residual,
    trace_stage,
)
from suite.layers.mirrors import ResidualMirror
from suite.layers.model import Backbone, Graft, ModelOutput, Stage

WRAPS = True


def parse_components(given: Any) -> str:
    """`SIRe` or a part of it, in that order. Raises ValueError with a sentence."""
    if not isinstance(given, str) or not re.fullmatch("S?I?(Re)?", given):
        raise ValueError(f"must be SIRe or a part of it in that order (SIRe, SI, IRe, I, Re), not {given!r}")
    if not given:
        raise ValueError("must name at least one of S, I and Re; for none of them use the variant baseline")
    if "S" in given and "I" not in given:
        raise ValueError(
            f"{given!r} has S without I, but S skips into the decoders and without I there are none; "
            "add I or leave S out"
        )
    return given


def parse_decoders(given: Any) -> str | tuple[int, ...]:
    """`all`, an index or several, counted from 1, the shallowest. Raises ValueError with a sentence."""
    if given == "all":
        return "all"
    items = tuple(given) if isinstance(given, list | tuple) else (given,)
    if not items or not all(isinstance(i, int) and not isinstance(i, bool) and i >= 1 for i in items):
        raise ValueError(f"must be all, or decoder numbers counted from 1 such as [1, 4], not {given!r}")
    return tuple(sorted(set(items)))


def parse_lambda(given: Any) -> float | tuple[float, ...]:
    """A weight, or one per decoder. Raises ValueError with a sentence."""
    if isinstance(given, list | tuple):
        if not given:
            raise ValueError("must be a number or one number per decoder, not an empty list")
        return tuple(_parse_weight(item) for item in given)
    return _parse_weight(given)


def _parse_weight(given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not (given >= 0 and math.isfinite(given)):
        raise ValueError(f"must be a finite number of 0 or more, or one per decoder, not {given!r}")
    return float(given)


SETTINGS = {
    "components": Setting("SIRe", "parts of the extension (Table 1): SIRe, SI, IRe, I or Re", parse=parse_components),
    "decoders": Setting("all", "all, or the numbers of those attached, from 1 (Table 3)", parse=parse_decoders),
    "lambda": Setting(
        0.2,
        "weight of the reconstruction error, a number or one per decoder (Table 2); needs I",
        low=0.0,
        parse=parse_lambda,
        is_weight=True,
    ),
    "skips": Setting(
        "block",
        "where S adds; block: a block's last map where its mirror begins, as U-Net does; every: each convolution's "
        "output where its mirror begins; output: each convolution's input to what its mirror gives",
        choices=SKIP_RULES,
    ),
    "residual": Setting(
        "before_norm",
        "where Re adds in a block's last unit; before_norm: to what its convolution gives, so that batch-norm "
        "normalises the sum; before_activation: behind the batch-norm, as ResNet's blocks do",
        choices=RESIDUAL_RULES,
    ),
    "ce_scale": Setting(
        "plain",
        "plain: cross-entropy as usual; per_class: divided by the classes, Eq. 1 to the letter",
        choices=("plain", "per_class"),
    ),
}


class Sire(nn.Module):
    """A backbone with residuals, decoders and skips attached; decoders run in training mode only.

    Attributes:
        decoders: by number, from "1"; each has its own weights.
    """

    def __init__(
        self,
        backbone: Backbone,
        decoders: tuple[int, ...],
        *,
        skips: SkipRule | None,
        residual: ResidualRule | None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        stages = _find_stages(backbone)
        following = [*(stage.body for stage in stages[1:]), backbone.tail]
        self.decoders = nn.ModuleDict()
        for i in decoders:
            self.decoders[str(i)] = Decoder(stages[:i], find_rest(following[i - 1]))
        self.skips = skips
        self.residual = residual

    def forward(self, images: Tensor) -> ModelOutput:
        inputs = self.backbone.prepare(images)
        decode = self.training and len(self.decoders) > 0
        features, traces = self._encode_stages(inputs, skips=self.skips if decode else None)
        output = self.backbone.classify(features, inputs)
        if decode:
            output.reconstructions = self._decode_traces(traces)
            errors = zip(self.decoders, output.reconstructions, strict=True)
            output.scalars |= {
                f"reconstruction_mse_{i}": _reconstruction_error(image.detach(), inputs) for i, image in errors
            }
        return output

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> list[Tensor]:
        """Every decoder's picture of the prepared input, shallowest first; for figures, in evaluation mode too."""
        _, traces = self._encode_stages(self.backbone.prepare(images), skips=self.skips)
        self.backbone.take_auxiliary()  # nobody wants them here
        return self._decode_traces(traces)

    def _encode_stages(self, x: Tensor, *, skips: SkipRule | None) -> tuple[Tensor, list[StageTrace]]:
        """The feature map, the tail included, and what decoders need of each stage."""
        traces: list[StageTrace] = []
        for stage in _find_stages(self.backbone):
            traces.append(trace_stage(stage, x, residual=self.residual, skips=skips))
            x = traces[-1].output
            if len(traces) > 1 and find_rest(stage.body):
                traces[-2].whole = traces[-1].mapped
        features = self.backbone.tail(x)
        if traces and find_rest(self.backbone.tail):
            traces[-1].whole = features
        return features, traces

    def _decode_traces(self, traces: list[StageTrace]) -> list[Tensor]:
        return [decoder(traces[: int(i)]) for i, decoder in self.decoders.items()]


def reconstruction_loss(output: ModelOutput, weights: tuple[float, ...]) -> Tensor:
    """sum_i lambda_i * MSE_i, the second term of Eq. 1, in float32.

    Decoders of weight 0 are left out rather than multiplied by 0, so that nothing of theirs, an infinity included,
    reaches the encoder.
    """
    assert output.inputs is not None
    total = torch.zeros((), device=output.logits.device)
    for weight, image in zip(weights, output.reconstructions, strict=True):
        if weight > 0:
            total = total + weight * _reconstruction_error(image, output.inputs)
    return total


def _reconstruction_error(image: Tensor, target: Tensor) -> Tensor:
    return functional.mse_loss(image.float(), target.detach().float())


def apply(backbone: Backbone, **settings: Any) -> Graft:
    """The backbone extended by the named components.

    Raises:
        UserError: a setting is illegal, names decoders the backbone hasn't, or leaves nothing to attach.
    """
    chosen = resolve_settings(SETTINGS, settings, "sire")
    components = chosen["components"]
    residual = chosen["residual"] if "Re" in components else None
    decoders = _choose_decoders(backbone, chosen["decoders"]) if "I" in components else ()
    if components == "Re" and not any(takes_residual(stage) for stage in _find_stages(backbone)):
        raise UserError(
            "sire.components: Re spans two convolution units before a pool, and no stage of this backbone has them; "
            "use a component set with I, or another backbone"
        )
    if not decoders and chosen["decoders"] != "all":
        raise UserError("sire.decoders: names decoders, but components has no I, which they are; leave it out or add I")
    if "S" not in components and chosen["skips"] != SETTINGS["skips"].default:
        raise UserError("sire.skips: says where S adds, but components has no S; leave it out or add S")
    if not residual and chosen["residual"] != SETTINGS["residual"].default:
        raise UserError("sire.residual: says where Re adds, but components has no Re; leave it out or add Re")
    if not decoders and chosen["lambda"] != SETTINGS["lambda"].default:
        raise UserError("sire.lambda: weighs decoders, but components has no I, which they are; leave it out or add I")
    skips = _choose_skips(backbone, chosen["skips"], decoders) if "S" in components else None
    model = Sire(backbone, decoders, skips=skips, residual=residual)
    scale = 1.0 / _count_classes(backbone) if chosen["ce_scale"] == "per_class" else 1.0
    if not decoders:
        return Graft(model, cross_entropy_scale=scale, revisions=_list_revisions(model))
    loss = partial(reconstruction_loss, weights=_choose_weights(chosen["lambda"], decoders))
    return Graft(model, loss, cross_entropy_scale=scale, revisions=_list_revisions(model))


def _list_revisions(model: Sire) -> tuple[str, ...]:
    """S meant `every` once, Re added before the activation, and a residual network's decoder hung behind a stage's
    first block alone.
    """
    revisions = []
    stages = _find_stages(model.backbone)
    deepest = max(map(int, model.decoders), default=0)
    if model.skips == "block" and any(map(has_several_skips, stages[:deepest])):
        revisions.append("skips-block")
    if any(isinstance(module, ResidualMirror) for module in model.decoders.modules()):
        revisions.append("whole-stages")
    if model.residual == "before_norm" and any(map(normalises_residual, stages)):
        revisions.append("residual-before-norm")
    return tuple(revisions)


def _find_stages(backbone: Backbone) -> list[Stage]:
    return [cast(Stage, stage) for stage in backbone.stages]


def _choose_decoders(backbone: Backbone, chosen: str | tuple[int, ...]) -> tuple[int, ...]:
    available = len(backbone.stages)
    if available == 0:
        raise UserError("sire: I hangs a decoder on every downsampling step, and this backbone names none")
    wanted = tuple(range(1, available + 1)) if isinstance(chosen, str) else chosen
    beyond = [str(i) for i in wanted if i > available]
    if beyond:
        raise UserError(
            f"sire.decoders: {', '.join(beyond)} out of range; this backbone has {available} downsampling "
            f"step{'s' * (available > 1)}, so choose from 1..{available}"
        )
    return wanted


def _choose_skips(backbone: Backbone, chosen: SkipRule, decoders: tuple[int, ...]) -> SkipRule:
    if chosen == "output":
        for number, stage in enumerate(_find_stages(backbone)[: max(decoders)], start=1):
            if not conv_units(stage):
                raise UserError(
                    f"sire.skips: output pairs each convolution with its mirror, and stage {number} of this backbone "
                    "is no sequence of convolution units; choose block or every"
                )
    return chosen


def _choose_weights(chosen: float | tuple[float, ...], decoders: tuple[int, ...]) -> tuple[float, ...]:
    weights = chosen if isinstance(chosen, tuple) else (chosen,) * len(decoders)
    if len(weights) != len(decoders):
        raise UserError(
            f"sire.lambda: has {len(weights)} numbers for {len(decoders)} decoders; give one number, or one per decoder"
        )
    return weights


def _count_classes(backbone: Backbone) -> int:
    """Classes by the width of the classifier's last layer."""
    layers = [layer for layer in backbone.head.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise UserError("sire.ce_scale: per_class reads the classes from the head's last dense layer, and it has none")
    return layers[-1].out_features
