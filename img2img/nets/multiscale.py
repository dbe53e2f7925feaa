"""The multi-scale discriminator of pix2pixHD (Wang et al. 2018, section 3.2)."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from img2img.nets.discriminator import Classifies, Scores
from img2img.nets.patchgan import PatchConfig, PatchGAN
from img2img.sizes import Size


class MultiScaleConfig(PatchConfig):
    """The settings of the multi-scale discriminator, beside those of its PatchGANs."""

    name: ClassVar[str] = "multiscale"
    most_answers: ClassVar[int | None] = 1

    scales: int = Field(
        3,
        ge=1,
        description="PatchGANs, each of which judges the picture at half the size of the one "
        "before.",
    )

    @property
    def classifies(self) -> Classifies:
        return "if asked"

    def require_size(self, size: Size) -> None:
        if min(size) < 3 * 2 ** (self.layers + self.scales - 1):
            raise ValueError(
                f"size {size} is too small for {self.scales} scales of {self.layers} PatchGAN "
                "layers; set d_scales or d_layers lower"
            )

    def build(
        self, size: Size, channels: tuple[int, ...], answers: int = 1, domains: int = 0
    ) -> nn.Module:
        critics = [
            PatchGAN(
                sum(channels),
                self.width,
                self.layers,
                self.norm,
                self.minibatch,
                answers + domains,
                self.antialias,
            )
            for _ in range(self.scales)
        ]
        return MultiScale(critics, answers)


class MultiScale(nn.Module):
    """[N, C, H, W] in [-1, 1] -> scores, a map [N, answers, h, w] for each scale, or (scores, class
    logits [N, domains]).

    The first critic judges the picture, each further one the picture at half the size of the one
    before. Their losses are averaged; in the paper (equation 3) they are summed. Channels of the
    critics' outputs beyond the answers are class logits of patches, which are averaged over
    positions and scales. The classification is an addition, for methods with domains.
    """

    def __init__(self, critics: list[PatchGAN], answers: int = 1):
        super().__init__()
        self.critics, self.answers = nn.ModuleList(critics), answers

    def forward(self, image: Tensor) -> Scores | tuple[Scores, Tensor]:
        outputs: list[Tensor] = []
        for number, critic in enumerate(self.critics):
            if number:  # as in the published code: the border is averaged over fewer pixels
                image = F.avg_pool2d(image, 3, 2, 1, count_include_pad=False)
            outputs.append(critic(image))
        scores = Scores.mean([output[:, : self.answers] for output in outputs])
        classes = [output[:, self.answers :].mean((2, 3)) for output in outputs]
        return (scores, torch.stack(classes).mean(0)) if classes[0].shape[1] else scores
