"""Components in a folder of one's own (GRAFTBENCH_PLUGINS): the example of docs/write-a-variant.md, and refusals."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from timm.layers import EcaModule

from suite.core import registry
from suite.core.errors import UserError
from suite.core.recipes import Recipe
from suite.core.specs import BASELINE, Cell, Component, Streams
from suite.layers import model, surgery
from suite.models import grafting
from suite.models.assembly import assemble_network
from suite.study.config import Resources, parse_study
from suite.study.plan import make_plan
from suite.sweep import ray_tune
from suite.training.augment import Augmentation
from suite.training.data import Examples, Scaling, TrainingData
from suite.training.execution import Execution
from suite.training.loop import build_optimizer, train_epoch

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "write-a-variant.md").read_text()
SHAPE = (3, 32, 32)

BACKBONE = """
from torch import nn
from suite.layers.model import Backbone, ConvUnit, Stage
SETTINGS = {}
def build(shape, classes):
    unit = ConvUnit(nn.Conv2d(shape[0], 4, 3, padding=1))
    stage = Stage(unit, nn.MaxPool2d(2), in_channels=shape[0], out_channels=4)
    return Backbone([stage], nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)))
"""
DATASET = """
from suite.datasets import synthetic
SETTINGS = {}
def facts(root):
    return synthetic.facts(root, size=8)
def source(root, part):
    return synthetic.source(root, part, size=8)
"""


def block(language: str) -> str:
    """The document's one block of a language."""
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    return str(found)


def write(folder: Path, **files: str) -> Path:
    """`variants_eca="..."` becomes variants/eca.py in the folder."""
    for name, text in files.items():
        room, _, stem = name.partition("_")
        (folder / room).mkdir(parents=True, exist_ok=True)
        (folder / room / f"{stem}.py").write_text(text)
    return folder


@pytest.fixture
def eca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The document's variant, loaded as a plug-in."""
    monkeypatch.setenv(registry.PLUGINS, str(write(tmp_path / "my_plugins", variants_eca=block("python"))))
    return registry.load_component("variant", "eca")


def plan(folder: Path, plugins: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`graftbench plan` of the document's study, by the command itself."""
    (folder / "eca.yaml").write_text(block("yaml"))
    return subprocess.run(
        [sys.executable, "-c", "from suite.cli.main import main; main()", "plan", "eca.yaml"],
        cwd=folder,
        env={
            **os.environ,
            "COLUMNS": "110",
            "GRAFTBENCH_CACHE": str(folder / "cache"),
            **environment,
            registry.PLUGINS: plugins,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# -- the document's example


def test_the_documents_study_plans_as_it_says(tmp_path: Path) -> None:
    write(tmp_path / "my_plugins", variants_eca=block("python"))
    ended = plan(tmp_path, "my_plugins")
    assert (ended.returncode, ended.stderr) == (0, "")
    printed = "\n".join(line.rstrip() for line in ended.stdout.splitlines())
    assert f"```\n{printed}\n```" in DOCUMENT


@pytest.mark.parametrize("backbone", ["base_cnn", "resnet18"])
@pytest.mark.parametrize("variant", ["eca", "sire+eca"])
def test_the_documents_variant_trains_from_its_baselines_start(eca: Any, backbone: str, variant: str) -> None:
    def built(name: str) -> Any:
        narrow = Component(backbone, (("width", 0.125),))
        cell = Cell(Component("synthetic"), narrow, Component(grafting.canonical_name(name)))
        return assemble_network(cell, SHAPE, 10, streams=Streams("search", 0))

    graft, baseline = built(variant), built(BASELINE).model.state_dict()
    started = {name.removeprefix("backbone."): value for name, value in graft.model.state_dict().items()}
    assert baseline.keys() <= started.keys() and any(isinstance(m, eca.ChannelAttention) for m in graft.model.modules())
    assert all(torch.equal(value, started[name]) for name, value in baseline.items())

    images = torch.randint(0, 256, (8, *SHAPE), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    examples = Examples.in_memory(images, torch.arange(8))
    data = TrainingData(examples, examples, Scaling.of((0.5,) * 3, (0.25,) * 3, torch.device("cpu")))
    recipe = Recipe(lr=1e-3, batch=4)
    optimizer = build_optimizer(recipe, graft.model, torch.device("cpu"))
    before = {name: value.clone() for name, value in graft.model.named_parameters()}
    train_epoch(
        graft, optimizer, data, Execution(torch.device("cpu")), Augmentation.of(recipe),
        batch=4, streams=Streams("search", 0), epoch=1, learning_rate=1e-3,
    )  # fmt: skip
    still = [name for name, value in graft.model.named_parameters() if torch.equal(value, before[name])]
    # A bias before a batch norm moves nothing.
    assert [name for name in still if not name.endswith("bias")] == []
    with torch.no_grad():
        assert graft.model.eval()(torch.zeros(2, *SHAPE)).logits.shape == (2, 10)


@pytest.mark.parametrize("channels", [16, 32, 64, 128, 256, 512, 1024, 2048])
def test_the_documents_layer_is_timms(eca: Any, channels: int) -> None:
    torch.manual_seed(0)
    ours, theirs = eca.ChannelAttention(channels, 0), EcaModule(channels)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, channels, 5, 4)
    torch.testing.assert_close(ours(x), theirs(x))


def test_the_documents_words_on_places_hold(eca: Any) -> None:
    assert "3 for 64 channels, 5 for 256" in block("python")
    assert (eca.adaptive_kernel(64), eca.adaptive_kernel(256)) == (3, 5)
    cell = Cell(Component("synthetic"), Component("densenet121"), Component("eca"))
    with pytest.raises(UserError, match=r"^eca: .*names none"):
        assemble_network(cell, SHAPE, 10, streams=None)
    for name in ("ConvUnit", "Residual", "Auxiliary", "PoolingConv2d"):
        assert hasattr(model, name) and f"`{name}`" in DOCUMENT
    for name in ("replace", "residuals", "features", "output_channels", "follow"):
        assert hasattr(surgery, name) and f"`{name}" in DOCUMENT


def test_what_else_a_file_can_say_exists() -> None:
    rows = re.findall(r"^\| `(.+?)` \| .* \| `suite/variants/(\w+)\.py` \|$", DOCUMENT, flags=re.MULTILINE)
    assert len(rows) == 9
    for said, example in rows:
        module = registry.load_component("variant", example)
        text = Path(module.__file__).read_text()
        if said.startswith("Graft("):
            assert re.findall(r"(\w+)=", said)[0] in {*model.Graft._fields}
        elif said.startswith("backbone."):
            assert "backbone.report.append(" in text
        else:
            assert hasattr(module, re.split(r"\W", said)[0]), said


# -- backbones and datasets


def test_plug_in_backbones_and_datasets_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write(tmp_path / "first", backbones_tiny=BACKBONE, variants__helper="raise ValueError")
    second = write(tmp_path / "second", datasets_small=DATASET)
    monkeypatch.setenv(registry.PLUGINS, f"{first}{os.pathsep}{second}")
    assert "tiny" in registry.list_components("backbone") and "small" in registry.list_components("dataset")
    assert "_helper" not in registry.list_components("variant")
    cell = Cell(Component("small"), Component("tiny"), Component("sire"))
    assert registry.load_component("dataset", "small").facts(tmp_path).shape == (3, 8, 8)
    assert assemble_network(cell, (3, 8, 8), 10, streams=None).model is not None
    study = {"study": "s", "datasets": ["small"], "backbones": ["tiny"], "variants": ["baseline", "sire"]}
    assert len(make_plan(parse_study({**study, "recipe": "gradient", "seeds": 3})).cells) == 2


# -- refusals


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (None, "GRAFTBENCH_PLUGINS: plugins is no folder; correct or unset it"),
        ({"variants_sire": "SETTINGS = {}"}, "plugins/variants/sire.py: .* is the variant 'sire' already; .*"),
        ({"variants_eca": "def ("}, "plugins/variants/eca.py: can't be imported: SyntaxError: .*"),
        ({}, r"variants\[1\]: unknown variant 'eca'.*"),
    ],
    ids=["missing folder", "taken name", "syntax", "no file"],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, files: dict[str, str] | None, said: str) -> None:
    if files is not None:
        (tmp_path / "plugins").mkdir()
        write(tmp_path / "plugins", **files)
    ended = plan(tmp_path, "plugins")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(rf"graftbench: (eca\.yaml: |variants\[1\]: )?{said}\n", ended.stderr), ended.stderr


def test_a_plug_in_that_fails_to_import_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, variants_eca="import no_such_thing")
    monkeypatch.setenv(registry.PLUGINS, str(folder))
    for _ in range(2):  # half a module must not stay behind
        with pytest.raises(
            UserError, match=r"variants/eca\.py: can't be imported: ModuleNotFoundError: .*no_such_thing"
        ):
            registry.load_component("variant", "eca")


