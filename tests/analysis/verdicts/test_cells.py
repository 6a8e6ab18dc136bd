"""Every verdict from hand-made records, and what the protocol claims about itself (A/A control, planted effect)."""

import dataclasses
import gc
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from analysis import testing
from analysis.records.arrange import arrange_records, group_cells
from analysis.stats import paired
from analysis.verdicts.cells import judge_cells
from analysis.verdicts.model import VariantVerdict, Verdict
from analysis.verdicts.results import StudyResults
from analysis.verdicts.text import to_json, to_text
from analysis.verdicts.variants import judge_variants

NOISE = 0.005
BASE = [0.100, 0.110, 0.105, 0.095, 0.102, 0.108, 0.099, 0.104, 0.101, 0.107, 0.103, 0.098] * 3
WAVE = [0.000, 0.001, -0.001, 0.0005, -0.0005, 0.0008, -0.0008, 0.0002, 0.0003, -0.0003, 0.0006, -0.0006] * 3


def shifted(seeds: int, gain: float, wave: float = 1.0) -> list[float]:
    return [BASE[seed] - gain - wave * WAVE[seed] for seed in range(seeds)]


def verdict(variant: Sequence[float | None], base: Sequence[float | None] | None = None, **changes: Any) -> Verdict:
    base = list(BASE[: len(variant)]) if base is None else base
    (one,) = judge_cells(testing.make_study({"baseline": base, "sire": variant}, **changes))
    return one


def changed(rows: list[dict[str, Any]], wanted: dict[str, Any], **new: Any) -> list[dict[str, Any]]:
    return [row | new if all(row[name] == value for name, value in wanted.items()) else row for row in rows]


def study_of(rows: list[dict[str, Any]], **changes: Any) -> list[Verdict]:
    cells = [testing.cell_of(name, "digits", "cnn") for name in ("baseline", "sire")]
    return judge_cells(testing.make_records(rows, cells, **{"seeds": 5, **changes}))


ROWS = testing.trial_rows({"baseline": BASE[:5], "sire": shifted(5, 0.02)})


@pytest.mark.parametrize(
    ("seeds", "test"),
    [
        (3, "t interval"),
        (5, "paired t"),
        (8, "paired t and sign-flip"),
        (12, "sign-flip"),
        (30, "sign-flip (Monte Carlo)"),
    ],
)
def test_helps_and_hurts(seeds: int, test: str) -> None:
    better, worse = verdict(shifted(seeds, 0.02)), verdict(shifted(seeds, -0.02))
    assert (better.verdict, worse.verdict) == ("HELPS", "HURTS")
    assert better.test == test
    assert better.mean_difference == pytest.approx(0.02, abs=1e-3)
    assert better.ci_low is not None and better.ci_low > 0
    assert "lower than the baseline's" in better.reason and "higher than" in worse.reason


