"""Backbones, one file each. A file defines

- `SETTINGS: dict[str, Setting]`: its settings;
- `build(shape, classes, **settings) -> Backbone`: for images of `shape` (channels, height, width); draws its
  initial weights from torch's global generator; raises `Refused` with a sentence for a shape it can't serve.
"""
