"""Adaptive discriminator augmentation: its probability follows how much discriminators overfit."""

import torch
from torch import Tensor, nn

WINDOW = 256  # pictures over which overfitting is averaged: about 4 of the paper's batches


class AdaptiveAugmentation(nn.Module):
    """The probability of augmentation, which starts at 0 and approaches what keeps overfitting at a
    target (Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data",
    section 3).

    Overfitting is r_t of equation 1: the mean sign of the discriminators' logits of real pictures,
    measured from the logit between real and generated. It is 0 when they can't tell, and 1 when
    they recognize all real pictures.

    Args:
        target: of overfitting, 0 to 1; the paper's is 0.6.
        ramp: number of pictures in which the probability can go from 0 to 1; the paper's is
            500,000 in a training of 25 million pictures.
    """

    probability: Tensor  # a scalar, 0 to 1
    overfitting: Tensor  # a scalar, -1 to 1: an exponential average over about WINDOW pictures

    def __init__(self, target: float, ramp: int):
        super().__init__()
        self.target, self.ramp = target, ramp
        self.register_buffer("probability", torch.zeros(()))
        self.register_buffer("overfitting", torch.zeros(()))

    @torch.no_grad()
    def update(self, sign: Tensor, pictures: int) -> None:
        """Move the probability by a fixed amount, up if overfitting exceeds its target, else down.

        sign: the mean sign of a step, a scalar. pictures: how many real ones it is the mean of.
        """
        self.overfitting.lerp_(sign.to(self.overfitting.dtype), min(pictures / WINDOW, 1.0))
        direction = (self.overfitting - self.target).sign()
        self.probability.add_(direction, alpha=pictures / self.ramp).clamp_(0, 1)
