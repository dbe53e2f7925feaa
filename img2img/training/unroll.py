"""Unrolled GANs: the generators look ahead by some steps of the discriminators."""

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from img2img.methods.base import Method
from img2img.methods.step import Batch, Draws, Scene


def unrolled_terms(
    method: Method,
    batch: Batch,
    scene: Scene,
    draws: Draws,
    steps: int,
    optimizer: torch.optim.Adam,
) -> dict[str, Tensor]:
    """The generators' terms with discriminators that are `steps` steps ahead (Metz et al. 2017,
    equations 7 to 10). Gradients also flow through these steps. The discriminators themselves are
    not changed.

    A step is gradient descent with the learning rate that Adam has at present for each weight,
    without momentum.
    """
    names, weights, rates = [], [], []
    for name, weight in method.discriminators.named_parameters(prefix="discriminators"):
        names.append(name)
        weights.append(weight.detach().requires_grad_())
        rates.append(_adam_rate(optimizer, weight))
    ahead = dict(zip(names, weights, strict=True))
    # Copies, because running statistics and vectors of spectral norm change in place.
    buffers = method.discriminators.named_buffers(prefix="discriminators")
    copies = {name: buffer.clone() for name, buffer in buffers}
    for _ in range(steps):
        terms = functional_call(method, ahead | copies, ("discriminators", batch, scene, draws))
        gradients = torch.autograd.grad(
            torch.stack(list(terms.values())).sum(),
            list(ahead.values()),
            create_graph=True,
            allow_unused=True,  # StarGAN's classifier, if its loss has no weight
            materialize_grads=True,
        )
        updates = zip(names, ahead.values(), rates, gradients, strict=True)
        ahead = {name: weight - rate * gradient for name, weight, rate, gradient in updates}
        if bound := method.config.weight_bound:
            ahead = {name: weight.clamp(-bound, bound) for name, weight in ahead.items()}
    generator_terms: dict[str, Tensor] = functional_call(
        method, ahead | copies, ("generators", batch, scene, draws)
    )
    return generator_terms


def _adam_rate(optimizer: torch.optim.Adam, weight: Tensor) -> Tensor | float:
    """Adam's present learning rate for a weight: the rate over the root of the mean square
    gradient.
    """
    group: dict[str, Any] = optimizer.param_groups[0]
    rate: float = group["lr"]
    epsilon: float = group["eps"]
    state = optimizer.state.get(weight)
    if not state:  # before its first step
        return rate
    corrected: Tensor = state["exp_avg_sq"] / (1 - group["betas"][1] ** state["step"])
    return rate / (corrected.sqrt() + epsilon)
