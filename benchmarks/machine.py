"""What the figures were measured on."""

import contextlib
import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def describe(threads: int) -> str:
    """The processor, its cores, and how many threads were used; no name of the machine."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    known = ("avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    special = [name for name in known if name in flags]
    processor = models[0] if models else platform.machine()
    parts = [processor, f"{os.cpu_count()} cores", f"{threads} threads", *special]
    return ", ".join(parts)


def measured(threads: int) -> dict[str, str]:
    """The machine and the day, for a file of results."""
    return {"machine": describe(threads), "date": datetime.date.today().isoformat()}


def versions(*packages: str) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for name in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
