"""One self-contained HTML page per study: the answer in plain English first, then everything that it rests on.

What the page says is made in `summary` (page one), `paper_text`, `run_links`, `appendix`, the tables and the figures;
how it looks is in `analysis/report/templates`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from analysis import formatting
from analysis.records.load import load_records
from analysis.report import appendix, latex_document, paper_text, summary
from analysis.report.figures import Exhibits, exhibits
from analysis.report.run_links import Evidence
from analysis.tables import Table, images, leaderboard, missing_trials, rendering
from analysis.tables.all_tables import build_all_tables
from analysis.verdicts.model import RULINGS
from analysis.verdicts.results import StudyResults
from suite.core.files import write_text


@dataclass(frozen=True, eq=False)
class Material:
    """What page and paper are made of: the study's own tables, those on what is missing, and the figures."""

    findings: StudyResults
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
        FileNotFoundError, ValueError: the records are missing or no records (see `analysis.records.load.load_records`).
    """
    findings = StudyResults(load_records(records_dir))
    figures = exhibits(findings, out / "figures", tex / "figures" if tex else None, whole=every_figure)
    material = Material(findings, build_all_tables(findings), missing_trials.build_tables(findings), figures)
    tables = [*material.tables, *material.failures]
    rendering.write_tables(tables, out / "tables")
    write_text(leaderboard.to_markdown(findings), out / "leaderboard.md")
    if tex is not None:
        latex_document.write(findings, tables, figures, tex)
    write_text(render(material), out / "report.html")
    return out / "report.html"


def render(material: Material) -> str:
    """The page. Every name and sentence is escaped by Jinja2; the figures escape their own text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis.report"),
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
    items = summary.comparisons(findings, evidence)
    published = [table for table in material.tables if table.id.startswith(appendix.PUBLISHED)]
    budgets = [table for table in material.tables if table.id == "budgets"]
    pictures = [table for table in material.tables if table.id == images.ID]
    tables = [table for table in material.tables if table not in published + budgets + pictures]
    page = {
        "name": records.study.study or "Study",
        "question": records.study.description,
        "notices": [*findings.unfinished_sentences, *summary.notices(findings), *findings.audit.notes],
        "headline": summary.headline(findings.verdicts),
        "tiles": summary.tiles(findings.verdicts),
        "problems": list(records.problems),
        "across": summary.across(findings),
        "many": len(items) > summary.MANY,
        "sections": summary.sections(items),
        "variants": summary.by_variant(items),
        "map": summary.overview(items),
        "about": list(records.study.about.items()),
        "looks": records.study.looks,
        "confidence": formatting.format_level(records.alpha),
        "alpha": f"{records.alpha:.3g}",
        "rope": formatting.format_size(records.rope),
        "family": formatting.format_plural(findings.family, "comparison"),
        "rulings": RULINGS,
        "foreign": bool(records.source.get("files")),
        "audit": findings.audit,
        "budgets": budgets,
        "images": pictures,
        "tables": missing_trials.group_by_kind(tables),
        "figures": material.exhibits.shown,
        "figure_notes": material.exhibits.notes,
        "papers": appendix.papers(findings, published),
        "failures": list(map(missing_trials.shorten_table, material.failures)),
        "prose": paper_text.paragraphs(findings),
        "evidence": evidence,
        "provenance": appendix.provenance(records),
        "commands": appendix.commands(records),
        "plan": appendix.plan(records),
    }
    return page | {"contents": [(name, title) for name, title in _CONTENTS if name in _ALWAYS or page[name]]}


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
