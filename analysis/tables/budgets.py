"""The budget audit as a table. What left no result: `analysis.tables.missing_trials`."""

from __future__ import annotations

from analysis.tables import Column, Table, Value
from analysis.verdicts import audit
from analysis.verdicts.cell_rows import list_completed, run_ids, runs_of
from analysis.verdicts.results import StudyResults

_ALWAYS = frozenset({"search trials", "confirm seeds"})


def build_budgets(findings: StudyResults) -> Table:
    """What each cell was given, in a column for whatever isn't the same for all; the rest is told in the notes."""
    given = [
        (group, cell, audit.budget_table(cell)) for group in findings.groups for cell in group.cells if not cell.refused
    ]
    names = list(given[0][2]) if given else []
    shown = [name for name in names if name in _ALWAYS or len({own[name] for _, _, own in given}) > 1]
    references = {(group.dataset, group.backbone): own for group, cell, own in given if cell.is_baseline}
    ids, rows = run_ids(findings.records), []
    for group, cell, own in given:
        reference = references.get((group.dataset, group.backbone), own)
        place = Value(cell.dataset), Value(cell.backbone), Value(cell.label, runs=runs_of(list_completed(cell), ids))
        rows.append((*place, *(Value(own[name], bold=own[name] != reference[name]) for name in shown)))
    return Table(
        id="budgets",
        title="Budget audit",
        caption="What each cell was given. Bold: not what its baseline was given, which makes it NOT COMPARABLE.",
        columns=(
            Column("dataset", "dataset"),
            Column("backbone", "backbone"),
            Column("variant", "variant"),
            *(Column(name.replace(" ", "_"), name) for name in shown),
        ),
        rows=tuple(rows),
        notes=tuple(findings.audit.list_sentences()),
    )
