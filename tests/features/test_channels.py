"""Pictures of one and of four channels become those of three."""

import torch

from img2img.features import three_channels


def test_gray_is_repeated_and_color_stays():
    gray, color = torch.rand(2, 1, 3, 4), torch.rand(2, 3, 3, 4)
    assert torch.equal(three_channels(gray), gray.expand(2, 3, 3, 4))
    assert three_channels(color) is color or torch.equal(three_channels(color), color)


def test_what_is_transparent_becomes_gray_and_what_is_opaque_stays():
    color = torch.rand(1, 3, 2, 2) * 2 - 1
    for alpha, share in ((1.0, 1.0), (0.0, 0.5), (-1.0, 0.0)):
        picture = torch.cat([color, torch.full((1, 1, 2, 2), alpha)], 1)
        assert torch.allclose(three_channels(picture), share * color)
