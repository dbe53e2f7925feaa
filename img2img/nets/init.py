"""Initial weights by the schemes of the papers."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

Init = Literal["normal", "xavier", "torch"]


class StartCondition(nn.Module):
    """A module whose weights meet a condition at the start of training, however they are drawn."""

    @abstractmethod
    def impose(self) -> None:
        """Make the weights meet the condition, in place, without drawing random numbers.

        `initialize` calls it after it has drawn the weights; a constructor calls it at its end.
        """


class ZeroStart(StartCondition):
    """Layers, one after the other, whose weights and biases are 0 at the start of training."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.impose()

    @torch.no_grad()
    def impose(self) -> None:
        for parameter in self.parameters():
            parameter.zero_()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


def initialize(module: nn.Module, init: Init) -> None:
    """Initialize a module's convolutions, linear layers and norm layers in place.

    init: normal and xavier are the functions below; torch keeps the weights of the constructor.
    With each of them, a `StartCondition` within the module is met in the end.
    """
    if init == "normal":
        init_normal(module)
    elif init == "xavier":
        init_xavier(module)
    for layer in module.modules():
        if isinstance(layer, StartCondition):
            layer.impose()


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """Draw weights of convolutions and linear layers from N(0, std), and weights of norm layers
    from N(1, std); biases become 0 (Isola et al. 2017, section 6.2).
    """
    _draw(module, lambda weight: nn.init.normal_(weight, 0.0, std), std)


def init_xavier(module: nn.Module, gain: float = 0.02) -> None:
    """Draw weights of convolutions and linear layers by Xavier's rule (Glorot and Bengio 2010,
    equation 12, with a normal distribution) times gain, and the rest as `init_normal` does. This is
    the initialization of CUT's published code.
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
