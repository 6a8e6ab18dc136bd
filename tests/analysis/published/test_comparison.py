"""A published table beside records with known effects: which cell is which row, both gains, and what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from analysis import testing
from analysis.formatting import NONE
from analysis.published.comparison import Reproduced, compare_table
from analysis.published.outcomes import Gain, describe_outcome, explain_outcomes
from analysis.published.tables import PublishedTable, list_tables, load_table, parse_tables
from analysis.tables.published import build_comparisons, to_json, to_markdown, to_table
from analysis.verdicts.ensembles import Ensemble, EnsembleError
from analysis.verdicts.model import RULINGS
from analysis.verdicts.results import StudyResults
from suite.core.specs import CellId

BASE = [0.300, 0.310, 0.305, 0.295, 0.302]
EVEN = [0.3000, 0.3004, 0.2996, 0.3002, 0.2998]
NOISE = [0.0000, 0.0010, -0.0010, 0.0005, -0.0005]

TABLE = """
paper: {title: T, authors: [A], year: 2020, where: W, remarks: [of the paper]}
tables:
  - id: made-table-1
    place: Table 1
    title: t
    protocol: p
    metrics: [top1_error, top5_error]
    unit: percent
    remarks: [of the table]
    defaults: {dataset: mnist, backbone: base_cnn, variant: sire, recipe: sire}
    rows:
      - {model: Plain, variant: baseline, top1_error: 30.0, top5_error: 10.0}
      - {model: SIRe, top1_error: 28.0, top5_error: 9.0}
      - {model: Strong, settings: {lambda: 0.5}, top1_error: 35.0}
      - {model: Absent, settings: {lambda: 1.0}, top1_error: 20.0}
      - {model: Other, backbone: null, variant: null, top1_error: 1.0}
"""


def made(reference: str = "") -> PublishedTable:
    """The made-up table."""
    [table] = parse_tables(TABLE.replace("unit: percent", f"unit: percent\n    reference: {reference}"), "made")
    return table


def better(by: float, seeds: int = 5) -> list[float]:
    """Errors that are lower than the baseline's by about so many percentage points."""
    return [base - by / 100 - noise for base, noise in zip(BASE[:seeds], NOISE, strict=False)]


def study(errors: dict[str, Any], dataset: str = "mnist", backbone: str = "base_cnn", **changes: Any) -> StudyResults:
    return StudyResults(testing.make_study(errors, dataset, backbone, **changes))


def rows(errors: dict[str, Any], table: PublishedTable | None = None, **changes: Any) -> dict[str, Reproduced]:
    return {row.model: row for row in compare_table(table or made(), study(errors, **changes))}


# -- rows


def test_rows_stand_in_the_papers_order_and_none_is_lost() -> None:
    found = compare_table(made(), study({"sire:lambda=0.5": better(-5), "sire": better(2), "baseline": BASE}))
    assert [row.model for row in found] == ["Plain", "SIRe", "Strong", "Absent", "Other"]
    assert [row.outcome for row in found] == [
        "baseline", "reproduced", "reproduced", "not run", "not implemented here",
    ]  # fmt: skip
    absent = found[3]
    assert (absent.published, absent.published_gain, absent.ours, absent.gain, absent.seeds, absent.cell) == (
        20.0, 10.0, None, None, 0, "",
    )  # fmt: skip
    assert found[4].published == 1.0 and found[4].published_gain is None


def test_errors_and_gains_are_in_percent() -> None:
    found = rows({"baseline": BASE, "sire": better(2)})["SIRe"]
    assert found.cell == "mnist / base_cnn / sire"
    assert (found.published, found.published_gain, found.seeds) == (28.0, 2.0, 5)
    assert found.ours == pytest.approx(100 * sum(better(2)) / 5)
    assert found.gain == pytest.approx(2.0)
    assert found.half_width is not None and found.gain_half_width is not None
    assert 0 < found.gain_half_width < found.half_width, "pairs take out what seeds share"


@pytest.mark.parametrize("name", list_tables())
def test_every_published_table_stands_beside_records_of_something_else(name: str) -> None:
    table = load_table(name)
    records = study({"baseline": BASE, "sire": better(2)}, "digits", "cnn")
    found = compare_table(table, records)
    assert len(found) == len(table.rows)
    assert {row.outcome for row in found} <= {"not run", "not implemented here"}
    assert to_json(table, records)
    assert to_markdown(table, records).startswith(f"# {table.paper.name}, {table.place}")


