"""Weights stored in fp16 and computed with in fp32: what is rounded, and what runtimes do."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from bundles import with_full_weights
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from img2img import Run, Translator, images
from img2img.cli import app
from img2img.errors import Img2ImgError, UsageError
from img2img.export import parity
from img2img.export.half_weights import LEAST, fits, with_half_weights
from img2img.export.run import export_run
from img2img.files import find_pictures
from img2img.infer import openvino
from img2img.infer.registry import shipped
from img2img.infer.tile import Tiler

# A U-Net, and a ResNet with transposed convolutions, and a domain that it translates to.
MODELS = {"flat-to-3d": None, "three-styles": "noto"}


def stored(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def convolution(kernel: np.ndarray, operator: str = "Conv") -> onnx.ModelProto:
    """A graph of one convolution by a kernel [C', C, K, K], or transposed by one [C, C', K, K]."""
    tensors = [numpy_helper.from_array(kernel.astype(np.float32), "w")]
    transposed = {"strides": [2, 2]} if operator == "ConvTranspose" else {}
    node = helper.make_node(operator, ["x", "w"], ["y"], pads=[1] * 4, **transposed)
    inner = kernel.shape[0 if transposed else 1]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", inner, "H", "W"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", None, None, None])
    graph = helper.make_graph([node], "g", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture(scope="module", params=MODELS)
def halves(request, tmp_path_factory):
    """A shipped model, and the file of the same model with half weights."""
    original, half = (
        tmp_path_factory.mktemp(name) / f"{request.param}.onnx" for name in ("original", "half")
    )
    model = onnx.load(shipped("weights") / original.name)
    with_full_weights(model)
    onnx.save(model, original)
    onnx.save(with_half_weights(model), half)
    return original, half


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    files = list(find_pictures(shipped("quickstart") / "test" / "flat"))[:4]
    return [images.read(path, 3).pixels for path in files]


def test_a_file_is_half_as_large_and_valid(halves):
    original, half = halves
    assert half.stat().st_size < 0.51 * original.stat().st_size
    onnx.checker.check_model(onnx.load(half), full_check=True)


def inputs(model: Path, picture: np.ndarray) -> dict[str, np.ndarray]:
    """Of a session: the picture, and the domain of a model that has some."""
    domain = Translator(model, "cpu").domain(MODELS[model.stem])
    return {"image": picture[None]} | ({} if domain is None else {"domain": domain[None]})


def test_kernels_are_rounded_and_small_tensors_are_not(halves):
    original, half = (stored(onnx.load(path)) for path in halves)
    for name, weight in original.items():
        if weight.ndim >= 2 and weight.size >= LEAST:  # kernels, and what is folded from them
            assert name not in half
            assert np.array_equal(half[f"{name}.fp16"], weight.astype(np.float16))
        else:  # biases, norms, constants
            assert half[name].dtype == weight.dtype
            assert np.array_equal(half[name], weight)


def test_pictures_differ_by_a_level_here_and_there(halves, pictures):
    one, other = (Translator(path, "cpu") for path in halves)
    to = MODELS[halves[0].stem]
    for picture in pictures:
        difference = one(picture, to).astype(int) - other(picture, to)
        assert np.abs(difference).max() <= 1
        assert parity.psnr(difference) > 65


def test_onnxruntime_computes_as_with_the_rounded_weights_in_fp32(halves, pictures):
    """The cast is gone after loading, so that it costs no time."""
    original, half = halves
    model = onnx.load(original)
    rounded = stored(onnx.load(half))
    for tensor in model.graph.initializer:
        if f"{tensor.name}.fp16" in rounded:
            values = rounded[f"{tensor.name}.fp16"].astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    feed = inputs(half, pictures[0])
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    [expected] = session.run(None, feed)
    [result] = ort.InferenceSession(half, providers=["CPUExecutionProvider"]).run(None, feed)
    assert np.array_equal(result, expected)


def casts(model: onnx.ModelProto) -> int:
    return sum(node.op_type == "Cast" for node in model.graph.node)


def test_onnxruntime_folds_the_casts_when_it_loads_the_file(halves, tmp_path):
    original, half = halves
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(half, options, providers=["CPUExecutionProvider"])
    assert casts(onnx.load(half)) > casts(onnx.load(original))
    assert casts(onnx.load(tmp_path / "optimized.onnx")) == casts(onnx.load(original))


def test_openvino_rewrites_a_transposed_convolution_as_with_fp32(monkeypatch):
    """It only takes kernels that are constants."""
    pytest.importorskip("openvino")
    kernel = np.random.default_rng(0).normal(size=(16, 8, 4, 4))
    x = np.random.default_rng(1).normal(size=(1, 16, 9, 7)).astype(np.float32)
    half = with_half_weights(convolution(kernel, "ConvTranspose"))
    assert casts(half) == 1
    model = openvino.read(half.SerializeToString())
    [result] = openvino.OpenVinoSession(model, 1, exact=True).run(None, {"x": x})
    operators = {node.get_type_name() for node in model.get_ops()}
    assert "DepthToSpace" in operators
    assert not operators & {"ConvolutionBackpropData", "Convert"}
    [expected] = ort.InferenceSession(half.SerializeToString()).run(None, {"x": x})
    assert np.allclose(result, expected, atol=1e-4)


def test_openvino_gives_nearly_the_same_pictures(halves, pictures):
    pytest.importorskip("openvino")
    _, half = halves
    session = openvino.OpenVinoSession(openvino.read(half.read_bytes()), 1, exact=True)
    for picture in pictures:
        [result] = session.run(None, inputs(half, picture))
        expected = Translator(half, "cpu")(picture, MODELS[half.stem])
        assert np.abs(result[0].astype(int) - expected).max() <= 1


def test_tiles_give_the_whole_picture(tmp_path, pictures):
    path = tmp_path / "half.onnx"
    onnx.save(with_half_weights(onnx.load(shipped("weights") / "three-styles.onnx")), path)
    translator = Translator(path, "cpu")
    domain, wide = translator.domain(MODELS["three-styles"]), np.hstack(pictures)
    tiled = Tiler(translator, 32)(wide, domain)
    assert np.abs(tiled.astype(int) - translator(wide, MODELS["three-styles"])).max() <= 1


@pytest.mark.parametrize(
    ("place", "value", "representable"),
    [
        ((), 0.02, True),
        ((0, 0, 0, 0), 65504.0, True),
        ((0, 0, 0, 0), 70000.0, False),  # it would become infinite
        ((0, 0, 0, 0), 1e-9, True),  # beside larger ones, it does not matter
        (3, 0.0, True),
        (3, 1e-6, False),  # an output channel, which a norm may follow
        ((slice(None), 3), 1e-6, False),  # that of a transposed convolution
    ],
)
def test_weights_outside_the_range_of_fp16_stay_in_fp32(place, value, representable):
    kernel = np.full((16, 16, 4, 4), 0.02, np.float32)
    kernel[place] = value
    assert fits(kernel) == representable
    half = with_half_weights(convolution(kernel))
    assert casts(half) == representable
    if not representable:
        assert np.array_equal(stored(half)["w"], kernel)


def test_a_tensor_that_several_layers_share_is_cast_once():
    model = convolution(np.full((16, 16, 3, 3), 0.02))
    model.graph.node.append(helper.make_node("Conv", ["y", "w"], ["z"], pads=[1] * 4))
    model.graph.output[0].name = "z"
    half = with_half_weights(model)
    onnx.checker.check_model(half, full_check=True)
    assert casts(half) == 1


@pytest.mark.parametrize("mode", ["cyclegan", "stargan"])
def test_an_export_says_that_its_weights_are_half(mode, trained, quiet, tmp_path):
    whole = export_run(trained(mode), quiet, tmp_path / "whole.onnx")
    for (path, result), (other, _) in zip(
        export_run(trained(mode), quiet, tmp_path / "half.onnx", half_weights=True),
        whole,
        strict=True,
    ):
        manifest = Translator(path, "cpu").manifest
        assert (manifest.half_weights, manifest.precision) == (True, "fp32")
        assert manifest.parity == result
        assert result["psnr_worst"] >= parity.WORST_DB[parity.HALF_WEIGHTS]
        assert path.stat().st_size < other.stat().st_size
        assert not Translator(other, "cpu").manifest.half_weights


def test_the_command_line_and_info_say_it(trained, tmp_path):
    out = tmp_path / "half.onnx"
    done = CliRunner().invoke(
        app, ["export", str(trained("pix2pix")), "-o", str(out), "--half-weights"]
    )
    assert done.exit_code == 0, done.output
    assert "PSNR" in done.stdout.split("PSNR of bf16")[0]
    shown = CliRunner().invoke(app, ["info", str(out)])
    assert "fp32 (stored in fp16)" in shown.stdout


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_other_precisions_are_refused_by_name(precision, trained):
    with pytest.raises(UsageError, match=f"--half-weights is for --precision fp32: {precision}"):
        Run(trained("pix2pix")).export(precision=precision, half_weights=True, quiet=True)


def test_half_weights_that_are_too_far_off_are_refused(tmp_path):
    near = {"psnr_worst": 49.0, "max_levels": 2.0, "mean_levels": 0.5}
    with pytest.raises(Img2ImgError, match=r"half weights.* 49\.0 dB .*without --half-weights"):
        parity.require(near, tmp_path / "m.onnx", half_weights=True)
    parity.require({**near, "psnr_worst": 51.0}, tmp_path / "m.onnx", half_weights=True)
    with pytest.raises(Img2ImgError, match="2 grey levels"):
        parity.require(near, tmp_path / "m.onnx")
    labels = {**near, "differing": 0.015}
    with pytest.raises(Img2ImgError, match=r"1\.5% of a label map.*without --half-weights"):
        parity.require(labels, tmp_path / "m.onnx", half_weights=True)
