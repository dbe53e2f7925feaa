"""Image-to-image translation with GANs: train, export to one ONNX file, run anywhere.

Importing this package imports neither torch nor onnxruntime; the public names load on first use.
"""

from typing import TYPE_CHECKING

from img2img import telemetry

if TYPE_CHECKING:
    from img2img.infer.translator import Translator
    from img2img.manifest import Manifest

__version__ = "0.1.0"
__all__ = ["Manifest", "Translator", "__version__"]

telemetry.disable()  # the first thing that happens, whichever part of the package is used


def __getattr__(name: str) -> object:
    if name == "Translator":
        from img2img.infer.translator import Translator

        return Translator
    if name == "Manifest":
        from img2img.manifest import Manifest

        return Manifest
    raise AttributeError(f"module 'img2img' has no attribute {name!r}")
