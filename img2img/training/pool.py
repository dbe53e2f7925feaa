"""The image pool of CycleGAN (section 4; Shrivastava et al. 2017): fakes from earlier steps."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Choices:
    """What a pool does with N fakes, drawn before they are made. Both are integers [N]."""

    shown: Tensor  # what is shown for each: a slot, or the slots' number plus that of a new fake
    stored: Tensor  # the slot that each is stored in; the one after the last is never shown


class ImagePool:
    """Up to `size` past fakes. Until it is full, each fake is stored and shown. From then on each
    is, with probability 1/2, stored in place of a random past one, which is shown instead of it.

    The choices are drawn from torch's CPU generator, which every step seeds; applying them is
    tensor operations on the device.
    """

    def __init__(self, size: int, device: torch.device):
        self.size, self.device = size, device
        self.filled = 0  # slots
        self.slots: Tensor | None = None  # [size + 1, C, H, W]; the last takes what is not kept

    def choose(self, count: int) -> Choices:
        """Draw what happens to the next `count` fakes."""
        shown = list(range(self.size, self.size + count))  # slots, then the new fakes
        content = list(range(self.size))  # of each slot, in the same numbers
        stored = [self.size] * count
        for number in range(count):
            if self.filled < self.size:
                slot, self.filled = self.filled, self.filled + 1
            elif torch.rand(()) < 0.5:
                slot = int(torch.randint(self.size, ()))
                shown[number] = content[slot]
            else:
                continue
            if content[slot] >= self.size:  # two fakes of one step: the later one stays
                stored[content[slot] - self.size] = self.size
            content[slot], stored[number] = self.size + number, slot
        return Choices(*torch.tensor([shown, stored]).to(self.device, non_blocking=True))

    def show(self, fakes: Tensor, choices: Choices) -> Tensor:
        """fakes [N, C, H, W], without a graph -> as many, some of them past ones."""
        slots = self._slots_for(fakes)
        past = slots.index_select(0, choices.shown.clamp(max=self.size))
        new = fakes.index_select(0, (choices.shown - self.size).clamp(min=0))
        slots.index_copy_(0, choices.stored, fakes)
        return torch.where((choices.shown < self.size)[:, None, None, None], past, new)

    def images(self) -> Tensor:
        """The past fakes [n, C, H, W] on the CPU; [0] before there are any."""
        if self.slots is None:
            return torch.empty(0)
        return self.slots[: self.filled].to("cpu", copy=True)  # without the empty slots

    def load_images(self, images: Tensor) -> None:
        """Take over what `images()` gave."""
        self.filled, self.slots = len(images), None
        if self.filled:
            self.slots = self._slots_for(images)
            self.slots[: self.filled] = images.to(self.device)

    def _slots_for(self, fakes: Tensor) -> Tensor:
        """Storage for fakes of this shape and type, made when the first come."""
        if self.slots is None:
            shape = (self.size + 1, *fakes.shape[1:])
            self.slots = torch.zeros(shape, dtype=fakes.dtype, device=self.device)
        elif self.slots.dtype != fakes.dtype:  # a run that goes on in another precision
            self.slots = self.slots.to(fakes.dtype)
        return self.slots
