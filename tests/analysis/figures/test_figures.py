"""Figures: what is drawn and in which order, what names do to them, the same bytes each time, how large they get."""

import dataclasses
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from analysis import testing
from analysis.figures import Drawing, draw_all, render_svg, save_drawing
from analysis.figures.forest import draw_cells as forest
from analysis.figures.importance import compute_importances
from analysis.figures.pareto import Point, find_front
from analysis.figures.ranks import find_cliques
from analysis.figures.response import axis_of
from analysis.figures.style import LOOKS, axis_reach, clean_line, split_evenly, use_style
from analysis.formatting import make_slug
from analysis.records.histories import Histories
from analysis.records.model import Records
from analysis.verdicts.model import VariantVerdict
from analysis.verdicts.rankings import Ranking
from analysis.verdicts.results import StudyResults

EVIL = '<script>alert("1")</script>&$x_1$\x00\n'
BASE = [0.100, 0.110, 0.105, 0.095, 0.102]
METRICS = ("validation_top1_error", "train_top1_error", "validation_loss", "train_loss")


def study(
    groups: Sequence[tuple[str, str]] = (("digits", "cnn"),),
    variants: Sequence[str] = ("sire:lambda=0.1", "wide"),
    searches: int = 4,
    epochs: int = 5,
    **logged: float,
) -> Records:
    """Five seeds per cell, errors and losses of every epoch, a search over `lr` and `momentum`; `logged` by epoch."""
    random = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for dataset, backbone in groups:
        names = {"baseline": BASE} | {name: (np.array(BASE) + random.normal(0, 0.004, 5)).tolist() for name in variants}
        confirm = [row for row in testing.trial_rows(names, dataset, backbone) if row["stage"] == "confirm"]
        rows += [row | {"epochs": epochs} for row in confirm]
        rows += [_search(row, index) for row in confirm if row["seed"] == 0 for index in range(searches)]
    cells = [testing.cell_of(name, *place) for place in groups for name in ("baseline", *variants)]
    records = testing.make_records(rows, cells, seeds=5, search_trials=searches)
    return dataclasses.replace(records, epochs=history(rows, epochs, **logged))


def _search(row: Mapping[str, Any], index: int) -> dict[str, Any]:
    random = np.random.default_rng(index)  # the same draws for every cell
    lr, momentum = 10 ** random.uniform(-4, -1), random.uniform(0.8, 0.99)
    error = 0.1 + 0.05 * (math.log10(lr) + 2) ** 2 + random.normal(0, 0.001)
    own = {
        "stage": "search",
        "seed": index,
        "trial_key": f"{row['trial_key']}-s{index}",
        "test_top1_error": None,
        "test_reads": 0,
    }
    return {**row, **own, "validation_top1_error": error, "hyperparameters": f"lr={lr:g}, momentum={momentum:.3g}"}


def history(rows: Sequence[Mapping[str, Any]], epochs: int, **logged: float) -> pd.DataFrame:
    names = [*METRICS, *logged]
    table = [
        (row["trial_key"], epoch, name, logged.get(name, 0.1) + math.exp(-epoch / 2))
        for row in rows
        if row["stage"] == "confirm"
        for name in names
        for epoch in range(1, epochs + 1)
    ]
    return pd.DataFrame(table, columns=["trial_key", "epoch", "metric", "value"])


def drawn(records: Records) -> dict[str, Drawing]:
    return {one.id: one for one in draw_all(StudyResults(records))}


def only(records: Records, id: str) -> Drawing:
    """One figure; those after it are not drawn."""
    return next(one for one in draw_all(StudyResults(records)) if one.id == id)


def texts(drawing: Drawing) -> list[str]:
    root = ElementTree.fromstring(render_svg(drawing.figure))
    return ["".join(node.itertext()) for node in root.iter() if node.tag.endswith("}text")]


def lines(axes: Any, style: str | None = None) -> list[Any]:
    return [line for line in axes.get_lines() if style is None or line.get_linestyle() == style]


# -- all of them


def test_figures_come_one_at_a_time_in_the_reports_order() -> None:
    records = study(
        variants=["sire:lambda=0.1", "sire:lambda=0.2", "sire:lambda=0.4"], searches=12, stride_1_height=2.0
    )
    assert list(drawn(records)) == [
        "paired-differences-1",
        "pareto-digits",
        "response-sire-lambda",
        "curves-digits-cnn",
        "logged-stride-digits-cnn",
        "search-digits-cnn",
        "importance-digits-cnn",
    ]
    assert iter(drawing := draw_all(StudyResults(records))) is drawing


