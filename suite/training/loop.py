"""One epoch of training, and evaluation. Closed: the outside decides nothing in here."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
import torch._dynamo  # torch.optim imports it at its first step: seconds that would be timed as training
from torch import Tensor, nn
from torch.nn import functional

from suite.core.recipes import Recipe
from suite.core.specs import Streams
from suite.layers.model import Graft, ModelOutput
from suite.training.augment import Augmentation, iterate_ten_crops
from suite.training.data import Batch, Examples, Scaling, TrainingData, evaluation_batches, training_batches
from suite.training.execution import Execution, seed_torch

_RECONSTRUCTION = "reconstruction_mse_"
_CHECK_EVERY = 50  # steps between looks at the loss: each look makes a GPU wait


class Diverged(Exception):
    """The loss became NaN or infinite: a result of the trial, not a crash."""


@dataclass(frozen=True)
class TrainingFigures:
    """One epoch: means per image; `seconds` covers the training steps, batches included, device synchronised."""

    loss: float
    top1_error: float
    scalars: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy and errors (0-1); top-5 is top-k of k = min(5, classes).

    Attributes:
        predictions: int64 (n,), in the order of the examples, on the CPU.
        confidence: float32 (n,), the predicted class's softmax probability.
        probabilities: float16 (n, classes), likewise of every class; None: not asked for.
    """

    loss: float
    top1_error: float
    top5_error: float
    predictions: Tensor
    confidence: Tensor
    probabilities: Tensor | None = None


@dataclass(frozen=True)
class CropErrors:
    """Errors (0-1) by the mean softmax over several crops of each image; top-5 as of `Evaluation`."""

    top1_error: float
    top5_error: float


