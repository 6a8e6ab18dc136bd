"""What a report rests on, beside the results: the budget audit, the papers' remarks, provenance, how to do it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
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
    items: list[dict[str, Any]] = []
    for table in tables:
        published = load_table(table.id.removeprefix(PUBLISHED))
        paper = published.paper
        year = f" ({paper.year})" if paper.year else ""
        cited = f"{', '.join(paper.authors)}{year}: {paper.title}. {paper.where}. {published.place}: {published.title}"
        items.append({"title": table.title, "cited": cited, "table": table})
    for name in findings.records.study.reproduces:
        try:
            load_table(name)
        except LookupError as error:
            items.append({"title": name, "cited": str(error), "table": None})
    return items


def provenance(records: Records) -> list[tuple[str, list[str]]]:
    """What ran it, each distinct value once."""
    trials, source = records.trials, records.source
    facts: dict[str, list[str]] = {}
    for name in _PROVENANCE:
        values = set(trials[name].dropna().astype(str)) - {""}
        facts[name.replace("_", " ")] = sorted(values) or [formatting.NONE]
    started, ended, seconds = (pd.to_numeric(trials[name]) for name in ("started", "ended", "train_seconds"))
    if started.notna().any():
        facts["first trial started"] = [_format_moment(float(started.min()))]
    if ended.notna().any():
        facts["last trial ended"] = [_format_moment(float(ended.max()))]
    facts["this report"] = [f"Graftbench {__version__}"]
    facts["training time, all trials"] = [formatting.NONE]
    if seconds.notna().any():
        facts["training time, all trials"] = [f"{seconds.sum() / 3600:.2f} h"]
    facts["trials"] = [str(len(trials))]
    if source.get("tracking_uri"):
        facts["tracking store"] = [without_login(source["tracking_uri"])]
    if source.get("collected"):
        facts["collected"] = [source["collected"]]
    if source.get("files"):
        facts["files"] = source["files"]
    return list(facts.items())


def _format_moment(milliseconds: float) -> str:
    """Since 1970. Results from elsewhere may count in another unit: then the figure itself."""
    try:
        return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{milliseconds:.0f}, which is no time in milliseconds since 1970"


def commands(records: Records) -> str:
    """The commands that make this again, for a terminal."""
    name = shlex.quote(records.study.study or "STUDY")
    return f"""\
# the runs: curves, parameters, artifacts (STUDY.yaml is the study file)
graftbench ui STUDY.yaml
# this report again, from the study's store or from its folder of records alone
graftbench report STUDY.yaml
graftbench report --records RECORDS --tex PAPER
# the folder of records, from any MLflow store
graftbench collect {name} --tracking URI --out RECORDS
# the verdicts for a program
graftbench verdicts --records RECORDS --json"""


def plan(records: Records) -> str:
    """The study's description as JSON."""
    return json.dumps(dict(records.study.whole), indent=1, ensure_ascii=False, default=str)
