"""Print what to install into an image beside the package itself, as a file of requirements.

[TORCH_INDEX=URL] python deploy/requirements.py cuda|cpu EXTRA...

pip can't exchange a dependency of a package: for processors alone, onnxruntime takes the place of
onnxruntime-gpu here, and torch comes from the index without CUDA that TORCH_INDEX names.
"""

import os
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def requirements(device: str, extras: list[str], torch_index: str = "") -> list[str]:
    """Lines for pip, in the order of pyproject.toml. Raises SystemExit for an unknown device or
    extra, and for torch without CUDA from nowhere.
    """
    optional = PROJECT["optional-dependencies"]
    if device not in ("cuda", "cpu"):
        raise SystemExit(f"There is no DEVICE {device}. Use cuda or cpu.")
    if unknown := [extra for extra in extras if extra not in optional]:
        raise SystemExit(f"There is no extra {unknown[0]}. Use some of {', '.join(optional)}.")
    rows = [*PROJECT["dependencies"], *(row for extra in extras for row in optional[extra])]
    has_torch = any(row.startswith("torch>") for row in rows)
    if device == "cuda":
        return rows if has_torch else [*rows, *optional["cuda"]]  # torch brings these libraries
    if has_torch and not torch_index:
        raise SystemExit(
            "DEVICE=cpu with torch needs TORCH_INDEX, the address of its packages for CPUs: see "
            "pip's command for them on https://pytorch.org/get-started."
        )
    [runtime] = [row.partition(";")[0] for row in rows if row.startswith("onnxruntime>")]
    others = [row for row in rows if not row.startswith("onnxruntime")]
    return [*([f"--extra-index-url {torch_index}"] if has_torch else []), *others, runtime]


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1], sys.argv[2:], os.environ.get("TORCH_INDEX", ""))))
