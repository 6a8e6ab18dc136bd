"""Trials from name to record, on a dataset of 48 images and a backbone of a few hundred weights."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import parquet
from torch import Tensor, nn

from suite.core import records, registry, specs
from suite.core.errors import UserError
from suite.core.recipes import Selection
from suite.core.records import Epoch, Record
from suite.core.run_context import RunContext
from suite.core.settings import Setting
from suite.core.specs import Cell, Component, Streams, Trial, freeze_settings
from suite.data.dataset import Dataset
from suite.data.source import Arrays, DatasetInfo
from suite.layers.model import Backbone, ConvUnit, Graft, ModelOutput, Stage
from suite.models.assembly import assemble_network
from suite.training import trial_data
from suite.training.outcome import best_epoch, partial_record
from suite.training.predictions import keeps_probabilities
from suite.trial import TrialRun, main, run_trial, trial_events

SHAPE, CLASSES = (1, 8, 8), 6


# -- stand-ins, registered by name


def tiny_facts(root: Path, **_: Any) -> DatasetInfo:
    return DatasetInfo(
        title="tiny", classes=CLASSES, shape=SHAPE, train_examples=48, test_examples=20, validation=12,
        mean=None, std=None, licence="none", source="random",
    )  # fmt: skip


class TinyData(SimpleNamespace):
    """Notes what is read."""

    def __init__(self) -> None:
        super().__init__(SETTINGS={}, facts=tiny_facts, reads=[])

    def source(self, root: Path, part: str) -> Arrays:
        if part not in self.reads:
            self.reads.append(part)
        rng = np.random.default_rng(len(part))
        count = 48 if part == "train" else 20
        images = rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8)
        return Arrays(f"tiny {part}", SHAPE, (), lambda: (images, np.arange(count) % CLASSES))


def build_tiny(shape: tuple[int, int, int], classes: int, *, width: int) -> Backbone:
    unit = ConvUnit(nn.Conv2d(shape[0], width, 3, padding=1), nn.BatchNorm2d(width))
    stage = Stage(nn.Sequential(unit), nn.MaxPool2d(2), in_channels=shape[0], out_channels=width)
    head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(width * (shape[1] // 2) * (shape[2] // 2), classes))
    return Backbone([stage], head)


class Decoded(nn.Module):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = nn.ConvTranspose2d(4, 1, 2, stride=2)

    def forward(self, images: Tensor) -> ModelOutput:
        inputs = self.backbone.prepare(images)
        features = self.backbone.features(inputs)
        output = ModelOutput(self.backbone.head(features), inputs=inputs)
        if self.training:
            output.reconstructions = [self.decoder(features)]
        return output


def apply_decoded(backbone: Backbone, **settings: Any) -> Graft:
    weight = settings["lambda"]
    return Graft(Decoded(backbone), lambda out: weight * (out.reconstructions[0] - out.inputs).square().mean())


def apply_poison(backbone: Backbone, *, calls: int) -> Graft:
    left = iter(range(calls))
    return Graft(backbone, lambda out: out.logits.mean() * (1.0 if next(left, None) is not None else float("nan")))


def apply_broken(backbone: Backbone) -> Graft:
    def explode(_: ModelOutput) -> Tensor:
        raise IndexError("nothing there")

    return Graft(backbone, explode)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyData]:
    dataset = TinyData()
    stand_ins = {
        ("dataset", "tiny"): dataset,
        ("backbone", "tiny"): SimpleNamespace(SETTINGS={"width": Setting(4, "", low=1)}, build=build_tiny),
        ("variant", "plain"): SimpleNamespace(SETTINGS={}, apply=lambda backbone: Graft(backbone)),
        ("variant", "decoded"): SimpleNamespace(SETTINGS={"lambda": Setting(0.5, "", low=0)}, apply=apply_decoded),
        ("variant", "poison"): SimpleNamespace(SETTINGS={"calls": Setting(0, "")}, apply=apply_poison),
        ("variant", "broken"): SimpleNamespace(SETTINGS={}, apply=apply_broken),
    }
    real = registry.load_component
    monkeypatch.setattr(registry, "load_component", lambda kind, name: stand_ins.get((kind, name)) or real(kind, name))
    threads = torch.get_num_threads()
    yield dataset
    torch.set_num_threads(threads)


def cell(variant: str = "plain", **settings: Any) -> Cell:
    return Cell(Component("tiny"), Component("tiny"), Component(variant, freeze_settings(settings)))


def trial(variant: str = "plain", stage: specs.Stage = "confirm", epochs: int = 4, **options: Any) -> Trial:
    settings, recipe = options.pop("settings", {}), options.pop("recipe", {})
    recipe = Component("sire", freeze_settings({"batch": 8, "lr": 0.05, **recipe}))
    return Trial(
        cell=cell(variant, **settings),
        recipe=recipe,
        stage=stage,
        seed=options.pop("seed", 0),
        epochs=epochs,
        **options,
    )


def make_context(directory: Path | None = None, **options: Any) -> RunContext:
    return RunContext(Path("nowhere"), directory, device="cpu", threads=1, **options)


def timeless(record: Record) -> dict[str, Any]:
    """What must be equal between two runs: everything but clocks and memory."""
    clocks = {"train_seconds", "seconds_per_epoch", "images_per_second", "peak_memory_mib"}
    row = {name: value for name, value in dataclasses.asdict(record).items() if name not in clocks}
    row["history"] = [{**epoch, "train_seconds": 0} for epoch in row["history"]]
    return row


# -- from name to record


def test_a_confirm_trial_leaves_a_full_record(tmp_path: Path, tiny: TinyData) -> None:
    record = run_trial(trial(), context=make_context(tmp_path))
    assert record.status == "completed" and record.is_finite()
    assert (record.epochs_run, record.train_examples, record.validation_examples, record.test_examples) == (
        4,
        36,
        12,
        20,
    )
    assert record.test_reads == 1 and tiny.reads == ["train", "test"]
    assert record.parameters == 40 + 8 + 64 * 6 + 6
    assert record.macs == record.inference_macs == 4 * 9 * 64 + 64 * 6
    assert (record.device_kind, record.batch, record.precision, record.memory_format) == (
        "cpu",
        8,
        "float32",
        "contiguous",
    )
    assert record.host and record.versions.startswith("python ") and record.threads == 1
    assert record.images_per_second == pytest.approx(36 * 4 / record.train_seconds)  # type: ignore[operator]
    assert records.read_record(tmp_path / "record.json") == record
    left = {"trial.json", "conditions.json", "test_reads", "best.pt", "predictions.parquet", "record.json"}
    assert {path.name for path in tmp_path.iterdir()} == left
    assert Trial.from_dict(json.loads((tmp_path / "trial.json").read_text())) == trial()


def test_predictions_agree_with_the_record(tmp_path: Path) -> None:
    record = run_trial(trial(), context=make_context(tmp_path))
    table = parquet.read_table(tmp_path / "predictions.parquet")
    kinds = ["int32", "int32", "int32", "float", f"fixed_size_list<element: halffloat>[{CLASSES}]"]
    assert [str(kind) for kind in table.schema.types] == kinds
    columns = table.to_pydict()
    likeliest = [max(range(CLASSES), key=row.__getitem__) for row in columns["probabilities"]]
    assert likeliest == columns["prediction"]
    assert all(sum(row) == pytest.approx(1, abs=2e-3) for row in columns["probabilities"])
    assert columns["index"] == list(range(20)) and columns["label"] == [i % CLASSES for i in range(20)]
    wrong = sum(a != b for a, b in zip(columns["label"], columns["prediction"], strict=True))
    assert record.test_top1_error == pytest.approx(wrong / 20)
    assert all(0 < value <= 1 for value in columns["confidence"])


def test_probabilities_are_kept_as_the_study_says(tmp_path: Path) -> None:
    run_trial(trial(epochs=1), context=make_context(tmp_path, probabilities="none"))
    assert parquet.read_schema(tmp_path / "predictions.parquet").names == ["index", "label", "prediction", "confidence"]
    assert keeps_probabilities("auto", 10_000, 1000) and not keeps_probabilities("auto", 10_001, 1000)
    assert keeps_probabilities("all", 50_000, 1000) and not keeps_probabilities("none", 1, 2)


def test_ten_crops_are_tested_in_the_one_read(tmp_path: Path) -> None:
    crop = {"random_resized_crop": 6}
    plain = run_trial(trial(epochs=2, recipe=crop), context=make_context(tmp_path / "one"))
    crops = run_trial(trial(epochs=2, recipe={**crop, "test_crops": 10}), context=make_context(tmp_path / "ten"))
    assert (crops.test_reads, crops.test_loss, crops.test_top1_error) == (1, plain.test_loss, plain.test_top1_error)
    assert plain.multi_crop_top1_error is None and crops.multi_crop_top1_error is not None
    assert crops.multi_crop_top5_error is not None
    assert crops.multi_crop_top5_error <= crops.multi_crop_top1_error <= 1
    searched = run_trial(trial(stage="search", epochs=1, recipe={**crop, "test_crops": 10}), context=make_context())
    assert searched.multi_crop_top1_error is None and searched.test_reads == 0
    refused = run_trial(trial(recipe={"random_resized_crop": 8, "test_crops": 10}), context=make_context())
    assert "images of 8 pixels have one crop of 8" in refused.reason


def test_the_test_part_is_read_with_the_best_epochs_weights(tmp_path: Path) -> None:
    weights = {}
    run = TrialRun(trial(), make_context(tmp_path))
    while not run.done:
        number = run.run_epoch().epoch
        weights[number] = {name: value.clone() for name, value in run._graft.model.state_dict().items()}
    record = run.finish()
    assert record.best_epoch == best_epoch(record.history, "validation_error").epoch
    kept = torch.load(tmp_path / "best.pt", weights_only=True)
    assert kept["epoch"] == record.best_epoch
    for name, value in weights[kept["epoch"]].items():
        assert torch.equal(kept["model"][name], value)
        assert torch.equal(run._graft.model.state_dict()[name], value)


def test_without_a_directory_the_record_is_the_same_and_nothing_is_written(tmp_path: Path) -> None:
    with_directory = run_trial(trial(), context=make_context(tmp_path))
    assert timeless(run_trial(trial(), context=make_context())) == timeless(with_directory)
    assert not Path("nowhere").exists()


CURVE = {"test_curve_loss", "test_curve_top1_error", "test_curve_top5_error"}


@pytest.mark.parametrize("folder", [True, False])
def test_a_test_curve_is_drawn_after_training_from_each_epochs_weights(folder: bool, tmp_path: Path) -> None:
    plain = run_trial(trial(), context=make_context())
    told: list[Epoch] = []
    drawn = run_trial(
        trial(recipe={"test_curve": True}),
        lambda epoch: not told.append(epoch),
        context=make_context(tmp_path if folder else None),
    )
    assert all(not CURVE & set(epoch.scalars) for epoch in told), "nobody sees it while the trial runs"
    assert all(set(epoch.scalars) >= CURVE for epoch in drawn.history) and (
        drawn.test_reads,
        drawn.test_curve_reads,
    ) == (1, 4)
    assert len({epoch.scalars["test_curve_loss"] for epoch in drawn.history}) == 4
    best = drawn.history[(drawn.best_epoch or 0) - 1].scalars
    assert best["test_curve_loss"] == drawn.test_loss and best["test_curve_top1_error"] == drawn.test_top1_error
    assert not list(tmp_path.glob("epoch-*.pt")), "a finished trial needs them no more"
    same = {"best_epoch", "test_loss", "test_top1_error", "validation_loss"}
    assert {name: getattr(drawn, name) for name in same} == {name: getattr(plain, name) for name in same}


def test_a_search_trial_draws_no_test_curve(tmp_path: Path) -> None:
    record = run_trial(trial(stage="search", recipe={"test_curve": True}), context=make_context(tmp_path))
    assert record.test_reads == 0 and not any(CURVE & set(epoch.scalars) for epoch in record.history)
    assert not list(tmp_path.glob("epoch-*.pt"))


def test_keep_none_leaves_no_weights(tmp_path: Path) -> None:
    run_trial(trial(), context=make_context(tmp_path, keep="none"))
    assert not list(tmp_path.glob("*.pt"))


def test_a_finished_trial_is_not_trained_again(tmp_path: Path) -> None:
    first = run_trial(trial(), context=make_context(tmp_path))
    told: list[Epoch] = []
    again = run_trial(trial(), lambda epoch: not told.append(epoch), context=make_context(tmp_path))
    assert again == first and not told
    assert run_trial(trial(), lambda _: False, context=make_context(tmp_path)) == first  # too late to stop it
    assert list(trial_events(trial(), make_context(tmp_path))) == [*first.history, first]


def test_a_folder_belongs_to_one_trial(tmp_path: Path) -> None:
    first = run_trial(trial(), context=make_context(tmp_path))
    with pytest.raises(UserError, match="holds the trial"):
        run_trial(trial(seed=1), context=make_context(tmp_path))
    assert records.read_record(tmp_path / "record.json") == first


def test_a_budget_of_no_epochs_is_trained_not_at_all(tmp_path: Path) -> None:
    record = run_trial(trial("plain", "search", epochs=0), context=make_context(tmp_path))
    assert (record.status, record.epochs_run, record.best_epoch, record.validation_loss) == ("completed", 0, None, None)


# -- interrupted and resumed


class Killed(BaseException):
    pass


def interrupted(doomed: Trial, directory: Path, after: int) -> None:
    def kill(epoch: Epoch) -> bool:
        if epoch.epoch == after:
            raise Killed
        return True

    with pytest.raises(Killed):
        run_trial(doomed, kill, context=make_context(directory))


@pytest.mark.parametrize(
    ("variant", "options"),
    [
        ("plain", {}),
        ("decoded", {"precision": "bf16", "channels_last": True, "micro_batch": 4}),
        ("plain", {"recipe": {"optimizer": "adam", "lr": 0.01}}),
        ("plain", {"recipe": {"test_curve": True}}),
    ],
)
def test_interrupted_and_resumed_equals_straight_through_to_the_bit(
    variant: str, options: dict[str, Any], tmp_path: Path
) -> None:
    straight = run_trial(trial(variant, **options), context=make_context(tmp_path / "a"))
    for after in (1, 3):
        directory = tmp_path / str(after)
        interrupted(trial(variant, **options), directory, after)
        torch.manual_seed(after)  # another process would have drawn other numbers
        told: list[int] = []

        def note(epoch: Epoch, told: list[int] = told) -> bool:
            told.append(epoch.epoch)
            return True

        resumed = run_trial(trial(variant, **options), note, context=make_context(directory))
        assert told == [1, 2, 3, 4]
        assert timeless(resumed) == timeless(straight)
        a, b = (parquet.read_table(folder / "predictions.parquet") for folder in (tmp_path / "a", directory))
        assert a.equals(b)
        old, new = (torch.load(folder / "best.pt", weights_only=True) for folder in (tmp_path / "a", directory))
        assert old["epoch"] == new["epoch"]
        assert all(torch.equal(old["model"][name], new["model"][name]) for name in old["model"])


def test_events_replay_the_restored_epochs(tmp_path: Path) -> None:
    interrupted(trial(), tmp_path, 2)
    assert TrialRun(trial(), make_context(tmp_path)).resumed_epochs == 2
    *epochs, record = trial_events(trial(), make_context(tmp_path))
    assert isinstance(record, Record) and tuple(epochs) == record.history


@pytest.mark.parametrize("name", ["last.pt", "best.pt", "trial.json"])
def test_a_torn_file_means_starting_over(name: str, tmp_path: Path) -> None:
    straight = run_trial(trial(), context=make_context())
    interrupted(trial(), tmp_path, 2)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:50])
    if name.endswith(".pt"):
        assert TrialRun(trial(), make_context(tmp_path)).resumed_epochs == 0
    assert timeless(run_trial(trial(), context=make_context(tmp_path))) == timeless(straight)


def test_killed_between_best_and_last_repeats_the_epoch(tmp_path: Path) -> None:
    straight = run_trial(trial(), context=make_context())
    interrupted(trial(), tmp_path, 1)
    last = (tmp_path / "last.pt").read_bytes()
    run = TrialRun(trial(), make_context(tmp_path))
    run.run_epoch()
    (tmp_path / "last.pt").write_bytes(last)
    assert timeless(run_trial(trial(), context=make_context(tmp_path))) == timeless(straight)


# -- other ends


def test_a_stopped_trial_says_so_and_stays_stopped(tmp_path: Path) -> None:
    doomed = trial(stage="search")
    record = run_trial(doomed, lambda epoch: epoch.epoch < 2, context=make_context(tmp_path))
    assert (record.status, record.epochs_run, record.test_reads) == ("stopped", 2, 0)
    assert record.validation_top1_error is not None and record.test_loss is None
    assert run_trial(doomed, context=make_context(tmp_path)) == record
    assert not (tmp_path / "last.pt").exists()


def test_a_no_after_the_last_epoch_changes_nothing() -> None:
    assert run_trial(trial(epochs=1), lambda _: False, context=make_context()).status == "completed"


@pytest.mark.parametrize("stage", ["search", "confirm"])
def test_divergence_is_a_result(stage: specs.Stage, tmp_path: Path, tiny: TinyData) -> None:
    doomed = trial("poison", stage, settings={"calls": 12})  # 5 batches per epoch: the third epoch breaks
    record = run_trial(doomed, context=make_context(tmp_path))
    assert (record.status, record.reason, record.epochs_run) == ("diverged", "training loss nan in epoch 3", 2)
    assert record.is_finite() and record.test_reads == 0 and tiny.reads == ["train"]
    assert run_trial(doomed, context=make_context(tmp_path)) == record


def test_divergence_in_the_first_epoch_has_no_best() -> None:
    record = run_trial(trial("poison"), context=make_context())
    assert (record.status, record.best_epoch, record.validation_loss, record.train_examples) == (
        "diverged",
        None,
        None,
        36,
    )


def test_a_failure_is_a_record_and_runs_again(tmp_path: Path) -> None:
    record = run_trial(trial("broken"), context=make_context(tmp_path))
    assert (record.status, record.reason) == ("failed", "IndexError: nothing there")
    assert records.read_record(tmp_path / "record.json") == record
    told: list[Epoch] = []
    registry.load_component("variant", "broken").apply = lambda backbone: Graft(backbone)
    assert (
        run_trial(trial("broken"), lambda e: not told.append(e), context=make_context(tmp_path)).status == "completed"
    )
    assert len(told) == 4


def test_a_failure_late_resumes(tmp_path: Path) -> None:
    straight = run_trial(trial(), context=make_context())
    interrupted(trial(), tmp_path, 3)
    records.write_record(partial_record(trial(), "failed", "lost"), tmp_path / "record.json")
    assert TrialRun(trial(), make_context(tmp_path)).resumed_epochs == 3
    assert timeless(run_trial(trial(), context=make_context(tmp_path))) == timeless(straight)


def test_what_cant_be_served_is_a_failure_with_its_sentence() -> None:
    wrong = dataclasses.replace(trial(), hyperparameters=freeze_settings({"sire.lambda": 1.0}))
    record = run_trial(wrong, context=make_context())
    assert record.status == "failed" and record.reason.startswith("UserError: sire.lambda: the cell's variant is plain")


# -- what a variant hooks in


@pytest.fixture
def hooks(tiny: TinyData) -> list[tuple[str, int]]:
    """Calls of a variant's `initialise`, with the batch's size, and of `after_step`."""
    calls: list[tuple[str, int]] = []

    def apply_hooked(backbone: Backbone) -> Graft:
        return Graft(
            backbone,
            initialise=lambda images: calls.append(("initialise", len(images))),
            after_step=lambda: calls.append(("after_step", 0)),
        )

    registry.load_component("variant", "plain").apply = apply_hooked
    return calls


def test_initialise_is_called_once_on_the_first_batch_and_after_step_after_every_step(
    hooks: list[tuple[str, int]],
) -> None:
    assert run_trial(trial(epochs=2), context=make_context()).status == "completed"
    assert hooks == [("initialise", 8)] + [("after_step", 0)] * 10  # 36 images in batches of 8, twice


def test_initialise_sees_the_whole_batch_of_micro_batches(hooks: list[tuple[str, int]]) -> None:
    run_trial(trial(epochs=1, micro_batch=2), context=make_context())
    assert hooks == [("initialise", 8)] + [("after_step", 0)] * 5, "one step per batch"


@pytest.mark.parametrize("after", [1, 2])
def test_a_resumed_trial_is_not_initialised_again(hooks: list[tuple[str, int]], tmp_path: Path, after: int) -> None:
    interrupted(trial(epochs=3), tmp_path, after)
    assert hooks == [("initialise", 8)] + [("after_step", 0)] * 5 * after
    run_trial(trial(epochs=3), context=make_context(tmp_path))
    assert hooks == [("initialise", 8)] + [("after_step", 0)] * 15


def test_a_trial_that_was_killed_in_its_first_epoch_is_initialised_anew(
    hooks: list[tuple[str, int]], tmp_path: Path
) -> None:
    TrialRun(trial(epochs=1), make_context(tmp_path))
    assert hooks == [], "building draws no batch"
    run_trial(trial(epochs=1), context=make_context(tmp_path))
    assert hooks[0] == ("initialise", 8) and len(hooks) == 6


def test_initial_weights_are_what_the_first_step_trains(hooks: list[tuple[str, int]]) -> None:
    """Set to zero, all classes are alike: the first batch's loss is that of a guess."""

    def apply_zeroed(backbone: Backbone) -> Graft:
        head = backbone.head[-1]  # type: ignore[index]

        def zero(images: Tensor) -> None:
            for parameter in head.parameters():
                nn.init.zeros_(parameter)

        return Graft(backbone, initialise=zero)

    registry.load_component("variant", "plain").apply = apply_zeroed
    record = run_trial(trial("plain", "search", epochs=1, recipe={"batch": 36}), context=make_context())
    assert record.history[0].train_loss == pytest.approx(np.log(CLASSES), rel=1e-5)


