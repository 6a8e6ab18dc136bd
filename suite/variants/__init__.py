"""Variants (extensions, and the baseline), one file each. A file defines

- `SETTINGS: dict[str, Setting]`: its hyperparameters, each searchable and sweepable;
- `apply(backbone, **settings) -> Graft`: the extended model around the given backbone, whose parameters it keeps;
  what it adds draws its initial weights from torch's global generator; raises `Refused` with a sentence for a
  backbone or a combination of settings that it can't serve.
"""
