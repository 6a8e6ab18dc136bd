"""Which folders of a directory are its training, validation and test part: told by their names and by what they hold,
so that a class may be called `train`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Literal

from suite.core.errors import UserError, did_you_mean
from suite.data.class_folders import (
    Listing,
    count_suffixes,
    count_things,
    find_suffix,
    has_photographs,
    list_folder,
    normalize_name,
    peek_into_folder,
)
from suite.data.layouts import holds_parquet

Role = Literal["train", "validation", "test"]
Look = Callable[[Path], Listing]

# Plain names of each part, in lower case, the first that is there before the others.
NAMES: dict[Role, tuple[str, ...]] = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "valid", "validation", "dev"),
}
THINGS = "(?:sets?|data|dataset|images?|imgs?|photos?|pictures?|split|part)?"  # `trainset`, `test_images`
WORDS: dict[Role, re.Pattern[str]] = {
    role: re.compile(f"{THINGS}(?:{'|'.join(names)}){THINGS}") for role, names in NAMES.items()
}
TITLES: dict[Role, str] = {"train": "training", "validation": "validation", "test": "test"}
LOOKED_AT = 50  # files of a folder that are looked at: a folder of a million photographs is told by its first ones
TABLES = frozenset({".csv", ".tsv", ".json", ".jsonl", ".xls", ".xlsx"})
DESCRIPTIONS = TABLES | {"", ".txt", ".xml", ".yaml", ".yml", ".md", ".mat", ".npy"}  # suffixes that no image has
COUNTED = 100_000  # files of a folder that isn't read are counted up to here
NESTED = 3  # folders in each other around a part's class folders: `seg_train/seg_train/`

look_closely: Look = partial(list_folder, "folder")


def look_over(directory: Path) -> Listing:
    """As `look_closely`, but nothing where that would refuse: for folders that are no part."""
    try:
        return look_closely(directory)
    except UserError:
        return Listing(directory)


peek: Look = partial(peek_into_folder, at_most=LOOKED_AT)


@dataclass(frozen=True)
class Parts:
    """Where the parts of a directory lie.

    Attributes:
        test: None: it is a share of the training part.
        validation: None: it is drawn from the training part.
        unread: names of the other folders in the directory.
    """

    train: Path
    test: Path | None = None
    validation: Path | None = None
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """The settings `path`, `train`, `validation` and `test`; a part is named where it is a text that isn't empty."""

    path: str
    train: str = ""
    validation: int | str = 0
    test: int | str = 30


def find_parts(directory: Path, wanted: Wanted) -> Parts | None:
    """The parts of a directory; None where it holds class folders itself.

    Raises:
        UserError: neither is there, or parts aren't what they must be; the sentence says what to do.
    """
    train = _find_named(directory, "train", wanted.train) or _choose_part(directory, "train")
    if train is None:
        _refuse_without_training(directory, wanted)
        return None
    _refuse_one_class(_enter_part(train))
    validation = _find_named(directory, "validation", wanted.validation)
    test = _find_named(directory, "test", wanted.test) or _choose_test_part(directory, wanted, train, validation)
    _refuse_overlaps({"train": train, "validation": validation, "test": test})
    read = {part.relative_to(directory).parts[0] for part in (train, validation, test) if part}
    unread = tuple(name for name in look_closely(directory).folders if name not in read)
    return Parts(_enter_part(train), test and _enter_part(test), validation and _enter_part(validation), unread)


def describe_unread(directory: Path, parts: Parts) -> list[str]:
    """Phrases on what lies in the directory beside its parts: `val/ with 120 files (name it as validation: val)`."""
    phrases = []
    for name in parts.unread:
        role = tell_role(name)
        hint = ""
        if role == "validation" and parts.validation is None and _holds_classes(directory / name, look_over):
            hint = f" (name it as validation: {name})"
        phrases.append(f"{name}/ with {_count_files(directory / name)}{hint}")
    beside = len(look_closely(directory).files)
    if beside:
        phrases.append(f"{count_things(beside, 'file')} beside the parts")
    return phrases


def holds_parts_or_classes(directory: Path) -> bool:
    """Whether a directory holds a training part with class folders, or two class folders; few files are looked at."""
    return bool(_find_role(directory, "train", peek)) or _count_classes(directory, peek) > 1


def find_trees(directory: Path, depth: int) -> Iterator[Path]:
    """Directories that hold parts or classes: this one, or some up to `depth` levels below it."""
    if holds_parts_or_classes(directory):
        yield directory
        return
    for name in peek(directory).folders if depth else ():
        yield from find_trees(directory / name, depth - 1)