def test_a_changed_recipe_is_what_is_trained_and_recorded() -> None:
    """What `training` and `no_augmentation` set stands among the hyperparameters."""
    changed = freeze_settings({"augment": False, "batch": 12, "lr": 0.01, "schedule": "constant"})
    record = run_trial(trial(hyperparameters=changed), context=make_context())
    assert record.status == "completed" and record.batch == 12
    assert {epoch.learning_rate for epoch in record.history} == {0.01}
    assert record.hyperparameters == "augment=False, batch=12, lr=0.01, schedule=constant"


def test_ctrl_c_gets_through() -> None:
    def interrupt(_: Epoch) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(trial(), interrupt, context=make_context())


def test_a_partial_record_needs_no_run() -> None:
    full = run_trial(trial(stage="search"), context=make_context())
    partial = partial_record(trial(stage="search"), "stopped", "by ASHA", full.history[:2])
    assert (partial.status, partial.reason, partial.epochs_run) == ("stopped", "by ASHA", 2)
    assert partial.best_epoch == best_epoch(full.history[:2], "validation_error").epoch
    assert partial_record(trial(), "skipped", "refused").best_epoch is None


# -- fairness


def test_search_cant_read_the_test_part(tiny: TinyData) -> None:
    with pytest.raises(PermissionError, match="search trial may not read the test part"):
        trial_data.load_test(trial(stage="search"), Dataset(Component("tiny"), Path()), "device", torch.device("cpu"))
    record = run_trial(trial(stage="search"), context=make_context())
    assert record.status == "completed" and record.test_reads == 0 and record.test_loss is None
    assert tiny.reads == ["train"]


