"""An onnxruntime session on the best provider that really binds."""

import ctypes
import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnxruntime as ort

from img2img.errors import DataError, DeviceError, UsageError
from img2img.files import usable_cores
from img2img.manifest import Manifest

Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino", "coreml", "directml"]
PROVIDERS: dict[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
MAX_BYTES = 2**31 - 1  # of an ONNX file: protobuf's own limit
# A StringStringEntryProto with the key "location": weights that live in another file.
EXTERNAL_DATA = b"\x0a\x08location\x12"


@dataclass(frozen=True)
class Model:
    """A loaded bundle: a session, where it runs, and what the file says of itself."""

    session: ort.InferenceSession
    manifest: Manifest
    provider: str  # a key of PROVIDERS
    sha256: str  # of the file


def load(path: Path, provider: Provider = "auto", threads: int | None = None) -> Model:
    """Load a bundle. threads: of one operator; by default all cores that this process may use.

    Raises DataError for a file that is no bundle, DeviceError for a provider that does not bind.
    """
    session, name, content = open_session(path, provider, threads)
    manifest = Manifest.parse(session.get_modelmeta().custom_metadata_map, str(path))
    return Model(session, manifest, name, hashlib.sha256(content).hexdigest())


def open_session(
    path: Path, provider: Provider = "auto", threads: int | None = None
) -> tuple[ort.InferenceSession, str, bytes]:
    """A session on any self-contained ONNX file, the provider's name, the file's content."""
    content = _read(path)
    options = _options(threads)
    for name in _candidates(provider):
        session = _open(content, path, options, name, explicit=provider != "auto")
        if session is not None:
            return session, name, content
    raise AssertionError("the CPU provider always binds")


def session_of(content: bytes, provider: str, threads: int | None) -> ort.InferenceSession:
    """A session on a graph made from a bundle's, on the provider that the bundle runs on."""
    options = _options(threads)
    return ort.InferenceSession(content, options, providers=[PROVIDERS[provider]])


def available() -> list[str]:
    """The providers that this onnxruntime brings; whether one binds only a session tells."""
    brought = ort.get_available_providers()
    return [name for name, full in PROVIDERS.items() if full in brought]


def _options(threads: int | None) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # a provider that does not bind is told in our own words
    options.intra_op_num_threads = threads or usable_cores()
    return options


def _candidates(provider: Provider) -> list[str]:
    if provider != "auto":
        if provider not in PROVIDERS:
            known = ", ".join(("auto", *PROVIDERS))
            raise UsageError(f"There is no provider {provider}; there are {known}.")
        if provider not in available():
            raise DeviceError(
                f"This onnxruntime has no {provider} provider; it has {', '.join(available())}."
            )
        return [provider]
    # TensorRT builds an engine for minutes: only when asked. Without a driver, CUDA can't bind.
    wanted = ["cuda"] if "cuda" in available() and _has_nvidia_driver() else []
    wanted += [name for name in ("coreml", "directml") if name in available()]
    return [*wanted, "cpu"]


def _open(
    content: bytes, path: Path, options: ort.SessionOptions, name: str, explicit: bool
) -> ort.InferenceSession | None:
    """A session on that very provider, or None where it does not bind and was not asked for."""
    full = PROVIDERS[name]
    if name in ("cuda", "tensorrt"):
        if not _has_nvidia_driver():
            raise _unbound(name, "there is no NVIDIA driver")
        ort.set_default_logger_severity(4)
        ort.preload_dlls()  # finds the CUDA libraries of pip packages, torch's among them
    try:
        session = ort.InferenceSession(content, options, providers=[full], enable_fallback=0)
    except Exception as error:  # onnxruntime's own kinds, one a status code
        if name == "cpu":
            reason = str(error).splitlines()[0]
            raise DataError(f"{path} is no ONNX model that can be run ({reason}).") from None
        if explicit:
            raise _unbound(name, str(error).splitlines()[0]) from None
        return None
    if full not in session.get_providers():
        if explicit:
            raise _unbound(name, _missing_library(name))
        return None
    return session


def _unbound(name: str, reason: str) -> DeviceError:
    return DeviceError(
        f"The provider {name} does not bind here ({reason}). "
        "Use --provider auto, or see: img2img doctor"
    )


def _missing_library(name: str) -> str:
    """Load the provider's own library to learn from the linker what it misses."""
    library = Path(ort.__file__).parent / "capi" / f"libonnxruntime_providers_{name}.so"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        missing = re.match(r"(\S+): cannot open shared object file", str(error))
        if missing:
            return f"{missing[1]} is missing: pip install 'img2img[cuda]'"
    return "a library it needs is missing: pip install 'img2img[cuda]'"


def _has_nvidia_driver() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} is larger than an ONNX file can be (2 GiB).")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"The model {path} can't be read ({error.strerror}).") from None
    if EXTERNAL_DATA in content:
        raise DataError(f"{path} keeps its weights in other files; a bundle is one file.")
    return content
