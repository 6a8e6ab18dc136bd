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
    given = data.get("profiles", {})
    if not isinstance(given, Mapping) or not all(isinstance(part, Mapping) for part in given.values()):
        raise UserError("profiles: must be a mapping of names, each to a mapping of what differs")
    own = {key: value for key, value in data.items() if key != "profiles"}
    if "profile" in own:
        raise UserError("profile: unknown key; a profile is chosen with --profile")
    if not profile:
        return own
    if not given:
        raise UserError(f"profiles: the study has none, so no {profile!r}; leave --profile out")
    if profile not in given:
        raise UserError(f"profiles: has no {profile!r}{did_you_mean(profile, given)}")
    fixed = sorted({"study", "profile", "profiles"} & set(given[profile]))
    if fixed:
        raise UserError(f"profiles.{profile}.{fixed[0]}: can't be set by a profile; leave it out")
    merged = _merge_mappings(own, given[profile])
    for key in {"study", "storage"} - set(given[profile]):
        if isinstance(own.get(key), str) and own[key]:  # what is no name is refused as it stands
            merged[key] = f"{own[key]}-{profile}"
    return {**merged, "profile": profile}


def _merge_mappings(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, change in changes.items():
        known = merged.get(key)
        if isinstance(change, Mapping) and isinstance(known, str):
            known = {"name": known}  # `recipe: sire` is short for `recipe: {name: sire}`
        merged[key] = (
            _merge_mappings(known, change) if isinstance(change, Mapping) and isinstance(known, Mapping) else change
        )
    return {key: value for key, value in merged.items() if value is not None or key not in changes}