INTERRUPTED_AT = {"the read": "suite.core.records.write_record", "the record": "suite.trial.note_test_report"}


@pytest.mark.parametrize("after", INTERRUPTED_AT)
def test_a_read_that_left_no_result_is_no_look(
    after: str, tmp_path: Path, tiny: TinyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(INTERRUPTED_AT[after], kill)
        run_trial(trial(), context=make_context(tmp_path))
    record = run_trial(trial(), context=make_context(tmp_path))
    attempts = {"the read": 2, "the record": 1}[after]
    assert (record.status, record.test_reads, record.test_attempts) == ("completed", 1, attempts)


def test_a_second_result_of_the_test_part_counts_twice(tmp_path: Path, tiny: TinyData) -> None:
    run_trial(trial(), context=make_context(tmp_path))
    (tmp_path / "record.json").unlink()
    record = run_trial(trial(), context=make_context(tmp_path))
    assert (record.test_reads, record.test_attempts) == (2, 2)


def test_reads_of_an_older_version_all_count(tmp_path: Path, tiny: TinyData) -> None:
    (tmp_path / "test_reads").write_text("read\n")
    record = run_trial(trial(), context=make_context(tmp_path))
    assert (record.test_reads, record.test_attempts) == (2, 2)


def test_failures_are_counted(tmp_path: Path, tiny: TinyData, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("suite.trial.train_epoch", fail)
        counts = [run_trial(trial(stage="search"), context=make_context(tmp_path)) for _ in range(3)]
    assert [(record.status, record.failures, record.is_final) for record in counts] == [
        ("failed", 1, False),
        ("failed", 2, True),
        ("failed", 3, True),
    ]
    record = run_trial(trial(stage="search"), context=make_context(tmp_path))
    assert (record.status, record.failures) == ("completed", 0)


def fail(*_: Any, **__: Any) -> None:
    raise RuntimeError("no such layer")


def test_lambda_zero_trains_encoder_and_classifier_to_the_baselines_values(tmp_path: Path) -> None:
    baseline = run_trial(trial("plain"), context=make_context(tmp_path / "a"))
    hyperparameters = freeze_settings({"decoded.lambda": 0.0})
    grafted = run_trial(trial("decoded", hyperparameters=hyperparameters), context=make_context(tmp_path / "b"))
    assert grafted.test_loss == baseline.test_loss
    for one, other in zip(baseline.history, grafted.history, strict=True):
        assert one.validation_loss == other.validation_loss
    old, new = (torch.load(tmp_path / name / "best.pt", weights_only=True)["model"] for name in "ab")
    assert all(torch.equal(value, new[f"backbone.{name}"]) for name, value in old.items())


def test_lambda_zero_of_sire_is_the_baseline(tmp_path: Path) -> None:
    body = Component("base_cnn", freeze_settings({"width": 0.125}))
    recipe = Component("sire", freeze_settings({"train_limit": 128}))
    results = []
    for variant in (Component("baseline"), Component("sire", freeze_settings({"components": "I", "lambda": 0.0}))):
        named = Trial(cell=Cell(Component("digits"), body, variant), recipe=recipe, stage="confirm", seed=0, epochs=2)
        results.append((run_trial(named, context=make_context(tmp_path / variant.name)), tmp_path / variant.name))
    (baseline, old), (sire, new) = results
    assert sire.test_loss == baseline.test_loss is not None
    for one, other in zip(baseline.history, sire.history, strict=True):
        same: dict[str, Any] = {"train_seconds": 0.0, "scalars": {}}
        assert dataclasses.replace(one, **same) == dataclasses.replace(other, **same)
    assert parquet.read_table(old / "predictions.parquet").equals(parquet.read_table(new / "predictions.parquet"))
    kept, grafted = (torch.load(folder / "best.pt", weights_only=True)["model"] for folder in (old, new))
    assert all(torch.equal(value, grafted[f"backbone.{name}"]) for name, value in kept.items())


def test_init_of_what_a_variant_keeps_equals_its_baselines() -> None:
    streams = Streams("confirm", 5)
    state = torch.get_rng_state()
    plain = assemble_network(cell("plain"), SHAPE, CLASSES, streams=streams).model.state_dict()
    decoded: Any = assemble_network(cell("decoded"), SHAPE, CLASSES, streams=streams).model
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, decoded.backbone.state_dict()[name]) for name, value in plain.items())
    again: Any = assemble_network(cell("decoded"), SHAPE, CLASSES, streams=streams).model
    assert torch.equal(decoded.decoder.weight, again.decoder.weight)
    other = assemble_network(cell("plain"), SHAPE, CLASSES, streams=Streams("search", 5)).model.state_dict()
    assert not torch.equal(plain["head.2.weight"], other["head.2.weight"])


