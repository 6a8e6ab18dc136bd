"""The budget audit as a table. What left no result: `analysis.tables.missing_trials`."""

from __future__ import annotations

from functools import partial
from operator import itemgetter
from typing import Any

from analysis.tables import Column, Table, Value, fill_table
from analysis.verdicts import audit
from analysis.verdicts.cell_rows import run_ids, runs_of
from analysis.verdicts.results import StudyResults

_ALWAYS = frozenset({"search trials", "confirm seeds"})


def build_budgets(findings: StudyResults) -> Table:
    """What each cell was given, in a column for whatever isn't the same for all; the rest stands in the notes."""
    ids = run_ids(findings.records)
    items: list[dict[str, Any]] = []
    for group in findings.groups:
        cells = [cell for cell in group.cells if not cell.refused]
        budgets = [audit.budget_table(cell) for cell in cells]
        reference = next((budget for cell, budget in zip(cells, budgets, strict=True) if cell.is_baseline), None)
        for cell, budget in zip(cells, budgets, strict=True):
            label = Value(cell.label, runs=runs_of(audit.list_completed(cell), ids))
            places = {"dataset": cell.dataset, "backbone": cell.backbone, "variant": label}
            items.append({**places, "budget": budget, "reference": reference or budget})
    columns: list[Column[Any]] = [Column(name, name, itemgetter(name)) for name in ("dataset", "backbone", "variant")]
    for name in items[0]["budget"] if items else ():
        amounts = {item["budget"][name] for item in items}
        if name in _ALWAYS or len(amounts) > 1:
            columns.append(Column(name.replace(" ", "_"), name, partial(_make_budget, name)))
    caption = "What each cell was given. Bold: not what its baseline was given, which makes it NOT COMPARABLE."
    return fill_table("budgets", "Budget audit", caption, columns, items, findings.audit.list_sentences())


def _make_budget(name: str, item: dict[str, Any]) -> Value:
    amount = item["budget"][name]
    return Value(amount, bold=amount != item["reference"][name])
