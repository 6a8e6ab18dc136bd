"""Profiles of a study file, and the stand-ins that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.published.tables import load_table
from suite.core.errors import UserError
from suite.core.specs import BASELINE
from suite.study.config import load_study, parse_study
from suite.study.plan import make_plan
from suite.study.profiles import apply_profile
from suite.sweep.storage import StudyStorage

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))
EVERY = [
    (path, profile)
    for path in CONFIGS
    for profile in ("", *yaml.safe_load(path.read_text(encoding="utf-8")).get("profiles", {}))
]
STUDY: dict[str, Any] = {
    "study": "small",
    "datasets": ["mnist"],
    "backbones": [{"name": "base_cnn", "width": 0.5}],
    "variants": ["baseline", "sire"],
    "recipe": {"name": "sire", "lr": 0.05},
    "seeds": 5,
    "search": {"trials": 3, "space": {"lr": {"low": 0.1, "high": 1.0}}, "asha": {"grace": 2}},
}


def quick(profile: Any, **changes: Any) -> dict[str, Any]:
    return {**STUDY, **changes, "profiles": {"quick": profile}}


# -- merging


def test_a_profile_says_what_differs() -> None:
    found = parse_study(quick({"recipe": {"epochs": 2}, "backbones": ["gradient_cnn"], "seeds": 1}), "quick")
    assert (found.study, found.profile, found.seeds) == ("small-quick", "quick", 1)
    assert found.recipe.name == "sire" and found.recipe.settings == {"lr": 0.05, "epochs": 2}
    assert [entry.name for entry in found.backbones] == ["gradient_cnn"], "lists are replaced"
    assert found.search == parse_study(STUDY).search


def test_no_profile_is_the_study_itself() -> None:
    assert parse_study(quick({"seeds": 1})) == parse_study(STUDY)
    assert parse_study(quick({"seeds": 1}), "quick").describe_identity() != parse_study(STUDY).describe_identity()


def test_a_bare_name_and_its_mapping_are_one() -> None:
    found = parse_study(quick({"recipe": {"epochs": 2}}, recipe="sire"), "quick")
    assert (found.recipe.name, found.recipe.settings) == ("sire", {"epochs": 2})
    replaced = parse_study(quick({"recipe": "gradient"}), "quick")
    assert (replaced.recipe.name, replaced.recipe.settings) == ("gradient", {}), "a value is replaced"


def test_null_takes_a_key_away() -> None:
    found = parse_study(quick({"search": None, "recipe": {"lr": None}}), "quick")
    assert found.search.trials == 0 and found.recipe.settings == {}
    without_asha = parse_study(quick({"search": {"asha": None}}), "quick").search
    assert without_asha.asha is None and without_asha.trials == 3


def test_merging_changes_nothing_that_it_was_given() -> None:
    data = quick({"recipe": {"epochs": 2}})
    apply_profile(data, "quick")
    assert data == quick({"recipe": {"epochs": 2}}) and "epochs" not in STUDY["recipe"]


def test_records_of_a_profile_never_mix_with_the_studys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    full, small = (parse_study(quick({"seeds": 1}), profile) for profile in ("", "quick"))
    assert (full.storage_path, small.storage_path) == (Path("runs/small"), Path("runs/small-quick"))
    data = quick({"seeds": 1}, storage="kept/here")
    named, own = parse_study(data), parse_study(data, "quick")
    assert named.storage_path != own.storage_path
    StudyStorage(named).create()
    StudyStorage(own).check_study()  # a folder of its own
    assert parse_study(quick({"storage": "other"}, storage="kept/here"), "quick").storage == "other"


@pytest.mark.parametrize(
    ("data", "profile", "sentence"),
    [
        (quick({}), "quik", "profiles: has no 'quik'; did you mean 'quick'?"),
        (quick({}), "full", "profiles: has no 'full'; known: quick"),
        (STUDY, "quick", "profiles: the study has none, so no 'quick'; leave --profile out"),
        (quick({"study": "mine"}), "quick", "profiles.quick.study: can't be set by a profile; leave it out"),
        (quick({"profiles": {}}), "quick", "profiles.quick.profiles: can't be set by a profile"),
        (quick([1]), "", "profiles: must be a mapping of names, each to a mapping of what differs"),
        ({**STUDY, "profiles": ["quick"]}, "", "profiles: must be a mapping of names"),
        ({**STUDY, "profile": "quick"}, "", "profile: unknown key; a profile is chosen with --profile"),
        (quick({"stand_ins": {"mnist": ["digits"]}}), "quick", "stand_ins: unknown key"),
        (quick({"sedes": 1}), "quick", "sedes: unknown key; did you mean 'seeds'?"),
        (quick({"recipe": {"epochs": 2}}, study=3), "quick", "study: must be text, not 3"),
        ({**STUDY, "profiles": {"Quick": {}}}, "Quick", "study: use lower-case letters"),
        (
            {**{k: v for k, v in STUDY.items() if k != "study"}, "profiles": {"quick": {}}},
            "quick",
            "study: required key is missing",
        ),
    ],
)
def test_refusals(data: dict[str, Any], profile: str, sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_study(data, profile)
    assert str(refusal.value).startswith(sentence)


# -- the study files of this repository


@pytest.mark.parametrize(("path", "profile"), EVERY, ids=lambda part: getattr(part, "stem", part) or "full")
def test_every_study_file_plans_in_every_profile(path: Path, profile: str) -> None:
    study = load_study(path, profile)
    plan = make_plan(study)
    assert plan.cells and any(planned.cell.is_baseline for planned in plan.cells)
    groups = {planned.cell.group for planned in plan.cells}
    assert len(groups) == sum(planned.cell.variant.name == BASELINE for planned in plan.cells)
    assert study.study.endswith(f"-{profile}" if profile else path.stem.replace("_", "-"))


def test_every_table_is_redrawn_by_one_study_at_most() -> None:
    named = [table for path in CONFIGS for table in load_study(path).reproduces]
    assert len(named) == len(set(named))
    assert all(load_table(table).id == table for table in named)