def test_planning_builds_on_the_meta_device() -> None:
    model = assemble_network(cell("decoded"), SHAPE, CLASSES, streams=None).model
    assert all(parameter.is_meta for parameter in model.parameters())


def test_cells_of_a_seed_share_split_and_order_and_resplit_changes_both_alike(tiny: TinyData) -> None:
    splits = {}
    for resplit in (False, True):
        for variant in ("plain", "decoded"):
            for seed in (0, 1):
                short = trial(variant, "search", epochs=1, seed=seed, resplit=resplit)
                splits[resplit, variant, seed] = run_trial(short, context=make_context()).split
    assert len({splits[False, variant, seed] for variant in ("plain", "decoded") for seed in (0, 1)}) == 1
    assert splits[True, "plain", 0] == splits[True, "decoded", 0] != splits[True, "plain", 1]
    assert splits[True, "plain", 1] == splits[True, "decoded", 1]


def test_train_limit_takes_the_first_of_the_training_part(tiny: TinyData) -> None:
    whole = TrialRun(trial(), make_context())._data
    limited = TrialRun(trial(recipe={"train_limit": 16, "validation": 6}), make_context())
    assert len(limited._data.train) == 16 and len(limited._data.validation) == 6
    same_split = TrialRun(trial(recipe={"train_limit": 16}), make_context())._data
    assert torch.equal(same_split.train.index, whole.train.index[:16])
    assert torch.equal(same_split.validation.index, whole.validation.index)


