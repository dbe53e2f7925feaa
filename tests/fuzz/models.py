"""What others have trained: bundles, checkpoints, weights.

What is slow to import is imported where it is used, because a long run makes cases of one target.
"""

import contextlib
import io
import shutil
from pathlib import Path

from fuzz.scratch import folder, written

CORPUS = Path(__file__).parent / "corpus"


def bundle(content: bytes) -> None:
    """Loaded by onnxruntime, and rewritten for a GPU."""
    from img2img.infer import half, session

    session.load(written("bundle.onnx", content), "cpu", threads=1)
    with contextlib.suppress(Exception):  # where it fails, the next provider is asked
        half.in_half(content)


def openvino(content: bytes) -> None:
    """Loaded by OpenVINO."""
    from img2img.infer import session

    session.load(written("openvino.onnx", content), "openvino", threads=1)


def manifest(content: bytes) -> None:
    """The text of a bundle's manifest, as `info` prints it."""
    from img2img.cli.info import info
    from img2img.infer import onnx_file
    from img2img.manifest import METADATA_KEY

    model = onnx_file.parse((CORPUS / "bundle" / "photographs.onnx").read_bytes())
    [entry] = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
    entry.value = content.decode(errors="replace")
    path = written("manifest.onnx", model.SerializeToString())
    with contextlib.redirect_stdout(io.StringIO()):
        info(str(path))


def checkpoint_file(content: bytes) -> None:
    """As a run is resumed from it, and as the file of another program."""
    from img2img.training import checkpoint

    path = written("last.pt", content)
    checkpoint.load(path, require_checksums=False)
    checkpoint.load(path)


def weights(content: bytes) -> None:
    """Loaded as they are exported."""
    from img2img.training import checkpoint

    checkpoint.load_weights(written("weights.safetensors", content))


def published_file(content: bytes) -> None:
    """The file of a generator, which becomes a run."""
    from img2img.export import published

    path = written("latest_net_G.pth", content)
    run = folder() / "published"
    shutil.rmtree(run, ignore_errors=True)
    published.import_run(path, run)
