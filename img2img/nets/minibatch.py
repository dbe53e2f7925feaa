"""What lets a discriminator compare the pictures of a batch, and others look inside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

Comparison = Literal["std", "discrimination"]


def comparing(comparison: Comparison, channels: int) -> tuple[nn.Module, int]:
    """The layer that adds a comparison to so many channels, and how many there are then."""
    if comparison == "std":
        return MinibatchStd(), channels + 1
    return MinibatchDiscrimination(channels), channels + MinibatchDiscrimination.kernels


class MinibatchStd(nn.Module):
    """[N, C, H, W] -> [N, C + 1, H, W]: the deviation over the batch, averaged over channels and
    places, as one more channel (Karras et al. 2018, section 3). A collapsed generator shows there.
    """

    def forward(self, x: Tensor) -> Tensor:
        deviation = (x.float().var(0, unbiased=False) + 1e-8).sqrt().mean()
        return torch.cat([x, deviation.to(x.dtype).expand(len(x), 1, *x.shape[2:])], 1)


class MinibatchDiscrimination(nn.Module):
    """[N, C, H, W] -> [N, C + kernels, H, W]: how like the others of the batch each picture is, as
    the sum over them of exp(-L1 distance) of learned features (Salimans et al. 2016, section 3.2).

    Place by place, and of fewer kernels than the paper's 100, as this one has no single vector.
    """

    kernels, features = 16, 5  # of each kernel

    def __init__(self, channels: int):
        super().__init__()
        self.project = nn.Conv2d(channels, self.kernels * self.features, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        each = self.project(x).float().unflatten(1, (self.kernels, self.features))
        apart = (each[:, None] - each[None]).abs().sum(3)  # [N, N, kernels, H, W]
        like = (-apart).exp().sum(1) - 1  # without itself
        return torch.cat([x, like.to(x.dtype)], 1)


@contextmanager
def activations(judge: nn.Module) -> Iterator[list[Tensor]]:
    """A list that fills, while the block runs, with what leaves the discriminator's layers."""
    found: list[Tensor] = []
    layers = [layer for layer in judge.modules() if isinstance(layer, nn.LeakyReLU)]
    hooks = [layer.register_forward_hook(lambda _, __, out: found.append(out)) for layer in layers]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
