"""What the discriminators of a method see in training, and the losses on their answers."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from img2img.methods.adaptive import AdaptiveAugmentation
from img2img.methods.config import MethodConfig
from img2img.methods.cutmix import mixed, warm_up
from img2img.methods.disturb import augmented, noisy
from img2img.methods.fidelity import l1
from img2img.methods.objectives import (
    OBJECTIVES,
    Adversarial,
    Critic,
    Pointwise,
    gradient_penalty,
    wide,
    zero_centered_penalty,
)
from img2img.methods.step import Batch, Draws, Scene
from img2img.nets.discriminator import Looking, Scores
from img2img.nets.minibatch import activations

SIGN = "sign"  # names the terms of `Critics.sign_terms`


class Critics(nn.Module):
    """The part of a `Method` that deals with its discriminators."""

    pooled: ClassVar[tuple[str, ...]] = ()  # names of scene images that pass through the image pool
    # What each discriminator is shown in a step: the names of a generated picture of the scene, and
    # of pictures of the batch.
    shown: ClassVar[dict[str, tuple[str, ...]]] = {}

    discriminators: nn.ModuleDict

    def __init__(self, config: MethodConfig):
        super().__init__()
        self.config = config
        target = config.augment_target if config.augment else None
        self.adaptive = AdaptiveAugmentation(target, config.augment_ramp) if target else None

    @property
    def objective(self) -> Adversarial:
        return OBJECTIVES[self.config.objective]

    def seen(self, image: Tensor, draws: Draws, channels: tuple[int, ...] = ()) -> Tensor:
        """The image [N, C, H, W] as discriminators see it in training: augmented, and with noise
        that falls to 0 by the end of the run.

        channels: channels of each picture that is concatenated in the image; by default it is one.
        """
        probability = self.adaptive.probability if self.adaptive else None
        channels = channels or (image.shape[1],)
        alpha = not self.config.intensities
        changed = augmented(image, self.config.augment, channels, probability, alpha)
        if not self.config.noise:
            return changed
        return noisy(changed, self.config.noise * (1 - draws.progress))

    def looked_at(self, scene: Scene, batch: Batch, draws: Draws) -> Scene:
        """The scene, with the frozen features of the pictures that discriminators are shown, which
        both sides use. Pictures that are shown together are augmented alike.
        """
        looks = dict(scene)
        for name, shown in self.shown.items():
            judge = self._looking(name)
            if judge is None or self._passes_a_pool(shown):
                continue
            pictures = [scene[each] if each in scene else batch[each] for each in shown]
            channels = [picture.shape[1] for picture in pictures]
            seen = self.seen(torch.cat(pictures, 1), draws, tuple(channels))
            for each, view in zip(shown, torch.split(seen, channels, 1), strict=True):
                with torch.set_grad_enabled(torch.is_grad_enabled() and each in scene):
                    features = judge.look(view)
                looks |= {f"{name}/{each}/{n}": x for n, x in enumerate([view, *features])}
        return looks

    def _looking(self, name: str) -> Looking | None:
        """The discriminator of that name, if it looks through frozen networks."""
        judge = self.discriminators[name]
        return judge if isinstance(judge, Looking) and judge.networks else None

    def _passes_a_pool(self, shown: tuple[str, ...]) -> bool:
        """Whether the discriminators' turn replaces one of these pictures by earlier ones."""
        return self.config.pool > 0 and any(name in self.pooled for name in shown)

    def judge(
        self, name: str, pictures: tuple[Tensor, ...], batch: Batch, scene: Scene, draws: Draws
    ) -> Any:
        """The output of a discriminator in training for pictures [N, C, H, W], which are augmented
        alike and concatenated.

        Features that are in the scene (`looked_at`) are used.
        """
        if looking := self._looking(name):
            views = [self._view(name, picture, batch, scene) for picture in pictures]
            if all(views):
                image = torch.cat([view[0] for view in views], 1)
                return looking.score(image, [view[1:] for view in views])
        channels = tuple(picture.shape[1] for picture in pictures)
        return self.discriminators[name](self.seen(torch.cat(pictures, 1), draws, channels))

    def _view(self, name: str, picture: Tensor, batch: Batch, scene: Scene) -> list[Tensor]:
        """The augmented picture and its features from the scene, or an empty list."""
        for shown in self.shown.get(name, ()):
            if (scene[shown] if shown in scene else batch.get(shown)) is picture:
                prefix = f"{name}/{shown}/"
                return [scene[key] for key in scene if key.startswith(prefix)]
        return []

    def critic_terms(
        self,
        critic: Critic,
        real: Tensor,
        fake: Tensor,
        draws: Draws,
        weight: float = 1.0,
        apart: bool = True,
    ) -> dict[str, Tensor]:
        """The losses of a discriminator by the objective, with penalties. `weight` multiplies all
        of them, so that they keep the proportions of the objective's formula.

        apart: score real pictures and fakes in two calls, because the critic's score of a picture
        depends on the other pictures of its call.
        """
        apart = apart or self.config.discriminator.compares
        # Fakes come first, as in the authors' code: the order affects BatchNorm's averages.
        if apart:
            fake_scores, real_scores = Scores.of(critic(fake)), Scores.of(critic(real))
        else:
            both = Scores.of(critic(torch.cat([fake, real])))
            fake_scores, real_scores = both.split([len(fake), len(real)])
        terms = self.score_terms(real_scores, fake_scores)
        terms |= self.penalty_terms(critic, real, fake, draws)
        terms |= self.cutmix_terms(critic, real, fake, (real_scores, fake_scores), draws)
        weighted = {name: weight * term for name, term in terms.items()}
        return weighted | self.sign_terms(real_scores, fake_scores)

    def score_terms(self, real: Scores, fake: Scores) -> dict[str, Tensor]:
        """The losses of a discriminator by the objective, without penalties."""
        terms: dict[str, Tensor] = {}
        for r, f, weight in zip(real.maps, fake.maps, real.weights, strict=True):
            for name, term in self.objective.d_terms(r, f, self.config.smooth).items():
                terms[name] = terms[name] + weight * term if name in terms else weight * term
        return terms

    def cutmix_terms(
        self,
        critic: Critic,
        real: Tensor,
        fake: Tensor,
        scores: tuple[Scores, Scores],
        draws: Draws,
    ) -> dict[str, Tensor]:
        """The weighted losses of a discriminator on pictures that are mixed of real ones and fakes
        (Schönfeld et al. 2020, section 3.2); empty without a weight.

        "cutmix": a mixed picture is a fake as a whole, since generators would learn to mix if it
        were not, and each pixel is what it was taken from. "consistency": the mean squared
        difference between the pixels' logits of the mix and the mix of their logits.

        real, fake: images [N, C, H, W]; of more fakes, the first N are used. scores: of both.
        """
        weight = self.config.discriminator.cutmix_weight
        if not weight:
            return {}
        assert isinstance(self.objective, Pointwise)  # MethodConfig refuses others
        assert draws.mask is not None  # as `Method.draws` gives it
        mask, count = draws.mask, len(real)
        judged = Scores.of(critic(mixed(real, fake[:count], mask)))
        whole, pixels = judged.maps
        of_real, of_fake = (wide(each.maps[1]) for each in scores)
        expected = mixed(of_real, of_fake[:count], mask)
        losses = {
            "cutmix": judged.weights[0] * self.objective.fake(wide(whole)).mean()
            + judged.weights[1] * self.objective.mixed_loss(pixels, mask, self.config.smooth),
            "consistency": judged.weights[1] * (wide(pixels) - expected).square().mean(),
        }
        factor = weight * warm_up(draws.progress)
        return {name: factor * loss for name, loss in losses.items()}

    def sign_terms(self, real: Scores, fake: Scores) -> dict[str, Tensor]:
        """The mean sign of a discriminator's answers to real pictures, which adaptive augmentation
        follows; empty without it. It has no gradient, so that it has no effect as a loss.
        """
        if not self.adaptive:
            return {}
        margins = self.objective.margins(real.flat(), fake.flat())
        return {SIGN: margins.detach().sign().mean()}

    def generator_score_loss(self, fake: Scores, real: Scores | None) -> Tensor:
        """The adversarial loss of the generator, given scores. real: if the objective compares."""
        losses = [
            weight * self.objective.g_loss(each, real.maps[number] if real else None)
            for number, (each, weight) in enumerate(zip(fake.maps, fake.weights, strict=True))
        ]
        return torch.stack(losses).sum()

    def penalty_terms(
        self, critic: Critic, real: Tensor, fake: Tensor, draws: Draws
    ) -> dict[str, Tensor]:
        """The weighted penalties on the critic that the objective and the config ask for."""
        c, terms = self.config, {}
        if self.objective.interpolates:
            weight = c.gradient_penalty
            weight = self.objective.interpolates if weight is None else weight
            witness = self.objective.witness(critic, real, fake)
            terms["gradient_penalty"] = weight * gradient_penalty(witness, real, fake, draws.mix)
        scale = draws.penalty_scale
        for (name, weight), images in zip(c.slope_weights.items(), (real, fake), strict=True):
            if weight:
                penalty = zero_centered_penalty(critic, images) if scale else real.new_zeros(())
                terms[name] = scale * weight * penalty
        return terms

    def generator_loss(self, critic: Critic, fake: Tensor, real: Tensor) -> Tensor:
        """The adversarial loss of the generator. Real pictures are scored only if the objective
        compares them with fakes.
        """
        real_scores = Scores.of(critic(real)) if self.objective.compares else None
        return self.generator_score_loss(Scores.of(critic(fake)), real_scores)

    def matching_terms(
        self,
        discriminator: nn.Module,
        critic: Critic,
        fake: Tensor,
        real: Tensor,
        paired: bool = False,
    ) -> dict[str, Tensor]:
        """The feature matching loss of the generator, weighted; empty if it has no weight. It is
        the L1 distance between the discriminator's features of fakes and of real pictures, averaged
        over its layers.

        discriminator: the network whose features are compared. critic: calls it on a picture
        without augmentation, since two pictures are not augmented alike. paired: compare every
        value (Wang et al. 2018, equation 4), instead of the means over pictures and positions
        (Salimans et al. 2016, section 3.1).
        """
        if not self.config.feature_matching:
            return {}
        with activations(discriminator) as real_features, torch.no_grad():
            critic(real)
        with activations(discriminator) as fake_features:
            critic(fake)
        distances = [
            l1(a, b) if paired else l1(_channel_means(a), _channel_means(b))
            for a, b in zip(fake_features, real_features, strict=True)
        ]
        return {"feature_matching": self.config.feature_matching * torch.stack(distances).mean()}


def _channel_means(features: Tensor) -> Tensor:
    """Features [N, C, H, W] -> their means over pictures and positions [C], in full precision."""
    return wide(features).mean((0, 2, 3))


def flat(critic: Critic) -> Callable[[Tensor], Tensor]:
    """The critic as a function that returns all scores of each image, [N, P]."""
    return lambda image: Scores.of(critic(image)).flat()
