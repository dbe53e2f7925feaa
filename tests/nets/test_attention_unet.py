"""The U-Net with attention: where it attends, and how it takes other sizes."""

import pytest
import torch
import torch.nn.functional as F

from img2img.nets.attention_unet import AttentionUNet, AttentionUNetConfig, SelfAttention
from img2img.sizes import Size


def attended(network):
    return sorted(
        {tuple(layer.size) for layer in network.modules() if isinstance(layer, SelfAttention)}
    )


@pytest.mark.parametrize(
    ("size", "attention", "expected"),
    [
        (Size(64, 64), (16, 32), [(8, 8), (16, 16), (32, 32)]),  # 8: in the middle
        (Size(128, 64), (16,), [(16, 8), (32, 16)]),  # by the shorter side
        (Size(64, 64), (), []),
    ],
)
def test_feature_maps_of_the_given_sizes_get_attention(size, attention, expected):
    network = AttentionUNetConfig(width=4, attention=attention).build(size, 3, 3)
    assert attended(network) == expected


@pytest.mark.parametrize(("size", "levels"), [(64, 3), (128, 4), (256, 5), (96, 3), (8, 1)])
def test_it_goes_down_to_eight_pixels(size, levels):
    assert AttentionUNetConfig().depth(Size(size, size)) == levels


def test_norms_need_more_than_one_value():
    with pytest.raises(ValueError, match="too small for 5 levels of attention-unet; set levels"):
        AttentionUNetConfig(levels=5).require_size(Size(64, 32))
    AttentionUNetConfig(levels=4).require_size(Size(64, 32))


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_of_the_trained_size_is_that_of_torch(heads):
    torch.manual_seed(0)
    layer, x = SelfAttention(64 * heads, Size(5, 4)), torch.randn(2, 64 * heads, 4, 5)
    assert layer.heads == heads

    def by_head(y):
        return y.unflatten(1, (heads, 64)).flatten(3).transpose(2, 3)

    normed = layer.norm(x)
    keys, values = map(by_head, layer.key_value(normed).chunk(2, 1))
    if heads > 1:  # the channels of a head's keys and values are side by side
        both = layer.key_value(normed).unflatten(1, (heads, 128)).flatten(3).transpose(2, 3)
        keys, values = both.chunk(2, 3)
    taken = F.scaled_dot_product_attention(by_head(layer.query(normed)), keys, values)
    expected = x + layer.merge(taken.transpose(2, 3).reshape(x.shape))
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-4)


def test_a_picture_of_twice_the_size_attends_to_as_many_positions():
    """Of a picture whose pixels are doubled it gives about the same, doubled."""
    torch.manual_seed(0)
    layer, x = SelfAttention(8, Size(8, 8)), torch.randn(1, 8, 8, 8)
    with torch.no_grad():
        small = layer(x)
        large = layer(F.interpolate(x, scale_factor=2, mode="nearest"))
    torch.testing.assert_close(large, F.interpolate(small, scale_factor=2, mode="nearest"))


def test_other_sizes_than_the_trained_one_can_be_translated():
    network = AttentionUNet(Size(32, 32), width=4, levels=2)
    for height, width in ((8, 8), (16, 64), (96, 20)):
        assert network(torch.rand(1, 3, height, width)).shape == (1, 3, height, width)


def test_far_pixels_matter_through_attention_alone():
    """An output pixel depends on pixels that the convolutions alone do not reach."""
    torch.manual_seed(0)
    slopes = {}
    for attention in ((), (32,)):
        network = AttentionUNet(Size(128, 128), width=4, levels=2, attention=attention).eval()
        for layer in network.modules():
            if isinstance(layer, torch.nn.GroupNorm):
                layer.forward = lambda x: x  # its statistics are of the whole picture
        image = torch.rand(1, 3, 128, 128, requires_grad=True)
        [slope] = torch.autograd.grad(network(image)[0, :, 0, 0].sum(), image)
        slopes[attention] = slope[0, :, -1, -1].abs().max()
    assert slopes[()] == 0
    assert slopes[32,] > 0
