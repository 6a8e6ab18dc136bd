"""The datasets of this machine: which there are, looking at all of one, decoding it ahead; decoded copies."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from suite.core import registry
from suite.core.errors import UserError
from suite.core.specs import Component, freeze_settings
from suite.data.cache import Changed, cache_directory, entry_path
from suite.data.class_folders import peek_into_folder, share_scans
from suite.data.composition import Composition, compose_dataset, compose_parts, name_duplicates
from suite.data.dataset import PARTS, Dataset
from suite.data.image_parts import find_trees, holds_photographs
from suite.data.layouts import holds_parquet
from suite.data.source import DatasetInfo, Part, ProgressCallback
from suite.data.verify import SHOWN, Inspection, are, inspect

# -- which there are


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A dataset as it was found; None: not known without its files.

    Attributes:
        state: `missing`: its files; `unusable`: files or settings are broken; `found`; `decoded`: both parts are.
        remedy: what is missing or broken, and what mends it.
        decoded: cache entries, at most one per part.
        size: their bytes.
        composition: what its parts hold, by the default recipe; None where that takes decoding.
    """

    dataset: str
    state: str = "unusable"
    title: str | None = None
    classes: int | None = None
    shape: tuple[int, int, int] | None = None
    train_examples: int | None = None
    validation: int | None = None
    test_examples: int | None = None
    licence: str | None = None
    remedy: str | None = None
    decoded: tuple[str, ...] = ()
    size: int = 0
    composition: Composition | None = None


def list_datasets(root: Path) -> list[Listed]:
    """Every registered dataset; those that take any folder, once for each folder below `root` that they can read."""
    named = [
        _list_dataset(Component(name), root) for name in registry.list_components("dataset") if name not in _FOLDERS
    ]
    taken = {path for path, _ in named if path}
    found = [listed for _, listed in named]
    for name, folders in _FOLDERS.items():
        # A dataset's own folders aren't offered as a folder of any images too.
        paths = [path for path in folders(root) if not any((root / path).absolute() in used.parents for used in taken)]
        chosen = [freeze_settings({"path": path}) for path in paths] or [()]
        found += [_list_dataset(Component(name, settings), root)[1] for settings in chosen]
    return sorted(found, key=lambda listed: listed.dataset)


def _list_dataset(component: Component, root: Path) -> tuple[Path | None, Listed]:
    """The dataset, and one of its files where it has some."""
    listed, dataset = Listed(dataset=component.label), Dataset(component, root)
    try:
        listed = _describe_dataset(component.label, dataset.info)
        if listed.state == "missing":
            return None, listed
        sources = {part: dataset.open_source(part) for part in PARTS}
        found = [entry_path(source, dataset.entry_name(part)) for part, source in sources.items()]
        file = next((file for source in sources.values() for file in source.files), None)
        composition = None
        try:
            composition = compose_dataset(dataset)
        except UserError as refusal:  # a study may hold out another number of images
            listed = replace(listed, remedy=str(refusal))
    except UserError as refusal:
        nothing_named = component.name in _FOLDERS and not component.settings
        return None, replace(listed, state="missing" if nothing_named else "unusable", remedy=str(refusal))
    except Exception as error:  # noqa: BLE001  (one broken dataset file must not hide all other datasets)
        return None, replace(listed, state="unusable", remedy=_describe_fault(component.name, error))
    entries = [entry for entry in found if entry]
    return file, replace(
        listed,
        state="decoded" if all(found) else "found",
        composition=composition,
        decoded=tuple(map(str, entries)),
        size=sum(map(bytes_in, entries)),
    )


def _describe_dataset(label: str, facts: DatasetInfo) -> Listed:
    for name in ("classes", "train_examples", "validation", "test_examples"):
        if not isinstance(getattr(facts, name), int):
            raise TypeError(f"facts: {name} must be a whole number, not {getattr(facts, name)!r}")
    return Listed(
        dataset=label,
        state="missing" if facts.missing else "found",
        title=facts.title,
        classes=facts.classes,
        shape=facts.shape,
        train_examples=facts.train_examples,
        validation=facts.validation,
        test_examples=facts.test_examples,
        licence=facts.licence,
        remedy=facts.missing,
    )


def _describe_fault(name: str, error: Exception) -> str:
    file = Path(registry.__file__).parents[1] / "datasets" / f"{name}.py"
    return f"{file} fails ({type(error).__name__}: {' '.join(str(error).split())}); mend it"


DEPTH = 2  # folders below one of the data directory that are searched for class folders: `my/archive/dataset/`


def _image_folders(root: Path) -> list[str]:
    """Trees of class folders in `root`, or some levels deeper; and the folders in it whose images are in no such tree,
    so that it is said why they can't be used.
    """
    found = []
    with share_scans({}):
        for top in peek_into_folder(root).folders:  # without hidden ones: what is being fetched counts for nothing
            trees = list(find_trees(root / top, DEPTH))
            if not trees and holds_photographs(root / top, DEPTH) and not holds_parquet(root / top):
                trees = [root / top]
            found += [tree.relative_to(root).as_posix() for tree in trees]
    return found


def _parquet_folders(root: Path) -> list[str]:
    return [name for name in peek_into_folder(root).folders if holds_parquet(root / name)]


# Datasets that read whatever lies in the folder `path`, and how such folders are told.
_FOLDERS: dict[str, Callable[[Path], list[str]]] = {"folder": _image_folders, "parquet": _parquet_folders}


# -- looking at all of one