def test_accuracies_are_turned_into_errors() -> None:
    table = load_table("diffstride-spectral-hybrid-table-1")  # in fractions
    found = compare_table(table, study({"baseline": BASE}))[1]
    assert found.model == "1, 1, 2, 2, 2: DiffStride-Spectral Pool"
    assert found.published == pytest.approx(6.72) and found.published_gain == pytest.approx(0.78)
    percent = compare_table(load_table("cifar10-cnn-project-table-1"), study({"baseline": BASE}))
    assert percent[1].published == pytest.approx(33.40) and percent[2].published_gain == pytest.approx(62.10 - 66.60)


def test_a_printed_ensemble_stands_beside_ours() -> None:
    [table] = parse_tables(TABLE.replace("model: Plain", "model: Plain, ensemble: true"), "made")
    findings = study({"baseline": BASE, "sire": better(2)})
    single, other = compare_table(table, findings)[:2]
    assert (single.model, single.cell) == ("Plain (ensemble)", "mnist / base_cnn / baseline, single networks")
    assert single.ours == pytest.approx(100 * sum(BASE) / 5)
    error = EnsembleError(single=0.3, error=0.25, low=0.23, high=0.29)
    ensemble = Ensemble(networks=5, images=400, errors={"test_top1_error": error})
    findings.__dict__["ensembles"] = {CellId("mnist", "base_cnn", "baseline", ""): ensemble}
    ours, same = compare_table(table, findings)[:2]
    assert ours.cell == "mnist / base_cnn / baseline, ensemble of 5" and ours.ours == pytest.approx(25.0)
    assert ours.half_width == pytest.approx(3.0) and ours.outcome == "baseline"
    assert same == other, "verdicts and other rows stay with single networks"


def test_the_studys_metric_decides_which_figure_is_compared() -> None:
    found = rows({"baseline": BASE, "sire": better(2)}, metric="top5")
    assert (found["SIRe"].published, found["SIRe"].published_gain) == (9.0, 1.0)
    assert found["Strong"].published is None and found["Strong"].published_gain is None


# -- which cell of ours


def test_a_profiles_smaller_network_corresponds_and_shows() -> None:
    errors = {"baseline": BASE, "sire": better(2)}
    found = rows(errors, backbone="base_cnn(batch_norm=True, width=0.25)")["SIRe"]
    assert found.cell == "mnist / base_cnn(batch_norm=True, width=0.25) / sire" and found.outcome == "reproduced"
    assert rows(errors, backbone="base_cnn2")["SIRe"].outcome == "not run"
    assert rows(errors, dataset="mnist(validation=5000)")["SIRe"].outcome == "reproduced"


def test_settings_by_which_rows_differ_are_never_overlooked() -> None:
    """The default strides are 1, 1, 2, 2, 2: a row without settings is no other row's network."""
    table = load_table("diffstride-spectral-hybrid-table-1")
    backbone = "preact_resnet18(strides=1+1+3+2+3, width=0.125)"
    records = study({"baseline": BASE, "diffstride": better(0), "hybrid": better(1)}, "cifar10", backbone)
    ran = [row.model for row in compare_table(table, records) if row.cell]
    assert ran == ["1, 1, 3, 2, 3: DiffStride", "1, 1, 3, 2, 3: DiffStride-Spectral Pool"]
    records = study({"baseline": BASE, "hybrid": better(1)}, "cifar10(validation=5000)", "preact_resnet18(width=0.125)")
    assert [row.model for row in compare_table(table, records) if row.cell] == [
        "1, 1, 2, 2, 2: DiffStride-Spectral Pool"
    ]


def test_of_several_cells_the_one_with_the_fewest_settings_is_taken() -> None:
    cells, trials = [], []
    for backbone, by in (("base_cnn(width=0.25)", 0), ("base_cnn", 2)):
        errors = {"baseline": BASE, "sire": better(by)}
        trials += testing.trial_rows(errors, "mnist", backbone)
        cells += [testing.cell_of(name, "mnist", backbone) for name in errors]
    found = compare_table(made(), StudyResults(testing.make_records(trials, cells, seeds=5)))
    assert {row.cell.split(" / ")[1] for row in found if row.cell} == {"base_cnn"}


