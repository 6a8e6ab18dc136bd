"""Contract tests: they run over every registered dataset, backbone and variant, so a new file is tested by existing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from suite.datasets import Facts
from suite.datasets._source import Source
from suite.layers.model import Backbone, Graft
from suite.registry import Kind, available, load
from suite.settings import Refused, canonical
from suite.specs import Component, freeze

SHAPES = ((1, 16, 16), (1, 28, 28), (3, 32, 32))
KINDS: tuple[Kind, ...] = ("dataset", "backbone", "variant")
COMPONENTS = [(kind, name) for kind in KINDS for name in available(kind)]
PAIRS = [(backbone, variant) for backbone in available("backbone") for variant in available("variant")]
RESTARTS = {"lsuv", "wide"}  # variants that start elsewhere by declaration (design: fair by construction)


def shapes_served(name: str) -> list[tuple[int, int, int]]:
    served = []
    for shape in SHAPES:
        try:
            load("backbone", name).build(shape, 10)
        except Refused:
            continue
        served.append(shape)
    return served


def built(name: str, shape: tuple[int, int, int]) -> Any:
    torch.manual_seed(0)
    return load("backbone", name).build(shape, 10)


def grafted(backbone: Any, variant: str) -> Graft:
    try:
        graft: Graft = load("variant", variant).apply(backbone)
    except Refused as refusal:
        pytest.skip(f"refused: {refusal}")
    return graft


def batch(shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.randn(4, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_settings_are_canonicalisable(kind: Kind, name: str) -> None:
    declared = load(kind, name).SETTINGS
    defaults = freeze({setting: spec.default for setting, spec in declared.items()})
    assert canonical(declared, Component(name, defaults), name) == Component(name), "defaults are canonical"
    for setting, spec in declared.items():
        assert spec.doc
        for choice in spec.choices:
            assert spec.value(choice) == choice
        with pytest.raises(Refused, match="unknown setting"):
            canonical(declared, Component(name, ((f"{setting}_x", 1),)), name)


@pytest.mark.parametrize("name", available("backbone"))
def test_backbone_serves_grey_and_colour(name: str) -> None:
    served = shapes_served(name)
    assert (3, 32, 32) in served and any(shape[0] == 1 for shape in served)


@pytest.mark.parametrize("name", available("backbone"))
def test_backbone_says_what_its_stages_do(name: str) -> None:
    for shape in shapes_served(name):
        model: Backbone = built(name, shape).eval()
        x = model.prepare(batch(shape))
        for stage in model.stages:
            assert x.shape[1] == stage.in_channels
            size, x = x.shape[-1], stage(x)
            assert x.shape[1] == stage.out_channels and x.shape[-1] in {size // stage.stride, -(-size // stage.stride)}
        output = model(batch(shape))
        assert output.logits.shape == (4, 10)
        assert torch.equal(output.logits, model.head(model.tail(x)))
        assert output.inputs is not None and output.inputs.shape == model.prepare(batch(shape)).shape


@pytest.mark.parametrize("name", available("backbone"))
def test_backbone_starts_from_the_global_generator(name: str) -> None:
    shape = shapes_served(name)[0]
    one, other = built(name, shape).state_dict(), built(name, shape).state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    torch.manual_seed(1)
    third = load("backbone", name).build(shape, 10).state_dict()
    assert not all(torch.equal(one[key], third[key]) for key in one)


@pytest.mark.parametrize(("backbone", "variant"), PAIRS)
def test_variant_trains_and_evaluates(backbone: str, variant: str) -> None:
    shape = shapes_served(backbone)[0]
    graft = grafted(built(backbone, shape), variant)
    graft.model.train()
    output = graft.model(batch(shape))
    assert output.logits.shape == (4, 10)
    loss = graft.cross_entropy_scale * functional.cross_entropy(output.logits, torch.arange(4))
    extra = loss.new_zeros(()) if graft.extra_loss is None else graft.extra_loss(output)
    assert extra.shape == () and extra.isfinite()
    (loss + extra).backward()
    gradients = {name: parameter.grad for name, parameter in graft.model.named_parameters() if parameter.requires_grad}
    assert [name for name, grad in gradients.items() if grad is None] == [], "parameters that nothing trains"
    assert all(grad.isfinite().all() for grad in gradients.values() if grad is not None)
    with torch.no_grad():
        evaluated = graft.model.eval()(batch(shape))
    assert evaluated.logits.shape == (4, 10) and evaluated.logits.isfinite().all()
    assert evaluated.reconstructions == [] and evaluated.auxiliary_logits == []


@pytest.mark.parametrize(("backbone", "variant"), PAIRS)
def test_variant_starts_equal_to_its_baseline(backbone: str, variant: str) -> None:
    if variant in RESTARTS:
        pytest.skip("starts elsewhere by declaration")
    shape = shapes_served(backbone)[0]
    baseline = built(backbone, shape)
    graft = grafted(built(backbone, shape), variant)
    started = {name.removeprefix("backbone."): value for name, value in graft.model.state_dict().items()}
    kept = baseline.state_dict().keys() & started.keys()
    assert kept, "a variant keeps its baseline's names, bare or under `backbone.`"
    assert all(torch.equal(baseline.state_dict()[name], started[name]) for name in kept)


@pytest.mark.parametrize("name", available("dataset"))
def test_dataset_facts_agree_with_its_sources(name: str, tmp_path: Path) -> None:
    module = load("dataset", name)
    try:
        facts: Facts = module.facts(tmp_path)
    except Refused as refusal:
        assert name in str(refusal)
        return
    assert 0 < facts.validation < facts.train_examples
    assert len(facts.class_names) in {0, facts.classes}
    for moments in (facts.mean, facts.std):
        assert moments is None or len(moments) == facts.shape[0]
    if facts.missing:
        assert str(tmp_path) in facts.missing
        for part in ("train", "test"):
            with pytest.raises(Refused, match=name):
                module.source(tmp_path, part)
        return
    for part, count in (("train", facts.train_examples), ("test", facts.test_examples)):
        source: Source = module.source(tmp_path, part)
        assert source.shape == facts.shape and part in source.origin and all(file.is_file() for file in source.files)
        assert source.labels.shape == (count,) and source.labels.dtype == np.int64
        assert np.unique(source.labels).tolist() == list(range(facts.classes))
        for row in (0, count - 1):
            image = source.decode(row)
            assert image.dtype == np.uint8 and image.shape == facts.shape and source.name(row)
