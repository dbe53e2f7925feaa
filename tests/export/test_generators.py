"""Every way of building a generator, exported: parity, precisions, runtimes, operators."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from img2img.export import quantize
from img2img.export.graph import Pixels, trace
from img2img.infer import openvino
from img2img.infer.half import in_half
from img2img.manifest import Labels
from img2img.methods.base import ExportSpec
from img2img.nets.attention_unet import AttentionUNetConfig
from img2img.nets.generator import GeneratorConfig
from img2img.nets.init import initialize
from img2img.nets.modulated import ModulatedConfig
from img2img.nets.resnet import ResNetConfig
from img2img.nets.stargan import StarGeneratorConfig
from img2img.nets.unet import UNetConfig
from img2img.sizes import Size

SIZE = Size(32, 32)
# What the graphs of the papers' networks consist of, and what all backends of onnxruntime in a
# browser have beside it.
OPERATORS = {
    *("Add", "Cast", "Clip", "Concat", "Conv", "ConvTranspose", "DepthToSpace", "Div", "Expand"),
    *("InstanceNormalization", "LeakyRelu", "Max", "Mod", "Mul", "Neg", "Pad", "Relu", "Reshape"),
    *("Resize", "Round", "Shape", "Slice", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze"),
    *("Gemm", "MatMul", "ReduceMean", "Reciprocal", "Sigmoid", "Softmax", "Split", "Sqrt"),
}
ROWS: dict[str, GeneratorConfig] = {
    "unet": UNetConfig(width=8, levels=4, norm="instance", dropout=False),
    "resnet": ResNetConfig(width=8, blocks=1),
    "stargan": StarGeneratorConfig(width=8, blocks=1),
    "attention-unet": AttentionUNetConfig(width=8, levels=2),
    "modulated": ModulatedConfig(width=8, blocks=1),
}
CASES = [
    ("unet", {"upsample": "nearest", "residual": "plain"}),
    ("unet", {"upsample": "subpixel", "residual": "gated"}),
    ("unet", {"upsample": "bilinear", "antialias": True}),
    ("resnet", {"upsample": "nearest", "residual": "gated"}),
    ("resnet", {"upsample": "subpixel", "residual": "plain"}),
    ("stargan", {"upsample": "bilinear", "residual": "gated", "antialias": True}),
    ("attention-unet", {"upsample": "nearest", "residual": "gated", "antialias": True}),
    ("modulated", {"upsample": "nearest", "residual": "gated"}),
    ("modulated", {"upsample": "subpixel"}),
    ("unet", {"upsample": "nearest", "padding": "replicate"}),
    ("unet", {"upsample": "bilinear", "padding": "replicate", "residual": "gated"}),
    ("resnet", {"upsample": "nearest", "padding": "reflect"}),
    ("attention-unet", {"upsample": "bilinear", "padding": "replicate"}),
    ("modulated", {"upsample": "nearest", "padding": "replicate"}),
]
LABELS = Labels(sets=[{"kind": "classes", "domains": ("dawn", "dusk")}])


def feed(spec: ExportSpec, seed: int, height: int = 32, width: int = 32) -> dict[str, np.ndarray]:
    """The inputs of a graph: a picture of noise, and a domain if it takes one."""
    image = np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), np.uint8)
    domain = {"domain": LABELS.vector(0, {"dusk"})[None]} if spec.labels.sets else {}
    return {"image": image, **domain}


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request) -> tuple[ExportSpec, onnx.ModelProto]:
    """An export of a network whose weights are all different from 0, and its graph."""
    name, settings = request.param
    row = ROWS[name].model_copy(update=settings)
    labels = LABELS if row.conditional else Labels()
    network = row.build(SIZE, 3, 3, labels.width)
    torch.manual_seed(0)
    initialize(network, "normal")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    spec = ExportSpec(network, 3, 3, labels)
    return spec, trace(spec, SIZE)


@pytest.mark.parametrize("size", [(32, 32), (37, 50), (5, 21)])
def test_the_graph_gives_what_torch_gives(case, size):
    spec, model = case
    session = ort.InferenceSession(model.SerializeToString())
    inputs = feed(spec, 0, *size)
    [result] = session.run(None, inputs)
    with torch.no_grad():
        expected = Pixels(spec).eval()(*map(torch.from_numpy, inputs.values())).numpy()
    assert result.shape == expected.shape == (1, *size, 3)
    assert np.abs(result.astype(int) - expected).max() <= 1
    assert np.abs(result.astype(int) - inputs["image"]).mean() > 1  # it is not the identity


def test_browsers_have_its_operators(case):
    assert {node.op_type for node in case[1].graph.node} <= OPERATORS


def test_interpolation_of_the_nearest_pixel_costs_no_more_than_transposed_convolutions():
    settings = {"upsample": "nearest"}
    operators = []
    for row in (ROWS["unet"], ROWS["unet"].model_copy(update=settings)):
        model = trace(ExportSpec(row.build(SIZE, 3, 3), 3, 3), SIZE)
        operators.append([node.op_type for node in model.graph.node])
    assert operators[0] == operators[1]


def test_integers_are_near(case):
    spec, _ = case
    model = trace(spec, SIZE, precision="int8")
    feeds = [feed(spec, seed) for seed in range(6)]
    small, _ = quantize.quantized(model, feeds[:4], feeds[4:])
    assert "QuantizeLinear" in {node.op_type for node in small.graph.node}
    assert min(quantize.psnrs(model, small, feeds[4:])) >= quantize.WORST_DB


def test_half_precision_is_near(case):
    spec, model = case
    half = trace(spec, SIZE, precision="fp16")
    assert min(quantize.psnrs(model, half, [feed(spec, 1)])) > 45


def test_a_graph_that_a_gpu_converts_is_near_and_computes_in_half(case):
    spec, model = case
    half = onnx.load_from_string(in_half(model.SerializeToString()))
    onnx.checker.check_model(half)
    assert min(quantize.psnrs(model, half, [feed(spec, 1)])) > 45
    kernels = {node.input[1] for node in half.graph.node if node.op_type == "Conv"}
    stored = {t.name: t.data_type for t in half.graph.initializer if t.name in kernels}
    assert set(stored.values()) == {onnx.TensorProto.FLOAT16}


def test_openvino_gives_the_same(case):
    pytest.importorskip("openvino")
    spec, model = case
    content, inputs = model.SerializeToString(), feed(spec, 2, 40, 33)
    session = openvino.OpenVinoSession(openvino.read(content), 1, exact=True)
    [expected] = ort.InferenceSession(content).run(None, inputs)
    [result] = session.run(None, inputs)
    assert np.abs(result.astype(int) - expected).max() <= 1
