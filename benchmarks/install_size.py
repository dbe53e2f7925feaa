"""The size of a new environment with what runs exported models: python benchmarks/install_size.py

With the default dependencies, and with those of requirements-cpu.txt. Downloads about 300 MB.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]


def size(requirements: list[str]) -> int:
    """Bytes of the files in a new environment in which these were installed."""
    with tempfile.TemporaryDirectory() as name:
        venv.create(name, with_pip=True)
        python = Path(name) / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        line = [str(python), "-m", "pip", "install", "-q", "--no-compile", *requirements]
        subprocess.run(line, check=True)
        return sum(file.lstat().st_size for file in Path(name).rglob("*") if file.is_file())


def main() -> None:
    import tomllib

    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    print("| dependencies | MB installed |\n|---|---|")
    print(f"| by default | {size(dependencies) / 1e6:.0f} |")
    small = ["-r", str(ROOT / "requirements-cpu.txt")]
    print(f"| of `requirements-cpu.txt` | {size(small) / 1e6:.0f} |")


if __name__ == "__main__":
    main()
