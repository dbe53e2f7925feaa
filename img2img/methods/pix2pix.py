"""pix2pix: Image-to-Image Translation with Conditional Adversarial Networks (Isola et al. 2017)."""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from img2img.data.folders import Paired
from img2img.methods.base import Batch, Draws, ExportSpec, Method, MethodConfig, Scene, Way, l1
from img2img.methods.objectives import OBJECTIVES, Critic
from img2img.nets.autoencoder import AutoEncoder
from img2img.nets.flat_unet import FlatUNet, UNetForm
from img2img.nets.init import init_normal
from img2img.nets.norm import Norm, spectral_normalise
from img2img.nets.patchgan import PatchGAN, PixelGAN
from img2img.nets.unet import UNet


class Pix2PixConfig(MethodConfig):
    """Sections 3 and 6 of the paper."""

    levels: int | None = Field(
        None, ge=4, description="depth of the U-Net; by default down to 1 pixel"
    )
    unet: UNetForm = Field(
        "paper",
        description="as others wrote it: flat, rectified, pytorch-gan or aladdinpersson",
    )
    norm: Norm = Field(
        "batch", description="of both networks: batch, instance, instance_affine or none"
    )
    dropout: bool = Field(True, description="in the generator's inner layers")
    discriminator: Literal["patch", "pixel"] = Field(
        "patch", description="patch, of what d_layers see, or pixel: each by itself"
    )
    l1: float = Field(100.0, ge=0, description="weight of the L1 term")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.unet_levels < 4 or self.size % 2**self.unet_levels:
            multiple = 2 ** max(self.unet_levels, 4)
            raise ValueError(f"size {self.size} is no multiple of {multiple}, as the U-Net needs")
        self.require_single(self.norm)
        objective = OBJECTIVES[self.objective]
        if self.discriminator == "pixel" and (objective.energy or objective.answers > 1):
            raise ValueError(f"{self.objective} brings its own discriminator; leave pixel out")
        if self.discriminator == "pixel" and self.minibatch:
            raise ValueError("the pixel discriminator compares no pictures (minibatch); patch does")
        if self.discriminator == "patch" and self.size < 3 * 2**self.d_layers:
            raise ValueError(f"size {self.size} is too small for {self.d_layers} PatchGAN layers")
        return self

    def without_effect(self) -> dict[str, str]:
        reasons = super().without_effect()
        if self.discriminator == "pixel":
            reasons["d_layers"] = "the pixel discriminator has no strided layers"
        return reasons

    @property
    def unet_levels(self) -> int:
        """Down to one pixel where the size is a power of two: 8 at 256, 7 at 128."""
        if self.levels is not None:
            return self.levels
        return min((self.size & -self.size).bit_length() - 1, 9)


class Pix2Pix(Method):
    """A U-Net from a to b, and a discriminator that sees a and b together."""

    name = "pix2pix"
    Config = Pix2PixConfig
    data = Paired
    channels_last = True  # by a third on a CPU with AMX; the others lose in their instance norm
    config: Pix2PixConfig

    def __init__(self, config: Pix2PixConfig):
        super().__init__(config)
        c, both = config, config.in_channels + config.out_channels
        shape = (c.in_channels, c.out_channels, c.width, c.unet_levels, c.norm, c.dropout)
        unet = UNet(*shape) if c.unet == "paper" else FlatUNet(c.unet, *shape)
        if self.objective.energy:
            judge: nn.Module = AutoEncoder(both, c.d_width, c.d_layers, c.norm)
        elif c.discriminator == "pixel":
            judge = PixelGAN(both, c.d_width, c.norm)
        else:
            judge = PatchGAN(
                both, c.d_width, c.d_layers, c.norm, c.minibatch, self.objective.answers
            )
        self.generators = nn.ModuleDict({"ab": unet})
        self.discriminators = nn.ModuleDict({"b": judge})
        init_normal(self)
        if c.spectral:
            spectral_normalise(self.discriminators)

    def scene(self, batch: Batch, draws: Draws) -> Scene:
        return {"fake_b": self.generate("ab", batch["a"])}

    def d_terms(self, batch: Batch, scene: Scene, draws: Draws) -> dict[str, Tensor]:
        critic = self._critic(batch["a"], draws)
        # Halved, to slow the discriminator down relative to the generator (section 3.3).
        return self.critic_terms(critic, batch["b"], scene["fake_b"], draws, weight=0.5)

    def g_terms(self, batch: Batch, scene: Scene, draws: Draws) -> dict[str, Tensor]:
        critic = self._critic(batch["a"], draws)
        fake, real = scene["fake_b"], batch["b"]
        return {
            "adversarial": self.generator_loss(critic, fake, real),
            "l1": self.config.l1 * l1(fake, real),
            **self.matching_terms(
                self.discriminators["b"], self._critic(batch["a"]), fake, real, paired=True
            ),
        }

    def grid(self, batch: Batch) -> dict[str, Tensor]:
        output = self.generate("ab", batch["a"])
        return {"input a": batch["a"], "output": output, "truth b": batch["b"]}

    def ways(self, batch: Batch) -> dict[str, Way]:
        a, b = batch["a"], batch["b"]
        critic = self._critic(a) if self.objective.answers == 1 else None
        return {"ab": Way(a, b, self.generators["ab"], critic, paired=True)}

    def exports(self) -> dict[str, ExportSpec]:
        c = self.config
        return {"ab": ExportSpec(self.generator("ab"), c.in_channels, c.out_channels)}

    def _critic(self, condition: Tensor, draws: Draws | None = None) -> Critic:
        """The discriminator's score of an image beside the condition [N, C, H, W]. With the draws
        of a training step both are augmented alike before it sees them.
        """

        def judge(image: Tensor) -> Tensor:
            both = torch.cat([condition, image], 1)
            if draws is not None:
                channels = (self.config.in_channels, self.config.out_channels)
                both = self.seen(both, draws, channels)
            answer: Tensor = self.discriminators["b"](both)
            return answer

        return judge
