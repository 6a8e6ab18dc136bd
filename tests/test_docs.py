"""The documents hold what the code holds: their studies parse, and their tables name every key, knob and column."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from suite.core import recipes, registry
from suite.core.errors import UserError
from suite.core.recipes import KNOBS, RECIPES
from suite.core.records import COLUMNS, STATUSES, Epoch
from suite.core.specs import Space
from suite.layers.model import parameter_count
from suite.study import config
from suite.study.plan import make_plan

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
KINDS: tuple[registry.Kind, ...] = ("backbone", "variant")
SLOW = {"inception_resnet_v2", "preact_resnet200", "senet154"}  # to cut: half a minute each
ON_THE_COMMAND_LINE = {"profile"}  # of a study in memory; no file may hold them
SECTIONS = (config.Study, config.Search, config.Asha, config.Resources, config.Statistics)
PAGES = [*(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")), *sorted(DOCS.glob("*.md"))]


def page(name: str) -> str:
    return (DOCS / name).read_text()


def blocks(text: str, language: str = "yaml") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [body for kind, body in found if kind == language]


def rows(text: str) -> list[list[str]]:
    """Cells of every table row, without the marks of code."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


# -- study files


STUDIES = [*blocks(page("study-files.md")), *blocks(page("components.md"))]


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
        if key in ON_THE_COMMAND_LINE:
            with pytest.raises(UserError, match=f"^{key}: unknown key"):
                config.parse_study({key: "x"})
            continue
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
    assert set(re.findall(r"\w+", said)) == set(study.describe_identity())


def test_profiles_are_studies_too(tmp_path: Path) -> None:
    [text] = [text for text in STUDIES if "\nprofiles:" in text]
    (tmp_path / "study.yaml").write_text(text)
    quick = config.load_study(tmp_path / "study.yaml", "quick")
    assert quick.study == "sire-on-mnist-quick" and f"`{quick.study}`" in page("study-files.md")
    assert quick.datasets[0].name == "digits"
    assert recipes.resolve_recipe(make_plan(quick).recipe).epochs == 2
    assert ("profiles" in {row[0] for row in rows(page("study-files.md"))}) and quick.seeds == 3


def test_recipes_are_as_the_table_says() -> None:
    table = rows(page("study-files.md"))
    [heading] = [row for row in table if row[0] == "knob"]
    assert set(heading[1:-1]) == set(RECIPES)
    assert {name for row in table for name in names(row[0])} >= set(RECIPES), "whose recipe it is"
    by_knob = {row[0]: row for row in table}
    for knob in KNOBS:
        for column, name in enumerate(heading[1:-1], start=1):
            value: Any = getattr(RECIPES[name], knob)
            said = yaml.safe_load(by_knob[knob][column])
            shown = float(f"{value:.4g}") if isinstance(value, float) else value
            assert said == (list(value) if isinstance(value, tuple) else shown), (name, knob)


# -- components


def names(cell: str) -> list[str]:
    return re.findall(r"[\w:]+", cell.replace("`", ""))


def table_of(heading: str) -> list[list[str]]:
    """Rows of the tables of components.md whose first column is headed so, the heading left out."""
    lines, found = page("components.md").splitlines(), []
    for start, line in enumerate(lines):
        if line.startswith(f"| {heading} |"):
            end = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
            found += rows("\n".join(lines[start + 2 : end]))
    return found


def built_for(name: str, side: int, classes: int) -> tuple[int, int] | None:
    """Parameters and stages, or None where the images are too small."""
    try:
        with torch.device("meta"):
            backbone = registry.load_component("backbone", name).build((3, side, side), classes)
    except UserError:
        return None
    return parameter_count(backbone), len(backbone.stages)


