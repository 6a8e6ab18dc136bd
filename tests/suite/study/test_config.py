"""Study files: every mistake is one sentence with the key's path in the file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from suite.core.errors import UserError
from suite.study.config import Entry, Study, expand_grid, load_study, parse_study
from suite.study.plan import make_plan

STUDY: dict[str, Any] = {
    "study": "small",
    "datasets": ["digits"],
    "backbones": ["gradient_cnn"],
    "variants": ["baseline", "sire"],
    "recipe": "gradient",
    "seeds": 2,
}


def study(**changes: Any) -> Study:
    return parse_study({**STUDY, **changes})


def search(space: Any, name: str = "lr") -> dict[str, Any]:
    return {"search": {"trials": 2, "space": {name: space}}}


ENTRY = "must be a name, or a mapping of `name` and its settings, not"
RANGE = {"low": 0.1, "high": 1.0}
WRONG: list[tuple[dict[str, Any], str]] = [
    # unknown keys
    ({"seds": 3}, "seds: unknown key; did you mean 'seeds'?"),
    ({"search": {"trails": 3}}, "search.trails: unknown key; did you mean 'trials'?"),
    ({"search": {"asha": {"reductoin": 1}}}, "search.asha.reductoin: unknown key; did you mean 'reduction'?"),
    ({"statistics": {"alfa": 0.1}}, "statistics.alfa: unknown key; did you mean 'alpha'?"),
    (search({"lo": 1, "high": 2}), "search.space.lr.lo: unknown key; did you mean 'low'?"),
    ({"resources": {"memory": 1}}, "resources.memory: unknown key; did you mean 'device_memory'?"),
    # types
    ({"seeds": "three"}, "seeds: must be a whole number, not 'three'"),
    ({"seeds": "3"}, "seeds: must be a whole number, not '3'"),
    ({"seeds": 1.5}, "seeds: must be a whole number, not 1.5"),
    ({"seeds": True}, "seeds: must be a whole number, not True"),
    ({"resplit": 1}, "resplit: must be true or false, not 1"),
    ({"study": 3}, "study: must be text, not 3"),
    ({"search": 3}, "search: must be a mapping of keys, not 3"),
    ({"search": {"space": ["lr"]}}, "search.space: must be a mapping of keys, not ['lr']"),
    ({"datasets": "digits"}, "datasets: must be a list, not 'digits'"),
    ({"resources": {"cpus": "many"}}, "resources.cpus: must be a number, not 'many'"),
    ({"resources": {"cpus": math.inf}}, "resources.cpus: must be a finite number, not inf"),
    # ranges
    ({"seeds": 0}, "seeds: must be 1 or more, not 0"),
    ({"search": {"trials": -1}}, "search.trials: must be 0 or more, not -1"),
    ({"search": {"asha": {"reduction": 1}}}, "search.asha.reduction: must be 2 or more, not 1"),
    ({"resources": {"gpus": -1}}, "resources.gpus: must be 0 or more, not -1"),
    ({"statistics": {"rope": 0}}, "statistics.rope: must be above 0, not 0"),
    ({"statistics": {"alpha": 0.5}}, "statistics.alpha: must be below 0.5, not 0.5"),
    ({"study": "x" * 81}, f"study: must have at most 80 characters, not '{'x' * 81}'"),
    ({"study": "My study"}, "study: use lower-case letters, digits, - and _, not 'My study'"),
    ({"study": "../up"}, "study: use lower-case letters, digits, - and _, not '../up'"),
    ({"storage": ""}, "storage: must not be empty"),
    # choices
    (
        {"search": {"sampler": "tpee"}},
        "search.sampler: must be one of tpe, random, not 'tpee'; did you mean 'tpe'?",
    ),
    ({"memory_format": "nhwc"}, "memory_format: must be one of auto, contiguous, channels_last, not 'nhwc'"),
    # components
    ({"datasets": []}, "datasets: must name at least one"),
    ({"datasets": [3]}, f"datasets[0]: {ENTRY} 3"),
    ({"variants": ["baseline", {"sire": None}]}, f"variants[1]: {ENTRY} {{'sire': None}}"),
    ({"backbones": [{"name": 3}]}, "backbones[0].name: must be text, not 3"),
    ({"datasets": [{"name": "digits", "size": []}]}, "datasets[0].size: must name at least one value, not []"),
    (
        {"variants": ["baseline", {"name": "sire", "settings": {"lambda": 1}}]},
        "variants[1].settings: must be a value or a list of values, not {'lambda': 1}",
    ),
    ({"variants": ["sire"]}, "variants: must hold 'baseline' exactly once, since every comparison is with it"),
    ({"variants": ["baseline"] * 2}, "variants: must hold 'baseline' exactly once, since every comparison is with it"),
    # spaces
    ({"search": {"trials": 2}}, "search: trials need a space: name at least one hyperparameter, or set trials: 0"),
    ({"search": {"space": {"lr": {"choices": [1, 2]}}}}, "search.trials: without trials space does nothing; name how"),
    ({"search": {"asha": {}}}, "search.trials: without trials asha does nothing; name how many, or leave asha out"),
    ({"search": {"storage": "sqlite:///o.db"}}, "search.trials: without trials storage does nothing; name how many"),
    (search({"low": 1, "high": 0.1}), "search.space.lr: needs low < high, both finite, not 1 .. 0.1"),
    (search({"low": 0.1, "high": math.inf}), "search.space.lr: needs low < high, both finite, not 0.1 .. inf"),
    (search({"low": 0, "high": 1, "log": True}), "search.space.lr: is log, so low must be above 0, not 0"),
    (search({"low": 0.1}), "search.space.lr: needs low and high, or choices"),
    (search({"choices": []}), "search.space.lr: needs low and high, or choices"),
    (search({"choices": [1], "low": 0}), "search.space.lr: takes choices, or low and high, not both"),
    (search({"low": "a", "high": 1}), "search.space.lr.low: must be a number, not 'a'"),
    (
        search({**RANGE, "integer": True}),
        "search.space.lr: leave `integer` out: the hyperparameter itself says whether",
    ),
    # names, which the plan knows
    ({"recipe": "gradiant"}, "recipe.name: unknown recipe 'gradiant'; did you mean 'gradient'?"),
    ({"recipe": {"name": "gradient", "lrr": 1}}, "recipe.lrr: unknown setting; did you mean 'lr'?"),
    ({"recipe": {"name": "gradient", "lr": -1}}, "recipe.lr: must be 0 or more, not -1"),
    ({"recipe": {"name": "gradient", "epochs": 0}}, "recipe.epochs: must be 1 or more, not 0"),
    ({"recipe": {"name": "sire", "momentum": 2}}, "recipe.momentum: must be within 0 .. 1, not 2"),
    (
        {"recipe": {"name": "gradient", "optimizer": "sdg"}},
        "recipe.optimizer: must be one of sgd, adam, not 'sdg'; did you mean 'sgd'?",
    ),
    ({"datasets": ["digit"]}, "datasets[0]: unknown dataset 'digit'; did you mean 'digits'?"),
    ({"backbones": ["gradient_cnn", "base_cn"]}, "backbones[1]: unknown backbone 'base_cn'; did you mean 'base_cnn'?"),
    ({"epochs": 3}, "epochs: unknown key; it belongs under recipe: `recipe: {name: ..., epochs: 3}`"),
    ({"variants": ["baseline", "zzz"]}, "variants[1]: unknown variant 'zzz'; known: baseline, "),
    (search(RANGE, "lrr"), "search.space.lrr: unknown hyperparameter; did you mean 'lr'?"),
    (search(RANGE, "sir.lambda"), "search.space.sir.lambda: the study has no variant 'sir'; did you mean 'sire'?"),
]


@pytest.mark.parametrize(("changes", "sentence"), WRONG, ids=[sentence[:50] for _, sentence in WRONG])
def test_a_mistake_is_one_sentence_with_its_path(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        make_plan(study(**changes))
    assert str(refusal.value).startswith(sentence)
    assert "\n" not in str(refusal.value) and "pydantic" not in str(refusal.value)


@pytest.mark.parametrize("key", STUDY)
def test_what_every_study_says(key: str) -> None:
    with pytest.raises(UserError, match=f"^{key}: required key is missing"):
        parse_study({name: value for name, value in STUDY.items() if name != key})


def test_a_misspelt_key_is_named_before_the_missing_one() -> None:
    with pytest.raises(UserError, match=r"^reciep: unknown key; did you mean 'recipe'"):
        parse_study({("reciep" if name == "recipe" else name): value for name, value in STUDY.items()})


@pytest.mark.parametrize("data", [None, [], "study", 3])
def test_a_study_is_a_mapping(data: Any) -> None:
    with pytest.raises(UserError, match="a study is a mapping of keys"):
        parse_study(data)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("study: a\nstudy: b\n", "duplicate key 'study' (line 2)"),
        ("study: a\nrecipe:\n  name: sire\n  lr: 1\n  lr: 2\n", "duplicate key 'lr' (line 5)"),
        ("3: a\n", "key 3 is not text (line 1)"),
        ("? [a]\n: 1\n", "key ['a'] is not text (line 1)"),
        ("study: [a\n", "(line 2)"),
        ("study: !!python/object:os.x 1\n", "(line 1)"),
        ("study: 2024-13-01\n", "month must be in 1..12"),
    ],
)
def test_broken_yaml_names_the_line(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as refusal:
        load_study(path)
    assert str(refusal.value).startswith(f"{path}: not valid YAML: ") and str(refusal.value).endswith(sentence)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00study", b"\x89PNG\r\n\x1a\n\x00", b"study: a\x00\n"])
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a text file"):
        load_study(path)


def test_a_missing_file_says_where_studies_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such study file; known: "):
        load_study(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="is a folder, not a study file; a folder of records is read with --records"):
        load_study(tmp_path)


def test_a_file_and_its_path_in_every_refusal(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, "seeds": 0}))
    with pytest.raises(UserError) as refusal:
        load_study(path)
    assert str(refusal.value) == f"{path}: seeds: must be 1 or more, not 0"


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e-3", 1e-3), ("-1E3", -1e3), ("+2e2", 200.0), ("1.5e3", 1.5e3), (".5e1", 5.0), ("1.e-2", 0.01), ("3", 3)],
)
def test_numbers_read_as_yaml_1_2_reads_them(tmp_path: Path, text: str, number: float) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, "recipe": "RECIPE"}).replace("RECIPE", f"{{name: gradient, lr: {text}}}"))
    value = load_study(path).recipe.settings["lr"]
    assert value == number and type(value) is type(number)


@pytest.mark.parametrize("text", ["e3", "1e", "1e3.5", "-e3"])
def test_words_stay_words(tmp_path: Path, text: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, "description": "WORD"}).replace("WORD", text))
    assert load_study(path).description == text


def test_merged_keys_yield_to_those_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    anchored = "[baseline, &sire {name: sire, lambda: 0.1}, {<<: *sire, lambda: 0.3}]"
    path.write_text(yaml.safe_dump({**STUDY, "variants": "LIST"}).replace("LIST", anchored))
    assert [entry.settings for entry in load_study(path).variants] == [{}, {"lambda": 0.1}, {"lambda": 0.3}]


def test_the_projects_own_studies_load() -> None:
    paths = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))
    assert paths
    for path in paths:
        assert load_study(path).study


@pytest.mark.parametrize(
    ("settings", "expanded"),
    [
        ({}, [{}]),
        ({"lambda": 0.1}, [{"lambda": 0.1}]),
        ({"lambda": [0.1, 0.2]}, [{"lambda": 0.1}, {"lambda": 0.2}]),
        ({"decoders": [[1, 4]]}, [{"decoders": [1, 4]}]),
        ({"decoders": [[1, 4], 1, "all"]}, [{"decoders": [1, 4]}, {"decoders": 1}, {"decoders": "all"}]),
        (
            {"lambda": [0.1, 0.2], "components": ["SI", "I"]},
            [
                {"lambda": 0.1, "components": "SI"},
                {"lambda": 0.1, "components": "I"},
                {"lambda": 0.2, "components": "SI"},
                {"lambda": 0.2, "components": "I"},
            ],
        ),
    ],
)
def test_lists_expand_to_a_grid(settings: dict[str, Any], expanded: list[dict[str, Any]]) -> None:
    assert list(expand_grid(Entry.model_validate({"name": "sire", **settings}))) == expanded


def test_identity_is_what_results_depend_on() -> None:
    changes: dict[str, Any]
    first = study()
    for changes in (
        {"seeds": 5},
        {"description": "x"},
        {"storage": "there"},
        {"variants": ["baseline"]},
        {"keep": "none"},
    ):
        assert study(**changes).describe_identity() == first.describe_identity(), changes
    for changes in (
        {"recipe": "sire"},
        {"split_seed": 1},
        {"resplit": True},
        {"precision": "bf16"},
        {"statistics": {"rope": 1}},
        search({"low": 0.1, "high": 1}),
    ):
        assert study(**changes).describe_identity() != first.describe_identity(), changes
    assert str(first.storage_path) == "runs/small"
