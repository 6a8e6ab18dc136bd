"""The documents hold what the code holds: their studies parse, and their tables name every key, knob and column."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from suite import config, registry
from suite.plan import make_plan
from suite.records import COLUMNS, STATUSES, Epoch
from suite.specs import Space
from suite.training.recipes import KNOBS, RECIPES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
KINDS: tuple[registry.Kind, ...] = ("dataset", "backbone", "variant")
SECTIONS = (config.Study, config.Search, config.Asha, config.Resources, config.Statistics)
PAGES = sorted(DOCS.glob("*.md"))


def page(name: str) -> str:
    return (DOCS / name).read_text()


def blocks(text: str) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def rows(text: str) -> list[list[str]]:
    """Cells of every table row, without the marks of code."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


# -- study files


STUDIES = blocks(page("study-files.md"))


def study_of(text: str, folder: Path) -> config.Study:
    path = folder / "study.yaml"
    path.write_text(text)
    return config.load_study(path)


def test_there_are_studies_to_parse() -> None:
    assert len(STUDIES) >= 3


@pytest.mark.parametrize("text", STUDIES, ids=[block.splitlines()[0] for block in STUDIES])
def test_studies_of_the_document_plan(text: str, tmp_path: Path) -> None:
    study = study_of(text, tmp_path)
    assert config.parse_study(study.model_dump(exclude_unset=True)) == study
    assert make_plan(study).cells


def test_the_example_has_as_many_trials_as_the_text_says(tmp_path: Path) -> None:
    plan = make_plan(study_of(STUDIES[0], tmp_path))
    assert f"= {len(plan.cells)} cells" in page("study-files.md")
    assert f": {plan.trials} trials" in page("study-files.md")


def test_a_list_in_a_list_is_one_value(tmp_path: Path) -> None:
    grids = next(block for block in STUDIES if block.startswith("study: grids"))
    settings = [dict(planned.cell.variant.settings) for planned in make_plan(study_of(grids, tmp_path)).cells]
    assert settings == [
        {},
        *({"lambda": weight, "decoders": decoders} for weight in (0.1, 0.2) for decoders in ((1, 4), (1, 2))),
        {"lambda": (0.3, 0.2, 0.2, 0.1)},
    ]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_has_a_row(section: type[config.Section]) -> None:
    named = {row[0]: row for row in rows(page("study-files.md"))}
    for key, spec in section.model_fields.items():
        assert key in named, key
        default = spec.default
        if isinstance(default, bool | int | float | str) and default != "":
            said = named[key][2].split("`: ")[0]  # `0`: no search
            assert yaml.safe_load(said) == default, key


def test_spaces_are_explained() -> None:
    for key in set(Space.__dataclass_fields__) - {"integer"}:
        assert f"`{key}" in page("study-files.md"), key


def test_what_may_not_change() -> None:
    least = {"study": "s", "datasets": ["d"], "backbones": ["b"], "variants": ["baseline"], "recipe": "r", "seeds": 1}
    others = {
        "search": {"trials": 1, "space": {"lr": {"choices": [1, 2]}}}, "statistics": {"rope": 1}, "split_seed": 1,
        "resplit": True, "precision": "bf16", "memory_format": "contiguous", "keep": "none", "description": "x",
        "resources": {"cpus": 2}, "tracking": "t", "storage": "s",
    }  # fmt: skip
    study = config.parse_study(least | others)
    [said] = [row[0] for row in rows(page("study-files.md")) if len(row) == 3 and row[1] == "no"]
    assert set(re.findall(r"\w+", said)) == set(study.identity())


def test_recipes_are_as_the_table_says() -> None:
    table = rows(page("study-files.md"))
    [heading] = [row for row in table if row[0] == "knob"]
    assert set(heading[1:-1]) == set(RECIPES)
    by_knob = {row[0]: row for row in table}
    for knob in KNOBS:
        for column, name in enumerate(heading[1:-1], start=1):
            value: Any = getattr(RECIPES[name], knob)
            said = yaml.safe_load(by_knob[knob][column])
            assert said == (list(value) if isinstance(value, tuple) else value), (name, knob)


def test_components_are_as_the_table_says() -> None:
    """What the table names exists with that default; a new component need not stand in it."""
    named = [row for row in rows(page("study-files.md")) if row[0] in KINDS]
    assert named
    for kind, name, setting, default, _ in named:
        assert kind in KINDS
        declared = registry.load(kind, name).SETTINGS
        if setting:
            assert str(declared[setting].default) == default, (name, setting)
        else:
            assert not declared, name


# -- records


def test_every_column_has_a_row() -> None:
    table = [row for row in rows(page("records.md")) if row[0] in COLUMNS]
    words = {"text": str, "integer": int, "number": float}
    assert {row[0]: words[row[1]] for row in table} == COLUMNS
    assert [row[0] for row in table] == list(COLUMNS)  # in the schema's order


def test_statuses_and_figures_of_an_epoch_are_named() -> None:
    text = page("records.md")
    for name in [*STATUSES, *(spec.name for spec in dataclasses.fields(Epoch) if spec.name != "scalars")]:
        assert f"`{name}`" in text, name


# -- all pages


@pytest.mark.parametrize("path", PAGES, ids=[path.name for path in PAGES])
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / target).exists(), target
    for name in re.findall(r"`((?:configs|benchmarks|tests|suite|analysis)/[\w/.]+\.\w+)`", text):
        assert (ROOT / name).exists(), name
    assert not re.search(r"/(root|work|home|Users)/", text), "a path of a machine"


def test_studies_name_documents_that_exist() -> None:
    for path in (ROOT / "configs").glob("*.yaml"):
        for name in re.findall(r"docs/[\w./-]+\.md", path.read_text()):
            assert (ROOT / name).is_file(), f"{path.name}: {name}"
