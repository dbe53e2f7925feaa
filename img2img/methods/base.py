"""The base class of methods: networks and losses, without optimizers, devices or files."""

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
from img2img.features import feature_network, three_channels
from img2img.manifest import Labels, Palette
from img2img.methods.adaptive import AdaptiveAugmentation
from img2img.methods.config import MethodConfig
from img2img.methods.disturb import augmented, noisy
from img2img.methods.fidelity import color_distance, edge_distance, total_variation
from img2img.methods.objectives import (
    OBJECTIVES,
    Adversarial,
    Critic,
    gradient_penalty,
    wide,
    zero_centered_penalty,
)
from img2img.methods.perceptual import feature_distance
from img2img.methods.ssim import ms_ssim
from img2img.nets.discriminator import Looking, Scores
from img2img.nets.generator import Generator
from img2img.nets.init import initialize
from img2img.nets.minibatch import activations
from img2img.nets.norm import RunningAveragesKept

Side = Literal["generators", "discriminators"]
Batch = dict[str, Tensor]  # images [N, C, H, W] in [-1, 1], and labels [N, D], by name
SIGN = "sign"  # names the terms of `Method.sign_terms`
Scene = dict[str, Tensor]  # the images that are generated in one step, by name


@dataclass(frozen=True)
class Draws:
    """The inputs of a step beside its batch: random tensors, and the progress of training.

    A method that needs more random tensors adds them in a subclass, as tensors [N, ...] or scalars.
    """

    mix: Tensor  # [N, 1, 1, 1] in [0, 1], WGAN-GP's position between a real picture and a fake
    progress: Tensor  # fraction of training that is done, a scalar on the device
    penalty_scale: float  # factor of R1 and R2; not a tensor, since 0 skips their computation
    # [N]: weights of the pictures in a mean over those that have a target, so that the mean over
    # all is 1 (all 0 if none has one); None if the batch does not tell which pictures have one.
    truths: Tensor | None = field(default=None, kw_only=True)

    def split(self, count: int) -> list[Self]:
        """Split into `count` equal parts along the batch; every part gets the scalars."""
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
    """One direction of a trained method, to be exported."""

    module: Generator
    in_channels: int
    out_channels: int
    labels: Labels = Labels()  # the domains that it can translate to
    statistics: Literal["image", "running"] = "image"  # statistics that norm layers use
    from_labels: bool = False  # whether the input is a label map, whose colors must not mix
    palette: Palette = ()  # the colors of the output, if it is a label map


@dataclass(frozen=True)
class Way:
    """A direction of translation, for evaluation and diagnosis. Images are [N, C, H, W]."""

    source: Tensor
    real: Tensor  # pictures of the target domain; if `paired`, the targets of the source, in order
    translate: Callable[[Tensor], Tensor]  # takes the whole source, in its order
    # Scores pictures of the target domain, [N, P]; higher means more realistic.
    critic: Callable[[Tensor], Tensor] | None
    back: Callable[[Tensor], Tensor] | None = None  # translates back to the source's domain
    paired: bool = False


