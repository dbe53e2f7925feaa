"""Metrics in the units of files that are not photographs, against values reckoned by hand."""

import base64
import json
import re
from typing import NamedTuple

import numpy as np
import pytest
import tifffile
import torch
from bundles import make_between, make_identity
from PIL import Image
from typer.testing import CliRunner

from img2img import Translator, images
from img2img.cli import app
from img2img.errors import DataError, UsageError
from img2img.evaluate import features
from img2img.evaluate.cases import Kinds, Translations
from img2img.evaluate.compare import compare
from img2img.evaluate.features import Activations
from img2img.evaluate.run import evaluate, folder_cases, kinds_of_files
from img2img.false_colors import MISSING, FalseColors
from img2img.files import pictures
from img2img.intensity import Intensity, stacked
from img2img.manifest import Manifest

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


class Colors(NamedTuple):
    """An extractor that costs nothing: the mean color."""

    name: str = "colors"
    kernel: str = "color_kernel"
    frechet: str = "color_frechet"
    side: int = 16
    dimensions: int = 3
    sha256: str = "0" * 64
    device: torch.device = torch.device("cpu")

    def __call__(self, pictures):
        means = pictures.float().mean((2, 3)) / 255
        return Activations(means, means, means)


def evaluated(real, fake, quiet, translator=None, show=(), **options):
    if translator:
        kinds = Kinds.of(translator.manifest, show)
    else:
        kinds = kinds_of_files(pictures(real), show)
    translations = Translations(translator, given=kinds)
    return evaluate(real, fake, translations, Colors(), quiet, resamples=0, **options)


def measured(real, fake, quiet, translator=None, **options) -> dict[str, float]:
    result = evaluated(real, fake, quiet, translator, **options)
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


def test_a_range_that_is_too_narrow_for_training_is_measured(folders, quiet):
    truth = RANDOM.uniform(101_305, 101_345, (20, 20)).astype(np.float32)
    found = measured(*folders([truth], [truth + 4]), quiet)
    assert found["mae"] == pytest.approx(4, abs=0.01)


def test_a_model_is_measured_by_its_range(folders, quiet, tmp_path):
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
    with pytest.raises(UsageError, match=r"no metric fid of values with .*, mae, rmse"):
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
    with pytest.raises(UsageError, match=r"takes 2 folders of inputs, in this order: real, fake\."):
        measured(tmp_path / "truth", inputs[0], quiet, translator)
    (inputs[1] / "1.tif").unlink()
    with pytest.raises(DataError, match="1 files are not in all folders of inputs"):
        measured(tmp_path / "truth", inputs[0], quiet, translator, further=inputs[1:])


def small(count: int, seed: int, fourth: int = 0) -> list[np.ndarray]:
    """Pictures of four bands, the last of which is brighter by `fourth`."""
    random = np.random.default_rng(seed)
    made = random.integers(0, 100, (count, 1, 1, 4)) + random.integers(0, 9, (count, 12, 12, 4))
    return [(each + np.array([0, 0, 0, fourth])).astype(np.uint16) for each in made]


def test_sets_are_compared_in_their_false_colors(folders, quiet):
    real, fake = folders(small(50, 1), small(51, 1, fourth=200))
    for number in range(51):
        (fake / f"{number}.tif").rename(fake / f"other-{number}.tif")
    blind = evaluated(real, fake, quiet)
    seeing = evaluated(real, fake, quiet, show=["4@0:300"])
    distances = [result.metrics[0] for result in (blind, seeing)]
    assert {metric.name for metric in distances} == {"color_kernel"}
    assert abs(distances[0].value) < 0.02 < 0.2 < distances[1].value
    assert seeing.protocol["shown"] == "4 as gray (0:300)"
    assert seeing.left_out["mae"] == "no fake has a real picture of the same name"
    assert "nearest real picture" in seeing.scored_by
    assert measured(real, fake, quiet, wanted=["color_kernel"]).keys() == {"color_kernel"}
    with pytest.raises(DataError, match="mae would mislead here: no fake has a real picture"):
        evaluated(real, fake, quiet, wanted=["mae"])


