"""Published numbers: rows are well formed and in the suite's vocabulary; figures read a second time from the papers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.published import tables as publications
from analysis.published.tables import PublishedRow, PublishedTable, list_tables, load_table, parse_tables
from suite.core import recipes, registry
from suite.core.settings import canonicalize_component
from suite.core.specs import Component, format_settings, split_variant
from suite.models import grafting
from suite.study.config import load_study
from suite.study.plan import make_plan
from suite.study.study_files import ready_studies

DATASETS = {"mnist", "fashion_mnist", "cifar10", "cifar100", "caltech256", "imagenet"}
BACKBONES = {
    "base_cnn", "vgg16", "vgg19", "resnet34", "resnet50", "resnet152", "googlenet", "gradient_cnn", "preact_resnet18",
    "cifar_cnn", "alexnet", "zfnet", "inception_v3", "inception_resnet_v2", "senet154", "preact_resnet200",
    "densenet121", "timm:resnet200",
}  # fmt: skip
VARIANTS = {
    "baseline", "sire", "image_gradient", "diffstride", "spectral", "hybrid", "squeeze_excite", "lsuv",
    "stochastic_depth", "no_skip", "no_batch_norm", "no_dropout", "training",
}  # fmt: skip

ROOT = Path(__file__).parents[3]
ROWS = [(table, row) for name in list_tables() for table in [load_table(name)] for row in table.rows]
MATRICES = [name for name in list_tables() if load_table(name).kind == "confusion_matrix"]


def label(pair: tuple[PublishedTable, PublishedRow]) -> str:
    return pair[0].cite_row(pair[1])


def row(table: str, model: str, **given: Any) -> PublishedRow:
    [found] = [one for one in load_table(table).rows if one.model == model and one.row == given.get("row", one.row)]
    return found


# -- form


def test_every_table_of_the_papers_is_there() -> None:
    expected = {
        "cifar10-cnn-project": [
            *("table-1", "table-2", *(f"figure-3{letter}" for letter in "abcdef"), "figure-1", "figure-2"),
            *(*(f"figure-{i}" for i in range(4, 10)), "text-1"),
        ],
        "diffstride-spectral-hybrid": [
            *("table-1", "table-2", *(f"figure-{i}" for i in range(1, 7)), "text-1", "text-2")
        ],
        "diffstride": ["paper-cifar10", "paper-cifar100", "code-cifar10", "code-cifar100"],
        "image-gradients": ["table-1", "table-2"] + [f"figure-{i}" for i in range(1, 10)],
        "large-scale-review": ["text-1", "text-2", "text-3", "figure-1"],
        "sire": [*(f"table-{i}" for i in range(1, 9)), *(f"figure-{i}" for i in range(1, 6)), "text-1", "text-2"],
    }
    assert list_tables() == [f"{paper}-{one}" for paper, ones in expected.items() for one in ones]
    assert [len(load_table(f"sire-table-{i}").rows) for i in range(1, 9)] == [6, 5, 15, 12, 12, 12, 12, 12]
    assert [len(load_table(f"diffstride-spectral-hybrid-table-{i}").rows) for i in (1, 2)] == [21, 14]


@pytest.mark.parametrize(
    ("paper", "numbers", "figures"),
    [
        ("sire", range(1, 9), range(1, 6)),
        ("image-gradients", range(1, 3), range(1, 10)),
        ("diffstride-spectral-hybrid", range(1, 3), range(1, 7)),
        ("cifar10-cnn-project", range(1, 3), (1, 2, *(f"3({letter})" for letter in "abcdef"), *range(4, 10))),
        ("large-scale-review", (), (1,)),
    ],
)
def test_every_table_and_figure_that_a_paper_prints_has_an_entry(
    paper: str, numbers: Sequence[int], figures: Sequence[int | str]
) -> None:
    """The captions, counted in the papers a second time; the list stands in the file, and each entry is listed."""
    tables = [load_table(name) for name in list_tables() if load_table(name).paper.name == paper]
    expected = [f"Table {i}" for i in numbers] + [f"Fig. {i}" for i in figures]
    assert list(tables[0].paper.prints) == expected
    places = [table.place for table in tables if table.place.startswith(("Table", "Fig."))]
    assert sorted(places) == sorted(expected)


def test_what_corresponds_to_a_figure_exists() -> None:
    """Files, functions and components that entries name; a figure or text says what is here, or that nothing is."""
    known = {*registry.list_components("backbone"), *registry.list_components("variant"), *ready_studies()}
    words = known | {"form", "fusion", "position", "test_curve", "--check-parameters", "diffstride-paper-cifar10"}
    files, names = [], []
    for table in map(load_table, list_tables()):
        assert bool(table.here) == (table.kind in {"figure", "text"})
        files += re.findall(r"((?:suite|analysis)/[\w/]+\.py)(?:: (\w+))?", table.here)
        names += re.findall(r"`([^`]+)`", table.here)
    assert len(files) > 10 and set(names) <= words
    for file, name in files:
        source = (ROOT / file).read_text()
        assert not name or re.search(rf"^ *def {name}\b", source, re.MULTILINE), (file, name)


@pytest.mark.parametrize("pair", ROWS, ids=label)
def test_rows_speak_the_suites_vocabulary(pair: tuple[PublishedTable, PublishedRow]) -> None:
    _, one = pair
    for component, known in ((one.dataset, DATASETS), (one.backbone, BACKBONES), (one.variant, VARIANTS)):
        assert component is None or set(split_variant(component.name)) <= known
    if one.recipe:
        assert recipes.canonicalize_recipe(one.recipe) == one.recipe
    assert one.mean or (one.backbone is None) == (one.variant is None) == (one.cell is None)


@pytest.mark.parametrize("pair", ROWS, ids=label)
def test_rows_are_named_as_records_are(pair: tuple[PublishedTable, PublishedRow]) -> None:
    """Settings are legal, and none is our default."""
    kinds: list[tuple[registry.Kind, Component | None]] = [("backbone", pair[1].backbone), ("variant", pair[1].variant)]
    for kind, component in kinds:
        if component and set(split_variant(component.name)) <= set(registry.list_components(kind)):
            if kind == "variant":
                assert grafting.canonical_name(component.name) == component.name
            is_variant = kind == "variant"
            declared = (
                grafting.find_settings(component.name)
                if is_variant
                else registry.load_component(kind, component.name).SETTINGS
            )
            assert canonicalize_component(declared, component, component.name) == component


@pytest.mark.parametrize("pair", ROWS, ids=label)
def test_rows_have_what_their_table_prints(pair: tuple[PublishedTable, PublishedRow]) -> None:
    table, one = pair
    is_sire = table.paper.name == "sire"
    if table.kind == "results" and (is_sire or table.paper.name == "diffstride-spectral-hybrid"):
        assert set(one.values) == set(table.metrics)
    elif table.kind not in {"results", "text"}:
        assert not one.values and not table.metrics
    if table.kind == "text":
        assert one.values or one.printed
    is_sire = is_sire and table.kind == "results"
    if is_sire and table.place != "Table 2":
        assert re.fullmatch(r"\d+\.\dM", one.parameters_printed)
        assert one.training_minutes
    if is_sire:
        assert one.values["top5_error"] <= one.values["top1_error"]
        assert one.cell is not None
        assert (one.batch is not None) == (int(table.place[-1]) >= 4)
    if one.weight is not None and one.variant:
        assert dict(one.variant.settings).get("lambda", 0.2) == one.weight


def test_settings_read_as_in_records() -> None:
    cell = row("sire-table-3", "SIRe-AE_1,4").cell
    assert cell and cell.label == "cifar100 / base_cnn / sire(decoders=1+4)"
    variant = row("sire-table-2", "Baseline").variant
    assert variant and format_settings(variant.settings) == "components=Re"


def test_all_tables_have_a_protocol_and_those_of_results_say_what_they_lack() -> None:
    for name in list_tables():
        table = load_table(name)
        assert table.protocol and table.title and table.rows
        assert all(remark == " ".join(remark.split()) for remark in (*table.remarks, table.protocol, table.title))
        if table.kind in {"results", "confusion_matrix"}:
            assert table.remarks


# -- figures, from a second reading of the papers


@pytest.mark.parametrize(
    ("table", "model", "top1", "top5", "parameters", "minutes"),
    [
        ("sire-table-1", "SI-CNN", 27.83, 9.01, "14.0M", 206),
        ("sire-table-2", "Baseline", 32.21, 10.78, "", None),
        ("sire-table-3", "SIRe-AE_4", 31.89, 11.00, "12.6M", 195),
        ("sire-table-3", "SIRe-AE_1,2,4", 26.71, 8.24, "12.9M", 200),
        ("sire-table-4", "Baseline-CNN", 35.44, 12.11, "7.9M", 119),
        ("sire-table-4", "SIRe-VGG19", 22.67, 9.62, "176.8M", 370),
        ("sire-table-4", "SIRe-ResNet50", 17.89, 5.32, "59.4M", 721),
        ("sire-table-5", "GoogleNet", 57.77, 0.99, "13.0M", 13 / 60),
        ("sire-table-5", "SIRe-VGG19", 34.71, 8.53, "176.8M", 24 / 60),
        ("sire-table-6", "SIRe-ResNet50", 48.98, 4.60, "59.4M", 38 / 60),
        ("sire-table-7", "SIRe-ResNet34", 3.99, 0.10, "50.4M", 741),
        ("sire-table-8", "SIRe-VGG16", 30.65, 17.20, "160.9M", 107 * 60),
        ("sire-table-8", "SIRe-GoogleNet*", 31.82, 20.69, "17.0M", 97 * 60),
    ],
)
def test_sire(table: str, model: str, top1: float, top5: float, parameters: str, minutes: float | None) -> None:
    one = row(table, model)
    assert one.values == {"top1_error": top1, "top5_error": top5}
    assert one.parameters_printed == parameters
    assert one.training_minutes == pytest.approx(minutes)


@pytest.mark.parametrize(
    ("number", "top1", "top5", "millions", "times"),
    [
        (1, 178.33, 58.42, 71.8, 1086),
        (2, 288.23, 227.66, 0, 0),
        (3, 450.41, 148.98, 161.5, 2470),
        (4, 285.55, 100.02, 828.7, 4370),
        (5, 352.98, 31.32, 828.7, 237),
        (6, 385.06, 19.22, 828.7, 242),
        (7, 61.56, 2.54, 828.7, 4611),
        (8, 415.05, 243.99, 828.7, 1004),
    ],
)
def test_columns_of_sire_add_up(number: int, top1: float, top5: float, millions: float, times: int) -> None:
    """Sums taken by a script over the paper's text: one wrong digit anywhere moves one."""
    rows = load_table(f"sire-table-{number}").rows
    assert sum(one.values["top1_error"] for one in rows) == pytest.approx(top1, abs=1e-6)
    assert sum(one.values["top5_error"] for one in rows) == pytest.approx(top5, abs=1e-6)
    assert sum(float(one.parameters_printed.rstrip("M") or 0) for one in rows) == pytest.approx(millions, abs=1e-6)
    assert sum(int(re.sub(r"\D", "", one.time_printed) or 0) for one in rows) == times


