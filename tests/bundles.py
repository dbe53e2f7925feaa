"""Bundles made by hand, so that nothing here needs torch."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from img2img import checksum
from img2img.infer.translator import Translator
from img2img.intensity import Intensity
from img2img.manifest import METADATA_KEY, Labels, Manifest

OFFSETS = (10.0, 20.0, 40.0, 80.0, 0.0, 0.0)  # what each part of a label adds to every pixel

Bundle = Callable[..., Path]


def make_bundle(
    path: Path,
    name: str = "invert",
    channels: int = 3,
    labels: Labels = Labels(),
    only_size: tuple[int, int] | None = None,
    manifest: bool = True,
    multiple: int = 1,
    min_size: int = 1,
    reach: int | None = None,
    parity: dict[str, float] | None = None,
) -> Path:
    """255 - x without labels; with them x plus the offsets of the domains that are wanted."""
    shape = ["N", *(only_size or ("H", "W")), channels]
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)]
    constants = {"top": np.float32(255), "bottom": np.float32(0)}
    nodes = [helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT)]
    if labels.sets:
        inputs.append(
            helper.make_tensor_value_info("domain", TensorProto.FLOAT, ["N", labels.width])
        )
        constants["offsets"] = np.array(OFFSETS[: labels.width], np.float32)[:, None]
        constants["per_picture"] = np.array([-1, 1, 1, 1], np.int64)
        nodes += [
            helper.make_node("MatMul", ["domain", "offsets"], ["shift"]),
            helper.make_node("Reshape", ["shift", "per_picture"], ["shift4"]),
            helper.make_node("Add", ["x", "shift4"], ["y"]),
        ]
    else:
        nodes.append(helper.make_node("Sub", ["top", "x"], ["y"]))
    nodes += [
        helper.make_node("Clip", ["y", "bottom", "top"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], ["translated"], to=TensorProto.UINT8),
    ]
    output = helper.make_tensor_value_info("translated", TensorProto.UINT8, shape)
    initial = [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, [output], initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    if manifest:
        said = {
            "name": name,
            "method": "stargan" if labels.sets else "pix2pix",
            "direction": "to" if labels.sets else "ab",
            "in_channels": channels,
            "out_channels": channels,
            "size_multiple": multiple,
            "min_size": min_size,
            "reach": reach,
            "parity": parity or {},
            "trained_size": 8,
            "labels": labels.model_dump(),
        }
        helper.set_model_props(model, {METADATA_KEY: json.dumps(said)})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    """bundle("weights/m.onnx", ...) writes a model below the test's folder."""
    return lambda relative="invert.onnx", **options: make_bundle(tmp_path / relative, **options)


@pytest.fixture(scope="session")
def invert(tmp_path_factory) -> Translator:
    """255 - x, any size, three channels."""
    return Translator(make_bundle(tmp_path_factory.mktemp("m") / "invert.onnx"), "cpu", threads=1)


@pytest.fixture(scope="session")
def classes(tmp_path_factory) -> Translator:
    """One of three domains, which add 10, 20 and 40."""
    path = tmp_path_factory.mktemp("m") / "classes.onnx"
    names = ("dawn", "noon", "dusk")
    labels = Labels(sets=[{"kind": "classes", "domains": names}])
    made = make_bundle(path, name="classes", labels=labels)
    return Translator(made, "cpu", threads=1)


@pytest.fixture(scope="session")
def joint(tmp_path_factory) -> Translator:
    """Two attributes and two classes of two data sets, which add 10, 20, 40 and 80."""
    sets = [
        {"kind": "attributes", "domains": ("hat", "smile")},
        {"kind": "classes", "domains": ("dawn", "dusk")},
    ]
    made = make_bundle(tmp_path_factory.mktemp("m") / "joint.onnx", labels=Labels(sets=sets))
    return Translator(made, "cpu", threads=1)


@pytest.fixture(scope="session")
def attributes(tmp_path_factory) -> Translator:
    """Any of three attributes, which add 10, 20 and 40."""
    path = tmp_path_factory.mktemp("m") / "attributes.onnx"
    names = ("hat", "smile", "glasses")
    labels = Labels(sets=[{"kind": "attributes", "domains": names}])
    made = make_bundle(path, name="attributes", labels=labels)
    return Translator(made, "cpu", threads=1)


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    """noise(seed, height, width): a picture that no other seed gives."""

    def make(seed: int = 0, height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)

    return make


@pytest.fixture
def save() -> Callable[..., Path]:
    """save(path, pixels, **options of Pillow's save) makes the folders, too."""

    def write(path: Path, pixels: np.ndarray, **options) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, **options)
        return path

    return write


def make_identity(path: Path, intensity: Intensity, reach: int | None = None) -> Path:
    """x, of pictures that are not photographs."""
    return make_between(path, intensity, intensity, reach)


def make_between(
    path: Path,
    source: Intensity | None,
    target: Intensity | None,
    reach: int | None = None,
    name: str = "same",
    multiple: int = 1,
    min_size: int = 1,
) -> Path:
    """x in another type; uint8, of a photograph, without a source or without a target."""
    channels = len((source or target).bands)
    types = [side.dtype if side else "uint8" for side in (source, target)]
    kinds = [helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name in types]
    image, output = (
        helper.make_tensor_value_info(which, kind, ["N", "H", "W", channels])
        for which, kind in zip(("image", "translated"), kinds, strict=True)
    )
    nodes = [helper.make_node("Cast", ["image"], ["translated"], to=kinds[1])]
    graph = helper.make_graph(nodes, "same", [image], [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    described = Manifest(
        name=name,
        method="pix2pix",
        direction="ab",
        in_channels=channels,
        out_channels=channels,
        intensity_in=source,
        intensity_out=target,
        size_multiple=multiple,
        min_size=min_size,
        reach=reach,
        trained_size=8,
    )
    helper.set_model_props(model, {METADATA_KEY: described.model_dump_json()})
    path.write_bytes(model.SerializeToString())
    return path


def with_full_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model with half weights, changed in place: it gets fp32 ones, moved by up to a quarter
    of the spacing of fp16, which represents none of them.
    """
    random = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if tensor.name.endswith(".fp16"):
            weight = numpy_helper.to_array(tensor).astype(np.float32)
            weight *= 1 + random.uniform(2.0**-14, 2.0**-13, weight.shape).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name.removesuffix(".fp16")))
    nodes = [node for node in model.graph.node if not node.name.endswith(".cast")]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    properties = {each.key: each.value for each in model.metadata_props}
    properties.pop(checksum.KEY, None)  # it was of the other weights
    onnx.helper.set_model_props(model, properties)
    return model
