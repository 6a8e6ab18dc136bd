"""Across datasets: standings of every backbone with every variant, the variants' verdicts, and Friedman's ranks.

The unit is the dataset. Every figure of a table is over the same datasets for all its rows: an average over unequal
sets is refused, so what lacks a dataset is left out and named.
"""

from __future__ import annotations

import itertools
import statistics as stdlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter, itemgetter

from analysis import formatting
from analysis.stats import paired
from analysis.stats.complete_subset import without_gaps
from analysis.tables import EMPTY, Column, Table, Value, fill_table, make_estimate
from analysis.tables.leaderboard import name_metric
from analysis.verdicts.cell_rows import Row, build_cell_rows, rank_errors, row_cell
from analysis.verdicts.model import VariantVerdict
from analysis.verdicts.rankings import Ranking
from analysis.verdicts.results import StudyResults

Pair = tuple[str, str]  # backbone, variant with its settings


@dataclass(frozen=True)
class Compared:
    """What an overall table is over: every one of `pairs` is comparable on every one of `datasets`."""

    pairs: Sequence[Pair]
    datasets: Sequence[str]
    rows: Mapping[tuple[Pair, str], Row]  # of all pairs and datasets, what is left out too
    left_out: Sequence[str]


@dataclass(frozen=True)
class _Standing:
    """A pair over all datasets."""

    backbone: str
    variant: str
    mean_rank: float
    wins: int
    mean_error: float
    datasets: int
    iqm: Value


_COLUMNS: tuple[Column[_Standing], ...] = (
    Column("mean_rank", "mean rank", attrgetter("mean_rank"), "{:.2f}".format, numeric=True),
    Column("backbone", "backbone", attrgetter("backbone")),
    Column("variant", "variant", attrgetter("variant")),
    Column("wins", "wins", attrgetter("wins"), numeric=True),
    Column("iqm", "IQM of error %", attrgetter("iqm"), numeric=True),
    Column("mean_error", "mean error %", attrgetter("mean_error"), formatting.format_percent, numeric=True),
    Column("datasets", "datasets", attrgetter("datasets"), numeric=True),
)


def build_overall(findings: StudyResults) -> list[Table]:
    """Mean rank, wins and interquartile mean per backbone and variant; nothing where only one dataset was planned."""
    if not findings.several_datasets:
        return []
    compared = find_comparable(findings)
    standings = _rank_pairs(compared, findings.records.alpha) if compared.datasets else []
    over = ", ".join(compared.datasets) or "no dataset"
    caption = (
        f"Test {name_metric(findings.records)} error over {over}. Mean rank: within a dataset 1 is the lowest mean "
        "error and ties share a rank. Wins: datasets on which no other is lower. IQM: interquartile mean of the errors "
        f"of all seeds and datasets, with its {formatting.format_level(findings.records.alpha)} bootstrap interval "
        "(stratified by dataset). A description: the tests are in the verdicts."
    )
    notes = [*_list_notes(compared), *findings.unranked_sentences]
    return [fill_table("overall", "Over all datasets", caption, _COLUMNS, standings, notes)]


def _list_notes(compared: Compared) -> Iterator[str]:
    for sentence in compared.left_out:
        yield f"Left out: {sentence}"
    first = compared.pairs[:1]
    seeds = {dataset: compared.rows[pair, dataset]["seeds"] for pair in first for dataset in compared.datasets}
    if len(set(seeds.values())) > 1:
        numbers = ", ".join(f"{dataset} {number}" for dataset, number in seeds.items())
        yield f"No IQM: the datasets don't have the same number of seeds ({numbers}) and would weigh unequally."


def find_comparable(findings: StudyResults) -> Compared:
    """The pairs and datasets without a gap between them.

    What is left out is what `analysis.stats.complete_subset.without_gaps` leaves out; each with its reason.
    """
    by_cell = {row_cell(row): row for row in build_cell_rows(findings)}
    rows: dict[tuple[Pair, str], Row] = {}
    for group in findings.groups:
        for cell in group.cells:
            rows[(cell.backbone, cell.label), cell.dataset] = by_cell[cell.cell_id]
    every_pair = list(dict.fromkeys(pair for pair, _ in rows))
    every_dataset = list(dict.fromkeys(dataset for _, dataset in rows))
    gaps = dict.fromkeys(itertools.product(every_pair, every_dataset), "not in the study")  # with their reasons
    for place, row in rows.items():
        gaps[place] = "" if row["comparable"] else row["reason"] or "no test error"
    pairs, datasets = without_gaps(every_pair, every_dataset, lambda pair, dataset: not gaps[pair, dataset])
    left_out = []
    for pair in every_pair:
        if pair not in pairs:
            places = [dataset for dataset in datasets or every_dataset if gaps[pair, dataset]]
            reasons = ", ".join(f"{dataset}: {gaps[pair, dataset]}" for dataset in places)
            left_out.append(f"{' / '.join(pair)} ({reasons})")
    for dataset in every_dataset:
        if dataset not in datasets:
            absent = ", ".join(" / ".join(pair) for pair in pairs or every_pair if gaps[pair, dataset])
            left_out.append(f"the dataset {dataset} (not comparable there: {absent})")
    return Compared(pairs, datasets, rows, left_out)


