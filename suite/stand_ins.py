"""Stand-ins: what a profile takes for a dataset whose files are not at hand."""

from __future__ import annotations

from pathlib import Path

from suite.config import Entry, Study, grid
from suite.library import Dataset
from suite.settings import Refused, did_you_mean
from suite.specs import Component, freeze


def with_stand_ins(study: Study, data: Path) -> Study:
    """The study with, for every dataset that isn't there, the first stand-in that is; `stands_for` says which.

    A dataset stays where neither it nor a stand-in is found: the plan then says what it lacks.

    Raises:
        Refused: stand-ins for a dataset that the study doesn't name.
    """
    names = {entry.name for entry in study.datasets}
    for name in study.stand_ins:
        if name not in names:
            raise Refused(f"stand_ins.{name}: the study has no such dataset{did_you_mean(name, names)}")
    chosen = [_chosen(entry, study.stand_ins.get(entry.name, []), data) for entry in study.datasets]
    taken = {
        _label(after): _label(before)
        for before, after in zip(study.datasets, chosen, strict=True)
        if after is not before
    }
    return study.model_copy(update={"datasets": chosen, "stands_for": taken})


def _chosen(entry: Entry, stand_ins: list[Entry], data: Path) -> Entry:
    return next((one for one in (entry, *stand_ins) if _there(one, data)), entry)


def _there(entry: Entry, data: Path) -> bool:
    try:
        return all(not Dataset(Component(entry.name, freeze(one)), data).facts.missing for one in grid(entry))
    except Refused:
        return False


def _label(entry: Entry) -> str:
    return Component(entry.name, freeze(entry.settings)).label
