"""Bundles in half precision and in integers, on real pictures."""

import io
import json
import shutil

import numpy as np
import onnx
import pytest
import tifffile
import torch
from bundles import with_full_weights
from conftest import TINY
from PIL import Image
from rich.console import Console
from torch import nn

from img2img import Translator, images
from img2img.data.sources import Sources
from img2img.errors import Img2ImgError, UsageError
from img2img.export import parity, quantize
from img2img.export.rewrite import SubPixel, Wide, halved, subpixel
from img2img.export.run import _of, export_run
from img2img.files import find_pictures
from img2img.infer.registry import shipped
from img2img.methods import METHODS
from img2img.nets.unet import UNet, UNetConfig
from img2img.sizes import Size
from img2img.training.loop import train
from img2img.training.plan import config_for_data, make_plan

SAMPLE = shipped("quickstart")


def read(path):
    return images.read(path, 3).pixels


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("padding", [1, 3])
def test_a_shuffled_convolution_is_the_transposed_one(padding, bias):
    torch.manual_seed(0)
    transposed = nn.ConvTranspose2d(3, 5, 4, 2, padding, bias=bias).double()
    x = torch.randn(2, 3, 6, 9, dtype=torch.float64)
    assert torch.allclose(SubPixel(transposed).double()(x), transposed(x), atol=1e-12)


def test_a_rewritten_network_is_the_same_function():
    torch.manual_seed(0)
    network = UNet(3, 3, 4, 5, "instance", dropout=False).eval()
    x = torch.rand(1, 3, 64, 32)
    expected = network(x)
    rewritten = subpixel(network)
    assert not any(isinstance(m, nn.ConvTranspose2d) for m in rewritten.modules())
    assert torch.allclose(rewritten(x), expected, atol=1e-5)


def test_norms_stay_wide_in_half_precision():
    network = halved(nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True)))
    assert network[0].weight.dtype == torch.float16
    assert isinstance(network[1], Wide)
    assert network[1].layer.weight.dtype == torch.float32
    # In half, the square of such a deviation would be infinite.
    with torch.no_grad():
        spread = network[1](torch.tensor([[[[-6e4, 6e4]]]], dtype=torch.float16).expand(1, 4, 2, 2))
    assert spread.dtype == torch.float16
    assert spread.abs().max() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("mode", "precision"), [("cyclegan", "fp16"), ("pix2pix", "int8"), ("stargan", "int8")]
)
def test_a_bundle_says_its_precision_and_how_near_it_is(mode, precision, trained, quiet):
    run = trained(mode)
    direction = "ab" if mode == "cyclegan" else None
    [(path, result)] = export_run(run, quiet, direction=direction, precision=precision)
    assert path.stem.endswith(f"-{precision}")
    translator = Translator(path, "cpu")
    assert translator.manifest.precision == precision
    assert translator.manifest.parity == result
    assert result["psnr_worst"] >= parity.WORST_DB[precision]
    to = translator.manifest.labels.names[0] if translator.manifest.labels.sets else None
    assert translator(np.zeros((37, 21, 3), np.uint8), to).shape == (37, 21, 3)
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert ("QuantizeLinear" in operators) == (precision == "int8")


def test_a_precision_that_the_generator_does_not_offer_is_refused(trained, quiet, monkeypatch):
    monkeypatch.setattr(UNetConfig, "precisions", ("fp32", "fp16"))
    with pytest.raises(UsageError, match="unet can't be exported in int8; it can in fp32, fp16"):
        export_run(trained("pix2pix"), quiet, precision="int8")


def test_integers_are_near_and_small_on_a_model_that_has_learned(tmp_path):
    model = with_full_weights(onnx.load(shipped("weights") / "flat-to-3d.onnx"))
    files = list(find_pictures(shipped("quickstart") / "test" / "flat"))
    pictures = parity.pictures_to_compare(files[:6], read, Size(64, 64))[:4]
    feeds = [{"image": picture[None]} for picture in pictures]
    others = [
        {"image": p[None]} for p in parity.pictures_to_compare(files[6:10], read, Size(64, 64))
    ]
    small, left = quantize.quantized(model, feeds, others)
    found = quantize.psnrs(model, small, others)
    assert np.mean(found) >= quantize.MEAN_DB
    assert min(found) >= quantize.WORST_DB
    assert left >= 2
    assert small.ByteSize() < 0.95 * model.ByteSize()


def test_layers_stay_in_float_until_it_is_near_enough(monkeypatch):
    model = onnx.load(shipped("weights") / "flat-to-3d.onnx")
    files = list(find_pictures(shipped("quickstart") / "test" / "flat"))
    feeds, others = (
        [{"image": p[None]} for p in parity.pictures_to_compare(some, read, Size(64, 64))]
        for some in (files[:2], files[2:4])
    )
    rough, few = quantize.quantized(model, feeds, others)
    reached = float(np.mean(quantize.psnrs(model, rough, others)))
    monkeypatch.setattr(quantize, "MEAN_DB", reached + 1)
    near, more = quantize.quantized(model, feeds, others)
    assert more > few
    assert np.mean(quantize.psnrs(model, near, others)) >= reached + 1


