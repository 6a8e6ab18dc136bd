"""Across datasets: standings of every backbone with every variant, the variants' verdicts, and Friedman's ranks.

The unit is the dataset. Every figure of a table is over the same datasets for all its rows: an average over unequal
sets is refused, so what lacks a dataset is left out and named.
"""

from __future__ import annotations

import statistics as stdlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from analysis import formatting
from analysis.records.model import Records
from analysis.stats import paired
from analysis.stats.complete_subset import without_gaps
from analysis.tables import EMPTY, Column, Table, Value, without_empty
from analysis.tables.leaderboard import metric_name
from analysis.verdicts.cell_rows import Row, build_cell_rows, rank_errors, row_cell
from analysis.verdicts.model import VariantVerdict
from analysis.verdicts.rankings import Ranking
from analysis.verdicts.results import StudyResults, cell_name

Pair = tuple[str, str]  # backbone, variant with its settings


@dataclass(frozen=True)
class Compared:
    """What an overall table is over: every one of `pairs` is comparable on every one of `datasets`."""

    pairs: tuple[Pair, ...]
    datasets: tuple[str, ...]
    rows: Mapping[tuple[Pair, str], Row]
    left_out: tuple[str, ...] = field(default=())


def build_overall(findings: StudyResults) -> list[Table]:
    """Mean rank, wins and interquartile mean per backbone and variant; nothing where only one dataset was planned."""
    if not findings.several_datasets:
        return []
    compared = find_comparable(findings)
    table = Table(
        id="overall",
        title="Over all datasets",
        caption=_write_caption(findings.records, compared),
        columns=_COLUMNS,
        rows=tuple(_make_rows(compared, findings.records)),
        notes=(*_write_notes(compared), *findings.unranked_sentences),
    )
    return [table]


def _write_notes(compared: Compared) -> list[str]:
    notes = [f"Left out: {sentence}" for sentence in compared.left_out]
    seeds = {dataset: row["seeds"] for (_, dataset), row in compared.rows.items()}
    if len(set(seeds.values())) > 1:
        told = ", ".join(f"{dataset} {number}" for dataset, number in seeds.items())
        notes.append(f"No IQM: the datasets don't have the same number of seeds ({told}) and would weigh unequally.")
    return notes


def find_comparable(findings: StudyResults) -> Compared:
    """The pairs and datasets without a gap between them.

    What is left out is what `analysis.stats.complete_subset.without_gaps` leaves out; each with its reason.
    """
    rows = {row_cell(row): row for row in build_cell_rows(findings)}
    found = {
        ((cell.backbone, cell.label), cell.dataset): rows[cell_name(cell)]
        for group in findings.groups
        for cell in group.cells
    }
    good = {where for where, row in found.items() if row["comparable"]}
    every_pair = list(dict.fromkeys(pair for pair, _ in found))
    every_dataset = list(dict.fromkeys(dataset for _, dataset in found))
    pairs, datasets = without_gaps(every_pair, every_dataset, lambda pair, dataset: (pair, dataset) in good)
    left_out = []
    for pair in every_pair:
        if pair not in pairs:
            lacking = [dataset for dataset in datasets or every_dataset if (pair, dataset) not in good]
            where = ", ".join(f"{dataset}: {_explain_row(found.get((pair, dataset)))}" for dataset in lacking)
            left_out.append(f"{pair[0]} / {pair[1]} ({where})")
    for dataset in every_dataset:
        if dataset not in datasets:
            absent = [f"{pair[0]} / {pair[1]}" for pair in pairs or every_pair if (pair, dataset) not in good]
            left_out.append(f"the dataset {dataset} (not comparable there: {', '.join(absent)})")
    kept = {(pair, dataset): found[pair, dataset] for pair in pairs for dataset in datasets}
    return Compared(tuple(pairs), tuple(datasets), kept, tuple(left_out))


def _explain_row(row: Row | None) -> str:
    return "not in the study" if row is None else row["reason"] or "no test error"


_COLUMNS = (
    Column("mean_rank", "mean rank", numeric=True),
    Column("backbone", "backbone"),
    Column("variant", "variant"),
    Column("wins", "wins", numeric=True),
    Column("iqm", "IQM of error %", numeric=True),
    Column("mean_error", "mean error %", numeric=True),
    Column("datasets", "datasets", numeric=True),
)


def _write_caption(records: Records, compared: Compared) -> str:
    over = ", ".join(compared.datasets) or "no dataset"
    return (
        f"Test {metric_name(records)} error over {over}. Mean rank: within a dataset 1 is the lowest mean error and "
        "ties share a rank. Wins: datasets on which no other is lower. IQM: interquartile mean of the errors of all "
        f"seeds and datasets, with its {formatting.format_level(records.alpha)} bootstrap interval (stratified by "
        "dataset). A description: the tests are in the verdicts."
    )


def _make_rows(compared: Compared, records: Records) -> list[tuple[Value, ...]]:
    by_dataset = [
        rank_errors([compared.rows[pair, dataset]["mean_error"] for pair in compared.pairs])
        for dataset in compared.datasets
    ]
    lowest = [min(own, default=0.0) for own in by_dataset]
    shown = []
    for index, pair in enumerate(compared.pairs):
        own = [line[index] for line in by_dataset]
        if not own:
            continue
        rows = [compared.rows[pair, dataset] for dataset in compared.datasets]
        wins = sum(rank == best for rank, best in zip(own, lowest, strict=True))
        mean = stdlib.fmean(row["mean_error"] for row in rows)
        runs = tuple(run for row in rows for run in row["runs"])
        average = stdlib.fmean(own)
        values = (
            Value(f"{average:.2f}", average),
            Value(pair[0]),
            Value(pair[1]),
            Value(str(wins), wins),
            _make_iqm_value(rows, records.alpha, runs),
            Value(formatting.format_percent(mean), mean),
            Value(str(len(rows)), len(rows)),
        )
        shown.append(values)
    return sorted(shown, key=lambda values: (values[0].number or 0.0, values[5].number or 0.0))


