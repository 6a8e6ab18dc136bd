"""Every table of a study, in the order of the report."""

from __future__ import annotations

import dataclasses

from analysis.tables import Table, ablations, budgets, costs, ensembles, images, leaderboard, overall, speed
from analysis.tables import published as published_tables
from analysis.tables import verdicts as verdict_table
from analysis.verdicts.results import StudyResults


def build_all_tables(findings: StudyResults) -> list[Table]:
    """The verdicts and what is across datasets first, then each dataset's own, then what they rest on.

    Ids are file names, each once: `variants`, `verdicts`, `overall`, `ranks-*`, `leaderboard-*`, `costs-*`, `speed`,
    `ensembles`, `ablation-*`, `published-*`, `budgets`, `images`. What left no result is in
    `analysis.tables.missing_trials`.
    """
    tables = [
        *overall.build_variants(findings),
        *verdict_table.build_verdicts(findings),
        *overall.build_overall(findings),
        *overall.build_friedman(findings),
        *leaderboard.build_tables(findings),
        *costs.build_tables(findings),
        *speed.build_speed(findings),
        *ensembles.build_ensembles(findings),
        *ablations.build_tables(findings),
        *published_tables.build_comparisons(findings),
        budgets.build_budgets(findings),
        *images.build_images(findings),
    ]
    return _number_repeated(tables)


def _number_repeated(tables: list[Table]) -> list[Table]:
    """Two names that differ in marks alone give one file name; the later tables get a number."""
    taken: set[str] = set()
    renamed = []
    for table in tables:
        name, number = table.id, 1
        while name in taken:
            number += 1
            name = f"{table.id}-{number}"
        taken.add(name)
        renamed.append(dataclasses.replace(table, id=name))
    return renamed