def test_a_plug_in_without_its_parts_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, variants_eca="def apply(backbone): ...", backbones_mine="SETTINGS = {}")
    monkeypatch.setenv(registry.PLUGINS, str(folder))
    with pytest.raises(UserError, match=r"variants/eca\.py: defines no SETTINGS; docs/write-a-variant\.md shows"):
        registry.load_component("variant", "eca")
    with pytest.raises(UserError, match=r"backbones/mine\.py: defines no build;"):
        registry.load_component("backbone", "mine")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return None", "apply must return a suite.layers.model.Graft, not NoneType"),
        ("return backbone", "apply must return a suite.layers.model.Graft, not PaddedBackbone"),
        ("return 1 / 0", "apply fails: ZeroDivisionError: division by zero"),
    ],
)
def test_a_plug_in_whose_apply_is_wrong_is_refused(
    body: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path, variants_eca=f"SETTINGS = {{}}\n\ndef apply(backbone):\n    {body}\n")
    monkeypatch.setenv(registry.PLUGINS, str(folder))
    with pytest.raises(UserError, match=rf"variants/eca\.py: {re.escape(said)}"):
        assemble_network(
            Cell(Component("digits"), Component("base_cnn"), Component("eca")), (1, 16, 16), 10, streams=None
        )


def test_a_plug_ins_settings_must_be_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, variants_eca="SETTINGS = {'a': 3}\n\ndef apply(backbone, a): ...")
    monkeypatch.setenv(registry.PLUGINS, str(folder))
    with pytest.raises(UserError, match=r"SETTINGS\['a'\] must be a suite\.core\.settings\.Setting, not 3"):
        registry.load_component("variant", "eca")


# -- Ray


@pytest.mark.parametrize("address", [None, "127.0.0.1:1"])
def test_workers_of_ray_get_absolute_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    """A Ray that is started here inherits the environment; one that runs already is told."""
    seen: dict[str, Any] = {}

    def init(**options: Any) -> None:
        seen.update(options, inherited=os.environ[registry.PLUGINS])

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray_tune, "_QUIET", {})
    for name in (ray_tune._NO_MONITOR, ray_tune._PRELOAD):
        monkeypatch.setenv(name, "")  # so that they are undone
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(registry.PLUGINS, os.pathsep.join(["mine", "/elsewhere"]))
    ray_tune.connect_ray(address, Resources())
    told = seen["runtime_env"]["env_vars"][registry.PLUGINS] if address else seen["inherited"]
    assert told.split(os.pathsep) == [str(tmp_path / "mine"), "/elsewhere"]
