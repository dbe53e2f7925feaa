"""Initial weights, as the papers draw them."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

Init = Literal["normal", "xavier", "torch"]


def initialize(module: nn.Module, init: Init) -> None:
    """Draw the weights of a module's convolutions and norms; torch: leave them as torch did."""
    if init == "normal":
        init_normal(module)
    elif init == "xavier":
        init_xavier(module)


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """Weights of convolutions and linear layers N(0, std), biases 0, norm weights N(1, std)
    (pix2pix, section 6.2).
    """
    _draw(module, lambda weight: nn.init.normal_(weight, 0.0, std), std)


def init_xavier(module: nn.Module, gain: float = 0.02) -> None:
    """Weights of these by the fans (Glorot and Bengio 2010, equation 12, normal) times gain, the
    rest as `init_normal`: what the code of CUT does.
    """
    _draw(module, lambda weight: nn.init.xavier_normal_(weight, gain), 0.02)


def _draw(module: nn.Module, draw: Callable[[Tensor], Tensor], norm_std: float) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            draw(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d | nn.InstanceNorm2d) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, norm_std)
            nn.init.zeros_(layer.bias)
