"""A session on the best provider that works here: one of onnxruntime's, or OpenVINO."""

import contextlib
import hashlib
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
import onnxruntime as ort
from google.protobuf.message import DecodeError

from img2img import checksum
from img2img.errors import DataError, DeviceError, Img2ImgError, UsageError, install_command
from img2img.files import cache_folder, usable_cores
from img2img.infer import cuda_libraries, nvidia, onnx_file, openvino, tensorrt
from img2img.infer.bound import BoundSession
from img2img.infer.half import in_half
from img2img.infer.tensorrt import RangedSession
from img2img.manifest import Manifest

Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino", "coreml", "directml"]
PROVIDERS: dict[str, str] = {  # onnxruntime's names
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
}
Computed = Literal["auto", "fp32", "fp16"]
ON_CPU = ("cpu", "openvino")  # providers that use the CPU and its memory
ON_NVIDIA = ("cuda", "tensorrt")  # providers that compute faster in fp16
MAX_BYTES = 2**31 - 1  # of an ONNX file: the limit of protobuf
# The serialized string "location", after its length (which may be padded, to hide it): the key of
# weights in another file, which OpenVINO would read from any path.
EXTERNAL_DATA = (b"\x08location", b"\x00location")
ORT_FORMAT = b"ORTM"  # at byte 4 of a model in onnxruntime's format, which it loads under any name


class Unbound(DeviceError):
    """A provider does not work on this machine, for this reason."""

    def __init__(self, provider: str, reason: str):
        super().__init__(
            f"The provider {provider} does not work here ({reason}). "
            "Use --provider auto, or run: img2img doctor"
        )
        self.provider, self.reason = provider, reason

    def __reduce__(self) -> tuple[type["Unbound"], tuple[str, str]]:
        return Unbound, (self.provider, self.reason)  # it comes from other processes, too


class Session(Protocol):
    """Runs a graph; several threads may call it at the same time."""

    def run(self, outputs: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]: ...


@dataclass(frozen=True)
class Model:
    """A loaded bundle: the session, where it runs, and the file's manifest."""

    session: Session
    manifest: Manifest
    provider: str
    precision: str  # of the computation: the file's, or the provider's if it differs
    sha256: str  # of the file


def load(
    path: Path,
    provider: str = "auto",
    threads: int | None = None,
    content: bytes | None = None,
    precision: str = "auto",
) -> Model:
    """Load a bundle.

    threads: of one operator, by default all cores that this process may use. content: of the file,
    where it has been read already. precision: of the computation. "auto" is the provider's fastest
    one that was accurate enough at export: fp16 on NVIDIA's GPUs, bf16 in OpenVINO.

    Raises DataError for a file that is not a bundle, UsageError for an unknown provider or
    precision and for a precision that the bundle does not have, and DeviceError for a provider that
    is not available here, or that does not compute in this precision.
    """
    if precision not in get_args(Computed):
        names = ", ".join(get_args(Computed))
        raise UsageError(f"There is no precision {precision}. Choose one of: {names}.")
    content, explicit = content or read(path), provider != "auto"
    sha256 = hashlib.sha256(content).hexdigest()
    for name in _candidates(provider):
        if name == "openvino":
            if opened := _open_with_openvino(content, path, threads, explicit, precision):
                on_openvino, manifest = opened
                computed = _precision(manifest, on_openvino.precision)
                return Model(on_openvino, manifest, name, computed, sha256)
            continue
        stated = _stated(content) if name in ON_NVIDIA else None
        half = stated is not None and _runs_in_half(stated, precision)
        if session := _open(content, path, threads, name, explicit, half, stated):
            try:
                metadata = session.get_modelmeta().custom_metadata_map
            except UnicodeDecodeError:
                raise DataError(f"{path} is damaged: its manifest is not text.") from None
            manifest = Manifest.parse(metadata, str(path))
            computed = "fp16" if half else manifest.precision
            _require(precision, computed, name, path)
            wrapped: Session = session
            if name == "cuda" and {manifest.dtype_in, manifest.dtype_out} == {"uint8"}:
                wrapped = BoundSession(session)
            elif name == "tensorrt":
                on_cuda = partial(session_of, content, path, "cuda", threads, half)
                wrapped = RangedSession(session, tensorrt.largest_side(manifest), on_cuda)
            return Model(wrapped, manifest, name, computed, sha256)
    raise AssertionError("the CPU provider is always available")


def _stated(content: bytes) -> Manifest | None:
    """The manifest of a bundle that is not loaded yet; None for a file that is not a bundle, whose
    error the provider reports.
    """
    try:
        return Manifest.parse(onnx_file.metadata(onnx_file.parse(content)), "")
    except (DecodeError, UnicodeDecodeError, DataError):
        return None


