"""Variants on a backbone: alone, or composed with `+` (`sire+squeeze_excite`).

A variant that changes the backbone itself goes before one that replaces the forward pass (`WRAPS`), so the order in
which a composition is written means nothing and its name has one canonical form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor

from suite.core import registry
from suite.core.errors import UserError
from suite.core.settings import Setting, resolve_settings
from suite.core.specs import BASELINE, split_variant
from suite.layers.model import Backbone, Graft, ModelOutput

Loss = Callable[[ModelOutput], Tensor]


def canonical_name(variant: str) -> str:
    """The composition in the order of application; a single name as it is.

    Raises:
        UserError: an unknown or repeated name, `baseline` or another variant that stands alone, or two that both
            replace the forward pass.
    """
    names = split_variant(variant)
    modules = {name: registry.load_component("variant", name) for name in names}
    if len(names) == 1:
        return variant
    if len(modules) < len(names):
        raise UserError(f"{variant}: names a variant twice; leave one out")
    for name, module in modules.items():
        if name == BASELINE or getattr(module, "ALONE", False):
            raise UserError(f"{variant}: {name} composes with nothing; leave it or the rest out")
    wrapping = [name for name, module in modules.items() if _wraps_backbone(module)]
    if len(wrapping) > 1:
        raise UserError(f"{variant}: {' and '.join(wrapping)} both replace the forward pass; keep one of them")
    # New initial weights come after what changes the structure.
    return "+".join(sorted(names, key=lambda name: (_wraps_backbone(modules[name]), restarts_parameters(name), name)))


def _wraps_backbone(module: Any) -> bool:
    return bool(getattr(module, "WRAPS", False))


def restarts_parameters(variant: str) -> bool:
    """Whether parameters that the variant keeps start elsewhere than its baseline's, by declaration."""
    return any(getattr(registry.load_component("variant", name), "RESTARTS", False) for name in split_variant(variant))


def find_settings(variant: str) -> dict[str, Setting]:
    """The settings of a variant; those of a composition are called `part.setting`."""
    names = split_variant(variant)
    settings: dict[str, Setting] = {}
    for name in names:
        prefix = f"{name}." if len(names) > 1 else ""
        for key, setting in registry.load_component("variant", name).SETTINGS.items():
            settings[prefix + key] = setting
    return settings


def recipe_changes(variant: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe knobs that a variant's cells train with instead of the study's.

    Raises:
        UserError: an illegal setting, or two parts that change one knob.
    """
    changes: dict[str, Any] = {}
    for name, values in _resolve_parts(variant, settings).items():
        module = registry.load_component("variant", name)
        if not hasattr(module, "recipe"):
            continue
        for knob, value in module.recipe(**values).items():
            if knob in changes:
                raise UserError(f"{variant}: two of its parts change recipe.{knob}; keep one of them")
            changes[knob] = value
    return changes


def graft_variant(
    backbone: Backbone,
    variant: str,
    settings: Mapping[str, Any],
    stream: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> Graft:
    """The variant, or composition, grafted onto the backbone.

    Args:
        settings: as `find_settings` names them.
        stream: what to draw a part's initial weights under, by the part's name.

    Raises:
        UserError: a part can't serve the backbone or its settings.
    """
    graft = Graft(backbone)
    before: list[str] = []
    for name, values in _resolve_parts(canonical_name(variant), settings).items():
        assert isinstance(graft.model, Backbone), "only the last part may wrap"
        try:
            with stream(name):
                part = _apply_module(registry.load_component("variant", name), graft.model, values)
        except UserError as refusal:
            if before:  # what it misses may have been there
                raise UserError(f"{refusal} (in {variant}, where {' and '.join(before)} came first)") from refusal
            raise
        graft = _join_grafts(graft, part)
        before.append(name)
    return graft


def _apply_module(module: Any, backbone: Backbone, settings: Mapping[str, Any]) -> Graft:
    """What the variant makes of the backbone; a plug-in's mistakes are refusals that name its file."""
    try:
        graft = module.apply(backbone, **settings)
    except Exception as error:
        if isinstance(error, UserError) or not registry.is_plugin(module):
            raise
        message = str(error).partition("\n")[0]
        raise UserError(f"{module.__file__}: apply fails: {type(error).__name__}: {message}") from error
    if not isinstance(graft, Graft):
        raise UserError(f"{module.__file__}: apply must return a suite.layers.model.Graft, not {type(graft).__name__}")
    return graft


def _resolve_parts(variant: str, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Every part's settings, defaults included, in the order of application."""
    values = resolve_settings(find_settings(variant), settings, variant)
    names = split_variant(variant)
    if len(names) == 1:
        return {variant: values}
    parts: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, value in values.items():
        name, _, setting = key.partition(".")
        parts[name][setting] = value
    return parts


def _join_grafts(first: Graft, second: Graft) -> Graft:
    return Graft(
        second.model,
        extra_loss=_add_losses(first.extra_loss, second.extra_loss),
        cross_entropy_scale=first.cross_entropy_scale * second.cross_entropy_scale,
        initialise=_join_calls(first.initialise, second.initialise),
        after_step=_join_calls(first.after_step, second.after_step),
        revisions=(*first.revisions, *second.revisions),
    )


def _add_losses(first: Loss | None, second: Loss | None) -> Loss | None:
    if first is None or second is None:
        return first or second
    return lambda output: first(output) + second(output)


def _join_calls(first: Callable[..., None] | None, second: Callable[..., None] | None) -> Callable[..., None] | None:
    if first is None or second is None:
        return first or second

    def call_both(*arguments: Any) -> None:
        first(*arguments)
        second(*arguments)

    return call_both
