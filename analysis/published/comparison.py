"""A published table beside our own results: per row the printed value, ours, both gains, and what that says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from analysis.published.tables import PublishedRow, PublishedTable
from analysis.records.model import Group, Records
from analysis.stats import paired
from analysis.stats.paired import LEAST
from analysis.verdicts.cell_rows import Row, build_cell_rows, row_cell
from analysis.verdicts.pairs import pair_seeds
from analysis.verdicts.results import StudyResults
from suite.core.specs import BASELINE, Component, format_settings, parse_label

_METRICS = {"test_top1_error": ("top1_error", "accuracy"), "test_top5_error": ("top5_error",)}


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """One row. Errors and gains in percent and percentage points, positive where the variant is better.

    Gains are over the table's `reference`: the baseline, unless the table says otherwise.

    Attributes:
        published, published_gain: the printed error, and the printed reference's minus it; None: not printed.
        ours, half_width: our mean test error and half its interval; None: not run, or over an unequal set of seeds.
        gain, gain_half_width: our gain over our reference, paired by seed.
        gain_interval: its t interval, where there is one.
        runs: MLflow runs behind ours.
        outcome: reproduced, direction only, contradicted, not enough evidence, ... (`_describe_outcome`).
        reason: why the outcome is not comparable; else empty.
    """

    model: str
    cell: str
    published: float | None
    published_gain: float | None
    ours: float | None = None
    half_width: float | None = None
    gain: float | None = None
    gain_half_width: float | None = None
    gain_interval: tuple[float, float] | None = None
    seeds: int = 0
    runs: tuple[str, ...] = ()
    outcome: str = "not run"
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class _Gain:
    """Our gain over our reference: fractions, positive where the variant is better; None: not known."""

    ruling: str  # a verdict's, in lower case
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


_Gains = Callable[[Row], _Gain | None]  # of a row of our leaderboard; None: it is the reference itself


def compare_table(table: PublishedTable, findings: StudyResults) -> list[Reproduced]:
    """The table's rows in its own order; rows that nothing here corresponds to keep their published values alone.

    A cell of the records corresponds to a row when its variant is the same, and its dataset and backbone are, which
    may have further settings (a profile's smaller width) but for those by which the table's rows differ.
    """
    board = build_cell_rows(findings)
    gains = _over_reference(table, findings)
    if table.reference.name == BASELINE:
        gains = _over_baseline(findings)
    return [_compare_row(table, row, board, gains, findings.records) for row in table.rows]


def _compare_row(
    table: PublishedTable, row: PublishedRow, board: list[Row], gains: _Gains, records: Records
) -> Reproduced:
    printed = _printed_error(table, row, records.metric)
    plain = Reproduced(
        model=row_name(table, row),
        cell="",
        published=printed,
        published_gain=_printed_gain(table, row, printed, records.metric),
        outcome="not run",
    )
    if row.cell is None:
        return dataclasses.replace(plain, outcome="not implemented here")
    candidates = [ours for ours in board if _is_counterpart(table, row, ours)]
    if not candidates:
        return plain
    ours = min(candidates, key=_count_settings)
    gain = gains(ours)
    compared = dataclasses.replace(
        plain,
        cell=row_cell(ours).label,
        ours=_to_percent(ours["mean_error"]),
        half_width=_to_percent(ours["interval"]),
        seeds=ours["seeds"],
        runs=tuple(ours["runs"]),
        outcome=_describe_outcome(table, gain, plain.published_gain),
    )
    if gain is None:
        return compared
    return dataclasses.replace(
        compared,
        gain=_to_percent(gain.mean),
        gain_half_width=_half_width(gain),
        gain_interval=_find_interval(gain),
        reason=gain.reason,
    )


def row_name(table: PublishedTable, row: PublishedRow) -> str:
    """The row as printed; with its lambda where another row is printed alike."""
    name = row.row
    if row.row != row.model:
        name = f"{row.row}: {row.model}"
    alike = [(other.row, other.model) for other in table.rows].count((row.row, row.model))
    if alike == 1 or row.weight is None:
        return name
    return f"{name}, λ {row.weight:g}"


def _to_percent(value: float | None) -> float | None:
    if value is None:
        return None
    return 100 * value


def _half_width(gain: _Gain) -> float | None:
    if gain.high is None or gain.mean is None:
        return None
    return 100 * (gain.high - gain.mean)


def _find_interval(gain: _Gain) -> tuple[float, float] | None:
    if gain.low is None or gain.high is None:
        return None
    return 100 * gain.low, 100 * gain.high


# -- printed


def _printed_error(table: PublishedTable, row: PublishedRow, metric: str) -> float | None:
    """The printed error in percent; an accuracy is turned round."""
    for name in _METRICS[metric]:
        value = table.read_percent(row, name)
        if value is not None and name == "accuracy":
            return round(100 - value, 10)
        if value is not None:
            return value
    return None


def _printed_gain(table: PublishedTable, row: PublishedRow, printed: float | None, metric: str) -> float | None:
    """Over the reference's row of the same dataset and backbone; None where the table has none."""
    if printed is None or row.cell is None or row.variant == table.reference:
        return None
    for other in table.rows:
        if other.cell is not None and other.variant == table.reference and other.cell.group == row.cell.group:
            reference = _printed_error(table, other, metric)
            if reference is not None:
                return round(reference - printed, 10)
            return None
    return None


# -- which cell of ours


def _is_counterpart(table: PublishedTable, row: PublishedRow, ours: Row) -> bool:
    cell = row.cell
    if cell is None or not _is_variant(ours, cell.variant):
        return False
    datasets = [other.dataset for other in table.rows]
    backbones = [other.backbone for other in table.rows]
    serves_dataset = _serves_label(ours["dataset"], cell.dataset, datasets)
    return serves_dataset and _serves_label(ours["backbone"], cell.backbone, backbones)


def _is_variant(ours: Row, variant: Component) -> bool:
    return (ours["variant"], ours["settings"]) == (variant.name, format_settings(variant.settings))


def _serves_label(label: str, wanted: Component, others: list[Component | None]) -> bool:
    """Whether `label` is the wanted component, with further settings at most by which the table's rows don't differ."""
    name, settings = parse_label(label)
    _, wanted_settings = parse_label(wanted.label)
    decisive = set(wanted_settings)
    for other in others:
        if other is not None:
            decisive.update(dict(other.settings))
    differ = any(wanted_settings.get(key) != settings.get(key) for key in decisive)
    return name == wanted.name and not differ


def _count_settings(ours: Row) -> int:
    """How many settings dataset and backbone have: the fewest are nearest to the paper."""
    _, of_dataset = parse_label(ours["dataset"])
    _, of_backbone = parse_label(ours["backbone"])
    return len(of_dataset) + len(of_backbone)


# -- gains


def _over_baseline(findings: StudyResults) -> _Gains:
    """The verdicts' own."""

    def gain(ours: Row) -> _Gain | None:
        verdict = findings.by_cell.get(row_cell(ours))
        if verdict is None:
            return None
        ruling = verdict.verdict.lower()
        reason = verdict.reason if ruling == "not comparable" else ""
        return _Gain(
            ruling=ruling, mean=verdict.mean_difference, low=verdict.ci_low, high=verdict.ci_high, reason=reason
        )

    return gain


def _over_reference(table: PublishedTable, findings: StudyResults) -> _Gains:
    """Pairs with the reference's cell: the same audit and interval as a verdict's, without a correction for many."""
    known = {(group.dataset, group.backbone): group for group in findings.groups}

    def gain(ours: Row) -> _Gain | None:
        if _is_variant(ours, table.reference):
            return None
        return _pair_gain(ours, known[ours["dataset"], ours["backbone"]], table.reference, findings.records)

    return gain


def _pair_gain(ours: Row, group: Group, reference: Component, records: Records) -> _Gain:
    wanted = format_settings(reference.settings)
    cells = {(cell.variant, cell.settings): cell for cell in group.cells}
    cell = cells[ours["variant"], ours["settings"]]
    pairs = pair_seeds(cell, cells.get((reference.name, wanted)), records.metric, reference.label)
    if pairs.problem:
        return _Gain(ruling="not comparable", reason=pairs.problem)
    differences = pairs.differences
    mean = float(differences.mean())
    if len(differences) < LEAST:
        return _Gain(ruling="single run", mean=mean)
    if paired.all_zero(differences):
        return _Gain(ruling="equivalent", mean=0.0, low=0.0, high=0.0)
    if paired.is_constant(differences):  # no spread, no interval
        low = high = None
        is_significant = paired.sign_flip(differences) < records.alpha
    else:
        interval = paired.run_paired_t(differences, records.alpha)
        low, high = interval.low, interval.high
        is_significant = not low <= 0.0 <= high
    ruling = "helps" if mean > 0 else "hurts"
    if not is_significant:
        ruling = "not enough evidence"
    return _Gain(ruling=ruling, mean=mean, low=low, high=high)


def _describe_outcome(table: PublishedTable, gain: _Gain | None, published: float | None) -> str:
    """What our gain says of the printed one (percentage points). No correction for many where no verdict gave it."""
    is_over_baseline = table.reference.name == BASELINE
    if gain is None:
        return BASELINE if is_over_baseline else "reference"
    outcome = _compare_gains(gain, published)
    if is_over_baseline or gain.ruling in {"single run", "not comparable"}:
        return outcome
    return f"{outcome}, unadjusted"


def _compare_gains(gain: _Gain, published: float | None) -> str:
    if gain.ruling not in {"helps", "hurts"}:
        return gain.ruling
    if published is None:
        return f"{gain.ruling}; no printed gain"
    assert gain.mean is not None
    if published * gain.mean <= 0:
        return "contradicted"
    low, high = _find_interval(gain) or (100 * gain.mean, 100 * gain.mean)  # without spread both are the mean
    if round(low, 9) <= published <= round(high, 9):
        return "reproduced"
    return "direction only"
