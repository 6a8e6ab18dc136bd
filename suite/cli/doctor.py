"""`graftbench doctor`: what is installed, which devices and datasets are found, whether the tracking store answers."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from suite.core.errors import UserError
from suite.core.redaction import redact_uri
from suite.data.cache import cache_directory
from suite.data.catalog import Listed, cache_trouble, list_datasets
from suite.tracking.mlflow_store import DEFAULT_URI, check_store

_PACKAGES = ("torch", "torchvision", "timm", "ray", "optuna", "mlflow", "pyarrow", "pandas", "scipy", "statsmodels")


def examine_machine(data: Path, tracking: str | None) -> dict[str, Any]:
    """Everything that `format_sections` shows, as plain values."""
    uri = tracking or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    return {
        "python": platform.python_version(),
        "packages": {name: _find_version(name) for name in _PACKAGES},
        "devices": _list_devices(),
        "data": str(data),
        "datasets": {dataset.dataset: _describe_dataset(dataset) for dataset in list_datasets(data)},
        "cache": {"directory": str(cache_directory()), "trouble": cache_trouble()},
        "tracking": {"uri": redact_uri(uri), "trouble": _find_store_trouble(uri)},
    }


def _find_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _list_devices() -> list[str]:
    import torch

    from suite.training.execution import device_name

    devices = [f"cpu: {os.cpu_count()} cores, {device_name(torch.device('cpu'))}"]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            devices.append(f"cuda:{index}: {torch.cuda.get_device_name(index)}")
    return devices


def _describe_dataset(dataset: Listed) -> str:
    """`found`, or the sentence that says what is missing or broken."""
    if dataset.remedy:
        return f"{dataset.state}: {dataset.remedy}"
    images = f"{dataset.train_examples:,} + {dataset.test_examples:,} images"
    return f"found: {images}, {dataset.classes} classes, {dataset.shape}"


def _find_store_trouble(uri: str) -> str | None:
    try:
        check_store(uri)
    except UserError as refusal:
        return str(refusal)
    return None


def format_sections(facts: Mapping[str, Any]) -> Iterator[Table | str]:
    """The findings for a terminal."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("python", facts["python"])
    for name, version in facts["packages"].items():
        table.add_row(name, version or "[yellow]not installed[/]")
    for device in facts["devices"]:
        table.add_row("device", escape(device))
    for name, state in facts["datasets"].items():
        table.add_row(escape(name), _format_state(state, state.startswith("found")))
    directory, trouble = facts["cache"]["directory"], facts["cache"]["trouble"]
    state = f"{directory} can't be used: {trouble}" if trouble else f"{directory} can be written (GRAFTBENCH_CACHE)"
    table.add_row("decoded copies", _format_state(state, not trouble))
    trouble = facts["tracking"]["trouble"]
    table.add_row("tracking", _format_state(trouble or f"{facts['tracking']['uri']} can be used", not trouble))
    yield table
    yield f"datasets were looked up in {escape(facts['data'])} (GRAFTBENCH_DATA, or --data)"


def _format_state(state: str, is_good: bool) -> str:
    return escape(state) if is_good else f"[yellow]{escape(state)}[/]"