def test_paired_t_is_what_decides() -> None:
    one = verdict(shifted(5, 0.002))
    expected = paired.run_paired_t(np.array([0.002 + wave for wave in WAVE[:5]]))
    assert one.p_value == one.p_adjusted == pytest.approx(expected.p_value)
    assert (one.ci_low, one.ci_high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("seeds", [1, 2])
def test_single_run(seeds: int) -> None:
    one = verdict(shifted(seeds, 0.02))
    assert one.verdict == "SINGLE RUN"
    assert one.p_value is None and one.ci_low is None
    assert one.mean_difference is not None
    counted = "1 seed" if seeds == 1 else "2 seeds"
    assert one.reason == f"{counted}: no test and no interval; a verdict takes 3 seeds or more"


def test_too_small_to_matter() -> None:
    one = verdict(shifted(8, 0.002))
    assert one.verdict == "HELPS"  # before EQUIVALENT
    assert "too small to matter (within ±0.5 pp)" in one.reason and one.too_small
    flat = verdict(shifted(8, 0.002, wave=0))
    assert "too small to matter (within ±0.5 pp)" in flat.reason and flat.too_small
    assert not verdict(shifted(8, 0.02)).too_small and not verdict(shifted(8, 0.02, wave=0)).too_small


def test_equivalent() -> None:
    one = verdict(shifted(5, 0.0))
    assert one.verdict == "EQUIVALENT"
    assert one.equivalence_p is not None and one.equivalence_p < 0.05
    assert one.reason.startswith("within ±0.5 pp of the baseline (equivalence test, TOST, p ")
    assert verdict(shifted(3, 0.0)).verdict == "NOT ENOUGH EVIDENCE"  # TOST from 4 seeds on


def scattered(seeds: int, mean: float = 0.0) -> Verdict:
    """Differences with a standard deviation of about 0.3 pp, so that the ROPE is less than twice as large."""
    return verdict(shifted(seeds, mean, wave=4.5))


WIDELY = "seeds scatter too widely (sd "


@pytest.mark.parametrize("seeds", [10, 12, 36])
def test_from_ten_seeds_on_equivalence_is_always_tested(seeds: int) -> None:
    one = scattered(seeds)
    assert 2 * np.std([d for _, d in one.differences], ddof=1) > 0.005
    assert one.verdict == "EQUIVALENT" and one.equivalence_p is not None and one.equivalence_p < 0.05
    assert one.ci_low is not None and one.ci_high is not None and -0.005 < one.ci_low < one.ci_high < 0.005


def test_why_there_was_no_equivalence_test_below_ten_seeds() -> None:
    for seeds in (4, 6, 9):
        one = scattered(seeds)
        assert one.verdict == "NOT ENOUGH EVIDENCE" and one.equivalence_p is None
        assert f"{WIDELY}0." in one.reason and " pp) for an equivalence test below 10 seeds; " in one.reason
    assert WIDELY not in scattered(3).reason, "there is none at three, whatever the spread"
    assert WIDELY not in scattered(6, 0.006).reason, "beyond the ROPE it wouldn't say EQUIVALENT"
    assert WIDELY not in scattered(10, 0.0055).reason
    calm = verdict(shifted(5, 0.0, wave=2.5))
    assert calm.equivalence_p is not None and WIDELY not in calm.reason


def test_identical() -> None:
    one = verdict(list(BASE[:5]))
    assert (one.verdict, one.reason) == ("EQUIVALENT", "identical in every seed (5)")
    assert (one.mean_difference, one.p_value) == (0.0, 1.0)


def test_same_difference_in_every_seed() -> None:
    """No spread: no t test (its p would be 0); 5 seeds can't decide by sign-flip and show no p of it, 8 can."""
    few, many = verdict(shifted(5, 0.02, wave=0)), verdict(shifted(8, 0.02, wave=0))
    assert (few.verdict, few.p_value, few.p_adjusted, few.test) == ("NOT ENOUGH EVIDENCE", None, None, "")
    assert "+2.00 pp in each of 5 seeds" in few.reason
    assert few.reason.endswith("5 seeds cannot decide by sign-flip; 1 more seed could")
    three = verdict(shifted(3, 0.02, wave=0))
    assert "p =" not in three.reason and three.reason.endswith(
        "; 3 seeds cannot decide by sign-flip; 3 more seeds could"
    )
    family = {"baseline": BASE[:8]} | {f"v{index}": shifted(8, 0.02, wave=0) for index in range(10)}
    open_still = judge_cells(testing.make_study(family))[0]
    assert "8 seeds cannot decide by sign-flip (p = 0.0078); 1 more seed could" in open_still.reason
    assert open_still.p_value == pytest.approx(2 / 256) and open_still.test == "sign-flip"
    coarse = verdict(shifted(5, 0.02, wave=0), alpha=0.1)
    assert coarse.verdict == "HELPS" and coarse.p_value == pytest.approx(2 / 32), "what decides is shown"
    assert many.verdict == "HELPS" and many.p_value == pytest.approx(2 / 256)
    assert "nan" not in json.dumps([dataclasses.asdict(few), dataclasses.asdict(many)]).lower()


def test_not_enough_evidence_says_what_would_be() -> None:
    one = verdict(shifted(5, 0.0, wave=8))
    assert one.verdict == "NOT ENOUGH EVIDENCE"
    assert one.smallest_effect is not None and one.seeds_needed is not None
    more = one.seeds_needed - 5
    assert one.reason.startswith("95 % CI -")
    assert f"5 seeds can only see >= {100 * one.smallest_effect:.2g} pp" in one.reason
    assert one.reason.endswith(f"{more} more seeds would see 0.5 pp")


def test_sign_flip_must_agree_from_six_seeds_on() -> None:
    """One seed against, large enough that 6 of 64 sign patterns reach the mean, while the t test is just below 0.05."""
    differences = [0.0100, 0.0102, 0.0104, 0.0106, 0.0108, -0.0008]
    assert paired.run_paired_t(np.array(differences)).p_value < 0.05
    flip = paired.sign_flip(np.array(differences))
    one = verdict([BASE[seed] - d for seed, d in enumerate(differences)])
    assert flip >= 0.05
    assert one.verdict == "NOT ENOUGH EVIDENCE"
    assert "sign-flip test does not agree" in one.reason


def test_ten_seeds_over_a_large_family_cannot_decide() -> None:
    cells = {"baseline": BASE[:10]} | {f"v{index}": shifted(10, 0.02) for index in range(30)}
    verdicts = judge_cells(testing.make_study(cells))
    assert {one.verdict for one in verdicts} == {"NOT ENOUGH EVIDENCE"}
    assert all("p = 0.059 after Holm's correction for 30 cells" in one.reason for one in verdicts)
    why = "10 seeds cannot reach HELPS or HURTS (the least p of the sign-flip test, corrected for 30 cells, is 0.059)"
    assert all(f"{why}; 11 seeds can" in one.reason for one in verdicts)
    assert all(one.warnings == (f"{why}; 11 seeds can",) for one in verdicts)


def test_holm_runs_over_all_groups() -> None:
    rows = [row for name in ("a", "b", "c") for row in testing.trial_rows(_weak(), dataset=name)]
    cells = [testing.cell_of(cell, name, "cnn") for name in ("a", "b", "c") for cell in ("baseline", "sire")]
    alone, together = judge_cells(testing.make_study(_weak())), judge_cells(testing.make_records(rows, cells, seeds=5))
    assert alone[0].p_value is not None
    assert [one.p_adjusted for one in together] == pytest.approx([3 * alone[0].p_value] * 3)


def test_cells_that_diverge_make_no_other_more_significant() -> None:
    """They stay in the family as p = 1; a cell that the plan refused never was in it."""
    others = [f"v{index}" for index in range(4)]
    same: dict[str, list[float]] = dict.fromkeys(others, BASE[:5])
    lost = {name: [None, *BASE[1:5]] for name in others}
    whole, broken = (judge_cells(testing.make_study({**_weak(), **cells}))[0] for cells in (same, lost))
    assert whole.p_value is not None
    assert whole.p_adjusted == broken.p_adjusted == pytest.approx(5 * whole.p_value)
    assert whole.smallest_effect == broken.smallest_effect and whole.seeds_needed == broken.seeds_needed
    cells = [testing.cell_of(name, "digits", "cnn") for name in _weak()]
    cells += [testing.cell_of(name, "digits", "cnn", "no stages") for name in others]
    refused = judge_cells(testing.make_records(testing.trial_rows(_weak()), cells, seeds=5))[0]
    assert refused.p_adjusted == refused.p_value


def _weak() -> dict[str, list[float]]:
    return {"baseline": BASE[:5], "sire": shifted(5, 0.003, wave=2)}


def test_diverged_seeds_refuse_the_average() -> None:
    one = verdict([0.08, None, 0.08, None, 0.081])
    assert one.verdict == "NOT COMPARABLE"
    assert one.reason.startswith("2 of 5 seeds diverged (1, 3); an average over unequal sets is refused")
    assert one.mean_difference is None


def test_diverged_baseline_is_named() -> None:
    one = verdict(shifted(5, 0.02), base=[None] * 5)
    assert one.verdict == "NOT COMPARABLE"
    assert "baseline: 5 of 5 seeds diverged (0-4)" in one.reason


def test_search_that_all_diverged() -> None:
    rows = [row for row in ROWS if not (row["variant"] == "sire" and row["stage"] == "confirm")]
    (one,) = study_of(changed(rows, {"variant": "sire"}, status="diverged"))
    assert one.verdict == "NOT COMPARABLE"
    assert "no confirm trial: all 4 search trials diverged" in one.reason


def test_search_that_ended_badly_in_several_ways() -> None:
    rows = [row for row in ROWS if not (row["variant"] == "sire" and row["stage"] == "confirm")]
    rows = changed(rows, {"variant": "sire"}, status="diverged")
    last = changed(rows[-1:], {}, status="failed")
    assert rows[-1]["variant"] == "sire"
    (one,) = study_of([*rows[:-1], *last])
    assert "no confirm trial: none of 4 search trials completed (3 diverged, 1 failed)" in one.reason
    (one,) = study_of([*rows[:-1], *changed(last, {}, status="running")])
    assert "no confirm trial" not in one.reason, "its search goes on"


def test_missing_pair() -> None:
    rows = [row for row in ROWS if not (row["variant"] == "baseline" and row["seed"] == 4)]
    (one,) = study_of(rows)
    assert one.verdict == "NOT COMPARABLE"
    assert "baseline: 1 of 5 seeds missing (4)" in one.reason


@pytest.mark.parametrize(("status", "text"), [("failed", "failed"), ("running", "not finished")])
def test_unfinished_seed(status: str, text: str) -> None:
    wanted = {"variant": "sire", "stage": "confirm", "seed": 2}
    (one,) = study_of(changed(ROWS, wanted, status=status, test_top1_error=None))
    assert one.verdict == "NOT COMPARABLE"
    assert f"1 of 5 seeds {text} (2)" in one.reason


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("epochs", 20, "epochs 20, baseline 10"),
        ("data", "ffff", "training data ffff, baseline 4ab2"),
        ("test_data", "ffff", "test data ffff, baseline 77e0"),
        ("split", "ffff", "split ffff, baseline 5f1d"),
        ("precision", "bf16", "precision bf16, baseline float32"),
        ("memory_format", "channels_last", "memory format channels_last, baseline contiguous"),
        ("batch", 128, "batch 128, baseline 64"),
        ("threads", 4, "threads 4, baseline 2"),
        ("device_kind", "cuda", "device kind cuda, baseline cpu"),
        ("micro_batch", 16, "micro-batch 16, baseline whole"),
        ("test_reads", 2, "test reads 2, baseline 1"),
    ],
)
def test_unequal_budget_is_named(field: str, value: Any, text: str) -> None:
    (one,) = study_of(changed(ROWS, {"variant": "sire", "stage": "confirm"}, **{field: value}))
    assert (one.verdict, one.reason) == ("NOT COMPARABLE", text)


