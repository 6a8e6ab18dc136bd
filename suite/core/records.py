"""What a trial leaves: the only definition of the results schema. Standard library only.

Errors are fractions 0-1 here and in every file; pages for people show percent.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from suite import __version__
from suite.core.files import write_text
from suite.core.specs import Trial, format_settings

# Of record.json, a study's folder and experiment, and a folder of collected records. Those without one have 1;
# 2 added `graftbench_version`.
SCHEMA = 2
# Tags of a study's experiment in MLflow.
STUDY_TAG = "graftbench.study"  # what analysis needs to know of the study
SCHEMA_TAG = "graftbench.schema"  # an experiment without it has 1
VERSION_TAG = "graftbench.version"  # of the Graftbench that wrote to it last

Status = Literal["completed", "stopped", "diverged", "failed", "skipped"]
STATUSES: dict[str, str] = {
    "completed": "ran its whole budget",
    "stopped": "stopped early by ASHA (search only)",
    "diverged": "its loss became NaN or infinite: a result, not a crash",
    "failed": "ended with an error; run again by the next `graftbench run`, unless it is a search trial's second",
    "skipped": "never ran: refused, or nothing to run with; `reason` says which",
}
TEST_CURVE = "test_curve_"  # begins the scalars of an epoch's test figures; nothing chooses or ranks by them
FINISHED: frozenset[str] = frozenset({"completed", "stopped", "diverged"})  # never trained again
SEARCH_ATTEMPTS = 2  # of a search trial that fails; then its cell's search goes on without it


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One epoch of training. Losses are means per image; errors are fractions 0-1; `epoch` counts from 1."""

    epoch: int
    learning_rate: float
    train_loss: float  # cross-entropy plus the variant's extra terms, as minimised
    train_top1_error: float  # on augmented batches, while the weights moved
    validation_loss: float  # cross-entropy alone
    validation_top1_error: float
    validation_top5_error: float
    train_seconds: float  # training steps only: no validation, checkpoint or logging
    scalars: dict[str, float] = field(default_factory=dict)  # what the variant logs, e.g. reconstruction_mse_1
    unknown: dict[str, Any] = field(default_factory=dict)  # fields of another version's file, kept as they are

    def list_values(self) -> dict[str, float]:
        """Every number of this epoch by name, as tracking and analysis store it."""
        names = [spec.name for spec in dataclasses.fields(self) if spec.name not in ("epoch", "scalars", "unknown")]
        measured = {name: float(getattr(self, name)) for name in names}
        return measured | {name: float(value) for name, value in self.scalars.items()}


