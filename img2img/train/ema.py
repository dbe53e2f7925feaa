"""The running average of the generators' weights."""

import copy

import torch
from torch import nn


class Ema:
    """average <- decay * average + (1 - decay) * weights, with a warm-up in the first steps."""

    def __init__(self, generators: nn.Module, decay: float):
        self.decay = decay
        self.average = copy.deepcopy(generators).requires_grad_(False)

    @torch.no_grad()
    def update(self, generators: nn.Module, updates: int) -> None:
        """`updates`: how many came before. Buffers are copied, not averaged."""
        decay = min(self.decay, (1 + updates) / (10 + updates))
        averages, weights = list(self.average.parameters()), list(generators.parameters())
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for mean, buffer in zip(self.average.buffers(), generators.buffers(), strict=True):
            mean.copy_(buffer)