def test_a_record_from_before_digests_is_compared_all_the_same() -> None:
    (whole,) = study_of(ROWS)
    (one,) = study_of(changed(ROWS, {"variant": "baseline"}, data="", test_data=""))
    assert one.verdict == whole.verdict != "NOT COMPARABLE"


def test_unequal_search() -> None:
    (one,) = study_of(changed(ROWS, {"variant": "sire", "stage": "search", "seed": 3}, status="failed"))
    assert (one.verdict, one.reason) == ("NOT COMPARABLE", "search trials 3, baseline 4")
    twice = changed(ROWS, {"variant": "sire", "stage": "search", "seed": 3}, status="failed", failures=2)
    assert study_of(twice)[0].verdict != "NOT COMPARABLE", "two attempts are what a draw gets"
    (one,) = study_of(changed(ROWS, {"stage": "search", "seed": 3, "variant": "baseline"}, test_reads=1))
    assert one.reason == "the search read the test set"


def test_refused_cell_and_missing_baseline() -> None:
    cells = [testing.cell_of("baseline", "digits", "cnn"), testing.cell_of("sire", "digits", "cnn", "no stages")]
    (one,) = judge_cells(testing.make_records(testing.trial_rows({"baseline": BASE[:5]}), cells, seeds=5))
    assert (one.verdict, one.reason) == ("NOT COMPARABLE", "refused: no stages")
    (one,) = judge_cells(testing.make_study({"sire": BASE[:5]}))
    assert one.reason == "this group has no baseline"