def test_mae_names_that_of_each_band_too(folders, quiet):
    real, fake = folders(small(2, 1), small(2, 1, fourth=8))
    found = measured(real, fake, quiet, wanted=["mae"])
    assert found == {"mae": 2, "mae/1": 0, "mae/2": 0, "mae/3": 0, "mae/4": 8}
    assert measured(real, fake, quiet, wanted=["mae/4"]) == {"mae/4": 8}


def test_where_an_input_misses_pixels_nothing_is_measured(folders, quiet, tmp_path):
    """Also where the type of the outputs has no value for them."""
    names = {"bands": ("1",), "low": (0,), "high": (1000,)}
    source, target = Intensity(dtype="float32", **names), Intensity(dtype="uint16", **names)
    translator = Translator(make_between(tmp_path / "m.onnx", source, target), "cpu")
    given = np.full((12, 12), 100, np.float32)
    given[3, 4] = np.nan
    real, fake = folders([np.full((12, 12), 90, np.uint16)], [given])
    assert measured(real, fake, quiet, translator)["mae"] == 10
    shown, output = Translations(translator).pictures(folder_cases(fake)[0])
    assert shown[3, 4].item() == output[3, 4].item() == MISSING
    assert shown[0, 0].item() == output[0, 0].item() == 26


def four_bands(**more) -> Intensity:
    names = tuple("1234")
    return Intensity(dtype="uint16", bands=names, low=(0,) * 4, high=(300,) * 4, **more)


def images_in(page: str) -> list[np.ndarray]:
    encoded = re.findall(r"data:image/webp;base64,([^']+)", page)
    return [images.read(base64.b64decode(each)).pixels for each in encoded]


def test_a_report_of_values_shows_false_colors(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "extractor", lambda *_, **__: Colors())
    model = make_identity(tmp_path / "m.onnx", four_bands())
    real, fake = folders(small(3, 1), small(3, 1))
    page = tmp_path / "page.html"
    arguments = ["evaluate", "-m", model, "--a", fake, "--b", real, "--report", page]
    arguments += ["--show", "a=4", "--show", "b=3,2,1@0:100", "--json"]
    told = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False).stdout
    assert json.loads(told)["protocol"]["shown"] == "3, 2, 1 as red, green, blue (0:100)"
    shown = images_in(page.read_text())
    assert len(shown) == 3 * 3 * 3  # input, translation and truth, of a sample, the best, the worst
    assert np.ptp(shown[0].astype(int), axis=2).max() <= 2  # gray
    expected = np.rint(tifffile.imread(fake / "0.tif")[..., 2::-1] * 2.55).clip(0, 255)
    assert np.abs(shown[1].mean((0, 1)) - expected.mean((0, 1))).max() < 4


def test_what_is_for_photographs_is_refused(folders, tmp_path):
    model = make_identity(tmp_path / "m.onnx", four_bands())
    real, fake = folders(small(1, 1), small(1, 1))
    for arguments, advice in (
        (
            ["--a", fake, "--b", real, "--back", model],
            "--back is for photographs.* Leave it out",
        ),
        (
            ["--data", real],
            "--data is for photographs.* --a DIR --b DIR --to",
        ),
    ):
        result = CliRunner().invoke(app, list(map(str, ["evaluate", "-m", model, *arguments])))
        assert re.search(advice, str(result.exception))


def test_runs_of_values_are_compared_as_the_first_one_shows_them(folders, tmp_path, quiet):
    colors = FalseColors(bands=(3,), low=(0,), high=(200,), decibels=(False,))
    for name, intensity in (("first", four_bands(show=colors)), ("second", four_bands())):
        (tmp_path / name / "export").mkdir(parents=True)
        make_identity(tmp_path / name / "export" / f"{name}.onnx", intensity)
        (tmp_path / name / "config.json").write_text("{}")
    runs = [tmp_path / name for name in ("first", "second")]
    real, fake = folders(small(1, 1), small(1, 1))
    page = compare(runs, [fake], None, quiet)
    assert "Bands that are shown: inputs 4 as gray (0:200); outputs 4 as gray (0:200)." in page
    first, *others = images_in(page)
    assert [np.array_equal(first, other) for other in others] == [True, True]
    page = compare(runs[::-1], [fake], None, quiet, show=["1@0:50"])
    assert "inputs 1 as gray (0:50); outputs 1 as gray (0:50)" in page
    with pytest.raises(UsageError, match="takes one"):
        compare(runs, [fake, real], None, quiet)


