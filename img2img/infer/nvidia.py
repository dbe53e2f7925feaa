"""What img2img asks of NVIDIA's driver itself, through its C interface, which never changes."""

import ctypes
import sys
import weakref
from functools import cache

import numpy as np

MAJOR = 75  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
PORTABLE = 1  # CU_MEMHOSTALLOC_PORTABLE: for all contexts
TENSOR_CORES = 7  # compute capability from which a GPU multiplies matrices of fp16 fast


@cache
def driver() -> ctypes.CDLL | None:
    """The driver's library; None where there is none."""
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None


@cache
def has_tensor_cores() -> bool:
    """Whether the first GPU computes faster in fp16 than in fp32, and with channels last. Older
    ones are many times slower in it, or lack the kernels.
    """
    library, device, major = driver(), ctypes.c_int(), ctypes.c_int()
    return (
        library is not None
        and library.cuInit(0) == 0
        and library.cuDeviceGet(ctypes.byref(device), 0) == 0
        and library.cuDeviceGetAttribute(ctypes.byref(major), MAJOR, device) == 0
        and major.value >= TENSOR_CORES
    )


def pinned(size: int) -> np.ndarray:
    """An array, uint8 [size], in memory that the first GPU reads and writes by itself, at the full
    speed of the bus; in usual memory where the driver has none to give. Freed with the array.
    """
    library, device, address = driver(), ctypes.c_int(), ctypes.c_void_p()
    allocated = (
        library is not None
        and library.cuInit(0) == 0
        and library.cuDeviceGet(ctypes.byref(device), 0) == 0
        and _enter_context(library, device)
        and library.cuMemHostAlloc(ctypes.byref(address), ctypes.c_size_t(size), PORTABLE) == 0
    )
    if not (library and allocated and address.value):
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
