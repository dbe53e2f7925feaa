"""The U-Net discriminator: a logit of the picture, and one of each pixel."""

import pytest
import torch

from img2img.nets.unet_critic import UNetCriticConfig
from img2img.sizes import Size


def build(domains=0, levels=3):
    torch.manual_seed(0)
    settings = UNetCriticConfig(width=4, levels=levels)
    return settings.build(Size(32, 32), (3,), domains=domains)


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_it_judges_the_picture_and_every_pixel(levels):
    scores = build(levels=levels)(torch.rand(2, 3, 32, 64))
    assert [tuple(each.shape) for each in scores.maps] == [(2, 1), (2, 1, 32, 64)]
    assert scores.weights == (0.5, 0.5)


def test_the_picture_is_judged_by_the_encoder_and_pixels_by_encoder_and_decoder():
    network, image = build(), torch.rand(1, 3, 32, 32)
    before = network(image).maps
    with torch.no_grad():
        for parameter in network.decoder.parameters():
            parameter.add_(0.1)
    whole, pixels = network(image).maps
    assert torch.equal(before[0], whole)
    assert not torch.allclose(before[1], pixels)
    for part in (network.encoder, network.decoder):
        network.zero_grad()
        network(image).maps[1].sum().backward()
        assert all(p.grad.abs().sum() > 0 for p in part.parameters())


def test_skips_carry_details_to_the_pixels():
    """With the deepest features cut off, the pixels' logits still depend on the picture."""
    network = build()
    network.encoder[-1].register_forward_hook(lambda _, __, output: torch.zeros_like(output))
    first, second = (network(torch.rand(1, 3, 32, 32)).maps for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert not torch.allclose(first[1], second[1])


def test_domains_are_classified_by_the_deepest_features():
    scores, classes = build(domains=3)(torch.rand(2, 3, 32, 32))
    assert len(scores.maps) == 2
    assert classes.shape == (2, 3)


@pytest.mark.parametrize(
    ("size", "levels"),
    [((256, 256), 6), ((64, 64), 4), ((32, 32), 3), ((96, 64), 4), ((36, 36), 2), ((1024, 512), 6)],
)
def test_by_default_it_goes_down_to_four_pixels(size, levels):
    assert UNetCriticConfig().depth(Size(*size)) == levels
    UNetCriticConfig().require_size(Size(*size))