def holds_photographs(directory: Path, depth: int) -> bool:
    """Whether images lie in a directory, or up to `depth` levels below it, be it as HEIC; few files are looked at."""
    listing = peek(directory)
    if has_photographs(listing):
        return True
    return depth > 0 and any(holds_photographs(directory / name, depth - 1) for name in listing.folders)


def tell_role(name: str) -> Role | None:
    """The part that a folder's name speaks of: `Training`, `seg_train`, `train_images`, `trainset`, `train2017`.

    What the folder holds decides whether it is one: a class may be `train_station`.
    """
    words = _split_words(name)
    roles = {role for role, pattern in WORDS.items() if any(map(pattern.fullmatch, words))}
    if roles == {"train", "validation"}:
        return "train"
    return roles.pop() if len(roles) == 1 else None


def _split_words(name: str) -> list[str]:
    """The words of a name, in lower case, without digits: `train` and `a` of `trainA`."""
    return [word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+", name)]


def _list_other_words(name: str) -> set[str]:
    """What a name says beside the part: `station` of `train_station`, nothing of `test_images` and `train2017`."""
    said = (*WORDS.values(), re.compile(THINGS))
    return {word for word in _split_words(name) if not any(pattern.fullmatch(word) for pattern in said)}


def _has_counterpart(name: str, names: Collection[str]) -> bool:
    """Whether the same name speaks of another part too: `seg_train` and `seg_test`, not `train_station` and
    `test_tube`.
    """
    words = _list_other_words(name)
    for other in names:
        other_words = _list_other_words(other)
        is_like = words <= other_words or other_words <= words
        if is_like and tell_role(other) not in {None, tell_role(name)}:
            return True
    return False


# -- parts by name


def _find_named(directory: Path, setting: str, wanted: int | str) -> Path | None:
    """The folder of a name, in any case; None where none is named."""
    if not wanted or isinstance(wanted, int):
        return None
    found = directory
    for name in PurePosixPath(wanted).parts:
        names = look_closely(found).folders
        alike = [other for other in names if _fold_name(other) == _fold_name(name)]
        if name not in alike and len(alike) != 1:
            hint = did_you_mean(name, names)
            raise UserError(f"folder.{setting}: {found} has no folder {name!r}{hint}")
        found = found / (name if name in alike else alike[0])
    return None if found == directory else found


def _fold_name(name: str) -> str:
    return normalize_name(name).casefold()


def _refuse_overlaps(parts: dict[Role, Path | None]) -> None:
    """Refuses a part that is another one, or lies in it, under whatever name."""
    seen: dict[str, str] = {}
    for setting, part in parts.items():
        if part is None:
            continue
        place = os.path.realpath(part)
        for other, title in seen.items():
            if os.path.commonpath([other, place]) in {other, place}:
                raise UserError(f"folder.{setting}: {part} holds images of the {title} part; name another folder")
        seen[place] = TITLES[setting]


# -- parts by what is there


def _choose_part(directory: Path, role: Role) -> Path | None:
    """The folder that is the part, or None. Raises UserError where several have an equal claim."""
    found = _find_role(directory, role, look_closely)
    if not found:
        return None
    if len(found) > 1 and _rank_name(found[0], role) == _rank_name(found[1], role):
        names = ", ".join(f"{name}/" for name in found)
        raise UserError(
            f"folder: {directory} has several folders for the {TITLES[role]} part ({names}); set {role} to one"
        )
    return directory / found[0]


def _find_role(directory: Path, role: Role, look: Look) -> list[str]:
    """Names of the folders with class folders that speak of a part, the plainest first."""
    names = look(directory).folders
    found = [name for name in names if tell_role(name) == role and _holds_classes(directory / name, look)]
    # Beside folders of images `train_station` may be one class more.
    if found and any(tell_role(name) is None and look(directory / name).images for name in names):
        found = [name for name in found if not _list_other_words(name) or _has_counterpart(name, names)]
    return sorted(found, key=lambda name: _rank_name(name, role))


def _rank_name(name: str, role: Role) -> int:
    plain = NAMES[role]
    return plain.index(name.lower()) if name.lower() in plain else len(plain)


def _holds_classes(directory: Path, look: Look) -> bool:
    """Whether a part's folder holds folders of images by class, and not images itself, but for stray ones."""
    listing = look(directory)
    if listing.images:
        return _are_stray(listing, look)
    if not listing.folders:
        return False
    if len(listing.folders) > 1:
        return True
    [name] = listing.folders
    is_part_again = tell_role(name) is not None or _fold_name(name) == _fold_name(directory.name)
    return not (is_part_again and look(directory / name).files)  # `train/train/0.jpg`


def _are_stray(listing: Listing, look: Look) -> bool:
    """Whether images lie beside class folders, fewer than in one of them on average."""
    counts = [len(look(listing.directory / name).images) for name in listing.folders]
    classes = [count for count in counts if count]
    return len(classes) > 1 and len(listing.images) * len(classes) < sum(classes)


def _enter_part(part: Path) -> Path:
    """The folder with the class folders: the part, or the only folder in it that holds folders too."""
    for _ in range(NESTED):
        listing = look_closely(part)
        if len(listing.folders) != 1 or listing.images:
            return part
        inner = look_closely(part / listing.folders[0])
        if inner.files or not inner.folders:
            return part
        part = inner.directory
    return part


def _choose_test_part(directory: Path, wanted: Wanted, train: Path, validation: Path | None) -> Path | None:
    """The test part, else the validation part; None where a share of a named training part is to be it."""
    unlabelled = _find_unlabelled(directory, train)
    test = _choose_part(directory, "test")
    if test and test.name in unlabelled:
        test = None
    if test is None and not unlabelled and validation is None:
        test = _choose_part(directory, "validation")
    if test or wanted.train:
        return test
    name = train.name
    share = f"`train: {name}` to test on a share of it (`test` percent)"
    if not unlabelled:
        raise UserError(
            f"folder: {directory} has {name}/ but no test part (test/ or val/ with class folders); add one, name one "
            f"as `test: NAME`, or set {share}"
        )
    found = _find_role(directory, "validation", look_over)
    other = f"`test: {found[0]}`, or " if found else ""
    withheld = look_closely(directory / unlabelled[0])
    why = "has no class folders, its labels are withheld" if withheld.files + withheld.folders else "is empty"
    raise UserError(f"folder: {withheld.directory} {why}; set {other}{share}")


def _find_unlabelled(directory: Path, train: Path) -> list[str]:
    """Folders that speak of a test part and hold no class folders, or a single one that is no training class."""
    classes = set(map(_fold_name, look_closely(_enter_part(train)).folders))
    found = []
    for name in look_closely(directory).folders:
        if tell_role(name) != "test":
            continue
        inside = list(map(_fold_name, look_closely(_enter_part(directory / name)).folders))
        is_alone = len(inside) == 1 and inside[0] not in classes  # `test/unknown/`, as some competitions have it
        if is_alone or not _holds_classes(directory / name, look_closely):
            found.append(name)
    return found


# -- no parts


def _refuse_without_training(directory: Path, wanted: Wanted) -> None:
    """Says what is wrong where there is no training part, unless class folders are there."""
    for setting, value in (("validation", wanted.validation), ("test", wanted.test)):
        if isinstance(value, str):
            raise UserError(
                f"folder.{setting}: {directory} has no training part beside it; name the folder of its class folders "
                "as `train: NAME`"
            )
    names = look_closely(directory).folders
    for role in ("test", "validation"):
        found = _find_role(directory, role, look_closely)
        if found:
            others = [name for name in names if name not in found and _holds_classes(directory / name, look_over)]
            hint = f"name the folder as `train: {others[0] if len(others) == 1 else 'NAME'}`"
            if not others and _count_classes(directory, look_over):
                hint = "put the class folders that lie beside it into one"
            raise UserError(f"folder: {directory} has {found[0]}/ but no train/; add it, or {hint}")
    _refuse_flat_parts(directory)
    _refuse_unclear_part(directory)
    if _count_classes(directory, look_over) < 2:
        _refuse_other_places(directory, wanted.path)
        _refuse_without_classes(directory, wanted.path)


_NEEDED = (
    "give each class a folder of its images there, or, where a table has the labels, write a dataset file "
    "(docs/datasets.md, Images of your own)"
)


def _refuse_flat_parts(directory: Path) -> None:
    """`Train/` and `Test/` with images in them are not two classes, and `test/` beside classes is none more.

    A name that only speaks of a part has no reason to be a class, but for `train`, beside cars and ships.
    """
    names = look_closely(directory).folders
    flat = [name for name in names if tell_role(name) and not _holds_classes(directory / name, look_over)]
    bare = [name for name in flat if not _list_other_words(name)]
    flat.sort(key=lambda name: tell_role(name) != "train")
    parts = [name for name in flat if _has_counterpart(name, flat)]
    others = [name for name in names if name not in parts + bare and look_over(directory / name).images]
    if parts or (bare and not others):
        first = (parts or bare)[0]
        rename = ""
        if others and first.lower() == "train":
            rename = f"; where it is a class, give it another name, for instance {first}_class"
        raise UserError(f"folder: {directory / first} is no class, but a part without class folders; {_NEEDED}{rename}")
    for name in bare:
        if name.lower() != "train":
            raise UserError(
                f"folder: {directory / name} lies beside class folders, but its name speaks of a "
                f"{TITLES[tell_role(name) or 'test']} part; move it out of {directory}, or, where it is a class, give "
                f"it another name, for instance {name}_class"
            )


def _refuse_unclear_part(directory: Path) -> None:
    """`seg_train/` with folders in it, beside folders of images."""
    for name in look_closely(directory).folders:
        role = tell_role(name)
        if role and _holds_classes(directory / name, look_over):
            raise UserError(
                f"folder: {directory / name} lies beside folders of images, but holds class folders itself; name it as "
                f"`{role}: {name}` where it is the {TITLES[role]} part, or move it out of {directory}"
            )


def _count_classes(directory: Path, look: Look) -> int:
    """How many folders in it hold images: none, one, or two and more."""
    filled = (name for name in look(directory).folders if look(directory / name).images)
    return len(list(islice(filled, 2)))


def _refuse_without_classes(directory: Path, path: str) -> None:
    """Refuses a directory without two class folders, unless a closer look at each says more."""
    listing = look_closely(directory)
    classes = _find_possible_classes(directory)
    if len(classes) > 1:
        return
    if listing.images:
        above = _describe_tree_above(directory, path)
        raise UserError(f"folder: {directory} holds images, but no class folders; {_NEEDED}{above}")
    _refuse_one_class(directory)
    if listing.folders and not classes:
        raise UserError(f"folder: {directory} has no folder with images in it; {_NEEDED}")
    inner = [directory / name / deeper for name in classes for deeper in look_over(directory / name).folders]
    filled = [folder for folder in inner if look_over(folder).images]
    if filled:
        raise UserError(f"folder: {directory} has no class folders, only images in {filled[0]}; {_NEEDED}")
    if listing.others and not classes:
        kinds = ", ".join(count_suffixes([listing]))
        raise UserError(f"folder: {directory} has no class folders, only {kinds}; {_NEEDED}")


def _describe_tree_above(directory: Path, path: str) -> str:
    """The remedy for a folder that is a class itself; empty where no other folder of images lies beside it."""
    if _count_classes(directory.parent, peek) < 2:
        return ""
    above = PurePosixPath(path).parent
    named = f"`path: {above}`"
    if not above.name:
        named = f"`path: {directory.parent.name}` with --data {directory.parent.parent}"
    return f"; or, where the folder is a class itself, set {named}"


def _refuse_one_class(directory: Path) -> None:
    """Refuses class folders of which one alone holds images; says that tables beside aren't read."""
    classes = _find_possible_classes(directory)
    if len(classes) != 1 or not has_photographs(look_over(directory / classes[0])):
        return
    remedy = _NEEDED
    listings = [look_closely(directory), look_over(directory / classes[0])]
    tables = [name for listing in listings for name in listing.others if find_suffix(name) in TABLES]
    if tables:
        remedy = f"labels in tables ({tables[0]}) aren't read: {_NEEDED}"
    raise UserError(f"folder: {directory} has one class alone; a classification needs two; {remedy}")


def _find_possible_classes(directory: Path) -> list[str]:
    """The first two folders that may be meant as classes: not those that hold descriptions alone."""
    possible = (name for name in look_closely(directory).folders if _may_be_class(look_over(directory / name)))
    return list(islice(possible, 2))


def _may_be_class(listing: Listing) -> bool:
    if not listing.folders:
        return not listing.others or bool({find_suffix(name) for name in listing.files} - DESCRIPTIONS)
    return has_photographs(listing) or _count_classes(listing.directory, look_over) > 0


def _refuse_other_places(directory: Path, path: str) -> None:
    """Names the directories further down that hold what isn't here."""
    if holds_parquet(directory):
        raise UserError(f"folder: {directory} holds Parquet files; name it as `{{name: parquet, path: {path}}}`")
    trees = [tree for tree in find_trees(directory, NESTED) if tree != directory]
    if not trees:
        return
    paths = [f"`path: {PurePosixPath(path) / tree.relative_to(directory)}`" for tree in trees[:3]]
    remedy = f"set {' or '.join(paths)}"
    if len(trees) > 1 and all(tree.parent == directory for tree in trees):
        remedy += ", or name the parts among them as `train: NAME` and `test: NAME`"
    raise UserError(
        f"folder: {directory} has no class folders and no train/ itself, but folders further down have; {remedy}"
    )


def _count_files(directory: Path) -> str:
    """`120 files`, with those in folders further down."""
    count, waiting = 0, [directory]
    while waiting and count < COUNTED:
        try:
            listing = look_closely(waiting.pop())
        except UserError:
            return "files that can't be read"
        count += len(listing.files)
        waiting += [listing.directory / name for name in listing.folders]
    return f"more than {COUNTED:,} files" if waiting else count_things(count, "file")
