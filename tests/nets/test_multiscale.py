"""The multi-scale discriminator, against its PatchGANs called by hand."""

import pytest
import torch
import torch.nn.functional as F

from img2img.nets.minibatch import activations
from img2img.nets.multiscale import MultiScaleConfig
from img2img.sizes import Size

SETTINGS = {"width": 4, "layers": 2, "norm": "instance"}


def build(domains=0, **settings):
    torch.manual_seed(0)
    return MultiScaleConfig(**SETTINGS, **settings).build(Size(64, 64), (3,), domains=domains)


def halved(image):
    """The mean of the 3x3 pixels around every second one, as far as they are in the picture."""
    ones = torch.ones(image.shape[1], 1, 3, 3)
    sums, counts = (
        F.conv2d(x, ones, stride=2, padding=1, groups=image.shape[1])
        for x in (image, torch.ones_like(image))
    )
    return sums / counts


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_each_patchgan_judges_half_the_size_of_the_one_before(scales):
    network, image = build(scales=scales), torch.rand(2, 3, 64, 64)
    scores, shown = network(image), image
    assert len(scores.maps) == len(network.critics) == scales
    assert scores.weights == (1 / scales,) * scales
    for each, critic in zip(scores.maps, network.critics, strict=True):
        assert torch.allclose(each, critic(shown), atol=1e-6)
        shown = halved(shown)


def test_scales_have_weights_of_their_own():
    first, second, _ = (list(critic.parameters()) for critic in build().critics)
    assert [p.shape for p in first] == [p.shape for p in second]
    assert not torch.equal(first[0], second[0])


def test_class_logits_are_the_mean_over_positions_and_scales():
    network, image = build(domains=4, scales=2), torch.rand(2, 3, 64, 64)
    scores, classes = network(image)
    outputs = network.critics[0](image), network.critics[1](halved(image))
    assert torch.allclose(scores.maps[1], outputs[1][:, :1], atol=1e-6)
    expected = sum(output[:, 1:].mean((2, 3)) for output in outputs) / 2
    assert torch.allclose(classes, expected, atol=1e-6)


def test_every_scale_has_features_to_match():
    network = build(scales=3)
    with activations(network) as features:
        network(torch.rand(1, 3, 64, 64))
    assert [each.shape[2] for each in features] == [32, 16, 15, 16, 8, 7, 8, 4, 3]


def test_it_is_refused_where_the_coarsest_picture_is_too_small():
    settings = MultiScaleConfig(**SETTINGS)
    settings.require_size(Size(64, 48))
    with pytest.raises(ValueError, match=r"47x64 is too small for 3 scales"):
        settings.require_size(Size(47, 64))
