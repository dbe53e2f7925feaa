"""Image-to-image translation with GANs: train, export to one ONNX file, run anywhere.

Importing this package imports neither torch nor onnxruntime; the public names load on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from img2img import telemetry

__version__ = "0.1.0"
__all__ = ["Callback", "Manifest", "Run", "Translator", "__version__", "train"]

telemetry.disable()  # the first thing that happens, whichever part of the package is used

if TYPE_CHECKING:
    from img2img.infer.translator import Translator
    from img2img.manifest import Manifest
    from img2img.run import Run, train
    from img2img.training.callbacks import Callback

_HOMES = {
    "Callback": "img2img.training.callbacks",
    "Manifest": "img2img.manifest",
    "Run": "img2img.run",
    "Translator": "img2img.infer.translator",
    "train": "img2img.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'img2img' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