@dataclass(frozen=True, kw_only=True)
class Record:
    """One row per trial, its history and the trial itself. None: not measured, or not applicable."""

    # identity
    trial_key: str
    dataset: str  # label with settings: `parquet(path=cifar10)`
    backbone: str  # likewise: `base_cnn(width=0.25)`
    variant: str  # bare name
    settings: str  # the variant's settings: `lambda=0.1`; empty when all are defaults
    recipe: str
    stage: str
    seed: int
    hyperparameters: str = ""
    revision: str = ""  # what the cell's network means otherwise than in the first version: `skips-block`
    # outcome
    status: Status
    reason: str = ""
    failures: int = 0  # how often it ended with an error, this time included
    epochs: int  # the budget
    epochs_run: int = 0
    best_epoch: int | None = None
    train_top1_error: float | None = None  # this and the validation figures: at the best epoch
    validation_loss: float | None = None
    validation_top1_error: float | None = None
    validation_top5_error: float | None = None
    test_loss: float | None = None  # test figures: confirm stage only
    test_top1_error: float | None = None
    test_top5_error: float | None = None
    multi_crop_top1_error: float | None = None  # by the mean softmax over the recipe's `test_crops` of each image
    multi_crop_top5_error: float | None = None
    majority_error: float | None = None  # top-1, of always answering the test part's commonest class
    test_reads: int = 0  # that left a result
    test_attempts: int = 0  # those that left none included
    test_curve_reads: int = 0  # for the test curve alone, which nothing chooses or ranks by
    # data
    data: str = ""  # digest of the decoded training part, images and labels
    test_data: str = ""  # likewise of the test part, where it was read
    split: str = ""  # digest of the train and validation indices
    train_examples: int | None = None
    validation_examples: int | None = None
    test_examples: int | None = None
    train_classes: str = ""  # images by class, for people: `crow 400, owl 352`
    validation_classes: str = ""
    test_classes: str = ""
    validation_duplicates: int | None = None  # validation images that are training images too, pixel for pixel
    test_duplicates: int | None = None  # test images that are training or validation images too
    conflicting_labels: int | None = None  # images of all parts that have a copy under another label
    passed_over: str = ""  # what lies among the dataset's files and isn't read
    # cost
    parameters: int | None = None
    macs: int | None = None  # one image's forward pass as trained
    inference_macs: int | None = None
    decoders: int | None = None  # of its network, which reconstruct the input in training
    train_seconds: float | None = None
    seconds_per_epoch: float | None = None
    images_per_second: float | None = None
    peak_memory_mib: float | None = None
    # conditions
    batch: int | None = None
    precision: str = ""
    memory_format: str = ""
    micro_batch: int | None = None
    threads: int | None = None
    residency: str = ""  # where the images lived: device | host | stream; all give the same bits
    device_kind: str = ""  # cpu | cuda
    device: str = ""  # its name
    host: str = ""
    versions: str = ""  # `python 3.11.7, torch 2.14.1, ...`
    git_commit: str = ""
    dirty: str = ""  # `yes` when the tree had uncommitted changes
    graftbench_version: str = ""
    # not columns
    history: tuple[Epoch, ...] = ()
    trial: dict[str, Any] = field(default_factory=dict)
    unknown: dict[str, Any] = field(default_factory=dict)  # fields of another version's file, kept as they are

    def to_row(self) -> dict[str, Any]:
        """The columns of `COLUMNS`, without history and trial."""
        return {name: getattr(self, name) for name in COLUMNS}

    @property
    def is_final(self) -> bool:
        """Whether a study goes on without training it again: it has a result, or failed in the search often enough."""
        failures = self.failures or 0  # collected tables may lack it
        gave_up = self.status == "failed" and self.stage == "search" and failures >= SEARCH_ATTEMPTS
        return self.status in FINISHED or gave_up

    def is_finite(self) -> bool:
        """Whether every measured figure is a finite number."""
        return all(math.isfinite(value) for value in self.to_row().values() if isinstance(value, float))


def _list_required(kind: type[Record] | type[Epoch]) -> frozenset[str]:
    return frozenset(
        spec.name
        for spec in dataclasses.fields(kind)
        if spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
    )


# Fields without which there is no record. A table may lack the other columns, which later versions added.
REQUIRED: dict[type, frozenset[str]] = {Record: _list_required(Record), Epoch: _list_required(Epoch)}
_NOT_COLUMNS = frozenset({"history", "trial", "unknown"})
_TYPES = {"str": str, "Status": str, "int": int, "int | None": int, "float | None": float}

# Column name -> type; text goes to MLflow as tags, numbers as metrics. Nullable unless text.
COLUMNS: dict[str, type] = {
    spec.name: _TYPES[str(spec.type)] for spec in dataclasses.fields(Record) if spec.name not in _NOT_COLUMNS
}
# The columns of the long table of epochs; scalars of variants are rows of it too.
EPOCH_COLUMNS: dict[str, type] = {"trial_key": str, "epoch": int, "metric": str, "value": float}


