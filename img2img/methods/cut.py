"""CUT: Contrastive Learning for Unpaired Image-to-Image Translation (Park et al. 2020)."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from img2img.methods.base import Column, ExportSpec, Way, in_one_call
from img2img.methods.critics import flat
from img2img.methods.objectives import Critic, wide
from img2img.methods.step import Batch, Draws, Scene, Side
from img2img.methods.two_sets import TwoSets, TwoSetsConfig, all_paired
from img2img.nets.discriminator import Scores
from img2img.nets.init import Init
from img2img.nets.projection import PatchProjection


class CUTConfig(TwoSetsConfig):
    """The settings of section 4 and appendix C of the paper, and of the published code."""

    default_generator: ClassVar[str] = "resnet"
    contrastive: ClassVar[bool] = True
    generator_defaults: ClassVar[dict[str, Any]] = {
        "norm": "instance",
        "antialias": True,
        "upsample": "bilinear",
    }
    discriminator_defaults: ClassVar[dict[str, Any]] = {"norm": "instance", "antialias": True}

    epochs: int | None = Field(
        400, ge=1, description="Length of training in passes over the data, instead of steps."
    )
    objective: str = "lsgan"
    init: Init = "xavier"
    nce: float = Field(1.0, ge=0, description="Weight of the contrastive loss (PatchNCE).")
    nce_identity: bool = Field(
        True,
        description="Also compare pictures of b with their translations, so that the generator "
        "does not change them.",
    )
    nce_temperature: float = Field(
        0.07, gt=0, description="Temperature by which similarities of patches are divided."
    )
    nce_patches: int = Field(
        256, ge=2, description="Number of patches that are compared in each layer."
    )
    nce_width: int = Field(
        256, ge=1, description="Channels of the embedding by which a patch is compared."
    )
    flip_equivariance: bool = Field(
        False,
        description="Mirror the inputs in half of the steps, and mirror the features of their "
        "translations back (FastCUT).",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.in_channels != self.out_channels:
            raise ValueError(
                "cut compares features of inputs and outputs; set in_channels equal to out_channels"
            )
        return self

    def without_effect(self) -> dict[str, str]:
        reasons = super().without_effect()
        if not self.nce:
            why = "the contrastive term has no weight (nce=0)"
            names = ("nce_identity", "nce_temperature", "nce_patches", "nce_width")
            reasons |= dict.fromkeys(names, why)
        if not (self.nce and self.nce_identity):
            why = "cut reconstructs pictures only with nce_identity"
            names = ("ssim", "perceptual", "perceptual_network", "perceptual_weights")
            reasons |= dict.fromkeys(names, why)
        return reasons


@dataclass(frozen=True)
class CUTDraws(Draws):
    """The random tensors of a step of CUT.

    places: flat indices int64 [P] of the patches to compare in each layer, for the translation and
    for the identity; all pictures share them. flipped: whether the inputs are mirrored, a scalar.
    """

    places: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
    flipped: Tensor


class CUT(TwoSets):
    """One generator from a to b, a discriminator for b, and projection heads for the features."""

    name = "cut"
    Config = CUTConfig
    several_inputs = True
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        # FastCUT: section 4.1, and the published code.
        "fastcut": {
            "nce": 10.0,
            "nce_identity": False,
            "flip_equivariance": True,
            "epochs": 200,
            "decay": 0.25,
        },
        # It changes the input instead of drawing a picture anew, and what the discriminators do not
        # ask for stays as it is.
        "modern": {
            "margin": "auto",
            "residual": "gated",
            "self_regularization": 1.0,
            "discriminator": "mixture",
            "objective": "hinge",
            "augment": ("translation",),
            "generator_lr": 5e-4,
            "discriminator_lr": 1e-3,
            "ema": 0.999,
        },
    }
    sources_hint = (
        "cut needs --a DIR and --b DIR, or --data DIR (and --test-a with --test-b, or "
        "--test-data); it learns one direction, a to b: for the other, exchange the folders."
    )
    learners: ClassVar[dict[str, Side]] = {
        "generators": "generators",
        "heads": "generators",
        "discriminators": "discriminators",
    }
    shown: ClassVar[dict[str, tuple[str, ...]]] = {"b": ("fake_b", "b")}
    config: CUTConfig

    def __init__(self, config: CUTConfig):
        super().__init__(config)
        c = config
        generator = c.generator.build(c.size, c.in_channels, c.out_channels)
        judge = c.discriminator.build(c.size, (c.out_channels,), self.objective.answers)
        self.generators = nn.ModuleDict({"ab": generator})
        self.discriminators = nn.ModuleDict({"b": judge})
        channels = c.generator.feature_channels(c.in_channels)
        self.heads = nn.ModuleDict({"ab": PatchProjection(channels, c.nce_width)})
        self.initialize()

    def draws(self, batch: Batch, progress: Tensor, penalty_scale: float) -> CUTDraws:
        """Draw the patches of every layer, and whether the inputs of this step are mirrored."""
        shared, image = super().draws(batch, progress, penalty_scale), batch["a"]
        sizes = self.config.generator.feature_sizes(*image.shape[2:])

        def places() -> tuple[Tensor, ...]:
            orders = (torch.randperm(h * w, device=image.device) for h, w in sizes)
            return tuple(order[: self.config.nce_patches] for order in orders)

        flipped = torch.rand((), device=image.device) < 0.5
        return CUTDraws(**vars(shared), places=(places(), places()), flipped=flipped)

    def scene(self, batch: Batch, draws: Draws) -> Scene:
        sources = [self._mirrored(batch["a"], draws)]
        if self._compares_identity and torch.is_grad_enabled():
            sources.append(self._mirrored(batch["b"], draws))
        # As in the published code, in one call for any kind of norm layers.
        names = ("fake_b", "same_b")
        made = in_one_call(lambda image: self.generate("ab", image), *sources, apart=False)
        # What is missing in an input has the value 0, which it gets again.
        masks = [
            valid if valid is None else self._mirrored(valid, draws)
            for valid in (batch.get("a_valid"), batch.get("b_valid"))
        ]
        made = tuple(map(self.where_known, made, masks))
        return dict(zip(names, made, strict=False))

    def d_terms(self, batch: Batch, scene: Scene, draws: Draws) -> dict[str, Tensor]:
        real, fake, apart = batch["b"], scene["fake_b"], self.config.discriminator.separate_calls
        critic = self._critic(batch, scene, draws)
        # Halved, to slow down the discriminator, as in the published code.
        return self.critic_terms(critic, real, fake, draws, weight=0.5, apart=apart)

    def g_terms(self, batch: Batch, scene: Scene, draws: Draws) -> dict[str, Tensor]:
        c, judge = self.config, self.discriminators["b"]
        fake, real = scene["fake_b"], batch["b"]
        critic = self._critic(batch, scene, draws)
        terms = {"adversarial": self.generator_loss(critic, fake, real)}
        terms |= self.matching_terms(judge, judge, fake, real)
        if c.paired:
            terms["paired"] = self.truth_term(fake, self._mirrored(real, draws), draws)
        same = (scene["same_b"], self._mirrored(real, draws)) if self._compares_identity else None
        terms |= self.fidelity_terms(fake, self._mirrored(batch["a"], draws), alike=same)
        if not c.nce:
            return terms
        # Equation 5: half the weight each, if the identity is compared, too.
        weight = c.nce / 2 if c.nce_identity else c.nce
        terms["nce"] = weight * self._contrast(batch["a"], fake, draws, 0)
        if c.nce_identity:
            terms["nce_identity"] = weight * self._contrast(real, scene["same_b"], draws, 1)
        return terms

    def grid(self, batch: Batch) -> dict[str, Column]:
        (a, b), generator = (batch["a"], batch["b"]), self.generator("ab")
        a_valid, b_valid = batch.get("a_valid"), batch.get("b_valid")
        return {
            "a": Column("a", a, a_valid),
            "a to b": Column("b", generator(a), a_valid),
            "b": Column("b", b, b_valid),
            "b to b": Column("b", generator(b), b_valid),
        }

    def ways(self, batch: Batch) -> dict[str, Way]:
        critic = flat(self.discriminators["b"]) if self.objective.answers == 1 else None
        way = Way(
            source=batch["a"],
            real=batch["b"],
            translate=self.generators["ab"],
            critic=critic,
            paired=all_paired(batch),
            source_valid=batch.get("a_valid"),
            real_valid=batch.get("b_valid"),
        )
        return {"ab": way}

    def exports(self) -> dict[str, ExportSpec]:
        return {"ab": self.direction_spec("ab")}

    @property
    def _compares_identity(self) -> bool:
        return self.config.nce_identity and self.config.nce > 0

    def _critic(self, batch: Batch, scene: Scene, draws: Draws) -> Critic:
        return lambda image: Scores.of(self.judge("b", (image,), batch, scene, draws))

    def _mirrored(self, image: Tensor, draws: Draws) -> Tensor:
        """The image or features [N, C, H, W], mirrored if the inputs of this step are."""
        if not self.config.flip_equivariance:
            return image
        assert isinstance(draws, CUTDraws)  # as CUT.draws gives them
        return torch.where(draws.flipped, image.flip(3), image)

    def _contrast(self, source: Tensor, output: Tensor, draws: Draws, use: Literal[0, 1]) -> Tensor:
        """PatchNCE between a source and its translation, the mean over the layers (equation 4).

        use: whether to compare at the places of the translation (0) or of the identity (1).
        """
        assert isinstance(draws, CUTDraws)
        encode, project = self.generator("ab").encode, self.heads["ab"]
        places = draws.places[use]
        queries = project([self._mirrored(layer, draws) for layer in encode(output)], places)
        with torch.no_grad():  # the keys are constants
            keys = project(encode(source), places)
        losses = [
            patch_nce(query, key, self.config.nce_temperature)
            for query, key in zip(queries, keys, strict=True)
        ]
        return torch.stack(losses).mean()


def patch_nce(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """PatchNCE of embeddings [N, P, width], a scalar: the cross-entropy of classifying, for each
    query, which key of the same picture is at its place (Park et al. 2020, equation 3).
    """
    with torch.autocast(query.device.type, enabled=False):  # a softmax of large logits follows
        similarity = _unit(query) @ _unit(key).transpose(1, 2) / temperature  # [N, P, P]
    matching = torch.arange(similarity.shape[1], device=similarity.device)
    return F.cross_entropy(similarity.flatten(0, 1), matching.repeat(len(similarity)))


def _unit(embedding: Tensor) -> Tensor:
    """Normalize vectors to length 1, in full precision. The constant is that of the published code;
    it has an effect, since untrained heads return short vectors.
    """
    embedding = wide(embedding)
    length = torch.linalg.vector_norm(embedding, dim=-1, keepdim=True)
    unit: Tensor = embedding / (length + 1e-7)
    return unit
