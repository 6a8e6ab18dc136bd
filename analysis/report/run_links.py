"""From a number to its runs: where MLflow shows each, and the runs of every cell, listed once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from analysis import formatting
from analysis.records.model import CellResults, Records
from analysis.verdicts.model import Verdict
from analysis.verdicts.results import StudyResults
from suite.core.records import Record
from suite.core.specs import CellId

SERVED = "http://127.0.0.1:5000"  # where `graftbench ui` serves a store that is no server


@dataclass(frozen=True)
class Links:
    """Addresses of runs: `base` is empty where the records don't say which store they are from. `note`: for people."""

    base: str
    note: str

    def run(self, run_id: str) -> str:
        """The page of a run; empty when it is unknown."""
        return f"{self.base}/runs/{run_id}" if self.base and run_id else ""


def links(records: Records) -> Links:
    """Links into the MLflow server, or the local UI of a database, that the records were collected from."""
    uri, experiment = records.source.get("tracking_uri", ""), records.source.get("experiment_id", "")
    if not uri or not experiment:
        return Links("", "These records don't say which MLflow store they are from, so runs are named, not linked.")
    if uri.startswith(("http://", "https://")):
        server = without_login(uri)
        return Links(f"{server}/#/experiments/{experiment}", f"Runs are linked to the MLflow server {server}.")
    return Links(
        f"{SERVED}/#/experiments/{experiment}",
        f"Runs are linked to {SERVED}, where graftbench ui STUDY serves the study's store on the machine that has it.",
    )


def without_login(uri: str) -> str:
    """The address as a page may show it."""
    parts = urlsplit(uri)
    if not parts.netloc:
        return uri
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


class Evidence:
    """Every run of the current records, numbered in the order of the page; numbers of the page point at them."""

    def __init__(self, findings: StudyResults) -> None:
        self.links = links(findings.records)
        self._metric = findings.records.metric
        trials = findings.records.trials
        self._run_ids: dict[str, str] = dict(zip(trials["trial_key"], trials["run_id"].fillna(""), strict=True))
        self._count = itertools.count()
        self._numbers: dict[str, int] = {}
        self._anchors: dict[str, str] = {}  # of the runs
        self._cells: dict[CellId, str] = {}
        self.groups: list[dict[str, Any]] = []
        for group in findings.groups:
            cells = [self._cell(cell) for cell in group.cells if cell.confirm or cell.search]
            self.groups.append({"name": f"{group.dataset} / {group.backbone}", "cells": cells})

    def _cell(self, cell: CellResults) -> dict[str, Any]:
        anchor = self._cells[cell.cell_id] = f"c{len(self._cells)}"
        return {
            "anchor": anchor,
            "name": cell.cell_id.label,
            "label": cell.label,
            "confirm": [self._run(trial, anchor) for trial in cell.confirm],
            "search": [self._run(trial, anchor) for trial in cell.search],
        }

    def _run(self, trial: Record, anchor: str) -> dict[str, Any]:
        run_id = self._run_ids.get(trial.trial_key, "")
        number = next(self._count)
        if run_id:
            self._numbers[run_id] = number
            self._anchors[run_id] = anchor
        kind, error = "draw", trial.validation_top1_error
        if trial.stage == "confirm":
            kind, error = "seed", getattr(trial, self._metric)
        seed = formatting.NONE if trial.seed is None else trial.seed
        shown = f"{formatting.format_percent(error)} %" if trial.status in ("completed", "stopped") else trial.status
        return {
            "number": number,
            "name": f"{kind} {seed}",
            "shown": shown,
            "id": run_id or trial.trial_key,
            "url": self.links.run(run_id),
        }

    def anchor(self, verdict: Verdict) -> str:
        """The anchor of a cell's runs; empty when it has none."""
        return self._cells.get(verdict.cell_id, "")

    def of(self, runs: Sequence[str]) -> dict[str, str] | None:
        """What a number's link holds: the anchor to jump to, and the numbers of its runs; None: nothing is known."""
        numbers = [self._numbers[run] for run in runs if run in self._numbers]
        if not numbers:
            return None
        anchor = next(self._anchors[run] for run in runs if run in self._anchors)
        return {"anchor": anchor, "runs": formatting.format_ranges(numbers).replace(",", "")}
