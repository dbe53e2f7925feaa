"""A session on the best provider that really binds: onnxruntime's own ones, and OpenVINO."""

import contextlib
import ctypes
import hashlib
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
import onnxruntime as ort

from img2img.errors import DataError, DeviceError, UsageError
from img2img.files import cache_folder, usable_cores
from img2img.infer import openvino
from img2img.manifest import Manifest

Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino", "coreml", "directml"]
PROVIDERS: dict[str, str] = {  # of onnxruntime
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
ON_CPU = ("cpu", "openvino")  # providers that take the processor's time and memory
MAX_BYTES = 2**31 - 1  # of an ONNX file: protobuf's own limit
# A string that is "location", whose length is before it (with zeros after it, where someone hides
# it): the key of weights that live in another file, which OpenVINO would read from anywhere.
EXTERNAL_DATA = (b"\x08location", b"\x00location")


class Session(Protocol):
    """What runs a graph; several threads may call it at once."""

    def run(self, outputs: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]: ...


@dataclass(frozen=True)
class Model:
    """A loaded bundle: a session, where it runs, and what the file says of itself."""

    session: Session
    manifest: Manifest
    provider: str
    precision: str  # that it computes in: of the file, or what the provider makes of it
    sha256: str  # of the file


def load(
    path: Path,
    provider: str = "auto",
    threads: int | None = None,
    content: bytes | None = None,
) -> Model:
    """Load a bundle. threads: of one operator; by default all cores that this process may use.
    content: of the file, where it is known.

    Raises DataError for a file that is no bundle, UsageError for an unknown provider, and
    DeviceError for one that does not bind.
    """
    content, explicit = content or read(path), provider != "auto"
    sha256 = hashlib.sha256(content).hexdigest()
    for name in _candidates(provider):
        if name == "openvino":
            if opened := _open_with_openvino(content, path, threads, explicit):
                on_openvino, manifest = opened
                precision = _precision(manifest, on_openvino.precision)
                return Model(on_openvino, manifest, name, precision, sha256)
        elif session := _open(content, path, threads, name, explicit):
            try:
                metadata = session.get_modelmeta().custom_metadata_map
            except UnicodeDecodeError:
                raise DataError(f"{path} is damaged: its manifest is no text.") from None
            manifest = Manifest.parse(metadata, str(path))
            return Model(session, manifest, name, manifest.precision, sha256)
    raise AssertionError("the CPU provider always binds")


def manifest(path: Path) -> Manifest:
    """What a bundle says of itself, on the CPU; errors as of `load`."""
    return load(path, "cpu", threads=1).manifest


def open_session(path: Path) -> tuple[ort.InferenceSession, bytes]:
    """Onnxruntime's session on any self-contained ONNX file, and the file's content."""
    content = read(path)
    for name in (*_accelerators(), "cpu"):
        if session := _open(content, path, None, name, explicit=False):
            return session, content
    raise AssertionError("the CPU provider always binds")


def session_of(content: bytes, path: Path, provider: str, threads: int | None) -> Session:
    """A session on a graph made from the bundle at `path`, on the provider that it runs on, in
    full precision; errors as of `load`.
    """
    if provider == "openvino":
        try:
            return openvino.OpenVinoSession(openvino.read(content), threads, exact=True)
        except Exception as error:
            raise DataError(f"OpenVINO can't run {path} in tiles ({reason(error)}).") from None
    session: Session | None = _open(content, path, threads, provider, explicit=True)
    assert session  # a provider that was asked for binds, or _open has raised
    return session


def available() -> list[str]:
    """The providers that are installed; whether one binds only a session tells."""
    brought = ort.get_available_providers()
    found = [name for name, full in PROVIDERS.items() if full in brought]
    return [*found, "openvino"] if openvino.is_installed() else found


def binding(*paths: Path) -> list[str]:
    """The providers that run all of these bundles here, but for TensorRT, which builds for
    minutes. DataError for one that is no bundle.
    """
    found = []
    for name in available():
        # The CPU runs every bundle that is one: there the reason is told.
        passed_over = () if name == "cpu" else (DeviceError, DataError)
        if name != "tensorrt":
            with contextlib.suppress(*passed_over):
                for path in paths:
                    load(path, name)
                found.append(name)
    return found


def _options(threads: int | None) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # a provider that does not bind is told in our own words
    options.intra_op_num_threads = threads or usable_cores()
    return options


def _candidates(provider: str) -> Iterator[str]:
    """The providers to try in turn; whether OpenVINO pays off is only asked once the others of the
    machine have failed, since it takes half a second.
    """
    if provider != "auto":
        if provider not in get_args(Provider):
            known = ", ".join(get_args(Provider))
            raise UsageError(f"There is no provider {provider}; there are {known}.")
        if provider == "openvino" and provider not in available():
            raise _unbound(provider, "it is not installed: pip install 'img2img[openvino]'")
        if provider not in available():
            raise DeviceError(
                f"This onnxruntime has no {provider} provider; it has {', '.join(available())}."
            )
        yield provider
        return
    yield from _accelerators()
    if openvino.is_installed() and openvino.pays_off():
        yield "openvino"
    yield "cpu"


def _accelerators() -> list[str]:
    """Onnxruntime's providers beyond the CPU that auto tries."""
    # TensorRT builds an engine for minutes: only when asked. Without a driver, CUDA can't bind.
    wanted = ["cuda"] if "cuda" in available() and _has_nvidia_driver() else []
    return wanted + [name for name in ("coreml", "directml") if name in available()]


def _open_with_openvino(
    content: bytes, path: Path, threads: int | None, explicit: bool
) -> tuple[openvino.OpenVinoSession, Manifest] | None:
    """A session in the CPU's fastest precision, or None where that was not asked for and OpenVINO
    can't run the file, or would not be near enough to what the file says.
    """
    try:
        model = openvino.read(content)
        manifest = Manifest.parse(openvino.metadata(model), str(path))
        if not explicit and not manifest.is_near_in_bf16:
            return None
        return openvino.OpenVinoSession(model, threads), manifest
    except DataError:  # of the manifest
        raise
    except Exception as error:  # its own kinds: a graph that it does not run, or no graph at all
        if explicit:
            raise DataError(f"OpenVINO can't run {path} ({reason(error)}).") from None
        return None


def _precision(manifest: Manifest, computed: str) -> str:
    """What a bundle is computed in where a provider computes in `computed` what is in floats."""
    if computed == "fp32":
        return manifest.precision
    return f"int8 and {computed}" if manifest.precision == "int8" else computed


def _providers(name: str, content: bytes) -> list[tuple[str, dict[str, str]]]:
    """What onnxruntime is asked for to run that file, with options."""
    # Otherwise cuDNN tries every algorithm out, again for every size of picture.
    cuda = (PROVIDERS["cuda"], {"cudnn_conv_algo_search": "HEURISTIC"})
    if name == "cuda":
        return [cuda]
    if name == "tensorrt":  # an engine takes minutes to build: once for a model, size and card
        # A folder a model: onnxruntime names engines by the graph, whatever its weights.
        folder = cache_folder() / "tensorrt" / hashlib.sha256(content).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        cached = {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(folder),
        }
        return [(PROVIDERS[name], cached), cuda]  # CUDA runs what TensorRT can't
    return [(PROVIDERS[name], {})]


def _open(
    content: bytes, path: Path, threads: int | None, name: str, explicit: bool
) -> ort.InferenceSession | None:
    """A session on that very provider, or None where it does not bind and was not asked for."""
    full, options = PROVIDERS[name], _options(threads)
    if name in ("cuda", "tensorrt"):
        if not _has_nvidia_driver():
            raise _unbound(name, "there is no NVIDIA driver")
        ort.set_default_logger_severity(4)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            ort.preload_dlls()  # finds the CUDA libraries of pip packages, torch's among them
    try:
        session = ort.InferenceSession(
            content, options, providers=_providers(name, content), enable_fallback=0
        )
    except Exception as error:  # onnxruntime's own kinds, one a status code
        if name == "cpu":
            raise DataError(f"{path} is no ONNX model that can be run ({reason(error)}).") from None
        if explicit:
            raise _unbound(name, reason(error)) from None
        return None
    if full not in session.get_providers():
        if explicit:
            raise _unbound(name, _missing_library(name))
        return None
    return session


def reason(error: Exception) -> str:
    """What a runtime says was wrong, in one line, without the places in its own source."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.endswith(":")]
    return " ".join(told[:2]) or type(error).__name__


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


def read(path: Path) -> bytes:
    """A bundle's content; DataError where it can't be one."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} is larger than an ONNX file can be (2 GiB).")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"The model {path} can't be read ({error.strerror}).") from None
    if any(key in content for key in EXTERNAL_DATA):
        raise DataError(
            f"{path} keeps its weights in other files (it has a field called location); a model "
            "must be one file."
        )
    return content
