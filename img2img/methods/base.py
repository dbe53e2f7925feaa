"""The contract of a method: networks and losses, no optimiser, no device, no file."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from img2img.manifest import Labels
from img2img.methods.disturb import Change, augmented, noisy
from img2img.methods.objectives import (
    OBJECTIVES,
    Adversarial,
    Critic,
    ObjectiveName,
    gradient_penalty,
    wide,
    zero_centred_penalty,
)
from img2img.nets.generator import Generator
from img2img.nets.minibatch import Comparison, activations
from img2img.nets.norm import running_averages_kept

Side = Literal["generators", "discriminators"]
Batch = dict[str, Tensor]  # images [N, C, H, W] in [-1, 1], and labels [N, D], by name
Scene = dict[str, Tensor]  # the images that one step makes, by name


Beta = Annotated[float, Field(ge=0, lt=1)]


class MethodConfig(BaseModel):
    """What shapes the training of any method. A method's own Config sets the paper's values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(256, ge=8, description="side of the training crops, pixels")
    resize: int | None = Field(
        None,
        ge=0,
        description="side pictures are resized to before the crop, by default the paper's for "
        "that size; 0: as they are",
    )
    centre_crop: int | None = Field(None, ge=8, description="side cut from the middle, first")
    flip: bool = Field(True, description="mirror half of the pictures")
    in_channels: Literal[1, 3, 4] = Field(
        3, description="of the inputs: 1 grey, 3 colour, 4 with transparency"
    )
    out_channels: Literal[1, 3, 4] = Field(3, description="of what they become")
    batch: int = Field(1, ge=1, description="pictures, or pairs, a step")
    accumulate: int = Field(
        1,
        ge=1,
        description="parts of a batch, one after the other: less memory, and the same result "
        "where no picture is normalised by or compared with others",
    )
    recompute: bool = Field(
        False, description="make a generator's activations again for its gradient: less memory"
    )
    epochs: int | None = Field(200, ge=1, description="passes over the data; not with steps")
    steps: int | None = Field(None, ge=1, description="discriminator steps; not with epochs")
    decay: float = Field(0.5, ge=0, le=1, description="last part in which the rate falls to 0")
    objective: ObjectiveName = Field("bce", description="adversarial; see --list-objectives")
    gradient_penalty: float | None = Field(
        None, ge=0, description="weight of WGAN-GP's; by default the objective's"
    )
    clip: float | None = Field(
        None, gt=0, description="bound of a critic's weights; by default the objective's"
    )
    r1: float | None = Field(None, ge=0, description="weight of R1; by default the objective's")
    r2: float | None = Field(None, ge=0, description="weight of R2; by default the objective's")
    penalty_every: int = Field(
        1, ge=1, description="steps to one with R1 and R2, then as much more"
    )
    smooth: float = Field(0.0, ge=0, lt=0.5, description="taken off the label of real pictures")
    augment: tuple[Change, ...] = Field(
        (),
        description="what discriminators see: any of colour, "
        "translation, cutout, of real and fake alike",
    )
    noise: float = Field(0.0, ge=0, description="on what they see; falls to 0 by the end")
    spectral: bool = Field(False, description="spectral normalisation of the discriminators")
    minibatch: Comparison | None = Field(
        None, description="discriminators see how much a batch differs: std or discrimination"
    )
    feature_matching: float = Field(0.0, ge=0, description="weight: features of fakes as of real")
    generator_lr: float = Field(2e-4, gt=0, description="learning rate")
    discriminator_lr: float = Field(2e-4, gt=0, description="learning rate")
    betas: tuple[Beta, Beta] = Field((0.5, 0.999), description="of Adam")
    d_steps: int = Field(1, ge=1, description="discriminator steps to a generator step")
    unroll: int = Field(
        0, ge=0, le=10, description="discriminator steps that the generators look ahead"
    )
    pool: int = Field(0, ge=0, description="past fakes kept to show the discriminator")
    historical: float = Field(0.0, ge=0, description="weight of the pull to the mean of the past")
    ema: float = Field(0.0, ge=0, lt=1, description="decay a step of the generator's average")
    width: int = Field(64, ge=1, description="channels of the generators' first layer")
    d_width: int = Field(64, ge=1, description="channels of the discriminators' first layer")
    d_layers: int = Field(3, ge=1, description="PatchGAN's strided layers; 3 see 70x70 pixels")

    @field_validator("augment", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """ "colour,cutout" is as good as a list."""
        if isinstance(value, str):
            return tuple(part for part in map(str.strip, value.split(",")) if part)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give epochs or steps, one of the two")
        if OBJECTIVES[self.objective].energy:
            if self.minibatch:
                raise ValueError(f"{self.objective}'s autoencoder compares no pictures (minibatch)")
            if self.size % 2**self.d_layers:
                multiple = 2**self.d_layers
                raise ValueError(
                    f"size {self.size} is no multiple of {multiple}; set d_layers lower"
                )
        if OBJECTIVES[self.objective].answers > 1 and (self.r1 or self.r2):
            raise ValueError(f"{self.objective} has a penalty of its own; leave out r1 and r2")
        if OBJECTIVES[self.objective].clips and self.spectral:
            raise ValueError(f"{self.objective} clips the weights that spectral would scale again")
        objective = OBJECTIVES[self.objective]
        if self.unroll and (objective.interpolates or any(self.slope_weights.values())):
            raise ValueError(
                "unroll would need the slope of the slope of a penalty; leave out one of the two"
            )
        self.require_share(self.batch)
        available = self.load_size or self.centre_crop or self.size
        if available < self.size:
            raise ValueError(f"pictures of {available} px are smaller than the crop of {self.size}")
        return self

    def require_share(self, share: int) -> None:
        """Raise where so many pictures of a batch are too few for one of several processes."""
        if share % self.accumulate:
            raise ValueError(f"{share} pictures can't be split in {self.accumulate} (accumulate)")
        if self.minibatch and share // self.accumulate < 2:
            raise ValueError("minibatch compares the pictures of a batch; set batch=2 or more")

    def require_single(self, norm: str) -> None:
        """Raise where the loss has the slope at single pictures, which BatchNorm has not."""
        penalised = OBJECTIVES[self.objective].interpolates or any(self.slope_weights.values())
        if norm == "batch" and self.batch > 1 and penalised:
            raise ValueError(
                "a penalty on the slope at each picture (wgan-gp, rpgan, mmd, r1, r2) does not go "
                "with a discriminator that normalises over the batch; set norm=instance"
            )

    def without_effect(self) -> dict[str, str]:
        """The settings that change nothing beside the others, each with the reason."""
        name, objective, reasons = self.objective, OBJECTIVES[self.objective], {}
        if not objective.interpolates:
            reasons["gradient_penalty"] = (
                f"{name} has no gradient penalty between real and fake; r1 and r2 go with any"
            )
        if not objective.clips:
            clipped = ", ".join(other for other, found in OBJECTIVES.items() if found.clips)
            reasons["clip"] = f"{name} clips no weights; {clipped} does"
        if not objective.smooths:
            labelled = ", ".join(other for other, found in OBJECTIVES.items() if found.smooths)
            reasons["smooth"] = f"{name} has no labels to smooth; {labelled} have"
        if not any(self.slope_weights.values()):
            reasons["penalty_every"] = "it is for R1 and R2, which have no weight here"
        return reasons

    @property
    def weight_bound(self) -> float:
        """What the critic's weights are clipped to, 0 where they are not."""
        usual = OBJECTIVES[self.objective].clips
        return self.clip if usual and self.clip is not None else usual

    @property
    def slope_weights(self) -> dict[str, float]:
        """Of R1 and R2: the config's, by default the objective's."""
        usual = OBJECTIVES[self.objective].zero_centred
        given = {"r1": self.r1, "r2": self.r2}
        return {name: usual if weight is None else weight for name, weight in given.items()}

    @property
    def load_size(self) -> int:
        """Side pictures are resized to before the crop, 0 for not at all; the papers' 286/256."""
        return round(self.size * 286 / 256) if self.resize is None else self.resize


@dataclass(frozen=True)
class Draws:
    """What one step adds to its batch: random tensors, and where in the run it stands. A method
    that draws more has a subclass with more fields: tensors [N, ...] or scalars.
    """

    mix: Tensor  # [N, 1, 1, 1] in [0, 1], where WGAN-GP looks between a real picture and a fake
    progress: Tensor  # the part of the run that is done, 0 to 1, a scalar on the device
    penalty_scale: float  # factor of R1 and R2; a plain number, since 0 leaves them out

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
    data: ClassVar[type]  # the data set class of img2img.data.folders that it trains on
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

    @classmethod
    def fit_config(cls, config: MethodConfig, dataset: object) -> MethodConfig:
        """The config with what only the data can tell (StarGAN: the domains)."""
        return config

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
            return nullcontext(), running_averages_kept(generator)

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
        return Draws(mix, progress, penalty_scale)

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
        apart = apart or self.config.minibatch is not None
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


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference, in full precision."""
    return (wide(a) - wide(b)).abs().mean()
