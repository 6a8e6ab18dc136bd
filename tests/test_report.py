"""The page: self-contained, escaped, with every cell in it; and analysis' import rule."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analysis
from analysis import figures, synthetic
from analysis.report import headline, render, write_report
from analysis.select import Records, groups, load
from analysis.verdicts import judge

BASE = [0.100, 0.110, 0.105, 0.095, 0.102]
WAVE = [0.001, 0, -0.001, 0.0005, 0]
EVIL = '<script>alert("1")</script>&$x_1$'


def a_study() -> Records:
    cells = {
        "baseline": BASE,
        "sire:lambda=0.1": [error - 0.02 - wave for error, wave in zip(BASE, WAVE, strict=True)],
        EVIL: [error + 0.02 - wave for error, wave in zip(BASE, WAVE, strict=True)],
        "wide": [0.1, None, 0.1, 0.1, 0.1],
    }
    return synthetic.study(cells, dataset="<i>d</i>", backbone="b&b", profile="<u>smoke</u>", study=EVIL)


def stored(records: Records, folder: Path) -> Path:
    import json

    folder.mkdir()
    pq.write_table(pa.Table.from_pandas(records.trials, preserve_index=False), folder / "trials.parquet")
    pq.write_table(pa.Table.from_pandas(records.epochs, preserve_index=False), folder / "epochs.parquet")
    (folder / "study.json").write_text(json.dumps(dict(records.study)))
    return folder


def test_write_report(tmp_path: Path) -> None:
    folder = stored(a_study(), tmp_path / "records")
    page = write_report(folder, tmp_path / "out")
    assert page == tmp_path / "out" / "report.html"
    assert sorted(path.name for path in page.parent.iterdir()) == ["leaderboard.md", "report.html"]
    assert judge(load(folder)) == judge(a_study())


def test_names_are_escaped_and_the_page_is_self_contained() -> None:
    page = render(a_study())
    for tag in ("<script", "<i>", "<u>", "<link", "<img", "@import", "<iframe"):
        assert tag not in page
    assert "&lt;script&gt;" in page and "Profile: &lt;u&gt;smoke&lt;/u&gt;" in page
    assert "src=" not in page and "url(http" not in page
    addresses = {word for word in page.split('"') if word.startswith("http")}
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, not fetched


def test_the_page_says_what_matters_first() -> None:
    page = render(a_study())
    order = [page.index(text) for text in ("Of 3 comparisons", "What helps", "What hurts", "What is not known")]
    order += [page.index(f"<h2>{name}") for name in ("Leaderboard", "Paired", "Learning", "Budget", "Trials", "Search")]
    assert order == sorted(order)
    assert "1 of 5 seeds diverged (1)" in page


def test_headline() -> None:
    assert headline(judge(a_study())) == ("Of 3 comparisons with a baseline, 1 helps, 1 hurts, 1 can't be compared.")
    assert headline([]) == "No variant was compared with a baseline."


def test_search_shows_what_was_confirmed() -> None:
    """Not what has the least top-1 error: a recipe may select by loss."""
    records = a_study()
    records.trials.loc[records.trials["stage"] == "confirm", "hyperparameters"] = "lr=3"
    page = render(records)
    assert '<td>lr=3</td><td class="n">22.00</td>' in page and "<td>lr=1</td>" not in page
    assert "its 3 non-baseline cells" in page


def test_figures_are_xml_repeat_and_share_no_id() -> None:
    records = a_study()
    draw = [figures.forest(records, judge(records)), *figures.learning_curves(records, groups(records)[0])]
    assert draw[0] == figures.forest(records, judge(records))
    ids = [node.get("id") for svg in draw for node in ElementTree.fromstring(svg).iter() if node.get("id")]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("cells", [{}, {"baseline": [None]}, {"baseline": [0.1], "se": [0.2]}, {"se": [0.1, 0.2, 0.1]}])
def test_poor_studies_still_give_a_page(cells: dict[str, list[float | None]]) -> None:
    assert "Provenance" in render(synthetic.study(cells))


def test_load_names_the_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No study\.json"):
        load(tmp_path)


def test_analysis_imports_neither_torch_nor_ray() -> None:
    names = [f"analysis.{path.stem}" for path in Path(analysis.__file__).parent.glob("*.py") if path.stem != "__init__"]
    code = f"import sys, {', '.join(names)}; print([n for n in ('torch', 'ray', 'mlflow') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["collect", "verdicts", "leaderboard", "report"])
def test_modules_run_alone(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", f"analysis.{module}", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "usage: python -m analysis" in done.stdout
