"""OpenVINO as a provider, against onnxruntime on the same bundles."""

import subprocess
import sys
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


@pytest.mark.parametrize("form", [(4, 2, 1), (4, 2, 3), (4, 2, 0), (4, 1, 1), (3, 2, 1), (2, 2, 0)])
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
    [found] = openvino.OpenVinoSession(openvino.read(content), exact=True).run(None, {"x": x})
    assert found.shape == expected.shape
    assert np.allclose(found, expected, atol=1e-5)


def test_a_trained_model_gives_nearly_the_same_pictures(trained, flat):
    """Of any size, since the graph takes any."""
    exact = Translator("flat-to-3d", "cpu")
    wide = images.resize(flat[0], 90, 50)
    for picture in (*flat, wide):
        assert decibels(trained(picture), exact(picture)) > 45


def test_in_full_precision_they_are_the_same_but_for_rounding(trained, flat):
    whole = openvino.OpenVinoSession(openvino.read(trained.path.read_bytes()), exact=True)
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
    with pytest.raises(DataError, match="not one of img2img"):
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
    with pytest.raises(DeviceError, match=r"pip install 'img2img-gan\[openvino\]'"):
        session.load(bundle(), "openvino")
    assert "openvino" not in session.available()


@pytest.mark.parametrize("near", [45.0, 44.9, None])
@pytest.mark.parametrize("faster", [True, False])
def test_auto_takes_it_where_the_processor_has_bf16_and_the_model_stays_near(
    bundle, monkeypatch, faster, near
):
    """As its manifest tells; where that tells nothing it is not taken."""
    monkeypatch.setattr(session, "_has_nvidia_driver", lambda: False)
    monkeypatch.setattr(session.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(openvino, "pays_off", lambda: faster)
    parity = {} if near is None else {"bf16_psnr_mean": near, "bf16_psnr_worst": 50.0}
    path = bundle(parity=parity)
    expected = "openvino" if faster and near == 45 else "cpu"
    assert session.load(path, "auto").provider == expected
    assert session.load(path, "openvino").provider == "openvino"  # as it was asked


def test_what_it_computes_in_is_told(trained, bundle):
    rounded = "bf16" if openvino.pays_off() else "fp32"
    assert trained.precision == rounded
    assert Translator("flat-to-3d", "cpu").precision == "fp32"
    assert Translator("strokes-to-3d", "cpu").precision == "int8"
    mixed = {"bf16": "int8 and bf16", "fp32": "int8"}[rounded]
    assert Translator("strokes-to-3d", "openvino").precision == mixed
    exact = openvino.OpenVinoSession(openvino.read(trained.path.read_bytes()), exact=True)
    assert exact.precision == "fp32"


def test_full_precision_is_computed_where_it_is_wanted(bundle, monkeypatch):
    monkeypatch.setattr(session, "_has_nvidia_driver", lambda: False)
    monkeypatch.setattr(openvino, "pays_off", lambda: True)
    path = bundle(parity={"bf16_psnr_mean": 60.0})
    assert session.load(path, "openvino", precision="fp32").precision == "fp32"
    assert session.load(path, "auto", precision="fp32").provider != "openvino"  # no faster there
    with pytest.raises(DeviceError, match="openvino does not compute in fp16"):
        session.load(path, "openvino", precision="fp16")


def test_kernels_of_few_sizes_are_kept(bundle, monkeypatch):
    """What bounds the memory, which the slow test below measures."""
    settings = []
    compile_model = openvino._core().compile_model

    class Core:
        def compile_model(self, *arguments):
            settings.append(arguments[-1])
            return compile_model(*arguments)

    monkeypatch.setattr(openvino, "_core", Core)
    openvino.OpenVinoSession(openvino.read(bundle().read_bytes()))
    assert settings[0]["CPU_RUNTIME_CACHE_CAPACITY"] == openvino.KERNELS


@pytest.mark.slow
def test_memory_is_bounded_however_many_sizes_come():
    """300 sizes warm it up; 700 others may add a tenth."""
    code = """
import numpy as np, psutil
from img2img import Translator
translator, held = Translator("flat-noto-ab", "openvino", threads=1), []
sizes = np.random.default_rng(0).permutation([(h, w) for h in range(40, 72) for w in range(40, 72)])
for number, (height, width) in enumerate(sizes[:1000]):
    translator(np.zeros((height, width, 3), np.uint8))
    if number in (300, 999):
        held.append(psutil.Process().memory_info().rss)
print(held[1] / held[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.1


def test_auto_goes_on_to_onnxruntime_where_openvino_can_not_run_the_graph(bundle, monkeypatch):
    near = {"bf16_psnr_mean": 60.0}
    good, bad = bundle("good.onnx", parity=near), unknown_operator(bundle("bad.onnx"))
    monkeypatch.setattr(session, "_has_nvidia_driver", lambda: False)
    monkeypatch.setattr(openvino, "pays_off", lambda: True)
    read, content = openvino.read, bad.read_bytes()
    # Given a graph that it does not know, as one with a newer operator is.
    monkeypatch.setattr(openvino, "read", lambda _: read(content))
    assert session.load(good, "auto").provider != "openvino"


def test_a_broken_installation_does_not_pay_off(monkeypatch):
    def broken():
        raise ImportError("libopenvino.so: cannot open shared object file")

    monkeypatch.setattr(openvino, "_core", broken)
    assert not openvino.pays_off()
