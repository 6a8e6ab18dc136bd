"""Training throughput of the base CNN: the suite's loop against the plain PyTorch loop, in images per second.

    python benchmarks/train_step.py [--data DIR] [--device cpu] [--threads N] [--rounds 5]

The plain loop is the usual one: a DataLoader over PIL images with torchvision's RandomHorizontalFlip, ToTensor and
Normalize, float32, contiguous. Its `num_workers` is torch's default 0 or the tutorials' 2, whichever is faster here.
Ours is what a trial runs (TrainingData and train_epoch) with the precision and memory format that `auto` stands for.
Both train the same network with the same optimiser on the same images (32 px, batch 64), alternating in one process;
the figures are medians over the rounds. Images are CIFAR-10's (`--data`, a directory with `cifar10-parquet`), or
random ones: what an image shows doesn't change its cost.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils import data as torch_data
from torch.utils.data import DataLoader
from torchvision import transforms

from suite.core.recipes import RECIPES
from suite.core.specs import Cell, Component, Streams, freeze_settings
from suite.data.dataset import Dataset
from suite.layers.model import Graft
from suite.models.assembly import assemble_network
from suite.training.augment import Augmentation
from suite.training.data import Examples, Scaling, TrainingData
from suite.training.execution import Execution, choose_precision, device_name, resolve_device
from suite.training.loop import build_optimizer, train_epoch

SHAPE, CLASSES, BATCH = (3, 32, 32), 10, 64
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # CIFAR-10's, any would do
RECIPE = RECIPES["sire"]
STREAMS = Streams("search", 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="directory with cifar10-parquet; default: random images")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=640, help="images per round and loop")
    given = parser.parse_args()
    device = resolve_device(given.device)
    images, labels = load_images(given.data, given.images)
    precision = choose_precision(device)
    print(f"{device_name(device)}, {given.threads} threads, torch {torch.__version__}, base_cnn, batch {BATCH}")
    print(f"ours in {precision}, channels_last")
    loops = {f"plain loop, {workers} workers": PlainLoop(images, labels, device, workers) for workers in (0, 2)}
    execution = Execution(device, precision, channels_last=True, threads=given.threads)
    contestants = {**loops, "ours": OurLoop(images, labels, execution)}
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(given.rounds + 1):
        for name, loop in contestants.items():
            rate = len(labels) / loop.epoch(number + 1)
            if number:  # the first round warms up
                rates[name].append(rate)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in medians.items():
        print(f"{name}: {rate:.0f} images/s ({min(rates[name]):.0f} .. {max(rates[name]):.0f})")
    print(f"ratio: {medians['ours'] / max(medians[name] for name in loops):.2f} (ours to the faster plain loop)")


def load_images(data: Path | None, count: int) -> tuple[Tensor, Tensor]:
    """uint8 (count, 3, 32, 32) and int64 (count,)."""
    if data is not None:
        found = Dataset(Component("parquet", freeze_settings({"path": "cifar10-parquet"})), data).load_part("train")
        assert found.images is not None
        return torch.from_numpy(found.images[:count]), torch.from_numpy(found.labels[:count])
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
    return pixels, torch.randint(0, CLASSES, (count,), generator=generator)


def network() -> Graft:
    cell = Cell(Component("cifar10"), Component("base_cnn"), Component("baseline"))
    return assemble_network(cell, SHAPE, CLASSES, streams=STREAMS)


class PilImages(torch_data.Dataset[tuple[Tensor, int]]):
    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images.permute(0, 2, 3, 1).numpy()
        self.labels = labels.tolist()
        flip = transforms.RandomHorizontalFlip()
        self.transform = transforms.Compose([flip, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


class PlainLoop:
    def __init__(self, images: Tensor, labels: Tensor, device: torch.device, workers: int) -> None:
        self.device = device
        self.model = network().model.to(device)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), RECIPE.lr, RECIPE.momentum, weight_decay=RECIPE.weight_decay, nesterov=True
        )
        self.loader = DataLoader(
            PilImages(images, labels),
            batch_size=BATCH,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
        )

    def epoch(self, number: int) -> float:
        """Seconds of one epoch."""
        self.model.train()
        started = time.perf_counter()
        for images, labels in self.loader:
            inputs, targets = images.to(self.device), labels.to(self.device)
            self.optimizer.zero_grad()
            torch.nn.functional.cross_entropy(self.model(inputs).logits, targets).backward()
            self.optimizer.step()
        Execution(self.device).synchronise()
        return time.perf_counter() - started


class OurLoop:
    def __init__(self, images: Tensor, labels: Tensor, execution: Execution) -> None:
        device = execution.device
        graft = network()
        self.execution = execution
        self.graft = graft._replace(model=execution.place_model(graft.model))
        self.optimizer = build_optimizer(RECIPE, graft.model, device)
        examples = Examples.in_memory(images.to(device), labels.to(device))
        self.data = TrainingData(examples, examples, Scaling.of(MEAN, STD, device))

    def epoch(self, number: int) -> float:
        """Seconds of one epoch, by the wall clock as for the plain loop."""
        started = time.perf_counter()
        train_epoch(
            self.graft,
            self.optimizer,
            self.data,
            self.execution,
            Augmentation.of(RECIPE),
            batch=BATCH,
            streams=STREAMS,
            epoch=number,
            learning_rate=RECIPE.lr,
        )
        return time.perf_counter() - started


if __name__ == "__main__":
    main()
