"""StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image Translation
(Choi et al. 2018).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from img2img.data.dataset import Dataset
from img2img.manifest import Labels
from img2img.methods.base import Column, ExportSpec, Method, Way
from img2img.methods.config import MethodConfig
from img2img.methods.domain_scores import DomainScores
from img2img.methods.fidelity import l1
from img2img.methods.objectives import OBJECTIVES, wide
from img2img.methods.step import Batch, Draws, Scene, Side
from img2img.nets.discriminator import Scores
from img2img.nets.init import Init
from img2img.sizes import Size, TrainingSize


class StarGANConfig(MethodConfig):
    """The settings of sections 3, 4.2 and 7 of the paper. A step is a discriminator step."""

    default_generator: ClassVar[str] = "stargan"
    default_discriminator: ClassVar[str] = "stargan"
    conditional: ClassVar[bool] = True
    # As in the paper's discriminator, where another one has a choice.
    discriminator_defaults: ClassVar[dict[str, Any]] = {"norm": "none"}

    size: TrainingSize = Field(
        Size(128, 128),
        description="Size of the training pictures in pixels: 128, or 256x128 (width x height).",
    )
    batch: int = Field(
        16,
        ge=2,
        description="Pictures in each step. At least 2, since a picture is translated to "
        "the domain of another.",
    )
    epochs: int | None = None
    steps: int | None = Field(
        200_000, ge=1, description="Length of training in discriminator steps, instead of epochs."
    )
    objective: str = "wgan-gp"
    init: Init = "torch"
    generator_lr: float = Field(1e-4, gt=0)
    discriminator_lr: float = Field(1e-4, gt=0)
    d_steps: int = Field(5, ge=1, description="Discriminator steps for each generator step.")
    reconstruction: float = Field(
        10.0, ge=0, description="Weight of the L1 reconstruction of the input."
    )
    classification: float = Field(
        1.0, ge=0, description="Weight of the domain classification loss."
    )
    domain_scores: bool = Field(
        False,
        description="The discriminator judges a picture by a score of its own domain, in place of "
        "one score for all domains (StarGAN v2, Choi et al. 2020); of attributes, by the mean of "
        "their scores.",
    )
    labels: Labels = Field(Labels(), description="The domains, which are read from the data.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.in_channels != self.out_channels:
            raise ValueError("stargan needs in_channels equal to out_channels")
        if self.domain_scores:
            objective = OBJECTIVES[self.objective]
            if objective.interpolates or objective.answers > 1 or any(self.slope_weights.values()):
                raise ValueError(
                    "domain_scores works without gradient penalties; set objective=hinge or lsgan, "
                    "r1=0 and r2=0"
                )
            if not self.discriminator.scores_domains:
                raise ValueError(
                    f"the discriminator {self.discriminator.name} has no scores for domains; set "
                    "discriminator=projected or domain_scores=false"
                )
        return self

    @classmethod
    def _fitting(cls, preset: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
        """Also without `domain_scores` where these values bring a gradient penalty, or an objective
        of several answers.
        """
        fitting = super()._fitting(preset, values)
        o = OBJECTIVES.get(str(values.get("objective")))
        one_score = o and (o.interpolates or o.zero_centered or o.answers > 1)
        if one_score or values.get("r1") or values.get("r2"):
            fitting.pop("domain_scores", None)
        return fitting

    def require_share(self, share: int) -> None:
        super().require_share(share)
        if share < 2:
            raise ValueError(
                "a picture is translated to the domain of another one; set batch=2 or more"
            )

    @property
    def load_size(self) -> Size | None:
        """By default the crop size, since the paper has no random crops; with another margin than
        the paper's, the size from which the other methods crop.
        """
        if self.resize is None and self.margin == "enlarge":
            return self.size
        return super().load_size


@dataclass(frozen=True)
class StarGANDraws(Draws):
    target: Tensor  # [N, D], the label that each picture is translated to


class StarGAN(Method):
    """One generator for all domains, and a discriminator that also classifies the domain."""

    name = "stargan"
    Config = StarGANConfig
    layouts = ("labelled",)
    # The paper's generator loses the domain in its first norm layer, and its discriminator has no
    # opinion about the domain of a picture; modern changes both: docs/objectives.md.
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "modern": {
            "margin": "auto",
            "generator": "modulated",
            "upsample": "bilinear",
            "residual": "gated",
            "discriminator": "projected",
            "domain_scores": True,
            "objective": "hinge",
            "augment": ("translation",),
            "reconstruction": 3.0,
            "d_steps": 1,
            "generator_lr": 2e-4,  # with 5e-4 and 1e-3, a wide generator diverges
            "discriminator_lr": 4e-4,
            "ema": 0.999,
        },
    }
    sources_hint = "stargan needs --data DIR with one sub-folder for each domain."
    translate_hint = " --to DOMAIN"
    shown: ClassVar[dict[str, tuple[str, ...]]] = {"all": ("fake", "image")}
    config: StarGANConfig

    def __init__(self, config: StarGANConfig):
        super().__init__(config)
        c, channels = config, config.in_channels
        generator = c.generator.build(c.size, channels, channels, c.labels.width)
        self.domain_scores = DomainScores(c.labels) if c.domain_scores else None
        answers = self.domain_scores.answers if self.domain_scores else self.objective.answers
        judge = c.discriminator.build(c.size, (channels,), answers, len(c.labels.names))
        self.generators = nn.ModuleDict({"any": generator})
        self.discriminators = nn.ModuleDict({"all": judge})
        self.initialize()

    @classmethod
    def fit_config(cls, config: MethodConfig, dataset: Dataset) -> MethodConfig:
        return config.model_copy(update={"labels": dataset.labels})

    @property
    def turn(self) -> int:
        return self.config.d_steps * max(len(self.config.labels.sets), 1)

    def sides(self, step: int) -> tuple[Side, ...]:
        """Several data sets take turns, batch by batch, and each gets its generator steps."""
        return super().sides(step // max(len(self.config.labels.sets), 1))

    def penalty_scale(self, step: int) -> float:
        """Counted in turns, so that each data set gets its share of lazy penalties."""
        return super().penalty_scale(step // max(len(self.config.labels.sets), 1))

    def draws(self, batch: Batch, progress: Tensor, penalty_scale: float) -> StarGANDraws:
        """Draw the targets, which are the labels of the batch in random order."""
        label = batch["domain"]
        others = torch.randperm(len(label), device=label.device)
        shared = super().draws(batch, progress, penalty_scale)
        return StarGANDraws(**vars(shared), target=label[others])

    def scene(self, batch: Batch, draws: Draws) -> Scene:
        fake = self.generate("any", batch["image"], _target(draws))
        return {"fake": self.where_known(fake, batch.get("image_valid"))}

    def d_terms(self, batch: Batch, scene: Scene, draws: Draws) -> dict[str, Tensor]:
        judge, c = self._judge(batch, scene, draws), self.config
        image, fake, label = batch["image"], scene["fake"], batch["domain"]
        if c.discriminator.separate_calls:
            (real, classes), (judged, _) = judge(image), judge(fake)
        else:
            scores, classes = judge(torch.cat([image, fake]))
            real, judged = scores.split([len(image), len(image)])
            classes = classes[: len(image)]
        real, judged = self._of_labels(real, label), self._of_labels(judged, _target(draws))
        terms = self.score_terms(real, judged)
        terms["classification"] = c.classification * self._class_loss(classes, label)
        terms |= self.sign_terms(real, judged)

        def critic(shown: Tensor) -> Scores:
            return judge(shown)[0]

        terms |= self.penalty_terms(critic, image, fake, draws)
        return terms | self.cutmix_terms(critic, image, fake, (real, judged), draws)

    def g_terms(self, batch: Batch, scene: Scene, draws: Draws) -> dict[str, Tensor]:
        judge, whole = self._judge(batch, scene, draws), self.discriminators["all"]
        c, image = self.config, batch["image"]
        fake, fake_classes = judge(scene["fake"])
        fake = self._of_labels(fake, _target(draws))
        real = None
        if self.objective.compares:
            real = self._of_labels(judge(image)[0], batch["domain"])
        back = self.generate("any", scene["fake"], batch["domain"])
        back = self.where_known(back, batch.get("image_valid"), image)
        return {
            "adversarial": self.generator_score_loss(fake, real),
            "classification": c.classification * self._class_loss(fake_classes, _target(draws)),
            "reconstruction": c.reconstruction * l1(back, image),
            **self.fidelity_terms(scene["fake"], image, alike=(back, image)),
            **self.matching_terms(whole, whole, scene["fake"], image),
        }

    def grid(self, batch: Batch) -> dict[str, Column]:
        """The input, and its translation to each domain."""
        image, valid = batch["image"], batch.get("image_valid")
        columns = {"input": Column("a", image, valid)}
        for name in self.config.labels.names:
            output = self.generators["any"](image, self._towards(batch["domain"], name))
            columns[name] = Column("b", output, valid)
        return columns

    def ways(self, batch: Batch) -> dict[str, Way]:
        """For each domain, the pictures of its data set that do not have it."""
        image, label, labels = batch["image"], batch["domain"], self.config.labels
        valid = batch.get("image_valid")
        ways = {}
        for index, name in enumerate(labels.names):
            number, _ = self._place(name)
            in_set = label[:, len(labels.names) + number] > 0 if len(labels.sets) > 1 else True
            has_domain = label[:, index] > 0
            source_labels = label[~has_domain & in_set]
            ways[name] = Way(
                source=image[~has_domain & in_set],
                real=image[has_domain],
                translate=partial(self._switched, source_labels, name),
                critic=partial(self._score, name) if self.objective.answers == 1 else None,
                back=partial(self._translated, source_labels),
                source_valid=None if valid is None else valid[~has_domain & in_set],
                real_valid=None if valid is None else valid[has_domain],
            )
        return ways

    def _switched(self, label: Tensor, name: str, image: Tensor) -> Tensor:
        """The images [N, C, H, W] in the domain `name`, given their label vectors [N, D]."""
        return self._translated(self._towards(label, name), image)

    def _translated(self, label: Tensor, image: Tensor) -> Tensor:
        translated: Tensor = self.generators["any"](image, label)
        return translated

    def _score(self, name: str, image: Tensor) -> Tensor:
        """All scores of each image as a picture of a domain, [N, P]."""
        scores = Scores.of(self.discriminators["all"](image)[0])
        domains = self.domain_scores
        return (domains.of_domain(scores, name) if domains else scores).flat()

    def _of_labels(self, scores: Scores, label: Tensor) -> Scores:
        """With `domain_scores`, those of the domains in the labels [N, D]; else all scores."""
        return self.domain_scores.of_labels(scores, label) if self.domain_scores else scores

    def exports(self) -> dict[str, ExportSpec]:
        c = self.config
        spec = ExportSpec(
            self.generator("any"),
            c.in_channels,
            c.out_channels,
            c.labels,
            intensity_in=c.intensities.get("a"),
            intensity_out=c.intensities.get("b"),
        )
        return {"to": spec}

    def _judge(
        self, batch: Batch, scene: Scene, draws: Draws
    ) -> Callable[[Tensor], tuple[Scores, Tensor]]:
        """The discriminator in training, with augmentation: images -> (scores, class logits)."""

        def judge(image: Tensor) -> tuple[Scores, Tensor]:
            scores, classes = self.judge("all", (image,), batch, scene, draws)
            return Scores.of(scores), classes

        return judge

    def _class_loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """The mean classification loss of the pictures, each on the domains of its own data set
        (equations 2, 3 and 7).
        """
        logits, labels = wide(logits), self.config.labels
        loss = logits.new_zeros(())
        for number, (labelled, part) in enumerate(zip(labels.sets, labels.parts, strict=True)):
            predicted, truth = logits[:, part], label[:, part].to(logits.dtype)
            if labelled.kind == "classes":
                each = F.cross_entropy(predicted, truth.argmax(1), reduction="none")
            else:  # summed over the attributes, as in the authors' code
                each = F.binary_cross_entropy_with_logits(predicted, truth, reduction="none")
                each = each.sum(1)
            known = label[:, len(labels.names) + number] if len(labels.sets) > 1 else 1.0
            loss = loss + (each * known).mean()
        return loss

    def _towards(self, label: Tensor, name: str) -> Tensor:
        """Label vectors [N, D] with the class `name` chosen, or the attribute `name` inverted."""
        labels = self.config.labels
        number, part = self._place(name)
        targets = []
        for row in label[:, part].tolist():
            domains = labels.sets[number].domains
            current = {domain for domain, value in zip(domains, row, strict=True) if value}
            targets.append(labels.vector(number, labels.towards(number, current, name)))
        return torch.from_numpy(np.stack(targets)).to(label)

    def _place(self, name: str) -> tuple[int, slice]:
        """The index of the data set with the domain, and its slice of the label vector."""
        labels = self.config.labels
        number = next(i for i, labelled in enumerate(labels.sets) if name in labelled.domains)
        return number, labels.parts[number]


def _target(draws: Draws) -> Tensor:
    assert isinstance(draws, StarGANDraws)  # as StarGAN.draws gives them
    return draws.target
