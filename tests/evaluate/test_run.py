"""Evaluating folders and models on real pictures."""

import shutil

import numpy as np
import pytest

from img2img import Translator, images
from img2img.errors import DataError, UsageError
from img2img.evaluate import run as evaluation
from img2img.evaluate.metrics import l1, psnr, ssim
from img2img.evaluate.run import Fakes, evaluate
from img2img.files import find_pictures
from img2img.infer.registry import shipped


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
def shipped_model(held_out, quiet):
    fakes = Fakes(held_out / "flat", Translator("flat-to-3d", "cpu"))
    return evaluate(held_out / "3d", fakes, quiet, times=50)


def values(result):
    return {metric.name: metric.value for metric in result.metrics}


def test_a_model_is_measured_against_the_set_and_against_the_truths(shipped_model):
    found = values(shipped_model)
    names = ["lite0_kernel", "precision", "recall", "density", "coverage", "l1", "psnr", "ssim"]
    assert list(found) == names
    assert 0.1 < found["l1"] < 0.13
    assert all(metric.pictures == 50 for metric in shipped_model.metrics)
    assert all(m.low <= m.value <= m.high for m in shipped_model.metrics if m.name != "density")


def test_the_protocol_says_how(shipped_model):
    protocol = shipped_model.protocol
    assert protocol["real"] == "50 pictures of 3d"
    assert "flat" in protocol["fake"]
    assert "efficientnet-lite0, weights sha256 57934424" in protocol["features"]
    assert "seed 0" in protocol["interval"]


def test_too_few_pictures_for_a_metric_are_said_and_refused(shipped_model, held_out, quiet):
    assert shipped_model.left_out["lite0_frechet"].startswith("50 pictures in a set, 1,280")
    with pytest.raises(DataError, match="lite0_frechet would mislead here: 50 pictures"):
        evaluate(held_out / "3d", Fakes(held_out / "flat"), quiet, wanted=["lite0_frechet"])


def test_better_fakes_are_nearer(shipped_model, held_out, quiet, tmp_path):
    """The real pictures themselves, the model's, and their inputs with the colours turned round."""
    for path in find_pictures(held_out / "flat"):
        pixels = 255 - images.read(path).pixels
        (tmp_path / f"{path.stem}.png").write_bytes(images.encode(images.Picture(pixels), ".png"))
    same = values(evaluate(held_out / "3d", Fakes(held_out / "3d"), quiet, times=0))
    inverted = values(evaluate(held_out / "3d", Fakes(tmp_path), quiet, times=0))
    model = values(shipped_model)
    assert same["lite0_kernel"] < min(model["lite0_kernel"], inverted["lite0_kernel"])
    assert (same["l1"], same["psnr"], same["coverage"]) == (0, 100, 1)
    assert same["ssim"] == pytest.approx(1)
    for name in ("psnr", "ssim"):
        assert model[name] > inverted[name]
    assert model["l1"] < inverted["l1"]


def test_results_repeat_bitwise(held_out, quiet):
    first, second = (
        evaluate(held_out / "3d", Fakes(held_out / "flat"), quiet, times=20, seed=5)
        for _ in range(2)
    )
    assert first.as_dict() == second.as_dict()


def test_pictures_without_a_partner_have_no_paired_metrics(held_out, quiet, tmp_path):
    for index, path in enumerate(find_pictures(held_out / "flat")):
        shutil.copy(path, tmp_path / (path.name if index else "other.webp"))
    found = evaluate(held_out / "3d", Fakes(tmp_path), quiet, times=0)
    assert "l1" not in values(found)
    assert "only 49 of 50 fakes" in found.left_out["l1"]


def test_an_unknown_metric_is_named_with_those_there_are(held_out, quiet, tmp_path):
    with pytest.raises(
        UsageError, match="no metric fidd with efficientnet-lite0; there are lite0_kernel, prec"
    ):
        evaluate(held_out / "3d", Fakes(held_out / "flat"), quiet, wanted=["fidd"], times=0)


def test_distances_between_a_few_pictures_are_left_out(held_out, quiet, tmp_path):
    for path in list(find_pictures(held_out / "flat"))[:5]:
        shutil.copy(path, tmp_path)
    found = evaluate(held_out / "3d", Fakes(tmp_path), quiet, times=0)
    assert list(values(found)) == ["l1", "psnr", "ssim"]
    assert f"{evaluation.FEWEST} are the least" in found.left_out["lite0_kernel"]


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
