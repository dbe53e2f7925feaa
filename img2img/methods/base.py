"""The base class of methods: networks and losses, without optimizers, devices or files."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from img2img.data import LAYOUTS
from img2img.data.dataset import Dataset
from img2img.data.sources import Sources
from img2img.errors import UsageError
from img2img.features import channel_weights, feature_network, three_channels
from img2img.intensity import Intensity
from img2img.manifest import Labels, Palette
from img2img.methods.config import MethodConfig
from img2img.methods.critics import Critics
from img2img.methods.cutmix import random_masks
from img2img.methods.fidelity import color_distance, edge_distance, l1, total_variation
from img2img.methods.perceptual import LearnedDistance, feature_distance
from img2img.methods.ssim import ms_ssim
from img2img.methods.step import Batch, Draws, Scene, Side, truth_weights
from img2img.nets.discriminator import Looking
from img2img.nets.generator import Generator
from img2img.nets.init import initialize
from img2img.nets.norm import RunningAveragesKept

# Of two lists of features [N, C, h, w], one for each depth, to a scalar.
FeatureDistance = Callable[[list[Tensor], list[Tensor]], Tensor]


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
    # What the values of inputs and outputs mean, if they are not photographs.
    intensity_in: Intensity | None = None
    intensity_out: Intensity | None = None

    @property
    def mixes(self) -> bool:
        """Whether values of inputs may be averaged, as resizing does: neither labels nor markers of
        missing pixels are among them.
        """
        return not (self.from_labels or (self.intensity_in and self.intensity_in.may_miss))


@dataclass(frozen=True)
class Column:
    """A column of the sample grid."""

    side: str  # "a" or "b", whose pictures it has
    images: Tensor  # [N, C, H, W] in [-1, 1]
    valid: Tensor | None = None  # [N, 1, H, W], 0 at missing pixels; None if none can be


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
    sides: tuple[str, str] = ("a", "b")  # of the source and of the target
    source_valid: Tensor | None = None  # [N, 1, H, W], 0 at missing pixels; None if none can be
    real_valid: Tensor | None = None


class Method(Critics, ABC):
    """The networks and losses of one paper. `img2img.methods.METHODS` lists all methods."""

    name: ClassVar[str]
    Config: ClassVar[type[MethodConfig]]
    # Named groups of settings, flat or nested; "paper" stands for the defaults of Config.
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {}}
    layouts: ClassVar[tuple[str, ...]]  # names in LAYOUTS; the first that accepts the sources opens
    sources_hint: ClassVar[str]  # error message for unsuitable folders: which ones it needs
    translate_hint: ClassVar[str] = ""  # options that `img2img translate` needs with its models
    # Whether a may be stacked from several folders, which a method that translates to a can't give.
    several_inputs: ClassVar[bool] = False
    # The groups of networks (attributes of the method), and the side with which each is updated.
    # Every group has its own optimizer, with the learning rate of its side.
    learners: ClassVar[dict[str, Side]] = {
        "generators": "generators",
        "discriminators": "discriminators",
    }
    update_order: ClassVar[tuple[Side, ...]] = ("discriminators", "generators")
    channels_last: ClassVar[bool] = False  # whether bf16 training is faster in this memory format

    generators: nn.ModuleDict

    def __init__(self, config: MethodConfig):
        super().__init__(config)
        self.eye = feature_network(config.perceptual_network) if config.perceptual else None
        self.distance: FeatureDistance = feature_distance
        if self.eye and config.perceptual_weights:
            self.distance = LearnedDistance(channel_weights(config.perceptual_weights, self.eye))

    def initialize(self) -> None:
        """Draw the initial weights. A subclass calls it at the end of its constructor."""
        initialize(self, self.config.init)
        for discriminator in self.discriminators.values():
            self.config.discriminator.normalize(discriminator)
        for part in self.discriminators.modules():
            if isinstance(part, Looking):
                part.has_alpha = not self.config.intensities

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

        Raises UsageError if none of the method's layouts accepts the sources, or these have several
        folders of a and the method takes one, DataError if a folder is unusable.
        """
        for name in cls.layouts_for(config) if config else cls.layouts:
            if LAYOUTS[name].accepts(sources):
                if sources.more_a and not cls.several_inputs:
                    raise UsageError(
                        f"{cls.name} takes one --a, since it also translates to a, which would "
                        "have to become several files. Use --mode pix2pix or cut, or stack the "
                        "files beforehand."
                    )
                if sources.neighbors and not cls.several_inputs:
                    raise UsageError(
                        f"--neighbors: {cls.name} also translates to a, whose files have one page "
                        "for each picture. Use --mode pix2pix or cut."
                    )
                if sources.neighbors and sources.pages != "each":
                    raise UsageError("--neighbors are of single pages: give --pages each, too.")
                dataset = LAYOUTS[name].open(sources, channels)
                if sources.more_a and not dataset.stacks.further:
                    raise UsageError(
                        f"The layout {name} takes one --a. Stack the files beforehand."
                    )
                pages = sources.pages or "each"
                dataset = replace(dataset, pages=pages, neighbors=sources.neighbors)
                return replace(dataset, intensities=config.intensities) if config else dataset
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
    def turn(self) -> int:
        """The number of steps in which every network is updated at least once."""
        return self.config.d_steps

    def sides(self, step: int) -> tuple[Side, ...]:
        """The sides that are updated in a step, in order; the generators in every `d_steps`-th
        step.
        """
        due = (step + 1) % self.config.d_steps == 0
        return tuple(side for side in self.update_order if due or side == "discriminators")

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

    def where_known(
        self, output: Tensor, valid: Tensor | None, otherwise: Tensor | float = 0.0
    ) -> Tensor:
        """The output [N, C, H, W], with other values where pixels are missing, so that no loss
        depends on what the generator makes of these.

        valid: [N, 1, H, W], a batch's `NAME_valid`: 0 at missing pixels; None if none can be.
        otherwise: what a real picture has there: 0, or the picture that the output is compared to.
        """
        if valid is None:
            return output
        other = otherwise if isinstance(otherwise, Tensor) else output.new_tensor(otherwise)
        return torch.where(valid > 0, output, other.to(output.dtype))

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
        mask = random_masks(image) if self.config.discriminator.cutmix_weight else None
        return Draws(mix, progress, penalty_scale, truths=truths, mask=mask)

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
    def grid(self, batch: Batch) -> dict[str, Column]:
        """The columns of the sample grid by title."""

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
            intensity_in=c.intensities.get(source),
            intensity_out=c.intensities.get(target),
        )

    @abstractmethod
    def exports(self) -> dict[str, ExportSpec]:
        """All exports by direction: "ab", "ba", or "to" if the user chooses the target domain."""

    def fidelity_terms(
        self,
        output: Tensor,
        source: Tensor | None = None,
        alike: tuple[Tensor, Tensor] | None = None,
        features: tuple[list[Tensor], list[Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """The weighted losses on images [N, C, H, W] that all methods have, without those that
        have no weight.

        output: what a generator has translated. source: the input, if the output has to stay
        close to it, or keep its colors and edges. alike: images that should be equal: outputs and
        their targets, or reconstructions and their originals. features: those of both
        (`shared_features`), if they are computed already.
        """
        c, terms = self.config, {}
        if c.tv:
            terms["tv"] = c.tv * total_variation(output)
        if source is not None and c.self_regularization:
            # Shrivastava et al. 2017, equation 4. Its gradient has the same size at each pixel, so
            # changes that the discriminator rewards less than that, such as faint noise, vanish.
            terms["self_regularization"] = c.self_regularization * l1(output, source)
        if source is not None and c.color:
            terms["color"] = c.color * color_distance(output, source)
        if source is not None and c.edges:
            terms["edges"] = c.edges * edge_distance(output, source, not c.intensities)
        if alike and c.ssim:
            terms["ssim"] = c.ssim * (1 - ms_ssim(*alike))
        if alike and self.eye:
            if features is None:
                image, original = (three_channels(x, not c.intensities) for x in alike)
                with torch.no_grad():
                    expected = self.eye(original)
                features = self.eye(image), expected
            terms["perceptual"] = c.perceptual * self.distance(*features)
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


def in_one_call(
    network: Callable[[Tensor], Tensor], *images: Tensor, apart: bool
) -> tuple[Tensor, ...]:
    """The network's outputs for each batch of images [N, C, H, W], from one call unless `apart`."""
    if apart:
        return tuple(network(image) for image in images)
    return torch.split(network(torch.cat(images)), [len(image) for image in images])
