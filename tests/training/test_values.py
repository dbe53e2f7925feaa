"""Training on pictures that are not photographs, from their files to a bundle that writes such."""

import io
import json

import numpy as np
import pytest
import tifffile
import torch
from conftest import TINY
from PIL import Image
from rich.console import Console
from states import assert_bitwise

from img2img import Translator, rasters
from img2img.data.stream import fixed_batch
from img2img.errors import DataError, UsageError
from img2img.export.run import export_run
from img2img.methods import METHODS
from img2img.run import Run
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


@pytest.mark.parametrize("mode", METHODS)
def test_values_are_shown_and_measured_as_declared(mode, folders, quiet, tmp_path):
    """In samples, by the checks, in config.json, and in the exported model."""
    show = ("2@0:500",) if mode == "stargan" else ("a=2@0:500", "b=1@0:5")
    values = values_of(mode, folders(mode), show=show) | {"eval_every": 1, "log_every": 1}
    train(make_plan(config_for_data(values, quiet), quiet), tmp_path / "run", quiet)
    kinds = RunConfig.load(tmp_path / "run").method.intensities
    assert kinds["a"].show.bands == (1,)
    assert kinds["a"].show.high == (500,)
    [*_, sample] = sorted((tmp_path / "run" / "samples").glob("*.png"))
    column = np.asarray(Image.open(sample))[20:, 4:36]
    assert (column == 255).mean() > 0.5  # most of 0 to 4095 is white
    measured = Run(tmp_path / "run").metrics[-1]
    if mode == "pix2pix":
        assert 0 < measured["held_out/ab/mae"] < 30
        assert {f"held_out/ab/{name}" for name in ("rmse", "bias", "psnr", "ssim")} <= {*measured}
        assert "held_out/ab/l1" not in measured
    way = {"stargan": "dim"}.get(mode, "ab")
    assert measured[f"health/{way}/diversity"] >= 0
    [(path, _), *_] = export_run(tmp_path / "run", quiet, tmp_path / "m.onnx")
    assert Translator(path, "cpu").manifest.intensity_in == kinds["a"]
    card = (tmp_path / "run" / "README.md").read_text()
    assert "Bands that are shown: a 2 as gray (0:500)" in card


