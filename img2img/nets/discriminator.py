"""The base class of discriminator settings, and what a discriminator returns."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from img2img.features import FeatureNetwork
from img2img.nets.config import NetworkConfig
from img2img.nets.norm import spectral_normalize
from img2img.sizes import Size

# Whether a discriminator returns class logits, too: "if asked" where it is built with domains.
Classifies = Literal["never", "if asked", "always"]


@dataclass(frozen=True)
class Scores:
    """The logits of a discriminator that judges at several scales, or of several discriminators.

    A discriminator of several scales gives them weights whose sum is 1, so that the adversarial
    loss keeps its proportion to the other losses, whatever the number of scales.
    """

    maps: tuple[Tensor, ...]  # each [N, answers, h, w], or [N, 1]
    weights: tuple[float, ...]  # of the losses of each map, whose sum is the loss

    @classmethod
    def mean(cls, maps: Sequence[Tensor]) -> "Scores":
        """Maps that count equally: the loss is the mean of theirs."""
        return cls(tuple(maps), (1 / len(maps),) * len(maps))

    @classmethod
    def of(cls, output: "Tensor | Scores") -> "Scores":
        """The output of a discriminator; a tensor is a single map with the weight 1."""
        return output if isinstance(output, Scores) else cls((output,), (1.0,))

    @classmethod
    def mixture(cls, parts: "Sequence[Scores]", weights: Sequence[float]) -> "Scores":
        """The maps of several discriminators, whose losses have these weights."""
        shares = [
            weight * share
            for part, weight in zip(parts, weights, strict=True)
            for share in part.weights
        ]
        return cls(tuple(each for part in parts for each in part.maps), tuple(shares))

    @classmethod
    def cat(cls, parts: "Sequence[Scores]") -> "Scores":
        """The scores of several batches of pictures, concatenated."""
        maps = zip(*(part.maps for part in parts), strict=True)
        return cls(tuple(torch.cat(each) for each in maps), parts[0].weights)

    def split(self, lengths: list[int]) -> "tuple[Scores, ...]":
        """The scores of consecutive parts of the batch, which have so many pictures."""
        parts = zip(*(torch.split(each, lengths) for each in self.maps), strict=True)
        return tuple(Scores(maps, self.weights) for maps in parts)

    def flat(self) -> Tensor:
        """All logits of each picture, [N, P]."""
        return torch.cat([each.flatten(1) for each in self.maps], 1)


class Looking(nn.Module):
    """A discriminator that judges frozen features of pictures.

    Features depend on no trained weight, so that those of a step can be computed once, and used by
    both sides.
    """

    channels: tuple[int, ...]  # of each picture that is concatenated in its input
    has_alpha = True  # whether four channels are RGBA, and not four bands

    @property
    @abstractmethod
    def networks(self) -> list[FeatureNetwork]:
        """The frozen networks whose features `look` returns, in this order."""

    @abstractmethod
    def look(self, picture: Tensor) -> list[Tensor]:
        """The features [N, C, h, w] of a picture [N, 1, 3 or 4, H, W] in [-1, 1]."""

    @abstractmethod
    def score(self, image: Tensor, features: list[list[Tensor]]) -> Scores | tuple[Scores, Tensor]:
        """Judge the image [N, sum(channels), H, W], given the features of each of its pictures.

        Returns the scores, or (scores, class logits [N, domains]) if it was built with domains.
        """

    def forward(self, image: Tensor) -> Scores | tuple[Scores, Tensor]:
        pictures = torch.split(image, list(self.channels), 1)
        return self.score(image, [self.look(picture) for picture in pictures])

    def features_of(self, name: str, features: list[Tensor]) -> list[Tensor]:
        """Those of the features that `look` returned which are of the frozen network of that name;
        none if it does not look through that network.
        """
        start = 0
        for network in self.networks:
            end = start + len(network.channels)
            if network.name == name:
                return features[start:end]
            start = end
        return []


class DiscriminatorConfig(NetworkConfig):
    """The settings of a discriminator. A row of `img2img.nets.DISCRIMINATORS` is such a class."""

    energy: ClassVar[bool] = False  # its logit is the negative error of reconstructing its input
    most_answers: ClassVar[int | None] = None  # upper bound of the answers of its objective

    spectral: bool = Field(
        False, description="Spectral normalization of the discriminators' convolutions."
    )

    @property
    def classifies(self) -> Classifies:
        """Whether it returns (logits, class logits [N, domains])."""
        return "never"

    @property
    def scores_domains(self) -> bool:
        """Whether it can be built with an answer for each domain."""
        return False

    @property
    def uses_spectral_norm(self) -> bool:
        """Whether spectral normalization rescales weights of the network."""
        return self.spectral

    @property
    def compares(self) -> bool:
        """Whether a layer compares the pictures of a batch (`minibatch`)."""
        return False

    @property
    def separate_calls(self) -> bool:
        """Whether real and generated pictures are to be judged in separate calls, since the logits
        of a picture depend on the other pictures of the same call, or for a reason of its own.
        """
        return self.batch_norm or self.compares

    @property
    def cutmix_weight(self) -> float:
        """The weight of the losses on CutMix pictures. A discriminator that has one returns two
        maps, the picture's [N, 1] and its pixels' [N, 1, H, W].
        """
        return 0.0

    def feature_networks(self) -> tuple[str, ...]:
        """The names of the frozen feature networks that it looks through."""
        return ()

    @abstractmethod
    def build(
        self, size: Size, channels: tuple[int, ...], answers: int = 1, domains: int = 0
    ) -> nn.Module:
        """Build the network: [N, sum(channels), H, W] of `size` in [-1, 1] -> logits
        [N, answers, h, w] or `Scores`, or (logits or scores, class logits [N, domains]) if there
        are domains.

        channels: of each picture that is concatenated in the image. The last picture is judged; the
        ones before are its condition. domains: number of domains to classify; 0 unless it
        `classifies`. `normalize` adds spectral normalization, after the weights are initialized.
        """

    def normalize(self, network: nn.Module) -> None:
        """Add the spectral normalization that is asked for to the network, which `build` built."""
        if self.spectral:
            spectral_normalize(network)
