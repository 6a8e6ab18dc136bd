"""The paragraphs for a paper say what the verdicts say, and the LaTeX folder compiles with plain pdflatex."""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from analysis import formatting, testing
from analysis.records.model import Records
from analysis.report import latex_document, paper_text
from analysis.report.figures import Exhibits, exhibits
from analysis.tables import missing_trials
from analysis.tables.all_tables import build_all_tables
from analysis.verdicts.results import StudyResults

BASE = [0.100, 0.110, 0.105, 0.095, 0.102]
WAVE = [0.001, 0, -0.001, 0.0005, 0]
EVIL = r"<b>50 % of $x_1$ & \input{secret} #1 ~^ {λ} – 你好"


def shifted(by: float) -> list[float | None]:
    return [round(error - by - wave, 6) for error, wave in zip(BASE, WAVE, strict=True)]


def told(records: Records) -> str:
    return "\n".join(paper_text.paragraphs(StudyResults(records)))


def test_a_result_is_told_with_the_numbers_of_its_verdict() -> None:
    records = testing.make_study({"baseline": BASE, "sire:lambda=0.1": shifted(0.02), "wide": shifted(-0.01)})
    helps, hurts = StudyResults(records).verdicts
    text = told(records)
    for one, verb in ((helps, "lowered"), (hurts, "raised")):
        assert one.mean_difference is not None and one.ci_low is not None and one.ci_high is not None
        mean, low, high = (
            formatting.format_percent(abs(end)) for end in (one.mean_difference, one.ci_low, one.ci_high)
        )
        low, high = (low, high) if verb == "lowered" else (high, low)
        between = f"95 % CI {low} to {high} pp"
        numbers = f"({between}, adjusted {formatting.format_p(one.p_adjusted)}, n = 5 seeds)"
        assert f"On digits with cnn, {one.label} {verb} the error by {mean} pp {numbers}." in text


def test_only_what_is_too_small_to_matter_is_called_so() -> None:
    found = testing.make_study(
        {"baseline": [*BASE, *BASE], "se": [*shifted(0.002), *shifted(0.0021)], "wide": 2 * shifted(-0.02)}
    )
    text = told(found)
    assert "se lowered the error by" in text and "n = 10 seeds), too small to matter." in text
    assert "wide raised the error by" in text and text.count("), too small to matter.") == 1
    assert "Holm's correction over all 2 comparisons" in text


def test_the_design_and_the_test_are_stated() -> None:
    text = told(testing.make_study({"baseline": BASE, "se": shifted(0.02)}, looks=2, rope=0.003))
    assert (
        "the variant se with the unmodified network (the baseline) on the dataset digits, with the backbone cnn" in text
    )
    assert "1 comparison." in text and "5 paired seeds" in text and "in 4 search trials for each cell" in text
    assert "Training took 10 epochs. The test set was read once per run" in text
    assert "alpha = 0.025 (the study's alpha of 0.05, split over 2 planned looks)" in text
    assert "97.5 % t intervals" in text and "±0.3 percentage points" in text and "paired t" in text


def test_what_the_records_do_not_say_is_not_claimed() -> None:
    """Results from elsewhere say neither what a seed fixed nor how often the test set was read."""
    rows = testing.trial_rows({"baseline": BASE, "se": shifted(0.02)})
    own = [row | {"test_reads": None} for row in rows if row["stage"] == "confirm"]
    records = testing.make_records(
        own, [testing.cell_of(name, "digits", "cnn") for name in ("baseline", "se")], seeds=5
    )
    records.trials["epochs"] = None
    text = told(dataclasses.replace(records, source={"files": ["results.csv"]}))
    assert "5 paired seeds." in text and "lowered the error" in text
    for claim in ("initial weights", "read once", "Training took", "search trials", "declared", "Seeds cover"):
        assert claim not in text