def test_every_figure_has_a_sentence_that_explains_it_and_a_safe_id() -> None:
    for one in drawn(study(searches=12)).values():
        assert one.caption.endswith(".") and len(one.caption) > 60
        assert re.fullmatch(r"[a-z0-9-]+", one.id) and one.title[0].isupper()


def test_names_of_any_kind_are_escaped_and_shown() -> None:
    records = study([(EVIL, "b&b")], [EVIL, "中文"], searches=12)
    for one in drawn(records).values():
        text = render_svg(one.figure)
        ElementTree.fromstring(text)
        assert "<script" not in text and "\x00" not in text
    curves = next(one for id, one in drawn(records).items() if id.startswith("curves"))
    assert '<script>alert("1")</script>&$x_1$?' in texts(curves) and "中文" in texts(curves)


def test_names_that_differ_only_in_signs_get_ids_of_their_own() -> None:
    ids = [one.id for one in draw_all(StudyResults(study([("d", "b"), ("d?", "b"), ("中", "文"), ("字", "符")])))]
    assert len(set(ids)) == len(ids) and "curves-d-b" in ids and "curves-d-b-2" in ids
    assert make_slug("中", "?") == "" and "curves" in ids and "curves-2" in ids


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        for one in islice(draw_all(StudyResults(study(variants=["wide"], searches=0))), 2):
            save_drawing(one, tmp_path / folder)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert {Path(name).suffix for name in files} == {".png", ".svg", ".pdf"} and len(files) == 6
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_no_two_figures_share_an_id_inside_a_page() -> None:
    roots = [ElementTree.fromstring(render_svg(one.figure)) for one in drawn(study(searches=12)).values()]
    ids = [node.get("id") for root in roots for node in root.iter() if node.get("id")]
    assert ids and len(ids) == len(set(ids))


def test_an_unknown_format_is_refused_in_a_sentence(tmp_path: Path) -> None:
    one = next(draw_all(StudyResults(study())))
    with pytest.raises(ValueError, match=r"png, svg, pdf, not as docx\."):
        save_drawing(one, tmp_path, ("docx",))


def test_a_slim_svg_changes_no_text() -> None:
    records = study(variants=["v:a=0.123456789, b='DejaVu Sans'"])
    assert "v(a=0.123456789, b='DejaVu Sans')" in texts(only(records, "paired-differences-1"))


def test_nothing_global_is_changed() -> None:
    code = (
        "import sys, matplotlib as mpl; before = dict(mpl.rcParams); import tests_study as t;"
        "from analysis.figures import draw_all, render_svg; from analysis.verdicts.results import StudyResults;"
        "n = [len(render_svg(d.figure)) for d in draw_all(StudyResults(t.study(variants=['wide'], searches=10)))];"
        "print(len(n) > 3, dict(mpl.rcParams) == before, 'torch' in sys.modules)"
    )
    code = code.replace("import tests_study as t", f"import runpy; t = runpy.run_path({__file__!r})").replace(
        "t.study", "t['study']"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True True False" and "A new study" not in done.stderr


@pytest.mark.parametrize("cells", [{}, {"baseline": [None]}, {"baseline": [0.1], "se": [0.2]}, {"se": [0.1, 0.2, 0.1]}])
def test_poor_studies_draw_what_they_can(cells: dict[str, list[float | None]]) -> None:
    for one in drawn(testing.make_study(cells)).values():
        render_svg(one.figure)


def test_no_text_leaves_its_figure() -> None:
    long = "sire:components=IRe, decoders=1+4, scale=per_class_and_whatever_else_there_is_to_set"
    names = [long, "sire:lambda=0.1", "sire:lambda=0.2", "sire:lambda=0.4"]
    records = study([("parquet(path=some/where/far/down)", "base_cnn(width=0.25)")], names, 12, stride_1_height=2.5)
    small = records.trials["train_seconds"] * 0.0123 + records.trials["test_top1_error"].fillna(0)
    records = dataclasses.replace(records, trials=records.trials.assign(train_seconds=small))
    for one in (*drawn(records).values(), *draw_all(findings_across(6, "squeeze_excite(reduction=16, place="))):
        with use_style():
            FigureCanvasAgg(one.figure).draw()  # ticks get their texts when drawn
        frame = one.figure.bbox
        for text in drawn_texts(one):
            if text.get_text() and text.get_visible():
                box = text.get_window_extent()
                inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= frame.x1 + 1 and box.y1 <= frame.y1 + 1
                assert inside, (one.id, text.get_text(), box)


def drawn_texts(one: Drawing) -> list[Text]:
    """All but labels of ticks beyond their axis."""
    labels, visible = set(), set()
    for axis in (way for axes in one.figure.axes for way in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.majorTicks, *axis.minorTicks):
            labels |= {tick.label1, tick.label2}
            visible |= {tick.label1, tick.label2} if low <= tick.get_loc() <= high else set()
    return [text for text in one.figure.findobj(Text) if text not in labels or text in visible]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 1.797e308])
