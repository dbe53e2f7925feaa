"""What memory is left, and how the peak is read."""

import subprocess
import sys

import pytest

from img2img import memory

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


@pytest.mark.parametrize(
    ("line", "names"),
    [("0::/slice/job", memory.FILES[""]), ("4:memory:/slice/job", memory.FILES["memory"])],
)
@pytest.mark.parametrize("limited", ["slice/job", "slice", "."])
def test_a_containers_limit_counts_wherever_it_is_set(tmp_path, monkeypatch, line, names, limited):
    controllers = line.split(":")[1]
    own, group = tmp_path / "own", tmp_path / "groups" / controllers / "slice" / "job"
    own.write_text(f"9:name=systemd:/\n{line}\n")
    group.mkdir(parents=True)
    monkeypatch.setattr(memory, "PROCESS_GROUPS", own)
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "groups")
    (group / names[0]).write_text("max\n")
    assert memory.available() > 60 * MIB
    where = tmp_path / "groups" / controllers / limited
    (where / names[0]).write_text(f"{200 * MIB}\n")
    (where / names[1]).write_text(f"{180 * MIB}\n")
    (where / "memory.stat").write_text(f"anon 1\n{names[2]} {30 * MIB}\nfile 5\n")
    assert memory.available() == 50 * MIB
