"""Print what to install into an image beside the package itself, as a file of requirements.

python deploy/requirements.py cuda|cpu EXTRA...

pip can't exchange a dependency of a package: for processors alone, onnxruntime takes the place of
onnxruntime-gpu here, and torch comes from its index without CUDA.
"""

import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
CPU_TORCH = "--extra-index-url https://index.example/whl/cpu"  # to be named by the builder


def requirements(device: str, extras: list[str]) -> list[str]:
    """Lines for pip, in the order of pyproject.toml. Raises SystemExit for an unknown device or
    extra.
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
    [runtime] = [row.partition(";")[0] for row in rows if row.startswith("onnxruntime>")]
    others = [row for row in rows if not row.startswith("onnxruntime")]
    return [*([CPU_TORCH] if has_torch else []), *others, runtime]


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1], sys.argv[2:])))
