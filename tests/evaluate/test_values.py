"""Metrics in the units of files that are not photographs, against values reckoned by hand."""

import json

import numpy as np
import pytest
import tifffile
from bundles import make_between, make_identity
from typer.testing import CliRunner

from img2img.cli import app
from img2img.errors import DataError, UsageError
from img2img.evaluate.values import evaluate_values
from img2img.intensity import Intensity, stacked

RANDOM = np.random.default_rng(0)


@pytest.fixture
def folders(tmp_path):
    """A function (real arrays, fake arrays) -> both folders, with files of the same names."""

    def make(reals, fakes):
        for name, arrays in (("real", reals), ("fake", fakes)):
            (tmp_path / name).mkdir()
            for number, array in enumerate(arrays):
                form = {"planarconfig": "contig"} if array.ndim == 3 else {}
                path = tmp_path / name / f"{number}.tif"
                tifffile.imwrite(path, array, photometric="minisblack", **form)
        return tmp_path / "real", tmp_path / "fake"

    return make


def measured(real, fake, quiet, translator=None, **options) -> dict[str, float]:
    result = evaluate_values(real, fake, translator, quiet, resamples=0, **options)
    return {metric.name: metric.value for metric in result.metrics}


def test_a_constant_offset_is_told_in_units(folders, quiet):
    truth = np.linspace(0, 1000, 20 * 30).reshape(20, 30).astype(np.float32)
    found = measured(*folders([truth], [truth + 10]), quiet)
    assert found["mae"] == pytest.approx(10, rel=1e-4)
    assert found["rmse"] == pytest.approx(10, rel=1e-4)
    assert found["bias"] == pytest.approx(10, rel=1e-4)
    assert found["psnr"] == pytest.approx(40, abs=1e-3)  # 10 of a range of 1,000
    assert set(found) == {"mae", "rmse", "bias", "psnr", "ssim"}


def test_equal_files_are_equal(folders, quiet):
    truth = RANDOM.integers(0, 4096, (20, 30, 3)).astype(np.uint16)
    found = measured(*folders([truth], [truth]), quiet)
    assert (found["mae"], found["bias"], found["psnr"]) == (0, 0, 100)
    assert found["ssim"] == pytest.approx(1)
    assert found["sam"] == pytest.approx(0, abs=1e-4)
    assert found["ergas"] == 0


def test_integers_of_any_sign_do_not_wrap_around(folders, quiet):
    truth, output = (np.full((12, 12), level, np.int16) for level in (-32_000, 32_000))
    truth[0, 0] = 32_000
    found = measured(*folders([truth], [output]), quiet)
    assert found["bias"] == pytest.approx(64_000 * 143 / 144)


def test_missing_pixels_count_in_neither(folders, quiet):
    truth = np.linspace(0, 100, 400).reshape(20, 20).astype(np.float32)
    output = truth + 1
    truth[2, 2], output[3, 3], output[2, 2] = np.nan, np.nan, 1e9
    found = measured(*folders([truth], [output]), quiet)
    assert found["mae"] == pytest.approx(1, rel=1e-4)
    assert np.isfinite(found["ssim"])


def test_bands_are_told_one_by_one(folders, quiet):
    truth = RANDOM.uniform(100, 200, (15, 15, 2)).astype(np.float32)
    output = truth + np.array([1, 5], np.float32)
    found = measured(*folders([truth], [output]), quiet)
    assert found["mae/1"] == pytest.approx(1, rel=1e-3)
    assert found["mae/2"] == pytest.approx(5, rel=1e-3)
    assert found["mae"] == pytest.approx(3, rel=1e-3)
    mean = truth.mean((0, 1))
    ergas = 100 * np.sqrt(((np.array([1, 5]) / mean) ** 2).mean())
    assert found["ergas"] == pytest.approx(ergas, rel=1e-3)


def test_the_spectral_angle_ignores_brightness(folders, quiet):
    truth = np.ones((12, 12, 2), np.float32)
    truth[..., 1] = 0
    twice, turned = 2 * truth, np.ones((12, 12, 2), np.float32)
    real, fake = folders([truth, truth], [twice, turned])
    assert measured(real, fake, quiet)["sam"] == pytest.approx((0 + 45) / 2, abs=1e-4)


