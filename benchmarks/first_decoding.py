"""What hashing each image costs while a part is decoded for the first time.

    python benchmarks/first_decoding.py [--data DIR] [--rounds 5] [--images 5000]

Decodes the first images of CIFAR-10's training part (Parquet) and of Caltech's photographs, with the hashes that tell
duplicates and without them, by turns in one process; prints medians and the ratio. The data directory (GRAFTBENCH_DATA
by default) holds `cifar10-parquet` and `caltech101/101_ObjectCategories`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

from suite.core.specs import Component, freeze_settings
from suite.data.dataset import Dataset
from suite.data.source import Images, PartDecoder

SETS = {
    "CIFAR-10, Parquet": Component("parquet", freeze_settings({"path": "cifar10-parquet"})),
    "photographs at 224": Component("folder", freeze_settings({"path": "caltech101/101_ObjectCategories"})),
}


class Unhashed(PartDecoder):
    """Decodes alike, without the hashes."""

    def _hash_image(self, row: int, image: Images) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GRAFTBENCH_DATA", "data")))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=5_000)
    given = parser.parse_args()
    for name, component in SETS.items():
        compare(name, Dataset(component, given.data), given.rounds, given.images)


def compare(name: str, dataset: Dataset, rounds: int, images: int) -> None:
    source = dataset.open_source("train")
    count = min(images, len(source.labels))
    seconds: dict[type[PartDecoder], list[float]] = {PartDecoder: [], Unhashed: []}
    for number in range(rounds + 1):
        for decoder, times in seconds.items():
            began = time.perf_counter()
            for _ in decoder(source, count).chunks(lambda done, of: None):
                pass
            if number:  # the first round fills the page cache
                times.append(time.perf_counter() - began)
    hashed, plain = (statistics.median(times) for times in seconds.values())
    print(f"{name}: {count:,} images, {hashed:.2f} s hashed, {plain:.2f} s not, ratio {hashed / plain:.3f}")


if __name__ == "__main__":
    main()
