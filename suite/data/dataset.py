"""A dataset in a data directory: its facts, its files, its decoded parts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from suite.core import registry, settings
from suite.core.errors import Refused
from suite.core.specs import Component
from suite.data import cache
from suite.data.cache import Decoded
from suite.data.source import Facts, Part, Progress, Source

PARTS: tuple[Part, ...] = ("train", "test")
STREAM_ABOVE = 64 * 2**30  # bytes of decoded images; more than this (ImageNet) is not worth a decoded copy


@dataclass(frozen=True)
class Dataset:
    """A dataset by name and settings, looked up below `root`. Cheap to make; what is read is read once.

    Raises:
        Refused: from every attribute and method, for an illegal setting.
    """

    component: Component
    root: Path

    @cached_property
    def facts(self) -> Facts:
        """What is known without reading images."""
        module, chosen = self._resolved
        facts: Facts = module.facts(self.root, **chosen)
        return facts

    @property
    def size(self) -> int:
        """Bytes of both parts' images, decoded."""
        return sum(map(self.examples, PARTS)) * math.prod(self.facts.shape)

    def examples(self, part: Part) -> int:
        """How many images planning reckons with."""
        return self.facts.train_examples if part == "train" else self.facts.test_examples

    def source(self, part: Part) -> Source:
        """The images of a part, not yet decoded. Raises Refused where files are missing or broken."""
        if part in self._sources:
            return self._sources[part]
        if self.facts.missing:
            raise Refused(f"{self.component.name}: {self.facts.missing}")
        module, chosen = self._resolved
        source: Source = module.source(self.root, part, **chosen)
        if source.shape != self.facts.shape:
            raise Refused(f"{self.component.label}: images are {source.shape}, not {self.facts.shape}")
        self._sources[part] = source
        return source

    def streamed(self, wanted: str = "auto") -> bool:
        """Whether trials decode images again and again: too many for a copy under `auto`, or because of `stream`.

        Images that come as one array never are.
        """
        asked = wanted == "stream" or (wanted == "auto" and self.size > STREAM_ABOVE)
        return asked and self.source("train").streams

    def decoded(
        self,
        part: Part,
        *,
        keep_images: bool = True,
        accept_changes: bool = False,
        rebuild: bool = False,
        progress: Progress | None = None,
    ) -> Decoded:
        """The part from this machine's cache, decoded first where it isn't there; arguments as of `decoded_part`.

        Raises:
            Refused: as `source` and `decoded_part`, or there are other numbers of images than the facts say.
        """
        found = cache.decoded_part(
            self.source(part),
            self.entry_name(part),
            self.facts.classes,
            keep_images=keep_images,
            accept_changes=accept_changes,
            rebuild=rebuild,
            progress=progress,
        )
        self.check_count(part, len(found.labels))
        return found

    def entry_name(self, part: Part) -> str:
        """How the names of the part's cache entries begin."""
        return f"{self.component.name}-{part}"

    def check_count(self, part: Part, found: int) -> None:
        """Refuses a part whose files hold another number of images than planning reckoned with."""
        if found != self.examples(part):
            raise Refused(
                f"{self.component.label}: the {part} part has {found:,} images, and {self.examples(part):,} were "
                "expected; restore the files, or put the whole data set in their place"
            )

    @cached_property
    def _sources(self) -> dict[Part, Source]:
        return {}

    @cached_property
    def _resolved(self) -> tuple[ModuleType, dict[str, Any]]:
        module = registry.load("dataset", self.component.name)
        return module, settings.resolve(module.SETTINGS, dict(self.component.settings), self.component.name)
