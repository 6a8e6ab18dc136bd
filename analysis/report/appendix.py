"""What a report rests on, beside the results: the budget audit, the papers' remarks, provenance, how to do it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from analysis import formatting
from analysis.published.tables import load_table
from analysis.records.model import Records
from analysis.report.run_links import without_login
from analysis.tables import Table
from analysis.verdicts.results import StudyResults
from suite import __version__

PUBLISHED = "published-"  # begins the ids of tables beside a paper's
_PROVENANCE = ("graftbench_version", "git_commit", "dirty", "versions", "device", "device_kind", "host")


def papers(findings: StudyResults, tables: Sequence[Table]) -> list[dict[str, Any]]:
    """The published tables beside ours, with what they cite; and the ids in the study that name no such table."""
    found = []
    for table in tables:
        published = load_table(table.id.removeprefix(PUBLISHED))
        paper = published.paper
        year = f" ({paper.year})" if paper.year else ""
        cited = f"{', '.join(paper.authors)}{year}: {paper.title}. {paper.where}. {published.place}: {published.title}"
        found.append({"title": table.title, "cited": cited, "table": table})
    return found + [{"title": name, "cited": sentence, "table": None} for name, sentence in _unknown(findings.records)]


def _unknown(records: Records) -> Iterator[tuple[str, str]]:
    for name in records.study.reproduces:
        try:
            load_table(name)
        except LookupError as error:
            yield str(name), str(error)


def provenance(records: Records) -> list[tuple[str, list[str]]]:
    """What ran it, each distinct value once."""
    trials, source = records.trials, records.source
    facts = [
        (name.replace("_", " "), sorted({str(value) for value in trials[name].dropna()} - {""}))
        for name in _PROVENANCE
        if name in trials
    ]
    for name, label in (("started", "first trial started"), ("ended", "last trial ended")):
        moments = pd.to_numeric(trials[name], errors="coerce").dropna() if name in trials else pd.Series(dtype=float)
        if len(moments):
            moment = moments.min() if name == "started" else moments.max()
            facts.append((label, [_moment(float(moment))]))
    facts.append(("this report", [f"Graftbench {__version__}"]))
    seconds = pd.to_numeric(trials["train_seconds"], errors="coerce").sum(min_count=1)
    facts.append(("training time, all trials", [formatting.NONE if pd.isna(seconds) else f"{seconds / 3600:.2f} h"]))
    facts.append(("trials", [str(len(trials))]))
    if source.get("tracking_uri"):
        facts.append(("tracking store", [without_login(str(source["tracking_uri"]))]))
    if source.get("collected"):
        facts.append(("collected", [str(source["collected"])]))
    if source.get("files"):
        facts.append(("files", [str(one) for one in source["files"]]))
    return [(name, values or [formatting.NONE]) for name, values in facts]


def _moment(milliseconds: float) -> str:
    """Since 1970. Results from elsewhere may count in another unit: then the figure itself."""
    try:
        return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{milliseconds:.0f}, which is no time in milliseconds since 1970"


def commands(records: Records) -> str:
    """The commands that make this again, for a terminal."""
    name = shlex.quote(records.study.study or "STUDY")
    return "\n".join(
        [
            "# the runs: curves, parameters, artifacts (STUDY.yaml is the study file)",
            "graftbench ui STUDY.yaml",
            "# this report again, from the study's store or from its folder of records alone",
            "graftbench report STUDY.yaml",
            "graftbench report --records RECORDS --tex PAPER",
            "# the folder of records, from any MLflow store",
            f"graftbench collect {name} --tracking URI --out RECORDS",
            "# the verdicts for a program",
            "graftbench verdicts --records RECORDS --json",
        ]
    )


def plan(records: Records) -> str:
    """The study's description as JSON."""
    return json.dumps(dict(records.study.whole), indent=1, ensure_ascii=False, default=str)
