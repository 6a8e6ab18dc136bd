"""Where records go: the MLflow store of a study, checked before anything starts."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from suite import __version__
from suite.core import registry
from suite.core.errors import UserError
from suite.core.records import SCHEMA, SCHEMA_TAG, STUDY_TAG, VERSION_TAG, NoRecordError, check_experiment_schema
from suite.core.redaction import redact_text, redact_uri
from suite.core.specs import BASELINE, split_variant
from suite.study.config import Study
from suite.tracking.addresses import Owner, check_database, check_sqlite, sqlite_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from suite.study.plan import Plan

DEFAULT_URI = "sqlite:///runs/mlflow.db"
IDENTITY_TAG = "graftbench.identity"  # what may not change once trials have run
_OWNER = Owner("tracking", "MLflow", "experiments")
_MAX_TAG = 5000  # characters; MLflow's own limit is 20,000, that of older servers 5,000


def tracking_uri(study: Study) -> str:
    """The study's `tracking`, else MLFLOW_TRACKING_URI, else a SQLite file under runs/."""
    return study.tracking or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


def check_store(uri: str) -> None:
    """Refuse an address where no store can be used; writes nothing."""
    scheme = uri.partition(":")[0].partition("+")[0]
    if uri.startswith(("http://", "https://")):
        _check_server(uri)
    elif uri.startswith("sqlite:///") and uri != "sqlite:///":
        check_sqlite(_OWNER, sqlite_path(uri))
    elif scheme in {"postgresql", "mysql", "mssql"}:
        check_database(_OWNER, uri)
    else:
        raise UserError(
            f"tracking: {redact_uri(uri)!r} is no MLflow store: use sqlite:///PATH, postgresql://..., or the "
            "http:// of a server (MLflow's file store is gone)"
        )


def check_experiment(study: Study, uri: str) -> None:
    """Refuse an experiment of the study's name that is another study's, a later version's, or deleted."""
    if is_new_store(uri):
        return
    _find_experiment(_make_client(uri), study)


def is_new_store(uri: str) -> bool:
    """Whether it will be made, and so holds nothing."""
    return uri.startswith("sqlite:") and not sqlite_path(uri).is_file()


def _check_server(uri: str) -> None:
    import http.client  # HTTP and TLS: the usual store is a file
    import urllib.request

    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=5) as answer:
            if answer.read(64).strip() != b"OK":
                raise OSError("what answers is no MLflow server")
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = redact_text(str(getattr(error, "reason", error)))
        raise UserError(
            f"tracking: no MLflow server answers at {redact_uri(uri)} ({reason}); start it, or leave `tracking` "
            f"out to use {DEFAULT_URI}"
        ) from error


def _make_client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient  # seconds to import; needed from here on only

    # No word on the tables it creates, and no stack trace while a store is away: the listener says it in a sentence.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    return MlflowClient(uri)


def open_experiment(plan: Plan, uri: str) -> tuple[MlflowClient, str]:
    """The client and the id of the study's experiment, created where it is missing."""
    location = None
    if urlsplit(uri).scheme == "sqlite":
        folder = sqlite_path(uri).absolute().parent
        folder.mkdir(parents=True, exist_ok=True)
        location = (folder / "_artifacts" / plan.study.study).as_uri()
    client = _make_client(uri)
    experiment = _find_experiment(client, plan.study)
    present: Mapping[str, str] = {}
    if experiment is None:
        experiment_id = client.create_experiment(plan.study.study, artifact_location=location)
    else:
        experiment_id, present = experiment.experiment_id, experiment.tags
    tags = {IDENTITY_TAG: _write_identity(plan.study), SCHEMA_TAG: str(SCHEMA), VERSION_TAG: __version__}
    tags |= _study_tags(plan, present)
    if plan.study.description:
        tags["mlflow.note.content"] = plan.study.description[:_MAX_TAG]
    for name, value in tags.items():
        if present.get(name) != value:
            client.set_experiment_tag(experiment_id, name, value)
    return client, str(experiment_id)


def _write_identity(study: Study) -> str:
    return json.dumps(study.describe_identity(), sort_keys=True)


def _study_tags(plan: Plan, present: Mapping[str, str]) -> dict[str, str]:
    """The study as one JSON text over as many tags as it takes: `graftbench.study`, then `.1`, `.2`...

    Tags that a longer text of an earlier run has left over are emptied.
    """
    text = json.dumps(describe_study(plan))
    tags = {name: "" for name in present if name.startswith(f"{STUDY_TAG}.")}
    tags[STUDY_TAG] = text[:_MAX_TAG]
    for start in range(_MAX_TAG, len(text), _MAX_TAG):
        tags[f"{STUDY_TAG}.{start // _MAX_TAG}"] = text[start : start + _MAX_TAG]
    return tags


def _find_experiment(client: MlflowClient, study: Study) -> Any:
    """The experiment of the study's name, if there is one."""
    name, identity = study.study, _write_identity(study)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return None
    if experiment.lifecycle_stage == "deleted":
        raise UserError(f"tracking: the experiment {name!r} is deleted; restore it in MLflow or rename the study")
    try:
        check_experiment_schema(experiment.tags)
    except NoRecordError as error:
        raise UserError(f"tracking: the experiment {name!r}: {error}") from error
    if experiment.tags.get(IDENTITY_TAG, identity) != identity:
        raise UserError(
            f"tracking: the experiment {name!r} holds a study with another recipe, search, split or statistics; "
            "give this study a new name"
        )
    return experiment


def describe_study(plan: Plan) -> dict[str, Any]:
    """What analysis needs to know of a study beyond its trials; errors and margins as fractions."""
    study = plan.study
    return {
        "study": study.study,
        "description": study.description,
        "reproduces": study.reproduces,
        "metric": study.statistics.metric,
        "rope": study.statistics.rope / 100,
        "alpha": study.statistics.alpha,
        "looks": study.statistics.looks,
        "looks_taken": len(plan.looks),
        "seeds": study.seeds,
        "search_trials": study.search.trials,
        "search_epochs": plan.search_epochs,
        "first_draws": study.search.first_draws,
        "asha": study.search.model_dump()["asha"],
        "profile": study.profile or None,
        "about": _describe_variants(plan),
        "cells": _describe_cells(plan),
    }


def _describe_variants(plan: Plan) -> dict[str, str]:
    """What each extension is, for readers who never heard of it: its file's first sentence, without the sources."""
    about: dict[str, str] = {}
    for planned in plan.cells:
        for name in split_variant(planned.cell.variant.name):
            if name == BASELINE or name in about:
                continue
            sentence = registry.read_docstring("variant", name).partition("\n\n")[0]
            sentence = re.sub(r" ?\([^()]*\)", "", " ".join(sentence.split()))
            if sentence:
                about[name] = sentence
    return about


def _describe_cells(plan: Plan) -> list[dict[str, Any]]:
    """Each cell, and its own number of seeds where a topup made it differ from the study's."""
    cells = []
    for planned in plan.cells:
        cell = {**planned.cell.cell_id._asdict(), "refused": planned.refused}
        seeds = plan.count_seeds(planned.cell)
        if seeds != plan.study.seeds:
            cell["seeds"] = seeds
        cells.append(cell)
    return cells


def forget_experiment(uri: str, name: str, retired_name: str) -> str | None:
    """Delete an experiment and free its name; the name it has now, or None when there was none."""
    if is_new_store(uri):
        return None
    client = _make_client(uri)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return None
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    client.rename_experiment(experiment.experiment_id, retired_name)
    client.delete_experiment(experiment.experiment_id)
    return retired_name
