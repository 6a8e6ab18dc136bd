"""Decoding a part from its first image to its last, and what is said of it."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from suite.datasets._images import Unreadable
from suite.datasets._source import Images, Labels, Source

ROWS = 256  # images decoded at a time
Progress = Callable[[int, int], None]  # images done, of how many


class Pixels:
    """Decodes a part in order, summing up what is said of it on the way."""

    def __init__(self, source: Source, count: int) -> None:
        self.source, self._count = source, count
        self._histograms = np.zeros((source.shape[0], 256), np.int64)
        self._sum = hashlib.sha256()
        self.unreadable: dict[int, str] = {}

    def chunks(self, progress: Progress) -> Iterator[Images]:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for start in range(0, self._count, ROWS):
                rows = range(start, min(start + ROWS, self._count))
                chunk = np.zeros((len(rows), *self.source.shape), np.uint8)
                list(pool.map(self._decode, rows, chunk))
                self._sum.update(chunk.data)
                for image in chunk:
                    for channel, histogram in zip(image, self._histograms, strict=True):
                        histogram += np.bincount(channel.reshape(-1), minlength=256)
                yield chunk
                progress(rows.stop, self._count)

    def _decode(self, row: int, into: Images) -> None:
        try:
            into[:] = self.source.decode(row)
        except (Unreadable, OSError) as error:  # the others too are looked at, so that all can be repaired at once
            self.unreadable[row] = str(error)

    def moments(self) -> dict[str, list[float]]:
        """Per channel, exact. A constant channel gets the standard deviation 1, so that it becomes 0 and not NaN."""
        values, mean, std = np.arange(256), [], []
        for counts in self._histograms:  # in whole numbers: rounding would give a constant channel a tiny deviation
            n, total, squares = (int((counts * values**power).sum()) for power in (0, 1, 2))
            mean.append(total / (255 * n))
            std.append(math.sqrt(n * squares - total**2) / (255 * n) or 1.0)
        return {"mean": mean, "std": std}

    def digest(self, labels: Labels) -> str:
        """16 hexadecimal digits that name the images, all of them decoded, and their labels."""
        whole = self._sum.copy()
        whole.update(np.ascontiguousarray(labels).data)
        return whole.hexdigest()[:16]

    def list_unreadable(self, path: Path) -> str:
        """Writes the list of them, and says where it is."""
        lines = "".join(f"{self.source.name(row)}\t{why}\n" for row, why in sorted(self.unreadable.items()))
        path.write_text(lines, encoding="utf-8", errors="surrogateescape")
        count = "1 image is" if len(self.unreadable) == 1 else f"{len(self.unreadable):,} images are"
        return f"{count} unusable, listed in {path}: repair or remove them"