def _runs_in_half(manifest: Manifest, precision: str) -> bool:
    """Whether a GPU converts the graph to fp16."""
    if manifest.precision != "fp32" or precision == "fp32":
        return False
    return precision == "fp16" or (manifest.is_near_in_fp16 and nvidia.has_tensor_cores())


def _require(wanted: str, computed: str, provider: str, path: Path) -> None:
    """Raise the error of a bundle or provider that does not compute in the wanted precision."""
    if wanted in ("auto", computed) or (wanted, computed) == ("fp32", "int8"):
        return  # what an int8 bundle computes in floats is fp32
    if computed == "fp32":
        raise DeviceError(
            f"The provider {provider} does not compute in fp16, only "
            f"{' and '.join(ON_NVIDIA)} do. Omit --precision."
        )
    raise UsageError(f"{path} was exported in {computed}, so it can't run in {wanted}.")


def manifest(path: Path) -> Manifest:
    """The manifest of a bundle, loaded on the CPU; errors as in `load`."""
    return load(path, "cpu", threads=1).manifest


def open_session(path: Path) -> tuple[ort.InferenceSession, bytes]:
    """An onnxruntime session of any self-contained ONNX file, and the file's content."""
    content = read(path)
    for name in (*_accelerators(), "cpu"):
        if session := _open(content, path, None, name, explicit=False):
            return session, content
    raise AssertionError("the CPU provider is always available")


def session_of(
    content: bytes, path: Path, provider: str, threads: int | None, half: bool = False
) -> Session:
    """A session of a graph that was made from the bundle at `path`, in full precision, or with
    `half` in fp16 on a GPU; errors as in `load`.
    """
    if provider == "openvino":
        try:
            return openvino.OpenVinoSession(openvino.read(content), threads, exact=True)
        except Exception as error:
            raise DataError(f"OpenVINO can't run {path} in tiles ({reason(error)}).") from None
    session: Session | None = _open(content, path, threads, provider, explicit=True, half=half)
    assert session  # with explicit=True, _open raises where there is none
    return session


def available() -> list[str]:
    """The providers that are installed; only a session shows whether one works."""
    installed = ort.get_available_providers()
    names = [name for name, full_name in PROVIDERS.items() if full_name in installed]
    return [*names, "openvino"] if openvino.is_installed() else names


def binding(*paths: Path) -> list[str]:
    """The providers that run all of these bundles here, except TensorRT, which builds an engine for
    minutes. Raises DataError for a file that is not a bundle.
    """
    names = []
    for name in available():
        # The CPU runs every valid bundle, so its errors are errors of the file.
        ignored = () if name == "cpu" else (DeviceError, DataError)
        if name != "tensorrt":
            with contextlib.suppress(*ignored):
                for path in paths:
                    load(path, name)
                names.append(name)
    return names


def _options(threads: int | None) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # img2img reports by itself that a provider does not work
    options.intra_op_num_threads = threads or usable_cores()
    return options


def _candidates(provider: str) -> Iterator[str]:
    """The providers to try, in order. OpenVINO is only queried after the machine's other
    accelerators have failed, because that takes half a second.
    """
    if provider != "auto":
        require_known(provider)
        if provider not in available():
            raise Unbound(provider, lacking(provider))
        yield provider
        return
    yield from _accelerators()
    if openvino.is_installed() and openvino.pays_off():
        yield "openvino"
    yield "cpu"


def require_known(provider: str) -> None:
    """Raises UsageError for a name that is not a provider's."""
    if provider not in get_args(Provider):
        names = ", ".join(get_args(Provider))
        raise UsageError(f"There is no provider {provider}. Choose one of: {names}.")


def lacking(provider: str) -> str:
    """Why a provider is not among `available`."""
    if provider == "openvino":
        return f"it is not installed: {install_command('openvino')}"
    return f"this onnxruntime does not have it, but {', '.join(available())}"


def _accelerators() -> list[str]:
    """Onnxruntime's providers that "auto" tries before the CPU."""
    # Not TensorRT, which builds an engine for minutes. CUDA needs a driver.
    wanted = ["cuda"] if "cuda" in available() and _has_nvidia_driver() else []
    return wanted + [name for name in ("coreml", "directml") if name in available()]


def _open_with_openvino(
    content: bytes, path: Path, threads: int | None, explicit: bool, precision: str
) -> tuple[openvino.OpenVinoSession, Manifest] | None:
    """A session in the CPU's fastest precision, or in fp32 if that is wanted. Without an explicit
    request for OpenVINO, None where it can't run the file or would not be accurate enough.
    """
    try:
        model = openvino.read(content)
        manifest = Manifest.parse(openvino.metadata(model), str(path))
        if not explicit and (precision != "auto" or not manifest.is_near_in_bf16):
            return None
        _require(precision, manifest.precision, "openvino", path)
        return openvino.OpenVinoSession(model, threads, precision == "fp32"), manifest
    except Img2ImgError:  # of the manifest or the precision
        raise
    except Exception as error:  # OpenVINO's types: an unsupported graph, or not a graph
        if explicit:
            raise DataError(f"OpenVINO can't run {path} ({reason(error)}).") from None
        return None


