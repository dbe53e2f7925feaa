"""The training step of any method, and the state that it keeps between steps."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from img2img.errors import UsageError
from img2img.methods.base import Method
from img2img.methods.critics import SIGN
from img2img.methods.step import Batch, Draws, Scene, Side, truth_weights
from img2img.training.accumulate import Part, Terms, repeatable, split, summed
from img2img.training.ema import Ema, Past
from img2img.training.graph import Act, CudaGraphs, Graphs
from img2img.training.pool import Choices, ImagePool
from img2img.training.ranks import Ranks
from img2img.training.runtime import Runtime, seed_step
from img2img.training.schedule import Schedule
from img2img.training.unroll import unrolled_terms

LONG = 5000  # steps from which compiling, which takes minutes, pays off


class Trainer:
    """A method with its optimizers, image pools and weight averages. `step` counts completed steps.

    Raises UsageError if the batch can't be divided between the ranks.
    """

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
        self.rates: dict[Side, float] = {
            "generators": c.generator_lr,
            "discriminators": c.discriminator_lr,
        }
        self.groups = {name: method.get_submodule(name) for name in method.learners}
        self.optimizers = {
            name: self._adam(group, self.rates[method.learners[name]])
            for name, group in self.groups.items()
        }
        self.graphs: Graphs | None = None
        size = math.ceil(
            c.pool / ranks.count
        )  # the pools of all ranks together have the size of the config
        pooled = method.pooled if size else ()
        self.pools = {name: ImagePool(size, runtime.device) for name in pooled}
        self.ema = Ema(method.generators, c.ema) if c.ema else None
        self.past = {n: Past(group) for n, group in self.groups.items() if c.historical}

    def _adam(self, group: nn.Module, rate: float) -> torch.optim.Adam:
        """On a GPU with the rate in a tensor, which a recorded step reads anew."""
        device, betas = self.runtime.device, self.method.config.betas
        if device.type != "cuda":
            fused = device.type == "cpu"
            return torch.optim.Adam(group.parameters(), rate, betas=betas, fused=fused)
        held = torch.tensor(rate, device=device)
        return torch.optim.Adam(group.parameters(), held, betas=betas, fused=True, capturable=True)

    def record(self, say: Callable[[str], None]) -> None:
        """Record steps as CUDA graphs, if they can be. say: takes a message if not."""
        c = self.method.config
        settings = {
            "accumulate": c.accumulate > 1,  # seeds the generators within a step
            "recompute": c.recompute,  # so does this
            "unroll": c.unroll > 0,
            "historical": c.historical > 0,  # counts in Python
        }
        if reasons := ", ".join(name for name, has in settings.items() if has):
            say(f"With {reasons}, steps are not recorded as CUDA graphs, and take longer.")
        else:
            self.graphs = CudaGraphs(self.runtime.device, say)

    def compile_if_it_pays(
        self, setting: bool | None, left: int, say: Callable[[str], None]
    ) -> None:
        """Compile the networks if the setting says so, or by default if it pays off.

        left: the number of steps to do. say: takes a message.
        """
        if setting and self.runtime.miscompiles:
            say(
                "Not compiled, because torch's compiled bf16 code gives wrong gradients on CPUs. "
                "Use --precision fp32 to compile."
            )
        elif setting or (setting is None and self.runtime.compiles and left >= LONG):
            if self.runtime.lacks_compiler:
                say("Not compiled, because there is no C compiler: install gcc for faster steps.")
                return
            self.compile()
            say("Compiling the networks: the first steps take a minute or more.")

    def compile(self) -> None:
        """Compile the networks. Steps are the same except for rounding."""
        c = self.method.config
        networks = list(self.method.generators.values())
        has_penalty = self.method.objective.interpolates or any(c.slope_weights.values())
        # Compiled code has no double backward, and calls no hooks.
        if not (has_penalty or c.unroll or c.feature_matching):
            networks += self.method.discriminators.values()
        for network in networks:
            network.compile(dynamic=False)  # each network has one or two shapes

    def update(self, batch: Batch, draws: Draws | None = None) -> Terms:
        """Do one step on this rank's share of a batch, which is on the device.

        All random numbers are drawn first. Then each side takes its turn, in the order of the
        method: the scene is computed, unless it can be reused from the turn before; then the loss
        terms of the side and their gradients; the gradients are averaged over the ranks, and the
        optimizers of the side update its networks.

        draws: replace the step's own. Returns all weighted terms, detached, by name: "g/..." of the
        generators, "d/..." of the discriminators; and "d/augment", the probability of augmentation,
        if that adapts. Does not wait for the device.
        """
        seed_step(self.seed, self.step, self.ranks.rank)
        method, sides = self.method, self.method.sides(self.step)
        if draws is None:
            draws = self._draws(batch)
        parts = split(batch, draws, self._choices(len(next(iter(batch.values())))))
        self._set_rates()
        turns = partial(self._turns, sides)
        terms = self.graphs.run(sides, turns, parts) if self.graphs else turns(parts)
        if self.ema and "generators" in sides:
            self.ema.update(method.generators, self.step // method.config.d_steps)
        terms |= self._adapt(terms)
        self.step += 1
        return terms

    def _turns(self, sides: tuple[Side, ...], parts: list[Part]) -> Terms:
        """Have each side learn from the parts of a batch.

        No Python branch depends on values of tensors, and what changes from step to step is in
        tensors, so that all this can be recorded.
        """
        terms = Terms()
        for side in sides:
            self._begin_turn(side)
            terms |= summed(self.method, parts, partial(self._backward, side, sides))
            terms |= self._pull_to_past(side)
            self._update_weights(side)
        return terms

    def _draws(self, batch: Batch) -> Draws:
        """The step's own draws. What a truth counts is by the share of all ranks' pictures."""
        method = self.method
        draws = method.draws(batch, self.progress, method.penalty_scale(self.step))
        if self.ranks.count == 1 or draws.truths is None:
            return draws
        share = batch["paired"].mean()
        self.ranks.average([share])
        return replace(draws, truths=truth_weights(batch["paired"], share))

    def _choices(self, pictures: int) -> list[dict[str, Choices]]:
        """The choices of the image pools for each part of the batch."""
        count = self.method.config.accumulate
        return [
            {name: pool.choose(pictures // count) for name, pool in self.pools.items()}
            for _ in range(count)
        ]

    def _begin_turn(self, side: Side) -> None:
        # The generators' turn needs the gradient through the discriminators, not theirs.
        self.method.discriminators.requires_grad_(side == "discriminators")
        for name in self._learners(side):
            self.optimizers[name].zero_grad(set_to_none=True)

    def _backward(self, side: Side, sides: tuple[Side, ...], part: Part) -> Terms:
        """Compute the terms of a side on a part, and add their gradients to its networks'."""
        scene = self._scene(side, sides, part)
        terms = self._terms(side, part, scene)
        count = self.method.config.accumulate
        torch.autograd.backward(torch.stack(list(terms.values())).sum() / count)
        # Only one part's graph is in memory at a time.
        part.scene = _detached(scene) if part.number else scene
        return {f"{side[0]}/{name}": term.detach() / count for name, term in terms.items()}

    def _scene(self, side: Side, sides: tuple[Side, ...], part: Part) -> Scene:
        """The scene of a part. It has a graph if the side learns from it, or, in a whole batch, a
        later side does.
        """
        both = "generators" in sides
        if not part.number:
            return part.scene or self._new_scene(part, graph=both)
        graph = side == "generators"
        if part.scene and not graph:
            return part.scene
        # If it is computed for both sides, only the generators' turn moves the averages.
        with repeatable(self.method, self.runtime.device, moves_averages=graph or not both):
            seed_step(self.seed, self.step, self.ranks.rank, part.number)
            return self._new_scene(part, graph)

    def _new_scene(self, part: Part, graph: bool) -> Scene:
        with torch.set_grad_enabled(graph), self.runtime.autocast():
            scene = self.method.scene(part.batch, part.draws)
            return self.method.looked_at(scene, part.batch, part.draws)

    def _terms(self, side: Side, part: Part, scene: Scene) -> Terms:
        method, batch, draws = self.method, part.batch, part.draws
        with self.runtime.autocast():
            if side == "discriminators":
                scene = _detached(scene)
                for name, pool in self.pools.items():
                    scene[name] = pool.show(scene[name], part.choices[name])
                return method.d_terms(batch, scene, draws)
            if method.config.unroll:
                optimizer = self.optimizers["discriminators"]
                return unrolled_terms(method, batch, scene, draws, method.config.unroll, optimizer)
            return method.g_terms(batch, scene, draws)

    def _pull_to_past(self, side: Side) -> Terms:
        """Compute the term of historical averaging, if the config has one, and add its gradient."""
        if not self.past:
            return {}
        distances = [self.past[name].distance(self.groups[name]) for name in self._learners(side)]
        term = self.method.config.historical * torch.stack(distances).sum()
        torch.autograd.backward(term)
        return {f"{side[0]}/historical": term.detach()}

    def _update_weights(self, side: Side) -> None:
        method = self.method
        for name in self._learners(side):
            gradients = [p.grad for p in self.groups[name].parameters() if p.grad is not None]
            if self.ranks.count > 1:
                self._outside(partial(self.ranks.average, gradients))
            self.optimizers[name].step()
        bound = method.config.weight_bound
        if side == "discriminators" and bound:
            for weight in method.discriminators.parameters():
                weight.data.clamp_(-bound, bound)

    def _outside(self, act: Act) -> None:
        """Do what a recording of the step can't contain."""
        if self.graphs:
            self.graphs.outside(act)
        else:
            act()

    def _set_rates(self) -> None:
        """Give the optimizers the learning rates of this step."""
        for name, optimizer in self.optimizers.items():
            group, rate = optimizer.param_groups[0], self.rate(self.method.learners[name])
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def _adapt(self, terms: Terms) -> Terms:
        """Adapt the probability of augmentation to the signs of all ranks, if it is adaptive."""
        adaptive = self.method.adaptive
        if not adaptive:
            return {}
        signs = [term for name, term in terms.items() if name.startswith(f"d/{SIGN}")]
        sign = torch.stack(signs).mean()
        self.ranks.average([sign])
        adaptive.update(sign, self.method.config.batch)
        return {"d/augment": adaptive.probability.clone()}  # it changes in place

    def _learners(self, side: Side) -> list[str]:
        """The groups of networks that learn in the side's turn."""
        return [name for name, turn in self.method.learners.items() if turn == side]

    def rate(self, side: Side) -> float:
        """The learning rate of the next step."""
        return self.rates[side] * self.schedule.rate_factor(self.step)

    @property
    def progress(self) -> Tensor:
        """The fraction of the run that is done, 0 to 1, a scalar on the device."""
        done = self.schedule.progress(self.step)
        return torch.full(
            (), done, device=self.runtime.device
        )  # no copy from the CPU, which would wait

    def best_generators(self) -> nn.ModuleDict:
        """The average of the generators if the run has one, else the generators."""
        return self.ema.average if self.ema else self.method.generators

    def pool_images(self) -> dict[str, Tensor]:
        """The past fakes of each image pool, [n, C, H, W] on the CPU."""
        return {name: pool.images() for name, pool in self.pools.items()}

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps depend on, except the schedule and the seed."""
        return {
            "step": self.step,
            "method": self.method.state_dict(),
            "optimizers": {name: opt.state_dict() for name, opt in self.optimizers.items()},
            "pools": self.pool_images(),
            "ema": self.ema.average.state_dict() if self.ema else None,
            "past": {name: past.state_dict() for name, past in self.past.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.method.load_state_dict(state["method"])
        for name, optimizer in self.optimizers.items():
            _load_moments(optimizer, state["optimizers"][name])
        for name, pool in self.pools.items():
            pool.load_images(state["pools"][name])
        if self.ema:
            self.ema.average.load_state_dict(state["ema"])
        for name, past in self.past.items():
            past.load_state_dict(state["past"][name])


def _detached(scene: Scene) -> Scene:
    return {name: image.detach() for name, image in scene.items()}


def _load_moments(optimizer: torch.optim.Adam, state: dict[str, Any]) -> None:
    """Load the state of an optimizer, which may be one of another device: with its own options."""
    [own], [saved] = optimizer.param_groups, state["param_groups"]
    options: dict[str, Any] = {name: own[name] for name in ("fused", "capturable")}
    rate = float(saved["lr"])
    options["lr"] = own["lr"].fill_(rate) if isinstance(own["lr"], Tensor) else rate
    optimizer.load_state_dict({**state, "param_groups": [saved | options]})
