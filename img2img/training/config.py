"""The settings of a run: the schema of config.json, from which a run can be repeated."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticSerializationError

from img2img.data.groups import HELD_OUT, as_rule
from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError
from img2img.methods import METHODS
from img2img.methods.config import MethodConfig
from img2img.methods.route import UNPREFIXED
from img2img.training.keep import Keep

NumberFormat = Literal["fp32", "bf16"]
Precision = Literal["auto", NumberFormat]
ExtractorChoice = Literal[
    "auto", "inception", "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "none"
]
LoggerName = Literal["tensorboard", "wandb", "mlflow"]


def _as_keep(value: Any) -> Any:
    """Accepts 5 for "5"; ValueError for what Keep can't parse."""
    text = str(value) if isinstance(value, int) else value
    if isinstance(text, str):
        Keep.parse(text)
    return text


def _as_loggers(value: Any) -> Any:
    """ "wandb,mlflow" is as good as a list, and "none" as an empty one."""
    names = value.split(",") if isinstance(value, str) else value
    if not (isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)):
        return value  # which is refused
    names = [name.strip() for name in names if name.strip()]
    return () if names == ["none"] else tuple(names)


# Where a run computes and what it writes: training is the same, so these may differ on resuming.
PLACE = ("device", "workers", "cache", "compile", "channels_last", "graph", "keep", "loggers")
OF_A_RUN = "config.json of a run"  # pydantic's context for a file that has all settings