def test_lambda_and_batch_of_sire() -> None:
    weights = [(one.model, one.weight) for one in load_table("sire-table-4").rows if one.weight is not None]
    assert [weight for _, weight in weights] == [0.20, 0.20, 0.20, 0.21, 0.21, 0.19]
    assert [one.weight for one in load_table("sire-table-2").rows] == [None, 0.1, 0.2, 0.5, 1.0]
    assert [one.batch for one in load_table("sire-table-8").rows] == [32, 16, 32, 16, 16, 8, 16, 8, 8, 4, 8, 4]


def test_the_same_models_of_sire_agree_across_its_tables() -> None:
    """Errors and parameters do; training times don't, and both tables say so."""
    for first, second in (("Baseline", "Baseline-CNN"), ("SIRe-CNN", "SIRe-CNN")):
        one, other, third = row("sire-table-1", first), row("sire-table-4", second), row("sire-table-3", first)
        assert one.values == other.values == third.values
        assert one.parameters_printed == other.parameters_printed
        assert one.training_minutes == third.training_minutes != other.training_minutes
    for name in ("sire-table-1", "sire-table-3", "sire-table-4"):
        [remark] = [text for text in load_table(name).remarks if "other training times" in text]
        assert set(re.findall(r"\d{3}", remark)) == {"119", "124", "202", "212"}
    by_backbone: dict[str, set[str]] = {}
    for i in range(4, 9):
        for one in load_table(f"sire-table-{i}").rows:
            assert one.cell
            key = f"{one.cell.backbone.name} {one.cell.variant.name}"
            by_backbone.setdefault(key, set()).add(one.parameters_printed)
    assert len(by_backbone) == 12
    assert all(len(printed) == 1 for printed in by_backbone.values())