class _Sums:
    """Sums over an epoch, weighted by images, kept on the device so that no step waits for them."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sums: dict[str, Tensor] = {}
        self.images = 0

    def add_mean(self, name: str, mean: Tensor, images: int) -> None:
        total = self._sums.setdefault(name, torch.zeros((), dtype=torch.float64, device=self._device))
        total += mean.detach() * images

    def compute_means(self) -> dict[str, float]:
        return {name: float(total) / self.images for name, total in self._sums.items()}


def build_optimizer(recipe: Recipe, model: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """The recipe's optimiser over all trainable parameters; the rate is set at every epoch.

    A layer class names in `undecayed` its parameters that no penalty should touch (DiffStride's strides).
    """
    parameters = _make_parameter_groups(recipe, model)
    fused = device.type == "cpu" or None  # one pass over the weights; on CUDA torch's default is as fast
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused)
    return torch.optim.SGD(
        parameters,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        fused=fused,
    )


def _make_parameter_groups(recipe: Recipe, model: nn.Module) -> list[dict[str, Any]]:
    """Parameters by their weight decay, in the model's order; empty groups are left out."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    spared = {
        getattr(layer, name) for layer in model.modules() for name in _list_undecayed(layer)
    }  # tensors are hashed by identity
    if recipe.decay == "weights":
        spared |= {parameter for parameter in trained if parameter.dim() < 2}
    decayed, rest = [p for p in trained if p not in spared], [p for p in trained if p in spared]
    groups = ({"params": decayed}, {"params": rest, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def _list_undecayed(layer: nn.Module) -> tuple[str, ...]:
    return getattr(type(layer), "undecayed", ())


def train_epoch(
    graft: Graft,
    optimizer: torch.optim.Optimizer,
    data: TrainingData,
    execution: Execution,
    augmentation: Augmentation,
    *,
    batch: int,
    streams: Streams,
    epoch: int,
    learning_rate: float,
) -> TrainingFigures:
    """Trains one epoch (counted from 1). All randomness comes from the epoch's own streams.

    Raises:
        Diverged: the loss is not finite.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    graft.model.train()
    sums = _Sums(execution.device)
    execution.synchronise()
    started = time.perf_counter()
    with seed_torch(streams.seed_of("dropout", epoch), execution.device):
        batches = training_batches(
            data, augmentation, batch=batch, streams=streams, epoch=epoch, memory_format=execution.memory_format
        )
        for step, whole in enumerate(batches, start=1):
            if epoch == step == 1 and graft.initialise is not None:
                graft.initialise(whole.inputs)
            _train_step(graft, optimizer, whole, data.scaling, execution, sums)
            if step % _CHECK_EVERY == 0:
                _check_finite(sums.compute_means()["loss"], epoch)
    execution.synchronise()
    seconds = time.perf_counter() - started
    means = sums.compute_means()
    loss, error = means.pop("loss"), means.pop("top1_error")
    _check_finite(loss, epoch)
    return TrainingFigures(loss=loss, top1_error=error, scalars=means, seconds=seconds)


def _check_finite(loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise Diverged(f"training loss {loss} in epoch {epoch}")


def _train_step(
    graft: Graft,
    optimizer: torch.optim.Optimizer,
    whole: Batch,
    scaling: Scaling,
    execution: Execution,
    sums: _Sums,
) -> None:
    """One optimiser step on one batch, its gradient gathered over micro-batches."""
    optimizer.zero_grad(set_to_none=True)
    parts = whole.split(execution.micro_batch)
    for part in parts:
        with execution.autocast():
            output: ModelOutput = graft.model(part.inputs)
            loss = _compute_loss(graft, output, part)
        share = len(part.labels) / len(whole.labels)
        (loss if len(parts) == 1 else loss * share).backward()  # type: ignore[no-untyped-call]
        _log_batch(sums, loss, output, part.labels, scaling)
    optimizer.step()
    if graft.after_step is not None:
        graft.after_step()


def _compute_loss(graft: Graft, output: ModelOutput, part: Batch) -> Tensor:
    loss = _cross_entropy(output.logits, part) * graft.cross_entropy_scale
    for logits, weight in output.auxiliary_logits:
        loss = loss + weight * _cross_entropy(logits, part)
    return loss if graft.extra_loss is None else loss + graft.extra_loss(output)


def _cross_entropy(logits: Tensor, part: Batch) -> Tensor:
    """Mean over the batch; under mixup that of the mixed targets."""
    own = functional.cross_entropy(logits.float(), part.labels)
    if part.partners is None:
        return own
    return part.share * own + (1 - part.share) * functional.cross_entropy(logits.float(), part.partners)


@torch.no_grad()
def _log_batch(sums: _Sums, loss: Tensor, output: ModelOutput, labels: Tensor, scaling: Scaling) -> None:
    images = len(labels)
    sums.images += images
    sums.add_mean("loss", loss, images)
    sums.add_mean("top1_error", (output.logits.argmax(1) != labels).double().mean(), images)
    for name, value in {**output.scalars, **_reconstruction_errors(output, scaling)}.items():
        sums.add_mean(name, value, images)


def _reconstruction_errors(output: ModelOutput, scaling: Scaling) -> dict[str, Tensor]:
    """`reconstruction_mse_<i>` on the 0-1 scale (that of the 3e-6 in Avola et al. 2022, 4.2), hence the factor std.

    A model whose decoders are not 1, 2, ... names them by scalars of these names; ours take their place.
    """
    if not output.reconstructions or output.inputs is None:
        return {}
    names = [name for name in output.scalars if name.startswith(_RECONSTRUCTION)]
    if len(names) != len(output.reconstructions):
        names = [f"{_RECONSTRUCTION}{number}" for number in range(1, len(output.reconstructions) + 1)]
    inputs = output.inputs
    return {
        name: ((image.float() - inputs) * scaling.std).square().mean()
        for name, image in zip(names, output.reconstructions, strict=True)
    }


@torch.no_grad()
def evaluate_model(
    model: nn.Module,
    examples: Examples,
    scaling: Scaling,
    execution: Execution,
    augmentation: Augmentation,
    *,
    batch: int,
    seed: int,
    keep_probabilities: bool = False,
) -> Evaluation:
    """Figures over all examples, in evaluation mode. `seed` feeds a model that draws noise even then.

    Raises:
        Diverged: the mean cross-entropy is not finite.
    """
    model.eval()
    classes = 0
    outputs, losses, ranks, kept = [], [], [], []
    with seed_torch(seed, execution.device), execution.autocast():
        few = execution.micro_batch or batch
        batches = evaluation_batches(examples, scaling, augmentation, batch=few, memory_format=execution.memory_format)
        for inputs, labels, *_ in batches:
            logits = model(inputs).logits.float()
            classes = logits.shape[1]
            losses.append(functional.cross_entropy(logits, labels, reduction="none").double())
            best = logits.topk(min(5, classes)).indices
            ranks.append(best == labels.unsqueeze(1))
            softmax = logits.softmax(1)
            outputs.append(torch.stack([best[:, 0].double(), softmax.amax(1).double()]))
            if keep_probabilities:
                kept.append(softmax.half())
    hits = torch.cat(ranks)
    loss = float(torch.cat(losses).mean())
    if not math.isfinite(loss):
        raise Diverged(f"evaluation loss {loss}")
    predictions, confidence = torch.cat(outputs, dim=1).cpu()
    return Evaluation(
        loss=loss,
        top1_error=1 - float(hits[:, 0].double().mean()),
        top5_error=1 - float(hits.any(1).double().mean()),
        predictions=predictions.long(),
        confidence=confidence.float(),
        probabilities=torch.cat(kept).cpu() if kept else None,
    )


@torch.no_grad()
def evaluate_ten_crops(
    model: nn.Module,
    examples: Examples,
    scaling: Scaling,
    execution: Execution,
    side: int,
    *,
    batch: int,
    seed: int,
) -> CropErrors:
    """Errors over all examples by ten crops of each, of `side` pixels; mode and `seed` as of `evaluate_model`."""
    model.eval()
    ranks = []
    with seed_torch(seed, execution.device), execution.autocast():
        few = execution.micro_batch or batch
        labels = torch.split(examples.labels[examples.index.to(examples.labels.device)], few)
        for images, own in zip(examples.feed.iterate_batches(examples.index, few), labels, strict=True):
            softmax = torch.zeros((), device=own.device)
            for crop in iterate_ten_crops(images, side):
                inputs = scaling.normalise_images(crop, execution.memory_format)
                softmax = softmax + model(inputs).logits.float().softmax(1)
            ranks.append(softmax.topk(min(5, softmax.shape[1])).indices == own.unsqueeze(1))
    hits = torch.cat(ranks)
    return CropErrors(
        top1_error=1 - float(hits[:, 0].double().mean()), top5_error=1 - float(hits.any(1).double().mean())
    )
