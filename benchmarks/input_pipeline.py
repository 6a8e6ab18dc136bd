"""The input pipeline against PyTorch's DataLoader, in images per second; its memory and its start.

    python benchmarks/input_pipeline.py [--data DIR] [--device cpu] [--rounds 5]

Each peer is what the tutorials do; all of them give shuffled, augmented, normalised float32 batches on the device:

- "DataLoader, PIL": one PIL image at a time through torchvision's v2 transforms, 2 persistent workers;
- "DataLoader, tensors": the same over a uint8 tensor in memory; at 224 px over our own decoded array;
- "ours": what a trial runs (training_batches), from a warm cache.

Peers alternate in one process; figures are medians over the rounds, ratios those of the medians. The data directory
(GRAFTBENCH_DATA by default) holds `cifar10-parquet` and `caltech101/101_ObjectCategories`.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils import data as torch_data
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from suite.core.errors import UserError
from suite.core.recipes import Recipe
from suite.core.specs import Cell, Component, Streams, Trial, freeze_settings
from suite.data.dataset import Dataset
from suite.training.augment import Augmentation
from suite.training.data import TrainingData, training_batches
from suite.training.execution import Execution, device_name, resolve_device
from suite.training.feeds import Decoding, Prefetched
from suite.training.trial_data import decide_residency, training_data

CIFAR = Component("parquet", freeze_settings({"path": "cifar10-parquet"}))
PHOTOGRAPHS = Component("folder", freeze_settings({"path": "caltech101/101_ObjectCategories"}))
STREAMS = Streams("search", 0)
WORKERS = 2
TRIALS = 10  # that share the cache


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GRAFTBENCH_DATA", "data")))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000, help="CIFAR-10 images per round and peer")
    parser.add_argument("--start", choices=("cifar", "photographs"), help=argparse.SUPPRESS)
    parser.add_argument("--map", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    device = resolve_device(given.device)
    Execution(device).set_up_process()  # as a trial does
    if given.start:
        print(first_batch_seconds(CIFAR if given.start == "cifar" else PHOTOGRAPHS, given.data, device))
        return
    if given.map:
        map_and_wait(given.data)
        return
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    shared_memory(given.data)  # first: this process would share the mapping too
    small_images(given.data, device, given.rounds, given.images)
    photographs(given.data, device, given.rounds)
    if device.type == "cuda":
        whole_epoch(given.data, device)
    warm_start(given.data, given.device)


def data_of(dataset: Component, data: Path, device: torch.device) -> TrainingData:
    """The training part as a trial reads it."""
    trial = Trial(
        cell=Cell(dataset, Component("base_cnn"), Component("baseline")),
        recipe=Component("sire"),
        stage="search",
        seed=0,
        epochs=1,
    )
    files = Dataset(dataset, data)
    return training_data(trial, files, Recipe(), decide_residency(files, "auto", device, 0.25), device)[0]


# -- throughput


def small_images(data: Path, device: torch.device, rounds: int, images: int) -> None:
    print(f"\nCIFAR-10, 32 px, pad 4 and crop, flip, batch 128, {images} images")
    ours = Ours(data_of(CIFAR, data, device), Augmentation(pad=4, flip=True), 128, images)
    found = Dataset(CIFAR, data).load_part("train")
    assert found.images is not None
    pixels = np.array(found.images[:images])
    crop = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()]
    pictures = [Image.fromarray(image) for image in pixels.transpose(0, 2, 3, 1)]
    peers = {
        "DataLoader, PIL": Loader(InMemory(pictures, found.labels, crop), 128, device),
        "DataLoader, tensors": Loader(InMemory(torch.from_numpy(pixels), found.labels, crop), 128, device),
    }
    compare(ours, peers, rounds)


def photographs(data: Path, device: torch.device, rounds: int) -> None:
    source = Dataset(PHOTOGRAPHS, data).open_source("train")
    print(f"\nCaltech photographs, resized to 224 px, flip, batch 64, {len(source.labels)} images")
    everything = data_of(PHOTOGRAPHS, data, device)
    ours = Ours(everything, Augmentation(flip=True), 64, len(everything.train))
    found = Dataset(PHOTOGRAPHS, data).load_part("train")
    assert found.images is not None
    resize, flip = v2.Resize((224, 224)), v2.RandomHorizontalFlip()
    decoded = torch.from_numpy(found.images)
    peers = {
        "DataLoader, JPEG files": Loader(Files(list(source.files), found.labels, [resize, flip]), 64, device),
        "DataLoader, tensors": Loader(InMemory(decoded, found.labels, [flip]), 64, device),
        "ours, streamed from JPEG files": Ours(
            everything, Augmentation(flip=True), 64, len(everything.train), Prefetched(Decoding(source.decode), device)
        ),
    }
    compare(ours, peers, rounds)


def compare(ours: Callable[[int], tuple[int, float]], peers: Mapping[str, Any], rounds: int) -> None:
    contestants = {**peers, "ours": ours}
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, contestant in contestants.items():
            images, seconds = contestant(number + 1)
            if number:  # the first round warms up, and starts the workers
                rates[name].append(images / seconds)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in medians.items():
        ratio = "" if name == "ours" else f"; ours is {medians['ours'] / rate:.1f} times as fast"
        print(f"  {name}: {rate:,.0f} images/s ({min(rates[name]):,.0f} .. {max(rates[name]):,.0f}){ratio}")


class Ours:
    def __init__(
        self, data: TrainingData, augmentation: Augmentation, batch: int, images: int, feed: Prefetched | None = None
    ) -> None:
        train = data.train
        limited = type(train)(feed or train.feed, train.labels, train.index[:images], train.size)
        self.data = TrainingData(limited, data.validation, data.scaling)
        self.augmentation, self.batch = augmentation, batch

    def __call__(self, epoch: int) -> tuple[int, float]:
        return drained(
            batch.inputs
            for batch in training_batches(self.data, self.augmentation, batch=self.batch, streams=STREAMS, epoch=epoch)
        )


class Loader:
    def __init__(self, dataset: torch_data.Dataset[tuple[Tensor, int]], batch: int, device: torch.device) -> None:
        self.device = device
        self.loader = DataLoader(
            dataset,
            batch_size=batch,
            shuffle=True,
            num_workers=WORKERS,
            persistent_workers=True,
            pin_memory=device.type == "cuda",
        )

    def __call__(self, epoch: int) -> tuple[int, float]:
        return drained(images.to(self.device, non_blocking=True) for images, _ in self.loader)


def drained(batches: Iterator[Tensor]) -> tuple[int, float]:
    """Images of all batches, and seconds they took."""
    started = time.perf_counter()
    count = 0
    for images in batches:
        assert images.dtype == torch.float32
        count += len(images)
    Execution(images.device).synchronise()
    return count, time.perf_counter() - started


def normalised(transforms: list[Any], tensors: bool) -> v2.Compose:
    tail = [v2.ToDtype(torch.float32, scale=True), v2.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))]
    return v2.Compose([*transforms, *([] if tensors else [v2.ToImage()]), *tail])


class InMemory(torch_data.Dataset[tuple[Tensor, int]]):
    def __init__(self, images: Any, labels: Any, transforms: list[Any]) -> None:
        self.images, self.labels = images, labels.tolist()
        self.transform = normalised(transforms, isinstance(images, Tensor))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


class Files(torch_data.Dataset[tuple[Tensor, int]]):
    def __init__(self, files: list[Path], labels: Any, transforms: list[Any]) -> None:
        self.files, self.labels = files, labels.tolist()
        self.transform = normalised(transforms, False)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB")), self.labels[index]


def whole_epoch(data: Path, device: torch.device) -> None:
    """One CIFAR-10 epoch of input alone, images on the GPU."""
    everything = data_of(CIFAR, data, device)
    labels = everything.train.labels
    whole = type(everything.train)(everything.train.feed, labels, torch.arange(len(labels)), everything.train.size)
    ours = Ours(TrainingData(whole, whole, everything.scaling), Augmentation(pad=4, flip=True), 512, len(labels))
    seconds = [ours(epoch)[1] for epoch in range(1, 12)][1:]
    print(f"\nCIFAR-10, pad 4 and crop, flip, batch 512: {len(labels)} images in {statistics.median(seconds):.3f} s")


# -- memory


def shared_memory(data: Path) -> None:
    """PSS (each page divided by the processes that map it) of the cache's mapping, in one and in ten processes."""
    pss(data, 1)  # decodes where nothing is yet
    alone, together = (sum(pss(data, count)) for count in (1, TRIALS))
    print(f"\nPSS of the cache's mapping, 1 trial: {alone / 1024:.0f} MiB; {TRIALS} trials together: ", end="")
    print(f"{together / 1024:.0f} MiB, {together / alone:.3f} times that of one")


