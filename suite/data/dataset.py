"""A dataset in a data directory: its facts, its files, its decoded parts."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from suite.core import registry, settings
from suite.core.errors import UserError
from suite.core.recipes import Recipe
from suite.core.specs import Component
from suite.data import cache, splits
from suite.data.cache import Decoded
from suite.data.class_folders import Scans, share_scans
from suite.data.source import DatasetInfo, Hashes, ImageSource, Labels, Part, ProgressCallback
from suite.data.splits import Indices

PARTS: tuple[Part, ...] = ("train", "test")
STREAM_ABOVE = 64 * 2**30  # bytes of decoded images; more than this (ImageNet) is not worth a decoded copy


@dataclass(frozen=True)
class Dataset:
    """A dataset by name and settings, looked up below `root`. Cheap to make; what is read is read once.

    Raises:
        UserError: from every attribute and method, for an illegal setting.
    """

    component: Component
    root: Path

    @cached_property
    def info(self) -> DatasetInfo:
        """What is known without reading images."""
        module, chosen = self._resolve_component
        with self._read_files():
            facts: DatasetInfo = module.facts(self.root, **chosen)
        return facts

    @property
    def missing(self) -> str | None:
        """As of `info`; says so too where the whole data directory is missing."""
        return self.info.missing and self._explain_missing(self.info.missing)

    @property
    def size(self) -> int:
        """Bytes of both parts' images, decoded."""
        return sum(map(self.count_examples, PARTS)) * math.prod(self.info.shape)

    def count_examples(self, part: Part) -> int:
        """How many images planning reckons with."""
        return self.info.train_examples if part == "train" else self.info.test_examples

    def open_source(self, part: Part) -> ImageSource:
        """The images of a part, not yet decoded. Raises UserError where files are missing or broken."""
        if part in self._open_sources:
            return self._open_sources[part]
        module, chosen = self._resolve_component
        with self._read_files():
            if self.missing:
                raise UserError(f"{self.component.name}: {self.missing}")
            source: ImageSource = module.source(self.root, part, **chosen)
        if source.shape != self.info.shape:
            raise UserError(f"{self.component.label}: images are {source.shape}, not {self.info.shape}")
        self._open_sources[part] = source
        return source

    def is_streamed(self, wanted: str = "auto") -> bool:
        """Whether trials decode images again and again: too many for a copy under `auto`, or because of `stream`.

        Images that come as one array never are.
        """
        asked = wanted == "stream" or (wanted == "auto" and self.size > STREAM_ABOVE)
        return asked and self.open_source("train").streams

    def load_part(
        self,
        part: Part,
        *,
        keep_images: bool = True,
        accept_changes: bool = False,
        rebuild: bool = False,
        progress: ProgressCallback | None = None,
    ) -> Decoded:
        """The part from this machine's cache, decoded first where it isn't there; arguments as of `load_decoded_part`.
        Read once, as every other thing: files are looked at again by the next `Dataset`.

        Raises:
            UserError: as `source` and `load_decoded_part`, or there are other numbers of images than the facts say.
        """
        found = None if rebuild or accept_changes else self._decoded.get(part)
        if found is None or (keep_images and found.images is None):
            found = cache.load_decoded_part(
                self.open_source(part),
                self.entry_name(part),
                self.info.classes,
                keep_images=keep_images,
                accept_changes=accept_changes,
                rebuild=rebuild,
                progress=progress,
            )
        self.check_count(part, len(found.labels))  # of a copy that was only looked at too
        self._decoded[part] = found
        return found

    def list_missing_copies(self) -> list[Part]:
        """The parts without a decoded copy."""
        return [part for part in PARTS if not self.is_decoded(part)]

    def remove_shared_copies(self, parts: Iterable[Part]) -> None:
        """Removes the parts' copies, of those that watch more files than their own.

        For copies just made, where the other part was refused: what is repaired or removed now is watched by them too,
        and nothing has been trained on them yet.
        """
        for part in parts:
            source = self.open_source(part)
            if self.is_decoded(part) and len(source.watched) > len(source.files):
                self._decoded.pop(part, None)
                cache.entry_of(source, self.entry_name(part), self.info.classes).remove_entry()

    def is_decoded(self, part: Part) -> bool:
        """Whether there is a finished copy of the part, of these files or of earlier ones."""
        return cache.entry_path(self.open_source(part), self.entry_name(part)) is not None

    def read_labels(self, part: Part) -> Labels | None:
        """The part's labels, where no image has to be decoded for them; None: they come with the decoded images.

        Raises:
            UserError: files or labels are broken.
        """
        source = self.open_source(part)
        if source.streams:
            return cache.check_labels(source, source.labels, self.info.classes)
        found = self._read_entry(part)
        return found.labels if found else None

    def read_hashes(self, part: Part) -> Hashes | None:
        """As of `Decoded`, of a part that is decoded already; None: it isn't."""
        found = self._read_entry(part)
        return found.hashes if found else None

    def count_warnings(self) -> Counter[str]:
        """How many images of parts that are decoded Pillow warned of, by what it said."""
        warned: Counter[str] = Counter()
        for part in PARTS:
            found = self._read_entry(part)
            warned.update(found.warned if found else {})
        return warned

    def _read_entry(self, part: Part) -> Decoded | None:
        if part not in self._decoded:
            found = cache.read_entry(self.open_source(part), self.entry_name(part), self.info.classes)
            if found is None:
                return None
            self._decoded[part] = found
        return self._decoded[part]

    def split_training_part(self, labels: Labels, recipe: Recipe, seed: int) -> tuple[Indices, Indices]:
        """Sorted rows of the training part to train and to validate on.

        A validation part of the files' own goes before what the recipe or the dataset holds out.

        Raises:
            UserError: so many images can't be held out.
        """
        held = self.open_source("train").validation_rows
        if held is None:
            try:
                train, held = splits.split(labels, recipe.validation or self.info.validation, seed)
            except UserError as refusal:
                raise UserError(f"{self.component.label}: {refusal}") from refusal
        else:
            train = np.setdiff1d(np.arange(len(labels)), held)
        return splits.limit_rows(train, labels, recipe.train_limit), held

    def entry_name(self, part: Part) -> str:
        """How the names of the part's cache entries begin."""
        return f"{self.component.name}-{part}"

    def check_count(self, part: Part, found: int) -> None:
        """Refuses a part whose files hold another number of images than planning reckoned with."""
        if found != self.count_examples(part):
            raise UserError(
                f"{self.component.label}: the {part} part has {found:,} images, and {self.count_examples(part):,} were "
                "expected; restore the files, or put the whole data set in their place"
            )

    @contextlib.contextmanager
    def _read_files(self) -> Iterator[None]:
        """Scans of this block are shared, and what the disk says is made a refusal."""
        name = self.component.name
        try:
            with share_scans(self._scans):
                yield
        except OSError as error:
            if not error.filename:  # not the disk's
                raise
            why = f"{error.filename} can't be read ({error.strerror})"
            raise UserError(f"{name}: {why}; let it and the folders above it be read") from error
        except UserError as refusal:
            sentence = str(refusal).removeprefix(f"{name}: ")
            if sentence != self._explain_missing(sentence):
                raise UserError(f"{name}: {self._explain_missing(sentence)}") from refusal
            raise

    def _explain_missing(self, sentence: str) -> str:
        """A sentence that a file is missing, with the reason where nothing can be there."""
        root = Path(self.root).absolute()
        if root.exists() or not sentence.startswith(str(root)):
            return sentence
        return f"the data directory {root} doesn't exist (--data or GRAFTBENCH_DATA names it), so {sentence}"

    @cached_property
    def _scans(self) -> Scans:
        return {}

    @cached_property
    def _decoded(self) -> dict[Part, Decoded]:
        return {}

    @cached_property
    def _open_sources(self) -> dict[Part, ImageSource]:
        return {}

    @cached_property
    def _resolve_component(self) -> tuple[ModuleType, dict[str, Any]]:
        module = registry.load_component("dataset", self.component.name)
        return module, settings.resolve_settings(module.SETTINGS, dict(self.component.settings), self.component.name)
