"""Evaluating folders and models on real pictures."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import make_bundle

from img2img import Translator, images
from img2img.cli.evaluate import _models
from img2img.errors import DataError, UsageError
from img2img.evaluate.cases import Translations
from img2img.evaluate.features import extractor, perceptual
from img2img.evaluate.measure import FEWEST
from img2img.evaluate.metrics import l1, psnr, ssim
from img2img.evaluate.report import metrics_table
from img2img.evaluate.run import evaluate, folder_cases
from img2img.evaluate.segmentation import Segmenter
from img2img.features.efficientnet import VARIANTS
from img2img.files import find_pictures, pictures
from img2img.infer.registry import shipped
from img2img.manifest import METADATA_KEY, Manifest

PHOTOS = Path(__file__).parents[1] / "data" / "photos"


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    """50 flat pictures, as few as distances take, and the 3D ones of the same names."""
    folder = tmp_path_factory.mktemp("held-out")
    for style in ("flat", "3d"):
        (folder / style).mkdir()
        for path in list(find_pictures(shipped("quickstart") / "test" / style))[:50]:
            shutil.copy(path, folder / style)
    return folder


@pytest.fixture(scope="module")
def measured(held_out, quiet):
    """A function (folder, model, options) -> its evaluation against the 3D pictures."""
    network, real_features = extractor("efficientnet-lite0"), {}

    def measure(folder, translations=None, **options):
        return evaluate(
            held_out / "3d",
            folder,
            translations or Translations(),
            network,
            quiet,
            real_features=real_features,
            **options,
        )

    return measure


@pytest.fixture(scope="module")
def shipped_model(held_out, measured):
    return measured(held_out / "flat", Translations(Translator("flat-to-3d", "cpu")), resamples=50)


def values(result):
    return {metric.name: metric.value for metric in result.metrics}


def test_a_model_is_measured_against_the_set_and_against_the_truths(shipped_model):
    found = values(shipped_model)
    around = ["precision", "recall", "density", "coverage"]
    assert list(found) == ["lite0_kernel", *around, "l1", "psnr", "ssim", "lite0_perceptual"]
    assert 0.1 < found["l1"] < 0.13
    assert all(metric.pictures == 50 for metric in shipped_model.metrics)
    assert all(m.low <= m.value <= m.high for m in shipped_model.metrics if m.name != "density")


def test_the_protocol_says_how(shipped_model):
    protocol = shipped_model.protocol
    assert protocol["real"] == "50 pictures of 3d"
    assert "flat" in protocol["fake"]
    assert "efficientnet-lite0, weights sha256 57934424" in protocol["features"]
    assert "seed 0" in protocol["interval"]


class TrainedOn:
    """Stands in for a model in whose training some feature networks took part."""

    sha256, provider, precision = "0" * 64, "cpu", "fp32"

    def __init__(self, *names):
        networks = {name: VARIANTS[name].sha256 for name in names}
        self.manifest = Manifest.model_construct(name="trained", feature_networks=networks)

    def __call__(self, shown, to=None):
        return shown


def test_the_protocol_says_which_network_took_part_in_training(held_out, measured, quiet):
    same, other = (
        measured(held_out / "flat", Translations(TrainedOn(name)), wanted=["l1"], resamples=0)
        for name in ("efficientnet-lite0", "efficientnet-lite2")
    )
    assert same.as_dict()["protocol"]["feature networks"] == (
        "The features of efficientnet-lite0 took part in training, so distances measured by "
        "efficientnet-lite0 flatter the model"
    )
    assert other.protocol["feature networks"] == (
        "The features of efficientnet-lite2 took part in training; those of efficientnet-lite0, by "
        "which it is measured, did not"
    )
    assert "flatter" in metrics_table({"value": same})


def test_the_protocol_tells_whether_a_network_took_part(shipped_model, held_out, measured):
    assert "flatter the model" in shipped_model.protocol["feature networks"]
    other = measured(held_out / "flat", Translations(TrainedOn()), resamples=5)
    assert "feature networks" not in other.protocol


def test_metrics_are_named_after_the_network(held_out, quiet):
    network = extractor("efficientnet-lite2")
    result = evaluate(
        held_out / "3d",
        held_out / "flat",
        Translations(),
        network,
        quiet,
        wanted=["lite2_kernel", "lite2_perceptual"],
        resamples=0,
    )
    assert list(values(result)) == ["lite2_kernel", "lite2_perceptual"]
    assert result.protocol["features"] == "efficientnet-lite2, weights sha256 9656183eaeafe8cb"
    assert result.protocol["resize"].startswith("Lanczos to 260 px")


def test_too_few_pictures_for_a_metric_are_said_and_refused(shipped_model, held_out, measured):
    assert shipped_model.left_out["lite0_frechet"].startswith(
        "50 pictures in a set, at least 1,280"
    )
    with pytest.raises(DataError, match="lite0_frechet would mislead here: 50 pictures"):
        measured(held_out / "flat", wanted=["lite0_frechet"])


def test_better_fakes_are_nearer(shipped_model, held_out, measured, tmp_path):
    """The real pictures themselves, the model's, and their inputs with the colours turned round."""
    for path in find_pictures(held_out / "flat"):
        pixels = 255 - images.read(path).pixels
        (tmp_path / f"{path.stem}.png").write_bytes(images.encode(images.Picture(pixels), ".png"))
    wanted = ["lite0_kernel", "coverage", "l1", "psnr", "ssim"]
    same = values(measured(held_out / "3d", resamples=0, wanted=wanted))
    inverted = values(measured(tmp_path, resamples=0, wanted=wanted))
    model = values(shipped_model)
    assert same["lite0_kernel"] < min(model["lite0_kernel"], inverted["lite0_kernel"])
    assert (same["l1"], same["psnr"], same["coverage"]) == (0, 100, 1)
    assert same["ssim"] == pytest.approx(1)
    for name in ("psnr", "ssim"):
        assert model[name] > inverted[name]
    assert model["l1"] < inverted["l1"]


