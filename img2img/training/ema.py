"""Averages of weights: the generators' exponential moving average, and the mean of all steps."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class Ema:
    """Exponential moving average: average <- decay * average + (1 - decay) * weights.

    In the first updates the decay is smaller, so that the initial weights are soon forgotten.
    """

    def __init__(self, generators: nn.ModuleDict, decay: float):
        self.decay = decay
        self.average = copy.deepcopy(generators).requires_grad_(False)

    @torch.no_grad()
    def update(self, generators: nn.Module, updates: int) -> None:
        """Average in the weights, and copy the buffers. updates: the number of earlier updates."""
        decay = min(self.decay, (1 + updates) / (10 + updates))
        torch._foreach_lerp_([*self.average.parameters()], [*generators.parameters()], 1 - decay)
        for copied, buffer in zip(self.average.buffers(), generators.buffers(), strict=True):
            copied.copy_(buffer)


class Past:
    """The mean of all past weights, toward which historical averaging pulls the current ones."""

    def __init__(self, module: nn.Module):
        self.mean, self.count = [p.detach().clone() for p in module.parameters()], 0

    def distance(self, module: nn.Module) -> Tensor:
        """The squared distance of the weights from the mean (Salimans et al. 2016, section 3.3), a
        scalar with gradient. Then the weights are averaged into the mean.
        """
        weights = list(module.parameters())
        squares = [(p - mean).square().sum() for p, mean in zip(weights, self.mean, strict=True)]
        self.count += 1
        with torch.no_grad():
            torch._foreach_lerp_(self.mean, [*weights], 1 / self.count)
        return torch.stack(squares).sum()

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]
        for mean, saved in zip(self.mean, state["mean"], strict=True):
            mean.copy_(saved)