def test_another_dataset_corresponds_to_none() -> None:
    assert rows({"baseline": BASE, "sire": better(2)}, dataset="digits")["SIRe"].outcome == "not run"


# -- outcomes


def ended(rows: list[dict[str, Any]], **new: Any) -> list[dict[str, Any]]:
    return [row | new if row["variant"] == "sire" and row["stage"] == "confirm" else row for row in rows]


@pytest.mark.parametrize(
    ("errors", "outcome"),
    [
        ({"baseline": BASE, "sire": better(2)}, "reproduced"),
        ({"baseline": BASE, "sire": better(5)}, "direction only"),
        ({"baseline": BASE, "sire": better(-2)}, "contradicted"),
        ({"baseline": BASE, "sire": [0.28, 0.33, 0.29, 0.30, 0.31]}, "not enough evidence"),
        ({"baseline": BASE, "sire": BASE}, "equivalent, printed gain within scatter"),
        # One spread of all seeds alike: single runs scatter by 0.1 points, the printed gain is 2.
        ({"baseline": EVEN, "sire": EVEN}, "contradicted: equivalent"),
        ({"baseline": BASE[:1], "sire": better(2, seeds=1)}, "single run"),
        ({"baseline": BASE, "sire": [*better(2)[:4], None]}, "not comparable"),
        # The same difference in each of 10 seeds: no interval, and the sign-flip test decides.
        ({"baseline": BASE * 2, "sire": [error - 0.02 for error in BASE * 2]}, "reproduced"),
        ({"baseline": BASE * 2, "sire": [error - 0.05 for error in BASE * 2]}, "direction only"),
    ],
)
def test_outcomes(errors: dict[str, Any], outcome: str) -> None:
    assert rows(errors)["SIRe"].outcome == outcome


def test_a_printed_gain_within_the_rope_of_ours_is_reproduced_whatever_our_interval() -> None:
    """6.00 and 6.06 points are one result, and more seeds, which narrow the interval, don't make them two."""
    table = parse_tables(TABLE.replace("top1_error: 28.0", "top1_error: 23.94"), "made")[0]
    for repeats in (1, 4, 20):
        errors = [0.3 + 1e-5 * (seed % 3) for seed in range(5 * repeats)]
        ours = [error - 0.06 - 1e-6 * (seed % 2) for seed, error in enumerate(errors)]
        found = rows({"baseline": errors, "sire": ours}, table)["SIRe"]
        assert found.gain_half_width is not None and found.gain_half_width < 0.01
        assert found.published_gain == pytest.approx(6.06) and found.outcome == "reproduced"


def test_a_printed_single_run_scatters_as_ours_do() -> None:
    """Of many printed gains of two runs of their own about 95 % lie within the prediction interval of 5 seeds."""
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        base, ours = generator.normal(0.30, 0.006, 6), generator.normal(0.27, 0.006, 6)
        found = rows({"baseline": base[:5].tolist(), "sire": ours[:5].tolist()})["SIRe"]
        assert found.predicted is not None and found.gain is not None
        inside += abs(100 * (base[5] - ours[5]) - found.gain) <= found.predicted
    assert 180 <= inside <= 198


def test_a_printed_gain_too_small_to_matter_is_reproduced_by_equivalence() -> None:
    [table] = parse_tables(TABLE.replace("top1_error: 28.0", "top1_error: 29.6"), "made")
    assert rows({"baseline": EVEN, "sire": EVEN}, table)["SIRe"].outcome == "reproduced: equivalent"
    [unequal] = parse_tables(TABLE.replace("unit: percent", "unit: percent\n    not_comparable: x"), "made")
    assert rows({"baseline": EVEN, "sire": EVEN}, unequal)["SIRe"].outcome == "equivalent, printed rows not comparable"


def test_printed_rows_that_arent_comparable_are_never_reproduced() -> None:
    text = TABLE.replace("unit: percent", "unit: percent\n    not_comparable: other batches")
    [table] = parse_tables(text, "made")
    assert rows({"baseline": BASE, "sire": better(2)}, table)["SIRe"].outcome == (
        "same direction, printed rows not comparable"
    )
    assert rows({"baseline": BASE, "sire": better(-2)}, table)["SIRe"].outcome == (
        "other direction, printed rows not comparable"
    )


