"""Where study files are, and which one is which; reads no more of them than names."""

from __future__ import annotations

import hashlib
from pathlib import Path

from suite.core.errors import UserError, did_you_mean
from suite.study.profiles import apply_profile

# The study files that come with Graftbench: inside the package as installed, beside it in a checkout.
READY_FOLDERS = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")


def ready_studies() -> dict[str, Path]:
    """The study files that come with the package, by name."""
    folder = next(filter(Path.is_dir, READY_FOLDERS))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_study(path: Path) -> Path:
    """The file that is meant: the path itself, or the ready study of that name.

    Raises:
        UserError: there is none.
    """
    if path.is_file():
        return path
    ready = ready_studies()
    if str(path) in ready:
        return ready[str(path)]
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not a study file; a folder of records is read with --records")
    raise UserError(f"{path}: no such study file{did_you_mean(path.stem, ready)}")


def digest_study(path: Path, profile: str = "") -> str:
    """Of a study file's bytes and the profile: equal digests mean equal studies."""
    return hashlib.sha256(f"{profile}\0".encode() + find_study(path).read_bytes()).hexdigest()


def choose_storage(study: str, storage: str | None) -> Path:
    """Where the results of a study of that name are: at what `storage` says, or by its name."""
    return Path(storage or f"runs/{study}")


def find_storage(path: Path, profile: str = "") -> Path | None:
    """Where a study's results are, without a check of the study; None where the file doesn't tell.

    Raises:
        UserError: there is no such file.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        data = apply_profile(yaml.load(find_study(path).read_text(encoding="utf-8"), Loader=loader), profile)
        return choose_storage(data["study"], data.get("storage"))
    except (yaml.YAMLError, OSError, ValueError, TypeError, KeyError):
        return None
