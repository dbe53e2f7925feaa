"""The folder from which NVIDIA's Triton Inference Server serves a bundle.

Triton runs the ONNX file itself, so it needs nothing of img2img. Requests of pictures of one size
run in one batch. Tiles, and files as inputs, are img2img's alone.
"""

from pathlib import Path

import onnxruntime as ort
from google.protobuf import text_encoding

from img2img.errors import DataError
from img2img.infer.registry import Entry
from img2img.infer.session import load, read
from img2img.manifest import METADATA_KEY, Manifest
from img2img.writing import make_folder, move_folder, scratch_folder, write_whole

TYPES = {  # of onnxruntime, and Triton's
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(float)": "TYPE_FP32",
}
# Convolutions search for their fastest algorithm anew for each size of pictures, unless they choose
# by heuristics.
HEURISTIC = "1"


def write(entry: Entry, repository: Path, batch: int, delay: int) -> Path:
    """Write the folder of a bundle into Triton's folder of models, and return it. batch: pictures
    that run together, at most. delay: how long the first waits for others, microseconds.

    Raises DataError for a file that is not a bundle, and UsageError where there is such a folder.
    """
    content = read(entry.path)
    model = load(entry.path, "cpu", threads=1, content=content)
    assert isinstance(model.session, ort.InferenceSession)
    config = describe(entry.name, model.session, model.manifest, batch, delay)
    make_folder(repository)
    with scratch_folder(repository) as scratch:
        write_whole(scratch / entry.name / "1" / "model.onnx", content)
        write_whole(scratch / entry.name / "config.pbtxt", config)
        move_folder(scratch / entry.name, repository / entry.name)
    return repository / entry.name


def describe(
    name: str, session: ort.InferenceSession, manifest: Manifest, batch: int, delay: int
) -> str:
    """The text of config.pbtxt. Names, types and shapes are those of the ONNX file; where it takes
    one number of pictures alone, Triton makes no batches.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    batches = not any(isinstance(value.shape[0], int) for value in (*inputs, *outputs))
    lines = [f"name: {_quoted(name)}", 'backend: "onnxruntime"']
    lines += [f"max_batch_size: {batch if batches else 0}"]
    for kind, values in (("input", inputs), ("output", outputs)):
        for value in values:
            meaning = _meaning(value.name, manifest)
            lines += [f"# {value.name}: {meaning}"] if meaning else []
            lines += _value(kind, value, batches)
    if batches:
        lines += [f"dynamic_batching {{ max_queue_delay_microseconds: {delay} }}"]
    parameters = {
        "cudnn_conv_algo_search": HEURISTIC,
        METADATA_KEY: manifest.model_dump_json(exclude_defaults=True),
    }
    for key, text in parameters.items():
        value = f"{{ string_value: {_quoted(text)} }}"
        lines += [f"parameters {{ key: {_quoted(key)} value: {value} }}"]
    return "\n".join(lines) + "\n"


def _value(kind: str, value: ort.NodeArg, batches: bool) -> list[str]:
    if value.type not in TYPES:
        raise DataError(f"Triton has no type for {value.name}, which is {value.type}.")
    sides = value.shape[1:] if batches else value.shape
    dims = ", ".join(str(side) if isinstance(side, int) else "-1" for side in sides)
    return [
        f"{kind} {{",
        f"  name: {_quoted(value.name)}",
        f"  data_type: {TYPES[value.type]}",
        f"  dims: [{dims}]",
        "}",
    ]


def _meaning(name: str, manifest: Manifest) -> str:
    """What a value of the graph holds, in one line of a comment."""
    if name == "domain":
        names = ", ".join(map(_plain, manifest.labels.names))
        several = "; then a 1 for the set of these names, else 0" * (len(manifest.labels.sets) > 1)
        return f"1 for what is wanted, else 0: {names}{several}"
    intensity = manifest.intensity_in if name == "image" else manifest.intensity_out
    return _plain(intensity.describe()) if intensity else "[height, width, channels], sRGB"


def _plain(text: str) -> str:
    """Text that ends no line."""
    return " ".join(text.split())


def _quoted(text: str) -> str:
    return f'"{text_encoding.CEscape(text, as_utf8=True)}"'
