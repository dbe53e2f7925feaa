"""The image pool of CycleGAN (section 4; Shrivastava et al. 2017): fakes from earlier steps."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Choices:
    """What a pool does with the next N fakes, drawn in advance. Both tensors are integers [N]."""

    shown: Tensor  # what replaces each: a slot, or `size` plus the index of a new fake
    stored: Tensor  # the slot in which each is stored; slot `size` is never shown


class ImagePool:
    """Up to `size` past fakes. Until the pool is full, each fake is stored and shown. Afterwards,
    with probability 1/2, a fake is exchanged for a random one in the pool, which is shown instead.

    The choices are drawn from torch's CPU generator, which every step seeds. They are applied by
    tensor operations on the device.
    """

    def __init__(self, size: int, device: torch.device):
        self.size, self.device = size, device
        self.filled = 0  # slots
        self.slots: Tensor | None = (
            None  # [size + 1, C, H, W]; the last one takes fakes that are not kept
        )

    def choose(self, count: int) -> Choices:
        """Draw the choices for the next `count` fakes."""
        shown = list(
            range(self.size, self.size + count)
        )  # numbers up to size: slots; from size: new fakes
        content = list(range(self.size))  # of each slot, numbered in the same way
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
        """Store fakes [N, C, H, W], without a graph. Returns as many, with past ones among them."""
        slots = self._slots_for(fakes)
        past = slots.index_select(0, choices.shown.clamp(max=self.size))
        new = fakes.index_select(0, (choices.shown - self.size).clamp(min=0))
        slots.index_copy_(0, choices.stored, fakes)
        return torch.where((choices.shown < self.size)[:, None, None, None], past, new)

    def images(self) -> Tensor:
        """The past fakes [n, C, H, W] on the CPU; an empty tensor [0] if there are none."""
        if self.slots is None:
            return torch.empty(0)
        return self.slots[: self.filled].to("cpu", copy=True)  # without the empty slots

    def load_images(self, images: Tensor) -> None:
        """Restore the result of `images()`."""
        self.filled, self.slots = len(images), None
        if self.filled:
            self.slots = self._slots_for(images)
            self.slots[: self.filled] = images.to(self.device)

    def _slots_for(self, fakes: Tensor) -> Tensor:
        """Storage for fakes of this shape and type, allocated for the first ones."""
        if self.slots is None:
            shape = (self.size + 1, *fakes.shape[1:])
            self.slots = torch.zeros(shape, dtype=fakes.dtype, device=self.device)
        elif self.slots.dtype != fakes.dtype:  # the run is resumed in another precision
            self.slots = self.slots.to(fakes.dtype)
        return self.slots