def _precision(manifest: Manifest, computed: str) -> str:
    """The precision of a bundle on a provider that computes floats in `computed`."""
    if computed == "fp32":
        return manifest.precision
    return f"int8 and {computed}" if manifest.precision == "int8" else computed


def _providers(
    name: str, content: bytes, half: bool = False, manifest: Manifest | None = None
) -> list[tuple[str, dict[str, str]]]:
    """Onnxruntime's providers for the file, with their options. half: compute in fp16. manifest:
    of a bundle.
    """
    cuda = (PROVIDERS["cuda"], _cuda_options())
    if name == "cuda":
        return [cuda]
    if name == "tensorrt":
        # One folder per model: onnxruntime names engines by the graph, regardless of the weights.
        model = hashlib.sha256(content).hexdigest()[:16]
        folder = cache_folder() / "tensorrt" / (f"{model}-fp16" if half else model)
        folder.mkdir(parents=True, exist_ok=True)
        # CUDA runs what TensorRT can't.
        return [(PROVIDERS[name], tensorrt.options(folder, half, manifest)), cuda]
    return [(PROVIDERS[name], {})]


def _cuda_options() -> dict[str, str]:
    """Options of the CUDA provider for pictures of any size."""
    return {
        # Not EXHAUSTIVE: a layer keeps the algorithm of its last size alone, so that it searches
        # again whenever the size of the pictures or their number changes.
        "cudnn_conv_algo_search": "HEURISTIC",
        # Convolutions with channels last, as tensor cores take them. Otherwise cuDNN changes the
        # layout before and after each.
        "prefer_nhwc": "1" if nvidia.has_tensor_cores() else "0",
    }


def _open(
    content: bytes,
    path: Path,
    threads: int | None,
    name: str,
    explicit: bool,
    half: bool = False,
    manifest: Manifest | None = None,
) -> ort.InferenceSession | None:
    """A session on this provider, which computes in fp16 with `half`. Where it does not work,
    DeviceError if the provider was requested explicitly, else None.
    """
    full_name, options = PROVIDERS[name], _options(threads)
    if name in ("cuda", "tensorrt"):
        if not _has_nvidia_driver():
            raise Unbound(name, "there is no NVIDIA driver")
        ort.set_default_logger_severity(4)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it can't find
            ort.preload_dlls()  # loads the CUDA libraries of pip packages, among them torch's
    try:
        providers = _providers(name, content, half, manifest)
        graph = in_half(content) if half and name == "cuda" else content
        session = ort.InferenceSession(graph, options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime has one type per status code
        if name == "cpu":
            raise DataError(
                f"{path} is not an ONNX model that can be run ({reason(error)}). Use a file that "
                "img2img export has written."
            ) from None
        if explicit:
            raise Unbound(name, reason(error)) from None
        _tell_once(name, reason(error))
        return None
    if full_name not in session.get_providers():
        if explicit:
            raise Unbound(name, cuda_libraries.needed(name))
        _tell_once(name, cuda_libraries.needed(name))
        return None
    return session


@cache
def _tell_once(provider: str, reason: str) -> None:
    """Print why "auto" does without a GPU that is there: everything works, but takes longer."""
    print(
        f"img2img: {provider} does not work here ({reason}), so another provider is used. "
        "To see which work: img2img doctor",
        file=sys.stderr,
    )


def reason(error: Exception) -> str:
    """A runtime's error message in one line, without the positions in the runtime's source."""
    lines = [line.strip() for line in str(error).splitlines()]
    informative = [line for line in lines if line and not line.endswith(":")]
    return " ".join(informative[:2]) or type(error).__name__


def _has_nvidia_driver() -> bool:
    return nvidia.driver() is not None


def read(path: Path) -> bytes:
    """A bundle's content. Raises DataError for a file that can't be a bundle."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path} is larger than an ONNX file can be (2 GiB).")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"The model {path} can't be read ({error.strerror}).") from None
    checksum.require_intact(content, path, "Export it again, or copy it again.")
    if any(key in content for key in EXTERNAL_DATA):
        raise DataError(
            f"{path} keeps its weights in other files (it has a field named location). A model "
            "must be a single file."
        )
    if content[4:8] == ORT_FORMAT:
        raise DataError(f"{path} is in onnxruntime's format (ORT). A model must be an ONNX file.")
    try:
        loops = onnx_file.loops(content)
    except DecodeError:
        raise DataError(f"{path} is not an ONNX model: it can't be parsed as one.") from None
    if loops:
        raise DataError(
            f"{path} has loops ({', '.join(loops)}), which could run without end. "
            "Export the network without them."
        )
    return content