def pss(data: Path, count: int) -> list[int]:
    """KiB per process, while `count` of them have read every image."""
    command = [sys.executable, __file__, "--map", "--data", str(data)]
    waiting = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(count)]
    try:
        for process in waiting:
            assert process.stdout is not None
            process.stdout.readline()  # says that it has read all
        return [mapped(process.pid) for process in waiting]
    finally:
        for process in waiting:
            process.communicate(b"\n")


def mapped(process: int) -> int:
    """Pss of images.npy in KiB."""
    maps = Path(f"/proc/{process}/smaps").read_text()
    found = re.search(r"images\.npy\n(?:.*\n)*?Pss: +(\d+) kB", maps)
    assert found is not None
    return int(found.group(1))


def map_and_wait(data: Path) -> None:
    images = Dataset(CIFAR, data).load_part("train").images
    assert images is not None
    torch.from_numpy(images).sum()
    print("read", flush=True)
    sys.stdin.readline()


# -- start


def warm_start(data: Path, device: str) -> None:
    for name, dataset in (("cifar", CIFAR), ("photographs", PHOTOGRAPHS)):
        Dataset(dataset, data).load_part("train")
        command = [sys.executable, __file__, "--start", name, "--data", str(data), "--device", device]
        seconds = [float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(5)]
        print(f"warm start to the first batch, {name}: {statistics.median(seconds):.3f} s (a fresh process each)")


def first_batch_seconds(dataset: Component, data: Path, device: torch.device) -> float:
    torch.zeros(1, device=device)  # a GPU's own start is not the dataset's
    started = time.perf_counter()
    batches = training_batches(
        data_of(dataset, data, device), Augmentation(flip=True), batch=128, streams=STREAMS, epoch=1
    )
    next(batches)
    Execution(device).synchronise()
    return time.perf_counter() - started


if __name__ == "__main__":
    try:
        main()
    except UserError as refusal:
        sys.exit(str(refusal))
