"""Torch layers, and the model contract, that backbones and variants share."""