class Method(nn.Module, ABC):
    """The networks and losses of one paper. `img2img.methods.METHODS` lists all methods."""

    name: ClassVar[str]
    Config: ClassVar[type[MethodConfig]]
    # Named groups of settings, flat or nested; "paper" stands for the defaults of Config.
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}
    layouts: ClassVar[tuple[str, ...]]  # names in LAYOUTS; the first that accepts the sources opens
    sources_hint: ClassVar[str]  # error message for unsuitable folders: which ones it needs
    translate_hint: ClassVar[str] = ""  # options that `img2img translate` needs with its models
    # The groups of networks (attributes of the method), and the side with which each is updated.
    # Every group has its own optimizer, with the learning rate of its side.
    learners: ClassVar[dict[str, Side]] = {
        "generators": "generators",
        "discriminators": "discriminators",
    }
    update_order: ClassVar[tuple[Side, ...]] = ("discriminators", "generators")
    pooled: ClassVar[tuple[str, ...]] = ()  # names of scene images that pass through the image pool
    # What each discriminator is shown in a step: the names of a generated picture of the scene, and
    # of pictures of the batch.
    shown: ClassVar[dict[str, tuple[str, ...]]] = {}
    channels_last: ClassVar[bool] = False  # whether bf16 training is faster in this memory format

    generators: nn.ModuleDict
    discriminators: nn.ModuleDict

    def __init__(self, config: MethodConfig):
        super().__init__()
        self.config = config
        target = config.augment_target if config.augment else None
        self.adaptive = AdaptiveAugmentation(target, config.augment_ramp) if target else None
        self.eye = feature_network(config.perceptual_network) if config.perceptual else None

    def initialize(self) -> None:
        """Draw the initial weights. A subclass calls it at the end of its constructor."""
        initialize(self, self.config.init)
        for discriminator in self.discriminators.values():
            self.config.discriminator.normalize(discriminator)

    @classmethod
    def layouts_for(cls, config: MethodConfig) -> tuple[str, ...]:
        """The layouts that may be opened with these settings; they read what `layouts` find."""
        return cls.layouts

    @classmethod
    def open_data(
        cls, sources: Sources, channels: tuple[int, int], config: MethodConfig | None = None
    ) -> Dataset:
        """Open the data set in these folders. channels: to which pictures of a and b are decoded.
        config: the settings, if it is opened for training.

        Raises UsageError if none of the method's layouts accepts the sources, DataError if a folder
        is unusable.
        """
        for name in cls.layouts_for(config) if config else cls.layouts:
            if LAYOUTS[name].accepts(sources):
                return LAYOUTS[name].open(sources, channels)
        given = ", ".join(sources.options())
        raise UsageError(f"{cls.sources_hint} Given: {given or 'none'}.")

    @classmethod
    def fit_config(cls, config: MethodConfig, dataset: Dataset) -> MethodConfig:
        """The config, completed by what is read from the data: the colors of label maps, the
        domains.
        """
        has_labels = {"a": config.labels_in is not None, "b": config.labels_out}
        if config.palettes or not any(has_labels.values()):  # a resumed run has them
            return config
        palettes = {side: dataset.palette(side) for side, has in has_labels.items() if has}
        return config.model_copy(update={"palettes": palettes})

    @property
    def objective(self) -> Adversarial:
        return OBJECTIVES[self.config.objective]

    @property
    def turn(self) -> int:
        """The number of steps in which every network is updated at least once."""
        return self.config.d_steps

    def sides(self, step: int) -> tuple[Side, ...]:
        """The sides that are updated in a step, in order; the generators in every `d_steps`-th
        step.
        """
        due = (step + 1) % self.config.d_steps == 0
        return tuple(side for side in self.update_order if due or side == "discriminators")

    def seen(self, image: Tensor, draws: Draws, channels: tuple[int, ...] = ()) -> Tensor:
        """The image [N, C, H, W] as discriminators see it in training: augmented, and with noise
        that falls to 0 by the end of the run.

        channels: channels of each picture that is concatenated in the image; by default it is one.
        """
        probability = self.adaptive.probability if self.adaptive else None
        channels = channels or (image.shape[1],)
        changed = augmented(image, self.config.augment, channels, probability)
        if not self.config.noise:
            return changed
        return noisy(changed, self.config.noise * (1 - draws.progress))

    def looked_at(self, scene: Scene, batch: Batch, draws: Draws) -> Scene:
        """The scene, with the frozen features of the pictures that discriminators are shown, which
        both sides use. Pictures that are shown together are augmented alike.
        """
        looks = dict(scene)
        for name, shown in self.shown.items():
            judge = self._looking(name)
            if judge is None or self._passes_a_pool(shown):
                continue
            pictures = [scene[each] if each in scene else batch[each] for each in shown]
            channels = [picture.shape[1] for picture in pictures]
            seen = self.seen(torch.cat(pictures, 1), draws, tuple(channels))
            for each, view in zip(shown, torch.split(seen, channels, 1), strict=True):
                with torch.set_grad_enabled(torch.is_grad_enabled() and each in scene):
                    features = judge.look(view)
                looks |= {f"{name}/{each}/{n}": x for n, x in enumerate([view, *features])}
        return looks

    def _looking(self, name: str) -> Looking | None:
        """The discriminator of that name, if it looks through frozen networks."""
        judge = self.discriminators[name]
        return judge if isinstance(judge, Looking) and judge.networks else None

    def _passes_a_pool(self, shown: tuple[str, ...]) -> bool:
        """Whether the discriminators' turn replaces one of these pictures by earlier ones."""
        return self.config.pool > 0 and any(name in self.pooled for name in shown)

    def judge(
        self, name: str, pictures: tuple[Tensor, ...], batch: Batch, scene: Scene, draws: Draws
    ) -> Any:
        """The output of a discriminator in training for pictures [N, C, H, W], which are augmented
        alike and concatenated.

        Features that are in the scene (`looked_at`) are used.
        """
        if looking := self._looking(name):
            views = [self._view(name, picture, batch, scene) for picture in pictures]
            if all(views):
                image = torch.cat([view[0] for view in views], 1)
                return looking.score(image, [view[1:] for view in views])
        channels = tuple(picture.shape[1] for picture in pictures)
        return self.discriminators[name](self.seen(torch.cat(pictures, 1), draws, channels))

    def _view(self, name: str, picture: Tensor, batch: Batch, scene: Scene) -> list[Tensor]:
        """The augmented picture and its features from the scene, or an empty list."""
        for shown in self.shown.get(name, ()):
            if (scene[shown] if shown in scene else batch.get(shown)) is picture:
                prefix = f"{name}/{shown}/"
                return [scene[key] for key in scene if key.startswith(prefix)]
        return []

    def generator(self, name: str) -> Generator:
        """The generator of that name, typed as a Generator."""
        generator = self.generators[name]
        assert isinstance(generator, Generator)
        return generator

    def generate(self, name: str, *inputs: Tensor) -> Tensor:
        """Run a generator in training. With `recompute`, its activations are not stored but
        computed again in the backward pass, one call at a time (Chen et al. 2016, section 4.1).
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
        """The factor of R1 and R2 in a step. Lazy penalties are computed only in every
        `penalty_every`-th step, and multiplied by `penalty_every` to keep their mean (Karras et al.
        2020, appendix B).
        """
        every = self.config.penalty_every
        return float(every if step % every == 0 else 0)

    def draws(self, batch: Batch, progress: Tensor, penalty_scale: float) -> Draws:
        """Draw the random tensors of a step on this batch from torch's global generators."""
        image = next(iter(batch.values()))
        mix = torch.rand(len(image), 1, 1, 1, dtype=image.dtype, device=image.device)
        truths = None
        if "paired" in batch:
            truths = truth_weights(batch["paired"], batch["paired"].mean())
        return Draws(mix, progress, penalty_scale, truths=truths)

    # The scene and the terms are pure functions of tensors: they neither branch on a tensor's value
    # nor wait for the device, so that they can be recorded as a graph.

    @abstractmethod
    def scene(self, batch: Batch, draws: Draws) -> Scene:
        """Generate the images of a step, which both sides use. Values are [N, C, H, W]."""

    @abstractmethod
    def d_terms(self, batch: Batch, scene: Scene, draws: Draws) -> dict[str, Tensor]:
        """The weighted losses of the discriminators by name, scalars. The scene is detached.

        With adaptive augmentation, the terms of `sign_terms` are among them.
        """

    @abstractmethod
    def g_terms(self, batch: Batch, scene: Scene, draws: Draws) -> dict[str, Tensor]:
        """The weighted losses of the generators by name, scalars."""

    def forward(self, side: Side, batch: Batch, scene: Scene, draws: Draws) -> dict[str, Tensor]:
        """The losses of a side. torch.func.functional_call calls this with other weights."""
        if side == "discriminators":
            return self.d_terms(batch, scene, draws)
        return self.g_terms(batch, scene, draws)

    @abstractmethod
    def grid(self, batch: Batch) -> dict[str, Tensor]:
        """The columns of the sample grid by title: images [N, C, H, W] in [-1, 1]."""

    @abstractmethod
    def ways(self, batch: Batch) -> dict[str, Way]:
        """All directions of translation on a batch, by direction or target domain."""

    def direction_spec(self, direction: str) -> ExportSpec:
        """The export of the generator "ab" or "ba"."""
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
        """All exports by direction: "ab", "ba", or "to" if the user chooses the target domain."""

    def critic_terms(
        self,
        critic: Critic,
        real: Tensor,
        fake: Tensor,
        draws: Draws,
        weight: float = 1.0,
        apart: bool = True,
    ) -> dict[str, Tensor]:
        """The losses of a discriminator by the objective, with penalties. `weight` multiplies all
        of them, so that they keep the proportions of the objective's formula.

        apart: score real pictures and fakes in two calls, because the critic's score of a picture
        depends on the other pictures of its call.
        """
        apart = apart or self.config.discriminator.compares
        # Fakes come first, as in the authors' code: the order affects BatchNorm's averages.
        if apart:
            fake_scores, real_scores = Scores.of(critic(fake)), Scores.of(critic(real))
        else:
            both = Scores.of(critic(torch.cat([fake, real])))
            fake_scores, real_scores = both.split([len(fake), len(real)])
        terms = self.score_terms(real_scores, fake_scores)
        terms |= self.penalty_terms(critic, real, fake, draws)
        weighted = {name: weight * term for name, term in terms.items()}
        return weighted | self.sign_terms(real_scores, fake_scores)

    def score_terms(self, real: Scores, fake: Scores) -> dict[str, Tensor]:
        """The losses of a discriminator by the objective, without penalties."""
        terms: dict[str, Tensor] = {}
        for r, f, weight in zip(real.maps, fake.maps, real.weights, strict=True):
            for name, term in self.objective.d_terms(r, f, self.config.smooth).items():
                terms[name] = terms[name] + weight * term if name in terms else weight * term
        return terms

    def sign_terms(self, real: Scores, fake: Scores) -> dict[str, Tensor]:
        """The mean sign of a discriminator's answers to real pictures, which adaptive augmentation
        follows; empty without it. It has no gradient, so that it has no effect as a loss.
        """
        if not self.adaptive:
            return {}
        margins = self.objective.margins(real.flat(), fake.flat())
        return {SIGN: margins.detach().sign().mean()}

    def generator_score_loss(self, fake: Scores, real: Scores | None) -> Tensor:
        """The adversarial loss of the generator, given scores. real: if the objective compares."""
        losses = [
            weight * self.objective.g_loss(each, real.maps[number] if real else None)
            for number, (each, weight) in enumerate(zip(fake.maps, fake.weights, strict=True))
        ]
        return torch.stack(losses).sum()

    def penalty_terms(
        self, critic: Critic, real: Tensor, fake: Tensor, draws: Draws
    ) -> dict[str, Tensor]:
        """The weighted penalties on the critic that the objective and the config ask for."""
        c, terms = self.config, {}
        if self.objective.interpolates:
            weight = c.gradient_penalty
            weight = self.objective.interpolates if weight is None else weight
            witness = self.objective.witness(critic, real, fake)
            terms["gradient_penalty"] = weight * gradient_penalty(witness, real, fake, draws.mix)
        scale = draws.penalty_scale
        for (name, weight), images in zip(c.slope_weights.items(), (real, fake), strict=True):
            if weight:
                penalty = zero_centered_penalty(critic, images) if scale else real.new_zeros(())
                terms[name] = scale * weight * penalty
        return terms

    def generator_loss(self, critic: Critic, fake: Tensor, real: Tensor) -> Tensor:
        """The adversarial loss of the generator. Real pictures are scored only if the objective
        compares them with fakes.
        """
        real_scores = Scores.of(critic(real)) if self.objective.compares else None
        return self.generator_score_loss(Scores.of(critic(fake)), real_scores)

    def fidelity_terms(
        self,
        output: Tensor,
        source: Tensor | None = None,
        alike: tuple[Tensor, Tensor] | None = None,
        features: tuple[list[Tensor], list[Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """The weighted losses on images [N, C, H, W] that all methods have, without those that
        have no weight.

        output: what a generator has translated. source: the input, if the output has to keep its
        colors and edges. alike: images that should be equal: outputs and their targets, or
        reconstructions and their originals. features: those of both (`shared_features`), if they
        are computed already.
        """
        c, terms = self.config, {}
        if c.tv:
            terms["tv"] = c.tv * total_variation(output)
        if source is not None and c.color:
            terms["color"] = c.color * color_distance(output, source)
        if source is not None and c.gradient:
            terms["gradient"] = c.gradient * edge_distance(output, source)
        if alike and c.ssim:
            terms["ssim"] = c.ssim * (1 - ms_ssim(*alike))
        if alike and self.eye:
            if features is None:
                image, original = map(three_channels, alike)
                with torch.no_grad():
                    expected = self.eye(original)
                features = self.eye(image), expected
            terms["perceptual"] = c.perceptual * feature_distance(*features)
        return terms

    def shared_features(
        self, discriminator: str, output: Tensor, target: Tensor, batch: Batch, scene: Scene
    ) -> tuple[list[Tensor], list[Tensor]] | None:
        """The features of two images that a discriminator is shown, if they are those of the
        perceptual loss. The images are then augmented alike.
        """
        looking = self._looking(discriminator)
        if not (self.eye and looking):
            return None
        first, second = (
            looking.features_of(self.eye.name, self._view(discriminator, image, batch, scene)[1:])
            for image in (output, target)
        )
        return (first, second) if first and second else None

    def matching_terms(
        self,
        discriminator: nn.Module,
        critic: Critic,
        fake: Tensor,
        real: Tensor,
        paired: bool = False,
    ) -> dict[str, Tensor]:
        """The feature matching loss of the generator, weighted; empty if it has no weight. It is
        the L1 distance between the discriminator's features of fakes and of real pictures, averaged
        over its layers.

        discriminator: the network whose features are compared. critic: calls it on a picture
        without augmentation, since two pictures are not augmented alike. paired: compare every
        value (Wang et al. 2018, equation 4), instead of the means over pictures and positions
        (Salimans et al. 2016, section 3.1).
        """
        if not self.config.feature_matching:
            return {}
        with activations(discriminator) as real_features, torch.no_grad():
            critic(real)
        with activations(discriminator) as fake_features:
            critic(fake)
        distances = [
            l1(a, b) if paired else l1(_channel_means(a), _channel_means(b))
            for a, b in zip(fake_features, real_features, strict=True)
        ]
        return {"feature_matching": self.config.feature_matching * torch.stack(distances).mean()}


def _channel_means(features: Tensor) -> Tensor:
    """Features [N, C, H, W] -> their means over pictures and positions [C], in full precision."""
    return wide(features).mean((0, 2, 3))


def in_one_call(
    network: Callable[[Tensor], Tensor], *images: Tensor, apart: bool
) -> tuple[Tensor, ...]:
    """The network's outputs for each batch of images [N, C, H, W], from one call unless `apart`."""
    if apart:
        return tuple(network(image) for image in images)
    return torch.split(network(torch.cat(images)), [len(image) for image in images])


def truth_weights(paired: Tensor, share: Tensor) -> Tensor:
    """`Draws.truths` from flags [N]. share: the mean of the flags over the whole batch, a scalar,
    so that the parts of the batch add up.
    """
    return paired / share.clamp(min=1e-12)  # without pairs 0


def flat(critic: Critic) -> Callable[[Tensor], Tensor]:
    """The critic as a function that returns all scores of each image, [N, P]."""
    return lambda image: Scores.of(critic(image)).flat()


def l1(a: Tensor, b: Tensor) -> Tensor:
    """The mean absolute difference, a scalar, in full precision."""
    return (wide(a) - wide(b)).abs().mean()