def test_figures_that_nothing_measured_are_left_out(wrong: float) -> None:
    records = study(variants=["wide"], searches=11)
    trials = records.trials.copy()
    trials.loc[trials["seed"] == 2, ["validation_top1_error", "train_seconds"]] = wrong
    epochs = records.epochs.copy()
    epochs.loc[epochs["epoch"] == 2, "value"] = wrong
    for one in drawn(dataclasses.replace(records, trials=trials, epochs=epochs)).values():
        text = render_svg(one.figure)
        assert "nan" not in text.lower() and "inf" not in text.lower().replace("infer", "")


def test_without_epochs_searches_and_costs_only_the_differences_remain() -> None:
    records = testing.make_study({"baseline": BASE, "se": [error - 0.01 for error in BASE]})
    trials = records.trials[records.trials["stage"] == "confirm"].copy()
    trials[["parameters", "macs", "train_seconds"]] = None
    study = dataclasses.replace(records.study, search_trials=0)
    bare = dataclasses.replace(records, trials=trials, epochs=records.epochs.iloc[:0], study=study)
    assert list(drawn(bare)) == ["paired-differences-1"]


def test_twenty_cells_stay_small() -> None:
    """A report is to stay below 5 MB for 500 trials, some sixty cells."""
    places = [(dataset, backbone) for dataset in ("digits", "mnist") for backbone in ("cnn", "resnet18")]
    records = study(places, ["a", "b", "c:lambda=0.1", "d"], searches=3, epochs=100)
    assert sum(len(render_svg(one.figure)) for one in draw_all(StudyResults(records))) < 500_000


# -- forest


def test_a_forest_shows_every_cell_with_its_seeds_and_verdict() -> None:
    records = study(variants=["sire:lambda=0.1", "wide"])
    one = only(records, "paired-differences-1")
    shown = texts(one)
    assert "digits / cnn" in shown
    assert [text for text in shown if text in ("sire(lambda=0.1)", "wide")] == ["sire(lambda=0.1)", "wide"]
    (axes,) = one.figure.axes
    dots = [line for line in lines(axes) if line.get_marker() == "o"]
    verdicts = StudyResults(records).verdicts
    assert [sorted(line.get_xdata()) for line in dots] == [
        pytest.approx(sorted(100 * d for _, d in verdict.differences)) for verdict in verdicts
    ]


def test_many_cells_are_split_over_figures_in_order_and_groups_stay_whole() -> None:
    names = [f"v{number}" for number in range(40)]
    pages = list(forest(StudyResults(study(variants=names, searches=0))))
    assert [one.title for one in pages] == [f"Paired differences: digits / cnn ({part} of 3)" for part in (1, 2, 3)]
    assert [text for one in pages for text in texts(one) if text in names] == names
    small = forest(StudyResults(study([(f"d{number}", "cnn") for number in range(9)], ["a", "b", "c"], searches=0)))
    headers = [[text for text in texts(one) if " / " in text] for one in small]
    assert [len(own) for own in headers] == [5, 4] and len({text for own in headers for text in own}) == 9


def test_a_collapsed_network_leaves_the_others_readable() -> None:
    same = {"baseline": BASE, "a": [error - 0.01 for error in BASE[:4]] + [0.09], "b": [0.9, 0.91, 0.9, 0.89, 0.9]}
    (axes,) = only(testing.make_study(same), "paired-differences-1").figure.axes
    assert axes.get_xlim()[1] < 3
    arrows = [line for line in lines(axes) if line.get_marker() == "<"]
    assert len(arrows) == 1 and arrows[0].get_xdata()[0] == axes.get_xlim()[0]
    assert axis_reach([0.2, 0.3, 80.0], least=0.5) == pytest.approx(0.5)
    assert axis_reach([70.0, 80.0], least=0.5) == pytest.approx(86.4)
    assert axis_reach([], least=0.5) == 0.5


