"""What is done to pictures, real and fake alike, before a discriminator sees them.

All of it is differentiable and drawn from torch's global generator, which every step seeds.
"""

from typing import Literal

import torch
from torch import Tensor

Change = Literal["colour", "translation", "cutout"]


def augmented(image: Tensor, changes: tuple[Change, ...], channels: tuple[int, ...]) -> Tensor:
    """Differentiable augmentation (Zhao et al. 2020, section 3.3) of [N, C, H, W] in [-1, 1].

    channels: of the pictures that lie on each other there; they share their draws.
    """
    for change in changes:
        if change == "colour":
            image = _colour(image, channels)
        else:
            image = _translation(image) if change == "translation" else _cutout(image)
    return image


def noisy(image: Tensor, strength: Tensor) -> Tensor:
    """Instance noise (Sonderby et al. 2017): Gaussian noise added to images in [-1, 1].

    strength: its standard deviation, a scalar tensor.
    """
    return image + strength * torch.randn_like(image)


def _colour(image: Tensor, channels: tuple[int, ...]) -> Tensor:
    """Brightness by up to 0.5, saturation times 0 to 2, contrast times 0.5 to 1.5; alpha stays."""
    brightness, saturation, contrast = _rand(image, 3)
    parts = []
    for whole in torch.split(image, list(channels), 1):
        picture, alpha = whole[:, :3] + brightness - 0.5, whole[:, 3:]
        grey = picture.mean(1, keepdim=True)
        picture = grey + 2 * saturation * (picture - grey)
        middle = picture.mean((1, 2, 3), keepdim=True)
        parts += [middle + (0.5 + contrast) * (picture - middle), alpha]
    return torch.cat(parts, 1)


def _translation(image: Tensor) -> Tensor:
    """By up to an eighth of each side; zeros move in, as the authors have it."""
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
    """A square of half the sides, anywhere, becomes 0."""
    inside = torch.ones((), dtype=torch.bool, device=image.device)
    for size, at in zip(image.shape[2:], _grid(image), strict=True):
        middle = torch.randint(0, size + 1, (len(image), 1, 1, 1), device=image.device)
        inside = inside & (at >= middle - size // 4) & (at < middle + size // 4)
    return image * (~inside).to(image.dtype)


def _grid(image: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column numbers, [1, 1, H, 1] and [1, 1, 1, W]."""
    height, width = image.shape[2:]
    rows = torch.arange(height, device=image.device).view(1, 1, height, 1)
    return rows, torch.arange(width, device=image.device).view(1, 1, 1, width)


def _rand(image: Tensor, count: int) -> list[Tensor]:
    return list(torch.rand(count, len(image), 1, 1, 1, device=image.device, dtype=image.dtype))
