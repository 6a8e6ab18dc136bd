"""Everything that the tables, the figures and the report say, computed once per study."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from analysis.across import Ranking, VariantVerdict, judge_variants, rankings
from analysis.select import CellResults, Group, Records, groups
from analysis.verdicts import Verdict, judge

CellName = tuple[str, str, str, str]  # dataset, backbone, variant, settings


@dataclass(frozen=True, eq=False)
class Findings:
    """The records of a study and what follows from them; each part is computed when it is first asked for."""

    records: Records

    @cached_property
    def groups(self) -> list[Group]:
        return groups(self.records)

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """One per non-baseline cell, in the order of the plan."""
        return judge(self.records, self.groups)

    @property
    def several_datasets(self) -> bool:
        """Whether anything can be said across datasets."""
        return len({group.dataset for group in self.groups}) > 1

    @cached_property
    def variants(self) -> list[VariantVerdict]:
        return judge_variants(self.records, self.groups, self.verdicts)

    @cached_property
    def rankings(self) -> list[Ranking]:
        return rankings(self.records, self.groups, self.verdicts)

    @cached_property
    def by_cell(self) -> dict[CellName, Verdict]:
        """The verdicts by the cell that they judge."""
        return {cell_name(one): one for one in self.verdicts}


def cell_name(cell: CellResults | Verdict) -> CellName:
    """What names a cell within its study."""
    return cell.dataset, cell.backbone, cell.variant, cell.settings
