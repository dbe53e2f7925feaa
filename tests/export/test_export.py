"""Exported bundles of tiny trained runs, on real pictures."""

import json

import numpy as np
import onnx
import pytest
import torch

from img2img import Translator, images
from img2img.errors import DataError, Img2ImgError, UsageError
from img2img.export import parity
from img2img.export.graph import Pixels, load_run, trace
from img2img.export.run import export_run
from img2img.files import find_pictures
from img2img.methods import METHODS


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
    assert (manifest.step, manifest.weights, manifest.trained_size) == (6, "ema", 32)
    assert manifest.config["d_steps"] == 2
    content = path.read_bytes()
    for private in (str(emoji), str(trained("stargan").parent), "site-packages"):
        assert private.encode() not in content


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
    from img2img.train.loop import train
    from img2img.train.plan import make_plan

    train(make_plan(make_config("pix2pix", steps=1), quiet), tmp_path / "run", quiet)
    with pytest.raises(UsageError, match="kept no average"):
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


def test_parity_is_measured_on_what_can_still_be_read(tmp_path, emoji):
    def pixels(path):
        return images.read(path, 3).pixels

    (tmp_path / "bad.png").write_bytes(b"")
    files = [tmp_path / "bad.png", next(find_pictures(emoji / "flat"))]
    assert len(parity.test_pictures(files, pixels, 32)) == 1
    with pytest.raises(DataError, match="no training picture left"):
        parity.test_pictures(files[:1], pixels, 32)


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
