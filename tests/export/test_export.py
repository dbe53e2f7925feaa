"""Exported bundles of tiny trained runs, on real pictures."""

import errno
import io
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from img2img import Translator, images
from img2img.cli import app
from img2img.errors import DataError, Img2ImgError, UsageError
from img2img.export import graph, parity
from img2img.export.graph import Pixels, load_run, make_manifest, trace
from img2img.export.run import export_run
from img2img.files import find_pictures
from img2img.infer import openvino, session
from img2img.infer.session import available
from img2img.methods import METHODS
from img2img.sizes import Size
from img2img.training import checkpoint


@pytest.fixture(scope="module")
def exported(trained, quiet, tmp_path_factory):
    """A function mode -> [(bundle, parity), ...], exported once."""
    done = {}

    def get(mode):
        if mode not in done:
            path = tmp_path_factory.mktemp("bundles") / f"{mode}.onnx"
            done[mode] = export_run(trained(mode), quiet, path)
        return done[mode]

    return get


@pytest.mark.parametrize("mode", METHODS)
def test_bundle_is_within_a_grey_level_of_torch_on_real_pictures(mode, exported):
    for path, result in exported(mode):
        assert result["max_levels"] <= 1
        assert result["pictures"] >= 2
        assert Translator(path, "cpu").manifest.parity == result


@pytest.mark.parametrize("mode", METHODS)
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 20), (5, 90)])
def test_any_size_goes_in_and_comes_out_as_torch_would_have_it(
    mode, size, exported, trained, emoji
):
    _, method, _ = load_run(trained(mode))
    direction, spec = next(iter(method.exports().items()))
    translator = Translator(exported(mode)[0][0], "cpu")
    assert translator.manifest.direction == direction
    picture = images.read(next(find_pictures(emoji / "flat"))).pixels
    picture = images.resize(picture, size[1], size[0])
    to = spec.labels.names[0] if spec.labels.sets else None
    domain = translator.domain(to)
    with torch.no_grad():
        expected = Pixels(spec)(
            torch.from_numpy(picture)[None],
            None if domain is None else torch.from_numpy(domain)[None],
        )[0]
    [result] = translator([picture], to=to)
    assert result.shape == (*size, 3)
    assert np.abs(result.astype(int) - expected.numpy()).max() <= 1