@pytest.mark.parametrize(
    ("table", "strides", "values"),
    [
        (1, "1, 1, 1, 3, 1", [92.4, 93.54, 92.31]),
        (1, "1, 1, 3, 1, 2", [92.3, 93.17, 93.22]),
        (1, "Mean Accuracy", [92.4, 93.34, 92.82]),
        (2, "1, 1, 2, 2, 3", [73.7, 71.29]),
        (2, "1, 1, 3, 2, 3", [66.6, 74.41]),
        (2, "Mean Accuracy", [70.6, 73.82]),
    ],
)
def test_hybrid(table: int, strides: str, values: list[float]) -> None:
    whole = load_table(f"diffstride-spectral-hybrid-table-{table}")
    assert [whole.read_percent(one, "accuracy") for one in whole.rows if one.row == strides] == values


@pytest.mark.parametrize(("table", "wrong"), [(1, {"DiffStride": 0.9245}), (2, {})])
def test_means_of_the_hybrid_are_right_but_where_a_remark_says_so(table: int, wrong: dict[str, float]) -> None:
    whole = load_table(f"diffstride-spectral-hybrid-table-{table}")
    models = {one.model for one in whole.rows}
    for model in models:
        *values, printed = [one.values["accuracy"] for one in whole.rows if one.model == model]
        assert len(values) == 6
        assert sum(values) / 6 == pytest.approx(wrong.get(model, printed), abs=5e-5)
        if model in wrong:
            assert any(str(wrong[model]) in text and "0.0089" in text for text in whole.remarks)