# -- across datasets


def findings_across(size: int, prefix: str = "v") -> StudyResults:
    findings = StudyResults(testing.make_study({"baseline": [0.1]}))
    labels = ("baseline", *(f"{prefix}{number}" for number in range(1, size)))
    ranking = Ranking(
        backbone="",
        datasets=tuple("abcdef"),
        labels=labels,
        average_ranks=tuple(1 + 0.9 * number for number in range(size)),
        statistic=9.0,
        iman_davenport=3.7,
        p_value=0.01,
        p_values=(None, *(0.01 * number for number in range(1, size))),
        critical_difference=1.0,
        alpha=0.05,
    )
    variants = [
        VariantVerdict(
            variant=label,
            settings="",
            datasets=tuple("abcdef"),
            differences=(0.01, 0.02, 0.0, 0.01, 0.02, 0.03),
            mean_difference=0.015,
            ci_low=0.005,
            ci_high=0.025,
            verdict="HELPS",
            reason="",
        )
        for label in labels[1:]
    ]
    findings.__dict__.update(rankings=[ranking], variants=variants)  # in the place of what is computed when asked
    return findings


def test_variants_across_datasets_show_each_dataset() -> None:
    one = next(draw_all(findings_across(4)))
    assert one.id == "across-datasets-1" and texts(one).count("+1.50  HELPS") == 3
    dots = [line for line in lines(one.figure.axes[0]) if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in dots] == [6, 6, 6]


def test_a_critical_difference_diagram_joins_what_is_not_told_apart() -> None:
    one = {drawing.id: drawing for drawing in draw_all(findings_across(5))}["average-ranks-1"]
    (axes,) = one.figure.axes
    bars = [list(line.get_xdata()) for line in lines(axes) if line.get_linewidth() == 3.2]
    assert bars == [pytest.approx([low, low + 0.9]) for low in (1.0, 1.9, 2.8, 3.7)]
    shown = texts(one)
    assert "CD = 1.00" in shown and "baseline  1.00" in shown
    assert "v4*  4.60" not in shown and "4.60  v4*" in shown  # the worst stand at the right


def test_cliques_are_the_longest_runs_within_the_critical_difference() -> None:
    demsar = [1.964, 2.000, 2.893, 3.143]  # Demsar 2006, Table 6: at 0.10 the critical difference is 1.12
    assert find_cliques(demsar, 1.25) == [(0, 3)]
    assert find_cliques(demsar, 1.12) == [(0, 2), (2, 3)]
    assert find_cliques([1.0, 1.5, 3.0, 3.2], 1.0) == [(0, 1), (2, 3)]
    assert find_cliques([1.0, 3.0], 1.0) == []


def test_a_cell_looks_the_same_in_every_figure_of_its_group() -> None:
    records = study(variants=["a", "b", "c"], searches=12)
    trials = records.trials.copy()
    trials.loc[(trials["variant"] == "b") & (trials["stage"] == "search"), "status"] = "failed"
    found = drawn(dataclasses.replace(records, trials=trials))

    def colour(id: str, name: str) -> str:
        (legend,) = found[id].figure.legends[:1]
        names = [text.get_text() for text in legend.get_texts()]
        return str(legend.get_lines()[names.index(name)].get_color())

    assert colour("curves-digits-cnn", "c") == colour("importance-digits-cnn", "c") == colour("search-digits-cnn", "c")


# -- learning curves and what variants log


def test_learning_curves_have_errors_and_losses_with_bands() -> None:
    one = only(study(), "curves-digits-cnn")
    titles = [axes.get_title(loc="left") for axes in one.figure.axes]
    assert titles == ["validation top-1 error (%)", "training top-1 error (%)", "validation loss", titles[3]]
    assert titles[3] == "training loss (as minimised)"
    for axes in one.figure.axes:
        assert len(lines(axes)) == 3 and len(axes.collections) == 3
    looks = {(line.get_color(), line.get_marker(), str(line.get_linestyle())) for line in lines(one.figure.axes[0])}
    assert len(looks) == 3 and len({look[0] for look in looks}) == 3


