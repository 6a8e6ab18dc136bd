"""The backbone without batch normalisation (Ioffe and Szegedy 2015): what it is worth, at this rate and batch size."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from suite.core.errors import UserError
from suite.core.settings import Setting
from suite.layers.model import Backbone, Graft
from suite.layers.surgery import replace

SETTINGS: dict[str, Setting] = {}


class ChannelBias(nn.Module):
    """Adds a learnable number to every channel: (batch, channels, ...) -> the same shape; then what `follows`."""

    def __init__(self, bias: nn.Parameter, follows: nn.Module) -> None:
        super().__init__()
        self.bias = bias
        self.follows = follows

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.follows(x + self.bias.reshape(-1, *[1] * (x.ndim - 2)))
        return out


def apply(backbone: Backbone) -> Graft:
    """Every batch norm taken out. Its shift stays, unless the layer before it has a bias for the same channels.

    So the network without normalisation can still move every channel, and has no two biases for one.

    Raises:
        UserError: there is no batch norm.
    """
    shifted = _find_shifted_norms(backbone)
    if not replace(backbone, _BatchNorm, lambda norm: _replace_norm(norm, shifted=norm in shifted)):
        raise UserError("no_batch_norm: this backbone has no batch normalisation to take out; leave the variant out")
    return Graft(backbone)


def _find_shifted_norms(backbone: Backbone) -> set[nn.Module]:
    """The norms whose channels come from a layer with a bias: the last one registered before them, by its width."""
    found: set[nn.Module] = set()
    biased = 0
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            width = module.out_channels if isinstance(module, nn.Conv2d) else module.out_features
            biased = 0 if module.bias is None else width
        elif isinstance(module, _BatchNorm) and module.num_features == biased:
            found.add(module)
    return found


def _replace_norm(norm: _BatchNorm, *, shifted: bool) -> nn.Module:
    inside = list(norm.children())  # the activation of timm's norms; torch's have none
    activation = nn.Sequential(*inside) if inside else nn.Identity()
    return ChannelBias(norm.bias, activation) if norm.affine and not shifted else activation