@pytest.mark.parametrize(
    ("table", "strided", "spectral", "learned"),
    [
        ("paper-cifar10", 526.0, 546.7, 554.7),
        ("paper-cifar100", 354.8, 423.6, 441.0),
        ("code-cifar10", 180.27, 185.49, 188.39),
        ("code-cifar100", 126.57, 140.60, 152.17),
    ],
)
def test_columns_of_diffstride_add_up(table: str, strided: float, spectral: float, learned: float) -> None:
    """Sums of a second reading; the paper's printed means follow from them."""
    rows = load_table(f"diffstride-{table}").rows
    for variant, total in (("baseline", strided), ("spectral", spectral), ("diffstride", learned)):
        column = [one for one in rows if one.variant == Component(variant)]
        assert sum(one.values["accuracy"] for one in column if not one.mean) == pytest.approx(total, abs=1e-6)
        for one in column:
            assert not one.mean or one.values["accuracy"] == pytest.approx(total / 6, abs=0.0501)
            assert re.fullmatch(r"± \d\.\d+", one.remarks[0])


def test_the_hybrid_repeats_columns_of_diffstride() -> None:
    """Learned strides on CIFAR-10, fixed spectral pooling on CIFAR-100: what was not re-run."""
    for number, dataset, variant in ((1, "cifar10", "diffstride"), (2, "cifar100", "spectral")):
        copied = load_table(f"diffstride-spectral-hybrid-table-{number}")
        own = load_table(f"diffstride-paper-{dataset}")
        taken = [copied.read_percent(one, "accuracy") for one in copied.rows if one.model == "DiffStride"]
        assert taken == [one.values["accuracy"] for one in own.rows if one.variant == Component(variant)]