@pytest.mark.parametrize(
    ("errors", "outcome"),
    [
        ([None] * 5, "reproduced: collapsed"),
        ([0.9] * 5, "reproduced: collapsed"),  # the commonest class, always
        (BASE, "contradicted: did not collapse"),
    ],
)
def test_a_printed_collapse_is_reproduced_by_a_collapse(errors: list[Any], outcome: str) -> None:
    [table] = parse_tables(TABLE.replace("top1_error: 35.0", "top1_error: 90.0, collapsed: true"), "made")
    assert rows({"baseline": BASE, "sire:lambda=0.5": errors}, table)["Strong"].outcome == outcome


MEANS = """
paper: {title: T, authors: [A], year: 2020, where: W}
tables:
  - id: made-table-1
    place: Table 1
    title: t
    protocol: p
    metrics: [top1_error]
    unit: percent
    defaults: {dataset: mnist}
    rows:
      - {row: narrow, model: Plain, backbone: {name: base_cnn, width: 0.5}, variant: baseline, top1_error: 31.0}
      - {row: narrow, model: SIRe, backbone: {name: base_cnn, width: 0.5}, variant: sire, top1_error: 29.0}
      - {row: wide, model: Plain, backbone: base_cnn, variant: baseline, top1_error: 29.0}
      - {row: wide, model: SIRe, backbone: base_cnn, variant: sire, top1_error: 27.0}
      - {row: mean, model: Plain, variant: baseline, mean: true, top1_error: 30.0}
      - {row: mean, model: SIRe, variant: sire, mean: true, top1_error: 28.0}
"""


def test_a_mean_of_rows_is_tested_as_the_mean_of_paired_differences() -> None:
    [table] = parse_tables(MEANS, "made")
    narrow = {"baseline": [error + 0.01 for error in BASE], "sire": better(1.2)}
    wide = {"baseline": BASE, "sire": better(2.6)}
    trials, cells = [], []
    for backbone, errors in (("base_cnn(width=0.5)", narrow), ("base_cnn", wide)):
        trials += testing.trial_rows(errors, "mnist", backbone)
        cells += [testing.cell_of(name, "mnist", backbone) for name in errors]
    findings = StudyResults(testing.make_records(trials, cells, seeds=5))
    plain, sire = compare_table(table, findings)[-2:]
    differences = []
    for seed in range(5):
        pairs = [of["baseline"][seed] - of["sire"][seed] for of in (narrow, wide)]
        differences.append(sum(pairs) / 2)
    expected = stats.ttest_1samp(differences, 0.0).confidence_interval()
    assert sire.gain == pytest.approx(100 * sum(differences) / 5) and sire.seeds == 5
    assert sire.gain_interval == pytest.approx((100 * expected.low, 100 * expected.high))
    assert (sire.published_gain, sire.outcome) == (2.0, "reproduced")
    assert plain.outcome == "baseline" and plain.ours == pytest.approx(100 * (sum(BASE) / 5 + 0.005))
    half = StudyResults(testing.make_study(wide, "mnist", "base_cnn"))
    assert [row.outcome for row in compare_table(table, half)[-2:]] == ["not run", "not run"]


def test_a_gain_that_isnt_printed_is_only_ours() -> None:
    found = rows({"baseline": BASE, "sire:lambda=0.5": better(2)}, metric="top1", dataset="mnist")
    assert found["Strong"].outcome == "contradicted"
    table = parse_tables(TABLE.replace("top1_error: 35.0", "batch: 8"), "made")[0]
    assert rows({"baseline": BASE, "sire:lambda=0.5": better(2)}, table)["Strong"].outcome == "helps; no printed gain"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [("epochs", 5, "epochs 5, baseline 10"), ("batch", 32, "batch 32, baseline 64")],
)
def test_an_unequal_budget_is_not_comparable(field: str, value: int, reason: str) -> None:
    trials = ended(testing.trial_rows({"baseline": BASE, "sire": better(2)}, "mnist", "base_cnn"), **{field: value})
    cells = [testing.cell_of(name, "mnist", "base_cnn") for name in ("baseline", "sire")]
    records = StudyResults(testing.make_records(trials, cells, seeds=5))
    found = compare_table(made(), records)[1]
    assert (found.outcome, found.gain, found.reason) == ("not comparable", None, reason)
    assert found.ours is not None, "the figure itself is shown"
    assert f"\n- SIRe: {reason}\n" in to_markdown(made(), records)


