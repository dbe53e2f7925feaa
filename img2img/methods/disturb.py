"""Augmentation and noise of the pictures, real and fake alike, that a discriminator sees.

All operations are differentiable. They draw from torch's global generator, which every step seeds.
"""

from typing import Literal

import torch
from torch import Tensor

Change = Literal["colour", "translation", "cutout"]


def augmented(
    image: Tensor,
    changes: tuple[Change, ...],
    channels: tuple[int, ...],
    probability: Tensor | None = None,
    has_alpha: bool = True,
) -> Tensor:
    """Differentiable augmentation of [N, C, H, W] in [-1, 1] (Zhao et al. 2020, section 3.3).

    channels: channels of each picture that is concatenated in the image; these share their draws.
    probability: of each change to each picture, a scalar tensor (Karras et al. 2020, "Training
    Generative Adversarial Networks with Limited Data", section 2.2); None: all are applied.
    has_alpha: four channels are RGBA, and not four bands.
    """
    for change in changes:
        if change == "colour":
            changed = _color(image, channels, has_alpha)
        else:
            changed = _translation(image) if change == "translation" else _cutout(image)
        if probability is None:
            image = changed
        else:  # in float32, since in bf16 every 256th number would be 0
            draw = torch.rand(len(image), 1, 1, 1, device=image.device, dtype=torch.float32)
            image = torch.where(draw < probability, changed, image)
    return image


def noisy(image: Tensor, strength: Tensor) -> Tensor:
    """Add Gaussian noise to images in [-1, 1] (instance noise, Sonderby et al. 2017).

    strength: standard deviation, a scalar tensor.
    """
    return image + strength * torch.randn_like(image)


def _color(image: Tensor, channels: tuple[int, ...], has_alpha: bool) -> Tensor:
    """Shift brightness by up to 0.5, and scale saturation by 0 to 2 and contrast by 0.5 to 1.5.
    Alpha channels are unchanged.
    """
    brightness, saturation, contrast = _rand(image, 3)
    parts = []
    for whole in torch.split(image, list(channels), 1):
        colors = 3 if has_alpha and whole.shape[1] == 4 else whole.shape[1]
        picture, alpha = whole[:, :colors] + brightness - 0.5, whole[:, colors:]
        gray = picture.mean(1, keepdim=True)
        picture = gray + 2 * saturation * (picture - gray)
        middle = picture.mean((1, 2, 3), keepdim=True)
        parts += [middle + (0.5 + contrast) * (picture - middle), alpha]
    return torch.cat(parts, 1)


def _translation(image: Tensor) -> Tensor:
    """Shift by up to an eighth of each side, filling with zeros as in the authors' code."""
    rows, columns = _grid(image)
    for axis, (size, at) in enumerate(zip(image.shape[2:], (rows, columns), strict=True)):
        most = round(size / 8)
        shift = torch.randint(-most, most + 1, (len(image), 1, 1, 1), device=image.device)
        moved = (at + shift).expand(len(image), 1, *image.shape[2:])
        inside = ((moved >= 0) & (moved < size)).to(image.dtype)
        index = moved.clamp(0, size - 1).expand(-1, image.shape[1], -1, -1)
        image = image.gather(2 + axis, index) * inside
    return image


def _cutout(image: Tensor) -> Tensor:
    """Set a rectangle of half the height and width, at a random position, to 0."""
    inside = torch.ones((), dtype=torch.bool, device=image.device)
    for size, at in zip(image.shape[2:], _grid(image), strict=True):
        middle = torch.randint(0, size + 1, (len(image), 1, 1, 1), device=image.device)
        inside = inside & (at >= middle - size // 4) & (at < middle + size // 4)
    return image * (~inside).to(image.dtype)


def _grid(image: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column indices, [1, 1, H, 1] and [1, 1, 1, W]."""
    height, width = image.shape[2:]
    rows = torch.arange(height, device=image.device).view(1, 1, height, 1)
    return rows, torch.arange(width, device=image.device).view(1, 1, 1, width)


def _rand(image: Tensor, count: int) -> list[Tensor]:
    return list(torch.rand(count, len(image), 1, 1, 1, device=image.device, dtype=image.dtype))
