"""The base class of the settings of methods, with the settings of their networks."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    Field,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)

from img2img.methods.cutmix import require_fitting
from img2img.methods.disturb import Change
from img2img.methods.fidelity import PictureLosses
from img2img.methods.objectives import OBJECTIVES
from img2img.methods.preprocessing import Preprocessing
from img2img.methods.route import TABLES, Spelling, route, rows_of, spellings
from img2img.nets.config import COMMAS, chosen
from img2img.nets.discriminator import DiscriminatorConfig
from img2img.nets.generator import GeneratorConfig
from img2img.nets.init import Init

Beta = Annotated[float, Field(ge=0, lt=1)]


class MethodConfig(PictureLosses, Preprocessing):
    """The settings that all methods share. A method's subclass sets the defaults of its paper.

    Settings of the networks are nested in `generator` and `discriminator`, and may also be given
    flat: `Config(generator="resnet", width=32, d_layers=2)` (see img2img.methods.route). Raises
    pydantic's ValidationError for settings that are not allowed or do not go together.
    """

    default_generator: ClassVar[str]  # a name in GENERATORS
    default_discriminator: ClassVar[str] = "patch"  # a name in DISCRIMINATORS
    # The method's defaults for settings of its networks, where these have such a setting.
    generator_defaults: ClassVar[dict[str, Any]] = {}
    discriminator_defaults: ClassVar[dict[str, Any]] = {}
    one_hot: ClassVar[bool] = False  # allows labels_in=one-hot: inputs need no gradient
    conditional: ClassVar[bool] = False  # generators take a domain, discriminators classify it
    contrastive: ClassVar[bool] = False  # its losses compare features of `Generator.encode`

    batch: int = Field(1, ge=1, description="Pictures, or pairs, in each step.")
    accumulate: int = Field(
        1,
        ge=1,
        description="Number of equal parts in which the gradients of a batch are computed, one "
        "after another, to save memory. The result is the same unless a layer normalizes over the "
        "batch or compares its pictures.",
    )
    recompute: bool = Field(
        False,
        description="Recompute the generators' activations in the backward pass instead of storing "
        "them, to save memory.",
    )
    epochs: int | None = Field(
        200, ge=1, description="Length of training in passes over the data, instead of steps."
    )
    steps: int | None = Field(
        None, ge=1, description="Length of training in discriminator steps, instead of epochs."
    )
    decay: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Final fraction of training over which the learning rates fall linearly to 0.",
    )
    objective: str = Field(
        "bce", description="Adversarial objective; --list-objectives prints the formulas."
    )
    gradient_penalty: float | None = Field(
        None,
        ge=0,
        description="Weight of the WGAN-GP gradient penalty. By default the objective's.",
    )
    clip: float | None = Field(
        None,
        gt=0,
        description="Bound to which a critic's weights are clipped. By default the objective's.",
    )
    r1: float | None = Field(
        None,
        ge=0,
        description="Weight of R1, the squared gradient norm of the discriminators at real "
        "pictures. By default the objective's.",
    )
    r2: float | None = Field(
        None,
        ge=0,
        description="Weight of R2, the same at generated pictures. By default the objective's.",
    )
    penalty_every: int = Field(
        1,
        ge=1,
        description="Compute R1 and R2 only in every N-th step, with N times the weight, to save "
        "time.",
    )
    smooth: float = Field(
        0.0, ge=0, lt=0.5, description="Label smoothing: real pictures have the label 1 - smooth."
    )
    augment: Annotated[tuple[Change, ...], COMMAS] = Field(
        (),
        description="Differentiable augmentations of what the discriminators see, real and "
        "generated alike: any of colour, translation and cutout, separated by commas.",
    )
    augment_target: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Apply each augmentation with a probability that adapts to overfitting: it "
        "rises while the discriminators recognize more real pictures than that, on a scale from 0 "
        "(by chance) to 1 (all), and falls while they recognize fewer. The paper's is 0.6.",
    )
    augment_ramp: int = Field(
        20_000,
        ge=1,
        description="Number of pictures in which the probability of augmentation can go from 0 to "
        "1.",
    )
    noise: float = Field(
        0.0,
        ge=0,
        description="Standard deviation of Gaussian noise on what the discriminators see. It falls "
        "linearly to 0 by the end of training.",
    )
    feature_matching: float = Field(
        0.0,
        ge=0,
        description="Weight of the L1 distance between discriminator features of generated and of "
        "real pictures.",
    )
    generator_lr: float = Field(2e-4, gt=0, description="Learning rate of the generators.")
    discriminator_lr: float = Field(2e-4, gt=0, description="Learning rate of the discriminators.")
    betas: tuple[Beta, Beta] = Field(
        (0.5, 0.999), description="Adam's two coefficients, separated by a comma."
    )
    d_steps: int = Field(1, ge=1, description="Discriminator steps for each generator step.")
    unroll: int = Field(
        0,
        ge=0,
        le=10,
        description="Discriminator steps by which the generators look ahead (unrolled GAN).",
    )
    pool: int = Field(
        0,
        ge=0,
        description="Number of earlier generated pictures that are kept to train the "
        "discriminators on.",
    )
    historical: float = Field(
        0.0,
        ge=0,
        description="Weight of historical averaging, which pulls the weights toward their past "
        "mean.",
    )
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Decay per step of an exponential moving average of the generators' weights; "
        "0 keeps none.",
    )
    generator: SerializeAsAny[GeneratorConfig] = Field(
        description="Network that translates: unet, resnet, attention-unet; for domains stargan or "
        "modulated; or one of another package (--list-methods)."
    )
    discriminator: SerializeAsAny[DiscriminatorConfig] = Field(
        description="Network that tells real from generated pictures. patch judges overlapping "
        "patches, multiscale those of several sizes, pixel single pixels, unet pixels and the "
        "whole, projected the features of a network that was trained on photographs; mixture is "
        "several of these by weight; autoencoder is for objectives that need it."
    )
    init: Init = Field(
        "normal",
        description="Initial weights: normal (standard deviation 0.02), xavier, or torch (its "
        "defaults, and the default for a generator without norm layers, whose features such small "
        "weights would let vanish).",
    )

    @classmethod
    def route(
        cls, values: Mapping[str, Any], preset: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Nest flat settings, and lay them over those of a preset. The constructor takes both
        forms.

        Raises ValueError for an unknown setting, UsageError for an unknown network.
        """
        nested = route(cls, values, cls._fitting(preset or {}, values))
        if nested["generator"].get("norm") == "none":
            nested.setdefault("init", "torch")
        return nested

    @classmethod
    def _fitting(cls, preset: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
        """The preset without what these values rule out: `residual` where the input can't become
        the output (other channels, one-hot labels), and `discriminator` with an objective that
        needs an autoencoder, several answers, or weights to clip.
        """
        unfit = set()
        channels = ("in_channels", "out_channels")
        given, wanted = (values.get(name, cls.model_fields[name].default) for name in channels)
        if given != wanted or values.get("labels_in") == "one-hot":
            unfit.add("residual")
        objective = OBJECTIVES.get(str(values.get("objective")))
        if objective and (objective.energy or objective.answers > 1 or objective.clips):
            unfit.add("discriminator")
        return {name: value for name, value in preset.items() if name not in unfit}

    @classmethod
    def spellings(cls, values: Mapping[str, Any]) -> dict[str, Spelling]:
        """All flat settings of the method with the networks that `values` choose, by name."""
        return spellings(cls, rows_of(cls, values))

    def flat(self) -> dict[str, Any]:
        """All settings by their flat names, as JSON values; for the networks, their names."""
        values = self.model_dump(mode="json")
        nested = {kind: values[kind] for kind in TABLES}
        values |= {kind: settings["name"] for kind, settings in nested.items()}
        known = spellings(type(self), (type(self.generator), type(self.discriminator)))
        for name, (places, _) in known.items():
            kind, field = places[0]
            if kind in TABLES:
                values[name] = nested[kind][field]
        return values

    @model_validator(mode="before")
    @classmethod
    def _routed(cls, values: Any) -> Any:
        return cls.route(values) if isinstance(values, dict) else values

    @field_validator("generator", "discriminator", mode="before")
    @classmethod
    def _network(cls, settings: dict[str, Any], info: ValidationInfo) -> Any:
        """Validate the settings of a network with the class that its name chooses."""
        return chosen(TABLES[str(info.field_name)], settings)

    @field_validator("objective")
    @classmethod
    def _in_the_table(cls, name: str) -> str:
        OBJECTIVES.choose(name)
        return name

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("set either epochs or steps")
        self._require_fitting_networks()
        if OBJECTIVES[self.objective].answers > 1 and (self.r1 or self.r2):
            raise ValueError(f"{self.objective} brings its own penalty; leave out r1 and r2")
        if OBJECTIVES[self.objective].clips and self.discriminator.uses_spectral_norm:
            raise ValueError(
                f"{self.objective} clips the weights, which spectral normalization would rescale; "
                "leave out one of the two"
            )
        objective = OBJECTIVES[self.objective]
        if self.augment_target and objective.scores:
            raise ValueError(
                f"augment_target counts real pictures that are recognized, and the scores of "
                f"{self.objective} have no boundary between real and generated; choose another "
                "objective (such as hinge), or leave out augment_target"
            )
        if self.unroll and (objective.interpolates or any(self.slope_weights.values())):
            raise ValueError(
                "unroll would need second derivatives of a gradient penalty; leave out one of the "
                "two"
            )
        penalized = objective.interpolates or any(self.slope_weights.values())
        if self.discriminator.batch_norm and self.batch > 1 and penalized:
            raise ValueError(
                "a gradient penalty on each picture (wgan-gp, rpgan, mmd, r1, r2) does not work "
                "with a discriminator that normalizes over the batch; set norm=instance"
            )
        if self.conditional and (self.labels_in or self.labels_out):
            raise ValueError(
                "a method with domains does not translate label maps; leave out labels_in and "
                "labels_out"
            )
        if self.labels_in == "one-hot" and not self.one_hot:
            raise ValueError(
                "the losses of this method need gradients of the inputs, and one-hot labels have "
                "none; set labels_in=color"
            )
        self.require_share(self.batch)
        available = self.load_size or self.centre_crop or self.size
        if not self.size.fits_in(available):
            raise ValueError(
                f"the crop of {self.size} px is larger than the resized pictures ({available} px)"
            )
        return self

    def require_share(self, share: int) -> None:
        """Raise ValueError if one process can't train on `share` pictures of each batch."""
        if share % self.accumulate:
            raise ValueError(
                f"{share} pictures can't be split into {self.accumulate} equal parts (accumulate)"
            )
        if self.discriminator.compares and share // self.accumulate < 2:
            raise ValueError("minibatch compares the pictures of a batch; set batch=2 or more")

    def _require_fitting_networks(self) -> None:
        """Raise ValueError if networks, objective and size do not go together."""
        objective, generator, judge = OBJECTIVES[self.objective], self.generator, self.discriminator
        if generator.conditional != self.conditional:
            if self.conditional:
                raise ValueError(
                    f"this method needs a generator that takes a domain; {generator.name} does "
                    f"not; set generator={self.default_generator}"
                )
            raise ValueError(
                f"the generator {generator.name} takes a domain, and this method has none; set "
                f"generator={self.default_generator}"
            )
        if self.contrastive and not generator.encodes:
            raise ValueError(
                f"this method compares features of the generator, and {generator.name} provides "
                f"none; set generator={self.default_generator}"
            )
        if self.conditional and judge.classifies == "never":
            name = f"{judge.name} of {self.objective}" if judge.energy else judge.name
            raise ValueError(
                f"this method needs a discriminator that classifies the domain; {name} does not"
            )
        if judge.classifies == "always" and not self.conditional:
            raise ValueError(
                f"the discriminator {judge.name} classifies domains, and this method has none; set "
                f"discriminator={self.default_discriminator}"
            )
        if objective.energy and not judge.energy:
            raise ValueError(
                f"{self.objective} needs an autoencoder: set discriminator=autoencoder in place of "
                f"{judge.name}"
            )
        if judge.energy and not objective.energy:
            raise ValueError(
                f"the discriminator {judge.name} is for energy-based objectives, and "
                f"{self.objective} is none; choose another discriminator"
            )
        if judge.most_answers and objective.answers > judge.most_answers:
            raise ValueError(
                f"{self.objective} needs {objective.answers} outputs for each patch, and the "
                f"discriminator {judge.name} has {judge.most_answers}; choose another discriminator"
            )
        if judge.cutmix_weight:
            require_fitting(self.objective, bool(self.augment))
        generator.require_channels(self.in_channels, self.out_channels, self.labels_in == "one-hot")
        generator.require_size(self.size)
        judge.require_size(self.size)

    def without_effect(self) -> dict[str, str]:
        """Settings that have no effect together with the others, each with the reason."""
        reasons = super().without_effect()
        name, objective = self.objective, OBJECTIVES[self.objective]
        builtin = OBJECTIVES.builtin  # naming those of other packages would import them
        if not objective.interpolates:
            reasons["gradient_penalty"] = (
                f"{name} has no gradient penalty of this kind; r1 and r2 work with any objective"
            )
        if not objective.clips:
            clipping = ", ".join(other for other in builtin if OBJECTIVES[other].clips)
            reasons["clip"] = f"{name} clips no weights; {clipping} does"
        if not objective.smooths:
            labelled = ", ".join(other for other in builtin if OBJECTIVES[other].smooths)
            reasons["smooth"] = f"{name} has no labels to smooth; {labelled} have"
        if not any(self.slope_weights.values()):
            reasons["penalty_every"] = "R1 and R2 have no weight"
        if not self.augment:
            reasons["augment_target"] = "no augmentations are chosen (augment)"
        if not (self.augment and self.augment_target):
            reasons["augment_ramp"] = "no probability adapts (augment_target)"
        if not self.perceptual:
            why = "the perceptual loss has no weight"
            reasons |= dict.fromkeys(("perceptual_network", "perceptual_weights"), why)
        return reasons

    def feature_networks(self) -> set[str]:
        """The names of the frozen feature networks that take part in training."""
        perceptual = {self.perceptual_network} if self.perceptual else set()
        return perceptual | set(self.discriminator.feature_networks())

    @property
    def weight_bound(self) -> float:
        """The bound to which the critic's weights are clipped; 0 for no clipping."""
        default = OBJECTIVES[self.objective].clips
        return self.clip if default and self.clip is not None else default

    @property
    def slope_weights(self) -> dict[str, float]:
        """The weights of R1 and R2: those of the config, by default the objective's."""
        default = OBJECTIVES[self.objective].zero_centered
        weights = {"r1": self.r1, "r2": self.r2}
        return {name: default if weight is None else weight for name, weight in weights.items()}