@pytest.fixture
def fed(monkeypatch) -> list[tuple[set[bytes], set[bytes]]]:
    """Fills with the pictures that each export calibrates int8 on, and judges it on."""
    calls: list[tuple[set[bytes], set[bytes]]] = []

    def quantized(model, calibration, judged):
        calls.append(
            tuple({feed["image"].tobytes() for feed in feeds} for feeds in (calibration, judged))
        )
        return model, 2

    monkeypatch.setattr(quantize, "quantized", quantized)
    return calls


QUICK = [("pix2pix", False), ("stargan", True)]
LONG = [("pix2pix", True), ("cyclegan", False), ("cyclegan", True), ("stargan", False)]


@pytest.mark.parametrize(
    ("mode", "calibration"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in LONG)],
)
def test_int8_is_judged_on_pictures_that_it_was_not_calibrated_on(
    mode, calibration, fed, trained, emoji, tmp_path
):
    console = Console(file=io.StringIO(), width=1000)
    folder = emoji / "flat" if calibration else None
    export_run(trained(mode), console, tmp_path / "m.onnx", precision="int8", calibration=folder)
    for learned, judged in fed:
        assert learned
        assert judged
        assert not learned & judged
    learned, judged = fed[0]
    assert (
        f"calibrated on {len(learned)} pictures, PSNR measured on {len(judged)} others (16 would"
        in (console.file.getvalue())
    )


def test_int8_is_calibrated_on_the_pages_of_volumes(fed, quiet, tmp_path):
    random = np.random.default_rng(0)
    for side in "ab":
        (tmp_path / side).mkdir()
        for name in "xyz":
            values = random.integers(0, 4096, (3, 40, 40)).astype(np.uint16)
            tifffile.imwrite(tmp_path / side / f"{name}.tif", values, photometric="minisblack")
    values = {
        "name": "pages",
        "mode": "pix2pix",
        "method": {**TINY["pix2pix"], "size": 32, "resize": 36, "steps": 1, "epochs": None},
        "sources": {**{s: tmp_path / s for s in "ab"}, "pages": "each", "neighbors": 1},
        "device": "cpu",
        "workers": 0,
        "eval_every": 0,
    }
    train(make_plan(config_for_data(values, quiet), quiet), tmp_path / "run", quiet)
    more = {"precision": "int8", "calibration": tmp_path / "a"}
    export_run(tmp_path / "run", quiet, tmp_path / "m.onnx", **more)
    [(learned, judged)] = fed
    assert (len(learned), len(judged)) == (6, 3)


def test_int8_is_judged_on_the_held_out_folder_of_the_run(fed, trained, emoji, tmp_path, quiet):
    run = tmp_path / "run"
    shutil.copytree(trained("pix2pix"), run)
    config = json.loads((run / "config.json").read_text())
    test = {}
    for name, style in (("a", "flat"), ("b", "3d")):
        shutil.copytree(SAMPLE / "test" / style, tmp_path / style)
        test[name] = str(tmp_path / style)
    (run / "config.json").write_text(json.dumps(config | {"test": test}))
    export_run(run, quiet, precision="int8")
    [(learned, judged)] = fed
    size = config["method"]["size"]

    def shown(folder):
        return {
            images.resize(read(path), size, size)[None].tobytes() for path in find_pictures(folder)
        }

    assert learned == shown(emoji / "flat")
    assert len(judged) == 16
    assert judged < shown(tmp_path / "flat")


def test_int8_of_one_picture_is_refused(trained, emoji, tmp_path, quiet):
    shutil.copy(next(find_pictures(emoji / "flat")), tmp_path)
    with pytest.raises(UsageError, match="at least two pictures"):
        export_run(trained("pix2pix"), quiet, precision="int8", calibration=tmp_path)


def test_a_precision_that_is_too_far_off_is_refused(tmp_path):
    far = {"psnr_worst": 20.0, "max_levels": 90.0, "mean_levels": 9.0}
    with pytest.raises(Img2ImgError, match=r"20\.0 dB"):
        parity.require(far, tmp_path / "m.onnx", "int8")
    parity.require({**far, "psnr_worst": 45.0}, tmp_path / "m.onnx", "fp16")


def test_of_pairs_side_by_side_int8_sees_the_input_alone(tmp_path):
    (tmp_path / "pairs").mkdir()
    pair = np.zeros((8, 17, 3), np.uint8)
    pair[:, 8:16] = 200
    Image.fromarray(pair).save(tmp_path / "pairs" / "one.png")
    for swap, value in ((False, 0), (True, 200)):
        sources = Sources(pairs=tmp_path / "pairs", swap=swap)
        inputs = _of(METHODS["pix2pix"].open_data(sources, (3, 3)), "ab")
        assert (inputs.read(tmp_path / "pairs" / "one.png") == value).all()


def test_int8_of_a_run_without_its_pictures_wants_others(trained, quiet, tmp_path, emoji):
    run = tmp_path / "run"
    shutil.copytree(trained("pix2pix"), run)
    config = json.loads((run / "config.json").read_text())
    config["sources"] = {}
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="--calibration"):
        export_run(run, quiet, precision="int8")
    [(path, _)] = export_run(run, quiet, precision="int8", calibration=emoji / "flat")
    assert path.exists()
