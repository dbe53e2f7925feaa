"""Loading bundles on the provider that really binds, and refusing what is no bundle."""

import ctypes
import hashlib
import os
import sys

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from img2img.errors import DataError, DeviceError, UsageError
from img2img.infer import onnx_file, session
from img2img.infer.registry import shipped


def has_driver() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


without_driver = pytest.mark.skipif(has_driver(), reason="this machine has an NVIDIA driver")


def test_a_bundle_is_loaded_with_its_manifest_and_hash(bundle):
    path = bundle(name="tiny")
    model = session.load(path, "cpu")
    assert model.manifest.name == "tiny"
    assert model.provider == "cpu"
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.session.get_providers() == ["CPUExecutionProvider"]
    assert (model.session.run(None, {"image": np.zeros((1, 2, 3, 3), np.uint8)})[0] == 255).all()


@pytest.mark.parametrize("content", [b"", b"hello", bytes(1000), b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_what_is_no_onnx_model_is_refused_without_noise(tmp_path, capfd, content):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        session.load(path, "cpu")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_truncated_bundle_is_refused(bundle):
    path = bundle()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError):
        session.load(path, "cpu")


def test_a_foreign_model_without_a_manifest_is_refused(bundle):
    with pytest.raises(DataError, match="not one of img2img"):
        session.load(bundle(manifest=False), "cpu")


def test_a_missing_model_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(DataError, match="can't be read"):
            session.load(path, "cpu")


@pytest.mark.skipif(os.name == "nt", reason="needs sparse files")
def test_a_file_too_large_for_onnx_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(DataError, match="larger than an ONNX file can be"):
        session.load(path, "cpu")


def with_external_weights(location: str, form: str) -> bytes:
    """A model whose weights are four numbers in another file, told in one of the forms that
    protobuf reads: its fields may come in any order, its lengths may end in zeros.
    """

    def as_field(value: str) -> bytes:
        return b"\x12" + bytes([len(value)]) + value.encode()

    given = f"./{location}" if form == "overlong" else location  # two bytes to spare
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=given)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    node = helper.make_node("Identity", ["w"], ["y"])
    graph = helper.make_graph([node], "g", [], [output], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    content = model.SerializeToString()
    key, field = b"\x0a\x08location", as_field(given)
    assert key + field in content
    if form == "swapped":
        content = content.replace(key + field, field + key)
    elif form == "overlong":
        hidden = b"\x0a\x88\x80\x00location" + as_field(location)
        content = content.replace(key + field, hidden)
    [entry] = onnx.load_from_string(content).graph.initializer[0].external_data
    assert (entry.key, entry.value) == ("location", location)
    return content


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
@pytest.mark.parametrize("form", ["as written", "swapped", "overlong"])
@pytest.mark.parametrize("where", ["weights.bin", "../weights.bin", "absolute"])
def test_weights_in_other_files_are_refused_without_noise(
    tmp_path, monkeypatch, capfd, where, form, provider
):
    if provider not in session.available():
        pytest.skip("it is not installed")
    (tmp_path / "models").mkdir()
    for folder in (tmp_path, tmp_path / "models"):
        (folder / "weights.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    monkeypatch.chdir(tmp_path / "models")
    location = str(tmp_path / "weights.bin") if where == "absolute" else where
    path = tmp_path / "models" / "m.onnx"
    path.write_bytes(with_external_weights(location, form))
    with pytest.raises(DataError, match="weights in other files"):
        session.load(path, provider)
    assert capfd.readouterr() == ("", "")


def endless(kind: str) -> bytes:
    """A model with an endless loop: in its graph, in a branch of it, in a function, in the default
    of a function's attribute, or under a name whose length is written in two bytes.
    """

    def value(name: str, dtype: int = TensorProto.BOOL) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, dtype, [])

    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [value("i", TensorProto.INT64), value("go")],
        [value("on")],
    )
    yes = onnx.numpy_helper.from_array(np.array(True), "yes")
    nodes = [helper.make_node("Loop", ["", "yes"], [], body=body)]
    functions = []
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    if kind == "branch":
        both = {
            f"{name}_branch": helper.make_graph(
                [*nodes, helper.make_node("Identity", ["yes"], [f"{name}_out"])],
                name, [], [value(f"{name}_out")],
            )
            for name in ("then", "else")
        }  # fmt: skip
        nodes = [helper.make_node("If", ["yes"], ["unused"], **both)]
    elif kind == "function":
        made = helper.make_function("own", "Endless", ["yes"], ["same"], [
            *nodes, helper.make_node("Identity", ["yes"], ["same"])], opsets[:1])  # fmt: skip
        functions = [made]
        nodes = [helper.make_node("Endless", ["yes"], ["unused"], domain="own")]
    elif kind == "default":
        default = helper.make_graph(
            [*nodes, helper.make_node("Identity", ["yes"], ["out"])], "default", [], [value("out")]
        )
        branch = helper.make_node("If", ["yes"], ["same"])
        for name in ("then_branch", "else_branch"):
            branch.attribute.add(name=name, ref_attr_name="which", type=onnx.AttributeProto.GRAPH)
        made = helper.make_function("own", "Endless", ["yes"], ["same"], [branch], opsets[:1],
            attribute_protos=[helper.make_attribute("which", default)])  # fmt: skip
        functions = [made]
        nodes = [helper.make_node("Endless", ["yes"], ["unused"], domain="own")]
    nodes.append(helper.make_node("Identity", ["yes"], ["y"]))
    graph = helper.make_graph(nodes, "g", [], [value("y")], [yes])
    model = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)
    content = model.SerializeToString()
    if kind != "overlong":
        return content
    # Two bytes that hold the same length; the node's is one more, and so is the graph's.
    node = nodes[0].SerializeToString()
    longer = node.replace(b"\x22\x04Loop", b"\x22\x84\x00Loop")
    inner = graph.SerializeToString()

    def size(number: int) -> bytes:
        return bytes([number]) if number < 128 else bytes([number % 128 + 128, number // 128])

    outer = inner.replace(b"\x0a" + size(len(node)) + node, b"\x0a" + size(len(longer)) + longer)
    return content.replace(b"\x3a" + size(len(inner)) + inner, b"\x3a" + size(len(outer)) + outer)


@pytest.mark.parametrize("kind", ["graph", "branch", "function", "default", "overlong"])
def test_a_model_that_could_run_without_end_is_refused(tmp_path, kind):
    path = tmp_path / "m.onnx"
    path.write_bytes(endless(kind))
    operators = onnx_file.operators(onnx_file.parse(path.read_bytes()))
    assert "Loop" in operators
    for opened in (session.read, session.open_session, session.manifest):
        with pytest.raises(DataError, match=r"has loops \(Loop\), which could run without end"):
            opened(path)


def test_the_name_of_a_loop_in_other_places_is_no_loop(bundle):
    path = bundle()
    model = onnx.load(path)
    model.graph.name = "Loop"
    path.write_bytes(model.SerializeToString())
    assert b"\x04Loop" in path.read_bytes()
    assert session.manifest(path).name == "invert"


def test_what_could_hide_a_loop_because_it_is_no_onnx_is_refused(bundle, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x04Loop")
    with pytest.raises(DataError, match=r"m\.onnx is not an ONNX model"):
        session.read(path)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "m.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(bundle(), options, providers=["CPUExecutionProvider"])
    path.write_bytes((tmp_path / "m.ort").read_bytes())
    ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])  # by any name
    with pytest.raises(DataError, match=r"m\.onnx is in onnxruntime's format"):
        session.read(path)


@without_driver
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_provider_without_a_driver_is_a_device_error_without_noise(bundle, capfd, provider):
    with pytest.raises(DeviceError) as caught:
        session.load(bundle(), provider)
    assert caught.value.exit_code == 4
    assert provider in str(caught.value)
    assert capfd.readouterr() == ("", "")


@without_driver
def test_auto_falls_back_to_the_cpu_without_noise(bundle, capfd):
    model = session.load(bundle(), "auto")
    assert model.provider in ("cpu", "coreml", "directml", "openvino")
    assert capfd.readouterr() == ("", "")


@without_driver
@pytest.mark.skipif("cuda" not in session.available(), reason="an onnxruntime without CUDA")
def test_a_driver_without_its_libraries_is_told_in_one_line_once(bundle, capfd, monkeypatch):
    session._tell_once.cache_clear()
    monkeypatch.setattr(session, "_has_nvidia_driver", lambda: True)
    for _ in range(2):
        assert session.load(bundle(), "auto").provider in ("cpu", "openvino")
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("img2img: cuda does not work here (")
    assert err.endswith("img2img doctor\n")
    assert err.count("\n") == 1


def test_a_provider_that_this_onnxruntime_lacks_is_a_device_error(bundle):
    missing = next(name for name in session.PROVIDERS if name not in session.available())
    with pytest.raises(DeviceError, match=f"{missing} does not work.*does not have it, but cpu"):
        session.load(bundle(), missing)


def test_an_unknown_provider_is_refused_with_the_known_ones(bundle):
    with pytest.raises(UsageError, match=r"no provider quantum\. Choose one of: auto, cpu, cuda"):
        session.load(bundle(), "quantum")


def test_the_cpu_is_always_available():
    assert "cpu" in session.available()


def test_the_threads_asked_for_are_used_and_by_default_the_cores_there_are(bundle):
    path = bundle()

    def threads(*asked: int) -> int:
        loaded = session.load(path, "cpu", *asked)
        return loaded.session.get_session_options().intra_op_num_threads

    assert threads(1) == 1
    assert threads(3) == 3
    if hasattr(os, "sched_getaffinity"):
        assert threads() == len(os.sched_getaffinity(0))


def test_a_gpu_does_not_search_again_for_every_size_and_keeps_its_engines(tmp_path, monkeypatch):
    """What onnxruntime is asked for; whether it binds only a machine with a card can tell."""
    monkeypatch.setattr(session, "cache_folder", lambda: tmp_path)
    [(name, options)] = session._providers("cuda", b"a model")
    expected = {"cudnn_conv_algo_search": "HEURISTIC", "prefer_nhwc": "0"}
    assert (name, options) == ("CUDAExecutionProvider", expected)
    (name, options), (after, _) = session._providers("tensorrt", b"a model")
    assert (name, after) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert os.path.isdir(options["trt_engine_cache_path"])
    assert options["trt_engine_cache_enable"] == "1"
    other, _ = session._providers("tensorrt", b"the same graph with other weights")
    assert other[1]["trt_engine_cache_path"] != options["trt_engine_cache_path"]


FAR, NEAR = {"fp16_psnr_mean": 60.0, "fp16_psnr_worst": 44.9}, {"fp16_psnr_worst": 45.0}


@pytest.fixture
def card(monkeypatch) -> list[tuple[list, bytes]]:
    """A stand-in for a machine with a GPU, whose sessions run on the CPU. Fills with the providers
    and the graphs that sessions were created with.
    """
    made: list[tuple[list, bytes]] = []
    create = session.ort.InferenceSession

    class Session(create):
        def __init__(self, content, options, providers, enable_fallback):
            made.append((providers, content))
            super().__init__(content, options, providers=["CPUExecutionProvider"])
            self.asked = [name for name, _ in providers]

        def get_providers(self):
            return self.asked

    monkeypatch.setattr(session, "_has_nvidia_driver", lambda: True)
    monkeypatch.setattr(session.nvidia, "has_tensor_cores", lambda: True)
    monkeypatch.setattr(session, "available", lambda: ["cuda", "tensorrt", "cpu"])
    monkeypatch.setattr(session.ort, "preload_dlls", lambda: None)
    monkeypatch.setattr(session.ort, "InferenceSession", Session)
    return made


@pytest.mark.parametrize(
    ("parity", "wanted", "computed"),
    [
        (NEAR, "auto", "fp16"),
        (FAR, "auto", "fp32"),
        ({"bf16_psnr_mean": 60.0}, "auto", "fp32"),  # of a version that did not measure fp16
        (NEAR, "fp32", "fp32"),
        ({}, "fp16", "fp16"),
    ],
)
@pytest.mark.parametrize("provider", ["auto", "cuda"])
def test_a_gpu_computes_in_half_where_the_export_was_near_or_it_is_wanted(
    bundle, card, provider, parity, wanted, computed
):
    path = bundle(parity=parity)
    model = session.load(path, provider, precision=wanted)
    assert (model.provider, model.precision) == ("cuda", computed)
    [(_, graph)] = card
    assert (graph == path.read_bytes()) == (computed == "fp32")
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.manifest.precision == "fp32"  # of the file
    assert (model.session.run(None, {"image": np.zeros((1, 2, 3, 3), np.uint8)})[0] == 255).all()


def test_tensorrt_converts_to_half_by_itself(bundle, card, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "cache_folder", lambda: tmp_path)
    path = bundle(parity=NEAR)
    assert session.load(path, "tensorrt").precision == "fp16"
    assert session.load(path, "tensorrt", precision="fp32").precision == "fp32"
    asked = [providers[0][1] for providers, _ in card]
    assert [options["trt_fp16_enable"] for options in asked] == ["1", "0"]
    assert asked[0]["trt_engine_cache_path"] != asked[1]["trt_engine_cache_path"]
    assert {graph for _, graph in card} == {path.read_bytes()}


def test_a_file_in_another_precision_is_run_as_it_is(card):
    path = shipped("weights") / "strokes-to-3d.onnx"
    assert session.load(path, "cuda").precision == "int8"
    assert session.load(path, "cuda", precision="fp32").precision == "int8"  # its floats are fp32
    with pytest.raises(UsageError, match="was exported in int8, so it can't run in fp16"):
        session.load(path, "cuda", precision="fp16")


def test_a_file_that_is_no_bundle_is_refused_on_a_gpu_as_elsewhere(card, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"hello")
    with pytest.raises(DataError, match="not an ONNX model"):
        session.load(tmp_path / "m.onnx", "auto")


@without_driver
def test_half_precision_without_a_gpu_is_a_device_error(bundle):
    for provider in ("auto", "cpu"):
        with pytest.raises(DeviceError, match="cpu does not compute in fp16, only cuda"):
            session.load(bundle(), provider, precision="fp16")


def test_an_unknown_precision_is_refused_with_the_known_ones(bundle):
    with pytest.raises(UsageError, match=r"no precision fp8\. Choose one of: auto, fp32, fp16"):
        session.load(bundle(), "cpu", precision="fp8")


def test_an_old_gpu_computes_in_full_precision_with_channels_first(bundle, card, monkeypatch):
    """Without tensor cores, fp16 is slow, and channels last may fail; who wants fp16 gets it."""
    path = bundle(parity=NEAR)
    for has_them, precision, channels_last in ((True, "fp16", "1"), (False, "fp32", "0")):
        monkeypatch.setattr(session.nvidia, "has_tensor_cores", lambda it=has_them: it)
        assert session.load(path, "cuda").precision == precision
        [(_, options)] = card[-1][0]
        assert options["prefer_nhwc"] == channels_last
    assert session.load(path, "cuda", precision="fp16").precision == "fp16"


def test_a_session_on_cuda_is_bound_and_others_are_not(bundle, card):
    assert isinstance(session.load(bundle(), "cuda").session, session.BoundSession)
    assert not isinstance(session.load(bundle(), "cpu").session, session.BoundSession)


def test_tensorrt_builds_one_engine_for_all_usual_sizes(bundle, card, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "cache_folder", lambda: tmp_path)
    model = session.load(bundle(parity=NEAR), "tensorrt")
    options = card[0][0][0][1]
    assert options["trt_profile_min_shapes"] == "image:1x1x1x3"
    assert options["trt_profile_opt_shapes"] == "image:8x8x8x3"
    assert options["trt_profile_max_shapes"] == "image:8x512x512x3"
    for count, shape in ((1, (8, 512, 512, 3)), (2, (1, 513, 4, 3)), (2, (9, 4, 4, 3))):
        image = np.full(shape, 5, np.uint8)
        assert (model.session.run(None, {"image": image})[0] == 250).all()
        assert len(card) == count  # CUDA runs what is larger, once there is such a picture
    [(name, _)] = card[1][0]
    assert name == "CUDAExecutionProvider"
    assert card[1][1] != card[0][1]  # in fp16, too


def test_a_graph_made_from_a_bundle_has_no_range_of_sizes(bundle, card, tmp_path, monkeypatch):
    """Parts of a graph have inputs that the manifest does not know."""
    monkeypatch.setattr(session, "cache_folder", lambda: tmp_path)
    path = bundle(parity=NEAR)
    session.session_of(path.read_bytes(), path, "tensorrt", 1)
    [(providers, _)] = card
    assert not any("profile" in option for option in providers[0][1])
    assert providers[0][1]["trt_fp16_enable"] == "0"
