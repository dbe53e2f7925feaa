"""Learned weights of a network's channels: which files are read, and what is refused."""

import pytest
import torch
from safetensors.torch import save_file

from img2img.errors import DataError
from img2img.features import channel_weights, feature_network

LITE = "efficientnet-lite0"


@pytest.fixture(scope="module")
def network():
    return feature_network(LITE)


def lins(network):
    """Tensors as LPIPS' published files have them."""
    generator = torch.Generator().manual_seed(0)
    return {
        f"lin{number}.model.1.weight": torch.rand(1, channels, 1, 1, generator=generator)
        for number, channels in enumerate(network.channels)
    }


@pytest.mark.parametrize("name", ["lin.safetensors", "lin.pth"])
def test_published_files_have_a_vector_for_each_depth(name, network, tmp_path):
    tensors, path = lins(network), tmp_path / name
    save = save_file if name.endswith(".safetensors") else torch.save
    save(dict(reversed(tensors.items())), path)
    weights = channel_weights(path, network)
    assert [len(weight) for weight in weights] == network.channels
    for weight, expected in zip(weights, tensors.values(), strict=True):
        assert torch.equal(weight, expected.flatten())


def test_depths_are_in_the_order_of_numbers_not_of_letters(network, tmp_path):
    tensors = {
        f"lin{8 + n}": torch.full((channels,), float(n))  # 8, 9, 10, 11
        for n, channels in enumerate(network.channels)
    }
    save_file(tensors, tmp_path / "lin.safetensors")
    weights = channel_weights(tmp_path / "lin.safetensors", network)
    assert [float(weight[0]) for weight in weights] == [0, 1, 2, 3]


def spoiled(tensors, case):
    first, second = list(tensors)[:2]
    channels = tensors[first].shape[1]
    changes = {
        "lacks a depth": {name: value for name, value in tensors.items() if name != second},
        "has one too many": tensors | {"lin9": torch.ones(4)},
        "has other channels": tensors | {first: torch.ones(1, channels + 1, 1, 1)},
        "has a matrix": tensors | {first: torch.ones(channels, 1)},
        "is negative": tensors | {second: -tensors[second]},
        "is not finite": tensors | {second: tensors[second] / 0},
        "has no numbers": {"abcd"[n]: value for n, value in enumerate(tensors.values())},
        "has a number twice": {"1" + "abcd"[n]: each for n, each in enumerate(tensors.values())},
    }
    return changes[case]


@pytest.mark.parametrize(
    ("case", "reason"),
    {
        "lacks a depth": "its tensors are lin0.model.1.weight, lin2",
        "has one too many": "its tensors are .*lin9",
        "has other channels": r"lin0.model.1.weight has the shape \[1, 25, 1, 1\]",
        "has a matrix": r"lin0.model.1.weight has the shape \[24, 1\]",
        "is negative": "lin1.model.1.weight has negative",
        "is not finite": "lin1.model.1.weight has negative or infinite",
        "has no numbers": "its tensors are a, b, c, d",
        "has a number twice": "its tensors are 1a, 1b, 1c, 1d",
    }.items(),
)
def test_a_file_that_does_not_fit_is_refused_with_what_is_expected(case, reason, network, tmp_path):
    path = tmp_path / "lin.safetensors"
    save_file(spoiled(lins(network), case), path)
    with pytest.raises(DataError, match=reason) as refused:
        channel_weights(path, network)
    assert LITE in str(refused.value)
    assert "4, whose names" in str(refused.value)
    assert "24, 40, 112, 320" in str(refused.value)


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("it was run",))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.safetensors", b"nothing", "neither a .safetensors file nor"),
        ("a.pth", b"nothing", "neither a .safetensors file nor"),
        ("a.pth", b"", "neither a .safetensors file nor"),
        ("a.pth", Harmful(), "neither a .safetensors file nor"),
        ("a.pth", [torch.ones(3)], "must be a state dict"),
        ("a.pth", {"lin0": 3}, "must be a state dict"),
        ("a.pth", None, "can't be read .No such file"),
        ("a.safetensors", None, "can't be read .No such file"),
    ],
)
def test_what_is_no_file_of_tensors_is_refused(name, content, reason, network, tmp_path):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(DataError, match=reason):
        channel_weights(path, network)
