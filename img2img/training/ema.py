"""Averages of weights: the generators' running one, and that of all the past."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class Ema:
    """average <- decay * average + (1 - decay) * weights, with a warm-up in the first steps."""

    def __init__(self, generators: nn.ModuleDict, decay: float):
        self.decay = decay
        self.average = copy.deepcopy(generators).requires_grad_(False)

    @torch.no_grad()
    def update(self, generators: nn.Module, updates: int) -> None:
        """`updates`: how many came before. Buffers are copied, not averaged."""
        decay = min(self.decay, (1 + updates) / (10 + updates))
        torch._foreach_lerp_([*self.average.parameters()], [*generators.parameters()], 1 - decay)
        for mean, buffer in zip(self.average.buffers(), generators.buffers(), strict=True):
            mean.copy_(buffer)


class Past:
    """The mean of all past weights, to which historical averaging draws the present ones."""

    def __init__(self, module: nn.Module):
        self.mean, self.count = [p.detach().clone() for p in module.parameters()], 0

    def distance(self, module: nn.Module) -> Tensor:
        """|weights - mean|^2 (Salimans et al. 2016, section 3.3); then these weights are past."""
        now = list(module.parameters())
        off = [(p - mean).square().sum() for p, mean in zip(now, self.mean, strict=True)]
        self.count += 1
        with torch.no_grad():
            torch._foreach_lerp_(self.mean, [*now], 1 / self.count)
        return torch.stack(off).sum()

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]
        for mean, saved in zip(self.mean, state["mean"], strict=True):
            mean.copy_(saved)