def test_planned_cell_without_a_trial_is_there() -> None:
    rows = [row for row in ROWS if row["variant"] == "baseline"]
    (one,) = study_of(rows)
    assert one.verdict == "NOT COMPARABLE"
    assert "5 of 5 seeds missing (0-4)" in one.reason


def test_later_protocol_replaces_the_earlier_and_keeps_its_rows() -> None:
    old = changed(ROWS, {"variant": "sire", "stage": "confirm"}, test_top1_error=0.5, hyperparameters="lr=9", started=0)
    old = [row | {"trial_key": "old" + row["trial_key"]} for row in old if row["test_top1_error"] == 0.5]
    cells = [testing.cell_of(name, "digits", "cnn") for name in ("baseline", "sire")]
    records = testing.make_records([*[row | {"started": 5} for row in ROWS], *old], cells, seeds=5)
    assert len(records.superseded) == 5
    (one,) = judge_cells(records)
    assert one.mean_difference == pytest.approx(0.02, abs=1e-3)


def test_skipped_seeds_that_ran_after_all_are_no_losses() -> None:
    skipped = [row for row in ROWS if row["variant"] == "sire" and row["stage"] == "confirm"]
    skipped = [row | {"trial_key": "s" + row["trial_key"], "hyperparameters": ""} for row in skipped]
    skipped = changed(skipped, {}, status="skipped", test_top1_error=None)
    cells = [testing.cell_of(name, "digits", "cnn") for name in ("baseline", "sire")]
    records = testing.make_records([*skipped, *ROWS], cells, seeds=5)
    assert len(records.trials) == len(ROWS) and records.superseded.empty
    rows = [row for row in ROWS if not (row["variant"] == "sire" and row["stage"] == "confirm")]
    assert len(testing.make_records([*skipped, *rows], cells, seeds=5).trials) == len(ROWS)


