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


def remove_checkpoints(study: Study) -> str:
    """Drop the weights of finished trials; says how much that freed. Records and predictions stay.

    Raises:
        UserError: the storage is another study's, or a run is using it.
    """
    ledger = StudyStorage(study)
    ledger.check_study()
    if not ledger.path.is_dir():
        return f"nothing to remove: {ledger.path} does not exist"
    freed, trials = 0, 0
    with ledger.locked():
        for key, record in ledger.read_records().items():
            weights = list(ledger.trial_directory(key).glob("*.pt")) if record.status in FINISHED else []
            freed += sum(path.stat().st_size for path in weights)
            trials += bool(weights)
            drop_checkpoints(ledger.trial_directory(key))
    return f"removed the checkpoints of {trials} finished trials ({freed / 2**20:.1f} MiB) under {ledger.path}"


def remove_study(study: Study) -> str:
    """Remove the study's storage, and delete its experiment in MLflow (kept there under another name).

    Raises:
        UserError: the storage is another study's, a run is using it, or the tracking store does not answer.
    """
    ledger, uri = StudyStorage(study), tracking_uri(study)
    ledger.check_owner()
    check_store(uri)
    found = ledger.path.is_dir()
    with ledger.locked() if found else contextlib.nullcontext():
        retired = forget_experiment(uri, study.study, f"{study.study} (removed {time.strftime('%Y-%m-%d %H:%M:%S')})")
        if found:
            shutil.rmtree(ledger.path)
    if not found and not retired:
        return f"nothing to remove: {ledger.path} does not exist, and MLflow holds no experiment {study.study!r}"
    kept = f"; MLflow keeps its runs as the deleted experiment {retired!r} until `mlflow gc`" if retired else ""
    return f"removed {ledger.path}{kept}"
