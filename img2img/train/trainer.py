"""One training step of any method, and the state that it carries from step to step."""

from typing import Any

import torch
from torch import Tensor, nn

from img2img.methods.base import Method, Side
from img2img.train.ema import Ema, Past
from img2img.train.pool import ImagePool
from img2img.train.runtime import Runtime, seed_step
from img2img.train.schedule import rate_factor, total_steps
from img2img.train.unroll import unrolled_terms


class Trainer:
    """A method with its optimisers, image pools and average; `step` steps are done."""

    def __init__(self, method: Method, runtime: Runtime, seed: int, epoch_steps: int):
        c = method.config
        self.method = runtime.place_module(method)
        self.runtime, self.seed, self.epoch_steps = runtime, seed, epoch_steps
        self.step = 0
        self.rates = {"generators": c.generator_lr, "discriminators": c.discriminator_lr}
        self.modules: dict[Side, nn.ModuleDict] = {
            "generators": method.generators,
            "discriminators": method.discriminators,
        }
        self.optimizers = {
            side: torch.optim.Adam(
                self.modules[side].parameters(), rate, betas=c.betas, fused=_fused(runtime.device)
            )
            for side, rate in self.rates.items()
        }
        self.pools = {name: ImagePool(c.pool) for name in method.pooled}
        self.ema = Ema(method.generators, c.ema) if c.ema else None
        self.past = {side: Past(self.modules[side]) for side in self.rates if c.historical}

    def update(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step on a batch of the runtime's. Returns every weighted term, detached, by name.

        The scene is computed once; the sides take their turns in the method's order.
        """
        seed_step(self.seed, self.step)
        method, sides = self.method, self.method.sides(self.step)
        now = {
            "penalty_scale": method.penalty_scale(self.step),
            "progress": self.progress,
        }
        batch = {**now, **method.draws(batch), **batch}
        with torch.set_grad_enabled("generators" in sides), self.runtime.autocast():
            scene = method.scene(batch)
        seen = {name: image.detach() for name, image in scene.items()}
        terms: dict[str, Tensor] = {}
        for side in sides:
            # The generators' turn needs the gradient through the discriminators, not theirs.
            method.discriminators.requires_grad_(side == "discriminators")
            with self.runtime.autocast():
                if side == "generators" and method.config.unroll:
                    judges = self.optimizers["discriminators"]
                    parts = unrolled_terms(method, batch, scene, method.config.unroll, judges)
                elif side == "generators":
                    parts = method.g_terms(batch, scene)
                else:
                    pooled = {name: pool.query(seen[name]) for name, pool in self.pools.items()}
                    parts = method.d_terms(batch, seen | pooled)
            if self.past:
                pull = method.config.historical * self.past[side].distance(self.modules[side])
                parts = {**parts, "historical": pull}
            self._descend(side, torch.stack(list(parts.values())).sum())
            if side == "discriminators" and method.objective.clips:
                for weight in method.discriminators.parameters():
                    weight.data.clamp_(-method.config.clip, method.config.clip)
            terms |= {f"{side[0]}/{name}": term.detach() for name, term in parts.items()}
        if self.ema and "generators" in sides:
            self.ema.update(method.generators, self.step // method.config.d_steps)
        self.step += 1
        return terms

    def rate(self, side: Side) -> float:
        """The learning rate of the next step."""
        return self.rates[side] * rate_factor(self.method.config, self.step, self.epoch_steps)

    @property
    def progress(self) -> Tensor:
        """The part of the run that is done, 0 to 1, on the CPU."""
        return torch.tensor(self.step / total_steps(self.method.config, self.epoch_steps))

    def best_generators(self) -> nn.ModuleDict:
        """The average where the run keeps one, else the plain generators."""
        return self.ema.average if self.ema else self.method.generators

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps depend on, the schedule and the seed aside."""
        return {
            "step": self.step,
            "method": self.method.state_dict(),
            "optimizers": {side: opt.state_dict() for side, opt in self.optimizers.items()},
            "pools": {name: pool.images for name, pool in self.pools.items()},
            "ema": self.ema.average.state_dict() if self.ema else None,
            "past": {side: past.state_dict() for side, past in self.past.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.method.load_state_dict(state["method"])
        for side, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][side])
        for name, pool in self.pools.items():
            pool.images = [image.to(self.runtime.device) for image in state["pools"][name]]
        if self.ema:
            self.ema.average.load_state_dict(state["ema"])
        for side, past in self.past.items():
            past.load_state_dict(state["past"][side])

    def _descend(self, side: Side, loss: Tensor) -> None:
        optimizer = self.optimizers[side]
        optimizer.param_groups[0]["lr"] = self.rate(side)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def _fused(device: torch.device) -> bool:
    return device.type in ("cuda", "cpu")