@pytest.mark.parametrize("mode", METHODS)
@pytest.mark.parametrize("session", ["onnxruntime", "cpu", "openvino"])
def test_sides_down_to_a_pixel_go_in_and_come_out(mode, session, exported, trained):
    """In the graph: any runtime can feed it."""
    if session not in ("onnxruntime", *available()):
        pytest.skip("it is not installed")
    spec = next(iter(load_run(trained(mode))[1].exports().values()))
    path = exported(mode)[0][0]
    domain = spec.labels.vector(0, {"flat"}) if spec.labels.sets else None
    # No emoji, whose corners are one color: of that, norms amplify the rounding.
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    plain, translator = ort.InferenceSession(path), Translator(path, "cpu")
    if session == "openvino":
        translator = Translator(path, session)
    for height, width in [(1, 1), (1, 40), (2, 3), (40, 2), (3, 5), (4, 4), (5, 1), (4, 9), (5, 8)]:
        some = picture[:height, :width].copy()
        if session == "onnxruntime":
            label = {} if domain is None else {"domain": domain[None]}
            [result] = plain.run(None, {"image": some[None], **label})[0]
        else:
            result = translator(some, domain)
        assert result.shape == (height, width, 3)
        if session == "openvino" or height * width == 1:
            continue  # bf16; one color
        if mode == "stargan" and max(height, width) <= 4:
            continue  # a quarter of it is a single value, which torch does not normalise
        with torch.no_grad():
            label = [] if domain is None else [torch.from_numpy(domain)[None]]
            expected = Pixels(spec)(torch.from_numpy(some)[None], *label)[0].numpy()
        assert np.abs(result.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("mode", METHODS)
def test_padding_repeats_the_border_up_to_what_the_network_takes(mode, exported):
    """A narrow picture is what the same picture, widened by hand, is in its part."""
    translator = Translator(exported(mode)[0][0], "cpu")
    manifest = translator.manifest
    to = next(iter(manifest.labels.names), None)
    narrow = np.random.default_rng(0).integers(0, 256, (manifest.min_size, 3, 3), np.uint8)
    wide = np.pad(narrow, ((0, 0), (0, manifest.min_size - 3), (0, 0)), mode="edge")
    assert np.array_equal(translator(narrow, to), translator(wide, to)[:, :3])


def test_the_manifest_tells_what_tiles_and_small_pictures_need(exported):
    told = {}
    for mode in METHODS:
        manifest = Translator(exported(mode)[0][0], "cpu").manifest
        told[mode] = (manifest.size_multiple, manifest.min_size, manifest.reach)
    known = {"pix2pix": (32, 32, None), "cyclegan": (4, 8, 20), "stargan": (4, 4, 23)}
    assert told.items() >= known.items()
    assert told["cut"] == (4, 8, 37)  # antialiased, and bilinear where it doubles


@pytest.mark.parametrize(
    ("mode", "generator", "needs"),
    [
        ("pix2pix", {"name": "resnet", "width": 4, "blocks": 1}, (4, 8, 20)),
        ("cyclegan", {"name": "unet", "width": 4}, (32, 32, None)),
    ],
)
def test_the_manifest_goes_by_the_generator_and_not_by_the_method(
    mode, generator, needs, make_config
):
    config = make_config(mode, generator=generator)
    spec = METHODS[mode](config.method).exports()["ab"]
    manifest = make_manifest(config, "ab", spec, {}, {})
    assert (manifest.size_multiple, manifest.min_size, manifest.reach) == needs
    assert manifest.config["generator"]["name"] == generator["name"]


@pytest.mark.parametrize("mode", METHODS)
def test_pictures_of_a_batch_do_not_touch_each_other(mode, exported, emoji):
    translator = Translator(exported(mode)[0][0], "cpu")
    to = next(iter(translator.manifest.labels.names), None)
    pictures = [images.read(path).pixels for path in find_pictures(emoji / "3d")][:3]
    together = translator(pictures, to=to)
    alone = [translator([picture], to=to)[0] for picture in pictures]
    for first, second in zip(together, alone, strict=True):
        assert np.abs(first.astype(int) - second).max() <= 1


def test_two_directions_become_two_files(exported):
    assert [path.name for path, _ in exported("cyclegan")] == [
        "cyclegan-ab.onnx",
        "cyclegan-ba.onnx",
    ]


def test_manifest_tells_the_training_and_nothing_of_the_machine(exported, trained, emoji):
    [(path, _)] = exported("stargan")
    manifest = Translator(path, "cpu").manifest
    assert manifest.method == "stargan"
    assert manifest.labels.names == ("3d", "flat")
    assert manifest.labels.sets[0].kind == "classes"
    assert (manifest.step, manifest.weights, manifest.trained_size) == (6, "ema", (32, 32))
    assert manifest.config["d_steps"] == 2
    content = path.read_bytes()
    for private in (str(emoji), str(trained("stargan").parent), "site-packages"):
        assert private.encode() not in content


def test_manifest_names_the_feature_networks_of_training_without_their_folders(trained):
    config, method, metadata = load_run(trained("pix2pix"))
    [spec] = method.exports().values()
    secret = "/home/somebody/vgg.onnx"
    mixture = {"name": "mixture", "parts": [{"network": {"name": "projected", "network": secret}}]}
    weights = "/home/somebody/lin.safetensors"
    config = config.with_method(
        perceptual_network=secret, perceptual_weights=weights, discriminator=mixture
    )
    networks = {secret: "1" * 64, "efficientnet-lite0": "2" * 64}
    recorded = {"feature_networks": networks, "feature_weights": {weights: "3" * 64}}
    config = config.model_copy(update=recorded)
    manifest = make_manifest(config, "ab", spec, metadata, {})
    assert manifest.feature_networks == {"vgg.onnx": "1" * 64, "efficientnet-lite0": "2" * 64}
    assert manifest.feature_weights == {"lin.safetensors": "3" * 64}
    assert manifest.config["perceptual_network"] == "vgg.onnx"
    assert manifest.config["perceptual_weights"] == "lin.safetensors"
    [part] = manifest.config["discriminator"]["parts"]
    assert part["network"]["network"] == "vgg.onnx"
    assert "somebody" not in manifest.model_dump_json()


def test_bundle_is_one_valid_file_with_dynamic_batch_height_and_width(exported):
    [(path, _)] = exported("pix2pix")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [part.name for part in model.graph.input] == ["image"]
    for part in (model.graph.input[0], model.graph.output[0]):
        kind = part.type.tensor_type
        assert kind.elem_type == onnx.TensorProto.UINT8
        dims = [dim.dim_param or dim.dim_value for dim in kind.shape.dim]
        assert dims == ["batch", "height", "width", 3]


def test_ema_and_plain_weights_can_be_chosen(trained):
    run = trained("pix2pix")
    ema, plain = load_run(run)[1], load_run(run, "plain")[1]
    pairs = zip(ema.generators.parameters(), plain.generators.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


def test_a_run_without_an_average_says_so(make_config, quiet, tmp_path):
    from img2img.training.loop import train
    from img2img.training.plan import make_plan

    train(make_plan(make_config("pix2pix", steps=1), quiet), tmp_path / "run", quiet)
    with pytest.raises(UsageError, match="has no average"):
        load_run(tmp_path / "run", "ema")


def test_a_direction_that_is_not_there_is_named(trained, quiet):
    with pytest.raises(UsageError, match="no direction ba; it has ab"):
        export_run(trained("pix2pix"), quiet, direction="ba")


def test_a_folder_that_is_no_run_is_refused(tmp_path, quiet):
    with pytest.raises(DataError, match=r"no config\.json"):
        export_run(tmp_path, quiet)


def test_an_export_that_differs_from_torch_is_not_written(trained, quiet, tmp_path, monkeypatch):
    original = trace

    def wrong(spec, size, opset, precision):
        model = original(spec, size, opset, precision)
        for tensor in model.graph.initializer:
            if len(tensor.dims) == 4:
                values = onnx.numpy_helper.to_array(tensor) * 1.5
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        return model

    monkeypatch.setattr("img2img.export.graph.trace", wrong)
    with pytest.raises(Img2ImgError, match="differs from torch by up to"):
        export_run(trained("pix2pix"), quiet, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_a_flipped_bit_of_a_bundle_is_refused_by_name(exported, tmp_path):
    [(path, _)] = exported("pix2pix")
    content, damaged = path.read_bytes(), tmp_path / "m.onnx"
    digits = content.index(b"img2img.sha256") + 30
    for place in (len(content) // 3, len(content) // 2, digits):  # weights, and the checksum
        changed = bytearray(content)
        changed[place] ^= 1
        damaged.write_bytes(changed)
        with pytest.raises(DataError, match=r"m\.onnx is damaged, or was changed.*Export it again"):
            session.load(damaged, "cpu")


def test_weights_that_are_not_finite_are_refused(trained, quiet, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained("pix2pix"), run)
    _, method, metadata = load_run(run)
    with torch.no_grad():
        next(method.generators.parameters()).view(-1)[0] = float("nan")
    checkpoint.save_weights(run / checkpoint.WEIGHTS, method.generators, metadata)
    with pytest.raises(DataError, match=r"weights\.safetensors are not finite \(ab\..*weight\)"):
        export_run(run, quiet)
    assert not (run / "export").exists()


def test_of_two_directions_both_are_replaced_or_none(
    exported, trained, quiet, tmp_path, monkeypatch
):
    traced = iter([onnx.load(path) for path, _ in exported("cyclegan")])
    monkeypatch.setattr(graph, "trace", lambda *arguments: next(traced))
    writes, write = [], graph.write

    def full(model, manifest, path):
        writes.append(path)
        if len(writes) == 4:  # after the two trials, the second of the bundles
            raise OSError(errno.ENOSPC, "No space left on device")
        write(model, manifest, path)

    monkeypatch.setattr(graph, "write", full)
    for name in ("x-ab.onnx", "x-ba.onnx"):
        (tmp_path / name).write_text("old")
    with pytest.raises(OSError, match="No space"):
        export_run(trained("cyclegan"), quiet, tmp_path / "x.onnx")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "x-ab.onnx": "old",
        "x-ba.onnx": "old",
    }


def test_parity_is_measured_on_what_can_still_be_read(tmp_path, emoji):
    def pixels(path):
        return images.read(path, 3).pixels

    (tmp_path / "bad.png").write_bytes(b"")
    files = [tmp_path / "bad.png", next(find_pictures(emoji / "flat"))]
    assert len(parity.pictures_to_compare(files, pixels, Size(32, 32))) == 1
    with pytest.raises(DataError, match="None of the training pictures is left"):
        parity.pictures_to_compare(files[:1], pixels, Size(32, 32))


def test_info_prints_the_manifest_as_json(exported):
    import subprocess
    import sys

    [(path, _)] = exported("pix2pix")
    done = subprocess.run(
        [sys.executable, "-m", "img2img", "info", path, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["method"] == "pix2pix"


@pytest.mark.parametrize("mode", METHODS)
def test_how_near_bf16_comes_is_measured_and_told(mode, exported):
    for path, result in exported(mode):
        assert 20 < result["bf16_psnr_worst"] <= result["bf16_psnr_mean"] < 100
        assert Translator(path, "cpu").manifest.is_near_in_bf16 == (result["bf16_psnr_mean"] >= 45)


@pytest.mark.parametrize("mode", METHODS)
def test_how_near_fp16_comes_is_measured_and_told(mode, exported):
    for path, result in exported(mode):
        assert 20 < result["fp16_psnr_worst"] <= result["fp16_psnr_mean"] < 100
        assert result["fp16_psnr_mean"] > result["bf16_psnr_mean"]  # it has three more digits
        assert Translator(path, "cpu").manifest.is_near_in_fp16 == (result["fp16_psnr_worst"] >= 45)


@pytest.fixture
def export_far(trained, tmp_path, monkeypatch):
    """Exports a model that a format would change by these decibels -> its file, what is shown."""

    def far(precision: str, mean: float, worst: float) -> tuple[Path, str]:
        console = Console(file=io.StringIO(), width=1000)
        measured = {f"{precision}_psnr_mean": mean, f"{precision}_psnr_worst": worst}
        monkeypatch.setattr(parity, f"measure_{precision}", lambda *_: measured)
        [(path, _)] = export_run(trained("pix2pix"), console, tmp_path / "m.onnx")
        return path, console.file.getvalue()

    return far


def test_a_model_that_fp16_would_change_says_so_at_export(export_far):
    path, shown = export_far("fp16", 60.0, 44.0)
    assert "the worst PSNR of fp16 is 44.0 dB" in shown
    assert not Translator(path, "cpu").manifest.is_near_in_fp16
    assert "in fp32: the worst PSNR of fp16 is 44.0 dB (45 are required)" in info(path)


def test_without_openvino_torch_tells_how_near_bf16_comes(exported, trained, emoji, monkeypatch):
    """Within a few dB of what OpenVINO tells: nothing else was rounded."""
    [(path, told)] = exported("pix2pix")
    spec = load_run(trained("pix2pix"))[1].exports()["ab"]
    pictures = [images.read(file).pixels for file in find_pictures(emoji / "flat")][:4]
    monkeypatch.setattr(openvino, "pays_off", lambda: False)
    result = parity.measure_bf16(spec, path, pictures)
    assert result["bf16_psnr_worst"] <= result["bf16_psnr_mean"]
    assert result["bf16_psnr_mean"] == pytest.approx(told["bf16_psnr_mean"], abs=8)


def test_a_model_that_bf16_would_change_says_so_at_export(export_far):
    path, shown = export_far("bf16", 41.2, 36.0)
    assert "the PSNR of bf16 is 41.2 dB" in shown
    assert not Translator(path, "cpu").manifest.is_near_in_bf16
    shown = info(path)
    assert "in fp32: the PSNR of bf16 is 41.2 dB (45 are required)" in shown
    assert "multiples of 32 px, at least 32 px" in shown
    assert "no: each output pixel depends on the whole picture" in shown


def test_info_tells_in_words_what_can_be_tiled(exported):
    shown = info(exported("cyclegan")[0][0])
    assert "yes: each output pixel depends on 20 px around it" in shown
    assert "multiples of 4 px, at least 8 px" in shown


def info(path) -> str:
    result = CliRunner().invoke(app, ["info", str(path)])
    assert result.exit_code == 0
    return " ".join(result.stdout.split())  # lines are broken where the terminal ends
