"""The contract of a method: networks and losses, no optimiser, no device, no file."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from img2img.data import LAYOUTS
from img2img.data.dataset import Dataset
from img2img.data.sources import Sources
from img2img.errors import UsageError
from img2img.manifest import Labels, Palette
from img2img.methods.config import MethodConfig
from img2img.methods.disturb import augmented, noisy
from img2img.methods.objectives import (
    OBJECTIVES,
    Adversarial,
    Critic,
    gradient_penalty,
    wide,
    zero_centred_penalty,
)
from img2img.nets.generator import Generator
from img2img.nets.init import initialize
from img2img.nets.minibatch import activations
from img2img.nets.norm import RunningAveragesKept, spectral_normalise

Side = Literal["generators", "discriminators"]
Batch = dict[str, Tensor]  # images [N, C, H, W] in [-1, 1], and labels [N, D], by name
Scene = dict[str, Tensor]  # the images that one step makes, by name


@dataclass(frozen=True)
class Draws:
    """What one step adds to its batch: random tensors, and where in the run it stands. A method
    that draws more has a subclass with more fields: tensors [N, ...] or scalars.
    """

    mix: Tensor  # [N, 1, 1, 1] in [0, 1], where WGAN-GP looks between a real picture and a fake
    progress: Tensor  # the part of the run that is done, 0 to 1, a scalar on the device
    penalty_scale: float  # factor of R1 and R2; a plain number, since 0 leaves them out
    # [N]: what each picture counts in a mean over those that have a truth, so that the mean over
    # all is 1 (0 where none has one); None where the batch does not say which have.
    truths: Tensor | None = field(default=None, kw_only=True)

    def split(self, count: int) -> list[Self]:
        """One for each of `count` equal parts of the batch; a scalar goes to all of them."""
        chunks = {
            name: value.chunk(count)
            for name, value in vars(self).items()
            if isinstance(value, Tensor) and value.ndim
        }
        parts: list[dict[str, Any]] = [
            {name: chunk[number] for name, chunk in chunks.items()} for number in range(count)
        ]
        return [replace(self, **part) for part in parts]


@dataclass(frozen=True)
class ExportSpec:
    """One direction of a trained method, ready to be traced."""

    module: Generator
    in_channels: int
    out_channels: int
    labels: Labels = Labels()  # of the domains it translates to
    statistics: Literal["image", "running"] = "image"  # what the norm layers go by
    from_labels: bool = False  # takes a label map, whose colors must not mix
    palette: Palette = ()  # the colors of a label map that it gives


@dataclass(frozen=True)
class Way:
    """One way of translating, as evaluation and diagnosis look at it: images [N, C, H, W]."""

    source: Tensor
    real: Tensor  # pictures of the target domain; the truths of the source where `paired`
    translate: Callable[[Tensor], Tensor]  # all of the source, in its order
    critic: Critic | None  # scores translations and real ones, the higher the more real
    back: Callable[[Tensor], Tensor] | None = None  # the cycle's second half
    paired: bool = False


class Method(nn.Module, ABC):
    """Networks and losses of one paper. `img2img.methods.METHODS` lists them all."""

    name: ClassVar[str]
    Config: ClassVar[type[MethodConfig]]
    # Settings that go together, by name, flat or nested; "paper" is what the Config has anyway.
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}
    layouts: ClassVar[tuple[str, ...]]  # of LAYOUTS; the first that accepts the sources is opened
    sources_hint: ClassVar[str]  # which folders it needs, in a sentence for those who gave others
    translate_hint: ClassVar[str] = ""  # what `img2img translate` needs beside a model of its
    # The groups of networks, attributes of the method, and in whose turn each learns. Each group
    # has an optimizer of its own; its rate is that of the side.
    learners: ClassVar[dict[str, Side]] = {
        "generators": "generators",
        "discriminators": "discriminators",
    }
    update_order: ClassVar[tuple[Side, ...]] = ("discriminators", "generators")
    pooled: ClassVar[tuple[str, ...]] = ()  # scene images that pass through the image pool
    channels_last: ClassVar[bool] = False  # whether bf16 training is faster in that layout

    generators: nn.ModuleDict
    discriminators: nn.ModuleDict

    def __init__(self, config: MethodConfig):
        super().__init__()
        self.config = config

    def initialize(self) -> None:
        """Draw the initial weights. A subclass calls it when its networks are built."""
        initialize(self, self.config.init)
        if self.config.discriminator.spectral:
            spectral_normalise(self.discriminators)

    @classmethod
    def layouts_for(cls, config: MethodConfig) -> tuple[str, ...]:
        """The layouts among which these settings choose. They read folders that `layouts` find."""
        return cls.layouts

    @classmethod
    def open_data(
        cls, sources: Sources, channels: tuple[int, int], config: MethodConfig | None = None
    ) -> Dataset:
        """The data set in these folders; channels: of a and b, to decode to; config: of a training.

        Raises UsageError for folders that none of the method's layouts accepts, DataError for
        unusable ones.
        """
        for name in cls.layouts_for(config) if config else cls.layouts:
            if LAYOUTS[name].accepts(sources):
                return LAYOUTS[name].open(sources, channels)
        given = ", ".join(sources.options())
        raise UsageError(f"{cls.sources_hint} Given: {given or 'none'}.")

    @classmethod
    def fit_config(cls, config: MethodConfig, dataset: Dataset) -> MethodConfig:
        """The config with what only the data can tell: the colors of label maps, the domains."""
        sides = {"a": config.labels_in is not None, "b": config.labels_out}
        if config.palettes or not any(sides.values()):  # a run that goes on knows them
            return config
        palettes = {side: dataset.palette(side) for side, given in sides.items() if given}
        return config.model_copy(update={"palettes": palettes})

    @property
    def objective(self) -> Adversarial:
        return OBJECTIVES[self.config.objective]

    @property
    def turn(self) -> int:
        """Steps after which everything has had its turn."""
        return self.config.d_steps

    def sides(self, step: int) -> tuple[Side, ...]:
        """Who is updated in a step, in order; the generators in every `d_steps`-th."""
        due = (step + 1) % self.config.d_steps == 0
        return tuple(side for side in self.update_order if due or side == "discriminators")

    def seen(self, image: Tensor, draws: Draws, channels: tuple[int, ...] = ()) -> Tensor:
        """What a discriminator sees in training in place of an image [N, C, H, W]: augmented, and
        with noise that falls to 0 by the end of the run.

        channels: of the pictures that are stacked in the image, by default one picture.
        """
        changed = augmented(image, self.config.augment, channels or (image.shape[1],))
        if not self.config.noise:
            return changed
        return noisy(changed, self.config.noise * (1 - draws.progress))

    def generator(self, name: str) -> Generator:
        """One of `generators`, with its type."""
        generator = self.generators[name]
        assert isinstance(generator, Generator)
        return generator

    def generate(self, name: str, *inputs: Tensor) -> Tensor:
        """What a generator makes in training. With `recompute` the activations are not kept for the
        gradient but made again for it, one call's at a time (Chen et al. 2016, section 4.1).
        """
        generator = self.generators[name]
        image: Tensor
        if not (self.config.recompute and torch.is_grad_enabled()):
            image = generator(*inputs)
            return image

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), RunningAveragesKept(generator)

        image = checkpoint(generator, *inputs, use_reentrant=False, context_fn=contexts)
        return image

    def penalty_scale(self, step: int) -> float:
        """The factor of R1 and R2 in a step. Lazy penalties are computed in every
        `penalty_every`-th step alone and multiplied by `penalty_every` there, which keeps their
        mean (Karras et al. 2020, appendix B).
        """
        every = self.config.penalty_every
        return float(every if step % every == 0 else 0)

    def draws(self, batch: Batch, progress: Tensor, penalty_scale: float) -> Draws:
        """The random tensors of a step on this batch, from torch's global generators."""
        image = next(iter(batch.values()))
        mix = torch.rand(len(image), 1, 1, 1, dtype=image.dtype, device=image.device)
        truths = None
        if "paired" in batch:
            truths = truth_weights(batch["paired"], batch["paired"].mean())
        return Draws(mix, progress, penalty_scale, truths=truths)

    # The scene and the terms are functions of tensors alone: no branch on a tensor's value, nothing
    # that waits for the device, so that they can be recorded as a graph.

    @abstractmethod
    def scene(self, batch: Batch, draws: Draws) -> Scene:
        """The images of one step, computed once and used by both sides."""

    @abstractmethod
    def d_terms(self, batch: Batch, scene: Scene, draws: Draws) -> dict[str, Tensor]:
        """Weighted, named scalars of the discriminators; the scene comes without gradients."""

    @abstractmethod
    def g_terms(self, batch: Batch, scene: Scene, draws: Draws) -> dict[str, Tensor]:
        """Weighted, named scalars of the generators."""

    def forward(self, side: Side, batch: Batch, scene: Scene, draws: Draws) -> dict[str, Tensor]:
        """The terms of a side: what torch.func.functional_call calls with other weights."""
        if side == "discriminators":
            return self.d_terms(batch, scene, draws)
        return self.g_terms(batch, scene, draws)

    @abstractmethod
    def grid(self, batch: Batch) -> dict[str, Tensor]:
        """The columns of the sample grid: named images [N, C, H, W] in [-1, 1]."""

    @abstractmethod
    def ways(self, batch: Batch) -> dict[str, Way]:
        """Every way that it translates, by direction or target domain, on one batch."""

    def direction_spec(self, direction: str) -> ExportSpec:
        """What is exported of the generator of "ab" or "ba"."""
        c = self.config
        channels = {"a": c.in_channels, "b": c.out_channels}
        source, target = direction[0], direction[1]
        return ExportSpec(
            self.generator(direction),
            channels[source],
            channels[target],
            from_labels=source in c.palettes,
            palette=c.palettes.get(target, ()),
        )

    @abstractmethod
    def exports(self) -> dict[str, ExportSpec]:
        """What can be exported, by direction: "ab", "ba", or "to" for a choice of domains."""

    def critic_terms(
        self,
        critic: Critic,
        real: Tensor,
        fake: Tensor,
        draws: Draws,
        weight: float = 1.0,
        apart: bool = True,
    ) -> dict[str, Tensor]:
        """The objective's terms and penalties for a critic of one output, all times weight, so that
        they keep the proportion of the objective's formula.

        apart: judge real pictures and fakes in two calls, because the critic's answer to a picture
        depends on the others in its call.
        """
        apart = apart or self.config.discriminator.compares
        # Fakes first, as the authors do: BatchNorm's averages see the order.
        judged_fake, judged_real = in_one_call(critic, fake, real, apart=apart)
        terms = self.objective.d_terms(judged_real, judged_fake, self.config.smooth)
        terms |= self.penalty_terms(critic, real, fake, draws)
        return {name: weight * term for name, term in terms.items()}

    def penalty_terms(
        self, critic: Critic, real: Tensor, fake: Tensor, draws: Draws
    ) -> dict[str, Tensor]:
        """The weighted penalties on the critic, as the objective and the config want them."""
        c, terms = self.config, {}
        if self.objective.interpolates:
            given = c.gradient_penalty
            weight = self.objective.interpolates if given is None else given
            witness = self.objective.witness(critic, real, fake)
            terms["gradient_penalty"] = weight * gradient_penalty(witness, real, fake, draws.mix)
        scale = draws.penalty_scale
        for (name, weight), images in zip(c.slope_weights.items(), (real, fake), strict=True):
            if weight:
                penalty = zero_centred_penalty(critic, images) if scale else real.new_zeros(())
                terms[name] = scale * weight * penalty
        return terms

    def generator_loss(self, critic: Critic, fake: Tensor, real: Tensor) -> Tensor:
        """The objective's loss of the generator; real ones are only judged where it compares."""
        return self.objective.g_loss(
            critic(fake), critic(real) if self.objective.compares else None
        )

    def matching_terms(
        self, judge: nn.Module, critic: Critic, fake: Tensor, real: Tensor, paired: bool = False
    ) -> dict[str, Tensor]:
        """How far the discriminator's features of fakes are from those of real pictures, weighted.
        critic: it, undisturbed, since two pictures are not augmented alike.

        Of pairs each value (Wang et al. 2018, equation 4), of sets the means over pictures and
        places (Salimans et al. 2016, section 3.1); both as L1, averaged over the layers.
        """
        if not self.config.feature_matching:
            return {}
        with activations(judge) as wanted, torch.no_grad():
            critic(real)
        with activations(judge) as found:
            critic(fake)
        if not paired:
            found, wanted = (
                [wide(layer).mean((0, 2, 3)) for layer in some] for some in (found, wanted)
            )
        off = [l1(a, b) for a, b in zip(found, wanted, strict=True)]
        return {"feature_matching": self.config.feature_matching * torch.stack(off).mean()}


def in_one_call(
    network: Callable[[Tensor], Tensor], *images: Tensor, apart: bool
) -> tuple[Tensor, ...]:
    """The network's answers to each of the images [N, C, H, W], by one call unless `apart`."""
    if apart:
        return tuple(network(image) for image in images)
    return torch.split(network(torch.cat(images)), [len(image) for image in images])


def truth_weights(paired: Tensor, share: Tensor) -> Tensor:
    """`Draws.truths` of flags [N]. share: the mean of the flags over the whole batch, a scalar, so
    that the parts of the batch add up to it.
    """
    return paired / share.clamp(min=1e-12)  # without pairs 0


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference, in full precision."""
    return (wide(a) - wide(b)).abs().mean()
