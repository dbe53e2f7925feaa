"""How far an output pixel sees, as the manifest tells tiles."""

import pytest
import torch
from torch import nn

from img2img.nets.generator import Generator, reach
from img2img.nets.resnet import ResNet
from img2img.nets.stargan import StarGenerator
from img2img.nets.unet import UNet, UNetConfig


@pytest.mark.parametrize("blocks", [1, 6, 9])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_a_resnet_sees_as_far_as_its_layers_add_up_to(blocks, norm):
    # 7x7; two of stride 2; two 3x3 a block at a quarter; two transposed; 7x7.
    expected = 3 + (1 + 2) + blocks * 2 * 4 + (2 + 1) + 3
    assert reach(ResNet(3, 3, 2, blocks, norm), 3) == expected


@pytest.mark.parametrize("blocks", [1, 6])
def test_a_stargan_sees_as_far_as_its_layers_add_up_to(blocks):
    # To the left a 4x4 of stride 2 sees one pixel, its transposed two; to the right the reverse.
    expected = 3 + (1 + 2) + blocks * 2 * 4 + (4 + 2) + 3
    assert reach(StarGenerator(3, 5, 2, blocks), 3, 5) == expected


def test_a_unet_sees_all_of_the_picture_whose_side_its_levels_halve():
    assert reach(UNet(3, 3, 2, 5), 3) >= 2**5
    assert not UNetConfig.local


class Blurred(Generator):
    """Layers of other kinds: a fixed blur, and an upsampling."""

    size_multiple, min_size = 2, 2

    def __init__(self):
        super().__init__()
        self.register_buffer("filt", torch.tensor([1.0, 2, 1]).outer(torch.tensor([1.0, 2, 1])))
        self.first = nn.Conv2d(1, 1, 3, 1, 1)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.last = nn.Conv2d(1, 1, 5, 1, 2)

    def forward(self, image):
        blurred = nn.functional.conv2d(self.first(image), self.filt[None, None], None, 2, 1)
        return self.last(self.up(blurred))


def test_layers_of_any_kind_are_measured():
    # To the left: 2 of the 5x5, 1 where that ends on an odd pixel, 1 of the blur, 1 of the 3x3.
    assert reach(Blurred(), 1) == 5


@pytest.mark.parametrize("network", [ResNet(3, 3, 8, 1, "none"), StarGenerator(3, 2, 8, 1)])
def test_pixels_farther_away_change_nothing(network):
    """But for the norms' statistics, which are of all of the picture."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.InstanceNorm2d):
                setattr(parent, name, nn.Identity())
    label = [torch.tensor([[1.0, 0.0]])] if isinstance(network, StarGenerator) else []
    far, at = reach(network, 3, 2 * len(label)), 64
    image = torch.rand(1, 3, 16, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = network(image, *label)
        for columns in (slice(0, at - far), slice(at + far + 1, None)):
            changed = image.clone()
            changed[..., columns] = 1 - changed[..., columns]
            after = network(changed, *label)
            assert torch.equal(after[..., at], before[..., at])
            assert not torch.equal(after, before)