@pytest.fixture
def frozen() -> Iterator[None]:
    """statsmodels' `multipletests` collects garbage at every call (0.15 s with all libraries loaded): less to walk."""
    gc.freeze()
    yield
    gc.unfreeze()


def simulated(
    cells: int, seeds: int, studies: int, seed: int, datasets: int = 1, effect: float = 0.0, **changes: Any
) -> Iterator[tuple[list[Verdict], list[VariantVerdict]]]:
    """The verdicts of studies whose trials have noise 0.5 pp; the first variant is better by `effect` everywhere."""
    generator, names = np.random.default_rng(seed), ["baseline", *(f"v{index}" for index in range(1, cells))]
    empty: dict[str, list[float]] = {name: [0.1] * seeds for name in names}
    records = testing.make_studies({(f"d{index}", "cnn"): empty for index in range(datasets)}, **changes)
    arranged = group_cells(records)
    for _ in range(studies):
        shared = generator.normal(0.1, NOISE, (datasets, 1, seeds))
        errors = shared + generator.normal(0, NOISE, (datasets, cells, seeds))
        errors[:, 1] -= effect
        redrawn = testing.with_errors(arranged, errors)
        verdicts = judge_cells(records, redrawn)
        yield verdicts, judge_variants(records, redrawn, verdicts)