def test_the_test_curve_is_a_panel_where_it_was_recorded() -> None:
    one = only(study(test_curve_top1_error=0.2, test_curve_loss=0.3), "curves-digits-cnn")
    titles = [axes.get_title(loc="left") for axes in one.figure.axes]
    assert titles[4:] == ["test top-1 error (%), selects nothing", "test loss, selects nothing"]


def test_curves_of_many_variants_are_split_with_the_baseline_in_each() -> None:
    found = drawn(study(variants=[f"v{number}" for number in range(8)], searches=0))
    parts = [one for id, one in found.items() if id.startswith("curves")]
    names = [[text for text in texts(one) if re.fullmatch(r"baseline|v\d", text)] for one in parts]
    assert names == [["baseline", "v0", "v1", "v2", "v3"], ["baseline", "v4", "v5", "v6", "v7"]]
    assert parts[1].title == "Learning curves: digits / cnn (2 of 2)"


@pytest.mark.parametrize("broken", [math.nan, math.inf, 1.797e308])
def test_a_diverged_seed_is_cut_and_marked(broken: float) -> None:
    records = testing.make_study({"baseline": BASE, "se": [0.1, None, 0.1, 0.1, 0.1]})
    bad = records.trials.loc[records.trials["status"] == "diverged", "trial_key"].iloc[0]
    told = [(bad, epoch, "validation_top1_error", 0.3 if epoch < 3 else broken) for epoch in (1, 2, 3, 4)]
    more = pd.DataFrame(told, columns=records.epochs.columns)
    records = dataclasses.replace(records, epochs=pd.concat([records.epochs, more], ignore_index=True))
    one = only(records, "curves-digits-cnn")
    crosses = [line for line in lines(one.figure.axes[0]) if line.get_marker() == "x"]
    assert [list(line.get_xydata()[0]) for line in crosses] == [pytest.approx([2, 30.0])]
    assert "se (1 of 5 seeds diverged)" in texts(one)
    assert "nan" not in render_svg(one.figure).lower()


def test_a_seed_that_ends_early_shortens_the_mean_not_the_figure() -> None:
    records = study(variants=["se"])
    epochs = records.epochs
    key = epochs["trial_key"].iloc[0]
    records = dataclasses.replace(records, epochs=epochs[~((epochs["trial_key"] == key) & (epochs["epoch"] > 3))])
    axes = only(records, "curves-digits-cnn").figure.axes[0]
    assert [len(line.get_xdata()) for line in lines(axes)] == [3, 5]


def test_long_histories_are_thinned_and_say_so() -> None:
    one = only(study(epochs=300, searches=0), "curves-digits-cnn")
    epochs = lines(one.figure.axes[0])[0].get_xdata()
    assert len(epochs) <= 48 and (epochs[0], epochs[-1]) == (1, 300) and "of the epochs" in one.caption
    assert "of the epochs" not in only(study(), "curves-digits-cnn").caption


def test_learned_strides_and_other_scalars_are_drawn_by_place() -> None:
    found = drawn(study(stride_1_height=2.0, stride_1_width=1.5, stride_2_height=1.2, reconstruction_mse_1=0.4))
    strides = found["logged-stride-digits-cnn"]
    assert strides.title == "Learned strides by epoch: digits / cnn"
    assert len(strides.figure.axes) == 3 and [len(lines(axes)) for axes in strides.figure.axes] == [3, 3, 3]
    legend = [text for text in texts(strides) if text.startswith("stride")]
    assert legend == ["stride 1 height", "stride 1 width", "stride 2 height"]
    assert "reconstruction mse 1" in texts(found["logged-reconstruction-mse-digits-cnn"])


def test_histories_take_the_last_of_duplicates_and_any_type() -> None:
    table = pd.DataFrame(
        {
            "trial_key": ["b", "a", "b", "b", None],
            "epoch": [2, 1, 1, 2, 1],
            "metric": ["loss"] * 5,
            "value": ["0.5", "wrong", "inf", "0.25", "1"],
        }
    )
    histories = Histories(table)
    epochs, values = histories.read_curve("b", "loss")
    assert list(epochs) == [1, 2] and math.isnan(values[0]) and values[1] == 0.25
    assert np.isnan(histories.read_curve("a", "loss")[1]).all()
    assert len(histories.read_curve("c", "loss")[0]) == 0 and len(histories.read_curve("a", "error")[0]) == 0
    assert histories.list_metrics(["a", "c"]) == ["loss"]