def test_a_model_is_measured_by_its_range(folders, quiet, tmp_path):
    from img2img import Translator

    intensity = Intensity(dtype="uint16", bands=("1",), low=(0,), high=(1000,))
    translator = Translator(make_identity(tmp_path / "m.onnx", intensity), "cpu")
    truth = RANDOM.integers(0, 100, (20, 20)).astype(np.uint16)
    real, fake = folders([truth], [truth + 10])
    found = measured(real, fake, quiet, translator)
    assert found["psnr"] == pytest.approx(40)
    assert found["bias"] == 10


@pytest.mark.parametrize(
    ("fakes", "message"),
    [
        ([np.zeros((9, 9), np.uint16)], "is 9x9 of 1 bands, and .* 8x8 of 1 bands"),
        ([np.zeros((8, 8), np.uint16)] * 2, "1 of 2 files have no real one of the same name"),
    ],
)
def test_files_that_do_not_fit_are_named(fakes, message, folders, quiet):
    with pytest.raises(DataError, match=message):
        measured(*folders([np.ones((8, 8), np.uint16)], fakes), quiet)


def test_an_unknown_metric_is_refused(folders, quiet):
    same = [np.ones((12, 12), np.uint16)]
    with pytest.raises(UsageError, match=r"no metric fid of values\. Available metrics: mae, rmse"):
        measured(*folders(same, same), quiet, wanted=["fid"])


def test_the_command_takes_values_by_itself(folders):
    truth = RANDOM.integers(0, 4096, (20, 30)).astype(np.uint16)
    real, fake = folders([truth, truth], [truth, truth + 2])
    arguments = ["evaluate", "--real", str(real), "--fake", str(fake), "--json"]
    told = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    by_name = {metric["name"]: metric for metric in told["metrics"]}
    assert by_name["mae"]["value"] == 1
    assert by_name["mae"]["low"] <= 1 <= by_name["mae"]["high"]
    assert "all truths" in told["protocol"]["ranges"]


def test_a_model_with_several_inputs_is_measured_on_their_files(folders, tmp_path, quiet):
    from img2img import Translator

    one = Intensity(name="real", dtype="uint16", bands=("1",), low=(0,), high=(1000,))
    two = one.model_copy(update={"name": "fake"})
    both = Intensity(dtype="uint16", bands=("1", "2"), low=(0, 0), high=(1000, 1000))
    model = make_between(tmp_path / "m.onnx", stacked([one, two]), both)
    first, second = RANDOM.integers(0, 1000, (2, 20, 30)).astype(np.uint16)
    inputs = folders([first, second], [second, first])
    (tmp_path / "truth").mkdir()
    for number, values in enumerate(([first, second + 4], [second + 4, first + 8])):
        np.save(tmp_path / "truth" / f"{number}.npy", np.stack(values, -1))
    arguments = ["evaluate", "-m", model, "--b", tmp_path / "truth", "--json"]
    several = [text for folder in inputs for text in ("--a", folder)]
    done = CliRunner().invoke(app, list(map(str, [*arguments, *several])), catch_exceptions=False)
    told = {metric["name"]: metric["value"] for metric in json.loads(done.stdout)["metrics"]}
    assert told["mae/1"] == pytest.approx(2)
    assert told["mae/2"] == pytest.approx(6)
    translator = Translator(model, "cpu")
    with pytest.raises(UsageError, match=r"takes 2 --a, in this order: real, fake\."):
        measured(tmp_path / "truth", inputs[0], quiet, translator)
    (inputs[1] / "1.tif").unlink()
    with pytest.raises(DataError, match="1 files are not in all folders of inputs"):
        measured(tmp_path / "truth", inputs[0], quiet, translator, further=inputs[1:])


def test_volumes_are_compared_page_by_page(tmp_path, quiet):
    truth = np.linspace(0, 1000, 3 * 20 * 30).reshape(3, 20, 30).astype(np.float32)
    for name, offset in (("real", 0), ("fake", 10 * np.arange(3, dtype=np.float32))):
        (tmp_path / name).mkdir()
        values = truth + np.reshape(offset, (-1, 1, 1))
        tifffile.imwrite(tmp_path / name / "v.tif", values, photometric="minisblack")
    result = evaluate_values(tmp_path / "real", tmp_path / "fake", None, quiet, resamples=0)
    assert [round(score) for score in result.scores.values()] == [0, 10, 20]
    tifffile.imwrite(tmp_path / "fake" / "v.tif", truth[:2], photometric="minisblack")
    with pytest.raises(DataError, match=r"have different numbers of pages: 2, 3\."):
        evaluate_values(tmp_path / "real", tmp_path / "fake", None, quiet, resamples=0)