@pytest.mark.parametrize("pages", ["stack", "first"])
def test_a_model_from_photographs_to_several_pages_is_measured_by_file(pages, quiet, tmp_path):
    bands = ("1", "2", "3") if pages == "stack" else ("1",)
    ends = {"low": (0,) * len(bands), "high": (255,) * len(bands)}
    intensity = Intensity(dtype="uint8", bands=bands, pages=pages, **ends)
    translator = Translator(make_between(tmp_path / "m.onnx", None, intensity), "cpu")
    truth = RANDOM.integers(0, 200, (3, 20, 20)).astype(np.uint8)
    for name in ("real", "photographs"):
        (tmp_path / name).mkdir()
    tifffile.imwrite(tmp_path / "real" / "0.tif", truth, photometric="minisblack")
    shown = np.moveaxis(truth, 0, -1) if pages == "stack" else truth[0]
    Image.fromarray(shown).save(tmp_path / "photographs" / "0.png")
    found = measured(tmp_path / "real", tmp_path / "photographs", quiet, translator)
    assert found["mae"] == 0


def test_runs_are_compared_page_by_page(tmp_path, quiet):
    intensity = Intensity(dtype="uint16", bands=("1",), low=(0,), high=(1000,))
    for name, pages in (("each", "each"), ("first", "first")):
        (tmp_path / name / "export").mkdir(parents=True)
        kind = intensity.model_copy(update={"pages": pages})
        make_identity(tmp_path / name / "export" / f"{name}.onnx", kind)
        (tmp_path / name / "config.json").write_text("{}")
    for name in ("inputs", "real"):
        (tmp_path / name).mkdir()
        levels = np.array([100, 500, 900], np.uint16)
        volume = np.broadcast_to(levels[:, None, None], (3, 20, 20))
        tifffile.imwrite(tmp_path / name / "v.tif", volume, photometric="minisblack")
    inputs, runs = [tmp_path / "inputs"], [tmp_path / name for name in ("each", "first")]
    page = compare(runs[:1], inputs, tmp_path / "real", quiet)
    assert [f"v/page-{number}" in page for number in range(4)] == [True, True, True, False]
    seen = [picture[0, 0, 0] / 255 for picture in images_in(page)]  # input, output and truth
    assert seen == pytest.approx(list(np.repeat(levels / 1000, 3)), abs=0.01)
    with pytest.raises(UsageError, match="Some of the runs take each page of a file as a picture"):
        compare(runs, inputs, None, quiet)


def test_sides_are_those_of_the_direction():
    a, b = four_bands(), four_bands(unit="HU")
    manifest = Manifest(
        name="x",
        method="cyclegan",
        direction="ba",
        intensity_in=b,
        intensity_out=a,
        size_multiple=1,
        trained_size=8,
    )
    kinds = Kinds.of(manifest, ["a=4", "b=2"])
    assert (kinds.inputs.show.bands, kinds.outputs.show.bands) == ((1,), (3,))
    with pytest.raises(UsageError, match="photographs are shown as they are"):
        Kinds.of(None, ["3"])


def test_volumes_are_compared_page_by_page(tmp_path, quiet):
    truth = np.linspace(0, 1000, 3 * 20 * 30).reshape(3, 20, 30).astype(np.float32)
    for name, offset in (("real", 0), ("fake", 10 * np.arange(3, dtype=np.float32))):
        (tmp_path / name).mkdir()
        values = truth + np.reshape(offset, (-1, 1, 1))
        tifffile.imwrite(tmp_path / name / "v.tif", values, photometric="minisblack")
    found = measured(tmp_path / "real", tmp_path / "fake", quiet)
    assert found["mae"] == pytest.approx(10, rel=1e-4)  # of 0, 10 and 20
    tifffile.imwrite(tmp_path / "fake" / "v.tif", truth[:2], photometric="minisblack")
    with pytest.raises(DataError, match=r"have different numbers of pages: 2, 3\."):
        measured(tmp_path / "real", tmp_path / "fake", quiet)
