"""How large a learning rate SIRe's linear output layer bears: its curvature on one batch, and what training does.

The last transposed convolution of a decoder is linear, so lambda * MSE is a linear regression on its input features f
(3 x 3 taps of every channel, and the bias). Its curvature is 2 * lambda / channels * the largest eigenvalue of
E[f f^T] over pixels, and Nesterov momentum m is stable below rate * curvature = (2 + 2m) / (1 + 2m).
Full-width base CNN at its initial weights, shallowest decoder. MNIST, or the digits at 32 pixels where it is absent.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from suite.core import recipes
from suite.core.specs import Cell, Component, Streams
from suite.data.dataset import Dataset
from suite.layers.model import Graft
from suite.models.assembly import assemble_network
from suite.training.augment import Augmentation
from suite.training.data import Examples, Scaling, TrainingData
from suite.training.execution import Execution
from suite.training.loop import Diverged, build_optimizer, train_epoch

LAMBDA = 0.2  # the variant's default
LAST = "decoders.1.mirrors.0.steps.1"  # the shallowest decoder's linear layer
RECIPE = recipes.resolve_recipe(Component("sire_1280"))
STREAMS = Streams("confirm", 0)
CPU = torch.device("cpu")


def examples(root: Path, parquet: str | None) -> tuple[str, Tensor, Tensor, Scaling]:
    """Name, images, labels and scaling of the first training images."""
    names = [Component("mnist"), Component("digits", (("size", 32),))]
    if parquet:
        names = [Component("parquet", (("path", parquet),))]
    dataset = next(one for one in (Dataset(name, root) for name in names) if one.info.missing is None)
    facts, found = dataset.info, dataset.load_part("train")
    assert found.images is not None
    few, few_labels = (torch.from_numpy(values[: RECIPE.train_limit]) for values in (found.images, found.labels))
    mean, std = (facts.mean, facts.std) if facts.mean and facts.std else (found.mean, found.std)
    return dataset.component.label, few, few_labels, Scaling.of(mean, std, CPU)


def network(components: str, channels: int, side: int) -> Graft:
    cell = Cell(Component("mnist"), Component("base_cnn"), Component("sire", (("components", components),)))
    return assemble_network(cell, (channels, side, side), 10, streams=STREAMS)


def largest_eigenvalue(graft: Graft, inputs: Tensor) -> float:
    """Of E[f f^T], f being what a pixel of the shallowest decoder's output is a linear function of."""
    caught: list[Tensor] = []
    last = graft.model.get_submodule(LAST)
    hook = last.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    with torch.no_grad():
        graft.model.train()(inputs)
    hook.remove()
    [maps] = caught
    moments = torch.zeros(())
    for image in maps:
        taps = functional.unfold(image[None], 3, padding=1)[0]
        taps = torch.cat([taps, torch.ones(1, taps.shape[1])])
        moments = moments + taps @ taps.T / taps.shape[1] / len(maps)
    return float(torch.linalg.eigvalsh(moments.double())[-1])


def trained(graft: Graft, images: Tensor, labels: Tensor, scaling: Scaling, rate: float, epochs: int) -> str:
    """The mean training loss of the last epoch, or that it diverged."""
    optimizer = build_optimizer(RECIPE, graft.model, CPU)
    everything = Examples.in_memory(images, labels)
    data = TrainingData(everything, everything, scaling)
    for epoch in range(1, epochs + 1):
        try:
            figures = train_epoch(
                graft,
                optimizer,
                data,
                Execution(CPU),
                Augmentation.of(RECIPE),
                batch=RECIPE.batch,
                streams=STREAMS,
                epoch=epoch,
                learning_rate=rate,
            )
        except Diverged as error:
            return f"diverged: {error}"
    return f"loss {figures.loss:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--parquet", metavar="PATH", help="measure on this Parquet dataset of the data directory instead"
    )
    parser.add_argument("--rates", type=float, nargs="*", default=[], help="also train at these rates")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    name, images, labels, scaling = examples(Path(os.environ.get("GRAFTBENCH_DATA", "data")), given.parquet)
    limit = (2 + 2 * RECIPE.momentum) / (1 + 2 * RECIPE.momentum)
    print(f"{name}, lambda {LAMBDA}, Nesterov {RECIPE.momentum}: rate * curvature < {limit:.3f}")
    for channels in (1, 3) if images.shape[1] == 1 else (images.shape[1],):
        coloured = images.expand(-1, channels, -1, -1)  # grey as colour: the same features, three outputs
        for components in ("IRe", "SIRe"):
            graft = network(components, channels, images.shape[-1])
            eigenvalue = largest_eigenvalue(
                graft, scaling.normalise_images(coloured[: RECIPE.batch], torch.contiguous_format)
            )
            curvature = 2 * LAMBDA / channels * eigenvalue
            what = f"{channels} channel{'s' * (channels > 1)}, {components}"
            print(f"{what}: eigenvalue {eigenvalue:.0f}, curvature {curvature:.1f}, rate < {limit / curvature:.4f}")
            for rate in given.rates:
                fresh = network(components, channels, images.shape[-1])
                print(f"  rate {rate:g}: {trained(fresh, coloured, labels, scaling, rate, given.epochs)}", flush=True)


if __name__ == "__main__":
    main()
