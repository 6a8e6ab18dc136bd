"""The datasets of this machine: which there are, looking at all of one, and decoding it ahead of its trials."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import yaml

from suite import registry
from suite.config import load_study
from suite.datasets._cache import entry_path
from suite.datasets._folders import EXTENSIONS
from suite.datasets._inspect import Inspection, inspect
from suite.datasets._pixels import Progress
from suite.library import PARTS, Dataset
from suite.plan import Axis, axes, refuse_repeats
from suite.settings import Refused, canonical
from suite.specs import Component, freeze


def targets(target: str, given: list[str]) -> list[Component]:
    """The datasets that a command is about: one by name with `given` settings (`size=224`), or a study file's.

    Raises:
        Refused: an unknown name or an illegal setting.
    """
    if not target.endswith((".yaml", ".yml")):
        registry.check_name("dataset", target)
        return [_canonical(Component(target, freeze(dict(_setting(text) for text in given))), target)]
    if given:
        raise Refused("--set: a study file says the settings of its datasets; leave --set out")
    named = axes("dataset", load_study(Path(target)).datasets)
    same = [Axis(axis.where, _canonical(axis.component, axis.where)) for axis in named]
    return [axis.component for axis in refuse_repeats(same)]


def _canonical(dataset: Component, where: str) -> Component:
    return canonical(registry.load("dataset", dataset.name).SETTINGS, dataset, where)


def _setting(text: str) -> tuple[str, object]:
    name, equals, said = text.partition("=")
    try:
        value = yaml.safe_load(said)
    except yaml.YAMLError as error:
        raise Refused(f"--set {text}: {said!r} isn't a YAML value; put it in quotes") from error
    if not name or not equals or not isinstance(value, bool | int | float | str):
        raise Refused(f"--set {text}: must be NAME=VALUE, for instance --set size=224")
    return name, value


# -- which there are


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A dataset as it was found; None: not known without its files.

    Attributes:
        remedy: what is missing, and what makes it.
        decoded: cache entries, at most one per part.
        size: their bytes.
    """

    dataset: str
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

    @property
    def state(self) -> str:
        """`missing`, `found`, or `decoded` when both parts are."""
        return "missing" if self.remedy else "decoded" if len(self.decoded) == len(PARTS) else "found"


def listing(root: Path) -> list[Listed]:
    """Every registered dataset; those that take any folder, once for each folder below `root` that they can read."""
    named = [_listed(Component(name), root) for name in registry.available("dataset") if name not in _FOLDERS]
    taken = {path for path, _ in named if path}
    found = [listed for _, listed in named]
    for name, folders in _FOLDERS.items():
        # A dataset's own folders aren't offered as a folder of any images too.
        paths = [path for path in folders(root) if not any((root / path).absolute() in used.parents for used in taken)]
        chosen = [freeze({"path": path}) for path in paths] or [()]
        found += [_listed(Component(name, settings), root)[1] for settings in chosen]
    return sorted(found, key=lambda listed: listed.dataset)


def _listed(component: Component, root: Path) -> tuple[Path | None, Listed]:
    """The dataset, and one of its files where it has some."""
    dataset = Dataset(component, root)
    try:
        facts = dataset.facts
    except Refused as refusal:
        return None, Listed(dataset=component.label, remedy=str(refusal))
    sources, remedy = {}, facts.missing
    if not remedy:
        try:
            sources = {part: dataset.source(part) for part in PARTS}
        except Refused as refusal:
            remedy = str(refusal)
    found = (entry_path(source, dataset.entry_name(part)) for part, source in sources.items())
    entries = [entry for entry in found if entry]
    file = next((file for source in sources.values() for file in source.files), None)
    return file, Listed(
        dataset=component.label,
        title=facts.title,
        classes=facts.classes,
        shape=facts.shape,
        train_examples=facts.train_examples,
        validation=facts.validation,
        test_examples=facts.test_examples,
        licence=facts.licence,
        remedy=remedy,
        decoded=tuple(map(str, entries)),
        size=sum(map(_size, entries)),
    )


def _size(entry: Path) -> int:
    return sum(file.stat().st_size for file in entry.iterdir())


def _below(folder: Path) -> list[Path]:
    """Folders in a folder, without hidden ones: what is being fetched counts for nothing."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _parquet_folders(root: Path) -> list[str]:
    layouts = ("*.parquet", "data/*.parquet")
    return [path.name for path in _below(root) if any(any(path.glob(layout)) for layout in layouts)]


LOOKED_AT = 50  # entries of a folder that are looked at: a folder of a million photographs is told by its first ones


def _image_folders(root: Path) -> list[str]:
    """Trees of class folders in `root`, or one level deeper."""
    found = []
    for top in _below(root):
        trees = [path for path in (top, *_below(top)) if _holds_classes(path) or _holds_classes(path / "train")]
        found += [str(path.relative_to(root)) for path in (trees[:1] if top in trees else trees)]
    return found


def _holds_classes(folder: Path) -> bool:
    """Whether at least two folders in it hold images."""
    if not folder.is_dir():
        return False
    classes = (path for path in islice(folder.iterdir(), LOOKED_AT) if path.is_dir())
    return len(list(islice((path for path in classes if _holds_images(path)), 2))) == 2


def _holds_images(folder: Path) -> bool:
    return any(path.suffix.lower() in EXTENSIONS for path in islice(folder.iterdir(), LOOKED_AT))


# Datasets that read whatever lies in the folder `path`, and how such folders are told.
_FOLDERS: dict[str, Callable[[Path], list[str]]] = {"folder": _image_folders, "parquet": _parquet_folders}


# -- looking at all of one


def verify(component: Component, root: Path, progress: Progress) -> Iterator[tuple[str, Inspection]]:
    """Per part: its name, and what is wrong with counts, labels, images, and the cache entry.

    Raises:
        Refused: the dataset is missing.
    """
    dataset = Dataset(component, root)
    for part in PARTS:
        found = inspect(dataset.source(part), dataset.entry_name(part), dataset.facts.classes, progress)
        expected = dataset.examples(part)
        if found.images not in {None, expected}:
            counted = f"{found.images:,} images are there, and {expected:,} were expected"
            found = Inspection(found.images, found.entry, (counted, *found.problems))
        yield part, found


# -- decoding it


@dataclass(frozen=True)
class Warmed:
    """
    Attributes:
        seconds: None: it was decoded already.
        size: bytes in the cache.
    """

    images: int
    size: int
    seconds: float | None
    entries: tuple[Path, ...]


def warm(component: Component, root: Path, *, rebuild: bool, images: bool | None, progress: Progress) -> Warmed:
    """Both parts in the cache, decoded where they aren't or their files have changed.

    Args:
        rebuild: decode again whatever is there.
        images: keep the decoded images, or only what is said of them; None: unless trials would stream them.
    """
    began, built, entries, count = time.perf_counter(), False, [], 0

    def heard(done: int, of: int) -> None:
        nonlocal built
        built = True
        progress(done, of)

    dataset = Dataset(component, root)
    keep = not dataset.streamed() if images is None else images
    for part in PARTS:
        source, name = dataset.source(part), dataset.entry_name(part)
        old = entry_path(source, name) if rebuild else None
        if old:  # trials that map it keep what they mapped
            shutil.rmtree(old)
        found = dataset.decoded(part, keep_images=keep, accept_changes=True, progress=heard)
        count += len(found.labels)
        entry = entry_path(source, name)
        entries += [entry] if entry else []
    seconds = time.perf_counter() - began if built else None
    return Warmed(count, sum(map(_size, entries)), seconds, tuple(entries))
