"""Every cell's verdict with the numbers behind it."""

from __future__ import annotations

from analysis import formatting
from analysis.tables import EMPTY, Column, Table, Value, without_empty
from analysis.tables.leaderboard import choose_board_decimals, difference_value, metric_name
from analysis.verdicts.cell_rows import Row, build_cell_rows, row_cell
from analysis.verdicts.model import Verdict
from analysis.verdicts.results import CellName, StudyResults, cell_name

_COLUMNS = (
    Column("dataset", "dataset"),
    Column("backbone", "backbone"),
    Column("variant", "variant"),
    Column("verdict", "verdict"),
    Column("difference", "vs baseline, pp", numeric=True),
    Column("seeds", "seeds", numeric=True),
    Column("wins", "wins", numeric=True),
    Column("p_value", "p", numeric=True),
    Column("p_adjusted", "p, Holm-adjusted", numeric=True),
    Column("test", "test"),
    Column("bootstrap", "bootstrap interval, pp", numeric=True),
    Column("probability_better", "P(variant better)", numeric=True),
    Column("equivalence_p", "p of TOST", numeric=True),
    Column("smallest_effect", "MDE, pp", numeric=True),
    Column("seeds_needed", "seeds needed", numeric=True),
    Column("seed_correlation", "seed correlation", numeric=True),
    Column("reason", "why"),
)
_OPTIONAL = frozenset({"bootstrap", "probability_better", "equivalence_p", "seed_correlation"})


def build_verdicts(findings: StudyResults) -> list[Table]:
    """One table of all non-baseline cells, in the order of the plan; nothing where there is none."""
    if not findings.verdicts:
        return []
    rows: dict[CellName, Row] = {row_cell(row): row for row in build_cell_rows(findings)}
    digits = choose_board_decimals(list(rows.values()))
    columns, shown = without_empty(
        _COLUMNS, [_make_values(one, rows[cell_name(one)], digits) for one in findings.verdicts], _OPTIONAL
    )
    records = findings.records
    table = Table(
        id="verdicts",
        title="Verdicts",
        caption=(
            f"Paired difference in test {metric_name(records)} error to the baseline, in percentage points, with its "
            f"{formatting.format_level(records.alpha)} interval; positive is better. p: of the test that "
            "decides at this number "
            "of seeds; Holm-adjusted over every non-baseline cell of the study. Bootstrap: the mean difference's BCa "
            "interval, from 10 seeds on; it decides nothing. MDE: minimum detectable effect, the smallest mean "
            "difference that so many seeds detect with power 0.8; seeds needed: to detect "
            f"{formatting.format_size(records.rope)} pp. Seed correlation: of baseline's and variant's errors over "
            "the seeds."
        ),
        columns=columns,
        rows=shown,
    )
    return [table]


def _make_values(one: Verdict, row: Row, digits: int) -> tuple[Value, ...]:
    better = one.probability_better
    chance = EMPTY
    if better is not None:
        value, low, high = better
        chance = Value(f"{value:.2f}", value, detail=f"[{low:.2f} .. {high:.2f}]", low=low, high=high)
    sees = (
        EMPTY
        if one.smallest_effect is None
        else Value(formatting.format_size(one.smallest_effect), one.smallest_effect)
    )
    correlation = EMPTY if one.seed_correlation is None else Value(f"{one.seed_correlation:.2f}", one.seed_correlation)
    return (
        Value(one.dataset),
        Value(one.backbone),
        Value(one.label),
        Value(one.verdict),
        difference_value(row, digits),
        Value(str(one.seeds), one.seeds),
        _make_count_value(one.wins),
        Value(formatting.p_value(one.p_value), one.p_value),
        Value(formatting.p_value(one.p_adjusted), one.p_adjusted),
        Value(one.test or formatting.NONE),
        _make_bootstrap_value(one, digits),
        chance,
        Value(formatting.p_value(one.equivalence_p), one.equivalence_p),
        sees,
        _make_count_value(one.seeds_needed),
        correlation,
        Value("; ".join((one.reason, *one.warnings))),
    )


def _make_bootstrap_value(one: Verdict, digits: int) -> Value:
    if one.bootstrap is None:
        return EMPTY
    low, high = one.bootstrap
    return Value(f"[{formatting.format_interval(low, high, digits)}]", one.mean_difference, low=low, high=high)


def _make_count_value(number: int | None) -> Value:
    return EMPTY if number is None else Value(str(number), number)
