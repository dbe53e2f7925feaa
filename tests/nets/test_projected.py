"""The projected discriminator: what is frozen, what is random, and what its scores depend on."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from img2img.features import FeatureNetwork
from img2img.nets.discriminator import Scores
from img2img.nets.init import initialize
from img2img.nets.projected import FrozenConvolution, Mixing, Projected, ProjectedConfig
from img2img.sizes import Size

SIZE = Size(64, 64)


def build(channels=(3,), domains=0, seed=0, **settings):
    torch.manual_seed(seed)
    return ProjectedConfig(width=8, **settings).build(SIZE, channels, domains=domains)


def picture(channels=3, count=2, side=64):
    return torch.rand(count, channels, side, side) * 2 - 1


def test_each_depth_of_the_network_has_a_map_at_half_its_size():
    network = build()
    scores = network(picture())
    assert [tuple(each.shape) for each in scores.maps] == [(2, 1, n, n) for n in (8, 4, 2, 1)]
    assert scores.weights == (0.25,) * 4
    assert [head[0].in_channels for head in network.heads] == [8, 12, 16, 24]


@pytest.mark.parametrize(
    ("depths", "widths"),
    [(1, [24]), (3, [12, 16, 24]), (6, [8, 8, 8, 12, 16, 24])],
)
def test_other_networks_may_have_any_number_of_depths(depths, widths):
    class Network(FeatureNetwork):
        name, sha256, channels = "flat", "", [3] * depths

        def features(self, image):
            return [image[:, :, :: 2**n, :: 2**n] for n in range(depths)]

    network = Projected(Network(), (3,), 8, 64)
    assert [head[0].in_channels for head in network.heads] == widths
    assert len(network(picture()).maps) == depths


def test_training_moves_the_heads_alone():
    network, image = build(), picture()
    frozen = {name: buffer.clone() for name, buffer in network.named_buffers()}
    features, mixed = network.look(image), network.mixing(network.look(image))
    network.requires_grad_(True).train()
    optimizer = torch.optim.Adam(network.parameters(), 0.1)
    before = [p.clone() for p in network.parameters()]
    network(image).flat().sum().backward()
    optimizer.step()
    assert {name.split(".")[0] for name, _ in network.named_parameters()} == {"heads"}
    assert not any(map(torch.equal, before, network.parameters()))
    assert all(torch.equal(frozen[name], buffer) for name, buffer in network.named_buffers())
    assert all(map(torch.equal, features, network.look(image)))
    assert all(map(torch.equal, mixed, network.mixing(network.look(image))))


def test_mixing_is_saved_and_the_feature_network_is_not():
    first, second, image = build(seed=0), build(seed=1), picture()
    state = first.state_dict()
    assert {key.split(".")[0] for key in state} == {"mixing", "heads"}
    assert not torch.equal(first(image).flat(), second(image).flat())
    second.load_state_dict(state)
    assert torch.equal(first(image).flat(), second(image).flat())


def test_initial_weights_of_a_method_leave_mixing_alone():
    network = build()
    before = copy.deepcopy(network.mixing.state_dict())
    heads = [p.clone() for p in network.heads.parameters()]
    initialize(network, "normal")
    after = network.mixing.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in after)
    assert not all(map(torch.equal, heads, network.heads.parameters()))


def test_spectral_normalization_is_on_the_heads_alone():
    settings = ProjectedConfig(width=8)
    network = settings.build(SIZE, (3,), domains=2)
    settings.normalize(network)
    normalized = {name for name, module in network.named_modules() if is_parametrized(module)}
    heads = {n for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    assert normalized == heads
    assert len(heads) == 4 * 3
    plain = ProjectedConfig(width=8, spectral=False)
    unchanged = plain.build(SIZE, (3,))
    plain.normalize(unchanged)
    assert not any(map(is_parametrized, unchanged.modules()))


def test_mixing_keeps_the_variance_and_goes_from_coarse_to_fine():
    torch.manual_seed(0)
    mixing = Mixing([24, 40, 112, 320], [64, 96, 128, 192])
    features = [
        torch.randn(4, c, n, n) * scale
        for c, n, scale in ((24, 32, 0.01), (40, 16, 1), (112, 8, 30), (320, 4, 1))
    ]
    mixed = mixing(features)
    assert [tuple(each.shape[1:]) for each in mixed] == [
        (64, 32, 32),
        (96, 16, 16),
        (128, 8, 8),
        (192, 4, 4),
    ]
    assert all(0.4 < each[..., 1:-1, 1:-1].std() < 1.6 for each in mixed)
    for changed in range(4):  # a depth reaches itself and all finer ones
        others = [x.flip(0) if n == changed else x for n, x in enumerate(features)]
        differs = [not torch.equal(a, b) for a, b in zip(mixed, mixing(others), strict=True)]
        assert differs == [depth <= changed for depth in range(4)]


def test_a_frozen_convolution_has_a_buffer_and_no_parameter():
    layer = FrozenConvolution(4, 3, 3)
    assert list(layer.parameters()) == []
    assert list(layer.state_dict()) == ["weight"]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_gradient_reaches_pictures_of_any_channels(channels):
    network, image = build((channels,)), picture(channels).requires_grad_()
    network(image).flat().sum().backward()
    assert image.grad.isfinite().all()
    assert (image.grad.flatten(2).abs().sum(2) > 0).all()


def test_the_score_of_a_target_depends_on_its_input():
    network, target = build((1, 3)), picture()
    inputs = picture(1), picture(1)
    first, second = (network(torch.cat([each, target], 1)).flat() for each in inputs)
    assert (first - second).abs().max() > 1e-4
    features = [network.look(inputs[0]), network.look(target)]
    given = network.score(torch.cat([inputs[0], target], 1), features)
    assert torch.equal(given.flat(), first)


def test_pictures_are_resized_to_the_side():
    network = build(side=96)
    assert [each.shape[2] for each in network.look(picture(side=64))] == [24, 12, 6, 3]
    wide = torch.rand(1, 3, 64, 128)
    assert network.look(wide)[0].shape[2:] == (24, 48)
    assert ProjectedConfig().build(Size(128, 96), (3,)).side == 96
    assert ProjectedConfig().build(Size(32, 32), (3,)).side == 64


def test_domains_are_classified_by_the_last_picture_alone():
    network, target = build((3, 3), domains=5), picture()
    first, second = (network(torch.cat([picture(), target], 1)) for _ in range(2))
    assert Scores.of(first[0]).flat().shape == first[0].flat().shape
    assert first[1].shape == (2, 5)
    assert torch.equal(first[1], second[1])
    other = network(torch.cat([picture(), picture()], 1))[1]
    assert not torch.allclose(first[1], other)


def test_features_are_those_of_the_network_asked_for():
    network = build()
    features = network.look(picture())
    assert all(map(torch.equal, network.features_of("efficientnet-lite0", features), features))
    assert network.features_of("efficientnet-lite1", features) == []
