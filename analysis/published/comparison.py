"""A published table beside our own results: per row the printed value, ours, both gains, and what that says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.published.outcomes import Gain, describe_collapse, describe_outcome
from analysis.published.tables import PublishedRow, PublishedTable
from analysis.records.model import CellResults, Group, Records
from analysis.stats import paired
from analysis.stats.paired import LEAST, Differences
from analysis.verdicts.cell_rows import Row, build_cell_rows, row_cell
from analysis.verdicts.pairs import pair_seeds
from analysis.verdicts.results import StudyResults
from suite.core.specs import BASELINE, CellId, Component, format_settings, parse_label

_METRICS = {"test_top1_error": ("top1_error", "accuracy"), "test_top5_error": ("top5_error",)}


@dataclass(frozen=True, kw_only=True)
class Reproduced:
    """One row. Errors and gains in percent and percentage points, positive where the variant is better.

    Gains are over the table's `reference`: the baseline, unless the table says otherwise.

    Attributes:
        published, published_gain: the printed error, and the printed reference's minus it; None: not printed.
        printed: a figure that is no error or accuracy, in the paper's words; empty: none.
        ours, half_width: our mean test error and half its interval; None: not run, or over an unequal set of seeds.
        gain, gain_half_width: our gain over our reference, paired by seed.
        gain_interval: its t interval, where there is one.
        runs: MLflow runs behind ours.
        outcome: reproduced, direction only, contradicted, not enough evidence, ... (`describe_outcome`).
        predicted: half-width of the interval around our gain in which a printed one, of single runs, is expected.
        reason: why the outcome is not comparable; else empty.
        decoders: of our network; None: it has none.
    """

    model: str
    cell: str
    published: float | None
    published_gain: float | None
    printed: str = ""
    ours: float | None = None
    half_width: float | None = None
    gain: float | None = None
    gain_half_width: float | None = None
    gain_interval: tuple[float, float] | None = None
    predicted: float | None = None
    seeds: int = 0
    runs: tuple[str, ...] = ()
    outcome: str = "not run"
    reason: str = ""
    decoders: int | None = None


_Gains = Callable[[Row], Gain | None]  # of a row of our leaderboard; None: it is the reference itself


def compare_table(table: PublishedTable, findings: StudyResults) -> list[Reproduced]:
    """The table's rows in its own order; rows that nothing here corresponds to keep their published values alone.

    A cell of the records corresponds to a row when its variant is the same, and its dataset and backbone are, which
    may have further settings (a profile's smaller width) but for those by which the table's rows differ.
    """
    board = build_cell_rows(findings)
    gains = _over_reference(table, findings)
    if table.reference.name == BASELINE:
        gains = _over_baseline(findings)
    cells = {cell.cell_id: cell for group in findings.groups for cell in group.cells}
    compared = []
    for row in table.rows:
        if row.mean:
            compared.append(_compare_mean(table, row, board, findings))
        else:
            compared.append(_compare_row(table, row, board, gains, findings, cells))
    return compared


def _compare_row(
    table: PublishedTable,
    row: PublishedRow,
    board: list[Row],
    gains: _Gains,
    findings: StudyResults,
    cells: Mapping[CellId, CellResults],
) -> Reproduced:
    records = findings.records
    plain = _printed_alone(table, row, records.metric)
    if row.cell is None:
        return dataclasses.replace(plain, outcome="not implemented here")
    ours = find_counterpart(table, row, board)
    if ours is None:
        return plain
    gain = gains(ours)
    compared = dataclasses.replace(
        plain,
        cell=row_cell(ours).label,
        ours=_to_percent(ours["mean_error"]),
        half_width=_to_percent(ours["interval"]),
        seeds=ours["seeds"],
        runs=tuple(ours["runs"]),
        decoders=ours["decoders"],
        outcome=describe_outcome(table, gain, plain.published_gain, records.rope),
    )
    if row.ensemble:
        compared = _with_ensemble(compared, findings, row_cell(ours))
    if row.collapsed and gain is not None:
        return dataclasses.replace(compared, outcome=describe_collapse(cells[row_cell(ours)]), reason=gain.reason)
    if gain is None:
        return compared
    return dataclasses.replace(_with_gain(compared, gain), reason=gain.reason)


def _printed_alone(table: PublishedTable, row: PublishedRow, metric: str) -> Reproduced:
    """The row without anything of ours."""
    printed = _printed_error(table, row, metric)
    gain = _printed_gain(table, row, printed, metric)
    return Reproduced(model=row_name(table, row), cell="", published=printed, published_gain=gain, printed=row.printed)


def _with_ensemble(row: Reproduced, findings: StudyResults, cell_id: CellId) -> Reproduced:
    """The error of our ensemble in the place of our mean of single networks; where there is none, the cell says so."""
    found = findings.ensembles.get(cell_id)
    error = None if found is None or isinstance(found, str) else found.errors.get(findings.records.metric)
    if error is None or found is None or isinstance(found, str):
        return dataclasses.replace(row, cell=f"{row.cell}, single networks")
    half = _to_percent((error.high - error.low) / 2)
    cell = f"{row.cell}, ensemble of {found.networks}"
    return dataclasses.replace(row, cell=cell, ours=_to_percent(error.error), half_width=half)


def _with_gain(row: Reproduced, gain: Gain) -> Reproduced:
    return dataclasses.replace(
        row,
        gain=_to_percent(gain.mean),
        gain_half_width=_half_width(gain),
        gain_interval=_find_interval(gain),
        predicted=_to_percent(gain.predicted),
    )


def row_name(table: PublishedTable, row: PublishedRow) -> str:
    """The row as printed; with its lambda where another row is printed alike."""
    name = row.row
    if row.row != row.model:
        name = f"{row.row}: {row.model}"
    if row.ensemble:
        name += " (ensemble)"
    alike = [(other.row, other.model) for other in table.rows].count((row.row, row.model))
    if alike == 1 or row.weight is None:
        return name
    return f"{name}, λ {row.weight:g}"


def _to_percent(value: float | None) -> float | None:
    if value is None:
        return None
    return 100 * value


def _half_width(gain: Gain) -> float | None:
    if gain.high is None or gain.mean is None:
        return None
    return 100 * (gain.high - gain.mean)


def _find_interval(gain: Gain) -> tuple[float, float] | None:
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
    """Over the reference's row of the same dataset and backbone, or its mean for a mean; None where there is none."""
    if printed is None or row.variant in {None, table.reference}:
        return None
    for other in table.rows:
        if other.variant == table.reference and _is_of_one_group(row, other):
            reference = _printed_error(table, other, metric)
            return None if reference is None else round(reference - printed, 10)
    return None


def _is_of_one_group(row: PublishedRow, other: PublishedRow) -> bool:
    if row.mean or other.mean:
        return row.mean and other.mean
    return row.cell is not None and other.cell is not None and row.cell.group == other.cell.group


# -- which cell of ours


def find_counterpart(table: PublishedTable, row: PublishedRow, board: list[Row]) -> Row | None:
    """Our cell that corresponds to a row of the table; of several the one with the fewest settings. None: not run."""
    candidates = [ours for ours in board if _is_counterpart(table, row, ours)]
    return min(candidates, key=_count_settings) if candidates else None


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

    def gain(ours: Row) -> Gain | None:
        verdict = findings.by_cell.get(row_cell(ours))
        if verdict is None:
            return None
        ruling = verdict.verdict.lower()
        reason = verdict.reason if ruling == "not comparable" else ""
        cell, baseline = cells[row_cell(ours)]
        return Gain(
            ruling=ruling,
            mean=verdict.mean_difference,
            low=verdict.ci_low,
            high=verdict.ci_high,
            predicted=_predict_single_runs(cell, baseline, findings.records),
            reason=reason,
        )

    cells = {cell.cell_id: (cell, group.baseline) for group in findings.groups for cell in group.cells}
    return gain


def _over_reference(table: PublishedTable, findings: StudyResults) -> _Gains:
    """Pairs with the reference's cell: the same audit and interval as a verdict's, without a correction for many."""
    known = {(group.dataset, group.backbone): group for group in findings.groups}

    def gain(ours: Row) -> Gain | None:
        if _is_variant(ours, table.reference):
            return None
        return _pair_gain(ours, known[ours["dataset"], ours["backbone"]], table.reference, findings.records)

    return gain


def _pair_gain(ours: Row, group: Group, reference: Component, records: Records) -> Gain:
    wanted = format_settings(reference.settings)
    cells = {(cell.variant, cell.settings): cell for cell in group.cells}
    cell = cells[ours["variant"], ours["settings"]]
    pairs = pair_seeds(cell, cells.get((reference.name, wanted)), records.metric, reference.label)
    if pairs.problem:
        return Gain(ruling="not comparable", reason=pairs.problem)
    predicted = _predict_single_runs(cell, cells.get((reference.name, wanted)), records)
    return _rule_gain(pairs.differences, predicted, records)


def _rule_gain(differences: Differences, predicted: float, records: Records) -> Gain:
    """By the t interval of the paired differences, without a correction for many."""
    mean = float(differences.mean())
    if len(differences) < LEAST:
        return Gain(ruling="single run", mean=mean)
    if paired.all_zero(differences):
        return Gain(ruling="equivalent", mean=0.0, low=0.0, high=0.0, predicted=predicted)
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
    return Gain(ruling=ruling, mean=mean, low=low, high=high, predicted=predicted)


def _predict_single_runs(cell: CellResults, reference: CellResults | None, records: Records) -> float:
    """Half-width, a fraction, of the interval around our gain in which that of one run of each is expected.

    The runs behind a printed gain share no seed, so both scatters count, beside the uncertainty of our own mean. It
    does not shrink to nothing with more seeds of ours: a printed single run doesn't become more precise.
    """
    if reference is None:
        return 0.0
    errors, others = cell.errors_by_seed(records.metric), reference.errors_by_seed(records.metric)
    seeds = sorted(errors.keys() & others.keys())
    ours, theirs = (np.array([of[seed] for seed in seeds]) for of in (errors, others))
    return _predict_from_runs(ours, theirs, records.alpha)


def _predict_from_runs(ours: Differences, theirs: Differences, alpha: float) -> float:
    """As `_predict_single_runs`, from errors of equal seeds."""
    if len(ours) < LEAST:
        return 0.0
    of_runs = ours.var(ddof=1) + theirs.var(ddof=1)
    of_mean = (theirs - ours).var(ddof=1) / len(ours)
    return float(special.stdtrit(len(ours) - 1, 1 - alpha / 2)) * float(np.sqrt(of_runs + of_mean))


# -- rows that are the mean of others


def _compare_mean(table: PublishedTable, row: PublishedRow, board: list[Row], findings: StudyResults) -> Reproduced:
    """The mean over the table's rows of its variant: ours over the seeds that all of them, and their references, have.

    The gain is the mean of the rows' paired differences, seed by seed.
    """
    records = findings.records
    plain = _printed_alone(table, row, records.metric)
    errors = _mean_errors(table, row.variant, board, findings)
    references = _mean_errors(table, table.reference, board, findings)
    seeds = sorted(errors.keys() & references.keys())
    if not seeds:
        return plain
    ours, theirs = (np.array([of[seed] for seed in seeds]) for of in (errors, references))
    compared = dataclasses.replace(plain, cell=row.row, ours=100 * float(ours.mean()), seeds=len(seeds))
    if row.variant == table.reference:
        return dataclasses.replace(compared, outcome=describe_outcome(table, None, None, records.rope))
    gain = _rule_gain(theirs - ours, _predict_from_runs(ours, theirs, records.alpha), records)
    outcome = describe_outcome(table, gain, plain.published_gain, records.rope)
    return _with_gain(dataclasses.replace(compared, outcome=outcome), gain)


def _mean_errors(
    table: PublishedTable, variant: Component | None, board: list[Row], findings: StudyResults
) -> dict[int, float]:
    """By seed, the mean error over the table's rows of a variant; empty where one of them wasn't run."""
    cells = {cell.cell_id: cell for group in findings.groups for cell in group.cells}
    found: list[dict[int, float]] = []
    for row in table.rows:
        if row.mean or row.cell is None or row.variant != variant:
            continue
        ours = find_counterpart(table, row, board)
        if ours is None:
            return {}
        found.append(cells[row_cell(ours)].errors_by_seed(findings.records.metric))
    seeds = set.intersection(*map(set, found)) if found else set()
    return {seed: sum(errors[seed] for errors in found) / len(found) for seed in sorted(seeds)}
