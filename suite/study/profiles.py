"""Profiles: a study file's own smaller (or larger) versions of itself, `--profile quick`.

A profile says what differs. Mappings are merged key by key; lists and values are replaced, and an empty value (`null`)
takes a key away. Its study has a name and a storage of its own, so its trials and results never mix with the full
study's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from suite.core.errors import UserError, did_you_mean


def apply_profile(data: Mapping[str, Any], profile: str) -> dict[str, Any]:
    """A study file's mapping with the named profile merged in (none for an empty name), `profiles` left out.

    Raises:
        UserError: the file has no such profile, or a profile is no mapping.
    """
    study = dict(data)
    profiles = study.pop("profiles", {})
    if not isinstance(profiles, Mapping) or not all(isinstance(changes, Mapping) for changes in profiles.values()):
        raise UserError("profiles: must be a mapping of names, each to a mapping of what differs")
    if "profile" in study:
        raise UserError("profile: unknown key; a profile is chosen with --profile")
    if not profile:
        return study
    if not profiles:
        raise UserError(f"profiles: the study has none, so no {profile!r}; leave --profile out")
    if profile not in profiles:
        raise UserError(f"profiles: has no {profile!r}{did_you_mean(profile, profiles)}")
    changes = profiles[profile]
    for key in ("profile", "profiles", "study"):
        if key in changes:
            raise UserError(f"profiles.{profile}.{key}: can't be set by a profile; leave it out")
    merged = _merge_mappings(study, changes)
    for key in {"study", "storage"} - set(changes):
        if isinstance(study.get(key), str) and study[key]:  # what is no name is refused as it stands
            merged[key] = f"{study[key]}-{profile}"
    return {**merged, "profile": profile}


def _merge_mappings(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, change in changes.items():
        value = merged.get(key)
        if isinstance(value, str):
            value = {"name": value}  # `recipe: sire` is short for `recipe: {name: sire}`
        if change is None:
            merged.pop(key, None)
        elif isinstance(change, Mapping) and isinstance(value, Mapping):
            merged[key] = _merge_mappings(value, change)
        else:
            merged[key] = change
    return merged
