"""OpenVINO as a provider, against onnxruntime on the same bundles."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from img2img import images
from img2img.errors import DataError, DeviceError
from img2img.files import find_pictures
from img2img.infer import openvino, session
from img2img.infer.registry import shipped
from img2img.infer.translator import Translator
from img2img.manifest import Labels

openvino_package = pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def flat() -> list[np.ndarray]:
    """Real pictures that the shipped model takes, uint8 [64, 64, 3]."""
    files = list(find_pictures(shipped("quickstart") / "test" / "flat"))[:6]
    return [images.read(path).pixels for path in files]


@pytest.fixture(scope="module")
def trained() -> Translator:
    return Translator("flat-to-3d", "openvino")


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean()))


def transposed(kernel: int, stride: int, padding: int, **others) -> bytes:
    """A graph of one transposed convolution with a bias, 3 channels to 2."""
    rng = np.random.default_rng(0)
    values = {
        "w": rng.normal(size=(3, 2, kernel, kernel)).astype(np.float32),
        "b": np.array([0.5, -2], np.float32),
    }
    pads = {} if "auto_pad" in others or "output_shape" in others else {"pads": [padding] * 4}
    node = helper.make_node(
        "ConvTranspose", ["x", "w", "b"], ["y"], strides=[stride] * 2, **pads, **others
    )
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2, None, None])
    initial = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph([node], "g", [x], [y], initial)
    opset = helper.make_opsetid("", 20)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()


@pytest.mark.parametrize("form", [(4, 2, 1), (4, 2, 0), (4, 1, 1), (3, 2, 1), (2, 2, 0)])
@pytest.mark.parametrize(
    "others",
    [
        {},
        {"output_padding": [1, 1]},
        {"dilations": [2, 2]},
        {"auto_pad": "SAME_UPPER"},
        {"auto_pad": "SAME_LOWER"},
        {"output_shape": [11, 15]},
    ],
)
def test_transposed_convolutions_give_what_they_gave(form, others):
    """That of a U-Net, which is rewritten, and those that look like it."""
    content = transposed(*form, **others)
    x = np.random.default_rng(1).normal(size=(2, 3, 5, 7)).astype(np.float32)
    plain = openvino_package.Core()
    settings = {"EXECUTION_MODE_HINT": "ACCURACY"}
    [expected] = plain.compile_model(plain.read_model(content), "CPU", settings)([x]).values()
    if not others:  # they differ in what the others mean
        [theirs] = ort.InferenceSession(content).run(None, {"x": x})
        assert np.allclose(theirs, expected, atol=1e-5)
    [found] = openvino.OpenVinoSession(content, exact=True).run(None, {"x": x})
    assert found.shape == expected.shape
    assert np.allclose(found, expected, atol=1e-5)


def test_a_trained_model_gives_nearly_the_same_pictures(trained, flat):
    """Of any size, since the graph takes any."""
    exact = Translator("flat-to-3d", "cpu")
    wide = images.resize(flat[0], 90, 50)
    for picture in (*flat, wide):
        assert decibels(trained(picture), exact(picture)) > 45


def test_in_full_precision_they_are_the_same_but_for_rounding(trained, flat):
    whole = openvino.OpenVinoSession(trained.path.read_bytes(), exact=True)
    exact = Translator("flat-to-3d", "cpu")
    for picture in flat:
        found = whole.run(None, {"image": picture[None]})[0][0]
        assert np.abs(found.astype(int) - exact(picture)).max() <= 1


def test_a_list_gives_what_one_by_one_gives(trained, flat):
    for together, alone in zip(trained(flat), map(trained, flat), strict=True):
        assert np.array_equal(together, alone)


def test_several_threads_may_call_one(trained, flat):
    alone = [trained(picture) for picture in flat]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for expected, found in zip(alone, pool.map(trained, flat), strict=True):
                assert np.array_equal(found, expected)


def test_the_manifest_is_read(trained, bundle):
    assert trained.provider == "openvino"
    assert trained.manifest.method == "pix2pix"
    with pytest.raises(DataError, match="not an img2img bundle"):
        session.load(bundle(manifest=False), "openvino")


@pytest.mark.parametrize("kind", ["classes", "attributes"])
def test_domains_and_attributes_are_taken(bundle, noise, kind):
    labels = Labels(sets=[{"kind": kind, "domains": ("dawn", "noon", "dusk")}])
    path = bundle(f"{kind}.onnx", labels=labels)
    picture = noise()
    for to in (*labels.names, *(["dawn,dusk"] if kind == "attributes" else [])):
        expected = Translator(path, "cpu")(picture, to)
        assert np.array_equal(Translator(path, "openvino")(picture, to), expected)


def unknown_operator(path: Path) -> Path:
    """What OpenVINO refuses by an error of its own, and onnxruntime, too."""
    model = onnx.load(path)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("content", [b"", b"hello", bytes(1000), transposed(4, 2, 1)[:-40]])
def test_what_is_no_model_is_refused_without_noise(tmp_path, capfd, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    for provider in ("openvino", "auto"):
        with pytest.raises(DataError):
            session.load(path, provider)
    assert capfd.readouterr() == ("", "")


def test_an_operator_that_it_does_not_know_is_a_data_error(bundle):
    path = unknown_operator(bundle())
    with pytest.raises(DataError, match=r"OpenVINO can't run .*NoSuchOperator"):
        session.load(path, "openvino")


def test_without_the_package_it_says_what_to_install(bundle, monkeypatch):
    monkeypatch.setattr(openvino, "is_installed", lambda: False)
    with pytest.raises(DeviceError, match=r"pip install 'img2img\[openvino\]'"):
        session.load(bundle(), "openvino")
    assert "openvino" not in session.available()


@pytest.mark.parametrize("faster", [True, False])
def test_auto_takes_it_where_the_processor_has_bf16(bundle, monkeypatch, faster):
    monkeypatch.setattr(session, "_has_nvidia_driver", lambda: False)
    monkeypatch.setattr(session.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(openvino, "pays_off", lambda: faster)
    assert session.load(bundle(), "auto").provider == ("openvino" if faster else "cpu")


def test_auto_goes_on_to_onnxruntime_where_openvino_can_not_run_the_graph(bundle, monkeypatch):
    good, bad = bundle("good.onnx"), unknown_operator(bundle("bad.onnx"))
    ours = openvino.OpenVinoSession  # given a graph that it does not know, as a newer operator is
    monkeypatch.setattr(session, "_has_nvidia_driver", lambda: False)
    monkeypatch.setattr(openvino, "pays_off", lambda: True)
    monkeypatch.setattr(openvino, "OpenVinoSession", lambda *_: ours(bad.read_bytes()))
    assert session.load(good, "auto").provider != "openvino"


def test_a_broken_installation_does_not_pay_off(monkeypatch):
    def broken():
        raise ImportError("libopenvino.so: cannot open shared object file")

    monkeypatch.setattr(openvino, "_core", broken)
    assert not openvino.pays_off()