@dataclass(frozen=True)
class Verification:
    """
    Attributes:
        parts: what is wrong with counts, labels, images, and the cache entry of each.
        composition: None: a part can't be decoded.
        copies: sentences that name images which stand in both parts or under two labels; the first of them.
    """

    parts: Mapping[Part, Inspection]
    composition: Composition | None = None
    copies: tuple[str, ...] = ()


def verify_dataset(component: Component, root: Path, progress: ProgressCallback) -> Verification:
    """Decodes both parts.

    Raises:
        UserError: the dataset is missing.
    """
    dataset = Dataset(component, root)
    parts = {part: _inspect_part(dataset, part, progress) for part in PARTS}
    train, test = parts["train"], parts["test"]
    if any(inspection.problems for inspection in parts.values()) or train.labels is None or test.labels is None:
        return Verification(parts)
    composition = compose_parts(dataset, (train.labels, train.hashes), (test.labels, test.hashes))
    assert composition.duplicates is not None
    return Verification(parts, composition, tuple(name_duplicates(dataset, composition.duplicates, SHOWN)))


def _inspect_part(dataset: Dataset, part: Part, progress: ProgressCallback) -> Inspection:
    name, classes = dataset.entry_name(part), dataset.info.classes
    found = inspect(dataset.open_source(part), name, dataset.component.label, classes, progress)
    expected = dataset.count_examples(part)
    if found.images in {None, expected}:
        return found
    counted = f"{are(found.images or 0, 'image')} there, and {expected:,} were expected"
    return replace(found, problems=(counted, *found.problems))


# -- decoding it


@dataclass(frozen=True)
class Warmed:
    """
    Attributes:
        seconds: None: it was decoded already.
        size: bytes in the cache.
        composition: what its parts hold, by the default recipe.
    """

    images: int
    size: int
    seconds: float | None
    entries: tuple[Path, ...]
    composition: Composition | None


def warm_dataset(
    component: Component,
    root: Path,
    *,
    progress: ProgressCallback,
    accepted: Callable[[str], None],
    rebuild: bool = False,
    residency: str = "auto",
) -> Warmed:
    """Both parts in the cache, decoded where they aren't or their files have changed.

    Args:
        accepted: is told which file has changed since it was decoded.
        rebuild: decode again whatever is there.
        residency: of a study; images that its trials would stream aren't kept.

    Raises:
        UserError: for one part or for both, a line each.
    """
    began, built, entries, count = time.perf_counter(), False, [], 0

    def heard(done: int, of: int) -> None:
        nonlocal built
        built = True
        progress(done, of)

    dataset, refused = Dataset(component, root), dict[str, None]()
    keep = not dataset.is_streamed(residency)
    missing = dataset.list_missing_copies()
    for part in PARTS:
        try:
            count += _decode_part(dataset, part, keep, rebuild, heard, accepted)
            entry = entry_path(dataset.open_source(part), dataset.entry_name(part))
            entries += [entry] if entry else []
        except UserError as refusal:
            refused[str(refusal)] = None
    if refused:
        dataset.remove_shared_copies(missing)
        raise UserError("\n".join(refused))
    seconds = time.perf_counter() - began if built else None
    composition = None
    with contextlib.suppress(UserError):  # a study may hold out another number of images
        composition = compose_dataset(dataset)
    return Warmed(count, sum(map(bytes_in, entries)), seconds, tuple(entries), composition)


def _decode_part(
    dataset: Dataset, part: Part, keep: bool, rebuild: bool, progress: ProgressCallback, accepted: Callable[[str], None]
) -> int:
    """How many images the part has, now that they are in the cache."""
    try:
        return len(dataset.load_part(part, keep_images=keep, rebuild=rebuild, progress=progress).labels)
    except Changed as change:
        found = dataset.load_part(part, keep_images=keep, accept_changes=True, progress=progress)
        accepted(str(change).partition(" since it was decoded")[0])
        return len(found.labels)


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A decoded part.

    Attributes:
        origin: which images they are, as their source says it; None: that can't be read.
        shape: of every image; None: not known.
        size: bytes.
    """

    origin: str | None
    shape: tuple[int, ...] | None
    size: int
    folder: str


def list_copies() -> list[Copy]:
    """All that lie in the cache directory; not what is being made just now."""
    found = (manifest.parent for manifest in sorted(cache_directory().glob("*/manifest.json")))
    return [_describe_copy(folder) for folder in found if folder.suffix not in {".building", ".old"}]


def _describe_copy(folder: Path) -> Copy:
    said = _read_manifest(folder)
    origin, shape = said.get("origin"), said.get("shape")
    return Copy(
        origin=origin if isinstance(origin, str) else None,
        shape=tuple(shape) if isinstance(shape, list) else None,
        size=bytes_in(folder),
        folder=str(folder),
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):  # torn, or just being replaced
        said = json.loads((folder / "manifest.json").read_bytes())
        return said if isinstance(said, dict) else {}
    return {}


def bytes_in(folder: Path) -> int:
    with contextlib.suppress(FileNotFoundError):  # just being replaced
        return sum(file.stat().st_size for file in folder.iterdir())
    return 0


def cache_trouble() -> str | None:
    """Why no decoded copy can be written, as a sentence; None: it can, as far as is known without writing."""
    directory = cache_directory()
    there = next(path for path in (directory, *directory.parents) if os.access(path, os.F_OK))
    remedy = "set GRAFTBENCH_CACHE to a directory on a writable disk"
    if not there.is_dir():
        return f"{there} is a file, not a directory; remove it, or {remedy}"
    return None if os.access(there, os.W_OK | os.X_OK) else f"{there} can't be written; {remedy}"
