"""Backbones, one file each. A file defines

- `SETTINGS: dict[str, Setting]`: its settings;
- `build(shape, classes, **settings) -> Backbone`: for images of `shape` (channels, height, width); draws its
  initial weights from torch's global generator; raises `UserError` with a sentence for a shape it can't serve, and for
  an image of 1 x 1 in any case.

The backbone is cut into stages, each up to and with a downsampling step (`suite.layers.model`). Variants find what they
change by class, so it is made of `ConvUnit` and `Residual` where it has such steps, of torchvision's Inception blocks,
`Auxiliary` for further classifiers, and modules instead of functions for pools, activations and dropout. With a
setting `width`, a factor on all widths, the variant `wide` can match its parameters to another variant's.

`timm:NAME` needs no file: `suite.models.timm_adapter` cuts timm's classifiers. A file may also lie in a plug-in folder
(`suite.core.registry`). docs/components.md has a row per backbone.
"""