def shown(verdicts: Iterable[Verdict | VariantVerdict]) -> bool:
    return any(one.verdict in ("HELPS", "HURTS") for one in verdicts)


def at_most(studies: int, share: float) -> float:
    """So many of the studies, within 2 binomial standard errors."""
    return studies * share + 2 * math.sqrt(studies * share * (1 - share))


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("seeds", [5, 10])
def test_aa_control(seeds: int) -> None:
    """200 studies of 5 variants that do nothing: at most 5 % show any effect, within 2 binomial standard errors."""
    hits = sum(shown(cells) or shown(variants) for cells, variants in simulated(6, seeds, 200, 20240 + seeds))
    assert hits <= at_most(200, 0.05), f"{hits} of 200 studies show an effect that is not there"


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(("datasets", "cells"), [(4, 2), (6, 2)])
def test_aa_control_across_datasets(datasets: int, cells: int) -> None:
    """Cells and variants are two questions: each has a false verdict in at most 5 % of the studies."""
    found = list(simulated(cells, 5, 200, 77 + datasets, datasets))
    for hits in (sum(shown(own) for own, _ in found), sum(shown(variants) for _, variants in found)):
        assert hits <= at_most(200, 0.05), f"{hits} of 200 studies show an effect that is not there"


@pytest.mark.usefixtures("frozen")
def test_two_looks_keep_alpha_together() -> None:
    """5 seeds, then 10: with `looks: 2` a HELPS or HURTS at either look comes in at most 5 % of 200 studies."""
    empty = {seeds: testing.make_study({"baseline": [0.1] * seeds, "v1": [0.1] * seeds}, looks=2) for seeds in (5, 10)}
    arranged = {seeds: group_cells(records) for seeds, records in empty.items()}
    generator, hits = np.random.default_rng(99), 0
    for _ in range(200):
        errors = generator.normal(0.1, NOISE, (1, 2, 10))
        looks = (
            judge_cells(empty[seeds], testing.with_errors(own, errors[:, :, :seeds])) for seeds, own in arranged.items()
        )
        hits += any(map(shown, looks))
    assert hits <= at_most(200, 0.05)


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("seeds", [5, 6, 10])
def test_planted_effect_is_found_with_the_stated_power(seeds: int) -> None:
    """The smallest effect that the report says `seeds` see is found in 80 % of 100 studies, within binomial error."""
    effect = paired.effect_in_sd(seeds, 0.05 / 5) * NOISE * math.sqrt(2)  # d is the difference of two trials
    found = sum(cells[0].verdict == "HELPS" for cells, _ in simulated(6, seeds, 100, 7 + seeds, effect=effect))
    assert found >= 80 - 2 * math.sqrt(100 * 0.8 * 0.2)


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(("datasets", "power"), [(5, 80), (7, 70)])
def test_planted_effect_is_found_across_datasets(datasets: int, power: int) -> None:
    """A dataset's mean of 5 differences varies by NOISE * sqrt(2 / 5). Wilcoxon's exact test sees less than the t."""
    effect = paired.effect_in_sd(datasets, 0.05) * NOISE * math.sqrt(2 / 5)
    found = sum(variants[0].verdict == "HELPS" for _, variants in simulated(2, 5, 100, 5, datasets, effect))
    assert found >= power - 2 * math.sqrt(100 * 0.8 * 0.2)


def test_simulated_studies_are_judged_as_those_from_tables() -> None:
    errors = np.array([[BASE[:5], shifted(5, 0.004, wave=3)]])
    template = testing.make_study({"baseline": [0.1] * 5, "sire": [0.1] * 5})
    (one,) = judge_cells(template, testing.with_errors(group_cells(template), errors))
    assert one == verdict(shifted(5, 0.004, wave=3))


