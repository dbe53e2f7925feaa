"""What memory is left, and how the peak is read."""

import subprocess
import sys

import pytest

MIB = 2**20


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