class PastSettings(BaseModel):
    """Settings that were in force until the run was resumed with others.

    All fields except `until` are the settings that may change when a run is resumed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    until: int = Field(ge=1, description="Steps completed with them.")
    epochs: int | None
    steps: int | None
    decay: float
    generator_lr: float
    discriminator_lr: float
    patience: int | None


# Fields of the training sources that hold for held-out ones, too.
GIVEN_ONCE = ("swap", "attributes", "attribute", "pages", "neighbors")
# Settings that may change when a run is resumed.
CHANGEABLE = tuple(name for name in PastSettings.model_fields if name != "until")


class RunConfig(BaseModel):
    """The settings of a run. Those of its method are in `method`, which has the method's schema."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    mode: str
    preset: str = "paper"
    method: SerializeAsAny[MethodConfig]
    sources: Sources
    test: Sources = Sources()  # held-out folders
    pretrained: Path | None = Field(
        None,
        description="Run, or .safetensors file of a run, whose generators this run starts from.",
    )
    held_out: int = Field(
        HELD_OUT,
        ge=0,
        description="Pictures that are held out from training, for samples and evaluation.",
    )
    group: Annotated[str | None, AfterValidator(as_rule)] = Field(
        None,
        description="Hold out whole groups, such as patients: the files in whose paths this regex "
        "finds the same (in its first parentheses, if any); parent: those of one folder; "
        "blocks:2048: the tiles of one square of a scene, and none of training touches them.",
    )
    seed: int = Field(0, ge=0, description="Seed of every random choice.")
    device: str = Field("auto", description="Device: auto, cpu, cuda, cuda:1 or mps.")
    precision: Precision = Field(
        "auto",
        description="Number format: fp32, bf16, or auto (bf16 where the hardware multiplies it; on "
        "a CPU also only if it is the faster one in a comparison when the run starts).",
    )
    deterministic: bool = Field(
        False,
        description="Make repeated and resumed runs equal to the last bit on GPUs, too, where it "
        "takes longer. On CPUs they always are.",
    )
    workers: int | None = Field(
        None,
        ge=0,
        description="Processes that decode pictures; by default 1 on a CPU, up to 8 beside a GPU.",
    )
    compile: bool | None = Field(
        None,
        description="Compile the networks with torch.compile. By default on GPUs, in runs long "
        "enough to gain from it.",
    )
    channels_last: bool | None = Field(
        None,
        description="Lay pictures out channels last in bf16. By default where that is faster: with "
        "pix2pix.",
    )
    graph: bool = Field(
        True, description="Record steps as CUDA graphs, which a GPU repeats without Python."
    )
    cache: bool | None = Field(
        None,
        description="Keep decoded and resized pictures in a file. By default in runs of more than "
        "one pass over them, if that takes at most half of the available memory and a quarter of "
        "the free disk space.",
    )
    log_every: int = Field(50, ge=1, description="Steps between rows of metrics.csv.")
    sample_every: int | None = Field(
        None,
        ge=1,
        description="Steps between sample grids; by default 1/100 of the run, at least 500.",
    )
    eval_every: int | None = Field(
        None,
        ge=0,
        description="Steps between evaluations on held-out pictures; 0 for none. By default 1/20 "
        "of the run, at least 500.",
    )
    eval_pictures: int = Field(
        200, ge=2, description="Held-out samples that an evaluation uses, at most."
    )
    extractor: ExtractorChoice = Field(
        "auto",
        description="Feature extractor of the held-out distances: inception, efficientnet-lite0, "
        "-lite1, -lite2, auto (inception where its weights are present, else one of the others "
        "that takes no part in training), or none (no distances).",
    )
    save_every: int = Field(1000, ge=1, description="Steps between checkpoints.")
    keep: Annotated[str, BeforeValidator(_as_keep)] = Field(
        "none",
        description="Weights of earlier checkpoints to keep: none, all, a number (5: the last "
        "five), or 'every 1000' (steps).",
    )
    patience: int | None = Field(
        None,
        ge=1,
        description="Stop early after this many evaluations without a better held-out distance.",
    )
    loggers: Annotated[tuple[LoggerName, ...], BeforeValidator(_as_loggers)] = Field(
        ("tensorboard",),
        description="Loggers of metrics and samples, separated by commas: tensorboard, wandb, "
        "mlflow, or none.",
    )
    licence: str | None = Field(None, description="License of the weights, for the model card.")
    # What precision="auto" was resolved to; filled when the run starts
    number_format: NumberFormat | None = None
    measured_by: str = ""  # the extractor of the looks; filled when the run starts
    fingerprint: str = ""  # of the training pictures; filled when the run starts
    # SHA-256 of the feature networks in training, by name; filled when the run starts
    feature_networks: dict[str, str] = {}
    # The same of the file of `perceptual_weights`, by its path
    feature_weights: dict[str, str] = {}
    history: tuple[PastSettings, ...] = ()  # earlier settings of a run that was resumed with others

    @field_validator("pretrained")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """So that --resume works from any folder."""
        return path.absolute() if path else None

    @model_validator(mode="after")
    def _repeatable(self) -> Self:
        if self.deterministic and self.compile:
            raise ValueError(
                "deterministic needs networks that are not compiled, since compiled code may "
                "compute differently after the next compilation; leave out compile"
            )
        return self

    @model_validator(mode="after")
    def _cacheable(self) -> Self:
        if self.cache and self.uncacheable:
            raise ValueError(f"cache needs {self.uncacheable}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _method_by_mode(cls, values: Any, info: ValidationInfo) -> Any:
        """Validate `method`, on top of the preset, with the schema that `mode` names. The
        config.json of a run has all settings; what it lacks did not exist when the run started, so
        that today's preset must not add it.
        """
        if not isinstance(values, dict):
            return values
        method = values.get("method", {})
        if isinstance(method, dict):
            if values.get("mode") not in METHODS:
                raise UsageError(
                    f"there is no mode {values.get('mode')!r}; there are {', '.join(METHODS)}."
                )
            known, name = METHODS.choose(values["mode"]), values.get("preset", "paper")
            if not isinstance(name, str) or name not in known.presets:
                raise ValueError(
                    f"{known.name} has no preset {name!r}; it has {', '.join(known.presets)}"
                )
            preset = {} if info.context == OF_A_RUN else known.presets[name]
            settings = known.Config.route(method, preset)
            values = {**values, "method": known.Config(**settings)}
        return values

    @classmethod
    def build(cls, values: dict[str, Any]) -> Self:
        """Validate values from a command line, a file or a program.

        Raises UsageError, which names the option, for a value that is not allowed, for values that
        can't be combined, and for a setting that differs from its default but has no effect.
        """
        try:
            config = cls(**values)
        except ValidationError as error:
            raise UsageError(in_words(error)) from None
        if config.sources.swap and config.method.conditional:
            raise UsageError(
                f"{config.mode} has no --direction: it learns to translate to every domain."
            )
        # A preset sets what another objective then does not use: that is nobody's mistake.
        usual = type(config.method)(**METHODS[config.mode].presets[config.preset]).flat()
        usual |= {name: field.default for name, field in cls.model_fields.items()}
        settings = config.method.flat() | config.model_dump(exclude={"method"})
        for name, reason in config.without_effect().items():
            if settings[name] != usual[name]:
                raise UsageError(f"{option(name)} would change nothing: {reason}. Leave it out.")
        return config

    def with_method(self, **settings: Any) -> Self:
        """The config with other settings of the method. Raises UsageError like `build`."""
        values = {**self.method.model_dump(), **settings}
        try:
            method = type(self.method)(**values)
        except ValidationError as error:
            raise UsageError(in_words(error)) from None
        return self.model_copy(update={"method": method})

    def without_effect(self) -> dict[str, str]:
        """The settings that have no effect in combination with the others, each with the reason."""
        reasons = self.method.without_effect()
        if not METHODS[self.mode].pooled:
            reasons["pool"] = f"{self.mode} doesn't show past fakes to its discriminators"
        if self.test.given():
            reasons["held_out"] = "there are held-out folders (--test-...)"
        elif self.held_out == 0:
            reasons["group"] = "--held-out 0 holds nothing out"
        if self.eval_every == 0:
            reasons["eval_pictures"] = reasons["extractor"] = "--eval-every 0 disables looks"
            reasons["patience"] = "--eval-every 0 disables looks, which measure the distance"
        return reasons

    @classmethod
    def load(cls, run: Path) -> Self:
        """The config of an existing run. Raises DataError if it is missing or not valid."""
        path = run / "config.json"
        try:
            return cls.model_validate_json(path.read_text(), context=OF_A_RUN)
        except (FileNotFoundError, NotADirectoryError):
            raise DataError(
                f"{run} is not a run: it has no config.json. Give the folder of a run, runs/NAME."
            ) from None
        except OSError as error:
            raise DataError(f"{path} can't be read ({error.strerror}).") from None
        except ValidationError as error:
            raise DataError(f"{path} can't be used: {in_words(error, options=False)}") from None
        except UsageError as error:  # of the tables
            raise DataError(
                f"{path} can't be used: {error} If the run was made with another package beside "
                "img2img, install that package."
            ) from None
        except UnicodeDecodeError:
            raise DataError(f"{path} can't be used: it is not UTF-8.") from None

    def to_json(self) -> str:
        """The text of config.json. Raises DataError for a name that is not UTF-8."""
        try:
            return self.model_dump_json(indent=2)
        except PydanticSerializationError:
            raise DataError(
                "The name of the run, of a folder or of a domain is not UTF-8, which config.json "
                "requires. Rename it."
            ) from None

    @property
    def in_channels_last(self) -> bool:
        """Whether pictures have their channels last, if the run computes in bf16."""
        default = METHODS[self.mode].channels_last
        return default if self.channels_last is None else self.channels_last

    @property
    def uncacheable(self) -> str:
        """What a cache of decoded pictures needs and these don't have; "" if they can be cached."""
        if not self.method.load_size:
            return "pictures of one size, and resize=0 keeps their sizes"
        if self.method.fit == "crop":
            return "pictures of one size, which they don't have before fit=crop crops them"
        return ""

    @property
    def computed_in(self) -> Precision:
        """The number format of the run; auto in a run from before it was recorded."""
        return self.number_format or self.precision

    @property
    def held_out_sources(self) -> Sources:
        """The held-out folders, read in the same way as the training folders."""
        shared = self.sources.model_dump(include={*GIVEN_ONCE})
        return self.test.model_copy(update=shared)


def option(name: str) -> str:
    """The option of a setting: save_every -> --save-every."""
    return "--" + name.replace("_", "-")


def in_words(error: ValidationError, options: bool = True) -> str:
    """A sentence for each invalid setting: what is wrong, and what is allowed.

    options: name settings as options (--d-width), not as in a file (discriminator.width).
    """
    return " ".join(_problem(problem, options) for problem in error.errors())


WORDS = {  # pydantic's phrases, and what users read in their place
    "Value error, ": "",
    "Input should be": "must be",
    "less than or equal to": "at most",
    "greater than or equal to": "at least",
    "a valid integer, unable to parse string as an integer": "a whole number",
    "a valid number, unable to parse string as a number": "a number",
    "a valid boolean, unable to interpret input": "true or false",
    "Extra inputs are not permitted": "there is no such setting",
    "Field required": "a value is missing",
}


def _problem(problem: ErrorDetails, options: bool) -> str:
    text, where, value = problem["msg"], problem["loc"], problem["input"]
    for pydantics, plain in WORDS.items():
        text = text.replace(pydantics, plain)
    hint = ""
    if problem["type"] == "literal_error" and isinstance(value, str):
        hint = did_you_mean(value, re.findall(r"'([^']+)'", problem["ctx"]["expected"]))
    given = f" {value}" if isinstance(value, str | int | float) and value != "" else ""
    if where and isinstance(where[0], str):
        name = _option_at(where) if options else ".".join(map(str, where))
        text = f"{name}{given}: {text}"
    elif where:  # an item of a list, whose option the caller names
        text = f"{given.strip()} {text}".strip()
    return text + ("" if text.endswith("?") else ".") + hint


def _option_at(location: tuple[int | str, ...]) -> str:
    """The option of the field at a location in a config: of ("discriminator", "width")
    --d-width.
    """
    match location:
        case ("generator", str(field), *_):
            return option(field)
        case ("discriminator", str(field), *_):
            return option(field if field in UNPREFIXED else f"d_{field}")
        case (str(field), *_):
            return option(field)
    return str(location)


def did_you_mean(name: str, names: Iterable[str], prefix: str = "") -> str:
    """A sentence with the closest of the names, after a space; empty if none is close."""
    near = difflib.get_close_matches(name, names, 1)
    return f" Did you mean {prefix}{near[0]}?" if near else ""
