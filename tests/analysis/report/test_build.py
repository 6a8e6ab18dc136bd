"""The page: the answer first, self-contained, escaped, linked; what is wrong is named; what analysis imports."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
from analysis import testing
from analysis.records.load import load_records
from analysis.records.model import Records
from analysis.report import appendix
from analysis.report import figures as exhibits
from analysis.report.build import Material, render, write_report
from analysis.report.figures import Exhibits
from analysis.report.run_links import links
from analysis.report.summary import headline
from analysis.tables import missing_trials
from analysis.tables.all_tables import build_all_tables
from analysis.verdicts.cells import judge_cells
from analysis.verdicts.results import StudyResults
from tests.fixtures import Command

BASE = [0.100, 0.110, 0.105, 0.095, 0.102]
WAVE = [0.001, 0, -0.001, 0.0005, 0]
EVIL = '<script>alert("1")</script>&$x_1$'
SERVER = {"tracking_uri": "https://me:secret@tracker.example:8443/mlflow/", "experiment_id": "7"}


def shifted(by: float, base: list[float] = BASE) -> list[float | None]:
    return [round(error - by - wave, 6) for error, wave in zip(base, WAVE, strict=True)]


def a_study(**changes: Any) -> Records:
    cells: testing.Errors = {
        "baseline": BASE,
        "sire:lambda=0.1": shifted(0.02),
        EVIL: shifted(-0.02),
        "wide": [0.1, None, 0.1, 0.1, 0.1],
    }
    named = {"dataset": "<i>d</i>", "backbone": "b&b", "profile": "<u>smoke</u>", "study": EVIL}
    return testing.make_study(cells, **{**named, **changes})


def page_of(records: Records) -> str:
    """The page without figures, which take most of its time."""
    findings = StudyResults(records)
    return render(Material(findings, build_all_tables(findings), missing_trials.build_tables(findings), Exhibits()))


def stored(records: Records, folder: Path) -> Path:
    folder.mkdir()
    pq.write_table(pa.Table.from_pandas(records.trials, preserve_index=False), folder / "trials.parquet")
    pq.write_table(pa.Table.from_pandas(records.epochs, preserve_index=False), folder / "epochs.parquet")
    (folder / "study.json").write_text(json.dumps(dict(records.study.whole)))
    return folder


class Outline(HTMLParser):
    """What a browser makes of a page: its elements and ids, what it would fetch, its text in the order of reading."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.addresses: list[str] = []
        self.behind: list[tuple[str, str]] = []  # of each number with runs: anchor, numbers of its runs
        self.texts: list[str] = []
        self._within: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = {name: value or "" for name, value in attrs}
        self.tags[tag] += 1
        self._within.append(tag)
        self.ids += [own["id"]] if "id" in own else []
        self.fetched += [own[name] for name in ("src", "srcset", "data", "action", "poster") if name in own]
        self.fetched += [own["href"]] if tag in ("link", "image", "use") and "href" in own else []
        if tag == "a":
            self.addresses.append(own.get("href", ""))
            if "data-r" in own:
                self.behind.append((own["href"], own["data-r"]))

    def handle_endtag(self, tag: str) -> None:
        while self._within and self._within.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._within):
            self.texts.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole report as files."""
    folder = tmp_path_factory.mktemp("study")
    return write_report(stored(a_study(), folder / "records"), folder / "out")


def test_a_report_is_a_page_with_its_tables_and_figures_beside_it(written: Path) -> None:
    names = {path.name for path in written.parent.iterdir()}
    assert names == {"report.html", "leaderboard.md", "tables", "figures"}
    tables = {path.name for path in (written.parent / "tables").iterdir()}
    assert {f"failures.{kind}" for kind in ("csv", "json", "md", "tex")} <= tables
    figures = {path.stem for path in (written.parent / "figures").glob("*.svg")}
    shown = set(re.findall(r'<figure id="([^"]+)"', written.read_text()))
    assert figures == shown and figures


def test_the_same_records_give_the_same_page(tmp_path: Path) -> None:
    folder = stored(a_study(), tmp_path / "records")
    assert page_of(load_records(folder)) == page_of(load_records(folder))
    assert judge_cells(load_records(folder)) == judge_cells(a_study())


def test_names_are_escaped_and_nothing_is_fetched(written: Path) -> None:
    page = written.read_text()
    outline = Outline(page)
    assert outline.tags["script"] == 1 and outline.tags["style"] >= 1
    assert not {"u", "i", "link", "img", "iframe", "object", "base"} & set(outline.tags)
    assert not [one for one in outline.fetched if not one.startswith("#")]
    assert "@import" not in page and "url(http" not in page
    assert EVIL in outline.text and "<i>d</i>" in outline.text and "Profile <u>smoke</u>" in outline.text


def test_the_answer_comes_first(written: Path) -> None:
    page = written.read_text()
    sections = (
        "Was the budget equal?",
        "Tables",
        "Figures",
        "Trials and failures",
        "For a paper",
        "Runs",
        "Provenance",
    )
    order = ["Of 3 comparisons", 'class="notice"', "<h3>What helps", "<h3>What hurts", "<h3>What can&#39;t be compared"]
    places = [page.index(name) for name in [*order, *(f"<h2>{name}" for name in sections)]]
    text = Outline(page).text
    assert places == sorted(places)
    assert "error 10.24 % without it, 8.23 % with it" in text
    assert "1 of 5 seeds diverged (1)" in text


def test_the_headline_counts_in_plain_english() -> None:
    assert (
        headline(judge_cells(a_study())) == "Of 3 comparisons with a baseline, 1 helps, 1 hurts, 1 can't be compared."
    )
    alone = testing.make_study({"baseline": BASE, "se": shifted(0.02)})
    assert headline(judge_cells(alone)) == "se on digits / cnn helps."
    assert headline([]) == "No variant was compared with a baseline."


def test_what_is_not_decided_is_never_called_no_difference() -> None:
    study = testing.make_study({"baseline": BASE[:3], "se": [0.101, 0.118, 0.1]})
    text = Outline(page_of(study)).text
    assert "se on digits / cnn is not decided" in text and "3 seeds can only see" in text
    assert "no difference" not in text.lower() and "trend" not in text.lower()


def test_a_study_of_many_cells_is_folded_below_a_map_of_all() -> None:
    places = [(f"data{index}", "cnn") for index in range(7)]
    cells: testing.Errors = {"baseline": BASE, "se": shifted(0.02), "wide": shifted(-0.02)}
    page = page_of(testing.make_studies(dict.fromkeys(places, cells)))
    first = page[: page.index('<section id="budget">')]
    shown = re.sub(r"<details.*?</details>", "", first, flags=re.DOTALL)
    assert 'class="map"' in shown and shown.count("▲</a>") == 7 and shown.count("▼</a>") == 7
    assert "<strong>se</strong>: here, of 7 comparisons, 7 help" in shown.replace("\n", "")
    assert "without it" not in shown and first.count("without it") == 14


def test_what_must_be_known_stands_before_the_verdicts() -> None:
    records = testing.make_study({"baseline": [0.9] * 5, "se": shifted(0.02)}, looks=3, profile="quick")
    text = Outline(page_of(records)).text
    above = text[: text.index("What the words mean")]
    assert "Profile quick" in above and "3 looks" in above
    assert "warning" in above  # the baseline does no better than the commonest class


def test_every_number_leads_to_its_runs_and_every_run_to_mlflow() -> None:
    records = dataclasses.replace(a_study(), source=SERVER)
    outline = Outline(page_of(records))
    ids = Counter(outline.ids)
    assert max(ids.values()) == 1
    assert outline.behind
    for anchor, ranges in outline.behind:
        assert anchor.removeprefix("#") in ids
        ends = [part.split("-") for part in ranges.split()]
        assert all(f"r{number}" in ids for part in ends for number in range(int(part[0]), int(part[-1]) + 1))
    runs = {address for address in outline.addresses if "/runs/" in address}
    base = "https://tracker.example:8443/mlflow/#/experiments/7/runs/"
    assert len(runs) == len(set(records.trials["run_id"])) and all(address.startswith(base) for address in runs)
    assert "secret" not in page_of(records)


@pytest.mark.parametrize("run_id", ["", "alike"])
def test_results_without_runs_of_their_own_are_listed_all_the_same(run_id: str) -> None:
    records = a_study()
    records.trials["run_id"] = run_id
    outline = Outline(page_of(records))
    assert max(Counter(outline.ids).values()) == 1
    assert sum(one.startswith("r") and one[1:].isdigit() for one in outline.ids) == len(records.trials)


def test_links_of_a_database_lead_to_the_local_ui_and_unknown_ones_nowhere() -> None:
    local = dataclasses.replace(a_study(), source={"tracking_uri": "sqlite:///runs/mlflow.db", "experiment_id": "3"})
    assert links(local).run("abc") == "http://127.0.0.1:5000/#/experiments/3/runs/abc"
    assert "graftbench ui" in links(local).note
    unknown = links(dataclasses.replace(a_study(), source={}))
    assert unknown.run("abc") == "" and "not linked" in unknown.note
    assert not [one for one in Outline(page_of(a_study())).addresses if one.startswith("http")]


def test_the_papers_contradictions_are_shown_where_the_study_reproduces_them() -> None:
    cells: testing.Errors = {"baseline": BASE, "sire": shifted(0.02)}
    study = testing.make_study(
        cells, dataset="cifar100", backbone="base_cnn", reproduces=["sire-table-1", "sire-table-999"]
    )
    text = Outline(page_of(study)).text
    papers = text[text.index("The papers behind it") :]
    assert "Avola" in papers and "Neither lambda nor batch is printed with this table" in papers
    assert "No result has a spread" in papers and "sire-table-999" in papers
    assert "The papers behind it" not in Outline(page_of(a_study())).text


def test_what_has_no_result_is_a_row_with_its_reason() -> None:
    rows = testing.trial_rows({"baseline": BASE, "se": BASE, "wide": [0.1, None, 0.1, 0.1, 0.1]})
    for row in rows:
        if row["variant"] == "se" and row["stage"] == "confirm" and row["seed"] == 3:
            row.update(status="failed", reason="CUDA <b>out</b> of memory", test_top1_error=None)
    cells = [testing.cell_of(name, "digits", "cnn") for name in ("baseline", "se", "wide", "gone")]
    cells.append(testing.cell_of("no_skip", "digits", "cnn", refused="there is no skip"))
    text = Outline(page_of(testing.make_records(rows, cells, seeds=5))).text
    failures = text[text.index("Failed, diverged") : text.index("Written from these records")]
    missing = "expected, but no usable trial was recorded"
    for told in ("CUDA <b>out</b> of memory", "diverged", "there is no skip", missing):
        assert told in failures
    assert "0-4" in failures and "4 of 4 planned" in failures  # the seeds and searches of the cell that never ran


def test_search_shows_what_was_confirmed() -> None:
    """Not what has the least top-1 error: a recipe may select by loss."""
    records = a_study()
    records.trials.loc[records.trials["stage"] == "confirm", "hyperparameters"] = "lr=3"
    found = next(table for table in missing_trials.build_tables(StudyResults(records)) if table.id == "search")
    assert {(row[4].text, row[5].text) for row in found.rows} == {("lr=3", "22.00")}


POOR: dict[str, testing.Errors] = {
    "only a diverged baseline": {"baseline": [None]},
    "one seed": {"baseline": [0.1], "se": [0.2]},
    "no baseline": {"se": [0.1, 0.2, 0.1]},
    "all alike": {"baseline": [0.1] * 5, "se": [0.1] * 5},
    "one difference": {"baseline": [0.2] * 5, "se": [0.1] * 5},
    "ties": {"baseline": [0.2, 0.1, 0.2, 0.1, 0.2], "se": [0.1, 0.1, 0.1, 0.1, 0.2]},
    "no number": {"baseline": BASE, "se": [float("nan")] * 5},
    "largest number": {"baseline": BASE, "se": [0.1, 1.797e308, 0.1, 0.1, 0.1]},
    "missing pairs": {"baseline": BASE, "se": [0.1, 0.1]},
    "all diverged": {"baseline": BASE, "se": [None] * 5},
}


@pytest.mark.parametrize("name", POOR)
def test_poor_studies_still_give_a_page_without_false_numbers(name: str, tmp_path: Path) -> None:
    text = Outline(page_of(load_records(stored(testing.make_study(POOR[name]), tmp_path / "records")))).text
    assert "Provenance" in text
    assert not re.search(r"\b(nan|inf|None)\b|1\.797|e\+30", text[: text.rindex("(JSON)")])


@pytest.mark.parametrize("name", ["no number", "largest number", "missing pairs", "all diverged"])
def test_what_cannot_be_averaged_is_not_comparable(name: str, tmp_path: Path) -> None:
    text = Outline(page_of(load_records(stored(testing.make_study(POOR[name]), tmp_path / "records")))).text
    assert "se on digits / cnn can't be compared." in text and "an average over unequal sets is refused" in text


def test_nothing_but_a_plan_is_a_page_that_says_so() -> None:
    cells = [testing.cell_of(name, "digits", "cnn") for name in ("baseline", "se")]
    text = Outline(page_of(testing.make_records([], cells, seeds=5, study="planned"))).text
    assert "No variant was compared with a baseline." in Outline(page_of(testing.make_study({}))).text
    assert "5 of 5 seeds missing (0-4)" in text and "expected, but no usable trial was recorded" in text


def test_problems_of_the_records_are_named() -> None:
    records = dataclasses.replace(a_study(), problems=("row 7: <b>no</b> number", "row 9: set aside"))
    text = Outline(page_of(records)).text
    assert "2 things in the records could not be used, or" in text[: text.index("What the words mean")]
    assert "row 7: <b>no</b> number" in text and "row 9: set aside" in text


def test_five_hundred_trials_are_a_page_below_five_megabytes() -> None:
    places = [(f"data{index}", f"net{width}") for index in range(4) for width in range(3)]
    cells: testing.Errors = {"baseline": BASE, **{f"variant:lambda={n}": shifted(0.001 * n) for n in range(4)}}
    records = testing.make_studies(dict.fromkeys(places, cells))
    assert len(records.trials) >= 500
    assert len(page_of(records).encode()) + exhibits.PAGE < 5e6


def test_figures_beyond_what_a_page_holds_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(exhibits, "KIND", 0)
    found = exhibits.exhibits(StudyResults(testing.make_study({"baseline": BASE, "se": shifted(0.02)})), tmp_path)
    assert found.shown == [] and found.every and not list(tmp_path.iterdir())
    assert f"{len(found.every)} more figures would make this page too large" in found.notes[0]


def test_a_long_table_is_cut_on_the_page_and_says_where_the_rest_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing_trials, "_MOST", 2)
    page = page_of(testing.make_study({"baseline": [None] * 5, "se": BASE}))
    assert "The first 2 rows; 3 more are in tables/failures.csv" in page


# -- the command


def test_the_command_writes_a_report_of_a_folder_of_records(tmp_path: Path, graftbench: Command) -> None:
    folder = stored(testing.make_study({"baseline": [0.1], "se": [0.2]}), tmp_path / "records")
    answer = graftbench("report", "--records", folder, "--out", tmp_path / "out")
    assert (answer.code, answer.out.strip()) == (0, f"report: {tmp_path / 'out' / 'report.html'}")


@pytest.mark.parametrize(
    ("started", "shown"),
    [(1_700_000_000_000, "2023-11-14 22:13 UTC"), (1_700_000_000_000_000_000, "1700000000000000000, which is no time")],
)
def test_a_start_in_another_unit_is_shown_as_it_is(started: int, shown: str) -> None:
    records = a_study()
    facts = dict(appendix.provenance(dataclasses.replace(records, trials=records.trials.assign(started=started))))
    assert facts["first trial started"][0].startswith(shown)


def test_records_that_cannot_be_read_are_one_sentence_and_no_trace(tmp_path: Path, graftbench: Command) -> None:
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    cut = stored(a_study(), tmp_path / "cut")
    whole = (cut / "trials.parquet").read_bytes()
    (cut / "trials.parquet").write_bytes(whole[: len(whole) // 2])
    for folder in (nothing, cut, tmp_path / "absent"):
        answer = graftbench("report", "--records", folder, "--out", tmp_path / "out")
        assert answer.code == 2 and answer.err.count("\n") == 1
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_column_of_the_wrong_type_is_named(tmp_path: Path, graftbench: Command) -> None:
    folder = stored(testing.make_study({"baseline": BASE, "se": shifted(0.02)}), tmp_path / "records")
    table = pq.read_table(folder / "trials.parquet")
    index = table.schema.get_field_index("test_top1_error")
    pq.write_table(
        table.set_column(index, "test_top1_error", pa.array(["abc"] * len(table))), folder / "trials.parquet"
    )
    answer = graftbench("report", "--records", folder, "--out", tmp_path / "out")
    page = tmp_path / "out" / "report.html"
    told = Outline(page.read_text()).text if answer.code == 0 else answer.err
    assert "test_top1_error" in told and "Traceback" not in told


# -- in a browser


PROBE = """<script>
const table = document.querySelector("table.data[id^=table-leaderboard]"), told = [];
const heads = Array.from(table.tHead.rows[0].cells), at = heads.findIndex((head) => head.dataset.key === "error");
const rows = () => Array.from(table.tBodies[0].rows).filter((row) => !row.hidden);
const column = () => rows().map((row) => row.cells[at].innerText);
for (const way of ["ascending", "descending"]) {
  heads[at].querySelector("button").click();
  told.push([way, heads[at].getAttribute("aria-sort"), column()]);
}
const box = table.closest(".scroll").previousElementSibling.querySelector("input");
box.value = "sire";
box.dispatchEvent(new Event("input"));
told.push(["filtered", "", column()]);
table.querySelector("tr:not([hidden]) a.k[data-r]").click();
told.push(["runs", "", Array.from(document.querySelectorAll(".pop a[href*='/runs/']"), (link) => link.innerText)]);
const out = document.createElement("pre");
out.id = "told";
out.textContent = JSON.stringify(told);
document.body.append(out);
</script></body>"""


def test_tables_sort_and_filter_and_numbers_show_their_runs_in_a_browser(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium here to run the page's script")
    more = {f"v{number}": shifted(-0.001 * number) for number in range(4)}
    records = testing.make_study({"baseline": BASE, "sire": shifted(0.02), **more, "wide": [0.1, None, 0.1, 0.1, 0.1]})
    page = tmp_path / "page.html"
    page.write_text(page_of(dataclasses.replace(records, source=SERVER)).replace("</body>", PROBE))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run([browser, *options, page.as_uri()], capture_output=True, text=True, timeout=120)
    told = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told, done.stderr[-2000:]
    ascending, descending, filtered, runs = json.loads(told[1])
    assert ascending[:2] == ["ascending", "ascending"] and descending[1] == "descending"
    numbers = [float(text.split()[0]) for text in ascending[2][:-1]]
    assert numbers == sorted(numbers) and len(set(numbers)) > 3
    assert descending[2] == [*reversed(ascending[2][:-1]), "–"]  # what has no value stays last
    assert len(filtered[2]) == 1 and len(runs[2]) >= 5


# -- what analysis may import


def _modules() -> list[str]:
    root = Path(analysis.__file__).parent
    parts = [path.relative_to(root).with_suffix("").parts for path in root.rglob("*.py")]
    return [".".join(("analysis", *part)) for part in parts if part[-1] != "__init__"]


def test_analysis_imports_neither_torch_nor_ray() -> None:
    code = f"import sys, {', '.join(_modules())}; print([n for n in ('torch', 'ray', 'mlflow') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_verbs_on_records_import_neither_torch_nor_ray(tmp_path: Path) -> None:
    folder = stored(testing.make_study({"baseline": [0.1, 0.2, 0.3], "se": [0.2, 0.1, 0.2]}), tmp_path / "records")
    for verb in ("verdicts", "leaderboard", "report"):
        arguments = ["graftbench", verb, "--records", str(folder)]
        code = f"import sys; sys.argv = {arguments!r}; from suite.cli.main import app; app(standalone_mode=False)"
        found = "print('found', [name for name in ('torch', 'ray', 'mlflow', 'optuna') if name in sys.modules])"
        done = subprocess.run([sys.executable, "-c", f"{code}; {found}"], capture_output=True, text=True)
        assert done.stdout.endswith("found []\n"), (done.stdout, done.stderr)


def test_load_names_the_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No .*trials\.parquet|No study\.json|no .* in "):
        load_records(tmp_path)


def test_strangers_are_told_what_was_tried() -> None:
    records = testing.make_study({"baseline": BASE, "se": shifted(0.02)}, about={"se": "Channels are scaled <a lot>."})
    text = Outline(page_of(records)).text
    assert "What the words mean, and what was tried" in text and "Channels are scaled <a lot>." in text
    assert "what was tried" not in Outline(page_of(testing.make_study({"baseline": BASE, "se": shifted(0.02)}))).text


def test_results_from_elsewhere_are_not_said_to_be_audited(tmp_path: Path) -> None:
    lines = [
        f"a,net,{variant},{seed},0.{seed + base}" for variant, base in (("baseline", 3), ("x", 1)) for seed in range(4)
    ]
    (tmp_path / "results.csv").write_text("\n".join(["dataset,backbone,variant,seed,test_top1_error", *lines]) + "\n")
    text = Outline(page_of(load_records(tmp_path))).text
    assert "nothing of the budget was recorded" in text and "taken on trust" in text
    assert "Both are trained with the same budget" not in text and "0.00 h" not in text