def test_networks_of_the_hybrid() -> None:
    """The tuple is the backbone's, the column the variant; our defaults (1, 1, 2, 2, 2; spectral last) are left out."""
    columns = {"DiffStride": "diffstride", "DiffStride-Spectral Pool": "hybrid"}
    for i in (1, 2):
        for one in load_table(f"diffstride-spectral-hybrid-table-{i}").rows:
            if one.row == "Mean Accuracy":
                assert one.cell is None
                continue
            assert one.backbone and one.variant
            strides = dict(one.backbone.settings).get("strides", (1, 1, 2, 2, 2))
            assert one.row == ", ".join(str(stride) for stride in strides)
            twice = "hybrid(order=diffstride+diffstride)"
            assert one.variant.label == columns.get(one.model, twice)


def test_what_was_not_re_run() -> None:
    for i in (1, 2):
        for one in load_table(f"diffstride-spectral-hybrid-table-{i}").rows:
            assert ("not re-run by the paper" in " ".join(one.remarks)) == (one.model == "DiffStride")
    for i in (1, 2):
        assert all("not re-run by the paper" in one.remarks for one in load_table(f"large-scale-review-text-{i}").rows)


def test_what_is_not_comparable() -> None:
    said = {name for name in list_tables() if load_table(name).not_comparable}
    assert said == {
        "sire-table-8", "cifar10-cnn-project-table-2", "diffstride-spectral-hybrid-table-1",
        "diffstride-spectral-hybrid-table-2", "large-scale-review-text-1", "large-scale-review-text-2",
    }  # fmt: skip
    assert all(load_table(name).not_comparable.startswith("NOT COMPARABLE: ") for name in said)


def test_small_cnn_and_review() -> None:
    accuracies = [one.values["accuracy"] for one in load_table("cifar10-cnn-project-table-1").rows]
    assert accuracies == [60.92, 66.60, 62.10, 61.55, 60.65, 62.48]
    improved = load_table("cifar10-cnn-project-table-1").rows[1:]
    assert len({one.cell.group for one in improved if one.cell}) == 1
    assert [one.variant.label for one in improved if one.variant] == [
        "baseline", "training(schedule=constant)", "training(weight_decay=0)", "no_batch_norm", "no_dropout"
    ]  # fmt: skip
    assert [one.values["accuracy"] for one in load_table("cifar10-cnn-project-table-2").rows] == [99.3, 100.0]
    errors = [one.values["top5_error"] for one in load_table("large-scale-review-text-1").rows]
    assert errors == [15.3, 14.8, 6.67, 3.08, 2.251, 3.57]
    assert [one.ensemble for one in load_table("large-scale-review-text-1").rows] == [True] * 4 + [False, True]


def test_the_review_study_trains_what_its_claims_are_over() -> None:
    """Every row of the review has its cell in the study: the other side of "1.1 points better" and "1/3" too."""
    study = load_study(ROOT / "configs" / "imagenet_review.yaml")
    planned = {planned.cell for planned in make_plan(study).cells}
    rows = [one for i in (1, 2) for one in load_table(f"large-scale-review-text-{i}").rows]
    assert all(one.cell in planned for one in rows)
    assert {"timm:resnet200", "resnet34", "resnet50"} < {one.backbone.name for one in rows if one.backbone}


def test_figures_of_the_hybrids_text_follow_from_its_tables() -> None:
    text = load_table("diffstride-spectral-hybrid-text-1").rows
    assert [one.values.get("accuracy") for one in text] == [0.924, 0.9334, 0.7382, 0.9282, None]
    assert [one.values.get("error_reduction") for one in text] == [None, 0.0094, 0.0322, None, None]
    means = [one for i in (1, 2) for one in load_table(f"diffstride-spectral-hybrid-table-{i}").rows if one.mean]
    plain, hybrid, twice, plain100, hybrid100 = (one.values["accuracy"] for one in means)
    assert [plain, hybrid, hybrid100, twice] == [one.values["accuracy"] for one in text[:4]]
    assert (round(hybrid - plain, 4), round(hybrid100 - plain100, 4)) == (0.0094, 0.0322)
    assert f"{hybrid - twice:.4f}" in text[3].printed


