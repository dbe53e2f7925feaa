"""CycleGAN: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks
(Zhu et al. 2017).
"""

from functools import partial
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from img2img.methods.base import Column, ExportSpec, Way, in_one_call
from img2img.methods.critics import flat
from img2img.methods.fidelity import l1
from img2img.methods.objectives import OBJECTIVES, Critic
from img2img.methods.step import Batch, Draws, Scene
from img2img.methods.two_sets import TwoSets, TwoSetsConfig, all_paired
from img2img.nets.discriminator import Scores

OTHER = {"a": "b", "b": "a"}  # domain


class CycleGANConfig(TwoSetsConfig):
    """The settings of sections 4 and 7 of the paper."""

    default_generator: ClassVar[str] = "resnet"
    generator_defaults: ClassVar[dict[str, Any]] = {"norm": "instance", "dropout": False}
    discriminator_defaults: ClassVar[dict[str, Any]] = {"norm": "instance"}

    objective: str = "lsgan"
    pool: int = Field(
        50,
        ge=0,
        description="Number of earlier generated pictures that are kept to train the "
        "discriminators on.",
    )
    cycle: float = Field(
        10.0, ge=0, description="Weight of the cycle consistency loss in each direction."
    )
    identity: float = Field(
        0.5, ge=0, description="Weight of the identity loss, as a multiple of that of cycle."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if OBJECTIVES[self.objective].answers > 1 and self.batch == 1 and min(self.size) < 64:
            raise ValueError(
                f"{self.objective} compares patches, and pictures of {self.size} px have too few"
            )
        if self.identity and self.in_channels != self.out_channels:
            raise ValueError(
                "the identity loss needs in_channels equal to out_channels; set identity=0"
            )
        for name, weight in (
            ("self_regularization", self.self_regularization),
            ("color", self.color),
        ):
            if weight and self.in_channels != self.out_channels:
                raise ValueError(f"{name} needs in_channels equal to out_channels; set {name}=0")
        return self

    def without_effect(self) -> dict[str, str]:
        reasons = super().without_effect()
        if not self.cycle:
            reasons["identity"] = "it is a multiple of the weight of cycle, which is 0"
        return reasons


class CycleGAN(TwoSets):
    """Two generators, one for each direction, and a discriminator for each domain."""

    name = "cyclegan"
    Config = CycleGANConfig
    # modern changes the input instead of drawing a picture anew. Weaker cycle and identity losses
    # let it change more, and the two discriminators see colors and shapes: docs/objectives.md.
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "modern": {
            "margin": "auto",
            "generator": "unet",
            "upsample": "bilinear",
            "residual": "gated",
            "discriminator": "mixture",
            "objective": "hinge",
            "augment": ("translation",),
            "cycle": 2.0,
            "identity": 0.25,
            "generator_lr": 5e-4,
            "discriminator_lr": 1e-3,
            "ema": 0.999,
        },
    }
    sources_hint = (
        "cyclegan needs --a DIR and --b DIR, or --data DIR (and --test-a with --test-b, or "
        "--test-data); it has no --direction, it learns both."
    )
    translate_hint = " --direction ab"
    update_order = ("generators", "discriminators")
    pooled = ("fake_a", "fake_b")
    shown: ClassVar[dict[str, tuple[str, ...]]] = {"a": ("fake_a", "a"), "b": ("fake_b", "b")}
    config: CycleGANConfig

    def __init__(self, config: CycleGANConfig):
        super().__init__(config)
        c = config
        a, b, answers = c.in_channels, c.out_channels, self.objective.answers
        self.generators = nn.ModuleDict(
            {"ab": c.generator.build(c.size, a, b), "ba": c.generator.build(c.size, b, a)}
        )
        self.discriminators = nn.ModuleDict(
            {
                domain: c.discriminator.build(c.size, (channels,), answers)
                for domain, channels in (("a", a), ("b", b))
            }
        )
        self.initialize()

    def scene(self, batch: Batch, draws: Draws) -> Scene:
        ab, ba = partial(self.generate, "ab"), partial(self.generate, "ba")
        a, b = batch["a"], batch["b"]
        valid_a, valid_b = batch.get("a_valid"), batch.get("b_valid")
        if not (self.config.identity and torch.is_grad_enabled()):
            fake_b, fake_a, same = ab(a), ba(b), {}
        else:
            # A generator should not change pictures of its target domain (section 5.2).
            apart = self.config.generator.batch_norm
            fake_b, same_b = in_one_call(ab, a, b, apart=apart)
            fake_a, same_a = in_one_call(ba, b, a, apart=apart)
            same_a, same_b = (
                self.where_known(same_a, valid_a, a),
                self.where_known(same_b, valid_b, b),
            )
            same = {"same_a": same_a, "same_b": same_b}
        fake_b, fake_a = self.where_known(fake_b, valid_a), self.where_known(fake_a, valid_b)
        fakes = {"fake_b": fake_b, "fake_a": fake_a}
        if not torch.is_grad_enabled():  # a step of the discriminators only
            return fakes
        cycle_a = self.where_known(ba(fake_b), valid_a, a)
        return {
            **fakes,
            "cycle_a": cycle_a,
            "cycle_b": self.where_known(ab(fake_a), valid_b, b),
            **same,
        }

    def g_terms(self, batch: Batch, scene: Scene, draws: Draws) -> dict[str, Tensor]:
        judge_a, judge_b = (self._critic(domain, batch, scene, draws) for domain in "ab")
        c = self.config
        terms = {
            "adversarial_ab": self.generator_loss(judge_b, scene["fake_b"], batch["b"]),
            "adversarial_ba": self.generator_loss(judge_a, scene["fake_a"], batch["a"]),
            "cycle_a": c.cycle * l1(scene["cycle_a"], batch["a"]),
            "cycle_b": c.cycle * l1(scene["cycle_b"], batch["b"]),
        }
        for domain, judge in self.discriminators.items():
            fake, real, source = scene[f"fake_{domain}"], batch[domain], batch[OTHER[domain]]
            parts = self.matching_terms(judge, judge, fake, real)
            parts |= self.fidelity_terms(fake, source, alike=(scene[f"cycle_{domain}"], real))
            terms |= {f"{name}_{domain}": term for name, term in parts.items()}
        if c.identity:
            for domain in "ab":
                off = l1(scene[f"same_{domain}"], batch[domain])
                terms[f"identity_{domain}"] = c.identity * c.cycle * off
        if c.paired:
            terms["paired_ab"] = self.truth_term(scene["fake_b"], batch["b"], draws)
            terms["paired_ba"] = self.truth_term(scene["fake_a"], batch["a"], draws)
        return terms

    def d_terms(self, batch: Batch, scene: Scene, draws: Draws) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        for domain in self.discriminators:
            # Halved, to slow the discriminators down relative to the generators (section 7.1).
            real, fake = batch[domain], scene[f"fake_{domain}"]
            judge = self._critic(domain, batch, scene, draws)
            apart = self.config.discriminator.separate_calls
            parts = self.critic_terms(judge, real, fake, draws, weight=0.5, apart=apart)
            terms |= {f"{name}_{domain}": term for name, term in parts.items()}
        return terms

    def grid(self, batch: Batch) -> dict[str, Column]:
        fake_b, fake_a = self.generate("ab", batch["a"]), self.generate("ba", batch["b"])
        a_valid, b_valid = batch.get("a_valid"), batch.get("b_valid")
        return {
            "a": Column("a", batch["a"], a_valid),
            "a to b": Column("b", fake_b, a_valid),
            "back to a": Column("a", self.generate("ba", fake_b), a_valid),
            "b": Column("b", batch["b"], b_valid),
            "b to a": Column("a", fake_a, b_valid),
            "back to b": Column("b", self.generate("ab", fake_a), b_valid),
        }

    def ways(self, batch: Batch) -> dict[str, Way]:
        a, b, (ab, ba) = batch["a"], batch["b"], self.generators.values()
        judge_a, judge_b = (flat(judge) for judge in self.discriminators.values())
        paired, scored = all_paired(batch), self.objective.answers == 1
        there = Way(
            source=a,
            real=b,
            translate=ab,
            critic=judge_b if scored else None,
            back=ba,
            paired=paired,
            source_valid=batch.get("a_valid"),
            real_valid=batch.get("b_valid"),
        )
        other = Way(
            source=b,
            real=a,
            translate=ba,
            critic=judge_a if scored else None,
            back=ab,
            paired=paired,
            sides=("b", "a"),
            source_valid=there.real_valid,
            real_valid=there.source_valid,
        )
        return {"ab": there, "ba": other}

    def exports(self) -> dict[str, ExportSpec]:
        return {direction: self.direction_spec(direction) for direction in self.generators}

    def _critic(self, domain: str, batch: Batch, scene: Scene, draws: Draws) -> Critic:
        """The discriminator of the domain in training, with augmentation."""
        return lambda image: Scores.of(self.judge(domain, (image,), batch, scene, draws))
