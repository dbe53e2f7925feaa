"""Which of CUDA's libraries are missing for onnxruntime's CUDA provider."""

import contextlib
import ctypes
import io
import re
import sys
from pathlib import Path

import onnxruntime as ort

from img2img.errors import install_command

CUDNN = {"linux": "libcudnn.so.9", "win32": "cudnn64_9.dll"}  # onnxruntime prints no word about it


def missing() -> list[str]:
    """File names of the libraries of CUDA and cuDNN that can't be loaded here; those of pip
    packages, torch's among them, are loaded. Empty where this onnxruntime has no CUDA provider.
    """
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return []
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        ort.preload_dlls()
    names = re.findall(r"Failed to load (\S+?):", printed.getvalue())
    cudnn = CUDNN.get(sys.platform)
    if cudnn and cudnn not in names:
        try:
            ctypes.CDLL(cudnn)
        except OSError:
            names.append(cudnn)
    return names


def needed(name: str) -> str:
    """What a provider of onnxruntime is missing, and the command that installs it. Its library is
    loaded by itself, to learn from the linker the first one that is missing.
    """
    library = Path(ort.__file__).parent / "capi" / f"libonnxruntime_providers_{name}.so"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        missing = re.match(r"(\S+): cannot open shared object file", str(error))
        if missing:
            return f"{missing[1]} is missing: {install_command('cuda')}"
    return f"a library that it needs is missing: {install_command('cuda')}"