def _make_iqm_value(rows: list[Row], alpha: float, runs: tuple[str, ...]) -> Value:
    """Interquartile mean of all errors of the pair, every dataset drawn from by itself for the interval."""
    errors = {row["dataset"]: row["errors"] for row in rows}
    if len(set(map(len, errors.values()))) > 1:
        return EMPTY  # datasets would weigh unequally; a note says so
    value = paired.compute_iqm([error for own in errors.values() for error in own])
    if min(map(len, errors.values())) < paired.LEAST:
        return Value(formatting.format_percent(value), value, runs=runs)
    low, high = paired.iqm_interval(errors, alpha)
    text = f"[{formatting.format_percent(low)} .. {formatting.format_percent(high)}]"
    return Value(formatting.format_percent(value), value, detail=text, runs=runs, low=low, high=high)


# -- the variants' verdicts


def build_variants(findings: StudyResults) -> list[Table]:
    """Every variant's verdict across datasets; nothing where only one dataset was planned."""
    if not (findings.variants and findings.several_datasets):
        return []
    digits = formatting.choose_decimals(_half_width(one) for one in findings.variants)
    columns, rows = without_empty(
        _VARIANT_COLUMNS,
        [_make_variant_row(one, digits) for one in findings.variants],
        frozenset({"probability", "p_adjusted"}),
    )
    table = Table(
        id="variants",
        title="Variants across datasets",
        caption=(
            "Mean over datasets of the paired difference in test error to the baseline, in percentage points, with its "
            f"{formatting.format_level(findings.records.alpha)} interval; positive is better. On these "
            "datasets: chance is that "
            "of the seeds alone. For datasets like these: the datasets are a sample too, and this decides."
        ),
        columns=columns,
        rows=rows,
        notes=tuple(
            dict.fromkeys(f"{one.label}: left out {text}" for one in findings.variants for text in one.left_out)
        ),
    )
    return [table]


_VARIANT_COLUMNS = (
    Column("variant", "variant"),
    Column("backbone", "backbone"),
    Column("verdict", "verdict"),
    Column("datasets", "datasets", numeric=True),
    Column("difference", "vs baseline, pp", numeric=True),
    Column("p_these", "p on these datasets", numeric=True),
    Column("p_like_these", "p for datasets like these", numeric=True),
    Column("p_adjusted", "the same, Holm-adjusted", numeric=True),
    Column("probability", "P(worse, alike, better)", numeric=True),
    Column("reason", "why"),
)


def _make_variant_row(one: VariantVerdict, digits: int) -> tuple[Value, ...]:
    difference = EMPTY
    if one.mean_difference is not None:
        between = "" if one.ci_low is None else f"[{formatting.format_interval(one.ci_low, one.ci_high, digits)}]"
        text = formatting.format_points(one.mean_difference, digits)
        difference = Value(text, one.mean_difference, detail=between, low=one.ci_low, high=one.ci_high)
    chances = EMPTY if one.bayes is None else Value(", ".join(f"{part:.2f}" for part in one.bayes), one.bayes[2])
    return (
        Value(one.label),
        Value(one.backbone or "all"),
        Value(one.verdict),
        Value(str(len(one.datasets)), len(one.datasets)),
        difference,
        *(Value(formatting.p_value(p), p) for p in (one.p_these, one.p_like_these, one.p_adjusted)),
        chances,
        Value(one.reason),
    )


def _half_width(one: VariantVerdict) -> float | None:
    return None if one.ci_low is None or one.ci_high is None else (one.ci_high - one.ci_low) / 2


# -- Friedman's ranks


def build_friedman(findings: StudyResults) -> list[Table]:
    """Average ranks of Friedman's test with the baseline as control, one table per backbone that has it."""
    return [_build_friedman_table(one) for one in findings.rankings]


def _build_friedman_table(one: Ranking) -> Table:
    rows = []
    for label, rank, p in zip(one.labels, one.average_ranks, one.p_values, strict=True):
        rows.append((Value(f"{rank:.2f}", rank), Value(label), Value(formatting.p_value(p), p)))
    return Table(
        id=f"ranks-{formatting.slug_of_name(one.backbone or 'all')}",
        title=f"Ranks over {formatting.format_plural(len(one.datasets), 'dataset')}"
        + (f": {one.backbone}" if one.backbone else ""),
        caption=(
            f"Friedman's test over {', '.join(one.datasets)}: chi-squared {one.statistic:.2f}, Iman-Davenport F "
            f"{one.iman_davenport:.2f}, {formatting.p_is(one.p_value)}. p of each variant against the baseline, "
            f"Holm-adjusted (Demsar 2006). Critical difference of two ranks at alpha {one.alpha:g}: "
            f"{one.critical_difference:.2f}."
        ),
        columns=(
            Column("average_rank", "average rank", numeric=True),
            Column("variant", "variant"),
            Column("p_value", "p against the baseline", numeric=True),
        ),
        rows=tuple(rows),
        notes=tuple(f"Left out: {text}" for text in one.left_out),
    )
