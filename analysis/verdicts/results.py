"""Everything that the tables, the figures and the report say, computed once per study."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from analysis.records.arrange import group_cells
from analysis.records.model import Group, Records
from analysis.verdicts.audit import AuditSummary, summarise_audit
from analysis.verdicts.cells import judge_cells
from analysis.verdicts.model import TestSettings, VariantVerdict, Verdict
from suite.core.specs import CellId

if TYPE_CHECKING:  # what is said over datasets is imported when it is first asked for: a leaderboard needs none of it
    from analysis.verdicts.ensembles import Ensemble
    from analysis.verdicts.rankings import Ranking


@dataclass(frozen=True, eq=False)
class StudyResults:
    """The records of a study and what follows from them; each part is computed when it is first asked for."""

    records: Records

    @cached_property
    def groups(self) -> list[Group]:
        return group_cells(self.records)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """One per non-baseline cell, in the order of the plan."""
        return judge_cells(self.records, self.groups)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What must be known of the records before any verdict: rows that were set aside, looks beyond the plan."""
        return (*self.unfinished_sentences, *self.records.problems, *self.audit.notes)

    @cached_property
    def audit(self) -> AuditSummary:
        """Whether budgets were equal, over all cells."""
        return summarise_audit(self.groups, self.records.study)

    @cached_property
    def unfinished_sentences(self) -> list[str]:
        """A sentence where planned confirm trials have not run."""
        planned = missing = 0
        for group in self.groups:
            for cell in group.cells:
                if not cell.refused:
                    planned += len(cell.expected)
                    missing += len(set(cell.expected) - cell.records_by_seed().keys())
        if not missing or self.records.source.get("files"):  # results from elsewhere have no plan
            return []
        return [f"Not finished: {missing} of {planned} planned confirm trials have not run yet."]

    @property
    def family(self) -> int:
        """How many cells Holm's correction runs over: all but the baselines that the plan didn't refuse."""
        return sum(cell.in_family for group in self.groups for cell in group.cells)

    @property
    def terms(self) -> TestSettings:
        """What the study fixed before the run."""
        return TestSettings.of(self.records, self.family)

    @property
    def several_datasets(self) -> bool:
        """Whether anything can be said across datasets."""
        return len({group.dataset for group in self.groups}) > 1

    @cached_property
    def variants(self) -> list[VariantVerdict]:
        from analysis.verdicts.variants import judge_variants

        return judge_variants(self.records, self.groups, self.verdicts)

    @cached_property
    def ensembles(self) -> dict[CellId, Ensemble | str]:
        """Of each cell whose networks left probabilities; a sentence where only some of them did."""
        if self.records.folder is None:
            return {}
        from analysis.verdicts.ensembles import form_ensemble

        cells = [cell for group in self.groups for cell in group.cells]
        formed = {cell.cell_id: form_ensemble(self.records.folder, cell, self.records.alpha) for cell in cells}
        return {cell_id: found for cell_id, found in formed.items() if found}

    @cached_property
    def rankings(self) -> list[Ranking]:
        from analysis.verdicts.rankings import rank_variants

        return rank_variants(self.records, self.groups, self.verdicts)

    @cached_property
    def unranked_sentences(self) -> list[str]:
        """Why a backbone that was planned with enough datasets and variants for a ranking has none; sentences."""
        from analysis.verdicts.rankings import list_unranked

        return list_unranked(self.groups, self.verdicts)

    @cached_property
    def by_cell(self) -> dict[CellId, Verdict]:
        """The verdicts by the cell that they judge."""
        return {verdict.cell_id: verdict for verdict in self.verdicts}