def describe_trial(trial: Trial) -> dict[str, Any]:
    """The identity fields of a trial's record, for whoever writes one."""
    return {
        "trial_key": trial.key,
        **trial.cell.cell_id._asdict(),
        "recipe": trial.recipe.label,
        "stage": trial.stage,
        "seed": trial.seed,
        "hyperparameters": format_settings(trial.hyperparameters),
        "revision": trial.revision,
        "epochs": trial.epochs,
        "precision": trial.precision,
        "memory_format": "channels_last" if trial.channels_last else "contiguous",
        "micro_batch": trial.micro_batch,
        "trial": trial.to_dict(),
    }


class NoRecordError(ValueError):
    """A whole file that is no record this version can read. Not to be taken for a trial that left none."""


class NewerSchemaError(NoRecordError):
    """Results that a later version wrote."""


def check_schema(schema: object, version: str = "") -> None:
    """
    Args:
        schema: what the results say of themselves.
        version: of the Graftbench that wrote them, where it is known.

    Raises:
        NewerSchemaError: a later version than this one wrote them; the message names both.
    """
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise NoRecordError(f"its schema is {schema!r}, which is no whole number")
    if schema > SCHEMA:
        writer = f"Graftbench {version}" if version else "a later Graftbench"
        raise NewerSchemaError(
            f"{writer} wrote it with results schema {schema}, and this one ({__version__}) reads up to {SCHEMA}: "
            "upgrade it"
        )


def check_experiment_schema(tags: Mapping[str, str]) -> None:
    """
    Args:
        tags: of a study's experiment in MLflow.

    Raises:
        NewerSchemaError: a later version than this one wrote to it; the message names both.
    """
    schema = tags.get(SCHEMA_TAG) or "1"
    check_schema(int(schema) if schema.isdigit() else schema, tags.get(VERSION_TAG, ""))


def to_json(record: Record) -> str:
    """A record as JSON; NaN and infinities are written as Python's json module reads them back."""
    plain = dataclasses.asdict(record)
    plain["history"] = [_with_unknown(epoch) for epoch in plain["history"]]
    return json.dumps({"schema": SCHEMA, **_with_unknown(plain)}, indent=1)


def _with_unknown(plain: dict[str, Any]) -> dict[str, Any]:
    unknown: dict[str, Any] = plain.pop("unknown")
    return unknown | plain


def from_dict(data: Mapping[str, Any]) -> Record:
    """
    Raises:
        NoRecordError: required fields are missing, or a later version wrote it.
    """
    if not isinstance(data, Mapping):
        raise NoRecordError("not a record: no JSON object")
    version = data.get("graftbench_version", "")
    check_schema(data.get("schema", 1), version if isinstance(version, str) else "")
    fields = {name: value for name, value in data.items() if name not in ("schema", "history")}
    history = tuple(_keep_unknown(Epoch, epoch) for epoch in data.get("history", ()))
    return _keep_unknown(Record, {**fields, "history": history})


Fields = TypeVar("Fields", Record, Epoch)


def _keep_unknown(kind: type[Fields], fields: Mapping[str, Any]) -> Fields:
    """A record or epoch of these fields; those that this version doesn't know are kept aside."""
    if not isinstance(fields, Mapping):
        raise NoRecordError(f"not a record: {fields!r} is no {kind.__name__.lower()}")
    missing = sorted(REQUIRED[kind] - set(fields))
    if missing:
        raise NoRecordError(f"not a record: it lacks {', '.join(missing)}")
    known = {spec.name for spec in dataclasses.fields(kind)} - {"unknown"}
    named = {name: value for name, value in fields.items() if name in known}
    return kind(**named, unknown={name: value for name, value in fields.items() if name not in known})


def write_record(record: Record, path: Path) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(to_json(record), path)


def read_record(path: Path) -> Record:
    """
    Raises:
        NoRecordError: the file is whole JSON and holds no record that this version can read; the message names it.
        ValueError: the file is cut short.
    """
    try:
        return from_dict(json.loads(path.read_text()))
    except NoRecordError as error:
        raise type(error)(f"{path}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