def _rank_pairs(compared: Compared, alpha: float) -> list[_Standing]:
    """Lowest mean rank first; of equal ones the lowest mean error."""
    ranks: dict[Pair, list[float]] = {pair: [] for pair in compared.pairs}
    wins = dict.fromkeys(compared.pairs, 0)
    for dataset in compared.datasets:
        errors = [compared.rows[pair, dataset]["mean_error"] for pair in compared.pairs]
        ranked = rank_errors(errors)
        for pair, rank in zip(compared.pairs, ranked, strict=True):
            ranks[pair].append(rank)
            wins[pair] += rank == min(ranked)
    standings = []
    for pair in compared.pairs:
        rows = [compared.rows[pair, dataset] for dataset in compared.datasets]
        mean = stdlib.fmean(row["mean_error"] for row in rows)
        iqm = _make_iqm(rows, alpha)
        standings.append(_Standing(*pair, stdlib.fmean(ranks[pair]), wins[pair], mean, len(rows), iqm))
    return sorted(standings, key=attrgetter("mean_rank", "mean_error"))


def _make_iqm(rows: Sequence[Row], alpha: float) -> Value:
    """Interquartile mean of all errors of the pair, every dataset drawn from by itself for the interval."""
    errors = {row["dataset"]: row["errors"] for row in rows}
    numbers = {len(row["errors"]) for row in rows}
    if len(numbers) > 1:
        return EMPTY  # datasets would weigh unequally; a note says so
    iqm = paired.compute_iqm([error for row in rows for error in row["errors"]])
    runs = [run for row in rows for run in row["runs"]]
    low, high = paired.iqm_interval(errors, alpha) if min(numbers) >= paired.LEAST else (None, None)
    return make_estimate(iqm, low, high, formatting.format_percent, runs)


# -- the variants' verdicts


def build_variants(findings: StudyResults) -> list[Table]:
    """Every variant's verdict across datasets; nothing where only one dataset was planned."""
    verdicts = findings.variants
    if not (verdicts and findings.several_datasets):
        return []
    widths = [(verdict.ci_high or 0.0) - (verdict.ci_low or 0.0) for verdict in verdicts]
    digits = formatting.choose_decimals(width / 2 for width in widths)
    caption = (
        "Mean over datasets of the paired difference in test error to the baseline, in percentage points, with its "
        f"{formatting.format_level(findings.records.alpha)} interval; positive is better. On these datasets: chance is "
        "that of the seeds alone. For datasets like these: the datasets are a sample too, and this decides."
    )
    notes = dict.fromkeys(f"{verdict.label}: left out {text}" for verdict in verdicts for text in verdict.left_out)
    return [fill_table("variants", "Variants across datasets", caption, _list_columns(digits), verdicts, notes)]


def _list_columns(digits: int) -> list[Column[VariantVerdict]]:
    p, points = formatting.format_p_value, partial(formatting.format_points, decimals=digits)
    return [
        Column("variant", "variant", lambda verdict: verdict.label),
        Column("backbone", "backbone", lambda verdict: verdict.backbone or "all"),
        Column("verdict", "verdict", lambda verdict: verdict.verdict),
        Column("datasets", "datasets", lambda verdict: len(verdict.datasets), numeric=True),
        Column("difference", "vs baseline, pp", partial(_make_difference, points), numeric=True),
        Column("p_these", "p on these datasets", lambda verdict: verdict.p_these, p, numeric=True),
        Column("p_like_these", "p for datasets like these", lambda verdict: verdict.p_like_these, p, numeric=True),
        Column("p_adjusted", "the same, Holm-adjusted", lambda verdict: verdict.p_adjusted, p, True, True),
        Column("probability", "P(worse, alike, better)", _make_probability, numeric=True, optional=True),
        Column("reason", "why", lambda verdict: verdict.reason),
    ]


def _make_difference(write: Callable[[float], str], verdict: VariantVerdict) -> Value:
    return make_estimate(verdict.mean_difference, verdict.ci_low, verdict.ci_high, write)


def _make_probability(verdict: VariantVerdict) -> Value:
    if verdict.bayes is None:
        return EMPTY
    return Value(", ".join(f"{part:.2f}" for part in verdict.bayes), verdict.bayes[2])


# -- Friedman's ranks


def build_friedman(findings: StudyResults) -> list[Table]:
    """Average ranks of Friedman's test with the baseline as control, one table per backbone that has it."""
    return [_build_ranks(ranking) for ranking in findings.rankings]


_RANK_COLUMNS: tuple[Column[tuple[float, str, float | None]], ...] = (
    Column("average_rank", "average rank", itemgetter(0), "{:.2f}".format, numeric=True),
    Column("variant", "variant", itemgetter(1)),
    Column("p_value", "p against the baseline", itemgetter(2), formatting.format_p_value, numeric=True),
)


def _build_ranks(ranking: Ranking) -> Table:
    title = f"Ranks over {formatting.format_plural(len(ranking.datasets), 'dataset')}"
    if ranking.backbone:
        title += f": {ranking.backbone}"
    caption = (
        f"Friedman's test over {', '.join(ranking.datasets)}: chi-squared {ranking.statistic:.2f}, Iman-Davenport F "
        f"{ranking.iman_davenport:.2f}, {formatting.format_p(ranking.p_value)}. p of each variant against the "
        f"baseline, Holm-adjusted (Demsar 2006). Critical difference of two ranks at alpha {ranking.alpha:g}: "
        f"{ranking.critical_difference:.2f}."
    )
    ranks = list(zip(ranking.average_ranks, ranking.labels, ranking.p_values, strict=True))
    notes = [f"Left out: {text}" for text in ranking.left_out]
    slug = formatting.slug_of_name(ranking.backbone or "all")
    return fill_table(f"ranks-{slug}", title, caption, _RANK_COLUMNS, ranks, notes)