def test_what_sires_text_reads_off_its_tables_is_recomputed_in_remarks() -> None:
    def millions(model: str) -> float:
        return float(row("sire-table-4", model).parameters_printed.rstrip("M"))

    remarks = " ".join(load_table("sire-text-1").remarks)
    assert f"{millions('VGG19') / millions('ResNet50'):.1f} times" in remarks
    for model in ("ResNet50", "VGG19"):
        assert f"{100 * (millions(f'SIRe-{model}') / millions(model) - 1):.1f} % more than {model}" in remarks.replace(
            "parameters ", ""
        )
    hours = [row("sire-table-8", model).training_minutes for model in ("SIRe-VGG16", "VGG16")]
    assert f"{hours[0] / hours[1]:.2f} times as long" in remarks


def test_image_gradients_has_curves_only() -> None:
    for i, (dataset, curve) in enumerate(
        [(d, c) for d in ("mnist", "cifar10", "cifar100") for c in ("Test", "Train")], 4
    ):
        figure = load_table(f"image-gradients-figure-{i}")
        assert figure.title.startswith(curve)
        assert {one.cell.label for one in figure.rows if one.cell} == {
            f"{dataset} / gradient_cnn / baseline", f"{dataset} / gradient_cnn / image_gradient"
        }  # fmt: skip
        assert "no values" in figure.remarks[0]
        assert any("Test as validation" in text for text in figure.remarks) == (curve == "Test")
    plain, extended = (load_table(f"image-gradients-table-{i}") for i in (1, 2))
    assert (len(plain.lines), len(extended.lines)) == (18, 21)
    # Of the layers both have, only a misspelling differs.
    lines = {line[0]: line for line in extended.lines}
    assert [line[0] for line in plain.lines if lines[line[0]] != line] == ["flatten_1"]


# -- confusion matrices


@pytest.mark.parametrize("name", MATRICES)
def test_remarks_say_what_the_matrix_adds_up_to(name: str) -> None:
    table = load_table(name)
    trace = sum(table.matrix[i][i] for i in range(10))
    wrong = [f"{c} {sum(line):,}" for c, line in zip(table.classes, table.matrix, strict=True) if sum(line) != 1000]
    rows = f"Rows that do not sum to 1,000: {', '.join(wrong)}." if wrong else "Every row sums to 1,000."
    printed = row("cifar10-cnn-project-table-1", table.rows[0].model)
    total = f"Trace {trace:,} of {sum(map(sum, table.matrix)):,} images; Table 1 prints"
    assert table.remarks[:2] == (rows, f"{total} {printed.values['accuracy']:.2f} % for {printed.model}.")
    assert table.rows[0].cell == printed.cell
    assert table.rows[0].recipe == printed.recipe


def test_traces_and_what_contradicts_table_1() -> None:
    traces = [sum(load_table(name).matrix[i][i] for i in range(10)) for name in MATRICES]
    assert traces == [6293, 6640, 6065, 6051, 6248, 6157]
    remark = load_table("cifar10-cnn-project-table-1").remarks[0]
    assert all(f"{trace:,}" in remark for trace in traces)


@pytest.mark.parametrize(
    ("letter", "diagonal", "trace"),
    [
        ("a", {"airplane": 785, "horse": 608}, 6092),
        ("b", {"cat": 482}, 6660),
        ("d", {"cat": 361}, 6049),
        ("f", {"bird": 416}, 6155),
    ],
)
def test_diagonals_that_the_remarks_propose(letter: str, diagonal: dict[str, int], trace: int) -> None:
    """They restore the sums of 1,000; for a, b and f also Table 1's accuracy."""
    table = load_table(f"cifar10-cnn-project-figure-3{letter}")
    matrix = [list(line) for line in table.matrix]
    for name, count in diagonal.items():
        at = table.classes.index(name)
        matrix[at][at] = count
    assert all(sum(line) == 1000 for line in matrix)
    assert sum(matrix[i][i] for i in range(10)) == trace
    accuracy = row("cifar10-cnn-project-table-1", table.rows[0].model).values["accuracy"]
    assert (trace == round(100 * accuracy)) == (letter != "d")
    text = " ".join(table.remarks)
    assert all(str(count) in text for count in diagonal.values()) and f"{trace:,}" in text


