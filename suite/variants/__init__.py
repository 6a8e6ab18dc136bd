"""Variants (extensions, and the baseline), one file each. A file defines

- `SETTINGS: dict[str, Setting]`: its hyperparameters, each searchable and sweepable;
- `apply(backbone, **settings) -> Graft`: the extended model around the given backbone, whose parameters it keeps;
  what it adds draws its initial weights from torch's global generator; raises `UserError` with a sentence for a
  backbone or a combination of settings that it can't serve.

A variant that only changes the backbone returns it in the Graft, modified in place, so that variants compose with `+`.
A layer of a backbone that multiplies in training only is an `Auxiliary`.

Further constants and functions, where they hold:

- `WRAPS = True`: it replaces the forward pass (`backbone.classify` at its end), so it is the last of a composition;
- `RESTARTS = True`: parameters that it keeps start elsewhere than the baseline's;
- `ALONE = True`: it composes with nothing;
- `recipe(**settings) -> dict`: recipe knobs that its cells train with instead of the study's.
"""
