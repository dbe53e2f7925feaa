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
        description="of the training crops, pixels: 256, or width x height as 512x256",
    )
    resize: LoadSize = Field(
        None,
        description="size that pictures are resized to before the crop, by default the paper's for "
        "that size; 0: as they are",
    )
    fit: Fit = Field(
        "squash",
        description="how pictures of another shape are resized: squash them; crop: scale the "
        "shorter side, and crop the longer one; pad: scale the longer side, and repeat the border",
    )
    centre_crop: TrainingSize | None = Field(
        None, description="size that is cut from the middle, first"
    )
    labels_in: Literal["color", "one-hot"] | None = Field(
        None,
        description="the inputs are label maps, whose colors do not mix when they are resized: "
        "generators see the colors, or a channel for each (one-hot)",
    )
    labels_out: bool = Field(
        False, description="inputs become label maps: every pixel gets a color that is in the data"
    )
    palettes: dict[str, Palette] = Field(
        {}, description="the colors of the label maps, read from the data"
    )
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
    objective: str = Field("bce", description="adversarial; see --list-objectives")
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
    generator: SerializeAsAny[GeneratorConfig] = Field(
        description="the networks that translate: unet, resnet, or that of another package"
    )
    discriminator: SerializeAsAny[DiscriminatorConfig] = Field(
        description="the networks that judge: patch, of what d_layers see; pixel: each by itself; "
        "autoencoder: of objectives that need it"
    )
    init: Init = Field("normal", description="initial weights: normal, xavier, or as torch's")

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
        """The settings that change nothing beside the others, each with the reason. Objectives of
        other packages are not named, which would import them.
        """
        name, objective, reasons = self.objective, OBJECTIVES[self.objective], {}
        if not objective.interpolates:
            reasons["gradient_penalty"] = (
                f"{name} has no gradient penalty between real and fake; r1 and r2 go with any"
            )
        if not objective.clips:
            clipped = ", ".join(n for n in OBJECTIVES.builtin if OBJECTIVES[n].clips)
            reasons["clip"] = f"{name} clips no weights; {clipped} does"
        if not objective.smooths:
            labelled = ", ".join(n for n in OBJECTIVES.builtin if OBJECTIVES[n].smooths)
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