def own_names(kind: registry.Kind) -> list[str]:
    """What this repository registers; a plug-in needs no row."""
    return sorted(path.stem for path in (ROOT / "suite" / f"{kind}s").glob("[!_]*.py"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_has_a_row(kind: registry.Kind) -> None:
    shown = [row[0] for row in table_of("name")]
    assert sorted(shown) == sorted(name for each in KINDS for name in own_names(each)), kind


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=row[0], marks=pytest.mark.slow if row[0] in SLOW else ())
        for row in table_of("name")
        if row[0] in own_names("backbone")
    ],
)
def test_sizes_of_backbones_are_as_the_table_says(row: list[str]) -> None:
    name, _, large, small, least, stages = row
    for (side, classes), count, steps in zip(((224, 1000), (32, 10)), (large, small), stages.split(" / "), strict=True):
        found = built_for(name, side, classes)
        assert (count, steps) == ((f"{found[0]:,}", str(found[1])) if found else ("–", "–"))
    assert built_for(name, int(least), 10) and not built_for(name, int(least) - 1, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_settings_are_as_the_table_says(kind: registry.Kind) -> None:
    documented: dict[str, dict[str, Any]] = {}
    for owners, settings, default, meaning in table_of(kind):
        assert meaning
        for owner in names(owners):
            shown = {name: None if default == "–" else yaml.safe_load(default) for name in names(settings)}
            assert not shown.keys() & documented.get(owner, {}).keys(), owner
            documented.setdefault(owner, {}).update(shown)
    for name in [*own_names(kind), *(["timm:resnet18"] if kind == "backbone" else [])]:
        declared = registry.load_component(kind, name).SETTINGS
        defaults = {
            key: list(spec.default) if isinstance(spec.default, tuple) else spec.default
            for key, spec in declared.items()
        }
        assert documented.pop("timm:NAME" if ":" in name else name, {}) == defaults, name
    assert not documented, "settings of no component"


def test_the_map_of_the_tree_is_true() -> None:
    [listing] = [block for block in blocks((ROOT / "README.md").read_text(), "") if block.startswith("configs/")]
    named = set()
    for line in listing.splitlines():
        paths = re.split(r" {2,}", line)[0].split()
        folder = Path(paths[0]).parent
        named |= {paths[0].rstrip("/"), *(str(folder / path) for path in paths[1:])}
    for path in named:
        assert (ROOT / path).exists(), path
    rooms = {
        f"suite/{path.name}" for path in (ROOT / "suite").iterdir() if path.suffix != ".typed" and path.name[:2] != "__"
    }
    assert rooms <= named, rooms - named


# -- records


def test_every_column_has_a_row() -> None:
    table = [row for row in rows(page("records.md")) if row[0] in COLUMNS]
    words = {"text": str, "integer": int, "number": float}
    assert {row[0]: words[row[1]] for row in table} == COLUMNS
    assert [row[0] for row in table] == list(COLUMNS)  # in the schema's order


def test_statuses_and_figures_of_an_epoch_are_named() -> None:
    text = page("records.md")
    for name in [
        *STATUSES,
        *(spec.name for spec in dataclasses.fields(Epoch) if spec.name not in ("scalars", "unknown")),
    ]:
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


def test_the_way_leads_to_things_that_exist() -> None:
    text = page("find-your-way.md")
    named = re.findall(r"`((?:suite|analysis)/[\w/]+\.py)`(?:, which \w+ `([\w/]+\.py)`)?: ((?:`\w+`(?:, )?)+)", text)
    assert len(named) > 10
    for file, _, names in named:
        for name in re.findall(r"\w+", names):
            assert re.search(rf"^ *(?:def|class) {name}\b", (ROOT / file).read_text(), re.MULTILINE), (file, name)
    way = text[text.index("## The way of one trial") : text.index("## What to touch")]
    assert len(re.findall(r"^\| `[\w/]+\.py` \|", way, re.MULTILINE)) <= 35


def test_studies_name_documents_that_exist() -> None:
    for path in (ROOT / "configs").glob("*.yaml"):
        for name in re.findall(r"docs/[\w./-]+\.md", path.read_text()):
            assert (ROOT / name).is_file(), f"{path.name}: {name}"


def test_comments_cite_pages_that_exist() -> None:
    """A citation is of a paper, by author, year and section, or of a page of this repository."""
    rooms = ("suite", "analysis", "tests", "benchmarks", "configs", "packaging")
    files = [path for room in rooms for kind in ("py", "yaml", "toml") for path in (ROOT / room).rglob(f"*.{kind}")]
    assert len(files) > 200
    for path in files:
        for name in re.findall(r"\b(?:docs|papers|reference|shared)/[\w./-]+\.md\b", path.read_text()):
            assert (ROOT / name).is_file(), f"{path.relative_to(ROOT)}: {name}"


def test_hooks_have_the_versions_of_the_lock_file() -> None:
    locked = (ROOT / "requirements.lock").read_text().splitlines()
    [local] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    pins = {pin for hook in local["hooks"] for pin in hook["additional_dependencies"]}
    assert {pin.partition("==")[0] for pin in pins} == {"ruff", "typos"}
    assert pins <= set(locked)


def test_the_words_are_few() -> None:
    rows = [line for line in page("words.md").splitlines() if line.startswith("| ")][1:]
    assert 15 <= len(rows) <= 25
    assert all(row.endswith(". |") for row in rows), "one sentence each"
