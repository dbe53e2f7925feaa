"""Everything a run was started with. It is `config.json`, and a run can be repeated from it."""

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
from pydantic_core import PydanticSerializationError

from img2img.data.sources import Sources
from img2img.errors import DataError, UsageError
from img2img.methods import METHODS
from img2img.methods.config import MethodConfig
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
    names = value.split(",") if isinstance(value, str) else list(value)
    names = [name.strip() for name in names if name.strip()]
    return () if names == ["none"] else tuple(names)


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

    @field_validator("pretrained")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """--resume works from any folder."""
        return path.absolute() if path else None

    @model_validator(mode="after")
    def _cacheable(self) -> Self:
        if self.cache and not self.method.load_size:
            raise ValueError("only pictures of one size can be kept: no cache with resize=0")
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
                raise ValueError(
                    f"there is no mode {values.get('mode')!r}; there are {', '.join(METHODS)}"
                )
            known, name = METHODS.choose(values["mode"]), values.get("preset", "paper")
            if name not in known.presets:
                raise ValueError(
                    f"{known.name} has no preset {name!r}; it has {', '.join(known.presets)}"
                )
            settings = known.Config.route(method, known.presets[name])
            values = {**values, "method": known.Config(**settings)}
        return values

    @classmethod
    def build(cls, values: dict[str, Any]) -> Self:
        """Validate what the command line or a file gave; UsageError names the wrong setting, or one
        that is not as usual and would change nothing.
        """
        try:
            config = cls(**values)
        except ValidationError as error:
            raise UsageError(_sentence(error)) from None
        if config.sources.swap and config.mode == "stargan":
            raise UsageError("stargan has no --direction: it learns all.")
        # What the preset sets is nobody's mistake beside another objective.
        preset = METHODS[config.mode].presets[config.preset]
        usual = type(config.method)(**preset).model_dump()
        usual |= {name: field.default for name, field in cls.model_fields.items()}
        settings = config.method.model_dump() | config.model_dump(exclude={"method"})
        for name, reason in config.without_effect().items():
            if settings[name] != usual[name]:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option} would change nothing: {reason}. Leave it out.")
        return config

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
            raise DataError(f"{path} can't be used: {_sentence(error)}") from None
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

    def differences(self, other: "RunConfig") -> str:
        """In what another config would train otherwise; "" where in nothing."""
        mine, others = (_flat(config) for config in (self, other))
        return ", ".join(
            f"{name} {mine.get(name)}, not {others.get(name)}"
            for name in sorted(mine.keys() | others.keys())
            if mine.get(name) != others.get(name)
        )

    @property
    def held_out_sources(self) -> Sources:
        """The user's own held-out folders, read the same way as the training ones."""
        s = self.sources
        shared = {"swap": s.swap, "attributes": s.attributes, "attribute": s.attribute}
        return self.test.model_copy(update=shared)


def _flat(config: RunConfig) -> dict[str, Any]:
    """The settings by name, but for what says only where it runs, or was found in the data."""
    values = config.model_copy(
        update={"sources": config.sources.absolute(), "test": config.test.absolute()}
    ).model_dump(mode="json")
    values["method"] = config.method.flat()
    for name in ("device", "workers", "cache", "compile", "fingerprint", "measured_by"):
        del values[name]
    values["method"].pop("labels", None)
    grouped = {f"test_{key}": value for key, value in values.pop("test").items()}
    return grouped | {
        key: value
        for name, found in values.items()
        for key, value in (found.items() if isinstance(found, dict) else [(name, found)])
    }


def _sentence(error: ValidationError) -> str:
    parts = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        said = problem["msg"].removeprefix("Value error, ")
        parts.append(f"{where}: {said}" if where else said)
    return "; ".join(parts) + "."
