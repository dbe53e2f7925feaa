"""pix2pix: Image-to-Image Translation with Conditional Adversarial Networks (Isola et al. 2017)."""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from img2img.methods.base import Batch, Draws, ExportSpec, Method, Scene, Way, l1
from img2img.methods.config import MethodConfig
from img2img.methods.objectives import Critic
from img2img.nets.colors import OneHotInput
from img2img.nets.generator import Generator


class Pix2PixConfig(MethodConfig):
    """Sections 3 and 6 of the paper."""

    default_generator: ClassVar[str] = "unet"
    # Of a ResNet, too: what the authors' code gives one in pix2pix.
    generator_defaults: ClassVar[dict[str, Any]] = {"norm": "batch", "dropout": True}
    discriminator_defaults: ClassVar[dict[str, Any]] = {"norm": "batch"}

    one_hot: ClassVar[bool] = True

    l1: float = Field(100.0, ge=0, description="weight of the L1 term")


class Pix2Pix(Method):
    """A generator from a to b, and a discriminator that sees a and b together."""

    name = "pix2pix"
    Config = Pix2PixConfig
    layouts = ("pairs", "side-by-side")
    # Nearer in kernel distance than the paper's by more than the seeds differ, on small data sets:
    # docs/objectives.md.
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "modern": {
            "objective": "rpgan",
            "norm": "instance",
            "dropout": False,
            "ema": 0.999,
            "penalty_every": 4,
            "augment": ("colour", "translation", "cutout"),
        },
    }
    sources_hint = (
        "pix2pix needs --a DIR and --b DIR, or --pairs DIR, or --data DIR (the same for "
        "--test-...)."
    )
    channels_last = True  # by a third on a CPU with AMX; the others lose in their instance norm
    config: Pix2PixConfig

    def __init__(self, config: Pix2PixConfig):
        super().__init__(config)
        c, both = config, config.in_channels + config.out_channels
        if c.labels_in == "one-hot":
            colors = c.palettes["a"]
            network = c.generator.build(c.size, len(colors), c.out_channels)
            generator: Generator = OneHotInput(network, colors)
        else:
            generator = c.generator.build(c.size, c.in_channels, c.out_channels)
        judge = c.discriminator.build(c.size, both, self.objective.answers)
        self.generators = nn.ModuleDict({"ab": generator})
        self.discriminators = nn.ModuleDict({"b": judge})
        self.initialize()

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
        return {"ab": self.direction_spec("ab")}

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
