"""The command line, as the benchmarks run it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def command(*arguments: str) -> str:
    """What `img2img` prints."""
    line = [sys.executable, "-m", "img2img", *arguments]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"img2img {' '.join(arguments)} failed.")
    return done.stdout
