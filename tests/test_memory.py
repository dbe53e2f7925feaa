"""What memory is left, and how the peak is read."""

import subprocess
import sys

import pytest

from img2img import memory

MIB = 2**20
EXHAUSTED = [
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv "
    "node. Name:'/c/Conv' Status Message: bfc_arena.cc:376 void* onnxruntime::BFCArena::"
    "AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of size 4096",
    "[ONNXRuntimeError] : 1 : FAIL : bfc_arena.cc:359 Available memory of 12 is smaller than "
    "requested bytes of 4096",
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running "
    "Resize node. Status Message: std::bad_alloc",
    "CUDA failure 2: out of memory ; GPU=0 ; hostname=a ; expr=cudaMalloc((void**)&p, size);",
    "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; expr=cublasCreate(&cublas_handle_);",
    "CUDNN failure 5003: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ; GPU=0",
    "Exception from src/inference/src/cpp/infer_request.cpp:223: bad allocation",
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 4096 bytes. Error code 12 (Cannot allocate memory)",
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB",
    "MPS backend out of memory (MPS allocated: 8.00 GB, max allowed: 9.07 GB).",
    "MLOperatorAuthorImpl.cpp(2597): 8007000E Not enough memory resources are available",
]


def in_own_process(code: str) -> float:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_is_of_this_process_and_can_beforget_peak():
    assert in_own_process("from img2img import memory; print(memory.peak())") < 400 * MIB
    code = """
import numpy as np
from img2img import memory
before = memory.peak()
held = np.ones(300 * 2**20, np.uint8)
most = memory.peak()
del held
print(most - before if memory.forget_peak() < most - 200 * 2**20 else 0)
"""
    assert in_own_process(code) == pytest.approx(300 * MIB, rel=0.05)


@pytest.mark.parametrize("text", EXHAUSTED)
def test_every_library_that_is_out_of_memory_is_understood(text):
    assert memory.is_exhausted(RuntimeError(text))


@pytest.mark.parametrize("text", ["Non-zero status code: the sizes differ", "CUDA failure 700", ""])
def test_other_failures_are_none_of_the_memory(text):
    assert not memory.is_exhausted(RuntimeError(text))
