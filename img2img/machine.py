"""What this machine offers: instructions of its processor, memory, disks, and their limits."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

from img2img import control_groups, memory
from img2img.files import usable_cores

CPUINFO = Path("/proc/cpuinfo")
SHARED = Path("/dev/shm")  # noqa: S108, its size is asked for
# Instructions that decide how fast models run, by the names of Linux, with what they are for.
X86 = {
    "avx2": "fp32, 8 numbers at a time",
    "avx512f": "fp32, 16 numbers at a time",
    "avx512_vnni": "int8: runs int8 models faster",
    "avx512_bf16": "bf16: trains and runs models faster",
    "amx_int8": "matrices of int8: runs int8 models faster",
    "amx_bf16": "matrices of bf16: trains and runs models faster",
}
ARM = {
    "asimdhp": "fp16, 8 numbers at a time",
    "asimddp": "int8: runs int8 models faster",
    "i8mm": "matrices of int8: runs int8 models faster",
    "bf16": "matrices of bf16: trains and runs models faster",
}
# The same instructions, as macOS names them; some of its versions lack some of the names.
OF_MACOS = {
    "asimdhp": "hw.optional.arm.FEAT_FP16",
    "asimddp": "hw.optional.arm.FEAT_DotProd",
    "i8mm": "hw.optional.arm.FEAT_I8MM",
    "bf16": "hw.optional.arm.FEAT_BF16",
}


def processor() -> str:
    """The processor's name, or its architecture where the system does not tell the name."""
    if sys.platform == "darwin":
        return _of_sysctl("machdep.cpu.brand_string") or platform.machine()
    names = [line for line in _cpuinfo() if line.startswith("model name")]
    name = names[0].partition(":")[2].strip() if names else platform.processor()
    return name or platform.machine()


def instructions() -> dict[str, bool] | None:
    """Whether the processor has each instruction of `meanings`; None on systems that don't tell."""
    names = list(meanings())
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return {name: _of_sysctl(OF_MACOS[name]) == "1" for name in names}
    rows = [line for line in _cpuinfo() if line.startswith(("flags", "Features"))]
    if not rows:
        return None
    flags = set(rows[0].partition(":")[2].split())
    return {name: name in flags for name in names}


def meanings() -> dict[str, str]:
    """The instructions that matter on this kind of processor, with what they are for."""
    return ARM if platform.machine().lower() in ("arm64", "aarch64") else X86


def cores() -> dict[str, float | None]:
    """The machine's cores, those that this process may use, and the quota of its control group."""
    return {
        "of the machine": os.cpu_count(),
        "usable": usable_cores(),
        "quota": control_groups.cores(),
    }


def ram() -> dict[str, int]:
    """Bytes: the machine's memory, and what this process can allocate; `left by limits` where a
    control group limits it.
    """
    total = psutil.virtual_memory().total
    sizes = {"of the machine": total, "available": memory.available()}
    left = min(control_groups.memory_left(), default=total)  # "no limit" is a number of 2^63
    return {**sizes, "left by limits": left} if left < total else sizes


def free_shared_memory() -> int | None:
    """Bytes free in /dev/shm, through which data workers hand on pictures; None without one."""
    return shutil.disk_usage(SHARED).free if SHARED.is_dir() else None


def place(folder: Path) -> dict[str, object]:
    """A folder's path, whether files can be written there, and the bytes free on its disk. Of a
    folder that does not exist yet, those of its nearest parent, in which it would be made.
    """
    existing = next((f for f in (folder, *folder.absolute().parents) if f.is_dir()), Path("/"))
    return {
        "path": str(folder),
        "writable": os.access(existing, os.W_OK | os.X_OK),
        "free": shutil.disk_usage(existing).free,
    }


def _cpuinfo() -> list[str]:
    try:
        return CPUINFO.read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        return []


def _of_sysctl(name: str) -> str:
    """A value of macOS' kernel; "" where this version does not have it."""
    line = ["/usr/sbin/sysctl", "-n", name]
    done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603, no shell
    return done.stdout.strip()