def test_changed_knobs_other_than_the_budget_stay_comparable() -> None:
    """`training(schedule=...)` and `no_augmentation` are recorded as hyperparameters, which the audit lets differ."""
    trials = testing.trial_rows({"baseline": BASE, "sire": better(2)}, "mnist", "base_cnn")
    trials = ended(trials, hyperparameters="augment=False, schedule=constant")
    cells = [testing.cell_of(name, "mnist", "base_cnn") for name in ("baseline", "sire")]
    assert compare_table(made(), StudyResults(testing.make_records(trials, cells, seeds=5)))[1].outcome == "reproduced"


# -- another reference than the baseline

OVER_STRONG = "{variant: sire, settings: {lambda: 0.5}}"


def referred(errors: dict[str, Any], **changes: Any) -> dict[str, Reproduced]:
    return rows(errors, made(OVER_STRONG), **changes)


@pytest.mark.parametrize(
    ("errors", "outcome"),
    [
        ({"sire:lambda=0.5": BASE, "sire": better(7)}, "reproduced, unadjusted"),
        ({"sire:lambda=0.5": BASE, "sire": better(2)}, "direction only, unadjusted"),
        ({"sire:lambda=0.5": BASE, "sire": better(-2)}, "contradicted, unadjusted"),
        ({"sire:lambda=0.5": BASE, "sire": [0.28, 0.33, 0.29, 0.30, 0.31]}, "not enough evidence, unadjusted"),
        ({"sire:lambda=0.5": BASE, "sire": BASE}, "contradicted: equivalent, unadjusted"),
        ({"sire:lambda=0.5": BASE[:2], "sire": better(7, seeds=2)}, "single run"),
        ({"sire:lambda=0.5": BASE, "sire": [error - 0.07 for error in BASE]}, "not enough evidence, unadjusted"),
        ({"sire:lambda=0.5": BASE * 2, "sire": [error - 0.07 for error in BASE * 2]}, "reproduced, unadjusted"),
        ({"sire:lambda=0.5": [*BASE[:4], None], "sire": better(7)}, "not comparable"),
        ({"baseline": BASE, "sire": better(7)}, "not comparable"),
    ],
)
def test_outcomes_over_another_reference(errors: dict[str, Any], outcome: str) -> None:
    assert referred(errors)["SIRe"].outcome == outcome


def test_gains_are_over_the_tables_reference() -> None:
    found = referred({"baseline": better(-1), "sire:lambda=0.5": BASE, "sire": better(7)})
    assert (found["SIRe"].published_gain, found["Plain"].published_gain) == (7.0, 5.0)
    assert found["SIRe"].gain == pytest.approx(7.0)
    assert found["Plain"].gain == pytest.approx(-1.0) and found["Plain"].outcome == "contradicted, unadjusted"
    strong = found["Strong"]
    assert (strong.outcome, strong.gain, strong.published_gain) == ("reference", None, None)


def test_budgets_are_audited_against_the_reference() -> None:
    trials = testing.trial_rows({"sire:lambda=0.5": BASE, "baseline": better(2)}, "mnist", "base_cnn")
    trials = ended(trials, epochs=5)
    cells = [testing.cell_of(name, "mnist", "base_cnn") for name in ("sire:lambda=0.5", "baseline")]
    table = made(OVER_STRONG)
    found = compare_table(table, StudyResults(testing.make_records(trials, cells, seeds=5)))[0]
    assert found.outcome == "not comparable" and found.reason == "epochs 10, sire(lambda=0.5) 5"


def test_an_absent_reference_is_named() -> None:
    found = referred({"baseline": BASE, "sire": better(7)})["SIRe"]
    assert found.reason == "this group has no sire(lambda=0.5)" and found.ours is not None