def test_an_unfinished_trial_sets_no_completed_one_aside() -> None:
    """Its row has no batch, threads or epochs yet, which must not look like the cell's latest protocol."""
    rows = testing.make_study({"baseline": BASE[:3], "new": BASE[:3]}).trials.copy()
    rows["started"] = range(len(rows))
    last = rows.index[(rows["variant"] == "new") & (rows["stage"] == "confirm")][-1]
    rows.loc[last, ["status", "started"]] = ["running", len(rows)]
    rows.loc[last, ["batch", "threads", "epochs_run"]] = None
    whole = testing.make_study({"baseline": BASE[:3], "new": BASE[:3]})
    found = arrange_records(rows, whole.epochs, whole.study)
    assert len(found.superseded) == 0
    (verdict,) = judge_cells(found)
    assert verdict.verdict == "NOT COMPARABLE"
    assert "1 of 3 seeds not finished (2)" in verdict.reason and "missing" not in verdict.reason


def test_looks_split_alpha_and_say_so() -> None:
    """p = 0.034: enough at one look, not at one of two."""
    differences = np.array([0.004, 0.0005, 0.005, 0.001, 0.004])
    p = paired.run_paired_t(differences).p_value
    assert 0.025 < p < 0.05, p
    variant = [error - d for error, d in zip(BASE, differences, strict=False)]
    one, two = verdict(variant), verdict(variant, looks=2)
    assert (one.verdict, two.verdict) == ("HELPS", "NOT ENOUGH EVIDENCE")
    assert "looks" not in one.reason
    assert two.reason.startswith("97.5 % CI")
    assert two.reason.endswith("alpha 0.05 split over 2 looks: 0.025 at each")


def test_looks_do_not_make_six_seeds_hopeless() -> None:
    """The sign-flip test agrees unadjusted, at the study's alpha: its least p with 6 seeds, 0.031, is above 0.025."""
    assert verdict(shifted(6, 0.02), looks=2).verdict == "HELPS"
    strict = verdict(shifted(6, 0.02), alpha=0.01)
    assert strict.verdict == "NOT ENOUGH EVIDENCE"
    assert "2/2^6 = 0.031); 8 seeds can" in strict.reason


def test_wins_must_be_clear_from_29_seeds_on() -> None:
    """16 large wins and 14 small losses: the mean is clear, but hardly more than half of the seeds go that way."""
    differences = [0.02 if seed < 16 else -0.001 for seed in range(30)]
    one = verdict([BASE[seed] - d - 0.1 * WAVE[seed] for seed, d in enumerate(differences)])
    assert one.p_adjusted is not None and one.p_adjusted < 0.05 and one.ci_low is not None and one.ci_low > 0
    assert one.verdict == "NOT ENOUGH EVIDENCE"
    assert "only 53 % of the seeds go that way" in one.reason


def test_networks_that_learned_nothing_are_named() -> None:
    blank = [0.9, 0.898, 0.901, 0.899, 0.9]
    both = verdict([error + 0.0001 * (-1) ** seed for seed, error in enumerate(blank)], blank)
    assert both.verdict == "EQUIVALENT" and not both.learned
    assert both.warnings[0].startswith(
        "baseline is no better than always answering the commonest class (90.00 % error)"
    )
    assert both.warnings[1].startswith("sire is no better than")
    assert both.reason.endswith("; but baseline and sire learned nothing, so this says nothing of the variant")
    same = verdict(blank, blank)
    assert same.reason.startswith("identical in every seed (5); but baseline and sire learned nothing")
    one = verdict(shifted(5, 0.02), blank)
    assert (one.verdict, one.learned, len(one.warnings)) == ("HELPS", False, 1)
    some = verdict([*shifted(4, 0.02), 0.9])
    assert some.learned
    assert some.warnings == (
        "1 of 5 networks of sire is no better than always answering the commonest class (90.00 % error): seed 4",
    )


