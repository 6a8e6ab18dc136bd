"""Removing what a study no longer needs, or all of it."""

from __future__ import annotations

import contextlib
import shutil
import time

from suite.core.records import FINISHED
from suite.core.trial_folder import drop_checkpoints
from suite.study.config import Study
from suite.sweep.storage import StudyStorage
from suite.tracking.mlflow_store import check_store, forget_experiment, tracking_uri
from suite.tracking.optuna_mirror import check_mirror, forget_mirror


def remove_checkpoints(study: Study) -> str:
    """Drop the weights of finished trials; says how much that freed. Records and predictions stay."""
    storage = StudyStorage(study)
    storage.check_study()
    if not storage.path.is_dir():
        return f"nothing to remove: {storage.path} does not exist"
    freed, trials = 0, 0
    with storage.locked():
        for key, record in storage.read_records().items():
            folder = storage.trial_directory(key)
            if record.status in FINISHED:
                sizes = [path.stat().st_size for path in folder.glob("*.pt")]
                freed += sum(sizes)
                trials += bool(sizes)
            drop_checkpoints(folder)
    return f"removed the checkpoints of {trials} finished trials ({freed / 2**20:.1f} MiB) under {storage.path}"


def remove_study(study: Study) -> str:
    """Remove the study's storage and its searches in Optuna's, and delete its experiment in MLflow (kept there under
    another name)."""
    storage, uri = StudyStorage(study), tracking_uri(study)
    storage.check_owner()
    check_store(uri)
    check_mirror(study)
    exists = storage.path.is_dir()
    with storage.locked() if exists else contextlib.nullcontext():
        retired = forget_experiment(uri, study.study, f"{study.study} (removed {time.strftime('%Y-%m-%d %H:%M:%S')})")
        forget_mirror(study)
        if exists:
            shutil.rmtree(storage.path)
    if retired:
        kept = f"; MLflow keeps its runs as the deleted experiment {retired!r} until `mlflow gc`"
        return f"removed {storage.path}{kept}"
    if exists:
        return f"removed {storage.path}"
    return f"nothing to remove: {storage.path} does not exist, and MLflow holds no experiment {study.study!r}"
