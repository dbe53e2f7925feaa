"""Feature networks are frozen, unsaved, and differentiable with respect to the picture."""

import copy

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from img2img.errors import UsageError
from img2img.features import NetworkName, feature_network
from img2img.features.efficientnet import VARIANTS, load, normalized
from img2img.nets.init import initialize
from img2img.nets.norm import spectral_normalize


def picture(height=48, width=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, height, width, generator=generator) * 2 - 1


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(("height", "width"), [(64, 96), (45, 33)])
def test_features_are_the_stages_of_the_network_with_its_norms(name, height, width):
    image = picture(height, width)
    with torch.no_grad():
        features = feature_network(name)(image)
        stages = load(name).stages(normalized(image))
    for feature, number in zip(features, (1, 2, 4, 6), strict=True):
        scale = float(stages[number].std())
        torch.testing.assert_close(feature, stages[number], rtol=0, atol=1e-4 * scale)


def test_stages_choose_the_features_and_what_is_computed():
    image = picture()
    shallow = feature_network("efficientnet-lite2", (0, 3))
    assert shallow.channels == [16, 88]
    assert len(shallow.blocks) == 1 + 3 + 3 + 4
    features = shallow(image)
    assert [tuple(feature.shape) for feature in features] == [(2, 16, 24, 32), (2, 88, 3, 4)]
    everything = feature_network("efficientnet-lite2", tuple(range(7)))(image)
    assert torch.equal(features[1], everything[3])


@pytest.mark.parametrize("stages", [(), (2, 1), (1, 1), (7,), (-1,)])
def test_other_stages_are_refused(stages):
    with pytest.raises(UsageError, match="from 0 to 6 in increasing order"):
        feature_network("efficientnet-lite0", stages)


def test_an_unknown_name_is_refused_with_those_available():
    with pytest.raises(UsageError, match=r"no feature network vgg16\. Available: eff"):
        feature_network("vgg16")


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (31, 64)])
def test_any_size_will_do(size):
    features = feature_network("efficientnet-lite0")(picture(*size))
    sides = [tuple(-(-side // scale) for side in size) for scale in (4, 8, 16, 32)]
    assert [tuple(feature.shape[2:]) for feature in features] == sides


def test_the_gradient_flows_to_the_picture_alone():
    network, image = feature_network("efficientnet-lite0"), picture().double()
    reference = load("efficientnet-lite0").double()
    by_folding, by_norms = (image.clone().requires_grad_() for _ in range(2))
    network(by_folding)[-1].square().sum().backward()
    reference.stages(normalized(by_norms))[-1].square().sum().backward()
    assert list(network.parameters()) == []
    assert not any(buffer.requires_grad for buffer in network.buffers())
    error = (by_folding.grad - by_norms.grad).norm() / by_norms.grad.norm()
    assert error < 1e-3


def test_the_gradient_has_a_gradient():
    """As gradient penalties of critics on the features need it."""
    image = picture().requires_grad_()
    score = feature_network("efficientnet-lite0", (1,))(image)[0].square().sum()
    (gradient,) = torch.autograd.grad(score, image, create_graph=True)
    gradient.square().sum().backward()
    assert image.grad.abs().sum() > 0


def test_nothing_of_it_is_saved_or_changed_by_a_method():
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.own, self.network = nn.Conv2d(3, 4, 3), feature_network("efficientnet-lite0")

    holder, image = Holder(), picture()
    before = holder.network(image)
    initialize(holder, "normal")
    spectral_normalize(holder)
    holder.requires_grad_(True).train()
    assert not [key for key in holder.state_dict() if key.startswith("network")]
    assert all(map(torch.equal, holder.network(image), before))
    assert all(map(torch.equal, holder.eval().network(image), before))
    copied = copy.deepcopy(holder)
    assert all(map(torch.equal, copied.network(image), before))


def test_moving_one_network_leaves_the_others_where_they_are():
    first, second = (feature_network("efficientnet-lite0") for _ in range(2))
    pointers = [[b.data_ptr() for b in network.buffers()] for network in (first, second)]
    assert pointers[0] == pointers[1]  # the weights are in memory once
    first.to("meta")
    assert all(buffer.is_meta for buffer in first.buffers())
    assert not any(buffer.is_meta for buffer in second.buffers())


def test_autocast_does_not_reach_the_features():
    network, image = feature_network("efficientnet-lite0"), picture()
    with torch.autocast("cpu", torch.bfloat16):
        features = network(image.bfloat16())
    assert [feature.dtype for feature in features] == [torch.float32] * 4
    assert all(map(torch.equal, features, network(image.bfloat16().float())))


def test_a_setting_names_a_file_by_its_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    setting = TypeAdapter(NetworkName)
    assert setting.validate_python("vgg.onnx") == str(tmp_path / "vgg.onnx")
    assert setting.validate_python("efficientnet-lite1") == "efficientnet-lite1"
    with pytest.raises(ValidationError, match="no feature network efficientnet-lite7"):
        setting.validate_python("efficientnet-lite7")
