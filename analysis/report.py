"""One self-contained HTML page per study: the answer in plain English first, then everything that it rests on.

What the page says is made in `answer` (page one), `background`, `shortfalls`, `prose`, `links`, the tables and the
figures; how it looks is in `analysis/page/templates`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from analysis import formats, leaderboard
from analysis.findings import Findings
from analysis.page import answer, background, paper, prose
from analysis.page.exhibits import Exhibits, exhibits
from analysis.page.links import Evidence
from analysis.select import load
from analysis.tables import Table, rendering, shortfalls
from analysis.tables.contents import tables_of
from analysis.verdicts import RULINGS


@dataclass(frozen=True, eq=False)
class Material:
    """What page and paper are made of: the study's own tables, those on what is missing, and the figures."""

    findings: Findings
    tables: list[Table]
    failures: list[Table]
    exhibits: Exhibits


def write_report(records_dir: Path, out: Path, tex: Path | None = None, *, every_figure: bool = False) -> Path:
    """Write `report.html`, `leaderboard.md`, `tables/` and `figures/` into the folder `out`; returns the page's path.

    Args:
        out: made if missing.
        tex: folder for a LaTeX document with the prose, the tables and the figures; None: none.
        every_figure: every figure as SVG, PNG and PDF, not only those of the page as SVG.

    Raises:
        FileNotFoundError, ValueError: the records are missing or no records (see `analysis.select.load`).
    """
    findings = Findings(load(records_dir))
    figures = exhibits(findings, out / "figures", tex / "figures" if tex else None, whole=every_figure)
    material = Material(findings, tables_of(findings), shortfalls.tables(findings), figures)
    tables = [*material.tables, *material.failures]
    rendering.write(tables, out / "tables")
    _replace(out / "leaderboard.md", leaderboard.to_markdown(findings))
    if tex is not None:
        paper.write(findings, tables, figures, tex)
    return _replace(out / "report.html", render(material))


def _replace(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    return temporary.replace(path)


def render(material: Material) -> str:
    """The page. Every name and sentence is escaped by Jinja2; the figures escape their own text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis.page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html.j2").render(_page(material))


def _page(material: Material) -> dict[str, Any]:
    """Everything that the template shows."""
    findings, records = material.findings, material.findings.records
    evidence = Evidence(findings)
    told = answer.comparisons(findings, evidence)
    printed, budgets, tables = _sorted(material.tables)
    page = {
        "name": str(records.study.get("study") or "Study"),
        "question": str(records.study.get("description") or ""),
        "notices": [*findings.unfinished, *answer.notices(findings), *findings.audit.notes],
        "headline": answer.headline(findings.verdicts),
        "tiles": answer.tiles(findings.verdicts) if len(told) > 1 else [],
        "problems": list(records.problems),
        "across": answer.across(findings),
        "many": len(told) > answer.MANY,
        "sections": answer.sections(told),
        "variants": answer.by_variant(told),
        "map": answer.overview(told),
        "about": answer.about(records.study),
        "looks": int(records.study.get("looks") or 1),
        "confidence": formats.level(records.alpha),
        "alpha": f"{records.alpha:.3g}",
        "rope": formats.size(records.rope),
        "family": formats.plural(findings.family, "comparison"),
        "rulings": RULINGS,
        "foreign": bool(records.source.get("files")),
        "audit": findings.audit,
        "budgets": budgets,
        "tables": shortfalls.by_kind(tables),
        "figures": material.exhibits.shown,
        "figure_notes": material.exhibits.notes,
        "papers": background.papers(findings, printed),
        "failures": [shortfalls.shown(table) for table in material.failures],
        "prose": prose.paragraphs(findings),
        "evidence": evidence,
        "provenance": background.provenance(records),
        "commands": background.commands(records),
        "plan": background.plan(records),
    }
    return page | {"contents": [(name, title) for name, title in _CONTENTS if name in _ALWAYS or page[name]]}


def _sorted(tables: Sequence[Table]) -> tuple[list[Table], list[Table], list[Table]]:
    """Those beside a paper's, the budget audit, and the rest: they stand in different sections."""
    printed = [table for table in tables if table.id.startswith(background.PUBLISHED)]
    budgets = [table for table in tables if table.id == "budgets"]
    return printed, budgets, [table for table in tables if table not in printed and table not in budgets]


_CONTENTS = (
    ("budget", "Budget"),
    ("tables", "Tables"),
    ("figures", "Figures"),
    ("papers", "Papers"),
    ("failures", "Failures"),
    ("prose", "For a paper"),
    ("runs", "Runs"),
    ("provenance", "Provenance"),
)
_ALWAYS = frozenset({"budget", "runs"})
