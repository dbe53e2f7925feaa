"""Training on pictures that are not photographs, from their files to a bundle that writes such."""

import io

import numpy as np
import pytest
import tifffile
import torch
from conftest import TINY
from rich.console import Console
from states import assert_bitwise

from img2img import Translator, rasters
from img2img.data.stream import fixed_batch
from img2img.errors import UsageError
from img2img.export.run import export_run
from img2img.methods import METHODS
from img2img.training.config import RunConfig
from img2img.training.loop import train
from img2img.training.plan import config_for_data, make_plan
from img2img.training.resume import resumed
from img2img.training.runtime import Runtime
from img2img.training.settings import layered
from img2img.training.trainer import Trainer

BANDS = {"pix2pix": (4, 1), "cyclegan": (2, 1), "cut": (5, 5), "stargan": (2, 2)}


def smooth(seed: int, bands: int) -> np.ndarray:
    """A picture of a few waves, float64 [40, 48, bands] from 0 to 1."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :48] / 20
    waves = [np.sin(y * random.uniform(1, 4) + x * random.uniform(1, 4)) for _ in range(bands)]
    return np.stack(waves, -1) / 2 + 0.5


def save(path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    form = {"planarconfig": "contig"} if values.shape[2] > 1 else {}
    tifffile.imwrite(path, values.squeeze(), photometric="minisblack", **form)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A function mode -> the sources of its method: a is uint16 of 12 bits, b float32 with missing
    pixels, where the method allows them to differ.
    """
    made = {}

    def make(mode: str) -> dict:
        if mode in made:
            return made[mode]
        folder = tmp_path_factory.mktemp(mode)
        first, second = BANDS[mode]
        for number in range(8):
            a = (smooth(number, first) * 4095).astype(np.uint16)
            b = smooth(50 + number, second).astype(np.float32) * 30 - 10
            b[5:9, 7:9] = np.nan
            if mode == "stargan":
                save(folder / "dim" / f"{number}.tif", a // 2)
                save(folder / "bright" / f"{number}.tif", a)
            else:
                save(folder / "a" / f"{number}.tif", a)
                save(folder / "b" / f"{number}.tif", b)
        both = {"a": folder / "a", "b": folder / "b"}
        made[mode] = {"data": folder} if mode == "stargan" else both
        return made[mode]

    return make


def values_of(mode: str, sources: dict, **method) -> dict:
    settings = {**TINY[mode], "size": 32, "resize": 36, "steps": 2, "epochs": None, **method}
    return {
        "name": f"values-{mode}",
        "mode": mode,
        "method": settings,
        "sources": sources,
        "held_out": 2,
        "device": "cpu",
        "precision": "fp32",
        "workers": 0,
        "eval_every": 0,
    }


@pytest.mark.parametrize("mode", METHODS)
def test_every_method_trains_exports_and_translates_values(mode, folders, quiet, tmp_path):
    config = config_for_data(values_of(mode, folders(mode)), quiet)
    bands = BANDS[mode]
    assert (config.method.in_channels, config.method.out_channels) == bands
    plan = make_plan(config, quiet)
    train(plan, tmp_path / "run", quiet)
    assert list((tmp_path / "run" / "samples").glob("*.png"))
    [(path, result), *_] = export_run(tmp_path / "run", quiet, tmp_path / "m.onnx")
    assert result["max_levels"] < 0.1
    translator = Translator(path, "cpu")
    source = next(iter(plan.training.inputs("ab")))
    output = translator(source, to="dim" if mode == "stargan" else None)
    expected = "uint16" if mode == "stargan" else "float32"
    assert (output.dtype, output.shape) == (expected, (40, 48, bands[1]))
    assert np.isfinite(output).all()


def test_what_is_chosen_is_printed(folders):
    console = Console(file=io.StringIO(), width=200)
    config = config_for_data(values_of("cyclegan", folders("cyclegan")), console)
    shown = console.file.getvalue()
    assert "a: uint16, 2 bands (1, 2), 0:4095 (12 bits in 16)" in shown
    assert "b: float32, 1 band" in shown
    assert "the percentiles 0.1 and 99.9 of each band" in shown
    assert "No identity loss: a has 2 bands, and b has 1." in shown
    assert config.method.identity == 0


def test_an_identity_loss_that_is_asked_for_is_refused_where_bands_differ(folders, quiet):
    with pytest.raises(UsageError, match="identity"):
        config_for_data(values_of("cyclegan", folders("cyclegan"), identity=0.5), quiet)


def test_the_modern_preset_does_not_add_to_an_input_of_other_bands(folders, quiet):
    values = values_of("pix2pix", folders("pix2pix")) | {"preset": "modern"}
    values["method"] = {"size": 32, "steps": 2, "epochs": None, "batch": 2}
    assert config_for_data(values, quiet).method.generator.residual == "off"


def test_a_range_and_bands_of_the_settings_are_used(folders, quiet):
    given = {"range": ("a=0:1000", "b=-10:20"), "bands": ("a=3", "1")}
    config = config_for_data(values_of("pix2pix", folders("pix2pix"), **given), quiet)
    a, b = (config.method.intensities[side] for side in "ab")
    assert (a.high, a.picked, a.bands) == ((1000, 1000), (2, 0), ("3", "1"))
    assert (b.low, b.high) == ((-10,), (20,))


def test_samples_are_mapped_and_say_which_pixels_are_missing(folders, quiet):
    config = config_for_data(values_of("pix2pix", folders("pix2pix"), resize=0), quiet)
    plan = make_plan(config, quiet)
    augment = plan.augment(training=False)
    batch = fixed_batch(plan.training, augment, [0])
    assert list(batch) == ["a", "b", "b_valid"]
    path_a, path_b = plan.training.items[0]
    window = np.s_[4:36, 8:40]
    stored = tifffile.imread(path_a)[window]
    assert np.allclose(batch["a"][0], stored / 4095 * 2 - 1, atol=1e-6)
    missing = np.isnan(tifffile.imread(path_b))[window]
    assert missing.sum() == 4
    assert np.array_equal(batch["b_valid"][0, ..., 0] == 0, missing)
    assert (batch["b"][0, ..., 0].numpy()[missing] == 0).all()


@pytest.mark.parametrize("mode", ["pix2pix", "cyclegan", "cut"])
def test_no_loss_depends_on_what_is_made_of_missing_pixels(mode, folders, quiet):
    """A generator's output there gets no gradient, and the pictures there are those of the data."""
    config = config_for_data(values_of(mode, folders(mode), flip=False), quiet)
    plan = make_plan(config, quiet)
    runtime = Runtime("cpu", "fp32")
    method = METHODS[mode](config.method)
    trainer = Trainer(method, runtime, 0, plan.schedule)
    batch = runtime.place(fixed_batch(plan.training, plan.augment(training=False), [0, 1]))
    hole = (batch["b_valid"] == 0).expand_as(batch["b"])
    assert hole.any()
    draws = trainer._draws(batch)
    scene = method.scene(batch, draws)
    name = {"pix2pix": "fake_b", "cyclegan": "fake_a", "cut": "same_b"}[mode]
    if mode == "cyclegan":
        hole = hole.expand_as(scene[name])
    assert (scene[name][hole] == 0).all()
    if mode == "cyclegan":
        assert torch.equal(scene["cycle_b"][hole[:, :1]], batch["b"][hole[:, :1]])


def test_a_cache_gives_the_same_samples(folders, quiet, tmp_path):
    config = config_for_data(values_of("pix2pix", folders("pix2pix")), quiet)
    plan = make_plan(config, quiet)
    cached = plan.augment(True, plan.new_cache(tmp_path / "cache"))
    for _ in range(2):  # filled, then read
        for index in range(4):
            samples = [
                plan.training.finished(
                    plan.training.sample(index, augment, np.random.default_rng(index))
                )
                for augment in (plan.augment(True), cached)
            ]
            for name, array in samples[0].items():
                assert np.array_equal(array, samples[1][name]), name


def test_a_run_resumes_bitwise(folders, quiet, tmp_path):
    for run, steps in (("whole", 4), ("parts", 2)):
        values = values_of("pix2pix", folders("pix2pix"), steps=steps, decay=0.0)
        train(make_plan(config_for_data(values, quiet), quiet), tmp_path / run, quiet)
    saved = RunConfig.load(tmp_path / "parts")
    again = make_plan(resumed(tmp_path / "parts", saved, {"steps": 4}), quiet)
    train(again, tmp_path / "parts", quiet)
    states = [
        torch.load(tmp_path / run / "checkpoints" / "last.pt", weights_only=True)["trainer"]
        for run in ("whole", "parts")
    ]
    assert_bitwise(states[0]["method"], states[1]["method"])


def test_values_that_were_translated_are_read_again_exactly(folders, quiet, tmp_path):
    config = config_for_data(values_of("cut", folders("cut")), quiet)
    train(make_plan(config, quiet), tmp_path / "run", quiet)
    [(path, _)] = export_run(tmp_path / "run", quiet, tmp_path / "m.onnx")
    translator = Translator(path, "cpu")
    output = translator(folders("cut")["a"] / "0.tif")
    (tmp_path / "y.tif").write_bytes(rasters.encode(output, None, ".tif"))
    assert np.array_equal(rasters.read(tmp_path / "y.tif").values, output)


@pytest.mark.parametrize(
    ("mode", "settings", "message"),
    [
        ("pix2pix", {"labels_out": True}, "The label maps of b are float32 and not 8-bit"),
        ("stargan", {"range": ("a=0:9", "b=0:99")}, "stargan has one kind of pictures"),
    ],
)
def test_what_values_can_not_be_is_refused(mode, settings, message, folders, quiet):
    with pytest.raises(UsageError, match=message):
        config_for_data(values_of(mode, folders(mode), **settings), quiet)


def test_photographs_have_one_three_or_four_channels(emoji, quiet):
    sources = {"a": emoji / "flat", "b": emoji / "3d"}
    with pytest.raises(UsageError, match="--in-channels 2: photographs have 1"):
        config_for_data(values_of("pix2pix", sources, in_channels=2), quiet)


def test_a_run_s_config_on_photographs_has_their_channels(folders, emoji, quiet):
    """What was read from values does not stay."""
    run = config_for_data(values_of("cyclegan", folders("cyclegan")), quiet)
    sources = {"a": emoji / "flat", "b": emoji / "3d"}
    values = layered(run.model_dump(mode="json"), {}, sources, {})
    method = config_for_data(values, quiet).method
    assert (method.in_channels, method.out_channels, method.intensities) == (3, 3, {})
    assert method.identity > 0
