"""Timings of networks that earlier probes made on this machine or one that shares its cache. No torch.

<cache>/probes/<network>.json   by device, a `KeptTiming`
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite import __version__
from suite.core import provenance
from suite.core.files import write_json
from suite.core.recipes import Recipe
from suite.data.cache import cache_directory
from suite.data.source import DatasetInfo
from suite.price.costs import NetworkTiming, count_images, resolve_cell_recipe
from suite.price.price import Device
from suite.study.plan import Plan, PlannedCell

_KEPT = 5000  # files; the oldest go
_COSTLY = ("optimizer", "momentum", "augment", "random_resized_crop", "pad", "flip", "cutout", "mixup")


@dataclass(frozen=True)
class KeptTiming:
    """
    Attributes:
        timing: of the network alone.
        made: seconds since 1970.
        slots: how many trials a run has at once where it was made.
        crowding: how many times as long each then takes.
    """

    device: Device
    timing: NetworkTiming
    made: float
    slots: int = 1
    crowding: float = 1.0


def count_threads(plan: Plan) -> int:
    """CPU threads of a trial."""
    return max(1, int(plan.study.resources.cpus))


def count_batch(recipe: Recipe, info: DatasetInfo) -> int:
    """Images of a training step."""
    return min(recipe.batch, count_images(info, recipe).train)


def identify_network(plan: Plan, planned: PlannedCell, info: DatasetInfo) -> str:
    """Names all that decides how long a step takes on a device.

    Cells of one variant that count the same are one network: a weight of the loss costs nothing.
    """
    recipe = resolve_cell_recipe(plan, planned)
    counts = (planned.parameters, planned.macs, planned.inference_macs, planned.decoders)
    network = (planned.cell.backbone.label, planned.cell.variant.name, planned.revision, counts)
    protocol = [getattr(recipe, name) for name in _COSTLY]
    execution = (plan.study.precision, plan.study.memory_format, count_threads(plan))
    images = (info.shape, info.classes, count_batch(recipe, info))
    code = (__version__, provenance.list_versions())
    text = json.dumps((network, protocol, execution, images, code), default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def keep_timing(network: str, kept: KeptTiming) -> None:
    """Best effort: a cache that can't be written makes the next plan say less."""
    path = _find_file(network)
    timings = [other for other in read_timings(network) if other.device != kept.device]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json([dataclasses.asdict(timing) for timing in (*timings, kept)], path)
        for old in sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)[:-_KEPT]:
            old.unlink(missing_ok=True)
    except OSError:
        return


def read_timings(network: str) -> list[KeptTiming]:
    """One per device; none where nothing readable was kept."""
    try:
        return list(_parse_timings(json.loads(_find_file(network).read_text())))
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _parse_timings(rows: list[dict[str, Any]]) -> Iterator[KeptTiming]:
    for row in rows:
        named = {**row, "device": Device(*row["device"]), "timing": NetworkTiming(**row["timing"])}
        yield KeptTiming(**named)


def _find_file(network: str) -> Path:
    return cache_directory() / "probes" / f"{network}.json"