def test_results_repeat_bitwise(held_out, measured):
    first, second = (
        measured(held_out / "flat", resamples=20, seed=5, wanted=["lite0_kernel", "recall", "l1"])
        for _ in range(2)
    )
    assert first.as_dict() == second.as_dict()


def test_pictures_without_a_partner_have_no_paired_metrics(held_out, measured, tmp_path):
    for index, path in enumerate(find_pictures(held_out / "flat")):
        shutil.copy(path, tmp_path / (path.name if index else "other.webp"))
    found = measured(tmp_path, resamples=0)
    assert "l1" not in values(found)
    assert "only 49 of 50 fakes" in found.left_out["l1"]


def test_an_unknown_metric_is_named_with_those_there_are(held_out, measured, tmp_path):
    with pytest.raises(
        UsageError,
        match=r"no metric fidd with efficientnet-lite0\. Available metrics: lite0_kernel, prec",
    ):
        measured(held_out / "flat", wanted=["fidd"], resamples=0)


def test_distances_between_a_few_pictures_are_left_out(held_out, measured, tmp_path):
    for path in list(find_pictures(held_out / "flat"))[:5]:
        shutil.copy(path, tmp_path)
    found = measured(tmp_path, resamples=0)
    assert list(values(found)) == ["l1", "psnr", "ssim", "lite0_perceptual"]
    assert f"at least {FEWEST} are needed" in found.left_out["lite0_kernel"]


def test_paired_metrics_of_known_pictures():
    black, white = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)
    assert l1(black, white) == 2
    assert l1(white, white) == 0
    assert psnr(black, white) == 0
    one_off = black.copy()
    one_off[...] = 1
    assert psnr(black, one_off) == pytest.approx(48.13, abs=0.01)
    assert ssim(white, white) == pytest.approx(1)
    assert ssim(black, white) < 0.01


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite2"])
def test_the_perceptual_distance_sees_what_is_shown_more_than_how_bright_it_is(name):
    cat, coffee = (images.read(PHOTOS / f"{name}.jpg").pixels for name in ("cat", "coffee"))
    other = images.resize(coffee, cat.shape[1], cat.shape[0])
    brighter = np.clip(cat.astype(int) + 30, 0, 255).astype(np.uint8)
    distance = perceptual(extractor(name))
    assert distance.name == name.removeprefix("efficientnet-") + "_perceptual"
    assert distance(cat, cat) == pytest.approx(0, abs=1e-6)
    assert 0 < 3 * distance(cat, brighter) < distance(cat, other) < 4
    assert l1(cat, brighter) > 0.2


