"""The datasets of this machine: which there are, looking at all of one, and decoding it ahead of its trials."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath

import yaml

from suite import registry
from suite.config import load_study
from suite.copies import bytes_in
from suite.datasets import Facts, Part
from suite.datasets._cache import Changed, entry_path
from suite.datasets._folders import EXTENSIONS
from suite.datasets._inspect import Inspection, are, inspect
from suite.datasets._pixels import Progress
from suite.library import PARTS, Dataset
from suite.plan import Axis, axes, refuse_repeats
from suite.settings import Refused, Setting, canonical
from suite.specs import Component, freeze


def targets(target: str, given: list[str], root: Path) -> list[Component]:
    """The datasets that a command is about: one by name or label with `given` settings, or a study file's.

    Args:
        target: `folder`, `folder(path=birds)` as `data list` prints it, or the path of a study file.
        given: `size=224`.

    Raises:
        Refused: an unknown name or an illegal setting.
    """
    if not target.endswith((".yaml", ".yml")):
        return [_canonical(_one(target, given, root))]
    if given:
        raise Refused("--set: a study file says the settings of its datasets; leave --set out")
    named = axes("dataset", load_study(Path(target)).datasets)
    same = [Axis(axis.where, _canonical(axis.component, axis.where)) for axis in named]
    return [axis.component for axis in refuse_repeats(same)]


def residency(target: str) -> str:
    """Where trials will want the images to live: as the study file says."""
    return load_study(Path(target)).resources.residency if target.endswith((".yaml", ".yml")) else "auto"


def _one(target: str, given: list[str], root: Path) -> Component:
    label = re.fullmatch(r"(\w+)\((.*)\)", target)
    name, inner = label.groups() if label else (target, "")
    if name not in registry.available("dataset") and (hint := _folder_hint(target, root)):
        raise Refused(f"dataset: unknown dataset {target!r}; {hint}")
    registry.check_name("dataset", name)
    declared = registry.load("dataset", name).SETTINGS
    settings = [_setting(text, target, declared) for text in re.split(r", (?=\w+=)", inner) if text]
    settings += [_setting(text, f"--set {text}", declared) for text in given]
    return Component(name, freeze(dict(settings)))


def _folder_hint(target: str, root: Path) -> str | None:
    path = PurePosixPath(target)
    if path.is_absolute() or ".." in path.parts or not path.parts or not (root / path).is_dir():
        return None
    name = "parquet" if _holds_parquet(root / path) else "folder"
    return f"{path} is a folder in {root}: `{name} --set {shlex.quote(f'path={path}')}`"


def _canonical(dataset: Component, where: str | None = None) -> Component:
    return canonical(registry.load("dataset", dataset.name).SETTINGS, dataset, where or dataset.name)


def _setting(text: str, where: str, declared: Mapping[str, Setting]) -> tuple[str, object]:
    name, equals, said = text.partition("=")
    if name in declared and isinstance(declared[name].default, str) and said[:1] not in {"'", '"'}:
        return name, said  # a folder may be named 2020, or no
    try:
        value = yaml.safe_load(said)
    except yaml.YAMLError as error:
        raise Refused(f"{where}: {said!r} isn't a YAML value; put it in quotes") from error
    if not name or not equals or not isinstance(value, bool | int | float | str):
        raise Refused(f"{where}: must be NAME=VALUE, for instance size=224")
    return name, value


# -- which there are


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A dataset as it was found; None: not known without its files.

    Attributes:
        state: `missing`: its files; `unusable`: files or settings are broken; `found`; `decoded`: both parts are.
        remedy: what is missing or broken, and what mends it.
        decoded: cache entries, at most one per part.
        size: their bytes.
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
    listed, dataset = Listed(dataset=component.label), Dataset(component, root)
    try:
        listed = _described(component.label, dataset.facts)
        if listed.state == "missing":
            return None, listed
        sources = {part: dataset.source(part) for part in PARTS}
        found = [entry_path(source, dataset.entry_name(part)) for part, source in sources.items()]
        file = next((file for source in sources.values() for file in source.files), None)
    except Refused as refusal:
        return None, replace(listed, state="unusable", remedy=str(refusal))
    except Exception as error:  # noqa: BLE001  (one broken dataset file must not hide all other datasets)
        return None, replace(listed, state="unusable", remedy=_broken(component.name, error))
    entries = [entry for entry in found if entry]
    return file, replace(
        listed,
        state="decoded" if all(found) else "found",
        decoded=tuple(map(str, entries)),
        size=sum(map(bytes_in, entries)),
    )


def _described(label: str, facts: Facts) -> Listed:
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


def _broken(name: str, error: Exception) -> str:
    file = Path(registry.__file__).parent / "datasets" / f"{name}.py"
    return f"{file} fails ({type(error).__name__}: {' '.join(str(error).split())}); mend it"


def _below(folder: Path) -> list[Path]:
    """Folders in a folder, without hidden ones: what is being fetched counts for nothing."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _parquet_folders(root: Path) -> list[str]:
    return [path.name for path in _below(root) if _holds_parquet(path)]


def _holds_parquet(folder: Path) -> bool:
    return any(any(folder.glob(layout)) for layout in ("*.parquet", "data/*.parquet"))


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
        name, classes = dataset.entry_name(part), dataset.facts.classes
        found = inspect(dataset.source(part), name, component.label, classes, progress)
        expected = dataset.examples(part)
        if found.images not in {None, expected}:
            counted = f"{are(found.images or 0, 'image')} there, and {expected:,} were expected"
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


def warm(
    component: Component,
    root: Path,
    *,
    progress: Progress,
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
        Refused: for one part or for both, a line each.
    """
    began, built, entries, count = time.perf_counter(), False, [], 0

    def heard(done: int, of: int) -> None:
        nonlocal built
        built = True
        progress(done, of)

    dataset, refused = Dataset(component, root), dict[str, None]()
    keep = not dataset.streamed(residency)
    for part in PARTS:
        try:
            count += _decoded(dataset, part, keep, rebuild, heard, accepted)
            entry = entry_path(dataset.source(part), dataset.entry_name(part))
            entries += [entry] if entry else []
        except Refused as refusal:
            refused[str(refusal)] = None
    if refused:
        raise Refused("\n".join(refused))
    seconds = time.perf_counter() - began if built else None
    return Warmed(count, sum(map(bytes_in, entries)), seconds, tuple(entries))


def _decoded(
    dataset: Dataset, part: Part, keep: bool, rebuild: bool, progress: Progress, accepted: Callable[[str], None]
) -> int:
    """How many images the part has, now that they are in the cache."""
    try:
        return len(dataset.decoded(part, keep_images=keep, rebuild=rebuild, progress=progress).labels)
    except Changed as change:
        found = dataset.decoded(part, keep_images=keep, accept_changes=True, progress=progress)
        accepted(str(change).partition(" since it was decoded")[0])
        return len(found.labels)