# -- cost


def point(error: float, cost: float) -> Point:
    return Point(StudyResults(study(searches=0)).groups[0].cells[0], error, {"macs": cost})


def test_the_front_holds_what_nothing_beats() -> None:
    points = [point(*pair) for pair in ((5.0, 10), (6.0, 5), (5.0, 20), (7.0, 5), (4.0, 30))]
    assert [(one.error, one.costs["macs"]) for one in find_front(points, "macs")] == [(6.0, 5), (5.0, 10), (4.0, 30)]
    assert find_front(points, "parameters") == []


def test_pareto_has_a_panel_per_cost_and_leaves_out_what_cannot_be_compared() -> None:
    records = study(variants=["sire:lambda=0.1", "wide"])
    trials = records.trials.copy()
    lost = (trials["variant"] == "wide") & (trials["stage"] == "confirm") & (trials["seed"] == 1)
    trials.loc[lost, "status"] = "diverged"
    one = only(dataclasses.replace(records, trials=trials), "pareto-digits")
    assert [axes.get_xlabel().split(",")[0] for axes in one.figure.axes] == [
        "trainable parameters",
        "multiply-accumulates per image",
        "seconds of training",
    ]
    assert "Left out: 1 cell that can't be compared." in one.caption and "wide" not in texts(one)


def test_pareto_of_many_variants_numbers_the_front() -> None:
    one = only(study(variants=[f"v{number}" for number in range(9)], searches=0), "pareto-digits")
    listed = [text for text in texts(one) if re.match(r"\d+: ", text)]
    assert listed and listed[0].startswith("1: ") and all(text.endswith(" on cnn") for text in listed)


# -- settings


def test_response_is_drawn_from_three_values_on() -> None:
    assert "response-sire-lambda" not in drawn(study(variants=["sire:lambda=0.1", "sire:lambda=0.2"]))
    names = ["sire:lambda=0.01", "sire:lambda=0.1", "sire:lambda=1", "sire", "se"]
    one = only(study(variants=names), "response-sire-lambda")
    (axes,) = one.figure.axes
    assert axes.get_xlabel() == "lambda (log scale)"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["default", "0.01", "0.1", "1"]
    joined = max(lines(axes), key=lambda line: len(line.get_xdata()) if line.get_marker() == "None" else 0)
    assert len(joined.get_xdata()) == 3  # no line leads to the default, whose value the records don't tell


def test_settings_beside_the_one_shown_make_lines_of_their_own() -> None:
    names = [f"sire:components={part}, lambda={value}" for part in ("Re", "IRe") for value in ("0.1", "0.2", "0.3")]
    one = only(study(variants=names), "response-sire-lambda")
    assert [text for text in texts(one) if "digits" in text] == [
        "digits / cnn, components=Re",
        "digits / cnn, components=IRe",
    ]
    assert "response-sire-components" not in drawn(study(variants=names))


def test_a_value_that_diverged_is_a_cross_at_the_foot() -> None:
    cells: dict[str, Sequence[float | None]] = {"baseline": BASE}
    cells |= {f"sire:lambda={value}": [0.1, 0.11, 0.1, 0.1, 0.1] for value in (1, 2, 3)}
    cells["sire:lambda=9"] = [0.1, None, 0.1, 0.1, 0.1]
    one = only(testing.make_study(cells), "response-sire-lambda")
    assert [line.get_marker() for line in lines(one.figure.axes[0])].count("x") == 1
    assert "not comparable, 1 cell" in one.caption


def test_axis_of_values() -> None:
    log = axis_of(["0", "0.1", "1", "10", "default"])
    assert log.log and log.joined == {"0.1", "1", "10"}
    assert sorted(log.places, key=lambda value: log.places[value]) == ["default", "0", "0.1", "1", "10"]
    linear = axis_of(["0.1", "0.2", "0.3"])
    assert not linear.log and linear.places["0.2"] == 0.2
    assert axis_of(["1+2", "2+2", "own"]).places == {"1+2": 0.0, "2+2": 1.0, "own": 2.0}
    assert not axis_of(["-1", "1", "100"]).log


# -- searches


