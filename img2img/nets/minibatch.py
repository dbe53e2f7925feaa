"""Layers by which a discriminator compares the pictures of a batch, and a hook on its features."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

Comparison = Literal["std", "discrimination"]


def comparing(comparison: Comparison, channels: int) -> tuple[nn.Module, int]:
    """The layer that appends a comparison to features of so many channels, and the new number of
    channels.
    """
    if comparison == "std":
        return MinibatchStd(), channels + 1
    return MinibatchDiscrimination(channels), channels + MinibatchDiscrimination.kernels


class MinibatchStd(nn.Module):
    """[N, C, H, W] -> [N, C + 1, H, W]: appends a constant channel, the standard deviation over the
    batch, averaged over channels and positions (Karras et al. 2018, section 3). It is small if the
    generator has collapsed.
    """

    def forward(self, x: Tensor) -> Tensor:
        deviation = (x.float().var(0, unbiased=False) + 1e-8).sqrt().mean()
        return torch.cat([x, deviation.to(x.dtype).expand(len(x), 1, *x.shape[2:])], 1)


class MinibatchDiscrimination(nn.Module):
    """[N, C, H, W] -> [N, C + kernels, H, W]: appends the similarity of each picture to the others
    of the batch, the sum of exp(-L1 distance) of learned features (Salimans et al. 2016, section
    3.2).

    Features are compared at every position, since there is no single vector for a picture; there
    are fewer kernels than the paper's 100.
    """

    kernels, features = 16, 5  # features of each kernel

    def __init__(self, channels: int):
        super().__init__()
        self.project = nn.Conv2d(channels, self.kernels * self.features, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        features = self.project(x).float().unflatten(1, (self.kernels, self.features))
        distance = (features[:, None] - features[None]).abs().sum(3)  # [N, N, kernels, H, W]
        similarity = (-distance).exp().sum(1) - 1  # without the picture itself
        return torch.cat([x, similarity.to(x.dtype)], 1)


@contextmanager
def activations(discriminator: nn.Module) -> Iterator[list[Tensor]]:
    """Record the outputs of the discriminator's LeakyReLU layers.

    Yields a list to which every forward pass within the block appends them, in order.
    """
    outputs: list[Tensor] = []
    layers = [layer for layer in discriminator.modules() if isinstance(layer, nn.LeakyReLU)]
    hooks = [
        layer.register_forward_hook(lambda _, __, output: outputs.append(output))
        for layer in layers
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