def epoch(number: int, **figures: float) -> Epoch:
    values = {
        "learning_rate": 0.1, "train_loss": 1.0, "train_top1_error": 0.5, "validation_loss": 1.0,
        "validation_top1_error": 0.5, "validation_top5_error": 0.1, "train_seconds": 1.0,
    }  # fmt: skip
    return Epoch(epoch=number, **{**values, **figures})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("selection", "best"),
    [("validation_error", 2), ("validation_top5", 3), ("validation_loss", 4), ("train_error", 1), ("last", 4)],
)
def test_the_best_epoch_is_the_earliest_of_the_lowest(selection: Selection, best: int) -> None:
    history = [
        epoch(1, train_top1_error=0.1),
        epoch(2, validation_top1_error=0.2, train_top1_error=0.1),
        epoch(3, validation_top1_error=0.2, validation_top5_error=0.0),
        epoch(4, validation_loss=0.3, validation_top5_error=0.0),
    ]
    assert best_epoch(history, selection).epoch == best


# -- the command, and what it imports


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120)


def test_the_command_runs_a_trial(tmp_path: Path) -> None:
    small = Cell(Component("digits"), Component("base_cnn", freeze_settings({"width": 0.125})), Component("baseline"))
    recipe = Component("sire_1280", freeze_settings({"train_limit": 64}))
    wanted = Trial(cell=small, recipe=recipe, stage="confirm", seed=0, epochs=2)
    (tmp_path / "t.json").write_text(json.dumps(wanted.to_dict()))
    done = python(
        "-m", "suite.trial", str(tmp_path / "t.json"), "--directory", str(tmp_path / "run"), "--device", "cpu"
    )
    assert done.returncode == 0, done.stderr
    assert "epoch 1: " in done.stdout and "epoch 2: " in done.stdout and "status: completed" in done.stdout
    assert records.read_record(tmp_path / "run" / "record.json").trial_key == wanted.key


