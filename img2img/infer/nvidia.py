"""What img2img asks of NVIDIA's driver itself, through its C interface, which never changes."""

import ctypes
import sys
import weakref
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

MAJOR = 75  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
MINOR = 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
VERSION = Path("/sys/module/nvidia/version")  # of the driver, on Linux
PORTABLE = 1  # CU_MEMHOSTALLOC_PORTABLE: for all contexts
TENSOR_CORES = 7  # compute capability from which a GPU multiplies matrices of fp16 fast


@dataclass(frozen=True)
class Gpu:
    """A GPU that the driver offers to this process."""

    name: str
    memory: int  # bytes
    compute_capability: str


@cache
def driver() -> ctypes.CDLL | None:
    """The driver's library; None where there is none."""
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None


def driver_versions() -> dict[str, str]:
    """The driver's version, where the system tells it, and the newest CUDA that it runs."""
    library, number, versions = driver(), ctypes.c_int(), {}
    if VERSION.is_file():
        versions["driver"] = VERSION.read_text().strip()
    if library is not None and library.cuDriverGetVersion(ctypes.byref(number)) == 0:
        versions["CUDA"] = f"{number.value // 1000}.{number.value % 1000 // 10}"
    return versions


def gpus() -> list[Gpu]:
    """The GPUs that this process may use."""
    library, count = driver(), ctypes.c_int()
    if library is None or library.cuInit(0) != 0:
        return []
    if library.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    return [_described(library, number) for number in range(count.value)]


def _described(library: ctypes.CDLL, number: int) -> Gpu:
    gpu, memory, name = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(256)
    library.cuDeviceGet(ctypes.byref(gpu), number)
    library.cuDeviceGetName(name, len(name), gpu)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), gpu)
    capability = []
    for attribute in (MAJOR, MINOR):
        value = ctypes.c_int()
        library.cuDeviceGetAttribute(ctypes.byref(value), attribute, gpu)
        capability.append(str(value.value))
    return Gpu(name.value.decode(errors="replace"), memory.value, ".".join(capability))


def _first_gpu() -> tuple[ctypes.CDLL, ctypes.c_int] | None:
    """The driver, ready to use, and its first GPU; None where there is none."""
    library, gpu = driver(), ctypes.c_int()
    if library is None or library.cuInit(0) != 0:
        return None
    return (library, gpu) if library.cuDeviceGet(ctypes.byref(gpu), 0) == 0 else None


@cache
def has_tensor_cores() -> bool:
    """Whether the first GPU computes faster in fp16 than in fp32, and with channels last. Older
    ones are many times slower in it, or lack the kernels.
    """
    first, major = _first_gpu(), ctypes.c_int()
    if first is None:
        return False
    library, gpu = first
    told = library.cuDeviceGetAttribute(ctypes.byref(major), MAJOR, gpu) == 0
    return told and major.value >= TENSOR_CORES


def pinned(size: int) -> np.ndarray:
    """An array, uint8 [size], in memory that the first GPU reads and writes by itself, at the full
    speed of the bus; in usual memory where the driver has none to give. Freed with the array.
    """
    first, address = _first_gpu(), ctypes.c_void_p()
    if first is None:
        return np.empty(size, np.uint8)
    library, gpu = first
    allocated = (
        _enter_context(library, gpu)
        and library.cuMemHostAlloc(ctypes.byref(address), ctypes.c_size_t(size), PORTABLE) == 0
    )
    if not (allocated and address.value):
        return np.empty(size, np.uint8)
    memory = (ctypes.c_uint8 * size).from_address(address.value)
    release = weakref.finalize(memory, library.cuMemFreeHost, address)
    release.atexit = False  # then the driver is gone before
    return np.frombuffer(memoryview(memory), np.uint8)


def _enter_context(library: ctypes.CDLL, device: ctypes.c_int) -> bool:
    """Let this thread use the context of CUDA's runtime, which onnxruntime uses, too."""
    context = ctypes.c_void_p()
    if library.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) != 0:
        return False
    return bool(library.cuCtxSetCurrent(context) == 0)