def test_classes_that_the_report_calls_best_and_worst() -> None:
    for name in MATRICES:
        table = load_table(name)
        right = {one: table.matrix[i][i] for i, one in enumerate(table.classes)}
        order = sorted(right, key=lambda one: right[one])
        assert ("bird" in order[:3]) == (not name.endswith("a"))
        if name.endswith("a"):
            assert order[::-1].index("truck") == 6


# -- loader


def document(**changes: Any) -> dict[str, Any]:
    table: dict[str, Any] = {
        "id": "some-table-1", "place": "Table 1", "title": "t", "protocol": "p", "metrics": ["accuracy"],
        "unit": "percent", "rows": [{"model": "m", "accuracy": 50}],
    }  # fmt: skip
    return {"paper": {"title": "t", "where": "w"}, "tables": [table | changes]}


def test_least_file() -> None:
    [table] = parse_tables(yaml.safe_dump(document()), "some")
    assert table.rows[0].values == {"accuracy": 50.0}
    assert table.rows[0].cell is None
    assert table.cite_row(table.rows[0]) == "some, Table 1, row m"


def test_defaults_fill_rows_and_rows_win() -> None:
    rows = [{"model": "a"}, {"model": "b", "batch": 2, "dataset": None}]
    [table] = parse_tables(yaml.safe_dump(document(defaults={"batch": 8, "dataset": "mnist"}, rows=rows)), "some")
    assert [(one.batch, one.dataset and one.dataset.name) for one in table.rows] == [(8, "mnist"), (2, None)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rows": [{"model": "m", "acuracy": 5}]},
            "some-table-1, row 1: unknown key 'acuracy'; did you mean 'accuracy'?",
        ),
        ({"rows": [{"model": "m", "accuracy": 101}]}, "some-table-1: accuracy of row 1 must be within 0 .. 100"),
        ({"unit": "fraction"}, "some-table-1: accuracy of row 1 must be within 0 .. 1 by its unit, not 50"),
        (
            {"rows": [{"model": "m", "accuracy": "9,3"}]},
            "some-table-1, row 1: accuracy must be a valid number, not '9,3'",
        ),
        ({"rows": [{"model": "m", "accuracy": True}]}, "accuracy must be a valid number, not True"),
        ({"rows": [{"model": "m", "accuracy": float("nan")}]}, "accuracy must be a finite number, not nan"),
        ({"rows": [{"accuracy": 5}]}, "some-table-1, row 1: model is missing"),
        ({"rows": [{"model": "m", "settings": {"lambda": 1}}]}, "some-table-1, row 1: variant must be a name"),
        ({"rows": [{"model": "m", "backbone": {"strides": [1]}}]}, "backbone must be a name, or a mapping"),
        ({"rows": [{"model": "m", "time_printed": "soon"}]}, "time_printed must be like 124', 10'' or 16h, not 'soon'"),
        ({"rows": ["m"]}, "some-table-1, row 1: must be a mapping, not 'm'"),
        ({"metrics": ["acuracy"]}, "some-table-1: metrics.0 must be 'top1_error', 'top5_error', 'accuracy', "),
        ({"unit": None}, "some-table-1: unit is missing"),
        ({"unit": "per mille"}, "some-table-1: unit must be 'percent' or 'fraction', not 'per mille'"),
        ({"kind": "poem"}, "some-table-1: kind must be 'results', 'figure', 'text', 'architecture' or"),
        ({"kind": "figure"}, "some-table-1: here is missing; say what of ours corresponds to the figure, or that"),
        ({"kind": "confusion_matrix"}, "some-table-1: a confusion_matrix, and nothing else, has classes"),
        ({"classes": ["a", "b"], "matrix": [[1, 2]]}, "a confusion_matrix, and nothing else, has classes"),
        ({"matrix": [[1, 2.5]]}, "some-table-1: matrix.0.1 must be a valid integer, not 2.5"),
        ({"columns": ["a"], "lines": [["1"]]}, "an architecture, and nothing else, has columns"),
        ({"id": "other-table-1"}, "some, table 1: id must be some-table-N or the like, not 'other-table-1'"),
        ({"protocl": "p"}, "some-table-1: unknown key 'protocl'; did you mean 'protocol'?"),
        ({"protocol": None}, "some-table-1: protocol is missing"),
        ({"paper": {}}, "some-table-1: unknown key 'paper'"),
        ({"title": 3}, "some-table-1: title must be a valid string, not 3"),
        ({"remarks": "r"}, "some-table-1: remarks must be a list, not 'r'"),
        ({"rows": "m"}, "some-table-1: rows must be a list, not 'm'"),
        ({"rows": [{"model": "m", 1: 2}]}, "some-table-1, row 1: unknown key 1"),
        ({"rows": [{"model": "m", "nothing": None}]}, "some-table-1, row 1: unknown key 'nothing'"),
        ({"rows": [{"model": "m", "values": {"accuracy": 5}}]}, "some-table-1, row 1: unknown key 'values'"),
        ({"rows": [{"model": "m", "weight": 0.2}]}, "some-table-1, row 1: unknown key 'weight'"),
        (
            {"rows": [{"model": "m", "top1_error": 5}]},
            "some-table-1: top1_error of row 1 is none of the table's metrics",
        ),
        ({"rows": [{"model": "m", "batch": "8"}]}, "some-table-1, row 1: batch must be a valid integer, not '8'"),
        ({"rows": [{"model": "m", "accuracy": -1}]}, "some-table-1: accuracy of row 1 must be within 0 .. 100"),
        ({"defaults": {"batsh": 8}}, "some-table-1, row 1: unknown key 'batsh'; did you mean 'batch'?"),
        ({"defaults": [1]}, "some-table-1: defaults must be a mapping, not [1]"),
        ({"metrics": None}, "some-table-1: accuracy of row 1 is none of the table's metrics"),
        ({"id": None}, "some, table 1: id must be some-table-N or the like, not None"),
    ],
)
def test_wrong_files_are_refused_with_a_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        parse_tables(yaml.safe_dump(document(**changes)), "some")
    assert str(error.value).endswith((".", "?"))
    assert "\n" not in str(error.value)


