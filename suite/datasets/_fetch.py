"""Downloads by torchvision, which knows addresses and checksums."""

from __future__ import annotations

import tarfile
import zipfile
from http.client import HTTPException
from pathlib import Path

from suite.settings import Refused

FAILURES = (
    RuntimeError,
    OSError,
    ImportError,
    EOFError,
    ValueError,
    tarfile.TarError,
    zipfile.BadZipFile,
    HTTPException,
)
ARCHIVES = ("*.tar.gz", "*.zip", "*/*.tar", "*/*.tar.gz", "*/*.zip")


def remedy(name: str) -> str:
    """The command that brings the files."""
    return f"graftbench data fetch {name}"


def download(name: str, class_name: str, root: Path) -> None:
    """What `torchvision.datasets.<class_name>` downloads, extracted below the empty directory `root`.

    Raises:
        Refused: no network, a wrong checksum, a missing package, a full disk.
    """
    try:
        from torchvision import datasets  # takes seconds, and nothing else here needs it

        getattr(datasets, class_name)(str(root), download=True)
    except FAILURES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Refused(
            f"{name}: torchvision.datasets.{class_name} couldn't download it ({reason}); check network and disk and "
            "try again, or copy the files from a machine that has them"
        ) from error
    for pattern in ARCHIVES:
        for archive in root.glob(pattern):
            archive.unlink()
