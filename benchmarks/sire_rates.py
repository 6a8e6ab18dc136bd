"""Which learning rate the recipe `sire_1280` bears without any extension: errors after each of its five epochs.

    python -m benchmarks.sire_rates [--rates 0.1 0.05 0.02 0.01] [--backbone base_cnn] [--seeds 1] [--threads 1]

MNIST as colour under GRAFTBENCH_DATA: the first 1,280 training images, and 1,000 others to measure the error on. A run
of the base CNN takes about four minutes on one core.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from benchmarks.sire_stability import CPU, RECIPE, train_epochs
from suite.core.specs import Cell, Component, Streams
from suite.data.dataset import Dataset
from suite.models.assembly import assemble_network
from suite.training.data import Examples, Scaling, TrainingData
from suite.training.execution import Execution
from suite.training.loop import Diverged

HELD_OUT = slice(50_000, 51_000)


def load_data(root: Path) -> TrainingData:
    dataset = Dataset(Component("mnist", (("channels", 3),)), root)
    part = dataset.load_part("train")
    assert part.images is not None
    images, labels = torch.from_numpy(part.images), torch.from_numpy(part.labels)
    few = Examples.in_memory(images[: RECIPE.train_limit], labels[: RECIPE.train_limit])
    mean, std = dataset.info.mean or part.mean, dataset.info.std or part.std
    return TrainingData(few, Examples.in_memory(images[HELD_OUT], labels[HELD_OUT]), Scaling.of(mean, std, CPU))


def train(data: TrainingData, cell: Cell, rate: float, seed: int) -> list[str]:
    """The held-out top-1 error after each epoch, in percent; ends with `diverged` where the loss does."""
    graft = assemble_network(cell, (3, 28, 28), 10, streams=Streams("confirm", seed), black=data.scaling.black)
    errors: list[str] = []
    try:
        for _, found in train_epochs(graft, data, rate, RECIPE.epochs, seed):
            errors.append(f"{100 * found.top1_error:.1f}")
    except Diverged:
        errors.append("diverged")
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.1, 0.05, 0.02, 0.01])
    parser.add_argument("--backbone", default="base_cnn")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    Execution(CPU, threads=given.threads).set_up_process()
    data = load_data(Path(os.environ.get("GRAFTBENCH_DATA", "data")))
    cell = Cell(Component("mnist"), Component(given.backbone), Component("baseline"))
    for rate in given.rates:
        for seed in range(given.seeds):
            print(f"rate {rate:g}, seed {seed}: {', '.join(train(data, cell, rate, seed))} %", flush=True)


if __name__ == "__main__":
    main()
