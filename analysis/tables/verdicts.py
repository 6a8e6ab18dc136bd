"""Every cell's verdict with the numbers behind it."""

from __future__ import annotations

from operator import itemgetter

from analysis import formatting
from analysis.tables import EMPTY, Column, Table, Value, fill_table, make_estimate
from analysis.tables.leaderboard import CELL, DATASET, DECODERS, make_difference, name_metric, set_digits
from analysis.verdicts.cell_rows import Row, build_cell_rows, row_cell
from analysis.verdicts.results import StudyResults


def build_verdicts(findings: StudyResults) -> list[Table]:
    """One table of all non-baseline cells, in the order of the plan; nothing where there is none."""
    if not findings.verdicts:
        return []
    rows = {row_cell(row): row for row in set_digits(build_cell_rows(findings))}
    judged = [rows[verdict.cell_id] | vars(verdict) for verdict in findings.verdicts]
    records = findings.records
    caption = (
        f"Paired difference in test {name_metric(records)} error to the baseline, in percentage points, with its "
        f"{formatting.format_level(records.alpha)} interval; positive is better. p: of the test that decides at this "
        "number of seeds; Holm-adjusted over every non-baseline cell of the study. Bootstrap: the mean difference's "
        "BCa interval, from 10 seeds on; it decides nothing. MDE: minimum detectable effect, the smallest mean "
        "difference that so many seeds detect with power 0.8; seeds needed: to detect "
        f"{formatting.format_size(records.rope)} pp. Seed correlation: of baseline's and variant's errors over the "
        "seeds."
    )
    return [fill_table("verdicts", "Verdicts", caption, _COLUMNS, judged)]


def _make_bootstrap(row: Row) -> Value:
    if row["bootstrap"] is None:
        return EMPTY
    low, high = row["bootstrap"]
    text = f"[{formatting.format_interval(low, high, row['digits'])}]"
    return Value(text, row["mean_difference"], low=low, high=high)


def _make_probability(row: Row) -> Value:
    number, low, high = row["probability_better"] or (None, None, None)
    return make_estimate(number, low, high, "{:.2f}".format)


_COLUMNS: tuple[Column[Row], ...] = (  # of a row of the leaderboard and its verdict
    DATASET,
    *CELL,
    Column("verdict", "verdict", itemgetter("verdict")),
    Column("difference", "vs baseline, pp", make_difference, numeric=True),
    Column("seeds", "seeds", itemgetter("seeds"), numeric=True),
    DECODERS,
    Column("wins", "wins", itemgetter("wins"), numeric=True),
    Column("p_value", "p", itemgetter("p_value"), formatting.format_p_value, numeric=True),
    Column("p_adjusted", "p, Holm-adjusted", itemgetter("p_adjusted"), formatting.format_p_value, numeric=True),
    Column("test", "test", lambda row: row["test"] or None),
    Column("bootstrap", "bootstrap interval, pp", _make_bootstrap, numeric=True, optional=True),
    Column("probability_better", "P(variant better)", _make_probability, numeric=True, optional=True),
    Column(
        "equivalence_p",
        "p of TOST",
        itemgetter("equivalence_p"),
        formatting.format_p_value,
        numeric=True,
        optional=True,
    ),
    Column("smallest_effect", "MDE, pp", itemgetter("smallest_effect"), formatting.format_size, numeric=True),
    Column("seeds_needed", "seeds needed", itemgetter("seeds_needed"), numeric=True),
    Column(
        "seed_correlation", "seed correlation", itemgetter("seed_correlation"), "{:.2f}".format,
        numeric=True, optional=True,
    ),
    Column("reason", "why", lambda row: "; ".join((row["reason"], *row["warnings"]))),
)  # fmt: skip
