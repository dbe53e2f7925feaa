"""Everything a run was started with. It is `config.json`, and a run can be repeated from it."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticSerializationError

from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError
from img2img.methods import METHODS
from img2img.methods.config import MethodConfig
from img2img.methods.route import UNPREFIXED
from img2img.training.keep import Keep

Precision = Literal["auto", "fp32", "bf16"]
ExtractorChoice = Literal["auto", "inception", "efficientnet-lite0", "none"]
LoggerName = Literal["tensorboard", "wandb", "mlflow"]


def _as_keep(value: Any) -> Any:
    """5 is as good as "5"."""
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


# Where a run computes and what it writes. It trains the same, so these are free when it is resumed.
PLACE = ("device", "workers", "cache", "compile", "keep", "loggers")


class PastSettings(BaseModel):
    """Settings of a run that were in force until it was resumed with others.

    Its fields, `until` aside, are the settings that may change when a run is resumed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    until: int = Field(ge=1, description="steps that were done with them")
    epochs: int | None
    steps: int | None
    decay: float
    generator_lr: float
    discriminator_lr: float
    patience: int | None


# What may change when a run is resumed: its length, its rates and their schedule.
CHANGEABLE = tuple(name for name in PastSettings.model_fields if name != "until")


class RunConfig(BaseModel):
    """The settings that all methods share; those of the method are its own schema, in `method`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    mode: str
    preset: str = "paper"
    method: SerializeAsAny[MethodConfig]
    sources: Sources
    test: Sources = Sources()  # held-out folders of the user's own
    pretrained: Path | None = Field(
        None, description="run, or its .safetensors, whose generators this one begins with"
    )
    held_out: int = Field(16, ge=0, description="pictures kept from training for the samples")
    seed: int = Field(0, ge=0, description="of every random draw")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps")
    precision: Precision = Field("auto", description="auto, fp32 or bf16")
    workers: int | None = Field(None, ge=0, description="processes that decode pictures")
    compile: bool | None = Field(
        None, description="compile the networks; by default on a GPU, in runs that it pays off in"
    )
    cache: bool = Field(False, description="keep decoded pictures in a memory-mapped file")
    log_every: int = Field(50, ge=1, description="steps between rows of metrics.csv")
    sample_every: int | None = Field(None, ge=1, description="steps between sample grids")
    eval_every: int | None = Field(None, ge=0, description="steps between looks at it; 0: never")
    eval_pictures: int = Field(200, ge=2, description="held-out samples that a look is on")
    extractor: ExtractorChoice = Field("auto", description="features of the distances, or none")
    save_every: int = Field(1000, ge=1, description="steps between checkpoints")
    keep: Annotated[str, BeforeValidator(_as_keep)] = Field(
        "none", description="saves whose weights stay: none, all, the last 5, or 'every 1000' steps"
    )
    patience: int | None = Field(
        None, ge=1, description="looks without a better held-out distance until training ends early"
    )
    loggers: Annotated[tuple[LoggerName, ...], BeforeValidator(_as_loggers)] = Field(
        ("tensorboard",), description="where numbers also go: tensorboard, wandb, mlflow, or none"
    )
    licence: str | None = Field(None, description="of the weights, for the model card")
    measured_by: str = ""  # the extractor of the looks; filled when the run starts
    fingerprint: str = ""  # of the training pictures; filled when the run starts
    history: tuple[PastSettings, ...] = ()  # earlier settings of a run that was resumed with others

    @field_validator("pretrained")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """--resume works from any folder."""
        return path.absolute() if path else None

    @model_validator(mode="after")
    def _cacheable(self) -> Self:
        if self.cache and not self.method.load_size:
            raise ValueError("only pictures of one size can be kept: no cache with resize=0")
        if self.cache and self.method.fit == "crop":
            raise ValueError("only pictures of one size can be kept: no cache with fit=crop")
        return self

    @model_validator(mode="before")
    @classmethod
    def _method_by_mode(cls, values: Any) -> Any:
        """Validate `method` with the schema that `mode` names, over what the preset sets."""
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
            settings = known.Config.route(method, known.presets[name])
            values = {**values, "method": known.Config(**settings)}
        return values

    @classmethod
    def build(cls, values: dict[str, Any]) -> Self:
        """Validate the values of a command line, a file or a program.

        Raises UsageError, which names the option: a value that is not allowed, values that do not
        go together, or a setting that differs from its default and would change nothing.
        """
        try:
            config = cls(**values)
        except ValidationError as error:
            raise UsageError(in_words(error)) from None
        if config.sources.swap and config.method.conditional:
            raise UsageError(f"{config.mode} has no --direction: it learns all.")
        # A preset sets what another objective then does not use: that is nobody's mistake.
        usual = type(config.method)(**METHODS[config.mode].presets[config.preset]).flat()
        usual |= {name: field.default for name, field in cls.model_fields.items()}
        settings = config.method.flat() | config.model_dump(exclude={"method"})
        for name, reason in config.without_effect().items():
            if settings[name] != usual[name]:
                raise UsageError(f"{option(name)} would change nothing: {reason}. Leave it out.")
        return config

    def with_method(self, **settings: Any) -> Self:
        """The config with other settings of the method, validated; UsageError as from `build`."""
        values = {**self.method.model_dump(), **settings}
        try:
            method = type(self.method)(**values)
        except ValidationError as error:
            raise UsageError(in_words(error)) from None
        return self.model_copy(update={"method": method})

    def without_effect(self) -> dict[str, str]:
        """The settings that change nothing beside the others, each with the reason."""
        reasons = self.method.without_effect()
        if not METHODS[self.mode].pooled:
            reasons["pool"] = f"{self.mode} shows its discriminator no past fakes"
        if self.test.given():
            reasons["held_out"] = "there are held-out folders (--test-...)"
        if self.eval_every == 0:
            reasons["eval_pictures"] = reasons["extractor"] = "--eval-every 0 never looks at any"
            reasons["patience"] = "--eval-every 0 measures no distance"
        return reasons

    @classmethod
    def load(cls, run: Path) -> Self:
        """The config of an existing run; DataError where there is none."""
        path = run / "config.json"
        try:
            return cls.model_validate_json(path.read_text())
        except (FileNotFoundError, NotADirectoryError):
            raise DataError(f"{run} is no training run: it has no config.json.") from None
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
        """The text of config.json; DataError where a name can't be in it."""
        try:
            return self.model_dump_json(indent=2)
        except PydanticSerializationError:
            raise DataError(
                "The name of the run, of a folder or of a domain is not UTF-8, as config.json has "
                "to be. Rename it."
            ) from None

    @property
    def held_out_sources(self) -> Sources:
        """The user's own held-out folders, read the same way as the training ones."""
        s = self.sources
        shared = {"swap": s.swap, "attributes": s.attributes, "attribute": s.attribute}
        return self.test.model_copy(update=shared)