def test_learning_a_little_is_told_from_nothing_by_the_size_of_the_test_part() -> None:
    """87 % errors where the commonest class gives 90 %: within chance on 360 images, not on 10,000."""
    rows = testing.trial_rows({"baseline": [0.87, 0.871, 0.869], "sire": [0.5, 0.51, 0.52]})
    (few,) = study_of(rows, seeds=3)
    (many,) = study_of(changed(rows, {}, test_examples=10_000), seeds=3)
    (unknown,) = study_of(changed(rows, {}, majority_error=None), seeds=3)
    assert "within the chance of 360 test images" in few.warnings[0]
    assert many.warnings == unknown.warnings == ()


def test_a_test_part_of_one_class_warns_too() -> None:
    """Its commonest class is everything: always answering it has no error at all."""
    rows = testing.trial_rows({"baseline": [0.0, 0.0, 0.0], "sire": [1.0, 1.0, 1.0]})
    (only,) = study_of(changed(rows, {}, majority_error=0.0), seeds=3)
    assert [warning.partition(" is ")[0] for warning in only.warnings] == ["baseline", "sire"]
    assert "the commonest class (0.00 % error)" in only.warnings[1]


def test_seed_correlation() -> None:
    alike, flat = verdict(shifted(5, 0.02)), verdict(shifted(5, 0.02), [0.1] * 5)
    known = np.corrcoef(BASE[:5], shifted(5, 0.02))[0, 1]
    assert alike.seed_correlation == pytest.approx(known) and known > 0.9
    assert flat.seed_correlation is None
    assert verdict(shifted(2, 0.02)).seed_correlation is None


@pytest.mark.parametrize(
    ("error", "text"), [(math.nan, "without a test error"), (1.797e308, "no fractions"), (-0.1, "no fractions")]
)
def test_errors_that_are_none(error: float, text: str) -> None:
    one = verdict([*shifted(4, 0.02), error])
    assert one.verdict == "NOT COMPARABLE"
    assert text in one.reason and one.mean_difference is None


def test_seeds_needed_count_in_all_and_can_decide() -> None:
    """Where the t test alone would plan 10 seeds over 30 cells, the sign-flip test that decides there takes 11."""
    cells = {"baseline": BASE[:5]} | {f"v{index}": shifted(5, 0.0, wave=3.4) for index in range(30)}
    for one in judge_cells(testing.make_study(cells)):
        assert one.seeds_needed is not None and one.smallest_effect is not None
        assert paired.is_attainable(one.seeds_needed, 30, 0.05)
        assert f"{one.seeds_needed - 5} more seeds would see 0.5 pp" in one.reason


def test_json_has_one_object_per_cell_without_nan() -> None:
    cells: testing.Errors = {
        "baseline": BASE[:5],
        "sire:lambda=0.1": shifted(5, 0.02),
        "same": BASE[:5],
        "lost": [None, *BASE[1:5]],
    }
    found = json.loads(json.dumps(to_json(StudyResults(testing.make_study(cells))), allow_nan=False))
    assert [one["variant"] for one in found] == ["sire", "same", "lost"]
    wanted = "dataset backbone variant settings seeds mean_difference ci_low ci_high p_value p_adjusted test verdict"
    assert all(set(wanted.split()) | {"reason", "seeds_needed"} <= set(one) for one in found)
    assert found[0]["mean_difference"] == pytest.approx(0.02, abs=1e-3)


def test_text_has_every_verdict_and_reason() -> None:
    findings = StudyResults(testing.make_study({"baseline": BASE[:5], "sire": shifted(5, 0.02)}))
    text = to_text(findings)
    told = " ".join(text.split())
    assert "corrected for 1 cell (Holm)" in told and "a positive difference means that the variant is better" in told
    assert "HELPS" in text and "+2.00 pp" in text and "  digits / cnn\n" in text
    assert findings.verdicts[0].reason in told and "across datasets" not in told
    assert max(map(len, text.splitlines())) <= 118
