"""Results from elsewhere: what is taken, what is set aside and named, what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from analysis.records.arrange import group_cells
from analysis.records.load import load_records
from analysis.records.model import Records
from analysis.verdicts.cells import judge_cells
from analysis.verdicts.model import Verdict

HEADER = "dataset,backbone,variant,settings,seed,test_top1_error"
BASE, SIRE = (0.100, 0.110, 0.105, 0.120, 0.115), (0.080, 0.089, 0.086, 0.099, 0.095)


def lines(variant: str, errors: tuple[float, ...], settings: str = "") -> list[str]:
    return [f"digits,cnn,{variant},{settings},{seed},{error}" for seed, error in enumerate(errors)]


GOOD = [*lines("baseline", BASE), *lines("sire", SIRE)]


def one_cell(**entries: object) -> str:
    return json.dumps({"cells": [{"dataset": "x", "backbone": "y", "variant": "z", "settings": "", **entries}]})


def written(folder: Path, rows: list[str], name: str = "results.csv", header: str = HEADER) -> Path:
    (folder / name).write_text("\n".join([header, *rows]) + "\n")
    return folder


def only(records: Records) -> Verdict:
    (verdict,) = judge_cells(records)
    return verdict


def said(records: Records, pattern: str) -> bool:
    return any(re.search(pattern, sentence) for sentence in records.problems)


def test_a_small_csv_gives_a_verdict(tmp_path: Path) -> None:
    records = load_records(written(tmp_path, GOOD))
    verdict = only(records)
    assert (verdict.verdict, verdict.seeds) == ("HELPS", 5)
    assert verdict.mean_difference == pytest.approx(0.0202)
    assert records.study.study == tmp_path.name and (records.alpha, records.rope) == (0.05, 0.005)
    assert records.source == {"files": ["results.csv"]}
    assert records.problems[0].startswith("Not recorded, so the audit can't compare it: recipe, epochs, ")
    assert len(records.problems) == 1


def test_a_file_alone_several_files_and_parquet_give_the_same(tmp_path: Path) -> None:
    whole = only(load_records(written(tmp_path, GOOD) / "results.csv"))
    apart = tmp_path / "apart"
    apart.mkdir()
    written(apart, GOOD[:5], "a.csv")
    frame = pd.read_csv(tmp_path / "results.csv", keep_default_na=False)
    frame.iloc[5:].to_parquet(apart / "b.parquet")
    assert only(load_records(apart)) == whole


def test_the_example_of_the_documentation_works(tmp_path: Path) -> None:
    text = (Path(__file__).parents[4] / "docs" / "records.md").read_text()
    example = re.search(r"```csv\n(.*?)```", text, re.DOTALL)
    assert example is not None
    (tmp_path / "results.csv").write_text(example[1])
    verdict = only(load_records(tmp_path))
    assert (verdict.variant, verdict.seeds) == ("sire", 3) and verdict.mean_difference is not None


def test_a_study_file_overrides_some_keys(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(json.dumps({"study": "mine", "alpha": 0.01, "rope": 0.002, "seeds": 6}))
    records = load_records(written(tmp_path, GOOD))
    assert (records.study.study, records.alpha, records.rope) == ("mine", 0.01, 0.002)
    assert "1 of 6 seeds missing (5)" in only(records).reason


@pytest.mark.parametrize(
    ("study", "sentence"),
    [
        ('{"rope": 0.5}', r"rope is 0\.5; it must be a fraction between 0 and 0\.1"),
        ('{"alpha": "5 %"}', r"alpha is '5 %'; it must be a number"),
        ('{"seeds": 2.5}', r"seeds is 2\.5; it must be a whole number"),
        ('{"metric": "accuracy"}', r"metric is 'accuracy'; it must be top1 or top5"),
        ('{"cells": [{"dataset": "x"}]}', "cells is .* it must be a list of objects"),
        ('{"cells": [{"dataset": "x", "backbone": "y", "variant": ["z"], "settings": ""}]}', "variant of cell 1 is"),
        (one_cell(seeds="many"), "seeds of cell 1 is 'many'; it must be a whole number from 0"),
        (one_cell(refused=7), "refused of cell 1 is 7; it must be text, or null"),
        ('{"first_draws": "x"}', "first_draws is 'x'; it must be a whole number"),
        ('{"looks": "x"}', "looks is 'x'; it must be a whole number from 1"),
        ('{"looks_taken": "x"}', "looks_taken is 'x'; it must be a whole number"),
        ('{"seeds": true}', "seeds is True; it must be a whole number"),
        ('{"seeds": 1000000000000}', "seeds is 1000000000000; it must be a whole number from 0 to 10000"),
        ('{"about": ["x"]}', r"about is \['x'\]; it must be an object of names and texts"),
        ('{"about": {"x": 1}}', "about is .* it must be an object of names and texts"),
        ('{"reproduces": [{}]}', r"reproduces is \[{}\]; it must be a list of names"),
        ('{"alpha": 1e-300}', "alpha is 1e-300; it must be a number from 1e-06"),
        ('{"alpha": 0.7}', r"alpha is 0\.7; it must be a number"),
        ("[" * 100_000, "is no JSON"),
        ("[1]", "must be a JSON object"),
        ("{", "is no JSON"),
    ],
)
def test_a_wrong_study_file_is_refused(tmp_path: Path, study: str, sentence: str) -> None:
    (tmp_path / "study.json").write_text(study)
    with pytest.raises(ValueError, match=sentence):
        load_records(written(tmp_path, GOOD))


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (lines("baseline", (8.1, 8.3)), r"is 8\.1 in results\.csv line 2: .*divide them by 100"),
        (lines("baseline", (0.1, -0.2)), r"is -0\.2 in results\.csv line 3: .*correct it"),
        (["digits,cnn,baseline,,0"], "line 2 has 5 fields, the header 6"),
    ],
)
def test_what_makes_the_whole_untrustworthy_is_refused(tmp_path: Path, rows: list[str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        load_records(written(tmp_path, rows))


def test_files_that_hold_no_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Parquet or CSV"):
        load_records(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        load_records(tmp_path / "none")
    written(tmp_path, ["a,b,c,1,0.1"], "notes.csv", "dataset,backbone,variant,seeds,test_error")
    with pytest.raises(ValueError, match=r"notes\.csv is not used: it lacks seed \(is 'seeds' meant\?\)"):
        load_records(tmp_path)
    assert said(load_records(written(tmp_path, GOOD)), r"notes\.csv is not used")
    written(tmp_path, [], "empty.csv")
    assert said(load_records(tmp_path), r"empty\.csv is not used: it has no rows")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"cut\.parquet can't be read as parquet"):
        load_records(tmp_path)


def test_unequal_seeds_are_not_comparable(tmp_path: Path) -> None:
    verdict = only(load_records(written(tmp_path, GOOD[:-1])))
    assert verdict.verdict == "NOT COMPARABLE" and "1 of 5 seeds missing (4)" in verdict.reason


@pytest.mark.parametrize(
    ("error", "status", "what"),
    [
        ("nan", "", "diverged"),
        ("", "", "failed"),
        ("", "failed", "failed"),
        ("eight", "", "missing"),
        ("0.1", "crashed", "missing"),
    ],
)
def test_a_seed_that_both_sides_lost_is_missed(tmp_path: Path, error: str, status: str, what: str) -> None:
    """Else the verdict rests on the seeds that survived."""
    rows = [f"{row}," for row in GOOD if row.split(",")[4] != "3"]
    lost = [f"digits,cnn,{variant},,3,{error},{status}" for variant in ("baseline", "sire")]
    verdict = only(load_records(written(tmp_path, [*rows, *lost], header=f"{HEADER},status")))
    assert verdict.verdict == "NOT COMPARABLE"
    assert verdict.reason.startswith(f"1 of 5 seeds {what} (3); baseline: 1 of 5 seeds {what} (3); ")


def test_a_seed_lost_in_one_group_is_not_asked_of_another_nor_one_of_the_search(tmp_path: Path) -> None:
    search = "digits,cnn,sire,,9,eight,search"
    other = [f"{row},".replace("digits", "mnist") for row in GOOD] + ["mnist,cnn,sire,,7,eight,"]
    records = load_records(written(tmp_path, [*(f"{row}," for row in GOOD), search, *other], header=f"{HEADER},stage"))
    assert {one.dataset: one.verdict for one in judge_cells(records)} == {"digits": "HELPS", "mnist": "NOT COMPARABLE"}


def test_where_every_seed_diverged_the_reason_says_so(tmp_path: Path) -> None:
    rows = [f"digits,cnn,{variant},,{seed},nan" for variant in ("baseline", "sire") for seed in range(4)]
    verdict = only(load_records(written(tmp_path, rows)))
    assert verdict.verdict == "NOT COMPARABLE" and verdict.reason.startswith("4 of 4 seeds diverged (0-3); baseline: 4")


def test_two_baselines_in_a_group_are_named_and_neither_is_chosen(tmp_path: Path) -> None:
    rows = [*lines("baseline", BASE, "lr=0.1"), *GOOD, *(row.replace("digits", "mnist") for row in GOOD)]
    records = load_records(written(tmp_path, rows))
    both = r"has 2 baselines \(lr=0\.1; no settings\), and nothing says which counts"
    assert said(records, f"digits / cnn {both}: call one of them") and not said(records, "mnist")
    verdicts = {one.dataset: one for one in judge_cells(records)}
    assert verdicts["mnist"].verdict == "HELPS" and verdicts["digits"].verdict == "NOT COMPARABLE"
    assert re.fullmatch(f"this group {both}", verdicts["digits"].reason)


def test_no_baseline_is_named(tmp_path: Path) -> None:
    records = load_records(written(tmp_path, lines("sire", SIRE)))
    assert said(records, "No row has the variant 'baseline'")
    assert only(records).verdict == "NOT COMPARABLE"


def test_identical_rows_count_once_and_are_counted(tmp_path: Path) -> None:
    records = load_records(written(tmp_path, [*GOOD, GOOD[0], GOOD[0]]))
    assert only(records).verdict == "HELPS"
    assert said(records, r"2 rows not used, repeated: results\.csv line 12; results\.csv line 13")


def test_one_seed_with_two_results_is_not_comparable(tmp_path: Path) -> None:
    records = load_records(written(tmp_path, [*GOOD, "digits,cnn,sire,,2,0.5"]))
    assert said(records, r"sire on cnn, digits, seed 2 has different results.*line 9; results\.csv line 12")
    verdict = only(records)
    assert verdict.verdict == "NOT COMPARABLE" and "1 of 5 seeds with different results (2)" in verdict.reason


def test_a_later_protocol_supersedes_where_rows_say_when_they_started(tmp_path: Path) -> None:
    early = [f"{row},old,{index}" for index, row in enumerate(lines("sire", (0.5, 0.5, 0.5, 0.5, 0.5)))]
    late = [f"{row},new,{100 + index}" for index, row in enumerate(GOOD)]
    records = load_records(written(tmp_path, early + late, header=f"{HEADER},recipe,started"))
    assert only(records).verdict == "HELPS" and len(records.superseded) == 5


@pytest.mark.parametrize("text", ["NaN", "inf", "1.797e308"])
def test_what_is_not_finite_has_diverged(tmp_path: Path, text: str) -> None:
    records = load_records(written(tmp_path, [*GOOD[:-1], f"digits,cnn,sire,,4,{text}"]))
    verdict = only(records)
    assert verdict.verdict == "NOT COMPARABLE" and "1 of 5 seeds diverged (4)" in verdict.reason


def test_a_missing_error_failed_and_text_is_set_aside(tmp_path: Path) -> None:
    records = load_records(written(tmp_path, [*GOOD[:-1], "digits,cnn,sire,,4,"]))
    assert "1 of 5 seeds failed (4)" in only(records).reason
    records = load_records(written(tmp_path, [*GOOD[:-1], "digits,cnn,sire,,4,eight"]))
    assert "1 of 5 seeds missing (4)" in only(records).reason
    assert said(records, r"1 row not used, test_top1_error is no number: results\.csv line 11")


@pytest.mark.parametrize(
    ("extra", "value", "sentence"),
    [
        ("parameters", "many", "parameters is no number, so missing"),
        ("batch", "64.5", "batch is no number, so missing"),
        ("parameters", "1.797e308", "parameters is no number, so missing"),
        ("macs", "9223372036854775808", "macs is no number, so missing"),
        ("started", "1e300", "started is no number, so missing"),
        ("test_examples", "-360", "test_examples is below 0, so missing"),
        ("train_seconds", "-1.5", "train_seconds is below 0, so missing"),
        ("train_seconds", "1e308", r"train_seconds is beyond 1e\+100, so missing"),
        ("status", "ok", "not used, status must be one of"),
        ("stage", "final", "not used, stage must be confirm or search"),
        ("colour", "red", "no use is made of the unknown columns 'colour'"),
        ("train_seconds", "inf", "train_seconds is infinite, so counted as not measured"),
    ],
)
def test_odd_values_are_named(tmp_path: Path, extra: str, value: str, sentence: str) -> None:
    records = load_records(written(tmp_path, [f"{row},{value}" for row in GOOD], header=f"{HEADER},{extra}"))
    assert said(records, sentence)
    assert group_cells(records) if "not used" not in sentence else records.trials.empty


def test_seeds_and_names_that_are_missing_are_named(tmp_path: Path) -> None:
    records = load_records(
        written(tmp_path, [*GOOD, "digits,cnn,sire,,first,0.1", "digits,cnn,sire,,,0.1", "digits,cnn,,,7,0.1"])
    )
    assert only(records).verdict == "HELPS"
    for sentence in ("seed is no number", "without a seed", "without a variant"):
        assert said(records, f"1 row not used, {sentence}")


def test_what_one_side_alone_recorded_is_unequal(tmp_path: Path) -> None:
    """Unknown on both sides is unknown; on one side alone it can't be called equal."""
    rows = [f"{row},{'sgd' if 'baseline' in row else ''}" for row in GOOD]
    verdict = only(load_records(written(tmp_path, rows, header=f"{HEADER},recipe")))
    assert verdict.verdict == "NOT COMPARABLE" and re.search("recipe .*, baseline sgd", verdict.reason)


