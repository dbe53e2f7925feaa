"""One training step of any method, and the state that it carries from step to step."""

import contextlib
import math
from typing import Any

import torch
from torch import Tensor, nn

from img2img.errors import UsageError
from img2img.methods.base import Batch, Method, Scene, Side
from img2img.nets.norm import PartAverages, running_averages_kept
from img2img.training.ema import Ema, Past
from img2img.training.pool import ImagePool
from img2img.training.ranks import Ranks
from img2img.training.runtime import Runtime, seed_step
from img2img.training.schedule import Schedule
from img2img.training.unroll import unrolled_terms


class Trainer:
    """A method with its optimisers, image pools and average; `step` steps are done."""

    def __init__(
        self,
        method: Method,
        runtime: Runtime,
        seed: int,
        schedule: Schedule,
        ranks: Ranks = Ranks(),  # noqa: B008, it is immutable
    ):
        c = method.config
        try:
            c.require_share(ranks.share(c.batch))
        except ValueError as error:
            raise UsageError(f"{error}, with {ranks.count} processes.") from None
        self.method, self.ranks = runtime.place_module(method), ranks
        ranks.copy_first(method)
        self.runtime, self.seed, self.schedule = runtime, seed, schedule
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
        size = math.ceil(c.pool / ranks.count)  # all together keep as many
        self.pools = {name: ImagePool(size) for name in method.pooled}
        self.ema = Ema(method.generators, c.ema) if c.ema else None
        self.past = {side: Past(self.modules[side]) for side in self.rates if c.historical}

    def compile(self) -> None:
        """Let torch compile the networks: a step is the same but for rounding."""
        c = self.method.config
        networks = list(self.method.generators.values())
        penalised = self.method.objective.interpolates or any(c.slope_weights.values())
        # Compiled code can't differentiate a gradient, and calls no hooks.
        if not (penalised or c.unroll or c.feature_matching):
            networks += self.method.discriminators.values()
        for network in networks:
            network.compile(dynamic=False)  # one or two shapes a network, each worth its own code

    def update(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step on this rank's share of a batch, of the runtime's. Returns every weighted term
        of it, detached, by name.

        The scene is computed once; the sides take their turns in the method's order.
        """
        seed_step(self.seed, self.step, self.ranks.rank)
        method, sides = self.method, self.method.sides(self.step)
        now = {
            "penalty_scale": method.penalty_scale(self.step),
            "progress": self.progress,
        }
        pictures = len(next(iter(batch.values())))
        parts = self._split({**now, **method.draws(batch), **batch}, pictures)
        scenes: list[Scene | None] = [None] * len(parts)
        terms: dict[str, Tensor] = {}
        for side in sides:
            # The generators' turn needs the gradient through the discriminators, not theirs.
            method.discriminators.requires_grad_(side == "discriminators")
            self.optimizers[side].zero_grad(set_to_none=True)
            averages = PartAverages(method) if len(parts) > 1 else None
            for number, part in enumerate(parts):
                graph = "generators" in sides if len(parts) == 1 else side == "generators"
                scene = scenes[number]
                if averages and (scene is None or graph):
                    # Where it is computed for both sides, the generators' moves the averages.
                    moves = graph or "generators" not in sides
                    scene = self._scene_of_part(part, graph, number, moves)
                elif scene is None:
                    scene = self._scene(part, graph)
                found = self._terms(side, part, scene)
                (torch.stack(list(found.values())).sum() / len(parts)).backward()
                # Of several parts only one's graph is held at a time.
                scenes[number] = scene if len(parts) == 1 else _detached(scene)
                for name, term in found.items():
                    name = f"{side[0]}/{name}"
                    part_of_it = term.detach() / len(parts) if len(parts) > 1 else term.detach()
                    terms[name] = terms[name] + part_of_it if name in terms else part_of_it
                if averages:
                    averages.end_part()
            if averages:
                averages.end()
            if self.past:
                pull = method.config.historical * self.past[side].distance(self.modules[side])
                pull.backward()
                terms[f"{side[0]}/historical"] = pull.detach()
            self._descend(side)
        if self.ema and "generators" in sides:
            self.ema.update(method.generators, self.step // method.config.d_steps)
        self.step += 1
        return terms

    def _split(self, batch: Batch, pictures: int) -> list[Batch]:
        """The parts whose gradients are added up; what is no picture's own goes to all of them."""
        count = self.method.config.accumulate
        if count == 1:
            return [batch]
        own = {name for name, value in batch.items() if value.ndim and len(value) == pictures}
        return [
            {
                name: value.chunk(count)[number] if name in own else value
                for name, value in batch.items()
            }
            for number in range(count)
        ]

    def _scene(self, batch: Batch, graph: bool) -> Scene:
        """With `graph`, the generators can learn from it."""
        with torch.set_grad_enabled(graph), self.runtime.autocast():
            return self.method.scene(batch)

    def _scene_of_part(self, batch: Batch, graph: bool, number: int, moves: bool) -> Scene:
        """The same each time. Without `moves`, BatchNorm's averages stay where they are."""
        devices = [self.runtime.device] if self.runtime.device.type == "cuda" else []
        kept = contextlib.nullcontext() if moves else running_averages_kept(self.method.generators)
        with torch.random.fork_rng(devices), kept:
            seed_step(self.seed, self.step, self.ranks.rank, number + 1)  # a 0 is no number more
            return self._scene(batch, graph)

    def _terms(self, side: Side, batch: Batch, scene: Scene) -> dict[str, Tensor]:
        method = self.method
        with self.runtime.autocast():
            if side == "discriminators":
                seen = _detached(scene)
                pooled = {name: pool.query(seen[name]) for name, pool in self.pools.items()}
                return method.d_terms(batch, seen | pooled)
            if method.config.unroll:
                judges = self.optimizers["discriminators"]
                return unrolled_terms(method, batch, scene, method.config.unroll, judges)
            return method.g_terms(batch, scene)

    def rate(self, side: Side) -> float:
        """The learning rate of the next step."""
        return self.rates[side] * self.schedule.rate_factor(self.step)

    @property
    def progress(self) -> Tensor:
        """The part of the run that is done, 0 to 1, on the CPU."""
        return torch.tensor(self.schedule.progress(self.step))

    def best_generators(self) -> nn.ModuleDict:
        """The average where the run keeps one, else the plain generators."""
        return self.ema.average if self.ema else self.method.generators

    def pool_images(self) -> dict[str, list[Tensor]]:
        return {name: [image.cpu() for image in pool.images] for name, pool in self.pools.items()}

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps depend on, the schedule and the seed aside."""
        return {
            "step": self.step,
            "method": self.method.state_dict(),
            "optimizers": {side: opt.state_dict() for side, opt in self.optimizers.items()},
            "pools": self.pool_images(),
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

    def _descend(self, side: Side) -> None:
        optimizer, method = self.optimizers[side], self.method
        self.ranks.average([p.grad for p in self.modules[side].parameters() if p.grad is not None])
        optimizer.param_groups[0]["lr"] = self.rate(side)
        optimizer.step()
        bound = method.config.weight_bound
        if side == "discriminators" and bound:
            for weight in method.discriminators.parameters():
                weight.data.clamp_(-bound, bound)


def _detached(scene: Scene) -> Scene:
    return {name: image.detach() for name, image in scene.items()}


def _fused(device: torch.device) -> bool:
    return device.type in ("cuda", "cpu")