def test_undecided_is_told_as_undecided() -> None:
    text = told(testing.make_study({"baseline": BASE, "se": [0.101, 0.108, 0.106, 0.094, 0.103]}, rope=0.0001))
    assert "No comparison reached significance, which is no evidence that the variants have no effect." in text
    assert re.search(r"Not decided: se on digits with cnn \([+-]0\.\d\d pp, 95 % CI .* pp, n = 5\)", text)
    assert "With power 0.8 these could have seen differences of" in text
    assert "lowered" not in text and "raised" not in text and "no difference" not in text


def test_many_results_are_summarised_by_variant() -> None:
    places = [(f"data{index}", "cnn") for index in range(8)]
    cells: testing.Errors = {"baseline": BASE, "se": shifted(0.02), "wide": shifted(-0.03)}
    text = told(testing.make_studies(dict.fromkeys(places, cells)))
    assert "Of its 8 comparisons, se lowered the error in 8 (by 2.01 pp)." in text
    assert "Of its 8 comparisons, wide raised the error in 8 (by 2.99 pp)." in text
    assert "Over 8 datasets, se differed by +2.01 pp on average" in text and "for datasets like these" in text
    assert len(text) < 4000


def test_the_limits_name_what_was_left_out() -> None:
    records = testing.make_study({"baseline": BASE, "se": [0.1, None, 0.1, 0.1, 0.1]}, profile="quick")
    text = told(records)
    assert "profile quick" in text
    assert "1 comparison could not be made" in text and "se on digits with cnn" in text
    assert "1 run failed or diverged" in text and "nothing here extends them to others" in text


@pytest.mark.parametrize("cells", [{}, {"baseline": [0.1]}, {"se": [0.1, 0.2, 0.1]}, {"baseline": [0.1], "se": [0.2]}])
def test_poor_studies_have_prose_too(cells: testing.Errors) -> None:
    text = told(testing.make_study(cells))
    assert text and not re.search(r"\b(None|nan|inf)\b", text)


# -- LaTeX


def written(records: Records, folder: Path, figures: bool = False) -> Path:
    findings = StudyResults(records)
    drawn = exhibits(findings, folder / "svg", folder / "figures") if figures else Exhibits()
    return latex_document.write(
        findings, [*build_all_tables(findings), *missing_trials.build_tables(findings)], drawn, folder
    )


def test_the_folder_holds_what_the_document_takes_in(tmp_path: Path) -> None:
    document = written(testing.make_study({"baseline": BASE, "se": shifted(0.02)}), tmp_path, figures=True).read_text()
    inputs = re.findall(r"\\input\{(.*?)\}", document) + re.findall(r"\\includegraphics\[.*?\]\{(.*?)\}", document)
    assert any(name.startswith("tables/") for name in inputs) and any(name.endswith(".pdf") for name in inputs)
    assert all((tmp_path / name).is_file() for name in inputs)
    assert "pdflatex report.tex" in (tmp_path / "README").read_text()
    packages = set(re.findall(r"\\usepackage(?:\[.*?\])?\{(.*?)\}", document))
    plain = {"fontenc", "inputenc", "textcomp", "array", "booktabs", "graphicx", "longtable", "geometry", "hyperref"}
    plain |= {"lmodern", "pdflscape"}
    assert packages <= plain and r"\IfFileExists{lmodern.sty}" in document


@pytest.mark.parametrize("kind", ["plain", "names", "nothing", "many"])
def test_the_document_compiles(kind: str, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex here to compile the document")
    cells: testing.Errors = {"baseline": BASE, "se": shifted(0.02), "wide": [0.1, None, 0.1, 0.1, 0.1]}
    named = {EVIL if name == "se" else name: errors for name, errors in cells.items()}
    studies = {
        "plain": lambda: testing.make_study(cells, description="Does it help?"),
        "names": lambda: testing.make_study(named, dataset=EVIL, backbone="b_b&", study=EVIL, profile=EVIL),
        "nothing": lambda: testing.make_study({}),
        "many": lambda: testing.make_studies({(f"data{index}", "cnn"): cells for index in range(7)}),
    }
    document = written(studies[kind](), tmp_path, figures=kind in ("plain", "names"))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", document.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=240)
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-3000:]
    assert (tmp_path / "report.pdf").stat().st_size > 10_000
    assert "secret" not in re.findall(r"\((\S*)", log)