def test_long_whole_numbers_stay_exact_and_longer_ones_are_none(tmp_path: Path) -> None:
    most = 2**63 - 1
    rows = [f"digits,cnn,{name},,{seed},0.1,{most}" for name in ("baseline", "sire") for seed in (most, most - 1)]
    records = load_records(
        written(
            tmp_path, [*rows, f"digits,cnn,sire,,{most + 1},0.1,", "digits,cnn,sire,,1,0.1,"], header=f"{HEADER},macs"
        )
    )
    assert set(records.trials["seed"]) == {most, most - 1, 1}
    assert set(records.trials["macs"].dropna()) == {most}
    assert said(records, r"1 row not used, seed is no number: results\.csv line 6")


def test_a_single_name_of_a_published_table_is_one_name(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text('{"reproduces": "a-table"}')
    assert load_records(written(tmp_path, GOOD)).study.reproduces == ("a-table",)


def test_names_stay_as_they_are(tmp_path: Path) -> None:
    rows = [row.replace("sire", "<b>sire</b>") for row in GOOD]
    assert only(load_records(written(tmp_path, rows))).variant == "<b>sire</b>"


def test_semicolons_a_byte_order_mark_and_blanks_are_read(tmp_path: Path) -> None:
    text = "\n".join([HEADER, *GOOD]).replace(",", "; ")
    (tmp_path / "results.csv").write_text(text, encoding="utf-8-sig")
    assert only(load_records(tmp_path)).verdict == "HELPS"


def test_epochs_come_along(tmp_path: Path) -> None:
    rows = [f"{row},{index}" for index, row in enumerate(GOOD)]
    written(tmp_path, rows, header=f"{HEADER},trial_key")
    epochs = ["0,1,validation_loss,0.5", "0,2,validation_loss,0.4", ",3,validation_loss,0.3"]
    records = load_records(written(tmp_path, epochs, "epochs.csv", "trial_key,epoch,metric,value"))
    assert records.epochs["value"].tolist() == [0.5, 0.4]
    assert said(records, "1 row of epochs without a trial")


def test_odd_epochs_and_values_are_counted(tmp_path: Path) -> None:
    odd = ["1.5,0.5", "1e300,0.5", "-1,0.5", "2,abc", "3,inf", "4,", "5,0.4"]
    table = [f"0,{epoch.split(',')[0]},validation_loss,{epoch.split(',')[1]}" for epoch in odd]
    written(tmp_path, table, "epochs.csv", "trial_key,epoch,metric,value")
    with pytest.raises(ValueError, match=r"epochs\.csv: epochs alone; add a file with the columns dataset, "):
        load_records(tmp_path)
    records = load_records(written(tmp_path, GOOD))
    assert records.epochs["epoch"].tolist() == [3, 4, 5] and records.epochs["value"].tolist()[-1] == 0.4
    assert said(records, r"epochs\.csv: 3 rows of epochs whose epoch is no whole number from 0 ")
    assert said(records, r"epochs\.csv: 1 row of epochs whose value is no number, not used")
    assert said(records, r"epochs\.csv: 2 rows of epochs whose value is missing, infinite ")


def test_top5_alone_is_the_metric(tmp_path: Path) -> None:
    records = load_records(written(tmp_path, GOOD, header=HEADER.replace("top1", "top5")))
    assert records.metric == "test_top5_error" and only(records).verdict == "HELPS"


def test_accuracies_are_not_taken_for_misspelt_errors(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("dataset,backbone,variant,seed,test_top1_accuracy\na,n,baseline,0,0.9\n")
    with pytest.raises(ValueError, match=r"lacks test_top1_error \(1 - 'test_top1_accuracy'\)"):
        load_records(tmp_path)


def test_without_a_baseline_the_variants_are_named(tmp_path: Path) -> None:
    rows = "\n".join(f"a,n,{variant},0,0.1" for variant in ("vanilla", "mine"))
    (tmp_path / "r.csv").write_text(f"dataset,backbone,variant,seed,test_top1_error\n{rows}\n")
    assert any(
        "there are: vanilla, mine. Rename the one to compare with." in told for told in load_records(tmp_path).problems
    )