def test_an_older_config_has_no_declaration_and_resumes(folders, quiet, tmp_path):
    config = config_for_data(values_of("pix2pix", folders("pix2pix")), quiet)
    train(make_plan(config, quiet), tmp_path / "run", quiet)
    path = tmp_path / "run" / "config.json"
    saved = json.loads(path.read_text())
    del saved["method"]["show"]
    for intensity in saved["method"]["intensities"].values():
        del intensity["show"]
    path.write_text(json.dumps(saved))
    older = RunConfig.load(tmp_path / "run")
    assert older.method.intensities == config.method.intensities
    again = resumed(tmp_path / "run", older, {"steps": 3})
    train(make_plan(again, quiet), tmp_path / "run", quiet)
    assert (tmp_path / "run" / "samples" / "step-0000003.png").exists()


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


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Folders of two inputs, of 4 bands of uint16 and of powers with missing pixels, and of the
    target, int16. The last file of sar has no partner.
    """
    folder = tmp_path_factory.mktemp("several")
    for number in range(8):
        sar = 10 ** (smooth(90 + number, 1).astype(np.float32) * 2.5 - 2)
        sar[5:9, 7:9] = np.nan
        save(folder / "sar" / f"{number}.tif", sar)
        if number < 7:
            save(folder / "optical" / f"{number}.tif", (smooth(number, 4) * 4095).astype(np.uint16))
            save(folder / "dem" / f"{number}.tif", (smooth(50 + number, 1) * 999).astype(np.int16))
    return {"a": [folder / "optical", folder / "sar"], "b": folder / "dem"}


def of_several(sources: dict, mode: str = "pix2pix", **method) -> dict:
    return values_of(mode, sources, **{"range": ("sar=-25dB:5dB", "b=0:999"), **method})


def test_several_inputs_train_export_and_translate(several, tmp_path):
    console = Console(file=io.StringIO(), width=200)
    config = config_for_data(of_several(several), console)
    plan = make_plan(config, console)
    shown = console.file.getvalue()
    assert "a: float32, 5 bands (optical 1, optical 2, optical 3, optical 4, sar 1)" in shown
    assert "a, optical: uint16, 4 bands (1, 2, 3, 4), 0:4095 (12 bits in 16)" in shown
    assert "a, sar: float32, 1 band, -25:5 dB (-25db:5db)" in shown
    assert "1 files are not in all folders of a and are left out: " in shown
    assert (config.method.in_channels, config.method.out_channels) == (5, 1)
    train(plan, tmp_path / "run", console)
    [(path, result)] = export_run(tmp_path / "run", console, tmp_path / "m.onnx")
    assert result["max_levels"] < 0.3  # a unit of the target
    translator = Translator(path, "cpu")
    files = tuple(folder / "3.tif" for folder in several["a"])
    optical, sar = (rasters.read(file).values for file in files)
    stacked = np.concatenate([optical.astype(np.float32), sar], -1)
    expected = translator(stacked)
    assert (expected.dtype, expected.shape) == ("int16", (40, 48, 1))
    for picture in (files, (optical, sar), (files[0], sar), tuple(f.read_bytes() for f in files)):
        assert np.array_equal(translator(picture), expected)
    assert np.array_equal(translator([files, (optical, sar)]), [expected, expected])
    moved = translator((optical, np.roll(sar, 9, 0)))
    assert not np.array_equal(moved, expected)  # it looks at both


def test_samples_of_several_inputs_are_mapped_each_by_its_range(several, quiet, tmp_path):
    plan = make_plan(config_for_data(of_several(several, resize=0), quiet), quiet)
    batch = fixed_batch(plan.training, plan.augment(training=False), [0])
    window = np.s_[4:36, 8:40]
    optical, sar = (
        tifffile.imread(path)[window]
        for path in plan.training.files_of("a", plan.training.items[0][0])
    )
    gaps = np.isnan(sar)
    assert gaps.sum() == 4
    expected = np.where(gaps[..., None], 0, optical / 4095 * 2 - 1)
    assert np.allclose(batch["a"][0, ..., :4], expected, atol=1e-6)
    mapped = np.where(gaps, 0, ((10 * np.log10(sar) + 25) / 15 - 1).clip(-1, 1))
    assert np.allclose(batch["a"][0, ..., 4], mapped, atol=1e-5)
    assert np.array_equal(batch["a_valid"][0, ..., 0] == 0, gaps)


def test_a_run_of_several_inputs_resumes_until_one_of_its_files_changes(several, quiet, tmp_path):
    values = of_several(several, steps=2, decay=0.0)
    train(make_plan(config_for_data(values, quiet), quiet), tmp_path / "run", quiet)
    saved = RunConfig.load(tmp_path / "run")
    assert saved.sources.inputs == tuple(several["a"])
    again = resumed(tmp_path / "run", saved, {"steps": 4})
    train(make_plan(again, quiet), tmp_path / "run", quiet)
    file = several["a"][1] / "2.tif"
    content = file.read_bytes()
    file.write_bytes(content + b"\0")
    try:
        with pytest.raises(DataError, match="training pictures are not those"):
            make_plan(again, quiet)
    finally:
        file.write_bytes(content)


def test_photographs_may_be_stacked_and_become_one(emoji, quiet, tmp_path):
    sources = {"a": [emoji / "flat", emoji / "3d"], "b": emoji / "3d"}
    config = config_for_data(values_of("pix2pix", sources), quiet)
    assert (config.method.in_channels, config.method.out_channels) == (6, 3)
    intensity = config.method.intensities["a"]
    assert (intensity.dtype, intensity.bands[0]) == ("uint8", "flat red")
    assert list(config.method.intensities) == ["a"]
    train(make_plan(config, quiet), tmp_path / "run", quiet)
    [(path, _)] = export_run(tmp_path / "run", quiet, tmp_path / "m.onnx")
    name = next(iter((emoji / "flat").iterdir())).name
    output = Translator(path, "cpu")((emoji / "flat" / name, emoji / "3d" / name))
    assert (output.dtype, output.shape[2]) == ("uint8", 3)


def test_cut_takes_several_inputs(several, quiet):
    sources = {**several, "b": several["a"][0]}
    given = {"range": ("sar=-25dB:5dB",), "bands": ("optical=1", "2", "3", "b=4", "3", "2", "1")}
    plan = make_plan(config_for_data(of_several(sources, "cut", **given), quiet), quiet)
    assert plan.training.form("a").channels == 4
    assert (plan.config.method.in_channels, plan.config.method.out_channels) == (4, 4)
    assert plan.training.read("a", plan.training.a[0]).shape == (40, 48, 4)


@pytest.mark.parametrize(
    ("mode", "more", "message"),
    [
        ("cyclegan", {}, "cyclegan takes one --a, since it also translates to a"),
        ("pix2pix", {"labels_in": "color"}, "Label maps can't be one of several inputs"),
        ("pix2pix", {"range": ("dem=0:1",)}, "the sides are a and b, and the inputs optical, sar"),
    ],
)
def test_what_several_inputs_can_not_be_is_refused(mode, more, message, several, quiet):
    with pytest.raises(UsageError, match=message):
        config_for_data(of_several(several, mode, **more), quiet)


def test_inputs_of_different_sizes_are_named_before_training(several, quiet, tmp_path):
    save(tmp_path / "sar" / "0.tif", np.ones((40, 44, 1), np.float32))
    save(tmp_path / "sar" / "1.tif", np.ones((40, 48, 1), np.float32))
    sources = {**several, "a": [several["a"][0], tmp_path / "sar"]}
    config = config_for_data(of_several(sources), quiet)
    message = r"1 of \d pictures can't be read: .*0\.tif is 48x40, and .*0\.tif 44x40\. Resample"
    with pytest.raises(DataError, match=message):
        make_plan(config, quiet)