def option(name: str) -> str:
    """The command line's spelling of a setting: save_every -> --save-every."""
    return "--" + name.replace("_", "-")


def in_words(error: ValidationError, options: bool = True) -> str:
    """What is wrong with each setting and what is allowed, in one sentence each.

    options: settings are named as options (--d-width), else as in a file.
    """
    return " ".join(_problem(problem, options) for problem in error.errors())


WORDS = {  # pydantic's and ours
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
    for theirs, ours in WORDS.items():
        text = text.replace(theirs, ours)
    hint = ""
    if problem["type"] == "literal_error" and isinstance(value, str):
        hint = did_you_mean(value, re.findall(r"'([^']+)'", problem["ctx"]["expected"]))
    given = f" {value}" if isinstance(value, str | int | float) and value != "" else ""
    if where and isinstance(where[0], str):
        name = _option_at(where) if options else ".".join(map(str, where))
        text = f"{name}{given}: {text}"
    elif where:  # one of several values, of which the caller says where they are
        text = f"{given.strip()} {text}".strip()
    return text + ("" if text.endswith("?") else ".") + hint


def _option_at(location: tuple[int | str, ...]) -> str:
    """The option that sets the field at a place in a config: ("discriminator", "width") is
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
    """A sentence with the closest of the names, after a space; nothing where none is close."""
    near = difflib.get_close_matches(name, names, 1)
    return f" Did you mean {prefix}{near[0]}?" if near else ""
