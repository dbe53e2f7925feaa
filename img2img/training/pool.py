"""The image pool of CycleGAN (section 4; Shrivastava et al. 2017): fakes from earlier steps."""

import torch
from torch import Tensor


class ImagePool:
    """Up to `size` past fakes. Draws come from torch's global generator, seeded every step."""

    def __init__(self, size: int):
        self.size = size
        self.images: list[Tensor] = []  # [C, H, W]

    def query(self, fakes: Tensor) -> Tensor:
        """fakes [N, C, H, W] -> as many, each with probability 1/2 an earlier one it replaces."""
        if self.size == 0:
            return fakes
        shown = []
        for fake in fakes:
            if len(self.images) < self.size:
                self.images.append(fake.clone())
                shown.append(fake)
            elif torch.rand(()) < 0.5:
                index = int(torch.randint(self.size, ()))
                shown.append(self.images[index])
                self.images[index] = fake.clone()
            else:
                shown.append(fake)
        return torch.stack(shown)
