"""Datasets, one file each. A file defines

- `SETTINGS: dict[str, Setting]`: its settings;
- `facts(root, **settings) -> Facts`: what planning needs; reads no images;
- `source(root, part, **settings) -> Source`: the images of "train" or "test" in a fixed order, not yet decoded. Cheap;
  raises `Refused`, naming path and remedy, when files are missing or broken;
- `fetch(root)`, only where the files can be downloaded: puts them below `root` in the layout that `source` reads.

`root` is the data directory (`GRAFTBENCH_DATA` or `--data`, default `./data`); studies carry names, not paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Part = Literal["train", "test"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a dataset without reading its images.

    Attributes:
        shape: (channels, height, width) of every image, decoded.
        mean, std: per channel on the 0-1 scale, over the training part; None: computed when it is decoded.
        validation: examples held out of the training part when neither recipe nor study says otherwise.
        missing: why the files can't be used, with the path and the command that makes them; None when they are there.
    """

    title: str
    classes: int
    shape: tuple[int, int, int]
    train_examples: int
    test_examples: int
    validation: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    licence: str
    source: str  # where images, mean and std come from
    class_names: tuple[str, ...] = ()
    missing: str | None = None
