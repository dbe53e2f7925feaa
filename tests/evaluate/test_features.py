"""Feature networks: the real weights see what is in real photographs."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity.feature_extractor_inceptionv3

from img2img import images
from img2img.errors import DataError, UsageError
from img2img.evaluate import features
from img2img.evaluate.features import extract, extractor, part_in_training, perceptual
from img2img.features.efficientnet import VARIANTS

PHOTOS = Path(__file__).parents[1] / "data" / "photos"
EGYPTIAN_CAT, ESPRESSO = 285, 967  # of ImageNet's classes


@pytest.fixture(scope="module")
def lite0():
    return extractor("efficientnet-lite0")


@pytest.mark.parametrize(("name", "label"), [("cat", EGYPTIAN_CAT), ("coffee", ESPRESSO)])
def test_efficientnet_names_what_the_photograph_shows(lite0, name, label):
    _, logits, _ = extract(lite0, [images.read(PHOTOS / f"{name}.jpg").pixels])
    assert logits.shape == (1, 1000)
    assert logits[0].argmax() == label


def test_features_are_a_function_of_the_picture_alone(lite0):
    cat, coffee = (images.read(PHOTOS / f"{name}.jpg").pixels for name in ("cat", "coffee"))
    together, *_ = extract(lite0, [cat, coffee, cat])
    alone, *_ = extract(lite0, [cat])
    assert together.shape == (3, 1280)
    np.testing.assert_allclose(together[0], alone[0], atol=1e-4)
    assert np.array_equal(together[0], together[2])


def test_grey_pictures_are_taken_as_three_equal_channels(lite0):
    grey = images.read(PHOTOS / "cat.jpg", 1).pixels
    one, *_ = extract(lite0, [grey])
    three, *_ = extract(lite0, [grey.repeat(3, -1)])
    assert np.array_equal(one, three)


def test_weights_of_another_checksum_are_refused_before_they_are_opened(tmp_path):
    wrong = tmp_path / "inception.pth"
    wrong.write_bytes(b"no weights")
    with pytest.raises(DataError, match=r"SHA-256 begins with .*not with 6726825d"):
        extractor("inception", wrong)


def test_a_weights_file_goes_with_inception_only(tmp_path):
    with pytest.raises(UsageError, match="--extractor inception"):
        extractor("efficientnet-lite0", tmp_path / "x.pth")


LITES = [f"efficientnet-lite{number}" for number in range(3)]


@pytest.mark.parametrize(
    ("trained", "chosen"),
    [((), 0), ((0,), 2), ((2,), 0), ((0, 2), 1), ((0, 1, 2), 0)],
)
def test_auto_is_a_network_that_took_no_part_in_training(trained, chosen, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "cache_folder", lambda: tmp_path)
    shas = {VARIANTS[LITES[number]].sha256 for number in trained}
    assert extractor("auto", trained=shas).name == LITES[chosen]
    assert extractor(LITES[0], trained=shas).name == LITES[0]  # as asked for


def test_a_model_is_flattered_by_the_networks_that_trained_it():
    trained = {"/home/somebody/vgg.onnx": "1" * 64, LITES[0]: "2" * 64}
    assert part_in_training({LITES[0]: "2" * 64}, {}) == ""
    assert part_in_training({}, trained) == (
        "The features of vgg.onnx and efficientnet-lite0 took part in training"
    )
    assert "so distances measured by other.onnx flatter" in part_in_training(
        {"other.onnx": "1" * 64, LITES[1]: "3" * 64}, trained
    )
    assert "those of efficientnet-lite1, by which it is measured, did not" in part_in_training(
        {LITES[1]: "3" * 64}, trained
    )


def test_the_perceptual_distance_beside_inception_is_of_a_network_that_did_not_train():
    class Other:
        name, device = "inception", torch.device("cpu")

    assert perceptual(Other()).name == "lite0_perceptual"
    assert perceptual(Other(), {VARIANTS[LITES[0]].sha256}).name == "lite2_perceptual"
    assert perceptual(extractor(LITES[0]), {VARIANTS[LITES[0]].sha256}).name == "lite0_perceptual"


def test_a_download_that_broke_off_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(features, "urlopen", lambda *_, **__: io.BytesIO(b"the first bytes"))
    with pytest.raises(UsageError, match=r"incomplete or wrong\. Try again"):
        extractor("inception")
    assert list(tmp_path.iterdir()) == []
    assert extractor("auto").name == "efficientnet-lite0"


def test_inception_runs_on_a_file_of_the_known_checksum(tmp_path, monkeypatch):
    """With random weights, since the real ones can't be had offline: shapes and the way there."""
    inception = torch_fidelity.feature_extractor_inceptionv3.FeatureExtractorInceptionV3
    path = tmp_path / "weights.pth"
    with monkeypatch.context() as patch:
        patch.setattr(inception, "load_state_dict", lambda self, state: None)
        patch.setattr(torch, "load", lambda *_, **__: {})
        torch.manual_seed(0)
        state = inception("x", ["2048"], feature_extractor_weights_path="x").state_dict()
    torch.save(state, path)
    beginning = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(features, "INCEPTION_SHA256", beginning)
    network = extractor("auto", path)
    assert (network.name, network.kernel, network.frechet) == ("inception", "kid", "fid")
    seen, logits, style = extract(network, [images.read(PHOTOS / "cat.jpg").pixels])
    assert (seen.shape, logits.shape) == ((1, 2048), (1, 1008))
    assert style.shape == (1, 64 + 192 + 768 + 2048)
