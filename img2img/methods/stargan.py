"""StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image Translation
(Choi et al. 2018).
"""

from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from img2img.data.folders import Labelled
from img2img.methods.base import Batch, ExportSpec, Method, MethodConfig, Scene, l1
from img2img.methods.objectives import ObjectiveName, wide
from img2img.nets.stargan import StarDiscriminator, StarGenerator

HAIR_COLOURS = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")  # at most one at a time


class StarGANConfig(MethodConfig):
    """Sections 3, 4.2 and 7 of the paper. A step is a critic step."""

    size: int = Field(128, ge=8, description="side of the training pictures, pixels")
    batch: int = Field(16, ge=2, description="of one, the target would be what it is already")
    epochs: int | None = None
    steps: int | None = Field(200_000, ge=1, description="critic steps; not with epochs")
    objective: ObjectiveName = "wgan-gp"
    generator_lr: float = Field(1e-4, gt=0)
    discriminator_lr: float = Field(1e-4, gt=0)
    critic_steps: int = Field(5, ge=1, description="critic steps to a generator step")
    blocks: int = Field(6, ge=1, description="residual blocks")
    d_layers: int = Field(6, ge=1, description="the discriminator's strided layers")
    reconstruction: float = Field(10.0, ge=0, description="weight of the cycle back")
    classification: float = Field(1.0, ge=0, description="weight of the domain classifier")
    domains: tuple[str, ...] = Field((), description="read from the data")
    labels: Literal["classes", "attributes"] = Field("classes", description="read from the data")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.size % 2**self.d_layers:
            raise ValueError(
                f"size {self.size} is no multiple of {2**self.d_layers}, as {self.d_layers} "
                "discriminator layers need; set d_layers lower"
            )
        if self.in_channels != self.out_channels:
            raise ValueError("StarGAN needs as many channels in as out")
        return self

    @property
    def load_size(self) -> int:
        """The paper crops once from the middle, then resizes: no random crop by default."""
        return self.size if self.resize is None else self.resize


class StarGAN(Method):
    """One generator for every domain; a discriminator that also names the domain."""

    name = "stargan"
    Config = StarGANConfig
    data = Labelled
    config: StarGANConfig

    def __init__(self, config: StarGANConfig):
        super().__init__(config)
        c, domains = config, len(config.domains)
        self.generators = nn.ModuleDict(
            {"any": StarGenerator(c.in_channels, domains, c.width, c.blocks)}
        )
        self.discriminators = nn.ModuleDict(
            {"all": StarDiscriminator(c.size, c.in_channels, domains, c.d_width, c.d_layers)}
        )

    @classmethod
    def fit_config(cls, config: StarGANConfig, dataset: Labelled) -> StarGANConfig:
        return config.model_copy(update={"domains": dataset.domains, "labels": dataset.labels})

    def draws(self, batch: Batch) -> Batch:
        image = batch["image"]
        return super().draws(batch) | {
            "permutation": torch.randperm(len(image), device=image.device)
        }

    def scene(self, batch: Batch) -> Scene:
        target = batch["domain"][batch["permutation"]]
        return {"target": target, "fake": self.generators["any"](batch["image"], target)}

    def d_terms(self, batch: Batch, scene: Scene) -> dict[str, Tensor]:
        judge, c = self.discriminators["all"], self.config
        real, real_classes = judge(batch["image"])
        fake, _ = judge(scene["fake"])
        terms = self.objective.d_terms(real, fake)
        terms["classification"] = c.classification * self._class_loss(real_classes, batch["domain"])
        return terms | self.penalty_terms(
            lambda image: judge(image)[0], batch["image"], scene["fake"], batch["mix"]
        )

    def g_terms(self, batch: Batch, scene: Scene) -> dict[str, Tensor]:
        c = self.config
        fake, fake_classes = self.discriminators["all"](scene["fake"])
        back = self.generators["any"](scene["fake"], batch["domain"])
        return {
            "adversarial": self.objective.g_loss(fake),
            "classification": c.classification * self._class_loss(fake_classes, scene["target"]),
            "reconstruction": c.reconstruction * l1(back, batch["image"]),
        }

    def grid(self, batch: Batch) -> dict[str, Tensor]:
        """The input, then what each domain makes of it."""
        image = batch["image"]
        columns = {"input": image}
        for index, name in enumerate(self.config.domains):
            columns[name] = self.generators["any"](image, self._towards(batch["domain"], index))
        return columns

    def exports(self) -> dict[str, ExportSpec]:
        c = self.config
        generator = self.generators["any"]
        multiple = StarGenerator.size_multiple
        spec = ExportSpec(generator, multiple, c.in_channels, c.out_channels, c.domains, c.labels)
        return {"to": spec}

    def _class_loss(self, logits: Tensor, domain: Tensor) -> Tensor:
        logits = wide(logits)
        if self.config.labels == "classes":
            return F.cross_entropy(logits, domain.argmax(1))
        # Summed over the attributes, as the authors do; a mean would weigh it down.
        each = F.binary_cross_entropy_with_logits(logits, domain.to(logits.dtype), reduction="none")
        return each.sum(1).mean()

    def _towards(self, domain: Tensor, index: int) -> Tensor:
        """Label vectors [N, D] with one domain chosen, or one attribute switched over."""
        if self.config.labels == "classes":
            return F.one_hot(torch.full_like(domain[:, 0], index).long(), len(domain[0])).to(domain)
        target, names = domain.clone(), self.config.domains
        if names[index] in HAIR_COLOURS:
            for other, name in enumerate(names):
                if name in HAIR_COLOURS:
                    target[:, other] = float(other == index)
        else:
            target[:, index] = 1 - target[:, index]
        return target