def test_search_history_shows_each_trial_and_the_best_so_far() -> None:
    records = study(variants=[], searches=6)
    trials = records.trials.copy()
    search = trials["stage"] == "search"
    trials.loc[search, "validation_top1_error"] = [0.3, 0.2, 0.25, math.nan, 0.05, 0.1]
    trials.loc[search, "status"] = ["completed", "completed", "completed", "diverged", "stopped", "completed"]
    one = only(dataclasses.replace(records, trials=trials), "search-digits-cnn")
    (axes,) = one.figure.axes
    (best,) = [line for line in lines(axes) if line.get_drawstyle() == "steps-post"]
    assert list(best.get_ydata()) == pytest.approx([30, 20, 20, 10, 10])  # neither stopped nor diverged
    marks = {line.get_marker(): len(line.get_xdata()) for line in lines(axes) if line is not best}
    assert marks == {"o": 4, "x": 1, "v": 1}
    assert [text for text in texts(one) if text in ("completed", "stopped", "diverged")] == [
        "completed",
        "stopped",
        "diverged",
    ]


def test_few_search_trials_give_no_importance_but_a_sentence() -> None:
    found = drawn(study(searches=9))
    assert not any(id.startswith("importance") for id in found)
    caption = found["search-digits-cnn"].caption
    assert "takes 10 completed search trials of a cell, and these have 9." in caption
    assert "No parameter importance" not in only(study(searches=10), "search-digits-cnn").caption


def test_importance_finds_what_mattered() -> None:
    (group,) = StudyResults(study(variants=[], searches=20)).groups
    found = compute_importances(group.cells[0].search)
    assert sum(found.values()) == pytest.approx(1) and found["lr"] > 0.7
    assert compute_importances(group.cells[0].search[:9]) == {}
    alike = [dataclasses.replace(trial, validation_top1_error=0.1) for trial in group.cells[0].search]
    assert compute_importances(alike) == {}
    alone = [dataclasses.replace(trial, hyperparameters="lr=1") for trial in group.cells[0].search]
    assert compute_importances(alone) == {}


# -- parts


def test_chunks_are_even_and_in_order() -> None:
    assert [list(part) for part in split_evenly(range(7), 6)] == [[0, 1, 2], [3, 4, 5, 6]]
    assert split_evenly([], 6) == [] and [list(part) for part in split_evenly(range(6), 6)] == [[0, 1, 2, 3, 4, 5]]
    assert clean_line("a\n b\x00") == "a b?"


def test_looks_differ_in_colour_marker_and_dashes() -> None:
    for field in ("colour", "marker", "dashes"):
        assert len({str(getattr(look, field)) for look in LOOKS}) == len(LOOKS)


@pytest.mark.parametrize("metric", ["validation_top1_error", "stride_1_height"])
def test_seeds_that_share_no_epoch_have_no_curve_and_cost_no_other_figure(metric: str) -> None:
    """Their mean would be empty, and an empty panel has no axis."""
    records = study(variants=["wide"], searches=0)
    confirm = records.trials[records.trials["stage"] == "confirm"]
    rows = [(key, 10 * at + epoch, metric, 0.5) for at, key in enumerate(confirm["trial_key"]) for epoch in (1, 2)]
    apart = pd.DataFrame(rows, columns=records.epochs.columns)
    alone = drawn(dataclasses.replace(records, epochs=apart))
    assert alone and not any(id.startswith(("curves", "logged")) for id in alone)
    kept = records.epochs[records.epochs["metric"] != metric]
    beside = drawn(dataclasses.replace(records, epochs=pd.concat([apart, kept])))
    (id,) = (id for id in beside if id.startswith(("curves", "logged")))
    panels = len(beside[id].figure.axes)
    assert id.startswith("curves") and panels == len(set(kept["metric"]))


def test_values_that_nothing_measures_end_a_curve() -> None:
    """Axes of 1e299 overflow, and one figure must not cost the report."""
    records = study(variants=["wide"], searches=0)
    epochs = records.epochs
    huge = (epochs["epoch"] == 3) & (epochs["metric"] == "validation_loss")
    spoilt = dataclasses.replace(records, epochs=epochs.assign(value=epochs["value"].mask(huge, 1e299)))
    (curves,) = (one for id, one in drawn(spoilt).items() if id.startswith("curves"))
    (losses,) = (one for one in curves.figure.axes if one.get_title(loc="left") == "validation loss")
    assert max(np.asarray(line.get_xdata())[-1] for line in losses.get_lines()) == 2
    assert render_svg(curves.figure)
