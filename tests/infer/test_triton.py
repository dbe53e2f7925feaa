"""A folder for Triton: its description has Triton's schema, and says of the model what its file
does.
"""

import json
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
from bundles import OFFSETS, make_between, make_identity
from command_line import run
from google.protobuf import text_format

from img2img.infer import triton
from img2img.infer.registry import Entry, find
from img2img.intensity import Intensity, stacked
from img2img.manifest import Labels, Manifest


def schema() -> ModuleType:
    """Triton's own, without the rest of its client, which needs gRPC."""
    [folder] = find_spec("tritonclient").submodule_search_locations
    path = Path(folder) / "grpc" / "model_config_pb2.py"
    spec = spec_from_file_location("model_config_pb2", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


model_config = schema()
CLASSES = Labels(sets=[{"kind": "classes", "domains": ("dawn", "noon", "dusk")}])
JOINT = Labels(
    sets=[
        {"kind": "attributes", "domains": ("hat", "smile")},
        {"kind": "classes", "domains": ("day", "night")},
    ]
)
OPTICAL = Intensity(dtype="uint16", bands=("red", "nir"), low=(0, 0), high=(1e4, 1e4), name="s2")
RADAR = Intensity(dtype="float32", bands=("vv",), low=(-25,), high=(5,), name="s1")
HEIGHT = Intensity(dtype="float32", bands=("m",), low=(0,), high=(900,), unit="m")


def config(folder: Path):
    """The description as Triton reads it: an unknown field or a wrong type is an error."""
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config.ModelConfig())


def written(path: Path, tmp_path: Path, **options: int) -> Path:
    settings = {"batch": 8, "delay": 2000} | options
    return triton.write(Entry(path.stem, path), tmp_path / "repository", **settings)


def sides(shape: list) -> list[int]:
    return [side if isinstance(side, int) else -1 for side in shape]


@pytest.fixture(params=["photographs", "classes", "joint", "values", "several", "one-size"])
def model(request, bundle, tmp_path) -> Path:
    """Bundles of every kind of input and output."""
    path = tmp_path / f"{request.param}.onnx"
    match request.param:
        case "photographs":
            return bundle(path)
        case "classes":
            return bundle(path, labels=CLASSES)
        case "joint":
            return bundle(path, labels=JOINT)
        case "values":
            make_identity(path, OPTICAL)
        case "several":
            make_between(path, stacked([OPTICAL, RADAR]), HEIGHT)
        case "one-size":
            bundle(path, only_size=(16, 24))
    return path


def test_inputs_and_outputs_are_those_of_the_file(model, tmp_path):
    folder = written(model, tmp_path)
    described, copy = config(folder), folder / "1" / "model.onnx"
    assert copy.read_bytes() == model.read_bytes()
    session = onnxruntime.InferenceSession(copy)
    for told, values in (
        (described.input, session.get_inputs()),
        (described.output, session.get_outputs()),
    ):
        assert [value.name for value in told] == [value.name for value in values]
        assert [list(value.dims) for value in told] == [sides(value.shape[1:]) for value in values]
        for one, value in zip(told, values, strict=True):
            kind = model_config.DataType.Name(one.data_type).removeprefix("TYPE_").lower()
            assert value.type == f"tensor({kind.replace('fp32', 'float')})"
    assert described.name == folder.name == model.stem
    assert described.backend == "onnxruntime"
    assert described.max_batch_size == 8


def test_pictures_run_together(bundle, tmp_path):
    described = config(written(bundle(), tmp_path, batch=4, delay=500))
    assert described.max_batch_size == 4
    assert described.dynamic_batching.max_queue_delay_microseconds == 500


def test_a_file_for_one_picture_at_a_time_makes_no_batches(bundle, tmp_path):
    """Its first side is no batch then, but a part of the shape."""
    import onnx

    path = bundle("one.onnx")
    single = onnx.load(path)
    for value in (*single.graph.input, *single.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(single, path)
    described = config(written(path, tmp_path))
    assert described.max_batch_size == 0
    assert not described.HasField("dynamic_batching")
    assert list(described.input[0].dims) == [1, -1, -1, 3]
    assert list(described.output[0].dims) == [1, -1, -1, 3]


def test_a_client_reads_the_manifest_and_translates_to_a_domain_by_it(bundle, tmp_path):
    folder = written(bundle("classes.onnx", labels=CLASSES), tmp_path)
    manifest = Manifest.model_validate_json(config(folder).parameters["img2img"].string_value)
    assert manifest.labels == CLASSES
    assert "dawn, noon, dusk" in (folder / "config.pbtxt").read_text()
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
    picture = np.zeros((2, 8, 8, 3), np.uint8)
    domain = np.stack([manifest.labels.vector(0, {name}) for name in ("noon", "dusk")])
    [translated] = session.run(None, {"image": picture, "domain": domain})
    assert translated[:, 0, 0, 0].tolist() == list(OFFSETS[1:3])


def test_names_that_would_end_a_line_or_a_text_do_not(bundle, tmp_path):
    names = ('a"b', "c\nbackend: 'x'", "d\\")
    labels = Labels(sets=[{"kind": "classes", "domains": names}])
    described = config(written(bundle('tricky"name.onnx', labels=labels), tmp_path))
    assert (described.name, described.backend) == ('tricky"name', "onnxruntime")
    told = json.loads(described.parameters["img2img"].string_value)
    assert tuple(told["labels"]["sets"][0]["domains"]) == names


def test_a_folder_that_is_there_is_kept(bundle, tmp_path):
    line = ["triton", bundle(), "-o", tmp_path / "repository"]
    assert run(*line).returncode == 0
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "repository").rglob("*")}
    again = run(*line)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "repository").rglob("*")} == before


@pytest.mark.parametrize("name", ["flat-to-3d", "three-styles"])
def test_models_that_ship_have_a_folder_by_their_name(name, tmp_path):
    described = config(triton.write(find(name), tmp_path, 8, 0))
    assert described.name == name
    assert list(described.input[0].dims) == [-1, -1, 3]