def test_two_truths_for_one_name_are_refused_and_two_fakes_of_one_are_fine(
    held_out, quiet, tmp_path
):
    first = pictures(held_out / "3d")[0]
    for name in ("x.webp", "x.png"):
        shutil.copy(first, tmp_path / name)
    assert [case.name for case in folder_cases(tmp_path)] == ["x.png", "x.webp"]
    with pytest.raises(DataError, match="which of them is the ground truth of"):
        folder_cases(tmp_path, tmp_path)


def test_real_pictures_are_read_as_the_model_gives_them(held_out, measured):
    """A grey model whose answers are perfect is as near as a coloured one is."""

    class Grey:
        sha256, provider, precision = "0" * 64, "cpu", "fp32"
        manifest = Manifest.model_construct(name="grey", in_channels=1, out_channels=1)

        def __call__(self, shown, to=None):
            return shown

    found = values(
        measured(held_out / "3d", Translations(Grey()), wanted=["lite0_kernel"], resamples=0)
    )
    assert found["lite0_kernel"] < 0


class Negative:
    """Stands in for a model whose way back is itself."""

    sha256, provider, precision = "0" * 64, "cpu", "fp32"
    manifest = Manifest.model_construct(name="negative", in_channels=3, out_channels=3)

    def __init__(self, lossy=0):
        self.lossy = lossy

    def __call__(self, shown, to=None):
        return [np.clip(255 - p.astype(int) + self.lossy, 0, 255).astype(np.uint8) for p in shown]


def test_the_cycle_is_measured_where_the_way_back_is_known(held_out, measured):
    wanted = ["cycle_l1", "cycle_ssim"]
    exact = values(
        measured(
            held_out / "flat", Translations(Negative(), Negative()), wanted=wanted, resamples=0
        )
    )
    assert exact == {"cycle_l1": 0, "cycle_ssim": pytest.approx(1)}
    lossy = measured(
        held_out / "flat", Translations(Negative(), Negative(-3)), wanted=wanted, resamples=0
    )
    assert 0 < values(lossy)["cycle_l1"] <= 3 / 127.5
    with pytest.raises(DataError, match="cycle_l1 would mislead here: there is no model of"):
        measured(held_out / "flat", Translations(Negative()), wanted=wanted, resamples=0)


@pytest.mark.parametrize(
    ("method", "direction", "known"), [("theirs", "ba", True), ("pix2pix", "ab", False)]
)
def test_the_way_back_of_any_method_is_found_beside_a_model(method, direction, known, tmp_path):
    for name, way in (("x-ab", "ab"), ("x-ba", direction)):
        model = onnx.load(make_bundle(tmp_path / f"{name}.onnx"))
        manifest = json.loads(model.metadata_props[0].value)
        manifest |= {"method": method, "direction": way}
        onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(manifest)})
        onnx.save(model, tmp_path / f"{name}.onnx")
    _, way_back, _ = _models(str(tmp_path / "x-ab.onnx"), None, None)
    assert (way_back is not None) == known


def test_what_looks_wrong_is_found(held_out, measured):
    found = measured(held_out / "flat", Translations(Negative()), wanted=["l1"], resamples=0)
    assert [finding.check for finding in found.findings] == ["colour inversion"]
    fine = measured(held_out / "3d", wanted=["l1"], resamples=0)
    assert fine.findings == []
    assert json.loads(json.dumps(found.as_dict()))["findings"][0]["way"] == "flat"


def test_label_maps_are_judged_by_a_segmenter(held_out, measured, tmp_path):
    """Stands for a perfect one: it sees the brightest channel, and the maps say that, too."""

    class Perfect:
        METRICS = Segmenter.METRICS

        def confusion(self, name, pixels):
            seen = pixels.argmax(-1).ravel()
            return np.bincount(seen * 4, minlength=9)[:9].reshape(3, 3)

        def describe(self):
            return "perfect"

    found = measured(
        held_out / "flat", wanted=["pixel_accuracy", "class_iou"], resamples=10, segmenter=Perfect()
    )
    assert values(found) == {"pixel_accuracy": 1, "class_iou": 1}
    assert found.protocol["segmenter"] == "perfect"