def test_the_tables_that_name_a_reference() -> None:
    named = {name: load_table(name).reference.label for name in list_tables()}
    assert {name: one for name, one in named.items() if one != "baseline"} == {
        "diffstride-spectral-hybrid-table-1": "diffstride",
        "diffstride-spectral-hybrid-table-2": "diffstride",
        "sire-table-2": "sire(components=Re)",
    }
    for name in named:
        table = load_table(name)
        if table.kind == "results" and table.reference.name != "baseline":
            assert any(row.variant == table.reference for row in table.rows), name
    sire = compare_table(load_table("sire-table-2"), study({"baseline": BASE}))
    assert [row.published_gain for row in sire] == [None, 0.34, 6.06, -66.79, -66.79]
    assert [row.model for row in sire[1:]] == [f"SIRe-CNN, λ {weight}" for weight in ("0.1", "0.2", "0.5", "1")]


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("sire", "made-table-1: reference must be a mapping, not 'sire'"),
        ("{settings: {lambda: 1}}", "made-table-1, reference: variant is missing"),
        ("{variant: sire, lambda: 1}", "made-table-1, reference: unknown key 'lambda'"),
    ],
)
def test_a_wrong_reference_is_refused(reference: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        parse_tables(TABLE.replace("unit: percent", f"unit: percent\n    reference: {reference}"), "made")


# -- for people


def test_every_outcome_of_a_table_has_its_sentence() -> None:
    findings = study({"sire:lambda=0.5": better(-5), "sire": better(2), "baseline": BASE})
    notes = to_table(made(), findings).notes
    assert [note.partition(":")[0] for note in notes[:4]] == [
        "baseline",
        "reproduced",
        "not run",
        "not implemented here",
    ]
    assert "95 % prediction interval for single runs" in notes[1] and "within the ROPE (±0.5 pp)" in notes[1]
    assert notes[4] == "The paper's table: of the table" and not any("Rows of means" in note for note in notes)
    for note in notes[:4]:
        assert f"\n- {note}\n" in to_markdown(made(), findings).replace("\\", "")


def test_a_sentence_on_rows_of_means_stands_where_there_are_any() -> None:
    [table] = parse_tables(MEANS, "made")
    notes = to_table(table, study({"baseline": BASE, "sire": better(2)})).notes
    assert any(
        note.startswith("Rows of means: ours is the mean over the table's rows of the variant") for note in notes
    )


@pytest.mark.parametrize("unequal", ["", "of other batches"])
@pytest.mark.parametrize("reference", ["baseline", "sire"])
def test_every_outcome_that_can_be_has_a_sentence(unequal: str, reference: str) -> None:
    text = TABLE.replace("unit: percent", f"unit: percent\n    reference: {{variant: {reference}}}")
    [table] = parse_tables(text.replace("unit: percent", f"unit: percent\n    not_comparable: '{unequal}'"), "made")
    rulings = [ruling.lower() for ruling in RULINGS if ruling != "MIXED"]  # which is of variants over datasets
    gains = [Gain(ruling=ruling, mean=mean) for ruling in rulings for mean in (0.02, -0.02, 0.0001)]
    outcomes = [describe_outcome(table, gain, printed, 0.005) for gain in gains for printed in (2.0, 0.2, None)]
    outcomes += [describe_outcome(table, None, None, 0.005)]
    sentences = explain_outcomes(table, outcomes, testing.make_study({}))
    assert len(sentences) == len({outcome.removesuffix(", unadjusted") for outcome in outcomes})
    assert all(sentence.endswith(".") and "{" not in sentence for sentence in sentences)


def test_a_figure_without_numbers_says_what_is_here() -> None:
    text = to_markdown(load_table("sire-figure-2"), study({"baseline": BASE}, "cifar100", "base_cnn"))
    assert "\n\nHere: Every decoder's reconstruction error by epoch" in text
    [line] = [line for line in text.splitlines() if line.startswith("| SIRe-CNN |")]
    assert line.startswith("| SIRe-CNN | MSE loss ≤ 3e-6 |") and line.count("| not run |") == 1


def test_markdown_says_what_must_be_known() -> None:
    text = to_markdown(made(), study({"baseline": BASE, "sire": better(2)}, profile="quick"))
    assert "\n\n**Profile quick: not the paper's protocol; the figures can only show a direction.**\n\nTest" in text
    assert "Gains in percentage points over the baseline, positive is better." in text
    assert "unadjusted" not in text
    assert "\n| SIRe | 28.00 | 28.24 ± " in text and "| +2.00 | +2.00 ± " in text
    assert f"\n| Absent | 20.00 | {NONE} | {NONE} | +10.00 | {NONE} | {NONE} | not run | {NONE} |" in text
    assert text.endswith("\n- The paper's table: of the table\n- The paper: of the paper\n")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 7 and {line.count("|") for line in lines} == {10}


def test_the_table_holds_fractions_and_ours_minus_published() -> None:
    findings = study({"baseline": BASE, "sire": better(2)})
    table, [_, ours, *_] = to_table(made(), findings), compare_table(made(), findings)
    keys = [column.key for column in table.columns]
    row = dict(zip(keys, table.rows[1], strict=True))
    assert ours.ours is not None and ours.half_width is not None
    assert row["published"].number == 0.28 and row["ours"].number == pytest.approx(ours.ours / 100)
    assert row["difference"].number == pytest.approx((ours.ours - 28) / 100) and row["difference"].text == "+0.24"
    assert row["ours"].low == pytest.approx((ours.ours - ours.half_width) / 100) and len(row["ours"].runs) == 5
    gain = row["gain"]
    assert gain.low is not None and gain.high is not None and gain.low < 0.02 < gain.high
    assert [dict(zip(keys, other, strict=True))["row"].text for other in table.rows] == [
        "Plain", "SIRe", "Strong", "Absent", "Other",
    ]  # fmt: skip
    assert to_json(made(), findings)[1]["outcome"] == row["outcome"].text == "reproduced"


def test_the_tables_that_a_study_names_stand_beside_it_else_those_that_it_serves() -> None:
    errors = {"baseline": BASE, "sire": better(2)}
    named = study(errors, reproduces=["sire-table-4", "sire-table-1", "nothing-of-ours"])
    assert [table.id for table in build_comparisons(named)] == ["published-sire-table-4", "published-sire-table-1"]
    served = [table.id for table in build_comparisons(study(errors, "cifar100"))]
    assert "published-sire-table-1" in served and "published-sire-table-8" not in served
    assert build_comparisons(study({"baseline": BASE, "wide": BASE}, "digits", "cnn")) == []


def test_markdown_says_that_another_references_outcomes_are_unadjusted() -> None:
    table = made(OVER_STRONG)
    text = to_markdown(table, study({"sire:lambda=0.5": BASE, "sire": better(7)}))
    assert "over sire(lambda=0.5), positive is better." in text
    assert "t interval of one paired difference, unadjusted for how many there are" in text


def test_markdown_repeats_why_a_tables_rows_are_not_comparable() -> None:
    table = load_table("sire-table-8")
    text = to_markdown(table, study({"baseline": BASE}, "caltech256"))
    assert "The published rows are not comparable with each other: NOT COMPARABLE: every extended network" in text


def test_the_small_cnns_base_stands_beside_its_composed_cell() -> None:
    """Half the epochs: shown, and rightly not comparable."""
    backbone = "cifar_cnn(batch_norm=True, dropout=0.2)"
    composed = (
        "no_batch_norm+no_dropout+training:training.epochs=10, training.lr=0.001, training.schedule=constant, "
        "training.selection=last, training.weight_decay=0"
    )
    trials = testing.trial_rows({"baseline": BASE, composed: better(-6)}, "cifar10(validation=5000)", backbone)
    trials = [row | {"epochs": 5} if "+" in row["variant"] and row["stage"] == "confirm" else row for row in trials]
    cells = [testing.cell_of(name, "cifar10(validation=5000)", backbone) for name in ("baseline", composed)]
    base, improved, *_ = compare_table(
        load_table("cifar10-cnn-project-table-1"), StudyResults(testing.make_records(trials, cells, seeds=5))
    )
    assert base.cell.endswith(f"no_batch_norm+no_dropout+training({composed.partition(':')[2]})")
    assert base.outcome == "not comparable" and base.reason == "epochs 5, baseline 10"
    assert improved.outcome == "baseline" and improved.cell.endswith(" / baseline")
