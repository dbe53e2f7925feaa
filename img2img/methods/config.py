"""The settings of a method: what shapes its training, and the networks that it trains."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)

from img2img.manifest import Palette
from img2img.methods.disturb import Change
from img2img.methods.objectives import OBJECTIVES
from img2img.methods.route import TABLES, Spelling, route, rows_of, spellings
from img2img.nets.discriminator import DiscriminatorConfig
from img2img.nets.generator import GeneratorConfig
from img2img.nets.init import Init
from img2img.sizes import Size, TrainingSize

# 0 is not to resize; None is the method's own.
LoadSize = Annotated[
    Literal[0] | Size | None, BeforeValidator(lambda value: 0 if value == "0" else value)
]
Fit = Literal["squash", "crop", "pad"]
Beta = Annotated[float, Field(ge=0, lt=1)]


class MethodConfig(BaseModel):
    """What shapes the training of any method. A method's own Config sets the paper's values.

    The settings of its networks are nested in `generator` and `discriminator`. They may be given
    flat, too: `Config(generator="resnet", width=32, d_layers=2)`; img2img.methods.route has how.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    default_generator: ClassVar[str]  # a name in GENERATORS
    default_discriminator: ClassVar[str] = "patch"  # and in DISCRIMINATORS
    # What the method sets otherwise than the networks do, in those that have such a setting.
    generator_defaults: ClassVar[dict[str, Any]] = {}
    discriminator_defaults: ClassVar[dict[str, Any]] = {}
    one_hot: ClassVar[bool] = False  # whether no gradient has to reach the inputs of its generators
    conditional: ClassVar[bool] = False  # its generators take a domain, its discriminators name one
    contrastive: ClassVar[bool] = False  # its losses compare features that the generator gives

    size: TrainingSize = Field(
        Size(256, 256),
        description="Size of the training crops in pixels: 256, or 512x256 (width x height).",
    )
    resize: LoadSize = Field(
        None,
        description="Size to which pictures are resized before they are cropped; 0 keeps their "
        "size. By default the paper's, in proportion to size.",
    )
    fit: Fit = Field(
        "squash",
        description="How a picture of another aspect ratio is resized. squash: to exactly that "
        "size. crop: its shorter side is scaled, and its longer side cropped. pad: its longer side "
        "is scaled, and its border repeated.",
    )
    centre_crop: TrainingSize | None = Field(
        None, description="Size of a crop from the center that is taken before resizing."
    )
    labels_in: Literal["color", "one-hot"] | None = Field(
        None,
        description="The inputs are label maps, and are resized without mixing their colors. "
        "color: the generator sees the colors. one-hot: it sees one channel for each color.",
    )
    labels_out: bool = Field(
        False,
        description="The outputs are label maps: every pixel has one of the colors in the data.",
    )
    palettes: dict[str, Palette] = Field(
        {}, description="The colors of the label maps, which are read from the data."
    )
    flip: bool = Field(True, description="Mirror half of the pictures horizontally, at random.")
    in_channels: Literal[1, 3, 4] = Field(
        3, description="Channels of the inputs: 1 (gray), 3 (RGB) or 4 (RGB and alpha)."
    )
    out_channels: Literal[1, 3, 4] = Field(
        3, description="Channels of the outputs: 1 (gray), 3 (RGB) or 4 (RGB and alpha)."
    )
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
        200, ge=1, description="Length of training in passes over the data; excludes steps."
    )
    steps: int | None = Field(
        None, ge=1, description="Length of training in discriminator steps; excludes epochs."
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
    augment: tuple[Change, ...] = Field(
        (),
        description="Differentiable augmentations of what the discriminators see, real and "
        "generated alike: any of colour, translation and cutout, separated by commas.",
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
        description="Network that translates: unet, resnet, or one of another package "
        "(--list-methods)."
    )
    discriminator: SerializeAsAny[DiscriminatorConfig] = Field(
        description="Network that tells real from generated pictures. patch judges overlapping "
        "patches, pixel single pixels; autoencoder is for objectives that need it."
    )
    init: Init = Field(
        "normal",
        description="Initial weights: normal (standard deviation 0.02), xavier, or torch (its "
        "defaults).",
    )

    @classmethod
    def route(
        cls, values: Mapping[str, Any], preset: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Settings, flat or nested, as nested ones over a preset's; the constructor takes both.

        Raises ValueError for a setting that there is not, UsageError for a network that there is
        not.
        """
        return route(cls, values, preset or {})

    @classmethod
    def spellings(cls, values: Mapping[str, Any]) -> dict[str, Spelling]:
        """Every flat setting that goes with the networks which these values choose."""
        return spellings(cls, rows_of(cls, values))

    def flat(self) -> dict[str, Any]:
        """All settings by their flat spelling, as JSON has them; networks by their names."""
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
        """By the row of its name, which has its own settings."""
        rest = {name: value for name, value in settings.items() if name != "name"}
        return TABLES[str(info.field_name)].choose(settings["name"])(**rest)

    @field_validator("objective")
    @classmethod
    def _in_the_table(cls, name: str) -> str:
        OBJECTIVES.choose(name)
        return name

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
        self._require_fitting_networks()
        if OBJECTIVES[self.objective].answers > 1 and (self.r1 or self.r2):
            raise ValueError(f"{self.objective} has a penalty of its own; leave out r1 and r2")
        if OBJECTIVES[self.objective].clips and self.discriminator.spectral:
            raise ValueError(f"{self.objective} clips the weights that spectral would scale again")
        objective = OBJECTIVES[self.objective]
        if self.unroll and (objective.interpolates or any(self.slope_weights.values())):
            raise ValueError(
                "unroll would need the slope of the slope of a penalty; leave out one of the two"
            )
        penalised = objective.interpolates or any(self.slope_weights.values())
        if self.discriminator.batch_norm and self.batch > 1 and penalised:
            raise ValueError(
                "a penalty on the slope at each picture (wgan-gp, rpgan, mmd, r1, r2) does not go "
                "with a discriminator that normalizes over the batch; set norm=instance"
            )
        if self.conditional and (self.labels_in or self.labels_out):
            raise ValueError("its pictures have domains, and it translates no label maps")
        if self.labels_in == "one-hot" and not self.one_hot:
            raise ValueError(
                "its losses need the gradient of inputs, which one-hot labels have not; set "
                "labels_in=color"
            )
        self.require_share(self.batch)
        available = self.load_size or self.centre_crop or self.size
        if not self.size.fits_in(available):
            raise ValueError(f"pictures of {available} px are smaller than the crop of {self.size}")
        return self

    def require_share(self, share: int) -> None:
        """Raise where so many pictures of a batch are too few for one of several processes."""
        if share % self.accumulate:
            raise ValueError(f"{share} pictures can't be split in {self.accumulate} (accumulate)")
        if self.discriminator.compares and share // self.accumulate < 2:
            raise ValueError("minibatch compares the pictures of a batch; set batch=2 or more")

    def _require_fitting_networks(self) -> None:
        """Raise ValueError where networks, objective and size do not go together."""
        objective, generator, judge = OBJECTIVES[self.objective], self.generator, self.discriminator
        if generator.conditional != self.conditional:
            takes = "takes none" if self.conditional else "takes one"
            needs = "give a domain to the generator" if self.conditional else "have no domains"
            raise ValueError(f"its networks {needs}, and the generator {generator.name} {takes}")
        if self.contrastive and not generator.encodes:
            raise ValueError(
                f"it compares features of the generator, and {generator.name} gives none"
            )
        if judge.classifies != self.conditional:
            if self.conditional:
                whose = f"{self.objective}'s {judge.name}" if judge.energy else judge.name
                raise ValueError(f"its discriminator names the domain, which {whose} can't")
            raise ValueError(f"{judge.name} names domains, and there are none to name")
        if objective.energy and not judge.energy:
            raise ValueError(
                f"{self.objective} brings its own discriminator: set discriminator=autoencoder in "
                f"place of {judge.name}"
            )
        if judge.energy and not objective.energy:
            raise ValueError(
                f"{self.objective} can't use the energy with which the discriminator {judge.name} "
                "answers; choose another discriminator"
            )
        if judge.most_answers and objective.answers > judge.most_answers:
            raise ValueError(
                f"{self.objective} needs {objective.answers} answers to a patch, of which the "
                f"discriminator {judge.name} gives {judge.most_answers}; leave {judge.name} out"
            )
        generator.require_size(self.size)
        judge.require_size(self.size)

    def without_effect(self) -> dict[str, str]:
        """The settings that change nothing beside the others, each with the reason."""
        name, objective, reasons = self.objective, OBJECTIVES[self.objective], {}
        builtin = OBJECTIVES.builtin  # to name other packages' would import them
        if not objective.interpolates:
            reasons["gradient_penalty"] = (
                f"{name} has no gradient penalty between real and fake; r1 and r2 go with any"
            )
        if not objective.clips:
            clipping = ", ".join(other for other in builtin if OBJECTIVES[other].clips)
            reasons["clip"] = f"{name} clips no weights; {clipping} does"
        if not objective.smooths:
            labelled = ", ".join(other for other in builtin if OBJECTIVES[other].smooths)
            reasons["smooth"] = f"{name} has no labels to smooth; {labelled} have"
        if not any(self.slope_weights.values()):
            reasons["penalty_every"] = "it is for R1 and R2, which have no weight here"
        if self.load_size is None and self.fit != "squash":
            reasons["fit"] = "pictures are not resized (resize=0)"
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
    def load_size(self) -> Size | None:
        """The size that pictures are resized to before the crop; None for not at all. By default
        the papers' 286/256 of the crop.
        """
        return (self.size.scaled(286 / 256) if self.resize is None else self.resize) or None
