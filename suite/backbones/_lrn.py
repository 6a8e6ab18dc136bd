"""Layers that AlexNet and ZFNet share."""

from __future__ import annotations

from torch import nn

SIZE = 5  # channels that share a normalisation


def response_norm() -> nn.LocalResponseNorm:
    """a / (2 + 1e-4 * sum of a^2 over 5 channels)^0.75 (Krizhevsky et al. 2012, section 3.3)."""
    # PyTorch divides alpha by the size; the paper doesn't.
    return nn.LocalResponseNorm(SIZE, alpha=SIZE * 1e-4, beta=0.75, k=2.0)
