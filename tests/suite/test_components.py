"""Contract tests: they run over every registered dataset, backbone and variant, so a new file is tested by existing."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import suite
from suite.core.errors import UserError
from suite.core.recipes import Recipe
from suite.core.registry import Kind, list_components, load_component
from suite.core.settings import canonicalize_component
from suite.core.specs import BASELINE, Cell, Component, Streams, freeze_settings, hash_parts
from suite.data.source import DatasetInfo, ImageSource
from suite.layers.model import Backbone, Graft, parameter_count
from suite.models import grafting
from suite.models.assembly import assemble_network
from suite.models.cost import count_network_costs
from suite.training.augment import Augmentation
from suite.training.data import Examples, Scaling, TrainingData
from suite.training.execution import Execution
from suite.training.loop import Diverged, TrainingFigures, build_optimizer, train_epoch

KINDS: tuple[Kind, ...] = ("dataset", "backbone", "variant")
COMPONENTS = [(kind, name) for kind in KINDS for name in list_components(kind)]
SIDES = (8, 16, 28, 32, 48, 64, 75, 80, 96, 128, 224)
# Too large for every run: their pairs, and most of the others', train in `make test-all`.
LARGE = {"inception_resnet_v2", "preact_resnet200", "resnet152", "senet154"}
# Without normalisation or shortcuts the activations of these very deep networks overflow (torchvision draws those of
# Inception-v3 with sd 0.1 at any fan-in). A result, not a crash: the trial is recorded as diverged.
DIVERGES = {
    ("inception_v3", "no_batch_norm"),
    ("inception_resnet_v2", "no_skip"),
    *itertools.product(("preact_resnet200", "resnet152"), ("no_batch_norm", "no_skip")),
}
MOST_PARAMETERS = 1_000_000_000  # with gradients and momentum 12 GB; SIRe's decoders on Inception-ResNet-v2 have 2.5 G
EVERY = 16  # of the other pairs, one in so many trains in every run, chosen by hash


def is_own(kind: Kind, name: str) -> bool:
    """Whether the component is this repository's, no plug-in's."""
    return (Path(suite.__file__).parent / f"{kind}s" / f"{name}.py").is_file()


# The variants that each backbone refuses, at default settings: a bug that refuses one on every backbone turns red here,
# and a new component's refusals are written down by whoever adds it. Plug-ins refuse what they like.
REFUSED: dict[str, list[str]] = {
    "alexnet": [
        "hybrid",
        "no_aux",
        "no_batch_norm",
        "no_skip",
        "squeeze_excite",
        "stochastic_depth",
        "training",
        "wide",
    ],
    "base_cnn": ["hybrid", "no_aux", "no_lrn", "no_skip", "non_overlapping_pooling", "stochastic_depth", "training"],
    "cifar_cnn": [
        "diffstride",
        "hybrid",
        "no_aux",
        "no_batch_norm",
        "no_dropout",
        "no_lrn",
        "no_skip",
        "spectral",
        "stochastic_depth",
        "training",
        "wide",
    ],
    "densenet121": [
        "no_aux",
        "no_dropout",
        "no_lrn",
        "no_skip",
        "non_overlapping_pooling",
        "squeeze_excite",
        "stochastic_depth",
        "training",
        "wide",
    ],
    "googlenet": ["hybrid", "no_lrn", "no_skip", "stochastic_depth", "training"],
    "gradient_cnn": [
        "diffstride",
        "no_aux",
        "no_lrn",
        "no_skip",
        "non_overlapping_pooling",
        "stochastic_depth",
        "training",
        "wide",
    ],
    "inception_resnet_v2": ["hybrid", "no_aux", "no_lrn", "training", "wide"],
    "inception_v3": ["diffstride", "hybrid", "no_lrn", "no_skip", "spectral", "stochastic_depth", "training", "wide"],
    "preact_resnet18": ["no_aux", "no_dropout", "no_lrn", "non_overlapping_pooling", "training"],
    "preact_resnet200": ["no_aux", "no_dropout", "no_lrn", "training", "wide"],
    "resnet152": ["hybrid", "no_aux", "no_dropout", "no_lrn", "non_overlapping_pooling", "training"],
    "resnet18": ["hybrid", "no_aux", "no_dropout", "no_lrn", "non_overlapping_pooling", "training"],
    "resnet34": ["hybrid", "no_aux", "no_dropout", "no_lrn", "non_overlapping_pooling", "training"],
    "resnet50": ["hybrid", "no_aux", "no_dropout", "no_lrn", "non_overlapping_pooling", "training"],
    "senet154": ["hybrid", "no_aux", "no_lrn", "squeeze_excite", "training", "wide"],
    "vgg16": [
        "hybrid",
        "no_aux",
        "no_batch_norm",
        "no_lrn",
        "no_skip",
        "non_overlapping_pooling",
        "stochastic_depth",
        "training",
    ],
    "vgg19": [
        "hybrid",
        "no_aux",
        "no_batch_norm",
        "no_lrn",
        "no_skip",
        "non_overlapping_pooling",
        "stochastic_depth",
        "training",
    ],
    "zfnet": ["hybrid", "no_aux", "no_batch_norm", "no_skip", "squeeze_excite", "stochastic_depth", "training", "wide"],
}


def pairs() -> Iterator[Any]:
    for backbone, variant in itertools.product(list_components("backbone"), list_components("variant")):
        sampled = backbone not in LARGE and hash_parts("pair", backbone, variant) % EVERY == 0
        always = (
            sampled or backbone in {"base_cnn", "preact_resnet18"} or (variant == BASELINE and backbone not in LARGE)
        )
        yield pytest.param(backbone, variant, marks=() if always else pytest.mark.slow)


def narrow(name: str) -> dict[str, Any]:
    """Settings that make a backbone small where it has a width."""
    return {"width": 1 / 8} if "width" in load_component("backbone", name).SETTINGS else {}


@functools.cache
def smallest(name: str, channels: int = 3) -> tuple[int, int, int]:
    """The smallest square of SIDES that the backbone serves."""
    for side in SIDES:
        with contextlib.suppress(UserError), torch.device("meta"):
            load_component("backbone", name).build((channels, side, side), 10)
            return (channels, side, side)
    raise AssertionError(f"{name} serves none of {SIDES}")


def built(name: str, channels: int = 3) -> Any:
    torch.manual_seed(0)
    return load_component("backbone", name).build(smallest(name, channels), 10, **narrow(name))


def batch(shape: tuple[int, int, int], images: int = 4) -> torch.Tensor:
    return torch.randn(images, *shape, generator=torch.Generator().manual_seed(1))


def cell(backbone: str, variant: str) -> Cell:
    return Cell(Component("digits"), Component(backbone, freeze_settings(narrow(backbone))), Component(variant))


def grafted(backbone: str, variant: str) -> Graft:
    try:
        return assemble_network(cell(backbone, variant), smallest(backbone), 10, streams=Streams("search", 0))
    except UserError as refusal:
        is_plugin = not (is_own("variant", variant) and is_own("backbone", backbone))
        assert is_plugin or variant in REFUSED.get(backbone, ()), f"{backbone} x {variant} is not in REFUSED: {refusal}"
        pytest.skip(f"refused: {refusal}")


@pytest.mark.parametrize(
    "backbone", [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in list_components("backbone")]
)
def test_which_pairs_are_refused(backbone: str) -> None:
    refused = []
    for variant in list_components("variant"):
        try:
            assemble_network(cell(backbone, variant), smallest(backbone), 10, streams=None)
        except UserError:
            refused.append(variant)
    own = [variant for variant in refused if is_own("variant", variant)]
    assert not is_own("backbone", backbone) or own == REFUSED.get(backbone, [])


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_settings_are_canonicalisable(kind: Kind, name: str) -> None:
    declared = load_component(kind, name).SETTINGS
    defaults = freeze_settings({setting: spec.default for setting, spec in declared.items()})
    assert canonicalize_component(declared, Component(name, defaults), name) == Component(name), (
        "defaults are canonical"
    )
    for setting, spec in declared.items():
        assert spec.doc
        for choice in spec.choices:
            assert spec.parse_value(choice) == choice
        with pytest.raises(UserError, match="unknown setting"):
            canonicalize_component(declared, Component(name, ((f"{setting}_x", 1),)), name)


BACKBONES = [
    pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in list_components("backbone")
]


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("channels", [1, 3])
def test_backbone_says_what_its_stages_do(name: str, channels: int) -> None:
    model: Backbone = built(name, channels).eval()
    x = model.prepare(batch(smallest(name, channels), 2))
    inputs = x
    for stage in model.stages:
        assert x.shape[1] == stage.in_channels
        size, x = x.shape[-1], stage(x)
        assert x.shape[1] == stage.out_channels and x.shape[-1] < size
        assert abs(x.shape[-1] - size / stage.stride) <= 2, "unpadded steps lose a border"
    with torch.no_grad():
        output = model(batch(smallest(name, channels), 2))
        assert torch.equal(output.logits, model.head(model.tail(x)))
    assert output.logits.shape == (2, 10) and output.inputs is not None and output.inputs.shape == inputs.shape


@pytest.mark.parametrize("name", BACKBONES)
def test_backbone_starts_from_the_global_generator(name: str) -> None:
    one, other = built(name).state_dict(), built(name).state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    torch.manual_seed(1)
    third = load_component("backbone", name).build(smallest(name), 10, **narrow(name)).state_dict()
    assert not all(torch.equal(one[key], third[key]) for key in one)


@pytest.mark.parametrize("name", list_components("backbone"))
def test_backbone_refuses_what_is_too_small(name: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=rf"^{name}.* not 1 x 1"):
        load_component("backbone", name).build((3, 1, 1), 10)


@pytest.mark.parametrize(("backbone", "variant"), pairs())
def test_variant_trains_two_steps_and_evaluates(backbone: str, variant: str) -> None:
    graft = grafted(backbone, variant)
    if (size := parameter_count(graft.model)) > MOST_PARAMETERS:
        pytest.skip(f"{size:,} parameters, {12e-9 * size:.0f} GB with gradients and momentum: too large to train here")
    shape = smallest(backbone)
    images = torch.randint(0, 256, (8, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    examples = Examples.in_memory(images, torch.arange(8))
    data = TrainingData(examples, examples, Scaling.of((0.5,) * 3, (0.25,) * 3, torch.device("cpu")))
    recipe = Recipe(lr=1e-3, momentum=0.9, batch=4)
    before = {name: value.clone() for name, value in graft.model.named_parameters()}

    def train() -> TrainingFigures:
        return train_epoch(
            graft,
            build_optimizer(recipe, graft.model, torch.device("cpu")),
            data,
            Execution(torch.device("cpu")),
            Augmentation.of(recipe),
            batch=4,
            streams=Streams("search", 0),
            epoch=1,
            learning_rate=1e-3,
        )

    if (backbone, variant) in DIVERGES:
        with pytest.raises(Diverged):
            train()
        return
    assert math.isfinite(train().loss)
    after = dict(graft.model.named_parameters())
    still = [name for name, value in before.items() if value.requires_grad and after[name].grad is None]
    assert still == [], "parameters that nothing trains"
    assert any(not torch.equal(before[name], after[name]) for name in before)
    with torch.no_grad():
        evaluated = graft.model.eval()(batch(shape))
    assert evaluated.logits.shape == (4, 10) and evaluated.logits.isfinite().all()
    assert evaluated.reconstructions == [] and evaluated.auxiliary_logits == []


@pytest.mark.parametrize(("backbone", "variant"), pairs())
def test_costs_are_those_of_both_passes(backbone: str, variant: str) -> None:
    """Counted without the shortcuts that make a plan fast."""
    try:
        graft = assemble_network(cell(backbone, variant), smallest(backbone), 10, streams=None)
    except UserError as refusal:
        pytest.skip(f"refused: {refusal}")
    counted = []
    for training in (True, False):
        images = torch.empty(2, *smallest(backbone), device="meta")
        with torch.no_grad(), torch.device("meta"), FlopCounterMode(display=False) as counter:
            graft.model.train(training)(images)
        counted.append(counter.get_total_flops() // 4)
    assert [
        count_network_costs(graft, smallest(backbone)).macs,
        count_network_costs(graft, smallest(backbone)).inference_macs,
    ] == counted


@pytest.mark.parametrize(("backbone", "variant"), pairs())
def test_variant_starts_equal_to_its_baseline(backbone: str, variant: str) -> None:
    if grafting.restarts_parameters(variant):
        pytest.skip("starts elsewhere by declaration")
    started = grafted(backbone, variant).model.state_dict()
    baseline = grafted(backbone, BASELINE).model.state_dict()
    started = {name.removeprefix("backbone."): value for name, value in started.items()}
    kept = baseline.keys() & started.keys()
    assert kept, "a variant keeps its baseline's names, bare or under `backbone.`"
    assert all(torch.equal(baseline[name], started[name]) for name in kept)


@pytest.mark.parametrize("name", list_components("dataset"))
def test_dataset_facts_agree_with_its_sources(name: str, tmp_path: Path) -> None:
    module = load_component("dataset", name)
    try:
        facts: DatasetInfo = module.facts(tmp_path)
    except UserError as refusal:
        assert name in str(refusal)
        return
    assert 0 < facts.validation < facts.train_examples
    assert len(facts.class_names) in {0, facts.classes}
    for moments in (facts.mean, facts.std):
        assert moments is None or len(moments) == facts.shape[0]
    if facts.missing:
        assert str(tmp_path) in facts.missing
        for part in ("train", "test"):
            with pytest.raises(UserError, match=name):
                module.source(tmp_path, part)
        return
    for part, count in (("train", facts.train_examples), ("test", facts.test_examples)):
        source: ImageSource = module.source(tmp_path, part)
        assert source.shape == facts.shape and part in source.origin and all(file.is_file() for file in source.files)
        assert source.labels.shape == (count,) and source.labels.dtype == np.int64
        assert np.unique(source.labels).tolist() == list(range(facts.classes))
        for row in (0, count - 1):
            image = source.decode(row)
            assert image.dtype == np.uint8 and image.shape == facts.shape and source.name(row)