def test_ids_and_keys_stand_once() -> None:
    twice = document()
    twice["tables"] *= 2
    with pytest.raises(ValueError, match="some: the id 'some-table-1' stands twice"):
        parse_tables(yaml.safe_dump(twice), "some")
    with pytest.raises(ValueError, match="duplicate key 'model'"):
        parse_tables("paper: {}\ntables: [{rows: [{model: a, model: b}]}]", "some")
    with pytest.raises(ValueError, match="some: must be a mapping, not None"):
        parse_tables("", "some")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tables: []", "some: paper is missing."),
        ("paper: {title: t, where: w}", "some: tables is missing."),
        ("{paper: {}, tables: [], table: []}", "some: unknown key 'table'; did you mean 'tables'?"),
        ("{paper: {where: w}, tables: []}", "some, paper: title is missing."),
        ("{paper: {title: t, where: w, name: n}, tables: []}", "some, paper: unknown key 'name'"),
        ("{paper: {title: t, where: w, year: MMXX}, tables: []}", "some, paper: year must be a valid integer"),
        (
            "{paper: {title: t, where: w, prints: [Fig. 1]}, tables: []}",
            "some: the paper prints Fig. 1, and no table here has that place; add it.",
        ),
        ("{paper: {title: t, where: w}, tables: [t]}", "some: tables.0 must be a mapping, not 't'."),
    ],
)
def test_wrong_papers_are_refused_with_a_sentence(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_tables(text, "some")


def test_unknown_table() -> None:
    with pytest.raises(LookupError, match="No published table 'sire-tabel-4'; did you mean 'sire-table-4'"):
        load_table("sire-tabel-4")


def test_files_hold_one_row_a_line() -> None:
    """A reader compares them with the paper line by line."""
    for path in Path(publications.__file__).parent.glob("*.yaml"):
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("      - {")]
        assert len(lines) == sum(len(table["rows"]) for table in data["tables"])


def test_loader_needs_no_torch() -> None:
    code = "import sys; from analysis.published.tables import *; list_tables(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
