"""Stand-ins: what a profile takes for a dataset whose files are not at hand."""

from __future__ import annotations

from pathlib import Path

from suite.core import registry
from suite.core.errors import UserError
from suite.core.settings import canonicalize_component
from suite.core.specs import Component, freeze_settings
from suite.data.dataset import Dataset
from suite.study.config import Entry, Study, expand_grid


def with_stand_ins(study: Study, data: Path) -> Study:
    """The study with, for every dataset that isn't there, the first stand-in that is; `stands_for` says which.

    A dataset stays where neither it nor a stand-in is found: the plan then says what it lacks. What the study has
    already, itself or as another dataset's stand-in, stands in for nothing else.

    Raises:
        UserError: an illegal setting of a stand-in.
    """
    used = {
        one for index, entry in enumerate(study.datasets) for one in _expand_components(entry, f"datasets[{index}]")
    }
    chosen: list[Entry] = []
    taken: dict[str, str] = {}
    for index, entry in enumerate(study.datasets):
        own = _expand_components(entry, f"datasets[{index}]")
        offered = [
            (one, _expand_components(one, f"stand_ins.{entry.name}[{position}]"))
            for position, one in enumerate(study.stand_ins.get(entry.name, []))
        ]
        after, found = entry, own
        if not _is_present(own, data):
            free = (pair for pair in offered if not used & set(pair[1]) and _is_present(pair[1], data))
            after, found = next(free, (entry, own))
        if after is not entry:
            used |= set(found)
            taken |= {one.label: own[0].label if len(own) == 1 else entry.name for one in found}
        chosen.append(after)
    return study.model_copy(update={"datasets": chosen, "stands_for": taken, "stand_ins": {}})


def _expand_components(entry: Entry, where: str) -> list[Component]:
    """What the entry expands to, as records name it."""
    registry.check_name("dataset", entry.name, where)
    declared = registry.load_component("dataset", entry.name).SETTINGS
    return [
        canonicalize_component(declared, Component(entry.name, freeze_settings(settings)), where)
        for settings in expand_grid(entry)
    ]


def _is_present(components: list[Component], data: Path) -> bool:
    try:
        return all(not Dataset(one, data).info.missing for one in components)
    except UserError:  # the facts of some are read from their files
        return False