def test_the_command_refuses_with_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.json"
    for text in ("{}", "no json", "[1]", '{"cell": 3}'):
        path.write_text(text)
        assert main([str(path)]) == 2
    assert main([str(tmp_path / "absent.json")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5 and all("holds no trial" in line for line in lines)
    path.write_text(json.dumps(dataclasses.replace(trial(), recipe=Component("sirr")).to_dict()))
    assert main([str(path)]) == 2
    assert "did you mean 'sire'" in capsys.readouterr().out
    path.write_text(json.dumps(trial("broken").to_dict()))
    assert main([str(path)]) == 1


def test_a_trial_needs_no_sweep_machinery() -> None:
    larger = {"ray", "mlflow", "optuna", "pydantic", "typer", "pandas", "sklearn"}
    code = f"import sys, suite.trial; sys.exit(str(sorted({larger} & set(sys.modules))))"
    assert python("-c", code).stderr.strip() == "[]"


def test_a_trial_of_another_revision_of_its_network_is_refused(tiny: TinyData) -> None:
    """Else its results would stand under the key of what the network meant before."""
    defined = dataclasses.replace(trial(), revision="skips-of-before")
    assert defined.key != trial().key
    record = run_trial(defined, context=make_context())
    assert record.status == "failed" and "defined for revision skips-of-before" in record.reason
    assert Trial.from_dict(json.loads(json.dumps(defined.to_dict()))) == defined
    assert "revision" not in trial().to_dict()
