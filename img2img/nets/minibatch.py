"""What lets a discriminator compare the pictures of a batch, and others look inside it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MinibatchStd(nn.Module):
    """[N, C, H, W] -> [N, C + 1, H, W]: the deviation over the batch, averaged over channels and
    places, as one more channel (Karras et al. 2018, section 3). A collapsed generator shows there.
    """

    def forward(self, x: Tensor) -> Tensor:
        deviation = (x.float().var(0, unbiased=False) + 1e-8).sqrt().mean()
        return torch.cat([x, deviation.to(x.dtype).expand(len(x), 1, *x.shape[2:])], 1)


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
