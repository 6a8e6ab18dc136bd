"""What SIRe bears at the paper's learning rate: the curvature of its linear output layer, and what training does.

    python benchmarks/sire_stability.py [--parquet PATH] [--skips block every output] [--residual before_norm]
                                        [--lambdas 0.1 0.2 0.5 1.0] [--seeds 3] [--rate 0.1] [--epochs 1]
                                        [--width 1.0] [--threads 2]

The last transposed convolution of a decoder is linear, so lambda * MSE is a linear regression on its input features f
(3 x 3 taps of every channel, and the bias). Its curvature is 2 * lambda / channels * the largest eigenvalue of
E[f f^T] over pixels, and Nesterov momentum m is stable below rate * curvature = (2 + 2m) / (1 + 2m). Base CNN at its
initial weights, shallowest decoder, 64 images; then, by lambda and seed, epochs on the first 1,280 training images.

MNIST as colour (`GRAFTBENCH_DATA`), the digits at 32 pixels where it is absent, or a Parquet dataset.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from suite.core import recipes
from suite.core.specs import Cell, Component, Streams, freeze_settings
from suite.data.dataset import Dataset
from suite.layers.decoders import RESIDUAL_RULES, SKIP_RULES
from suite.layers.model import Graft
from suite.models.assembly import assemble_network
from suite.training.augment import Augmentation
from suite.training.data import Examples, Scaling, TrainingData
from suite.training.execution import Execution
from suite.training.loop import Diverged, Evaluation, TrainingFigures, build_optimizer, evaluate_model, train_epoch

LAST = "decoders.1.mirrors.0.steps.1.step.0"  # the shallowest decoder's linear layer
RECIPE = recipes.resolve_recipe(Component("sire_1280"))
CPU = torch.device("cpu")


def load_examples(root: Path, parquet: str | None) -> tuple[str, Tensor, Tensor, Scaling]:
    """Name, images as colour, labels and scaling of the first training images."""
    names = [Component("mnist", (("channels", 3),)), Component("digits", (("size", 32),))]
    if parquet:
        names = [Component("parquet", (("path", parquet),))]
    dataset = next(one for one in (Dataset(name, root) for name in names) if one.info.missing is None)
    facts, found = dataset.info, dataset.load_part("train")
    assert found.images is not None
    few, few_labels = (torch.from_numpy(values[: RECIPE.train_limit]) for values in (found.images, found.labels))
    mean, std = (facts.mean, facts.std) if facts.mean and facts.std else (found.mean, found.std)
    return dataset.component.label, few, few_labels, Scaling.of(mean, std, CPU)


def build_network(settings: dict[str, object], width: float, images: Tensor, scaling: Scaling, seed: int) -> Graft:
    _, channels, height, side = images.shape
    cell = Cell(
        Component("any"),
        Component("base_cnn", freeze_settings({"width": width})),
        Component("sire", freeze_settings(settings)),
    )
    streams = Streams("confirm", seed)
    return assemble_network(cell, (channels, height, side), 10, streams=streams, black=scaling.black)


def find_largest_eigenvalue(graft: Graft, inputs: Tensor) -> float:
    """Of E[f f^T], f being what a pixel of the shallowest decoder's output is a linear function of."""
    caught: list[Tensor] = []
    hook = graft.model.get_submodule(LAST).register_forward_pre_hook(lambda _, given: caught.append(given[0]))
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


def train_epochs(
    graft: Graft, data: TrainingData, rate: float, epochs: int, seed: int
) -> Iterator[tuple[TrainingFigures, Evaluation]]:
    """Each epoch as it was trained, and the validation images after it.

    Raises:
        Diverged: a loss is not finite.
    """
    optimizer = build_optimizer(RECIPE, graft.model, CPU)
    execution, augmentation = Execution(CPU), Augmentation.of(RECIPE)
    for epoch in range(1, epochs + 1):
        figures = train_epoch(
            graft,
            optimizer,
            data,
            execution,
            augmentation,
            batch=RECIPE.batch,
            streams=Streams("confirm", seed),
            epoch=epoch,
            learning_rate=rate,
        )
        yield (
            figures,
            evaluate_model(
                graft.model, data.validation, data.scaling, execution, augmentation, batch=RECIPE.batch, seed=0
            ),
        )


def train(graft: Graft, data: TrainingData, rate: float, epochs: int, seed: int) -> str:
    """Loss and errors of the last epoch and after it on the same images, or that it diverged."""
    trained: list[tuple[TrainingFigures, Evaluation]] = []
    try:
        for epoch in train_epochs(graft, data, rate, epochs, seed):
            trained.append(epoch)
    except Diverged as error:
        return f"diverged in epoch {len(trained) + 1}: {error}"
    figures, after = trained[-1]
    errors = {name: value for name, value in figures.scalars.items() if name.startswith("reconstruction")}
    pictures = ", ".join(f"{value:.2g}" for value in errors.values())
    return (
        f"loss {figures.loss:.3g}, error {100 * figures.top1_error:.1f} % in the last epoch and "
        f"{100 * after.top1_error:.1f} % after it; reconstruction MSE {pictures}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parquet", metavar="PATH", help="a Parquet dataset of the data directory")
    parser.add_argument("--skips", nargs="+", choices=SKIP_RULES, default=list(SKIP_RULES))
    parser.add_argument("--residual", choices=RESIDUAL_RULES, default=RESIDUAL_RULES[0])
    parser.add_argument("--lambdas", type=float, nargs="*", default=[], help="also train at these")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rate", type=float, default=RECIPE.lr)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    name, images, labels, scaling = load_examples(Path(os.environ.get("GRAFTBENCH_DATA", "data")), given.parquet)
    limit = (2 + 2 * RECIPE.momentum) / (1 + 2 * RECIPE.momentum)
    print(f"{name}, width {given.width:g}, rate {given.rate:g}, Nesterov {RECIPE.momentum}")
    batch = scaling.normalise_images(images[: RECIPE.batch], torch.contiguous_format)
    everything = Examples.in_memory(images, labels)
    data = TrainingData(everything, everything, scaling)
    for skips in given.skips:
        graft = build_network({"skips": skips, "residual": given.residual}, given.width, images, scaling, 0)
        eigenvalue = find_largest_eigenvalue(graft, batch)
        bound = limit * images.shape[1] / (2 * given.rate * eigenvalue)
        print(f"skips {skips}: eigenvalue {eigenvalue:.0f}, stable while lambda < {bound:.3f}", flush=True)
        for weight in given.lambdas:
            for seed in range(given.seeds):
                settings = {"skips": skips, "residual": given.residual, "lambda": weight}
                graft = build_network(settings, given.width, images, scaling, seed)
                result = train(graft, data, given.rate, given.epochs, seed)
                print(f"  lambda {weight:g}, seed {seed}: {result}", flush=True)


if __name__ == "__main__":
    main()
