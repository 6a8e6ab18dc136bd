"""MNIST in torchvision's layout: `MNIST/raw/*-ubyte`, plain or `.gz`; only ever read."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from suite.datasets import Facts, Part
from suite.settings import Refused, Setting

SETTINGS = {
    "validation": Setting(0, "training images held out; 0: 10,000 (papers/image-gradients.md's split: 5000)", low=0),
}

FOLDER = Path("MNIST") / "raw"
PREFIX: dict[Part, str] = {"train": "train", "test": "t10k"}
EXAMPLES: dict[Part, int] = {"train": 60_000, "test": 10_000}
VALIDATION = 10_000
CLASSES = 10
SIDE = 28
IMAGES_MAGIC, LABELS_MAGIC = 0x00000803, 0x00000801  # unsigned bytes in 3 dimensions, in 1 dimension


def facts(root: Path, *, validation: int = 0) -> Facts:
    """Known without the files; `missing` says whether they are there."""
    return Facts(
        title="MNIST",
        classes=CLASSES,
        shape=(1, SIDE, SIDE),
        train_examples=EXAMPLES["train"],
        test_examples=EXAMPLES["test"],
        validation=validation or VALIDATION,
        mean=(0.1307,),
        std=(0.3081,),
        licence="CC BY-SA 3.0 (Yann LeCun, Corinna Cortes)",
        source="LeCun et al. 1998, in torchvision's layout; mean and std over the 60,000 training images",
        class_names=tuple(str(digit) for digit in range(CLASSES)),
        missing=_missing(Path(root)),
    )


def load(root: Path, part: Part, *, validation: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, 1, 28, 28) and labels, in the files' order.

    Raises:
        Refused: a file is missing, broken, or not MNIST's.
    """
    absent = _missing(Path(root))
    if absent:
        raise Refused(f"mnist: {absent}")
    images_path, labels_path = (_find(Path(root), part, kind) for kind in ("images-idx3", "labels-idx1"))
    assert images_path is not None and labels_path is not None
    images, labels = _read_idx(images_path, IMAGES_MAGIC), _read_idx(labels_path, LABELS_MAGIC)
    if images.shape != (EXAMPLES[part], SIDE, SIDE):
        raise _broken(images_path, f"holds {_by(images.shape)}, not {_by((EXAMPLES[part], SIDE, SIDE))}")
    if labels.shape != (EXAMPLES[part],):
        raise _broken(labels_path, f"holds {len(labels)} labels, not {EXAMPLES[part]}")
    if labels.max() >= CLASSES:
        raise _broken(labels_path, f"has label {labels.max()} in row {labels.argmax()}, not one of 0..{CLASSES - 1}")
    return images[:, None], labels.astype(np.int64)


def _find(root: Path, part: Part, kind: str) -> Path | None:
    stem = root / FOLDER / f"{PREFIX[part]}-{kind}-ubyte"
    candidates = (stem, stem.with_name(stem.name + ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _missing(root: Path) -> str | None:
    for part in PREFIX:
        for kind in ("images-idx3", "labels-idx1"):
            if _find(root, part, kind) is None:
                name = f"{PREFIX[part]}-{kind}-ubyte"
                return f"{root / FOLDER / name} (or .gz) is missing; fetch it with `{_remedy(root)}`"
    return None


def _remedy(root: Path) -> str:
    return f"python -c \"import torchvision; torchvision.datasets.MNIST('{root}', download=True)\""


def _broken(path: Path, what: str) -> Refused:
    return Refused(f"mnist: {path} {what}; delete it and fetch it again with `{_remedy(path.parents[2])}`")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _read_idx(path: Path, magic: int) -> NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes: magic number, sizes (big-endian 32 bits each), then the values."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            data: bytes = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise _broken(path, f"can't be read ({error})") from error
    dimensions = magic & 0xFF
    header = 4 * (1 + dimensions)
    if len(data) < header or int.from_bytes(data[:4], "big") != magic:
        raise _broken(path, f"doesn't start with the IDX magic number {magic:#010x}")
    shape = tuple(int.from_bytes(data[4 * i : 4 * i + 4], "big") for i in range(1, 1 + dimensions))
    if len(data) - header != math.prod(shape):
        raise _broken(path, f"holds {len(data) - header} bytes for {_by(shape)} values")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()
