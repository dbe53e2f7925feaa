"""Several discriminators that judge together, by weight."""

from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)
from torch import Tensor, nn

from img2img.features import FeatureNetwork
from img2img.nets import DISCRIMINATORS
from img2img.nets.config import COMMAS, chosen
from img2img.nets.discriminator import Classifies, DiscriminatorConfig, Looking, Scores
from img2img.nets.norm import Norm, spectral_normalize
from img2img.nets.patchgan import PatchConfig
from img2img.nets.projected import ProjectedConfig
from img2img.sizes import Size


class Part(BaseModel):
    """A discriminator of a mixture. It may be written as "patch", "patch=0.5", or with the settings
    of the discriminator, {"network": {"name": "patch", "width": 32}, "weight": 0.5}.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: SerializeAsAny[DiscriminatorConfig]
    weight: float = Field(1.0, gt=0, description="Of the losses of the discriminator.")

    @model_validator(mode="before")
    @classmethod
    def _parsed(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        name, equals, weight = map(str.strip, value.partition("="))
        return {"network": name, "weight": weight} if equals else {"network": name}

    @field_validator("network", mode="before")
    @classmethod
    def _chosen(cls, value: Any) -> Any:
        """Validate the settings of the discriminator with the class that its name chooses."""
        if isinstance(value, DiscriminatorConfig):
            return value
        settings = {"name": value} if isinstance(value, str) else value
        if not isinstance(settings, dict) or not isinstance(settings.get("name"), str):
            raise ValueError("must be the name of a discriminator, or its settings with its name")
        return chosen(DISCRIMINATORS, settings)

    def with_norm(self, norm: Norm) -> Self:
        """The part with that normalization, if it can have one and none was chosen for it."""
        network = self.network
        if "norm" not in type(network).model_fields or "norm" in network.model_fields_set:
            return self
        return self.model_copy(update={"network": network.model_copy(update={"norm": norm})})


class MixtureConfig(DiscriminatorConfig):
    """The settings of a mixture. What it needs and does follows from its parts."""

    name: ClassVar[str] = "mixture"
    most_answers: ClassVar[int | None] = 1

    norm: Norm = Field(
        "batch",
        description="Normalization of those parts for which none is set: batch, instance, "
        "instance_affine or none.",
    )
    parts: Annotated[tuple[Part, ...], COMMAS] = Field(
        (Part(network=PatchConfig()), Part(network=ProjectedConfig())),
        min_length=1,
        description="Discriminators of the mixture with the weights of their losses, separated by "
        "commas: patch=1,projected=0.5. In a file, each can have settings: {network: {name: patch, "
        "width: 32}, weight: 0.5}.",
    )
    spectral: bool = Field(
        False,
        description="Spectral normalization of the convolutions of all parts; without it, of those "
        "parts that have it by themselves.",
    )

    @model_validator(mode="before")
    @classmethod
    def _with_parts(cls, values: Any) -> Any:
        """Have the default parts completed like others."""
        if isinstance(values, dict):
            return {"parts": cls.model_fields["parts"].default, **values}
        return values

    @field_validator("parts")
    @classmethod
    def _completed(cls, parts: tuple[Part, ...], info: ValidationInfo) -> tuple[Part, ...]:
        for part in parts:
            if part.network.energy:
                raise ValueError(
                    f"{part.network.name} can't be part of a mixture, because its output is an "
                    "energy, and those of the other parts are logits"
                )
            if part.network.cutmix_weight:
                raise ValueError(
                    f"cutmix needs the pixels' scores of {part.network.name} alone, not of a "
                    "mixture; set its cutmix to 0, or choose that discriminator"
                )
        norm = info.data.get("norm")
        return tuple(part.with_norm(norm) for part in parts) if norm else parts

    @property
    def networks(self) -> tuple[DiscriminatorConfig, ...]:
        """The settings of the parts."""
        return tuple(part.network for part in self.parts)

    @property
    def classifies(self) -> Classifies:
        by_parts = {network.classifies for network in self.networks}
        order: tuple[Classifies, ...] = ("always", "if asked", "never")
        return next(each for each in order if each in by_parts)

    @property
    def scores_domains(self) -> bool:
        return all(network.scores_domains for network in self.networks)

    @property
    def uses_spectral_norm(self) -> bool:
        return self.spectral or any(network.uses_spectral_norm for network in self.networks)

    @property
    def batch_norm(self) -> bool:
        return any(network.batch_norm for network in self.networks)

    @property
    def compares(self) -> bool:
        return any(network.compares for network in self.networks)

    @property
    def separate_calls(self) -> bool:
        return any(network.separate_calls for network in self.networks)

    def feature_networks(self) -> tuple[str, ...]:
        names = (name for network in self.networks for name in network.feature_networks())
        return tuple(dict.fromkeys(names))

    def require_size(self, size: Size) -> None:
        for network in self.networks:
            network.require_size(size)

    def build(
        self, size: Size, channels: tuple[int, ...], answers: int = 1, domains: int = 0
    ) -> nn.Module:
        judges = [
            network.build(size, channels, answers, 0 if network.classifies == "never" else domains)
            for network in self.networks
        ]
        return Mixture(judges, [part.weight for part in self.parts], channels)

    def normalize(self, network: nn.Module) -> None:
        assert isinstance(network, Mixture)  # as `build` returns it
        for part, judge in zip(self.networks, network.judges, strict=True):
            if self.spectral:
                spectral_normalize(judge)
            else:
                part.normalize(judge)


class Mixture(Looking):
    """[N, sum(channels), H, W] in [-1, 1] -> the scores of all judges, or (scores, class logits
    [N, domains]), the mean of those of the judges that classify.

    Args:
        weights: of the losses of each judge.
        channels: of each picture that is concatenated in the image.
    """

    def __init__(self, judges: list[nn.Module], weights: list[float], channels: tuple[int, ...]):
        super().__init__()
        self.judges, self.weights, self.channels = nn.ModuleList(judges), weights, channels

    @property
    def networks(self) -> list[FeatureNetwork]:
        return [network for judge in self._looking() for network in judge.networks]

    def look(self, picture: Tensor) -> list[Tensor]:
        return [feature for judge in self._looking() for feature in judge.look(picture)]

    def score(self, image: Tensor, features: list[list[Tensor]]) -> Scores | tuple[Scores, Tensor]:
        scores, classes, start = [], [], 0
        for judge in self.judges:
            if isinstance(judge, Looking):
                end = start + sum(len(network.channels) for network in judge.networks)
                output = judge.score(image, [each[start:end] for each in features])
                start = end
            else:
                output = judge(image)
            if isinstance(output, tuple):
                output, logits = output
                classes.append(logits)
            scores.append(Scores.of(output))
        mixed = Scores.mixture(scores, self.weights)
        return (mixed, torch.stack(classes).mean(0)) if classes else mixed

    def _looking(self) -> list[Looking]:
        return [judge for judge in self.judges if isinstance(judge, Looking)]
