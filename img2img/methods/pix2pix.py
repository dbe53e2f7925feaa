"""pix2pix: Image-to-Image Translation with Conditional Adversarial Networks (Isola et al. 2017)."""

from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from img2img.errors import UsageError
from img2img.methods.base import Column, ExportSpec, Method, Way, in_one_call
from img2img.methods.config import MethodConfig
from img2img.methods.critics import flat
from img2img.methods.fidelity import l1
from img2img.methods.objectives import OBJECTIVES, Critic
from img2img.methods.step import Batch, Draws, Scene
from img2img.nets.colors import OneHotInput
from img2img.nets.discriminator import Scores
from img2img.nets.generator import Generator


class Pix2PixConfig(MethodConfig):
    """The settings of sections 3 and 6 of the paper."""

    default_generator: ClassVar[str] = "unet"
    # For a ResNet, too, as in the authors' code of pix2pix.
    generator_defaults: ClassVar[dict[str, Any]] = {"norm": "batch", "dropout": True}
    discriminator_defaults: ClassVar[dict[str, Any]] = {"norm": "batch"}

    one_hot: ClassVar[bool] = True

    l1: float = Field(100.0, ge=0, description="Weight of the L1 loss.")
    unpaired: bool = Field(
        False,
        description="Also train on inputs without a partner, whose translations get only the "
        "adversarial loss.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.unpaired and OBJECTIVES[self.objective].interpolates:
            raise ValueError(
                f"the penalty of {self.objective} needs a real picture for each translation, which "
                "inputs without a partner do not have; choose another objective (r1 and r2 work "
                "with unpaired)"
            )
        return self

    def without_effect(self) -> dict[str, str]:
        reason = "pix2pix compares outputs with their targets, not with the inputs"
        unpaired = ("self_regularization", "color", "edges")
        return super().without_effect() | dict.fromkeys(unpaired, reason)


class Pix2Pix(Method):
    """A generator from a to b, and a discriminator that sees a and b together."""

    name = "pix2pix"
    Config = Pix2PixConfig
    layouts = ("pairs", "side-by-side")
    several_inputs = True
    # modern changes the input instead of drawing a picture anew, and judges frozen features, which
    # is sharper and nearer to the targets after minutes than the paper's settings after hours:
    # docs/objectives.md.
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "modern": {
            "margin": "auto",
            "upsample": "bilinear",
            "residual": "gated",
            "norm": "instance",
            "dropout": False,
            "discriminator": "projected",
            "objective": "hinge",
            "augment": ("colour", "translation", "cutout"),
            "l1": 40.0,
            "perceptual": 5.0,
            "ema": 0.999,
        },
    }
    sources_hint = (
        "pix2pix needs --a DIR and --b DIR, or --pairs DIR, or --data DIR (the same for "
        "--test-...); with --unpaired --a and --b, or --data with two sets."
    )
    shown: ClassVar[dict[str, tuple[str, ...]]] = {"b": ("fake_b", "b", "a")}
    # By a third on a CPU with AMX. Instance norm is slower in it: on an H100, a CycleGAN step takes
    # 1.34 times as long. Compiled networks write their own norms: not measured there yet.
    channels_last = True
    config: Pix2PixConfig

    def __init__(self, config: Pix2PixConfig):
        super().__init__(config)
        c = config
        if c.labels_in == "one-hot":
            colors = c.palettes.get("a", ())
            if not colors:
                raise UsageError("labels_in=one-hot needs the colors of a training run's data.")
            network = c.generator.build(c.size, len(colors), c.out_channels)
            generator: Generator = OneHotInput(network, colors)
        else:
            generator = c.generator.build(c.size, c.in_channels, c.out_channels)
        channels = (c.in_channels, c.out_channels)
        judge = c.discriminator.build(c.size, channels, self.objective.answers)
        self.generators = nn.ModuleDict({"ab": generator})
        self.discriminators = nn.ModuleDict({"b": judge})
        self.initialize()

    @classmethod
    def layouts_for(cls, config: MethodConfig) -> tuple[str, ...]:
        assert isinstance(config, Pix2PixConfig)
        return ("pairs-and-inputs",) if config.unpaired else cls.layouts

    def scene(self, batch: Batch, draws: Draws) -> Scene:
        """The translations of paired inputs, and, as `extra`, those of unpaired inputs."""

        def known(fake: Tensor) -> Tensor:
            """With the target's values where it or the input is missing."""
            for valid in (batch.get("a_valid"), batch.get("b_valid")):
                fake = self.where_known(fake, valid, batch["b"])
            return fake

        if not self.config.unpaired:
            return {"fake_b": known(self.generate("ab", batch["a"]))}
        # In one call, BatchNorm would mix the statistics of paired and unpaired inputs.
        apart, inputs = self.config.generator.batch_norm, (batch["a"], batch["extra"])
        fake, extra = in_one_call(lambda image: self.generate("ab", image), *inputs, apart=apart)
        return {"fake_b": known(fake), "extra": self.where_known(extra, batch.get("extra_valid"))}

    def d_terms(self, batch: Batch, scene: Scene, draws: Draws) -> dict[str, Tensor]:
        critic, fakes = self._critic(batch, scene, draws), self._fakes(scene)
        # Halved, to slow the discriminator down relative to the generator (section 3.3).
        return self.critic_terms(critic, batch["b"], fakes, draws, weight=0.5)

    def g_terms(self, batch: Batch, scene: Scene, draws: Draws) -> dict[str, Tensor]:
        critic, plain = self._critic(batch, scene, draws), self._plain_critic(batch["a"])
        fake, real = scene["fake_b"], batch["b"]
        features = self.shared_features("b", fake, real, batch, scene)
        return {
            "adversarial": self.generator_loss(critic, self._fakes(scene), real),
            "l1": self.config.l1 * l1(fake, real),
            **self.fidelity_terms(fake, alike=(fake, real), features=features),
            **self.matching_terms(self.discriminators["b"], plain, fake, real, paired=True),
        }

    def grid(self, batch: Batch) -> dict[str, Column]:
        a_valid, b_valid = batch.get("a_valid"), batch.get("b_valid")
        return {
            "input a": Column("a", batch["a"], a_valid),
            "output": Column("b", self.generate("ab", batch["a"]), a_valid),
            "truth b": Column("b", batch["b"], b_valid),
        }

    def ways(self, batch: Batch) -> dict[str, Way]:
        a, b = batch["a"], batch["b"]
        critic = flat(self._plain_critic(a)) if self.objective.answers == 1 else None
        way = Way(
            source=a,
            real=b,
            translate=self.generators["ab"],
            critic=critic,
            paired=True,
            source_valid=batch.get("a_valid"),
            real_valid=batch.get("b_valid"),
        )
        return {"ab": way}

    def exports(self) -> dict[str, ExportSpec]:
        return {"ab": self.direction_spec("ab")}

    def _fakes(self, scene: Scene) -> Tensor:
        """The translations of the inputs of pairs, and of unpaired inputs if these are used."""
        if not self.config.unpaired:
            return scene["fake_b"]
        return torch.cat([scene["fake_b"], scene["extra"]])

    def _critic(self, batch: Batch, scene: Scene, draws: Draws) -> Critic:
        """The discriminator in training as a function of images [N, C, H, W], each of which is
        judged and augmented together with its input. The images are targets, or translations, of
        the inputs of pairs, or translations of all inputs.
        """
        condition, count = batch["a"], len(batch["a"])

        def judge(image: Tensor) -> Scores:
            if len(image) == count:
                return Scores.of(self.judge("b", (condition, image), batch, scene, draws))
            both = (torch.cat([condition, batch["extra"]]), image)
            # If it compares the pictures of a call, it must not recognize fakes by the size of the
            # call: there are N real pictures, and 2N fakes.
            calls = [both]
            if self.config.discriminator.separate_calls:
                calls = list(zip(*(torch.split(each, count) for each in both), strict=True))
            judged = [self.judge("b", call, batch, scene, draws) for call in calls]
            return Scores.cat([Scores.of(output) for output in judged])

        return judge

    def _plain_critic(self, condition: Tensor) -> Critic:
        """The discriminator without augmentation, for images with these inputs [N, C, H, W]."""
        return lambda image: self.discriminators["b"](torch.cat([condition, image], 1))
