"""Discriminators as they will be after some more steps, for a generator that looks ahead."""

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from img2img.methods.base import Batch, Draws, Method, Scene


def unrolled_terms(
    method: Method,
    batch: Batch,
    scene: Scene,
    draws: Draws,
    steps: int,
    optimizer: torch.optim.Adam,
) -> dict[str, Tensor]:
    """The generators' terms against discriminators that answered so many steps to the scene; the
    gradient goes through these steps, too, and the discriminators stay as they are
    (Metz et al. 2017, equations 7 to 10).

    A step is plain descent, each weight at the pace that Adam has for it now; its momentum is
    left out.
    """
    names, weights, paces = [], [], []
    for name, weight in method.discriminators.named_parameters(prefix="discriminators"):
        names.append(name)
        weights.append(weight.detach().requires_grad_())
        paces.append(_pace(optimizer, weight))
    now = dict(zip(names, weights, strict=True))
    # Running statistics and spectral vectors move, too: only ahead, not in the module.
    buffers = method.discriminators.named_buffers(prefix="discriminators")
    beside = {name: buffer.clone() for name, buffer in buffers}
    for _ in range(steps):
        terms = functional_call(method, now | beside, ("discriminators", batch, scene, draws))
        slopes = torch.autograd.grad(
            torch.stack(list(terms.values())).sum(),
            list(now.values()),
            create_graph=True,
            allow_unused=True,  # StarGAN's classifier where it has no weight
            materialize_grads=True,
        )
        ahead = zip(names, now.values(), paces, slopes, strict=True)
        now = {name: weight - pace * slope for name, weight, pace, slope in ahead}
        if bound := method.config.weight_bound:
            now = {name: weight.clamp(-bound, bound) for name, weight in now.items()}
    ahead_terms: dict[str, Tensor] = functional_call(
        method, now | beside, ("generators", batch, scene, draws)
    )
    return ahead_terms


def _pace(optimizer: torch.optim.Adam, weight: Tensor) -> Tensor | float:
    """Adam's step of a weight for a slope of 1: the rate over the root of the mean square."""
    group: dict[str, Any] = optimizer.param_groups[0]
    rate: float = group["lr"]
    epsilon: float = group["eps"]
    state = optimizer.state.get(weight)
    if not state:  # before its first step
        return rate
    corrected: Tensor = state["exp_avg_sq"] / (1 - group["betas"][1] ** state["step"])
    return rate / (corrected.sqrt() + epsilon)
